//! `postino config …`: the control directory by name. Reads and writes through crate `control`; tells a running server after a change.

use super::{Place, print_json, say};
use crate::control_socket::Client;
use anyhow::{Context, bail};
use clap::Subcommand;
use postino_control::show::{self, Row};
use postino_control::table::{self, Home, Reload, Setting};
use serde_json::{Value, json};
use std::path::Path;

#[derive(Subcommand)]
#[command(
    after_help = "Examples:\n  postino config list\n  postino config get queuelifetime\n  postino config set concurrencyremote 50\n  postino config set limits.message_bytes_max 26214400\n  postino config unset concurrencyremote\n  postino config doc smtproutes\n  postino config doc limits\n  postino config doc"
)]
pub(crate) enum ConfigCommand {
    /// Every setting: value, where it comes from, when a change counts
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// One setting's value
    Get {
        /// Name of the file, or dotted key of server.toml
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a setting (checked first, durable, a running server is told)
    Set {
        /// Name
        name: String,
        /// Value; entries of lists parted by commas
        value: String,
    },
    /// Back to the default
    Unset {
        /// Name
        name: String,
    },
    /// Explain a setting, or all keys of a table of server.toml; without a name, list the tables
    Doc {
        /// Name of a setting or of a table
        name: Option<String>,
    },
}

/// Runs one config command.
pub(crate) fn run(place: &Place, command: ConfigCommand) -> anyhow::Result<i32> {
    let home = place.home();
    match command {
        ConfigCommand::List { json: true } => {
            print_json(&Value::Array(show::rows(&super::load_quietly(&home)?).iter().map(row_json).collect()))
        }
        ConfigCommand::List { json: false } => say(show::showctl(&super::load_quietly(&home)?).trim_end()),
        ConfigCommand::Get { name, json } => get(&home, &name, json)?,
        ConfigCommand::Set { name, value } => {
            let setting = find(&name)?;
            let old = read(&home, setting)?;
            let new = postino_control::edit::set(setting, &value, old.as_deref()).with_context(|| format!("{name} = {value:?}"))?;
            write(&home, setting, Some(&new))?;
        }
        ConfigCommand::Unset { name } => {
            let setting = find(&name)?;
            let old = read(&home, setting)?;
            let new = postino_control::edit::unset(setting, old.as_deref())?;
            write(&home, setting, new.as_deref())?;
        }
        ConfigCommand::Doc { name: Some(name) } => doc(&name)?,
        ConfigCommand::Doc { name: None } => tables(),
    }
    Ok(0)
}

/// One setting, or every key of a table of server.toml, or both: `rbl` is a file and a table.
fn doc(name: &str) -> anyhow::Result<()> {
    let of_table = |s: &&Setting| s.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    let settings: Vec<&Setting> = table::find(name).into_iter().chain(table::settings().filter(of_table)).collect();
    for setting in if settings.is_empty() { vec![find(name)?] } else { settings } {
        say(show::doc(setting).trim_end());
    }
    Ok(())
}

/// The tables of server.toml with their keys.
fn tables() {
    let mut tables: Vec<(&str, Vec<&str>)> = Vec::new();
    for (table, key) in table::settings().filter(|s| s.home == Home::Toml).filter_map(|s| s.name.split_once('.')) {
        match tables.iter_mut().find(|(known, _)| *known == table) {
            Some((_, keys)) => keys.push(key),
            None => tables.push((table, vec![key])),
        }
    }
    for (table, keys) in tables {
        say(&format!("{table}: {}", keys.join(" ")));
    }
}

fn find(name: &str) -> anyhow::Result<&'static Setting> {
    match (table::find(name), table::nearest(name)) {
        (Some(setting), _) => Ok(setting),
        (None, Some(near)) => bail!("there is no setting {name:?}; is {near:?} meant? (`postino config list` shows all)"),
        (None, None) => bail!("there is no setting {name:?} (`postino config list` shows all)"),
    }
}

fn row_json(row: &Row) -> Value {
    json!({"name": row.setting.name, "value": row.value.text, "origin": row.origin(), "reload": row.setting.reload.name(), "help": row.setting.help})
}

fn get(home: &Path, name: &str, json: bool) -> anyhow::Result<()> {
    let setting = find(name)?;
    let loaded = super::load_quietly(home)?;
    let row = show::row(&loaded, setting).with_context(|| format!("{name} has no value"))?;
    if json {
        print_json(&row_json(&row));
    } else {
        say(&row.value.text);
    }
    Ok(())
}

fn read(home: &Path, setting: &Setting) -> anyhow::Result<Option<Vec<u8>>> {
    let path = home.join(setting.file());
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn write(home: &Path, setting: &Setting, content: Option<&[u8]>) -> anyhow::Result<()> {
    let path = home.join(setting.file());
    match content {
        Some(content) => {
            let mode = if setting.kind.is_secret() { 0o600 } else { 0o644 };
            postino_disk::replace_file(&path, content, mode).with_context(|| format!("cannot write {}", path.display()))?;
        }
        None => match std::fs::remove_file(&path) {
            Ok(()) => postino_disk::sync_dir(&home.join("control")).context("control")?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).with_context(|| format!("cannot remove {}", path.display())),
        },
    }
    if setting.reload == Reload::Restart {
        say(&format!("{} counts after a restart", setting.name));
        return Ok(());
    }
    tell_server(home).with_context(|| format!("{} is written, but it does not count yet", path.display()))
}

/// A running server rereads; none running is fine.
pub(crate) fn tell_server(home: &Path) -> anyhow::Result<()> {
    if let Some(mut client) = Client::connect(home)? {
        client.ask(&json!({"do": "reload"})).context("the running server keeps its old configuration")?;
    }
    Ok(())
}
