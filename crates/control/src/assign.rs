//! users/assign and users/cdb (qmail-users(5)): which account gets mail for a local part. Parse, print, compile and look up.
//! Called by the directory, the spawner, qmail-newu and the domain commands; never opens a file.

use crate::cdb::{Cdb, CdbError, CdbWriter, Source};

/// Where mail for a local part goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Account name.
    pub user: Vec<u8>,
    /// Its uid.
    pub uid: u32,
    /// Its gid.
    pub gid: u32,
    /// Home directory.
    pub home: Vec<u8>,
    /// `-` or empty.
    pub dash: Vec<u8>,
    /// Extension; for a wildcard what stands before the rest of the local part.
    pub ext: Vec<u8>,
}

/// Which local parts a line is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// `=local`.
    Exact(Vec<u8>),
    /// `+prefix`.
    Prefix(Vec<u8>),
}

/// One line of users/assign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// For whom.
    pub matches: Match,
    /// `user:uid:gid:home:dash:ext`, each as written.
    pub fields: [Vec<u8>; 6],
}

/// qmail-newu refuses the whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bad format in users/assign at line {line}")]
pub struct BadFormat {
    /// Line number, from 1; one past the end when the final `.` is missing.
    pub line: usize,
}

/// A lookup failed: `Trouble reading users/cdb`, temporary.
#[derive(Debug, thiserror::Error)]
pub enum AssignError {
    /// The cdb is damaged or unreadable.
    #[error(transparent)]
    Cdb(#[from] CdbError),
    /// A record holds less than six fields, or a uid or gid that is no number.
    #[error("damaged record in users/cdb")]
    Record,
}

/// Parses the text: lines up to one that begins with `.`, which must be there.
pub fn parse(text: &[u8]) -> Result<Vec<Line>, BadFormat> {
    let mut lines = Vec::new();
    let mut count = 0;
    for (i, line) in text.split_inclusive(|&b| b == b'\n').enumerate() {
        count = i + 1;
        if line.first() == Some(&b'.') {
            return Ok(lines);
        }
        lines.push(parse_line(line).ok_or(BadFormat { line: count })?);
    }
    Err(BadFormat { line: count + 1 })
}

fn parse_line(line: &[u8]) -> Option<Line> {
    let line = line.strip_suffix(b"\n")?;
    if line.contains(&0) {
        return None;
    }
    let mut words = line.split(|&b| b == b':');
    let (sign, local) = words.next()?.split_first()?;
    let matches = match sign {
        b'=' => Match::Exact(local.to_vec()),
        b'+' => Match::Prefix(local.to_vec()),
        _ => return None,
    };
    let mut field = || words.next().map(<[u8]>::to_vec);
    let fields = [field()?, field()?, field()?, field()?, field()?, field()?];
    words.next()?; // the sixth field must be ended by a colon; what follows it is ignored
    Some(Line { matches, fields })
}

/// The text form, with the final `.`.
#[must_use]
pub fn print(lines: &[Line]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines {
        let (sign, local) = match &line.matches {
            Match::Exact(local) => (b'=', local),
            Match::Prefix(prefix) => (b'+', prefix),
        };
        out.push(sign);
        out.extend_from_slice(local);
        for field in &line.fields {
            out.push(b':');
            out.extend_from_slice(field);
        }
        out.extend_from_slice(b":\n");
    }
    out.extend_from_slice(b".\n");
    out
}

/// Compiles users/cdb as qmail-newu does.
pub fn to_cdb(lines: &[Line]) -> Result<Vec<u8>, CdbError> {
    let mut writer = CdbWriter::new();
    let mut last_bytes: Vec<u8> = Vec::new();
    for line in lines {
        let data = line.fields.join(&0u8);
        let key = match &line.matches {
            Match::Exact(local) => exact_key(local),
            Match::Prefix(prefix) => {
                let prefix = prefix.to_ascii_lowercase();
                if let Some(last) = prefix.last().filter(|b| !last_bytes.contains(b)) {
                    last_bytes.push(*last);
                }
                prefix_key(&prefix)
            }
        };
        writer.add(&key, &data)?;
    }
    writer.add(b"", &last_bytes)?;
    writer.finish()
}

fn exact_key(local: &[u8]) -> Vec<u8> {
    [b"!", local.to_ascii_lowercase().as_slice(), b"\0"].concat()
}

fn prefix_key(prefix_lower: &[u8]) -> Vec<u8> {
    [b"!", prefix_lower].concat()
}

/// Finds the assignment of a local part: the exact one, else the longest wildcard whose last byte is in the pruning set. On a wildcard the
/// rest of the local part, case kept, is added to the extension. `None`: not assigned here. A local part with a NUL is assigned nowhere.
pub fn lookup<S: Source>(cdb: &Cdb<S>, local: &[u8]) -> Result<Option<Assignment>, AssignError> {
    if local.contains(&0) {
        return Ok(None);
    }
    if let Some(data) = cdb.get(&exact_key(local))? {
        return assignment(&data, b"").map(Some);
    }
    let lower = local.to_ascii_lowercase();
    let Some(last_bytes) = cdb.get(b"")? else { return Err(AssignError::Record) };
    for length in (0..=lower.len()).rev() {
        let prefix = lower.get(..length).unwrap_or_default();
        if prefix.last().is_some_and(|b| !last_bytes.contains(b)) {
            continue;
        }
        if let Some(data) = cdb.get(&prefix_key(prefix))? {
            return assignment(&data, local.get(length..).unwrap_or_default()).map(Some);
        }
    }
    Ok(None)
}

fn assignment(data: &[u8], rest: &[u8]) -> Result<Assignment, AssignError> {
    let mut words = data.split(|&b| b == 0);
    let mut word = || words.next().ok_or(AssignError::Record);
    let (user, uid, gid, home, dash, ext) = (word()?, word()?, word()?, word()?, word()?, word()?);
    Ok(Assignment {
        user: user.to_vec(),
        uid: id(uid)?,
        gid: id(gid)?,
        home: home.to_vec(),
        dash: dash.to_vec(),
        ext: [ext, rest].concat(),
    })
}

fn id(digits: &[u8]) -> Result<u32, AssignError> {
    std::str::from_utf8(digits).ok().and_then(|s| s.parse().ok()).ok_or(AssignError::Record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &[u8] = b"=Joe.Doe:joe:1000:100:/home/joe:::\n+:alias:7790:2108:/var/qmail/alias:-::\n+example.org-:example.org:89:89:/v/domains/example.org:-::\n+Joe-:joe:1000:100:/home/joe:-:x-:more\n.\nignored";

    fn find(local: &str) -> Option<(String, String, String)> {
        let out = to_cdb(&parse(TEXT).unwrap()).unwrap();
        let cdb = Cdb::new(&out).unwrap();
        let s = |b: Vec<u8>| String::from_utf8(b).unwrap();
        lookup(&cdb, local.as_bytes()).unwrap().map(|a| (s(a.user), s(a.dash), s(a.ext)))
    }

    #[test]
    fn exact_then_longest_wildcard() {
        let triple = |u: &str, d: &str, e: &str| Some((u.to_owned(), d.to_owned(), e.to_owned()));
        assert_eq!(find("joe.doe"), triple("joe", "", ""));
        assert_eq!(find("JOE.DOE"), triple("joe", "", ""));
        assert_eq!(find("Joe-List"), triple("joe", "-", "x-List"));
        assert_eq!(find("example.org-Pippo"), triple("example.org", "-", "Pippo"));
        assert_eq!(find("other"), triple("alias", "-", "other"));
        assert_eq!(find(""), triple("alias", "-", ""));
        assert_eq!(find("a\0b"), None);
    }

    #[test]
    fn records_are_those_of_qmail_newu() {
        let out = to_cdb(&parse(b"=A:u:1:2:/h:-:e:\n+b-:v:3:4:/i:::\n.\n").unwrap()).unwrap();
        let want: Vec<(Vec<u8>, Vec<u8>)> = vec![
            (b"!a\0".to_vec(), b"u\x001\x002\0/h\0-\0e".to_vec()),
            (b"!b-".to_vec(), b"v\x003\x004\0/i\0\0".to_vec()),
            (b"".to_vec(), b"-".to_vec()),
        ];
        assert_eq!(Cdb::new(&out).unwrap().records().unwrap(), want);
    }

    #[test]
    fn bad_format_names_the_line() {
        for (text, line) in [
            (&b"=a:u:1:2:/h:-:e:\n"[..], 2),
            (b"=a:u:1:2:/h:-:e\n.\n", 1),
            (b"a:u:1:2:/h:-:e:\n.\n", 1),
            (b"=a\0:u:1:2:/h:-:e:\n.\n", 1),
            (b"\n.\n", 1),
            (b"", 1),
        ] {
            assert_eq!(parse(text), Err(BadFormat { line }), "{}", String::from_utf8_lossy(text));
        }
        assert_eq!(parse(b"."), Ok(vec![]));
    }

    #[test]
    fn damaged_records_are_errors() {
        let mut w = CdbWriter::new();
        w.add(b"!a\0", b"u\0x\x002\0/h\0-\0e").unwrap();
        w.add(b"!b\0", b"u\x001").unwrap();
        let out = w.finish().unwrap();
        let cdb = Cdb::new(&out).unwrap();
        for local in ["a", "b", "c"] {
            assert!(lookup(&cdb, local.as_bytes()).is_err());
        }
    }

    proptest! {
        #[test]
        fn print_then_parse(locals in proptest::collection::vec(("[a-z.-]{0,8}", any::<bool>()), 0..20)) {
            let lines: Vec<Line> = locals.into_iter().map(|(l, exact)| Line {
                matches: if exact { Match::Exact(l.into()) } else { Match::Prefix(l.into()) },
                fields: [b"u".to_vec(), b"1".to_vec(), b"2".to_vec(), b"/h".to_vec(), b"-".to_vec(), b"".to_vec()],
            }).collect();
            prop_assert_eq!(parse(&print(&lines)).unwrap(), lines);
        }
    }
}
