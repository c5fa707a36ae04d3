//! vdelivermail '' ACTION: delivers the message on standard input to the user of a virtual domain. Run by qmail-local from a domain's `.qmail-default`,
//! as the domain's owner; EXT names the user, HOST the domain. Its words become the delivery's report. Unlike the original it always syncs what it writes.

mod lines;
mod message;

use crate::World;
use crate::complaint::say;
use crate::domains::{self, Domain};
use lines::{Place, Told};
use message::Message;
use postino_directory::names;
use postino_local::loop_check::{Compare, LineSearch};
use postino_types::account::{FLAG_BOUNCE_MAIL, Quota, Record};
use postino_types::exit;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

const NO_MAILBOX: &str = "Sorry, no mailbox here by that name. (#5.1.1)";
/// Longest `.no-user.msg`, bytes.
const TEXT_BYTES_MAX: u64 = 65_536;

/// How it ends, if not by going on: exit code, and words that are printed as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stop {
    code: i32,
    text: Vec<u8>,
}

impl Stop {
    fn hard(text: impl Into<Vec<u8>>) -> Self {
        Self { code: exit::HARD, text: text.into() }
    }

    fn soft(text: impl Into<Vec<u8>>) -> Self {
        Self { code: exit::SOFT, text: text.into() }
    }
}

/// One delivery.
struct Delivery<'w> {
    world: &'w World,
    domain: Domain,
    /// The user part as it came, lower case.
    user: String,
    /// `user@host` as it came.
    asked: String,
    message: Message,
}

/// The program.
pub(crate) fn run(world: &World, args: &[OsString]) -> i32 {
    match work(world, args) {
        Ok(()) => exit::OK,
        Err(stop) => {
            say(&String::from_utf8_lossy(&stop.text));
            stop.code
        }
    }
}

fn work(world: &World, args: &[OsString]) -> Result<(), Stop> {
    let [_, action] = args else { return Err(Stop::soft("vdelivermail: invalid syntax in .qmail-default file\n")) };
    let lower = |name: &str| std::env::var_os(name).unwrap_or_default().into_vec().to_ascii_lowercase();
    let (user, host) = (lower("EXT"), lower("HOST"));
    if user.is_empty() || !user.iter().all(|&b| names::is_user_byte(b)) {
        return Err(Stop::hard("invalid username\n"));
    }
    let (Ok(user), Ok(host)) = (String::from_utf8(user), String::from_utf8(host)) else { return Err(Stop::hard("invalid username\n")) };
    let domain = match domains::find(&world.config, &host) {
        Ok(Some(domain)) => domain,
        Ok(None) => return Err(Stop::soft(format!("vdelivermail: {host} is no virtual domain of this machine\n"))),
        Err(error) => return Err(Stop::soft(format!("vdelivermail: deferred, {error}\n"))),
    };
    let message = Message::open().map_err(|error| Stop::soft(format!("vdelivermail: cannot read the message: {error}\n")))?;
    if message.bytes() == 0 {
        return Ok(());
    }
    let asked = format!("{user}@{host}");
    let delivery = Delivery { world, domain, user, asked, message };
    delivery.refuse_loop(&delivery.asked)?;
    delivery.deliver(action.as_bytes())
}

impl Delivery<'_> {
    fn refuse_loop(&self, address: &str) -> Result<(), Stop> {
        let line = format!("Delivered-To: {address}\n");
        // What qmail-local would write may be the very line already.
        let written = std::env::var_os("DTLINE").is_some_and(|said| said.as_bytes().eq_ignore_ascii_case(line.as_bytes()));
        let search = LineSearch::new(line.as_bytes(), Compare::FoldCase);
        let found = postino_local::loop_check::search(search, |at, buffer| self.message.read_at(buffer, at));
        match found {
            Ok(found) if found || written => Err(Stop::hard("mail is looping\n")),
            Ok(_) => Ok(()),
            Err(error) => Err(Stop::soft(format!("vdelivermail: cannot read the message: {error}\n"))),
        }
    }

    fn deliver(&self, action: &[u8]) -> Result<(), Stop> {
        if self.by_alias()? {
            return Ok(());
        }
        if let Some(record) = self.find(&self.user)? {
            return self.to_account(&record, None);
        }
        // Only one cut, at the first hyphen: a-b-c never tries a-b.
        if let Some((name, extension)) = self.user.split_once('-').filter(|(name, _)| !name.is_empty())
            && let Some(record) = self.find(name)?
        {
            return self.to_account(&record, Some(extension));
        }
        self.to_nobody(action)
    }

    fn find(&self, name: &str) -> Result<Option<Record>, Stop> {
        let keepers = self.world.keepers().map_err(|error| Stop::soft(format!("vdelivermail: deferred, {error}\n")))?;
        keepers.accounts.find(&self.domain.name, name).map_err(|error| Self::database_down(&error))
    }

    fn database_down(error: &postino_ports::accounts::AccountsError) -> Stop {
        match error {
            postino_ports::accounts::AccountsError::Unavailable { .. } => Stop::soft("vdelivermail: deferred, database down\n"),
            other => Stop::soft(format!("vdelivermail: deferred, {other}\n")),
        }
    }

    /// Alias lines in a database: those of the name, else of the longest `PREFIX-default`. (Files are qmail-local's.)
    fn by_alias(&self) -> Result<bool, Stop> {
        let Some(aliases) = self.world.keepers.as_ref().and_then(|keepers| keepers.aliases.clone()) else { return Ok(false) };
        for (name, default) in alias_names(&self.user) {
            let lines = aliases.lines(&self.domain.name, &name).map_err(|error| Self::database_down(&error))?;
            if lines.is_empty() {
                continue;
            }
            let place = Place { home: self.domain.directory.clone(), address: self.asked.clone(), default, owner: None };
            for line in lines {
                if lines::one(self, &place, line.as_bytes())? == Told::Stop {
                    break;
                }
            }
            say("vdelivermail: valiases processed\n");
            return Ok(true);
        }
        Ok(false)
    }

    fn to_account(&self, record: &Record, extension: Option<&str>) -> Result<(), Stop> {
        let address = format!("{}@{}", record.name, self.domain.name);
        self.refuse_loop(&address)?;
        if record.flags & FLAG_BOUNCE_MAIL != 0 {
            return Err(Stop::hard(format!("vdelivermail: account is locked email bounced {address}\n")));
        }
        let home = PathBuf::from(&record.directory);
        if !home.is_absolute() || home.components().any(|part| part == std::path::Component::ParentDir) {
            return Err(Stop::soft(format!("vdelivermail: deferred, strange directory of {address}\n")));
        }
        lines::make_user(&home).map_err(|error| Stop::soft(format!("vdelivermail: cannot make {}: {error}\n", home.display())))?;
        let quota = Quota::parse(record.quota_or_none());
        let place = Place { home: home.clone(), address, default: None, owner: Some(quota) };
        if lines::own_file(self, &place, extension)? {
            return Ok(());
        }
        lines::maildir(self, &place, &home.join("Maildir"))
    }

    fn to_nobody(&self, action: &[u8]) -> Result<(), Stop> {
        match action {
            b"delete" => Ok(()),
            b"bounce-no-mailbox" => Err(Stop::hard(self.no_user_text())),
            [b'/', ..] => {
                let directory = PathBuf::from(OsString::from_vec(action.to_vec()));
                say(&format!("user does not exist, but will deliver to {}/\n", directory.display()));
                let place = Place { home: directory.clone(), address: self.asked.clone(), default: None, owner: None };
                if lines::own_file(self, &place, None)? {
                    return Ok(());
                }
                lines::maildir(self, &place, &directory.join("Maildir"))
            }
            address => lines::forward(self, address),
        }
    }

    fn no_user_text(&self) -> Vec<u8> {
        let everybody = self.world.config.vpopmail_home.join("domains");
        let text = [self.domain.directory.as_path(), &everybody].into_iter().find_map(|directory| small(&directory.join(".no-user.msg")));
        text.unwrap_or_else(|| format!("{NO_MAILBOX}\n").into_bytes())
    }
}

/// The name itself, then `PREFIX-default` for each hyphen from the right with what stands for `default`.
fn alias_names(user: &str) -> Vec<(String, Option<String>)> {
    let cut = user.match_indices('-').rev().filter_map(|(at, _)| Some((user.get(..at)?, user.get(at + 1..)?)));
    let defaults = cut.map(|(prefix, rest)| (format!("{prefix}-default"), Some(rest.to_owned())));
    [(user.to_owned(), None)].into_iter().chain(defaults).collect()
}

/// A small regular file, never waited for.
fn small(path: &Path) -> Option<Vec<u8>> {
    use std::io::Read as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = std::fs::File::options().read(true).custom_flags(nonblocking).open(path).ok()?;
    let mut text = Vec::new();
    let is_file = file.metadata().ok()?.is_file();
    (is_file && file.take(TEXT_BYTES_MAX).read_to_end(&mut text).is_ok() && !text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_tried_from_the_longest_prefix_on() {
        let names: Vec<(String, Option<String>)> = alias_names("list-foo-bar");
        let want = [("list-foo-bar", None), ("list-foo-default", Some("bar")), ("list-default", Some("foo-bar"))];
        assert_eq!(names, want.map(|(name, default)| (name.to_owned(), default.map(str::to_owned))));
    }
}
