//! vcdir DOMAIN: writes a domain's `.dir-control` anew in the form that vpopmail 5 reads. Run by an administrator; changes no account.

use crate::World;
use crate::accounts;
use crate::complaint::{Complaint, ended, need_rights, say};
use crate::options::Options;
use crate::world::VERSION;
use std::ffi::OsString;

const USAGE: &str = "vcdir: usage: [options] domain\noptions: -v (print version number)\n         -p (display debug info)\n";

/// The program.
pub(crate) fn run(world: &World, args: &[OsString]) -> i32 {
    ended(work(world, &Options::read(world, args, "vp")))
}

fn work(world: &World, options: &Options) -> Result<i32, Complaint> {
    if options.letters.iter().any(|(letter, _)| *letter == 'v') {
        say(VERSION);
    }
    let domain = options.word(0).ok_or_else(|| Complaint::words(255, USAGE))?;
    need_rights(world)?;
    let domain = accounts::domain(world, &domain.to_ascii_lowercase())?;
    let keepers = world.keepers().map_err(Complaint::error)?;
    let state = keepers.domains.hash_state(&domain.name)?.ok_or_else(|| Complaint::error("the domain has no .dir-control"))?;
    if options.letters.iter().any(|(letter, _)| *letter == 'p') {
        say(&state.print());
    }
    keepers.domains.set_hash_state(&domain.name, Some(&state))?;
    Ok(0)
}
