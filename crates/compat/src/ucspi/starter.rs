//! Starts programs for tcpserver on a few threads: until a new program is under way its parent stands still (vfork), and on a busy machine that
//! is most of the time of a connection. Called by tcpserver when it logs no single connections; never decides who is served, never waits for a child.

use std::io::{self, Write};
use std::net::{IpAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Programs that are being started at once.
const THREADS: usize = 4;
/// Stack of such a thread: it runs nothing but the start.
const STACK_BYTES: usize = 128 * 1024;
/// Longest wait for one start at the end.
const FINISH: Duration = Duration::from_secs(2);

/// A program to start.
struct Order {
    command: Command,
    stream: TcpStream,
    ip: IpAddr,
}

/// How a start ended.
pub(super) struct Started {
    pub(super) ip: IpAddr,
    pub(super) pid: io::Result<i32>,
}

/// The threads; they end when this is dropped and their last order is done.
pub(super) struct Starter {
    orders: Sender<Order>,
    results: Receiver<Started>,
    under_way: usize,
}

impl Starter {
    /// Each result is followed by a byte on `wake`. An error: there are no threads, the caller starts programs itself.
    pub(super) fn open(wake: &UnixStream) -> io::Result<Self> {
        let (orders, waiting) = channel::<Order>();
        let waiting = Arc::new(Mutex::new(waiting));
        let (answer, results) = channel();
        for _ in 0..THREADS {
            let (waiting, answer, wake) = (Arc::clone(&waiting), answer.clone(), wake.try_clone()?);
            std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || work(&waiting, &answer, &wake))?;
        }
        Ok(Self { orders, results, under_way: 0 })
    }

    /// Starts it; the result comes later.
    pub(super) fn start(&mut self, command: Command, stream: TcpStream, ip: IpAddr) -> io::Result<()> {
        self.orders.send(Order { command, stream, ip }).map_err(|_| io::Error::other("no thread starts programs"))?;
        self.under_way += 1;
        Ok(())
    }

    /// A start that has ended since, if any.
    pub(super) fn ended(&mut self) -> Option<Started> {
        let started = self.results.try_recv().ok()?;
        self.under_way = self.under_way.saturating_sub(1);
        Some(started)
    }

    /// Waits until what was ordered is started, but not for ever: a connection that was accepted gets its program.
    pub(super) fn finish(mut self) {
        while self.under_way > 0 && self.results.recv_timeout(FINISH).is_ok() {
            self.under_way -= 1;
        }
    }
}

fn work(orders: &Mutex<Receiver<Order>>, answer: &Sender<Started>, mut wake: &UnixStream) {
    loop {
        let order = orders.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Order { command, stream, ip }) = order else { return };
        let pid = spawn(command, &stream);
        drop(stream);
        if answer.send(Started { ip, pid }).is_err() {
            return;
        }
        let _ = wake.write(b"S"); // full: there are bytes enough to wake it
    }
}

/// Starts `command` on the connection and tells its process number.
pub(super) fn spawn(mut command: Command, stream: &TcpStream) -> io::Result<i32> {
    let (input, output) = (OwnedFd::from(stream.try_clone()?), OwnedFd::from(stream.try_clone()?));
    // Never waited for through its handle: tcpserver reaps all children.
    let child = command.stdin(Stdio::from(input)).stdout(Stdio::from(output)).spawn()?;
    i32::try_from(child.id()).map_err(io::Error::other)
}
