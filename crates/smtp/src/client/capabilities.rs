//! What a server offers in its answer to EHLO (RFC 5321 4.1.1.1). Made by the client session from the reply's lines; never guesses:
//! an unknown keyword is left out.

use crate::client::reply::Reply;

/// The extensions of one server, as far as a client uses them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// `PIPELINING` (RFC 2920).
    pub pipelining: bool,
    /// `SIZE` (RFC 1870).
    pub size: bool,
    /// Largest message the server takes, in bytes; `None` when it does not say (`SIZE` alone or `SIZE 0`).
    pub size_bytes_max: Option<u64>,
    /// `8BITMIME` (RFC 6152).
    pub eight_bit_mime: bool,
    /// `SMTPUTF8` (RFC 6531).
    pub smtp_utf8: bool,
    /// `STARTTLS` (RFC 3207).
    pub starttls: bool,
    /// `DSN` (RFC 3461).
    pub dsn: bool,
    /// `CHUNKING` (RFC 3030).
    pub chunking: bool,
    /// `ENHANCEDSTATUSCODES` (RFC 2034).
    pub enhanced_status_codes: bool,
    /// `REQUIRETLS` (RFC 8689).
    pub require_tls: bool,
    /// `AUTH PLAIN` (RFC 4954).
    pub auth_plain: bool,
    /// `AUTH LOGIN`.
    pub auth_login: bool,
    /// `LIMITS RCPTMAX=` (RFC 9422): recipients one transaction may hold.
    pub recipients_max: Option<usize>,
}

impl Capabilities {
    /// From a 250 reply to EHLO. The first line holds the server's name and is skipped.
    #[must_use]
    pub fn from_reply(reply: &Reply) -> Self {
        let mut all = Self::default();
        for line in reply.lines().skip(1) {
            all.add(line);
        }
        all
    }

    fn add(&mut self, line: &str) {
        // `AUTH=LOGIN PLAIN` is an old spelling still met.
        let mut words = line.split([' ', '=']).filter(|w| !w.is_empty());
        let Some(keyword) = words.next() else { return };
        match keyword.to_ascii_uppercase().as_str() {
            "PIPELINING" => self.pipelining = true,
            "SIZE" => {
                self.size = true;
                self.size_bytes_max = words.next().and_then(|n| n.parse().ok()).filter(|&n| n > 0);
            }
            "8BITMIME" => self.eight_bit_mime = true,
            "SMTPUTF8" => self.smtp_utf8 = true,
            "STARTTLS" => self.starttls = true,
            "DSN" => self.dsn = true,
            "CHUNKING" => self.chunking = true,
            "ENHANCEDSTATUSCODES" => self.enhanced_status_codes = true,
            "REQUIRETLS" => self.require_tls = true,
            "AUTH" => {
                for mechanism in words {
                    self.auth_plain |= mechanism.eq_ignore_ascii_case("PLAIN");
                    self.auth_login |= mechanism.eq_ignore_ascii_case("LOGIN");
                }
            }
            "LIMITS" => self.add_limits(line),
            _ => {}
        }
    }

    fn add_limits(&mut self, line: &str) {
        for word in line.split(' ') {
            if let Some((name, value)) = word.split_once('=')
                && name.eq_ignore_ascii_case("RCPTMAX")
            {
                self.recipients_max = value.parse().ok().filter(|&n| n > 0);
            }
        }
    }
}
