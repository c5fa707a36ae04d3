//! The settings of an old machine: control files, `rc`, users/assign, access rules. Called by the import. Lists are joined with what the home has;
//! where single values differ the home's stay, and the report says so.

use super::Source;
use super::report::Report;
use super::tree::{Doing, moved_paths};
use anyhow::Context;
use postino_control::table::{self, Home, Kind};
use postino_control::{assign, cdb::CdbWriter, classic};
use postino_directory::admin::Owner;
use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Largest control file that is taken, bytes (morercpthosts may be long).
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Copies what lies in `control/`.
pub(super) fn control(source: &Source, home: &Path, doing: Doing, report: &mut Report) -> anyhow::Result<()> {
    let (from, to) = (source.qmail.join("control"), home.join("control"));
    let mut names: Vec<_> = std::fs::read_dir(&from)
        .with_context(|| format!("cannot read {}", from.display()))?
        .map(|e| e.map(|e| e.file_name()))
        .collect::<Result<_, _>>()?;
    names.sort();
    for name in names {
        let path = from.join(&name);
        let Some(text) = name.to_str() else {
            report.left(&path, "a name that no control file has");
            continue;
        };
        if text.ends_with(".cdb") || matches!(text, "server.toml" | "vpopmail-home" | "defaultdelivery") {
            continue;
        }
        let meta = std::fs::symlink_metadata(&path)?;
        let known = table::find(text).is_some_and(|setting| setting.home == Home::File) || text == "tcp.smtp";
        if !known || !meta.is_file() || meta.len() > FILE_BYTES_MAX {
            report.left(&path, if known { "no plain file of a control file's size" } else { "no setting of Postino's (a patch's?)" });
            continue;
        }
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        put(&to.join(text), &bytes, is_list(text), doing, report)?;
    }
    more_hosts(&to, doing)?;
    default_delivery(source, &to, doing, report)
}

fn is_list(name: &str) -> bool {
    name == "morercpthosts"
        || table::find(name).is_some_and(|setting| {
            !matches!(
                setting.kind,
                Kind::Line(_) | Kind::LineOrMe(_) | Kind::Number { .. } | Kind::Text(_) | Kind::Choice(..) | Kind::Path(_)
            )
        })
}

fn put(to: &Path, bytes: &[u8], is_list: bool, doing: Doing, report: &mut Report) -> anyhow::Result<()> {
    let name = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let text = match std::fs::read(to) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bytes.to_vec(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", to.display())),
        Ok(old) if old == bytes => return Ok(()),
        Ok(old) if is_list => match joined(&old, bytes) {
            Some(text) => text,
            None => return Ok(()),
        },
        Ok(old) if classic::line(&old) == classic::line(bytes) => return Ok(()),
        Ok(_) => {
            report.left(to, "has another value here, which stays");
            return Ok(());
        }
    };
    report.settings.push(format!("control/{name}"));
    if doing == Doing::Copy {
        postino_disk::replace_file(to, &text, 0o644).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

/// The old lines and those of `more` that are not among them; `None`: nothing new.
fn joined(old: &[u8], more: &[u8]) -> Option<Vec<u8>> {
    let there: HashSet<&[u8]> = classic::list(old).map(|(_, line)| line).collect();
    let new: Vec<&[u8]> = classic::list(more).map(|(_, line)| line).filter(|line| !there.contains(line)).collect();
    if new.is_empty() {
        return None;
    }
    let mut text = old.to_vec();
    if text.last().is_some_and(|&b| b != b'\n') {
        text.push(b'\n');
    }
    for line in new {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    Some(text)
}

/// qmail-newmrh's work.
fn more_hosts(control: &Path, doing: Doing) -> anyhow::Result<()> {
    let path = control.join("morercpthosts");
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        read => read?,
    };
    if doing == Doing::Plan {
        return Ok(());
    }
    let mut writer = CdbWriter::new();
    for (_, host) in classic::list(&text) {
        writer.add(&host.to_ascii_lowercase(), b"")?;
    }
    Ok(postino_disk::replace_file(&path.with_extension("cdb"), &writer.finish()?, 0o644)?)
}

/// qmail-start's argument in `rc` is the default delivery.
fn default_delivery(source: &Source, control: &Path, doing: Doing, report: &mut Report) -> anyhow::Result<()> {
    let own = source.qmail.join("control/defaultdelivery");
    if let Ok(bytes) = std::fs::read(&own) {
        return put(&control.join("defaultdelivery"), &bytes, false, doing, report);
    }
    let rc = source.qmail.join("rc");
    let Ok(text) = std::fs::read(&rc) else { return Ok(()) };
    match delivery_in(&String::from_utf8_lossy(&text)) {
        Some(Ok(delivery)) => put(&control.join("defaultdelivery"), format!("{delivery}\n").as_bytes(), false, doing, report)?,
        Some(Err(word)) => report.left(&rc, &format!("starts qmail with {word}: put the default delivery into control/defaultdelivery")),
        None => {}
    }
    Ok(())
}

/// The word after `qmail-start`: quoted or plain. `Err`: one that the shell would have to expand.
fn delivery_in(rc: &str) -> Option<Result<String, String>> {
    let is_comment =
        |at: usize| rc.get(..at).and_then(|text| text.lines().next_back()).is_some_and(|line| line.trim_start().starts_with('#'));
    let (at, name) = rc.match_indices("qmail-start").find(|(at, _)| !is_comment(*at))?;
    let rest = rc.get(at + name.len()..)?.trim_start();
    let quote = rest.chars().next()?;
    let word = if matches!(quote, '\'' | '"') { rest.get(1..)?.split(quote).next()? } else { rest.split_whitespace().next()? };
    if word.is_empty() || (quote != '\'' && word.contains(['$', '`'])) {
        return Some(Err(word.to_owned()));
    }
    Some(Ok(word.to_owned()))
}

/// users/assign: domains get their new place and owner, other lines stay as they are.
pub(super) fn assignments(source: &Source, home: &Path, owner: Owner, doing: Doing, report: &mut Report) -> anyhow::Result<()> {
    let path = home.join("users/assign");
    let mut lines = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        Ok(text) => assign::parse(&text).with_context(|| format!("{}", path.display()))?,
    };
    let there: HashSet<Vec<u8>> = lines.iter().map(|line| key(&line.matches)).collect();
    let mut new = 0usize;
    for line in &source.assign {
        if there.contains(&key(&line.matches)) {
            continue;
        }
        let mut line = line.clone();
        let [user, uid, gid, directory, ..] = &mut line.fields;
        if source.is_moved(directory) {
            *directory = moved_paths(directory, source.vpopmail.as_os_str().as_bytes(), source.new_vpopmail.as_os_str().as_bytes());
            (*uid, *gid) = (owner.uid.to_string().into_bytes(), owner.gid.to_string().into_bytes());
        } else if nix::unistd::User::from_name(&String::from_utf8_lossy(user)).ok().flatten().is_none() && !directory.is_empty() {
            report.note(format!(
                "users/assign: {} is no account of this machine; its number {} stands as it is",
                String::from_utf8_lossy(user),
                String::from_utf8_lossy(uid)
            ));
        }
        lines.push(line);
        new += 1;
    }
    if new == 0 {
        return Ok(());
    }
    report.settings.push(format!("users/assign ({new} lines)"));
    if doing == Doing::Copy {
        // The text first, the data base after it: readers take the data base, and the next run makes it again.
        postino_disk::replace_file(&path, &assign::print(&lines), 0o644).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// users/cdb from users/assign: the last step of the domains, which makes them known.
pub(super) fn assignment_data(home: &Path) -> anyhow::Result<()> {
    let path = home.join("users/assign");
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        read => read?,
    };
    let data = assign::to_cdb(&assign::parse(&text).with_context(|| format!("{}", path.display()))?)?;
    postino_disk::replace_file(&home.join("users/cdb"), &data, 0o644).context("cannot write users/cdb")
}

fn key(matches: &assign::Match) -> Vec<u8> {
    match matches {
        assign::Match::Exact(name) => [b"=", name.as_slice()].concat(),
        assign::Match::Prefix(name) => [b"+", name.as_slice()].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_joined_without_doubles() {
        assert_eq!(joined(b"a\nb", b"b\n# c\nd\n").unwrap(), b"a\nb\nd\n");
        assert!(joined(b"a\nb\n", b"b\n").is_none());
    }

    #[test]
    fn the_default_delivery_of_an_rc() {
        let of = |text: &str| delivery_in(text);
        assert_eq!(
            of("#!/bin/sh\n# qmail-start ./x\nexec env - PATH=\"/var/qmail/bin:$PATH\" \\\nqmail-start ./Maildir/ splogger qmail\n"),
            Some(Ok("./Maildir/".into()))
        );
        assert_eq!(of("qmail-start '|dot-forward .forward\n./Mailbox' splogger"), Some(Ok("|dot-forward .forward\n./Mailbox".into())));
        assert_eq!(of("qmail-start \"$DEFAULT\" x"), Some(Err("$DEFAULT".into())));
        assert_eq!(of("echo no"), None);
    }
}
