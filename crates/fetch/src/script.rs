//! Plays a session against a written server, its words cut at every byte: the outcome must be the same. For the tests of the sessions.

use crate::sasl::{Credentials, SecretKind};
use crate::session::{Broken, Event, Item, Options, Session};
use postino_control::fetch::{FetchAuth, FetchTls};
use zeroize::Zeroizing;

/// What came of it: everything that was told, in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Played {
    pub(crate) said: Vec<String>,
    pub(crate) messages: Vec<Vec<u8>>,
    pub(crate) end: Result<(), Broken>,
}

pub(crate) fn options(tls: FetchTls, auth: FetchAuth, kind: SecretKind) -> Options {
    let secret = Zeroizing::new(b"tanstaaf".to_vec());
    Options { tls, auth, credentials: Credentials { user: "mrose".into(), secret, kind, server: ("mail.test".into(), 1) } }
}

/// One piece of a dialogue: what the client must have sent, and the answer.
pub(crate) type Turn<'a> = (&'a str, &'a str);

/// Stands for an empty line that the client sends.
pub(crate) const EMPTY_LINE: &str = "(an empty line)";

/// Plays `turns` once in whole pieces, once byte by byte, and cut in two at every place.
pub(crate) fn play(make: impl Fn() -> Box<dyn Session>, turns: &[Turn<'_>]) -> Played {
    let whole = once(make(), turns, &|text| vec![text]);
    let bytes = once(make(), turns, &|text| text.chunks(1).collect());
    assert_eq!(whole, bytes, "byte by byte");
    let longest = turns.iter().map(|(_, answer)| answer.len()).max().unwrap_or(0);
    for cut in 1..longest {
        let cut_in_two = once(make(), turns, &|text| {
            let (a, b) = text.split_at(cut.min(text.len()));
            vec![a, b]
        });
        assert_eq!(whole, cut_in_two, "cut at {cut}");
    }
    whole
}

fn once(mut session: Box<dyn Session>, turns: &[Turn<'_>], pieces: &dyn Fn(&[u8]) -> Vec<&[u8]>) -> Played {
    let mut played = Played { said: Vec::new(), messages: Vec::new(), end: Ok(()) };
    let mut plan = Plan::default();
    for (expected, answer) in turns {
        let sent = String::from_utf8(session.output()).unwrap();
        let expected = match *expected {
            "" => String::new(),
            EMPTY_LINE => "\n".into(),
            lines => format!("{lines}\n"),
        };
        assert_eq!(sent.replace("\r\n", "\n"), expected, "after {:?}", played.said);
        for piece in pieces(answer.as_bytes()) {
            session.receive(piece);
            loop {
                match session.next_event() {
                    Ok(None) => break,
                    Ok(Some(event)) => plan.act(event, session.as_mut(), &mut played),
                    Err(broken) => {
                        played.end = Err(broken);
                        return played;
                    }
                }
            }
        }
    }
    assert!(session.output().is_empty(), "the dialogue ends too early: {:?}", played.said);
    played
}

#[derive(Default)]
struct Plan {
    todo: Vec<Item>,
    done: Vec<Item>,
    asked: Option<Item>,
    body: Vec<u8>,
}

impl Plan {
    fn act(&mut self, event: Event, session: &mut dyn Session, played: &mut Played) {
        match event {
            Event::StartTls => {
                played.said.push("starttls".into());
                session.tls_established();
            }
            Event::Ready => {
                played.said.push("ready".into());
                session.list("INBOX");
            }
            Event::Listed(listing) => {
                let items: Vec<String> =
                    listing.items.iter().map(|i| format!("{} {} {:?}", i.number, String::from_utf8_lossy(&i.uid), i.size)).collect();
                played.said.push(format!("{} unusable={} partial={}", items.join(", "), listing.unusable, listing.partial));
                self.todo = listing.items;
                self.todo.reverse();
                self.next(session);
            }
            Event::Body(bytes) => self.body.extend(bytes),
            Event::Whole => {
                played.messages.push(std::mem::take(&mut self.body));
                self.done.extend(self.asked.take());
                self.next(session);
            }
            Event::Refused(why) => {
                played.said.push(format!("refused {why}"));
                self.body.clear();
                self.next(session);
            }
            Event::Deleted(refused) => {
                played.said.push(format!("deleted but {refused:?}"));
                session.end();
            }
            Event::Ended => played.said.push("ended".into()),
        }
    }

    fn next(&mut self, session: &mut dyn Session) {
        self.asked = self.todo.pop();
        self.done.retain(|item| item.deletable);
        match &self.asked {
            Some(item) => session.fetch(item),
            None if self.done.is_empty() => session.end(),
            None => session.delete(&self.done),
        }
    }
}
