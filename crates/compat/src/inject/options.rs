//! qmail-inject's command line. Pure.

use crate::fatal::Fatal;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// Where the recipients are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// In the arguments if there are any, else in the header.
    Either,
    Arguments,
    Header,
    Both,
}

/// What is done with the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    Queue,
    Print,
}

/// The options as given.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) which: Which,
    pub(crate) choice: Choice,
    pub(crate) sender: Option<Vec<u8>>,
    pub(crate) recipients: Vec<Vec<u8>>,
}

const USAGE: &str = "qmail-inject [ -nNaAhH ] [ -f sender ] [ recip ... ]";

impl Options {
    pub(crate) fn parse(args: &[OsString]) -> Result<Self, Fatal> {
        let mut options = Self { which: Which::Either, choice: Choice::Queue, sender: None, recipients: Vec::new() };
        let mut args = args.iter().map(|arg| arg.as_bytes());
        while let Some(arg) = args.next() {
            match arg.strip_prefix(b"-") {
                Some(b"-") => break,
                Some(letters) if !letters.is_empty() => options.letters(letters, &mut args)?,
                _ => {
                    options.recipients.push(arg.to_vec());
                    break;
                }
            }
        }
        options.recipients.extend(args.map(<[u8]>::to_vec));
        Ok(options)
    }

    fn letters<'a>(&mut self, letters: &'a [u8], args: &mut impl Iterator<Item = &'a [u8]>) -> Result<(), Fatal> {
        for (i, letter) in letters.iter().enumerate() {
            match letter {
                b'n' => self.choice = Choice::Print,
                b'N' => self.choice = Choice::Queue,
                b'a' => self.which = Which::Arguments,
                b'A' => self.which = Which::Either,
                b'h' => self.which = Which::Header,
                b'H' => self.which = Which::Both,
                b'f' => {
                    let rest = letters.get(i + 1..).unwrap_or_default();
                    let sender = if rest.is_empty() { args.next().ok_or_else(|| Fatal::usage(USAGE))? } else { rest };
                    self.sender = Some(sender.to_vec());
                    return Ok(());
                }
                _ => return Err(Fatal::usage(USAGE)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options, Fatal> {
        Options::parse(&args.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn letters_together_and_values_apart() {
        let options = parse(&["-nHf", "s@x", "r", "-n"]).unwrap();
        assert_eq!((options.which, options.choice, options.sender.as_deref()), (Which::Both, Choice::Print, Some(&b"s@x"[..])));
        assert_eq!(options.recipients, [b"r".to_vec(), b"-n".to_vec()]);
        assert_eq!(parse(&["-fs", "--", "-r"]).unwrap().recipients, [b"-r".to_vec()]);
        assert!(parse(&["-f"]).is_err() && parse(&["-x"]).is_err());
    }
}
