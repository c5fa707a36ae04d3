//! The names of this machine's own addresses, which tcpserver gives to each program as TCPLOCALHOST: asked for once, by a child, and again now and
//! then, so that no connection waits for the DNS. Called by tcpserver; a name is as old as [`KNOWN`] at most.

use crate::dns::Resolver;
use postino_types::exit;
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// The name of the child.
pub(super) const HELPER: &str = "tcpserver-name";
/// How long a name is good for.
const KNOWN: Duration = Duration::from_secs(600);
/// And the lack of one.
const NAMELESS: Duration = Duration::from_secs(60);
/// Most addresses kept; a machine with more asks again.
const ADDRESSES_MAX: usize = 256;
/// Longest name, bytes, with its line end.
const NAME_BYTES_MAX: u64 = 256;

#[derive(Debug)]
struct Known {
    name: Option<String>,
    until: Instant,
}

#[derive(Debug)]
pub(super) struct LocalNames {
    own_path: PathBuf,
    known: HashMap<IpAddr, Known>,
    asking: HashMap<i32, (IpAddr, ChildStdout)>,
}

impl LocalNames {
    pub(super) fn new(own_path: PathBuf) -> Self {
        Self { own_path, known: HashMap::new(), asking: HashMap::new() }
    }

    /// What is known of the address; `None` when that is nothing yet.
    pub(super) fn get(&mut self, ip: IpAddr) -> Option<Option<String>> {
        let ip = ip.to_canonical();
        let is_good = self.known.get(&ip).is_some_and(|known| known.until > Instant::now());
        if !is_good && !self.asking.values().any(|(asked, _)| *asked == ip) && self.asking.len() < ADDRESSES_MAX {
            self.ask(ip);
        }
        self.known.get(&ip).map(|known| known.name.clone())
    }

    /// Without a child there is no answer: the connection looks for itself.
    fn ask(&mut self, ip: IpAddr) {
        let mut command = Command::new(&self.own_path);
        command.arg0(HELPER).arg(ip.to_string()).stdin(Stdio::null()).stdout(Stdio::piped());
        let Ok(mut child) = command.spawn() else { return };
        if let (Ok(pid), Some(answer)) = (i32::try_from(child.id()), child.stdout.take()) {
            self.asking.insert(pid, (ip, answer));
        }
    }

    /// True when the child that ended was one of these.
    pub(super) fn took(&mut self, pid: i32) -> bool {
        let Some((ip, answer)) = self.asking.remove(&pid) else { return false };
        let mut name = String::new();
        let read = answer.take(NAME_BYTES_MAX).read_to_string(&mut name);
        let name = Some(name.trim_end().to_owned()).filter(|name| read.is_ok() && !name.is_empty());
        if self.known.len() >= ADDRESSES_MAX {
            self.known.clear();
        }
        let until = Instant::now() + if name.is_some() { KNOWN } else { NAMELESS };
        self.known.insert(ip, Known { name, until });
        true
    }
}

/// The child: prints the name of the address, or nothing.
pub(super) fn run(args: &[OsString]) -> i32 {
    let [ip] = args else { return exit::HARD };
    let Some(ip) = ip.to_str().and_then(|ip| ip.parse().ok()) else { return exit::HARD };
    let name = Resolver::from_system().ptr(ip).ok().and_then(|names| names.into_iter().next()).unwrap_or_default();
    let _ = std::io::stdout().write_all(name.as_bytes());
    exit::OK
}
