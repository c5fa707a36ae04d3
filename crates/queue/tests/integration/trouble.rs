//! Full disks, clocks that jump, debris, damage, and a start with many entries.

use crate::house::{House, body, deferred, options, settlement};
use postino_ports::queue::{AcceptError, Queue};
use postino_queue::{QueueOptions, QueueStore, Repair, STATES, check};
use postino_types::QueueId;
use rusqlite::Connection;
use std::time::Duration;

fn database(house: &House) -> Connection {
    Connection::open(house.home.path().join("queue/queue.db")).unwrap()
}

/// A restart with something done to the files in between.
async fn meanwhile(house: House, act: impl FnOnce(&House)) -> House {
    house.queue.stop().await;
    act(&house);
    house.restart()
}

#[tokio::test]
async fn below_the_reserve_nothing_is_accepted_but_ends_are_recorded() {
    let house = House::new();
    let id = house.accept(1, 1, 10).await;
    house.queue.stop().await;
    let House { queue, clock, home } = house;
    drop(queue);
    let queue = QueueStore::open(QueueOptions { disk_reserve_bytes: u64::MAX / 2, ..options(home.path(), &clock) }).unwrap();
    assert!(matches!(queue.begin(None).map(drop), Err(AcceptError::DiskFull)));
    assert!(queue.settle(settlement(id, vec![(0, crate::house::delivered())], None)).await.unwrap().finished);
}

#[tokio::test]
async fn a_clock_set_back_ten_years_stalls_nothing_and_forward_floods_nothing() {
    let ten_years = 10 * 365 * 86_400_000;
    for jump in [-ten_years, ten_years] {
        let house = House::new();
        let id = house.accept(1, 1, 10).await;
        house.due(9).await;
        house.queue.settle(settlement(id, vec![(0, deferred(1))], Some(house.now().plus_secs(400)))).await.unwrap();
        house.clock.jump(jump);
        assert!(house.due(9).await.is_empty(), "due too early after a jump of {jump} ms");
        // An entry that gets its time after the jump is placed by the new clock.
        let second = house.accept(2, 1, 10).await;
        assert_eq!(house.due(9).await[0].id, second);
        house.queue.settle(settlement(second, vec![(0, deferred(1))], Some(house.now().plus_secs(200)))).await.unwrap();
        house.clock.advance(Duration::from_secs(200));
        assert_eq!(house.due(9).await.iter().map(|e| e.id).collect::<Vec<_>>(), [second], "jump {jump}");
        house.clock.advance(Duration::from_secs(200));
        assert_eq!(house.due(9).await.iter().map(|e| e.id).collect::<Vec<_>>(), [id], "jump {jump}");
        let house = house.restart();
        house.clock.advance(Duration::from_secs(86_400));
        assert_eq!(house.due(9).await.len(), 2, "after a restart under the new clock, jump {jump}");
    }
}

#[tokio::test]
async fn debris_of_a_crash_goes_and_live_bodies_stay() {
    let house = House::new();
    let id = house.accept(1, 1, 100_000).await;
    let debris = house.home.path().join("queue/body/3/0000000000000003");
    let house = meanwhile(house, |_| std::fs::write(&debris, "half a mess").unwrap()).await;
    // The start removes it beside its other work.
    let began = std::time::Instant::now();
    while debris.try_exists().unwrap() && began.elapsed() < Duration::from_secs(20) {
        tokio::task::yield_now().await;
    }
    assert!(!debris.try_exists().unwrap());
    assert!(house.body(id).await.unwrap() == body(1, 100_000));
}

#[tokio::test]
async fn a_damaged_entry_harms_no_other_and_is_put_aside() {
    let house = House::new();
    let bad = house.accept(1, 1, 10).await;
    let good = house.accept(2, 1, 10).await;
    let house = meanwhile(house, |house| {
        let sql = "UPDATE content SET meta = x'01ff' WHERE id = ?1";
        database(house).execute(sql, [i64::try_from(bad.0).unwrap()]).unwrap();
    })
    .await;
    assert_eq!(house.due(9).await.iter().map(|e| e.id).collect::<Vec<_>>(), [good]);
    assert!(house.queue.load(bad).await.is_err());
    assert_eq!(house.queue.list(QueueId(0), 9).await.unwrap().len(), 1);
    house.queue.stop().await;
    let report = house.check();
    assert_eq!((report.entries, report.problems.len()), (2, 1), "{report:?}");
    let repaired = check(house.home.path(), Repair::Yes).unwrap();
    assert_eq!(repaired.repaired.len(), 1);
    assert_eq!(std::fs::read(house.home.path().join(format!("queue/damaged/{bad}.body"))).unwrap(), body(1, 10));
    assert!(house.check().is_sound());
}

#[tokio::test]
async fn the_check_tells_missing_and_cut_bodies() {
    let house = House::new();
    let long = house.accept(1, 1, 100_000).await;
    let short = house.accept(2, 1, 1000).await;
    house.queue.stop().await;
    assert!(house.check().is_sound());
    let files: Vec<_> = std::fs::read_dir(house.home.path().join("queue/body"))
        .unwrap()
        .flat_map(|d| std::fs::read_dir(d.unwrap().path()).unwrap().map(|f| f.unwrap().path()))
        .collect();
    assert_eq!(files.len(), 1);
    std::fs::OpenOptions::new().write(true).open(&files[0]).unwrap().set_len(5).unwrap();
    database(&house).execute("UPDATE content SET body = x'00' WHERE id = ?1", [i64::try_from(short.0).unwrap()]).unwrap();
    let report = house.check();
    assert_eq!(report.problems.iter().filter(|p| p.starts_with("Q-BODY")).count(), 2, "{report:?}");
    std::fs::remove_file(&files[0]).unwrap();
    assert!(house.check().problems.iter().any(|p| p.contains("missing")));
    // A running queue gives no half body out either.
    let house = house.restart();
    for id in [long, short] {
        assert!(house.queue.open(id).await.is_err());
    }
}

#[tokio::test]
async fn a_hundred_thousand_entries_are_scheduled_at_the_start() {
    let house = House::new();
    let id = house.accept(1, 1, 2000).await;
    let house = meanwhile(house, |house| {
        let sql = format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
             INSERT INTO content SELECT {0} + i, NULL, bytes, meta, body FROM n, content WHERE id = {0};
             INSERT INTO entry SELECT c.id, next_at, 0, arrived, state FROM content c, entry e WHERE e.id = {0} AND c.id > {0};
             UPDATE ids SET bound = 200000;",
            id.0
        );
        database(house).execute_batch(&sql).unwrap();
    })
    .await;
    let House { queue, clock, home } = house;
    drop(queue);
    let began = std::time::Instant::now();
    let house = House { queue: QueueStore::open(options(home.path(), &clock)).unwrap(), clock, home };
    eprintln!("a start with 100,001 entries: {:?}", began.elapsed());
    let stat = house.queue.stat();
    assert_eq!((stat.entries, stat.deferred, stat.oldest), (100_001, 100_001, crate::house::START.0));
    let first = house.due(50).await;
    assert_eq!((first.len(), first[0].id, first[49].id), (50, id, QueueId(id.0 + 49)));
    // New mail does not wait behind the backlog.
    let new = house.accept(2, 1, 10).await;
    assert_eq!(house.due(2).await.iter().filter(|e| e.id == new).count(), 1);
}

#[tokio::test]
async fn a_damaged_database_is_told_and_never_answers_ok() {
    use std::os::unix::fs::FileExt;
    let house = House::new();
    for seed in 0..50 {
        house.accept(seed, 1, 20_000).await;
    }
    house.queue.stop().await;
    let House { queue, clock, home } = house;
    drop(queue);
    let path = home.path().join("queue/queue.db");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    // All but the first page, which holds the tables' definitions.
    file.write_all_at(&vec![0xa5; usize::try_from(file.metadata().unwrap().len()).unwrap() - 8192], 8192).unwrap();
    let report = check(home.path(), Repair::No);
    assert!(report.is_err() || !report.unwrap().is_sound());
    if let Ok(queue) = QueueStore::open(options(home.path(), &clock)) {
        assert!(crate::house::accept(&queue, crate::house::START, (1, 1, 10)).await.is_err());
        tokio::time::timeout(Duration::from_secs(20), queue.wait_failed()).await.unwrap();
        assert!(queue.failed());
    }
}

/// Runs in a mount namespace with a small disk; not a test of its own.
#[tokio::test]
#[ignore = "run by the test below"]
async fn small_disk_child() {
    let Some(home) = std::env::var_os("SMALL_DISK") else { return };
    let home = std::path::PathBuf::from(home);
    let clock = std::sync::Arc::new(postino_testkit::SimClock::at(crate::house::START));
    let queue = QueueStore::open(QueueOptions { message_bytes_max: 64 << 20, ..options(&home, &clock) }).unwrap();
    let mut accepted = Vec::new();
    // Bodies in the database until it is full: refused as full, at once, and never as broken.
    let refusal = loop {
        match crate::house::accept(&queue, crate::house::START, (1, 1, 60_000)).await {
            Ok(id) => accepted.push(id),
            Err(error) => break error,
        }
    };
    assert!(matches!(refusal, AcceptError::DiskFull), "{refusal}");
    assert!(accepted.len() > 10);
    // A long body meets the full disk in its own file.
    let long = crate::house::accept(&queue, crate::house::START, (1, 1, 20_000_000)).await;
    assert!(matches!(long, Err(AcceptError::DiskFull)), "{long:?}");
    // Somebody takes the very last byte.
    let mut hog = std::fs::File::create(home.join("hog")).unwrap();
    while std::io::Write::write_all(&mut hog, &[0; 4096]).is_ok() {}
    for (number, id) in accepted.iter().enumerate() {
        let changes = if number % 2 == 0 { vec![(0, crate::house::delivered())] } else { vec![(0, deferred(1))] };
        queue.settle(settlement(*id, changes, Some(crate::house::START.plus_secs(400)))).await.unwrap();
    }
    std::fs::remove_file(home.join("hog")).unwrap();
    clock.advance(Duration::from_secs(2));
    let id = crate::house::accept(&queue, crate::house::START, (3, 1, 1000)).await.unwrap();
    assert!(crate::house::body_bytes(&queue, id).await.unwrap() == body(3, 1000));
    queue.stop().await;
    let report = check(&home, Repair::No).unwrap();
    assert!(report.is_sound() && report.entries == accepted.len() as u64 / 2 + 1, "{report:?}");
    println!("small disk: all well");
}

#[test]
fn on_a_full_disk_mail_is_refused_and_ends_are_recorded() {
    let home = tempfile::tempdir().unwrap();
    let script =
        "mount -t tmpfs -o size=32m tmpfs \"$SMALL_DISK\" || exit 77; exec \"$0\" --ignored --exact trouble::small_disk_child --nocapture";
    let output = std::process::Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env("SMALL_DISK", home.path())
        .output();
    match output {
        Ok(output) if output.status.success() => {
            assert!(String::from_utf8_lossy(&output.stdout).contains("small disk: all well"));
        }
        Ok(output) if output.status.code() == Some(101) => {
            panic!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        }
        other => eprintln!("skipped: no private mount here: {other:?}"),
    }
}

#[test]
fn the_state_table_is_the_one_in_the_documentation() {
    let documentation = include_str!("../../src/lib.rs");
    for state in STATES {
        assert!(documentation.contains(&format!("| {} {} |", state.name, state.word)), "{state:?}");
        assert!(state.promised || state.may_repeat, "{} would lose a message", state.name);
    }
}
