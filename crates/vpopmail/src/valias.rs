//! valias: shows, adds and deletes the aliases of a domain, `.qmail-NAME` files or rows of a database. Run by an administrator. An alias's lines are those of
//! a dot-qmail file; nothing is checked but their length.

use crate::World;
use crate::address::{self, Address};
use crate::complaint::{Complaint, ended, need_rights, number, say};
use crate::options::Options;
use crate::world::VERSION;
use crate::{domains, onchange};
use postino_ports::accounts::Aliases;
use std::ffi::OsString;
use std::io::Write;
use std::sync::Arc;

const USAGE: &str = "valias: usage: [options] email_address 
options: -v ( display the vpopmail version number )
         -n ( show alias names, use just domain )
         -s ( show aliases, can use just domain )
         -d ( delete alias )
         -i alias_line (insert alias line)

Example: valias -i fred@inter7.com bob@inter7.com
         (adds alias from bob@inter7.com to fred@inter7.com
";
/// After a wrong option.
const WRONG_USE: i32 = 254;
/// Longest line, bytes.
const LINE_BYTES_MAX: usize = 159;
/// Aliases that are read at once.
const PAGE: usize = 1000;
const NOT_OURS: &str = "invalid domain, not in qmail assign file\n";

enum Action<'a> {
    Names,
    Show,
    Delete,
    Insert(&'a str),
}

/// The program.
pub(crate) fn run(world: &World, args: &[OsString]) -> i32 {
    ended(work(world, &Options::read(world, args, "vnsdi:")))
}

fn work(world: &World, options: &Options) -> Result<i32, Complaint> {
    let mut action = Action::Show;
    for (letter, value) in &options.letters {
        match letter {
            'v' => say(VERSION),
            'n' => action = Action::Names,
            's' => action = Action::Show,
            'd' => action = Action::Delete,
            'i' => action = Action::Insert(value.as_deref().unwrap_or_default()),
            _ => return Err(Complaint::words(WRONG_USE, USAGE)),
        }
    }
    let whose = options.word(0).ok_or_else(|| Complaint::words(WRONG_USE, USAGE))?;
    need_rights(world)?;
    let aliases = world.aliases();
    if !whose.contains('@') {
        return match action {
            Action::Names | Action::Show => of_domain(world, &aliases, &whose.to_ascii_lowercase(), &action),
            Action::Delete | Action::Insert(_) => Err(Complaint::words(WRONG_USE, USAGE)),
        };
    }
    let alias = address::parse(world, whose)?;
    match action {
        Action::Names => {
            let _ = writeln!(std::io::stderr().lock(), "Please enter domain name only.");
            Ok(255)
        }
        Action::Show => show(world, &aliases, &alias),
        Action::Delete => delete(world, &aliases, &alias),
        Action::Insert(line) => insert(world, &aliases, &alias, line),
    }
}

/// The real domain's name; `None` has been told.
fn real(world: &World, domain: &str) -> Result<Option<String>, Complaint> {
    let found = domains::find(&world.config, domain).map_err(Complaint::error)?;
    if found.is_none() {
        say(NOT_OURS);
    }
    Ok(found.map(|domain| domain.name))
}

fn of_domain(world: &World, aliases: &Arc<dyn Aliases>, domain: &str, action: &Action<'_>) -> Result<i32, Complaint> {
    let Some(real) = real(world, domain)? else { return Ok(255) };
    let mut after: Option<String> = None;
    let mut any = false;
    loop {
        let page = aliases.page(&real, after.as_deref(), PAGE)?;
        let mut before = None;
        for (name, line) in page.iter().filter(|(name, _)| name != "default") {
            any = true;
            match action {
                Action::Names if before == Some(name) => {}
                Action::Names => say(&format!("{name}\n")),
                _ => say(&format!("{name}@{domain} -> {line}\n")),
            }
            before = Some(name);
        }
        match page.last() {
            Some((last, _)) => after = Some(last.clone()),
            None => return Ok(if any { 0 } else { 255 }),
        }
    }
}

fn show(world: &World, aliases: &Arc<dyn Aliases>, alias: &Address) -> Result<i32, Complaint> {
    let Some(real) = real(world, &alias.domain)? else { return Ok(255) };
    let lines = aliases.lines(&real, &alias.user)?;
    for line in &lines {
        say(&format!("{alias} -> {line}\n"));
    }
    Ok(if lines.is_empty() { 255 } else { 0 })
}

fn delete(world: &World, aliases: &Arc<dyn Aliases>, alias: &Address) -> Result<i32, Complaint> {
    let Some(real) = real(world, &alias.domain)? else { return Ok(0) };
    if aliases.remove(&real, &alias.user, None)? {
        onchange::tell(&world.config.vpopmail_home, "valias_delete", &[&alias.user, &real]);
    }
    Ok(0)
}

fn insert(world: &World, aliases: &Arc<dyn Aliases>, alias: &Address, line: &str) -> Result<i32, Complaint> {
    let Some(real) = real(world, &alias.domain)? else {
        // Looked up before and again while adding.
        say(NOT_OURS);
        return Ok(0);
    };
    if alias.user.len() > address::USER_BYTES_MAX {
        return Err(Complaint::numbered(number::USER_NAME_TOO_LONG));
    }
    if line.len() > LINE_BYTES_MAX {
        return Err(Complaint::numbered(number::ALIAS_LINE_TOO_LONG));
    }
    // What could leave the domain's folder, or hide a second line.
    if alias.user.contains('/') || line.is_empty() || line.contains('\n') {
        return Err(Complaint::numbered(number::ILLEGAL_USERNAME));
    }
    if aliases.lines(&real, &alias.user)?.iter().any(|known| known == line) {
        let _ = writeln!(std::io::stderr().lock(), "Error: alias {alias} -> {line} already exists.");
        return Ok(255);
    }
    aliases.add_line(&real, &alias.user, line)?;
    onchange::tell(&world.config.vpopmail_home, "valias_insert", &[&alias.user, &real]);
    Ok(0)
}
