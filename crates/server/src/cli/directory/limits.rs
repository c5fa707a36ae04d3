//! `postino domain limits`, `domain quota` and `user limit`: words for the limits of a domain and the flags of a mailbox. Called by the directory
//! commands. Counts nothing itself.

use super::{Value, json, show};
use anyhow::{Context, bail};
use clap::Args;
use postino_directory::admin::{Admin, Change, quota_text};
use postino_directory::vpasswd as account;
use postino_directory::vpasswd::DomainLimits;

/// What a mailbox may not do, and what is done with it.
const FLAGS: [(&str, u32); 12] = [
    ("no-password-change", account::FLAG_NO_PASSWORD_CHANGE),
    ("no-pop", account::FLAG_NO_POP),
    ("no-webmail", account::FLAG_NO_WEBMAIL),
    ("no-imap", account::FLAG_NO_IMAP),
    ("bounce", account::FLAG_BOUNCE_MAIL),
    ("no-relay", account::FLAG_NO_RELAY),
    ("no-smtp", account::FLAG_NO_SMTP),
    ("domain-admin", account::FLAG_DOMAIN_ADMIN),
    ("override", account::FLAG_OVERRIDE),
    ("no-spam-check", account::FLAG_NO_SPAM_CHECK),
    ("delete-spam", account::FLAG_DELETE_SPAM),
    ("no-maildrop", account::FLAG_NO_MAILDROP),
];

#[derive(Args)]
#[command(
    after_help = "Examples:\n  postino domain limits example.org\n  postino domain limits example.org --accounts 50 --aliases -1 --default-quota 500M,10000C\n  postino domain limits example.org --close no-pop,no-relay\n  postino domain limits example.org --unset\n\nLimits bind the domain's own administrators, closed services bind every account without the flag `override`. -1 is no limit."
)]
pub(crate) struct LimitsArgs {
    /// Domain
    domain: String,
    /// Accounts
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    accounts: Option<i64>,
    /// Aliases (lead to accounts of the domain)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    aliases: Option<i64>,
    /// Forwards (lead elsewhere)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    forwards: Option<i64>,
    /// Autoresponders
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    autoresponders: Option<i64>,
    /// Mailing lists
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    lists: Option<i64>,
    /// Quota of new accounts
    #[arg(long, value_name = "QUOTA")]
    default_quota: Option<String>,
    /// Close services for all accounts (the words of `postino user limit`)
    #[arg(long, value_name = "WORDS", value_delimiter = ',')]
    close: Vec<String>,
    /// Open them again
    #[arg(long, value_name = "WORDS", value_delimiter = ',')]
    open: Vec<String>,
    /// Take the domain's own limits away: the site's count
    #[arg(long)]
    unset: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  postino user limit pippo@example.org\n  postino user limit pippo@example.org --set no-pop,no-relay\n  postino user limit pippo@example.org --clear bounce\n\nWords: no-password-change no-pop no-webmail no-imap bounce no-relay no-smtp domain-admin override no-spam-check delete-spam no-maildrop"
)]
pub(crate) struct LimitArgs {
    /// user@domain
    address: String,
    /// Words to set
    #[arg(long, value_name = "WORDS", value_delimiter = ',')]
    set: Vec<String>,
    /// Words to clear
    #[arg(long, value_name = "WORDS", value_delimiter = ',')]
    clear: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn unchanged() -> Change {
    Change { reload_needed: false, sorted: Vec::new() }
}

fn bits(words: &[String]) -> anyhow::Result<u32> {
    words.iter().try_fold(0, |all, word| {
        let known = FLAGS.iter().find(|(name, _)| name == word);
        Ok(all | known.with_context(|| format!("{word}: the words are {}", FLAGS.map(|(name, _)| name).join(", ")))?.1)
    })
}

fn words(flags: u32) -> Vec<&'static str> {
    FLAGS.iter().filter(|(_, bit)| flags & bit != 0).map(|(name, _)| *name).collect()
}

/// Shows or sets the flags of a mailbox.
pub(super) fn user(admin: &Admin, args: &LimitArgs) -> anyhow::Result<Change> {
    let (set, clear) = (bits(&args.set)?, bits(&args.clear)?);
    if set == 0 && clear == 0 {
        let flags = admin.user(&args.address)?.flags;
        show(&json!({"address": args.address, "flags": words(flags)}), args.json);
        return Ok(unchanged());
    }
    Ok(admin.edit(&args.address, |record| record.flags = (record.flags | set) & !clear)?)
}

/// Shows or sets the limits of a domain.
pub(super) fn domain(admin: &Admin, args: &LimitsArgs) -> anyhow::Result<Change> {
    if args.unset {
        return Ok(admin.set_limits(&args.domain, None)?);
    }
    let old = admin.limits(&args.domain)?;
    let mut new = old.clone();
    let maxima = [
        (args.accounts, &mut new.accounts_max),
        (args.aliases, &mut new.aliases_max),
        (args.forwards, &mut new.forwards_max),
        (args.autoresponders, &mut new.autoresponders_max),
        (args.lists, &mut new.mailing_lists_max),
    ];
    for (given, limit) in maxima {
        *limit = given.unwrap_or(*limit).max(-1);
    }
    if let Some(text) = &args.default_quota {
        let quota = account::Quota::parse(&quota_text(text)?);
        (new.default_quota_bytes, new.default_messages_max) = (quota.bytes, quota.messages);
    }
    new.flags = (new.flags | bits(&args.close)?) & !bits(&args.open)?;
    let asked = args.close.len() + args.open.len() > 0 || args.default_quota.is_some();
    let asked = asked || [args.accounts, args.aliases, args.forwards, args.autoresponders, args.lists].iter().any(Option::is_some);
    if !asked {
        show(&shown(admin, &args.domain, &new)?, args.json);
        return Ok(unchanged());
    }
    Ok(admin.set_limits(&args.domain, Some(&new))?)
}

fn shown(admin: &Admin, domain: &str, limits: &DomainLimits) -> anyhow::Result<Value> {
    Ok(json!({"domain": domain, "own": admin.own_limits(domain)?.is_some(), "accounts": limits.accounts_max, "aliases": limits.aliases_max,
        "forwards": limits.forwards_max, "autoresponders": limits.autoresponders_max, "lists": limits.mailing_lists_max,
        "quota_mb": limits.quota_mb, "messages": limits.messages_max, "default_quota": limits.default_quota(), "closed": words(limits.flags)}))
}

/// Shows or sets the quota of a whole domain. Kept in whole MB, as vpopmail keeps it.
pub(super) fn quota(admin: &Admin, domain: &str, quota: Option<&str>) -> anyhow::Result<Change> {
    let mut limits = admin.limits(domain)?;
    let Some(text) = quota else {
        show(&json!({"domain": domain, "quota_mb": limits.quota_mb, "messages": limits.messages_max}), false);
        return Ok(unchanged());
    };
    let text = text.split(',').map(gigabytes).collect::<Vec<_>>().join(",");
    let quota = account::Quota::parse(&quota_text(&text)?);
    if quota.bytes > 0 && quota.bytes < 1 << 20 {
        bail!("the quota of a domain is at least 1M");
    }
    (limits.quota_mb, limits.messages_max) = (quota.bytes >> 20, quota.messages);
    Ok(admin.set_limits(domain, Some(&limits))?)
}

/// `20G` in megabytes; other elements as they are.
fn gigabytes(element: &str) -> String {
    let number = element.trim().strip_suffix(['G', 'g']).and_then(|number| number.parse::<u64>().ok());
    number.and_then(|number| number.checked_mul(1024)).map_or_else(|| element.to_owned(), |number| format!("{number}M"))
}
