//! Who speaks with whom, as tcpserver tells in the environment, and the Received line made of it. Used by the sessions that take mail.

use postino_message::Received;
use postino_types::Time;
use std::os::unix::ffi::OsStringExt;
use std::time::{SystemTime, UNIX_EPOCH};

/// The client and we.
#[derive(Debug)]
pub(super) struct Peer {
    ip: String,
    host: String,
    info: Option<Vec<u8>>,
    local: String,
}

impl Peer {
    pub(super) fn by_environment() -> Self {
        let text = |name: &str| environment(name).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let unknown = || "unknown".to_owned();
        Self {
            ip: text("TCPREMOTEIP").unwrap_or_else(unknown),
            host: text("TCPREMOTEHOST").unwrap_or_else(unknown),
            info: environment("TCPREMOTEINFO"),
            local: text("TCPLOCALHOST").or_else(|| text("TCPLOCALIP")).unwrap_or_else(unknown),
        }
    }

    /// The Received line of a message that comes now.
    pub(super) fn received(&self, helo: Option<&[u8]>, with: &str) -> Vec<u8> {
        Received {
            remote_host: &self.host,
            helo,
            info: self.info.as_deref(),
            remote_ip: &self.ip,
            local: &self.local,
            with,
            tls: None,
            id: None,
            recipient: None,
            time: now(),
        }
        .build()
    }
}

/// A variable's bytes.
pub(super) fn environment(name: &str) -> Option<Vec<u8>> {
    std::env::var_os(name).map(OsStringExt::into_vec)
}

pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_secs(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
