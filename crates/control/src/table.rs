//! One table of all settings. The parser, `config`, `check`, qmail-showctl and the reference page are made from it, so a setting is
//! described once. Each setting has exactly one home: a classic file or a key of `server.toml`. Never reads a file itself.

mod classic;
mod directory;
mod server;
mod vpopmail;

use crate::resolved::Config;
use crate::tcprules::Rules;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Where a setting lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// The file `control/NAME`.
    File,
    /// The key NAME (dotted) of `control/server.toml`.
    Toml,
}

/// When a change counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// At once, without a signal.
    Live,
    /// After SIGHUP (`postino serve`); the historical programs read their files at each run.
    Hup,
    /// After a restart.
    Restart,
}

impl Reload {
    /// As shown to people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Hup => "HUP",
            Self::Restart => "restart",
        }
    }
}

/// Lines (from 1) and what is wrong with each.
pub type RowProblems = Vec<(usize, String)>;

/// The shape of a value and the place in [`Config`] that it fills.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// One line of text.
    Line(fn(&mut Config, String)),
    /// One line of text that defaults to the content of `me`.
    LineOrMe(fn(&mut Config, String)),
    /// A number within bounds.
    Number {
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
        /// Stores it.
        set: fn(&mut Config, u64),
    },
    /// true or false.
    Flag(fn(&mut Config, bool)),
    /// One of a few words.
    Choice(&'static [&'static str], fn(&mut Config, &str)),
    /// A list of hosts or addresses, compared without regard to case.
    Hosts(fn(&mut Config) -> &mut HashSet<Vec<u8>>),
    /// A list of words, order kept.
    Words(fn(&mut Config, Vec<String>)),
    /// A `key:value` list.
    Pairs(fn(&mut Config) -> &mut HashMap<Vec<u8>, Vec<u8>>),
    /// smtproutes.
    Routes,
    /// Logins for smtproutes.
    RouteLogins,
    /// Rules by client address.
    Rules(fn(&mut Config) -> &mut Rules),
    /// The text source of a cdb; only the cdb is read.
    CdbSource,
    /// A table with a syntax of its own; what is wrong comes with its line.
    Rows(fn(&mut Config, &[u8]) -> Result<(), RowProblems>),
    /// The whole file.
    Text(fn(&mut Config, Vec<u8>)),
    /// An absolute path.
    Path(fn(&mut Config, PathBuf)),
    /// A list of `address:port`, or addresses alone with the port given here.
    Sockets(u16, fn(&mut Config, Vec<SocketAddr>)),
    /// A list of IP addresses.
    Ips(fn(&mut Config, Vec<IpAddr>)),
    /// Certificates (`[[tls]]` tables).
    Identities,
    /// Accounts on other servers (`[[fetch]]` tables).
    Accounts,
}

impl Kind {
    /// As shown to people.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Line(_) | Self::LineOrMe(_) => "line",
            Self::Number { .. } => "number",
            Self::Flag(_) => "true/false",
            Self::Choice(..) => "word",
            Self::Hosts(_) | Self::Words(_) => "list",
            Self::Pairs(_) | Self::Routes => "key:value list",
            Self::RouteLogins => "secret list",
            Self::Rules(_) => "rules",
            Self::Rows(_) => "table",
            Self::CdbSource => "list, compiled to a cdb",
            Self::Text(_) => "text",
            Self::Path(_) => "path",
            Self::Sockets(..) => "list of address:port",
            Self::Ips(_) => "list of addresses",
            Self::Identities | Self::Accounts => "tables",
        }
    }

    /// True when the value must not be shown.
    #[must_use]
    pub const fn is_secret(&self) -> bool {
        matches!(self, Self::RouteLogins)
    }
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name: the file's name, or the dotted key.
    pub name: &'static str,
    /// Where it lives.
    pub home: Home,
    /// Shape and place.
    pub kind: Kind,
    /// The default, as text; `me` for the content of that file, empty for none.
    pub default: &'static str,
    /// Unit of the value, empty without.
    pub unit: &'static str,
    /// When a change counts.
    pub reload: Reload,
    /// One line of help.
    pub help: &'static str,
    /// `config set` and the administrator's pages may write it.
    pub editable: bool,
}

impl Setting {
    /// The file that holds it, relative to the home.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        match self.home {
            Home::File => PathBuf::from("control").join(self.name),
            Home::Toml => PathBuf::from(SERVER_TOML),
        }
    }
}

/// Where everything lives that qmail never had, relative to the home.
pub const SERVER_TOML: &str = "control/server.toml";

/// All settings: classic files by name, then the keys of `server.toml` by section.
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    classic::SETTINGS.iter().chain(server::SETTINGS).chain(vpopmail::SETTINGS).chain(directory::SETTINGS)
}

/// The setting of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Setting> {
    settings().find(|s| s.name == name)
}

/// The name most like `wrong` (in any home), when one is near enough to be worth a guess.
#[must_use]
pub fn nearest(wrong: &str) -> Option<&'static str> {
    let near = settings().map(|s| (distance(wrong, s.name), s.name)).min()?;
    (near.0 <= wrong.len().max(4) / 2).then_some(near.1)
}

/// Levenshtein distance; names are short.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().take(200).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let cost = diagonal + usize::from(x != y);
            diagonal = *cell;
            *cell = cost.min(*cell + 1).min(left + 1);
            left = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_key_sets_disjoint() {
        let mut seen = HashSet::new();
        for s in settings() {
            assert!(seen.insert(s.name), "{} twice", s.name);
            assert!(!s.help.is_empty() && s.help.ends_with('.'), "{}: help", s.name);
        }
        let files: HashSet<_> = settings().filter(|s| s.home == Home::File).map(|s| s.name).collect();
        for s in settings().filter(|s| s.home == Home::Toml) {
            assert!(!files.contains(s.name));
        }
    }

    #[test]
    fn nearest_names() {
        assert_eq!(nearest("limits.mesage_bytes_max"), Some("limits.message_bytes_max"));
        assert_eq!(nearest("sandbx"), Some("sandbox"));
        assert_eq!(nearest("zzzzzzzzzzzzzzzzz"), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
