//! POP3 command lines (RFC 1939, 2449, 2595, 5034, 6856). Pure and total: every line is a command, malformed or unknown.

/// A command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    User(&'a [u8]),
    Pass(&'a [u8]),
    Apop {
        name: &'a [u8],
        digest: &'a [u8],
    },
    /// `AUTH` without a mechanism.
    AuthList,
    Auth {
        mechanism: &'a [u8],
        initial: Option<&'a [u8]>,
    },
    Stls,
    Utf8,
    Capa,
    Stat,
    List(Option<u64>),
    Uidl(Option<u64>),
    Retr(u64),
    Top {
        number: u64,
        lines: u64,
    },
    Dele(u64),
    Rset,
    Noop,
    Quit,
    /// The line begins as an HTTP or TLS client would.
    OtherProtocol,
    /// A known command with wrong arguments.
    Malformed,
    Unknown,
}

impl<'a> Command<'a> {
    /// From a line without its end, free of NUL.
    pub(super) fn parse(line: &'a [u8]) -> Self {
        let mut parts = line.splitn(2, |&b| b == b' ');
        let word = parts.next().unwrap_or_default().to_ascii_uppercase();
        let all = parts.next();
        // A password may begin and end with blanks; everything else loses those at its end.
        let rest = all.map(|r| r.trim_ascii_end()).filter(|r| !r.is_empty());
        Self::with_arguments(&word, all, rest).unwrap_or(Self::Malformed)
    }

    fn with_arguments(word: &[u8], all: Option<&'a [u8]>, rest: Option<&'a [u8]>) -> Option<Self> {
        let bare = |command: Self| rest.is_none().then_some(command);
        Some(match word {
            b"USER" => Self::User(rest.filter(|name| !name.iter().any(u8::is_ascii_control))?),
            b"PASS" => Self::Pass(all?),
            b"APOP" => Self::apop(rest?)?,
            b"AUTH" => match rest {
                None => Self::AuthList,
                Some(rest) => {
                    let mut words = rest.split(|&b| b == b' ');
                    let command = Self::Auth { mechanism: words.next()?, initial: words.next() };
                    return words.next().is_none().then_some(command);
                }
            },
            b"LIST" => Self::List(optional(rest)?),
            b"UIDL" => Self::Uidl(optional(rest)?),
            b"RETR" => Self::Retr(number(rest?)?),
            b"DELE" => Self::Dele(number(rest?)?),
            b"TOP" => {
                let mut words = rest?.split(|&b| b == b' ');
                let command = Self::Top { number: number(words.next()?)?, lines: number(words.next()?)? };
                return words.next().is_none().then_some(command);
            }
            b"STLS" => return bare(Self::Stls),
            b"UTF8" => return bare(Self::Utf8),
            b"CAPA" => return bare(Self::Capa),
            b"STAT" => return bare(Self::Stat),
            b"RSET" => return bare(Self::Rset),
            b"NOOP" => Self::Noop,
            b"QUIT" => return bare(Self::Quit),
            b"GET" | b"POST" | b"HEAD" | b"PUT" | b"OPTIONS" | b"CONNECT" | b"PRI" | b"HOST:" => Self::OtherProtocol,
            [0x16, 0x03, ..] => Self::OtherProtocol,
            _ => Self::Unknown,
        })
    }

    /// RFC 1939 7: the digest is 32 hex digits; the name may hold blanks, as qmail-popup allows.
    fn apop(rest: &'a [u8]) -> Option<Self> {
        let at = rest.iter().rposition(|&b| b == b' ')?;
        let (name, digest) = (rest.get(..at)?, rest.get(at.checked_add(1)?..)?);
        let is_good =
            !name.is_empty() && !name.iter().any(u8::is_ascii_control) && digest.len() == 32 && digest.iter().all(u8::is_ascii_hexdigit);
        is_good.then_some(Self::Apop { name, digest })
    }
}

/// No argument, or one number.
fn optional(rest: Option<&[u8]>) -> Option<Option<u64>> {
    match rest {
        None => Some(None),
        Some(digits) => number(digits).map(Some),
    }
}

/// Digits only; a number beyond all messages is still a number.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 512 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0u64, |n, &b| n.saturating_mul(10).saturating_add(u64::from(b - b'0'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_strict_and_never_wrap() {
        assert_eq!(Command::parse(b"RETR 1"), Command::Retr(1));
        assert_eq!(Command::parse(b"retr 007 "), Command::Retr(7));
        assert_eq!(Command::parse(b"RETR 18446744073709551617"), Command::Retr(u64::MAX), "not message 1");
        assert_eq!(Command::parse(b"RETR 4294967297"), Command::Retr(4_294_967_297));
        for bad in
            [&b"RETR"[..], b"RETR ", b"RETR -1", b"RETR +1", b"RETR 1x", b"RETR 1 2", b"RETR  1", b"RETR 0x1", b"TOP 1", b"TOP 1 2 3"]
        {
            assert_eq!(Command::parse(bad), Command::Malformed, "{bad:?}");
        }
        assert_eq!(Command::parse(b"TOP 1 0"), Command::Top { number: 1, lines: 0 });
    }

    #[test]
    fn a_password_keeps_its_blanks() {
        assert_eq!(Command::parse(b"PASS  a b "), Command::Pass(b" a b "));
        assert_eq!(Command::parse(b"PASS "), Command::Pass(b""));
        assert_eq!(Command::parse(b"PASS"), Command::Malformed);
        assert_eq!(Command::parse(b"USER u@d "), Command::User(b"u@d"));
        assert_eq!(Command::parse(b"USER "), Command::Malformed);
    }

    #[test]
    fn apop_wants_a_name_and_a_digest() {
        let digest = b"0123456789ABCDEF0123456789abcdef";
        let line = [b"APOP u@d ".as_slice(), digest].concat();
        assert_eq!(Command::parse(&line), Command::Apop { name: b"u@d", digest });
        assert_eq!(Command::parse(b"APOP u"), Command::Malformed);
        assert_eq!(Command::parse(b"APOP u 0123"), Command::Malformed);
        assert_eq!(Command::parse(&[b"APOP  ".as_slice(), digest].concat()), Command::Malformed);
    }

    #[test]
    fn every_line_is_something() {
        assert_eq!(Command::parse(b""), Command::Unknown);
        assert_eq!(Command::parse(b" QUIT"), Command::Unknown);
        assert_eq!(Command::parse(b"QUIT now"), Command::Malformed);
        assert_eq!(Command::parse(b"GET / HTTP/1.1"), Command::OtherProtocol);
        assert_eq!(Command::parse(b"AUTH PLAIN a b"), Command::Malformed);
        assert_eq!(Command::parse(b"AUTH"), Command::AuthList);
        assert_eq!(Command::parse(&[0xff; 600]), Command::Unknown);
    }
}
