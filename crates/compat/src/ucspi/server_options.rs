//! The command line of tcpserver: options, address, port and program. Called by tcpserver and by its helper for one connection; opens nothing
//! but /etc/services.

use super::connection::{HostLookup, Lookup};
use crate::fatal::Fatal;
use crate::getopt::{Getopt, Opt};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

const USAGE: &str = "tcpserver \\\n[ -1UXpPhHrRoOdDqQv ] \\\n[ -c limit ] \\\n[ -S limit per address ] \\\n[ -x rules.cdb ] \\\n[ -B banner ] \\\n[ -g gid ] \\\n[ -u uid ] \\\n[ -b backlog ] \\\n[ -l localname ] \\\n[ -t timeout ] \\\nhost port program";
const LIMIT_DEFAULT: usize = 40;
/// Deeper than the original's 20: a burst waits instead of being sent away.
const BACKLOG_DEFAULT: i32 = 1024;

/// How much is written on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verbosity {
    Quiet,
    Errors,
    All,
}

/// The whole command line.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) verbosity: Verbosity,
    pub(super) limit: usize,
    pub(super) limit_per_address: Option<usize>,
    pub(super) rules: Option<PathBuf>,
    pub(super) allow_without_rules: bool,
    pub(super) banner: Vec<u8>,
    pub(super) gid: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) print_port: bool,
    pub(super) backlog: i32,
    pub(super) nodelay: bool,
    pub(super) lookup: Lookup,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) program: Vec<OsString>,
}

impl Options {
    pub(super) fn parse(args: &[OsString]) -> Result<Self, Fatal> {
        let mut out = Self::default();
        let mut options = Getopt::new(args, b"1UXpPhHrRoOdDqQv", b"cSxBgublt");
        for option in options.by_ref() {
            match option {
                Opt::Plain(letter) => out.flag(letter)?,
                Opt::With(letter, value) => out.value(letter, value)?,
                Opt::Bad => return Err(Fatal::usage(USAGE)),
            }
        }
        let [host, port, program @ ..] = options.rest() else { return Err(Fatal::usage(USAGE)) };
        if program.is_empty() {
            return Err(Fatal::usage(USAGE));
        }
        let port = port.to_string_lossy();
        out.port = port_number(&port).ok_or_else(|| Fatal::soft(format!("unable to figure out port number for {port}")))?;
        out.host = host.to_string_lossy().into_owned();
        out.program = program.to_vec();
        Ok(out)
    }

    fn flag(&mut self, letter: u8) -> Result<(), Fatal> {
        match letter {
            b'q' => self.verbosity = Verbosity::Quiet,
            b'Q' => self.verbosity = Verbosity::Errors,
            b'v' => self.verbosity = Verbosity::All,
            b'1' => self.print_port = true,
            b'X' => self.allow_without_rules = true,
            b'D' => self.nodelay = true,
            b'd' => self.nodelay = false,
            b'h' if self.lookup.host == HostLookup::No => self.lookup.host = HostLookup::Name,
            b'H' => self.lookup.host = HostLookup::No,
            b'p' if self.lookup.host == HostLookup::Name => self.lookup.host = HostLookup::Checked,
            b'P' if self.lookup.host == HostLookup::Checked => self.lookup.host = HostLookup::Name,
            b'r' => self.lookup.ident = true,
            b'R' => self.lookup.ident = false,
            b'U' => {
                self.uid = Some(number("-U with UID", &std::env::var_os("UID").unwrap_or_default())?);
                self.gid = Some(number("-U with GID", &std::env::var_os("GID").unwrap_or_default())?);
            }
            _ => {} // -o, -O: Linux takes no source routes any more, so there is nothing to kill
        }
        Ok(())
    }

    fn value(&mut self, letter: u8, value: &OsStr) -> Result<(), Fatal> {
        match letter {
            b'c' => self.limit = number("-c", value)?,
            b'S' => self.limit_per_address = Some(number("-S", value)?),
            b'x' => self.rules = Some(PathBuf::from(value)),
            b'B' => self.banner = std::os::unix::ffi::OsStrExt::as_bytes(value).to_vec(),
            b'g' => self.gid = Some(number("-g", value)?),
            b'u' => self.uid = Some(number("-u", value)?),
            b'b' => self.backlog = number("-b", value)?,
            b'l' => self.lookup.local_name = Some(value.to_string_lossy().into_owned()),
            _ => self.lookup.ident_timeout = Duration::from_secs(number("-t", value)?),
        }
        Ok(())
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            verbosity: Verbosity::Errors,
            limit: LIMIT_DEFAULT,
            limit_per_address: None,
            rules: None,
            allow_without_rules: false,
            banner: Vec::new(),
            gid: None,
            uid: None,
            print_port: false,
            backlog: BACKLOG_DEFAULT,
            nodelay: false,
            lookup: Lookup::default(),
            host: String::new(),
            port: 0,
            program: Vec::new(),
        }
    }
}

/// A number and nothing else: `-u joe` would otherwise be user 0.
pub(super) fn number<T: std::str::FromStr>(option: &str, value: &OsStr) -> Result<T, Fatal> {
    let digits = value.to_str().filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    let refused = || Fatal::with_code(postino_types::exit::HARD, format!("{option} needs a number, not {}", value.to_string_lossy()));
    digits.and_then(|text| text.parse().ok()).ok_or_else(refused)
}

/// A port by number, by /etc/services, or one of those that mail needs.
pub(super) fn port_number(word: &str) -> Option<u16> {
    if !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()) {
        return word.parse().ok();
    }
    let services = std::fs::read_to_string("/etc/services").unwrap_or_default();
    services.lines().find_map(|line| service(line, word)).or_else(|| {
        let known =
            [("smtp", 25), ("pop3", 110), ("imap", 143), ("submission", 587), ("smtps", 465), ("pop3s", 995), ("qmtp", 209), ("qmqp", 628)];
        known.iter().find(|(name, _)| *name == word).map(|(_, port)| *port)
    })
}

fn service(line: &str, wanted: &str) -> Option<u16> {
    let mut words = line.split('#').next()?.split_ascii_whitespace();
    let name = words.next()?;
    let port = words.next()?.strip_suffix("/tcp")?.parse().ok()?;
    (name == wanted || words.any(|alias| alias == wanted)).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, Fatal> {
        Options::parse(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn the_lines_of_the_howto() {
        let options = parse("-H -R -x /etc/tcp.smtp.cdb -u1000 -g1000 0 smtp qmail-smtpd").unwrap();
        assert_eq!((options.uid, options.gid, options.port), (Some(1000), Some(1000), 25));
        assert_eq!((options.host.as_str(), options.program.len(), options.limit), ("0", 1, 40));
        assert!(!options.lookup.asks_about_clients() && parse("-HRhlx 0 1 p").unwrap().lookup.asks_about_clients());
        assert!(parse("-u joe 0 25 p").is_err() && parse("-u 1x 0 25 p").is_err() && parse("0 25").is_err());
        assert!(parse("0 no-such-port p").is_err());
        assert_eq!(service("pop3 110/tcp pop-3 # x", "pop-3"), Some(110));
        assert_eq!(service("pop3 110/udp pop-3", "pop3"), None);
    }
}
