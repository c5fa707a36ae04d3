//! What the spawner is told at its start by the supervisor's configuration. The worker cannot change a word of it.

use crate::rules::RuledPrograms;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// A uid with its gid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Limits that the child puts on itself, after it has become the user and before it runs a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChildLimits {
    /// Address space of each process, bytes; 0 = no limit.
    pub memory_bytes: u64,
    /// Processes of the user; 0 = no limit.
    pub processes: u64,
    /// Largest file, bytes; 0 = no limit.
    pub file_bytes: u64,
    /// Whether a set-user-id program may still gain rights below the child.
    pub gain: PrivilegeGain,
}

/// Whether programs under the child may gain privileges by set-user-id files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PrivilegeGain {
    /// `no_new_privs` is set.
    #[default]
    Refused,
    /// Old set-user-id delivery agents work.
    Allowed,
}

/// How the engine under qmail's names delivers to other hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteProgram {
    /// `qmail-remote`, or what QMAILREMOTE names.
    pub program: PathBuf,
    /// Who runs it when we are root.
    pub ids: Ids,
}

/// Programs that messages go through on their way into the queue.
#[derive(Debug, Clone)]
pub struct QueuePrograms {
    /// Program and first words of the child that speaks with them; limits, home and the program follow.
    pub child: Vec<OsString>,
    /// All that may be run, as the worker names them; nothing else is, but what `rules` name.
    pub programs: Vec<PathBuf>,
    /// Rules by client address, which may set QMAILQUEUE; read when the worker names a program that is not in `programs`.
    pub rules: RuledPrograms,
    /// Who runs them when we are root.
    pub ids: Ids,
    /// Longest run.
    pub timeout: Duration,
    /// At once, beside the deliveries.
    pub concurrency: usize,
}

/// The spawner's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Postino's home: `users/cdb` and `alias/` lie there.
    pub home: PathBuf,
    /// Program and first words of the delivery child; limits and the words of `qmail-local` follow.
    pub child: Vec<OsString>,
    /// Program and first words of the passwd lookup; the local part follows. Speaks as `qmail-getpw(8)`.
    pub getpw: Vec<OsString>,
    /// Who runs the lookup (NSS modules are strangers' code); used when we are root.
    pub getpw_ids: Ids,
    /// Smallest uid that may receive mail; 0 counts as 1.
    pub minuid: u32,
    /// Deliveries at once.
    pub concurrency: usize,
    /// Longest delivery.
    pub timeout: Duration,
    /// The program for other hosts; `None` (always under `postino serve`): such requests are refused.
    pub remote: Option<RemoteProgram>,
    /// The programs on the way into the queue.
    pub queue: QueuePrograms,
    /// Program and first words of the child that finds the secret of a `[[fetch]]` account; the account's name follows.
    pub secret: Vec<OsString>,
    /// The child's own limits.
    pub limits: ChildLimits,
}

impl ChildLimits {
    /// One word for the child's command line: `memory:processes:file:gain`.
    #[must_use]
    pub fn to_word(self) -> String {
        let gain = u8::from(self.gain == PrivilegeGain::Allowed);
        format!("{}:{}:{}:{gain}", self.memory_bytes, self.processes, self.file_bytes)
    }
}
