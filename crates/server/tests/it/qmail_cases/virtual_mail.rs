//! Cases of mail for virtual domains: what vdelivermail makes of a message, the log, the mailbox and the bounces. Called by `qmail_cases`.

use super::accounts::{folder, home, type_in};
use super::engine::{Engine, inject};
use super::masks;
use super::names::QMAIL;
use super::pattern::assert_fits;
use super::world::{World, read_text};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

const VPOPMAIL: &str = "/home/vpopmail";
const UID: u32 = 89;

/// One message, through the queue manager.
pub(super) fn run(world: &mut World, case: &Value) {
    home(world);
    let typed = typed(case);
    let (first, rest) = typed.split_at(typed.len().min(2));
    type_all(first);
    set_up(world, &case["setup"]);
    type_all(rest);
    let want = &case["expected"];
    let mut engine = Engine::start("./Maildir/", &[]);
    assert_eq!(inject(world, &case["input"]), 0);
    let wanted: Vec<String> = want["log"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect();
    let wanted: Vec<String> = wanted.into_iter().filter(|line| line != "status: exiting").collect();
    engine.until_lines(wanted.len());
    // What vdelivermail forwards is delivered while it ends: two things at once, in any order.
    let forwards = wanted.iter().position(|line| line == "new msg #2") < wanted.iter().position(|line| line == "end msg #1");
    let settled = |mut log: Vec<String>| {
        if forwards {
            log.retain(|line| !line.starts_with("status: "));
            let unnumbered = |line: &String| {
                (1..10)
                    .fold(line.clone(), |line, n| line.replace(&format!("msg #{n}"), "msg").replace(&format!("delivery {n}:"), "delivery:"))
            };
            log = log.iter().map(unnumbered).collect();
            log.sort();
        }
        log
    };
    let (log, wanted) = (settled(masks::log(&engine.end(), &world.names)), settled(wanted));
    assert!(masks::same(&log, &wanted), "the log\n{}\nwanted\n{}", log.join("\n"), wanted.join("\n"));
    for (name, content) in want["new or interesting files"].as_object().into_iter().flatten() {
        assert_file(world, &Path::new(VPOPMAIL).join(name), content.as_str().unwrap());
    }
    for (name, content) in want["other"].as_object().into_iter().flatten() {
        let Some(rest) = name.strip_prefix('~') else { continue };
        assert_file(world, &Path::new("/home").join(rest), content.as_str().unwrap());
    }
}

/// vdelivermail alone, with the accounts and aliases in a database.
pub(super) fn database(world: &mut World, case: &Value) {
    home(world);
    let want = &case["expected"];
    let toml = Path::new(QMAIL).join("control/server.toml");
    let settings = fs::read_to_string(&toml).unwrap_or_default();
    let rows = case["setup"]["valias rows"].as_array().cloned().unwrap_or_default();
    if rows.is_empty() {
        if cfg!(not(feature = "databases")) {
            return;
        }
        type_all(&["vadddomain example.test pw".to_owned()]);
        fs::write(format!("{VPOPMAIL}/etc/vpopmail.mysql"), "127.0.0.1|1|user|pw|vpopmail\n").unwrap();
        fs::write(&toml, format!("{settings}\n[directory]\nstore = \"mysql\"\n")).unwrap();
        let (exit, said) = deliver(world, "pippo", "example.test");
        assert_eq!((i64::from(exit), said.trim_end()), (want["exit"].as_i64().unwrap(), want["text"].as_str().unwrap()));
        return;
    }
    fs::write(&toml, format!("{settings}\n[directory]\nstore = \"sqlite\"\n")).unwrap();
    let cell = |row: &Value, at: usize| row[at].as_str().unwrap().to_owned();
    let domain = cell(&rows[0], 1);
    type_all(&[format!("vadddomain {domain} pw")]);
    for row in &rows {
        let line = cell(row, 2).replace("|prog", &format!("|echo DEFAULT=$DEFAULT > {VPOPMAIL}/domains/{domain}/ran"));
        type_all(&[format!("valias -i '{line}' {}@{domain}", cell(row, 0))]);
    }
    let engine = Engine::start("./Maildir/", &[]);
    let recipient = case["input"]["recipient"].as_str().unwrap();
    let (exit, said) = deliver(world, recipient.split('@').next().unwrap(), &domain);
    assert_eq!(exit, 0, "{said}");
    let result = want["result"].as_str().unwrap();
    if let Some(default) = result.strip_prefix("program run with ") {
        assert_eq!(fs::read_to_string(format!("{VPOPMAIL}/domains/{domain}/ran")).unwrap().trim_end(), default);
        engine.end();
        return;
    }
    assert_eq!(said, "vdelivermail: valiases processed\n");
    let mut engine = engine;
    let remote = |row: &Value| format!("to remote {}", cell(row, 2).trim_start_matches('&'));
    engine.until(|log| rows.iter().all(|row| log.contains(&remote(row))));
    engine.end();
}

/// As qmail-local runs it.
fn deliver(world: &World, ext: &str, host: &str) -> (i32, String) {
    let message = Path::new("/var/message");
    fs::write(message, world.names.text(super::world::MESSAGE)).unwrap();
    let mut command = std::process::Command::new(format!("{VPOPMAIL}/bin/vdelivermail"));
    command.args(["", "bounce-no-mailbox"]).env_clear().env("PATH", "/usr/bin:/bin").env("EXT", ext).env("HOST", host);
    command.env("RPLINE", "Return-Path: <s@x.test>\n").env("SENDER", "s@x.test");
    std::os::unix::process::CommandExt::uid(&mut command, UID);
    std::os::unix::process::CommandExt::gid(&mut command, UID);
    let output = command.stdin(fs::File::open(message).unwrap()).output().unwrap();
    (output.status.code().unwrap_or(-1), read_text(&output.stdout))
}

fn typed(case: &Value) -> Vec<String> {
    let commands = case["setup"].as_object().unwrap().iter().find(|(key, _)| key.starts_with("commands"));
    let lines = commands.and_then(|(_, lines)| lines.as_array()).into_iter().flatten();
    lines.map(|line| line.as_str().unwrap().to_owned()).collect()
}

fn type_all(lines: &[String]) {
    for line in lines {
        let output = type_in(line);
        assert!(output.status.success(), "{line}: {}{}", read_text(&output.stdout), read_text(&output.stderr));
    }
}

/// Files of the domain's folder, owned as vpopmail's are.
fn set_up(world: &World, setup: &Value) {
    for (name, content) in setup.as_object().unwrap().iter().filter(|(key, _)| !key.starts_with("commands")) {
        let path = folder(world).join(name);
        let mut made: Vec<PathBuf> = path.ancestors().take_while(|above| !above.try_exists().unwrap()).map(Path::to_path_buf).collect();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content.as_str().unwrap()).unwrap();
        made.push(path.clone());
        for path in made {
            fs::set_permissions(&path, fs::Permissions::from_mode(if path.is_dir() { 0o700 } else { 0o600 })).unwrap();
            chown(&path, Some(UID), Some(UID)).unwrap();
        }
    }
}

/// `…/new/<UNIQ>` or `…/<UNIQ>,S=<N>` is any file of that folder with that content.
fn assert_file(world: &World, path: &Path, wanted: &str) {
    let (mode, text) = wanted.split_once(": ").filter(|(mode, _)| mode.starts_with("mode ")).unwrap_or(("", wanted));
    let name = path.file_name().unwrap().to_str().unwrap();
    let candidates: Vec<PathBuf> = if name.contains("<UNIQ>") {
        let folder = path.parent().unwrap();
        let files = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        files.map(|file| file.unwrap().path()).filter(|file| !name.contains(",S=") || has_its_size(file)).collect()
    } else {
        vec![path.to_path_buf()]
    };
    let fitting = candidates.iter().any(|file| {
        let seen = read_text(&fs::read(file).unwrap());
        std::panic::catch_unwind(|| assert_fits(name, &seen, text, &world.names)).is_ok()
            && (mode.is_empty() || format!("mode {:o}", fs::metadata(file).unwrap().mode() & 0o777) == mode)
    });
    let seen: Vec<String> =
        candidates.iter().map(|file| format!("{}\n{}", file.display(), read_text(&fs::read(file).unwrap_or_default()))).collect();
    assert!(fitting, "{}: wanted\n{wanted}\nseen\n{}", path.display(), seen.join("\n"));
}

fn has_its_size(file: &Path) -> bool {
    let name = file.file_name().unwrap().to_str().unwrap();
    let size = name.split(",S=").nth(1).and_then(|size| size.split([':', ',']).next()?.parse::<u64>().ok());
    size == Some(fs::metadata(file).unwrap().len())
}
