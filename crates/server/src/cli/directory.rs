//! `postino domain`, `user` and `alias`: words for crate `directory`'s administration. Asks for passwords without echo; never prints one.

mod limits;

use super::{Place, config::tell_server, print_json, say};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use postino_control::Config;
use postino_directory::admin::{Admin, AdminError, AliasDomains, CatchAll, Change, ClearPassword, NewDomain, NewSecret, NewUser, UserInfo};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;

/// Where a password comes from.
#[derive(Args)]
pub(crate) struct PasswordArgs {
    /// Read the password from this file's first line (`-`: standard input)
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Store the clear password too (APOP needs it)
    #[arg(long)]
    clear: bool,
}

#[derive(Subcommand)]
#[command(
    after_help = "Examples:\n  postino domain add example.org\n  postino domain alias example.org example.net\n  postino domain catch-all example.org postmaster@example.org\n  postino domain quota example.org 20G\n  postino domain list --json\n  postino domain show example.org\n  postino domain remove example.org"
)]
pub(crate) enum DomainCommand {
    /// Add a domain with its postmaster and abuse alias
    Add {
        /// Name
        domain: String,
        /// Postmaster's password (visible to other users of this machine while the command runs)
        #[arg(long, value_name = "PASSWORD")]
        postmaster_password: Option<String>,
        #[command(flatten)]
        password: PasswordArgs,
        /// Lay it below this directory's `domains/` instead of the usual one
        #[arg(long, value_name = "DIR")]
        base: Option<PathBuf>,
    },
    /// Show or set what the domain's administrators may have
    Limits(limits::LimitsArgs),
    /// Show or set the quota of all mailboxes together (NOQUOTA, 500M, 20G, 20G,100000C)
    Quota {
        /// Name
        domain: String,
        /// Size in whole MB, and count
        quota: Option<String>,
    },
    /// Remove a domain with all its mail
    Remove {
        /// Name
        domain: String,
        /// Remove its alias domains too
        #[arg(long)]
        with_aliases: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// List domains
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one domain
    Show {
        /// Name
        domain: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a domain a second name
    Alias {
        /// The existing domain
        real: String,
        /// Its new name
        alias: String,
    },
    /// Say what becomes of mail for names that nobody has: bounce, delete, an address, an account's name, or a folder
    CatchAll {
        /// Name
        domain: String,
        /// bounce, delete, user@domain, the name of an account, or /folder
        action: String,
    },
}

#[derive(Subcommand)]
#[command(
    after_help = "Examples:\n  postino user add pippo@example.org\n  postino user add pippo@example.org --password-file -\n  postino user add --batch accounts.txt\n  postino user password pippo@example.org\n  postino user quota pippo@example.org 50M,1000C\n  postino user limit pippo@example.org --set no-pop,no-relay\n  postino user list example.org --json\n  postino user show pippo@example.org\n  postino user remove pippo@example.org --yes"
)]
pub(crate) enum UserCommand {
    /// Add a mailbox
    Add {
        /// user@domain
        #[arg(required_unless_present = "batch")]
        address: Option<String>,
        #[command(flatten)]
        password: PasswordArgs,
        /// Add many: lines `address password` of this file (`-`: standard input)
        #[arg(long, value_name = "FILE", conflicts_with = "address")]
        batch: Option<PathBuf>,
        /// Quota (without: the domain's default)
        #[arg(long, conflicts_with = "batch")]
        quota: Option<String>,
        /// Comment, often the person's name
        #[arg(long, conflicts_with = "batch")]
        comment: Option<String>,
    },
    /// Show or set what a mailbox may not do (no-pop, no-imap, no-relay, bounce, …)
    Limit(limits::LimitArgs),
    /// Remove a mailbox with its mail
    Remove {
        /// user@domain
        address: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Set a new password
    Password {
        /// user@domain
        address: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// List the mailboxes of a domain
    List {
        /// Domain
        domain: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one mailbox
    Show {
        /// user@domain
        address: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Set the quota kept with the account (NOQUOTA, 50M, 5000000S,1000C)
    Quota {
        /// user@domain
        address: String,
        /// Quota
        quota: String,
    },
}

#[derive(Subcommand)]
#[command(
    after_help = "Examples:\n  postino alias add info@example.org pippo@example.org pluto@example.org\n  postino alias remove info@example.org pluto@example.org\n  postino alias list example.org"
)]
pub(crate) enum AliasCommand {
    /// Add targets to an alias, making it when there is none
    Add {
        /// name@domain
        address: String,
        /// Addresses that it leads to
        #[arg(required = true)]
        targets: Vec<String>,
    },
    /// Remove targets, or the whole alias
    Remove {
        /// name@domain
        address: String,
        /// Targets (none: the whole alias)
        targets: Vec<String>,
    },
    /// List the aliases of a domain
    List {
        /// Domain
        domain: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

fn admin(place: &Place) -> anyhow::Result<Admin> {
    crate::keepers::admin(&super::load(&place.home())?)
}

fn clear(admin: Admin, args: &PasswordArgs) -> Admin {
    admin.with_clear_passwords(if args.clear { ClearPassword::Store } else { ClearPassword::LeaveOut })
}

/// A running server hears of changed control files; accounts it notices by itself.
fn done(place: &Place, change: Change) -> anyhow::Result<()> {
    for file in &change.sorted {
        eprintln!("note: {} was out of order and has been sorted", file.display());
    }
    if change.reload_needed { tell_server(&place.home()) } else { Ok(()) }
}

/// `setup` and `demo`: true when the domain was made.
pub(crate) fn add_domain_if_missing(config: &Config, domain: &str, password: &str) -> anyhow::Result<bool> {
    match crate::keepers::admin(config)?.add_domain(domain, password.as_bytes()) {
        Ok(_) => Ok(true),
        Err(AdminError::DomainExists(_)) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// `demo`: adds a user unless there.
pub(crate) fn add_user_if_missing(config: &Config, address: &str, password: &str) -> anyhow::Result<()> {
    match crate::keepers::admin(config)?.add_user(address, password.as_bytes()) {
        Ok(_) | Err(AdminError::UserExists(_)) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Runs one domain command.
pub(crate) fn domain(place: &Place, command: DomainCommand) -> anyhow::Result<i32> {
    let admin = admin(place)?;
    match command {
        DomainCommand::Add { domain, postmaster_password, password, base } => {
            let secret = match postmaster_password {
                Some(secret) => secret.into_bytes(),
                None => new_password(&password, &format!("postmaster@{domain}"))?,
            };
            done(place, clear(admin, &password).add_domain_as(&NewDomain { base, ..NewDomain::new(&domain, &secret) })?)?;
        }
        DomainCommand::Limits(args) => done(place, limits::domain(&admin, &args)?)?,
        DomainCommand::Quota { domain, quota } => done(place, limits::quota(&admin, &domain, quota.as_deref())?)?,
        DomainCommand::Remove { domain, with_aliases, yes } => {
            confirm(yes, &format!("remove the domain {domain} with all its mail"))?;
            let aliases = if with_aliases { AliasDomains::Remove } else { AliasDomains::Keep };
            done(place, admin.remove_domain(&domain, aliases)?)?;
        }
        DomainCommand::List { json } => {
            let rows: Vec<Value> =
                admin.domains()?.iter().map(|d| json!({"domain": d.name, "alias_of": d.alias_of, "directory": d.directory})).collect();
            list(rows, json, |row| match text(row, "alias_of").as_str() {
                "" => text(row, "domain"),
                real => format!("{} (alias of {real})", text(row, "domain")),
            });
        }
        DomainCommand::Show { domain, json } => show_domain(&admin, &domain, json)?,
        DomainCommand::Alias { real, alias } => done(place, admin.add_alias_domain(&real, &alias)?)?,
        DomainCommand::CatchAll { domain, action } => {
            let action = match action.as_str() {
                "bounce" => CatchAll::Bounce,
                "delete" => CatchAll::Delete,
                path if path.starts_with('/') => CatchAll::Directory(path.into()),
                name if !name.contains('@') => CatchAll::Account(name.to_owned()),
                address => CatchAll::Forward(address.to_owned()),
            };
            done(place, admin.set_catch_all(&domain, &action)?)?;
        }
    }
    Ok(0)
}

fn show_domain(admin: &Admin, domain: &str, json: bool) -> anyhow::Result<()> {
    let entry = admin.domain(domain)?;
    let users = admin.keepers().accounts.count(entry.real())?;
    let catch_all = match admin.catch_all(domain)? {
        Some(CatchAll::Bounce) => "bounce".to_owned(),
        Some(CatchAll::Delete) => "delete".to_owned(),
        Some(CatchAll::Forward(address)) => address,
        Some(CatchAll::Account(name)) => name,
        Some(CatchAll::Directory(path)) => path.display().to_string(),
        None => "its .qmail-default".to_owned(),
    };
    let row = json!({"domain": entry.name, "alias_of": entry.alias_of, "directory": entry.directory, "uid": entry.uid, "gid": entry.gid,
        "users": users, "catch_all": catch_all, "alias_domains": admin.alias_domains(domain)?});
    show(&row, json);
    Ok(())
}

/// Runs one user command.
pub(crate) fn user(place: &Place, command: UserCommand) -> anyhow::Result<i32> {
    let admin = admin(place)?;
    match command {
        UserCommand::Add { batch: Some(file), password, .. } => add_batch(place, &clear(admin, &password), &file)?,
        UserCommand::Limit(args) => done(place, limits::user(&admin, &args)?)?,
        UserCommand::Add { address, password, quota, comment, .. } => {
            let address = address.context("an address is wanted")?;
            // Before anything is asked for.
            let (name, domain) = address.rsplit_once('@').with_context(|| format!("{address}: an address is user@domain"))?;
            admin.domain(domain)?;
            let secret = new_password(&password, &address)?;
            let new = NewUser { quota, comment, ..NewUser { secret: NewSecret::Password(secret), ..NewUser::new(name, b"") } };
            done(place, clear(admin, &password).add_users(domain, &[new])?)?;
        }
        UserCommand::Remove { address, yes } => {
            confirm(yes, &format!("remove {address} with all mail"))?;
            done(place, admin.remove_user(&address)?)?;
        }
        UserCommand::Password { address, password } => {
            // Before anything is asked for.
            admin.user(&address)?;
            let secret = new_password(&password, &address)?;
            done(place, clear(admin, &password).set_password(&address, &secret)?)?;
        }
        UserCommand::List { domain, json } => {
            let rows = admin.users(&domain)?.iter().map(user_json).collect();
            list(rows, json, |row| text(row, "address"));
        }
        UserCommand::Show { address, json } => show(&user_json(&admin.user(&address)?), json),
        UserCommand::Quota { address, quota } => done(place, admin.set_quota(&address, &quota)?)?,
    }
    Ok(0)
}

fn user_json(user: &UserInfo) -> Value {
    json!({"address": user.address, "comment": user.comment, "directory": user.directory, "quota": user.quota, "flags": user.flags,
        "can_log_in": user.has_password, "apop": user.has_clear})
}

/// One rewrite of each domain's files, however many lines.
fn add_batch(place: &Place, admin: &Admin, file: &std::path::Path) -> anyhow::Result<()> {
    let content = read_source(file)?;
    let mut domains: BTreeMap<String, Vec<NewUser>> = BTreeMap::new();
    for (number, line) in content.lines().enumerate().filter(|(_, l)| !l.trim().is_empty() && !l.starts_with('#')) {
        let parts = line.split_once([' ', '\t']).and_then(|(address, password)| Some((address.rsplit_once('@')?, password.trim())));
        let Some(((name, domain), password)) = parts.filter(|(_, password)| !password.is_empty()) else {
            bail!("{}, line {}: `address password` is wanted", file.display(), number + 1);
        };
        domains.entry(domain.to_ascii_lowercase()).or_default().push(NewUser::new(name, password.as_bytes()));
    }
    let total: usize = domains.values().map(Vec::len).sum();
    let bar = indicatif::ProgressBar::new(total as u64);
    for (domain, users) in &domains {
        done(place, admin.add_users(domain, users)?)?;
        bar.inc(users.len() as u64);
    }
    bar.finish_and_clear();
    say(&format!("{total} users added"));
    Ok(())
}

/// Runs one alias command.
pub(crate) fn alias(place: &Place, command: AliasCommand) -> anyhow::Result<i32> {
    let admin = admin(place)?;
    match command {
        AliasCommand::Add { address, targets } => {
            for target in targets {
                done(place, admin.add_alias(&address, &target)?)?;
            }
        }
        AliasCommand::Remove { address, targets } if targets.is_empty() => done(place, admin.remove_alias(&address, None)?)?,
        AliasCommand::Remove { address, targets } => {
            for target in targets {
                done(place, admin.remove_alias(&address, Some(&target))?)?;
            }
        }
        AliasCommand::List { domain, json } => {
            let rows = admin.aliases(&domain)?.iter().map(|a| json!({"address": a.address, "lines": a.lines})).collect();
            list(rows, json, |row| {
                let lines: Vec<&str> = row.get("lines").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
                format!("{} -> {}", text(row, "address"), lines.join(", "))
            });
        }
    }
    Ok(0)
}

fn text(row: &Value, key: &str) -> String {
    row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn list(rows: Vec<Value>, json: bool, line: impl Fn(&Value) -> String) {
    if json {
        print_json(&Value::Array(rows));
        return;
    }
    for row in &rows {
        say(&line(row));
    }
}

fn show(row: &Value, json: bool) {
    if json {
        print_json(row);
        return;
    }
    for (key, value) in row.as_object().into_iter().flatten().filter(|(_, v)| !v.is_null()) {
        say(&format!("{key:<12} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
    }
}

fn read_source(file: &std::path::Path) -> anyhow::Result<String> {
    if file.as_os_str() == "-" {
        let mut content = String::new();
        std::io::stdin().read_to_string(&mut content).context("standard input")?;
        return Ok(content);
    }
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// A password from a file, or from standard input (`-`).
pub(super) fn first_line(file: &std::path::Path) -> anyhow::Result<String> {
    Ok(read_source(file)?.lines().next().unwrap_or_default().to_owned())
}

fn new_password(args: &PasswordArgs, whose: &str) -> anyhow::Result<Vec<u8>> {
    if let Some(file) = &args.password_file {
        return first_line(file).map(String::into_bytes);
    }
    if !std::io::stdin().is_terminal() {
        bail!("no terminal to ask for the password of {whose}; give --password-file");
    }
    let first = ask_without_echo(&format!("New password for {whose}: "))?;
    let second = ask_without_echo("Again: ")?;
    if first != second {
        bail!("the two passwords differ; nothing was changed");
    }
    Ok(first)
}

fn ask_without_echo(prompt: &str) -> anyhow::Result<Vec<u8>> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let stdin = std::io::stdin();
    eprint!("{prompt}");
    std::io::stderr().flush()?;
    let before = tcgetattr(&stdin).context("terminal")?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &silent).context("terminal")?;
    let mut line = String::new();
    let read = stdin.read_line(&mut line);
    let restored = tcsetattr(&stdin, OptionalActions::Now, &before);
    eprintln!();
    read.context("terminal")?;
    restored.context("terminal")?;
    Ok(line.trim_end_matches(['\n', '\r']).as_bytes().to_vec())
}

fn confirm(yes: bool, what: &str) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        bail!("this would {what}; say --yes if that is meant");
    }
    eprint!("{what}? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if answer.trim().eq_ignore_ascii_case("y") {
        return Ok(());
    }
    bail!("nothing was changed")
}
