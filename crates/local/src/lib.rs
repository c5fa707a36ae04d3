//! Local delivery: virtual mailboxes in process ([`mailbox`]), system users through the spawner ([`spawn_link`]), and qmail-local itself, run as
//! the user ([`qmail_local`]). Returns outcomes; never touches the queue, never speaks SMTP.
#![forbid(unsafe_code)]

pub mod drop_file;
pub mod error_text;
pub mod getpw;
mod host_name;
pub mod inject;
pub mod loop_check;
#[cfg(feature = "daemon")]
pub mod mailbox;
pub mod mailbox_quota;
pub mod qmail_local;
pub mod queue_child;
pub mod queue_program;
#[cfg(feature = "daemon")]
pub mod report;
#[cfg(feature = "daemon")]
pub mod spawn_link;

/// First word that makes a binary the spawner's delivery child.
pub const CHILD_WORD: &str = "qmail-local-child";
/// First word that makes a binary the spawner's passwd lookup.
pub const GETPW_WORD: &str = "qmail-getpw-child";
/// First word that makes a binary the spawner's child for a program on the way into the queue.
pub const QUEUE_WORD: &str = "qmail-queue-child";

/// Runs the spawner's children when the first word after the program's name asks for one; `None` for every other command line. Call it first
/// thing in `main`, before threads, and exit with the code.
#[must_use]
pub fn child_program() -> Option<i32> {
    use std::os::unix::ffi::OsStrExt;
    let args: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    let (word, rest) = args.split_first()?;
    match word.to_str()? {
        CHILD_WORD => Some(qmail_local::child::main(rest)),
        QUEUE_WORD => Some(queue_child::main(rest)),
        GETPW_WORD => Some(match rest {
            [local] => getpw::run(local.as_bytes(), &mut std::io::stdout().lock()),
            _ => postino_types::exit::HARD,
        }),
        _ => None,
    }
}

/// Wall time now: this crate (and whoever delivers with it) runs in short-lived processes of its own, where nobody hands a clock in.
pub fn now() -> postino_types::Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    postino_types::Time(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
