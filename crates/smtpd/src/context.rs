//! What a session is given: the ports of the house and the facts of one connection. Made by the server when it composes itself.

use crate::lists::BlockLists;
use postino_control::Live;
use postino_control::resolved::ListenerKind;
use postino_net::{BoxedStream, ConnectionPermit, LoginThrottle, ServerTls};
use postino_ports::BoxFuture;
use postino_ports::clock::Clock;
use postino_ports::directory::{Directory, MailboxRoom};
use postino_ports::dns::Dns;
use postino_ports::event::Events;
use postino_ports::links::Links;
use postino_ports::queue::Queue;
use postino_ports::roaming::Roaming;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::sync::watch;

/// The house as every SMTP session sees it; cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// The configuration in force.
    pub config: Live,
    /// Where messages go.
    pub queue: Arc<dyn Queue>,
    /// Who lives here.
    pub directory: Arc<dyn Directory>,
    /// Full mailboxes are refused at RCPT; without it they bounce.
    pub room: Option<Arc<dyn MailboxRoom>>,
    /// What operators hear.
    pub events: Arc<dyn Events>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// For the client's name in Received and in address rules; without it every client but loopback is `unknown`.
    pub dns: Option<Arc<dyn Dns>>,
    /// Block lists; without them nobody is asked.
    pub lists: Option<Arc<BlockLists>>,
    /// Certificates; without them neither STARTTLS nor AUTH is offered.
    pub tls: Option<Arc<ServerTls>>,
    /// Counts wrong passwords, for all services.
    pub throttle: Arc<LoginThrottle>,
    /// Addresses of this host, for domain literals; the connection's own is known besides.
    pub own_addresses: Arc<[IpAddr]>,
    /// Held mail that clients may ask for; without it nobody may. One pointer: each session carries the context.
    pub held: Option<Arc<HeldMail>>,
    /// Addresses that may relay since a login from there; without it none may.
    pub roaming: Option<Arc<dyn Roaming>>,
    /// Turns true when the server stops.
    pub shutdown: watch::Receiver<bool>,
}

/// Mail that is held for clients.
pub struct HeldMail {
    /// Who may have what.
    pub links: Arc<dyn Links>,
    /// Who goes on with a connection that was turned round.
    pub turned: Option<TurnedDoor>,
}

/// A connection whose client is the server from now on (ATRN).
pub struct Turned {
    /// Nothing is unread on it.
    pub stream: BoxedStream,
    /// The other end.
    pub peer: SocketAddr,
    /// The links whose mail goes over it.
    pub links: Vec<String>,
}

/// Takes turned connections; the future ends with the connection.
pub type TurnedDoor = Arc<dyn Fn(Turned) -> BoxFuture<'static, ()> + Send + Sync>;

/// One connection.
#[derive(Debug)]
pub struct Caller {
    /// The client.
    pub peer: SocketAddr,
    /// Our end.
    pub local: IpAddr,
    /// Which listener: `Smtp`, `Submission` or `Submissions`.
    pub kind: ListenerKind,
    /// Number of the session.
    pub session: u64,
    /// Its place among the connections; `None` where nobody counts (tests, stdin).
    pub permit: Option<ConnectionPermit>,
}

impl Caller {
    /// The service's name in events.
    #[must_use]
    pub fn service(&self) -> &'static str {
        match self.kind {
            ListenerKind::Submission => "submission",
            ListenerKind::Submissions => "submissions",
            ListenerKind::Odmr => "odmr",
            _ => "smtp",
        }
    }
}
