//! Messages and codes through a queue program, and whose program it is.

use super::*;
use std::os::unix::fs::PermissionsExt;

fn script(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    // Written by a child: a descriptor of ours, open for writing, could live on in another test's fork, and the program would be "busy".
    let mut child =
        std::process::Command::new("sh").args(["-c", "cat > \"$0\""]).arg(path).stdin(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), format!("#!/bin/sh\n{text}\n").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn ask(text: &str) -> (Result<(), Refused>, String) {
    let home = tempfile::tempdir().unwrap();
    script(&home.path().join("qq"), text);
    let mut qq = QueueProgram::open(home.path(), Path::new("qq")).unwrap();
    qq.put(b"A: b\n\n");
    qq.put(&[b'x'; 20_000]);
    qq.end_message();
    qq.put(b"Fs@a.test\0Tr@b.test\0\0");
    let answer = qq.close();
    (answer, std::fs::read_to_string(home.path().join("got")).unwrap_or_default())
}

#[test]
fn message_and_envelope_arrive_and_codes_become_texts() {
    let (answer, got) = ask("cat | wc -c > got; exec 3<&1; cat <&3 | tr '\\0' '|' >> got");
    assert!(answer.is_ok());
    assert_eq!(got, "20006\nFs@a.test|Tr@b.test||");
    let soft = |text: &str| Err(Refused::soft(text));
    let hard = |text: &str| Err(Refused { hard: true, text: text.to_owned() });
    assert_eq!(ask("cat >/dev/null; exit 31").0, hard("mail server permanently rejected message (#5.3.0)"));
    assert_eq!(ask("cat >/dev/null; exit 53").0, soft("qq write error or disk full (#4.3.0)"));
    assert_eq!(ask("kill -9 $$").0, soft("qq crashed (#4.3.0)"));
    // Exit 0 without having read it all: half a message may be what it kept.
    assert_eq!(ask("exit 0").0, soft("qq temporary problem (#4.3.0)"));
    assert_eq!(ask("head -c 19000 >/dev/null; exit 0").0, soft("qq temporary problem (#4.3.0)"));
    assert_eq!(ask("cat >/dev/null; exit 82").0, soft("qq temporary problem (#4.3.0)"));
}

#[test]
fn a_program_or_home_that_is_not_there_is_told_at_the_end() {
    let home = tempfile::tempdir().unwrap();
    let mut qq = QueueProgram::open(home.path(), Path::new(PROGRAM)).unwrap();
    qq.put(b"x");
    assert_eq!(qq.close(), Err(Refused::soft("unable to exec qq (#4.3.0)")));
    let qq = QueueProgram::open(&home.path().join("none"), Path::new(PROGRAM)).unwrap();
    assert_eq!(qq.close(), Err(Refused::soft("qq trouble in home directory (#4.3.0)")));
}

// HOWTO 3.9: mv qmail-queue qmail-queue-real, the scanner in its place.
#[test]
fn a_scanner_in_place_of_our_program_is_noticed() {
    let home = tempfile::tempdir().unwrap();
    let name = home.path().join(PROGRAM);
    assert_eq!((whose(home.path()), identity(home.path())), (Whose::Nobodys, None));
    script(&name, "exit 0");
    let first = identity(home.path());
    assert_eq!(whose(home.path()), Whose::Others);
    std::fs::remove_file(&name).unwrap();
    std::fs::copy("/proc/self/exe", &name).unwrap(); // this test is "our program"
    assert_eq!(whose(home.path()), Whose::Ours);
    assert_ne!(identity(home.path()), first);
    let mut other = std::fs::read(&name).unwrap();
    other.push(0); // another build of ours: known by its mark
    std::fs::write(&name, &other).unwrap();
    assert_eq!(whose(home.path()), Whose::Ours);
    std::fs::set_permissions(&name, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(whose(home.path()), Whose::Nobodys);
}
