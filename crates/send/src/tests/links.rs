//! Links: mail is held until its link is up, goes one message after the other, and lives as long as the link lets it.

use super::house::*;
use postino_control::Config;
use postino_control::links::{Link, LinkTable};
use postino_types::*;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const DAY: u64 = 86_400;

fn linked(file: &str) -> Config {
    Config { links: LinkTable::parse(file.as_bytes()).unwrap(), ..config() }
}

fn link(house: &House, name: &str) -> Arc<Link> {
    house.config.get().links.named(name).unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn held_until_the_link_is_up_then_one_after_the_other() {
    let house = House::open(linked("ppp * - manual\n"));
    house.remote.plays(|_| (Duration::from_secs(1), DeliveryOutcome::delivered("ok\n")));
    let ids: Vec<QueueId> = (0..20).map(|_| house.send("s@oracle.test", &["joe@far.test"])).collect();
    let mixed = house.send("s@oracle.test", &["joe@oracle.test", "joe@far.test"]);
    house.pass(3 * DAY).await;
    assert!(house.remote.tries.lock().unwrap().is_empty());
    assert_eq!(house.local.times(mixed), [0], "local mail waits for no link");
    assert_eq!(house.queue.len(), 21);
    let ppp = link(&house, "ppp");
    let held = house.queue.row(ids[0]).unwrap().entry.envelope.recipients[0].clone();
    assert_eq!(house.scheduler.held_by(&held).as_deref(), Some(&*ppp));
    assert_eq!(house.scheduler.link_up(&ppp, None).await.unwrap(), 21);
    assert_eq!(house.scheduler.link_state(&ppp).under_way, 21);
    house.pass(40).await;
    assert_eq!(house.queue.len(), 0);
    assert_eq!(house.remote.peak.lock().unwrap()["far.test"], 1);
    let state = house.scheduler.link_state(&ppp);
    assert!(state.is_up && state.under_way == 0 && house.scheduler.held_by(&held).is_none());
    house.send("s@oracle.test", &["joe@far.test"]);
    house.pass(2).await;
    assert_eq!(house.queue.len(), 0, "the link is still up");
}

#[tokio::test(start_paused = true)]
async fn held_messages_are_looked_at_four_times_a_day() {
    let house = House::open(linked("ppp far.test - manual\n"));
    for _ in 0..5_000 {
        house.send("s@oracle.test", &["joe@far.test"]);
    }
    house.pass(3600).await;
    let before = house.queue.parks.load(Ordering::SeqCst);
    assert_eq!(before, 5_000);
    let other = house.send("s@oracle.test", &["joe@near.test"]);
    house.pass(1).await;
    assert_eq!(house.remote.times(other).len(), 1);
    house.pass(DAY).await;
    let looks = house.queue.parks.load(Ordering::SeqCst) - before;
    assert!(looks <= 4 * 5_000, "{looks}");
    assert_eq!(house.queue.settlements.load(Ordering::SeqCst), 1, "nothing is written for what is held");
}

#[tokio::test(start_paused = true)]
async fn a_link_that_comes_down_stops_what_has_not_begun() {
    let house = House::open(linked("ppp * - manual\n"));
    house.remote.plays(|_| (Duration::from_secs(10), DeliveryOutcome::delivered("ok\n")));
    for _ in 0..5 {
        house.send("s@oracle.test", &["joe@far.test"]);
    }
    house.pass(1).await;
    let ppp = link(&house, "ppp");
    house.scheduler.link_up(&ppp, None).await.unwrap();
    house.pass(15).await;
    house.scheduler.link_down(&ppp);
    house.pass(DAY).await;
    assert_eq!(house.queue.len(), 3);
    assert_eq!(house.scheduler.link_state(&ppp).under_way, 0);
    house.scheduler.link_up(&ppp, Some(Duration::from_secs(15))).await.unwrap();
    house.pass(DAY).await;
    assert_eq!(house.queue.len(), 1, "a window of fifteen seconds lets two begin");
}

#[tokio::test(start_paused = true)]
async fn hours() {
    // The house opens on a Tuesday at 02:15.
    let house = House::open(linked("night * - 03:00-04:00/tue-wed\n"));
    let id = house.send("s@oracle.test", &["joe@far.test"]);
    house.pass(3600).await;
    let at = house.remote.times(id);
    assert!(at.len() == 1 && (2690..=2800).contains(&at[0]), "{at:?}");
    let late = house.send("s@oracle.test", &["joe@far.test"]);
    house.pass(1).await;
    assert_eq!(house.remote.times(late).len(), 1);
    house.pass(3 * 3600).await;
    let later = house.send("s@oracle.test", &["joe@far.test"]);
    house.pass(DAY).await;
    assert_eq!(house.remote.times(later).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn held_mail_lives_as_long_as_the_link_lets_it() {
    let house = House::open(linked("ppp * - manual lifetime=30d\n"));
    house.remote.always(DeliveryOutcome::deferred(TempStatus::new(2, 1), "not now\n"));
    let id = house.send("s@oracle.test", &["joe@far.test"]);
    house.pass(20 * DAY).await;
    let ppp = link(&house, "ppp");
    house.scheduler.link_up(&ppp, Some(Duration::from_secs(60))).await.unwrap();
    house.pass(61).await;
    assert_eq!(house.remote.times(id).len(), 1);
    assert!(house.made().is_empty(), "older than queuelifetime, but it did not choose to wait");
    house.pass(9 * DAY).await;
    assert!(house.made().is_empty());
    house.pass(2 * DAY).await;
    assert_eq!(house.remote.times(id).len(), 1);
    let made = house.made();
    assert_eq!(made.len(), 1);
    assert!(made[0].1.contains("The link ppp was not up for too long."), "{}", made[0].1);
    assert!(house.queue.row(id).is_none());
}
