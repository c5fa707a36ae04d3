//! Schedules, limits, fairness.

use super::house::*;
use postino_types::*;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn soft() -> DeliveryOutcome {
    DeliveryOutcome::deferred(TempStatus::new(2, 1), "not now\n")
}

fn dead() -> DeliveryOutcome {
    DeliveryOutcome::deferred(TempStatus::NO_ANSWER, "Sorry, I wasn't able to establish an SMTP connection. (#4.4.1)\n")
}

#[tokio::test(start_paused = true)]
async fn log_lines_in_qmails_order() {
    let house = House::open(config());
    house.local.plays(|r| match r.address.local() {
        b"nobody" => {
            (Duration::from_secs(2), DeliveryOutcome::failed(PermStatus::NO_MAILBOX, "Sorry, no mailbox here by that name. (#5.1.1)\n"))
        }
        _ => (Duration::from_secs(1), DeliveryOutcome::delivered("did 1+0+0\n")),
    });
    house.pass(1).await;
    let id = house.send("s@oracle.test", &["joe@oracle.test", "nobody@oracle.test"]);
    house.pass(10).await;
    assert_eq!(id, QueueId(1));
    let log = house.log.0.lock().unwrap().clone();
    let bounce_bytes = house.made()[0].1.len();
    assert_eq!(
        log,
        [
            "status: local 0/10 remote 0/20",
            "info msg 1: bytes 67 from <s@oracle.test>",
            "starting delivery 1: msg 1 to local joe@oracle.test",
            "status: local 1/10 remote 0/20",
            "starting delivery 2: msg 1 to local nobody@oracle.test",
            "status: local 2/10 remote 0/20",
            "delivery 1: success: did_1+0+0/",
            "status: local 1/10 remote 0/20",
            "delivery 2: failure: Sorry,_no_mailbox_here_by_that_name._(#5.1.1)/",
            "status: local 0/10 remote 0/20",
            "bounce msg 1 -> 2",
            "end msg 1",
            &format!("info msg 2: bytes {bounce_bytes} from <>"),
            "starting delivery 3: msg 2 to local s@oracle.test",
            "status: local 1/10 remote 0/20",
            "delivery 3: success: did_1+0+0/",
            "status: local 0/10 remote 0/20",
            "end msg 2",
        ]
    );
    assert_eq!(house.queue.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_commit_for_one_recipient() {
    let house = House::open(config());
    house.send("s@oracle.test", &["joe@oracle.test"]);
    house.pass(1).await;
    assert_eq!(house.queue.settlements.load(Ordering::SeqCst), 1);
    assert_eq!(house.queue.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_without_recipients_ends_at_once() {
    let house = House::open(config());
    house.send("s@oracle.test", &[]);
    house.pass(1).await;
    assert_eq!(house.lines(), ["info msg 1: bytes 67 from <s@oracle.test>", "end msg 1"]);
}

#[tokio::test(start_paused = true)]
async fn retries_follow_the_quadratic_schedule_and_the_last_one_bounces() {
    let house = House::open(config());
    house.local.plays(|r| (Duration::ZERO, if r.address.local() == b"s" { DeliveryOutcome::delivered("") } else { soft() }));
    house.remote.always(soft());
    let local = house.send("s@oracle.test", &["joe@oracle.test"]);
    let remote = house.send("s@oracle.test", &["joe@far.test"]);
    house.pass(700_000).await;
    let (near, far) = (house.local.times(local), house.remote.times(remote));
    assert_eq!(near[..6], [0, 100, 400, 900, 1600, 2500]);
    assert_eq!(far[..6], [0, 400, 1600, 3600, 6400, 10000]);
    assert_eq!((near.last(), near.len()), (Some(&608_400), 79));
    assert_eq!((far.last(), far.len()), (Some(&608_400), 40));
    let bounce = &house.made()[0].1;
    assert!(bounce.contains("not now\nI'm not going to try again; this message has been in the queue too long.\n"));
    let failures = house.lines().into_iter().filter(|l| l.contains("failure: not_now/I'm_not_going_to_try_again;")).count();
    assert_eq!((failures, house.queue.len()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn channels_of_one_entry_keep_their_own_schedules() {
    let house = House::open(config());
    house.local.always(soft());
    house.remote.always(soft());
    let id = house.send("s@oracle.test", &["joe@oracle.test", "joe@far.test"]);
    house.pass(3_700).await;
    assert_eq!(house.local.times(id), [0, 100, 400, 900, 1600, 2500, 3600]);
    assert_eq!(house.remote.times(id), [0, 400, 1600, 3600]);
}

#[tokio::test(start_paused = true)]
async fn the_interval_setting_replaces_the_schedule() {
    let mut config = config();
    config.server.retry_interval_s = Some(5);
    let house = House::open(config);
    house.remote.always(soft());
    let id = house.send("s@oracle.test", &["joe@far.test"]);
    house.pass(16).await;
    assert_eq!(house.remote.times(id), [0, 5, 10, 15]);
}

#[tokio::test(start_paused = true)]
async fn a_named_moment_is_waited_for() {
    let house = House::open(config());
    let until = BIRTH.plus_secs(2000);
    house.remote.always(DeliveryOutcome::Deferred { status: TempStatus::SYSTEM, detail: "later\n".into(), not_before: Some(until) });
    let id = house.send("s@oracle.test", &["joe@far.test"]);
    house.pass(3_000).await;
    let times = house.remote.times(id);
    assert!(times[1] >= 2000 && times[1] < 2070, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn limits_hold_and_entries_take_turns() {
    let house = House::open(config());
    house.local.plays(|_| (Duration::from_secs(10), DeliveryOutcome::delivered("")));
    let many: Vec<String> = (0..300).map(|n| format!("u{n}@oracle.test")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let big = house.send("s@oracle.test", &many);
    let small = house.send("s@oracle.test", &["joe@oracle.test"]);
    house.pass(15).await;
    assert_eq!(house.local.peak.lock().unwrap()["oracle.test"], 10);
    assert!(house.local.times(small)[0] <= 10, "behind 300 recipients, yet in the second round");
    house.pass(400).await;
    assert_eq!((house.local.times(big).len(), house.queue.len()), (300, 0));
    assert!(house.queue.settlements.load(Ordering::SeqCst) < 100, "what ends together is settled together");
}

#[tokio::test(start_paused = true)]
async fn recipients_of_one_destination_share_jobs() {
    let mut config = config();
    config.server.remote.recipients_max = 3;
    let house = House::open(config);
    house.send("s@oracle.test", &["a@x.test", "b@y.test", "c@X.test", "d@x.test", "e@x.test"]);
    house.pass(1).await;
    let mut jobs: Vec<Vec<usize>> = house.remote.tries.lock().unwrap().iter().map(|t| t.2.clone()).collect();
    jobs.sort();
    assert_eq!(jobs, [vec![0, 2, 3], vec![1], vec![4]]);
    let started = house.lines().iter().filter(|l| l.starts_with("starting delivery")).count();
    assert_eq!(started, 5, "each recipient has a delivery number of its own");
}

#[tokio::test(start_paused = true)]
async fn a_closed_channel_holds_its_mail_without_a_word() {
    let mut closed = config();
    closed.concurrency_local = 0;
    let house = House::open(closed);
    let id = house.send("s@oracle.test", &["joe@oracle.test"]);
    house.pass(700_000).await;
    assert_eq!(house.lines(), ["info msg 1: bytes 67 from <s@oracle.test>"]);
    assert_eq!(house.queue.settlements.load(Ordering::SeqCst), 0);
    house.config.set(config());
    house.pass(61).await;
    assert_eq!((house.local.times(id).len(), house.queue.len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn fifty_thousand_for_a_dead_host_hold_up_nobody() {
    let house = House::open(config());
    house.remote.plays(|r| match r.routed.address.host() {
        Some(b"dead.test") => (Duration::from_secs(60), dead()),
        _ => (Duration::from_millis(100), DeliveryOutcome::delivered("ok\n")),
    });
    for _ in 0..50_000 {
        house.send("s@oracle.test", &["joe@dead.test"]);
    }
    let first = house.send("s@oracle.test", &["joe@live.test"]);
    house.pass(1).await;
    assert_eq!(house.remote.times(first), [0]);
    // A minute later the dead host is known for dead: new mail passes, and one delivery at a time asks for it.
    house.pass(130).await;
    let before = house.remote.tries.lock().unwrap().iter().filter(|t| t.1.0 <= 50_000).count();
    assert!(before <= 20, "{before}");
    for _ in 0..200 {
        house.send("s@oracle.test", &["joe@live.test"]);
    }
    house.pass(5).await;
    assert_eq!(house.queue.len(), 50_000, "all of the live host's mail went out");
    let settled = house.queue.settlements.load(Ordering::SeqCst);
    house.pass(900).await;
    let after = house.queue.settlements.load(Ordering::SeqCst);
    assert!(after - settled < 20, "no write for mail that only waits: {}", after - settled);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_comes_back_gets_all_its_mail() {
    let house = House::open(config());
    house.remote.always(dead());
    for _ in 0..2_000 {
        house.send("s@oracle.test", &["joe@dead.test"]);
    }
    house.pass(3600).await;
    assert_eq!(house.queue.len(), 2_000);
    house.remote.always(DeliveryOutcome::delivered("ok\n"));
    house.pass(2000).await;
    assert_eq!(house.queue.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_host_is_not_given_more_than_its_share() {
    let mut config = config();
    config.server.remote.per_destination = 6;
    let house = House::open(config);
    house.remote.plays(|r| match r.routed.address.host() {
        Some(b"slow.test") => (Duration::from_secs(30), DeliveryOutcome::delivered("ok\n")),
        _ => (Duration::ZERO, DeliveryOutcome::delivered("ok\n")),
    });
    for _ in 0..2_000 {
        house.send("s@oracle.test", &["joe@slow.test"]);
    }
    let quick = house.send("s@oracle.test", &["joe@live.test"]);
    house.pass(100).await;
    assert_eq!(house.remote.times(quick), [0]);
    assert_eq!(house.remote.peak.lock().unwrap()["slow.test"], 6);
    house.pass(2_000 / 6 * 30 + 600).await;
    assert_eq!(house.queue.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn old_mail_for_a_dead_host_is_given_up_without_its_own_attempt() {
    let house = House::open(config());
    house.remote.plays(|_| (Duration::from_secs(1), dead()));
    for n in 0..60 {
        house.send("", &[&format!("u{n}@dead.test")]);
    }
    house.pass(604_800 + 40_000).await;
    let left = house.queue.len();
    assert_eq!(left, 0, "all were given up");
    assert!(
        house
            .made()
            .iter()
            .all(|(entry, text)| entry.envelope.sender == ReversePath::DoubleBounce
                && text.contains("(#4.4.1)\nI'm not going to try again;"))
    );
}

#[tokio::test(start_paused = true)]
async fn retry_now_forgets_the_pause() {
    let house = House::open(config());
    house.remote.always(dead());
    let ids: Vec<QueueId> = (0..5).map(|_| house.send("s@oracle.test", &["joe@dead.test"])).collect();
    house.pass(20).await;
    house.remote.always(DeliveryOutcome::delivered("ok\n"));
    house.scheduler.forget_backoff();
    house.pass(0).await;
    use postino_ports::queue::{AdminAction, Queue, Selection};
    house.queue.admin(AdminAction::Retry, Selection::All).await.unwrap();
    house.pass(1).await;
    assert_eq!(house.queue.len(), 0);
    assert!(ids.iter().all(|id| house.remote.times(*id).last().is_some_and(|t| (20..=21).contains(t))));
}
