//! The quota gate of the running server: quotas of accounts, kept in `maildirsize`. Made by the server; blocking. A mailbox without a quota costs
//! nothing here.

use super::{Admitted, QuotaGate, Size};
use crate::mailbox_quota::{self, Limited, admit, domain_directory};
use postino_control::Live;
use postino_disk::maildir_quota::known_usage;
use postino_ports::directory::{Mailbox, MailboxRoom};
use postino_ports::disk::Disk;
use postino_types::account::{Quota, Usage};
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

/// Quotas of accounts.
pub struct MailboxQuotas {
    disk: Arc<dyn Disk>,
    config: Live,
}

impl MailboxQuotas {
    /// For the installation of `config`.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, config: Live) -> Self {
        Self { disk, config }
    }
}

impl QuotaGate for MailboxQuotas {
    fn admit(&self, mailbox: &Mailbox, size: Size) -> io::Result<Admitted> {
        let quota = Quota::parse(&mailbox.quota);
        if quota.is_none() {
            return Ok(Admitted::Free);
        }
        let domain = domain_directory(&mailbox.home, &mailbox.address);
        let domains = self.config.get().vpopmail_home.join("domains");
        let limited = Limited { address: &mailbox.address, maildir: &mailbox.maildir, quota, domain: &domain, domains: &domains };
        Ok(match admit(&*self.disk, &limited, size.message_bytes, size.file_bytes, crate::now())? {
            mailbox_quota::Admitted::Room(room) => Admitted::Room(room),
            mailbox_quota::Admitted::Full(text) => Admitted::Full(printable(&text)),
        })
    }
}

impl MailboxRoom for MailboxQuotas {
    fn is_full(&self, mailbox: &Mailbox, bytes: u64) -> bool {
        let quota = Quota::parse(&mailbox.quota);
        // One read of a small file, no counting: what is not known now the delivery will tell.
        let known = || known_usage(&mailbox.maildir, quota, SystemTime::now()).ok().flatten();
        !quota.is_none() && known().is_some_and(|usage| quota.is_exceeded_by(usage.plus(Usage::message(bytes.max(1)))))
    }
}

/// A domain's text for a bounce: control bytes but LF are taken out.
fn printable(text: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(text).chars().filter(|&c| c == '\n' || !c.is_control()).collect();
    text.trim_end().to_owned()
}
