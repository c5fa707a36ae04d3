//! What the files look like after each change, and that a change that fails leaves them as they were.

mod size;
mod ways;

use super::*;
use crate::tests::world::{World, admin, owner};
use postino_control::assign;
use postino_control::cdb::Cdb;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

fn read(path: &Path) -> String {
    String::from_utf8(std::fs::read(path).unwrap()).unwrap()
}

/// Every file below `path` with its bytes, lock files left out.
fn picture(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(path).unwrap().map(Result::unwrap) {
        let is_lock = entry.file_name().to_string_lossy().ends_with("lock");
        if entry.file_type().unwrap().is_dir() {
            out.insert(entry.path(), Vec::new());
            out.extend(picture(&entry.path()));
        } else if !is_lock {
            out.insert(entry.path(), std::fs::read(entry.path()).unwrap());
        }
    }
    out
}

#[test]
fn a_new_domain_is_what_vpopmail_makes() {
    let world = World::empty();
    world.write("control/locals", "localhost\nexample.test\n");
    world.write("control/virtualdomains", "# mine\nz.test:z\n");
    let change = world.admin.add_domain("Example.TEST", b"Post-1").unwrap();
    assert!(change.reload_needed);
    let (uid, gid) = (owner().uid, owner().gid);
    let home = world.domain("").parent().unwrap().join("example.test");
    assert_eq!(read(&world.path("users/assign")), format!("+example.test-:example.test:{uid}:{gid}:{}:-::\n.\n", home.display()));
    assert_eq!(read(&world.path("control/virtualdomains")), "# mine\nexample.test:example.test\nz.test:z\n");
    assert_eq!(read(&world.path("control/locals")), "localhost\n");
    assert_eq!(
        read(&world.path("control/rcpthosts")),
        "example.test\nlocalhost\nz.test\n",
        "what was accepted while the file was missing stays accepted"
    );
    assert_eq!(
        read(&world.domain(".qmail-default")),
        format!("| {}/bin/vdelivermail '' bounce-no-mailbox\n", world.path("").to_str().unwrap().trim_end_matches('/'))
    );
    assert_eq!(read(&world.domain(".qmail-abuse")), "&postmaster@example.test\n");
    let line = read(&world.domain("vpasswd"));
    assert!(line.starts_with("postmaster:$6$rounds=1000$"), "{line}");
    assert!(line.ends_with(&format!(":1:0:postmaster:{}/postmaster:NOQUOTA\n", home.display())), "{line}");
    let cdb = std::fs::read(world.domain("vpasswd.cdb")).unwrap();
    let found = Cdb::new(&cdb).unwrap().get(b"postmaster").unwrap().unwrap();
    assert_eq!(format!("postmaster:{}\n", String::from_utf8(found).unwrap()), line);
    for dir in ["", "postmaster", "postmaster/Maildir", "postmaster/Maildir/new", "postmaster/Maildir/cur", "postmaster/Maildir/tmp"] {
        let metadata = std::fs::metadata(world.domain(dir)).unwrap();
        assert_eq!((metadata.permissions().mode() & 0o7777, metadata.uid()), (0o700, uid), "{dir}");
    }
    for file in ["vpasswd", "vpasswd.cdb", ".qmail-default", ".qmail-abuse", "postmaster/lastauth"] {
        let metadata = std::fs::metadata(world.domain(file)).unwrap();
        assert_eq!((metadata.permissions().mode() & 0o7777, metadata.uid()), (0o600, uid), "{file}");
    }
    assert!(matches!(world.admin.add_domain("example.test", b"x"), Err(AdminError::DomainExists(_))));
}

/// A blank in the path would end the shell word in .qmail-default, a colon the field of users/assign.
#[test]
fn homes_with_odd_names_are_refused_before_anything_is_made() {
    for name in ["my mail", "a:b", "a;b", "a'b"] {
        let mut settings = World::empty().admin.settings().clone();
        settings.vpopmail_home = settings.vpopmail_home.join(name);
        let refused = Admin::new(settings).add_domain("example.test", b"x");
        assert!(matches!(refused, Err(AdminError::HomePath(_))), "{name}: {refused:?}");
    }
    assert!(plain_path(std::path::Path::new("/var/lib/postino-2.0_x")).is_ok());
}

#[test]
fn rcpthosts_spills_at_fifty_lines() {
    let world = World::empty();
    let fifty: String = (0..50).map(|n| format!("d{n:02}.test\n")).collect();
    world.write("control/rcpthosts", &fifty);
    let _ = world.admin.add_domain("example.test", b"x").unwrap();
    assert_eq!(read(&world.path("control/rcpthosts")), fifty);
    assert_eq!(read(&world.path("control/morercpthosts")), "example.test\n");
    let cdb = std::fs::read(world.path("control/morercpthosts.cdb")).unwrap();
    assert!(Cdb::new(&cdb).unwrap().contains(b"example.test").unwrap());
    let _ = world.admin.remove_domain("example.test", AliasDomains::Keep).unwrap();
    let cdb = std::fs::read(world.path("control/morercpthosts.cdb")).unwrap();
    assert!(!Cdb::new(&cdb).unwrap().contains(b"example.test").unwrap());
}

#[test]
fn a_domain_named_as_the_host_stops_being_local() {
    let world = World::empty();
    let _ = world.admin.add_domain("mail.example.test", b"x").unwrap();
    assert_eq!(read(&world.path("control/locals")), "", "without the file `me` would be local, and locals win");
}

#[test]
fn removing_takes_everything_away() {
    let world = World::with_users();
    let _ = world.admin.add_alias_domain("example.test", "other.test").unwrap();
    assert!(matches!(world.admin.remove_domain("example.test", AliasDomains::Keep), Err(AdminError::HasAliases { .. })));
    assert_eq!(world.admin.domains().unwrap().len(), 2);
    let _ = world.admin.remove_domain("example.test", AliasDomains::Remove).unwrap();
    assert_eq!(world.admin.domains().unwrap(), []);
    assert_eq!(read(&world.path("users/assign")), ".\n");
    assert_eq!(read(&world.path("control/virtualdomains")), "");
    assert!(!read(&world.path("control/rcpthosts")).contains("other.test"));
    assert_eq!(std::fs::read_dir(world.path("domains")).unwrap().count(), 0, "nothing is left, hidden or not");
    assert!(matches!(world.admin.remove_domain("example.test", AliasDomains::Remove), Err(AdminError::NoDomain(_))));
    let _ = world.admin.add_domain("example.test", b"again").unwrap();
}

#[test]
fn an_alias_domain_goes_alone() {
    let world = World::with_users();
    let _ = world.admin.add_alias_domain("example.test", "other.test").unwrap();
    let _ = world.admin.add_alias_domain("other.test", "third.test").unwrap();
    assert_eq!(
        world.admin.domain("third.test").unwrap().alias_of.as_deref(),
        Some("example.test"),
        "an alias of an alias leads to the real one"
    );
    let _ = world.admin.remove_domain("other.test", AliasDomains::Keep).unwrap();
    assert_eq!(world.admin.users("third.test").unwrap().len(), 3);
}

#[test]
fn failed_changes_leave_no_trace() {
    let world = World::with_users();
    let before = picture(&world.path(""));
    // virtualdomains cannot be written: its name is a directory
    std::fs::rename(world.path("control/virtualdomains"), world.path("vd")).unwrap();
    std::fs::create_dir(world.path("control/virtualdomains")).unwrap();
    assert!(world.admin.add_domain("new.test", b"x").is_err());
    assert!(world.admin.add_alias_domain("example.test", "new.test").is_err());
    assert!(world.admin.remove_domain("example.test", AliasDomains::Keep).is_err());
    std::fs::remove_dir(world.path("control/virtualdomains")).unwrap();
    std::fs::rename(world.path("vd"), world.path("control/virtualdomains")).unwrap();
    assert_eq!(picture(&world.path("")), before);
    // vpasswd.cdb cannot be written
    std::fs::rename(world.domain("vpasswd.cdb"), world.path("cdb")).unwrap();
    std::fs::create_dir(world.domain("vpasswd.cdb")).unwrap();
    assert!(world.admin.add_user("new@example.test", b"x").is_err());
    assert!(world.admin.remove_user("pippo@example.test").is_err());
    assert!(world.admin.set_password("pippo@example.test", b"x").is_err());
    std::fs::remove_dir(world.domain("vpasswd.cdb")).unwrap();
    std::fs::rename(world.path("cdb"), world.domain("vpasswd.cdb")).unwrap();
    assert_eq!(picture(&world.path("")), before);
}

#[test]
fn many_users_are_added_at_once_or_not_at_all() {
    let world = World::empty();
    let _ = world.admin.add_domain("example.test", b"x").unwrap();
    let users: Vec<NewUser> = (0..123).map(|n| NewUser::new(&format!("u{n:03}"), b"pw")).collect();
    let _ = world.admin.add_users("example.test", &users).unwrap();
    let shown = world.admin.users("example.test").unwrap();
    assert_eq!(shown.len(), 124);
    assert!(shown.iter().map(|user| &user.address).is_sorted());
    let before = picture(&world.path(""));
    let more = [NewUser::new("new", b"pw"), NewUser::new("u007", b"pw")];
    assert!(matches!(world.admin.add_users("example.test", &more), Err(AdminError::UserExists(address)) if address == "u007@example.test"));
    assert!(matches!(
        world.admin.add_users("example.test", &[NewUser::new("a", b"x"), NewUser::new("A", b"x")]),
        Err(AdminError::UserExists(_))
    ));
    assert_eq!(picture(&world.path("")), before);
}

#[test]
fn untouched_lines_keep_their_bytes() {
    let world = World::with_users();
    let line = b"old:x:1:0:Caff\xe8:/elsewhere/old:NOQUOTA:clear:with:colons\n";
    let mut text = line.to_vec();
    text.extend(std::fs::read(world.domain("vpasswd")).unwrap());
    std::fs::write(world.domain("vpasswd"), &text).unwrap();
    let _ = world.admin.set_password("pippo@example.test", b"New").unwrap();
    let text = std::fs::read(world.domain("vpasswd")).unwrap();
    assert!(text.windows(line.len()).any(|part| part == line));
    assert!(
        matches!(world.admin.remove_user("old@example.test"), Ok(Change { reload_needed: false, .. })),
        "its directory is gone already"
    );
}

#[test]
fn rebuilding_makes_the_data_base_the_newer_one() {
    let world = World::with_users();
    let text = std::fs::read(world.domain("vpasswd")).unwrap();
    let old = std::fs::metadata(world.domain("vpasswd.cdb")).unwrap().ino();
    std::fs::write(world.domain("vpasswd"), text).unwrap();
    let _ = world.admin.rebuild("example.test").unwrap();
    let (data, text) = (std::fs::metadata(world.domain("vpasswd.cdb")).unwrap(), std::fs::metadata(world.domain("vpasswd")).unwrap());
    assert_ne!(data.ino(), old);
    assert!(data.modified().unwrap() >= text.modified().unwrap());
}

#[test]
fn a_directory_that_is_not_the_users_own_is_never_removed() {
    let world = World::with_users();
    let text =
        read(&world.domain("vpasswd")).replace(&world.domain("pippo").display().to_string(), &world.domain("pluto").display().to_string());
    std::fs::write(world.domain("vpasswd"), text).unwrap();
    assert!(matches!(world.admin.remove_user("pippo@example.test"), Err(AdminError::DamagedRecord(_))));
    assert!(world.domain("pluto/Maildir").is_dir());
}

#[test]
fn leftovers_of_a_crash_are_taken_over_but_mail_is_not() {
    let world = World::with_users();
    std::fs::create_dir_all(world.domain("zio/Maildir/new")).unwrap();
    for part in ["zio", "zio/Maildir", "zio/Maildir/new"] {
        std::os::unix::fs::chown(world.domain(part), Some(owner().uid), Some(owner().gid)).unwrap(); // whose rights made it
    }
    let _ = world.admin.add_user("zio@example.test", b"x").unwrap();
    std::fs::create_dir_all(world.domain("zia/Maildir/new")).unwrap();
    std::fs::write(world.domain("zia/Maildir/new/1"), b"mail").unwrap();
    assert!(matches!(world.admin.add_user("zia@example.test", b"x"), Err(AdminError::DirectoryTaken(_))));
    assert_eq!(std::fs::read(world.domain("zia/Maildir/new/1")).unwrap(), b"mail");
}

#[test]
fn the_postmaster_stays() {
    let world = World::with_users();
    assert!(matches!(world.admin.remove_user("postmaster@example.test"), Err(AdminError::Postmaster(_))));
}

#[test]
fn names_passwords_and_targets_are_checked() {
    let world = World::with_users();
    let before = picture(&world.path(""));
    for bad in [
        "../x@example.test",
        "a/b@example.test",
        ".qmail@example.test",
        "a:b@example.test",
        "a\nb@example.test",
        "@example.test",
        "x",
        "vpasswd@example.test",
    ] {
        assert!(matches!(world.admin.add_user(bad, b"x"), Err(AdminError::Name { .. })), "{bad:?}");
        assert!(world.admin.add_alias(bad, "a@b.test").is_err(), "{bad:?}");
        assert!(world.admin.remove_user(bad).is_err(), "{bad:?}");
        assert!(world.admin.remove_alias(bad, None).is_err(), "{bad:?}");
    }
    for bad in ["../etc", "a/b", "ab", "x\ny.test"] {
        assert!(world.admin.add_domain(bad, b"x").is_err(), "{bad:?}");
        assert!(world.admin.remove_domain(bad, AliasDomains::Remove).is_err(), "{bad:?}");
    }
    for bad in [&b""[..], b"a\nb", b"a\0b", &[b'x'; 129]] {
        assert!(matches!(world.admin.add_user("new@example.test", bad), Err(AdminError::Password)));
        assert!(matches!(world.admin.set_password("pippo@example.test", bad), Err(AdminError::Password)));
    }
    for bad in ["", "x", "| rm -rf /", "/etc/passwd", "a@b.test\n| x", "a b@c.test", "@b.test"] {
        assert!(world.admin.add_alias("new@example.test", bad).is_err(), "{bad:?}");
    }
    for bad in ["/a b", "/$(x)", "relative"] {
        assert!(world.admin.set_catch_all("example.test", &CatchAll::Directory(bad.into())).is_err(), "{bad:?}");
    }
    assert_eq!(picture(&world.path("")), before);
}

#[test]
fn aliases_come_and_go() {
    let world = World::with_users();
    assert!(matches!(world.admin.add_alias("pippo@example.test", "x@far.test"), Err(AdminError::UserExists(_))));
    let _ = world.admin.add_alias("in.fo@example.test", "x@far.test").unwrap();
    let _ = world.admin.add_alias("in.fo@example.test", "y@far.test").unwrap();
    let _ = world.admin.add_alias("in.fo@example.test", "x@far.test").unwrap();
    assert_eq!(read(&world.domain(".qmail-in:fo")), "&x@far.test\n&y@far.test\n");
    let aliases = world.admin.aliases("example.test").unwrap();
    assert_eq!(aliases.iter().map(|alias| alias.address.as_str()).collect::<Vec<_>>(), ["abuse@example.test", "in.fo@example.test"]);
    assert_eq!(aliases[1].lines, ["x@far.test", "y@far.test"]);
    assert!(matches!(world.admin.add_user("in.fo@example.test", b"x"), Err(AdminError::AliasExists(_))));
    let _ = world.admin.remove_alias("in.fo@example.test", Some("x@far.test")).unwrap();
    assert_eq!(read(&world.domain(".qmail-in:fo")), "&y@far.test\n");
    assert!(matches!(world.admin.remove_alias("in.fo@example.test", Some("x@far.test")), Err(AdminError::NoAlias(_))));
    let _ = world.admin.remove_alias("in.fo@example.test", Some("y@far.test")).unwrap();
    assert!(!world.domain(".qmail-in:fo").try_exists().unwrap());
    assert!(matches!(world.admin.remove_alias("in.fo@example.test", None), Err(AdminError::NoAlias(_))));
    assert!(world.admin.remove_alias("default@example.test", None).is_err());
    assert!(world.domain(".qmail-default").is_file());
}

#[test]
fn two_administrators_lose_nothing() {
    let world = World::with_users();
    let home = world.path("");
    std::thread::scope(|scope| {
        for part in ["a", "b", "c", "d"] {
            let home = home.clone();
            scope.spawn(move || {
                for n in 0..3 {
                    let _ = admin(&home).add_user(&format!("{part}{n}@example.test"), b"x").unwrap();
                    let _ = admin(&home).add_domain(&format!("{part}{n}.test"), b"x").unwrap();
                }
            });
        }
    });
    assert_eq!(world.admin.users("example.test").unwrap().len(), 15);
    assert_eq!(world.admin.domains().unwrap().len(), 13);
    let lines = assign::parse(&std::fs::read(world.path("users/assign")).unwrap()).unwrap();
    let cdb = std::fs::read(world.path("users/cdb")).unwrap();
    assert_eq!(Cdb::new(&cdb).unwrap().records().unwrap().len(), lines.len() + 1);
}

/// Attack 22: whoever took over the server owns `domains/`, and an administrator's root must not follow what was planted there.
#[test]
fn root_follows_no_link_planted_in_a_domain() {
    use std::os::unix::fs::symlink;
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root could do harm");
        return;
    }
    let world = World::with_users();
    let precious = world.path("precious");
    std::fs::write(&precious, "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    std::fs::set_permissions(&precious, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let admin = &world.admin;
    let attempts: [(&str, &dyn Fn() -> bool); 4] = [
        ("vpasswd", &|| admin.add_user("paperino@example.test", b"Secret-3").is_err()),
        ("vpasswd.cdb", &|| admin.set_password("pippo@example.test", b"Secret-3").is_err()),
        (".qmail-info", &|| admin.add_alias("info@example.test", "pippo@example.test").is_err()),
        (".qmail-default", &|| admin.set_catch_all("example.test", &CatchAll::Delete).is_err()),
    ];
    for (name, refused) in attempts {
        let (place, kept) = (world.domain(name), world.path("kept"));
        let there = std::fs::rename(&place, &kept).is_ok();
        symlink(&precious, &place).unwrap();
        assert!(refused(), "{name}: root wrote through a link");
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "root:x:0:0:root:/root:/bin/sh\n", "{name}");
        std::fs::remove_file(&place).unwrap();
        if there {
            std::fs::rename(&kept, &place).unwrap();
        }
    }
    // A record that names somebody else's directory removes nothing there.
    let home = world.path("home/pluto");
    std::fs::create_dir_all(home.join("papers")).unwrap();
    let text = std::fs::read_to_string(world.domain("vpasswd")).unwrap();
    let own = world.domain("pluto").display().to_string();
    std::fs::write(world.domain("vpasswd"), text.replace(&own, &home.display().to_string())).unwrap();
    assert!(admin.remove_user("pluto@example.test").is_err());
    assert!(home.join("papers").is_dir());
    assert_eq!(nix::unistd::setfsuid(nix::unistd::Uid::from_raw(u32::MAX)).as_raw(), 0, "the rights came back");
}

/// vpopmail owns its home: what it puts in the place of `domains` does not lead root to somebody else's directory of the same name.
#[test]
fn root_removes_no_directory_behind_a_planted_link() {
    use std::os::unix::fs::{lchown, symlink};
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root could do harm");
        return;
    }
    let world = World::with_users();
    let others = world.path("others");
    std::fs::create_dir_all(others.join("example.test/papers")).unwrap();
    std::fs::rename(world.path("domains"), world.path("domains.mine")).unwrap();
    symlink(&others, world.path("domains")).unwrap();
    lchown(world.path("domains"), Some(owner().uid), Some(owner().gid)).unwrap();
    assert!(world.admin.remove_domain("example.test", AliasDomains::Keep).is_err());
    assert!(others.join("example.test/papers").is_dir());
    std::fs::remove_file(world.path("domains")).unwrap();
    std::fs::rename(world.path("domains.mine"), world.path("domains")).unwrap();
    let _ = world.admin.remove_domain("example.test", AliasDomains::Keep).unwrap();
    assert!(!world.path("domains/example.test").try_exists().unwrap());
    assert!(!world.path("domains/.removed-example.test").try_exists().unwrap());
}
