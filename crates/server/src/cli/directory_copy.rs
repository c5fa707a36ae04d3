//! `postino directory copy`: accounts from one store to another, read back and compared. What is the same is left alone, so it can be run again after
//! anything; the source is never changed.

use super::{Place, print_json, say};
use crate::keepers::{Purpose, open};
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use postino_control::directory::Store;
use postino_directory::admin::Admin;
use postino_directory::copy::{Copied, WithAliases, copy_domain};
use serde_json::json;
use std::io::IsTerminal as _;

#[derive(Subcommand)]
#[command(
    after_help = "Examples:\n  postino directory copy --from files --to postgresql\n  postino directory copy --from mysql --to files --domain example.org --json"
)]
pub(crate) enum DirectoryCommand {
    /// Copy the accounts of domains from one store to another and read them back
    Copy(CopyArgs),
}

#[derive(Args)]
pub(crate) struct CopyArgs {
    /// files, sqlite, postgresql, mysql, odbc or ldap
    #[arg(long, value_name = "STORE", value_parser = Store::NAMES)]
    from: String,
    /// The same
    #[arg(long, value_name = "STORE", value_parser = Store::NAMES)]
    to: String,
    /// Only this domain (may be given again)
    #[arg(long = "domain", value_name = "DOMAIN")]
    domains: Vec<String>,
    /// Copy alias lines too (.qmail-NAME files count in any case)
    #[arg(long)]
    aliases: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The command.
pub(crate) fn run(place: &Place, command: &DirectoryCommand) -> anyhow::Result<i32> {
    let DirectoryCommand::Copy(args) = command;
    let named = |name: &str| Store::named(name).with_context(|| format!("no store is called {name}"));
    let (from, to) = (named(&args.from)?, named(&args.to)?);
    if from == to {
        bail!("--from and --to are the same store");
    }
    let config = super::load(&place.home())?;
    let (source, target) = (open(&config, from, Purpose::Changing)?, open(&config, to, Purpose::Changing)?);
    let known = Admin::for_config(&config)?.domains()?;
    let mut domains: Vec<String> = known.into_iter().filter(|entry| entry.alias_of.is_none()).map(|entry| entry.name).collect();
    for wanted in &args.domains {
        if !domains.contains(&wanted.to_ascii_lowercase()) {
            bail!("domain {wanted} does not exist, or is an alias");
        }
    }
    domains.retain(|domain| args.domains.is_empty() || args.domains.iter().any(|wanted| wanted.eq_ignore_ascii_case(domain)));
    let aliases = if args.aliases { WithAliases::Yes } else { WithAliases::No };
    let mut done = Vec::new();
    for domain in domains {
        let total = source.accounts.count(&domain).with_context(|| format!("accounts of {domain}"))?;
        let bar = if !args.json && std::io::stderr().is_terminal() {
            indicatif::ProgressBar::new(total)
        } else {
            indicatif::ProgressBar::hidden()
        };
        bar.set_message(domain.clone());
        let copied = copy_domain(&source, &target, &domain, aliases, &mut || bar.inc(1))?;
        bar.finish_and_clear();
        if !args.json {
            say(&line(&domain, copied));
        }
        done.push((domain, copied));
    }
    if args.json {
        let rows: Vec<_> = done.iter().map(|(domain, c)| json!({"domain": domain, "added": c.added, "changed": c.changed, "same": c.same, "aliases": c.aliases, "only_there": c.only_there})).collect();
        print_json(&json!({"from": from.name(), "to": to.name(), "domains": rows}));
    }
    Ok(0)
}

fn line(domain: &str, copied: Copied) -> String {
    let Copied { added, changed, same, aliases, only_there } = copied;
    let more = if only_there > 0 { format!("; {only_there} only in the target, left alone") } else { String::new() };
    format!("{domain}: {added} added, {changed} changed, {same} the same, {aliases} aliases written{more}")
}
