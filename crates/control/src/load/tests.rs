//! Tests of the loader: classic rules, defaults from `me`, errors with file and line, nothing half-applied.

use super::*;
use crate::cdb;
use crate::resolved::{ListenerKind, Log, Sandbox};
use crate::tcprules::Rules;
use proptest::prelude::*;
use std::time::Duration;

fn raw(files: &[(&'static str, &str)], toml: &str) -> Raw {
    let mut raw = Raw { home: PathBuf::from("/h"), server_toml: Some(toml.into()), ..Raw::default() };
    raw.files.insert("me", b"Mail.Example.org\n".to_vec());
    for (name, text) in files {
        raw.files.insert(name, text.as_bytes().to_vec());
    }
    raw
}

fn good(files: &[(&'static str, &str)], toml: &str) -> Loaded {
    resolve(&raw(files, toml)).unwrap_or_else(|p| panic!("{}", told(&p)))
}

fn told(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("{p}\n")).collect()
}

fn bad(files: &[(&'static str, &str)], toml: &str) -> String {
    told(&resolve(&raw(files, toml)).expect_err("must be refused"))
}

#[test]
fn defaults_come_from_me() {
    let config = good(&[], "").config;
    assert_eq!(config.helohost, "Mail.Example.org");
    assert!(config.locals.contains(b"mail.example.org".as_slice()) && config.locals.len() == 1);
    assert_eq!(config.rcpthosts, None);
    assert_eq!(config.vpopmail_home, Path::new("/h"));
    assert!(config.badmailfrom.is_empty());
}

#[test]
fn the_table_and_the_default_configuration_agree() {
    for setting in table::settings().filter(|s| !s.default.is_empty() && s.default != "me") {
        let mut config = Config::default();
        match setting.kind {
            Kind::Line(set) => set(&mut config, setting.default.into()),
            Kind::Number { set, .. } => set(&mut config, setting.default.parse().unwrap()),
            Kind::Flag(set) => set(&mut config, setting.default.parse().unwrap()),
            Kind::Choice(words, set) => {
                assert!(words.contains(&setting.default));
                set(&mut config, setting.default);
            }
            Kind::Sockets(_, set) => set(&mut config, setting.default.split(", ").map(|a| a.parse().unwrap()).collect()),
            Kind::Text(set) => set(&mut config, format!("{}\n", setting.default).into()),
            _ => panic!("{}: a default that nobody checks", setting.name),
        }
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()), "{}", setting.name);
    }
}

#[test]
fn classic_files() {
    let config = good(
        &[
            ("locals", "Local.Test \n#c\n\nother.test\n"),
            ("virtualdomains", "V.test:one\nv.test:two\nnothing\n:alias-ppp\nout.test:\nuser@V2.test:joe:x\n"),
            ("rcpthosts", ""),
            ("concurrencyremote", "7 or so\n"),
            ("queuelifetime", "x"),
            ("timeoutsmtpd", "0"),
            ("concurrencylocal", "999999999999999999999999"),
            ("bounceformat", "qsbmf"),
            ("helohost", "h.test \t\nrest"),
            ("bouncehost", "\n"),
            ("doublebounceto", "\n"),
            ("authmechs", "cram-md5\n"),
            ("tcp.smtp", "127.:allow,RELAYCLIENT=\"\"\n"),
        ],
        "",
    )
    .config;
    let local: &[u8] = b"local.test";
    assert!(config.locals.contains(local) && !config.locals.contains(b"mail.example.org".as_slice()));
    let prefix = |key: &[u8]| config.virtualdomains.get(key).map(|v| String::from_utf8_lossy(v).into_owned());
    assert_eq!(prefix(b"v.test").as_deref(), Some("two"));
    assert_eq!(prefix(b"").as_deref(), Some("alias-ppp"));
    assert_eq!(prefix(b"out.test").as_deref(), Some(""));
    assert_eq!(prefix(b"user@v2.test").as_deref(), Some("joe:x"));
    assert_eq!(config.virtualdomains.len(), 4);
    assert_eq!(config.rcpthosts.map(|h| h.len()), Some(0));
    assert_eq!((config.concurrency_remote, config.queue_lifetime_s, config.concurrency_local), (7, 604_800, 10_000));
    assert_eq!(config.timeout_smtpd, Duration::from_secs(1));
    assert_eq!((config.helohost.as_str(), config.bouncehost.as_str(), config.doublebounceto.as_str()), ("h.test", "Mail.Example.org", ""));
    assert!(config.authmechs.contains(postino_sasl::Mechanism::CramMd5) && config.authmechs.contains(postino_sasl::Mechanism::Plain));
    assert!(config.tcprules.lookup("127.0.0.1".parse().unwrap(), None, None).unwrap().variable("RELAYCLIENT").is_some());
}

#[test]
fn routes_and_their_logins() {
    let routes = "far.org:\n.org:Relay1\n:relay2:26\na.test:[192.0.2.1]:2525\nb.test:[IPv6:2001:db8::1]\nc.test:relay2:x\n";
    let loaded = good(&[("smtproutes", routes), ("smtproutes.auth", "relay1 joe one\nrelay2:26 ann two\nother u p\nbroken\n")], "");
    let route = |key: &str| {
        loaded.config.smtproutes.get(key.as_bytes()).map(|r| (r.relay.as_str(), r.port, r.auth.as_ref().map(|a| a.user.as_str())))
    };
    assert_eq!(route("far.org"), Some(("", 25, None)));
    assert_eq!(route(".org"), Some(("Relay1", 25, Some("joe"))));
    assert_eq!(route(""), Some(("relay2", 26, Some("ann"))));
    assert_eq!(route("a.test"), Some(("[192.0.2.1]", 2525, None)));
    assert_eq!(route("b.test"), Some(("[IPv6:2001:db8::1]", 25, None)));
    assert_eq!(route("c.test"), Some(("relay2", 25, None)));
    let warnings = told(&loaded.warnings);
    for part in ["control/smtproutes:6: ", "control/smtproutes.auth:3: names a relay", "control/smtproutes.auth:4: is not"] {
        assert!(warnings.contains(part), "{part} in {warnings}");
    }
    assert!(!warnings.contains("two"));
}

#[test]
fn errors_name_file_line_and_remedy() {
    let mut nameless = raw(&[], "");
    nameless.files.remove("me");
    assert!(told(&resolve(&nameless).err().unwrap()).starts_with("/h/control/me: is missing or empty (write"));
    for (files, toml, want) in [
        (vec![("me", "a\r\n")], "", "/h/control/me:1: ends with a carriage return"),
        (vec![("me", "my host\n")], "", "/h/control/me:1: holds \"my host\", which is no host name (write"),
        (vec![("me", "mail..test\n")], "", "which is no host name"),
        (vec![("helohost", "a\x07b")], "", "/h/control/helohost:1: holds a control byte"),
        (vec![("bounceformat", "html")], "", "/h/control/bounceformat:1: holds \"html\" (write one of: both, qsbmf)"),
        (vec![("tcp.smtp", ":allow\n1.:alow\n")], "", "/h/control/tcp.smtp:2: unable to parse this line: 1.:alow"),
        (vec![("vpopmail-home", "x")], "", "/h/control/vpopmail-home:1: must hold an absolute path"),
        (vec![], "a = ", "/h/control/server.toml:1: "),
        (
            vec![],
            "\n[limits]\nhops_mx = 3\n",
            "/h/control/server.toml:3: unknown key \"limits.hops_mx\" (did you mean \"limits.hops_max\"?)",
        ),
        (vec![], "databytes = 3\n", "/h/control/server.toml:1: \"databytes\" has a file of its own: control/databytes"),
        (vec![], "[limits]\nqueue_lifetime = 3\n", "has a file of its own: control/queuelifetime"),
        (vec![], "[limits]\nhops_max = 3\n", "/h/control/server.toml:2: limits.hops_max must be a number from 10 to 1000"),
        (vec![], "[limits]\nhops_max = -3\n", "must be a number"),
        (vec![], "limits = 3\n", "/h/control/server.toml:1: unknown key \"limits\""),
        (vec![], "sandbox = \"no\"\n", "sandbox must be one of: off, best, required"),
        (vec![], "[listen]\nsmtp = [\"here\"]\n", "holds \"here\", which is no address:port"),
        (vec![], "[[tls]]\nhost = \"a\"\ncertificate = \"c\"\n", "tls lacks \"key\""),
        (vec![], "[[tls]]\nhost = \"a\"\ncertificate = \"c\"\nkey = \"k\"\nx = 1\n", "unknown key \"x\""),
    ] {
        let got = bad(&files, toml);
        assert!(got.contains(want), "want {want} in {got}");
    }
}

#[test]
fn every_problem_is_told_at_once() {
    let got = bad(&[("bounceformat", "html"), ("helohost", "a\x07b")], "a = 1\nminuid = 0\n");
    assert_eq!(got.lines().count(), 4, "{got}");
}

#[test]
fn server_toml() {
    let toml = "minuid = 0x10\nretry_interval_s = 2\nsandbox = \"off\"\n[listen]\nsmtp = [\"127.0.0.1:2025\", \"::1\"]\npop3 = []\n[limits]\nmessage_bytes_max = 64_000_000\nsession_s = 60\n\
                [remote]\ndns_servers = [\"127.0.0.1:5353\", \"9.9.9.9\"]\nown_addresses = \"192.0.2.1\"\nstarttls = false\n[log]\nformat = \"qmail\"\n[[tls]]\nhost = \"A.test\"\ncertificate = \"tls/a.pem\"\nkey = \"/k\"\n";
    let loaded = good(&[], toml);
    let server = &loaded.config.server;
    assert_eq!((server.minuid, server.retry_interval_s, server.sandbox, server.log), (16, Some(2), Sandbox::Off, Log::Qmail));
    let listen = |kind: ListenerKind| server.listeners[&kind].iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(listen(ListenerKind::Smtp), ["127.0.0.1:2025", "[::1]:25"]);
    assert!(listen(ListenerKind::Pop3).is_empty());
    assert_eq!(listen(ListenerKind::Pop3s), ["0.0.0.0:995", "[::]:995"]);
    assert_eq!((server.limits.message_bytes_max, server.limits.session), (64_000_000, Duration::from_secs(60)));
    assert_eq!(server.remote.dns_servers[1].to_string(), "9.9.9.9:53");
    assert_eq!(server.remote.own_addresses[0].to_string(), "192.0.2.1");
    assert!(!server.remote.starttls);
    assert_eq!(
        (server.tls[0].host.as_str(), server.tls[0].certificate.as_path(), server.tls[0].key.as_path()),
        ("a.test", Path::new("/h/tls/a.pem"), Path::new("/k"))
    );
    assert_eq!(loaded.values["limits.session_s"].origin, Origin::Set { file: "/h/control/server.toml".into(), line: 9 });
    assert_eq!(loaded.values["minuid"].text, "16");
}

#[test]
fn check_tells_what_is_odd() {
    let mut odd = raw(
        &[
            ("locals", "a.test\n b.test\n"),
            ("virtualdomains", "a.test:x\nnocolon\nv.test:v\n"),
            ("rcpthosts", "a.test\n"),
            ("morercpthosts", "m.test\n"),
        ],
        "",
    );
    odd.unknown_files.extend(["badrcptto".into(), "concurencyremote".into()]);
    let loaded = resolve(&odd).unwrap_or_else(|p| panic!("{}", told(&p)));
    let (notes, warnings) = (told(&loaded.notes), told(&loaded.warnings));
    for part in [
        "locals:2: begins with a blank",
        "virtualdomains:2: has no colon",
        "badrcptto: is not a file",
        "(did you mean concurrencyremote?)",
        "does not name v.test",
    ] {
        assert!(notes.contains(part), "{part} in {notes}");
    }
    assert!(warnings.contains("a.test is in locals too") && warnings.contains("morercpthosts: is not compiled"), "{warnings}");
}

#[test]
fn qmails_programs_do_without_a_name_where_locals_is() {
    let dir = tempfile::tempdir().unwrap();
    let control = dir.path().join("control");
    std::fs::create_dir(&control).unwrap();
    assert!(told(&crate::load_as_qmail(dir.path()).err().unwrap()).contains("control/me: is missing"));
    std::fs::write(control.join("locals"), "a.test\n").unwrap();
    assert!(told(&load(dir.path()).err().unwrap()).contains("control/me: is missing"));
    let config = crate::load_as_qmail(dir.path()).unwrap().config;
    assert_eq!((config.bouncehost.as_str(), config.envnoathost.as_str()), ("bouncehost", "envnoathost"));
    assert_eq!((config.localiphost.as_str(), config.locals.len()), ("", 1));
}

#[test]
fn the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let control = dir.path().join("control");
    assert!(load(dir.path()).err().unwrap()[0].to_string().contains("cannot be read"));
    std::fs::create_dir(&control).unwrap();
    std::fs::write(control.join("me"), "h.test\n").unwrap();
    std::fs::write(control.join("old-patch"), "x").unwrap();
    std::fs::write(control.join("tcp.smtp.cdb"), Rules::parse(b"10.:deny\n").unwrap().to_cdb().unwrap()).unwrap();
    let mut more = cdb::CdbWriter::new();
    more.add(b"more.test", b"").unwrap();
    std::fs::write(control.join("morercpthosts.cdb"), more.finish().unwrap()).unwrap();
    std::fs::write(control.join("smtproutes"), ":relay\n").unwrap();
    std::fs::write(control.join("smtproutes.auth"), "relay u p\n").unwrap();
    let loaded = load(dir.path()).unwrap_or_else(|p| panic!("{}", told(&p)));
    assert!(!loaded.config.tcprules.lookup("10.1.1.1".parse().unwrap(), None, None).unwrap().allow);
    assert!(loaded.config.is_in_morercpthosts(b"more.test").unwrap() && !loaded.config.is_in_morercpthosts(b"x.test").unwrap());
    assert!(told(&loaded.notes).contains("old-patch"));
    assert!(told(&loaded.warnings).contains("can be read by every user"));
    // the text wins over the compiled form
    std::fs::write(control.join("tcp.smtp"), "10.:allow\n").unwrap();
    assert!(load(dir.path()).unwrap().config.tcprules.lookup("10.1.1.1".parse().unwrap(), None, None).unwrap().allow);
    // a directory where a file should be, and a damaged cdb, keep the old configuration in force
    std::fs::create_dir(control.join("locals")).unwrap();
    assert!(told(&load(dir.path()).err().unwrap()).contains("locals: is not a regular file"));
    std::fs::remove_dir(control.join("locals")).unwrap();
    std::fs::remove_file(control.join("tcp.smtp")).unwrap();
    std::fs::write(control.join("tcp.smtp.cdb"), "short").unwrap();
    assert!(told(&load(dir.path()).err().unwrap()).contains("tcp.smtp.cdb: damaged cdb"));
}

proptest! {
    #[test]
    fn no_control_file_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), which in 0usize..100) {
        let mut raw = raw(&[], "");
        let names: Vec<_> = table::settings().filter(|s| s.home == Home::File).collect();
        raw.files.insert(names[which % names.len()].name, bytes.clone());
        if which % 3 == 0 { raw.server_toml = Some(bytes); }
        let _ = resolve(&raw);
    }
}

#[test]
fn rules_of_other_places() {
    let dir = tempfile::tempdir().unwrap();
    let control = dir.path().join("control");
    std::fs::create_dir(&control).unwrap();
    std::fs::write(control.join("me"), "h.test\n").unwrap();
    std::fs::write(control.join("tcp.smtp"), ":allow\njoe@10.1.1.1:deny\n").unwrap();
    std::fs::write(control.join("tcp.pop3"), "10.:deny,QMAILQUEUE=\"/bin/scan\"\n").unwrap();
    let denied = |rules: &Rules| rules.lookup("10.1.1.1".parse().unwrap(), None, None).is_some_and(|v| !v.allow);
    let loaded = load(dir.path()).unwrap_or_else(|p| panic!("{}", told(&p)));
    assert!(!denied(&loaded.config.tcprules) && denied(&loaded.config.tcprules_pop3));
    assert!(
        told(&loaded.notes).contains("joe@10.1.1.1 asks who") && told(&loaded.warnings).contains("rule for 10. sets QMAILQUEUE"),
        "{}",
        told(&loaded.notes)
    );
    let other = dir.path().join("other.cdb");
    std::fs::write(control.join("server.toml"), "[access]\nsmtp = \"other.cdb\"\n").unwrap();
    assert!(told(&load(dir.path()).err().unwrap()).contains("other.cdb: is missing"));
    std::fs::write(&other, Rules::parse(b"10.:deny\n").unwrap().to_cdb().unwrap()).unwrap();
    let loaded = load(dir.path()).unwrap_or_else(|p| panic!("{}", told(&p)));
    assert!(denied(&loaded.config.tcprules));
    assert_eq!(loaded.values["tcp.smtp"].text, "1 rules");
}

#[test]
fn what_a_newcomer_may_write() {
    let loaded = good(&[("rbl", "  # ours\n  bl.test 553\n"), ("tcp.smtp", "127.:allow\n\n# x\n10.1.2.3 deny\n")], "");
    assert_eq!(loaded.config.rbl.len(), 1);
    assert!(told(&loaded.warnings).contains("control/tcp.smtp:4: has no colon"), "{}", told(&loaded.warnings));
    let toml = "[[fetch]]\nname = \"isp\"\nserver = \"pop.test\"\nprotocol = \"pop3\"\nuser = \"joe\"\nto = \"joe@h.test\"\n\
                password_file = \"control/isp.password\"\nca_file = \"control/isp.pem\"\n";
    let mut raw = raw(&[], toml);
    raw.unknown_files = ["isp.password", "isp.pem", "isp.old"].map(str::to_owned).into();
    let notes = told(&resolve(&raw).unwrap().notes);
    assert!(notes.contains("isp.old") && !notes.contains("isp.password") && !notes.contains("isp.pem"), "{notes}");
}
