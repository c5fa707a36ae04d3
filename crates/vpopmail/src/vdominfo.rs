//! vdominfo [options] [DOMAIN]: shows one domain with its aliases, or all. Run by an administrator; changes nothing.

use crate::World;
use crate::complaint::{Complaint, ended, number, say};
use crate::options::Options;
use crate::world::VERSION;
use postino_directory::admin::DomainEntry;
use std::ffi::OsString;

const USAGE: &str = "vdominfo: usage: [options] [domain]
options: -v (print version number)
         -a (display all fields, this is the default)
         -n (display domain name)
         -u (display uid field)
         -g (display gid field)
         -d (display domain directory)
         -t (display total users)
         -r (display real domain)
";

/// The program.
pub(crate) fn run(world: &World, args: &[OsString]) -> i32 {
    ended(work(world, &Options::read(world, args, "vanugdtr")))
}

fn work(world: &World, options: &Options) -> Result<i32, Complaint> {
    let mut fields = Vec::new();
    for (letter, _) in &options.letters {
        match letter {
            'v' => say(VERSION),
            'a' => fields.clear(),
            '?' => return Err(Complaint::words(255, USAGE)),
            field => fields.push(*field),
        }
    }
    let domains = world.admin()?.domains()?;
    match options.word(0) {
        Some(domain) => one(world, &domains, &domain.to_ascii_lowercase(), &fields),
        None => {
            for entry in &domains {
                let name = entry.alias_of.as_ref().map_or_else(|| entry.name.clone(), |real| format!("{} (alias of {real})", entry.name));
                say(&(told(world, entry, &name, &fields)? + "\n"));
            }
            Ok(0)
        }
    }
}

/// The real domain's data, whichever of its names was asked for.
fn one(world: &World, domains: &[DomainEntry], domain: &str, fields: &[char]) -> Result<i32, Complaint> {
    let unknown = || Complaint::words(number::NO_DOMAIN.0 & 0xff, "Invalid domain name\n");
    let entry = domains.iter().find(|entry| entry.name == domain).ok_or_else(unknown)?;
    let real = entry.alias_of.as_ref().unwrap_or(&entry.name);
    let mut out = told(world, entry, real, fields)?;
    for alias in domains.iter().filter(|other| other.alias_of.as_ref() == Some(real)) {
        out += &format!("alias: {}\n", alias.name);
    }
    say(&out);
    Ok(0)
}

fn told(world: &World, entry: &DomainEntry, name: &str, fields: &[char]) -> Result<String, Complaint> {
    let real = entry.alias_of.as_ref().unwrap_or(&entry.name);
    let directory = entry.directory.display();
    let users = || -> Result<u64, Complaint> { Ok(world.keepers().map_err(Complaint::error)?.accounts.count(real)?) };
    if fields.is_empty() {
        return Ok(format!("domain: {name}\nuid:    {}\ngid:    {}\ndir:    {directory}\nusers:  {}\n", entry.uid, entry.gid, users()?));
    }
    let mut out = String::new();
    for field in ['n', 'u', 'g', 'd', 't', 'r'].iter().filter(|field| fields.contains(field)) {
        out += &match field {
            'n' => name.to_owned(),
            'u' => entry.uid.to_string(),
            'g' => entry.gid.to_string(),
            'd' => directory.to_string(),
            't' => users()?.to_string(),
            _ => real.clone(),
        };
        out.push('\n');
    }
    Ok(out)
}
