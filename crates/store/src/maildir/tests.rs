//! The Maildir adapter on real directories.

use super::*;
use postino_types::Time;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

struct FixedClock(i64);

impl Clock for FixedClock {
    fn now(&self) -> Time {
        Time::from_secs(self.0)
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

struct House {
    _dir: tempfile::TempDir,
    mailbox: Mailbox,
    store: MaildirStore,
}

impl House {
    fn new() -> Self {
        Self::at(Time::from_secs(1_700_000_000).secs())
    }

    fn at(now: i64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let maildir = dir.path().join("Maildir");
        for part in ["tmp", "new", "cur"] {
            fs::create_dir_all(maildir.join(part)).unwrap();
        }
        let mailbox = Mailbox { address: "a@b".into(), home: dir.path().into(), maildir, uid: 0, gid: 0, quota: String::new(), flags: 0 };
        Self { _dir: dir, mailbox, store: MaildirStore::new(Arc::new(FixedClock(now))) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.mailbox.maildir.join(name)
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    async fn open(&self) -> Box<dyn Drop> {
        self.store.open(&self.mailbox).await.unwrap()
    }

    fn list(&self, part: &str) -> Vec<String> {
        let read = fs::read_dir(self.path(part)).unwrap();
        let mut names: Vec<_> = read.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn text(body: &Body) -> Vec<u8> {
    let mut all = Vec::new();
    body.for_each_chunk(|c| {
        all.extend_from_slice(c);
        Ok(())
    })
    .unwrap();
    all
}

use postino_ports::body::Body;

#[tokio::test]
async fn lists_in_order_with_exact_octets_and_qmails_uidl() {
    let house = House::new();
    house.put("new/1600000002.3.h", "c\n\nx\n");
    house.put("cur/1600000001.2.h,S=4:2,RS", "a\r\nb");
    house.put("cur/1600000003.1.h,S=9,W=1234:2,", "lies");
    house.put("new/.hidden", "no");
    fs::create_dir(house.path("new/directory")).unwrap();
    std::os::unix::fs::symlink(house.path("cur/1600000001.2.h,S=4:2,RS"), house.path("new/link")).unwrap();
    let drop = house.open().await;
    let got: Vec<_> = drop.messages().iter().map(|m| (m.uidl.as_str(), m.octets)).collect();
    assert_eq!(got, [("1600000001.2.h,S=4", 6), ("1600000002.3.h", 8), ("1600000003.1.h,S=9,W=1234", 1234)]);
    assert_eq!(text(&drop.open(1).await.unwrap()), b"c\n\nx\n");
}

#[tokio::test]
async fn names_without_a_time_are_ordered_by_the_file_time() {
    let house = House::new();
    house.put("new/b", "1\n");
    house.put("new/a", "2\n");
    house.put("new/1600000000.x", "3\n");
    let set = |name: &str, s: u64| {
        let file = fs::File::options().write(true).open(house.path(name)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(s)).unwrap();
    };
    set("new/b", 1_500_000_000);
    set("new/a", 1_650_000_000);
    let drop = house.open().await;
    let got: Vec<_> = drop.messages().iter().map(|m| m.uidl.as_str()).collect();
    assert_eq!(got, ["b", "1600000000.x", "a"]);
}

#[tokio::test]
async fn a_changed_file_is_counted_anew() {
    let house = House::new();
    house.put("new/x", "a\n");
    assert_eq!(house.open().await.messages()[0].octets, 3);
    assert_eq!(house.open().await.messages()[0].octets, 3);
    house.put("new/x", "a\nb\nc\n");
    assert_eq!(house.open().await.messages()[0].octets, 9);
}

#[tokio::test]
async fn a_message_is_found_after_another_reader_renamed_it() {
    let house = House::new();
    house.put("new/1600000000.1.h", "hello\n");
    house.put("cur/1600000001.1.h:2,", "second\n");
    let drop = house.open().await;
    fs::rename(house.path("new/1600000000.1.h"), house.path("cur/1600000000.1.h:2,S")).unwrap();
    fs::rename(house.path("cur/1600000001.1.h:2,"), house.path("cur/1600000001.1.h:2,FS")).unwrap();
    assert_eq!(text(&drop.open(0).await.unwrap()), b"hello\n");
    assert_eq!(text(&drop.open(1).await.unwrap()), b"second\n");
    assert_eq!(drop.finish(vec![0, 1]).await.unwrap(), 0);
    assert!(house.list("cur").is_empty(), "removed under their new names");
}

#[tokio::test]
async fn a_message_seen_in_both_directories_is_one() {
    let house = House::new();
    house.put("new/1600000000.1.h", "old\n");
    house.put("cur/1600000000.1.h:2,S", "moved\n");
    let drop = house.open().await;
    assert_eq!(drop.messages().len(), 1);
    assert_eq!(text(&drop.open(0).await.unwrap()), b"moved\n");
}

#[tokio::test]
async fn two_files_of_one_name_never_share_a_uidl() {
    let house = House::new();
    house.put("cur/1600000000.1.h:2,", "a\n");
    house.put("cur/1600000000.1.h:2,S", "b\n");
    let drop = house.open().await;
    assert_eq!(drop.messages().len(), 1);
    assert_eq!(drop.finish(vec![0]).await.unwrap(), 0);
    assert_eq!(house.open().await.messages().len(), 1, "the other one comes up next");
}

#[tokio::test]
async fn finish_removes_the_deleted_and_moves_the_rest() {
    let house = House::new();
    house.put("new/1600000000.1.h", "0\n");
    house.put("new/1600000001.1.h,S=3", "1\r\n");
    house.put("cur/1600000002.1.h:2,S", "2\n");
    house.put("maildirsize", "1000000S\n100 3\n");
    let drop = house.open().await;
    house.put("new/1600000009.late", "arrived during the session\n");
    assert_eq!(drop.finish(vec![1, 2]).await.unwrap(), 0);
    assert_eq!(house.list("cur"), ["1600000000.1.h:2,"]);
    assert_eq!(house.list("new"), ["1600000009.late"], "a message that was not listed stays new");
    let quota = fs::read_to_string(house.path("maildirsize")).unwrap();
    assert_eq!(quota, "1000000S\n100 3\n-5 -2\n");
}

#[tokio::test]
async fn dropping_a_session_changes_nothing() {
    let house = House::new();
    house.put("new/1600000000.1.h", "0\n");
    drop(house.open().await);
    assert_eq!(house.list("new"), ["1600000000.1.h"]);
    assert!(house.list("cur").is_empty());
}

#[tokio::test]
async fn what_another_session_removed_is_an_error_to_read_and_none_to_remove() {
    let house = House::new();
    house.put("new/1600000000.1.h", "0\n");
    let drop = house.open().await;
    fs::remove_file(house.path("new/1600000000.1.h")).unwrap();
    assert!(drop.open(0).await.is_err());
    assert!(drop.open(7).await.is_err());
    assert_eq!(drop.finish(vec![0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_symlink_or_fifo_in_a_messages_place_is_never_read() {
    let house = House::new();
    house.put("new/1600000000.1.h,S=2,W=3", "0\n");
    let drop = house.open().await;
    let path = house.path("new/1600000000.1.h,S=2,W=3");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    assert!(drop.open(0).await.is_err());
    fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0).unwrap();
    assert!(drop.open(0).await.is_err(), "and it does not hang");
}

#[tokio::test]
async fn a_missing_maildir_is_told_apart() {
    let mut house = House::new();
    house.mailbox.maildir = house.mailbox.maildir.join("nowhere");
    assert!(matches!(house.store.open(&house.mailbox).await, Err(MaildropError::Missing(_))));
    let house = House::new();
    fs::remove_dir(house.path("cur")).unwrap();
    assert!(matches!(house.store.open(&house.mailbox).await, Err(MaildropError::Missing(_))));
}

#[tokio::test]
async fn old_leftovers_in_tmp_are_removed() {
    let house = House::at(1_700_000_000);
    let touch = |name: &str, age_s: u64| {
        house.put(name, "x");
        let file = fs::File::options().write(true).open(house.path(name)).unwrap();
        let at = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000 - age_s);
        file.set_times(fs::FileTimes::new().set_accessed(at).set_modified(at)).unwrap();
    };
    touch("tmp/old", 36 * 3600 + 5);
    touch("tmp/young", 36 * 3600 - 5);
    drop(house.open().await);
    assert_eq!(house.list("tmp"), ["young"]);
}

#[tokio::test]
async fn a_large_message_comes_from_its_file() {
    let house = House::new();
    let long = "line of text\n".repeat(20_000);
    house.put("new/1600000000.1.h", &long);
    let drop = house.open().await;
    assert_eq!(drop.messages()[0].octets, (long.len() + 20_000) as u64);
    let body = drop.open(0).await.unwrap();
    assert!(matches!(body, Body::File { .. }));
    assert_eq!(text(&body), long.as_bytes());
}
