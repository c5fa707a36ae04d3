//! The programs that speak with a client, held to the recorded sessions of the originals.

use super::program;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Stands in for qmail-queue: keeps message and envelope.
const KEEP: &str = "cat > message; exec 3<&1; cat <&3 | tr '\\000' '\\n' > envelope";

fn script(path: &Path, text: &str) {
    super::script(path, &format!("#!/bin/sh\n{text}\n"));
}

fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let control = home.path().join("control");
    fs::create_dir(&control).unwrap();
    fs::write(control.join("me"), "oracle.test\n").unwrap();
    fs::write(control.join("rcpthosts"), "oracle.test\n").unwrap();
    script(&home.path().join("bin/qmail-queue"), KEEP);
    home
}

/// Says `input`, then ends, or waits for the program to end.
fn talk(command: &mut Command, input: &[u8], ends: Ending) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A program that ends early does not read it all.
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
        matches!(ends, Ending::Silence).then_some(stdin)
    });
    let mut stdout = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    let mut stderr = Vec::new();
    child.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
    let status = child.wait().unwrap();
    drop(writer.join().unwrap());
    Output { status, stdout, stderr }
}

#[derive(Clone, Copy)]
enum Ending {
    Eof,
    Silence,
}

fn cases(beginnings: &[&str]) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut cases: Vec<Value> =
        fs::read_dir(folder).unwrap().map(|entry| serde_json::from_slice(&fs::read(entry.unwrap().path()).unwrap()).unwrap()).collect();
    cases.retain(|case| beginnings.iter().any(|beginning| case["id"].as_str().unwrap().starts_with(beginning)));
    cases.sort_by_key(|case| case["id"].to_string());
    assert!(!cases.is_empty());
    cases
}

fn set_up(case: &Value, home: &Path, command: &mut Command) {
    for (name, value) in case["setup"].as_object().unwrap() {
        if let Some(file) = name.strip_prefix("control/") {
            let path = home.join("control").join(file);
            match value.as_str() {
                Some(text) => fs::write(path, text).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
        }
    }
    if home.join("control/morercpthosts").try_exists().unwrap() {
        assert!(program("qmail-newmrh", home).status().unwrap().success());
    }
    if case["setup"]["env"].is_null() {
        command.env("TCPREMOTEIP", "192.0.2.7");
    }
    for (name, value) in case["setup"]["env"].as_object().into_iter().flatten() {
        let mut value = value.as_str().unwrap().to_owned();
        if name == "QMAILQUEUE" {
            let code: String = value.chars().filter(char::is_ascii_digit).collect();
            value = home.join("qq").to_str().unwrap().to_owned();
            script(Path::new(&value), &format!("cat > /dev/null; printf 'DVirus found (#5.7.1)' >&6; exit {code}"));
        }
        command.env(name, value);
    }
}

/// The client's part; one case has it in short.
fn stdin(case: &Value) -> String {
    let text = case["input"]["stdin"].as_str().unwrap_or_default();
    match text.strip_prefix("RCPT x@") {
        Some(_) => {
            let recipients = text.trim_start_matches("RCPT ").split(", ").map(|r| format!("RCPT TO:<{r}>\r\n"));
            format!("MAIL FROM:<s@a.test>\r\n{}QUIT\r\n", recipients.collect::<String>())
        }
        None if text.contains(" / ") => text.replace(" / ", "\r\n") + "\r\n",
        None => text.to_owned(),
    }
}

/// A line of the program against one of the case, in which a word `<TIME>` stands for any.
fn same(got: &str, want: &str) -> bool {
    let (got, want): (Vec<_>, Vec<_>) = (got.split(' ').collect(), want.split(' ').collect());
    if want.last() == Some(&"<DATE>") {
        return got.len() > want.len() && got[..want.len() - 1] == want[..want.len() - 1];
    }
    got.len() == want.len() && got.iter().zip(&want).all(|(g, w)| g == w || matches!(*w, "<TIME>" | "<PID>"))
}

fn assert_same(id: &str, got: &str, want: &str) {
    let (g, w): (Vec<_>, Vec<_>) = (got.split('\n').collect(), want.split('\n').collect());
    assert!(g.len() == w.len() && g.iter().zip(&w).all(|(g, w)| same(g, w)), "{id}: got\n{got}\nwant\n{want}");
}

#[test]
fn smtpd_says_what_the_original_said() {
    for case in cases(&["sm", "sq"]) {
        let id = case["id"].as_str().unwrap();
        let home = home();
        let mut command = program("qmail-smtpd", home.path());
        set_up(&case, home.path(), &mut command);
        let ending = if case["input"]["then"] == "silence for 2.5 s" { Ending::Silence } else { Ending::Eof };
        let output = talk(&mut command, stdin(&case).as_bytes(), ending);
        let replies: Vec<&str> = case["expected"]["replies"].as_array().unwrap().iter().map(|r| r.as_str().unwrap()).collect();
        let got = String::from_utf8(output.stdout).unwrap();
        assert_eq!(got.matches('\n').count(), got.matches("\r\n").count());
        assert_same(id, &got.replace("\r\n", "\n"), &replies.join("\n"));
        assert_eq!(output.status.code().map(i64::from), case["expected"]["exit"].as_i64(), "{id}");
        let Some(queued) = case["expected"]["queued"].as_array().and_then(|q| q.first()) else { continue };
        let envelope: String = queued["envelope"].as_array().unwrap().iter().map(|a| format!("{}\n", a.as_str().unwrap())).collect();
        assert_eq!(fs::read_to_string(home.path().join("envelope")).unwrap(), envelope + "\n", "{id}");
        let (_, message) = queued["message"].as_str().unwrap().split_once('\n').unwrap();
        assert_same(id, &fs::read_to_string(home.path().join("message")).unwrap(), message);
    }
}

#[test]
fn smtpd_stays_small_and_passes_the_wrapper_s_own_words_on() {
    let home = home();
    script(&home.path().join("bin/qmail-queue"), "wc -c > bytes; printf 'Dno thanks (#5.7.1)\\r\\n250 ok\\n' >&6; exit 82");
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -v 32768; exec \"$0\" qmail-smtpd", env!("CARGO_BIN_EXE_postino-compat")]);
    limited.env_clear().env("PATH", "/usr/bin:/bin").env("POSTINO_HOME", home.path());
    let mut input = b"HELO ".to_vec();
    input.extend(std::iter::repeat_n(b'x', 20 << 20));
    input.extend_from_slice(b"\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@oracle.test>\r\nDATA\r\n\r\n");
    input.extend(std::iter::repeat_n(b'y', 40 << 20));
    input.extend_from_slice(b"\r\n.\r\nQUIT\r\n");
    let output = talk(&mut limited, &input, Ending::Eof);
    let got = String::from_utf8(output.stdout).unwrap();
    assert!(got.ends_with("354 go ahead\r\n554 no thanks (#5.7.1)\r\n221 oracle.test\r\n"), "{got}");
    let bytes: usize = fs::read_to_string(home.path().join("bytes")).unwrap().trim().parse().unwrap();
    assert!(bytes > 40 << 20);
}

#[test]
fn smtpd_without_controls_or_with_a_bare_lf() {
    let home = home();
    let input = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@oracle.test>\r\nDATA\r\n\r\nx\n.\r\nMAIL FROM:<smuggled@b>\r\n";
    let output = talk(&mut program("qmail-smtpd", home.path()), input, Ending::Silence);
    assert!(output.stdout.ends_with(b"451 See https://cr.yp.to/docs/smtplf.html.\r\n"));
    assert_eq!(output.status.code(), Some(1));
    fs::remove_file(home.path().join("control/me")).unwrap();
    let output = talk(&mut program("qmail-smtpd", home.path()), b"", Ending::Eof);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b"421 unable to read controls (#4.3.0)\r\n"[..]));
}

#[test]
fn without_databytes_a_body_is_bounded_all_the_same() {
    let home = home();
    let queue = home.path().join("bin/qmail-queue");
    fs::remove_file(&queue).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_postino-compat"), &queue).unwrap();
    fs::create_dir_all(home.path().join("queue/drop")).unwrap();
    fs::write(home.path().join("control/server.toml"), "user = \"x\"\n[limits]\nmessage_bytes_max = 2000000\n").unwrap();
    let dropped = || fs::read_dir(home.path().join("queue/drop")).unwrap().count();
    let smtp = |bytes: usize| {
        let mut input = b"HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@oracle.test>\r\nDATA\r\n\r\n".to_vec();
        input.extend(std::iter::repeat_n(b'y', bytes));
        input.extend_from_slice(b"\r\n.\r\nQUIT\r\n");
        String::from_utf8(talk(&mut program("qmail-smtpd", home.path()), &input, Ending::Eof).stdout).unwrap()
    };
    const TOO_LONG: &str = "sorry, that message size exceeds my databytes limit (#5.3.4)";
    assert!(smtp(3_000_000).contains(&format!("\r\n552 {TOO_LONG}\r\n221 ")));
    assert_eq!(dropped(), 0);
    assert!(smtp(1_900_000).contains("\r\n250 ok "));
    assert_eq!(dropped(), 1);
    let body = vec![b'y'; 3_000_000];
    let input = netstrings(&[&[b"\n", &body[..]].concat(), b"s@a.test", &netstrings(&[b"a@oracle.test"])]);
    let output = talk(&mut program("qmail-qmtpd", home.path()), &input, Ending::Eof);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{}:D{TOO_LONG},", TOO_LONG.len() + 1));
    let input = netstrings(&[&netstrings(&[&body, b"s@a.test", b"a@oracle.test"])]);
    let output = talk(&mut program("qmail-qmqpd", home.path()), &input, Ending::Eof);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{}:D{TOO_LONG},", TOO_LONG.len() + 1));
    fs::write(home.path().join("m"), &body).unwrap();
    fs::write(home.path().join("e"), "Fa@b\0Tc@oracle.test\0\0").unwrap();
    let open = |name: &str| fs::File::open(home.path().join(name)).unwrap();
    assert_eq!(program("qmail-queue", home.path()).stdin(open("m")).stdout(open("e")).status().unwrap().code(), Some(31));
    assert_eq!(dropped(), 1);
}

/// As the cases write it: CR made visible, the stamp replaced.
fn visible(stdout: &[u8]) -> String {
    let text = String::from_utf8(stdout.to_vec()).unwrap();
    let stamped = text.split_once("+OK <").and_then(|(_, rest)| rest.split_once('@')).map(|(stamp, _)| stamp.to_owned());
    let text = stamped.map_or(text.clone(), |stamp| text.replace(&stamp, "PID.TIME"));
    text.replace("\r\n", "\\r\\n\n")
}

#[test]
fn popup_says_what_the_original_said() {
    for case in cases(&["pp"]) {
        let id = case["id"].as_str().unwrap();
        let mut command = program("qmail-popup", Path::new("/"));
        let words = case["setup"]["subprogram"].as_array().into_iter().flatten().map(|word| word.as_str().unwrap());
        match case["input"]["argv"].is_array() {
            true => command.arg("h"),
            false => command.arg("pop.test").args(words),
        };
        let output = talk(&mut command, stdin(&case).as_bytes(), Ending::Eof);
        let want = case["expected"]["stdout"].as_str().unwrap().replace("\r\n", "\\r\\n\n");
        assert_eq!(visible(&output.stdout), want, "{id}");
        assert_eq!(output.status.code(), Some(1), "{id}");
    }
}

/// qmail-pop3d as somebody else than root.
fn pop3d(maildir: &Path) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = program("qmail-pop3d", Path::new("/"));
    command.arg(maildir);
    if nix::unistd::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    command
}

fn maildir(case: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let own = |path: &Path| {
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).unwrap();
        }
    };
    own(folder.path());
    for part in ["new", "cur", "tmp"] {
        fs::create_dir(folder.path().join(part)).unwrap();
        own(&folder.path().join(part));
    }
    let mails = case["setup"]["maildir (in mtime order, 10 s apart)"].as_array();
    let start = std::time::SystemTime::now() - std::time::Duration::from_secs(1000);
    for (number, mail) in (0u64..).zip(mails.into_iter().flatten()) {
        let path = folder.path().join(mail[0].as_str().unwrap());
        fs::write(&path, mail[1].as_str().unwrap()).unwrap();
        own(&path);
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_modified(start + std::time::Duration::from_secs(number * 10)).unwrap();
    }
    folder
}

fn files(maildir: &Path) -> Vec<String> {
    let mut names: Vec<String> = ["cur", "new", "tmp"]
        .iter()
        .flat_map(|part| fs::read_dir(maildir.join(part)).unwrap().map(move |e| format!("{part}/{}", e.unwrap().file_name().display())))
        .collect();
    names.sort();
    names
}

#[test]
fn pop3d_says_what_the_original_said() {
    for case in cases(&["pd"]).iter().filter(|case| case["input"]["uid"].is_null()) {
        let id = case["id"].as_str().unwrap();
        let folder = maildir(case);
        let path = if case["input"]["argv"].is_array() { Path::new("/nonexistent") } else { folder.path() };
        let output = talk(&mut pop3d(path), stdin(case).as_bytes(), Ending::Eof);
        let want = case["expected"]["stdout"].as_str().unwrap().replace("\r\n", "\\r\\n\n");
        assert_eq!(visible(&output.stdout), want, "{id}");
        assert_eq!(output.status.code(), Some(0), "{id}");
        if let Some(want) = case["expected"]["files afterwards"].as_array() {
            assert_eq!(files(folder.path()), want.iter().map(|name| name.as_str().unwrap()).collect::<Vec<_>>(), "{id}");
        }
    }
}

#[test]
fn pop3d_the_how_to_s_session_and_what_is_new_or_root_s() {
    let case = serde_json::json!({"setup": {"maildir (in mtime order, 10 s apart)": [["new/1.a", "Subject: s\n\nprova123\n"]]}});
    let folder = maildir(&case);
    // In the future: not of this session.
    fs::write(folder.path().join("new/2.b"), "x\n").unwrap();
    let late = std::time::SystemTime::now() + std::time::Duration::from_secs(1000);
    fs::OpenOptions::new().write(true).open(folder.path().join("new/2.b")).unwrap().set_modified(late).unwrap();
    let recipe = cases(&["hw02"]).remove(0);
    let output = talk(&mut pop3d(folder.path()), stdin(&recipe).as_bytes(), Ending::Eof);
    assert_eq!(visible(&output.stdout), recipe["expected"]["stdout"].as_str().unwrap());
    assert_eq!(files(folder.path()), ["cur/1.a:2,", "new/2.b"]);
    let output = talk(&mut pop3d(folder.path()), b"DELE 1\r\nTOP 1 0\r\n", Ending::Eof);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(files(folder.path()), ["cur/1.a:2,", "new/2.b"]);
    if nix::unistd::geteuid().is_root() {
        let output = program("qmail-pop3d", Path::new("/")).arg(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(output.stderr, b"qmail-pop3d invoked as uid 0, terminating\n");
    }
}

/// The hash of `Secret1`.
fn hashed() -> String {
    use postino_directory::password::{NewHash, hash_password};
    hash_password(b"Secret1", NewHash::Sha512Crypt { rounds: 5000 }).unwrap()
}

/// checkpassword with `said` on descriptor 3, on a machine whose only account is oqbob; `None` when no such machine can be made here.
fn checkpassword(said: &[u8], home: &Path) -> Option<Output> {
    let write = |name: &str, text: String| fs::write(home.join(name), text).unwrap();
    write("passwd", format!("root:x:0:0::/root:/bin/sh\noqbob:x:65533:65533::{}:/bin/sh\n", home.display()));
    write("shadow", format!("root:*:1::::::\noqbob:{}:1::::::\n", hashed()));
    fs::write(home.join("said"), said).unwrap();
    fs::set_permissions(home, fs::Permissions::from_mode(0o755)).unwrap();
    let shell = "cd \"$1\" && mount --bind passwd /etc/passwd && mount --bind shadow /etc/shadow || exit 99
        cat said | { exec 3<&0; exec \"$0\" checkpassword sh -c \
        'test -e /proc/$$/fd/3 || c=closed; echo USER=$USER HOME=$HOME SHELL=$SHELL pwd=`pwd` uid=`id -u` gid=`id -g` groups=`id -G` $c' < /dev/null; }";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", shell, env!("CARGO_BIN_EXE_postino-compat")]).arg(home);
    let output = command.output().ok()?;
    (output.status.code() != Some(99) && !output.stderr.starts_with(b"unshare:")).then_some(output)
}

#[test]
fn checkpassword_says_what_the_original_said() {
    let home = tempfile::tempdir().unwrap();
    for case in cases(&["cp"]) {
        let said = case["input"]["fd3"].as_str().unwrap().replace("\\0", "\0");
        let Some(output) = checkpassword(said.as_bytes(), home.path()) else {
            eprintln!("no mount namespaces here: checkpassword is not tested");
            return;
        };
        let id = case["id"].as_str().unwrap();
        assert_eq!(output.status.code().map(i64::from), case["expected"]["exit"].as_i64(), "{id}: {output:?}");
        let home = home.path().display();
        let ours = format!("USER=oqbob HOME={home} SHELL=/bin/sh pwd={home} uid=65533 gid=65533 groups=65533 closed\n");
        let want = if case["expected"]["exit"] == 0 { ours } else { String::new() };
        assert_eq!(String::from_utf8_lossy(&output.stdout), want, "{id}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{id}");
    }
    let output = program("checkpassword", Path::new("/")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// As [`KEEP`], for several messages.
const KEEP_ALL: &str = "n=$(ls | grep -c ^message-); cat > message-$((n+1)); exec 3<&1; (cat <&3; echo) | tr '\\000' '|' >> envelopes";

/// Netstrings in a netstring.
fn netstrings(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().flat_map(|part| [format!("{}:", part.len()).as_bytes(), part, b","].concat()).collect()
}

#[test]
fn qmtpd_answers_each_recipient() {
    let home = home();
    script(&home.path().join("bin/qmail-queue"), KEEP_ALL);
    fs::write(home.path().join("control/databytes"), "20\n").unwrap();
    let recipients = netstrings(&[b"a@oracle.test", b"b@other.test", &[b'x'; 1000], b"c@ORACLE.test"]);
    let mut input = netstrings(&[b"\rA: b\r\n\r\nx\ry\r\n", b"s@a.test", &recipients]);
    input.extend(netstrings(&[b"\nmore than twenty bytes", b"s@a.test", &netstrings(&[b"a@oracle.test"])]));
    input.extend(netstrings(&[b"\nA: b\n", &[b's'; 1000], &netstrings(&[b"a@oracle.test"])]));
    let output = talk(program("qmail-qmtpd", home.path()).env("TCPREMOTEIP", "192.0.2.7"), &input, Ending::Eof);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stdout).unwrap();
    // A process number has as many digits as it likes.
    let (length, first) = said.split_once(':').unwrap();
    let first = &first[..=length.parse::<usize>().unwrap()];
    assert_eq!((first.starts_with("Kok "), first.ends_with(','), said.matches(":Kok ").count()), (true, true, 2), "{said}");
    let refused = [
        "Dsorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
        "Dsorry, I can't handle that recipient (#5.1.3)",
        "Dsorry, that message size exceeds my databytes limit (#5.3.4)",
        "Dunacceptable sender (#5.1.7)",
    ];
    for text in refused {
        assert!(said.contains(&format!("{}:{text},", text.len())), "{said}");
    }
    assert_eq!(
        fs::read_to_string(home.path().join("envelopes")).unwrap().lines().next().unwrap(),
        "Fs@a.test|Ta@oracle.test|Tc@ORACLE.test||"
    );
    let message = fs::read_to_string(home.path().join("message-1")).unwrap();
    assert!(
        message.starts_with("Received: from unknown (192.0.2.7)\n  by unknown with QMTP; ") && message.ends_with("\nA: b\n\nx\ry\n"),
        "{message:?}"
    );
}

#[test]
fn qmqpc_and_qmqpd_hand_a_message_on() {
    let home = home();
    script(&home.path().join("bin/qmail-queue"), KEEP_ALL);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // Nobody listens there.
    let silent = "127.0.0.1:1";
    fs::write(home.path().join("control/qmqpservers"), format!("{silent}\n{}\n", listener.local_addr().unwrap())).unwrap();
    fs::write(home.path().join("m"), "A: b\n\nx\n").unwrap();
    let client = |envelope: &[u8]| {
        fs::write(home.path().join("e"), envelope).unwrap();
        let open = |name: &str| fs::File::open(home.path().join(name)).unwrap();
        let mut child = program("qmail-qmqpc", home.path()).stdin(open("m")).stdout(open("e")).spawn().unwrap();
        let (socket, _) = listener.accept().unwrap();
        let both = [socket.try_clone().unwrap(), socket].map(std::os::fd::OwnedFd::from);
        let [input, output] = both.map(Stdio::from);
        let server = program("qmail-qmqpd", home.path()).stdin(input).stdout(output).status().unwrap();
        assert_eq!(server.code(), Some(0));
        child.wait().unwrap().code()
    };
    assert_eq!(client(b"Fs@a.test\0Tr@b.test\0Tq@b.test\0\0"), Some(0));
    assert_eq!(fs::read_to_string(home.path().join("envelopes")).unwrap(), "Fs@a.test|Tr@b.test|Tq@b.test||\n");
    let message = fs::read_to_string(home.path().join("message-1")).unwrap();
    assert!(message.contains(" with QMQP; ") && message.ends_with("\nA: b\n\nx\n"), "{message:?}");
    for (script_text, code) in [("cat > /dev/null; exit 31", 31), ("cat > /dev/null; exit 53", 71)] {
        script(&home.path().join("bin/qmail-queue"), script_text);
        assert_eq!(client(b"Fs@a.test\0Tr@b.test\0\0"), Some(code));
    }
    fs::write(home.path().join("control/qmqpservers"), silent).unwrap();
    let open = |name: &str| fs::File::open(home.path().join(name)).unwrap();
    let run = || program("qmail-qmqpc", home.path()).stdin(open("m")).stdout(open("e")).status().unwrap().code();
    assert_eq!(run(), Some(73));
    fs::remove_file(home.path().join("control/qmqpservers")).unwrap();
    assert_eq!(run(), Some(55));
}

#[test]
fn qmtpd_and_qmqpd_end_at_what_is_no_protocol() {
    let home = home();
    script(&home.path().join("bin/qmail-queue"), KEEP_ALL);
    for (name, input, code) in [
        ("qmail-qmtpd", "x", 100),
        ("qmail-qmtpd", "0:,", 100),
        ("qmail-qmtpd", "3:abc,", 100),
        ("qmail-qmtpd", "999999999:", 111),
        ("qmail-qmtpd", "3:\nab;", 100),
        ("qmail-qmtpd", "3:\nab,", 0),
        ("qmail-qmqpd", "5:9:abc", 100),
        ("qmail-qmqpd", "20:3:abc,1:x", 0),
    ] {
        let output = talk(&mut program(name, home.path()), input.as_bytes(), Ending::Eof);
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(code), &b""[..]), "{name} {input}");
    }
    assert!(!fs::read_to_string(home.path().join("envelopes")).unwrap_or_default().contains("||"));
}
