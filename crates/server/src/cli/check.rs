//! `postino check` (configuration and environment) and `postino check-store` (queue, bodies, domains). Both only look, unless `--repair` is given; a
//! change of domains or accounts that died half-way is finished or undone all the same, as the next change would do.

use super::{Place, print_json, say};
use crate::environment::{self, Findings};
use clap::Args;
use postino_directory::admin::AdminError;
use serde_json::json;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  postino check\n  postino check --json\n\nErrors keep the server from starting or working (exit code 1), warnings want a look, notes are lines without effect. Ports are tried\nunless a server runs on this home."
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
    let (mut found, mut notes) = (Findings::default(), Vec::new());
    match postino_control::load(&home) {
        Ok(loaded) => {
            found = environment::look(&loaded.config);
            found.warnings.extend(loaded.warnings.iter().map(ToString::to_string));
            notes.extend(loaded.notes.iter().map(ToString::to_string));
        }
        Err(problems) => found.errors.extend(problems.iter().map(ToString::to_string)),
    }
    let Findings { errors, warnings } = found;
    if args.json {
        print_json(&json!({"home": home, "errors": errors, "warnings": warnings, "notes": notes}));
    } else {
        for (word, lines) in [("note", &notes), ("warning", &warnings), ("error", &errors)] {
            for line in lines {
                eprintln!("{word}: {line}");
            }
        }
        if errors.is_empty() {
            say(&format!("{} can be served", home.display()));
        }
    }
    Ok(i32::from(!errors.is_empty()))
}

/// Checks the queue offline.
pub(crate) fn run_store(place: &Place, args: &CheckStoreArgs) -> anyhow::Result<i32> {
    let home = place.home();
    let (finished, wrong) = check_domains(&home)?; // with the caller's rights
    crate::home::become_queue_owner(&home)?;
    let mut report = crate::compose::check_queue(&home, args.repair)?;
    report.repaired.extend(finished);
    report.problems.extend(wrong);
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
        say(&format!("the queue and the domains of {} are whole", home.display()));
    }
    Ok(i32::from(!report.is_sound()))
}

/// What a dead change left (and is now put right), and what is wrong with domains and accounts.
fn check_domains(home: &std::path::Path) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let Ok(loaded) = postino_control::load(home) else { return Ok((Vec::new(), Vec::new())) }; // `postino check` says why
    let Ok(admin) = crate::keepers::admin(&loaded.config) else { return Ok((Vec::new(), Vec::new())) };
    let finished = match admin.recover() {
        Err(AdminError::Io { source, .. }) if source.kind() == std::io::ErrorKind::PermissionDenied => Vec::new(), // somebody who may only look
        other => other?,
    };
    Ok((finished, admin.check()?))
}
