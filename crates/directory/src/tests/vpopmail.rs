//! qmail's and vpopmail's own ways: users/cdb, dot-qmail files, catch-alls, flags, changes made behind the server's back.

use super::world::{World, address, credentials, owner};
use crate::admin::{CatchAll, ClearPassword};
use crate::vpasswd::{FLAG_BOUNCE_MAIL, FLAG_NO_IMAP, FLAG_NO_POP, FLAG_NO_SMTP, FLAG_OVERRIDE};
use md5::{Digest, Md5};
use postino_control::assign;
use postino_ports::directory::{Directory, DotQmail, Login, Resolution, Secret, Service};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

fn no_mailbox() -> Resolution {
    Resolution::NoMailbox { text: "Sorry, no mailbox here by that name. (#5.1.1)".into() }
}

fn assign(world: &World, text: &str) {
    world.write("users/assign", text);
    std::fs::write(world.path("users/cdb"), assign::to_cdb(&assign::parse(text.as_bytes()).unwrap()).unwrap()).unwrap();
}

#[tokio::test]
async fn a_mailbox_says_all_that_delivery_needs() {
    let world = World::with_users();
    let _ = world.admin.set_quota("pippo@example.test", "50M,1000C").unwrap();
    let Resolution::Mailbox(mailbox) = world.user("Pippo").await else { panic!() };
    assert_eq!(mailbox.home, world.domain("pippo"));
    assert_eq!(mailbox.maildir, world.domain("pippo/Maildir"));
    assert_eq!((mailbox.uid, mailbox.gid), (owner().uid, owner().gid));
    assert_eq!(mailbox.quota, "52428800S,1000C");
}

#[tokio::test]
async fn extensions_are_cut_at_the_first_hyphen_only() {
    let world = World::with_users();
    let _ = world.admin.add_user("a-b@example.test", b"pw").unwrap();
    assert!(matches!(world.user("a-b").await, Resolution::Mailbox(m) if m.address == "a-b@example.test"));
    assert_eq!(world.user("a-b-c").await, no_mailbox(), "vdelivermail never tries a-b");
    assert_eq!(world.user("pippo+tag").await, no_mailbox());
    let mut config = (*world.live.get()).clone();
    config.server.recipient_delimiters = "+".into();
    world.live.set(config);
    assert!(matches!(world.user("pippo+tag").await, Resolution::Mailbox(m) if m.address == "pippo@example.test"));
    assert!(matches!(world.user("a-b+tag").await, Resolution::Mailbox(m) if m.address == "a-b@example.test"));
    assert!(matches!(world.user("pippo-tag").await, Resolution::Mailbox(_)), "the hyphen stays");
}

#[tokio::test]
async fn an_alias_domain_leads_to_the_real_mailbox() {
    let world = World::with_users();
    let _ = world.admin.add_alias_domain("example.test", "other.test").unwrap();
    let answer = world.resolve("other.test-Pippo@other.test").await.unwrap();
    assert!(matches!(answer, Resolution::Mailbox(m) if m.address == "pippo@example.test"));
    assert!(matches!(world.login("pippo@other.test", "Secret-1").await, Login::Granted(m) if m.address == "pippo@example.test"));
}

#[tokio::test]
async fn aliases_of_a_domain_forward() {
    let world = World::with_users();
    let _ = world.admin.add_alias("info.desk@example.test", "pippo@example.test").unwrap();
    let _ = world.admin.add_alias("info.desk@example.test", "x@far.test").unwrap();
    let routed = address("example.test-Info.Desk@example.test");
    let Resolution::Forward { to, delivered_to, uid } = world.directory.resolve(&routed).await.unwrap() else { panic!() };
    assert_eq!(to, [address("pippo@example.test"), address("x@far.test")]);
    assert_eq!((delivered_to, uid), (routed, owner().uid));
    assert!(matches!(world.user("abuse").await, Resolution::Forward { .. }), "RFC 2142");
    // with an -owner file the sender changes, which is qmail-local's business
    world.write("domains/example.test/.qmail-info:desk-owner", "&pippo@example.test\n");
    assert!(matches!(world.user("info.desk").await, Resolution::DotQmail(_)));
}

#[tokio::test]
async fn domain_files_that_need_a_process_go_to_the_spawner() {
    let world = World::with_users();
    for text in ["| program\n", "./Mailbox\n", "\n&a@b\n", "", "&a@b\n/some/Maildir/\n"] {
        world.write("domains/example.test/.qmail-list", text);
        let Resolution::DotQmail(found) = world.user("list").await else { panic!("{text:?}") };
        assert_eq!((found.user.as_str(), found.home, found.ext), ("example.test", world.domain(""), b"list".to_vec()));
    }
    world.write("domains/example.test/.qmail-list", "# mailing list closed\n");
    assert_eq!(world.user("list").await, Resolution::Discard);
    world.write("domains/example.test/.qmail-list", "&a@b\n");
    std::fs::set_permissions(world.domain(".qmail-list"), PermissionsExt::from_mode(0o666)).unwrap();
    assert!(matches!(world.user("list").await, Resolution::DotQmail(_)), "world-writable: qmail-local defers it");
    std::fs::set_permissions(world.domain(""), PermissionsExt::from_mode(0o1700)).unwrap();
    assert!(matches!(world.user("pippo").await, Resolution::DotQmail(_)), "sticky: somebody is editing");
}

#[tokio::test]
async fn catch_alls() {
    let world = World::with_users();
    let set = |catch_all: CatchAll| world.admin.set_catch_all("example.test", &catch_all).unwrap();
    let _ = set(CatchAll::Delete);
    assert_eq!(world.user("nobody").await, Resolution::Discard);
    let _ = set(CatchAll::Forward("pippo@example.test".into()));
    let Resolution::Forward { to, delivered_to, .. } = world.user("NoBody").await else { panic!() };
    assert_eq!((to, delivered_to), (vec![address("pippo@example.test")], address("nobody@example.test")));
    let _ = set(CatchAll::Directory(world.domain("pluto")));
    let Resolution::Directory { maildir, delivered_to, .. } = world.user("nobody").await else { panic!() };
    assert_eq!((maildir, delivered_to), (world.domain("pluto/Maildir"), address("nobody@example.test")));
    assert_eq!(world.admin.catch_all("example.test").unwrap(), Some(CatchAll::Directory(world.domain("pluto"))));
    let _ = set(CatchAll::Bounce);
    world.write("domains/example.test/.no-user.msg", "Nobody \u{7}here.\nSorry.\n");
    assert_eq!(world.user("nobody").await, Resolution::NoMailbox { text: "Nobody here.\nSorry.".into() });
    world.write("domains/example.test/.qmail-default", "| program\n");
    assert!(matches!(world.user("pippo").await, Resolution::DotQmail(_)), "another program rules the domain");
    std::fs::remove_file(world.domain(".qmail-default")).unwrap();
    assert_eq!(world.user("pippo").await, no_mailbox());
}

#[tokio::test]
async fn a_users_own_dot_qmail() {
    let world = World::with_users();
    world.write("domains/example.test/pippo/.qmail", "&x@far.test\n");
    let Resolution::Forward { to, delivered_to, .. } = world.user("pippo").await else { panic!() };
    assert_eq!((to, delivered_to), (vec![address("x@far.test")], address("pippo@example.test")));
    for plain in [String::new(), "./Maildir/\n".into(), format!("{}/Maildir/\n", world.domain("pippo").display())] {
        world.write("domains/example.test/pippo/.qmail", &plain);
        assert!(matches!(world.user("pippo").await, Resolution::Mailbox(_)), "{plain:?}");
    }
    world.write("domains/example.test/pippo/.qmail", "# gone\n");
    assert_eq!(world.user("pippo").await, Resolution::Discard);
    world.write("domains/example.test/pippo/.qmail-list", "| program\n");
    let Resolution::DotQmail(found) = world.user("pippo-List").await else { panic!() };
    let want = DotQmail {
        user: "example.test".into(),
        uid: owner().uid,
        gid: owner().gid,
        home: world.domain("pippo"),
        dash: b"-".to_vec(),
        ext: b"list".to_vec(),
    };
    assert_eq!(found, want);
}

#[tokio::test]
async fn flags_close_services_and_lock_mail() {
    let world = World::with_users();
    for (flag, closed) in [(FLAG_NO_POP, Service::Pop3), (FLAG_NO_IMAP, Service::Imap), (FLAG_NO_SMTP, Service::Smtp)] {
        let _ = world.admin.set_flags("pippo@example.test", flag).unwrap();
        for service in [Service::Smtp, Service::Pop3, Service::Imap] {
            let answer = world.login_to("pippo@example.test", "Secret-1", service).await.unwrap();
            assert_eq!(answer == Login::Denied, service == closed, "{service:?} with {flag:#x}");
        }
    }
    let _ = world.admin.set_flags("pippo@example.test", FLAG_BOUNCE_MAIL).unwrap();
    let text = "vdelivermail: account is locked email bounced pippo@example.test".into();
    assert_eq!(world.user("pippo").await, Resolution::Locked { text });
    assert!(matches!(world.login("pippo@example.test", "Secret-1").await, Login::Granted(_)));
}

#[tokio::test]
async fn limits_of_the_domain_close_services() {
    let world = World::with_users();
    let granted =
        async |login: &str, password: &str, service| matches!(world.login_to(login, password, service).await.unwrap(), Login::Granted(_));
    world.write("etc/vlimits.default", "disable_smtp\n");
    assert!(!granted("pippo@example.test", "Secret-1", Service::Smtp).await, "the site's");
    assert!(granted("pippo@example.test", "Secret-1", Service::Pop3).await);
    std::fs::write(world.domain(".qmailadmin-limits"), "disable_pop\n").unwrap();
    assert!(!granted("pippo@example.test", "Secret-1", Service::Pop3).await, "the domain's own");
    assert!(granted("pippo@example.test", "Secret-1", Service::Smtp).await, "which stand for the site's");
    let _ = world.admin.set_flags("pluto@example.test", FLAG_OVERRIDE).unwrap();
    assert!(granted("pluto@example.test", "Secret-2", Service::Pop3).await, "an exempt account");
}

#[tokio::test]
async fn changes_are_noticed_without_a_signal() {
    let world = World::with_users();
    assert!(matches!(world.login("pippo@example.test", "Secret-1").await, Login::Granted(_)));
    let _ = world.admin.set_password("pippo@example.test", b"New-1").unwrap();
    assert_eq!(world.login("pippo@example.test", "Secret-1").await, Login::Denied, "also from the memory of right passwords");
    assert!(matches!(world.login("pippo@example.test", "New-1").await, Login::Granted(_)));
    let _ = world.admin.remove_user("pippo@example.test").unwrap();
    assert_eq!(world.user("pippo").await, no_mailbox());
    assert_eq!(world.login("pippo@example.test", "New-1").await, Login::Denied);
}

#[tokio::test]
async fn the_memory_of_passwords_ends() {
    let world = World::with_users();
    assert!(matches!(world.login("pippo@example.test", "Secret-1").await, Login::Granted(_)));
    world.clock.forward(Duration::from_secs(301));
    assert!(matches!(world.login("pippo@example.test", "Secret-1").await, Login::Granted(_)));
    assert_eq!(world.login("pippo@example.test", "Secret-2").await, Login::Denied);
}

#[tokio::test]
async fn vpasswd_counts_where_its_data_base_is_missing_older_or_damaged() {
    let world = World::with_users();
    let text = std::fs::read_to_string(world.domain("vpasswd")).unwrap();
    let more = format!("{text}zio:{{PLAIN}}pw:1:0:zio:{}:NOQUOTA\n", world.domain("zio").display());
    let touch = |name: &str, seconds: u64| {
        let file = std::fs::File::options().write(true).open(world.domain(name)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    };
    world.write("domains/example.test/vpasswd", &more);
    touch("vpasswd.cdb", 1000);
    assert!(matches!(world.user("zio").await, Resolution::Mailbox(_)), "older data base");
    assert!(matches!(world.login("zio@example.test", "pw").await, Login::Granted(_)));
    touch("vpasswd", 500);
    assert_eq!(world.user("zio").await, no_mailbox(), "the data base is newer: it counts");
    world.write("domains/example.test/vpasswd.cdb", "damaged");
    assert!(matches!(world.user("zio").await, Resolution::Mailbox(_)), "damaged data base");
    std::fs::remove_file(world.domain("vpasswd.cdb")).unwrap();
    assert!(matches!(world.user("zio").await, Resolution::Mailbox(_)), "no data base");
    std::fs::remove_file(world.domain("vpasswd")).unwrap();
    assert!(world.resolve("example.test-zio@example.test").await.is_err(), "neither: cannot tell");
    assert!(world.login_to("zio@example.test", "pw", Service::Pop3).await.is_err(), "neither: cannot tell");
}

#[tokio::test]
async fn trouble_is_never_no_such_user() {
    let world = World::with_users();
    std::fs::rename(world.domain(""), world.path("domains/away")).unwrap();
    assert!(world.resolve("example.test-pippo@example.test").await.is_err(), "a disk that is not mounted");
    world.write("users/cdb", "damaged");
    assert!(world.resolve("example.test-pippo@example.test").await.is_err());
    assert!(world.login_to("pippo@example.test", "Secret-1", Service::Pop3).await.is_err());
    std::fs::remove_file(world.path("users/cdb")).unwrap();
    std::fs::create_dir(world.path("users/cdb")).unwrap();
    assert!(world.resolve("example.test-pippo@example.test").await.is_err());
}

#[tokio::test]
async fn strange_directories_in_vpasswd_are_refused() {
    let world = World::with_users();
    std::fs::remove_file(world.domain("vpasswd.cdb")).unwrap();
    for strange in ["relative/dir", "/v/../../etc", ""] {
        world.write("domains/example.test/vpasswd", &format!("pippo:{{PLAIN}}pw:1:0:p:{strange}:NOQUOTA\n"));
        assert!(world.resolve("example.test-pippo@example.test").await.is_err(), "{strange:?}");
        assert!(world.login_to("pippo@example.test", "pw", Service::Pop3).await.is_err(), "{strange:?}");
    }
}

#[tokio::test]
async fn hashed_directories_are_found_by_what_vpasswd_says() {
    let world = World::empty();
    let home = world.path("domains/3/big.test");
    let user = home.join("0/pippo");
    world.write(
        "domains/3/big.test/vpasswd",
        &format!("pippo:$1$saltsalt$5ENprRTZuN/1MfWzxet3M0:1:0:Pippo:{}:NOQUOTA:pippo\n", user.display()),
    );
    world.write("domains/3/big.test/.qmail-default", "| /home/vpopmail/bin/vdelivermail '' bounce-no-mailbox\n");
    let uid = owner().uid;
    assign(&world, &format!("+big.test-:big.test:{uid}:{uid}:{}:-::\n.\n", home.display()));
    let Resolution::Mailbox(mailbox) = world.resolve("big.test-pippo@big.test").await.unwrap() else { panic!() };
    assert_eq!((mailbox.address.as_str(), mailbox.maildir), ("pippo@big.test", user.join("Maildir")));
    for login in ["pippo@big.test", "pippo%big.test", "pippo/big.test"] {
        assert!(matches!(world.login(login, "pippo").await, Login::Granted(_)), "{login}");
    }
}

#[tokio::test]
async fn the_host_name_is_the_default_domain() {
    let world = World::with_users();
    assert!(matches!(world.login("pippo", "Secret-1").await, Login::Granted(_)));
}

#[tokio::test]
async fn apop_needs_the_clear_password() {
    let world = World::with_users();
    let stamp = b"<1.2@mail.example.test>".to_vec();
    let digest: String = Md5::digest([&stamp[..], b"Secret-1"].concat()).iter().map(|b| format!("{b:02x}")).collect();
    let ask = |digest: &str| {
        world.directory.authenticate(credentials(
            "pippo@example.test",
            Secret::Apop { stamp: stamp.clone(), digest: digest.into() },
            Service::Pop3,
        ))
    };
    assert_eq!(ask(&digest).await, Ok(Login::Denied));
    let _ = world.admin.clone().with_clear_passwords(ClearPassword::Store).set_password("pippo@example.test", b"Secret-1").unwrap();
    assert!(matches!(ask(&digest).await, Ok(Login::Granted(_))));
    assert_eq!(ask(&digest.replace(|c: char| c.is_ascii_digit(), "0")).await, Ok(Login::Denied));
    assert!(!world.user("x").await.eq(&Resolution::Discard));
}

#[tokio::test]
async fn an_empty_stored_password_opens_nothing() {
    let world = World::with_users();
    let _ = world.admin.set_password_hash("pippo@example.test", "").unwrap();
    assert_eq!(world.login("pippo@example.test", "").await, Login::Denied);
    assert_eq!(world.login("pippo@example.test", "Secret-1").await, Login::Denied);
}

#[tokio::test]
async fn assigned_users_and_alias() {
    let world = World::empty();
    let uid = owner().uid;
    let home = world.path("home/joe");
    assign(
        &world,
        &format!("=joe:joe:{uid}:{uid}:{h}:::\n+joe-:joe:{uid}:{uid}:{h}:-::\n=boss:root:0:0:/root:::\n.\n", h = home.display()),
    );
    assert!(world.resolve("joe@example.test").await.is_err(), "home missing: wait for it");
    world.write("home/joe/.qmail-List-x", "ignored, since names are lower case\n");
    world.write("home/joe/.qmail-lists-default", "| x\n");
    assert!(matches!(world.resolve("JOE@example.test").await, Ok(Resolution::DotQmail(d)) if d.user == "joe" && d.dash.is_empty()));
    assert!(
        matches!(world.resolve("joe-lists-A.b@example.test").await, Ok(Resolution::DotQmail(d)) if d.ext == b"lists-A.b" && d.dash == b"-")
    );
    assert_eq!(world.resolve("joe-other@example.test").await, Ok(no_mailbox()));
    assert!(world.resolve("boss@example.test").await.is_err(), "never as root");

    assert_eq!(world.resolve("postmaster@example.test").await, Ok(no_mailbox()), "no alias directory");
    world.write("alias/.qmail-postmaster", "&joe@example.test\n");
    world.write("alias/.qmail-un-default", "&joe@example.test\n");
    assert!(
        matches!(world.resolve("Postmaster@example.test").await, Ok(Resolution::DotQmail(d)) if d.user == "alias" && d.ext == b"Postmaster")
    );
    assert!(matches!(world.resolve("un-known@example.test").await, Ok(Resolution::DotQmail(_))));
    for name in ["unknown", "root", "../alias", "mailer-daemon", "a\u{1}b"] {
        assert_eq!(world.resolve(&format!("{name}@example.test")).await, Ok(no_mailbox()), "{name:?}");
    }
    world.write("alias/.qmail-default", "&joe@example.test\n");
    assert!(matches!(world.resolve("unknown@example.test").await, Ok(Resolution::DotQmail(_))));
}

#[tokio::test]
async fn lastauth_is_written_off_the_hot_path() {
    let world = World::with_users();
    assert_eq!(std::fs::read(world.domain("pippo/lastauth")).unwrap(), b"0.0.0.0", "never logged in");
    assert!(matches!(world.login("pippo@example.test", "Secret-1").await, Login::Granted(_)));
    // a blocking task of the same runtime: the file changes when it has run
    let path = world.domain("pippo/lastauth");
    let read = move || loop {
        match std::fs::read(&path) {
            Ok(text) if text == b"192.0.2.33" => return,
            _ => std::thread::yield_now(),
        }
    };
    tokio::task::spawn_blocking(read).await.unwrap();
}

#[test]
fn programs_without_a_runtime_can_ask_too() {
    let world = World::with_users();
    let answer = world.directory.resolve_blocking(&address("example.test-pippo@example.test"));
    assert!(matches!(answer, Ok(Resolution::Mailbox(_))));
}

#[tokio::test]
#[ignore = "prints figures, asserts nothing: run by hand"]
async fn figures() {
    let world = World::with_users();
    let users: Vec<_> = (0..123).map(|n| crate::admin::NewUser::new(&format!("u{n:03}"), b"pw")).collect();
    let started = std::time::Instant::now();
    let _ = world.admin.add_users("example.test", &users).unwrap();
    println!("123 users added: {:?}", started.elapsed());
    world.clock.forward(Duration::from_secs(1 << 32)); // the fixture's files are old now
    let routed = address("example.test-u042@example.test");
    let mut best = Duration::MAX;
    for _ in 0..50 {
        let started = std::time::Instant::now();
        for _ in 0..200 {
            let _ = std::hint::black_box(world.directory.resolve(&routed).await);
        }
        best = best.min(started.elapsed() / 200);
    }
    println!("resolve, warm: {best:?}");
    let mut best = Duration::MAX;
    assert!(matches!(world.login("u042@example.test", "pw").await, Login::Granted(_)));
    for _ in 0..50 {
        let started = std::time::Instant::now();
        for _ in 0..200 {
            let _ = std::hint::black_box(world.login("u042@example.test", "pw").await);
        }
        best = best.min(started.elapsed() / 200);
    }
    println!("login, remembered: {best:?}");
    for (who, login) in [("known", "u042@example.test"), ("unknown user", "x@example.test"), ("unknown domain", "x@y.test")] {
        let started = std::time::Instant::now();
        for _ in 0..50 {
            let _ = world.login(login, "wrong").await;
        }
        println!("wrong password, {who}: {:?}", started.elapsed() / 50);
    }
}
