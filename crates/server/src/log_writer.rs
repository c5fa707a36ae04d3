//! A buffered log stream: events append to memory, one thread writes. A slow or dead stderr never stops a delivery.
//! Called by `events` and by the tracing subscriber; never blocks its callers.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Bytes kept while the reader of our log is slow; beyond it lines are dropped and counted.
const BUFFER_BYTES_MAX: usize = 8 << 20;
/// Bytes that wake the writing thread at once.
const WAKE_BYTES: usize = 64 << 10;
/// Longest delay of a line.
const DELAY: Duration = Duration::from_millis(50);

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    dropped: u64,
    stopped: bool,
}

struct Inner {
    state: Mutex<State>,
    wake: Condvar,
    written: Condvar,
}

/// A handle to the log; clones share one buffer.
#[derive(Clone)]
pub(crate) struct LogWriter {
    inner: Arc<Inner>,
}

impl LogWriter {
    /// Starts the writing thread on standard error.
    pub(crate) fn to_stderr() -> Self {
        let inner = Arc::new(Inner { state: Mutex::default(), wake: Condvar::new(), written: Condvar::new() });
        let thread_inner = Arc::clone(&inner);
        let spawned = std::thread::Builder::new().name("log".into()).stack_size(128 << 10).spawn(move || drain(&thread_inner));
        if spawned.is_err() {
            inner.state.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
        }
        Self { inner }
    }

    /// Appends one or more whole lines.
    pub(crate) fn append(&self, lines: &[u8]) {
        let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.stopped {
            drop(state);
            let _ = io::stderr().write_all(lines);
            return;
        }
        if state.lines.len().saturating_add(lines.len()) > BUFFER_BYTES_MAX {
            state.dropped = state.dropped.saturating_add(1);
            return;
        }
        let was_empty = state.lines.is_empty();
        state.lines.extend_from_slice(lines);
        let wake = was_empty || state.lines.len() >= WAKE_BYTES;
        drop(state);
        if wake {
            self.inner.wake.notify_one();
        }
    }

    /// Waits until all that was appended is written (two seconds at most); later lines are written directly.
    pub(crate) fn finish(&self) {
        let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.stopped = true;
        self.inner.wake.notify_one();
        let mut rounds = 0;
        while !state.lines.is_empty() && rounds < 20 {
            let (next, _) = self.inner.written.wait_timeout(state, Duration::from_millis(100)).unwrap_or_else(PoisonError::into_inner);
            state = next;
            rounds += 1;
        }
    }
}

fn drain(inner: &Inner) {
    let mut out = Vec::new();
    loop {
        let mut state = inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.lines.is_empty() && !state.stopped {
            state = inner.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.lines.len() < WAKE_BYTES && !state.stopped {
            // A short wait lets a burst share one write(2).
            let (next, _) = inner
                .wake
                .wait_timeout_while(state, DELAY, |s| s.lines.len() < WAKE_BYTES && !s.stopped)
                .unwrap_or_else(PoisonError::into_inner);
            state = next;
        }
        std::mem::swap(&mut out, &mut state.lines);
        let dropped = std::mem::take(&mut state.dropped);
        let stopped = state.stopped;
        drop(state);
        let mut stderr = io::stderr().lock();
        // A log that cannot be written must never stop mail.
        let _ = stderr.write_all(&out);
        if dropped > 0 {
            let _ = writeln!(stderr, "warning: {dropped} log lines were dropped because the log was not read fast enough");
        }
        drop(stderr);
        out.clear();
        out.shrink_to(WAKE_BYTES);
        inner.written.notify_all();
        if stopped {
            return;
        }
    }
}

/// One line of the tracing subscriber, handed over whole.
pub(crate) struct LineSink {
    writer: LogWriter,
    line: Vec<u8>,
}

impl Write for LineSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LineSink {
    fn drop(&mut self) {
        self.writer.append(&self.line);
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for LogWriter {
    type Writer = LineSink;
    fn make_writer(&'a self) -> LineSink {
        LineSink { writer: self.clone(), line: Vec::with_capacity(256) }
    }
}
