//! vuserinfo [options] USER@DOMAIN, or -D DOMAIN: shows accounts. Run by an administrator; changes nothing but a `maildirsize` that is too old to be believed.

use crate::World;
use crate::address::{self, Address};
use crate::complaint::{Complaint, ended, need_rights, say};
use crate::domains::{self, Domain};
use crate::local_time;
use crate::options::Options;
use crate::rights::Rights;
use crate::world::VERSION;
use postino_ports::accounts::{Keepers, LastLogin};
use postino_types::account::{self, DomainLimits, Quota, Record};
use std::ffi::OsString;
use std::path::Path;
use std::time::SystemTime;

const USAGE: &str = "vuserinfo: usage: [options] email_address
options: -v (print version number)
         -a (display all fields, this is the default)
         -n (display name field)
         -p (display crypted password)
         -u (display uid field)
         -g (display gid field)
         -c (display comment field)
         -d (display directory)
         -q (display quota field)
         -Q (display quota usage)
         -C (display clear text password)
         -l (display last authentication time)
         -D domainname (show all users on this domain)
";
/// Address of an account that never logged in.
const NOWHERE: &str = "0.0.0.0";
/// Accounts that are read at once.
const PAGE: usize = 1000;

/// Flags in the order in which they are told.
const FLAGS: [(u32, &str); 19] = [
    (account::FLAG_NO_PASSWORD_CHANGE, "password can not be changed by user"),
    (account::FLAG_NO_POP, "pop access closed"),
    (account::FLAG_NO_WEBMAIL, "webmail access closed"),
    (account::FLAG_NO_IMAP, "imap access closed"),
    (account::FLAG_NO_SMTP, "smtp access is closed"),
    (account::FLAG_NO_RELAY, "user not allowed to relay mail"),
    (account::FLAG_NO_SPAM_CHECK, "spamassassin processing disabled"),
    (account::FLAG_DELETE_SPAM, "delete spam"),
    (account::FLAG_NO_MAILDROP, "maildrop processing disabled"),
    (account::FLAG_NO_DIALUP, "no dialup flag has been set"),
    (account::FLAG_BOUNCE_MAIL, "mail will be bounced back to sender"),
    (account::FLAG_DOMAIN_ADMIN, "has qmailadmin administrator access"),
    (account::FLAG_SYSTEM_ADMIN, "has system administrator access"),
    (account::FLAG_EXPERT, "has expert access"),
    (account::FLAG_USER0, "user flag 0 is set"),
    (account::FLAG_USER0 << 1, "user flag 1 is set"),
    (account::FLAG_USER0 << 2, "user flag 2 is set"),
    (account::FLAG_USER0 << 3, "user flag 3 is set"),
    (account::FLAG_OVERRIDE, "user is not subject to domain limits"),
];

/// The program.
pub(crate) fn run(world: &World, args: &[OsString]) -> i32 {
    ended(work(world, &Options::read(world, args, "anpugcdqQClvD:")))
}

fn work(world: &World, options: &Options) -> Result<i32, Complaint> {
    let mut fields = Vec::new();
    let mut whole_domain = None;
    for (letter, value) in &options.letters {
        match letter {
            'v' => say(VERSION),
            'D' => whole_domain = value.clone(),
            'a' => fields.clear(),
            '?' => return Err(Complaint::words(255, USAGE)),
            field => fields.push(*field),
        }
    }
    let whose = options.word(0);
    if whose.is_none() && whole_domain.is_none() {
        return Err(Complaint::words(255, USAGE));
    }
    need_rights(world)?;
    let keepers = world.keepers().map_err(Complaint::error)?;
    match (whole_domain, whose) {
        (None, Some(whose)) => one(world, &keepers, &address::parse(world, whose)?, &fields),
        (whole, _) => all(world, &keepers, &whole.unwrap_or_default(), &fields),
    }
}

fn one(world: &World, keepers: &Keepers, whose: &Address, fields: &[char]) -> Result<i32, Complaint> {
    let nobody = || Complaint::words(255, format!("no such user {whose}\n"));
    let domain = domains::find(&world.config, &whose.domain).map_err(Complaint::error)?.ok_or_else(nobody)?;
    let record = keepers.accounts.find(&domain.name, &whose.user)?.ok_or_else(nobody)?;
    Shown::of(keepers, &domain, fields)?.tell(&[record])?;
    Ok(0)
}

fn all(world: &World, keepers: &Keepers, domain: &str, fields: &[char]) -> Result<i32, Complaint> {
    let Some(domain) = domains::find(&world.config, &domain.to_ascii_lowercase()).map_err(Complaint::error)? else { return Ok(0) };
    let shown = Shown::of(keepers, &domain, fields)?;
    let mut after: Option<String> = None;
    loop {
        let page = keepers.accounts.page(&domain.name, after.as_deref(), PAGE)?;
        shown.tell(&page)?;
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.name.clone()),
            _ => return Ok(0),
        }
    }
}

/// How accounts of one domain are shown.
struct Shown<'a> {
    keepers: &'a Keepers,
    domain: &'a Domain,
    /// Empty: all fields, with their names.
    fields: &'a [char],
    limits: DomainLimits,
}

impl<'a> Shown<'a> {
    fn of(keepers: &'a Keepers, domain: &'a Domain, fields: &'a [char]) -> Result<Self, Complaint> {
        let limits = keepers.domains.limits(&domain.name)?.unwrap_or_default();
        Ok(Self { keepers, domain, fields, limits })
    }

    fn tell(&self, records: &[Record]) -> Result<(), Complaint> {
        let wants_logins = self.fields.is_empty() || self.fields.contains(&'l');
        let mut logins = Vec::with_capacity(records.len());
        for record in records {
            logins.push(if wants_logins { self.keepers.logins.last(&self.domain.name, &record.name)? } else { None });
        }
        let times: Vec<i64> = logins.iter().map(|login| login.as_ref().map_or(0, |login| login.at)).collect();
        let times = if wants_logins { local_time::texts(&times) } else { vec![String::new(); records.len()] };
        for ((record, login), time) in records.iter().zip(&logins).zip(&times) {
            let last = last_login(login.as_ref(), time);
            say(&if self.fields.is_empty() { self.full(record, &last) } else { self.chosen(record, &last) });
        }
        Ok(())
    }

    fn full(&self, record: &Record, last: &str) -> String {
        let gecos = String::from_utf8_lossy(&record.gecos);
        let flags = record.effective_flags(&self.limits);
        let mut out = format!("name:   {}\npasswd: {}\n", record.name, record.password);
        out += &format!("clear passwd: {}\ncomment/gecos: {gecos}\n", record.clear.as_deref().unwrap_or_default());
        out += &format!("uid:    {}\ngid:    {}\nflags:  {flags}\ngecos: {gecos}\n", record.kind, record.flags);
        out += &limits(record.flags, flags);
        out += &format!("dir:       {}\nquota:     {}\nusage:     {}\n", record.directory, record.quota_or_none(), self.usage(record));
        out + last
    }

    /// Bare values, in this order whatever the order of the options.
    fn chosen(&self, record: &Record, last: &str) -> String {
        let mut out = String::new();
        for field in ['n', 'p', 'C', 'u', 'g', 'c', 'd', 'q', 'Q'].iter().filter(|field| self.fields.contains(field)) {
            out += &match field {
                'n' => record.name.clone(),
                'p' => record.password.clone(),
                'C' => record.clear.clone().unwrap_or_default(),
                'u' => record.kind.to_string(),
                'g' => record.flags.to_string(),
                'c' => String::from_utf8_lossy(&record.gecos).into_owned(),
                'd' => record.directory.clone(),
                'q' => record.quota_or_none().to_owned(),
                _ => self.usage(record),
            };
            out.push('\n');
        }
        if self.fields.contains(&'l') { out + last } else { out }
    }

    /// `NOQUOTA`, or how full the mailbox is.
    fn usage(&self, record: &Record) -> String {
        let quota = Quota::parse(record.quota_or_none());
        if quota.is_none() {
            return record.quota_or_none().to_owned();
        }
        let maildir = Path::new(&record.directory).join("Maildir");
        let counted = Rights::of(self.domain.uid, self.domain.gid)
            .and_then(|_owner| postino_disk::maildir_quota::usage(&maildir, quota, SystemTime::now()));
        counted.map_or_else(|_| "0%".to_owned(), |usage| format!("{}%", quota.per_cent(usage)))
    }
}

/// `own`: those of the account; the others are the domain's.
fn limits(own: u32, all: u32) -> String {
    if all == 0 {
        return "limits: No user limits set.\n".to_owned();
    }
    let mut out = "limits:\n".to_owned();
    for (flag, text) in FLAGS.iter().filter(|(flag, _)| all & flag != 0) {
        let mark = if own & flag == 0 { " (*)" } else { "" };
        out += &format!("        {text}{mark}\n");
    }
    if own != all {
        out += "        * = set by domain-wide limits\n";
    }
    out
}

fn last_login(login: Option<&LastLogin>, time: &str) -> String {
    match login {
        None => "last auth: Never logged in\n".to_owned(),
        Some(login) if login.address == NOWHERE || login.address.is_empty() => {
            format!("account created: {time}\nlast auth: Never logged in\n")
        }
        Some(login) => format!("last auth: {time}\nlast auth ip: {}\n", login.address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_logins_in_words() {
        assert_eq!(limits(0, 0), "limits: No user limits set.\n");
        let own = account::FLAG_NO_POP;
        let told = limits(own, own | account::FLAG_NO_SMTP);
        assert_eq!(told, "limits:\n        pop access closed\n        smtp access is closed (*)\n        * = set by domain-wide limits\n");
        let login = |address: &str| LastLogin { address: address.to_owned(), at: 0 };
        assert_eq!(last_login(Some(&login("0.0.0.0")), "T"), "account created: T\nlast auth: Never logged in\n");
        assert_eq!(last_login(Some(&login("192.0.2.1")), "T"), "last auth: T\nlast auth ip: 192.0.2.1\n");
    }
}
