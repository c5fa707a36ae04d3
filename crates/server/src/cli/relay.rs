//! `postino relay …`: the addresses that may send mail to other hosts since somebody logged in from there (roaming users). Works on the keeper of the
//! rows and tells a running server to look. Asks for no password: whoever may write the rows may do this.

use super::{Place, print_json, say};
use crate::control_socket::Client;
use anyhow::Context;
use clap::Subcommand;
use postino_directory::roaming::Roaming;
use postino_ports::clock::Clock as _;
use serde_json::json;
use std::net::IpAddr;
use std::path::Path;

#[derive(Subcommand)]
#[command(
    after_help = "Examples:\n  postino relay list --json\n  postino relay open 192.0.2.33\n  postino relay close 192.0.2.33\n  postino relay clear\n\nLogins open addresses only where vpopmail.roaming-users is true; vpopmail.relay-clear-minutes says for how long.\nExit codes: 0 done, 1 not (close: the address was not open)."
)]
pub(crate) enum RelayCommand {
    /// The open addresses, with the times of the last logins and of their end
    List {
        /// Print an array of {address, since, until}, times in Unix seconds
        #[arg(long)]
        json: bool,
    },
    /// Open an address as a login from there would
    Open {
        /// IPv4 or IPv6 address
        address: IpAddr,
        /// Print {address, new}
        #[arg(long)]
        json: bool,
    },
    /// Close an address before its time
    Close {
        /// IPv4 or IPv6 address
        address: IpAddr,
        /// Print {address, closed}
        #[arg(long)]
        json: bool,
    },
    /// Forget what has run out and compile the rules anew, as clearopensmtp does
    Clear {
        /// Print {cleared}
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(place: &Place, command: &RelayCommand) -> anyhow::Result<i32> {
    let home = place.home();
    let config = super::load(&home)?;
    let settings = &config.vpopmail;
    let relays = crate::keepers::relays(&config)?;
    let roaming = Roaming::new(relays, &config.vpopmail_home, settings.tcpserver_file.as_deref(), settings.relay_clear);
    let now = crate::clock::SystemClock::new().now().secs();
    match command {
        RelayCommand::List { json } => list(&roaming, now, *json),
        RelayCommand::Open { address, json } => {
            roaming.prepare()?;
            let is_new = roaming.open(*address, now)?;
            tell(&home)?;
            if *json {
                print_json(&json!({"address": address.to_canonical(), "new": is_new}));
            } else if !settings.roaming_users {
                say("open for tcpserver's rules; postino serve looks at it only where vpopmail.roaming-users is true");
            }
            Ok(0)
        }
        RelayCommand::Close { address, json } => {
            let closed = roaming.close(*address)?;
            tell(&home)?;
            if *json {
                print_json(&json!({"address": address.to_canonical(), "closed": closed}));
            } else if !closed {
                say("it was not open");
            }
            Ok(i32::from(!closed))
        }
        RelayCommand::Clear { json } => {
            let cleared = roaming.clear(now)?;
            tell(&home)?;
            if *json {
                print_json(&json!({"cleared": cleared}));
            } else {
                say(&format!("{cleared} {} had run out", if cleared == 1 { "address" } else { "addresses" }));
            }
            Ok(0)
        }
    }
}

fn list(roaming: &Roaming, now: i64, json: bool) -> anyhow::Result<i32> {
    let mut rows = roaming.open_at(now)?;
    rows.sort_by_key(|(_, at)| *at);
    let keep = now.saturating_sub(roaming.until(now));
    if json {
        let rows: Vec<_> = rows.iter().map(|(ip, at)| json!({"address": ip, "since": at, "until": at.saturating_add(keep)})).collect();
        print_json(&json!(rows));
        return Ok(0);
    }
    for (ip, at) in rows {
        let left = at.saturating_add(keep).saturating_sub(now);
        say(&format!("{ip:40} {} minutes left", left.saturating_add(59) / 60));
    }
    Ok(0)
}

/// A running server looks at once instead of within seconds.
fn tell(home: &Path) -> anyhow::Result<()> {
    if let Some(mut client) = Client::connect(home)? {
        client.ask(&json!({"do": "relays-look"})).context("the running server did not look at the change")?;
    }
    Ok(())
}
