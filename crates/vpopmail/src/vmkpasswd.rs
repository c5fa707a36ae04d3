//! vmkpasswd DOMAIN: makes a domain's `vpasswd.cdb` anew from its `vpasswd`. Run by an administrator; never changes an account.

use crate::World;
use crate::complaint::{Complaint, ended, need_rights, say};
use crate::options::Options;
use crate::world::VERSION;
use std::ffi::OsString;

const USAGE: &str = "vmkpasswd: usage: domain \n";

/// The program.
pub(crate) fn run(world: &World, args: &[OsString]) -> i32 {
    ended(work(world, &Options::read(world, args, "v")))
}

fn work(world: &World, options: &Options) -> Result<i32, Complaint> {
    if options.letters.iter().any(|(letter, _)| *letter == 'v') {
        say(VERSION);
    }
    let domain = options.word(0).ok_or_else(|| Complaint::words(255, USAGE))?;
    need_rights(world)?;
    let _ = world.admin()?.rebuild(domain)?;
    Ok(0)
}
