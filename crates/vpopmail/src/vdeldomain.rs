//! vdeldomain [-f] DOMAIN: removes a domain with all its mail, or an alias domain alone. Run by an administrator.

use crate::World;
use crate::complaint::{Complaint, ended, need_rights, notice, number, say};
use crate::options::Options;
use crate::world::VERSION;
use crate::{onchange, reload};
use postino_directory::admin::AliasDomains;
use std::ffi::OsString;

const USAGE: &str =
    "vdeldomain: usage: [options] domain_name\noptions: -v (print version number)\noptions: -f (force delete of virtual domains)\n";

/// The program.
pub(crate) fn run(world: &World, args: &[OsString]) -> i32 {
    ended(work(world, &Options::read(world, args, "vf")))
}

fn work(world: &World, options: &Options) -> Result<i32, Complaint> {
    let has = |wanted: char| options.letters.iter().any(|(letter, _)| *letter == wanted);
    if has('v') {
        say(VERSION);
    }
    let Some(domain) = options.word(0).map(str::to_ascii_lowercase) else { return Err(Complaint::words(0, USAGE)) };
    need_rights(world)?;
    let admin = world.admin()?;
    let domains = admin.domains()?;
    let known = domains.iter().any(|entry| entry.name == domain);
    if !known {
        return Err(Complaint::numbered(number::NO_DOMAIN));
    }
    let aliases: String =
        domains.iter().filter(|other| other.alias_of.as_ref() == Some(&domain)).map(|other| format!("   {}\n", other.name)).collect();
    if !aliases.is_empty() && !has('f') {
        say(&format!("Warning: Alias domains exist:\n{aliases}   use -f to force delete of domain and all aliases\n"));
        return Ok(0);
    }
    if !aliases.is_empty() {
        say(&format!("Warning: Alias domains deleted:\n{aliases}"));
    }
    notice(&admin.remove_domain(&domain, AliasDomains::Remove)?);
    onchange::tell(&world.config.vpopmail_home, "del_domain", &[&domain]);
    reload::ask(&world.config.home);
    Ok(0)
}
