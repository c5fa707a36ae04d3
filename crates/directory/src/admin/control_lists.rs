//! The lists in the control directory that name a domain: locals, rcpthosts (and morercpthosts), virtualdomains. Called by domain changes.
//! Keeps comments.

use super::journal::Journal;
use super::{Admin, AdminError};
use postino_control::cdb::CdbWriter;
use postino_control::{classic, edit};
use std::path::Path;

/// vpopmail's limit: from here on new domains go to morercpthosts.
const RCPTHOSTS_LINES_MAX: usize = 50;

/// `None`: no such file.
fn read(path: &Path) -> Result<Option<Vec<u8>>, AdminError> {
    match std::fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(AdminError::io(path)(error)),
    }
}

/// The entries, lower case.
fn entries(text: &[u8]) -> Vec<Vec<u8>> {
    classic::list(text).map(|(_, line)| line.to_ascii_lowercase()).collect()
}

/// The text with one more line, in order, as vpopmail keeps these files; one that is out of order is sorted whole, and noted.
fn with_line(journal: &mut Journal, path: &Path, text: &[u8], line: &str) -> Vec<u8> {
    let edited = edit::add_sorted_line(text, line.as_bytes());
    if edited.was_out_of_order {
        journal.sorted.push(path.to_path_buf());
    }
    edited.bytes
}

/// The text without the lines of which `is_it` is true (asked with the lower-case entry).
fn without(text: &[u8], is_it: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = text.split(|&b| b == b'\n').collect();
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    lines.retain(|line| !is_it(&classic::trim_end(line).to_ascii_lowercase()));
    join(&lines)
}

fn join(lines: &[&[u8]]) -> Vec<u8> {
    lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect()
}

impl Admin {
    /// Makes `domain` a virtual domain of prefix `domain`, not local, and accepted.
    pub(super) fn list_domain(&self, journal: &mut Journal, domain: &str) -> Result<(), AdminError> {
        let path = self.control("virtualdomains");
        let text = read(&path)?.unwrap_or_default();
        let key = format!("{domain}:");
        let clean = without(&text, |line| line.starts_with(key.as_bytes()));
        let text = with_line(journal, &path, &clean, &format!("{domain}:{domain}"));
        journal.replace_list(&path, &text)?;
        self.unlist_local(journal, domain)?;
        self.accept(journal, domain)
    }

    fn unlist_local(&self, journal: &mut Journal, domain: &str) -> Result<(), AdminError> {
        let path = self.control("locals");
        match read(&path)? {
            Some(text) => journal.replace_list(&path, &without(&text, |line| line == domain.as_bytes())),
            // without the file `me` is local, and locals win over virtualdomains
            None if self.settings.me == domain => journal.replace_list(&path, b""),
            None => Ok(()),
        }
    }

    fn accept(&self, journal: &mut Journal, domain: &str) -> Result<(), AdminError> {
        let (path, more_path) = (self.control("rcpthosts"), self.control("morercpthosts"));
        let text = match read(&path)? {
            Some(text) => text,
            None => self.all_hosts(domain)?,
        };
        let more = read(&more_path)?;
        let name = domain.as_bytes().to_vec();
        let listed = entries(&text);
        if listed.contains(&name) || more.as_deref().map(entries).is_some_and(|more| more.contains(&name)) {
            return Ok(());
        }
        if listed.len() < RCPTHOSTS_LINES_MAX {
            let text = with_line(journal, &path, &text, domain);
            return journal.replace_list(&path, &text);
        }
        let more = with_line(journal, &more_path, &more.unwrap_or_default(), domain);
        self.write_more(journal, &more)
    }

    /// What is accepted while rcpthosts is missing: the file must not take it away when it is made.
    fn all_hosts(&self, besides: &str) -> Result<Vec<u8>, AdminError> {
        let locals = read(&self.control("locals"))?.map_or_else(|| vec![self.settings.me.clone().into_bytes()], |text| entries(&text));
        let virtualdomains = read(&self.control("virtualdomains"))?.unwrap_or_default();
        let mut hosts: Vec<Vec<u8>> = classic::pairs(&virtualdomains)
            .filter(|(_, key, prefix)| !prefix.is_empty() && !key.is_empty() && !key.contains(&b'@'))
            .map(|(_, key, _)| key)
            .chain(locals)
            .filter(|host| !host.is_empty() && host != besides.as_bytes())
            .collect();
        hosts.sort();
        hosts.dedup();
        Ok(hosts.into_iter().flat_map(|host| [host, b"\n".to_vec()].concat()).collect())
    }

    fn write_more(&self, journal: &mut Journal, text: &[u8]) -> Result<(), AdminError> {
        let path = self.control("morercpthosts");
        let mut writer = CdbWriter::new();
        for host in entries(text) {
            writer.add(&host, b"")?;
        }
        let data = writer.finish()?;
        journal.replace_list(&path, text)?;
        journal.replace_list(&path.with_extension("cdb"), &data)
    }

    /// Accepts no more mail for `domain` and forgets its prefix.
    pub(super) fn unlist_domain(&self, journal: &mut Journal, domain: &str) -> Result<(), AdminError> {
        let path = self.control("rcpthosts");
        if let Some(text) = read(&path)? {
            journal.replace_list(&path, &without(&text, |line| line == domain.as_bytes()))?;
        }
        let more_path = self.control("morercpthosts");
        if let Some(text) = read(&more_path)? {
            let left = without(&text, |line| line == domain.as_bytes());
            if left != text {
                self.write_more(journal, &left)?;
            }
        }
        let path = self.control("virtualdomains");
        if let Some(text) = read(&path)? {
            let key = format!("{domain}:");
            journal.replace_list(&path, &without(&text, |line| line.starts_with(key.as_bytes())))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_order_and_leave_the_others_alone() {
        let mut journal = Journal::default();
        let mut with = |text: &[u8]| with_line(&mut journal, Path::new("rcpthosts"), text, "b.it");
        assert_eq!(with(b""), b"b.it\n");
        assert_eq!(with(b"# mine\na.it\n\nc.it"), b"# mine\na.it\n\nb.it\nc.it\n");
        assert_eq!(with(b"c.it\na.it\n"), b"a.it\nb.it\nc.it\n");
        assert_eq!(journal.commit(), [Path::new("rcpthosts")]);
        assert_eq!(without(b"# b.it\nA.it\nB.IT \nb.it.x\n", |line| line == b"b.it"), b"# b.it\nA.it\nb.it.x\n");
        assert_eq!(without(b"", |_| true), b"");
    }
}
