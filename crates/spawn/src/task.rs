//! One delivery in the spawner: first the lookup child (as nobody), then the delivery child (as the user). Owns the processes and their pipes.
//! Called by `serve` when something is readable or late; never waits itself.

use crate::settings::{ChildLimits, Ids, PrivilegeGain, Settings};
use crate::user::{self, Refusal, User};
use postino_types::spawn_frame::{Forward, Kind, REPORT_BYTES_MAX, Report, Request, TEXT_BYTES_MAX, decode_forwards};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// As much of a queue program's complaints is passed on, bytes.
const COMPLAINT_BYTES_MAX: usize = 1000;
/// Longest answer of the lookup child, bytes.
const ANSWER_BYTES_MAX: usize = 8192;
/// Longest lookup.
const LOOKUP: Duration = Duration::from_secs(60);
/// Longest conversation of qmail-remote, which has time limits of its own.
const REMOTE: Duration = Duration::from_secs(86_400);
/// What a program on the way into the queue may be told of the client.
const TOLD: [&str; 6] = ["POSTINO_LETTER", "TCPREMOTEIP", "TCPREMOTEHOST", "TCPREMOTEINFO", "RELAYCLIENT", "SMTPHELO"];
/// The uid reported when no child ran.
const NO_UID: u32 = u32::MAX;

/// What a task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Who is it?
    Lookup,
    /// The delivery itself.
    Delivery {
        /// The user's uid.
        uid: u32,
    },
    /// `qmail-remote`.
    Remote,
    /// A password or token.
    Secret,
    /// A program on the way into the queue.
    Queue,
}

/// How far a task has come.
pub(crate) enum Progress {
    /// Still running.
    Running,
    /// This is the end.
    Ended(Report),
}

/// One request being served.
pub(crate) struct Task {
    request: Request,
    message: OwnedFd,
    stage: Stage,
    process: Process,
    deadline: Instant,
    late: bool,
}

impl Task {
    /// Starts on a request. `Err` is a report without any child.
    pub(crate) fn start(request: Request, message: OwnedFd, settings: &Settings) -> Result<Self, (u64, Report)> {
        let id = request.id;
        Self::begin(request, message, settings).map_err(|refusal| (id, report(refusal)))
    }

    fn begin(request: Request, message: OwnedFd, settings: &Settings) -> Result<Self, Refusal> {
        let stat = rustix::fs::fstat(&message).map_err(|_| user::SYSTEM)?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
            return Err(user::SYSTEM);
        }
        // Whoever wrote it left the offset at its end, and qmail-remote reads from where it is.
        rustix::fs::seek(&message, rustix::fs::SeekFrom::Start(0)).map_err(|_| user::SYSTEM)?;
        if request.kind == Kind::Remote {
            let process = remote(&request, &message, settings)?;
            return Ok(Self { request, message, stage: Stage::Remote, process, deadline: Instant::now() + REMOTE, late: false });
        }
        if request.kind == Kind::Secret {
            let process = secret(&request.local, settings)?;
            return Ok(Self { request, message, stage: Stage::Secret, process, deadline: Instant::now() + LOOKUP, late: false });
        }
        if request.kind == Kind::Queue {
            let process = into_queue(&request, &message, settings)?;
            let deadline = Instant::now() + settings.queue.timeout;
            return Ok(Self { request, message, stage: Stage::Queue, process, deadline, late: false });
        }
        if let Some(user) = assigned(settings, &request.local)? {
            let process = deliver(&request, &message, &user, settings)?;
            let stage = Stage::Delivery { uid: user.uid };
            return Ok(Self { request, message, stage, process, deadline: Instant::now() + settings.timeout, late: false });
        }
        let process = look_up(&request.local, settings)?;
        Ok(Self { request, message, stage: Stage::Lookup, process, deadline: Instant::now() + LOOKUP, late: false })
    }

    /// The request's id.
    pub(crate) fn id(&self) -> u64 {
        self.request.id
    }

    /// When it becomes late.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What to poll.
    pub(crate) fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.process.fds().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
    }

    /// Reads what is there; goes on to the next stage when the child has ended.
    pub(crate) fn advance(&mut self, settings: &Settings) -> Progress {
        self.process.read();
        if !self.process.try_reap() {
            let now = Instant::now();
            if now >= self.deadline {
                self.late = true;
                self.deadline = now + Duration::from_secs(1); // looked at again should the kernel hold it
                self.process.kill();
            }
            return Progress::Running;
        }
        self.process.read(); // what was written before the exit
        match self.stage {
            Stage::Delivery { uid } => Progress::Ended(self.finish(uid)),
            Stage::Remote => Progress::Ended(self.finish_remote()),
            Stage::Queue => Progress::Ended(self.finish_queue()),
            Stage::Secret => Progress::Ended(self.finish_secret()),
            Stage::Lookup => match self.after_lookup(settings) {
                Ok(()) => Progress::Running,
                Err(refusal) => Progress::Ended(report(refusal)),
            },
        }
    }

    /// Stops the child and everything in its process group.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    fn after_lookup(&mut self, settings: &Settings) -> Result<(), Refusal> {
        let found = match (self.late, self.process.status) {
            (false, Some(status)) if status.code() == Some(0) => Some(user::parse(&self.process.text).ok_or(user::GETPW)?),
            (false, Some(status)) if status.code() == Some(NO_ALIAS_EXIT) => None,
            _ => return Err(user::GETPW),
        };
        let user = match found {
            Some(user) => user,
            None => user::from_owner(&settings.home, &self.request.local).ok_or(user::NO_ALIAS)?,
        };
        self.process = deliver(&self.request, &self.message, &user, settings)?;
        self.stage = Stage::Delivery { uid: user.uid };
        self.deadline = Instant::now() + settings.timeout;
        Ok(())
    }

    /// qmail-remote's records, NULs and all; the worker reads them.
    fn finish_remote(&mut self) -> Report {
        let text = std::mem::take(&mut self.process.text);
        match (self.late, self.process.status.and_then(|status| status.code())) {
            (true, _) => report_as(user::TIMEOUT, NO_UID),
            (false, Some(exit)) => Report { exit, uid: NO_UID, text, forwards: Vec::new() },
            (false, None) => report_as(user::REMOTE_CRASHED, NO_UID),
        }
    }

    /// The secret, or why there is none.
    fn finish_secret(&mut self) -> Report {
        let text = std::mem::take(&mut self.process.text);
        match (self.late, self.process.status.and_then(|status| status.code())) {
            (true, _) => report_as(user::TIMEOUT, NO_UID),
            (false, Some(exit)) => Report { exit, uid: NO_UID, text, forwards: Vec::new() },
            (false, None) => report_as(user::CRASHED, NO_UID),
        }
    }

    /// What the child says of the program; then, after a line's end, what the program said on its standard error.
    fn finish_queue(&mut self) -> Report {
        match (self.late, self.process.status.and_then(|status| status.code())) {
            (true, _) => report_as(user::QUEUE_TIMEOUT, NO_UID),
            (false, Some(exit)) => {
                let mut text = std::mem::take(&mut self.process.text);
                text.push(b'\n');
                text.extend(self.process.control.iter().take(COMPLAINT_BYTES_MAX).filter(|&&b| b != 0));
                Report { exit, uid: NO_UID, text, forwards: Vec::new() }
            }
            (false, None) => report_as(user::QUEUE_CRASHED, NO_UID),
        }
    }

    fn finish(&mut self, uid: u32) -> Report {
        let mut text = std::mem::take(&mut self.process.text);
        if let Some(nul) = text.iter().position(|&b| b == 0) {
            text.truncate(nul);
        }
        let exit = self.process.status.and_then(|status| status.code());
        let forwards: Result<Vec<Forward>, _> = decode_forwards(&self.process.control);
        match (self.late, exit, forwards) {
            (true, _, _) => report_as(user::TIMEOUT, uid),
            // The child reports its own trouble on stdout; what is not a list of forwards is a panic's last words.
            (false, Some(exit), Ok(forwards)) => Report { exit, uid, text, forwards },
            _ => report_as(user::CRASHED, uid),
        }
    }
}

/// Exit code of `qmail-getpw` when there is neither a user nor an alias account.
const NO_ALIAS_EXIT: i32 = 116;

fn report(refusal: Refusal) -> Report {
    report_as(refusal, NO_UID)
}

fn report_as(refusal: Refusal, uid: u32) -> Report {
    Report { exit: refusal.exit, uid, text: refusal.text.as_bytes().to_vec(), forwards: Vec::new() }
}

/// The user by `users/cdb`; `None` when the file is missing or does not know the name.
fn assigned(settings: &Settings, local: &[u8]) -> Result<Option<User>, Refusal> {
    let file = match std::fs::File::open(settings.home.join("users/cdb")) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|_| user::CDB)?,
    };
    let stat = rustix::fs::fstat(&file).map_err(|_| user::CDB)?;
    // Who may write this file may name any uid: as root, believe only root's.
    if rustix::process::geteuid().is_root() && (stat.st_uid != 0 || stat.st_mode & 0o022 != 0) {
        return Err(user::CDB);
    }
    let cdb = postino_control::cdb::Cdb::new(file).map_err(|_| user::CDB)?;
    let found = postino_control::assign::lookup(&cdb, local).map_err(|_| user::CDB)?;
    let home = |bytes: Vec<u8>| std::path::PathBuf::from(OsString::from_vec(bytes));
    Ok(found.map(|a| User { name: a.user, uid: a.uid, gid: a.gid, home: home(a.home), dash: a.dash, ext: a.ext }))
}

fn look_up(local: &[u8], settings: &Settings) -> Result<Process, Refusal> {
    let (program, words) = settings.getpw.split_first().ok_or(user::GETPW)?;
    let mut command = clean(program, words, settings);
    command.arg(OsStr::from_bytes(local)).stdin(Stdio::null());
    if rustix::process::geteuid().is_root() {
        command.uid(settings.getpw_ids.uid).gid(settings.getpw_ids.gid);
    }
    Process::start(command, ANSWER_BYTES_MAX).map_err(|_| user::GETPW)
}

/// Starts the delivery child as `user`.
fn deliver(request: &Request, message: &OwnedFd, user: &User, settings: &Settings) -> Result<Process, Refusal> {
    let own = rustix::process::geteuid().as_raw();
    user::check(user, own, settings)?;
    let (program, words) = settings.child.split_first().ok_or(user::RUN)?;
    let mut command = clean(program, words, settings);
    let dropped = u8::from(own == 0);
    command.arg(format!("{}:{}:{dropped}:{}", user.uid, user.gid, settings.limits.to_word()));
    command.arg(OsStr::from_bytes(&request.once));
    for word in [&user.name, &user.home.as_os_str().as_bytes().to_vec(), &request.local, &user.dash, &user.ext] {
        command.arg(OsStr::from_bytes(word));
    }
    for word in [&request.host, &request.sender, &request.default_delivery] {
        command.arg(OsStr::from_bytes(word));
    }
    command.stdin(message.try_clone().map_err(|_| user::SYSTEM)?);
    if own == 0 {
        // In the new process, before exec: no supplementary groups (std drops them when a uid is set as root), then gid, then uid, each of
        // real, effective and saved. The other way round the process could no longer change its groups. The child verifies all of it.
        command.uid(user.uid).gid(user.gid);
    }
    Process::start(command, TEXT_BYTES_MAX).map_err(|_| user::RUN)
}

/// Starts the child that finds a secret. It keeps our rights, since the file may be root's alone; whose program it runs it gives the server's account.
fn secret(account: &[u8], settings: &Settings) -> Result<Process, Refusal> {
    let (program, words) = settings.secret.split_first().ok_or(user::RUN)?;
    let mut command = clean(program, words, settings);
    command.arg("--home").arg(&settings.home).arg("--").arg(OsStr::from_bytes(account)).stdin(Stdio::null()).process_group(0);
    Process::start(command, TEXT_BYTES_MAX).map_err(|_| user::RUN)
}

/// Starts `qmail-remote host sender recipient`.
fn remote(request: &Request, message: &OwnedFd, settings: &Settings) -> Result<Process, Refusal> {
    let remote = settings.remote.as_ref().ok_or(user::RUN_REMOTE)?;
    let mut command = clean(remote.program.as_os_str(), &[], settings);
    for word in [&request.host, &request.sender, &request.local] {
        command.arg(OsStr::from_bytes(word));
    }
    command.stdin(message.try_clone().map_err(|_| user::SYSTEM)?).current_dir(&settings.home).process_group(0);
    if rustix::process::geteuid().is_root() {
        command.uid(remote.ids.uid).gid(remote.ids.gid);
    }
    Process::start(command, TEXT_BYTES_MAX).map_err(|_| user::RUN_REMOTE)
}

/// Starts the child that runs a program on the way into the queue. The worker may choose among ours, no more.
fn into_queue(request: &Request, message: &OwnedFd, settings: &Settings) -> Result<Process, Refusal> {
    let named = std::path::Path::new(OsStr::from_bytes(&request.local));
    let queue = &settings.queue;
    let known = queue.programs.iter().any(|program| program == named) || queue.rules.name(named, &settings.home);
    if !known {
        return Err(user::RUN_QUEUE);
    }
    let (child, words) = queue.child.split_first().ok_or(user::RUN_QUEUE)?;
    let mut command = clean(child, words, settings);
    for line in request.default_delivery.split(|&b| b == b'\n') {
        let Some(at) = line.iter().position(|&b| b == b'=') else { continue };
        let (name, value) = (line.get(..at).unwrap_or_default(), line.get(at + 1..).unwrap_or_default());
        if let Some(name) = TOLD.iter().find(|told| told.as_bytes() == name) {
            command.env(name, OsStr::from_bytes(value));
        }
    }
    let own = rustix::process::geteuid();
    let ids = if own.is_root() { queue.ids } else { Ids { uid: own.as_raw(), gid: rustix::process::getegid().as_raw() } };
    let limits = ChildLimits { processes: 0, gain: PrivilegeGain::Allowed, ..settings.limits };
    command.arg(format!("{}:{}:{}:{}", ids.uid, ids.gid, u8::from(own.is_root()), limits.to_word()));
    command.arg(&settings.home).arg(named).stdin(message.try_clone().map_err(|_| user::SYSTEM)?);
    if own.is_root() {
        command.uid(ids.uid).gid(ids.gid);
    }
    Process::start(command, TEXT_BYTES_MAX).map_err(|_| user::RUN_QUEUE)
}

/// A command whose environment is built from nothing: what the spawner inherited from its starter is no user's business.
fn clean(program: &OsStr, words: &[OsString], settings: &Settings) -> Command {
    let mut path = settings.home.join("bin").into_os_string();
    path.push(":/usr/bin:/bin:/usr/sbin:/sbin");
    let mut command = Command::new(program);
    command.args(words).env_clear().env("PATH", path).current_dir("/");
    if settings.home != std::path::Path::new("/var/qmail") {
        command.env("POSTINO_HOME", &settings.home); // injectors called by a program find this home
    }
    command
}

/// A child with its two pipes.
struct Process {
    child: Child,
    pid: Pid,
    pidfd: OwnedFd,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    text: Vec<u8>,
    text_bytes_max: usize,
    control: Vec<u8>,
    status: Option<ExitStatus>,
}

impl Process {
    fn start(mut command: Command, text_bytes_max: usize) -> std::io::Result<Self> {
        let (stdout, stdout_child) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, stderr_child) = pipe_with(PipeFlags::CLOEXEC)?;
        for end in [&stdout, &stderr] {
            // Only our ends: the child's programs expect blocking pipes.
            rustix::io::ioctl_fionbio(end, true)?;
        }
        let mut child = command.stdout(stdout_child).stderr(stderr_child).spawn()?;
        let opened = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH);
        let opened = opened.and_then(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK).map(|fd| (pid, fd)));
        let (pid, pidfd) = match opened {
            Ok(pair) => pair,
            Err(e) => {
                let _ = child.kill(); // without a pidfd nobody would wake us at its end
                let _ = child.wait();
                return Err(e.into());
            }
        };
        let (text, control) = (Vec::new(), Vec::new());
        Ok(Self { child, pid, pidfd, stdout: Some(stdout), stderr: Some(stderr), text, text_bytes_max, control, status: None })
    }

    fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let exit = self.status.is_none().then(|| self.pidfd.as_fd());
        exit.into_iter().chain(self.stdout.as_ref().map(AsFd::as_fd)).chain(self.stderr.as_ref().map(AsFd::as_fd))
    }

    /// Takes what the pipes hold. Beyond the caps it is read and dropped, so that a talkative program ends all the same.
    fn read(&mut self) {
        drain(&mut self.stdout, &mut self.text, self.text_bytes_max);
        drain(&mut self.stderr, &mut self.control, REPORT_BYTES_MAX + 1);
    }

    fn try_reap(&mut self) -> bool {
        if self.status.is_none() {
            self.status = match self.child.try_wait() {
                Ok(status) => status,
                // Only when somebody else reaped it: nothing is known, so it crashed.
                Err(_) => Some(ExitStatus::from_raw(9)),
            };
        }
        self.status.is_some()
    }

    fn kill(&mut self) {
        if self.status.is_some() {
            return; // reaped: the number may belong to somebody else by now
        }
        // The child leads a session of its own as soon as it runs; before that there is only itself.
        let _ = kill_process_group(self.pid, Signal::KILL);
        let _ = kill_process(self.pid, Signal::KILL);
    }
}

/// At most so many bytes at one go, so that one chatterer does not hold up the loop.
const DRAIN_BYTES_MAX: usize = 1 << 20;

fn drain(pipe: &mut Option<OwnedFd>, into: &mut Vec<u8>, bytes_max: usize) {
    let mut buffer = [0u8; 16_384];
    let mut total = 0usize;
    while let Some(fd) = pipe.as_ref() {
        match rustix::io::read(fd, &mut buffer) {
            Ok(0) => *pipe = None,
            Ok(n) => {
                let room = bytes_max.saturating_sub(into.len()).min(n);
                into.extend_from_slice(buffer.get(..room).unwrap_or_default());
                total = total.saturating_add(n);
                if total > DRAIN_BYTES_MAX {
                    return;
                }
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return,
            Err(_) => *pipe = None,
        }
    }
}
