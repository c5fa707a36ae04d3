//! Alias lines in `.qmail-NAME` files of the domain's directory, dots of the name as colons. Called through the port by alias commands.
//! Never touches `.qmail-default`, which says what becomes of unknown names.

use super::place::Places;
use super::{io, read_if_there};
use crate::admin::ActingAs;
use crate::admin::journal::{lock, own};
use postino_ports::accounts::{AccountsError, Aliases};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Longest line, in bytes (vpopmail's field).
const LINE_BYTES_MAX: usize = 159;

#[derive(Debug)]
pub(super) struct FileAliases {
    places: Places,
}

impl FileAliases {
    pub(super) fn new(places: Places) -> Self {
        Self { places }
    }
}

/// The file of an alias. `default` is the domain's own file, and a slash would lead out of the directory.
fn file(directory: &Path, alias: &str) -> Result<PathBuf, AccountsError> {
    let good = !alias.is_empty() && alias != "default" && !alias.bytes().any(|b| matches!(b, b'/' | 0 | b'\n' | b':'));
    if good {
        Ok(directory.join(format!(".qmail-{}", alias.replace('.', ":"))))
    } else {
        Err(AccountsError::NotKept { what: "an alias of this name" })
    }
}

fn lines_of(text: &[u8]) -> Vec<String> {
    let lines = text.split(|&b| b == b'\n').map(|line| String::from_utf8_lossy(line).trim_end_matches([' ', '\t', '\r']).to_owned());
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

impl Aliases for FileAliases {
    fn lines(&self, domain: &str, alias: &str) -> Result<Vec<String>, AccountsError> {
        let Some(place) = self.places.find(domain)? else { return Ok(Vec::new()) };
        let _acting = ActingAs::begin(place.owner)?; // a link in the domain's directory leads its owner only
        Ok(read_if_there(&file(&place.directory, alias)?)?.map(|text| lines_of(&text)).unwrap_or_default())
    }

    fn page(&self, domain: &str, after: Option<&str>, count_max: usize) -> Result<Vec<(String, String)>, AccountsError> {
        let place = self.places.get(domain)?;
        let _acting = ActingAs::begin(place.owner)?;
        let directory = place.directory;
        let mut names: BTreeMap<String, PathBuf> = BTreeMap::new();
        for entry in std::fs::read_dir(&directory).map_err(io(&directory))? {
            let entry = entry.map_err(io(&directory))?;
            let Some(name) =
                entry.file_name().as_bytes().strip_prefix(b".qmail-").map(|stem| String::from_utf8_lossy(stem).replace(':', "."))
            else {
                continue;
            };
            let wanted = !name.is_empty() && name != "default" && after.is_none_or(|after| name.as_str() > after);
            if wanted && entry.file_type().map_err(io(&directory))?.is_file() {
                names.insert(name, entry.path());
            }
        }
        let mut pairs = Vec::new();
        for (name, path) in names.into_iter().take(count_max) {
            let text = read_if_there(&path)?.unwrap_or_default();
            pairs.extend(lines_of(&text).into_iter().map(|line| (name.clone(), line)));
        }
        Ok(pairs)
    }

    fn add_line(&self, domain: &str, alias: &str, line: &str) -> Result<(), AccountsError> {
        if line.len() > LINE_BYTES_MAX {
            return Err(AccountsError::TooLong { column: "valias_line", bytes_max: LINE_BYTES_MAX });
        }
        let line = line.trim_end_matches([' ', '\t']);
        if line.is_empty() || line.bytes().any(|b| matches!(b, b'\n' | 0)) {
            return Err(AccountsError::Damaged { what: "the alias line".into() });
        }
        let place = self.places.get(domain)?;
        let path = file(&place.directory, alias)?;
        let _acting = ActingAs::begin(place.owner)?;
        let _lock = lock(&place.directory.join(".vpasswd.lock"), Some(place.owner))?;
        let mut text = read_if_there(&path)?.unwrap_or_default();
        let is_new = text.is_empty();
        if !text.is_empty() && !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
        postino_disk::replace_file(&path, &text, 0o600).map_err(io(&path))?;
        if is_new {
            own(&path, place.owner)?;
        }
        Ok(())
    }

    fn remove(&self, domain: &str, alias: &str, line: Option<&str>) -> Result<bool, AccountsError> {
        let place = self.places.get(domain)?;
        let path = file(&place.directory, alias)?;
        let _acting = ActingAs::begin(place.owner)?;
        let _lock = lock(&place.directory.join(".vpasswd.lock"), Some(place.owner))?;
        let Some(text) = read_if_there(&path)? else { return Ok(false) };
        let left: Vec<&[u8]> = match line {
            None => Vec::new(),
            Some(line) => {
                let is_it = |raw: &[u8]| lines_of(raw).first().is_some_and(|found| found == line);
                text.split_inclusive(|&b| b == b'\n').filter(|raw| !is_it(raw)).collect()
            }
        };
        let left = left.concat();
        if left == text {
            return Ok(false);
        }
        if lines_of(&left).is_empty() {
            std::fs::remove_file(&path).map_err(io(&path))?;
            postino_disk::sync_dir(&place.directory).map_err(io(&place.directory))?;
        } else {
            postino_disk::replace_file(&path, &left, 0o600).map_err(io(&path))?;
        }
        Ok(true)
    }

    fn remove_domain(&self, domain: &str) -> Result<(), AccountsError> {
        if self.places.find(domain)?.is_none() {
            return Ok(());
        }
        for (name, _) in self.page(domain, None, usize::MAX)? {
            self.remove(domain, &name, None)?;
        }
        Ok(())
    }
}
