//! vadddomain [options] DOMAIN [PASSWORD]: adds a domain with its postmaster. Run by an administrator. The password is asked for twice when it is not given.

use crate::World;
use crate::complaint::{Complaint, ended, need_rights, notice, say};
use crate::options::Options;
use crate::world::VERSION;
use crate::{accounts, address, onchange, prompt, random_password, reload};
use nix::unistd::User;
use postino_directory::admin::{AbuseAlias, CatchAll, NewDomain, Owner};
use postino_types::account::Quota;
use std::ffi::OsString;
use std::path::PathBuf;

const USAGE: &str = "vadddomain: usage: vadddomain [options] virtual_domain [postmaster password]
options: -v prints the version
         -q quota_in_bytes (sets the quota for postmaster account)
         -b (bounces all mail that doesn't match a user, default)
         -e email_address (forwards all non matching user to this address [*])
         -u user (sets the uid/gid based on a user in /etc/passwd)
         -d dir (sets the dir to use for this domain)
         -i uid (sets the uid to use for this domain)
         -g gid (sets the gid to use for this domain)
         -O optimize adding, for bulk adds set this for all
            except the last one
         -r[len] (generate a len (default 8) char random postmaster password)

 [*] omit @-sign to deliver directly into user's Maildir: '-e postmaster'

Special bounce messages supported by vdeliver mail:
   vadddomain -b delete example.com [password]  -  delete all mail to non-existant accounts
   vadddomain -b bounce-no-mailbox example.com [password] - bounce them 
   vadddimain -b someone@somewhere.com example.com [password] - sent to another address
   vadddomain -b /path/to/Maildir example.com [password] - sent to a Maildir
";

/// How the domain is to be.
#[derive(Default)]
struct Wanted {
    quota: Option<Quota>,
    catch_all: Option<String>,
    directory: Option<PathBuf>,
    uid: Option<u32>,
    gid: Option<u32>,
    random: Option<String>,
    bulk: Option<()>,
}

/// The program.
pub(crate) fn run(world: &World, args: &[OsString]) -> i32 {
    ended(work(world, &Options::read(world, args, "q:be:u:vi:g:d:Or::")))
}

fn work(world: &World, options: &Options) -> Result<i32, Complaint> {
    let wanted = wanted(options)?;
    let Some(name) = options.word(0) else { return Err(Complaint::words(0, USAGE)) };
    let domain = address::domain_name(name)?;
    need_rights(world)?;
    let password = match (&wanted.random, options.word(1)) {
        (Some(random), _) => random.clone(),
        (None, Some(password)) if !password.is_empty() => password.to_owned(),
        (None, _) => prompt::new_password("postmaster")?,
    };
    accounts::secrets_fit(&password)?;
    make(world, &domain, &password, &wanted)?;
    onchange::tell(&world.config.vpopmail_home, "add_domain", &[&domain]);
    if wanted.bulk.is_none() {
        reload::ask(&world.config.home);
    }
    if let Some(random) = wanted.random {
        say(&format!("Random password: {random}\n"));
    }
    Ok(0)
}

fn wanted(options: &Options) -> Result<Wanted, Complaint> {
    let mut wanted = Wanted::default();
    for (letter, value) in &options.letters {
        let text = value.as_deref().unwrap_or_default();
        let number = || text.parse().map_err(|_| Complaint::error(format_args!("{text} is no number")));
        match letter {
            'v' => say(VERSION),
            'q' => wanted.quota = Some(Quota::parse(text)),
            'b' => wanted.catch_all = None,
            'e' => wanted.catch_all = Some(text.to_owned()),
            'd' => wanted.directory = Some(text.into()),
            'i' => wanted.uid = Some(number()?),
            'g' => wanted.gid = Some(number()?),
            'O' => wanted.bulk = Some(()),
            'r' => wanted.random = Some(random_password::asked(value.as_deref())?),
            'u' => {
                let user = User::from_name(text).ok().flatten().ok_or_else(|| Complaint::error(format_args!("user {text} not found")))?;
                wanted.directory.get_or_insert(user.dir);
                (wanted.uid, wanted.gid) = (Some(user.uid.as_raw()), Some(user.gid.as_raw()));
            }
            _ => {}
        }
    }
    Ok(wanted)
}

fn make(world: &World, domain: &str, password: &str, wanted: &Wanted) -> Result<(), Complaint> {
    let admin = world.admin()?;
    let usual = admin.settings().owner;
    let mut new = NewDomain::new(domain, password.as_bytes());
    new.abuse = AbuseAlias::LeaveOut;
    new.postmaster.comment = Some("Postmaster".to_owned());
    new.postmaster.quota = wanted.quota.map(|quota| quota.to_string());
    new.base = wanted.directory.as_ref().map(std::path::absolute).transpose().map_err(Complaint::error)?;
    new.owner = Some(Owner { uid: wanted.uid.unwrap_or(usual.uid), gid: wanted.gid.unwrap_or(usual.gid) });
    new.catch_all = match wanted.catch_all.as_deref() {
        None | Some("") => CatchAll::Bounce,
        Some(address) if address.contains('@') => CatchAll::Forward(address.to_owned()),
        Some(user) => CatchAll::Account(user.to_owned()),
    };
    notice(&admin.add_domain_as(&new)?);
    Ok(())
}
