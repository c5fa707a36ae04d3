//! vdeluser USER@DOMAIN: removes an account with its mail. Run by an administrator.

use crate::World;
use crate::complaint::{Complaint, ended, need_rights, number, say};
use crate::options::Options;
use crate::world::VERSION;
use crate::{accounts, address, onchange};
use postino_directory::admin::CatchAll;
use std::ffi::OsString;

const USAGE: &str = "vdeluser: usage: [options] email_address\noptions: -v (print version number)\n";

/// The program.
pub(crate) fn run(world: &World, args: &[OsString]) -> i32 {
    ended(work(world, &Options::read(world, args, "v")))
}

fn work(world: &World, options: &Options) -> Result<i32, Complaint> {
    if options.letters.iter().any(|(letter, _)| *letter == 'v') {
        say(VERSION);
    }
    let whose = options.word(0).ok_or_else(|| Complaint::words(255, USAGE))?;
    need_rights(world)?;
    let address = address::parse(world, whose)?;
    let domain = accounts::domain(world, &address.domain)?;
    let real = format!("{}@{}", address.user, domain.name);
    accounts::record(world, &domain, &address.user)?.ok_or_else(|| Complaint::numbered(number::NO_USER))?;
    let admin = world.admin()?;
    // As vpopmail: only an address in the domain's default is the account's; a folder is not looked at.
    if admin.catch_all(&domain.name)? == Some(CatchAll::Forward(real.clone())) {
        return Err(Complaint::numbered(number::CATCH_ALL));
    }
    let _ = admin.remove_account(&real)?;
    onchange::tell(&world.config.vpopmail_home, "del_user", &[&real]);
    Ok(0)
}
