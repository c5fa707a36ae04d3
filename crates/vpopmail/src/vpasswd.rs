//! vpasswd USER@DOMAIN [PASSWORD]: a new password for an account. Run by an administrator. Asked for twice when it is not given.

use crate::World;
use crate::complaint::{Complaint, ended, need_rights, number, say};
use crate::options::Options;
use crate::world::VERSION;
use crate::{accounts, address, domains, prompt, random_password};
use std::ffi::OsString;

const USAGE: &str = "vpasswd: usage: [options] email_address [password]
options: -v (print version number)
         -r generate a random password
";

/// The program.
pub(crate) fn run(world: &World, args: &[OsString]) -> i32 {
    ended(work(world, &Options::read(world, args, "vr")))
}

fn work(world: &World, options: &Options) -> Result<i32, Complaint> {
    let mut random = None;
    for (letter, _) in &options.letters {
        match letter {
            'v' => say(VERSION),
            'r' => random = Some(random_password::asked(None)?),
            _ => {}
        }
    }
    let whose = options.word(0).ok_or_else(|| Complaint::words(255, USAGE))?;
    need_rights(world)?;
    let address = address::parse(world, whose)?;
    let password = match (&random, options.word(1)) {
        (Some(random), _) => random.clone(),
        (None, Some(password)) if !password.is_empty() => password.to_owned(),
        (None, _) => prompt::new_password(whose)?,
    };
    // vpopmail has no other word for an account that is not there.
    let nobody = || Complaint::numbered(number::ILLEGAL_USERNAME);
    let domain = domains::find(&world.config, &address.domain).map_err(Complaint::error)?.ok_or_else(nobody)?;
    accounts::record(world, &domain, &address.user)?.ok_or_else(nobody)?;
    let (hash, clear) = accounts::secrets(world, &password)?;
    accounts::edit(world, &domain, &address.user, |record| (record.password, record.clear) = (hash, clear))?;
    if let Some(random) = random {
        say(&format!("Random password: {random}\n"));
    }
    Ok(0)
}
