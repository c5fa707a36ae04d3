//! Accounts that keepers hold (a database, LDAP), with a short memory: what was found stands for `cache_s`, what was not for `cache_absent_s`. Called by
//! look-ups and logins. Equal questions at one time are asked once. A keeper that cannot tell is an error of the look-up, never "no such account".

use crate::trouble::{Depth, Trouble};
use crate::vpasswd::{DomainLimits, Record};
use postino_ports::accounts::{AccountsError, Keepers};
use postino_ports::directory::LookupError;
use std::collections::{HashMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Answers kept.
const ANSWERS_MAX: usize = 50_000;
/// Longest wait for somebody else's equal question.
const WAIT_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Question {
    Account(String, String),
    Lines(String, String),
    Limits(String),
}

#[derive(Debug, Clone)]
enum Answer {
    Account(Option<Record>),
    Lines(Vec<String>),
    Limits(Option<DomainLimits>),
}

impl Answer {
    fn is_found(&self) -> bool {
        match self {
            Self::Account(record) => record.is_some(),
            Self::Lines(lines) => !lines.is_empty(),
            Self::Limits(_) => true,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    answers: HashMap<Question, (Answer, Instant)>,
    asked: HashSet<Question>,
}

/// Keepers with a memory.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) keepers: Keepers,
    found_stands: Duration,
    absent_stands: Duration,
    state: Mutex<State>,
    answered: Condvar,
}

/// The question is not being asked any more, however that ended.
struct Asking<'a> {
    kept: &'a Kept,
    question: &'a Question,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.kept.lock().asked.remove(self.question);
        self.kept.answered.notify_all();
    }
}

impl Kept {
    pub(crate) fn new(keepers: Keepers, found_stands: Duration, absent_stands: Duration) -> Self {
        Self { keepers, found_stands, absent_stands, state: Mutex::default(), answered: Condvar::new() }
    }

    /// An account, its domain's closed services among its flags.
    pub(crate) fn account(&self, domain: &str, name: &[u8], depth: Depth) -> Result<Option<Record>, Trouble> {
        let Ok(name) = std::str::from_utf8(name) else { return Ok(None) };
        let question = Question::Account(domain.to_owned(), name.to_owned());
        let ask = || self.keepers.accounts.find(domain, name).map(Answer::Account);
        let Answer::Account(Some(mut record)) = self.ask(&question, depth, ask)? else { return Ok(None) };
        let ask = || self.keepers.domains.limits(domain).map(Answer::Limits);
        // A domain without limits of its own has the site's.
        let ask = || {
            ask().and_then(
                |own| if matches!(own, Answer::Limits(None)) { self.keepers.domains.limits("").map(Answer::Limits) } else { Ok(own) },
            )
        };
        if let Answer::Limits(Some(limits)) = self.ask(&Question::Limits(domain.to_owned()), depth, ask)? {
            record.flags = record.effective_flags(&limits);
        }
        Ok(Some(record))
    }

    /// The lines of an alias; none where no keeper has aliases.
    pub(crate) fn lines(&self, domain: &str, alias: &[u8], depth: Depth) -> Result<Vec<String>, Trouble> {
        let (Some(aliases), Ok(alias)) = (&self.keepers.aliases, std::str::from_utf8(alias)) else { return Ok(Vec::new()) };
        let question = Question::Lines(domain.to_owned(), alias.to_owned());
        match self.ask(&question, depth, || aliases.lines(domain, alias).map(Answer::Lines))? {
            Answer::Lines(lines) => Ok(lines),
            _ => Ok(Vec::new()),
        }
    }

    /// Forgets an account, to be asked anew.
    pub(crate) fn forget(&self, domain: &str, name: &str) {
        self.lock().answers.remove(&Question::Account(domain.to_owned(), name.to_owned()));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, question: &Question, depth: Depth, ask: impl FnOnce() -> Result<Answer, AccountsError>) -> Result<Answer, Trouble> {
        let until = Instant::now() + WAIT_MAX;
        let mut state = self.lock();
        loop {
            if let Some((answer, stands_until)) = state.answers.get(question)
                && Instant::now() < *stands_until
            {
                return Ok(answer.clone());
            }
            if depth == Depth::Warm {
                return Err(Trouble::NeedsLoad);
            }
            if state.asked.insert(question.clone()) {
                break;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Trouble::text("the accounts' keeper does not answer"));
            }
            state = self.answered.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        let asking = Asking { kept: self, question };
        let answer = ask().map_err(|error| Trouble::Failed(LookupError { what: error.to_string() }))?;
        let stands = if answer.is_found() { self.found_stands } else { self.absent_stands };
        let mut state = self.lock();
        if state.answers.len() >= ANSWERS_MAX {
            let now = Instant::now();
            state.answers.retain(|_, (_, until)| now < *until);
            if state.answers.len() >= ANSWERS_MAX {
                state.answers.clear();
            }
        }
        state.answers.insert(question.clone(), (answer.clone(), Instant::now() + stands));
        drop(state);
        drop(asking);
        Ok(answer)
    }
}
