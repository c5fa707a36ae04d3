//! Envelope commands: MAIL and RCPT with their parameters (RFC 5321, 1870, 3461, 6152, 6531). Used by the client session and, for the
//! address checks, by `remote`; never puts a byte on the wire that could end or extend a command.

use crate::client::capabilities::Capabilities;
use postino_types::{Address, DsnWish, Notify, Orcpt, Ret, ReversePath};

/// Longest `ENVID` or `ORCPT` passed on, in encoded bytes (RFC 3461 5.3.1 names 100 and 500); longer ones are dropped, not cut.
const ENVID_BYTES_MAX: usize = 100;
const ORCPT_BYTES_MAX: usize = 500;

/// An address that cannot be spoken in SMTP (5.1.3 for a recipient, 5.1.7 for a sender).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressFault {
    /// A control byte: it could end the command and start another.
    #[error("address holds a control character")]
    Control,
    /// The host part holds a byte that no host name or address literal has: it could end the path and add parameters.
    #[error("address has an impossible host part")]
    Host,
    /// A recipient without a host.
    #[error("address has no host part")]
    NoHost,
}

/// One recipient of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionRecipient {
    /// For RCPT TO.
    pub address: Address,
    /// For `NOTIFY=`, passed on when explicit and offered.
    pub notify: Notify,
    /// For `ORCPT=`.
    pub original: Option<Orcpt>,
}

/// One mail transaction (RFC 5321 3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// For MAIL FROM.
    pub sender: ReversePath,
    /// For RCPT TO, in order.
    pub recipients: Vec<TransactionRecipient>,
    /// Estimated size on the wire, bytes (RFC 1870 lets it be an estimate).
    pub size_bytes: u64,
    /// The message holds bytes above 127: `BODY=8BITMIME` where offered. A server without 8BITMIME gets the bytes all the same, as
    /// qmail and (with its conversion off) Postfix do: re-coding would break signatures, bouncing would lose mail that arrives well.
    pub eight_bit: bool,
    /// The message needs `SMTPUTF8`: an address or the header is not ASCII.
    pub utf8: bool,
    /// `RET=` and `ENVID=`.
    pub dsn: DsnWish,
}

/// Checks a sender: no control byte, no strange host. A sender without host is let through, as qmail does.
pub fn check_sender(sender: &ReversePath) -> Result<(), AddressFault> {
    match sender {
        ReversePath::Null | ReversePath::DoubleBounce => Ok(()),
        ReversePath::Address(address) => check(address),
    }
}

/// Checks a recipient: no control byte, a host, no strange host.
pub fn check_recipient(address: &Address) -> Result<(), AddressFault> {
    match address.host() {
        None | Some(b"") => Err(AddressFault::NoHost),
        Some(_) => check(address),
    }
}

fn check(address: &Address) -> Result<(), AddressFault> {
    if address.as_bytes().iter().any(|&b| b < 32 || b == 127) {
        return Err(AddressFault::Control);
    }
    let host = address.host().unwrap_or_default();
    let (literal, inner) = match host.strip_prefix(b"[").and_then(|h| h.strip_suffix(b"]")) {
        Some(inner) => (true, inner),
        None => (false, host),
    };
    let fits = |b: &u8| b.is_ascii_alphanumeric() || *b >= 128 || b"-._".contains(b) || (literal && *b == b':');
    if inner.iter().all(fits) { Ok(()) } else { Err(AddressFault::Host) }
}

/// Appends `MAIL FROM:<…>` with the parameters that the server offers.
pub(super) fn write_mail(transaction: &Transaction, offered: &Capabilities, out: &mut Vec<u8>) {
    out.extend_from_slice(b"MAIL FROM:<");
    out.extend_from_slice(&transaction.sender.to_quoted(transaction.utf8));
    out.push(b'>');
    if offered.size {
        out.extend_from_slice(format!(" SIZE={}", transaction.size_bytes).as_bytes());
    }
    if offered.eight_bit_mime && (transaction.eight_bit || transaction.utf8) {
        out.extend_from_slice(b" BODY=8BITMIME");
    }
    if transaction.utf8 {
        out.extend_from_slice(b" SMTPUTF8");
    }
    if offered.dsn {
        match transaction.dsn.ret {
            Ret::Unset => {}
            Ret::Full => out.extend_from_slice(b" RET=FULL"),
            Ret::Headers => out.extend_from_slice(b" RET=HDRS"),
        }
        if let Some(envid) = transaction.dsn.envid.as_deref().map(xtext).filter(|x| !x.is_empty() && x.len() <= ENVID_BYTES_MAX) {
            out.extend_from_slice(b" ENVID=");
            out.extend_from_slice(&envid);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends `RCPT TO:<…>` with the parameters that the server offers.
pub(super) fn write_rcpt(recipient: &TransactionRecipient, utf8: bool, offered: &Capabilities, out: &mut Vec<u8>) {
    out.extend_from_slice(b"RCPT TO:<");
    out.extend_from_slice(&recipient.address.to_quoted(utf8));
    out.push(b'>');
    if offered.dsn {
        write_notify(recipient.notify, out);
        if let Some(original) = recipient.original.as_ref().and_then(orcpt) {
            out.extend_from_slice(b" ORCPT=");
            out.extend_from_slice(&original);
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn write_notify(notify: Notify, out: &mut Vec<u8>) {
    if !notify.explicit {
        return;
    }
    out.extend_from_slice(b" NOTIFY=");
    let wishes = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    let words: Vec<&str> = wishes.iter().filter(|(wanted, _)| *wanted).map(|(_, word)| *word).collect();
    let words = if words.is_empty() { "NEVER".to_owned() } else { words.join(",") };
    out.extend_from_slice(words.as_bytes());
}

fn orcpt(original: &Orcpt) -> Option<Vec<u8>> {
    let kind = original.kind.as_bytes();
    if kind.is_empty() || !kind.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-') {
        return None;
    }
    let address = if original.kind.eq_ignore_ascii_case("utf-8") { utf8_xtext(&original.address)? } else { xtext(&original.address) };
    let mut out = Vec::with_capacity(kind.len() + 1 + address.len());
    out.extend_from_slice(kind);
    out.push(b';');
    out.extend_from_slice(&address);
    (out.len() <= ORCPT_BYTES_MAX).then_some(out)
}

/// RFC 3461 4: printable ASCII but `+` and `=` as is, everything else as `+` and two hex digits.
fn xtext(bytes: &[u8]) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(bytes.len());
    for &b in bytes {
        if (33..127).contains(&b) && b != b'+' && b != b'=' {
            out.push(b);
        } else {
            let digit = |n: u8| HEX.get(usize::from(n)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'+', digit(b >> 4), digit(b & 15)]);
        }
    }
    out
}

/// RFC 6533 3: `utf-8-addr-xtext`, ASCII only. `None` when the bytes are not UTF-8.
fn utf8_xtext(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    for c in std::str::from_utf8(bytes).ok()?.chars() {
        match u8::try_from(c) {
            Ok(b) if (33..127).contains(&b) && !matches!(b, b'+' | b'=' | b'\\') => out.push(b),
            _ => out.extend_from_slice(format!("\\x{{{:02X}}}", u32::from(c)).as_bytes()),
        }
    }
    Some(out)
}
