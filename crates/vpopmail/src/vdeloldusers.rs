//! vdeloldusers: accounts that nobody logged in to for a long time, told or (-D) deleted. Run by an administrator. postmaster stays.

use crate::World;
use crate::accounts;
use crate::complaint::{Complaint, ended, need_rights, say};
use crate::onchange;
use crate::options::Options;
use crate::world::VERSION;
use std::ffi::OsString;
use std::time::{SystemTime, UNIX_EPOCH};

const USAGE: &str = "vdeloldusers: usage: [options]
options: -a age_in_days (will delete accounts older than this date)
                        (default is 6 months or 180 days)
         -v (print version number and exit)
         -d [domain] (process only [domain])
         -e (process every domain)
         -D (actually delete users. no users are deleted without this option)
         -V (verbose -- print old users that will be deleted)
";
const AGE_DAYS: i64 = 180;
const DAY_S: i64 = 86_400;

/// The program.
pub(crate) fn run(world: &World, args: &[OsString]) -> i32 {
    ended(work(world, &Options::read(world, args, "vVDd:a:e")))
}

fn work(world: &World, options: &Options) -> Result<i32, Complaint> {
    let value = |wanted: char| options.letters.iter().rev().find(|(letter, _)| *letter == wanted).map(|(_, value)| value.clone());
    if value('v').is_some() {
        return Err(Complaint::words(0, VERSION));
    }
    let domain = value('d').flatten();
    if domain.is_none() && value('e').is_none() {
        let text = "error: you must supply either the -e or -d [domain] options\n";
        return Err(Complaint::words(255, if options.letters.is_empty() { USAGE.to_owned() } else { text.to_owned() }));
    }
    let age = match value('a').flatten() {
        None => AGE_DAYS,
        // A word that is no number must not mean "today".
        Some(text) => text.parse().map_err(|_| Complaint::error(format_args!("{text} is no number of days")))?,
    };
    need_rights(world)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|now| i64::try_from(now.as_secs()).ok()).unwrap_or(0);
    let before = now.saturating_sub(age.saturating_mul(DAY_S));
    let domains = match domain {
        Some(domain) if value('e').is_none() => vec![accounts::domain(world, &domain.to_ascii_lowercase())?.name],
        _ => world.admin()?.domains()?.into_iter().filter(|entry| entry.alias_of.is_none()).map(|entry| entry.name).collect(),
    };
    let mut old = Vec::new();
    for domain in &domains {
        old.extend(of_domain(world, domain, before)?);
    }
    for address in &old {
        if value('V').is_some() {
            say(&format!("{address}\n"));
        }
        if value('D').is_some() {
            let _ = world.admin()?.remove_user(address)?;
            onchange::tell(&world.config.vpopmail_home, "del_user", &[address]);
        }
    }
    if old.is_empty() {
        say("no old users found\n");
    } else if value('D').is_none() {
        say(" ** no users were deleted  **\n ** use -D to delete users **\n");
    }
    Ok(0)
}

/// Whose last login, or whose making where there was none, lies before the day. Who has no time at all stays.
fn of_domain(world: &World, domain: &str, before: i64) -> Result<Vec<String>, Complaint> {
    let keepers = world.keepers().map_err(Complaint::error)?;
    let place = accounts::domain(world, domain)?;
    let mut old = Vec::new();
    accounts::each(world, &place, |record| {
        let last = keepers.logins.last(&place.name, &record.name)?;
        if record.name != "postmaster" && last.is_some_and(|last| last.at < before) {
            old.push(format!("{}@{}", record.name, place.name));
        }
        Ok(())
    })?;
    Ok(old)
}
