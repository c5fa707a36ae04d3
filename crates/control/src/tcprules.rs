//! Rules by client address, as tcprules(1) compiles and tcpserver(1) applies them: allow or deny, and variables such as RELAYCLIENT.
//! Called by the loader, policy and the historical tools; never opens a file.
//!
//! IPv6 addresses stand in brackets, because a colon ends the address part: `[2001:db8::1]:allow` or, for a network, `[2001:db8::]/32:deny`.
//! The bracketed forms rank as the dotted ones do (whole address before `=host`, networks after it, longest first). `::1` also follows the
//! rules for 127.0.0.1, and an IPv4-mapped address is the IPv4 address.

use crate::cdb::{Cdb, CdbError, CdbWriter, Source};
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the rules say about a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// False: close the connection without a word.
    pub allow: bool,
    /// Variables to set, in order (`RELAYCLIENT`, `DATABYTES`, `RBLSMTPD` …).
    pub env: Vec<(String, String)>,
}

impl Verdict {
    /// The value of a variable, the last one given.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// A line that is no rule. tcprules(1) refuses the whole file then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: unable to parse this line: {text}")]
pub struct RuleError {
    /// Line number, from 1.
    pub line: usize,
    /// The line, printable.
    pub text: String,
}

/// Compiled rules.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    records: Vec<(Vec<u8>, Vec<u8>)>,
    index: HashMap<Vec<u8>, usize>,
    v6_prefixes: BTreeSet<u8>,
    names_hosts: bool,
}

impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        self.records == other.records
    }
}

impl Rules {
    /// Compiles the text form. Lines without a colon and comments are skipped; anything else that is no rule refuses the whole text.
    pub fn parse(text: &[u8]) -> Result<Self, RuleError> {
        let mut rules = Self::default();
        for (number, line) in text.split(|&b| b == b'\n').enumerate() {
            rules.add_line(line).ok_or_else(|| RuleError { line: number + 1, text: postino_types::printable::printable(line) })?;
        }
        Ok(rules)
    }

    /// Reads compiled rules.
    pub fn from_cdb<S: Source>(cdb: &Cdb<S>) -> Result<Self, CdbError> {
        let mut rules = Self::default();
        for (key, data) in cdb.records()? {
            rules.insert(key, data);
        }
        Ok(rules)
    }

    /// The compiled form, as tcprules(1) writes it: records in the order of the text.
    pub fn to_cdb(&self) -> Result<Vec<u8>, CdbError> {
        let mut writer = CdbWriter::new();
        for (key, data) in &self.records {
            writer.add(key, data)?;
        }
        writer.finish()
    }

    /// How many keys there are (ranges count each address).
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True without any rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The first existing key decides: info@ip; info@=host; ip; =host; ip prefixes, longest first; `=.suffix`, longest first; `=` when the
    /// host is known; the empty key. `None`: no key at all, which means allow.
    #[must_use]
    pub fn lookup(&self, ip: IpAddr, host: Option<&str>, info: Option<&str>) -> Option<Verdict> {
        self.find(ip, host, info).map(|(_, verdict)| verdict)
    }

    /// As [`Rules::lookup`], with the key that matched (tcprulescheck(1) prints it).
    #[must_use]
    pub fn find(&self, ip: IpAddr, host: Option<&str>, info: Option<&str>) -> Option<(Vec<u8>, Verdict)> {
        if self.records.is_empty() {
            return None;
        }
        let ip = ip.to_canonical();
        let host = host.filter(|h| !h.is_empty()).map(str::to_ascii_lowercase);
        candidates(ip, host.as_deref(), info, self.v6_prefixes.iter().rev().copied()).into_iter().find_map(|key| {
            let data = self.index.get(&key).and_then(|&i| self.records.get(i)).map(|(_, d)| decode(d))?;
            Some((key, data))
        })
    }

    /// True when the client's name may decide: no rule names its very address, and some rule names hosts.
    #[must_use]
    pub fn needs_host(&self, ip: IpAddr) -> bool {
        self.names_hosts && !self.names(ip)
    }

    /// True when a rule names this very address.
    #[must_use]
    pub fn names(&self, ip: IpAddr) -> bool {
        addresses_of(ip.to_canonical()).iter().any(|address| self.index.contains_key(address.as_bytes()))
    }

    /// Rules that want to know the client's user (`joe@192.0.2.1`, ident).
    pub fn keys_with_info(&self) -> impl Iterator<Item = &[u8]> {
        self.records.iter().map(|(key, _)| key.as_slice()).filter(|key| key.contains(&b'@'))
    }

    /// Rules that set this variable.
    pub fn keys_setting<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let sets = move |data: &[u8]| decode(data).variable(name).is_some();
        self.records.iter().filter(move |(_, data)| sets(data)).map(|(key, _)| key.as_slice())
    }

    /// What rules set this variable to.
    pub fn values_of(&self, name: &str) -> impl Iterator<Item = String> {
        self.records.iter().filter_map(move |(_, data)| decode(data).variable(name).map(ToOwned::to_owned))
    }

    fn insert(&mut self, mut key: Vec<u8>, data: Vec<u8>) {
        if let Some(at) = key.iter().position(|&b| b == b'=') {
            key.iter_mut().skip(at).for_each(|b| b.make_ascii_lowercase());
            self.names_hosts = true;
        }
        if let Some((network, bits)) = v6_network(&key) {
            key = v6_key(network, bits);
            self.v6_prefixes.insert(bits);
        } else if let Some(v6) = bracketed(&key) {
            key = format!("[{v6}]").into_bytes();
        }
        self.index.entry(key.clone()).or_insert(self.records.len()); // readers of a cdb find the first, so the first wins here too
        self.records.push((key, data));
    }

    fn add_line(&mut self, line: &[u8]) -> Option<()> {
        if line.first() == Some(&b'#') {
            return Some(());
        }
        let line = crate::classic::trim_end(line);
        let colon = match line.iter().position(|&b| b == b']').filter(|_| line.first() == Some(&b'[')) {
            Some(bracket) => line.iter().skip(bracket).position(|&b| b == b':').map(|i| bracket + i),
            None => line.iter().position(|&b| b == b':'),
        };
        let Some(colon) = colon else { return Some(()) };
        let (address, rest) = (line.get(..colon)?, line.get(colon + 1..)?);
        let data = encode(rest)?;
        if address.first() == Some(&b'[') && v6_network(address).is_none() && bracketed(address).is_none() {
            return None;
        }
        for key in expand(address)? {
            self.insert(key, data.clone());
        }
        Some(())
    }
}

/// Lines (from 1) of a text that hold something and yet are no rule: tcprules(1) passes over what has no colon.
pub fn lines_without_colon(text: &[u8]) -> impl Iterator<Item = usize> {
    let lines = text.split(|&b| b == b'\n').enumerate();
    lines.filter(|(_, l)| !l.trim_ascii().is_empty() && l.first() != Some(&b'#') && !l.contains(&b':')).map(|(i, _)| i + 1)
}

/// As [`Rules::find`], straight in a compiled file, for programs that live for one connection: no more is read than the keys in question.
///
/// # Errors
/// Reading failed, or the file is damaged.
pub fn find_in<S: Source>(
    cdb: &Cdb<S>,
    ip: IpAddr,
    host: Option<&str>,
    info: Option<&str>,
) -> Result<Option<(Vec<u8>, Verdict)>, CdbError> {
    let host = host.filter(|h| !h.is_empty()).map(str::to_ascii_lowercase);
    for key in candidates(ip.to_canonical(), host.as_deref(), info, (0..=128).rev()) {
        if let Some(data) = cdb.get(&key)? {
            return Ok(Some((key, decode(&data))));
        }
    }
    Ok(None)
}

/// The keys that may decide about a client, in their order. `v6_prefixes`: lengths of IPv6 networks to try, longest first.
fn candidates(ip: IpAddr, host: Option<&str>, info: Option<&str>, v6_prefixes: impl Iterator<Item = u8>) -> Vec<Vec<u8>> {
    let addresses = addresses_of(ip);
    let mut keys: Vec<Vec<u8>> = Vec::with_capacity(16);
    if let Some(info) = info {
        keys.extend(addresses.iter().map(|a| format!("{info}@{a}").into_bytes()));
        keys.extend(host.map(|h| format!("{info}@={h}").into_bytes()));
    }
    keys.extend(addresses.iter().map(|a| a.clone().into_bytes()));
    keys.extend(host.map(|h| format!("={h}").into_bytes()));
    if let IpAddr::V6(v6) = ip {
        keys.extend(v6_prefixes.map(|bits| v6_key(v6, bits)));
    }
    for address in addresses.iter().filter(|a| !a.starts_with('[')) {
        let dots = address.match_indices('.').map(|(i, _)| i).rev();
        keys.extend(dots.filter_map(|i| address.get(..=i)).map(|prefix| prefix.as_bytes().to_vec()));
    }
    if let Some(host) = host {
        let dots = host.match_indices('.').map(|(i, _)| i);
        keys.extend(dots.filter_map(|i| host.get(i..)).map(|suffix| format!("={suffix}").into_bytes()));
        keys.push(b"=".to_vec());
    }
    keys.push(Vec::new());
    keys
}

fn addresses_of(ip: IpAddr) -> Vec<String> {
    match ip {
        IpAddr::V4(v4) => vec![v4.to_string()],
        IpAddr::V6(v6) if v6.is_loopback() => vec![format!("[{v6}]"), Ipv4Addr::LOCALHOST.to_string()],
        IpAddr::V6(v6) => vec![format!("[{v6}]")],
    }
}

fn bracketed(key: &[u8]) -> Option<Ipv6Addr> {
    std::str::from_utf8(key).ok()?.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

fn v6_network(key: &[u8]) -> Option<(Ipv6Addr, u8)> {
    let (address, bits) = std::str::from_utf8(key).ok()?.strip_prefix('[')?.split_once("]/")?;
    let bits = bits.parse::<u8>().ok().filter(|b| *b <= 128)?;
    Some((address.parse().ok()?, bits))
}

fn v6_key(address: Ipv6Addr, bits: u8) -> Vec<u8> {
    let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
    format!("[{}]/{bits}", Ipv6Addr::from(u128::from(address) & mask)).into_bytes()
}

/// The data of a record from the part after the colon.
fn encode(rest: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    let mut rest = if let Some(after) = rest.strip_prefix(b"deny") {
        data.extend_from_slice(b"D\0");
        after
    } else {
        rest.strip_prefix(b"allow")?
    };
    while let Some((&first, after)) = rest.split_first() {
        if first != b',' {
            return None;
        }
        let equals = after.iter().position(|&b| b == b'=')?;
        let (name, after) = (after.get(..equals)?, after.get(equals + 1..)?);
        let (&quote, after) = after.split_first()?;
        let end = after.iter().position(|&b| b == quote)?;
        data.push(b'+');
        data.extend_from_slice(name);
        data.push(b'=');
        data.extend_from_slice(after.get(..end)?);
        data.push(0);
        rest = after.get(end + 1..)?;
    }
    Some(data)
}

fn decode(data: &[u8]) -> Verdict {
    let mut verdict = Verdict { allow: true, env: Vec::new() };
    for word in data.split(|&b| b == 0) {
        match word.split_first() {
            Some((b'D', _)) => verdict.allow = false,
            Some((b'+', pair)) => {
                let text = String::from_utf8_lossy(pair);
                let (name, value) = text.split_once('=').unwrap_or((&text, ""));
                verdict.env.push((name.to_owned(), value.to_owned()));
            }
            _ => {}
        }
    }
    verdict
}

/// Ranges become one key for each number; all other addresses stay as they are.
fn expand(address: &[u8]) -> Option<Vec<Vec<u8>>> {
    let plain = || Some(vec![address.to_vec()]);
    if address.iter().any(|b| matches!(b, b'=' | b'@' | b'[')) {
        return plain();
    }
    let Some(hyphen) = address.iter().position(|&b| b == b'-') else { return plain() };
    let left = address.get(..hyphen)?.iter().rposition(|&b| b == b'.').map_or(0, |i| i + 1);
    let right = address.iter().skip(hyphen).position(|&b| b == b'.').map_or(address.len(), |i| hyphen + i);
    let number = |bytes: &[u8]| -> Option<u32> {
        let digits = std::str::from_utf8(bytes).ok().filter(|s| s.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse().ok()
    };
    let (low, high) = (number(address.get(left..hyphen)?)?, number(address.get(hyphen + 1..right)?)?);
    let (prefix, suffix) = (address.get(..left)?, address.get(right..)?);
    Some((low..=high.min(255)).map(|n| [prefix, n.to_string().as_bytes(), suffix].concat()).collect())
}

#[cfg(test)]
mod tests;
