//! Durable files and directories: the only crate that syncs or renames. Queue, mailboxes, control files and the programs that write as the user
//! call it. It never reads a clock, never knows what the bytes mean, and never syncs a file again after a failed sync.
#![forbid(unsafe_code)]

pub mod append;
pub mod copies;
pub mod dir;
pub mod file;
pub mod lock;
pub mod maildir_file;
pub mod maildir_quota;
pub mod real;
pub mod space;
pub mod syncer;

pub use append::AppendFile;
pub use copies::{Copies, CopyAttributes};
pub use dir::{create_dir_durable, spread_children, sync_dir};
pub use file::{Replacement, create_new, is_full, replace_file, replace_files};
pub use lock::{FileLock, LockError};
pub use maildir_file::{Delivered, MaildirFile, deliver};
pub use real::RealDisk;
pub use space::{Space, space};
pub use syncer::DirSyncer;

#[cfg(test)]
mod tests;
