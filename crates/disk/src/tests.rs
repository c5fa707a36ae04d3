//! Durability of single files and Maildir deliveries: fault loops on the simulated disk, and the real disk's behaviour.

use super::*;
use maildir_file::Earlier;
use postino_ports::disk::Disk;
use postino_testkit::{Fault, SimDisk};
use std::io;
use std::path::Path;
use std::time::Duration;

const MESSAGE: [&[u8]; 3] = [b"Delivered-To: a@b\n", b"Subject: x\n\n", b"body\n"];

fn put(disk: &dyn Disk, earlier: Earlier) -> io::Result<Delivered> {
    let target = MaildirFile { maildir: Path::new("/m"), name: "1.2.host", earlier };
    deliver(disk, target, &mut |file| MESSAGE.iter().try_for_each(|part| file.write_all(part)))
}

fn maildir() -> SimDisk {
    SimDisk::new(&["/m/tmp", "/m/new", "/m/cur"])
}

/// Whole or not at all, and there when promised: what every state after a crash must show.
fn check(disk: &SimDisk, promised: bool, context: &str) {
    match disk.read(Path::new("/m/new/1.2.host")) {
        Some(bytes) => assert_eq!(bytes, MESSAGE.concat(), "torn file in new/: {context}"),
        None => assert!(!promised, "delivered, but gone: {context}"),
    }
}

#[test]
fn power_cut_at_every_operation_leaves_nothing_torn_and_nothing_lost() {
    let mut k = 1;
    loop {
        let disk = maildir();
        disk.fault_at(k, Fault::Crash);
        let result = put(&disk, Earlier::InNew);
        for seed in 0..200 {
            let after = disk.after_crash(seed);
            check(&after, result.is_ok(), &format!("k={k} seed={seed}"));
            // The queue tries again: exactly one file results.
            put(&after, Earlier::InNewAndCur).unwrap();
            check(&after.after_crash(seed), true, &format!("second attempt, k={k} seed={seed}"));
            assert_eq!(after.list(Path::new("/m/new")).unwrap().len(), 1);
        }
        if !disk.fault_happened() {
            assert!(result.is_ok() && k > 6);
            break;
        }
        k += 1;
    }
}

#[test]
fn an_error_at_every_operation_is_reported_and_heals() {
    for fault in [Fault::Eio, Fault::Enospc] {
        let mut k = 1;
        loop {
            let disk = maildir();
            disk.fault_at(k, fault);
            let result = put(&disk, Earlier::InNew);
            if !disk.fault_happened() {
                break;
            }
            assert!(result.is_err(), "{fault:?} at {k} went unnoticed");
            (0..50).for_each(|seed| check(&disk.after_crash(seed), false, &format!("{fault:?} k={k}")));
            assert_eq!(put(&disk, Earlier::InNewAndCur).unwrap(), Delivered::Now, "{fault:?} at {k}");
            (0..50).for_each(|seed| check(&disk.after_crash(seed), true, &format!("healed {fault:?} k={k}")));
            k += 1;
        }
    }
}

#[test]
fn a_second_attempt_makes_no_second_copy() {
    let disk = maildir();
    assert_eq!(put(&disk, Earlier::InNew).unwrap(), Delivered::Now);
    assert_eq!(put(&disk, Earlier::InNew).unwrap(), Delivered::AlreadyThere);
    disk.rename_new(Path::new("/m/new/1.2.host"), Path::new("/m/cur/1.2.host:2,S")).unwrap();
    assert_eq!(put(&disk, Earlier::InNewAndCur).unwrap(), Delivered::AlreadyThere);
    assert!(disk.list(Path::new("/m/new")).unwrap().is_empty());
    assert!(disk.list(Path::new("/m/tmp")).unwrap().is_empty(), "tmp/ is left clean");
}

#[test]
fn a_real_delivery_never_overwrites_and_follows_no_link() {
    let home = tempfile::tempdir().unwrap();
    for part in ["tmp", "new", "cur"] {
        create_dir_durable(&home.path().join("m").join(part), 0o700).unwrap();
    }
    let maildir = home.path().join("m");
    std::fs::write(maildir.join("new/x"), "somebody's").unwrap();
    let disk = RealDisk::new();
    let target = MaildirFile { maildir: &maildir, name: "x", earlier: Earlier::InNew };
    assert_eq!(deliver(&disk, target, &mut |f| f.write_all(b"mine")).unwrap(), Delivered::AlreadyThere);
    assert_eq!(std::fs::read(maildir.join("new/x")).unwrap(), b"somebody's");
    let outside = home.path().join("outside");
    std::os::unix::fs::symlink(&outside, maildir.join("tmp/link")).unwrap();
    assert_eq!(create_new(&maildir.join("tmp/link"), 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert!(!outside.try_exists().unwrap());
    for name in ["", ".x", "../x", "a/b", "a\0"] {
        assert!(deliver(&disk, MaildirFile { name, ..target }, &mut |_| Ok(())).is_err(), "{name:?}");
    }
}

#[test]
fn a_failed_write_leaves_the_mailbox_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    for part in ["tmp", "new", "cur"] {
        create_dir_durable(&home.path().join(part), 0o700).unwrap();
    }
    let target = MaildirFile { maildir: home.path(), name: "x", earlier: Earlier::InNew };
    let error = deliver(&RealDisk::new(), target, &mut |f| {
        f.write_all(b"half")?;
        Err(io::Error::from(io::ErrorKind::UnexpectedEof))
    });
    assert_eq!(error.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    for part in ["tmp", "new"] {
        assert_eq!(std::fs::read_dir(home.path().join(part)).unwrap().count(), 0, "{part}");
    }
}

#[test]
fn a_replaced_file_keeps_links_and_gets_its_mode() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let (file, link) = (home.path().join("file"), home.path().join("link"));
    replace_file(&file, b"one", 0o644).unwrap();
    std::os::unix::fs::symlink("file", &link).unwrap();
    replace_file(&link, b"two", 0o640).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"two");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 2, "no temporary file is left");
}

#[test]
fn a_lock_excludes_until_it_is_dropped() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("lock");
    let held = FileLock::try_exclusive(&path).unwrap();
    assert!(matches!(FileLock::exclusive(&path, Duration::from_millis(20)), Err(LockError::Held)));
    drop(held);
    FileLock::try_exclusive(&path).unwrap();
}

#[test]
fn merged_syncs_all_return() {
    let home = tempfile::tempdir().unwrap();
    let syncer = DirSyncer::new();
    std::thread::scope(|scope| {
        for i in 0..16 {
            let (syncer, path) = (&syncer, home.path());
            scope.spawn(move || {
                for j in 0..5 {
                    std::fs::write(path.join(format!("{i}.{j}")), "").unwrap();
                    syncer.sync(path).unwrap();
                }
            });
        }
    });
    assert!(syncer.sync(&home.path().join("absent")).is_err());
}
