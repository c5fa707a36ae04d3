//! vmoduser [options] USER@DOMAIN|DOMAIN: changes fields and flags of one account or of all accounts of a domain. Run by an administrator.

use crate::World;
use crate::accounts::{self, set_size_file};
use crate::address;
use crate::complaint::{Complaint, ended, need_rights, say};
use crate::domains::{self, Domain};
use crate::options::Options;
use crate::world::VERSION;
use postino_types::account::{self, Quota, Record};
use std::ffi::OsString;

const USAGE: &str = "vmoduser: usage: [options] email_addr or domain (for each user in domain)
options: -v ( display the vpopmail version number )
         -n ( don't rebuild the vpasswd.cdb file )
         -q quota ( set quota )
         -c comment (set the comment/gecos field )
         -e encrypted_passwd (set the password field )
         -C clear_text_passwd (set the password field )
the following options are bit flags in the gid int field
         -x ( clear all flags )
         -d ( don't allow user to change password )
         -p ( disable POP access )
         -s ( disable SMTP AUTH access )
         -w ( disable webmail [IMAP from localhost*] access )
            ( * full list of webmail server IPs in vchkpw.c )
         -i ( disable non-webmail IMAP access )
         -b ( bounce all mail )
         -o ( user is not subject to domain limits )
         -r ( disable roaming user/pop-before-smtp )
         -a ( grant qmailadmin administrator privileges )
         -S ( grant system administrator privileges - access all domains )
         -E ( grant expert privileges - edit .qmail files )
         -f ( disable spamassassin)
         -F ( delete spam)
         -m ( disable maildrop)
  [The following flags aren't used directly by vpopmail but are]
  [included for other programs that share the user database.]
         -u ( set no dialup flag )
         -0 ( set V_USER0 flag )
         -1 ( set V_USER1 flag )
         -2 ( set V_USER2 flag )
         -3 ( set V_USER3 flag )
";

const FLAGS: [(char, u32); 19] = [
    ('d', account::FLAG_NO_PASSWORD_CHANGE),
    ('p', account::FLAG_NO_POP),
    ('s', account::FLAG_NO_SMTP),
    ('w', account::FLAG_NO_WEBMAIL),
    ('i', account::FLAG_NO_IMAP),
    ('b', account::FLAG_BOUNCE_MAIL),
    ('o', account::FLAG_OVERRIDE),
    ('r', account::FLAG_NO_RELAY),
    ('u', account::FLAG_NO_DIALUP),
    ('0', account::FLAG_USER0),
    ('1', account::FLAG_USER0 << 1),
    ('2', account::FLAG_USER0 << 2),
    ('3', account::FLAG_USER0 << 3),
    ('a', account::FLAG_DOMAIN_ADMIN),
    ('S', account::FLAG_SYSTEM_ADMIN),
    ('E', account::FLAG_EXPERT),
    ('f', account::FLAG_NO_SPAM_CHECK),
    ('F', account::FLAG_DELETE_SPAM),
    ('m', account::FLAG_NO_MAILDROP),
];

/// What is to be changed.
#[derive(Default)]
struct Changes {
    gecos: Option<Vec<u8>>,
    directory: Option<String>,
    password: Option<String>,
    hash: Option<String>,
    quota: Option<Quota>,
    clear_flags: Option<()>,
    flags: u32,
}

/// The program.
pub(crate) fn run(world: &World, args: &[OsString]) -> i32 {
    ended(work(world, &Options::read(world, args, "D:avunxc:q:dpswibro0123he:C:fFSEm")))
}

fn work(world: &World, options: &Options) -> Result<i32, Complaint> {
    let changes = changes(options)?;
    let whose = options.word(0).ok_or_else(|| Complaint::words(255, USAGE))?;
    need_rights(world)?;
    if !whose.contains(['@', '%']) {
        let domain = accounts::domain(world, &whose.to_ascii_lowercase())?;
        accounts::each(world, &domain, |record| apply(world, &domain, record, &changes))?;
        return Ok(0);
    }
    let address = address::parse(world, whose)?;
    let nobody = || Complaint::words(255, format!("no such user {address}\n"));
    let domain = domains::find(&world.config, &address.domain).map_err(Complaint::error)?.ok_or_else(nobody)?;
    let record = accounts::record(world, &domain, &address.user)?.ok_or_else(nobody)?;
    apply(world, &domain, &record, &changes)?;
    Ok(0)
}

fn changes(options: &Options) -> Result<Changes, Complaint> {
    let mut changes = Changes::default();
    for (letter, value) in &options.letters {
        let value = value.as_deref().unwrap_or_default();
        match letter {
            'v' => say(VERSION),
            'h' => return Err(Complaint::words(0, USAGE)),
            'x' => changes.clear_flags = Some(()),
            'c' => changes.gecos = Some(accounts::gecos(value)?),
            'q' => changes.quota = Some(Quota::parse(value)),
            'e' => changes.hash = Some(accounts::ready_hash(value)?),
            'C' => changes.password = Some(value.to_owned()),
            'D' => changes.directory = Some(value.to_owned()),
            letter => changes.flags |= FLAGS.iter().find(|(known, _)| known == letter).map_or(0, |(_, flag)| *flag),
        }
    }
    Ok(changes)
}

fn apply(world: &World, domain: &Domain, record: &Record, changes: &Changes) -> Result<(), Complaint> {
    let secrets = changes.password.as_deref().map(|password| accounts::secrets(world, password)).transpose()?;
    if let Some(directory) = &changes.directory
        && (!directory.starts_with('/') || directory.contains(':') || directory.bytes().any(|b| b.is_ascii_control()))
    {
        return Err(Complaint::error("a directory is an absolute path without colons"));
    }
    accounts::edit(world, domain, &record.name, |record| {
        if let Some(gecos) = &changes.gecos {
            record.gecos.clone_from(gecos);
        }
        if let Some(directory) = &changes.directory {
            record.directory.clone_from(directory);
        }
        if let Some((hash, clear)) = secrets {
            (record.password, record.clear) = (hash, clear);
        } else if let Some(hash) = &changes.hash {
            record.password.clone_from(hash);
        }
        if changes.clear_flags.is_some() {
            record.flags = 0;
        }
        record.flags |= changes.flags;
        if let Some(quota) = changes.quota {
            record.quota = quota.to_string();
        }
    })?;
    changes.quota.map_or(Ok(()), |quota| set_size_file(domain, record, quota))
}
