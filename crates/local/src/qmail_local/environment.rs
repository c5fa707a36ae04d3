//! What a delivery knows (qmail-command(8)'s variables) and the three lines put in front of a message. Pure; made once for each delivery.

use super::{Delivery, Stop};
use postino_message::delivered_to::{delivered_to, from_line, return_path};
use postino_types::{Address, ReversePath, Time};
use std::os::unix::ffi::OsStrExt;

/// The facts of one delivery.
#[derive(Debug)]
pub(super) struct Facts {
    /// Envelope sender.
    pub(super) sender: ReversePath,
    /// Sender of forwards.
    pub(super) new_sender: ReversePath,
    /// `Delivered-To: …\n`.
    pub(super) delivered_to: Vec<u8>,
    /// `Return-Path: …\n`.
    pub(super) return_path: Vec<u8>,
    /// `From …\n`.
    pub(super) from_line: Vec<u8>,
    /// DEFAULT.
    pub(super) default_part: Option<Vec<u8>>,
}

/// An address beyond the limit of the whole house.
pub(super) fn too_long() -> Stop {
    Stop::hard("Address is too long. (#5.1.3)")
}

impl Facts {
    /// From the command line and the time of the delivery.
    pub(super) fn new(delivery: &Delivery, now: Time) -> Result<Self, Stop> {
        let sender = ReversePath::from_bytes(&delivery.sender).map_err(|_| too_long())?;
        let recipient = Address::from_parts(&delivery.local, &delivery.domain).map_err(|_| too_long())?;
        Ok(Self {
            delivered_to: delivered_to(&recipient),
            return_path: return_path(&sender, false),
            from_line: from_line(&sender, now),
            new_sender: sender.clone(),
            sender,
            default_part: None,
        })
    }

    /// The variables for a program. Values from the envelope are made harmless first, see [`harmless`].
    pub(super) fn variables(&self, delivery: &Delivery) -> Vec<(&'static str, Vec<u8>)> {
        let recipient = [&delivery.local, &b"@"[..], &delivery.domain].concat();
        let ext = |dashes: usize| delivery.ext.splitn(dashes + 1, |&b| b == b'-').nth(dashes).unwrap_or_default().to_vec();
        let mut list = vec![
            ("USER", harmless(&delivery.user)),
            ("HOME", harmless(delivery.home.as_os_str().as_bytes())),
            ("LOCAL", harmless(&delivery.local)),
            ("HOST", harmless(&delivery.domain)),
            ("HOST2", harmless(before_dots(&delivery.domain, 1))),
            ("HOST3", harmless(before_dots(&delivery.domain, 2))),
            ("HOST4", harmless(before_dots(&delivery.domain, 3))),
            ("RECIPIENT", harmless(&recipient)),
            ("EXT", harmless(&delivery.ext)),
            ("EXT2", harmless(&ext(1))),
            ("EXT3", harmless(&ext(2))),
            ("EXT4", harmless(&ext(3))),
            ("SENDER", harmless(self.sender.as_bytes())),
            ("NEWSENDER", harmless(self.new_sender.as_bytes())),
            ("DTLINE", line(&self.delivered_to)),
            ("RPLINE", line(&self.return_path)),
            ("UFLINE", line(&self.from_line)),
        ];
        if let Some(part) = &self.default_part {
            list.push(("DEFAULT", harmless(part)));
        }
        list
    }
}

/// A value that no shell takes for code or for two lines: CR, LF and NUL become `_`; a value that begins with `()`, which some shells take for a
/// function, begins with `_)` instead. Everything else stays as it is: programs compare addresses.
fn harmless(value: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = value.iter().map(|&b| if matches!(b, b'\r' | b'\n' | 0) { b'_' } else { b }).collect();
    if let [first @ b'(', b')', ..] = out.as_mut_slice() {
        *first = b'_';
    }
    out
}

fn line(line: &[u8]) -> Vec<u8> {
    let mut out = harmless(line.strip_suffix(b"\n").unwrap_or(line));
    out.push(b'\n');
    out
}

/// The host without its last `dots` labels; when the dots run out, its first label.
fn before_dots(host: &[u8], dots: usize) -> &[u8] {
    let mut rest = host;
    for _ in 0..dots {
        rest = rest.iter().rposition(|&b| b == b'.').and_then(|i| rest.get(..i)).unwrap_or(rest);
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(sender: &[u8], local: &[u8], ext: &[u8], host: &[u8]) -> std::collections::HashMap<&'static str, String> {
        let delivery = Delivery {
            user: b"joe".to_vec(),
            home: "/home/joe".into(),
            local: local.to_vec(),
            dash: b"-".to_vec(),
            ext: ext.to_vec(),
            domain: host.to_vec(),
            sender: sender.to_vec(),
            default_delivery: Vec::new(),
        };
        let facts = Facts::new(&delivery, Time::from_secs(0)).unwrap();
        facts.variables(&delivery).into_iter().map(|(k, v)| (k, String::from_utf8_lossy(&v).into_owned())).collect()
    }

    #[test]
    fn parts_of_extension_and_host() {
        let v = variables(b"s p@x.org", b"joe-a-B.c", b"a-B.c", b"sub.example.org");
        for (name, value) in [
            ("EXT", "a-B.c"),
            ("EXT2", "B.c"),
            ("EXT3", ""),
            ("EXT4", ""),
            ("HOST2", "sub.example"),
            ("HOST3", "sub"),
            ("HOST4", "sub"),
            ("RECIPIENT", "joe-a-B.c@sub.example.org"),
            ("RPLINE", "Return-Path: <\"s p\"@x.org>\n"),
            ("DTLINE", "Delivered-To: joe-a-B.c@sub.example.org\n"),
        ] {
            assert_eq!(v.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(!v.contains_key("DEFAULT"));
    }

    #[test]
    fn no_value_is_a_function_or_two_lines() {
        let v = variables(b"() { :; }; echo x@y", b"() { x", b"() { x", b"h\r\nBcc: z");
        for (name, value) in &v {
            let value = value.strip_suffix('\n').filter(|_| name.ends_with("LINE")).unwrap_or(value);
            assert!(!value.starts_with("()"), "{name}={value}");
            assert!(!value.contains(['\r', '\n']), "{name}={value}");
        }
        assert_eq!(v.get("SENDER").map(String::as_str), Some("_) { :; }; echo x@y"));
    }
}
