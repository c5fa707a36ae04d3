//! The keepers of files on a throw-away tree.

use super::*;
use crate::admin::Owner;
use crate::vpasswd::{DomainLimits, HashState, Record};
use postino_control::assign;
use postino_ports::accounts::LastLogin;
use std::net::IpAddr;
use std::path::PathBuf;

struct Tree {
    keepers: Keepers,
    aliases: Arc<dyn Aliases>,
    domain: PathBuf,
    root: tempfile::TempDir,
}

/// `example.test` with alias domain `alias.test`.
fn tree() -> Tree {
    let root = tempfile::tempdir().unwrap();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let domain = root.path().join("domains/example.test");
    for directory in ["users", "etc", "domains/example.test"] {
        std::fs::create_dir_all(root.path().join(directory)).unwrap();
    }
    let at = domain.display();
    let text = format!("+alias.test-:example.test:{uid}:{gid}:{at}:-::\n+example.test-:example.test:{uid}:{gid}:{at}:-::\n.\n");
    let lines = assign::parse(text.as_bytes()).unwrap();
    std::fs::write(root.path().join("users/cdb"), assign::to_cdb(&lines).unwrap()).unwrap();
    let config = Config { home: root.path().into(), vpopmail_home: root.path().into(), ..Config::default() };
    Tree { keepers: file_keepers(&config), aliases: file_aliases(&config), domain, root }
}

fn record(tree: &Tree, name: &str) -> Record {
    let directory = tree.domain.join(name).display().to_string();
    let (password, gecos, clear) = ("$1$x$y".to_owned(), name.as_bytes().to_vec(), Some("pw".to_owned()));
    Record { name: name.into(), password, kind: 1, flags: 0, gecos, directory, quota: "NOQUOTA".into(), clear }
}

#[test]
fn accounts_come_and_go_in_both_files() {
    let tree = tree();
    let accounts = &tree.keepers.accounts;
    accounts.add_domain("example.test").unwrap();
    accounts.insert_all("example.test", &[record(&tree, "pippo"), record(&tree, "a.b"), record(&tree, "a")]).unwrap();
    assert!(matches!(accounts.insert("alias.test", &record(&tree, "a")), Err(AccountsError::Exists(_))));
    let names = |after| accounts.page("example.test", after, 10).unwrap().into_iter().map(|r| r.name).collect::<Vec<_>>();
    assert_eq!(names(None), ["a", "a.b", "pippo"]);
    assert_eq!(names(Some("a")), ["a.b", "pippo"]);
    let mut changed = record(&tree, "pippo");
    changed.quota = "5S".into();
    accounts.update("example.test", &changed).unwrap();
    assert_eq!(accounts.find("alias.test", "pippo").unwrap(), Some(changed));
    accounts.remove("example.test", "a").unwrap();
    assert!(matches!(accounts.remove("example.test", "a"), Err(AccountsError::Missing(_))));
    assert_eq!((accounts.count("example.test").unwrap(), accounts.find("example.test", "a").unwrap()), (2, None));
    assert_eq!(accounts.find("nowhere.test", "a").unwrap(), None);
    assert!(matches!(accounts.insert("nowhere.test", &record(&tree, "a")), Err(AccountsError::NoDomain(_))));
    // Only the two files and the lock: nothing temporary stays.
    let mut files: Vec<_> = std::fs::read_dir(&tree.domain).unwrap().map(|e| e.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, [".vpasswd.lock", "vpasswd", "vpasswd.cdb"]);
    accounts.remove_domain("example.test").unwrap();
    assert_eq!(accounts.count("example.test").unwrap(), 0);
    let mut bad = record(&tree, "x");
    bad.gecos = b"a\nroot::0".to_vec();
    assert!(accounts.insert("example.test", &bad).is_err());
}

#[test]
fn a_data_base_that_is_missing_old_or_damaged_is_made_anew() {
    let tree = tree();
    let accounts = &tree.keepers.accounts;
    accounts.insert("example.test", &record(&tree, "pippo")).unwrap();
    let (text, data) = (tree.domain.join("vpasswd"), tree.domain.join("vpasswd.cdb"));
    std::fs::remove_file(&data).unwrap();
    assert!(accounts.find("example.test", "pippo").unwrap().is_some());
    assert!(data.try_exists().unwrap(), "missing, made anew");
    std::fs::write(&data, b"short").unwrap();
    assert!(accounts.find("example.test", "pippo").unwrap().is_some());
    let by_hand = std::fs::read_to_string(&text).unwrap().replace("pippo", "pluto");
    std::fs::write(&text, by_hand).unwrap();
    std::fs::File::options().write(true).open(&data).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert!(accounts.find("example.test", "pluto").unwrap().is_some(), "text newer than the data base");
    std::fs::remove_file(&text).unwrap();
    assert!(accounts.find("example.test", "pluto").unwrap().is_some(), "the data base alone answers");
    assert!(accounts.insert("example.test", &record(&tree, "topolino")).is_err(), "but is not overwritten from nothing");
}

#[test]
fn alias_lines() {
    let tree = tree();
    let aliases = &tree.aliases;
    aliases.add_line("example.test", "mario.rossi", "pippo@example.test").unwrap();
    aliases.add_line("alias.test", "mario.rossi", "&ext@far.test").unwrap();
    aliases.add_line("example.test", "prog", "| /bin/prog x").unwrap();
    std::fs::write(tree.domain.join(".qmail-default"), b"| x\n").unwrap();
    assert_eq!(std::fs::read(tree.domain.join(".qmail-mario:rossi")).unwrap(), b"pippo@example.test\n&ext@far.test\n");
    let all = aliases.page("example.test", None, 10).unwrap();
    assert_eq!(all.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["mario.rossi", "mario.rossi", "prog"]);
    assert_eq!(aliases.page("example.test", Some("mario.rossi"), 10).unwrap(), [("prog".into(), "| /bin/prog x".into())]);
    assert!(!aliases.remove("example.test", "mario.rossi", Some("nobody@x")).unwrap());
    assert!(aliases.remove("example.test", "mario.rossi", Some("pippo@example.test")).unwrap());
    assert!(aliases.remove("example.test", "mario.rossi", Some("&ext@far.test")).unwrap());
    assert!(!tree.domain.join(".qmail-mario:rossi").try_exists().unwrap(), "the last line takes the file with it");
    for bad in ["../x", "default", "", "a/b"] {
        assert!(aliases.add_line("example.test", bad, "x@y.test").is_err(), "{bad}");
    }
    assert!(aliases.add_line("example.test", "x", "a@b.c\n| rm").is_err());
    aliases.remove_domain("example.test").unwrap();
    assert!(aliases.page("example.test", None, 10).unwrap().is_empty());
    assert!(tree.domain.join(".qmail-default").try_exists().unwrap());
}

#[test]
fn logins_relays_limits_addresses_and_hashing() {
    let tree = tree();
    let Keepers { accounts, logins, relays, domains, .. } = &tree.keepers;
    accounts.insert("example.test", &record(&tree, "pippo")).unwrap();
    std::fs::create_dir(tree.domain.join("pippo")).unwrap();
    assert_eq!(logins.last("example.test", "pippo").unwrap(), None);
    let login = LastLogin { address: "192.0.2.1".into(), at: 1_000_000_000 };
    logins.note("example.test", "pippo", &login).unwrap();
    assert_eq!(logins.last("alias.test", "pippo").unwrap(), Some(login));
    logins.forget("example.test", None).unwrap();
    assert_eq!(logins.last("example.test", "pippo").unwrap().unwrap().address, "0.0.0.0");

    let (one, two): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
    assert!(relays.open(one, 10).unwrap());
    assert!(relays.open(two, 20).unwrap());
    assert!(!relays.open(one, 30).unwrap());
    let file = tree.root.path().join("etc/open-smtp");
    let want = "[2001:db8::1]:allow,RELAYCLIENT=\"\",RBLSMTPD=\"\"\t20\n192.0.2.1:allow,RELAYCLIENT=\"\",RBLSMTPD=\"\"\t30\n";
    assert_eq!(std::fs::read_to_string(&file).unwrap(), want);
    assert_eq!(relays.clear(20).unwrap(), 1);
    assert_eq!(relays.list().unwrap(), [(one, 30)]);
    assert!(relays.close(one).unwrap());
    assert!(!relays.close(one).unwrap());

    assert_eq!(domains.limits("example.test").unwrap(), None);
    let limits = DomainLimits { accounts_max: 3, ..DomainLimits::default() };
    domains.set_limits("alias.test", Some(&limits)).unwrap();
    assert_eq!(domains.limits("example.test").unwrap(), Some(limits.clone()));
    domains.set_limits("example.test", None).unwrap();
    domains.set_limits("", Some(&limits)).unwrap();
    assert_eq!((domains.limits("example.test").unwrap(), domains.limits("").unwrap()), (None, Some(limits)));
    assert!(tree.root.path().join("etc/vlimits.default").try_exists().unwrap());

    domains.set_domain_of(one, Some("example.test")).unwrap();
    domains.set_domain_of(two, Some("alias.test")).unwrap();
    assert_eq!(domains.domain_of(two).unwrap().as_deref(), Some("alias.test"));
    domains.set_domain_of(two, None).unwrap();
    assert_eq!(domains.addresses().unwrap(), [(one, "example.test".to_owned())]);

    let state = HashState::added(None);
    domains.set_hash_state("example.test", Some(&state)).unwrap();
    assert_eq!((domains.hash_state("example.test").unwrap(), domains.hash_state("").unwrap()), (Some(state), None));
}

#[test]
fn a_new_domain_is_written_where_nothing_names_it_yet() {
    let tree = tree();
    let directory = tree.root.path().join("domains/.new-x.test");
    std::fs::create_dir(&directory).unwrap();
    tree.keepers.accounts.found_domain("x.test", &directory, &[record(&tree, "postmaster")]).unwrap();
    assert!(directory.join("vpasswd").try_exists().unwrap() && directory.join("vpasswd.cdb").try_exists().unwrap());
    let _: Owner = Places::at(tree.root.path(), tree.root.path()).get("example.test").unwrap().owner;
}
