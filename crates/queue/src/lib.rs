//! The queue: every message enters by `begin` … `commit` and leaves by `settle`; Ok means on stable storage. SQLite for records and short bodies,
//! files for long ones, one writer thread that commits in groups. Called through `ports::queue`; knows no SMTP, no routing, no retry rules.
//!
//! # States of a message ([`STATES`])
//!
//! | state | body | record | recipients | a crash here means | who brings it on |
//! |---|---|---|---|---|---|
//! | S1 absent | - | - | - | nothing existed | client |
//! | S2 receiving | memory, or a growing file | - | - | the client got no 250 and sends again; orphan files go at the next start | session |
//! | S3 queued | whole, synced | committed | all pending | delivered after the start | send |
//! | S4 working | whole | committed | some done, some pending | attempts in flight may be repeated | send |
//! | S5 settled | whole until the commit | deleted in the commit that makes forwards and bounces | all final | S4 before the commit, S6 after it | writer |
//! | S6 forgotten | perhaps a file without a row | - | - | the file goes at the next start | nobody |
//!
//! # What must hold (checked before writing, after reading, by [`check()`] and by the crash tests)
//!
//! - **Q-BODY**: no record without its whole body. A body file and its name are synced before the row that refers to it is committed, and removed
//!   only after the commit that drops the last reference. Forwards share a file: each row names it.
//! - **Q-ONCE**: a recipient leaves Pending once; a final state never changes. A settlement whose changes all stand already makes nothing new.
//! - **Q-BOUNCE**: a bounce is made in the commit that records the failure (`Settlement::new`); whether one is due, `send` knows.
//! - **Q-TIME**: never due before it arrived, never expires before it arrived.
//! - **Q-ORDER**: ids grow and are never given twice, not after a crash and not after a failed commit (a start skips ids).
//!
//! # Order of a 250
//!
//! Long body: write, fdatasync(file), fsync(directory). Then, in one group with whatever else waits: rows into the log, fsync(log), answer.
//! A message of up to 64 KiB costs its share of one sync to accept and of one to settle.
//!
//! # When the disk fails
//!
//! - A failed sync of a body file: that message is refused (451) and the file abandoned.
//! - A failed write or sync of the log: the whole group is refused, and everything after it until the disk has taken the acknowledged part of the log
//!   anew into the database file (then the log begins afresh). No later success rests on bytes whose sync failed.
//! - A full disk: `begin` refuses below the reserve (452); settlements are recorded from the room that `queue/reserve` keeps.
//! - A damaged database: [`QueueStore::failed`]; the process should end and a person look.
#![forbid(unsafe_code)]

mod apply;
mod board;
mod body;
pub mod check;
pub mod codec;
mod database;
mod inbox;
mod janitor;
mod reserve;
mod shared;
mod states;
mod store;
mod timeline;
mod writer;

pub use check::{Repair, Report, check};
pub use states::{STATES, State};
pub use store::{OpenError, QueueOptions, QueueStore};
