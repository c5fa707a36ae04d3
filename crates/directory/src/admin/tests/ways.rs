//! vpopmail's ways: hashed directories, domains elsewhere, notices, limits, and what a dead change left.

use super::*;
use crate::admin::intent::Intent;
use crate::vpasswd::DomainLimits;

#[test]
fn a_hundred_accounts_go_into_each_directory() {
    let world = World::empty();
    let admin = world.admin.clone().with_hashing(Hashing::Begin);
    let new = NewDomain { abuse: AbuseAlias::LeaveOut, ..NewDomain::new("example.test", b"x") };
    let _ = admin.add_domain_as(&new).unwrap();
    let users: Vec<NewUser> = (0..101).map(|n| NewUser { secret: NewSecret::None, ..NewUser::new(&format!("u{n:03}"), b"") }).collect();
    let _ = admin.add_users("example.test", &users).unwrap();
    let place = |name: &str| admin.user(&format!("{name}@example.test")).unwrap().directory;
    assert_eq!(place("u000"), world.domain("u000"));
    assert_eq!(place("u097"), world.domain("u097"));
    assert_eq!(place("u098"), world.domain("0/u098"));
    assert!(world.domain("0/u100/Maildir/new").is_dir());
    assert_eq!(read(&world.domain(".dir-control")), "102\n0\n3\n0 0 0\n61 61 61\n0 2 2\n0 0 0\n0\n");
    assert_eq!(read(&world.path("domains/.dir-control")), "1\n0\n3\n0 0 0\n61 61 61\n0 2 4\n0 0 0\n\n");
    // What was begun goes on, whoever comes.
    let _ = world.admin.add_user("next@example.test", b"x").unwrap();
    assert_eq!(place("next"), world.domain("0/next"));
    let _ = world.admin.remove_user("u098@example.test").unwrap();
    assert!(!world.domain("0/u098").try_exists().unwrap());
    assert!(read(&world.domain(".dir-control")).starts_with("102\n"));
    assert!(!world.domain(".change").try_exists().unwrap());
    let _ = admin.remove_domain("example.test", AliasDomains::Keep).unwrap();
    assert_eq!(read(&world.path("domains/.dir-control")), "0\n0\n3\n0 0 0\n61 61 61\n0 2 2\n0 0 0\n\n");
    assert!(!world.path("domains/example.test").try_exists().unwrap());
}

#[test]
fn a_domain_may_lie_below_another_home() {
    let world = World::empty();
    let base = world.path("home/alice");
    std::fs::create_dir_all(&base).unwrap();
    std::os::unix::fs::chown(&base, Some(owner().uid), Some(owner().gid)).unwrap();
    let admin = world.admin.clone().with_hashing(Hashing::Begin);
    let new = NewDomain {
        base: Some(base.clone()),
        owner: Some(owner()),
        catch_all: CatchAll::Account("postmaster".into()),
        ..NewDomain::new("d6.test", b"x")
    };
    let _ = admin.add_domain_as(&new).unwrap();
    let place = base.join("domains/d6.test");
    assert_eq!(admin.domain("d6.test").unwrap().directory, place);
    assert!(read(&base.join("domains/.dir-control")).starts_with("1\n"));
    assert!(read(&place.join(".qmail-default")).ends_with(&format!("'' {}/postmaster\n", place.display())));
    let _ = admin.add_user("a@d6.test", b"x").unwrap();
    assert!(place.join("a/Maildir/new").is_dir());
    let _ = admin.remove_domain("d6.test", AliasDomains::Keep).unwrap();
    assert!(!place.try_exists().unwrap());
    assert!(read(&base.join("domains/.dir-control")).starts_with("0\n"));
}

#[test]
fn lists_out_of_order_are_sorted_and_named() {
    let world = World::empty();
    world.write("control/rcpthosts", "z.test\nlocalhost\n");
    let change = world.admin.add_domain("m.test", b"x").unwrap();
    assert_eq!(change.sorted, [world.path("control/rcpthosts")]);
    assert_eq!(read(&world.path("control/rcpthosts")), "localhost\nm.test\nz.test\n");
    assert!(world.admin.add_domain("n.test", b"x").unwrap().sorted.is_empty());
}

#[test]
fn limits_bind_the_domains_administrator_only() {
    let world = World::with_users(); // three accounts
    let limits =
        DomainLimits { accounts_max: 4, forwards_max: 0, default_quota_bytes: 5000, default_messages_max: 10, ..DomainLimits::default() };
    let _ = world.admin.set_limits("example.test", Some(&limits)).unwrap();
    let theirs = world.admin.clone().for_actor(Actor::DomainAdministrator);
    let _ = theirs.add_user("four@example.test", b"x").unwrap();
    assert_eq!(theirs.user("four@example.test").unwrap().quota, "5000S,10C");
    assert!(matches!(theirs.add_user("five@example.test", b"x"), Err(AdminError::Limit { what: "accounts", max: 4 })));
    assert!(matches!(theirs.add_alias("out@example.test", "a@far.test"), Err(AdminError::Limit { what: "forwards", .. })));
    let _ = theirs.add_alias("in@example.test", "pippo@example.test").unwrap();
    let _ = world.admin.add_user("five@example.test", b"x").unwrap();
    let mut closed = limits;
    closed.permissions.account = 2 | 4;
    let _ = world.admin.set_limits("example.test", Some(&closed)).unwrap();
    assert!(matches!(theirs.set_password("pippo@example.test", b"y"), Err(AdminError::Forbidden("accounts"))));
    assert!(matches!(theirs.remove_user("pippo@example.test"), Err(AdminError::Forbidden("accounts"))));
    let _ = world.admin.set_limits("example.test", None).unwrap();
    assert_eq!(
        (world.admin.own_limits("example.test").unwrap(), world.admin.limits("example.test").unwrap()),
        (None, DomainLimits::default())
    );
}

/// As those whose rights made it.
fn make_theirs(path: &Path) {
    std::os::unix::fs::chown(path, Some(owner().uid), Some(owner().gid)).unwrap();
    if path.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| make_theirs(&entry.unwrap().path()));
    }
}

#[test]
fn what_a_dead_change_left_is_undone_or_finished() {
    let world = World::with_users();
    let before = picture(&world.path(""));
    let users = world.path("users");
    // A domain whose writer died before users/assign, and one that died after it.
    let make = |name: &str, file: &str| {
        let text = Intent::AddDomain { name: name.into(), directory: Some(world.path("domains").join(name)), counted: None }.print();
        std::fs::create_dir_all(world.path("domains").join(file).join("postmaster/Maildir/new")).unwrap();
        make_theirs(&world.path("domains").join(file));
        std::fs::write(users.join(".change"), text).unwrap();
    };
    for file in [".new-x.test", "x.test"] {
        make("x.test", file);
        assert_eq!(world.admin.recover().unwrap().len(), 1);
        assert_eq!(picture(&world.path("")), before, "{file}");
    }
    // A user: before the record the tree goes, after it stays.
    let added = Intent::AddUsers { users: vec![("zio".into(), world.domain("zio"))], counted: None }.print();
    std::fs::create_dir_all(world.domain("zio/Maildir/new")).unwrap();
    std::fs::write(world.domain(".change"), &added).unwrap();
    make_theirs(&world.domain("zio"));
    make_theirs(&world.domain(".change"));
    assert_eq!(world.admin.recover().unwrap().len(), 1);
    assert_eq!(picture(&world.path("")), before);
    // A removal is finished.
    let going = Intent::RemoveUser { name: "pippo".into(), directory: world.domain("pippo"), counted: None }.print();
    std::fs::write(world.domain(".change"), going).unwrap();
    make_theirs(&world.domain(".change"));
    let _ = world.admin.set_password("pluto@example.test", b"x").unwrap();
    assert!(matches!(world.admin.user("pippo@example.test"), Err(AdminError::NoUser(_))));
    assert!(!world.domain("pippo").try_exists().unwrap());
    let going = Intent::RemoveDomain { names: vec!["example.test".into()], directory: Some(world.domain("")), counted: None }.print();
    std::fs::write(users.join(".change"), going).unwrap();
    assert_eq!(world.admin.recover().unwrap().len(), 1);
    assert_eq!(world.admin.domains().unwrap(), []);
    assert!(!world.path("domains/example.test").try_exists().unwrap());
    assert!(!users.join(".change").try_exists().unwrap());
}
