//! vipmap: which domain an address of this host stands for. Run by an administrator; works where `ip-alias-domains` is set.

use crate::World;
use crate::complaint::{Complaint, ended, need_rights, say};
use crate::options::Options;
use crate::world::VERSION;
use crate::{accounts, address};
use std::ffi::OsString;
use std::net::IpAddr;

const USAGE: &str = "vipmap: usage: [options] ip domain
options: -d delete mapping
         -a add mapping
         -p print mapping
         -v show version
";
const OFF: &str = "IP aliases are not compiled into vpopmail
You will need to do the following steps
make distclean
./configure --enable-ip-alias-domains=y [your other options]
make
make install-strip
";

/// The program.
pub(crate) fn run(world: &World, args: &[OsString]) -> i32 {
    if args.is_empty() {
        say(USAGE);
        return 255;
    }
    ended(work(world, &Options::read(world, args, "vpda")))
}

fn work(world: &World, options: &Options) -> Result<i32, Complaint> {
    let mut action = 'p';
    for (letter, _) in &options.letters {
        match letter {
            'v' => say(VERSION),
            'p' | 'd' | 'a' => action = *letter,
            _ => {}
        }
    }
    let words = (options.word(0), options.word(1));
    if action != 'p' && (words.0.is_none() || words.1.is_none()) {
        return Err(Complaint::words(255, USAGE));
    }
    if !world.config.vpopmail.ip_alias_domains {
        // Here it is a setting: vpopmail.ip-alias-domains in server.toml.
        return Err(Complaint::words(0, OFF));
    }
    need_rights(world)?;
    let keepers = world.keepers().map_err(Complaint::error)?;
    if action == 'p' {
        for (address, domain) in keepers.domains.addresses()? {
            say(&format!("{address} {domain}\n"));
        }
        return Ok(0);
    }
    let (ip, domain) = (words.0.unwrap_or_default(), words.1.unwrap_or_default());
    let ip: IpAddr = ip.parse().map_err(|_| Complaint::error(format_args!("{ip} is no address")))?;
    let domain = address::domain_name(domain)?;
    if action == 'a' {
        accounts::domain(world, &domain)?;
        keepers.domains.set_domain_of(ip, Some(&domain))?;
    } else if keepers.domains.domain_of(ip)?.as_ref() == Some(&domain) {
        keepers.domains.set_domain_of(ip, None)?;
    }
    Ok(0)
}
