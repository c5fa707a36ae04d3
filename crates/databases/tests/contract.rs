//! What every keeper promises, as functions over `Keepers`: run on files and on each database.

use postino_ports::accounts::{AccountsError, Keepers, LastLogin};
use postino_types::account::{DomainLimits, FLAG_DELETE_SPAM, FLAG_NO_POP, FLAG_NO_SMTP, HashState, Permissions, Record};
use std::net::IpAddr;

const DOMAIN: &str = "one.example";
const OTHER: &str = "two.example";

/// A record that each test changes.
pub(crate) fn record(name: &str) -> Record {
    Record {
        name: name.into(),
        password: "$1$saltsalt$abcdefghijklmnopqrstu/".into(),
        kind: 1,
        flags: 0,
        gecos: name.into(),
        directory: format!("/home/vpopmail/domains/{DOMAIN}/{name}"),
        quota: "NOQUOTA".into(),
        clear: Some("secret".into()),
    }
}

/// Everything.
pub(crate) fn run(keepers: &Keepers) {
    accounts(keepers);
    strange_values(keepers);
    pages(keepers);
    if let Some(aliases) = &keepers.aliases {
        alias_lines(aliases.as_ref());
    }
    logins(keepers);
    relays(keepers);
    limits(keepers);
    addresses(keepers);
    hashing(keepers);
}

/// Adding, changing and removing; domains apart from each other.
pub(crate) fn accounts(keepers: &Keepers) {
    let accounts = &keepers.accounts;
    for domain in [DOMAIN, OTHER, DOMAIN] {
        accounts.add_domain(domain).unwrap();
    }
    assert_eq!(accounts.find(DOMAIN, "ann"), Ok(None));
    assert_eq!(accounts.count(DOMAIN), Ok(0));
    accounts.insert(DOMAIN, &record("ann")).unwrap();
    assert_eq!(accounts.find(DOMAIN, "ann"), Ok(Some(record("ann"))));
    assert_eq!(accounts.find(OTHER, "ann"), Ok(None), "domains are apart");
    assert_eq!(accounts.find(DOMAIN, "an"), Ok(None));
    assert_eq!(accounts.find(DOMAIN, "ANN"), Ok(None), "the name is compared by its bytes");
    assert_eq!(accounts.insert(DOMAIN, &record("ann")), Err(AccountsError::Exists("ann".into())));
    let mut changed = record("ann");
    changed.flags = FLAG_NO_POP | FLAG_NO_SMTP | 0x7000_0000;
    changed.quota = "5000000S,1000C".into();
    changed.clear = None;
    accounts.update(DOMAIN, &changed).unwrap();
    assert_eq!(accounts.find(DOMAIN, "ann"), Ok(Some(changed.clone())));
    accounts.update(DOMAIN, &changed).unwrap(); // nothing differs: no error
    assert_eq!(accounts.update(DOMAIN, &record("bob")), Err(AccountsError::Missing("bob".into())));
    assert_eq!(accounts.remove(DOMAIN, "bob"), Err(AccountsError::Missing("bob".into())));
    accounts.insert(OTHER, &record("ann")).unwrap();
    accounts.remove(DOMAIN, "ann").unwrap();
    assert_eq!((accounts.count(DOMAIN), accounts.count(OTHER)), (Ok(0), Ok(1)));
    accounts.remove_domain(OTHER).unwrap();
    accounts.remove_domain(OTHER).unwrap();
    accounts.add_domain(OTHER).unwrap();
    assert_eq!(accounts.find(OTHER, "ann"), Ok(None), "a domain that comes back is empty");
}

/// Quotes, backslashes, percent signs and letters of all the world come back as they went in; nothing is cut.
pub(crate) fn strange_values(keepers: &Keepers) {
    let accounts = &keepers.accounts;
    for (n, name) in ["o'brien", "a`b", "per%cent", "under_score", "{x}", "a.b-c+d", "$1", "?"].into_iter().enumerate() {
        let mut strange = record(name);
        strange.gecos = format!("Żółć \\ ' \" ; -- {n} ☃").into_bytes();
        strange.clear = Some("p'\"\\ä€?$1".into());
        accounts.insert(DOMAIN, &strange).unwrap();
        assert_eq!(accounts.find(DOMAIN, name), Ok(Some(strange)), "{name}");
        accounts.remove(DOMAIN, name).unwrap();
    }
    accounts.insert(DOMAIN, &record("under_score")).unwrap();
    assert_eq!(accounts.find(DOMAIN, "underxscore"), Ok(None), "no patterns");
    assert_eq!(accounts.find(DOMAIN, "' OR '1'='1"), Ok(None));
    accounts.remove(DOMAIN, "under_score").unwrap();
}

/// Values that are too long are refused before anything is written. Not for keepers without widths.
pub(crate) fn too_long(keepers: &Keepers) {
    let accounts = &keepers.accounts;
    accounts.insert(DOMAIN, &record("ann")).unwrap();
    let long = |n: usize| "x".repeat(n);
    let cases: [(&str, Record); 4] = [
        ("pw_passwd", Record { password: long(129), ..record("ann") }),
        ("pw_gecos", Record { gecos: long(49).into_bytes(), ..record("ann") }),
        ("pw_dir", Record { directory: long(161), ..record("ann") }),
        ("pw_shell", Record { quota: long(21), ..record("ann") }),
    ];
    for (expected, case) in cases {
        match accounts.update(DOMAIN, &case) {
            Err(AccountsError::TooLong { column, .. }) => assert_eq!(column, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
    assert!(matches!(accounts.insert(DOMAIN, &record(&long(33))), Err(AccountsError::TooLong { column: "pw_name", .. })));
    assert_eq!(accounts.find(DOMAIN, "ann"), Ok(Some(record("ann"))), "nothing was written");
    accounts.remove(DOMAIN, "ann").unwrap();
}

/// Pages come in the order of bytes, whatever the database's language.
pub(crate) fn pages(keepers: &Keepers) {
    let accounts = &keepers.accounts;
    let mut names: Vec<String> = (0..20).map(|n| format!("user{n}")).collect();
    names.extend(["a-b", "a.b", "ab", "a_b", "z", "{x}", "0"].map(String::from));
    for name in &names {
        accounts.insert(DOMAIN, &record(name)).unwrap();
    }
    names.sort_unstable();
    let mut seen: Vec<String> = Vec::new();
    loop {
        let page = accounts.page(DOMAIN, seen.last().map(String::as_str), 7).unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 7);
        seen.extend(page.into_iter().map(|r| r.name));
    }
    assert_eq!(seen, names);
    assert_eq!(accounts.count(DOMAIN), Ok(27));
    for name in &names {
        accounts.remove(DOMAIN, name).unwrap();
    }
}

fn alias_lines(aliases: &dyn postino_ports::accounts::Aliases) {
    assert_eq!(aliases.lines(DOMAIN, "info"), Ok(vec![]));
    for line in ["&ann@one.example", "&bob@one.example", "/home/x/Maildir/"] {
        aliases.add_line(DOMAIN, "info", line).unwrap();
    }
    aliases.add_line(DOMAIN, "joe.user", "|/bin/echo 'a \"b\" $EXT' \\n").unwrap();
    aliases.add_line(DOMAIN, "list-default", "&ann@one.example").unwrap();
    aliases.add_line(OTHER, "info", "&else@two.example").unwrap();
    assert_eq!(aliases.lines(DOMAIN, "info").unwrap(), ["&ann@one.example", "&bob@one.example", "/home/x/Maildir/"]);
    assert_eq!(aliases.lines(DOMAIN, "joe.user").unwrap(), ["|/bin/echo 'a \"b\" $EXT' \\n"]);
    let first = aliases.page(DOMAIN, None, 2).unwrap();
    let names: Vec<&str> = first.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["info", "info", "info", "joe.user"]);
    let second = aliases.page(DOMAIN, Some("joe.user"), 2).unwrap();
    assert_eq!(second, [("list-default".to_owned(), "&ann@one.example".to_owned())]);
    assert_eq!(aliases.remove(DOMAIN, "info", Some("&bob@one.example")), Ok(true));
    assert_eq!(aliases.remove(DOMAIN, "info", Some("&bob@one.example")), Ok(false));
    assert_eq!(aliases.lines(DOMAIN, "info").unwrap(), ["&ann@one.example", "/home/x/Maildir/"]);
    assert_eq!(aliases.remove(DOMAIN, "info", None), Ok(true));
    assert_eq!(aliases.lines(DOMAIN, "info"), Ok(vec![]));
    aliases.remove_domain(DOMAIN).unwrap();
    assert_eq!(aliases.page(DOMAIN, None, 100), Ok(vec![]));
    assert_eq!(aliases.lines(OTHER, "info").unwrap(), ["&else@two.example"]);
    aliases.remove_domain(OTHER).unwrap();
}

fn logins(keepers: &Keepers) {
    let logins = &keepers.logins;
    keepers.accounts.insert(DOMAIN, &record("ann")).unwrap();
    assert_eq!(logins.last(DOMAIN, "ann"), Ok(None));
    for at in [1_700_000_000, 1_800_000_000] {
        let login = LastLogin { address: "192.0.2.7".into(), at };
        logins.note(DOMAIN, "ann", &login).unwrap();
        assert_eq!(logins.last(DOMAIN, "ann"), Ok(Some(login)));
    }
    assert_eq!(logins.last(OTHER, "ann"), Ok(None));
    logins.forget(DOMAIN, Some("ann")).unwrap();
    assert_eq!(logins.last(DOMAIN, "ann"), Ok(None));
    logins.forget(DOMAIN, None).unwrap();
    keepers.accounts.remove(DOMAIN, "ann").unwrap();
}

fn relays(keepers: &Keepers) {
    let relays = &keepers.relays;
    let (four, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.99".parse().unwrap());
    let six: IpAddr = "2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap();
    assert_eq!(relays.open(four, 1000), Ok(true));
    assert_eq!(relays.open(four, 2000), Ok(false), "it was there");
    assert_eq!(relays.open(other, 1500), Ok(true));
    assert_eq!(relays.open(six, 900), Ok(true));
    assert_eq!(relays.list().unwrap(), [(four, 2000), (other, 1500), (six, 900)]);
    assert_eq!(relays.clear(1500), Ok(2), "of that second and before");
    assert_eq!(relays.list().unwrap(), [(four, 2000)]);
    assert_eq!(relays.close(four), Ok(true));
    assert_eq!(relays.close(four), Ok(false));
}

fn limits(keepers: &Keepers) {
    let domains = &keepers.domains;
    assert_eq!(domains.limits(DOMAIN), Ok(None));
    let mut limits = DomainLimits {
        accounts_max: 10,
        aliases_max: -1,
        forwards_max: 0,
        autoresponders_max: 3,
        mailing_lists_max: 4,
        quota_mb: 500,
        messages_max: 10_000,
        default_quota_bytes: 5_000_000_000,
        default_messages_max: 1000,
        flags: FLAG_NO_POP | FLAG_DELETE_SPAM,
        permissions: Permissions { account: 7, mailing_list: 0x1ff, quota: 2, ..Permissions::default() },
    };
    domains.set_limits(DOMAIN, Some(&limits)).unwrap();
    assert_eq!(domains.limits(DOMAIN), Ok(Some(limits.clone())));
    limits.accounts_max = 11;
    domains.set_limits(DOMAIN, Some(&limits)).unwrap();
    assert_eq!(domains.limits(DOMAIN), Ok(Some(limits)));
    assert_eq!(domains.limits(OTHER), Ok(None));
    domains.set_limits(DOMAIN, None).unwrap();
    assert_eq!(domains.limits(DOMAIN), Ok(None));
}

fn addresses(keepers: &Keepers) {
    let domains = &keepers.domains;
    let (a, b): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
    assert_eq!(domains.domain_of(a), Ok(None));
    domains.set_domain_of(a, Some(DOMAIN)).unwrap();
    domains.set_domain_of(b, Some(DOMAIN)).unwrap();
    domains.set_domain_of(b, Some(OTHER)).unwrap();
    assert_eq!(domains.domain_of(b), Ok(Some(OTHER.into())));
    assert_eq!(domains.addresses().unwrap(), [(a, DOMAIN.to_owned()), (b, OTHER.to_owned())]);
    domains.set_domain_of(a, None).unwrap();
    domains.set_domain_of(b, None).unwrap();
    assert_eq!(domains.addresses(), Ok(vec![]));
}

fn hashing(keepers: &Keepers) {
    let domains = &keepers.domains;
    let state = HashState {
        current_users: 101,
        level_current: 1,
        level_max: 3,
        level_start: [0, 0, 0],
        level_end: [61, 61, 61],
        level_mod: [0, 2, 4],
        level_index: [1, 0, 0],
        directory: "0".into(),
    };
    for domain in [DOMAIN, ""] {
        assert_eq!(domains.hash_state(domain), Ok(None));
        domains.set_hash_state(domain, Some(&state)).unwrap();
        assert_eq!(domains.hash_state(domain), Ok(Some(state.clone())));
    }
    let more = HashState { current_users: 102, ..state };
    domains.set_hash_state("", Some(&more)).unwrap();
    assert_eq!(domains.hash_state(""), Ok(Some(more)));
    for domain in [DOMAIN, ""] {
        domains.set_hash_state(domain, None).unwrap();
        assert_eq!(domains.hash_state(domain), Ok(None));
    }
}

/// Only where each domain has a table: a domain without one, and two names for one table.
pub(crate) fn tables_of_domains(keepers: &Keepers) {
    let accounts = &keepers.accounts;
    assert_eq!(accounts.find("nowhere.example", "ann"), Err(AccountsError::NoDomain("nowhere.example".into())));
    assert!(matches!(accounts.add_domain("relay"), Err(AccountsError::NotKept { .. })), "the name of another table");
    accounts.add_domain("a-b.example").unwrap();
    let directory = "/home/vpopmail/domains/a-b.example/ann".to_owned();
    accounts.insert("a-b.example", &Record { directory, ..record("ann") }).unwrap();
    accounts.add_domain("a-b.example").unwrap();
    assert!(matches!(accounts.add_domain("a.b.example"), Err(AccountsError::NotKept { .. })), "would be the table of a-b.example");
    assert!(accounts.remove_domain("a.b.example").is_err());
    assert_eq!(accounts.count("a-b.example"), Ok(1));
    accounts.remove_domain("a-b.example").unwrap();
}
