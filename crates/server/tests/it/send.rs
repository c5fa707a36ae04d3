//! `postino send`, and `postino` as sendmail, qmail-inject and qmail-queue: natively, with a server and without.

use super::house::{House, postino, text, worker_user};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

fn fed(command: &mut Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn every_name_reaches_the_running_server() {
    let house = House::started("");
    let home = &house.home;
    let mail = |subject: &str| format!("To: pippo@example.test\nSubject: {subject}\n\nhello\n");
    let sent =
        fed(postino().args(["send", "--from", "a@x.test", "--to", "pippo@example.test", "--json", "--home"]).arg(home), &mail("send"));
    assert_eq!(sent.status.code(), Some(0));
    assert!(text(&sent.stdout).contains("\"queued\": true"), "{}", text(&sent.stdout));
    // As subcommands, and by the name it is called by.
    let words = [("sendmail", "-t"), ("qmail-inject", "pippo@example.test")];
    for (name, word) in words {
        let output = fed(postino().arg("--home").arg(home).arg(name).arg(word), &mail(name));
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let named = format!("as-{name}");
        let output = fed(postino().arg0(name).arg(word).env("POSTINO_HOME", home), &mail(&named));
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    let files = house.wait_messages("pippo", 5);
    let all: Vec<String> = files.iter().map(|file| text(&std::fs::read(file).unwrap())).collect();
    for subject in ["send", "sendmail", "as-sendmail", "qmail-inject", "as-qmail-inject"] {
        assert_eq!(all.iter().filter(|message| message.contains(&format!("\nSubject: {subject}\n"))).count(), 1, "{subject}");
    }
    assert!(all.iter().any(|message| message.contains("Message-ID: ")), "an injector completes the header");
    let refused = fed(postino().args(["send", "--from", "", "--to", &"a".repeat(2000), "--home"]).arg(home), "x\n");
    assert_eq!(
        (refused.status.code(), text(&refused.stderr).as_str()),
        (Some(100), "postino: envelope address too long for qq (#5.1.3)\n")
    );
}

#[test]
fn without_a_server_the_message_waits_for_the_next() {
    let mut house = House::new("");
    house.start();
    house.stop();
    let mut send = postino();
    send.args(["send", "--from", "a@x.test", "--to", "pippo@example.test", "--home"]).arg(&house.home);
    let output = fed(&mut send, "Subject: later\n\nhello\n");
    assert_eq!(output.status.code(), Some(0), "{} as {}", text(&output.stderr), worker_user());
    assert!(house.messages("pippo").is_empty());
    house.start();
    house.wait_messages("pippo", 1);
}
