//! `control/masquerade`: which address goes out into the world instead of which. Read by the loader and by the historical programs; pure.
//! Never sees a message: `postino_message::masquerade` puts the addresses into one.

use crate::classic;
use postino_types::Address;
use postino_types::address::AddressError;
use postino_types::printable::printable;
use std::collections::HashMap;

/// Most rules.
pub const RULES_MAX: usize = 100_000;

const WITH_RECIPIENTS: &[u8] = b"+recipients";

/// The rules, by key in lower case: `user@host`, `@host`, `@.suffix`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Masquerade {
    rules: HashMap<Vec<u8>, Rule>,
    recipients: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    /// An exception: the address stays.
    Stay,
    /// This address instead.
    Address(Address),
    /// The same box at this host.
    Host(Vec<u8>),
}

impl Masquerade {
    /// Without a rule nothing needs to be looked at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The fields that name recipients are rewritten too (`+recipients`).
    #[must_use]
    pub fn rewrites_recipients(&self) -> bool {
        self.recipients
    }

    /// Reads the file: `KEY:ADDRESS`, `KEY:@HOST`, `!KEY` or `+recipients`, one a line.
    ///
    /// # Errors
    /// Line and reason of each line that says nothing clear.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<(usize, String)>> {
        let mut table = Self::default();
        let mut lines = HashMap::new();
        let mut problems = Vec::new();
        for (number, line) in classic::list_indented(bytes) {
            if line == WITH_RECIPIENTS {
                table.recipients = true;
                continue;
            }
            let rule = rule(line).and_then(|(key, rule)| {
                if lines.len() >= RULES_MAX {
                    return Err(format!("is beyond the {RULES_MAX} rules that are allowed"));
                }
                if let Some(first) = lines.insert(key.clone(), number) {
                    return Err(format!("names {} again (first in line {first})", printable(&key)));
                }
                Ok(table.rules.insert(key, rule))
            });
            problems.extend(rule.err().map(|reason| (number, reason)));
        }
        for (key, number) in &lines {
            if let Some(again) = table.rules.get(key).and_then(|rule| table.again(rule)) {
                problems.push((*number, format!("leads to {again}, which another line rewrites in turn")));
            }
        }
        problems.sort();
        if problems.is_empty() { Ok(table) } else { Err(problems) }
    }

    /// The address that stands for `address` outside; `None`: it stays. The whole address decides first, then its host, then each suffix of
    /// the host, the longest first; an exception counts like any other rule.
    #[must_use]
    pub fn outside(&self, address: &Address) -> Option<Address> {
        if self.rules.is_empty() {
            return None;
        }
        let new = match self.rule_for(address)? {
            Rule::Stay => return None,
            Rule::Address(new) => new.clone(),
            Rule::Host(host) => Address::from_parts(address.local(), host).ok()?,
        };
        (new != *address).then_some(new)
    }

    fn rule_for(&self, address: &Address) -> Option<&Rule> {
        let host = address.host_lower();
        self.rules.get(address.as_bytes().to_ascii_lowercase().as_slice()).or_else(|| self.rule_of_host(&host))
    }

    fn rule_of_host(&self, host: &[u8]) -> Option<&Rule> {
        let get = |host: &[u8]| self.rules.get([b"@", host].concat().as_slice());
        let dots = host.iter().enumerate().filter(|(_, b)| **b == b'.');
        get(host).or_else(|| dots.filter_map(|(i, _)| host.get(i..)).find_map(get))
    }

    /// A message may pass twice (once by `qmail-masq`, once on its way out): the second time must find nothing to do.
    fn again(&self, rule: &Rule) -> Option<String> {
        match rule {
            Rule::Stay => None,
            Rule::Address(address) => self.outside(address).is_some().then(|| printable(address.as_bytes())),
            Rule::Host(host) => match self.rule_of_host(&host.to_ascii_lowercase()) {
                None | Some(Rule::Stay) => None,
                Some(Rule::Host(to)) if to.eq_ignore_ascii_case(host) => None,
                Some(_) => Some(format!("@{}", printable(host))),
            },
        }
    }
}

fn rule(line: &[u8]) -> Result<(Vec<u8>, Rule), String> {
    if let Some(bad) = line.iter().find(|b| b.is_ascii_control()) {
        let advice = if *bad == b'\r' { "; take the carriage return away: sed -i 's/\\r$//'" } else { "" };
        return Err(format!("holds a control byte{advice}"));
    }
    if let Some(exception) = line.strip_prefix(b"!") {
        return Ok((key(exception)?, Rule::Stay));
    }
    let last = line.iter().rposition(|&b| b == b':').ok_or("is not KEY:ADDRESS, KEY:@HOST or !KEY")?;
    let key = key(line.get(..last).unwrap_or_default())?;
    let value = line.get(last + 1..).unwrap_or_default().trim_ascii();
    let too_long = |e: AddressError| e.to_string();
    let address = Address::from_bytes(value).map_err(too_long)?;
    let Some(host) = address.host().filter(|host| is_host(host)) else {
        return Err(format!("gives \"{}\", which is no address", printable(value)));
    };
    Ok((key, if address.local().is_empty() { Rule::Host(host.to_vec()) } else { Rule::Address(address) }))
}

/// `user@host`, `@host` or `@.suffix`, in lower case.
fn key(text: &[u8]) -> Result<Vec<u8>, String> {
    let text = text.trim_ascii().to_ascii_lowercase();
    let at = text.iter().rposition(|&b| b == b'@');
    let host = at.and_then(|at| text.get(at + 1..)).unwrap_or_default();
    let name = if at == Some(0) { host.strip_prefix(b".").unwrap_or(host) } else { host };
    if is_host(name) { Ok(text) } else { Err(format!("begins with \"{}\", which is neither user@host nor @host", printable(&text))) }
}

/// Plain enough to stand in an envelope and a header without quotes.
fn is_host(host: &[u8]) -> bool {
    let labels = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.') || *b >= 128;
    !host.is_empty() && host.len() <= 255 && host.iter().all(labels) && !host.starts_with(b".") && !host.ends_with(b".")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] =
        b"# ours\njoe@fake.test:j.doe@isp.test\n@fake.test:@real.test\n!root@fake.test\n!@lan.fake.test\n@.fake.test:hub@isp.test\n";

    fn outside(address: &str) -> String {
        let table = Masquerade::parse(TABLE).unwrap();
        let address = Address::from_bytes(address.as_bytes()).unwrap();
        table.outside(&address).map_or_else(|| "-".into(), |new| new.to_string())
    }

    #[test]
    fn the_whole_address_then_the_host_then_its_suffixes() {
        assert_eq!(outside("Joe@FAKE.test"), "j.doe@isp.test");
        assert_eq!(outside("Ann@fake.test"), "Ann@real.test");
        assert_eq!(outside("root@fake.test"), "-");
        assert_eq!(outside("ann@pc.fake.test"), "hub@isp.test");
        assert_eq!(outside("ann@lan.fake.test"), "-");
        assert_eq!(outside("ann@real.test"), "-");
        assert_eq!(outside("ann"), "-");
    }

    #[test]
    fn lines_that_say_nothing_clear_are_told_with_their_number() {
        let bad = |text: &str| {
            Masquerade::parse(text.as_bytes()).unwrap_err().into_iter().map(|(n, e)| format!("{n}: {e}\n")).collect::<String>()
        };
        assert!(bad("joe\n").starts_with("1: is not KEY"));
        assert!(bad("#\njoe:x@y.test\n").starts_with("2: begins with \"joe\""));
        assert!(bad("@a.test:b\n").contains("no address"));
        assert!(bad("@a.test:b@\r\n").contains("carriage return"));
        assert_eq!(Masquerade::parse(b" # not ours\n\t!joe@a.test\n  @a.test:@b.test\n").unwrap().rules.len(), 2);
        assert!(bad("@a.test:@b.test\n@A.test:@c.test\n").starts_with("2: names @a.test again (first in line 1)"));
        assert!(bad("@a.test:@b.test\n@b.test:@a.test\n").contains("in turn"));
        assert!(Masquerade::parse(b"@a.test:@a.test\njoe@.a.test:x@b.test\n").is_err());
        assert!(Masquerade::parse(b"@a.test:@a.test\njoe@a.test:x@a.test\n").is_ok());
    }
}
