//! What the tests of both sessions share.

use crate::session::{Event, Session};

/// Feeds a session: it must neither panic nor give events without end.
pub(crate) fn survive(session: &mut dyn Session, input: &[Vec<u8>]) {
    for piece in input {
        session.receive(piece);
        for round in 0.. {
            assert!(round < 1000, "no end");
            match session.next_event() {
                Err(_) => return,
                Ok(None) => break,
                Ok(Some(Event::StartTls)) => session.tls_established(),
                Ok(Some(Event::Ready)) => session.list("INBOX"),
                Ok(Some(Event::Listed(listing))) => match listing.items.first() {
                    Some(item) => session.fetch(item),
                    None => session.end(),
                },
                Ok(Some(_)) => {}
            }
            assert!(session.output().len() < 65536);
        }
    }
}
