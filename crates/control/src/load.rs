//! From the control directory to a [`Config`]: raw bytes are typed by the table, then checked against each other. Called at start, at
//! SIGHUP and by `check`. All or nothing: with one problem the caller keeps the configuration that it has.

use crate::access::{self, Service, Sources};
use crate::classic;
use crate::home;
use crate::problem::Problem;
use crate::raw::{self, Raw};
use crate::resolved::{Config, RelayAuth, SmtpRoute};
use crate::server_toml;
use crate::table::{self, Home, Kind, Setting};
use postino_types::printable::printable;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Rules of a kind that are told about; who reads three of them knows.
const ODD_RULES_MAX: usize = 3;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The table's default.
    Default,
    /// The content of `me`.
    Me,
    /// Written down.
    Set {
        /// File.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
    },
}

/// A value as text with its origin. Secrets are `(hidden)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Text; entries of lists one a line.
    pub text: String,
    /// Where from.
    pub origin: Origin,
}

/// A configuration that may be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The typed values.
    pub config: Config,
    /// Look at these: told at each start and reload.
    pub warnings: Vec<Problem>,
    /// Told by `check` only (unknown files of old patches, lines without effect).
    pub notes: Vec<Problem>,
    /// Every setting's value as text, by name.
    pub values: BTreeMap<&'static str, Value>,
}

/// Reads and resolves the control directory of `home`.
///
/// # Errors
/// Everything that is wrong, not only the first thing.
pub fn load(home: &Path) -> Result<Loaded, Vec<Problem>> {
    load_as(home, Name::Needed)
}

/// As [`load`] for qmail's own programs, which do without `me` where there is `locals`: what would be its content is then the name of the file that
/// is missing, `bouncehost` for instance.
///
/// # Errors
/// Everything that is wrong.
pub fn load_as_qmail(home: &Path) -> Result<Loaded, Vec<Problem>> {
    load_as(home, Name::LocalsWillDo)
}

/// What the programs around accounts need: `me`, `vpopmail-home` and `server.toml`, and nothing else, so that a login or a delivery does not read every list.
///
/// # Errors
/// Everything that is wrong with these.
pub fn load_for_accounts(home: &Path) -> Result<Config, Vec<Problem>> {
    resolve_as(&raw::read_only(home, &["me", "vpopmail-home"])?, Name::NotAsked).map(|loaded| loaded.config)
}

/// What becomes of a home without `me`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Needed,
    LocalsWillDo,
    NotAsked,
}

fn load_as(home: &Path, name: Name) -> Result<Loaded, Vec<Problem>> {
    let standard = [Service::Smtp, Service::Pop3].map(|service| (service, Sources::standard(home, service)));
    let mut loaded = resolve_as(&raw::read(home)?, name)?;
    let mut problems = Vec::new();
    for (service, sources) in standard {
        if let Err(problem) = loaded.follow(service, sources) {
            problems.push(problem);
        }
    }
    if problems.is_empty() { Ok(loaded) } else { Err(problems) }
}

impl Loaded {
    /// Rules by client address follow their files from now on: the standard ones, or the file that `access.smtp` or `access.pop3` names.
    fn follow(&mut self, service: Service, standard: Sources) -> Result<(), Problem> {
        let Some(file) = self.config.server.access.file(service).map(|file| self.config.home.join(file)) else {
            self.config.follow(service, None, standard);
            return Ok(());
        };
        let sources = Sources::named(file.clone());
        let (rules, _) = sources.read()?;
        let text = format!("{} rules", rules.len());
        self.values.insert(service.file(), Value { text, origin: Origin::Set { file, line: 1 } });
        self.config.follow(service, Some(rules), sources);
        Ok(())
    }
}

/// Resolves what was read. Pure.
///
/// # Errors
/// Everything that is wrong.
pub fn resolve(raw: &Raw) -> Result<Loaded, Vec<Problem>> {
    resolve_as(raw, Name::Needed)
}

fn resolve_as(raw: &Raw, name: Name) -> Result<Loaded, Vec<Problem>> {
    let mut resolver = Resolver {
        raw,
        config: Config { home: raw.home.clone(), vpopmail_home: home::vpopmail(&raw.home), ..Config::default() },
        problems: Vec::new(),
        warnings: Vec::new(),
        notes: Vec::new(),
        values: BTreeMap::new(),
    };
    let is_needed = name == Name::Needed || (name == Name::LocalsWillDo && !raw.files.contains_key("locals"));
    if is_needed || raw.files.contains_key("me") {
        resolver.me();
    }
    for setting in table::settings().filter(|s| s.home == Home::File && s.name != "me") {
        resolver.classic(setting);
    }
    resolver.rules_cdb();
    resolver.morercpthosts();
    resolver.server_toml();
    resolver.cross_checks();
    resolver.odd_rules();
    if resolver.problems.is_empty() {
        Ok(Loaded { config: resolver.config, warnings: resolver.warnings, notes: resolver.notes, values: resolver.values })
    } else {
        Err(resolver.problems)
    }
}

struct Resolver<'a> {
    raw: &'a Raw,
    config: Config,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    notes: Vec<Problem>,
    values: BTreeMap<&'static str, Value>,
}

impl Resolver<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.raw.home.join("control").join(name)
    }

    fn me(&mut self) {
        let file = self.path("me");
        let advice = "write this host's full name into it, for instance: echo mail.example.org > control/me";
        let bytes = self.raw.files.get("me").map(|b| classic::line(b)).filter(|l| !l.is_empty());
        match bytes.map(text) {
            None => self.problems.push(Problem::new(file, "is missing or empty").advise(advice)),
            Some(Err(reason)) => self.problems.push(Problem::new(file, reason).at(1).advise(advice)),
            Some(Ok(me)) => {
                if !is_host_name(&me) {
                    let reason = format!("holds \"{}\", which is no host name", printable(me.as_bytes()));
                    self.problems.push(Problem::new(&file, reason).at(1).advise(advice));
                }
                self.values.insert("me", Value { text: me.clone(), origin: Origin::Set { file, line: 1 } });
                self.config.me = me;
            }
        }
    }

    fn classic(&mut self, setting: &'static Setting) {
        let Some(bytes) = self.raw.files.get(setting.name) else { return self.missing(setting) };
        let file = self.path(setting.name);
        if let Err(problem) = self.apply(setting, bytes, &file) {
            self.problems.push(problem);
        }
        if !self.values.contains_key(setting.name) {
            let value = Value { text: shown(setting, bytes), origin: Origin::Set { file: file.clone(), line: first_line(setting, bytes) } };
            self.values.insert(setting.name, value);
        }
    }

    /// The default, for a file that is missing or counts as missing.
    fn missing(&mut self, setting: &'static Setting) {
        let me = self.config.me.clone();
        if let (false, Kind::LineOrMe(set)) = (self.raw.files.contains_key("me"), setting.kind) {
            // Without a name `[192.0.2.1]` in a recipient stays as it is.
            let name = if setting.name == "localiphost" { "" } else { setting.name };
            set(&mut self.config, name.to_owned());
            self.values.insert(setting.name, Value { text: name.to_owned(), origin: Origin::Default });
            return;
        }
        let from_me = match setting.kind {
            Kind::LineOrMe(set) => {
                set(&mut self.config, me.clone());
                true
            }
            Kind::Hosts(set) if setting.default == "me" => set(&mut self.config).insert(me.to_ascii_lowercase().into_bytes()),
            _ => false,
        };
        let (text, origin) = if from_me { (me, Origin::Me) } else { (setting.default.to_owned(), Origin::Default) };
        self.values.insert(setting.name, Value { text, origin });
    }

    fn apply(&mut self, setting: &'static Setting, bytes: &[u8], file: &Path) -> Result<(), Problem> {
        let line = || text(classic::line(bytes)).map_err(|reason| Problem::new(file, reason).at(1));
        match setting.kind {
            Kind::Line(set) => set(&mut self.config, line()?),
            Kind::LineOrMe(set) => match line()? {
                empty if empty.is_empty() => {
                    self.warnings.push(Problem::new(file, "is empty; the content of control/me is used"));
                    self.missing(setting);
                }
                value => set(&mut self.config, value),
            },
            Kind::Number { min, max, set } => self.number(setting, bytes, (min, max, set)),
            Kind::Choice(words, set) => {
                let word = line()?;
                let known = words.contains(&word.as_str());
                if !known {
                    let problem = Problem::new(file, format!("holds \"{word}\"")).at(1);
                    return Err(problem.advise(format!("write one of: {}", words.join(", "))));
                }
                set(&mut self.config, &word);
            }
            Kind::Hosts(set) => {
                self.odd_lines(bytes, file);
                set(&mut self.config).extend(classic::list(bytes).map(|(_, l)| l.to_ascii_lowercase()));
            }
            Kind::Words(set) => {
                self.odd_lines(bytes, file);
                set(&mut self.config, classic::list(bytes).map(|(_, l)| printable(l)).collect());
            }
            Kind::Pairs(set) => {
                self.odd_pairs(bytes, file);
                set(&mut self.config).extend(classic::pairs(bytes).map(|(_, key, value)| (key, value.to_vec())));
            }
            Kind::Routes => self.routes(bytes, file),
            Kind::RouteLogins => self.route_logins(bytes, file),
            Kind::Rules(place) => *place(&mut self.config) = access::parsed(bytes, file)?,
            Kind::Rows(set) => {
                if let Err(rows) = set(&mut self.config, bytes) {
                    self.problems.extend(rows.into_iter().map(|(line, reason)| Problem::new(file, reason).at(line)));
                }
            }
            Kind::Text(set) if !bytes.is_empty() => set(&mut self.config, bytes.to_vec()),
            Kind::Path(set) => {
                let path = PathBuf::from(line()?);
                if !path.is_absolute() {
                    return Err(Problem::new(file, "must hold an absolute path").at(1));
                }
                set(&mut self.config, path);
            }
            // the other kinds live in server.toml; the source of a cdb is not read
            _ => {}
        }
        Ok(())
    }

    fn number(&mut self, setting: &'static Setting, bytes: &[u8], (min, max, set): (u64, u64, fn(&mut Config, u64))) {
        let file = self.path(setting.name);
        match classic::number(bytes) {
            None => {
                self.warnings.push(Problem::new(file, "is no number (it does not begin with a digit) and counts as missing").at(1));
                self.missing(setting);
            }
            Some(n) => {
                let used = n.clamp(min, max);
                if used != n {
                    self.warnings.push(Problem::new(file, format!("{n} is out of bounds; {used} is used")).at(1));
                }
                set(&mut self.config, used);
            }
        }
    }

    /// Entries that can never match are legal and silent in qmail; `check` tells them.
    fn odd_lines(&mut self, bytes: &[u8], file: &Path) {
        for (number, line) in classic::list(bytes) {
            if line.first().is_some_and(|b| matches!(b, b' ' | b'\t')) {
                self.notes.push(Problem::new(file, "begins with a blank, so it never matches").at(number).advise("take the blank away"));
            }
            if line.last() == Some(&b'\r') {
                self.warnings.push(
                    Problem::new(file, "ends with a carriage return, so its entries never match")
                        .at(number)
                        .advise("sed -i 's/\\r$//' on the file"),
                );
                break;
            }
        }
    }

    fn odd_pairs(&mut self, bytes: &[u8], file: &Path) {
        self.odd_lines(bytes, file);
        for (number, _) in classic::list(bytes).filter(|(_, l)| !l.contains(&b':')) {
            self.notes.push(Problem::new(file, "has no colon and is ignored").at(number));
        }
    }

    fn routes(&mut self, bytes: &[u8], file: &Path) {
        self.odd_pairs(bytes, file);
        for (number, key, value) in classic::pairs(bytes) {
            let (route, doubt) = parse_route(value);
            self.warnings.extend(doubt.map(|reason| Problem::new(file, reason).at(number)));
            self.config.smtproutes.insert(key, route);
        }
    }

    /// Runs after smtproutes, which stands before it in the table.
    fn route_logins(&mut self, bytes: &[u8], file: &Path) {
        if self.raw.logins_are_world_readable {
            self.warnings.push(Problem::new(file, "holds passwords and can be read by every user").advise("chmod o= on the file"));
        }
        for (number, line) in classic::list(bytes) {
            let words: Vec<&str> = std::str::from_utf8(line).map(|l| l.split_ascii_whitespace().collect()).unwrap_or_default();
            let [relay, user, password] = words.as_slice() else {
                self.warnings.push(Problem::new(file, "is not: relay[:port] user password").at(number));
                continue;
            };
            let wanted = parse_route(relay.as_bytes()).0;
            let any_port = wanted.relay.len() == relay.len();
            let auth = RelayAuth { user: (*user).to_owned(), password: (*password).to_owned() };
            let mut used = false;
            for route in self.config.smtproutes.values_mut() {
                if route.relay.eq_ignore_ascii_case(&wanted.relay) && (any_port || route.port == wanted.port) {
                    route.auth = Some(auth.clone());
                    used = true;
                }
            }
            let fits = |route: &SmtpRoute| route.relay.eq_ignore_ascii_case(&wanted.relay) && (any_port || route.port == wanted.port);
            used |= self.config.links.give_login(fits, &auth);
            if !used {
                self.warnings.push(Problem::new(file, "names a relay that neither smtproutes nor links does").at(number));
            }
        }
        self.values.insert("smtproutes.auth", Value { text: "(hidden)".into(), origin: Origin::Set { file: file.to_path_buf(), line: 1 } });
    }

    fn rules_cdb(&mut self) {
        for (name, bytes) in &self.raw.rules_cdb {
            let file = self.path(&format!("{name}.cdb"));
            match access::compiled(bytes, &file) {
                Ok(rules) => {
                    let text = format!("{} compiled rules", rules.len());
                    self.values.insert(name, Value { text, origin: Origin::Set { file, line: 1 } });
                    if let Some(Kind::Rules(place)) = table::find(name).map(|setting| setting.kind) {
                        *place(&mut self.config) = rules;
                    }
                }
                Err(problem) => self.problems.push(problem),
            }
        }
    }

    /// What rules may ask for and `postino serve` does not do.
    fn odd_rules(&mut self) {
        for (service, rules) in [(Service::Smtp, &self.config.tcprules), (Service::Pop3, &self.config.tcprules_pop3)] {
            let file = self.path(service.file());
            let text = self.raw.files.get(service.file()).map(Vec::as_slice).unwrap_or_default();
            let ignored =
                |line| Problem::new(&file, "has no colon, so it is no rule and ignored").at(line).advise("ADDRESS:allow or ADDRESS:deny");
            self.warnings.extend(crate::tcprules::lines_without_colon(text).take(ODD_RULES_MAX).map(ignored));
            let asks = "asks who the client's user is; postino serve asks no client that, so this rule never counts there";
            let told = |key: &[u8], what: &str| Problem::new(&file, format!("the rule for {} {what}", printable(key)));
            self.notes.extend(rules.keys_with_info().take(ODD_RULES_MAX).map(|key| told(key, asks)));
            if service == Service::Pop3 {
                let queue = "sets QMAILQUEUE, which counts for SMTP only";
                self.warnings.extend(rules.keys_setting("QMAILQUEUE").take(ODD_RULES_MAX).map(|key| told(key, queue)));
            }
        }
    }

    fn morercpthosts(&mut self) {
        let file = self.path("morercpthosts");
        if self.raw.has_morercpthosts_cdb {
            self.config.morercpthosts = Some(self.path("morercpthosts.cdb"));
            if self.config.rcpthosts.is_none() {
                self.warnings.push(Problem::new(file, "is ignored while there is no control/rcpthosts"));
            }
        } else if self.raw.files.contains_key("morercpthosts") {
            self.warnings.push(Problem::new(file, "is not compiled, so it has no effect").advise("run qmail-newmrh"));
        }
    }

    fn server_toml(&mut self) {
        let file = self.raw.home.join(table::SERVER_TOML);
        let text = match self.raw.server_toml.as_deref().map(std::str::from_utf8) {
            Some(Err(_)) => return self.problems.push(Problem::new(file, "is not UTF-8")),
            Some(Ok(text)) => text,
            None => "",
        };
        match server_toml::apply(text, &file, &mut self.config) {
            Ok(values) => self.values.extend(values),
            Err(problems) => self.problems.extend(problems),
        }
        for setting in table::settings().filter(|s| s.home == Home::Toml) {
            self.values.entry(setting.name).or_insert_with(|| Value { text: setting.default.to_owned(), origin: Origin::Default });
        }
    }

    fn cross_checks(&mut self) {
        let named = self.named_files();
        let raw = self.raw;
        for name in &raw.unknown_files {
            let path = self.path(name);
            if named.contains(&path) {
                continue;
            }
            let note = Problem::new(path, "is not a file that Postino knows; it is ignored");
            self.notes.push(match table::nearest(name).filter(|near| table::find(near).is_some_and(|s| s.home == Home::File)) {
                Some(near) => note.advise(format!("did you mean {near}?")),
                None => note,
            });
        }
        let config = &self.config;
        let mut both: Vec<_> =
            config.locals.iter().filter(|host| config.virtualdomains.contains_key(*host)).map(|h| printable(h)).collect();
        both.sort();
        for host in both {
            let problem = Problem::new(self.path("virtualdomains"), format!("{host} is in locals too; locals win"));
            self.warnings.push(problem.advise("take it out of one of the two"));
        }
        self.unreachable_hosts();
    }

    /// Files of any name that a setting names: passwords, certificates, rules.
    fn named_files(&self) -> Vec<PathBuf> {
        let server = &self.config.server;
        let fetch = server.fetch.iter().flat_map(|account| account.files().map(|(_, file)| file.to_path_buf()));
        let tls = server.tls.iter().flat_map(|identity| [&identity.certificate, &identity.key]).map(|file| self.config.home.join(file));
        let access = [Service::Smtp, Service::Pop3].into_iter().filter_map(|service| server.access.file(service));
        fetch.chain(tls).chain(access.map(|file| self.config.home.join(file))).collect()
    }

    fn unreachable_hosts(&mut self) {
        let config = &self.config;
        let Some(rcpthosts) = config.rcpthosts.as_ref().filter(|_| config.morercpthosts.is_none()) else { return };
        let covered = |host: &[u8]| {
            let suffix = |i: usize| host.get(i..).is_some_and(|s| rcpthosts.contains(s));
            rcpthosts.contains(host) || host.iter().enumerate().any(|(i, b)| *b == b'.' && suffix(i))
        };
        let virtual_hosts = config.virtualdomains.iter().filter(|(_, prefix)| !prefix.is_empty()).map(|(key, _)| key);
        let plain = virtual_hosts
            .chain(&config.locals)
            .filter(|h| !h.is_empty() && !h.starts_with(b".") && !h.contains(&b'@') && !h.contains(&b' '));
        let mut refused: Vec<String> = plain.filter(|h| !covered(h)).map(|h| printable(h)).collect();
        refused.sort();
        for host in refused {
            self.notes.push(Problem::new(self.path("rcpthosts"), format!("does not name {host}, so strangers cannot send mail there")));
        }
    }
}

/// A name or word as text. Control bytes would end up in replies and header lines.
fn text(line: &[u8]) -> Result<String, String> {
    if line.last() == Some(&b'\r') {
        return Err("ends with a carriage return; take it away: sed -i 's/\\r$//'".into());
    }
    match std::str::from_utf8(line) {
        Ok(text) if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        Ok(_) => Err("holds a control byte".into()),
        Err(_) => Err("is not UTF-8".into()),
    }
}

/// What may stand in banners, Received lines and certificates; underscores for old hosts.
fn is_host_name(name: &str) -> bool {
    name.len() <= 255
        && name.split('.').all(|label| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')))
}

/// `relay`, `relay:port`, `[address]:port`; nothing: by MX. A bad port counts as 25, with a doubt.
pub(crate) fn parse_route(value: &[u8]) -> (SmtpRoute, Option<String>) {
    let value = printable(value);
    let colon = match value.find(']').filter(|_| value.starts_with('[')) {
        Some(bracket) => value.get(bracket..).and_then(|rest| rest.find(':')).map(|i| bracket + i),
        None => value.find(':'),
    };
    let (relay, port) = match colon {
        Some(i) => (value.get(..i).unwrap_or_default(), value.get(i + 1..)),
        None => (value.as_str(), None),
    };
    let relay = relay.trim().to_owned();
    match port.map(|p| p.trim().parse::<u16>().ok().filter(|p| *p != 0)) {
        None => (SmtpRoute { relay, port: 25, auth: None }, None),
        Some(Some(port)) => (SmtpRoute { relay, port, auth: None }, None),
        Some(None) => {
            (SmtpRoute { relay, port: 25, auth: None }, Some(format!("\"{value}\" has no port number after the colon; 25 is used")))
        }
    }
}

fn shown(setting: &Setting, bytes: &[u8]) -> String {
    match setting.kind {
        _ if setting.kind.is_secret() => "(hidden)".into(),
        Kind::Hosts(_) | Kind::Words(_) | Kind::Pairs(_) | Kind::Routes | Kind::Rules(_) | Kind::Rows(_) | Kind::CdbSource => {
            classic::list(bytes).map(|(_, line)| printable(line)).collect::<Vec<_>>().join("\n")
        }
        Kind::Text(_) => String::from_utf8_lossy(classic::trim_end(bytes)).into_owned(),
        _ => printable(classic::line(bytes)),
    }
}

fn first_line(setting: &Setting, bytes: &[u8]) -> usize {
    match setting.kind {
        Kind::Hosts(_) | Kind::Words(_) | Kind::Pairs(_) | Kind::Routes | Kind::Rules(_) | Kind::Rows(_) => {
            classic::list(bytes).next().map_or(1, |(n, _)| n)
        }
        _ => 1,
    }
}

#[cfg(test)]
mod tests;
