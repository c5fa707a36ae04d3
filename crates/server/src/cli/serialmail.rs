//! `postino serialmail …`: links of control/links switched on and off. Asks the running server; opens no queue itself.

use super::{Place, print_json, say};
use crate::control_socket::Client;
use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::{Value, json};
use std::time::Duration;

/// How often `--wait` looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Something is left for another time, as maildirserial says it.
const LEFT: i32 = 111;

#[derive(Subcommand)]
#[command(
    after_help = "Examples:\n  postino serialmail up ppp --wait    # in ip-up: send what waits, then go on\n  postino serialmail down ppp         # in ip-down\n  postino serialmail fetch provider   # by ATRN, what a provider keeps for us\n  postino serialmail status\n\nLinks stand in control/links: NAME DESTINATIONS SERVER[:PORT]|caller[:PORT]|- manual|HH:MM-HH:MM[/DAYS] ..."
)]
pub(crate) enum SerialmailCommand {
    /// The link is there: send its mail
    Up {
        /// Name in control/links
        name: String,
        /// End only when everything was tried: exit 0 when nothing is left, else 111
        #[arg(long)]
        wait: bool,
        /// Down again by itself after so many seconds
        #[arg(long = "for", value_name = "SECONDS")]
        seconds: Option<u64>,
    },
    /// The link is gone: hold its mail
    Down {
        /// Name in control/links
        name: String,
    },
    /// Take the mail that a provider keeps for our domains, by ATRN (RFC 2645)
    Fetch {
        /// Name in control/links
        name: String,
    },
    /// Links, and how many messages wait for each
    Status {
        /// Print an array of {name, up, messages, under_way, destinations, server}
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(place: &Place, command: SerialmailCommand) -> anyhow::Result<i32> {
    let home = place.home();
    let mut client = Client::connect(&home)?.with_context(|| format!("no server runs on {}", home.display()))?;
    match command {
        SerialmailCommand::Up { name, wait, seconds } => {
            let reply = client.ask(&json!({"do": "link-up", "name": name, "for": seconds}))?;
            let messages = number(&reply, "messages");
            say(&format!("link {name} is up, {messages} {} to send", if messages == 1 { "message" } else { "messages" }));
            if wait { wait_for(&mut client, &name) } else { Ok(0) }
        }
        SerialmailCommand::Down { name } => {
            client.ask(&json!({"do": "link-down", "name": name}))?;
            say(&format!("link {name} is down"));
            Ok(0)
        }
        SerialmailCommand::Fetch { name } => {
            let reply = client.ask(&json!({"do": "link-fetch", "name": name}))?;
            let mail = reply.get("mail").and_then(Value::as_bool) == Some(true);
            say(if mail { "the provider has sent what it had" } else { "no mail" });
            Ok(0)
        }
        SerialmailCommand::Status { json } => {
            let reply = client.ask(&json!({"do": "links"}))?;
            let links = reply.get("links").cloned().unwrap_or_default();
            if json {
                print_json(&links);
            } else {
                show(&links);
            }
            Ok(0)
        }
    }
}

fn wait_for(client: &mut Client, name: &str) -> anyhow::Result<i32> {
    loop {
        let reply = client.ask(&json!({"do": "link-state", "name": name}))?;
        if number(&reply, "under_way") == 0 {
            break;
        }
        if reply.get("up").and_then(Value::as_bool) != Some(true) {
            bail!("link {name} went down with mail still to send");
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let reply = client.ask(&json!({"do": "links"}))?;
    let links = reply.get("links").and_then(Value::as_array).cloned().unwrap_or_default();
    let left = links.iter().find(|link| text(link, "name") == name).map_or(0, |link| number(link, "messages"));
    say(&format!("{left} left"));
    Ok(if left == 0 { 0 } else { LEFT })
}

fn show(links: &Value) {
    let links = links.as_array().cloned().unwrap_or_default();
    if links.is_empty() {
        say("control/links names no link");
    }
    for link in links {
        let up = link.get("up").and_then(Value::as_bool) == Some(true);
        let server = match text(&link, "server") {
            "" => String::new(),
            server => format!(" by {server}"),
        };
        let destinations: Vec<&str> =
            link.get("destinations").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let (name, messages) = (text(&link, "name"), number(&link, "messages"));
        say(&format!("{name}: {}, {messages} waiting, for {}{server}", if up { "up" } else { "down" }, destinations.join(" ")));
    }
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
