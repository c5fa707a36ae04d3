//! One connection of tcpserver: what the rules say, the variables, the log line, and the helper process that first looks up names. Called by
//! tcpserver, in its own process when nothing must be looked up, else in the helper, which becomes the program. Never accepts.

use super::server_options::{Options, Verbosity};
use super::{ident, tcpserver};
use crate::dns::{DnsError, Resolver};
use postino_control::cdb::{Cdb, CdbError};
use postino_control::tcprules;
use postino_local::error_text::error_text;
use postino_types::exit;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// Exit code of the helper for a client that the rules send away.
const DENIED: i32 = 100;

const IDENT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(26);

/// Both ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

/// What is known by name about them.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) local: Option<String>,
    pub(super) remote: Option<String>,
    pub(super) info: Option<String>,
}

/// What is looked up about the client's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostLookup {
    No,
    Name,
    /// And the name must have the client's address.
    Checked,
}

/// Which names are wanted.
#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) local_name: Option<String>,
    pub(super) host: HostLookup,
    pub(super) ident: bool,
    pub(super) ident_timeout: Duration,
}

impl Lookup {
    /// True when each client is a question to the network.
    pub(super) fn asks_about_clients(&self) -> bool {
        self.host != HostLookup::No || self.ident
    }
}

impl Default for Lookup {
    fn default() -> Self {
        Self { local_name: None, host: HostLookup::Name, ident: true, ident_timeout: IDENT_TIMEOUT_DEFAULT }
    }
}

/// What becomes of a connection.
#[derive(Debug)]
pub(super) enum Decision {
    /// Run the program, with these variables of the rules.
    Run(Vec<(String, String)>),
    /// The rules deny it.
    Deny,
    /// The rules cannot be read; the text of the warning.
    Drop(String),
}

/// Asks the rules, which are opened anew for each connection: a new file counts at once.
pub(super) fn decide(options: &Options, ip: IpAddr, names: &Names) -> Decision {
    let Some(path) = &options.rules else { return Decision::Run(Vec::new()) };
    let found = File::open(path).map_err(CdbError::Io).and_then(Cdb::new);
    let found = found.and_then(|cdb| tcprules::find_in(&cdb, ip, names.remote.as_deref(), names.info.as_deref()));
    match found {
        Ok(None) => Decision::Run(Vec::new()),
        Ok(Some((_, verdict))) if verdict.allow => Decision::Run(verdict.env),
        Ok(Some(_)) => Decision::Deny,
        Err(CdbError::Io(e)) if e.kind() == io::ErrorKind::NotFound && options.allow_without_rules => Decision::Run(Vec::new()),
        Err(CdbError::Io(e)) => Decision::Drop(format!("unable to read {}: {}", path.display(), error_text(&e))),
        Err(e) => Decision::Drop(format!("unable to read {}: {e}", path.display())),
    }
}

/// The program with its variables; descriptors are the caller's matter.
pub(super) fn command(program: &[OsString], ends: Ends, names: &Names, rules: &[(String, String)]) -> Command {
    let (first, rest) = program.split_first().map_or((OsString::new(), &[][..]), |(first, rest)| (first.clone(), rest));
    let mut command = Command::new(first);
    command.args(rest).env("PROTO", "TCP");
    for (prefix, end, name) in [("TCPLOCAL", ends.local, &names.local), ("TCPREMOTE", ends.remote, &names.remote)] {
        command.env(format!("{prefix}IP"), end.ip().to_canonical().to_string());
        command.env(format!("{prefix}PORT"), end.port().to_string());
        set(&mut command, &format!("{prefix}HOST"), name.as_deref());
    }
    set(&mut command, "TCPREMOTEINFO", names.info.as_deref());
    for (name, value) in rules.iter().filter(|(name, value)| !name.is_empty() && !name.contains('\0') && !value.contains('\0')) {
        command.env(name, value);
    }
    command
}

/// An inherited value must not pass for a looked-up one.
fn set(command: &mut Command, name: &str, value: Option<&str>) {
    match value {
        Some(value) => command.env(name, value),
        None => command.env_remove(name),
    };
}

/// `LOCALHOST:LOCALIP:LOCALPORT REMOTEHOST:REMOTEIP:REMOTEINFO:REMOTEPORT`, names from outside made harmless.
pub(super) fn described(ends: Ends, names: &Names) -> String {
    let safe = |name: &Option<String>| -> String {
        let name = name.as_deref().unwrap_or_default().bytes();
        name.map(|b| if (33..=126).contains(&b) && b != b'%' && b != b':' { char::from(b) } else { '?' }).collect()
    };
    let (local, remote) = (ends.local, ends.remote);
    format!(
        "{}:{}:{} {}:{}:{}:{}",
        safe(&names.local),
        local.ip().to_canonical(),
        local.port(),
        safe(&names.remote),
        remote.ip().to_canonical(),
        safe(&names.info),
        remote.port()
    )
}

/// The helper: descriptors 0 and 1 are the connection, the words are tcpserver's own. Looks up, asks the rules, becomes the program.
pub(super) fn run(args: &[OsString]) -> i32 {
    let Ok(options) = Options::parse(args) else { return exit::SOFT };
    let Some(ends) = ends_of_stdin() else { return exit::SOFT };
    let pid = std::process::id();
    tcpserver::log(&options, Verbosity::All, &format!("pid {pid} from {}", ends.remote.ip().to_canonical()));
    if io::stdout().lock().write_all(&options.banner).and_then(|()| io::stdout().lock().flush()).is_err() {
        return exit::SOFT;
    }
    let names = look_up(&options.lookup, ends);
    match decide(&options, ends.remote.ip(), &names) {
        Decision::Run(rules) => {
            tcpserver::log(&options, Verbosity::All, &format!("ok {pid} {}", described(ends, &names)));
            let error = command(&options.program, ends, &names, &rules).exec();
            let program = options.program.first().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
            tcpserver::warn_drop(&options, &format!("unable to run {program}: {}", error_text(&error)));
            exit::SOFT
        }
        Decision::Deny => {
            tcpserver::log(&options, Verbosity::All, &format!("deny {pid} {}", described(ends, &names)));
            DENIED
        }
        Decision::Drop(text) => {
            tcpserver::warn_drop(&options, &text);
            exit::SOFT
        }
    }
}

pub(super) fn ends_of_stdin() -> Option<Ends> {
    let stdin = rustix::stdio::stdin();
    let local = rustix::net::getsockname(stdin).ok()?.try_into().ok()?;
    let remote = rustix::net::getpeername(stdin).ok()??.try_into().ok()?;
    Some(Ends { local, remote })
}

pub(super) fn look_up(wanted: &Lookup, ends: Ends) -> Names {
    let resolver = Resolver::from_system();
    let name_of = |ip: IpAddr| resolver.ptr(ip).ok().and_then(|names| names.into_iter().next());
    let local = wanted.local_name.clone().or_else(|| name_of(ends.local.ip()));
    let remote = match wanted.host {
        HostLookup::No => None,
        HostLookup::Name => name_of(ends.remote.ip()),
        HostLookup::Checked => name_of(ends.remote.ip()).filter(|name| leads_to(&resolver, name, ends.remote.ip().to_canonical())),
    };
    let info = wanted.ident.then(|| ident::ask(ends, wanted.ident_timeout)).flatten();
    Names { local, remote, info }
}

fn leads_to(resolver: &Resolver, name: &str, ip: IpAddr) -> bool {
    let addresses: Result<Vec<IpAddr>, DnsError> = match ip {
        IpAddr::V4(_) => resolver.a(name).map(|found| found.into_iter().map(IpAddr::V4).collect()),
        IpAddr::V6(_) => resolver.aaaa(name).map(|found| found.into_iter().map(IpAddr::V6).collect()),
    };
    addresses.is_ok_and(|found| found.contains(&ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_outside_are_made_harmless() {
        let ends = Ends { local: "127.0.0.1:25".parse().unwrap(), remote: "[::ffff:192.0.2.7]:99".parse().unwrap() };
        let names = Names { local: Some("l.test".into()), remote: None, info: Some("a b:%\n".into()) };
        assert_eq!(described(ends, &names), "l.test:127.0.0.1:25 :192.0.2.7:a?b???:99");
    }
}
