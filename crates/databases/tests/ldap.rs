//! The LDAP keeper against Debian's slapd.

use crate::contract;
use crate::slapd::{self, BASE, Slapd};
use postino_databases::ldap::{Authentication, Bind, Existing, Layout, Ldap, LdapSettings, Tls};
use postino_ports::accounts::{Accounts, AccountsError, Aliases, Keepers};
use postino_types::account::Record;
use std::sync::Arc;
use std::time::{Duration, Instant};

const DOMAIN: &str = "example.org";

fn record(name: &str) -> Record {
    Record {
        name: name.into(),
        password: "$1$saltsalt$WzXxkSDBuZLkwYzHjcXBW1".into(),
        kind: 1,
        flags: 0,
        gecos: format!("Größe, {name} \\ \"x\"").into_bytes(),
        directory: format!("/home/vpopmail/domains/{DOMAIN}/{name}"),
        quota: "5000000S,1000C".into(),
        clear: None,
    }
}

fn open(settings: LdapSettings) -> (Arc<dyn Accounts>, Option<Arc<dyn Aliases>>) {
    Ldap::new(settings).unwrap().keepers()
}

#[test]
fn the_contract() {
    let server = Slapd::start();
    let directory = tempfile::tempdir().unwrap();
    let rest = postino_databases::sqlite(&postino_databases::SqliteSettings {
        path: directory.path().join("rest.db"),
        layout: postino_databases::Layout::OneTable,
        limits: postino_databases::Limits::default(),
    });
    rest.accounts.add_domain(DOMAIN).unwrap(); // the file exists from the first change on
    let (accounts, aliases) = open(server.settings());
    contract::run(&Keepers { accounts, aliases, ..rest });
}

#[test]
fn accounts_live_as_entries() {
    let server = Slapd::start();
    let (accounts, _) = open(server.settings());
    assert_eq!(accounts.find(DOMAIN, "pippo"), Ok(None));
    assert_eq!(accounts.insert(DOMAIN, &record("pippo")), Err(AccountsError::NoDomain(DOMAIN.into())));
    accounts.add_domain(DOMAIN).unwrap();
    accounts.add_domain(DOMAIN).unwrap();
    accounts.insert(DOMAIN, &record("pippo")).unwrap();
    assert_eq!(accounts.insert(DOMAIN, &record("pippo")), Err(AccountsError::Exists("pippo".into())));
    assert_eq!(accounts.find(DOMAIN, "pippo"), Ok(Some(record("pippo"))));
    assert_eq!(accounts.find("example.com", "pippo"), Ok(None));

    let changed = Record {
        password: String::new(),
        flags: 0x803,
        gecos: vec![],
        quota: String::new(),
        clear: Some("s e\\c".into()),
        ..record("pippo")
    };
    accounts.update(DOMAIN, &changed).unwrap();
    assert_eq!(accounts.find(DOMAIN, "pippo"), Ok(Some(changed)));
    assert_eq!(accounts.update(DOMAIN, &record("nobody")), Err(AccountsError::Missing("nobody".into())));
    assert_eq!(accounts.remove(DOMAIN, "nobody"), Err(AccountsError::Missing("nobody".into())));
    accounts.remove(DOMAIN, "pippo").unwrap();
    assert_eq!(accounts.find(DOMAIN, "pippo"), Ok(None));
    accounts.insert(DOMAIN, &record("a")).unwrap();
    accounts.remove_domain(DOMAIN).unwrap();
    accounts.remove_domain(DOMAIN).unwrap();
    assert_eq!(accounts.find(DOMAIN, "a"), Ok(None));
    assert_eq!(accounts.insert(DOMAIN, &record("a")), Err(AccountsError::NoDomain(DOMAIN.into())));
}

#[test]
fn names_with_every_sign_stay_names() {
    let server = Slapd::start();
    let (accounts, aliases) = open(server.settings());
    accounts.add_domain(DOMAIN).unwrap();
    let odd = ["!#$&'*+-./=?^_`{|}~", "*", "a+b=c", "#x", "o=other", "(uid=*)", "x,ou=y"];
    for name in odd {
        accounts.insert(DOMAIN, &record(name)).unwrap();
        assert_eq!(accounts.find(DOMAIN, name), Ok(Some(record(name))), "{name}");
        let aliases = aliases.as_ref().unwrap();
        aliases.add_line(DOMAIN, name, "&x@example.net").unwrap();
        assert_eq!(aliases.lines(DOMAIN, name).unwrap(), ["&x@example.net"], "{name}");
    }
    assert_eq!(accounts.find(DOMAIN, "A+B=C"), Ok(None), "the server folds case, a name does not");
    let mut sorted = odd.to_vec();
    sorted.sort_unstable();
    let names: Vec<String> = accounts.page(DOMAIN, None, 100).unwrap().into_iter().map(|r| r.name).collect();
    assert_eq!(names, sorted);
    for name in ["*)(objectClass=*", "pippo)(|(uid=*", "\\2a", "x\0", ""] {
        assert_eq!(accounts.find(DOMAIN, name), Ok(None), "{name:?}");
    }
}

#[test]
fn many_accounts_are_paged_in_order() {
    let server = Slapd::start();
    server.add_many(DOMAIN, 1200);
    let (accounts, _) = open(server.settings());
    assert_eq!(accounts.count(DOMAIN), Ok(1200));
    let (mut seen, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = accounts.page(DOMAIN, after.as_deref(), 350).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.name.clone());
        seen.extend(page.into_iter().map(|r| r.name));
    }
    assert_eq!(seen.len(), 1200);
    assert!(seen.is_sorted());
}

#[test]
fn alias_lines_keep_their_order() {
    let server = Slapd::start();
    let (accounts, aliases) = open(server.settings());
    let aliases = aliases.unwrap();
    assert_eq!(aliases.add_line(DOMAIN, "info", "&a@example.net"), Err(AccountsError::NoDomain(DOMAIN.into())));
    accounts.add_domain(DOMAIN).unwrap();
    let lines = ["&z@example.net", "|prog  'two blanks'", "/home/x/Maildir/", "|prog 'two blanks'"];
    for line in lines {
        aliases.add_line(DOMAIN, "info", line).unwrap();
    }
    aliases.add_line(DOMAIN, "default", "&d@example.net").unwrap();
    assert_eq!(aliases.lines(DOMAIN, "info").unwrap(), lines);
    let all = aliases.page(DOMAIN, None, 10).unwrap();
    assert_eq!((all.len(), all[0].0.as_str(), all[1].0.as_str()), (5, "default", "info"));
    assert_eq!(aliases.page(DOMAIN, Some("default"), 10).unwrap().len(), 4);
    assert_eq!(aliases.page(DOMAIN, None, 1).unwrap().len(), 1);
    assert_eq!(aliases.remove(DOMAIN, "info", Some("&nobody@x")), Ok(false));
    assert_eq!(aliases.remove(DOMAIN, "info", Some(lines[1])), Ok(true));
    assert_eq!(aliases.lines(DOMAIN, "info").unwrap(), [lines[0], lines[2], lines[3]]);
    assert_eq!(aliases.remove(DOMAIN, "default", Some("&d@example.net")), Ok(true));
    assert_eq!(aliases.lines(DOMAIN, "default").unwrap(), Vec::<String>::new());
    assert_eq!(aliases.remove(DOMAIN, "info", None), Ok(true));
    assert_eq!(aliases.remove(DOMAIN, "info", None), Ok(false));
    aliases.add_line(DOMAIN, "x", "&x@example.net").unwrap();
    aliases.remove_domain(DOMAIN).unwrap();
    accounts.remove_domain(DOMAIN).unwrap();
    assert_eq!(aliases.lines(DOMAIN, "x").unwrap(), Vec::<String>::new());
}

#[test]
fn an_existing_directory_is_read_and_asked_by_bind() {
    let server = Slapd::start();
    server.add(&format!(
        "dn: ou=people,{BASE}\nobjectClass: organizationalUnit\nou: people\n\n\
         dn: cn=P Ippo,ou=people,{BASE}\nobjectClass: inetOrgPerson\ncn: P Ippo\nsn: Ippo\nmail: Pippo@Example.org\nmail: pippo@example.com\nuserPassword: secret\n\n\
         dn: cn=twice,ou=people,{BASE}\nobjectClass: inetOrgPerson\ncn: twice\nsn: x\nmail: two@example.org\n\n\
         dn: cn=twice again,ou=people,{BASE}\nobjectClass: inetOrgPerson\ncn: twice again\nsn: x\nmail: two@example.org\n"
    ));
    let mut settings = server.settings();
    settings.names.user = "mail".into();
    settings.names.gecos = "cn".into();
    settings.authentication = Authentication::Bind;
    settings.layout = Layout::Existing(Existing {
        filter: "(&(objectClass=inetOrgPerson)(mail={user}@{domain}))".into(),
        directory: "/home/vpopmail/domains/{domain}/{user}".into(),
    });
    let (accounts, aliases) = open(settings);
    assert!(aliases.is_none());
    let found = accounts.find(DOMAIN, "pippo").unwrap().unwrap();
    assert_eq!((found.directory.as_str(), found.gecos.as_slice()), ("/home/vpopmail/domains/example.org/pippo", &b"P Ippo"[..]));
    assert!(accounts.find("example.com", "pippo").unwrap().is_some());
    assert!(matches!(accounts.find(DOMAIN, "two"), Err(AccountsError::Damaged { .. })), "two entries are nobody");
    let check = |name: &str, password: &[u8]| accounts.check_password(DOMAIN, name, password);
    assert_eq!(check("pippo", b"secret"), Ok(Some(true)));
    assert_eq!(check("pippo", b"wrong"), Ok(Some(false)));
    assert_eq!(check("pippo", b""), Ok(Some(false)), "a bind without a password is nobody's");
    assert_eq!(check("nobody", b"secret"), Ok(Some(false)));
    assert_eq!(check("*", b"secret"), Ok(Some(false)));
    assert!(matches!(accounts.insert(DOMAIN, &record("new")), Err(AccountsError::NotKept { .. })));
    assert!(matches!(accounts.remove(DOMAIN, "pippo"), Err(AccountsError::NotKept { .. })));
    assert_eq!(accounts.page("example.com", None, 10).unwrap().len(), 1);
}

#[test]
fn vpopmail_accounts_are_asked_by_bind() {
    let server = Slapd::start();
    let mut settings = server.settings();
    let (writing, _) = open(settings.clone());
    writing.add_domain(DOMAIN).unwrap();
    // crypt(3) of "secret": the directory itself understands it because of the mark that we write.
    let hash = "$6$saltstring$AIsRs/Ee56G/tC8MEHhvReZTfx8u3rXXMl6eYrjCG9ibix19DxoMBLogdTET5Ukw9Sf7eZTITsuk0Ry5qulYz.".to_owned();
    writing.insert(DOMAIN, &Record { password: hash, ..record("pippo") }).unwrap();
    writing.insert(DOMAIN, &Record { password: "{MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==".into(), ..record("digest") }).unwrap();
    writing.insert(DOMAIN, &Record { password: String::new(), ..record("none") }).unwrap();
    assert_eq!(writing.check_password(DOMAIN, "pippo", b"x"), Ok(None), "hashes are compared elsewhere");
    settings.authentication = Authentication::Bind;
    let (accounts, _) = open(settings);
    assert_eq!(accounts.check_password(DOMAIN, "pippo", b"secret"), Ok(Some(true)));
    assert_eq!(accounts.check_password(DOMAIN, "pippo", b"wrong"), Ok(Some(false)));
    assert_eq!(accounts.check_password(DOMAIN, "digest", b"secret"), Ok(Some(true)));
    assert_eq!(accounts.check_password(DOMAIN, "none", b"x"), Ok(Some(false)));
}

#[test]
fn a_directory_that_is_down_is_never_no_such_user() {
    let mut server = Slapd::start();
    let mut settings = server.settings();
    settings.timeout = Duration::from_millis(400);
    let (accounts, aliases) = open(settings.clone());
    accounts.add_domain(DOMAIN).unwrap();
    accounts.insert(DOMAIN, &record("pippo")).unwrap();
    server.freeze();
    let before = Instant::now();
    assert!(matches!(accounts.find(DOMAIN, "pippo"), Err(AccountsError::Unavailable { .. })));
    assert!(matches!(accounts.find(DOMAIN, "pippo"), Err(AccountsError::Unavailable { .. })));
    assert!(before.elapsed() < Duration::from_secs(5), "the deadline holds");
    server.thaw();
    server.stop();
    assert!(matches!(accounts.find(DOMAIN, "pippo"), Err(AccountsError::Unavailable { .. })));
    assert!(matches!(aliases.unwrap().lines(DOMAIN, "x"), Err(AccountsError::Unavailable { .. })));
    let mut wrong = settings;
    server.restart();
    assert_eq!(slapd::eventually(|| accounts.find(DOMAIN, "pippo").ok()), Some(record("pippo")), "no restart of ours is needed");
    wrong.bind = Bind::Simple { dn: slapd::ROOT_DN.into(), password: "wrong-secret".to_owned().into() };
    let error = open(wrong).0.find(DOMAIN, "pippo").unwrap_err().to_string();
    assert!(error.contains("invalidCredentials") && !error.contains("wrong-secret"), "{error}");
}

#[test]
fn tls_is_wanted_and_checked() {
    let server = Slapd::start();
    for tls in [Tls::StartTls, Tls::Ldaps] {
        let mut settings = server.tls_settings(tls);
        Ldap::new(settings.clone()).unwrap().check().unwrap();
        settings.ca_file = Some(server.other_authority());
        let refused = Ldap::new(settings).unwrap().check();
        assert!(matches!(refused, Err(AccountsError::Unavailable { .. })), "{tls:?}: {refused:?}");
    }
}

#[test]
fn vpopmails_own_file_is_enough() {
    let server = Slapd::start();
    let file = format!("# comment\n{}|0|{}|{}|{BASE}\n", server.socket().display(), slapd::ROOT_DN, slapd::ROOT_PASSWORD);
    Ldap::new(LdapSettings::from_vpopmail(&file).unwrap()).unwrap().check().unwrap();
}
