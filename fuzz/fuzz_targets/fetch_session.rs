//! The clients that fetch mail against a hostile server: no panic, no event without end, whole lines as output, no secret before the TLS that was asked
//! for, a message only when it was asked for.
#![no_main]
#![allow(dead_code)]

#[path = "../../crates/fetch/src/body.rs"]
mod body;
#[path = "../../crates/fetch/src/feed.rs"]
mod feed;
#[path = "../../crates/fetch/src/imap.rs"]
mod imap;
#[path = "../../crates/fetch/src/imap_folder.rs"]
mod imap_folder;
#[path = "../../crates/fetch/src/imap_response.rs"]
mod imap_response;
#[path = "../../crates/fetch/src/pop3.rs"]
mod pop3;
#[path = "../../crates/fetch/src/sasl.rs"]
mod sasl;
#[path = "../../crates/fetch/src/session.rs"]
mod session;

use postino_control::fetch::{FetchAuth, FetchTls};
use postino_fuzz::{Source, pieces};
use sasl::{Credentials, SecretKind};
use session::{Event, Options, Session};

fn take_output(session: &mut dyn Session, under_tls: bool) {
    let out = session.output();
    assert!(out.len() <= 1 << 20, "output is bounded");
    assert!(out.is_empty() || out.ends_with(b"\r\n"), "whole lines");
    let secret = [&b"sesame"[..], b"c2VzYW1l", b"zZXNhbW"].iter().any(|s| out.windows(s.len()).any(|w| w == *s));
    assert!(!secret || under_tls, "the password in clear");
}

postino_fuzz::fuzz_target!(|input: &[u8]| {
    let mut source = Source::new(input);
    let (flags, seed) = (source.byte(), source.byte());
    let tls = [FetchTls::Implicit, FetchTls::Starttls][usize::from(flags & 1)];
    let kind = if flags & 2 == 0 { SecretKind::Password } else { SecretKind::Token };
    let secret = zeroize::Zeroizing::new(b"sesame".to_vec());
    let credentials = Credentials { user: "joe".into(), secret, kind, server: ("mail.test".into(), 1) };
    let options = Options { tls, auth: FetchAuth::Auto, credentials };
    let mut session: Box<dyn Session> =
        if flags & 4 == 0 { Box::new(pop3::Pop3::new(options)) } else { Box::new(imap::Imap::new(options)) };
    let (mut under_tls, mut asked) = (tls == FetchTls::Implicit, false);
    let rest = source.rest();
    let read: Vec<&[u8]> = if seed & 1 == 0 { rest.split_inclusive(|&b| b == b'\n').collect() } else { pieces(rest, seed).collect() };
    'read: for piece in read {
        session.receive(piece);
        for _ in 0..64 + 4 * piece.len() {
            take_output(session.as_mut(), under_tls);
            match session.next_event() {
                Err(_) => return,
                Ok(None) => continue 'read,
                Ok(Some(Event::StartTls)) => {
                    under_tls = true;
                    session.tls_established();
                }
                Ok(Some(Event::Ready)) => session.list("INBOX"),
                Ok(Some(Event::Listed(listing))) => match listing.items.first() {
                    Some(item) => {
                        asked = true;
                        session.fetch(item);
                    }
                    None => session.end(),
                },
                Ok(Some(Event::Whole)) => {
                    assert!(std::mem::take(&mut asked), "a message that nobody asked for");
                    session.end();
                }
                Ok(Some(Event::Refused(_))) => session.end(),
                Ok(Some(Event::Body(bytes))) => assert!(asked && !bytes.is_empty()),
                Ok(Some(Event::Deleted(_) | Event::Ended)) => return,
            }
        }
        panic!("the session does not come to an end");
    }
});
