//! vmkpasswd DOMAIN: makes a domain's `vpasswd.cdb` anew from its `vpasswd`. Run by an administrator; never changes an account.

use crate::World;
use crate::complaint::{Complaint, ended, need_rights};
use crate::options::Options;
use crate::world::VERSION;
use std::ffi::OsString;

/// The program.
pub(crate) fn run(world: &World, args: &[OsString]) -> i32 {
    ended(work(world, &Options::read(world, args, "v")))
}

fn work(world: &World, options: &Options) -> Result<i32, Complaint> {
    let usage = || Complaint::words(255, format!("{}: usage: [options] domain\noptions: -v (print version number)\n", world.name()));
    match options.letters.first() {
        Some(('v', _)) => return Err(Complaint::words(255, VERSION)),
        Some(_) => return Err(usage()),
        None => {}
    }
    let domain = options.word(0).ok_or_else(usage)?;
    need_rights(world)?;
    let _ = world.admin()?.rebuild(domain)?;
    Ok(0)
}
