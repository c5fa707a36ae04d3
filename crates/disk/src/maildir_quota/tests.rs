//! `maildirsize` against real directories: formats of others, counting, the two locks.

use super::*;
use proptest::prelude::*;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

struct House {
    _dir: tempfile::TempDir,
    maildir: PathBuf,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let maildir = dir.path().join("Maildir");
        for part in ["tmp", "new", "cur"] {
            fs::create_dir_all(maildir.join(part)).unwrap();
        }
        Self { _dir: dir, maildir }
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.maildir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn size_file(&self) -> String {
        fs::read_to_string(self.maildir.join("maildirsize")).unwrap_or_default()
    }

    fn age(&self, name: &str, seconds: u64) {
        let file = fs::File::options().write(true).open(self.maildir.join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    }

    fn reserve(&self, quota: &str, bytes: u64) -> Judged {
        let quota = Quota::parse(quota);
        reserve(&self.maildir, Wanted { quota, message_bytes: bytes, file_bytes: bytes + 50, now: SystemTime::now() }).unwrap()
    }

    fn keep(&self, quota: &str, bytes: u64) {
        match self.reserve(quota, bytes).room {
            Room::Reserved(place) => place.keep(),
            Room::Full => panic!("full"),
        }
    }

    fn is_full(&self, quota: &str, bytes: u64) -> bool {
        matches!(self.reserve(quota, bytes).room, Room::Full)
    }
}

#[test]
fn a_missing_file_is_counted_and_each_message_is_a_line() {
    let house = House::new();
    house.put("cur/1.1.h,S=100:2,S", "x");
    house.put("new/2.1.h", "12345");
    house.keep("1000S,10C", 20);
    house.keep("1000S,10C", 30);
    assert_eq!(house.size_file(), "1000S,10C\n105 2\n70 1\n80 1\n");
}

// Courier's deliverquota pads its numbers to twelve columns; maildirmake -q writes the first sum.
#[test]
fn couriers_lines_are_read_and_added_to() {
    let house = House::new();
    house.put("maildirsize", "1000S,10C\n         120            2\n          14            1\n         -14           -1\n");
    let judged = house.reserve("1000S,10C", 20);
    assert_eq!(judged.before, Usage { bytes: 120, messages: 2 });
    let Room::Reserved(place) = judged.room else { panic!("full") };
    place.keep();
    assert!(house.size_file().ends_with("         -14           -1\n70 1\n"), "{}", house.size_file());
}

#[test]
fn folders_count_but_trash_and_trashed_messages_do_not() {
    let house = House::new();
    house.put("cur/1.1.h,S=100:2,S", "x");
    house.put("cur/2.1.h,S=1000:2,ST", "x");
    house.put(".A/cur/3.1.h,S=20:2,", "x");
    house.put(".A.B/new/4.1.h,W=99,S=7", "x");
    house.put(".A/new/.keep", "not counted");
    house.put(".Trash/cur/5.1.h,S=3000:2,", "x");
    house.put("notafolder/cur/6.1.h,S=3000:2,", "x");
    std::os::unix::fs::symlink(house.maildir.join("notafolder"), house.maildir.join(".Link")).unwrap();
    assert_eq!(counted(&house.maildir).unwrap(), Usage { bytes: 127, messages: 3 });
}

#[test]
fn files_are_counted_before_a_message_is_refused_if_the_sum_may_be_wrong() {
    let house = House::new();
    house.put("maildirsize", "1000S\n100 1\n900 1\n");
    assert!(!house.is_full("1000S", 500), "the files are gone: a reader did not tell");
    house.put("maildirsize", "1000S\n900 1\n");
    assert!(house.is_full("1000S", 500), "one line: the files were counted just now");
    house.age("maildirsize", 16 * 60);
    assert!(!house.is_full("1000S", 500), "a quarter of an hour ago is not now");
}

#[test]
fn another_quota_a_long_or_a_damaged_file_begins_anew() {
    for text in ["500S\n9999 9\n", "1000S\nx y\n", "1000S\n", "", "1000S\n1 2 3\n", &format!("1000S\n{}", "1 1\n".repeat(1300))] {
        let house = House::new();
        house.put("maildirsize", text);
        house.put("cur/1.1.h,S=10:2,S", "x");
        house.keep("1000S", 100);
        assert_eq!(house.size_file(), "1000S\n10 1\n150 1\n", "{text:?}");
    }
    let house = House::new();
    fs::create_dir(house.maildir.join("maildirsize")).unwrap();
    let wanted = Wanted { quota: Quota::parse("9S"), message_bytes: 1, file_bytes: 2, now: SystemTime::now() };
    assert!(reserve(&house.maildir, wanted).is_err(), "no file can take a directory's place");
}

#[test]
fn a_message_that_was_not_written_gives_its_room_back() {
    let house = House::new();
    drop(house.reserve("1000S", 100));
    assert_eq!(house.size_file(), "1000S\n0 0\n150 1\n-150 -1\n");
    assert_eq!(usage(&house.maildir, Quota::parse("1000S"), SystemTime::now()).unwrap(), Usage::default());
}

#[test]
fn set_writes_or_removes() {
    let house = House::new();
    house.put("cur/1.1.h,S=10:2,S", "x");
    set(&house.maildir, Quota::parse("1C")).unwrap();
    assert_eq!(house.size_file(), "1C\n10 1\n");
    assert!(house.is_full("1C", 1));
    set(&house.maildir, Quota::NONE).unwrap();
    assert!(fs::symlink_metadata(house.maildir.join("maildirsize")).is_err());
    assert_eq!(known_usage(&house.maildir, Quota::parse("1C"), SystemTime::now()).unwrap(), None);
}

/// Delivers by hand: a file of exactly the size that was reserved.
fn deliver(house: &House, quota: &str, name: &str) -> bool {
    match house.reserve(quota, 100).room {
        Room::Full => false,
        Room::Reserved(place) => {
            fs::write(house.maildir.join(format!("tmp/{name}")), "x").unwrap();
            fs::rename(house.maildir.join(format!("tmp/{name}")), house.maildir.join(format!("new/{name},S=150"))).unwrap();
            place.keep();
            true
        }
    }
}

#[test]
fn many_at_once_never_exceed_the_quota() {
    let house = House::new();
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (house, done) = (&house, &done);
            scope.spawn(move || {
                for n in 0..40 {
                    if n % 10 == 0 {
                        // Another program throws the sum away: files are counted while others deliver.
                        let _ = fs::remove_file(house.maildir.join("maildirsize"));
                    }
                    done.fetch_add(usize::from(deliver(house, "100C", &format!("{thread}.{n}"))), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(done.load(Ordering::Relaxed), 100);
    assert_eq!(counted(&house.maildir).unwrap(), Usage { bytes: 15_000, messages: 100 });
}

#[test]
fn who_counts_waits_for_what_is_on_its_way() {
    let house = House::new();
    let Room::Reserved(place) = house.reserve("1C", 1).room else { panic!("full") };
    fs::remove_file(house.maildir.join("maildirsize")).unwrap();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| house.is_full("1C", 1));
        fs::write(house.maildir.join("new/1.1.h,S=1"), "x").unwrap();
        place.keep();
        assert!(other.join().unwrap());
    });
}

proptest! {
    #[test]
    fn any_file_is_survived(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = size_file::parse(&text);
    }

    #[test]
    fn the_sum_of_all_lines(lines in proptest::collection::vec((-10_000i64..10_000, -5i64..5, 0usize..14), 1..60)) {
        let mut text = "7S\n".to_owned();
        for (bytes, messages, width) in &lines {
            text += &format!("{bytes:width$} {messages:width$}\n");
        }
        let (_, usage, count) = size_file::parse(text.as_bytes()).unwrap();
        let sum = lines.iter().fold(Usage::default(), |sum, (bytes, messages, _)| sum.plus(Usage { bytes: *bytes, messages: *messages }));
        prop_assert_eq!((usage, count), (sum, lines.len()));
    }

    #[test]
    fn names_of_any_kind_are_survived(name in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = (count::is_trashed(&name), count::size_in_name(&name));
    }

    #[test]
    fn sizes_and_flags_are_found(size: u64, flags in "[DFPRS]{0,5}", trashed: bool) {
        let name = format!("1.2.h,S={size},W=1:2,{flags}{}", if trashed { "T" } else { "" });
        prop_assert_eq!(count::size_in_name(name.as_bytes()), Some(size));
        prop_assert_eq!(count::is_trashed(name.as_bytes()), trashed);
    }
}
