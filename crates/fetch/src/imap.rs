//! The client's side of an IMAP session (RFC 3501, RFC 4315, RFC 2595): login, SELECT, the list of UIDs, one message after the other, deletion by UID.
//! Fed bytes, gives bytes and events. Driven by `run`; every answer is the server's word and bounded.

use crate::body::LineEnds;
use crate::feed::{Feed, LINE_BYTES_MAX};
use crate::imap_response::{self as response, Fetched, LITERAL, Response, Short, Status};
use crate::sasl::{self, Exchange, Mechanism, Offer};
use crate::session::{Broken, Event, Item, Listing, MESSAGES_MAX, Options, Session, without_doubles, words};
use postino_control::fetch::FetchTls;

/// Capabilities that are kept.
const CAPABILITIES_MAX: usize = 500;
/// A literal that we did not ask for is passed over up to so many bytes.
const STRANGE_LITERAL_BYTES_MAX: u64 = 1 << 20;
/// Lines of an answer, beyond two a message.
const LINES_MAX: usize = MESSAGES_MAX * 2;
/// UIDs named in one STORE or EXPUNGE.
const SET_MAX: usize = 500;

/// What we wait for.
#[derive(Debug)]
enum Waiting {
    Greeting,
    Capability,
    StartTls,
    Handshake,
    Authenticate(Exchange),
    Login,
    Nothing,
    Select,
    List,
    Fetch,
    Store,
    Expunge,
    Logout,
}

/// Where we are in a response.
#[derive(Debug)]
enum Place {
    /// Reading a line.
    Line,
    /// In the literal of the body that we asked for: bytes left.
    Body(u64, LineEnds),
    /// In another literal: bytes left.
    Strange(u64),
}

/// What came of the message asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// No body yet.
    Open,
    /// The body came, of a message not yet named.
    Unnamed,
    /// The body came, and it is the right one.
    Good,
    /// Another message, or NIL.
    Wrong,
}

/// The session.
#[derive(Debug)]
pub struct Imap {
    options: Options,
    feed: Feed,
    output: Vec<u8>,
    waiting: Waiting,
    place: Place,
    /// The response so far, literals taken out.
    so_far: Vec<u8>,
    tag: u32,
    under_tls: bool,
    offer: Offer,
    mechanism: Option<Mechanism>,
    is_logged_in: bool,
    capabilities: Vec<Vec<u8>>,
    lines: usize,
    validity: Option<u32>,
    exists: u64,
    items: Vec<Item>,
    partial: bool,
    /// Somebody else's `\Deleted` messages are in this mailbox: a plain EXPUNGE would delete them too.
    foreign_deleted: bool,
    asked_uid: u32,
    asked: Asked,
    to_delete: Vec<u32>,
    undeleted: Vec<u32>,
}

impl Imap {
    /// A session that waits for the greeting (under TLS already, with implicit TLS).
    #[must_use]
    pub fn new(options: Options) -> Self {
        let under_tls = options.tls == FetchTls::Implicit;
        Self {
            options,
            feed: Feed::default(),
            output: Vec::new(),
            waiting: Waiting::Greeting,
            place: Place::Line,
            so_far: Vec::new(),
            tag: 0,
            under_tls,
            offer: Offer::default(),
            mechanism: None,
            is_logged_in: false,
            capabilities: Vec::new(),
            lines: 0,
            validity: None,
            exists: 0,
            items: Vec::new(),
            partial: false,
            foreign_deleted: false,
            asked_uid: 0,
            asked: Asked::Open,
            to_delete: Vec::new(),
            undeleted: Vec::new(),
        }
    }

    fn send(&mut self, line: &[u8]) {
        self.output.extend_from_slice(line);
        self.output.extend_from_slice(b"\r\n");
    }

    fn command(&mut self, text: &str, waiting: Waiting) {
        self.tag = self.tag.saturating_add(1);
        self.lines = 0;
        let line = format!("p{} {text}", self.tag);
        self.send(line.as_bytes());
        self.waiting = waiting;
    }

    fn has(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|c| c.eq_ignore_ascii_case(capability.as_bytes()))
    }

    /// One whole response.
    fn response(&mut self, line: &[u8]) -> Result<Option<Event>, Broken> {
        self.lines = self.lines.saturating_add(1);
        if self.lines > LINES_MAX {
            return Err(Broken::Nonsense("an end of its answer"));
        }
        match response::parse(line).ok_or(Broken::Nonsense("an IMAP response"))? {
            Response::Continue(challenge) => self.go_on(challenge),
            Response::Capability(list) => {
                self.take_capabilities(list);
                Ok(None)
            }
            Response::Fetch(items) => self.fetched(response::fetched(items).ok_or(Broken::Nonsense("a FETCH response"))?),
            Response::Exists(number) => {
                self.exists = number;
                Ok(None)
            }
            Response::Other => Ok(None),
            Response::Status { tag: None, status, text } => self.untagged(status, text),
            Response::Status { tag: Some(tag), status, text } => {
                if tag != format!("p{}", self.tag).as_bytes() {
                    return Err(Broken::Nonsense("an answer to this command"));
                }
                self.tagged(status, text)
            }
        }
    }

    fn take_capabilities(&mut self, list: &[u8]) {
        let names = list.split(|b| *b == b' ').filter(|w| !w.is_empty()).take(CAPABILITIES_MAX);
        self.capabilities = names.map(<[u8]>::to_ascii_uppercase).collect();
    }

    fn untagged(&mut self, status: Status, text: &[u8]) -> Result<Option<Event>, Broken> {
        if let Waiting::Greeting = self.waiting {
            return self.greeting(status, text);
        }
        match status {
            Status::Bye if !matches!(self.waiting, Waiting::Logout) => Err(Broken::Bye(words(text))),
            Status::Ok => {
                if let (Waiting::Select, Some(number)) = (&self.waiting, response::code(text, b"UIDVALIDITY")) {
                    self.validity = crate::pop3::number_of(number).and_then(|n| u32::try_from(n).ok());
                }
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn greeting(&mut self, status: Status, text: &[u8]) -> Result<Option<Event>, Broken> {
        match status {
            Status::Ok => {}
            // Logged in before TLS: STARTTLS is not possible any more, and whoever says so need not be the server.
            Status::PreAuth if self.options.tls == FetchTls::Starttls => return Err(Broken::NoTls("STARTTLS")),
            Status::PreAuth => self.is_logged_in = true,
            _ => return Err(Broken::Bye(words(text))),
        }
        self.command("CAPABILITY", Waiting::Capability);
        Ok(None)
    }

    fn go_on(&mut self, challenge: &[u8]) -> Result<Option<Event>, Broken> {
        let Waiting::Authenticate(exchange) = &mut self.waiting else { return Err(Broken::Nonsense("an answer to anything")) };
        let answer = exchange.answer(challenge, &self.options.credentials);
        self.send(&answer);
        Ok(None)
    }

    fn tagged(&mut self, status: Status, text: &[u8]) -> Result<Option<Event>, Broken> {
        let is_ok = status == Status::Ok;
        let refused = |what: &'static str| Broken::Command(what, words(text));
        match std::mem::replace(&mut self.waiting, Waiting::Nothing) {
            Waiting::Capability if is_ok => self.after_capability(),
            Waiting::Capability => Err(refused("CAPABILITY")),
            Waiting::StartTls if !is_ok => Err(Broken::NoTls("STARTTLS")),
            Waiting::StartTls if !self.feed.is_empty() => Err(Broken::EarlyBytes),
            Waiting::StartTls => {
                self.waiting = Waiting::Handshake;
                Ok(Some(Event::StartTls))
            }
            Waiting::Authenticate(_) | Waiting::Login if is_ok => {
                self.is_logged_in = true;
                // UIDPLUS may be offered only now.
                self.command("CAPABILITY", Waiting::Capability);
                Ok(None)
            }
            Waiting::Authenticate(_) | Waiting::Login => {
                let next = self.mechanism.and_then(|failed| self.offer.after(failed, &self.options));
                self.login(next.ok_or_else(|| Broken::Login(words(text)))?)
            }
            Waiting::Select if is_ok => self.after_select(),
            Waiting::Select => Err(refused("SELECT")),
            Waiting::List if is_ok => Ok(Some(Event::Listed(self.listing()))),
            Waiting::List => Err(refused("FETCH")),
            Waiting::Fetch => Ok(Some(match self.asked {
                Asked::Good if is_ok => Event::Whole,
                _ => Event::Refused(format!("no such message, or another one: {}", words(text))),
            })),
            Waiting::Store => self.after_store(is_ok),
            Waiting::Expunge => self.delete_next(),
            Waiting::Logout => Ok(Some(Event::Ended)),
            Waiting::Greeting | Waiting::Handshake | Waiting::Nothing => Err(Broken::Nonsense("an answer to anything")),
        }
    }

    fn after_capability(&mut self) -> Result<Option<Event>, Broken> {
        if self.options.tls == FetchTls::Starttls && !self.under_tls {
            if !self.has("STARTTLS") {
                return Err(Broken::NoTls("STARTTLS"));
            }
            self.command("STARTTLS", Waiting::StartTls);
            return Ok(None);
        }
        if self.is_logged_in {
            return Ok(Some(Event::Ready));
        }
        let sasl = self.capabilities.iter().filter_map(|c| c.strip_prefix(b"AUTH=")).map(|w| String::from_utf8_lossy(w).into_owned());
        let offer = Offer { sasl: sasl.collect(), apop: false, user: !self.has("LOGINDISABLED") };
        let chosen = sasl::choose(&offer, self.options.auth, self.options.credentials.kind, self.options.tls);
        let mechanism = chosen.ok_or_else(|| Broken::NoMechanism(offer.told()))?;
        self.offer = offer;
        self.login(mechanism)
    }

    fn login(&mut self, mechanism: Mechanism) -> Result<Option<Event>, Broken> {
        self.mechanism = Some(mechanism);
        if let Some(name) = mechanism.sasl() {
            self.command(&format!("AUTHENTICATE {name}"), Waiting::Authenticate(Exchange::new(mechanism)));
            return Ok(None);
        }
        let credentials = self.options.credentials.clone();
        self.tag = self.tag.saturating_add(1);
        let mut line = format!("p{} LOGIN ", self.tag).into_bytes();
        push_quoted(&mut line, credentials.user.as_bytes())?;
        line.push(b' ');
        push_quoted(&mut line, &credentials.secret)?;
        self.send(&line);
        self.waiting = Waiting::Login;
        Ok(None)
    }

    fn after_select(&mut self) -> Result<Option<Event>, Broken> {
        if self.validity.is_none() {
            return Err(Broken::Nonsense("a mailbox with UIDVALIDITY"));
        }
        if self.exists == 0 {
            // Some servers refuse to name messages where there are none.
            return Ok(Some(Event::Listed(Listing::default())));
        }
        self.command("UID FETCH 1:* (UID RFC822.SIZE FLAGS)", Waiting::List);
        Ok(None)
    }

    fn fetched(&mut self, fetched: Fetched) -> Result<Option<Event>, Broken> {
        match (&self.waiting, fetched.uid) {
            // What has no size is a change of flags that is told in between.
            (Waiting::List, Some(uid)) if fetched.size.is_some() => self.list_item(uid, &fetched),
            (Waiting::Fetch, uid) => return Ok(self.fetched_body(uid, fetched.body)),
            _ => {}
        }
        Ok(None)
    }

    fn list_item(&mut self, uid: u32, fetched: &Fetched) {
        if fetched.is_deleted {
            self.foreign_deleted = true;
        }
        if self.items.len() >= MESSAGES_MAX {
            self.partial = true;
            return;
        }
        let name = format!("{}.{uid}", self.validity.unwrap_or(0)).into_bytes();
        self.items.push(Item { number: uid, uid: name, size: fetched.size, deletable: true });
    }

    fn fetched_body(&mut self, uid: Option<u32>, body: Option<Short>) -> Option<Event> {
        let is_other = uid.is_some_and(|uid| uid != self.asked_uid);
        match body {
            // Flags of any message, told in between; of ours perhaps, and then they name a body that came before.
            None => {}
            Some(_) if is_other => self.asked = Asked::Wrong,
            Some(Short::Literal) if self.asked == Asked::Unnamed && uid.is_some() => self.asked = Asked::Good,
            Some(Short::Quoted(bytes)) if self.asked == Asked::Open && uid.is_some() => {
                self.asked = Asked::Good;
                let mut out = Vec::new();
                let mut ends = LineEnds::default();
                ends.feed(&bytes, &mut out);
                ends.end(&mut out);
                return (!out.is_empty()).then_some(Event::Body(out));
            }
            Some(_) => self.asked = Asked::Wrong,
        }
        None
    }

    fn listing(&mut self) -> Listing {
        let mut listing = Listing { items: Vec::new(), unusable: 0, partial: self.partial };
        without_doubles(std::mem::take(&mut self.items), &mut listing);
        listing
    }

    fn delete_next(&mut self) -> Result<Option<Event>, Broken> {
        if self.to_delete.is_empty() {
            return Ok(Some(Event::Deleted(std::mem::take(&mut self.undeleted))));
        }
        let set = self.next_set();
        self.command(&format!("UID STORE {set} +FLAGS.SILENT (\\Deleted)"), Waiting::Store);
        Ok(None)
    }

    fn next_set(&self) -> String {
        let uids: Vec<String> = self.to_delete.iter().take(SET_MAX).map(ToString::to_string).collect();
        uids.join(",")
    }

    fn after_store(&mut self, is_ok: bool) -> Result<Option<Event>, Broken> {
        let set = self.next_set();
        let done: Vec<u32> = self.to_delete.drain(..self.to_delete.len().min(SET_MAX)).collect();
        if is_ok && self.has("UIDPLUS") {
            self.command(&format!("UID EXPUNGE {set}"), Waiting::Expunge);
            return Ok(None);
        }
        // Without UIDPLUS all messages with the flag go; where others set it too, ours keep the flag and go when somebody tidies up.
        if is_ok && !self.foreign_deleted {
            self.command("EXPUNGE", Waiting::Expunge);
            return Ok(None);
        }
        self.undeleted.extend(done);
        self.delete_next()
    }

    /// Takes what is there of a literal; `None` while it is not whole.
    fn literal(&mut self) -> Option<Option<Event>> {
        match &mut self.place {
            Place::Line => Some(None),
            Place::Strange(left) => {
                let mut used = 0usize;
                self.feed.raw(*left, |bytes| {
                    used = bytes.len();
                    used
                });
                *left = left.saturating_sub(used as u64);
                if *left > 0 {
                    return None;
                }
                self.place = Place::Line;
                Some(None)
            }
            Place::Body(left, ends) => {
                let (mut out, mut used) = (Vec::new(), 0usize);
                self.feed.raw(*left, |bytes| {
                    ends.feed(bytes, &mut out);
                    used = bytes.len();
                    used
                });
                *left = left.saturating_sub(used as u64);
                let is_over = *left == 0;
                if is_over {
                    ends.end(&mut out);
                    self.place = Place::Line;
                }
                if out.is_empty() && !is_over { None } else { Some((!out.is_empty()).then_some(Event::Body(out))) }
            }
        }
    }

    /// A line that ends with a literal: what is to be done with the literal.
    fn begin_literal(&mut self, bytes: u64) -> Result<(), Broken> {
        let is_body = matches!(self.waiting, Waiting::Fetch) && response::begins_body(&self.so_far);
        if is_body && self.asked != Asked::Open {
            return Err(Broken::Nonsense("one message"));
        }
        if is_body {
            self.asked = Asked::Unnamed;
            self.place = Place::Body(bytes, LineEnds::default());
        } else if bytes <= STRANGE_LITERAL_BYTES_MAX {
            self.place = Place::Strange(bytes);
        } else {
            return Err(Broken::Nonsense("a short literal"));
        }
        let open = self.so_far.iter().rposition(|&b| b == b'{').unwrap_or(self.so_far.len());
        self.so_far.truncate(open);
        self.so_far.extend_from_slice(LITERAL);
        Ok(())
    }
}

impl Session for Imap {
    fn receive(&mut self, bytes: &[u8]) {
        self.feed.push(bytes);
    }

    fn next_event(&mut self) -> Result<Option<Event>, Broken> {
        loop {
            match self.literal() {
                None => return Ok(None),
                Some(Some(event)) => return Ok(Some(event)),
                Some(None) => {}
            }
            let Some(line) = self.feed.line()? else { return Ok(None) };
            if self.so_far.len().saturating_add(line.len()) > LINE_BYTES_MAX {
                return Err(Broken::LongLine);
            }
            self.so_far.extend_from_slice(&line);
            if response::may_have_literals(&self.so_far)
                && let Some(bytes) = response::literal_bytes(&line)
            {
                self.begin_literal(bytes)?;
                continue;
            }
            let whole = std::mem::take(&mut self.so_far);
            if let Some(event) = self.response(&whole)? {
                return Ok(Some(event));
            }
        }
    }

    fn output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    fn tls_established(&mut self) {
        self.under_tls = true;
        self.capabilities.clear(); // an attacker could have made them
        self.command("CAPABILITY", Waiting::Capability);
    }

    fn list(&mut self, folder: &str) {
        (self.validity, self.exists, self.partial, self.foreign_deleted) = (None, 0, false, false);
        self.items.clear();
        self.command(&format!("SELECT {}", crate::imap_folder::quoted(folder)), Waiting::Select);
    }

    fn fetch(&mut self, item: &Item) {
        (self.asked_uid, self.asked) = (item.number, Asked::Open);
        self.command(&format!("UID FETCH {} (UID BODY.PEEK[])", item.number), Waiting::Fetch);
    }

    fn delete(&mut self, items: &[Item]) {
        self.to_delete = items.iter().map(|item| item.number).collect();
        let set = self.next_set();
        self.command(&format!("UID STORE {set} +FLAGS.SILENT (\\Deleted)"), Waiting::Store);
    }

    fn end(&mut self) {
        self.command("LOGOUT", Waiting::Logout);
    }
}

fn push_quoted(line: &mut Vec<u8>, text: &[u8]) -> Result<(), Broken> {
    if !text.iter().all(|b| (32..127).contains(b)) {
        return Err(Broken::Login("name or password holds bytes that LOGIN cannot carry; the server offers no PLAIN".into()));
    }
    line.push(b'"');
    for &b in text {
        if matches!(b, b'"' | b'\\') {
            line.push(b'\\');
        }
        line.push(b);
    }
    line.push(b'"');
    Ok(())
}

#[cfg(test)]
mod tests;
