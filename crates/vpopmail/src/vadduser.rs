//! vadduser [options] USER@DOMAIN [PASSWORD]: adds an account. Run by an administrator. The password is asked for twice when it is not given.

use crate::World;
use crate::complaint::{Complaint, ended, need_rights, number, say};
use crate::options::Options;
use crate::world::VERSION;
use crate::{accounts, address, onchange, prompt, random_password};
use postino_directory::admin::{NewSecret, NewUser};
use postino_types::account::Quota;
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
    let secret = match (&wanted.random, wanted.hash, options.word(1)) {
        (Some(random), _, _) => NewSecret::Password(random.clone().into_bytes()),
        (None, Some(hash), _) if hash.is_empty() => NewSecret::None,
        (None, Some(hash), _) => NewSecret::Hash(hash),
        (None, None, Some(password)) if !password.is_empty() => NewSecret::Password(password.as_bytes().to_vec()),
        _ => NewSecret::Password(prompt::new_password(whose)?.into_bytes()),
    };
    address::new_user(&address.user)?;
    if let NewSecret::Password(password) = &secret {
        accounts::secrets_fit(&String::from_utf8_lossy(password))?;
    }
    let mut user = NewUser::new(&address.user, b"");
    user.secret = secret;
    user.quota = wanted.quota.map(|quota| quota.to_string());
    user.comment = wanted.gecos.as_ref().map(|gecos| String::from_utf8_lossy(gecos).into_owned());
    let _ = world.admin()?.add_users(&domain.name, &[user])?;
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
