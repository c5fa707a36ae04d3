//! Mailboxes as readers see them. The server puts [`MaildirStore`] behind `ports::maildrop`; nothing here speaks a protocol, delivers a
//! message or knows the queue.
#![forbid(unsafe_code)]

pub mod maildir;

pub use maildir::MaildirStore;
