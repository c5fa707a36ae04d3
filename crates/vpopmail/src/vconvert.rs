//! vconvert FROM TO [DOMAIN …]: copies the accounts of domains between vpopmail's files (`-e`, `-c`) and the database that `[directory]` names (`-m`), and
//! reads them back. Run by an administrator; removes nothing, so it may be run again.

use crate::World;
use crate::complaint::{Complaint, ended, need_rights, say};
use crate::options::Options;
use crate::world::VERSION;
use postino_directory::copy::{WithAliases, copy_domain};
use postino_directory::keepers::file_keepers;
use std::ffi::OsString;

const USAGE: &str = "vconvert: usage\n The first option sets which format to convert FROM,\n the second option sets which format to convert TO.\n -e = etc format\n -c = cdb format\n -m = sql format\n -S = set sqwebmail passwords\n -v = version\n -d = debug info\n";

/// The program.
pub(crate) fn run(world: &World, args: &[OsString]) -> i32 {
    ended(work(world, &Options::read(world, args, "ecmSvd")))
}

fn work(world: &World, options: &Options) -> Result<i32, Complaint> {
    let mut formats = Vec::new();
    for (letter, _) in &options.letters {
        match letter {
            'v' => {
                say(VERSION);
                return Ok(0);
            }
            'e' | 'c' | 'm' => formats.push(*letter),
            'S' | 'd' => {} // sqwebmail's password file is not kept; debugging said nothing that an administrator wants
            _ => return Err(Complaint::words(255, USAGE)),
        }
    }
    let [from, to] = formats.as_slice() else { return Err(Complaint::words(255, USAGE)) };
    need_rights(world)?;
    let files = file_keepers(&world.config);
    let keepers = |letter: &char| match letter {
        'm' => world.keepers.clone().ok_or_else(|| Complaint::words(255, "Error: [directory] in control/server.toml names no database\n")),
        _ => Ok(files.clone()),
    };
    let (source, target) = (keepers(from)?, keepers(to)?);
    if (*from == 'm') == (*to == 'm') {
        return Ok(0); // both are vpopmail's files: vpasswd and vpasswd.cdb are kept alike here
    }
    let mut domains = options.words.clone();
    if domains.is_empty() {
        domains = world.admin()?.domains()?.into_iter().filter(|entry| entry.alias_of.is_none()).map(|entry| entry.name).collect();
    }
    for domain in &domains {
        say(&format!("converting {domain}... "));
        copy_domain(&source, &target, &domain.to_ascii_lowercase(), WithAliases::No, &mut || {}).map_err(Complaint::error)?;
        say("done\n");
    }
    Ok(0)
}
