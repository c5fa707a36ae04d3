//! What the service manager and the terminal hear: ready, reloading, stopping (sd_notify(3)). systemd believes the main process alone
//! (`NotifyAccess=main`), so a worker below a supervisor sends its news up a pipe. Never waits for an answer; without a manager it does nothing.

use anyhow::Context;
use postino_control::Config;
use sd_notify::NotifyState;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Something that happened to the server as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// Every service answers.
    Ready,
    /// The configuration is being reread; `Ready` follows.
    Reloading,
    /// No new connections from here on.
    Stopping,
}

impl News {
    const ALL: [(u8, Self); 3] = [(b'R', Self::Ready), (b'L', Self::Reloading), (b'S', Self::Stopping)];

    fn byte(self) -> u8 {
        Self::ALL.iter().find(|(_, news)| *news == self).map_or(b'?', |(byte, _)| *byte)
    }

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.iter().find(|(b, _)| *b == byte).map(|(_, news)| *news)
    }
}

/// Where news go.
pub(crate) enum Herald {
    /// This is the main process.
    Main(MainProcess),
    /// The supervisor is; the pipe leads to it.
    Above(File),
}

/// What the main process does with news.
pub(crate) struct MainProcess {
    home: PathBuf,
    /// Printed once, when the server is ready (`demo`).
    greeting: Option<String>,
}

impl MainProcess {
    pub(crate) fn new(config: &Config, greeting: Option<String>) -> Self {
        Self { home: config.home.clone(), greeting }
    }

    fn hear(&mut self, news: News) {
        if news == News::Ready {
            if let Err(e) = crate::home::write_pid_file(&self.home) {
                eprintln!("warning: {e:#}");
            }
            if let Some(greeting) = self.greeting.take() {
                crate::cli::say(&greeting);
            }
        }
        let states = match news {
            News::Ready => vec![NotifyState::Ready],
            // systemd 253 and newer want the time with it.
            News::Reloading => std::iter::once(NotifyState::Reloading).chain(NotifyState::monotonic_usec_now().ok()).collect(),
            News::Stopping => vec![NotifyState::Stopping],
        };
        // A manager that does not listen must not stop mail.
        let _ = sd_notify::notify(&states);
    }
}

impl Herald {
    /// Tells it, at once.
    pub(crate) fn tell(&mut self, news: News) {
        match self {
            Self::Main(main) => main.hear(news),
            // A supervisor that is gone takes us with it.
            Self::Above(pipe) => _ = pipe.write_all(&[news.byte()]),
        }
    }
}

/// The supervisor's half: a thread that hears the worker. Returns the worker's end of the pipe.
pub(crate) fn listen(mut main: MainProcess) -> anyhow::Result<OwnedFd> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context("cannot make a pipe")?;
    let hear = move || {
        let mut byte = [0u8; 1];
        let mut pipe = File::from(read);
        while pipe.read_exact(&mut byte).is_ok() {
            byte.first().copied().and_then(News::of).into_iter().for_each(|news| main.hear(news));
        }
    };
    std::thread::Builder::new().name("news".into()).stack_size(128 << 10).spawn(hear).context("cannot start a thread")?;
    Ok(write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_survive_the_pipe() {
        for news in [News::Ready, News::Reloading, News::Stopping] {
            assert_eq!(News::of(news.byte()), Some(news));
        }
        assert_eq!(News::of(b'?'), None);
    }
}
