//! What qmail-smtpd and qmail-qmtpd read when they start: a handful of small control files and tcpserver's environment. Lists are kept as their bytes and searched
//! at need: the process lives for one session.

use super::peer::{Peer, environment};
use crate::home::{if_there, read_if_there};
use postino_control::cdb::{Cdb, CdbError};
use postino_control::classic;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Bytes of recipients in one envelope; leaves room for the letters below the queue's own limit.
pub(super) const RECIPIENT_BYTES_MAX: usize = 2 << 20;

/// The settings of a session.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) greeting: Vec<u8>,
    pub(super) local_ip_host: Option<Vec<u8>>,
    pub(super) timeout: Duration,
    /// 0: no limit.
    pub(super) databytes: u64,
    pub(super) relay_client: Option<Vec<u8>>,
    pub(super) peer: Peer,
    bad_senders: Vec<u8>,
    hosts: Option<Hosts>,
}

#[derive(Debug)]
struct Hosts {
    list: Vec<u8>,
    more: Option<File>,
}

impl Settings {
    /// An error when there is no greeting, or a file is there and cannot be read.
    pub(super) fn read(home: &Path) -> io::Result<Self> {
        let control = home.join("control");
        let file = |name: &str| read_if_there(&control.join(name));
        let me = file("me")?.map(|bytes| classic::line(&bytes).to_vec());
        let line = |name: &str| Ok::<_, io::Error>(file(name)?.map(|bytes| classic::line(&bytes).to_vec()).or_else(|| me.clone()));
        let seconds = file("timeoutsmtpd")?.and_then(|bytes| classic::number(&bytes)).unwrap_or(1200);
        let databytes = file("databytes")?.and_then(|bytes| classic::number(&bytes)).unwrap_or(0);
        let own_databytes = environment("DATABYTES").map(|bytes| classic::number(&bytes).unwrap_or(0));
        let hosts = match file("rcpthosts")? {
            Some(list) => Some(Hosts { list, more: if_there(File::open(control.join("morercpthosts.cdb")))? }),
            None => None,
        };
        Ok(Self {
            greeting: line("smtpgreeting")?.ok_or(io::ErrorKind::NotFound)?,
            local_ip_host: line("localiphost")?,
            timeout: Duration::from_secs(seconds.clamp(1, 1 << 31)),
            databytes: own_databytes.unwrap_or(databytes),
            relay_client: environment("RELAYCLIENT"),
            peer: Peer::by_environment(),
            bad_senders: file("badmailfrom")?.unwrap_or_default(),
            hosts,
        })
    }

    /// True when badmailfrom lists the sender or its `@host`.
    pub(super) fn is_barred(&self, sender: &[u8]) -> bool {
        let host = sender.iter().rposition(|&b| b == b'@').and_then(|at| sender.get(at..));
        lists(&self.bad_senders, sender) || host.is_some_and(|host| lists(&self.bad_senders, host))
    }

    /// True when mail to this recipient is taken from everybody.
    pub(super) fn takes(&self, recipient: &[u8]) -> Result<bool, CdbError> {
        let Some(hosts) = &self.hosts else { return Ok(true) };
        let Some(at) = recipient.iter().rposition(|&b| b == b'@') else { return Ok(true) };
        let host = recipient.get(at + 1..).unwrap_or_default().to_ascii_lowercase();
        let names: Vec<&[u8]> = classic::host_keys(&host).collect();
        if names.iter().any(|name| lists(&hosts.list, name)) {
            return Ok(true);
        }
        let Some(more) = &hosts.more else { return Ok(false) };
        let cdb = Cdb::new(more.try_clone()?)?;
        for name in names {
            if cdb.contains(name)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn lists(list: &[u8], name: &[u8]) -> bool {
    classic::list(list).any(|(_, entry)| entry.eq_ignore_ascii_case(name))
}
