//! `kill -9` at every system call that changes something, of adding and removing domains and users and of a new password: after `check-store` the
//! tree is the old one or the new one, byte for byte. A sample in each run of the tests; `POSTINO_KILL_EVERY=1` tries all.

use super::house::{House, postino, run, text};
use postino_control::cdb::Cdb;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Calls between which the disk may differ.
const CALLS: &str = "openat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,write,pwrite64,fsync,fdatasync,fchmod,fchown,lchown,fchownat,chown,link,linkat,ftruncate,utimensat,flock,fcntl,exit_group";
const PARTS: [&str; 3] = ["users", "control", "domains"];

type Picture = BTreeMap<PathBuf, Vec<u8>>;

/// Everything below `path`; hashes of passwords as `*` unless they are one of `known`, a data base as its records.
fn picture(path: &Path, known: &[u8], out: &mut Picture) {
    for entry in std::fs::read_dir(path).unwrap().map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().unwrap().is_dir() {
            out.insert(entry.path(), Vec::new());
            picture(&entry.path(), known, out);
        } else if !name.ends_with("lock") {
            let mut bytes = std::fs::read(entry.path()).unwrap();
            if name.ends_with("cdb") {
                let records = Cdb::new(&bytes).unwrap().records().unwrap();
                bytes = records.into_iter().flat_map(|(key, data)| [key, b":".to_vec(), data, b"\n".to_vec()].concat()).collect();
            }
            out.insert(entry.path(), masked(&bytes, known));
        }
    }
}

fn masked(bytes: &[u8], known: &[u8]) -> Vec<u8> {
    let field = |field: &[u8]| {
        if field.starts_with(b"$") && !known.windows(field.len()).any(|part| part == field) { b"*".to_vec() } else { field.to_vec() }
    };
    bytes
        .split(|&b| b == b'\n')
        .map(|line| line.split(|&b| b == b':').map(field).collect::<Vec<_>>().join(&b':'))
        .collect::<Vec<_>>()
        .join(&b'\n')
}

struct Stage {
    house: House,
    saved: PathBuf,
    known: Vec<u8>,
}

impl Stage {
    fn picture(&self) -> Picture {
        let mut out = Picture::new();
        PARTS.iter().for_each(|part| picture(&self.house.home.join(part), &self.known, &mut out));
        out
    }

    fn reset(&self) {
        for part in PARTS {
            std::fs::remove_dir_all(self.house.home.join(part)).unwrap();
        }
        run(Command::new("cp").arg("-a").args(PARTS.map(|part| self.saved.join(part))).arg(&self.house.home));
    }

    fn strace(&self, options: &[&str], words: &[&str]) -> Command {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq"]).args(options).arg(postino().get_program()).args(words).arg("--home").arg(&self.house.home);
        command
    }
}

/// Which call was made how often.
fn counted(trace: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in trace.lines() {
        let call = line.split('(').next().unwrap_or_default().rsplit(' ').next().unwrap_or_default();
        if CALLS.split(',').any(|known| known == call) {
            *counts.entry(call.to_owned()).or_insert(0) += 1;
        }
    }
    counts
}

fn differing(one: &Picture, other: &Picture) -> Vec<PathBuf> {
    let there = one.iter().filter(|(path, bytes)| other.get(*path) != Some(bytes)).map(|(path, _)| path.clone());
    there.chain(other.keys().filter(|path| !one.contains_key(*path)).cloned()).collect()
}

#[test]
fn a_change_that_is_killed_is_made_or_not_made() {
    let every = std::env::var_os("POSTINO_KILL_EVERY").is_some();
    let house = House::new("");
    house.cli(&["domain", "alias", "example.test", "alias.test"]);
    let secret = house.home.with_file_name("secret");
    std::fs::write(&secret, "Other-1\n").unwrap();
    let saved = house.home.with_file_name("saved");
    std::fs::create_dir(&saved).unwrap();
    run(Command::new("cp").arg("-a").args(PARTS.map(|part| house.home.join(part))).arg(&saved));
    let known = std::fs::read(house.home.join("domains/example.test/vpasswd")).unwrap();
    let stage = Stage { house, saved, known };
    let from = secret.display().to_string();
    let changes: [&[&str]; 5] = [
        &["domain", "add", "new.test", "--password-file", &from],
        &["domain", "remove", "example.test", "--with-aliases", "--yes"],
        &["user", "add", "paperino@example.test", "--password-file", &from],
        &["user", "remove", "pippo@example.test", "--yes"],
        &["user", "password", "pippo@example.test", "--password-file", &from],
    ];
    let before = stage.picture();
    let mut wrong: Vec<String> = Vec::new();
    let (mut tries, mut kills, mut made, mut number) = (0, 0, 0, 0usize);
    for words in changes {
        let trace = stage.house.home.with_file_name("trace");
        run(&mut stage.strace(&["-o", &trace.display().to_string(), "-e", &format!("trace={CALLS}")], words));
        let after = stage.picture();
        assert_ne!(before, after, "{words:?} changes something");
        for (call, count) in counted(&text(&std::fs::read(&trace).unwrap())) {
            for nth in 1..=count {
                number += 1;
                if !every && number % 23 != 0 {
                    continue;
                }
                stage.reset();
                let inject = format!("inject={call}:signal=SIGKILL:when={nth}");
                let status =
                    stage.strace(&["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject], words).output().unwrap().status;
                let checked = postino().args(["check-store", "--home"]).arg(&stage.house.home).output().unwrap();
                if !checked.status.success() {
                    wrong.push(format!("{words:?}, killed at {call} {nth}: {}", text(&checked.stderr)));
                }
                let now = stage.picture();
                if now != before && now != after {
                    let from_old = differing(&now, &before);
                    wrong.push(format!(
                        "{words:?}, killed at {call} {nth}: other than old: {from_old:?}, than new: {:?}",
                        differing(&now, &after)
                    ));
                }
                tries += 1;
                kills += usize::from(!status.success());
                made += usize::from(now == after);
            }
        }
        stage.reset();
    }
    println!("{tries} tries, {kills} killed, {made} made, the others not made");
    assert!(wrong.is_empty(), "{} of {tries}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(kills > 10, "strace killed something");
}
