//! vsetuserquota USER@DOMAIN|DOMAIN QUOTA: sets the quota of one account or of a whole domain, and its `maildirsize`. Run by an administrator.

use crate::World;
use crate::accounts::{self, set_size_file};
use crate::address;
use crate::complaint::{Complaint, ended, need_rights, number, say};
use crate::options::Options;
use crate::world::VERSION;
use postino_types::account::Quota;
use std::ffi::OsString;

const USAGE: &str = "vsetuserquota: [options] email_address|domain_name quota
options:
-v (print version number)

If you specify a domain name rather than an email address,
the quota will be applied to all users in that domain
";

/// The program.
pub(crate) fn run(world: &World, args: &[OsString]) -> i32 {
    ended(work(world, &Options::read(world, args, "v")))
}

fn work(world: &World, options: &Options) -> Result<i32, Complaint> {
    if options.letters.iter().any(|(letter, _)| *letter == 'v') {
        say(VERSION);
    }
    let (Some(whose), Some(quota)) = (options.word(0), options.word(1)) else { return Err(Complaint::words(255, USAGE)) };
    need_rights(world)?;
    let quota = Quota::parse(quota);
    if whose.contains(['@', '%']) {
        let whose = address::parse(world, whose)?;
        let domain = accounts::domain(world, &whose.domain)?;
        let record = accounts::record(world, &domain, &whose.user)?.ok_or_else(|| Complaint::numbered(number::NO_USER))?;
        accounts::edit(world, &domain, &whose.user, |record| record.quota = quota.to_string())?;
        set_size_file(&domain, &record, quota)?;
        return Ok(0);
    }
    let domain = accounts::domain(world, &whose.to_ascii_lowercase())?;
    accounts::each(world, &domain, |record| {
        accounts::edit(world, &domain, &record.name, |record| record.quota = quota.to_string())?;
        set_size_file(&domain, record, quota)
    })?;
    Ok(0)
}
