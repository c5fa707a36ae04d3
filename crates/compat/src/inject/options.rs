//! qmail-inject's command line. Pure.

use crate::fatal::Fatal;
use crate::getopt::{Getopt, Opt};
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
        let mut given = Getopt::new(args, b"nNaAhH", b"f");
        for option in given.by_ref() {
            match option {
                Opt::Plain(b'n') => options.choice = Choice::Print,
                Opt::Plain(b'N') => options.choice = Choice::Queue,
                Opt::Plain(b'a') => options.which = Which::Arguments,
                Opt::Plain(b'A') => options.which = Which::Either,
                Opt::Plain(b'h') => options.which = Which::Header,
                Opt::Plain(b'H') => options.which = Which::Both,
                Opt::With(b'f', sender) => options.sender = Some(sender.as_bytes().to_vec()),
                _ => return Err(Fatal::usage(USAGE)),
            }
        }
        options.recipients.extend(given.rest().iter().map(|word| word.as_bytes().to_vec()));
        Ok(options)
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
