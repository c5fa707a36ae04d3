//! The Received line of a message that came by SMTP (RFC 5321 4.4), in qmail-smtpd's shape. Called by `desk` when the message is whole.

use postino_message::Received;
use postino_types::{Address, Time};

/// What the session knows of one message's way in.
pub(crate) struct WayIn<'a> {
    pub(crate) remote_host: Option<&'a str>,
    pub(crate) helo: &'a [u8],
    pub(crate) remote_ip: &'a str,
    pub(crate) local: &'a str,
    pub(crate) with: &'a str,
    pub(crate) tls: Option<&'a str>,
    /// (session, message of the session): unique in this process's life, together with the time for good.
    pub(crate) number: (u64, u64),
    pub(crate) recipient: Option<&'a Address>,
    pub(crate) time: Time,
}

impl WayIn<'_> {
    /// The lines, ended by LF.
    pub(crate) fn lines(&self) -> Vec<u8> {
        let id = id(self.time, self.number);
        Received {
            remote_host: self.remote_host.unwrap_or("unknown"),
            helo: Some(self.helo).filter(|helo| !helo.is_empty()),
            info: None,
            remote_ip: self.remote_ip,
            local: self.local,
            with: self.with,
            tls: self.tls,
            id: Some(&id),
            recipient: self.recipient,
            time: self.time,
        }
        .build()
    }
}

/// Milliseconds in base 32, session, message. The queue's number is not known before the commit.
fn id(time: Time, (session, message): (u64, u64)) -> String {
    format!("{}.{session}.{message}", base32(u64::try_from(time.0).unwrap_or(0)))
}

/// Digits and small letters without the four that are misread.
fn base32(mut number: u64) -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut out = Vec::with_capacity(13);
    loop {
        let digit = usize::try_from(number & 31).unwrap_or(0);
        out.push(DIGITS.get(digit).copied().unwrap_or(b'0'));
        number >>= 5;
        if number == 0 {
            break;
        }
    }
    out.iter().rev().map(|&b| char::from(b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_short_and_differ() {
        assert_eq!(base32(0), "0");
        assert_eq!(base32(33), "11");
        assert_ne!(id(Time(1), (1, 1)), id(Time(1), (1, 2)));
    }
}
