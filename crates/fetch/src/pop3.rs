//! The client's side of a POP3 session (RFC 1939, RFC 2449, RFC 2595 4, RFC 5034). Fed bytes, gives bytes and events. Driven by `run`; every answer is
//! the server's word and bounded.

use crate::body::Unstuff;
use crate::feed::Feed;
use crate::sasl::{self, Exchange, Mechanism, Offer};
use crate::session::{Broken, Event, Item, Listing, MESSAGES_MAX, Options, Session, UID_BYTES_MAX, without_doubles, words};
use postino_control::fetch::FetchTls;
use std::collections::{HashMap, VecDeque};

/// DELE commands on their way at once, where the server says PIPELINING.
const PIPELINE: usize = 50;
/// Lines of a CAPA answer.
const CAPABILITIES_MAX: usize = 200;

/// What we wait for.
#[derive(Debug)]
enum Waiting {
    Greeting,
    Capa(Block),
    Stls,
    Handshake,
    Auth(Exchange),
    User,
    Pass,
    Nothing,
    Uidl(Block),
    List(Block),
    Retr,
    Body(Unstuff),
    /// The message's last bytes were handed out.
    Over,
    Dele,
    Quit,
}

/// Which part of a multi-line answer comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Status,
    Lines,
}

/// The session.
#[derive(Debug)]
pub struct Pop3 {
    options: Options,
    feed: Feed,
    output: Vec<u8>,
    waiting: Waiting,
    under_tls: bool,
    offer: Offer,
    mechanism: Option<Mechanism>,
    timestamp: Option<Vec<u8>>,
    capabilities: Vec<Vec<u8>>,
    pipelining: bool,
    /// Listing being read.
    lines: usize,
    partial: bool,
    unusable: usize,
    uids: Vec<(u32, Vec<u8>)>,
    sizes: HashMap<u32, u64>,
    /// DELE commands not yet sent.
    to_delete: VecDeque<u32>,
    /// DELE commands sent and not answered, in order.
    on_the_way: VecDeque<u32>,
    /// Those that were refused.
    undeleted: Vec<u32>,
}

impl Pop3 {
    /// A session that waits for the greeting (under TLS already, with implicit TLS).
    #[must_use]
    pub fn new(options: Options) -> Self {
        let under_tls = options.tls == FetchTls::Implicit;
        Self {
            options,
            feed: Feed::default(),
            output: Vec::new(),
            waiting: Waiting::Greeting,
            under_tls,
            offer: Offer::default(),
            mechanism: None,
            timestamp: None,
            capabilities: Vec::new(),
            pipelining: false,
            lines: 0,
            partial: false,
            unusable: 0,
            uids: Vec::new(),
            sizes: HashMap::new(),
            to_delete: VecDeque::new(),
            on_the_way: VecDeque::new(),
            undeleted: Vec::new(),
        }
    }

    fn send(&mut self, line: &[u8]) {
        self.output.extend_from_slice(line);
        self.output.extend_from_slice(b"\r\n");
    }

    fn capa(&mut self) {
        self.capabilities.clear();
        self.send(b"CAPA");
        self.waiting = Waiting::Capa(Block::Status);
    }

    /// One line of an answer.
    fn line(&mut self, line: &[u8]) -> Result<Option<Event>, Broken> {
        match std::mem::replace(&mut self.waiting, Waiting::Nothing) {
            Waiting::Greeting => self.greeting(line),
            Waiting::Capa(block) => self.capa_line(block, line),
            Waiting::Stls => {
                status(line)?.map_err(|_| Broken::NoTls("STLS"))?;
                if !self.feed.is_empty() {
                    return Err(Broken::EarlyBytes);
                }
                self.waiting = Waiting::Handshake;
                Ok(Some(Event::StartTls))
            }
            Waiting::Auth(exchange) => self.auth_line(exchange, line),
            Waiting::User => {
                status(line)?.map_err(Broken::Login)?;
                let secret = self.options.credentials.secret.clone();
                self.send_secret(b"PASS ", &secret)?;
                self.waiting = Waiting::Pass;
                Ok(None)
            }
            Waiting::Pass => self.logged_in(line),
            Waiting::Uidl(block) => self.uidl_line(block, line),
            Waiting::List(block) => self.list_line(block, line),
            Waiting::Retr => Ok(match status(line)? {
                Ok(()) => {
                    self.waiting = Waiting::Body(Unstuff::new());
                    None
                }
                Err(why) => Some(Event::Refused(why)),
            }),
            Waiting::Dele => self.dele_line(line),
            Waiting::Quit => {
                status(line)?.map_err(|why| Broken::Command("QUIT", why))?;
                Ok(Some(Event::Ended))
            }
            Waiting::Nothing | Waiting::Handshake | Waiting::Body(_) | Waiting::Over => match status(line) {
                Ok(Err(why)) => Err(Broken::Bye(why)),
                _ => Err(Broken::Nonsense("an answer to anything")),
            },
        }
    }

    fn greeting(&mut self, line: &[u8]) -> Result<Option<Event>, Broken> {
        status(line)?.map_err(Broken::Bye)?;
        // RFC 1939 7: the timestamp is a message id; a wrong one could make us sign something else.
        let from = line.iter().position(|&b| b == b'<');
        let stamp = from.and_then(|from| line.get(from..)).and_then(|rest| {
            let end = rest.iter().position(|&b| b == b'>')?;
            rest.get(..=end)
        });
        let is_id = |s: &&[u8]| s.contains(&b'@') && s.iter().all(|b| b.is_ascii_graphic());
        self.timestamp = stamp.filter(is_id).map(<[u8]>::to_vec);
        self.capa();
        Ok(None)
    }

    fn capa_line(&mut self, block: Block, line: &[u8]) -> Result<Option<Event>, Broken> {
        if block == Block::Status {
            match status(line)? {
                Ok(()) => self.waiting = Waiting::Capa(Block::Lines),
                // An old server: USER and PASS it will know.
                Err(_) => self.after_capa(true)?,
            }
            return Ok(None);
        }
        if line == b"." {
            self.after_capa(false)?;
            return Ok(None);
        }
        if self.capabilities.len() >= CAPABILITIES_MAX {
            return Err(Broken::Nonsense("a list of capabilities"));
        }
        self.capabilities.push(line.to_ascii_uppercase());
        self.waiting = Waiting::Capa(Block::Lines);
        Ok(None)
    }

    fn capability(&self, name: &[u8]) -> Option<&[u8]> {
        self.capabilities.iter().find_map(|c| c.strip_prefix(name).filter(|rest| rest.is_empty() || rest.starts_with(b" ")))
    }

    fn after_capa(&mut self, is_old: bool) -> Result<(), Broken> {
        if self.options.tls == FetchTls::Starttls && !self.under_tls {
            if self.capability(b"STLS").is_none() {
                return Err(Broken::NoTls("STLS"));
            }
            self.send(b"STLS");
            self.waiting = Waiting::Stls;
            return Ok(());
        }
        self.pipelining = self.capability(b"PIPELINING").is_some();
        let sasl = self.capability(b"SASL").unwrap_or_default();
        let sasl = sasl.split(|b| *b == b' ').filter(|w| !w.is_empty()).map(|w| String::from_utf8_lossy(w).into_owned()).collect();
        // Servers that say nothing of USER know it; those that say something and leave it out have switched it off (RFC 2449 6.3).
        let user = is_old || self.capability(b"USER").is_some();
        let offer = Offer { sasl, apop: self.timestamp.is_some(), user };
        let chosen = sasl::choose(&offer, self.options.auth, self.options.credentials.kind, self.options.tls);
        let mechanism = chosen.ok_or_else(|| Broken::NoMechanism(offer.told()))?;
        self.offer = offer;
        self.login(mechanism)
    }

    /// Logged in, or the next way to try.
    fn logged_in(&mut self, line: &[u8]) -> Result<Option<Event>, Broken> {
        let Err(why) = status(line)? else { return Ok(Some(Event::Ready)) };
        let next = self.mechanism.and_then(|failed| self.offer.after(failed, &self.options)).ok_or(Broken::Login(why))?;
        self.login(next)?;
        Ok(None)
    }

    fn login(&mut self, mechanism: Mechanism) -> Result<(), Broken> {
        self.mechanism = Some(mechanism);
        let user = self.options.credentials.user.clone();
        if let Some(name) = mechanism.sasl() {
            self.send(format!("AUTH {name}").as_bytes());
            self.waiting = Waiting::Auth(Exchange::new(mechanism));
        } else if mechanism == Mechanism::Apop {
            let digest = sasl::apop(self.timestamp.as_deref().unwrap_or_default(), &self.options.credentials.secret);
            self.send_secret(b"APOP ", format!("{user} {digest}").as_bytes())?;
            self.waiting = Waiting::Pass;
        } else {
            self.send_secret(b"USER ", user.as_bytes())?;
            self.waiting = Waiting::User;
        }
        Ok(())
    }

    /// A command whose argument must stay on its line.
    fn send_secret(&mut self, command: &[u8], argument: &[u8]) -> Result<(), Broken> {
        if argument.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
            return Err(Broken::Login("name or password holds a line end or NUL".into()));
        }
        self.output.extend_from_slice(command);
        self.send(argument);
        Ok(())
    }

    fn auth_line(&mut self, mut exchange: Exchange, line: &[u8]) -> Result<Option<Event>, Broken> {
        if let Some(challenge) = line.strip_prefix(b"+").filter(|rest| rest.is_empty() || rest.starts_with(b" ")) {
            let answer = exchange.answer(challenge, &self.options.credentials);
            self.send(&answer);
            self.waiting = Waiting::Auth(exchange);
            return Ok(None);
        }
        self.logged_in(line)
    }

    fn uidl_line(&mut self, block: Block, line: &[u8]) -> Result<Option<Event>, Broken> {
        if block == Block::Status {
            status(line)?.map_err(|why| Broken::Command("UIDL", why))?;
            self.waiting = Waiting::Uidl(Block::Lines);
            return Ok(None);
        }
        if line == b"." {
            self.send(b"LIST");
            (self.lines, self.waiting) = (0, Waiting::List(Block::Status));
            return Ok(None);
        }
        self.waiting = Waiting::Uidl(Block::Lines);
        self.count_line()?;
        match numbered(line) {
            Some((number, uid)) if is_uid(uid) && self.uids.len() < MESSAGES_MAX => self.uids.push((number, uid.to_vec())),
            Some((_, uid)) if is_uid(uid) => self.partial = true,
            _ => {
                self.unusable = self.unusable.saturating_add(1);
                self.partial = true;
            }
        }
        Ok(None)
    }

    fn list_line(&mut self, block: Block, line: &[u8]) -> Result<Option<Event>, Broken> {
        if block == Block::Status {
            status(line)?.map_err(|why| Broken::Command("LIST", why))?;
            self.waiting = Waiting::List(Block::Lines);
            return Ok(None);
        }
        if line == b"." {
            return Ok(Some(Event::Listed(self.listing())));
        }
        self.waiting = Waiting::List(Block::Lines);
        self.count_line()?;
        if let Some((number, size)) = numbered(line) {
            let digits = size.split(|b| *b == b' ').next().unwrap_or_default();
            if let Some(size) = number_of(digits) {
                self.sizes.insert(number, size);
            }
        }
        Ok(None)
    }

    /// An endless listing ends here.
    fn count_line(&mut self) -> Result<(), Broken> {
        self.lines = self.lines.saturating_add(1);
        if self.lines > MESSAGES_MAX.saturating_mul(4) { Err(Broken::Nonsense("a listing")) } else { Ok(()) }
    }

    fn listing(&mut self) -> Listing {
        let sizes = std::mem::take(&mut self.sizes);
        let mut numbers = std::collections::HashSet::new();
        let mut listing = Listing { items: Vec::new(), unusable: self.unusable, partial: self.partial };
        let mut items = Vec::new();
        for (number, uid) in std::mem::take(&mut self.uids) {
            if numbers.insert(number) {
                items.push(Item { number, uid, size: sizes.get(&number).copied(), deletable: true });
            } else {
                listing.unusable = listing.unusable.saturating_add(1);
            }
        }
        without_doubles(items, &mut listing);
        listing
    }

    fn send_deletes(&mut self) -> bool {
        let window = if self.pipelining { PIPELINE } else { 1 };
        while self.on_the_way.len() < window {
            let Some(number) = self.to_delete.pop_front() else { break };
            self.send(format!("DELE {number}").as_bytes());
            self.on_the_way.push_back(number);
        }
        !self.on_the_way.is_empty()
    }

    fn dele_line(&mut self, line: &[u8]) -> Result<Option<Event>, Broken> {
        let number = self.on_the_way.pop_front();
        // A message that cannot be deleted stays; the next run tries again.
        if status(line)?.is_err() {
            self.undeleted.extend(number);
        }
        if self.send_deletes() {
            self.waiting = Waiting::Dele;
            return Ok(None);
        }
        Ok(Some(Event::Deleted(std::mem::take(&mut self.undeleted))))
    }
}

impl Session for Pop3 {
    fn receive(&mut self, bytes: &[u8]) {
        self.feed.push(bytes);
    }

    fn next_event(&mut self) -> Result<Option<Event>, Broken> {
        loop {
            if let Waiting::Body(unstuff) = &mut self.waiting {
                let (mut out, mut ended) = (Vec::new(), false);
                self.feed.raw(u64::MAX, |bytes| {
                    let (used, end) = unstuff.feed(bytes, &mut out);
                    ended = end;
                    used
                });
                if ended {
                    self.waiting = Waiting::Over;
                }
                if !out.is_empty() {
                    return Ok(Some(Event::Body(out)));
                }
                if !ended {
                    return Ok(None);
                }
            }
            if matches!(self.waiting, Waiting::Over) {
                self.waiting = Waiting::Nothing;
                return Ok(Some(Event::Whole));
            }
            let Some(line) = self.feed.line()? else { return Ok(None) };
            if let Some(event) = self.line(&line)? {
                return Ok(Some(event));
            }
        }
    }

    fn output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    fn tls_established(&mut self) {
        self.under_tls = true;
        self.timestamp = None; // an attacker could have made it
        self.capa();
    }

    fn list(&mut self, _folder: &str) {
        (self.lines, self.partial, self.unusable) = (0, false, 0);
        self.uids.clear();
        self.sizes.clear();
        self.send(b"UIDL");
        self.waiting = Waiting::Uidl(Block::Status);
    }

    fn fetch(&mut self, item: &Item) {
        self.send(format!("RETR {}", item.number).as_bytes());
        self.waiting = Waiting::Retr;
    }

    fn delete(&mut self, items: &[Item]) {
        self.to_delete.extend(items.iter().map(|item| item.number));
        self.send_deletes();
        self.waiting = Waiting::Dele;
    }

    fn end(&mut self) {
        self.send(b"QUIT");
        self.waiting = Waiting::Quit;
    }
}

/// `+OK` is Ok, `-ERR` its words.
fn status(line: &[u8]) -> Result<Result<(), String>, Broken> {
    let word = |name: &[u8]| {
        let (first, rest) = line.split_at_checked(name.len())?;
        (first.eq_ignore_ascii_case(name) && (rest.is_empty() || rest.starts_with(b" "))).then_some(rest)
    };
    if word(b"+OK").is_some() {
        return Ok(Ok(()));
    }
    match word(b"-ERR") {
        Some(rest) => Ok(Err(words(rest))),
        None => Err(Broken::Nonsense("a POP3 answer")),
    }
}

/// `NUMBER REST`.
fn numbered(line: &[u8]) -> Option<(u32, &[u8])> {
    let blank = line.iter().position(|&b| b == b' ')?;
    let number = number_of(line.get(..blank)?).and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0)?;
    Some((number, line.get(blank..)?.trim_ascii()))
}

/// Digits alone; no sign, no overflow.
pub(crate) fn number_of(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// RFC 1939 7: one or more of 0x21 to 0x7E.
fn is_uid(uid: &[u8]) -> bool {
    !uid.is_empty() && uid.len() <= UID_BYTES_MAX && uid.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests;
