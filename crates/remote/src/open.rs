//! A new connection, ready for a transaction: TCP, greeting, EHLO, STARTTLS, AUTH; back to clear text when opportunistic TLS fails.
//! Called by `transact`; sends no mail.

use crate::connection::{Connection, Counted, Timeouts};
use crate::deliver::Shared;
use crate::mx::Target;
use crate::remembered::Trouble;
use crate::report::{self, Duplicate};
use crate::stream::Stream;
use postino_net::tls::client::server_name;
use postino_ports::event::Event as Told;
use postino_smtp::client::{Event, Login, Options, Phase, Session, TlsWish};
use postino_types::DeliveryOutcome;
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How to speak to one place.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    /// Our name.
    pub(crate) helo: String,
    /// TLS.
    pub(crate) tls: TlsWish,
    /// Login.
    pub(crate) login: Login,
    /// Time-outs.
    pub(crate) timeouts: Timeouts,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// No TCP connection.
    NoConnection,
    /// A connection, but no session; the outcome is a deferral.
    NoSession(DeliveryOutcome),
}

enum Attempt {
    Ready(Box<Connection>),
    HandshakeFailed(String),
}

/// Opens a connection to `target`.
pub(crate) async fn open(shared: &Shared, target: &Target, peer: SocketAddr, manner: &Manner) -> Result<Connection, OpenError> {
    let mut tls = manner.tls;
    if tls == TlsWish::Opportunistic && shared.remembered.is_clear_only(peer, shared.clock.monotonic()) {
        tls = TlsWish::Never;
    }
    match attempt(shared, target, peer, manner, tls).await? {
        Attempt::Ready(connection) => Ok(*connection),
        Attempt::HandshakeFailed(why) if tls != TlsWish::Opportunistic => Err(OpenError::NoSession(report::no_tls(peer.ip(), &why))),
        Attempt::HandshakeFailed(why) => {
            shared.remembered.tls_failed(peer, shared.clock.monotonic());
            let detail = format!("host={} ip={} error={why}", target.host, peer.ip());
            shared.events.emit(&Told::Warning { what: "starttls failed, sending in clear", detail: &detail });
            match attempt(shared, target, peer, manner, TlsWish::Never).await? {
                Attempt::Ready(connection) => Ok(*connection),
                Attempt::HandshakeFailed(why) => Err(OpenError::NoSession(report::no_tls(peer.ip(), &why))),
            }
        }
    }
}

async fn attempt(shared: &Shared, target: &Target, peer: SocketAddr, manner: &Manner, tls: TlsWish) -> Result<Attempt, OpenError> {
    let tcp = connect(shared, peer, manner.timeouts).await?;
    let counted = Counted::new(&shared.open);
    let options = Options { helo: manner.helo.clone(), tls, login: manner.login.clone() };
    let session = Session::new(options);
    let mut stream = Stream::Clear(tcp);
    if tls == TlsWish::Active {
        stream = match handshake(shared, target, stream, manner).await {
            Ok(stream) => stream,
            Err(why) => return Ok(Attempt::HandshakeFailed(why)),
        };
    }
    let mut connection = Connection::new(stream, peer, session, manner.timeouts, counted);
    loop {
        match connection.next_event().await {
            Ok(Event::Ready) => return Ok(Attempt::Ready(Box::new(connection))),
            Ok(Event::StartTls) => {
                let (stream, mut session, counted) = connection.into_stream();
                match handshake(shared, target, stream, manner).await {
                    Ok(stream) => {
                        session.tls_established();
                        connection = Connection::new(stream, peer, session, manner.timeouts, counted);
                    }
                    Err(why) => return Ok(Attempt::HandshakeFailed(why)),
                }
            }
            Ok(Event::Refused(refusal)) => {
                connection.quit().await;
                return Err(OpenError::NoSession(report::refused(peer.ip(), &refusal)));
            }
            Ok(Event::SendBody | Event::Done) => return Err(OpenError::NoSession(report::internal("Unexpected event. (#4.3.0)\n"))),
            Err(broken) => return Err(OpenError::NoSession(report::died(peer.ip(), &broken, Duplicate::Impossible))),
        }
    }
}

async fn connect(shared: &Shared, peer: SocketAddr, timeouts: Timeouts) -> Result<TcpStream, OpenError> {
    let began = shared.clock.monotonic();
    let error = match timeout(timeouts.connect, TcpStream::connect(peer)).await {
        Ok(Ok(stream)) => {
            shared.remembered.answered(peer);
            let _ = stream.set_nodelay(true); // without it only slower
            return Ok(stream);
        }
        Ok(Err(error)) => error,
        Err(_) => io::Error::from(io::ErrorKind::TimedOut),
    };
    tracing::debug!(%peer, %error, "connect failed");
    if let Some(trouble) = trouble_of(&error) {
        shared.remembered.failed(peer, trouble, began, shared.clock.monotonic());
    }
    Err(OpenError::NoConnection)
}

/// Trouble of the other side; want of descriptors or ports here says nothing about it.
fn trouble_of(error: &io::Error) -> Option<Trouble> {
    match error.kind() {
        io::ErrorKind::TimedOut => Some(Trouble::TimedOut),
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable => Some(Trouble::Refused),
        _ => None,
    }
}

async fn handshake(shared: &Shared, target: &Target, stream: Stream, manner: &Manner) -> Result<Stream, String> {
    let Stream::Clear(tcp) = stream else { return Err("tls within tls".into()) };
    let config = if manner.login == Login::No { &shared.tls.opportunistic } else { &shared.tls.relay };
    let name = server_name(&target.host, target.ip);
    let connecting = TlsConnector::from(config.clone()).connect(name, tcp);
    match timeout(manner.timeouts.of(Phase::StartTls), connecting).await {
        Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
        Ok(Err(error)) => Err(postino_types::printable::printable(error.to_string().as_bytes())),
        Err(_) => Err("handshake timed out".into()),
    }
}
