//! maildirserial and serialsmtp, held to the recorded runs of the originals. A short script takes tcpclient's part: it gives the connection on
//! descriptors 6 and 7.

use super::sink::Sink;
use super::{program, script, sink};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Keeps message and envelope of bounces.
const KEEP: &str = "#!/bin/sh\ncat > message; exec 3<&1; cat <&3 | tr '\\000' '\\n' > envelope\n";

struct Run {
    exit: Option<i32>,
    stderr: String,
    sessions: Vec<sink::Session>,
    left: Vec<String>,
    message: String,
    envelope: String,
}

fn run(case: &Value) -> Run {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("pppdir");
    for name in ["control", "pppdir/tmp", "pppdir/new", "pppdir/cur"] {
        fs::create_dir_all(home.path().join(name)).unwrap();
    }
    fs::write(home.path().join("control/me"), "oracle.test\n").unwrap();
    script(&home.path().join("bin/qmail-queue"), KEEP);
    let young = case["id"] != "se05";
    for (n, text) in case["setup"]["maildir new/"].as_array().unwrap().iter().enumerate() {
        let path = dir.join(format!("new/{}.{n}.h", 1000 + n));
        fs::write(&path, text.as_str().unwrap()).unwrap();
        let age = if young { 0 } else { 1_300_000 };
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(age + 100 - n as u64);
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }
    let sink = Sink::new(&case["setup"]["remote server replies"], case["expected"]["sessions"].as_array().unwrap().len());
    let tcpclient = home.path().join("tcpclient");
    let exe = env!("CARGO_BIN_EXE_postino-compat");
    let connect = format!("exec 6<>/dev/tcp/127.0.0.1/{} 7>&6\nexport TCPREMOTEIP=127.0.0.1\nexec {exe} \"$@\"", sink.port);
    script(&tcpclient, &format!("#!/bin/bash\n{connect}\n"));
    let mut command = program("maildirserial", home.path());
    command.args(["-b", "-t", "1209600", "--"]).arg(&dir).arg("alias-ppp-").arg(&tcpclient).args(["serialsmtp", "alias-ppp-", "helo.test"]);
    let output = command.output().unwrap();
    let read = |name: &str| fs::read_to_string(home.path().join(name)).unwrap_or_default();
    let left = fs::read_dir(dir.join("new")).unwrap().map(|entry| format!("new/{}", entry.unwrap().file_name().display()));
    Run {
        exit: output.status.code(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        sessions: sink.sessions(),
        left: left.collect(),
        message: read("message"),
        envelope: read("envelope"),
    }
}

/// With the process number as the cases have it.
fn without_qp(text: &str) -> String {
    let line = |line: &str| match line.rsplit_once(" qp ") {
        Some((before, _)) => format!("{before} qp <PID>\n"),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn check(id: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cases/{id}.json"));
    let case: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let run = run(&case);
    let expected = &case["expected"];
    assert_eq!(without_qp(&run.stderr), expected["stderr"].as_str().unwrap(), "{id}");
    assert_eq!(serde_json::json!(run.exit), expected["exit"], "{id}");
    assert_eq!(serde_json::json!(run.left), expected["files left"], "{id}");
    for (session, expected) in run.sessions.iter().zip(expected["sessions"].as_array().unwrap()) {
        assert_eq!(serde_json::json!(session.commands), expected["commands"], "{id}");
        assert_eq!(serde_json::json!(session.data), expected["data"], "{id}");
    }
    if let Some(bounce) = expected["queued bounces"].get(0) {
        let (_, expected) = bounce["message"].as_str().unwrap().split_once("<DATE>\nDate: <DATE>").unwrap();
        assert_eq!(run.message[run.message.find("\nFrom:").unwrap()..], *expected, "{id}");
        assert_eq!(run.envelope, "F\nTs@a.test\n\n", "{id}");
    }
}

#[test]
fn recorded_runs() {
    for id in ["se03", "se04", "se05", "se07", "se08", "se09"] {
        check(id);
    }
}
