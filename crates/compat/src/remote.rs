//! `qmail-remote`: one message to one host, the records for qmail-rspawn on standard output. Called by `main`; never reads the queue, never
//! ends with a code other than 0, never decides whether to try again.

pub(crate) mod body;
mod controls;
pub(crate) mod reply;
mod talk;
mod targets;
pub(crate) mod tcpto;

use crate::dns::Resolver;
use crate::{Program, home};
use controls::{Controls, Relay};
use postino_types::exit;
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use talk::Mail;
use targets::{Missing, Target};
use tcpto::Table;

/// The programs of this room.
pub(crate) const PROGRAMS: &[(&str, Program)] = &[("qmail-remote", run)];

/// Port of SMTP (RFC 5321 4.5.4.2).
const PORT: u16 = 25;

/// The records: one for each recipient, then one for the message, each ended by a NUL.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<u8>);

impl Report {
    /// A record; its first byte is its letter.
    pub(crate) fn record(&mut self, text: &[u8]) {
        self.0.extend(text.iter().map(|&b| if b == 0 { b'?' } else { b }));
        self.0.push(0);
    }
}

fn run(args: &[OsString]) -> i32 {
    let mut report = Report::default();
    if let Err(last) = deliver(&home::choose(), args, &mut report) {
        report.record(&last);
    }
    let mut out = io::stdout().lock();
    // The reader is gone: there is nobody left to tell, and the code says nothing in this protocol.
    let _ = out.write_all(&report.0).and_then(|()| out.flush());
    exit::OK
}

/// The error is the last record.
fn deliver(home: &Path, args: &[OsString], report: &mut Report) -> Result<(), Vec<u8>> {
    let mail = Mail::of(args).ok_or(&b"DI (qmail-remote) was invoked improperly. (#5.3.5)\n"[..])?;
    let controls = Controls::read(home).map_err(|_| &b"ZUnable to read control files. (#4.3.0)\n"[..])?;
    let relay = controls.relay(mail.host);
    let targets = usable(mail.host, relay.as_ref())?;
    let port = relay.map_or(PORT, |relay| relay.port);
    let table = Table::in_home(home);
    for Target { ip, .. } in targets {
        if let Some(stream) = connect(ip, port, &controls, &table)? {
            talk::talk(&stream, ip, &mail, &controls, report);
            return Ok(());
        }
    }
    Err(b"ZSorry, I wasn't able to establish an SMTP connection. (#4.4.1)\n".to_vec())
}

/// The addresses to try, in order.
fn usable(host: &[u8], relay: Option<&Relay>) -> Result<Vec<Target>, Vec<u8>> {
    let resolver = Resolver::from_system();
    let found = match relay {
        Some(relay) => targets::by_address(&resolver, &relay.host),
        None => targets::by_exchange(&resolver, host),
    };
    let mut found = found.map_err(|missing| why(missing, relay.map_or(host, |relay| &relay.host)))?;
    if relay.is_none() {
        targets::keep_better_than_own(&mut found);
    }
    if found.is_empty() {
        return Err(b"DSorry. Although I'm listed as a best-preference MX or A for that host,\n\
            it isn't in my control/locals file, so I don't treat it as local. (#5.4.6)\n"
            .to_vec());
    }
    Ok(found)
}

fn why(missing: Missing, host: &[u8]) -> Vec<u8> {
    match missing {
        Missing::Soft => b"ZSorry, I couldn't find any host by that name. (#4.1.2)\n".to_vec(),
        Missing::Host => [b"DSorry, I couldn't find any host named ", host, b". (#5.1.2)\n"].concat(),
        Missing::Address => b"DSorry, I couldn't find a mail exchanger or IP address. (#5.4.4)\n".to_vec(),
    }
}

/// `None`: not this address now. The table of timeouts is advice only: one that cannot be read or written stops no mail.
fn connect(ip: IpAddr, port: u16, controls: &Controls, table: &Table) -> Result<Option<TcpStream>, Vec<u8>> {
    if table.says_skip(ip) {
        return Ok(None);
    }
    match TcpStream::connect_timeout(&SocketAddr::new(ip, port), controls.connect) {
        Ok(stream) => {
            table.connected(ip);
            let set = stream.set_read_timeout(Some(controls.remote)).and_then(|()| stream.set_write_timeout(Some(controls.remote)));
            set.map_err(|_| b"ZSystem resources temporarily unavailable. (#4.3.0)\n".to_vec())?;
            Ok(Some(stream))
        }
        Err(error) => {
            if error.kind() == io::ErrorKind::TimedOut {
                table.timed_out(ip);
            }
            Ok(None)
        }
    }
}

impl<'a> Mail<'a> {
    /// Host, sender, recipients. `None` without one of them, and for an address with a line's end: quoted or not, it would reach the other
    /// side as a command of its own.
    fn of(args: &'a [OsString]) -> Option<Self> {
        let (host, rest) = args.split_first()?;
        let (sender, recipients) = rest.split_first()?;
        let has_line_end = |word: &OsString| word.as_bytes().iter().any(|b| matches!(b, b'\r' | b'\n'));
        if recipients.is_empty() || rest.iter().any(has_line_end) {
            return None;
        }
        let recipients = recipients.iter().map(|word| word.as_bytes()).collect();
        Some(Self { host: host.as_bytes(), sender: sender.as_bytes(), recipients })
    }
}
