//! Roaming users: addresses that may send mail to other hosts because somebody has logged in from there. Filled by POP3 and IMAP, asked by SMTP.

use crate::directory::Mailbox;
use std::net::IpAddr;

/// The addresses that are open now.
pub trait Roaming: Send + Sync {
    /// A login by POP3 or IMAP has succeeded. Returns at once; what must be written is written behind it. Whether it opens anything is decided here.
    fn logged_in(&self, client: IpAddr, mailbox: &Mailbox);
    /// May this very address relay now? Answered from memory.
    fn is_open(&self, client: IpAddr) -> bool;
}
