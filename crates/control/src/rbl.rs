//! `control/rbl`: block lists and allow lists in the DNS, one a line: its name, words on how to ask it and what an answer means, and after a
//! colon the text for refused clients. Pure. The loader reads it for `serve`, rblsmtpd for itself; what a listing leads to is policy's.

use crate::classic;
use postino_types::printable::printable;
use std::net::Ipv4Addr;

/// Lists at most: each is a question for each connection.
pub const LISTS_MAX: usize = 32;
/// Longest name of a list, bytes: an IPv6 address backwards (64) must fit before it.
const BASE_BYTES_MAX: usize = 180;
/// Scores lie between this and its negative.
const SCORE_MAX: i32 = 1000;

/// What a list is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum About {
    /// The client's address.
    Address,
    /// The domain of the envelope sender (RHSBL).
    Sender,
    /// The name in HELO or EHLO.
    Helo,
}

/// How a client is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// 451: it may come again.
    ForNow,
    /// 553: for good.
    ForGood,
}

/// What a listing means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It refuses.
    Block(Refusal),
    /// It lets in, whatever other lists say.
    Allow,
    /// It adds so much to the score (answers may have scores of their own).
    Score(i32),
}

/// Answers from `low` to `high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answers {
    /// First.
    pub low: Ipv4Addr,
    /// Last.
    pub high: Ipv4Addr,
    /// Their score, in a list that counts.
    pub score: Option<i32>,
}

/// One list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// The zone, lower case, without a dot at its end.
    pub base: String,
    /// What it is asked about.
    pub about: About,
    /// What a listing means.
    pub role: Role,
    /// The answers that count; empty: every one.
    pub answers: Vec<Answers>,
    /// It has TXT records only.
    pub by_text: bool,
    /// Its test entries (RFC 5782 5) are looked at before it is believed.
    pub tested: bool,
    /// The text for refused clients; `None`: the list's own.
    pub text: Option<String>,
}

impl List {
    /// The score of one answer: `None` when it does not count. 0 in lists that do not score.
    #[must_use]
    pub fn score_of(&self, answer: Ipv4Addr) -> Option<i32> {
        let special = self.answers.iter().find(|range| (range.low..=range.high).contains(&answer));
        match (self.role, special) {
            (Role::Score(base), None) => (base != 0 || self.answers.is_empty()).then_some(base),
            (Role::Score(base), Some(range)) => Some(range.score.unwrap_or(base)),
            (_, Some(_)) => Some(0),
            (_, None) => self.answers.is_empty().then_some(0),
        }
    }
}

/// A line that says nothing that could be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ListError {
    /// Line, from 1.
    pub line: usize,
    /// Why, printable.
    pub reason: String,
}

/// Reads all lines; comments and empty ones are left out.
///
/// # Errors
/// The first line that is none.
pub fn parse(text: &[u8]) -> Result<Vec<List>, ListError> {
    let mut lists = Vec::new();
    for (line, bytes) in classic::list_indented(text) {
        if lists.len() == LISTS_MAX {
            return Err(ListError { line, reason: format!("is one list too many; {LISTS_MAX} are asked at most") });
        }
        lists.push(parse_line(bytes).map_err(|reason| ListError { line, reason })?);
    }
    Ok(lists)
}

fn parse_line(line: &[u8]) -> Result<List, String> {
    let line = std::str::from_utf8(line).map_err(|_| "is not UTF-8".to_owned())?;
    if line.chars().any(char::is_control) {
        return Err("holds a control byte".into());
    }
    let (words, text) = line.split_once(':').map_or((line, None), |(words, text)| (words, Some(text.trim().to_owned())));
    let mut words = words.split_ascii_whitespace();
    let base = words.next().unwrap_or_default();
    let base = base.strip_suffix('.').unwrap_or(base).to_ascii_lowercase();
    if !is_zone(&base) {
        return Err(format!("begins with \"{}\", which is no name of a list", printable(base.as_bytes())));
    }
    let mut draft = Draft {
        list: List {
            base,
            about: About::Address,
            role: Role::Block(Refusal::ForNow),
            answers: Vec::new(),
            by_text: false,
            tested: true,
            text: text.filter(|t| !t.is_empty()),
        },
        role: None,
    };
    for word in words {
        draft.word(word)?;
    }
    draft.finish()
}

fn is_zone(base: &str) -> bool {
    let label =
        |label: &str| !label.is_empty() && label.len() <= 63 && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    base.len() <= BASE_BYTES_MAX && base.split('.').all(label)
}

struct Draft {
    list: List,
    /// The role, once a word gave one.
    role: Option<Role>,
}

impl Draft {
    fn word(&mut self, word: &str) -> Result<(), String> {
        match word {
            "allow" => self.role(Role::Allow),
            "451" => self.role(Role::Block(Refusal::ForNow)),
            "553" => self.role(Role::Block(Refusal::ForGood)),
            "address" => self.about(About::Address),
            "sender" => self.about(About::Sender),
            "helo" => self.about(About::Helo),
            "txt" => {
                self.list.by_text = true;
                Ok(())
            }
            "untested" => {
                self.list.tested = false;
                Ok(())
            }
            _ => match word.strip_prefix("score=") {
                Some(number) => self.role(Role::Score(score(number)?)),
                None if word.starts_with("127.") => self.answers(word),
                None => Err(format!(
                    "has the unknown word \"{}\"; known are: 451, 553, score=N, allow, sender, helo, txt, untested, answers as 127.0.0.2",
                    printable(word.as_bytes())
                )),
            },
        }
    }

    fn role(&mut self, role: Role) -> Result<(), String> {
        match self.role.replace(role) {
            None => Ok(()),
            Some(_) => Err("says twice what a listing means; one of 451, 553, allow, score=N".into()),
        }
    }

    fn about(&mut self, about: About) -> Result<(), String> {
        self.list.about = about;
        Ok(())
    }

    /// `127.0.0.2`, `127.0.0.4-7`, each with `=SCORE` behind it.
    fn answers(&mut self, word: &str) -> Result<(), String> {
        let (range, number) = word.split_once('=').map_or((word, None), |(range, number)| (range, Some(number)));
        let (low, last) = range.split_once('-').map_or((range, None), |(low, last)| (low, Some(last)));
        let bad = || format!("has \"{}\", which is no answer of a list; such as 127.0.0.2 or 127.0.0.4-7", printable(word.as_bytes()));
        let low: Ipv4Addr = low.parse().map_err(|_| bad())?;
        let [a, b, c, first] = low.octets();
        let last: u8 = last.map_or(Ok(first), |last| last.parse().map_err(|_| bad()))?;
        if last < first {
            return Err(bad());
        }
        let score = number.map(score).transpose()?;
        self.list.answers.push(Answers { low, high: Ipv4Addr::new(a, b, c, last), score });
        Ok(())
    }

    fn finish(mut self) -> Result<List, String> {
        let scores = self.list.answers.iter().any(|range| range.score.is_some());
        self.list.role = match self.role {
            Some(Role::Score(score)) => Role::Score(score),
            Some(_) if scores => return Err("refuses or lets in by itself (451, 553, allow) or counts (scores), not both".into()),
            Some(role) => role,
            None if scores => Role::Score(0),
            None => self.list.role,
        };
        if self.list.role == Role::Allow && self.list.about != About::Address {
            return Err("lets in whoever claims a name (allow with sender or helo); only lists of addresses can do that".into());
        }
        if self.list.by_text && !self.list.answers.is_empty() {
            return Err("has TXT records only (txt), so it gives no addresses to choose from".into());
        }
        Ok(self.list)
    }
}

fn score(number: &str) -> Result<i32, String> {
    let score = number.parse::<i32>().ok().filter(|n| (-SCORE_MAX..=SCORE_MAX).contains(n));
    score.ok_or_else(|| {
        format!("has \"{}\" for a score; it must be a number from -{SCORE_MAX} to {SCORE_MAX}", printable(number.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(line: &str) -> List {
        parse(line.as_bytes()).unwrap_or_else(|e| panic!("{line}: {e}")).remove(0)
    }

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    #[test]
    fn lines() {
        let plain = one("Zen.Example.ORG.\n");
        assert_eq!((plain.base.as_str(), plain.about, plain.role), ("zen.example.org", About::Address, Role::Block(Refusal::ForNow)));
        assert!(plain.tested && !plain.by_text && plain.text.is_none());
        let told = one("zen.example.org 553: see https://example.org/?ip=%IP%");
        assert_eq!((told.role, told.text.as_deref()), (Role::Block(Refusal::ForGood), Some("see https://example.org/?ip=%IP%")));
        assert_eq!(one("old.example.org:text").text.as_deref(), Some("text"));
        let list = one("dbl.example.org sender txt untested score=-3");
        assert_eq!((list.about, list.role, list.by_text, list.tested), (About::Sender, Role::Score(-3), true, false));
        assert_eq!(parse(b"# only a comment\n\n").unwrap(), []);
        assert_eq!(parse(b"a.test\n# c\nb.test allow\n").unwrap().len(), 2);
    }

    #[test]
    fn answers_choose_and_count() {
        let list = one("a.test 127.0.0.2=5 127.0.0.4-7=3 127.0.0.9");
        for (answer, want) in
            [("127.0.0.2", Some(5)), ("127.0.0.4", Some(3)), ("127.0.0.7", Some(3)), ("127.0.0.8", None), ("127.0.0.9", Some(0))]
        {
            assert_eq!(list.score_of(ip(answer)), want, "{answer}");
        }
        let list = one("a.test 127.0.0.2=5 score=1");
        assert_eq!((list.score_of(ip("127.0.0.2")), list.score_of(ip("127.0.0.3"))), (Some(5), Some(1)));
        let list = one("a.test 553 127.0.0.2-3");
        assert_eq!((list.score_of(ip("127.0.0.3")), list.score_of(ip("127.0.0.4"))), (Some(0), None));
        assert_eq!(one("a.test").score_of(ip("127.0.0.99")), Some(0));
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for bad in [
            "a..test",
            "a.test 452",
            "a.test 451 553",
            "a.test allow score=1",
            "a.test allow sender",
            "a.test helo allow",
            "a.test 553 127.0.0.2=1",
            "a.test 127.0.0",
            "a.test 127.0.0.7-4",
            "a.test score=x",
            "a.test score=1001",
            "a.test txt 127.0.0.2",
            "a\x07.test",
            "*.test",
        ] {
            assert_eq!(parse(format!("ok.test\n{bad}\n").as_bytes()).unwrap_err().line, 2, "{bad}");
        }
        assert_eq!(parse("a.test\n".repeat(33).as_bytes()).unwrap_err().line, 33);
    }

    proptest! {
        #[test]
        fn no_text_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
        #[test]
        fn words_in_any_order(mut words in Just(vec!["553", "sender", "untested", "127.0.0.2", "127.0.0.5-9"]).prop_shuffle()) {
            let list = one(&format!("a.test {}", words.join(" ")));
            words.sort_unstable();
            prop_assert_eq!((list.about, list.role, list.tested), (About::Sender, Role::Block(Refusal::ForGood), false));
            prop_assert_eq!(list.answers.len(), 2);
        }
    }
}
