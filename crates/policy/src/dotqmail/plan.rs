//! Which dot-qmail file governs an address, who is the sender of its forwards, and the steps in their order. Pure.

use super::parse::Line;
use postino_types::{Address, AddressError, ReversePath};

/// A file name to try, relative to the home directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// `.qmail-a-default`.
    pub name: Vec<u8>,
    /// The value of DEFAULT when this file governs: the part of the extension (case kept) that `default` stands for.
    pub default_part: Option<Vec<u8>>,
}

/// The names in the order in which they are tried. Without dash and extension a missing `.qmail` (and `.qmaildefault`) means the
/// default delivery; otherwise no file means no mailbox.
#[must_use]
pub fn candidates(dash: &[u8], ext: &[u8]) -> Vec<Candidate> {
    let safe = safe_ext(ext);
    let tail = |from: usize| ext.get(from..).unwrap_or_default().to_vec();
    let exact_default = safe.len().checked_sub(7).filter(|_| safe.ends_with(b"default")).map(tail);
    let mut names = vec![Candidate { name: name(dash, &safe, b""), default_part: exact_default }];
    for end in (0..=safe.len()).rev() {
        let stem = safe.get(..end).unwrap_or_default();
        if end == 0 || stem.last() == Some(&b'-') {
            names.push(Candidate { name: name(dash, stem, b"default"), default_part: Some(tail(end)) });
        }
    }
    names
}

/// Lower case, dots as colons: no `..` can come out of an address.
fn safe_ext(ext: &[u8]) -> Vec<u8> {
    ext.iter().map(|&b| if b == b'.' { b':' } else { b.to_ascii_lowercase() }).collect()
}

fn name(dash: &[u8], ext: &[u8], end: &[u8]) -> Vec<u8> {
    [b".qmail", dash, ext, end].concat()
}

/// The two names that say whether forwards get a new sender: `…-owner` and `…-owner-default`. By the recipient's own extension.
#[must_use]
pub fn owner_names(dash: &[u8], ext: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let safe = safe_ext(ext);
    (name(dash, &safe, b"-owner"), name(dash, &safe, b"-owner-default"))
}

/// Which owner files exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// None.
    Missing,
    /// `…-owner` only.
    Owner,
    /// Both: a VERP sender.
    OwnerDefault,
}

/// NEWSENDER. Errors only when the new address would be too long.
pub fn new_sender(sender: &ReversePath, local: &[u8], domain: &[u8], owner: Owner) -> Result<ReversePath, AddressError> {
    let end: &[u8] = match (sender, owner) {
        (ReversePath::Address(_), Owner::Owner) => b"-owner@",
        (ReversePath::Address(_), Owner::OwnerDefault) => b"-owner-@",
        _ => return Ok(sender.clone()),
    };
    let mark: &[u8] = if owner == Owner::OwnerDefault { b"-@[]" } else { b"" };
    Address::from_bytes(&[local, end, domain, mark].concat()).map(ReversePath::Address)
}

/// One step of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Deliver into this Maildir.
    Maildir(Vec<u8>),
    /// Append to this mbox.
    Mbox(Vec<u8>),
    /// Run this command.
    Program(Vec<u8>),
    /// Collect this address; all collected ones are sent at the end, unless a later step ends the run with a failure.
    Forward(Vec<u8>),
    /// `Uh-oh: .qmail has file delivery but has x bit set. (#4.7.0)`, temporary; the steps before it have been done.
    RefuseFile,
    /// `Uh-oh: .qmail has prog delivery but has x bit set. (#4.7.0)`, the same for a program.
    RefuseProgram,
}

/// May the file deliver into files and programs?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All instructions.
    All,
    /// Forwards only (the file's owner-execute bit is set).
    ForwardOnly,
}

/// The steps in order; ends at the first refused one.
#[must_use]
pub fn plan(lines: &[Line], mode: Mode) -> Vec<Step> {
    let mut forward_only = mode == Mode::ForwardOnly;
    let mut steps = Vec::new();
    for line in lines {
        let step = match line {
            Line::Comment => continue,
            Line::List => {
                forward_only = true;
                continue;
            }
            Line::Maildir(_) | Line::Mbox(_) if forward_only => Step::RefuseFile,
            Line::Program(_) if forward_only => Step::RefuseProgram,
            Line::Maildir(path) => Step::Maildir(path.clone()),
            Line::Mbox(path) => Step::Mbox(path.clone()),
            Line::Program(command) => Step::Program(command.clone()),
            Line::Forward(address) => Step::Forward(address.clone()),
        };
        let refused = matches!(step, Step::RefuseFile | Step::RefuseProgram);
        steps.push(step);
        if refused {
            break;
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn search_order() {
        for (dash, ext, names, defaults) in [
            ("", "", ".qmail .qmaildefault", vec![None, Some("")]),
            ("-", "", ".qmail- .qmail-default", vec![None, Some("")]),
            ("-", "Info", ".qmail-info .qmail-default", vec![None, Some("Info")]),
            ("-", "a-B.c", ".qmail-a-b:c .qmail-a-default .qmail-default", vec![None, Some("B.c"), Some("a-B.c")]),
            ("-", "a-", ".qmail-a- .qmail-a-default .qmail-default", vec![None, Some(""), Some("a-")]),
            ("-", "default", ".qmail-default .qmail-default", vec![Some("default"), Some("default")]),
            ("-", "unknown.name", ".qmail-unknown:name .qmail-default", vec![None, Some("unknown.name")]),
            ("-", "un-known", ".qmail-un-known .qmail-un-default .qmail-default", vec![None, Some("known"), Some("un-known")]),
            ("-", "v-ann", ".qmail-v-ann .qmail-v-default .qmail-default", vec![None, Some("ann"), Some("v-ann")]),
        ] {
            let got = candidates(dash.as_bytes(), ext.as_bytes());
            let got_names: Vec<_> = got.iter().map(|c| String::from_utf8_lossy(&c.name).into_owned()).collect();
            assert_eq!(got_names.join(" "), names);
            let got_defaults: Vec<_> =
                got.iter().map(|c| c.default_part.as_ref().map(|d| String::from_utf8_lossy(d).into_owned())).collect();
            assert_eq!(got_defaults, defaults.into_iter().map(|d: Option<&str>| d.map(str::to_owned)).collect::<Vec<_>>(), "{ext}");
        }
    }

    #[test]
    fn owners() {
        let sender = ReversePath::from_bytes(b"s@x").unwrap();
        let new = |sender: &ReversePath, owner| new_sender(sender, b"joe-l", b"example.org", owner).unwrap();
        assert_eq!(owner_names(b"-", b"L.x"), (b".qmail-l:x-owner".to_vec(), b".qmail-l:x-owner-default".to_vec()));
        assert_eq!(owner_names(b"", b"").0, b".qmail-owner");
        assert_eq!(new(&sender, Owner::Missing), sender);
        assert_eq!(new(&sender, Owner::Owner).as_bytes(), b"joe-l-owner@example.org");
        assert_eq!(new(&sender, Owner::OwnerDefault).as_bytes(), b"joe-l-owner-@example.org-@[]");
        assert_eq!(new(&ReversePath::Null, Owner::OwnerDefault), ReversePath::Null);
        assert_eq!(new(&ReversePath::DoubleBounce, Owner::Owner), ReversePath::DoubleBounce);
    }

    #[test]
    fn forward_only() {
        let lines = parse(b"&a@b\n./Maildir/\n+list\nc@d\n|prog\n./Mailbox\n").unwrap();
        let forward = |a: &str| Step::Forward(a.into());
        assert_eq!(plan(&lines, Mode::All), [forward("a@b"), Step::Maildir(b"./Maildir/".to_vec()), forward("c@d"), Step::RefuseProgram]);
        assert_eq!(plan(&lines, Mode::ForwardOnly), [forward("a@b"), Step::RefuseFile]);
        assert_eq!(plan(&parse(b"# nothing\n").unwrap(), Mode::All), []);
    }

    proptest! {
        #[test]
        fn no_candidate_leaves_the_directory_by_dots(ext in proptest::collection::vec(1u8.., 0..60)) {
            for candidate in candidates(b"-", &ext) {
                prop_assert!(!candidate.name.windows(2).any(|w| w == b".."));
                prop_assert!(candidate.name.starts_with(b".qmail-"));
            }
        }
    }
}
