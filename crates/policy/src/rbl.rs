//! Block lists: what to ask them, what their answers mean, and what all of them together lead to. Pure; called by the SMTP server, which
//! asks the DNS itself.

use postino_control::rbl::{About, List, Role};
use postino_types::Address;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

pub use postino_control::rbl::Refusal;

/// What the variable RBLSMTPD of the rules by address orders, as rblsmtpd(1) reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordered<'a> {
    /// Empty: no list is asked about this client.
    AskNobody,
    /// A text: refused with it; for good when it began with a hyphen.
    Refuse {
        /// For good or for now.
        how: Refusal,
        /// What the client is told.
        text: &'a str,
    },
}

/// Reads RBLSMTPD.
#[must_use]
pub fn ordered(value: &str) -> Ordered<'_> {
    match value.strip_prefix('-') {
        Some(text) => Ordered::Refuse { how: Refusal::ForGood, text },
        None if value.is_empty() => Ordered::AskNobody,
        None => Ordered::Refuse { how: Refusal::ForNow, text: value },
    }
}

/// The name under which a list keeps an address: its bytes (IPv6: its half-bytes) backwards (RFC 5782 2.1, 2.4).
#[must_use]
pub fn address_name(ip: IpAddr, base: &str) -> String {
    let mut name = String::with_capacity(64 + base.len());
    // Writing to a String cannot fail.
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.octets().iter().rev().for_each(|octet| _ = write!(name, "{octet}.")),
        IpAddr::V6(v6) => v6.octets().iter().rev().for_each(|octet| _ = write!(name, "{:x}.{:x}.", octet & 15, octet >> 4)),
    }
    name + base
}

/// The name under which a list keeps a domain (RFC 5782 3); `None` when that could not be a domain in the DNS: an address literal, a bare
/// word, an address.
#[must_use]
pub fn domain_name(domain: &str, base: &str) -> Option<String> {
    let domain = domain.strip_suffix('.').unwrap_or(domain).to_lowercase();
    let label = |l: &str| !l.is_empty() && l.len() <= 63 && l.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
    let is_domain = domain.contains('.') && domain.split('.').all(label) && domain.parse::<Ipv4Addr>().is_err();
    (is_domain && domain.len() + base.len() < 253).then(|| format!("{domain}.{base}"))
}

/// The test entries that a list must not have, and must have (RFC 5782 5). An allow list need not have the second.
#[must_use]
pub fn test_names(list: &List) -> (String, Option<String>) {
    let (never, always) = match list.about {
        About::Address => ("1.0.0.127", "2.0.0.127"),
        About::Sender | About::Helo => ("invalid", "test"),
    };
    let name = |entry: &str| format!("{entry}.{}", list.base);
    (name(never), (list.role != Role::Allow).then(|| name(always)))
}

/// What A records of a list say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// These answers, all of them such as lists give.
    Listed(Vec<Ipv4Addr>),
    /// The list does not work for us: it refuses to tell us, or somebody else answers in its place.
    Broken(String),
}

/// Reads A records. 127.255.255.0/24 and 127.0.0.1 are what public lists say to whom they do not want to answer; addresses outside
/// 127.0.0.0/8 come from whoever bought the domain.
#[must_use]
pub fn read(answers: &[Ipv4Addr]) -> Reading {
    for answer in answers {
        match answer.octets() {
            [127, 255, 255, _] | [127, 0, 0, 1] => return Reading::Broken(format!("refuses to answer this server ({answer})")),
            [127, ..] => {}
            _ => return Reading::Broken(format!("answers {answer}, which no block list does")),
        }
    }
    Reading::Listed(answers.to_vec())
}

/// What came of asking one list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Finding {
    /// There was nothing to ask it about.
    #[default]
    NotAsked,
    /// It does not name the client.
    NotListed,
    /// It does; with these answers (none from a list of texts) and this text of its own.
    Listed {
        /// Answers.
        answers: Vec<Ipv4Addr>,
        /// TXT record.
        text: Option<String>,
    },
    /// No answer in time; counts as not listed.
    NoAnswer,
    /// It is not believed at present; why.
    LeftOut(String),
}

impl Finding {
    /// True when it names the client with an answer that counts.
    #[must_use]
    pub fn counts(&self, list: &List) -> bool {
        self.score(list).is_some()
    }

    /// What it adds to the score; of several answers the one with the most weight. `None`: not listed.
    #[must_use]
    pub fn score(&self, list: &List) -> Option<i32> {
        let Self::Listed { answers, .. } = self else { return None };
        match list.role {
            Role::Score(score) if list.by_text => Some(score),
            _ if list.by_text => Some(0),
            _ => answers.iter().filter_map(|answer| list.score_of(*answer)).max_by_key(|score| score.unsigned_abs()),
        }
    }
}

/// The scores that lead to a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// From here for good.
    pub refuse: i32,
    /// From here for now; 0: never.
    pub defer: i32,
}

/// What all lists together lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Welcome.
    Pass,
    /// Refused; the list (by its place) whose text is told.
    Refuse {
        /// For good or for now.
        how: Refusal,
        /// Place of the list.
        by: usize,
    },
}

/// Decides. An allow list comes first; then lists that refuse by themselves, then the sum of the scores. While an allow list gave no answer
/// nobody is refused for good: it might have known better.
#[must_use]
pub fn decide(lists: &[List], findings: &[Finding], thresholds: Thresholds) -> Decision {
    let pairs = || lists.iter().zip(findings).enumerate();
    if pairs().any(|(_, (list, finding))| list.role == Role::Allow && finding.counts(list)) {
        return Decision::Pass;
    }
    let unsure = pairs().any(|(_, (list, finding))| list.role == Role::Allow && *finding == Finding::NoAnswer);
    let blocks = pairs().filter(|(_, (list, finding))| finding.counts(list)).filter_map(|(at, (list, _))| match list.role {
        Role::Block(how) => Some((how, at)),
        _ => None,
    });
    let refused = blocks.chain(by_score(lists, findings, thresholds)).reduce(|first, next| if next.0 > first.0 { next } else { first });
    match refused {
        None => Decision::Pass,
        Some((_, by)) if unsure => Decision::Refuse { how: Refusal::ForNow, by },
        Some((how, by)) => Decision::Refuse { how, by },
    }
}

fn by_score(lists: &[List], findings: &[Finding], thresholds: Thresholds) -> Option<(Refusal, usize)> {
    let scores = || lists.iter().zip(findings).enumerate().filter_map(|(at, (list, finding))| finding.score(list).map(|score| (score, at)));
    let sum = scores().fold(0i32, |sum, (score, _)| sum.saturating_add(score));
    let (heaviest, by) = scores().reduce(|first, next| if next.0 > first.0 { next } else { first })?;
    match sum {
        _ if heaviest <= 0 => None,
        sum if sum >= thresholds.refuse => Some((Refusal::ForGood, by)),
        sum if thresholds.defer > 0 && sum >= thresholds.defer => Some((Refusal::ForNow, by)),
        _ => None,
    }
}

/// The text for a refused client: the list's line in control/rbl, else its TXT record, else `default`. `%IP%` is the client's address, `%WHAT%`
/// what the list names, `%LIST%` the list, `%TXT%` its text.
#[must_use]
pub fn text(list: &List, finding: &Finding, default: &str, ip: IpAddr, what: &str) -> String {
    let own = match finding {
        Finding::Listed { text: Some(text), .. } if !text.trim().is_empty() => Some(text.as_str()),
        _ => None,
    };
    let template = match (&list.text, own) {
        (Some(text), _) => text.as_str(),
        (None, Some(own)) => return own.to_owned(),
        (None, None) => default,
    };
    // The foreign text last: what looks like a mark in it stays as it is.
    template
        .replace("%IP%", &ip.to_string())
        .replace("%WHAT%", what)
        .replace("%LIST%", &list.base)
        .replace("%TXT%", own.unwrap_or_default())
}

/// True when `except` names the recipient: whole addresses, or local parts at any host (`postmaster`).
#[must_use]
pub fn is_excepted(except: &[String], recipient: &Address) -> bool {
    except.iter().any(|entry| match entry.contains('@') {
        true => entry.as_bytes().eq_ignore_ascii_case(recipient.as_bytes()),
        false => entry.as_bytes().eq_ignore_ascii_case(recipient.local()),
    })
}

#[cfg(test)]
mod tests;
