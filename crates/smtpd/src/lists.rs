//! Block lists in the DNS: asks all of them at once while the client still talks, tests each before it believes it, and leaves out for a
//! while what does not work. One for the whole server, shared by the sessions and by `postino rbl`. What a listing leads to is policy's.

use postino_control::Config;
use postino_control::rbl::{About, List};
use postino_policy::rbl::{self, Decision, Finding, Reading, Thresholds};
use postino_ports::dns::{Dns, DnsError};
use postino_ports::event::{Event, Events};
use postino_types::printable::printable;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A list that passed its test is believed for so long.
const BELIEVED: Duration = Duration::from_secs(3600);
/// One that failed is tested again after so long.
const LEFT_OUT: Duration = Duration::from_secs(600);
/// One that does not answer is tried again after so long.
const DEAD: Duration = Duration::from_secs(60);
/// So many questions in a row without an answer make a dead list.
const SILENCES_MAX: u32 = 5;

/// Held while the list is tested.
type SharedHealth = Arc<tokio::sync::Mutex<Health>>;

/// All lists' health, and who is asked.
pub struct BlockLists {
    dns: Arc<dyn Dns>,
    events: Arc<dyn Events>,
    /// By zone and kind of question; no more than configurations ever named.
    health: Mutex<HashMap<(String, About), SharedHealth>>,
}

impl std::fmt::Debug for BlockLists {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlockLists(..)")
    }
}

/// What is known of one list.
#[derive(Debug, Default)]
struct Health {
    state: State,
    /// Questions in a row without an answer.
    silences: u32,
    /// The log heard that it is left out.
    told: bool,
}

#[derive(Debug, Default, Clone)]
enum State {
    #[default]
    Untested,
    Good(Instant),
    LeftOut(Instant, String),
}

impl State {
    /// Why the list is not asked now.
    fn left_out(&self) -> Option<String> {
        match self {
            Self::LeftOut(until, why) if Instant::now() < *until => Some(why.clone()),
            _ => None,
        }
    }
}

/// What lists are asked about.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its address.
    pub ip: IpAddr,
    /// The sender's domain.
    pub sender: Option<String>,
    /// The name in HELO.
    pub helo: Option<String>,
}

impl Subject {
    /// What a list is asked about, as people read it.
    #[must_use]
    pub fn shown(&self, about: About) -> String {
        match about {
            About::Address => self.ip.to_string(),
            About::Sender => printable(self.sender.as_deref().unwrap_or_default().as_bytes()),
            About::Helo => printable(self.helo.as_deref().unwrap_or_default().as_bytes()),
        }
    }

    fn question(&self, list: &List) -> Option<String> {
        match list.about {
            About::Address => Some(rbl::address_name(self.ip, &list.base)),
            About::Sender => rbl::domain_name(self.sender.as_deref()?, &list.base),
            About::Helo => rbl::domain_name(self.helo.as_deref()?, &list.base),
        }
    }
}

impl BlockLists {
    /// Asks by `dns`, which should have a cache of its own.
    #[must_use]
    pub fn new(dns: Arc<dyn Dns>, events: Arc<dyn Events>) -> Arc<Self> {
        Arc::new(Self { dns, events, health: Mutex::default() })
    }

    fn health_of(&self, list: &List) -> SharedHealth {
        let mut all = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry((list.base.clone(), list.about)).or_default())
    }

    /// One question to one list, answered by `until` at the latest.
    async fn find(&self, list: &List, name: &str, until: Instant) -> Finding {
        let health = self.health_of(list);
        match tokio::time::timeout_at(until, self.ask(list, name, &health)).await {
            Ok(Finding::NoAnswer) | Err(_) => {
                // Somebody who tests it now will know soon enough.
                if let Ok(mut health) = health.try_lock() {
                    self.silence(list, &mut health);
                }
                Finding::NoAnswer
            }
            Ok(finding) => finding,
        }
    }

    async fn ask(&self, list: &List, name: &str, health: &tokio::sync::Mutex<Health>) -> Finding {
        if let Some(why) = health.try_lock().ok().and_then(|health| health.state.left_out()) {
            return Finding::LeftOut(why);
        }
        // Both at once: the test costs a first client no more time than the question.
        let (state, answer) = tokio::join!(self.tested(list, health), self.answer(list, name));
        match (state, answer) {
            (State::LeftOut(_, why), _) => Finding::LeftOut(why),
            (_, Ok(None)) => {
                if let Ok(mut health) = health.try_lock() {
                    health.silences = 0;
                }
                Finding::NotListed
            }
            // Untested: its test got no answer. A listing by it is not believed, and that it names nobody is nothing to doubt.
            (State::Untested, _) | (_, Err(Unheard::Silence)) => Finding::NoAnswer,
            (_, Err(Unheard::Broken(why))) => {
                self.leave_out(list, &mut *health.lock().await, LEFT_OUT, &why);
                Finding::LeftOut(why)
            }
            (State::Good(_), Ok(Some(listed))) => {
                health.lock().await.silences = 0;
                listed
            }
        }
    }

    /// The list's state, after a test where one is due.
    async fn tested(&self, list: &List, health: &tokio::sync::Mutex<Health>) -> State {
        let mut health = health.lock().await;
        let now = Instant::now();
        match &health.state {
            State::Good(until) | State::LeftOut(until, _) if now < *until => return health.state.clone(),
            _ => {}
        }
        let verdict = if list.tested { self.test(list).await } else { Test::Passed };
        match verdict {
            Test::Passed => {
                health.state = State::Good(Instant::now() + BELIEVED);
                health.silences = 0;
                if std::mem::take(&mut health.told) {
                    self.events.emit(&Event::Notice { what: "block list works again", detail: &list.base });
                }
            }
            Test::Failed(why) => self.leave_out(list, &mut health, LEFT_OUT, &why),
            Test::Silence => health.state = State::Untested,
        }
        health.state.clone()
    }

    /// RFC 5782 5: a list that names everybody (its domain was sold) or nobody (its zone is empty) is found out.
    async fn test(&self, list: &List) -> Test {
        let (never, always) = rbl::test_names(list);
        let must = async {
            match &always {
                Some(name) => self.answer(list, name).await,
                None => Ok(Some(Finding::NotAsked)),
            }
        };
        let (never_listed, always_listed) = tokio::join!(self.answer(list, &never), must);
        match (never_listed, always_listed) {
            (Err(Unheard::Broken(why)), _) | (_, Err(Unheard::Broken(why))) => Test::Failed(why),
            (Err(Unheard::Silence), _) | (_, Err(Unheard::Silence)) => Test::Silence,
            (Ok(Some(_)), _) => Test::Failed(format!("names {never}, so it would name everybody")),
            (Ok(None), Ok(None)) => Test::Failed(format!("does not name {}, so it would name nobody", always.unwrap_or_default())),
            (Ok(None), Ok(Some(_))) => Test::Passed,
        }
    }

    fn silence(&self, list: &List, health: &mut Health) {
        health.silences = health.silences.saturating_add(1);
        if health.silences >= SILENCES_MAX {
            self.leave_out(list, health, DEAD, "does not answer");
        }
    }

    fn leave_out(&self, list: &List, health: &mut Health, time: Duration, why: &str) {
        health.state = State::LeftOut(Instant::now() + time, why.to_owned());
        // Tried once more after the time; the next silence is then one too many at once.
        health.silences = SILENCES_MAX - 1;
        if !std::mem::replace(&mut health.told, true) {
            let detail = format!("{} {why}; tried again in {} s", list.base, time.as_secs());
            self.events.emit(&Event::Warning { what: "block list left out", detail: &detail });
        }
    }

    /// `Ok(None)`: not listed.
    async fn answer(&self, list: &List, name: &str) -> Result<Option<Finding>, Unheard> {
        if list.by_text {
            let texts = heard(self.dns.txt(name).await)?;
            return Ok(texts.map(|texts| Finding::Listed { answers: Vec::new(), text: Some(texts.concat()) }));
        }
        let Some(answers) = heard::<Ipv4Addr>(self.dns.a(name).await)? else { return Ok(None) };
        let answers = match rbl::read(&answers) {
            Reading::Listed(answers) => answers,
            Reading::Broken(why) => return Err(Unheard::Broken(why)),
        };
        let wanted = list.text.as_ref().is_none_or(|text| text.contains("%TXT%"));
        // Without its text a listing is as good.
        let text = if wanted { self.dns.txt(name).await.ok().map(|texts| texts.concat()) } else { None };
        Ok(Some(Finding::Listed { answers, text }))
    }
}

enum Test {
    Passed,
    Failed(String),
    Silence,
}

/// Why an answer is none.
enum Unheard {
    Silence,
    Broken(String),
}

fn heard<T>(answer: Result<Vec<T>, DnsError>) -> Result<Option<Vec<T>>, Unheard> {
    match answer {
        Ok(records) => Ok(Some(records)),
        Err(DnsError::NoName | DnsError::NoRecord) => Ok(None),
        Err(DnsError::Temporary(_)) => Err(Unheard::Silence),
    }
}

/// The questions about one client, and what has come of them. Dropped, it asks no further.
pub struct Inquiry {
    house: Arc<BlockLists>,
    lists: Arc<[List]>,
    findings: Vec<Finding>,
    /// Those that the log has heard of.
    told: Vec<bool>,
    subject: Subject,
    /// Questions about the address, once a connection.
    running: JoinSet<(usize, Finding)>,
    /// Questions of this transaction. A client may begin thousands: those of earlier ones are dropped, answered or not.
    passing: JoinSet<(usize, Finding)>,
    timeout: Duration,
}

impl Inquiry {
    /// Asks the lists of addresses; `None` when there are no lists, or the client is this machine itself, which no list names (RFC 5782 5).
    #[must_use]
    pub fn begin(house: &Arc<BlockLists>, config: &Config, ip: IpAddr) -> Option<Self> {
        let is_here = ip == IpAddr::V4(Ipv4Addr::LOCALHOST) || ip == IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);
        if config.rbl.is_empty() || is_here {
            return None;
        }
        Some(Self::new(house, config, Subject { ip, sender: None, helo: None }, |_| true))
    }

    /// Asks those lists that are `wanted` and have a question about `subject`.
    #[must_use]
    pub fn new(house: &Arc<BlockLists>, config: &Config, subject: Subject, wanted: impl Fn(About) -> bool) -> Self {
        let lists = Arc::clone(&config.rbl);
        let mut inquiry = Self {
            house: Arc::clone(house),
            findings: vec![Finding::NotAsked; lists.len()],
            told: vec![false; lists.len()],
            lists,
            subject,
            running: JoinSet::new(),
            passing: JoinSet::new(),
            timeout: config.server.rbl.timeout,
        };
        inquiry.ask(wanted);
        inquiry
    }

    /// A transaction begins: asks the lists of domains.
    pub fn transaction(&mut self, sender: Option<String>, helo: Option<String>) {
        self.passing = JoinSet::new();
        self.subject = Subject { ip: self.subject.ip, sender, helo };
        for ((list, finding), told) in self.lists.iter().zip(&mut self.findings).zip(&mut self.told) {
            if list.about != About::Address {
                (*finding, *told) = (Finding::NotAsked, false);
            }
        }
        self.ask(|about| about != About::Address);
    }

    fn ask(&mut self, wanted: impl Fn(About) -> bool) {
        let until = Instant::now() + self.timeout;
        for (at, list) in self.lists.iter().enumerate().filter(|(_, list)| wanted(list.about)) {
            let Some(name) = self.subject.question(list) else { continue };
            let (house, lists) = (Arc::clone(&self.house), Arc::clone(&self.lists));
            let tasks = if list.about == About::Address { &mut self.running } else { &mut self.passing };
            tasks.spawn(async move {
                let finding = match lists.get(at) {
                    Some(list) => house.find(list, &name, until).await,
                    None => Finding::NotAsked,
                };
                (at, finding)
            });
        }
    }

    /// What each list said, once all did or their time is over.
    pub async fn findings(&mut self) -> &[Finding] {
        for tasks in [&mut self.running, &mut self.passing] {
            while let Some(ended) = tasks.join_next().await {
                let Ok((at, finding)) = ended else { continue };
                if let Some(place) = self.findings.get_mut(at) {
                    *place = finding;
                }
            }
        }
        &self.findings
    }

    /// The client and what was asked about it.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Waits for the lists and decides: how the client is refused, and with which text.
    pub async fn decide(&mut self, config: &Config, session: u64) -> Option<(rbl::Refusal, String)> {
        self.findings().await;
        self.tell(session);
        let settings = &config.server.rbl;
        let thresholds = Thresholds { refuse: settings.refuse_score, defer: settings.defer_score };
        match rbl::decide(&self.lists, &self.findings, thresholds) {
            Decision::Refuse { how, by } if !settings.only_log => {
                let (list, finding) = (self.lists.get(by)?, self.findings.get(by)?);
                let what = self.subject.shown(list.about);
                Some((how, rbl::text(list, finding, &settings.text, self.subject.ip, &what)))
            }
            _ => None,
        }
    }

    fn tell(&mut self, session: u64) {
        for ((list, finding), told) in self.lists.iter().zip(&self.findings).zip(&mut self.told) {
            let Some(score) = finding.score(list).filter(|_| !std::mem::replace(told, true)) else { continue };
            let Finding::Listed { answers, .. } = finding else { continue };
            let answer: Vec<String> = answers.iter().map(ToString::to_string).collect();
            self.house.events.emit(&Event::Listed {
                session,
                peer: self.subject.ip,
                list: &list.base,
                what: &self.subject.shown(list.about),
                answer: &answer.join(" "),
                score,
            });
        }
    }
}
