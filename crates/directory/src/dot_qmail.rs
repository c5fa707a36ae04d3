//! dot-qmail(5) as far as the directory needs it: which file governs an address, and whether it is simple enough to be done without a process.
//! Called by the look-ups. Reads files, carries nothing out; whatever it does not wholly understand goes to the spawner.

use crate::files::{FileCache, is_absent};
use crate::trouble::Trouble;
use postino_types::{Address, Time};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Larger files are left to the spawner.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Longest file name (ext4, xfs, …).
const NAME_BYTES_MAX: usize = 255;

/// The file that governs an address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its name.
    pub(crate) name: Vec<u8>,
    /// Its bytes.
    pub(crate) text: Vec<u8>,
    /// Its permission bits.
    pub(crate) mode: u32,
}

/// The names to try, in order: `.qmail` DASH EXT (lower case, dots as colons), then `…default` at each hyphen from the right.
pub(crate) fn candidates(dash: &[u8], ext: &[u8]) -> Vec<Vec<u8>> {
    let ext: Vec<u8> = ext.iter().map(|&b| if b == b'.' { b':' } else { b.to_ascii_lowercase() }).collect();
    let name = |stem: &[u8], tail: &[u8]| [b".qmail", dash, stem, tail].concat();
    let cuts = (0..=ext.len()).rev().filter(|&end| end == 0 || ext.get(end - 1) == Some(&b'-'));
    let defaults = cuts.map(|end| name(ext.get(..end).unwrap_or_default(), b"default"));
    std::iter::once(name(&ext, b"")).chain(defaults).filter(|name| name.len() <= NAME_BYTES_MAX && !name.contains(&0)).collect()
}

/// Reads the first of `names` that is a regular file in `home`. An error other than "not there" ends the search, as in qmail-local.
pub(crate) fn read_first(files: &FileCache, now: Time, home: &Path, names: Vec<Vec<u8>>) -> Result<Option<Found>, (Vec<u8>, io::Error)> {
    for name in names {
        match files.small(&home.join(OsStr::from_bytes(&name)), FILE_BYTES_MAX, now) {
            Ok(None) => {}
            Ok(Some(small)) => return Ok(Some(Found { name, text: small.text, mode: small.mode })),
            Err(error) => return Err((name, error)),
        }
    }
    Ok(None)
}

/// Is one of `names` a regular file in `home`?
pub(crate) fn any_there(home: &Path, names: &[Vec<u8>]) -> io::Result<bool> {
    for name in names {
        match std::fs::metadata(home.join(OsStr::from_bytes(name))) {
            Ok(metadata) if metadata.is_file() => return Ok(true),
            Ok(_) => {}
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Like [`any_there`] for one name, errors as trouble.
pub(crate) fn is_there(home: &Path, name: &[u8]) -> Result<bool, Trouble> {
    any_there(home, &[name.to_vec()]).map_err(|error| Trouble::io(home, &error))
}

/// What a file of a virtual domain or user asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Forwards only.
    Forward(Vec<Address>),
    /// Only the account's own Maildir.
    OwnMaildir,
    /// Only comments: accept and throw away.
    Discard,
    /// An empty file.
    Empty,
    /// `| …/vdelivermail '' ACTION`.
    Vdelivermail(Action),
    /// Anything else.
    Other,
}

/// The catch-all of a domain.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// `bounce-no-mailbox`.
    Bounce,
    /// `delete`.
    Delete,
    /// An absolute directory.
    Directory(Vec<u8>),
    /// An address.
    Forward(Address),
}

/// Understands a file; `own_maildir` is the absolute path, with its final slash, that means "the account's own Maildir".
pub(crate) fn meaning(text: &[u8], own_maildir: &[u8]) -> Meaning {
    if text.is_empty() {
        return Meaning::Empty;
    }
    let mut forwards = Vec::new();
    let mut own = false;
    for (number, line) in text.split(|&b| b == b'\n').enumerate() {
        let line = trim_end(line);
        match line.first() {
            None if number == 0 => return Meaning::Other, // qmail-local: "first line of .qmail file is blank"
            None | Some(b'#') => {}
            Some(b'.' | b'/') if line == b"./Maildir/" || line == own_maildir => own = true,
            Some(b'|') => match vdelivermail(line) {
                Some(action) if forwards.is_empty() && !own && only_comments_after(text, number) => return Meaning::Vdelivermail(action),
                _ => return Meaning::Other,
            },
            Some(b'.' | b'/' | b'+') => return Meaning::Other,
            Some(first) => {
                let target = if *first == b'&' { line.get(1..).unwrap_or_default() } else { line };
                match Address::from_bytes(target) {
                    Ok(address) if !target.is_empty() => forwards.push(address),
                    _ => return Meaning::Other,
                }
            }
        }
    }
    match (forwards.is_empty(), own) {
        (true, true) => Meaning::OwnMaildir,
        (true, false) => Meaning::Discard,
        (false, false) => Meaning::Forward(forwards),
        (false, true) => Meaning::Other,
    }
}

fn only_comments_after(text: &[u8], number: usize) -> bool {
    text.split(|&b| b == b'\n').skip(number + 1).map(trim_end).all(|line| line.is_empty() || line.first() == Some(&b'#'))
}

fn trim_end(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|b| !matches!(b, b' ' | b'\t')).map_or(0, |at| at + 1);
    line.get(..end).unwrap_or_default()
}

fn vdelivermail(line: &[u8]) -> Option<Action> {
    let mut words = line.get(1..)?.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty());
    let program = words.next()?;
    if program.rsplit(|&b| b == b'/').next() != Some(b"vdelivermail") || !matches!(words.next()?, b"''" | b"\"\"") {
        return None;
    }
    let action = words.next()?;
    if words.next().is_some() || action.iter().any(|b| b"'\"\\$`;|&<>(){}*?[]~#!".contains(b)) {
        return None; // the shell would see more than a word
    }
    match action {
        b"bounce-no-mailbox" => Some(Action::Bounce),
        b"delete" => Some(Action::Delete),
        [b'/', ..] => Some(Action::Directory(action.to_vec())),
        _ if action.contains(&b'@') => Address::from_bytes(action).ok().map(Action::Forward),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dash: &str, ext: &str) -> Vec<String> {
        candidates(dash.as_bytes(), ext.as_bytes()).into_iter().map(|n| String::from_utf8(n).unwrap()).collect()
    }

    fn meant(text: &str) -> Meaning {
        meaning(text.as_bytes(), b"/d/u/Maildir/")
    }

    #[test]
    fn search_order_of_the_manual() {
        assert_eq!(names("", ""), [".qmail", ".qmaildefault"]);
        assert_eq!(names("-", ""), [".qmail-", ".qmail-default"]);
        assert_eq!(names("-", "a-B.c"), [".qmail-a-b:c", ".qmail-a-default", ".qmail-default"]);
        assert_eq!(names("-", "a-"), [".qmail-a-", ".qmail-a-default", ".qmail-default"]);
    }

    #[test]
    fn hostile_extensions_stay_in_the_directory_and_bounded() {
        assert_eq!(names("-", "../../etc/passwd"), [".qmail-::/::/etc/passwd", ".qmail-default"]);
        let many = names("-", &"a-".repeat(500));
        assert!(many.iter().all(|n| n.len() <= NAME_BYTES_MAX), "no name that cannot exist is tried");
        assert_eq!(many.last().map(String::as_str), Some(".qmail-default"));
    }

    #[test]
    fn simple_files() {
        let to = |s: &str| Address::from_bytes(s.as_bytes()).unwrap();
        assert_eq!(meant(""), Meaning::Empty);
        assert_eq!(meant("# nothing\n"), Meaning::Discard);
        assert_eq!(meant("&a@x\nb@y \n\n# c\n"), Meaning::Forward(vec![to("a@x"), to("b@y")]));
        assert_eq!(meant("/d/u/Maildir/\n"), Meaning::OwnMaildir);
        assert_eq!(meant("./Maildir/\n"), Meaning::OwnMaildir);
        for other in [
            "\na@x\n",
            "./Mailbox\n",
            "/d/v/Maildir/\n",
            "| prog\n",
            "&\n",
            "a@x\n./Maildir/\n",
            "+list\na@x\n",
            "a@x\n| /v/vdelivermail '' delete\n",
        ] {
            assert_eq!(meant(other), Meaning::Other, "{other:?}");
        }
    }

    #[test]
    fn vdelivermail_lines() {
        let line = |action: &str| meant(&format!("| /home/vpopmail/bin/vdelivermail '' {action}\n"));
        assert_eq!(line("bounce-no-mailbox"), Meaning::Vdelivermail(Action::Bounce));
        assert_eq!(line("delete"), Meaning::Vdelivermail(Action::Delete));
        assert_eq!(line("/d/u"), Meaning::Vdelivermail(Action::Directory(b"/d/u".to_vec())));
        assert_eq!(line("a@x"), Meaning::Vdelivermail(Action::Forward(Address::from_bytes(b"a@x").unwrap())));
        for other in ["", "a b", "$HOME", "'x'", "a@x;rm", "nobody"] {
            assert_eq!(line(other), Meaning::Other, "{other:?}");
        }
        assert_eq!(meant("|/v/vdelivermail '' delete\n| other\n"), Meaning::Other);
    }

    proptest::proptest! {
        #[test]
        fn any_file_is_survived(text in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = meaning(&text, b"/d/u/Maildir/");
        }
    }
}
