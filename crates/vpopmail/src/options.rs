//! Options in the manner of the C library's getopt(3): options may stand after other words, `-r8` gives an optional value, `--` ends them. Called by
//! every program here; knows no option.

use crate::World;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

/// What stood on the command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Letters with their values in the order in which they came; `?` for one that is unknown or lacks its value.
    pub(crate) letters: Vec<(char, Option<String>)>,
    /// The other words.
    pub(crate) words: Vec<String>,
}

impl Options {
    /// Reads `args` by a getopt(3) string (`q:` takes a value, `r::` may have one joined to it) and complains as getopt does.
    pub(crate) fn read(world: &World, args: &[OsString], known: &str) -> Self {
        let (options, faults) = parse(args, known);
        let mut err = std::io::stderr().lock();
        for fault in faults {
            let _ = writeln!(err, "{}: {fault}", world.called().display());
        }
        options
    }

    /// The word at this place, if there is one.
    pub(crate) fn word(&self, at: usize) -> Option<&str> {
        self.words.get(at).map(String::as_str)
    }
}

enum Shape {
    Alone,
    Value,
    PerhapsJoined,
}

fn shape(known: &str, letter: char) -> Option<Shape> {
    let after = known.split_once(letter).filter(|_| letter != ':')?.1;
    Some(match after {
        _ if after.starts_with("::") => Shape::PerhapsJoined,
        _ if after.starts_with(':') => Shape::Value,
        _ => Shape::Alone,
    })
}

fn parse(args: &[OsString], known: &str) -> (Options, Vec<String>) {
    let (mut options, mut faults) = (Options::default(), Vec::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let letters = arg.as_bytes().strip_prefix(b"-").filter(|letters| !letters.is_empty());
        match letters {
            None => options.words.push(text(arg)),
            Some(b"-") => options.words.extend(args.by_ref().map(|word| text(word))),
            Some(letters) => word(&text(OsStr::from_bytes(letters)), &mut args, known, (&mut options, &mut faults)),
        }
    }
    (options, faults)
}

fn word(letters: &str, args: &mut std::slice::Iter<'_, OsString>, known: &str, (options, faults): (&mut Options, &mut Vec<String>)) {
    let mut rest = letters.chars();
    while let Some(letter) = rest.next() {
        let joined = rest.as_str();
        let found = match shape(known, letter) {
            None => {
                faults.push(format!("invalid option -- '{letter}'"));
                ('?', None)
            }
            Some(Shape::Alone) => (letter, None),
            Some(Shape::PerhapsJoined) => (letter, (!joined.is_empty()).then(|| joined.to_owned())),
            Some(Shape::Value) if !joined.is_empty() => (letter, Some(joined.to_owned())),
            Some(Shape::Value) => match args.next() {
                Some(value) => (letter, Some(text(value))),
                None => {
                    faults.push(format!("option requires an argument -- '{letter}'"));
                    ('?', None)
                }
            },
        };
        options.letters.push(found);
        if matches!(shape(known, letter), Some(Shape::Value | Shape::PerhapsJoined)) {
            return;
        }
    }
}

/// No name, path or address here may hold other bytes than UTF-8; what does is refused under its printed form.
fn text(word: &OsStr) -> String {
    word.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str], known: &str) -> (Options, Vec<String>) {
        parse(&args.iter().map(OsString::from).collect::<Vec<_>>(), known)
    }

    #[test]
    fn as_the_c_library_reads_them() {
        let (options, faults) = read(&["-bq5", "name", "-r8", "-r", "x", "-q", "6", "--", "-v"], "vbq:r::");
        let values: Vec<(char, Option<&str>)> = options.letters.iter().map(|(l, v)| (*l, v.as_deref())).collect();
        assert_eq!(values, [('b', None), ('q', Some("5")), ('r', Some("8")), ('r', None), ('q', Some("6"))]);
        assert_eq!(options.words, ["name", "x", "-v"]);
        assert!(faults.is_empty());
        let (options, faults) = read(&["-bad.test", "pw", "-q"], "vbd:q:");
        assert_eq!(options.letters, [('b', None), ('?', None), ('d', Some(".test".to_owned())), ('?', None)]);
        assert_eq!(options.words, ["pw"]);
        assert_eq!(faults, ["invalid option -- 'a'", "option requires an argument -- 'q'"]);
    }
}
