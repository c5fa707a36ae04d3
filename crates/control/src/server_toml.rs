//! `control/server.toml`: each key is looked up in the table, typed, bounded, and told with its line when it is wrong. Pure.
//! Called by the loader and the editor; a key that has a classic file is refused with the file's name.

use crate::load::{Origin, Value};
use crate::problem::Problem;
use crate::raw;
use crate::resolved::{Config, TlsIdentity};
use crate::table::{self, Home, Kind, Setting};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Applies the text to `config` and gives the values that it sets.
pub(crate) fn apply(text: &str, file: &Path, config: &mut Config) -> Result<Vec<(&'static str, Value)>, Vec<Problem>> {
    let table = DeTable::parse(text).map_err(|e| {
        let problem = Problem::new(file, one_line(e.message()));
        vec![match e.span() {
            Some(span) => problem.at(line_of(text, span.start)),
            None => problem,
        }]
    })?;
    let mut walk = Walk { text, file, config, values: Vec::new(), problems: Vec::new() };
    walk.table(table.get_ref(), "");
    if walk.problems.is_empty() { Ok(walk.values) } else { Err(walk.problems) }
}

/// `limits.message_bytes_max` alone, for programs that live for one message; the default when the file is missing or not ours to read.
#[must_use]
pub fn message_bytes_max(home: &Path) -> u64 {
    let mut config = Config::default();
    if let Ok(Some(bytes)) = raw::read_file(&home.join(table::SERVER_TOML))
        && let Ok(text) = std::str::from_utf8(&bytes)
    {
        // What is wrong with another key is for `postino check` to tell.
        let _ = apply(text, home, &mut config);
    }
    config.server.limits.message_bytes_max
}

/// Where a key's value stands: the span of the key, and that of the value. `None` when the text does not set it (or does not parse).
pub(crate) fn find_spans(text: &str, name: &str) -> Option<(Range<usize>, Range<usize>)> {
    let table = DeTable::parse(text).ok()?;
    let mut table = table.get_ref();
    let mut words = name.split('.').peekable();
    while let Some(word) = words.next() {
        let (key, value) = table.iter().find(|(k, _)| k.get_ref().as_ref() == word)?;
        if words.peek().is_none() {
            return Some((key.span(), value.span()));
        }
        table = value.get_ref().as_table()?;
    }
    None
}

fn one_line(message: &str) -> String {
    message.replace('\n', ", ")
}

pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count() + 1
}

struct Walk<'a> {
    text: &'a str,
    file: &'a Path,
    config: &'a mut Config,
    values: Vec<(&'static str, Value)>,
    problems: Vec<Problem>,
}

impl Walk<'_> {
    fn table(&mut self, table: &DeTable<'_>, prefix: &str) {
        for (key, value) in table {
            let name = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
            let line = line_of(self.text, key.span().start);
            match table::find(&name).filter(|s| s.home == Home::Toml) {
                Some(setting) => self.setting(setting, value, line),
                None => match value.get_ref().as_table() {
                    Some(inner) if is_section(&name) => self.table(inner, &name),
                    _ => self.problems.push(unknown(&name, self.file).at(line)),
                },
            }
        }
    }

    fn setting(&mut self, setting: &'static Setting, value: &Spanned<DeValue<'_>>, line: usize) {
        if matches!(setting.kind, Kind::Accounts) {
            return self.accounts(setting, value, line);
        }
        match typed(setting, value.get_ref(), self.config) {
            Ok(()) => {
                let text = match setting.kind {
                    Kind::Identities => self.config.server.tls.iter().map(|t| t.host.clone()).collect::<Vec<_>>().join("\n"),
                    _ => shown(value.get_ref()),
                };
                self.values.push((setting.name, Value { text, origin: Origin::Set { file: self.file.to_path_buf(), line } }));
            }
            Err(reason) => self.problems.push(Problem::new(self.file, format!("{} {reason}", setting.name)).at(line)),
        }
    }
}

impl Walk<'_> {
    /// As [`Walk::setting`], but each account's mistake has its own line.
    fn accounts(&mut self, setting: &'static Setting, value: &Spanned<DeValue<'_>>, line: usize) {
        match crate::fetch::accounts(self.text, value.get_ref(), &self.config.home) {
            Ok(accounts) => {
                let text = accounts.iter().map(|a| a.name.clone()).collect::<Vec<_>>().join("\n");
                self.values.push((setting.name, Value { text, origin: Origin::Set { file: self.file.to_path_buf(), line } }));
                self.config.server.fetch = accounts;
            }
            Err(mistakes) => {
                let told = |(at, reason): (Option<usize>, String)| {
                    Problem::new(self.file, format!("[[{}]] {reason}", setting.name)).at(at.unwrap_or(line))
                };
                self.problems.extend(mistakes.into_iter().map(told));
            }
        }
    }
}

fn is_section(name: &str) -> bool {
    table::settings().any(|s| s.home == Home::Toml && s.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

fn unknown(name: &str, file: &Path) -> Problem {
    let last = name.rsplit('.').next().unwrap_or(name);
    let plain: String = last.chars().filter(|c| !matches!(c, '_' | '-')).collect();
    let in_file = table::settings().find(|s| s.home == Home::File && (s.name == name || s.name == last || s.name == plain));
    if let Some(setting) = in_file {
        let path = setting.file();
        return Problem::new(file, format!("\"{name}\" has a file of its own: {}", path.display()))
            .advise("write the value there and take the key out");
    }
    let problem = Problem::new(file, format!("unknown key \"{}\"", postino_types::printable::printable(name.as_bytes())));
    match table::nearest(name).and_then(table::find) {
        Some(near) if near.home == Home::Toml => problem.advise(format!("did you mean \"{}\"?", near.name)),
        Some(near) => problem.advise(format!("did you mean the file {}?", near.file().display())),
        None => problem.advise("see: postino config list"),
    }
}

fn typed(setting: &Setting, value: &DeValue<'_>, config: &mut Config) -> Result<(), String> {
    match setting.kind {
        Kind::Line(set) | Kind::LineOrMe(set) => set(config, string(value)?),
        Kind::Number { min, max, set } => {
            let bad = || format!("must be a number from {min} to {max}");
            let integer = value.as_integer().ok_or_else(bad)?;
            let n = u64::from_str_radix(integer.as_str().trim_start_matches('+'), integer.radix())
                .ok()
                .filter(|n| (min..=max).contains(n))
                .ok_or_else(bad)?;
            set(config, n);
        }
        Kind::Flag(set) => set(config, value.as_bool().ok_or("must be true or false")?),
        Kind::Choice(words, set) => {
            let word = string(value)?;
            if !words.contains(&word.as_str()) {
                return Err(format!("must be one of: {}", words.join(", ")));
            }
            set(config, &word);
        }
        Kind::Words(set) => set(config, strings(value)?),
        Kind::Path(set) => {
            let path = PathBuf::from(string(value)?);
            if !path.is_absolute() {
                return Err("must be an absolute path".into());
            }
            set(config, path);
        }
        Kind::Sockets(port, set) => {
            let sockets: Result<Vec<_>, _> = strings(value)?.iter().map(|s| socket(s, port)).collect();
            set(config, sockets?);
        }
        Kind::Ips(set) => {
            let ips: Result<Vec<IpAddr>, _> =
                strings(value)?.iter().map(|s| s.parse().map_err(|_| format!("holds \"{s}\", which is no IP address"))).collect();
            set(config, ips?);
        }
        Kind::Identities => config.server.tls = identities(value, &config.home)?,
        _ => return Err("cannot be set here".into()),
    }
    Ok(())
}

pub(crate) fn string(value: &DeValue<'_>) -> Result<String, String> {
    let text = value.as_str().ok_or("must be text in quotes")?;
    if text.chars().any(char::is_control) {
        return Err("holds a control byte".into());
    }
    Ok(text.to_owned())
}

pub(crate) fn strings(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    if value.is_str() {
        return string(value).map(|one| vec![one]);
    }
    let array = value.as_array().ok_or("must be a list of texts: [\"…\", \"…\"]")?;
    array.iter().map(|item| string(item.get_ref())).collect()
}

fn socket(text: &str, port: u16) -> Result<SocketAddr, String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    match text.parse::<SocketAddr>() {
        Ok(address) => Ok(address),
        Err(_) => {
            bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port)).map_err(|_| format!("holds \"{text}\", which is no address:port"))
        }
    }
}

fn identities(value: &DeValue<'_>, home: &Path) -> Result<Vec<TlsIdentity>, String> {
    let array = value.as_array().ok_or("must be written as [[tls]] tables")?;
    let mut out: Vec<TlsIdentity> = Vec::new();
    for item in array {
        let table = item.get_ref().as_table().ok_or("must be written as [[tls]] tables")?;
        if let Some((key, _)) = table.iter().find(|(k, _)| !matches!(k.get_ref().as_ref(), "host" | "certificate" | "key")) {
            return Err(format!("has an unknown key \"{}\"; known are host, certificate, key", key.get_ref()));
        }
        let field = |name: &str| {
            let found = table.get(name).ok_or(format!("lacks \"{name}\""))?;
            string(found.get_ref()).map_err(|e| format!("{name} {e}"))
        };
        let path = |name: &str| field(name).map(|p| home.join(PathBuf::from(p)));
        let identity = TlsIdentity { host: field("host")?.to_ascii_lowercase(), certificate: path("certificate")?, key: path("key")? };
        if out.iter().any(|other| other.host == identity.host) {
            return Err(format!("names {} twice", identity.host));
        }
        out.push(identity);
    }
    Ok(out)
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(n) if n.radix() == 10 => n.as_str().to_owned(),
        DeValue::Integer(n) => u64::from_str_radix(n.as_str(), n.radix()).unwrap_or(0).to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Array(items) => items.iter().map(|i| shown(i.get_ref())).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}
