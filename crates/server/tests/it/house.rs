//! A whole server in a temporary home, made and run through its own command line; ended by its pid when dropped.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up (not a timing assertion).
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test.
pub(crate) fn postino() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postino"));
    command.env_remove("POSTINO_HOME");
    command
}

/// True when the tests run as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The account that the worker runs as in tests.
pub(crate) fn worker_user() -> String {
    if is_root() { "nobody".into() } else { String::from_utf8(run(Command::new("id").arg("-un")).stdout).unwrap().trim().into() }
}

/// Runs and insists on success.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?} failed: {}\n{}", output.status, text(&output.stderr));
    output
}

/// Bytes as text for messages.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A loopback port that nobody uses now; handed out once in this test process.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 21000 + u16::try_from(std::process::id() % 40).unwrap() * 200 + offset % 200;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits for a condition.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "gave up waiting for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The ports of one server.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) smtp: u16,
    pub(crate) submission: u16,
    pub(crate) submissions: u16,
    pub(crate) pop3: u16,
    pub(crate) pop3s: u16,
    pub(crate) http: u16,
}

/// A home with its server.
pub(crate) struct House {
    pub(crate) home: PathBuf,
    pub(crate) ports: Ports,
    server: Option<Child>,
    _dir: tempfile::TempDir,
}

impl House {
    /// Makes the home: domain example.test, users pippo and pluto with password `segreto`. `toml` is appended to server.toml before `[listen]`.
    pub(crate) fn new(toml: &str) -> Self {
        let house = Self::bare();
        let home = &house.home;
        run(postino()
            .args(["setup", "mail.example.test", "--domain", "example.test", "--postmaster-password", "segreto", "--quiet"])
            .args(["--user", &worker_user()])
            .arg("--home")
            .arg(home));
        let mut batch = postino()
            .args(["user", "add", "--batch", "-", "--home"])
            .arg(home)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut batch.stdin.take().unwrap(), b"pippo@example.test segreto\npluto@example.test segreto\n").unwrap();
        assert!(batch.wait().unwrap().success());
        house.write_toml(toml);
        house
    }

    /// A place for a home that is still to be made.
    pub(crate) fn bare() -> Self {
        let dir = tempfile::Builder::new().prefix("postino-it-").tempdir_in("/var/tmp").unwrap();
        // The worker is another account and must pass through.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let ports = Ports {
            smtp: free_port(),
            submission: free_port(),
            submissions: free_port(),
            pop3: free_port(),
            pop3s: free_port(),
            http: free_port(),
        };
        Self { home: dir.path().join("home"), ports, server: None, _dir: dir }
    }

    /// Replaces server.toml; top-level keys and tables of `toml` follow the listeners.
    pub(crate) fn write_toml(&self, toml: &str) {
        let p = self.ports;
        let listen = format!(
            "user = \"{}\"\n[listen]\nsmtp = [\"127.0.0.1:{}\"]\nsubmission = [\"127.0.0.1:{}\"]\nsubmissions = [\"127.0.0.1:{}\"]\npop3 = [\"127.0.0.1:{}\"]\npop3s = [\"127.0.0.1:{}\"]\nhttp = [\"127.0.0.1:{}\"]\n",
            worker_user(),
            p.smtp,
            p.submission,
            p.submissions,
            p.pop3,
            p.pop3s,
            p.http
        );
        std::fs::write(self.home.join("control/server.toml"), format!("{listen}{toml}")).unwrap();
    }

    /// Writes a control file.
    pub(crate) fn control(&self, name: &str, content: &str) {
        std::fs::write(self.home.join("control").join(name), content).unwrap();
    }

    /// Starts the server and waits for its banners.
    pub(crate) fn start(&mut self) {
        self.start_by(postino().arg("serve").arg("--home").arg(&self.home).stdin(Stdio::null()));
    }

    /// Starts it by this command, which must become the server.
    pub(crate) fn start_by(&mut self, command: &mut Command) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.server = Some(child);
        for port in [self.ports.smtp, self.ports.pop3] {
            wait_for("a banner", || {
                if let Some(status) = self.server.as_mut().unwrap().try_wait().unwrap() {
                    panic!("the server ended with {status}:\n{}", self.log());
                }
                super::client::Line::try_connect(port).is_some()
            });
        }
    }

    /// Makes and starts.
    pub(crate) fn started(toml: &str) -> Self {
        let mut house = Self::new(toml);
        house.start();
        house
    }

    fn log_path(&self) -> PathBuf {
        self.home.parent().unwrap().join("log")
    }

    /// All that the server said.
    pub(crate) fn log(&self) -> String {
        text(&std::fs::read(self.log_path()).unwrap_or_default())
    }

    /// The process that was started (supervisor as root, worker otherwise).
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.server.as_ref().unwrap().id()).unwrap()
    }

    /// All processes of this server.
    pub(crate) fn family(&self) -> Vec<i32> {
        let mut all = vec![self.pid()];
        let mut index = 0;
        while let Some(pid) = all.get(index) {
            let children = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            let lists: Vec<String> = children.filter_map(|t| std::fs::read_to_string(t.path().join("children")).ok()).collect();
            all.extend(lists.iter().flat_map(|l| l.split_whitespace()).filter_map(|p| p.parse::<i32>().ok()));
            index += 1;
        }
        all
    }

    /// Sends a signal to the started process.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }

    /// SIGKILL to every process at once.
    pub(crate) fn kill(&mut self) {
        let family = self.family();
        for pid in &family {
            if let Some(pid) = rustix::process::Pid::from_raw(*pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        if let Some(mut child) = self.server.take() {
            let _ = child.wait();
        }
        for pid in family {
            // A dead leader whose threads still end holds its sockets.
            wait_for("killed processes to go", || {
                let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                threads == 0 || (threads == 1 && stat.rsplit(") ").next().is_some_and(|s| s.starts_with('Z')))
            });
        }
    }

    /// SIGTERM and a clean end; returns the exit code.
    pub(crate) fn stop(&mut self) -> i32 {
        self.signal(rustix::process::Signal::TERM);
        let mut child = self.server.take().unwrap();
        let mut code = None;
        wait_for("a clean stop", || {
            code = child.try_wait().unwrap();
            code.is_some()
        });
        code.and_then(|c| c.code()).unwrap_or(-1)
    }

    /// Runs a subcommand on this home and returns its output.
    pub(crate) fn cli(&self, words: &[&str]) -> String {
        text(&run(postino().args(words).arg("--home").arg(&self.home)).stdout)
    }

    /// The Maildir of a user of example.test.
    pub(crate) fn maildir(&self, user: &str) -> PathBuf {
        self.home.join("domains/example.test").join(user).join("Maildir")
    }

    /// Files in `new/` and `cur/` of a user's Maildir.
    pub(crate) fn messages(&self, user: &str) -> Vec<PathBuf> {
        maildir_files(&self.maildir(user))
    }

    /// Waits until a user has `count` messages.
    pub(crate) fn wait_messages(&self, user: &str, count: usize) -> Vec<PathBuf> {
        let start = Instant::now();
        loop {
            let files = self.messages(user);
            if files.len() >= count {
                return files;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{user} has {} of {count} messages; log:\n{}\nqueue:\n{}",
                files.len(),
                self.log(),
                self.cli(&["queue", "list"])
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until nothing waits in the queue.
    pub(crate) fn wait_empty(&self) {
        wait_for("an empty queue", || postino().args(["queue", "stat", "--empty", "--home"]).arg(&self.home).status().unwrap().success());
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if self.server.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("--- server log\n{}", self.log());
        }
    }
}

/// Files in `new/` and `cur/`.
pub(crate) fn maildir_files(maildir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        ["new", "cur"].iter().flat_map(|d| std::fs::read_dir(maildir.join(d)).into_iter().flatten().flatten().map(|e| e.path())).collect();
    files.sort();
    files
}
