//! One SMTP connection: moves bytes between a socket and the pure session, under the time-outs of RFC 5321 4.5.3.2. Called by `open` and
//! `transact`; decides nothing about mail.

use crate::stream::Stream;
use postino_smtp::client::{Event, Phase, ProtocolError, Session};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// Bytes read at once: replies are short.
const READ_BYTES: usize = 4096;
/// Memory that an idle connection keeps for the next body.
const IDLE_WIRE_BYTES: usize = 64 * 1024;
/// How long a server that broke off a body is listened to for its reason.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Why a connection is of no more use.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The other side closed.
    Closed,
    /// It was silent for too long.
    TimedOut,
    /// A socket or TLS error.
    Io,
    /// It broke the protocol.
    Protocol(ProtocolError),
    /// Our own message could not be read; the other side is fine.
    Body,
}

/// Time-outs: RFC 5321's for each phase, capped by timeoutremote.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// For TCP.
    pub(crate) connect: Duration,
    /// Upper bound for all others.
    pub(crate) remote: Duration,
}

impl Timeouts {
    /// For the next reply in this phase.
    pub(crate) fn of(&self, phase: Phase) -> Duration {
        let minutes = match phase {
            Phase::Greeting | Phase::Hello | Phase::Mail | Phase::Recipient | Phase::Ready => 5,
            Phase::StartTls | Phase::DataStart => 2,
            Phase::Body => 3,
            Phase::DataEnd => 10,
        };
        Duration::from_secs(minutes * 60).min(self.remote)
    }
}

/// Counts an open connection for as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub(crate) fn new(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connection.
pub(crate) struct Connection {
    pub(crate) session: Session,
    pub(crate) peer: SocketAddr,
    /// Transactions begun.
    pub(crate) messages: usize,
    /// Wire form of the body, kept for the next one.
    pub(crate) wire: Vec<u8>,
    stream: Stream,
    read_buffer: Box<[u8]>,
    timeouts: Timeouts,
    _counted: Counted,
}

impl Connection {
    pub(crate) fn new(stream: Stream, peer: SocketAddr, session: Session, timeouts: Timeouts, counted: Counted) -> Self {
        let read_buffer = vec![0u8; READ_BYTES].into_boxed_slice();
        Self { session, peer, messages: 0, wire: Vec::new(), stream, read_buffer, timeouts, _counted: counted }
    }

    /// Time-outs from the configuration now in force.
    pub(crate) fn set_timeouts(&mut self, timeouts: Timeouts) {
        self.timeouts = timeouts;
    }

    /// Sends what the session has to say, listens until it has something to tell.
    pub(crate) async fn next_event(&mut self) -> Result<Event, Broken> {
        let mut replies = self.session.replies();
        let mut deadline = Instant::now() + self.timeouts.of(self.session.phase());
        loop {
            self.send_output().await?;
            if let Some(event) = self.session.next_event().map_err(Broken::Protocol)? {
                return Ok(event);
            }
            if !self.session.output().is_empty() {
                continue;
            }
            // A deadline for each reply, not for each byte: a server that drips bytes gains nothing.
            if self.session.replies() != replies {
                replies = self.session.replies();
                deadline = Instant::now() + self.timeouts.of(self.session.phase());
            }
            let read = timeout_at(deadline, self.stream.read(&mut self.read_buffer)).await;
            match read.map_err(|_| Broken::TimedOut)?.map_err(|_| Broken::Io)? {
                0 => return Err(Broken::Closed),
                n => self.session.receive(self.read_buffer.get(..n).unwrap_or_default()),
            }
        }
    }

    async fn send_output(&mut self) -> Result<(), Broken> {
        if self.session.output().is_empty() {
            return Ok(());
        }
        let limit = self.timeouts.of(self.session.phase());
        write_all(&mut self.stream, self.session.output(), limit).await?;
        self.session.output_sent();
        Ok(())
    }

    /// Sends `wire` and empties it.
    pub(crate) async fn send_wire(&mut self) -> Result<(), Broken> {
        let limit = self.timeouts.of(Phase::Body);
        let sent = write_all(&mut self.stream, &self.wire, limit).await;
        self.wire.clear();
        sent
    }

    /// After a broken body: the server's reason, if it gave one.
    pub(crate) async fn last_words(&mut self) -> Result<Event, Broken> {
        self.session.body_broken();
        timeout(LAST_WORDS, self.next_event()).await.unwrap_or(Err(Broken::TimedOut))
    }

    /// TLS on this connection. The session in clear is over (RFC 3207 4.2).
    pub(crate) fn into_stream(self) -> (Stream, Session, Counted) {
        (self.stream, self.session, self._counted)
    }

    /// True while the idle connection can be used again.
    pub(crate) fn is_alive(&self) -> bool {
        self.session.is_reusable() && self.stream.is_quiet()
    }

    /// Gives back memory before a rest.
    pub(crate) fn rest(&mut self) {
        self.wire.clear();
        self.wire.shrink_to(IDLE_WIRE_BYTES);
    }

    /// QUIT without waiting for the answer.
    pub(crate) async fn quit(mut self) {
        let _ = timeout(Duration::from_secs(1), async { write_all(&mut self.stream, b"QUIT\r\n", Duration::from_secs(1)).await }).await;
    }
}

/// Every single write has the whole time: progress is what counts on a slow line.
async fn write_all(stream: &mut Stream, mut bytes: &[u8], limit: Duration) -> Result<(), Broken> {
    while !bytes.is_empty() {
        let written = timeout(limit, stream.write(bytes)).await.map_err(|_| Broken::TimedOut)?.map_err(|_| Broken::Io)?;
        if written == 0 {
            return Err(Broken::Io);
        }
        bytes = bytes.get(written..).unwrap_or_default();
    }
    timeout(limit, stream.flush()).await.map_err(|_| Broken::TimedOut)?.map_err(|_| Broken::Io)
}
