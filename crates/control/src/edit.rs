//! New contents for control files: `config set` and `unset`, and single lines of list files as vpopmail edits them. Bytes in, bytes out:
//! the caller puts them durably in place. Comments and order of what is not touched are kept.

use crate::problem::Problem;
use crate::raw::Raw;
use crate::server_toml;
use crate::table::{self, Home, Kind, Setting};

/// Why an edit is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The table says so.
    #[error("{0} cannot be changed with this command; edit the file")]
    NotEditable(&'static str),
    /// The value does not fit.
    #[error("{0}")]
    Value(String),
    /// `server.toml` does not parse, or writes the key in a form that only a person should edit.
    #[error("control/server.toml cannot be edited safely: {0}")]
    File(String),
}

/// The new content of the setting's file ([`Setting::file`]) after `config set NAME VALUE`. `old`: its bytes now, if it exists. Entries of
/// lists are parted by blanks, commas or line ends; rules, texts and virtualdomains by line ends alone.
pub fn set(setting: &'static Setting, value: &str, old: Option<&[u8]>) -> Result<Vec<u8>, EditError> {
    if !setting.editable {
        return Err(EditError::NotEditable(setting.name));
    }
    let new = match setting.home {
        Home::File => classic_value(setting, value).into_bytes(),
        Home::Toml => toml_set(setting, value, old)?,
    };
    check(setting, &new)?;
    Ok(new)
}

/// The new content after `config unset NAME`; `None`: remove the file.
pub fn unset(setting: &'static Setting, old: Option<&[u8]>) -> Result<Option<Vec<u8>>, EditError> {
    if !setting.editable || setting.name == "me" {
        return Err(EditError::NotEditable(setting.name));
    }
    match (setting.home, old) {
        (Home::File, _) | (Home::Toml, None) => Ok(None),
        (Home::Toml, Some(old)) => toml_unset(setting, old).map(Some),
    }
}

/// A new value must load without an error and without a warning of its own.
fn check(setting: &'static Setting, new: &[u8]) -> Result<(), EditError> {
    let mut raw = Raw::default();
    raw.files.insert("me", b"localhost".to_vec());
    match setting.home {
        Home::File => drop(raw.files.insert(setting.name, new.to_vec())),
        Home::Toml => raw.server_toml = Some(new.to_vec()),
    }
    let file = setting.file();
    let refuse = |problem: &Problem| {
        let advice = if problem.advice.is_empty() { String::new() } else { format!(" ({})", problem.advice) };
        EditError::Value(format!("{}{advice}", problem.reason))
    };
    match crate::load::resolve(&raw) {
        Ok(loaded) => loaded.warnings.iter().find(|p| p.file == file && setting.name != "morercpthosts").map_or(Ok(()), |p| Err(refuse(p))),
        Err(problems) => problems.iter().find(|p| p.file == file).map_or(Ok(()), |p| Err(refuse(p))),
    }
}

fn classic_value(setting: &Setting, value: &str) -> String {
    let words: Vec<&str> = match setting.kind {
        Kind::Hosts(_) | Kind::Words(_) | Kind::Routes | Kind::CdbSource => {
            value.split([' ', '\t', ',', '\n']).filter(|w| !w.is_empty()).collect()
        }
        Kind::Pairs(_) | Kind::Rules(_) | Kind::Rows(_) | Kind::Text(_) => value.lines().collect(),
        _ => vec![value.trim_end_matches('\n')],
    };
    words.iter().map(|w| format!("{w}\n")).collect()
}

fn toml_value(setting: &Setting, value: &str) -> Result<String, EditError> {
    let value = value.trim();
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    if value.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return Err(EditError::Value("holds a control byte".into()));
    }
    Ok(match setting.kind {
        Kind::Number { min, max, .. } => {
            let number: u64 =
                value.parse().map_err(|_| EditError::Value(format!("{} must be a number from {min} to {max}", setting.name)))?;
            number.to_string()
        }
        Kind::Flag(_) if matches!(value, "true" | "false") => value.to_owned(),
        Kind::Flag(_) => return Err(EditError::Value(format!("{} must be true or false", setting.name))),
        Kind::Sockets(..) | Kind::Ips(_) | Kind::Words(_) => {
            let words: Vec<String> = value.split([' ', '\t', ',', '\n']).filter(|w| !w.is_empty()).map(quoted).collect();
            format!("[{}]", words.join(", "))
        }
        _ => quoted(value),
    })
}

fn toml_text(old: Option<&[u8]>) -> Result<&str, EditError> {
    std::str::from_utf8(old.unwrap_or_default()).map_err(|_| EditError::File("it is not UTF-8".into()))
}

fn toml_set(setting: &Setting, value: &str, old: Option<&[u8]>) -> Result<Vec<u8>, EditError> {
    let old = toml_text(old)?;
    let value = toml_value(setting, value)?;
    let (section, key) = setting.name.rsplit_once('.').unwrap_or(("", setting.name));
    let mut new = old.to_owned();
    if let Some((_, span)) = server_toml::find_spans(old, setting.name) {
        new.replace_range(span, &value);
    } else {
        let line = format!("{key} = {value}\n");
        if let Some(at) = section_start(old, section) {
            new.insert_str(at, &line);
        } else {
            if !new.is_empty() {
                new.push_str(if new.ends_with('\n') { "\n" } else { "\n\n" });
            }
            new.push_str(&format!("[{section}]\n{line}"));
        }
    }
    match server_toml::find_spans(&new, setting.name) {
        Some((_, span)) if new.get(span.clone()) == Some(value.as_str()) => Ok(new.into_bytes()),
        _ => Err(EditError::File(format!("{} is not written where it is expected", setting.name))),
    }
}

/// Where a new key of this section goes: after the header line, or at the start of the file for the top level.
fn section_start(text: &str, section: &str) -> Option<usize> {
    if section.is_empty() {
        // after the comment that heads the file, before the first key or table
        return Some(text.split_inclusive('\n').take_while(|l| l.starts_with('#') && l.ends_with('\n')).map(str::len).sum());
    }
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        offset += line.len();
        let header = line.split('#').next().unwrap_or_default().trim();
        let name = header.strip_prefix('[').and_then(|h| h.strip_suffix(']')).map(str::trim);
        if name == Some(section) && line.ends_with('\n') {
            return Some(offset);
        }
    }
    None
}

fn toml_unset(setting: &Setting, old: &[u8]) -> Result<Vec<u8>, EditError> {
    let old = toml_text(Some(old))?;
    let Some((key, value)) = server_toml::find_spans(old, setting.name) else { return Ok(old.as_bytes().to_vec()) };
    let start = old.get(..key.start).and_then(|before| before.rfind('\n')).map_or(0, |i| i + 1);
    let end = old.get(value.end..).and_then(|rest| rest.find('\n')).map_or(old.len(), |i| value.end + i + 1);
    let mut new = old.to_owned();
    new.replace_range(start..end, "");
    let others_kept = table::settings()
        .filter(|s| s.home == Home::Toml && s.name != setting.name)
        .all(|s| value_text(&new, s.name) == value_text(old, s.name));
    if server_toml::find_spans(&new, setting.name).is_some() || !others_kept {
        return Err(EditError::File(format!("{} shares its line with other keys", setting.name)));
    }
    Ok(new.into_bytes())
}

fn value_text<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    server_toml::find_spans(text, name).and_then(|(_, span)| text.get(span))
}

/// A list file after an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// The new content.
    pub bytes: Vec<u8>,
    /// False when the line was there already (or was not there to be removed).
    pub changed: bool,
    /// Entries were out of order and the whole file was sorted: vpopmail's `NOTICE: Out of order entries found in FILE`.
    pub was_out_of_order: bool,
}

fn lines(old: &[u8]) -> Vec<&[u8]> {
    let old = old.strip_suffix(b"\n").unwrap_or(old);
    if old.is_empty() { Vec::new() } else { old.split(|&b| b == b'\n').collect() }
}

fn joined(lines: &[&[u8]]) -> Vec<u8> {
    lines.iter().flat_map(|l| l.iter().copied().chain(std::iter::once(b'\n'))).collect()
}

fn is_entry(line: &[u8]) -> bool {
    !line.is_empty() && line.first() != Some(&b'#')
}

/// Adds a line at the end, unless it is there. `line` without its line end.
#[must_use]
pub fn add_line(old: &[u8], line: &[u8]) -> Edited {
    let mut all = lines(old);
    let changed = !all.iter().any(|l| crate::classic::trim_end(l).eq_ignore_ascii_case(line));
    if changed {
        all.push(line);
    }
    Edited { bytes: joined(&all), changed, was_out_of_order: false }
}

/// Adds a line in byte order, as vpopmail keeps rcpthosts and virtualdomains. A file out of order is sorted whole.
#[must_use]
pub fn add_sorted_line(old: &[u8], line: &[u8]) -> Edited {
    let mut all = lines(old);
    let entries: Vec<&[u8]> = all.iter().copied().filter(|l| is_entry(l)).collect();
    let was_out_of_order = !entries.is_sorted();
    let changed = !entries.iter().any(|l| crate::classic::trim_end(l).eq_ignore_ascii_case(line));
    if was_out_of_order {
        all.sort_unstable();
    }
    if changed {
        let at = all.iter().position(|l| is_entry(l) && *l > line).unwrap_or(all.len());
        all.insert(at, line);
    }
    Edited { bytes: joined(&all), changed, was_out_of_order }
}

/// Removes every line that is this entry (trailing blanks and case do not matter).
#[must_use]
pub fn remove_line(old: &[u8], line: &[u8]) -> Edited {
    let all = lines(old);
    let kept: Vec<&[u8]> = all.iter().copied().filter(|l| !crate::classic::trim_end(l).eq_ignore_ascii_case(line)).collect();
    Edited { changed: kept.len() != all.len(), bytes: joined(&kept), was_out_of_order: false }
}

/// Adds a line to users/assign, sorted, before the final `.` (which is made when it is missing).
#[must_use]
pub fn add_assign_line(old: &[u8], line: &[u8]) -> Edited {
    let (body, end) = split_assign(old);
    let mut edited = add_sorted_line(body, line);
    edited.bytes.extend_from_slice(end);
    edited
}

/// Removes a line from users/assign.
#[must_use]
pub fn remove_assign_line(old: &[u8], line: &[u8]) -> Edited {
    let (body, end) = split_assign(old);
    let mut edited = remove_line(body, line);
    edited.bytes.extend_from_slice(end);
    edited
}

fn split_assign(old: &[u8]) -> (&[u8], &[u8]) {
    let mut offset = 0;
    for line in old.split_inclusive(|&b| b == b'\n') {
        if line.first() == Some(&b'.') {
            return (old.get(..offset).unwrap_or_default(), old.get(offset..).unwrap_or_default());
        }
        offset += line.len();
    }
    (old, b".\n")
}

#[cfg(test)]
mod tests;
