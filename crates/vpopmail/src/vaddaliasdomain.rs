//! vaddaliasdomain REAL ALIAS: another name for a domain; the words may change places. Run by an administrator.

use crate::World;
use crate::complaint::{Complaint, ended, need_rights, notice, say};
use crate::options::Options;
use crate::world::VERSION;
use crate::{address, domains, onchange, reload};
use std::ffi::OsString;

const USAGE: &str = "vaddaliasdomain: usage: [options] real_domain alias_domain
options: -v (print version number)
note: for backward compatability, you can swap real_domain and alias_domain.
";

/// The program.
pub(crate) fn run(world: &World, args: &[OsString]) -> i32 {
    ended(work(world, &Options::read(world, args, "v")))
}

fn work(world: &World, options: &Options) -> Result<i32, Complaint> {
    if options.letters.iter().any(|(letter, _)| *letter == 'v') {
        say(VERSION);
    }
    let (Some(first), Some(second)) = (options.word(0), options.word(1)) else { return Err(Complaint::words(255, USAGE)) };
    need_rights(world)?;
    let (first, second) = (first.to_ascii_lowercase(), second.to_ascii_lowercase());
    let is_there = |name: &str| domains::find(&world.config, name).map(|found| found.is_some()).map_err(Complaint::error);
    let (real, alias) = match (is_there(&first)?, is_there(&second)?) {
        (true, true) => return Err(Complaint::error("Both domains already exist, unable to create alias.")),
        (false, false) => {
            return Err(Complaint::error(format_args!("Neither '{first}' or '{second}'  exist, unable to create alias.")));
        }
        (true, false) => (first, second),
        (false, true) => (second, first),
    };
    address::domain_name(&alias)?;
    notice(&world.admin()?.add_alias_domain(&real, &alias)?);
    onchange::tell(&world.config.vpopmail_home, "add_alias_domain", &[&alias, &real]);
    reload::ask(&world.config.home);
    Ok(0)
}
