//! Which service a login is for, and from where it comes: by the environment of tcpserver, else by the connection itself (inetd tells nothing). Called by
//! vchkpw.

use postino_types::account::{FLAG_NO_IMAP, FLAG_NO_POP, FLAG_NO_SMTP, FLAG_NO_WEBMAIL};
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// What the client wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Smtp,
    Pop,
    Imap,
    /// POP3 or IMAP of a web server on this machine.
    Webmail,
}

/// A service with its name in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) kind: Kind,
    pub(crate) log_name: String,
}

impl Service {
    /// By the port that the client came to; another port by the words of the program that is to be run.
    pub(crate) fn find(port: Option<u16>, program: &[OsString], client: Option<IpAddr>) -> Self {
        let has = |part: &str| program.iter().any(|word| word.to_string_lossy().contains(part));
        let (kind, name) = match port {
            Some(25) => (Kind::Smtp, "smtp"),
            Some(465) => (Kind::Smtp, "smtps"),
            Some(587) => (Kind::Smtp, "submission"),
            Some(110) => (Kind::Pop, "pop3"),
            Some(995) => (Kind::Pop, "pop3s"),
            Some(143) => (Kind::Imap, "imap"),
            Some(993) => (Kind::Imap, "imaps"),
            _ if has("true") => (Kind::Smtp, ""),
            _ if has("imap") => (Kind::Imap, ""),
            _ => (Kind::Pop, ""),
        };
        if kind != Kind::Smtp && client == Some(IpAddr::V4(Ipv4Addr::LOCALHOST)) {
            return Self { kind: Kind::Webmail, log_name: "vchkpw-webmail".into() };
        }
        let log_name = match name {
            "" => format!("vchkpw-{}", port.unwrap_or(0)),
            name => format!("vchkpw-{name}"),
        };
        Self { kind, log_name }
    }

    /// The flag that closes it to an account.
    pub(crate) fn closing_flag(&self) -> u32 {
        match self.kind {
            Kind::Smtp => FLAG_NO_SMTP,
            Kind::Pop => FLAG_NO_POP,
            Kind::Imap => FLAG_NO_IMAP,
            Kind::Webmail => FLAG_NO_WEBMAIL,
        }
    }

    /// As the log names what is denied.
    pub(crate) fn word(&self) -> &'static str {
        match self.kind {
            Kind::Smtp => "smtp",
            Kind::Pop => "pop",
            Kind::Imap => "imap",
            Kind::Webmail => "webmail",
        }
    }
}

/// Both ends of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ends {
    /// The client's address.
    pub(crate) client: Option<IpAddr>,
    /// The address that it came to.
    pub(crate) local: Option<IpAddr>,
    /// The port that it came to.
    pub(crate) port: Option<u16>,
}

impl Ends {
    /// As the server above tells it. inetd tells nothing, xinetd the client's address alone: then the socket on descriptor 0 is asked.
    pub(crate) fn look() -> Self {
        let text = |name: &str| std::env::var_os(name);
        let peer = || socket_end(rustix::net::getpeername(rustix::stdio::stdin()).ok()??);
        let own = || socket_end(rustix::net::getsockname(rustix::stdio::stdin()).ok()?);
        let port = text("TCPLOCALPORT").map(|port| port.to_string_lossy().trim().parse().ok());
        Self {
            client: text("TCPREMOTEIP").or_else(|| text("REMOTE_HOST")).map_or_else(|| peer().map(|end| end.ip()), |ip| address(&ip)),
            local: text("TCPLOCALIP").map_or_else(|| own().map(|end| end.ip()), |ip| address(&ip)),
            port: port.unwrap_or_else(|| own().map(|end| end.port())),
        }
    }

    /// The client as text.
    pub(crate) fn client_text(&self) -> String {
        self.client.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string())
    }
}

fn socket_end(any: rustix::net::SocketAddrAny) -> Option<SocketAddr> {
    let end = SocketAddr::try_from(any).ok()?;
    Some(SocketAddr::new(end.ip().to_canonical(), end.port()))
}

fn address(text: &OsStr) -> Option<IpAddr> {
    text.to_str()?.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_port_then_by_words_then_by_address() {
        let find = |port: u16, words: &[&str], ip: &str| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            let found = Service::find(Some(port).filter(|port| *port != 0), &words, ip.parse().ok());
            (found.kind, found.log_name)
        };
        let far = "192.0.2.1";
        assert_eq!(find(25, &["true"], "127.0.0.1"), (Kind::Smtp, "vchkpw-smtp".into()));
        assert_eq!(find(465, &[], far).1, "vchkpw-smtps");
        assert_eq!(find(587, &[], far), (Kind::Smtp, "vchkpw-submission".into()));
        assert_eq!(find(110, &["qmail-pop3d"], far), (Kind::Pop, "vchkpw-pop3".into()));
        assert_eq!(find(995, &[], far).1, "vchkpw-pop3s");
        assert_eq!(find(143, &[], far), (Kind::Imap, "vchkpw-imap".into()));
        assert_eq!(find(993, &[], "127.0.0.1"), (Kind::Webmail, "vchkpw-webmail".into()));
        assert_eq!(find(2525, &["/bin/true"], far), (Kind::Smtp, "vchkpw-2525".into()));
        assert_eq!(find(1143, &["imapd"], far), (Kind::Imap, "vchkpw-1143".into()));
        assert_eq!(find(0, &["qmail-pop3d", "Maildir"], far), (Kind::Pop, "vchkpw-0".into()));
    }
}
