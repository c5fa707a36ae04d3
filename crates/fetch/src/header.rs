//! The header of a message on its way in: how often it went round (hops), who sent it (Return-Path), and for whom it is. Used by `run`; keeps the
//! header's first part only, and decides nothing about delivery.

use postino_control::Config;
use postino_control::fetch::{FetchAccount, Multidrop};
use postino_message::header::{HeaderScanner, Progress, fields};
use postino_policy::route::route;
use postino_types::{Address, Channel, ReversePath};

/// Part of the header that is looked at for names, bytes.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// A header being read.
#[derive(Debug, Default)]
pub(crate) struct Header {
    scanner: HeaderScanner,
    kept: Vec<u8>,
    is_over: bool,
}

impl Header {
    /// Takes the next bytes of the message.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if self.is_over {
            return;
        }
        self.is_over = self.scanner.feed(bytes) == Progress::Done;
        let room = KEPT_BYTES_MAX.saturating_sub(self.kept.len()).min(bytes.len());
        self.kept.extend_from_slice(bytes.get(..room).unwrap_or_default());
    }

    /// Received and Delivered-To lines.
    pub(crate) fn hops(&self) -> usize {
        self.scanner.hops()
    }

    /// The topmost Return-Path, which the last server wrote; the null sender when there is none: failures then go to the postmaster, not to a stranger.
    pub(crate) fn sender(&self) -> ReversePath {
        let value = fields(&self.kept).find(|f| f.is("Return-Path")).map(|f| f.unfolded());
        let address = value.as_deref().and_then(mailbox);
        // The double bounce's own sender is for us alone to use.
        address.filter(|a| a.as_bytes() != b"#@[]").map_or(ReversePath::Null, ReversePath::Address)
    }

    /// Whom the message is for: the address that the account's field names, when it is one of ours; else the account's own.
    pub(crate) fn recipient(&self, account: &FetchAccount, config: &Config) -> Address {
        let named = account.multidrop.as_ref().and_then(|drop| self.named(drop));
        // A stranger's address is not written to: the field is text from outside, and we are no relay.
        named.filter(|address| route(config, address).channel == Channel::Local).unwrap_or_else(|| account.to.clone())
    }

    fn named(&self, drop: &Multidrop) -> Option<Address> {
        let field = fields(&self.kept).filter(|f| f.is(&drop.header)).nth(drop.nth.checked_sub(1)?)?;
        let address = mailbox(&field.unfolded())?;
        let local = address.local();
        let local = local.strip_prefix(drop.strip.as_bytes()).filter(|rest| !rest.is_empty()).unwrap_or(local);
        let host = drop.domain.as_ref().map_or(address.host()?, |domain| domain.as_bytes());
        Address::from_parts(local, host).ok()
    }
}

/// `a@b`, `<a@b>` or `Name <a@b>`; nothing that needs more of a parser.
fn mailbox(value: &[u8]) -> Option<Address> {
    let inner = match value.iter().rposition(|&b| b == b'<') {
        Some(open) => value.get(open.saturating_add(1)..)?.trim_ascii_end().strip_suffix(b">")?,
        None => value,
    };
    let is_plain = |b: &u8| !b.is_ascii_whitespace() && !b.is_ascii_control() && !b"<>\"(),;:\\".contains(b);
    if inner.len() > 320 || !inner.iter().all(is_plain) {
        return None;
    }
    let address = Address::from_bytes(inner).ok()?;
    (!address.local().is_empty() && address.host().is_some_and(|h| !h.is_empty() && h.iter().all(|b| b.is_ascii_graphic())))
        .then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use postino_control::fetch::{FetchAuth, FetchProtocol, FetchSecret, FetchTls, FetchTrust};

    fn account(drop: Option<Multidrop>) -> FetchAccount {
        FetchAccount {
            name: "isp".into(),
            protocol: FetchProtocol::Pop3,
            host: "pop.test".into(),
            port: 995,
            tls: FetchTls::Implicit,
            trust: FetchTrust::System,
            user: "u".into(),
            auth: FetchAuth::Auto,
            secret: FetchSecret::PasswordFile("/x".into()),
            to: Address::from_bytes(b"rest@here.test").unwrap(),
            multidrop: drop,
            folders: vec!["INBOX".into()],
            keep_days: None,
            every: None,
            messages_max: 10,
            idle: std::time::Duration::from_secs(1),
        }
    }

    fn header(text: &str) -> Header {
        let mut header = Header::default();
        for chunk in text.as_bytes().chunks(7) {
            header.feed(chunk);
        }
        header
    }

    fn recipient(text: &str, nth: usize, domain: Option<&str>) -> String {
        let mut config = Config::default();
        config.locals.insert(b"here.test".to_vec());
        let drop = Multidrop { header: "delivered-to".into(), nth, strip: "isp-".into(), domain: domain.map(Into::into) };
        header(text).recipient(&account(Some(drop)), &config).to_string()
    }

    #[test]
    fn who_it_is_for() {
        let two = "Delivered-To: isp-joe@here.test\nDelivered-To: <ann@isp.test>\n\nDelivered-To: forged@here.test\n";
        assert_eq!(recipient(two, 1, None), "joe@here.test");
        assert_eq!(recipient(two, 2, Some("here.test")), "ann@here.test");
        assert_eq!(recipient(two, 2, None), "rest@here.test", "a stranger's address is not written to");
        assert_eq!(recipient(two, 3, None), "rest@here.test", "the body is no header");
        assert_eq!(recipient("Delivered-To: isp-@here.test\n\n", 1, None), "isp-@here.test", "an empty name is none");
        for odd in ["a b@here.test", "\"x\"@here.test", "@here.test", "joe@", "joe", "a@here.test, b@here.test", "j\u{1}oe@here.test"] {
            assert_eq!(recipient(&format!("Delivered-To: {odd}\n\n"), 1, None), "rest@here.test", "{odd}");
        }
    }

    #[test]
    fn who_sent_it() {
        let sender = |text: &str| header(text).sender().to_string();
        assert_eq!(sender("Return-Path: <a@b.test>\nFrom: x@y\n\n"), "a@b.test");
        for null in ["Return-Path: <>\n\n", "From: a@b\n\n", "Return-Path: <#@[]>\n\n", "Return-Path: nonsense\n\n"] {
            assert_eq!(header(null).sender(), ReversePath::Null, "{null}");
        }
    }

    #[test]
    fn hops_are_counted_in_the_header_alone() {
        assert_eq!(header("Received: a\nX: y\nDelivered-To: b\n\nReceived: c\n").hops(), 2);
    }
}
