//! `boot/` with its sample start scripts, `rc`, and the manual pages. Called by the installation; `rc` and a script that exist are never written again.

use super::record::Record;
use super::{Action, Site};
use anyhow::Context;
use std::path::Path;

/// Where mail goes, by the name of the script.
const BOOT: [(&str, &str); 4] = [
    ("home", "qmail-start ./Mailbox splogger qmail"),
    ("home+df", "qmail-start '|dot-forward .forward\n./Mailbox' splogger qmail"),
    ("maildir", "qmail-start ./Maildir/ splogger qmail"),
    ("proc", "qmail-start '|preline procmail' splogger qmail"),
];

macro_rules! pages {
    ($($name:literal),* $(,)?) => { [$(($name, include_str!(concat!("../../../../../docs/man/", $name)))),*] };
}

const PAGES: [(&str, &str); 19] = pages![
    "cdb.1",
    "forward.1",
    "maildirmake.1",
    "maildirserial.8",
    "postino-config.8",
    "postino-install-compat.8",
    "postino-queue.8",
    "postino-serialmail.8",
    "postino.8",
    "qmail-inject.8",
    "qmail-masq.8",
    "qmail-newu.8",
    "qmail-queue.8",
    "qmail-remote.8",
    "qmail-smtpd.8",
    "qmail-start.8",
    "server.toml.5",
    "tcpserver.1",
    "vadddomain.8",
];

/// Writes what is missing, and notes what was written.
pub(super) fn place(site: &mut Site, record: &mut Record) -> anyhow::Result<()> {
    let home = site.home.clone();
    for (name, start) in BOOT {
        let text = script(&format!("Mail without a .qmail file: {name}."), start);
        if_missing(site, record, &home.join("boot").join(name), &text)?;
    }
    let delivery = std::fs::read_to_string(site.path(&home.join("control/defaultdelivery"))).unwrap_or_default();
    let delivery = if delivery.trim().is_empty() || delivery.contains('\'') { "./Maildir/" } else { delivery.trim() };
    let text = script("Starts the queue engine; boot/ has others to choose from.", &format!("qmail-start '{delivery}' splogger qmail"));
    if_missing(site, record, &home.join("rc"), &text)?;
    for (name, text) in PAGES {
        let section = name.rsplit('.').next().unwrap_or_default();
        let folder = home.join("man").join(format!("man{section}"));
        page(site, record, &folder.join(name), text)?;
        for other in names(text).filter(|other| format!("{other}.{section}") != name) {
            page(site, record, &folder.join(format!("{other}.{section}")), &format!(".so man{section}/{name}\n"))?;
        }
    }
    Ok(())
}

fn script(about: &str, start: &str) -> String {
    format!("#!/bin/sh\n# {about} The log goes to syslog.\nexec env - PATH=\"/var/qmail/bin:$PATH\" \\\n{start}\n")
}

fn if_missing(site: &mut Site, record: &mut Record, inside: &Path, text: &str) -> anyhow::Result<()> {
    let path = site.path(inside);
    if std::fs::symlink_metadata(&path).is_ok() {
        site.step(Action::Kept, inside.display().to_string(), "");
        return Ok(());
    }
    site.folder_of(inside)?;
    if !site.dry {
        postino_disk::replace_file(&path, text.as_bytes(), 0o755).with_context(|| format!("cannot write {}", path.display()))?;
        record.note(inside, &std::fs::symlink_metadata(&path)?, None);
    }
    site.step(Action::Made, inside.display().to_string(), "");
    Ok(())
}

/// Pages are not somebody's work: ours follow the program's version. One step for all would hide a full disk's first victim, one each is too many lines.
fn page(site: &Site, record: &mut Record, inside: &Path, text: &str) -> anyhow::Result<()> {
    let path = site.path(inside);
    site.folder_of(inside)?;
    if site.dry {
        return Ok(());
    }
    if std::fs::read(&path).map_or(true, |old| old != text.as_bytes()) {
        postino_disk::replace_file(&path, text.as_bytes(), 0o644).with_context(|| format!("cannot write {}", path.display()))?;
    }
    record.note(inside, &std::fs::symlink_metadata(&path)?, None);
    Ok(())
}

/// The names of programs that a page describes.
fn names(page: &str) -> impl Iterator<Item = &str> {
    let section = page.split(".Sh NAME\n").nth(1).unwrap_or_default().split("\n.Nd").next().unwrap_or_default();
    section.lines().filter_map(|line| line.strip_prefix(".Nm ")).flat_map(|line| line.split(" ,")).map(str::trim).filter(|name| {
        // `postino queue` is the page of a subcommand.
        !name.is_empty() && !name.contains(' ')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_installed_under_all_its_names() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/man");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(PAGES.iter().any(|(known, _)| *known == name), "{name} is missing in PAGES");
        }
        let (_, page) = PAGES.iter().find(|(name, _)| *name == "qmail-start.8").unwrap();
        let (_, tcpserver) = PAGES.iter().find(|(name, _)| *name == "tcpserver.1").unwrap();
        assert!(names(tcpserver).any(|name| name == "tcprules"));
        assert_eq!(names(page).collect::<Vec<_>>(), ["qmail-start", "qmail-send", "qmail-lspawn", "qmail-rspawn", "qmail-clean"]);
    }
}
