//! Connections that customers made and turned round (ATRN, RFC 2645): the mail of their links goes over them and over no other. Called by
//! the server, which brings and ends them, and by `deliver`.

use crate::connection::{Connection, Counted, Timeouts};
use crate::deliver::{Remote, manner_for};
use postino_net::BoxedStream;
use postino_smtp::client::{Event, Login, Options, Session, TlsWish};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// One connection, for one message at a time; `None` once it is spent.
pub(crate) type Slot = Arc<tokio::sync::Mutex<Option<Connection>>>;

/// The connections, by link.
#[derive(Default)]
pub(crate) struct TurnedConnections(Mutex<HashMap<Arc<str>, Slot>>);

impl TurnedConnections {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<Arc<str>, Slot>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The connection of a link, if there is one.
    pub(crate) fn slot(&self, link: &str) -> Option<Slot> {
        self.with(|slots| slots.get(link).cloned())
    }
}

/// A connection that was taken over; ended by [`Remote::release`].
pub struct Adopted {
    links: Vec<Arc<str>>,
    slot: Slot,
}

impl Adopted {
    /// Can it still carry mail? While a message is on it, nobody knows better.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.slot.try_lock().map_or(true, |connection| connection.is_some())
    }
}

impl Remote {
    /// Takes a turned connection over: waits for the greeting of the new server and says EHLO. From then on mail of these links goes over it.
    ///
    /// # Errors
    /// Why the other side is no server, as text.
    pub async fn adopt(&self, links: Vec<Arc<str>>, stream: BoxedStream, peer: SocketAddr) -> Result<Adopted, String> {
        let config = self.live.get();
        let (helo, timeouts): (String, Timeouts) = manner_for(&config);
        // What secures it is below it already.
        let session = Session::new(Options { helo, tls: TlsWish::Never, login: Login::No });
        let stream = crate::stream::Stream::Turned(stream);
        let mut connection = Connection::new(stream, peer, session, timeouts, Counted::new(&self.shared.open));
        match connection.next_event().await {
            Ok(Event::Ready) => {}
            Ok(Event::Refused(refusal)) => return Err(format!("the customer's server refuses: {refusal:?}")),
            Ok(_) => return Err("the customer's server speaks out of turn".into()),
            Err(broken) => return Err(format!("the customer's server does not speak: {broken:?}")),
        }
        let slot: Slot = Arc::new(tokio::sync::Mutex::new(Some(connection)));
        self.shared.turned.with(|slots| slots.extend(links.iter().map(|link| (link.clone(), slot.clone()))));
        Ok(Adopted { links, slot })
    }

    /// Ends a turned connection.
    pub async fn release(&self, adopted: Adopted) {
        self.shared.turned.with(|slots| {
            for link in &adopted.links {
                // Another connection of the same customer may have come meanwhile.
                if slots.get(link).is_some_and(|slot| Arc::ptr_eq(slot, &adopted.slot)) {
                    slots.remove(link);
                }
            }
        });
        if let Some(connection) = adopted.slot.lock().await.take() {
            connection.quit().await;
        }
    }
}
