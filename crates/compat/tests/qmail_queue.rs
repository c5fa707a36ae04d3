//! qmail-queue: its exit codes, the conversation with the server's socket, the drop file when there is none.

use super::{copy_program, program, script};
use postino_local::inject::{DROP_HEADER_BYTES, SocketPart, SocketReader, decode_drop_head, drop_head_bytes};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread::JoinHandle;

const ENVELOPE: &[u8] = b"Fs@a\0Tr@b\0Tr2@c\0\0";

/// Runs it with these two inputs; the descriptors are files, as with `qmail-queue <message 1<envelope`.
fn run(home: &Path, message: &[u8], envelope: &[u8]) -> Option<i32> {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        fs::write(dir.path().join(name), bytes).unwrap();
        File::open(dir.path().join(name)).unwrap()
    };
    program("qmail-queue", home).stdin(file("m", message)).stdout(file("e", envelope)).status().unwrap().code()
}

fn home_with_drop() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir_all(home.path().join("queue/drop")).unwrap();
    home
}

fn dropped(home: &Path) -> Vec<Vec<u8>> {
    let files = fs::read_dir(home.join("queue/drop")).unwrap().map(|e| e.unwrap());
    files
        .map(|entry| {
            assert!(!entry.file_name().to_string_lossy().starts_with('.'), "an unfinished file is left");
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o640);
            fs::read(entry.path()).unwrap()
        })
        .collect()
}

#[test]
fn without_a_server_the_message_lies_in_the_drop_directory() {
    let home = home_with_drop();
    let large = vec![b'x'; 3 << 20];
    for body in [&b"x\n"[..], b"", &large] {
        assert_eq!(run(home.path(), body, ENVELOPE), Some(0));
        let files = dropped(home.path());
        assert_eq!(files.len(), 1);
        let whole = drop_head_bytes(&files[0][..DROP_HEADER_BYTES]).unwrap();
        let head = decode_drop_head(&files[0][..whole]).unwrap();
        assert_eq!(head.envelope.encode(), ENVELOPE);
        assert!(&files[0][whole..] == body, "another body");
        fs::remove_dir_all(home.path().join("queue/drop")).unwrap();
        fs::create_dir(home.path().join("queue/drop")).unwrap();
    }
}

#[test]
fn broken_envelopes_and_homes_have_their_exit_codes() {
    let home = home_with_drop();
    let long = |bytes: usize| [b"F", vec![b'a'; bytes].as_slice(), b"\0Tr\0\0"].concat();
    for (envelope, code) in [(&b"Xs@a\0Tr@b\0\0"[..], 91), (b"Fs@a\0Rr@b\0\0", 91), (b"Fs@a\0Tr@b\0", 54), (b"", 54), (&long(1003), 11)] {
        assert_eq!(run(home.path(), b"x\n", envelope), Some(code), "{}", String::from_utf8_lossy(&envelope[..envelope.len().min(20)]));
    }
    assert!(dropped(home.path()).is_empty());
    assert_eq!(run(home.path(), b"x\n", &long(1002)), Some(0));
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(run(empty.path(), b"x\n", ENVELOPE), Some(62));
    assert_eq!(run(&empty.path().join("none"), b"x\n", ENVELOPE), Some(61));
}

/// A server for one conversation: answers with `code` after the end, or after the envelope when it refuses early.
fn server(home: &Path, code: u8, early: bool) -> JoinHandle<(Vec<u8>, Vec<u8>)> {
    fs::create_dir_all(home.join("run")).unwrap();
    let listener = UnixListener::bind(home.join("run/queue.sock")).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut reader, mut envelope, mut body, mut buffer) = (SocketReader::new(), Vec::new(), Vec::new(), [0u8; 5000]);
        'all: loop {
            let n = stream.read(&mut buffer).unwrap();
            assert!(n > 0, "the conversation broke off");
            reader.feed(&buffer[..n]);
            while let Some(part) = reader.next_part().unwrap() {
                match part {
                    SocketPart::Envelope(e) => envelope = e.encode(),
                    SocketPart::Body(b) => body.extend(b),
                    SocketPart::End => break 'all,
                }
                if early {
                    break 'all;
                }
            }
        }
        stream.write_all(&[code]).unwrap();
        (envelope, body)
    })
}

#[test]
fn a_running_server_gets_the_message_and_its_word_is_the_exit_code() {
    let large: Vec<u8> = (0..2_500_000u32).map(|i| (i % 251) as u8).collect();
    for (body, code) in [(&b"x\n"[..], 0), (b"", 0), (&large, 0), (b"x\n", 53), (b"x\n", 31)] {
        let home = home_with_drop();
        let served = server(home.path(), code, false);
        assert_eq!(run(home.path(), body, ENVELOPE), Some(i32::from(code)));
        let (envelope, got) = served.join().unwrap();
        assert_eq!(envelope, ENVELOPE);
        assert!(got == body, "another body");
        assert!(dropped(home.path()).is_empty());
    }
}

// The server may answer 0 only after the end; an early 0 or no answer at all is no promise.
#[test]
fn a_server_that_breaks_off_makes_no_success() {
    let home = home_with_drop();
    let large = vec![b'x'; 8 << 20];
    let served = server(home.path(), 0, true);
    assert_eq!(run(home.path(), &large, ENVELOPE), Some(74));
    served.join().unwrap();
}

#[test]
fn a_socket_that_nobody_serves_counts_as_no_server() {
    let home = home_with_drop();
    fs::create_dir_all(home.path().join("run")).unwrap();
    drop(UnixListener::bind(home.path().join("run/queue.sock")).unwrap());
    assert_eq!(run(home.path(), b"x\n", ENVELOPE), Some(0));
    assert_eq!(dropped(home.path()).len(), 1);
}

/// The installed program as qmail-queue, so that the others find it unreplaced.
fn install(home: &Path) {
    fs::create_dir_all(home.join("bin")).unwrap();
    copy_program(&home.join("bin/qmail-queue"));
    fs::create_dir_all(home.join("control")).unwrap();
    fs::write(home.join("control/me"), "a.test\n").unwrap();
}

fn inject(home: &Path, body: &[u8]) -> std::process::Output {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("m"), [b"To: r@b.test\n\n", body].concat()).unwrap();
    program("qmail-inject", home).args(["-f", "s@a.test"]).stdin(File::open(dir.path().join("m")).unwrap()).output().unwrap()
}

// Nothing that could be run may be needed: the file is ours and says so, but it is not started.
#[test]
fn an_injector_tells_the_server_itself_while_qmail_queue_is_ours() {
    let large: Vec<u8> = (0..2_520_000u32).map(|i| if i % 70 == 69 { b'\n' } else { b'a' + (i % 26) as u8 }).collect();
    for (body, code, exit, text) in [
        (&b"x\n"[..], 0, 0, ""),
        (&large, 0, 0, ""),
        (b"x\n", 53, 111, "qmail-inject: fatal: qq write error or disk full (#4.3.0)\n"),
        (b"x\n", 31, 100, "qmail-inject: fatal: mail server permanently rejected message (#5.3.0)\n"),
    ] {
        let home = home_with_drop();
        install(home.path());
        let served = server(home.path(), code, false);
        let output = inject(home.path(), body);
        let (envelope, got) = served.join().unwrap();
        assert_eq!(output.status.code(), Some(exit), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), text);
        assert_eq!(envelope, b"Fs@a.test\0Tr@b.test\0\0");
        assert!(got.ends_with(body), "another body");
        assert!(dropped(home.path()).is_empty());
    }
}

#[test]
fn without_a_server_the_injector_runs_qmail_queue_and_the_message_is_safe() {
    let home = home_with_drop();
    install(home.path());
    // Known as ours by its content, whatever it was copied from.
    let output = inject(home.path(), &vec![b'x'; 2 << 20]);
    // The program runs under its own name, with the first word missing: it is the name that picks it.
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(dropped(home.path()).len(), 1);
}

#[test]
fn a_scanner_under_the_name_or_in_the_variable_is_asked_though_a_server_runs() {
    let home = home_with_drop();
    install(home.path());
    fs::create_dir_all(home.path().join("run")).unwrap();
    let _listening = UnixListener::bind(home.path().join("run/queue.sock")).unwrap();
    fs::rename(home.path().join("bin/qmail-queue"), home.path().join("bin/qmail-queue-real")).unwrap();
    let scanner = home.path().join("bin/qmail-queue");
    script(&scanner, "#!/bin/sh\ncat >/dev/null\nexit 31\n");
    let refused = inject(home.path(), b"x\n");
    assert_eq!(refused.status.code(), Some(100));
    fs::rename(&scanner, home.path().join("scan")).unwrap();
    fs::rename(home.path().join("bin/qmail-queue-real"), &scanner).unwrap();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("m"), "To: r@b.test\n\nx\n").unwrap();
    let mut command = program("qmail-inject", home.path());
    command.env("QMAILQUEUE", home.path().join("scan")).stdin(File::open(dir.path().join("m")).unwrap());
    assert_eq!(command.status().unwrap().code(), Some(100));
}

/// A set-group-id qmail-queue whose caller calls it by another program's name, or puts one before its words, is still qmail-queue: the group is
/// not for whatever setlock or argv0 would run.
#[test]
fn borrowed_rights_are_for_no_other_program() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: set-group-id files for others need root");
        return;
    }
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let file = dir.path().join("qmail-queue");
    fs::copy(env!("CARGO_BIN_EXE_postino-compat"), &file).unwrap();
    std::os::unix::fs::chown(&file, Some(0), Some(12)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o2755)).unwrap();
    let proof = dir.path().join("proof");
    let script = format!("id -g >{}", proof.display());
    for (name, words) in [("setlock", vec!["lock", "sh", "-c", &script]), ("postino-compat", vec!["argv0", "sh", "sh", "-c", &script])] {
        let mut command = std::process::Command::new(&file);
        std::os::unix::process::CommandExt::arg0(&mut command, name);
        std::os::unix::process::CommandExt::gid(std::os::unix::process::CommandExt::uid(&mut command, 65_534), 65_534);
        let status =
            command.args(words).current_dir(dir.path()).stdin(std::process::Stdio::null()).stdout(File::open("/dev/null").unwrap());
        // No envelope (54), or no home on this machine (61).
        assert!(matches!(status.status().unwrap().code(), Some(54 | 61)), "{name} is not qmail-queue");
        assert!(!proof.try_exists().unwrap() && !dir.path().join("lock").try_exists().unwrap(), "{name} was run");
    }
}
