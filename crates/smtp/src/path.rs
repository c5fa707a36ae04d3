//! The one parser of SMTP paths (RFC 5321 4.1.2, RFC 6531 3.3). Every address from the network passes here and nowhere else, so that no
//! two readers can disagree about where a host begins. Called by the command parser, `smtpd`, tools and the fuzzer; it decides nothing.

use postino_types::{Address, ReversePath};

/// Longest local part taken, bytes. RFC 5321 4.5.3.1.1 asks for 64; VERP and SRS senders are longer.
pub const LOCAL_BYTES_MAX: usize = 512;
/// Longest domain, bytes (RFC 5321 4.5.3.1.2).
pub const DOMAIN_BYTES_MAX: usize = 255;
/// Most hosts in a source route that is read and dropped (RFC 5321 appendix C).
const ROUTE_HOSTS_MAX: usize = 32;

/// Why bytes are not a path. Each is the client's fault: 5xx.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No `<`, no `>` or something else between them than RFC 5321 4.1.2 allows.
    #[error("address syntax")]
    Syntax,
    /// There is no `@host`.
    #[error("address without host")]
    NoHost,
    /// A host name with an empty label, a trailing dot, a bad character or a bad literal.
    #[error("host syntax")]
    Host,
    /// Longer than the limits.
    #[error("address too long")]
    TooLong,
    /// Not UTF-8, or a control character in it.
    #[error("address is not valid UTF-8")]
    Utf8,
}

/// Reads `<…>` at the start of `input` as a sender: `<>`, qmail's `<#@[]>`, or a mailbox. Returns it and what follows `>`.
pub fn reverse_path(input: &[u8]) -> Result<(ReversePath, &[u8]), PathError> {
    if let Some(rest) = input.strip_prefix(b"<>") {
        return Ok((ReversePath::Null, rest));
    }
    if let Some(rest) = input.strip_prefix(b"<#@[]>") {
        return Ok((ReversePath::DoubleBounce, rest));
    }
    let (address, rest) = bracketed(input)?;
    if address.host().is_none() {
        return Err(PathError::NoHost);
    }
    Ok((ReversePath::Address(address), rest))
}

/// Reads `<…>` at the start of `input` as a recipient. Only `<postmaster>` may lack a host (RFC 5321 4.1.1.3); a source route is dropped.
pub fn forward_path(input: &[u8]) -> Result<(Address, &[u8]), PathError> {
    let (address, rest) = bracketed(input)?;
    if address.host().is_none() && !address.as_bytes().eq_ignore_ascii_case(b"postmaster") {
        return Err(PathError::NoHost);
    }
    Ok((address, rest))
}

/// Reads a whole `input` as `local@host`, without angle brackets.
pub fn mailbox(input: &[u8]) -> Result<Address, PathError> {
    let mut cursor = Cursor { rest: input };
    let address = cursor.mailbox()?;
    if !cursor.rest.is_empty() {
        return Err(PathError::Syntax);
    }
    if address.host().is_none() { Err(PathError::NoHost) } else { Ok(address) }
}

/// True when `host` is a domain or an address literal as RFC 5321 4.1.2 writes it (underscores allowed, UTF-8 labels too).
#[must_use]
pub fn is_host(host: &[u8]) -> bool {
    let mut cursor = Cursor { rest: host };
    cursor.host().is_ok() && cursor.rest.is_empty()
}

fn bracketed(input: &[u8]) -> Result<(Address, &[u8]), PathError> {
    let mut cursor = Cursor { rest: input };
    cursor.expect(b'<')?;
    cursor.skip_route()?;
    let address = cursor.mailbox()?;
    cursor.expect(b'>')?;
    Ok((address, cursor.rest))
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn expect(&mut self, byte: u8) -> Result<(), PathError> {
        if self.next() == Some(byte) { Ok(()) } else { Err(PathError::Syntax) }
    }

    fn take_while(&mut self, keep: impl Fn(u8) -> bool) -> &'a [u8] {
        let n = self.rest.iter().position(|&b| !keep(b)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(n).unwrap_or((self.rest, b""));
        self.rest = rest;
        taken
    }

    /// `@a,@b:` — must be understood, is never followed (RFC 5321 appendix C).
    fn skip_route(&mut self) -> Result<(), PathError> {
        if self.peek() != Some(b'@') {
            return Ok(());
        }
        for _ in 0..ROUTE_HOSTS_MAX {
            self.expect(b'@')?;
            self.host()?;
            match self.next() {
                Some(b',') => {}
                Some(b':') => return Ok(()),
                _ => return Err(PathError::Syntax),
            }
        }
        Err(PathError::TooLong)
    }

    fn mailbox(&mut self) -> Result<Address, PathError> {
        let local = if self.peek() == Some(b'"') { self.quoted_string()? } else { self.dot_string()?.to_vec() };
        if local.len() > LOCAL_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        check_text(&local)?;
        if self.peek() != Some(b'@') {
            // A quoted text without host may hold an `@` that a later reader would take for the host's.
            return if local.contains(&b'@') {
                Err(PathError::NoHost)
            } else {
                Address::from_bytes(&local).map_err(|_| PathError::TooLong)
            };
        }
        self.expect(b'@')?;
        let host = self.host()?;
        Address::from_parts(&local, host).map_err(|_| PathError::TooLong)
    }

    fn dot_string(&mut self) -> Result<&'a [u8], PathError> {
        let text = self.take_while(|b| is_atext(b) || b == b'.');
        if text.split(|&b| b == b'.').any(<[u8]>::is_empty) {
            return Err(PathError::Syntax);
        }
        Ok(text)
    }

    fn quoted_string(&mut self) -> Result<Vec<u8>, PathError> {
        self.expect(b'"')?;
        let mut out = Vec::new();
        loop {
            match self.next().ok_or(PathError::Syntax)? {
                b'"' => return Ok(out),
                b'\\' => match self.next() {
                    Some(b @ 32..=126) => out.push(b),
                    _ => return Err(PathError::Syntax),
                },
                b @ (32..=126 | 128..) => out.push(b),
                _ => return Err(PathError::Syntax),
            }
        }
    }

    fn host(&mut self) -> Result<&'a [u8], PathError> {
        let start = self.rest;
        if self.peek() == Some(b'[') {
            let inner = self.take_while(|b| b != b']');
            self.expect(b']').map_err(|_| PathError::Host)?;
            check_literal(inner.get(1..).unwrap_or_default())?;
            return start.get(..inner.len() + 1).ok_or(PathError::Host);
        }
        let host = self.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | 128..));
        if host.len() > DOMAIN_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        let label_ok = |label: &[u8]| {
            !label.is_empty() && label.first() != Some(&b'-') && label.last() != Some(&b'-') && (label.len() <= 63 || !label.is_ascii())
        };
        if !host.split(|&b| b == b'.').all(label_ok) {
            return Err(PathError::Host);
        }
        check_text(host)?;
        Ok(host)
    }
}

/// RFC 5321 4.1.3. Tags other than IPv6 are registered by nobody and refused.
fn check_literal(inner: &[u8]) -> Result<(), PathError> {
    let text = std::str::from_utf8(inner).map_err(|_| PathError::Host)?;
    let tagged = text.split_at_checked(5).filter(|(tag, _)| tag.eq_ignore_ascii_case("IPv6:"));
    let good = match tagged {
        Some((_, address)) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => text.parse::<std::net::Ipv4Addr>().is_ok(),
    };
    if good { Ok(()) } else { Err(PathError::Host) }
}

/// RFC 6531 3.3: valid UTF-8; control characters (C1 too) are refused with everything else that could break a log line.
fn check_text(bytes: &[u8]) -> Result<(), PathError> {
    if bytes.is_ascii() {
        return Ok(());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| PathError::Utf8)?;
    if text.chars().any(char::is_control) { Err(PathError::Utf8) } else { Ok(()) }
}

fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte) || byte >= 128
}

#[cfg(test)]
mod tests;
