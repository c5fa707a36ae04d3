//! Cases of vpopmail's programs: commands typed one after the other, what each says, and the tree and the control files afterwards. Called by
//! `qmail_cases`. What a case takes for granted (domains, accounts) is made first, by the same programs.

use super::engine::{Engine, inject};
use super::names::QMAIL;
use super::pattern::assert_fits;
use super::world::{RUN, World, read_text};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(super) const VPOPMAIL: &str = "/home/vpopmail";
const UID: u32 = 89;
/// The domain of most cases.
const DOMAIN: &str = "example.test";
/// Its first user.
const USER: &str = "pippo";

/// A case of commands.
pub(super) fn commands(world: &mut World, case: &Value) {
    home(world);
    let typed: Vec<String> = words(&case["input"]["commands"]);
    let want = &case["expected"];
    let mut engine = want["log"].is_array().then(|| Engine::start("./Maildir/", &[]));
    granted(world, case, &typed);
    for (command, want) in typed.iter().zip(want["results"].as_array().unwrap()) {
        let output = type_in(command);
        assert_said(world, command, &output, want);
        if let Some(wanted) = want.get("maildirsize") {
            let seen = fs::read_to_string(folder(world).join(world.names.text("pippo/Maildir/maildirsize"))).ok();
            assert_eq!(json!(seen), *wanted, "maildirsize after {command}");
        }
    }
    if let Some(engine) = &mut engine {
        let to = format!("{}@live.test", world.names.text(USER));
        type_in(&format!("vadduser {to} pw"));
        inject(world, &json!({"recipients": [to]}));
        engine.until(|log| log.contains("end msg "));
    }
    if let Some(engine) = engine {
        let seen = super::masks::log(&engine.end(), &world.names);
        let wanted: Vec<String> = words(&want["log"]).into_iter().filter(|line| line != "status: exiting").collect();
        assert!(super::masks::same(&seen, &wanted), "the log\n{}\nwanted\n{}", seen.join("\n"), wanted.join("\n"));
    }
    afterwards(world, want);
}

pub(super) fn home(world: &World) {
    for (name, mode) in [("", 0o755), ("bin", 0o755), ("etc", 0o755), ("domains", 0o700)] {
        let path = Path::new(VPOPMAIL).join(name);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        chown(&path, Some(UID), Some(UID)).unwrap();
    }
    let listed = Command::new(format!("{QMAIL}/bin/postino-compat")).arg("--list").output().unwrap();
    for name in read_text(&listed.stdout).lines().filter(|name| name.starts_with('v') || *name == "clearopensmtp") {
        std::os::unix::fs::symlink(format!("{QMAIL}/bin/postino-compat"), format!("{VPOPMAIL}/bin/{name}")).unwrap();
    }
    let hosts = world.names.text("oracle.test\nlocalhost\n");
    fs::write(format!("{QMAIL}/control/rcpthosts"), hosts).unwrap();
    fs::write(format!("{RUN}/bull"), "From: admin\nSubject: bull\n\nhey\n").unwrap();
}

/// Makes what the case speaks of and does not make itself.
fn granted(world: &World, case: &Value, typed: &[String]) {
    let all = case.to_string();
    let (domain, user, password) = (world.names.text(DOMAIN), world.names.text(USER), world.names.text("zxc32"));
    let adds = |what: &str| typed.first().is_some_and(|first| first.starts_with("vadd") && first.contains(what) && !first.ends_with(" x"));
    let domains = case["expected"]["lines in rcpthosts"].is_number();
    let mut before: Vec<String> = Vec::new();
    if domains {
        before.extend((0..52).map(|number| format!("vadddomain d{number:02}.test pw")));
    }
    if all.contains(&domain) {
        before.push(format!("vadddomain {domain} qwerty12"));
        let many = all.contains("u100@");
        if many {
            before.extend((0..101).map(|number| format!("vadduser u{number:03}@{domain} pw")));
        }
        if !adds(&user) && !many {
            before.push(format!("vadduser {user}@{domain} {password}"));
        }
        if typed.iter().any(|line| line.starts_with("vuserinfo") && line.contains("quser")) {
            before.push(format!("vadduser quser@{domain} pw"));
        }
    }
    if all.contains("Alias domains exist") {
        let lines = ["vadddomain real.test pw", "vaddaliasdomain real.test al.test", "vadddomain -e postmaster d3.test pw"];
        before.extend(lines.map(str::to_owned));
    }
    for line in before {
        let output = type_in(&line);
        assert!(output.status.success(), "{line}: {}{}", read_text(&output.stdout), read_text(&output.stderr));
    }
}

/// One line as typed in vpopmail's folder of programs.
pub(super) fn type_in(line: &str) -> Output {
    let escaped = line.replace('$', "\\$");
    let (name, rest) = escaped.split_once(' ').unwrap_or((&escaped, ""));
    let shell = format!("exec {VPOPMAIL}/bin/{name} {rest}");
    let mut command = Command::new("sh");
    command.args(["-c", &shell]).env_clear().env("PATH", "/usr/bin:/bin").env("TZ", "UTC").current_dir(RUN);
    command.stdin(fs::File::open("/dev/null").unwrap()).output().unwrap()
}

fn assert_said(world: &World, line: &str, output: &Output, want: &Value) {
    let (stdout, stderr) = (masked(&read_text(&output.stdout)), read_text(&output.stderr));
    assert_eq!(output.status.code().map(i64::from), want["exit"].as_i64(), "{line}: the exit code; {stdout:?} {stderr:?}");
    assert_fits(
        &format!("{line}: standard output"),
        &stdout,
        &want["stdout"].as_str().unwrap_or_default().replace("Tue, <DATE>", "Tue, <BULL>"),
        &world.names,
    );
    if let Some(wanted) = want["stderr"].as_str() {
        assert_fits(&format!("{line}: standard error"), &stderr, wanted, &world.names);
    }
}

fn afterwards(world: &World, want: &Value) {
    for (name, wanted) in want["control"].as_object().into_iter().flatten() {
        assert_eq!(fs::read_to_string(Path::new(QMAIL).join(name)).unwrap_or_default(), wanted.as_str().unwrap(), "{name}");
    }
    for key in ["tree", ".qmail-default files", "d6 in alice home"] {
        for (name, wanted) in want[key].as_object().into_iter().flatten() {
            assert_file(world, name, wanted.as_str().unwrap());
        }
    }
    if let Some(tree) = want["tree"].as_object().filter(|tree| tree.keys().any(|name| name.contains("/.qmail-"))) {
        let wanted: Vec<&str> =
            tree.keys().filter_map(|name| name.rsplit_once('/')).map(|(_, name)| name).filter(|n| n.starts_with(".qmail-")).collect();
        let seen = names(folder(world).to_str().unwrap());
        assert_eq!(seen.into_iter().filter(|name| name.starts_with(".qmail-")).collect::<Vec<_>>(), wanted, "dot-qmail files");
    }
    if let Some(wanted) = want["vpasswd"].as_str() {
        assert_eq!(masked(&fs::read_to_string(folder(world).join("vpasswd")).unwrap()), wanted);
    }
    if let Some(wanted) = want["dir entries"].as_array() {
        let seen = names(folder(world).to_str().unwrap());
        assert_eq!(json!(seen.into_iter().filter(|name| !name.starts_with('u')).collect::<Vec<_>>()), json!(wanted));
    }
    if let Some(wanted) = want[".dir-control"].as_str() {
        assert_eq!(fs::read_to_string(folder(world).join(".dir-control")).unwrap(), wanted);
    }
    many_domains(want);
}

/// The folder of the domain of most cases.
pub(super) fn folder(world: &World) -> PathBuf {
    Path::new(VPOPMAIL).join("domains").join(world.names.text(DOMAIN))
}

fn many_domains(want: &Value) {
    let Some(count) = want["lines in rcpthosts"].as_u64() else { return };
    let control = |name: &str| fs::read_to_string(format!("{QMAIL}/control/{name}")).unwrap();
    let hosts = control("rcpthosts");
    let lines: Vec<&str> = hosts.lines().collect();
    assert_eq!(lines.len() as u64, count);
    assert_eq!(json!(lines[lines.len() - 3..]), want["last 3 of rcpthosts"]);
    assert_eq!(control("morercpthosts"), want["morercpthosts"].as_str().unwrap());
    assert!(Path::new(QMAIL).join("control/morercpthosts.cdb").is_file());
    assert_eq!(json!(control("virtualdomains").lines().take(3).collect::<Vec<_>>()), want["first 3 virtualdomains"]);
    for name in words(&want["tree of hashed dirs"]) {
        assert!(Path::new(VPOPMAIL).join(&name).try_exists().unwrap(), "{name}");
    }
}

/// `domains/…` lies in vpopmail's home, `~user/…` in a user's.
fn assert_file(world: &World, name: &str, wanted: &str) {
    let path = match name.strip_prefix('~') {
        Some(rest) => Path::new("/home").join(rest),
        None => Path::new(VPOPMAIL).join(name),
    };
    let path = path.to_str().unwrap().strip_suffix("<UNIQ>").map_or(path.clone(), |folder| PathBuf::from(folder).join(only(folder)));
    let found = fs::metadata(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    if wanted.starts_with("(empty dir") {
        let seen = format!("(empty dir, mode {:o}, uid {} gid {})", found.mode() & 0o777, found.uid(), found.gid());
        assert_eq!(seen, wanted, "{name}");
        assert!(names(path.to_str().unwrap()).is_empty(), "{name}");
        return;
    }
    let (mode, text) = wanted.split_once(": ").filter(|(mode, _)| mode.starts_with("mode ")).unwrap_or(("", wanted));
    if !mode.is_empty() {
        assert_eq!(format!("mode {:o}", found.mode() & 0o777), mode, "{name}");
    }
    if text.starts_with("(cdb") {
        return;
    }
    let seen = masked(&read_text(&fs::read(&path).unwrap()));
    // One content was recorded up to a length.
    let is_cut = text.ends_with(":NO") && seen.starts_with(text);
    if !is_cut {
        assert_fits(name, &seen, &text.replace("Tue, <DATE>", "Tue, <BULL>"), &world.names);
    }
}

/// The name of the one file of a folder.
fn only(folder: &str) -> String {
    let mut names = names(folder);
    assert_eq!(names.len(), 1, "{folder}: {names:?}");
    names.pop().unwrap()
}

fn names(folder: &str) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// Hashes, dates and random passwords as the cases write them.
fn masked(text: &str) -> String {
    text.split_inclusive('\n').map(masked_line).collect()
}

fn masked_line(line: &str) -> String {
    let line = match line.find("$1$") {
        // $1$, the salt, $, 22 digits.
        Some(at) => {
            let salt = line[at + 3..].find('$').unwrap();
            format!("{}<MD5CRYPT>{}", &line[..at], &line[at + 3 + salt + 1 + 22..])
        }
        None => line.to_owned(),
    };
    for before in ["account created: ", "last auth: "] {
        if line.strip_prefix(before).is_some_and(|date| date.len() == 25 && date.matches(':').count() == 2) {
            return format!("{before}<CTIME>\n");
        }
    }
    if let Some(password) = line.strip_prefix("Random password: ") {
        return format!("Random password: <RANDOM {}>\n", password.trim_end().len());
    }
    if line.starts_with("Date: ") && line.as_bytes().get(9) == Some(&b',') {
        return "Date: Tue, <BULL>\n".to_owned();
    }
    line
}
