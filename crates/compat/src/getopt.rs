//! Options in the manner of getopt(3), as the historical programs take them: `-v -c 5`, `-c5`, `-vHRc5`; `--` or the first other
//! word ends them. Called by the programs of every room; knows no option.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Walks over the options of `args`.
#[derive(Debug)]
pub(crate) struct Getopt<'a> {
    args: &'a [OsString],
    /// The rest of the word in which we are.
    word: &'a [u8],
    with_value: &'static [u8],
    plain: &'static [u8],
}

/// One option.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opt<'a> {
    /// A letter alone.
    Plain(u8),
    /// A letter and its value.
    With(u8, &'a OsStr),
    /// Unknown, or its value is missing.
    Bad,
}

impl<'a> Getopt<'a> {
    /// `plain` letters stand alone, those of `with_value` take a value.
    pub(crate) fn new(args: &'a [OsString], plain: &'static [u8], with_value: &'static [u8]) -> Self {
        Self { args, word: b"", with_value, plain }
    }

    /// The words after the options.
    pub(crate) fn rest(&self) -> &'a [OsString] {
        self.args
    }
}

impl<'a> Iterator for Getopt<'a> {
    type Item = Opt<'a>;

    fn next(&mut self) -> Option<Opt<'a>> {
        if self.word.is_empty() {
            let (first, rest) = self.args.split_first()?;
            let letters = first.as_bytes().strip_prefix(b"-").filter(|letters| !letters.is_empty())?;
            self.args = rest;
            if letters == b"-" {
                return None;
            }
            self.word = letters;
        }
        let (&letter, after) = self.word.split_first()?;
        self.word = after;
        if self.plain.contains(&letter) {
            return Some(Opt::Plain(letter));
        }
        if !self.with_value.contains(&letter) {
            return Some(Opt::Bad);
        }
        if !std::mem::take(&mut self.word).is_empty() {
            return Some(Opt::With(letter, OsStr::from_bytes(after)));
        }
        let Some((value, rest)) = self.args.split_first() else { return Some(Opt::Bad) };
        self.args = rest;
        Some(Opt::With(letter, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_and_apart() {
        let args = ["-vc5", "-l", "name", "-H", "0", "-x"].map(OsString::from);
        let mut options = Getopt::new(&args, b"vH", b"cl");
        let five = OsString::from("5");
        let name = OsString::from("name");
        assert_eq!(options.next(), Some(Opt::Plain(b'v')));
        assert_eq!(options.next(), Some(Opt::With(b'c', &five)));
        assert_eq!(options.next(), Some(Opt::With(b'l', &name)));
        assert_eq!(options.next(), Some(Opt::Plain(b'H')));
        assert_eq!(options.next(), None);
        assert_eq!(options.rest(), ["0", "-x"].map(OsString::from));
        let bad = ["-z"].map(OsString::from);
        assert_eq!(Getopt::new(&bad, b"v", b"c").next(), Some(Opt::Bad));
    }
}
