//! The world of one case: accounts, homes, control files, every historical program under `/var/qmail/bin`. Called by `qmail_cases` in namespaces of
//! its own, where covering `/var` and `/home` harms nobody.

use super::super::house::{run, text};
use super::names::{Account, Names, QMAIL};
use serde_json::Value;
use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What the cases call `/oracle/run`.
pub(super) const RUN: &str = "/tmp/run";
/// The message of cases that do not say theirs.
pub(super) const MESSAGE: &str = "From: oqbob@oracle.test\nTo: x\nSubject: t\n\nbody line\n";
/// Where the other hosts of the cases listen.
pub(super) const SINK_PORT: u16 = 2626;

/// Bytes as the cases write them: as text, or each byte as the character of its number.
pub(super) fn read_text(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| bytes.iter().map(|byte| char::from(*byte)).collect(), ToOwned::to_owned)
}

/// Made, nothing started.
pub(super) struct World {
    pub(super) names: Names,
    before: Vec<PathBuf>,
}

impl World {
    pub(super) fn new(names: Names, setup: &Value) -> Self {
        covers();
        let mut world = Self { names, before: Vec::new() };
        world.write_accounts();
        programs();
        for name in ["control", "users"] {
            fs::create_dir(Path::new(QMAIL).join(name)).unwrap();
        }
        let route = format!(":127.0.0.1:{SINK_PORT}\n");
        for (name, content) in
            [("me", "oracle.test\n"), ("locals", "oracle.test\nlocalhost\n"), ("rcpthosts", "oracle.test\n"), ("smtproutes", &route)]
        {
            fs::write(Path::new(QMAIL).join("control").join(name), world.names.text(content)).unwrap();
        }
        for account in world.owners() {
            fs::create_dir_all(&account.home).unwrap();
            fs::set_permissions(&account.home, Permissions::from_mode(0o700)).unwrap();
            chown(&account.home, Some(account.uid), Some(account.uid)).unwrap();
            maildir(&account.home.join("Maildir"), account.uid);
        }
        for (name, value) in setup.as_object().into_iter().flatten() {
            world.place(name, value);
        }
        world
    }

    /// The accounts that own mail.
    pub(super) fn owners(&self) -> Vec<Account> {
        self.names.accounts().into_iter().take(3).collect()
    }

    fn place(&mut self, name: &str, value: &Value) {
        if let Some(owned) = name.strip_prefix('~') {
            return self.place_at_home(owned, value);
        }
        if !name.starts_with("control/") && name != "users/assign" {
            return;
        }
        let path = Path::new(QMAIL).join(name);
        match value.as_str() {
            Some(content) => fs::write(path, content).unwrap(),
            None => drop(fs::remove_file(path)),
        }
    }

    fn place_at_home(&mut self, name: &str, value: &Value) {
        let (user, rest) = name.split_once('/').unwrap_or((name, ""));
        let Account { uid, home, .. } = self.owners().into_iter().find(|account| account.name == user).unwrap();
        let path = home.join(rest);
        let (content, mode) = match value {
            Value::String(content) => (Some(content.as_str()), None),
            other => (other["content"].as_str(), other["mode"].as_str()),
        };
        if content == Some("(maildir)") {
            return maildir(&path, uid);
        }
        if !rest.is_empty() {
            self.give(&path, content.unwrap_or_default(), uid);
        }
        if let Some(mode) = mode {
            fs::set_permissions(&path, Permissions::from_mode(u32::from_str_radix(mode.trim_start_matches("0o"), 8).unwrap())).unwrap();
        }
    }

    /// A file of the set-up, not of the delivery.
    pub(super) fn give(&mut self, path: &Path, content: &str, uid: u32) {
        fs::write(path, content).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
        chown(path, Some(uid), Some(uid)).unwrap();
        self.before.push(path.to_owned());
    }

    /// What lies in the homes now and was not laid there by the case.
    pub(super) fn files(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for Account { name, home, .. } in self.owners() {
            let mut folders = vec![home.clone()];
            while let Some(folder) = folders.pop() {
                for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                    if path.is_dir() {
                        folders.push(path);
                    } else if !self.before.contains(&path) {
                        let short = format!("~{name}/{}", path.strip_prefix(&home).unwrap().display());
                        found.push((short, read_text(&fs::read(&path).unwrap())));
                    }
                }
            }
        }
        found
    }

    fn write_accounts(&self) {
        let mut passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n".to_owned();
        let mut group = "root:x:0:\nnogroup:x:65534:\n".to_owned();
        for Account { name, uid, home } in self.names.accounts() {
            passwd += &format!("{name}:x:{uid}:{uid}::{}:/bin/sh\n", home.display());
            group += &format!("{name}:x:{uid}:\n");
        }
        cover("/etc/passwd", &passwd);
        cover("/etc/group", &group);
        cover("/etc/resolv.conf", "nameserver 127.0.0.1\n");
    }

    /// A historical program with an empty environment, as `user` (recorded name; root when none).
    pub(super) fn program(&self, name: &str, user: Option<&str>) -> Command {
        let mut command = Command::new(Path::new(QMAIL).join("bin").join(name));
        command.env_clear().env("PATH", format!("{QMAIL}/bin:{RUN}:/usr/bin:/bin")).current_dir("/tmp/run");
        if let Some(user) = user {
            let account = self.names.account(user);
            command.uid(account.uid).gid(account.uid);
        }
        command
    }

    /// The number of somebody.
    pub(super) fn uid(&self, user: &str) -> u32 {
        self.names.account(user).uid
    }
}

/// Sets the environment of a case.
pub(super) fn with_env(command: &mut Command, env: &Value) {
    for (name, value) in env.as_object().into_iter().flatten() {
        command.env(name, value.as_str().unwrap());
    }
}

/// Runs with a file as standard input, as a delivery or a shell's `<` gives it.
pub(super) fn fed(command: &mut Command, input: &str) -> Output {
    let path = Path::new(RUN).join("stdin");
    fs::write(&path, input).unwrap();
    command.stdin(File::open(path).unwrap()).output().unwrap()
}

/// What follows the input on a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    End,
    Silence,
}

/// Runs with a pipe as standard input.
pub(super) fn talk(command: &mut Command, input: &str, then: Then) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    std::thread::spawn(move || {
        // A program that ends early does not read it all.
        let _ = stdin.write_all(input.as_bytes());
        if then == Then::Silence {
            std::mem::forget(stdin); // open until this process ends
        }
    });
    child.wait_with_output().unwrap()
}

/// A program of the case's own.
pub(super) fn script(path: &str, content: &str) {
    fs::write(path, format!("#!/bin/sh\n{content}\n")).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

pub(super) fn maildir(path: &Path, uid: u32) {
    for part in [path.to_path_buf(), path.join("tmp"), path.join("new"), path.join("cur")] {
        fs::create_dir(&part).unwrap();
        fs::set_permissions(&part, Permissions::from_mode(0o700)).unwrap();
        chown(&part, Some(uid), Some(uid)).unwrap();
    }
}

fn mount(words: &[&str]) {
    run(Command::new("mount").args(words));
}

/// Another file in the place of one of the system's.
pub(super) fn cover(path: &str, content: &str) {
    let own = Path::new("/tmp").join(path.rsplit_once('/').unwrap().1);
    fs::write(&own, content).unwrap();
    mount(&["--bind", own.to_str().unwrap(), path]);
}

fn covers() {
    for binary in binaries() {
        assert!(binary.is_file(), "{} is not built: cargo build -p postino-compat", binary.display());
    }
    fs::create_dir_all("/tmp").unwrap();
    mount(&["-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/tmp"]);
    for folder in ["/tmp/bin", RUN] {
        fs::create_dir(folder).unwrap();
        fs::set_permissions(folder, Permissions::from_mode(0o777)).unwrap();
    }
    for (binary, name) in binaries().iter().zip(["postino", "postino-compat"]) {
        File::create(Path::new("/tmp/bin").join(name)).unwrap();
        mount(&["--bind", binary.to_str().unwrap(), &format!("/tmp/bin/{name}")]);
    }
    mount(&["-t", "tmpfs", "-o", "mode=755", "tmpfs", "/var"]);
    mount(&["-t", "tmpfs", "-o", "mode=755", "tmpfs", "/home"]);
    run(Command::new("ip").args(["link", "set", "lo", "up"]));
}

/// Under the target folder, which may itself lie where the world is about to be.
fn binaries() -> [PathBuf; 2] {
    let postino = PathBuf::from(env!("CARGO_BIN_EXE_postino"));
    let beside = postino.with_file_name("postino-compat");
    [postino, beside]
}

/// Every program that postino-compat knows, and the engine.
fn programs() {
    let bin = Path::new(QMAIL).join("bin");
    fs::create_dir_all(&bin).unwrap();
    for (from, name) in [("postino", "qmail-send"), ("postino", "postino"), ("postino-compat", "postino-compat")] {
        File::create(bin.join(name)).unwrap();
        mount(&["--bind", &format!("/tmp/bin/{from}"), bin.join(name).to_str().unwrap()]);
    }
    let usage = Command::new(bin.join("postino-compat")).output().unwrap();
    let usage = text(&usage.stderr);
    let (_, names) = usage.split_once("programs: ").expect("the list of programs");
    for name in names.split_whitespace() {
        std::os::unix::fs::symlink("postino-compat", bin.join(name)).unwrap();
    }
}
