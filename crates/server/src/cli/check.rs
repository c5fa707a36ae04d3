//! `postino check` (configuration and environment) and `postino check-store` (queue and bodies). Both only look, unless `--repair` is given.

use super::{Place, print_json, say};
use clap::Args;
use serde_json::json;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  postino check\n  postino check --json\n\nExit code 1 when something would keep the server from starting or working."
)]
pub(crate) struct CheckArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  postino check-store\n  postino check-store --repair\n\nThe server must be stopped. Exit code 1 names what is broken."
)]
pub(crate) struct CheckStoreArgs {
    /// Remove leftovers that nothing refers to
    #[arg(long)]
    repair: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Checks without starting.
pub(crate) fn run(place: &Place, args: &CheckArgs) -> anyhow::Result<i32> {
    let home = place.home();
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    match postino_control::load(&home) {
        Ok(loaded) => {
            warnings.extend(loaded.warnings.iter().map(ToString::to_string));
            environment(&loaded.config, &mut errors, &mut warnings);
        }
        Err(problems) => errors.extend(problems.iter().map(ToString::to_string)),
    }
    if args.json {
        print_json(&json!({"home": home, "errors": errors, "warnings": warnings}));
    } else {
        for line in &warnings {
            eprintln!("warning: {line}");
        }
        for line in &errors {
            eprintln!("error: {line}");
        }
        if errors.is_empty() {
            say(&format!("{} can be served", home.display()));
        }
    }
    Ok(i32::from(!errors.is_empty()))
}

fn environment(config: &postino_control::Config, errors: &mut Vec<String>, warnings: &mut Vec<String>) {
    if nix::unistd::geteuid().is_root() && nix::unistd::User::from_name(&config.server.user).ok().flatten().is_none() {
        errors.push(format!(
            "server.toml: user = {:?}: there is no such account; make it with: useradd --system --no-create-home {0}",
            config.server.user
        ));
    }
    for identity in &config.server.tls {
        if let Err(e) = postino_net::tls::Identity::read(identity) {
            errors.push(format!("server.toml: [[tls]] {}: {e}", identity.host));
        }
    }
    for (name, path) in [("queue", config.home.join("queue")), ("domains", config.vpopmail_home.join("domains"))] {
        match path.try_exists() {
            Ok(true) => {}
            Ok(false) => warnings.push(format!("{} does not exist yet; `postino serve` makes it ({name})", path.display())),
            Err(e) => errors.push(format!("{}: {e}", path.display())),
        }
    }
}

/// Checks the queue offline.
pub(crate) fn run_store(place: &Place, args: &CheckStoreArgs) -> anyhow::Result<i32> {
    let home = place.home();
    let report = crate::compose::check_queue(&home, args.repair)?;
    if args.json {
        print_json(&json!({"entries": report.entries, "body_files": report.body_files, "orphans": report.orphans,
            "problems": report.problems, "repaired": report.repaired}));
        return Ok(i32::from(!report.is_sound()));
    }
    say(&format!("{} messages, {} body files, {} leftovers", report.entries, report.body_files, report.orphans));
    for line in &report.repaired {
        say(&format!("repaired: {line}"));
    }
    for line in &report.problems {
        eprintln!("broken: {line}");
    }
    if report.is_sound() {
        say(&format!("the queue of {} is whole", home.display()));
    }
    Ok(i32::from(!report.is_sound()))
}
