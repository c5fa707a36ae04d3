//! Clock jumps, settlements that fail, panics, stops.

use super::house::*;
use postino_types::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const TEN_YEARS_S: i64 = 315_360_000;

fn soft() -> DeliveryOutcome {
    DeliveryOutcome::deferred(TempStatus::new(2, 1), "not now\n")
}

#[tokio::test(start_paused = true)]
async fn clock_jumps_neither_bounce_nor_spin_nor_stop_mail() {
    for jump in [TEN_YEARS_S, -TEN_YEARS_S] {
        let house = House::open(config());
        house.remote.always(soft());
        let before = house.send("s@oracle.test", &["joe@far.test"]);
        house.pass(10).await;
        house.clock.jump(jump);
        let during = house.send("s@oracle.test", &["joe@far.test"]);
        house.pass(20_000).await;
        assert_eq!(house.remote.times(before)[..5], [0, 400, 1600, 3600, 6400], "jump {jump}");
        assert_eq!(house.remote.times(during).len(), 8, "jump {jump}: the same schedule from its own birth");
        house.clock.jump(-jump);
        house.pass(20_000).await;
        let tries = house.remote.times(during).len();
        assert!((9..13).contains(&tries), "jump {jump}: {tries}");
        assert_eq!((house.made().len(), house.queue.len()), (0, 2), "jump {jump}");
        // Put right, both still live out their days, and no longer.
        house.pass(604_800 + 40_000).await;
        assert_eq!(house.lines().iter().filter(|l| l.starts_with("bounce msg")).count(), 2, "jump {jump}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_settlement_that_fails_is_repeated_and_nothing_is_delivered_twice() {
    let house = House::open(config());
    house.queue.failing.store(5, Ordering::SeqCst);
    let id = house.send("s@oracle.test", &["joe@oracle.test"]);
    house.pass(120).await;
    assert_eq!((house.local.times(id), house.queue.len()), (vec![0], 0));
    assert!(house.lines().contains(&"warning: cannot record a delivery, will try again".to_owned()));
}

/// The queue may hand an entry out again before the loop has heard that its last pass was recorded.
#[tokio::test(start_paused = true)]
async fn an_entry_due_again_at_once_is_not_lost() {
    let mut config = config();
    config.server.retry_interval_s = Some(1);
    let house = House::open(config);
    house.local.always(soft());
    for _ in 0..20 {
        house.send("s@oracle.test", &["joe@oracle.test"]);
    }
    for _ in 0..30 {
        house.queue.failing.store(20, Ordering::SeqCst);
        house.pass(3).await;
    }
    house.local.always(DeliveryOutcome::delivered(""));
    house.pass(120).await;
    assert_eq!(house.queue.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_bounce_is_made_once_though_its_settlement_failed() {
    let house = House::open(config());
    house.local.plays(|r| {
        (
            Duration::ZERO,
            if r.address.local() == b"s" {
                DeliveryOutcome::delivered("")
            } else {
                DeliveryOutcome::failed(PermStatus::NO_MAILBOX, "no\n")
            },
        )
    });
    house.queue.failing.store(3, Ordering::SeqCst);
    house.send("s@oracle.test", &["joe@oracle.test"]);
    house.pass(120).await;
    assert_eq!((house.made().len(), house.queue.len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_delivery_defers() {
    let house = House::open(config());
    house.local.plays(|_| panic!("a bug"));
    let id = house.send("s@oracle.test", &["joe@oracle.test"]);
    house.pass(1).await;
    assert!(house.lines().contains(&"delivery 1: deferral: delivery_agent_crashed._(#4.3.0)/".to_owned()));
    house.local.always(DeliveryOutcome::delivered(""));
    house.pass(100).await;
    assert_eq!((house.local.times(id).len(), house.queue.len()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_what_runs_and_starts_nothing() {
    let mut config = config();
    config.concurrency_local = 2;
    let mut house = House::open(config);
    house.local.plays(|_| (Duration::from_secs(20), DeliveryOutcome::delivered("")));
    let first = house.send("s@oracle.test", &["a@oracle.test", "b@oracle.test", "c@oracle.test"]);
    house.pass(1).await;
    let second = house.send("s@oracle.test", &["d@oracle.test"]);
    house.pass(1).await;
    house.ask_to_close();
    house.send("s@oracle.test", &["e@oracle.test"]);
    house.close().await;
    assert_eq!(house.local.tries.lock().unwrap().len(), 2);
    let states = house.queue.row(first).unwrap().entry.states;
    assert_eq!(states.iter().filter(|s| s.is_pending()).count(), 1, "what ran was recorded");
    assert!(house.queue.row(second).unwrap().entry.states[0].is_pending());
    assert!(house.log.0.lock().unwrap().iter().any(|l| l.ends_with("exitasap")));
}

#[tokio::test(start_paused = true)]
async fn a_stop_with_mail_waiting_at_a_destination_ends() {
    let mut house = House::open(config());
    house.remote.plays(|_| (Duration::from_secs(5), DeliveryOutcome::delivered("")));
    for _ in 0..50 {
        house.send("s@oracle.test", &["a@slow.test", "b@other.test"]);
    }
    house.pass(1).await;
    house.close().await;
    let done = house.remote.tries.lock().unwrap().len();
    assert!((10..100).contains(&done));
}

/// Random hosts and mailboxes, settlements that fail at random: every message ends, and every failure is told to its sender exactly once.
#[tokio::test(start_paused = true)]
async fn nothing_is_lost_and_no_failure_is_told_twice() {
    for seed in 1..=8u64 {
        let house = House::open(config());
        let state = Arc::new(AtomicU64::new(seed));
        let random = move |below: u64| {
            let next = state.load(Ordering::SeqCst).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.store(next, Ordering::SeqCst);
            (next >> 33) % below
        };
        let dice = random.clone();
        let script = move |r: &Recipient| match (r.address.local(), dice(10)) {
            (b"s", _) | (_, 0..=3) => (Duration::from_secs(dice(3) * 40), DeliveryOutcome::delivered("")),
            (_, 4..=6) => (Duration::from_secs(dice(60)), soft()),
            (_, 7..=8) => (Duration::from_secs(dice(60)), DeliveryOutcome::deferred(TempStatus::NO_ANSWER, "no answer\n")),
            _ => (Duration::ZERO, DeliveryOutcome::failed(PermStatus::NO_MAILBOX, "no\n")),
        };
        house.local.plays(script.clone());
        house.remote.plays(script);
        for n in 0..60 {
            let hosts = ["oracle.test", "a.test", "b.test", "c.test"];
            let to: Vec<String> = (0..=random(5)).map(|k| format!("u{n}-{k}@{}", hosts[usize::try_from(random(4)).unwrap()])).collect();
            let to: Vec<&str> = to.iter().map(String::as_str).collect();
            house.send("s@oracle.test", &to);
            house.queue.failing.store(random(3), Ordering::SeqCst);
            house.pass(random(20)).await;
        }
        house.pass(700_000).await;
        assert_eq!(house.queue.len(), 0, "seed {seed}");
        let lines = house.lines();
        let failed = lines.iter().filter_map(|l| l.strip_prefix("delivery ")?.split_once(": failure: ")).map(|(number, _)| number);
        let notices: Vec<String> = house.made().into_iter().map(|m| m.1).collect();
        for number in failed {
            let start = lines.iter().find(|l| l.starts_with(&format!("starting delivery {number}: "))).unwrap();
            let line = format!("Final-Recipient: rfc822; {}\n", start.rsplit(' ').next().unwrap());
            assert_eq!(notices.iter().filter(|n| n.contains(&line)).count(), 1, "seed {seed}: {start}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn interim_settlements_record_what_is_delivered_while_others_run() {
    let house = House::open(config());
    house.local.plays(|r| (Duration::from_secs(if r.address.local() == b"slow" { 1000 } else { 1 }), DeliveryOutcome::delivered("")));
    let id = house.send("s@oracle.test", &["a@oracle.test", "slow@oracle.test", "b@oracle.test"]);
    house.pass(5).await;
    let states = house.queue.row(id).unwrap().entry.states;
    let pending: Vec<bool> = states.iter().map(RecipientState::is_pending).collect();
    assert_eq!(pending, [false, true, false]);
    house.pass(1000).await;
    assert_eq!(house.queue.len(), 0);
}
