//! qmail-remote's control files. Called by `remote`; reads only the few files that it needs, never writes one.

use crate::home::read_if_there;
use crate::masquerade;
use postino_control::classic;
use postino_control::links::LinkTable;
use postino_control::masquerade::Masquerade;
use std::io;
use std::path::Path;
use std::time::Duration;

const CONNECT_S: u64 = 60;
const REMOTE_S: u64 = 1200;
/// A day: longer waits would outlive any sense of them.
const WAIT_S_MAX: u64 = 86_400;

/// What the files say.
#[derive(Debug, Default)]
pub(crate) struct Controls {
    /// The name in HELO.
    pub(crate) helo: Vec<u8>,
    /// How long a connection may take to be made.
    pub(crate) connect: Duration,
    /// How long each read or write may take.
    pub(crate) remote: Duration,
    /// Addresses that stand for ours outside.
    pub(crate) masquerade: Masquerade,
    routes: Vec<u8>,
    links: LinkTable,
}

/// An artificial route.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Relay {
    /// Name or address literal.
    pub(crate) host: Vec<u8>,
    /// Port.
    pub(crate) port: u16,
}

impl Controls {
    /// Reads them; an error also when there is neither helohost nor me.
    pub(crate) fn read(home: &Path) -> io::Result<Self> {
        let control = home.join("control");
        let helo = match read_if_there(&control.join("helohost"))? {
            Some(bytes) => bytes,
            None => read_if_there(&control.join("me"))?.ok_or(io::ErrorKind::NotFound)?,
        };
        Ok(Self {
            helo: classic::line(&helo).to_vec(),
            connect: seconds(&control, "timeoutconnect", CONNECT_S)?,
            remote: seconds(&control, "timeoutremote", REMOTE_S)?,
            masquerade: masquerade::read(home)?,
            routes: read_if_there(&control.join("smtproutes"))?.unwrap_or_default(),
            links: links(&control)?,
        })
    }

    /// The server of the host's link; else the route of smtproutes for `host`: the whole host, then each suffix that begins with a dot, then the
    /// empty key. `None` for MX.
    pub(crate) fn relay(&self, host: &[u8]) -> Option<Relay> {
        if let Some(server) = self.links.of_host(host).and_then(|link| link.server.as_ref()) {
            return Some(Relay { host: server.relay.clone().into_bytes(), port: server.port });
        }
        let host = host.to_ascii_lowercase();
        let mut keys = classic::host_keys(&host).chain(std::iter::once(b"".as_slice()));
        keys.find_map(|key| self.value(key)).and_then(relay)
    }

    /// Of several lines with the same key the last one counts.
    fn value(&self, key: &[u8]) -> Option<&[u8]> {
        classic::pairs(&self.routes).filter(|(_, known, _)| known == key).map(|(_, _, value)| value).last()
    }
}

/// `host`, `host:port`; a login behind a blank is for the server's own remote delivery, which has TLS.
fn relay(value: &[u8]) -> Option<Relay> {
    let value = value.split(|b| matches!(b, b' ' | b'\t')).next().unwrap_or_default();
    let bracket = value.iter().position(|&b| b == b']').unwrap_or(0);
    let colon = value.iter().skip(bracket).position(|&b| b == b':').map(|i| i + bracket);
    let (host, port) = match colon {
        Some(i) => (value.get(..i)?, classic::number(value.get(i + 1..)?)),
        None => (value, None),
    };
    let port = port.and_then(|port| u16::try_from(port).ok()).unwrap_or(super::PORT);
    (!host.is_empty()).then(|| Relay { host: host.to_vec(), port })
}

fn links(control: &Path) -> io::Result<LinkTable> {
    let Some(bytes) = read_if_there(&control.join("links"))? else { return Ok(LinkTable::default()) };
    LinkTable::parse(&bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

fn seconds(control: &Path, name: &str, default: u64) -> io::Result<Duration> {
    let given = read_if_there(&control.join(name))?.and_then(|bytes| classic::number(&bytes));
    Ok(Duration::from_secs(given.unwrap_or(default).clamp(1, WAIT_S_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(routes: &str, host: &str) -> String {
        let controls = Controls { routes: routes.into(), ..Controls::default() };
        controls.relay(host.as_bytes()).map_or("mx".into(), |r| format!("{}|{}", String::from_utf8_lossy(&r.host), r.port))
    }

    #[test]
    fn routes_exact_then_suffix_then_default() {
        let routes = "far.test:\n.far.test:[127.0.0.1]:26\n.sub.far.test:a\nFar.Org:b:1\nfar.org:c:2 user word\n:d\n";
        assert_eq!(route(routes, "FAR.test"), "mx");
        assert_eq!(route(routes, "x.far.test"), "[127.0.0.1]|26");
        assert_eq!(route(routes, "x.sub.far.test"), "a|25");
        assert_eq!(route(routes, "far.org"), "c|2");
        assert_eq!(route(routes, "www.far.org"), "d|25");
        assert_eq!(route("far.org:b\n", "www.far.org"), "mx");
        assert_eq!(route(":[::1]:26\n", ""), "[::1]|26");
        let links = LinkTable::parse(b"a far.test 192.0.2.1:26 manual\nb near.test - manual\n").unwrap();
        let controls = Controls { routes: b":d\n".to_vec(), links, ..Controls::default() };
        assert_eq!(controls.relay(b"Far.test"), Some(Relay { host: b"192.0.2.1".to_vec(), port: 26 }));
        assert_eq!(controls.relay(b"near.test"), Some(Relay { host: b"d".to_vec(), port: 25 }));
    }
}
