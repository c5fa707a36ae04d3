//! Accounts and groups of a qmail machine: looked up, and those that are missing made by groupadd and useradd. Called by the installation.
//! Never changes an account that exists.

use super::{Action, Site};
use anyhow::{Context, bail};
use nix::unistd::{Gid, Group, Uid, User};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Groups; a number is the one that the documentation prescribes.
const GROUPS: [(&str, Option<u32>); 3] = [("qmail", None), ("nofiles", None), ("vchkpw", Some(89))];

/// Name, group, home: `""` is the home of qmail, a relative one lies in it.
const USERS: [(&str, &str, &str, Option<u32>); 8] = [
    ("alias", "nofiles", "alias", None),
    ("qmaild", "nofiles", "", None),
    ("qmaill", "nofiles", "", None),
    ("qmailp", "nofiles", "", None),
    ("qmailq", "qmail", "", None),
    ("qmailr", "qmail", "", None),
    ("qmails", "qmail", "", None),
    ("vpopmail", "vchkpw", "/home/vpopmail", Some(89)),
];

type Numbers = BTreeMap<String, u32>;

/// The accounts as they are when all is made.
#[derive(Default)]
pub(super) struct Accounts {
    users: Numbers,
    groups: Numbers,
    main_groups: Numbers,
    /// False where there is nothing to make accounts in: everything stays root's.
    known: bool,
}

impl Accounts {
    /// Finds or makes them. Nothing is made when a number that is wanted belongs to another.
    pub(super) fn make(site: &mut Site, uids: &[(String, u32)], gids: &[(String, u32)]) -> anyhow::Result<Self> {
        let passwd = site.path(Path::new("/etc/passwd"));
        if !site.whole_machine() && !passwd.is_file() {
            site.step(
                Action::Note,
                "accounts",
                "none made: there is no etc/passwd below the root; run install-compat once more where it is installed",
            );
            return Ok(Self::default());
        }
        if !nix::unistd::geteuid().is_root() && !site.dry {
            site.step(Action::Note, "accounts", "none made: only root can");
            return Ok(Self::default());
        }
        let given = |list: &[(String, u32)], name: &str| list.iter().rev().find(|(n, _)| n == name).map(|(_, number)| *number);
        check_names(uids, gids)?;
        let mut taken = Vec::new();
        for (name, number) in GROUPS {
            let number = given(gids, name).or(number);
            if let (None, Some(number)) = (site.group(name)?, number)
                && let Some(other) = site.group_numbered(number)?
            {
                taken.push(format!("gid {number} belongs to the group {other}: choose another with --gid {name}=NUMBER"));
            }
        }
        for (name, _, _, number) in USERS {
            let number = given(uids, name).or(number);
            if let (None, Some(number)) = (site.user(name)?, number)
                && let Some(other) = site.user_numbered(number)?
            {
                taken.push(format!("uid {number} belongs to the account {other}: choose another with --uid {name}=NUMBER"));
            }
        }
        if !taken.is_empty() {
            bail!("nothing was changed: {}", taken.join("; "));
        }
        let mut made = Self { known: true, ..Self::default() };
        for (name, number) in GROUPS {
            made.group(site, name, given(gids, name).or(number))?;
        }
        for (name, group, home, number) in USERS {
            made.user(site, (name, group, home), given(uids, name).or(number))?;
        }
        Ok(made)
    }

    fn group(&mut self, site: &mut Site, name: &str, number: Option<u32>) -> anyhow::Result<()> {
        if site.group(name)?.is_some() {
            site.step(Action::Kept, format!("group {name}"), "");
        } else {
            let mut command = site.tool("groupadd");
            command.arg("-r").args(number.iter().flat_map(|n| ["-g".to_owned(), n.to_string()])).arg(name);
            site.make(&mut command, format!("group {name}"))?;
        }
        if let Some(gid) = site.group(name)? {
            self.groups.insert(name.to_owned(), gid);
        }
        Ok(())
    }

    fn user(&mut self, site: &mut Site, (name, group, home): (&str, &str, &str), number: Option<u32>) -> anyhow::Result<()> {
        if site.user(name)?.is_some() {
            site.step(Action::Kept, format!("account {name}"), "");
        } else {
            let home = if home.is_empty() { site.home.clone() } else { site.home.join(home) };
            let mut command = site.tool("useradd");
            command.arg("-r").args(number.iter().flat_map(|n| ["-u".to_owned(), n.to_string()]));
            command.args(["-g", group, "-M", "-s", "/usr/sbin/nologin", "-d"]).arg(home).arg(name);
            site.make(&mut command, format!("account {name}"))?;
        }
        if let Some((uid, gid)) = site.user(name)? {
            self.users.insert(name.to_owned(), uid);
            self.main_groups.insert(name.to_owned(), gid);
        }
        Ok(())
    }

    /// Numbers for a file of this user and group (or root); `None`: no accounts, so no owner but root.
    pub(super) fn owner(&self, user: &str, group: &str) -> Option<(u32, u32)> {
        let find = |numbers: &Numbers, name: &str| if name == "root" { Some(0) } else { numbers.get(name).copied() };
        if self.known { Some((find(&self.users, user)?, find(&self.groups, group)?)) } else { None }
    }

    /// An account of ours with its main group.
    pub(super) fn account(&self, name: &str) -> Option<(u32, u32)> {
        Some((*self.users.get(name)?, *self.main_groups.get(name)?))
    }
}

fn check_names(uids: &[(String, u32)], gids: &[(String, u32)]) -> anyhow::Result<()> {
    for (name, _) in uids {
        if !USERS.iter().any(|(user, ..)| user == name) {
            bail!("--uid {name}=…: the accounts are {}", USERS.map(|(user, ..)| user).join(", "));
        }
    }
    for (name, _) in gids {
        if !GROUPS.iter().any(|(group, _)| group == name) {
            bail!("--gid {name}=…: the groups are {}", GROUPS.map(|(group, _)| group).join(", "));
        }
    }
    Ok(())
}

/// The account databases: the system's on the whole machine, the files below `root` otherwise.
impl Site {
    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        if !self.whole_machine() {
            command.arg("--prefix").arg(&self.root);
        }
        command
    }

    fn make(&mut self, command: &mut Command, what: String) -> anyhow::Result<()> {
        if !self.dry {
            let name = command.get_program().to_string_lossy().into_owned();
            let output = command.output().with_context(|| format!("cannot run {name}, which makes the {what}"))?;
            if !output.status.success() {
                bail!("{name} could not make the {what}: {}", String::from_utf8_lossy(&output.stderr).trim());
            }
        }
        self.step(Action::Made, what, "");
        Ok(())
    }

    /// Fields of the lines of a database below `root`.
    fn lines(&self, file: &str) -> anyhow::Result<Vec<Vec<String>>> {
        let path = self.path(&Path::new("/etc").join(file));
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text.lines().map(|line| line.split(':').map(str::to_owned).collect()).collect())
    }

    pub(super) fn user(&self, name: &str) -> anyhow::Result<Option<(u32, u32)>> {
        if self.whole_machine() {
            return Ok(User::from_name(name)?.map(|user| (user.uid.as_raw(), user.gid.as_raw())));
        }
        let found = self.lines("passwd")?.into_iter().find(|fields| fields.first().is_some_and(|n| n == name));
        let number = |fields: &[String], at: usize| fields.get(at).and_then(|n| n.parse().ok());
        Ok(found.and_then(|fields| Some((number(&fields, 2)?, number(&fields, 3)?))))
    }

    fn user_numbered(&self, uid: u32) -> anyhow::Result<Option<String>> {
        if self.whole_machine() {
            return Ok(User::from_uid(Uid::from_raw(uid))?.map(|user| user.name));
        }
        self.numbered("passwd", uid)
    }

    fn group(&self, name: &str) -> anyhow::Result<Option<u32>> {
        if self.whole_machine() {
            return Ok(Group::from_name(name)?.map(|group| group.gid.as_raw()));
        }
        let found = self.lines("group")?.into_iter().find(|fields| fields.first().is_some_and(|n| n == name));
        Ok(found.and_then(|fields| fields.get(2).and_then(|n| n.parse().ok())))
    }

    fn group_numbered(&self, gid: u32) -> anyhow::Result<Option<String>> {
        if self.whole_machine() {
            return Ok(Group::from_gid(Gid::from_raw(gid))?.map(|group| group.name));
        }
        self.numbered("group", gid)
    }

    fn numbered(&self, file: &str, number: u32) -> anyhow::Result<Option<String>> {
        let number = number.to_string();
        let found = self.lines(file)?.into_iter().find(|fields| fields.get(2).is_some_and(|n| *n == number));
        Ok(found.and_then(|fields| fields.into_iter().next()))
    }
}
