//! The spawner's loop: one thread, one poll over the socket, the children's ends and their pipes. Ends when the worker has closed the socket
//! and the last child is gone; decides nothing about mail.

use crate::settings::Settings;
use crate::socket::{Received, receive, send};
use crate::task::{Progress, Task};
use postino_types::spawn_frame::PACKET_BYTES_MAX;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// After the worker is gone, children get so long to end by themselves.
const GRACE: Duration = Duration::from_secs(30);

/// Serves requests until the socket's other end is closed. Errors are those of the socket and of poll(2).
pub fn serve(socket: OwnedFd, settings: &Settings) -> io::Result<()> {
    let mut spawner = Spawner { socket: Some(socket), tasks: Vec::new(), settings, buffer: vec![0; PACKET_BYTES_MAX + 1], end_by: None };
    while spawner.socket.is_some() || !spawner.tasks.is_empty() {
        spawner.wait()?;
        spawner.take_requests()?;
        spawner.advance();
    }
    Ok(())
}

struct Spawner<'a> {
    socket: Option<OwnedFd>,
    tasks: Vec<Task>,
    settings: &'a Settings,
    buffer: Vec<u8>,
    end_by: Option<Instant>,
}

impl Spawner<'_> {
    fn has_room(&self) -> bool {
        self.tasks.len() < self.settings.concurrency.saturating_add(self.settings.queue.concurrency).max(1)
    }

    fn wait(&self) -> io::Result<()> {
        let mut fds: Vec<PollFd<'_>> = self.tasks.iter().flat_map(Task::poll_fds).collect();
        if let Some(socket) = self.socket.as_ref().filter(|_| self.has_room()) {
            fds.push(PollFd::new(socket, PollFlags::IN)); // at the limit requests wait in the socket
        }
        let deadline = self.tasks.iter().map(Task::deadline).chain(self.end_by).min();
        let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
        let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn take_requests(&mut self) -> io::Result<()> {
        while self.has_room() {
            let Some(socket) = &self.socket else { return Ok(()) };
            match receive(socket, &mut self.buffer)? {
                Received::Nothing => return Ok(()),
                Received::Bad => {} // no id to answer to; our own worker never sends it
                Received::End => self.worker_is_gone(),
                // Two tasks of one id could not be told apart at their end, and one would go on with nobody watching its time.
                Received::Request(request, _) if self.tasks.iter().any(|task| task.id() == request.id) => {}
                Received::Request(request, message) => match Task::start(request, message, self.settings) {
                    Ok(task) => self.tasks.push(task),
                    Err((id, report)) => self.answer(id, &report),
                },
            }
        }
        Ok(())
    }

    fn advance(&mut self) {
        let late = self.end_by.is_some_and(|at| Instant::now() >= at);
        if late {
            self.end_by = Some(Instant::now() + Duration::from_secs(1));
        }
        let mut ended = Vec::new();
        for task in &mut self.tasks {
            if late {
                task.kill();
            }
            if let Progress::Ended(report) = task.advance(self.settings) {
                ended.push((task.id(), report));
            }
        }
        for (id, report) in ended {
            self.tasks.retain(|task| task.id() != id);
            self.answer(id, &report);
        }
    }

    fn answer(&mut self, id: u64, report: &postino_types::spawn_frame::Report) {
        let Some(socket) = &self.socket else { return };
        let sent = report.packets(id).iter().try_for_each(|packet| send(socket, packet, None));
        if sent.is_err() {
            self.worker_is_gone();
        }
    }

    fn worker_is_gone(&mut self) {
        self.socket = None;
        self.end_by = Some(Instant::now() + GRACE);
    }
}
