//! vchangepw: somebody changes the password of an account by hand, knowing the old one. Made to be somebody's login shell; needs the rights of vpopmail.

use crate::World;
use crate::complaint::{Complaint, ended, need_rights, say};
use crate::{accounts, address, domains, prompt};
use postino_directory::password::verify_password;
use postino_types::account::FLAG_NO_PASSWORD_CHANGE;
use std::ffi::OsString;
use std::io::{BufRead, Write};

/// Longest address that is typed, bytes.
const LINE_BYTES_MAX: u64 = 256;
/// A wrong password costs this long.
const PENALTY: std::time::Duration = std::time::Duration::from_secs(3);

/// The program.
pub(crate) fn run(world: &World, _: &[OsString]) -> i32 {
    ended(work(world))
}

fn work(world: &World) -> Result<i32, Complaint> {
    need_rights(world)?;
    let whose = line("Please enter the email address: ")?;
    let old = prompt::secret("Please enter the old password: ")?;
    let address = address::parse(world, &whose)?;
    let domain = domains::find(&world.config, &address.domain).map_err(Complaint::error)?;
    let found = match &domain {
        Some(domain) => accounts::record(world, domain, &address.user)?,
        None => None,
    };
    // The same work and the same words whether the account is there or not.
    let stored = found.as_ref().map_or("$1$saltsalt$", |record| record.password.as_str());
    let is_right = verify_password(old.as_bytes(), stored);
    let (Some(domain), Some(record), true) = (domain, found, is_right) else {
        std::thread::sleep(PENALTY);
        return Err(Complaint::error(format_args!("wrong password, or no account {address}")));
    };
    let limits = world.keepers().map_err(Complaint::error)?.domains.limits(&domain.name)?.unwrap_or_default();
    if record.effective_flags(&limits) & FLAG_NO_PASSWORD_CHANGE != 0 {
        return Err(Complaint::error("password can not be changed by user"));
    }
    let (hash, clear) = accounts::secrets(world, &prompt::new_password(&whose)?)?;
    accounts::edit(world, &domain, &record.name, |record| (record.password, record.clear) = (hash, clear))?;
    say("Password successfully changed\n");
    Ok(0)
}

fn line(prompt: &str) -> Result<String, Complaint> {
    say(prompt);
    let _ = std::io::stdout().flush();
    let mut line = String::new();
    let mut input = std::io::Read::take(std::io::stdin().lock(), LINE_BYTES_MAX);
    input.read_line(&mut line).map_err(Complaint::error)?;
    match line.trim() {
        "" => Err(Complaint::error("no address")),
        address => Ok(address.to_owned()),
    }
}
