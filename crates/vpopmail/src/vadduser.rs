//! vadduser [options] USER@DOMAIN [PASSWORD]: adds an account. Run by an administrator. The password is asked for twice when it is not given.

use crate::World;
use crate::complaint::{Complaint, ended, need_rights, number, say};
use crate::options::Options;
use crate::world::VERSION;
use crate::{accounts, address, onchange, prompt, random_password};
use postino_directory::admin::NewUser;
use postino_types::account::{DomainLimits, Quota};
use std::ffi::OsString;

const USAGE: &str = "vadduser: usage: [options] email_address [passwd]
options: -v (print the version)
         -q quota_in_bytes (sets the users quota, use NOQUOTA for unlimited)
         -c comment (sets the gecos comment field)
         -e standard_encrypted_password
         -n no_password
         -r[len] (generate a len (default 8) char random password)
";
const NOT_FULL: &str = "You did not use a full email address for the user name\nOnly full email addresses should be used\n";

/// How the account is to be.
#[derive(Default)]
struct Wanted {
    quota: Option<Quota>,
    gecos: Option<Vec<u8>>,
    hash: Option<String>,
    random: Option<String>,
}

/// The program.
pub(crate) fn run(world: &World, args: &[OsString]) -> i32 {
    ended(work(world, &Options::read(world, args, "svq:c:e:nr::")))
}

fn work(world: &World, options: &Options) -> Result<i32, Complaint> {
    let wanted = wanted(options)?;
    let whose = options.word(0).ok_or_else(|| Complaint::words(255, USAGE))?;
    if !whose.contains('@') {
        return Err(Complaint::words(255, NOT_FULL));
    }
    need_rights(world)?;
    let address = address::parse(world, whose)?;
    let domain = accounts::domain(world, &address.domain).map_err(Complaint::plain)?;
    if accounts::record(world, &domain, &address.user)?.is_some() {
        return Err(Complaint::numbered(number::USER_EXISTS).plain());
    }
    let password = match (&wanted.random, &wanted.hash, options.word(1)) {
        (Some(random), _, _) => random.clone(),
        // Never used: the hash that was given takes its place.
        (None, Some(_), _) => random_password::asked(None)?,
        (None, None, Some(password)) if !password.is_empty() => password.to_owned(),
        _ => prompt::new_password(whose)?,
    };
    address::new_user(&address.user)?;
    accounts::secrets_fit(&password)?;
    let limits = world.keepers().map_err(Complaint::error)?.domains.limits(&domain.name)?;
    let quota = wanted.quota.map_or_else(|| default_quota(world, limits.as_ref()), |quota| quota.to_string());
    let mut user = NewUser::new(&address.user, password.as_bytes());
    user.quota = Some(quota);
    user.comment = wanted.gecos.as_ref().map(|gecos| String::from_utf8_lossy(gecos).into_owned());
    let _ = world.admin()?.add_users(&domain.name, &[user])?;
    if let Some(hash) = wanted.hash {
        let clear = world.config.vpopmail.clear_passwords.then(String::new);
        let _ =
            world.admin()?.edit(&format!("{}@{}", address.user, domain.name), |record| (record.password, record.clear) = (hash, clear))?;
    }
    onchange::tell(&world.config.vpopmail_home, "add_user", &[&format!("{}@{}", address.user, domain.name)]);
    if let Some(random) = wanted.random {
        say(&format!("Random password: {random}\n"));
    }
    Ok(0)
}

fn wanted(options: &Options) -> Result<Wanted, Complaint> {
    let mut wanted = Wanted::default();
    for (letter, value) in &options.letters {
        let text = value.as_deref().unwrap_or_default();
        match letter {
            'v' => say(VERSION),
            'q' => wanted.quota = Some(Quota::parse(text)),
            'c' => wanted.gecos = Some(accounts::gecos(text)?),
            'e' => wanted.hash = Some(accounts::ready_hash(text)?),
            'n' => wanted.hash = Some(String::new()),
            'r' => wanted.random = Some(random_password::asked(value.as_deref())?),
            _ => {}
        }
    }
    Ok(wanted)
}

/// The domain's default for new accounts, else the site's.
pub(crate) fn default_quota(world: &World, limits: Option<&DomainLimits>) -> String {
    let of_domain = limits.map(|limits| Quota { bytes: limits.default_quota_bytes, messages: limits.default_messages_max });
    let quota = of_domain.filter(|quota| !quota.is_none()).unwrap_or_else(|| Quota::parse(&world.config.vpopmail.default_quota));
    quota.to_string()
}
