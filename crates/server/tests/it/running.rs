//! Running it: start, reload, clean stop, metrics, wrong configuration, privileges.

use super::client::{Line, deliver};
use super::house::{House, is_root, postino, run, text, wait_for};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

#[test]
fn a_reload_takes_new_domains_and_keeps_the_old_configuration_on_errors() {
    let house = House::started("");
    let refused = |to: &str| {
        let mut line = Line::smtp(house.ports.smtp);
        line.expect("MAIL FROM:<a@x.test>", "250");
        line.command(&format!("RCPT TO:<{to}>"))
    };
    assert!(refused("x@later.test").starts_with("550"));
    house.cli(&["domain", "add", "later.test", "--postmaster-password", "segreto"]);
    // The tool tells the running server itself.
    assert!(refused("postmaster@later.test").starts_with("250"), "{}", house.log());
    let before = std::fs::read_to_string(house.home.join("control/server.toml")).unwrap();
    house.write_toml("[limits]\nmessage_bytes_max = \"many\"\n");
    house.signal(rustix::process::Signal::HUP);
    wait_for("the complaint", || house.log().contains("server.toml"));
    assert!(refused("pippo@example.test").starts_with("250"), "the old configuration stays in force");
    let check = postino().arg("check").arg("--home").arg(&house.home).output().unwrap();
    assert!(!check.status.success());
    let said = text(&check.stderr) + &text(&check.stdout);
    assert!(said.contains("server.toml") && said.contains("message_bytes_max"), "{said}");
    std::fs::write(house.home.join("control/server.toml"), before).unwrap();
    house.cli(&["check"]);
}

#[test]
fn stops_cleanly_and_finds_its_mail_again() {
    let mut house = House::started("");
    deliver(house.ports.smtp, "a@x.test", "pippo@example.test", "Subject: one\r\n\r\nhello");
    house.wait_messages("pippo", 1);
    assert_eq!(house.stop(), 0, "{}", house.log());
    house.start();
    let (mut pop, _) = Line::try_connect(house.ports.pop3).unwrap();
    pop.send(b"USER pippo@example.test\r\nPASS segreto\r\nSTAT\r\nQUIT\r\n");
    let said = text(&pop.rest());
    assert!(said.contains("+OK 1 "), "{said}");
}

#[test]
fn metrics_count_what_happened() {
    let house = House::started("");
    deliver(house.ports.smtp, "a@x.test", "pippo@example.test", "Subject: one\r\n\r\nhello");
    house.wait_messages("pippo", 1);
    house.wait_empty();
    let page = run(Command::new("curl").args(["-sS", "--max-time", "10", &format!("http://127.0.0.1:{}/metrics", house.ports.http)]));
    let page = text(&page.stdout);
    assert!(page.contains("postino_messages_queued_total 1\n"), "{page}");
    assert!(page.contains("postino_deliveries_succeeded_total 1\n"), "{page}");
    assert!(page.contains("postino_queue_entries 0\n"), "{page}");
}

#[test]
fn qmail_log_lines_stand_as_qmail_send_writes_them() {
    let house = House::started("[log]\nformat = \"qmail\"\n");
    deliver(house.ports.smtp, "a@x.test", "pippo@example.test", "Subject: one\r\n\r\nhello");
    house.wait_messages("pippo", 1);
    wait_for("the end of the message in the log", || house.log().contains("end msg"));
    let log = house.log();
    let at = |what: &str| log.find(what).unwrap_or_else(|| panic!("no {what:?} in\n{log}"));
    assert!(at("new msg ") < at("info msg "));
    assert!(at("info msg ") < at("starting delivery 1: msg "));
    assert!(at("to local example.test-pippo@example.test") < at("status: local 1/42 remote 0/20"));
    assert!(at("delivery 1: success: ") < at("end msg "));
}

#[test]
fn a_second_server_on_the_same_home_refuses_to_start() {
    let house = House::started("");
    let toml = std::fs::read_to_string(house.home.join("control/server.toml")).unwrap();
    // Other ports, same queue.
    let other = toml.lines().filter(|l| l.starts_with("user")).collect::<String>()
        + &format!("\n[listen]\nsmtp = [\"127.0.0.1:{}\"]\n", super::house::free_port());
    std::fs::write(house.home.join("control/server.toml"), other).unwrap();
    let second = postino().arg("serve").arg("--home").arg(&house.home).output().unwrap();
    assert!(!second.status.success());
    assert!(text(&second.stderr).contains("already"), "{}", text(&second.stderr));
    deliver(house.ports.smtp, "a@x.test", "pippo@example.test", "Subject: the first one works on\r\n\r\nhello");
}

#[test]
fn the_worker_is_not_root_and_stays_so() {
    if !is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let house = House::started("");
    let worker = house
        .family()
        .into_iter()
        .find(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| text(&c).contains("\0worker\0")))
        .expect("a worker process");
    let status = std::fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
    let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned();
    assert!(field("Uid:").split_whitespace().all(|uid| uid != "0"), "{status}");
    assert!(field("Gid:").split_whitespace().all(|gid| gid != "0"), "{status}");
    assert_eq!(field("Groups:"), "", "no supplementary groups");
    for set in ["CapInh:", "CapPrm:", "CapEff:"] {
        assert_eq!(u64::from_str_radix(&field(set), 16).unwrap(), 0, "{set}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2", "a seccomp filter is in force");
}

#[test]
fn configuration_commands_show_set_and_explain() {
    let house = House::new("");
    assert!(house.cli(&["config", "get", "me"]).contains("mail.example.test"));
    house.cli(&["config", "set", "queuelifetime", "86400"]);
    assert_eq!(std::fs::read_to_string(house.home.join("control/queuelifetime")).unwrap(), "86400\n");
    assert!(house.cli(&["config", "doc", "queuelifetime"]).contains("seconds"));
    house.cli(&["config", "unset", "queuelifetime"]);
    assert!(!house.home.join("control/queuelifetime").try_exists().unwrap());
    let wrong = postino().args(["config", "set", "concurrencyremote", "lots", "--home"]).arg(&house.home).output().unwrap();
    assert!(!wrong.status.success());
}

/// What a service manager hears, with the pid that said it (credentials of the kernel, as systemd asks for them).
fn hear(socket: &UnixDatagram) -> (i32, String) {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut bytes = [0u8; 512];
    let mut space = vec![std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(socket, &mut [std::io::IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::empty()).unwrap();
    let speaker = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmCredentials(who) => Some(who.pid.as_raw_nonzero().get()),
        _ => None,
    });
    (speaker.unwrap(), text(&bytes[..got.bytes]))
}

/// systemd's default, NotifyAccess=main, ignores what a worker below the supervisor says.
#[test]
fn the_service_manager_hears_the_main_process() {
    let mut house = House::new("");
    let path = house.home.join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    manager.set_read_timeout(Some(super::house::PATIENCE)).unwrap();
    rustix::net::sockopt::set_socket_passcred(&manager, true).unwrap();
    house.start_by(postino().arg("serve").arg("--home").arg(&house.home).env("NOTIFY_SOCKET", &path).stdin(Stdio::null()));
    let main = house.pid();
    assert_eq!(hear(&manager), (main, "READY=1\n".into()));
    assert_eq!(std::fs::read_to_string(house.home.join("run/postino.pid")).unwrap().trim(), main.to_string());
    house.signal(rustix::process::Signal::HUP);
    let (who, what) = hear(&manager);
    assert_eq!(who, main);
    assert!(what.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{what}");
    assert_eq!(hear(&manager), (main, "READY=1\n".into()));
    assert_eq!(house.stop(), 0, "{}", house.log());
    assert_eq!(hear(&manager), (main, "STOPPING=1\n".into()));
}

/// A passed socket is used for its service; the other services are bound as server.toml says.
#[test]
fn sockets_are_taken_from_the_service_manager() {
    let mut house = House::new("");
    let passed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let toml = std::fs::read_to_string(house.home.join("control/server.toml")).unwrap();
    // An address that cannot be bound: only the passed socket can answer.
    std::fs::write(
        house.home.join("control/server.toml"),
        toml.replace(&format!("127.0.0.1:{}\"]\nsubmission ", house.ports.smtp), "192.0.2.1:25\"]\nsubmission "),
    )
    .unwrap();
    house.ports.smtp = passed.local_addr().unwrap().port();
    let script = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=smtp exec \"$0\" serve --home \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(env!("CARGO_BIN_EXE_postino")).arg(&house.home).stdin(Stdio::from(OwnedFd::from(passed)));
    house.start_by(&mut command);
    deliver(house.ports.smtp, "a@x.test", "pippo@example.test", "Subject: one\r\n\r\nhello");
    house.wait_messages("pippo", 1);
}

/// A second copy of a listening socket would go on filling its queue while a stopping server waits for its sessions.
#[test]
fn the_worker_holds_each_inherited_descriptor_once() {
    let house = House::started("");
    for pid in house.family() {
        let listening = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
        let listening: Vec<&str> = listening
            .lines()
            .map(|l| l.split_whitespace().collect::<Vec<_>>())
            .filter(|w| w.get(3) == Some(&"0A"))
            .filter_map(|w| w.get(9).copied())
            .map(|inode| &*Box::leak(inode.to_owned().into_boxed_str()))
            .collect();
        let mut held: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .flatten()
            .filter_map(|f| std::fs::read_link(f.path()).ok())
            .map(|l| l.to_string_lossy().into_owned())
            .filter(|l| listening.iter().any(|inode| l == &format!("socket:[{inode}]")))
            .collect();
        let all = held.len();
        held.sort();
        held.dedup();
        assert_eq!(all, held.len(), "process {pid}");
    }
}

/// certbot keeps certificates and keys in folders that root alone may enter.
#[test]
fn certificates_that_only_root_may_read_are_served_and_renewed() {
    if !is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let mut house = House::new("[[tls]]\nhost = \"localhost\"\ncertificate = \"live/cert.pem\"\nkey = \"live/key.pem\"\n");
    let live = house.home.join("live");
    std::fs::create_dir(&live).unwrap();
    std::fs::set_permissions(&live, std::fs::Permissions::from_mode(0o700)).unwrap();
    let renew = || {
        run(Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=localhost",
            ])
            .args(["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"])
            .current_dir(&live));
        std::fs::set_permissions(live.join("key.pem"), std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    renew();
    house.start();
    let trusted = || {
        let ca = std::fs::canonicalize(live.join("cert.pem")).unwrap();
        let url = format!("pop3s://localhost:{}/", house.ports.pop3s);
        Command::new("curl")
            .args(["-sS", "--max-time", "10", "-u", "pippo@example.test:segreto", "--cacert"])
            .arg(ca)
            .arg(url)
            .status()
            .unwrap()
    };
    assert!(trusted().success(), "{}", house.log());
    renew();
    house.signal(rustix::process::Signal::HUP);
    wait_for("the new certificate", || trusted().success());
}

#[test]
fn check_finds_what_keeps_a_home_from_being_served() {
    let house = House::new("");
    let check = || {
        let output = postino().args(["check", "--json", "--home"]).arg(&house.home).output().unwrap();
        (output.status.success(), text(&output.stdout))
    };
    assert!(check().0, "{}", check().1);
    let taken = std::net::TcpListener::bind(("127.0.0.1", house.ports.pop3)).unwrap();
    let (good, said) = check();
    assert!(!good && said.contains(&format!("127.0.0.1:{} for pop3", house.ports.pop3)), "{said}");
    drop(taken);
    house.control("concurencylocal", "5\n");
    assert!(check().0 && check().1.contains("did you mean concurrencylocal?"), "{}", check().1);
    let domain = house.home.join("domains/example.test");
    std::fs::rename(domain.join("vpasswd"), domain.join("vpasswd.away")).unwrap();
    assert!(!check().0 && check().1.contains("vpasswd is missing"), "{}", check().1);
    std::fs::rename(domain.join("vpasswd.away"), domain.join("vpasswd")).unwrap();
    if is_root() {
        std::fs::set_permissions(house.home.join("control/me"), std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(!check().0 && check().1.contains("control/me: the server's account"), "{}", check().1);
        std::fs::set_permissions(house.home.join("control/me"), std::fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::chown(&domain, Some(0), None).unwrap();
        assert!(!check().0 && check().1.contains("belongs to uid 0"), "{}", check().1);
    }
}

#[test]
fn an_id_that_is_not_in_the_queue_is_told() {
    let house = House::started("");
    let retry = postino().args(["queue", "retry", "42", "--home"]).arg(&house.home).output().unwrap();
    assert_eq!(retry.status.code(), Some(1));
    assert!(text(&retry.stderr).contains("no message 42"), "{}", text(&retry.stderr));
    assert_eq!(postino().args(["queue", "retry", "--home"]).arg(&house.home).output().unwrap().status.code(), Some(2));
}

#[test]
fn setup_leaves_a_home_of_another_host_alone() {
    let house = House::new("");
    let again = |host: &str| postino().args(["setup", host, "--quiet", "--home"]).arg(&house.home).output().unwrap();
    assert!(again("mail.example.test").status.success());
    let other = again("other.example.net");
    assert!(!other.status.success() && text(&other.stderr).contains("mail.example.test already"), "{}", text(&other.stderr));
    assert!(!house.home.join("domains/example.net").try_exists().unwrap());
}
