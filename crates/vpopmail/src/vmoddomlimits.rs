//! vmoddomlimits [options] DOMAIN, or -d for the site's defaults: shows and sets what a domain may have. Run by an administrator.

use crate::World;
use crate::complaint::{Complaint, ended, need_rights, say};
use crate::options::Options;
use crate::world::VERSION;
use crate::{domains, onchange};
use postino_types::account::{self, DomainLimits, Quota};
use std::ffi::OsString;
use std::path::PathBuf;

const USAGE: &str = "vmoddomlimits: usage: [options] domain 
options: -v ( display the vpopmail version number )
         -d ( use the vlimits.default file, instead of domain )
         -S ( show current settings )
         -D ( delete limits for this domain, i.e. switch to default limits)
         -Q quota-in-megabytes ( set domain disk quota, '100' = 100 MB )
         -q quota-in-bytes ( set default user quota, '10M' = 10 MB )
         -M count ( set domain max msg count )
         -m count ( set default user max msg count )
         -P count ( set max amount of pop accounts )
         -A count ( set max amount of aliases )
         -F count ( set max amount of forwards )
         -R count ( set max amount of autoresponders )
         -L count ( set max amount of mailing lists )
the following options are bit flags in the gid int field
         -g \"flags\"  (set flags, see below)
         gid flags:
            u ( set no dialup flag )
            d ( set no password changing flag )
            p ( set no pop access flag )
            s ( set no smtp access flag )
            w ( set no web mail access flag )
            i ( set no imap access flag )
            r ( set no external relay flag )
            c ( set no spamassasssin flag )
            x ( set delete spam flag )
            m ( set no maildrop flag )
the following options are bit flags for non postmaster admins
         -p \"flags\"  (set pop account flags)
         -a \"flags\"  (set alias flags)
         -f \"flags\"  (set forward flags)
         -r \"flags\"  (set autoresponder flags)
         -l \"flags\"  (set mailinglist flags)
         -u \"flags\"  (set mailinglist users flags)
         -o \"flags\"  (set mailinglist moderators flags)
         -x \"flags\"  (set quota flags)
         -z \"flags\"  (set default quota flags)
         perm flags:
            a ( set deny all flag )
            c ( set deny create flag )
            m ( set deny modify flag )
            d ( set deny delete flag )
";

/// Letter of `-g`, bit, name; in the order in which they are shown.
const FLAGS: [(char, u32, &str); 10] = [
    ('i', account::FLAG_NO_IMAP, "NO_IMAP"),
    ('s', account::FLAG_NO_SMTP, "NO_SMTP"),
    ('p', account::FLAG_NO_POP, "NO_POP"),
    ('w', account::FLAG_NO_WEBMAIL, "NO_WEBMAIL"),
    ('d', account::FLAG_NO_PASSWORD_CHANGE, "NO_PASSWD_CHNG"),
    ('r', account::FLAG_NO_RELAY, "NO_RELAY"),
    ('u', account::FLAG_NO_DIALUP, "NO_DIALUP"),
    ('c', account::FLAG_NO_SPAM_CHECK, "NO_SPAMASSASSIN"),
    ('x', account::FLAG_DELETE_SPAM, "DEL_SPAM"),
    ('m', account::FLAG_NO_MAILDROP, "NO_MAILDROP"),
];
const DENY_CREATE: u8 = 1;
const DENY_MODIFY: u8 = 2;
const DENY_DELETE: u8 = 4;
const DENY_ALL: u8 = 7;
/// The rights of a list's users and moderators stand in the same number as the list's.
const LIST_USERS: u32 = 3;
const LIST_MODERATORS: u32 = 6;

/// The program.
pub(crate) fn run(world: &World, args: &[OsString]) -> i32 {
    ended(work(world, &Options::read(world, args, "vSDdQ:q:M:m:P:A:F:R:L:g:p:a:f:r:l:u:o:x:z:h")))
}

/// Whose limits.
enum Whose {
    Domain(String),
    /// vlimits.default.
    Everybody(PathBuf),
}

fn work(world: &World, options: &Options) -> Result<i32, Complaint> {
    let has = |wanted: char| options.letters.iter().any(|(letter, _)| *letter == wanted);
    if has('v') {
        say(VERSION);
    }
    if has('h') {
        return Err(Complaint::words(0, USAGE));
    }
    let whose = match options.word(0) {
        _ if has('d') => Whose::Everybody(world.config.vpopmail_home.join("etc/vlimits.default")),
        Some(domain) => Whose::Domain(domain.to_ascii_lowercase()),
        None => return Err(Complaint::words(255, USAGE)),
    };
    need_rights(world)?;
    let (real, mut limits) = read(world, &whose)?;
    if has('D') {
        return delete(world, &whose, &real);
    }
    if has('S') {
        let title = match &whose {
            Whose::Domain(domain) => format!("Domain: {domain}\n"),
            Whose::Everybody(path) => format!("Default limits: {}\n", path.display()),
        };
        say(&(title + &shown(&limits)));
        return Ok(0);
    }
    for (letter, value) in &options.letters {
        set(&mut limits, *letter, value.as_deref().unwrap_or_default());
    }
    match &whose {
        Whose::Everybody(path) => {
            let failed = |_| Complaint::words(255, "Failed to write vlimits.default file");
            postino_disk::replace_file(path, limits.print().as_bytes(), 0o644).map_err(failed)?;
        }
        Whose::Domain(_) => {
            let keepers = world.keepers().map_err(Complaint::error)?;
            keepers.domains.set_limits(&real, Some(&limits)).map_err(|_| Complaint::words(255, "Failed to vset_limits\n"))?;
        }
    }
    onchange::tell(&world.config.vpopmail_home, "mod_limits", &[&real]);
    Ok(0)
}

/// The real domain's name and what counts for it now.
fn read(world: &World, whose: &Whose) -> Result<(String, DomainLimits), Complaint> {
    let failed = || Complaint::words(255, "Failed to vget_limits\n");
    let file = || {
        let path = world.config.vpopmail_home.join("etc/vlimits.default");
        match std::fs::read(path) {
            Ok(text) => Ok(DomainLimits::parse(&text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(DomainLimits::default()),
            Err(_) => Err(failed()),
        }
    };
    let Whose::Domain(domain) = whose else { return Ok((String::new(), file()?)) };
    let real = domains::find(&world.config, domain).map_err(Complaint::error)?.ok_or_else(failed)?.name;
    let own = world.keepers().map_err(Complaint::error)?.domains.limits(&real)?;
    let limits = own.map_or_else(file, Ok)?;
    Ok((real, limits))
}

fn delete(world: &World, whose: &Whose, real: &str) -> Result<i32, Complaint> {
    if matches!(whose, Whose::Everybody(_)) {
        let text = "Default limits can not be deleted. If you really want to do this,\nremove the vlimits.default file.\n\
                    But be warned: this might stop vpopmail from working!!\n";
        return Err(Complaint::words(255, text));
    }
    let keepers = world.keepers().map_err(Complaint::error)?;
    keepers.domains.set_limits(real, None).map_err(|_| Complaint::words(255, "Failed to delete limits\n"))?;
    onchange::tell(&world.config.vpopmail_home, "mod_limits", &[real]);
    say("Limits deleted\n");
    Ok(0)
}

fn set(limits: &mut DomainLimits, letter: char, value: &str) {
    let count = || value.parse::<i64>().unwrap_or(0);
    let number = || Quota::parse(&format!("{value}C")).messages;
    let p = &mut limits.permissions;
    match letter {
        'Q' => limits.quota_mb = number(),
        'q' => limits.default_quota_bytes = Quota::parse(value).bytes,
        'M' => limits.messages_max = number(),
        'm' => limits.default_messages_max = number(),
        'P' => limits.accounts_max = count(),
        'A' => limits.aliases_max = count(),
        'F' => limits.forwards_max = count(),
        'R' => limits.autoresponders_max = count(),
        'L' => limits.mailing_lists_max = count(),
        'g' => {
            let asked = FLAGS.iter().filter(|(letter, _, _)| value.contains(*letter));
            limits.flags = asked.fold(0, |flags, (_, flag, _)| flags | flag);
        }
        'p' => p.account = denied(value),
        'a' => p.alias = denied(value),
        'f' => p.forward = denied(value),
        'r' => p.autoresponder = denied(value),
        'l' => p.mailing_list = of_list(p.mailing_list, 0, value),
        'u' => p.mailing_list = of_list(p.mailing_list, LIST_USERS, value),
        'o' => p.mailing_list = of_list(p.mailing_list, LIST_MODERATORS, value),
        'x' => p.quota = denied(value),
        'z' => p.default_quota = denied(value),
        _ => {}
    }
}

/// `cmd` and so on; any other letter (`r`) alone takes all away.
fn denied(letters: &str) -> u8 {
    letters.chars().fold(0, |bits, letter| {
        bits | match letter {
            'a' => DENY_ALL,
            'c' => DENY_CREATE,
            'm' => DENY_MODIFY,
            'd' => DENY_DELETE,
            _ => 0,
        }
    })
}

fn of_list(all: u16, shift: u32, letters: &str) -> u16 {
    (all & !(u16::from(DENY_ALL) << shift)) | (u16::from(denied(letters)) << shift)
}

fn shown(limits: &DomainLimits) -> String {
    let mut out = format!(
        "--\nMax Pop Accounts: {}\nMax Aliases: {}\nMax Forwards: {}\nMax Autoresponders: {}\nMax Mailinglists: {}\nGID Flags:\n",
        limits.accounts_max, limits.aliases_max, limits.forwards_max, limits.autoresponders_max, limits.mailing_lists_max
    );
    let set: Vec<_> = FLAGS.iter().filter(|(_, flag, _)| limits.flags & flag != 0).collect();
    for (_, _, name) in &set {
        out += &format!("  {name}\n");
    }
    let letters: String = set.iter().map(|(letter, _, _)| *letter).collect();
    out += &format!("Flags (for commandline): {letters}\nFlags for non postmaster accounts:");
    let p = &limits.permissions;
    let list = |shift: u32| u8::try_from(p.mailing_list >> shift & u16::from(DENY_ALL)).unwrap_or(DENY_ALL);
    let rows = [
        ("pop account:", p.account),
        ("alias:", p.alias),
        ("forward:", p.forward),
        ("autoresponder:", p.autoresponder),
        ("mailinglist:", list(0)),
        ("mailinglist users:", list(LIST_USERS)),
        ("mailinglist moderators:", list(LIST_MODERATORS)),
        ("quota:", p.quota),
        ("default quota:", p.default_quota),
    ];
    for (name, bits) in rows {
        let word = |bit: u8, what: &str| if bits & bit == 0 { format!("ALLOW_{what} ") } else { format!("DENY_{what}  ") };
        out += &format!("\n  {name:<24}{}{}{}", word(DENY_CREATE, "CREATE"), word(DENY_MODIFY, "MODIFY"), word(DENY_DELETE, "DELETE"));
    }
    out += &format!(
        "\nDomain Quota: {} MB\nDefault User Quota: {} bytes\nMax Domain Messages: {}\nDefault Max Messages per User: {}\n",
        limits.quota_mb, limits.default_quota_bytes, limits.messages_max, limits.default_messages_max
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_what_is_shown() {
        let mut limits = DomainLimits::default();
        for (letter, value) in [('Q', "100"), ('q', "10M"), ('P', "5"), ('A', "-1"), ('g', "ps"), ('p', "cd"), ('u', "a"), ('x', "m")] {
            set(&mut limits, letter, value);
        }
        assert_eq!((limits.quota_mb, limits.default_quota_bytes, limits.accounts_max, limits.aliases_max), (100, 10 << 20, 5, -1));
        let text = shown(&limits);
        assert!(text.contains("GID Flags:\n  NO_SMTP\n  NO_POP\nFlags (for commandline): sp\n"), "{text}");
        assert!(text.contains("\n  pop account:            DENY_CREATE  ALLOW_MODIFY DENY_DELETE  \n"), "{text}");
        assert!(text.contains("\n  mailinglist:            ALLOW_CREATE ALLOW_MODIFY ALLOW_DELETE \n"), "{text}");
        assert!(text.contains("\n  mailinglist users:      DENY_CREATE  DENY_MODIFY  DENY_DELETE  \n"), "{text}");
        set(&mut limits, 'p', "r");
        set(&mut limits, 'u', "r");
        assert_eq!((limits.permissions.account, limits.permissions.mailing_list), (0, 0));
    }
}
