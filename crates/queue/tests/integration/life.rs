//! The life of single messages: accepted, handed out, settled, forwarded, held, removed; and what a start finds.

use crate::house::{House, accept, body, deferred, delivered, new_entry, options, settlement};
use bytes::Bytes;
use postino_ports::queue::{AcceptError, AdminAction, NewBody, NewMessage, Queue, Selection, Settled, Settlement};
use postino_queue::{OpenError, QueueStore, Repair, check};
use postino_types::{Origin, QueueId};
use std::sync::Arc;
use std::time::Duration;

fn forward(of: QueueId, house: &House, body: NewBody) -> NewMessage {
    let mut entry = new_entry(77, 1, house.now());
    entry.origin = Origin::Forward { of, uid: 1000 };
    NewMessage { entry, body }
}

fn body_files(house: &House) -> usize {
    let directory = house.home.path().join("queue/body");
    std::fs::read_dir(directory).unwrap().map(|d| std::fs::read_dir(d.unwrap().path()).unwrap().count()).sum()
}

#[tokio::test]
async fn what_was_accepted_is_whole_after_a_restart() {
    let house = House::new();
    let sizes = [0, 1, 10_240, 65_536, 65_537, 1_000_000];
    let mut ids = Vec::new();
    for (seed, bytes) in sizes.into_iter().enumerate() {
        ids.push(house.accept(seed as u64, 2, bytes).await);
    }
    assert_eq!(body_files(&house), 2);
    let house = house.restart();
    let entries = house.due(100).await;
    assert_eq!(entries.iter().map(|e| e.id).collect::<Vec<_>>(), ids);
    for (seed, (entry, bytes)) in entries.iter().zip(sizes).enumerate() {
        let expected = new_entry(seed as u64, 2, house.now());
        assert_eq!((&entry.envelope, &entry.prepend, entry.body_bytes), (&expected.envelope, &expected.prepend, bytes as u64));
        assert!(house.body(entry.id).await.unwrap() == body(seed as u64, bytes), "body of {bytes} bytes");
    }
    assert!(house.accept(9, 1, 1).await > *ids.last().unwrap(), "Q-ORDER across a restart");
}

// Mail that waits is nobody else's to read, and an index that others may open lets them lock the queue.
#[tokio::test]
async fn the_database_is_its_owners_alone_also_when_it_was_not() {
    use std::os::unix::fs::PermissionsExt as _;
    let modes = |house: &House| {
        ["queue.db", "queue.db-wal", "queue.db-shm"].map(|name| {
            let path = house.home.path().join("queue").join(name);
            std::fs::metadata(path).unwrap().permissions().mode() & 0o777
        })
    };
    let house = House::new();
    house.accept(1, 1, 10).await;
    assert_eq!(modes(&house), [0o600; 3]);
    std::fs::set_permissions(house.home.path().join("queue/queue.db"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let house = house.restart();
    house.accept(2, 1, 10).await;
    assert_eq!(modes(&house), [0o600; 3]);
}

#[tokio::test]
async fn the_last_recipient_ends_the_entry_and_its_file() {
    let house = House::new();
    let id = house.accept(1, 2, 100_000).await;
    let entry = house.due(9).await.remove(0);
    assert_eq!(house.queue.settle(settlement(id, vec![(1, delivered())], None)).await.unwrap(), Settled { new: vec![], finished: false });
    assert_eq!(house.queue.load(id).await.unwrap().unwrap().states, [entry.states[0].clone(), delivered()]);
    let end = house.queue.settle(settlement(id, vec![(0, delivered())], Some(house.now()))).await.unwrap();
    assert_eq!(end, Settled { new: vec![], finished: true });
    assert_eq!(house.queue.load(id).await.unwrap().map(|e| e.id), None);
    assert!(house.due(9).await.is_empty());
    let house = house.restart();
    assert_eq!((house.queue.stat().entries, body_files(&house)), (0, 0));
}

#[tokio::test]
async fn a_message_without_recipients_is_handed_out_and_ends() {
    let house = House::new();
    let id = house.accept(1, 0, 10).await;
    assert_eq!(house.due(9).await.len(), 1);
    assert!(house.queue.settle(settlement(id, vec![], Some(house.now()))).await.unwrap().finished);
}

#[tokio::test]
async fn deferred_entries_come_back_at_their_time_with_their_states() {
    let house = House::new();
    let id = house.accept(1, 2, 10).await;
    house.due(9).await;
    let next = house.now().plus_secs(400);
    house.queue.settle(settlement(id, vec![(0, delivered()), (1, deferred(1))], Some(next))).await.unwrap();
    assert!(house.due(9).await.is_empty());
    house.clock.advance(Duration::from_secs(399));
    assert!(house.due(9).await.is_empty());
    house.clock.advance(Duration::from_secs(1));
    let again = house.due(9).await.remove(0);
    assert_eq!((again.states.as_slice(), again.next_at), (&[delivered(), deferred(1)][..], next));
}

#[tokio::test]
async fn parked_entries_come_back_untouched() {
    let house = House::new();
    let id = house.accept(1, 1, 10).await;
    house.due(9).await;
    house.queue.park(id, house.now().plus_secs(30));
    assert!(house.due(9).await.is_empty());
    house.clock.advance(Duration::from_secs(30));
    let entry = house.due(9).await.remove(0);
    assert_eq!((entry.id, entry.next_at), (id, new_entry(1, 1, crate::house::START).arrived));
    assert_eq!(house.body(id).await.unwrap(), body(1, 10));
}

#[tokio::test]
async fn forwards_share_the_body_and_are_there_with_the_settlement() {
    for bytes in [10_000, 200_000] {
        let house = House::new();
        let id = house.accept(5, 1, bytes).await;
        house.due(9).await;
        let new = vec![forward(id, &house, NewBody::Parent), forward(id, &house, NewBody::Parent)];
        let settled = house.queue.settle(Settlement { id, changes: vec![(0, delivered())], new, release: None }).await.unwrap();
        assert!(settled.finished && settled.new.len() == 2 && settled.new[0] < settled.new[1]);
        assert_eq!(body_files(&house), usize::from(bytes > 65_536));
        let entries = house.due(9).await;
        assert_eq!(
            entries.iter().map(|e| (e.id, e.body_bytes)).collect::<Vec<_>>(),
            settled.new.iter().map(|id| (*id, bytes as u64)).collect::<Vec<_>>()
        );
        // The first one ends; the body of the second must stay.
        house.queue.settle(settlement(settled.new[0], vec![(0, delivered())], None)).await.unwrap();
        let house = house.restart();
        assert!(house.body(settled.new[1]).await.unwrap() == body(5, bytes));
        house.queue.settle(settlement(settled.new[1], vec![(0, delivered())], None)).await.unwrap();
        let house = house.restart();
        assert_eq!(body_files(&house), 0);
    }
}

#[tokio::test]
async fn a_settlement_carries_bodies_of_every_kind() {
    let house = House::new();
    let id = house.accept(5, 1, 10).await;
    let mut written = house.queue.begin(None).unwrap();
    written.write(&body(8, 300_000)).unwrap();
    let new = vec![
        forward(id, &house, NewBody::Written(written)),
        forward(id, &house, NewBody::Bytes(Bytes::from(body(9, 100)))),
        forward(id, &house, NewBody::Bytes(Bytes::from(body(10, 70_000)))),
    ];
    let ids = house.queue.settle(Settlement { id, changes: vec![(0, delivered())], new, release: None }).await.unwrap().new;
    let house = house.restart();
    for (id, expected) in ids.iter().zip([body(8, 300_000), body(9, 100), body(10, 70_000)]) {
        assert!(house.body(*id).await.unwrap() == expected);
    }
}

#[tokio::test]
async fn a_repeated_settlement_makes_nothing_twice() {
    let house = House::new();
    let id = house.accept(5, 2, 10).await;
    house.due(9).await;
    let settle = || Settlement { id, changes: vec![(0, delivered())], new: vec![forward(id, &house, NewBody::Parent)], release: None };
    assert_eq!(house.queue.settle(settle()).await.unwrap().new.len(), 1);
    assert_eq!(house.queue.settle(settle()).await.unwrap(), Settled { new: vec![], finished: false });
    // Q-ONCE: a late deferral does not take a delivery back.
    house.queue.settle(settlement(id, vec![(0, deferred(3))], None)).await.unwrap();
    assert_eq!(house.queue.load(id).await.unwrap().unwrap().states[0], delivered());
    assert_eq!(house.queue.stat().entries, 2);
    assert!(house.queue.settle(settlement(id, vec![(7, delivered())], None)).await.is_err(), "no such recipient");
}

#[tokio::test]
async fn removal_wins_over_a_delivery_in_flight() {
    let house = House::new();
    let id = house.accept(5, 1, 100_000).await;
    house.due(9).await;
    assert_eq!(house.queue.admin(AdminAction::Remove, Selection::Ids(vec![id, QueueId(999)])).await.unwrap(), 1);
    let new = vec![forward(id, &house, NewBody::Parent)];
    let settled = house.queue.settle(Settlement { id, changes: vec![(0, delivered())], new, release: None }).await.unwrap();
    assert_eq!(settled, Settled { new: vec![], finished: true });
    assert_eq!(house.queue.stat().entries, 0);
    house.queue.park(id, house.now());
    assert!(house.due(9).await.is_empty());
}

#[tokio::test]
async fn a_hold_lasts_through_flight_and_restart_until_it_is_undone() {
    let house = House::new();
    let flying = house.accept(1, 1, 10).await;
    house.due(9).await;
    let waiting = house.accept(2, 1, 10).await;
    assert_eq!(house.queue.admin(AdminAction::Hold, Selection::All).await.unwrap(), 2);
    assert_eq!(house.queue.admin(AdminAction::Hold, Selection::All).await.unwrap(), 0, "held already");
    house.queue.settle(settlement(flying, vec![(0, deferred(1))], Some(house.now()))).await.unwrap();
    assert!(house.due(9).await.is_empty());
    let house = house.restart();
    assert!(house.due(9).await.is_empty());
    assert_eq!((house.queue.stat().held, house.queue.stat().entries), (2, 2));
    assert!(house.queue.load(waiting).await.unwrap().unwrap().held);
    assert_eq!(house.queue.admin(AdminAction::Release, Selection::Ids(vec![waiting])).await.unwrap(), 1);
    assert_eq!(house.due(9).await.iter().map(|e| e.id).collect::<Vec<_>>(), [waiting]);
    house.queue.settle(settlement(waiting, vec![(0, delivered())], None)).await.unwrap();
    assert_eq!(house.queue.admin(AdminAction::Remove, Selection::All).await.unwrap(), 1);
    assert_eq!((house.queue.stat().held, house.queue.stat().entries), (0, 0));
}

#[tokio::test]
async fn retry_makes_due_at_once() {
    let house = House::new();
    let id = house.accept(1, 1, 10).await;
    house.due(9).await;
    house.queue.settle(settlement(id, vec![(0, deferred(1))], Some(house.now().plus_secs(4000)))).await.unwrap();
    assert!(house.due(9).await.is_empty());
    house.queue.admin(AdminAction::Retry, Selection::All).await.unwrap();
    assert_eq!(house.due(9).await.len(), 1);
    assert!(house.due(9).await.is_empty(), "once only");
}

#[tokio::test]
async fn due_is_cancel_safe_and_wakes_for_new_mail() {
    let house = House::new();
    let waiting = {
        let queue = Arc::clone(&house.queue);
        tokio::spawn(async move { queue.due(5).await })
    };
    tokio::task::yield_now().await;
    let id = house.accept(1, 1, 10).await;
    assert_eq!(waiting.await.unwrap()[0].id, id);
    let house = house.restart();
    for _ in 0..20 {
        // Cancelled while it loads from the disk: the entry must not stay in flight.
        let _ = tokio::time::timeout(Duration::ZERO, house.queue.due(5))
            .await
            .map(|e| e.iter().for_each(|e| house.queue.park(e.id, house.now())));
    }
    assert_eq!(house.due(5).await.len(), 1);
}

#[tokio::test]
async fn an_unfinished_body_leaves_nothing() {
    let house = House::new();
    for bytes in [100, 300_000] {
        let mut writer = house.queue.begin(None).unwrap();
        writer.write(&body(1, bytes)).unwrap();
        assert_eq!(writer.len(), bytes as u64);
        let mut seen = Vec::new();
        writer
            .body()
            .unwrap()
            .for_each_chunk(|c| {
                seen.extend_from_slice(c);
                Ok(())
            })
            .unwrap();
        assert!(seen == body(1, bytes), "what filters see");
        drop(writer);
    }
    assert_eq!((body_files(&house), house.queue.stat().body_memory_bytes), (0, 0));
}

#[tokio::test]
async fn filters_may_look_between_writes() {
    let house = House::new();
    let whole = body(3, 200_000);
    let mut writer = house.queue.begin(None).unwrap();
    for chunk in whole.chunks(1500) {
        writer.write(chunk).unwrap();
        writer.body().unwrap();
    }
    let id = writer.commit(new_entry(3, 1, house.now())).await.unwrap();
    assert!(house.body(id).await.unwrap() == whole);
}

/// A large chunk once went into the file before the small ones that had come earlier.
#[tokio::test]
async fn chunks_of_any_size_keep_their_order() {
    let house = House::new();
    let whole = body(5, 1_000_000);
    for sizes in [[10_000, 17_000], [1, 16_384], [16_383, 16_384], [32_768, 1], [31_000, 40_000]] {
        let mut writer = house.queue.begin(None).unwrap();
        let (mut rest, mut turn) = (&whole[..], 0);
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(sizes[turn % 2].min(rest.len()));
            writer.write(chunk).unwrap();
            (rest, turn) = (after, turn + 1);
        }
        let id = writer.commit(new_entry(5, 1, house.now())).await.unwrap();
        assert!(house.body(id).await.unwrap() == whole, "chunks of {sizes:?}");
    }
}

#[tokio::test]
async fn limits_refuse_before_memory_is_spent() {
    let house = House::new();
    assert!(matches!(house.queue.begin(Some(5 << 20)).map(drop), Err(AcceptError::TooBig(_))));
    let mut writer = house.queue.begin(None).unwrap();
    assert!(matches!((0..100).try_for_each(|_| writer.write(&[0; 65_536])), Err(AcceptError::TooBig(4_194_304))));
    assert!(writer.commit(new_entry(1, 1, house.now())).await.is_err(), "an incomplete body is never committed");

    let small = tempfile::tempdir().unwrap();
    let queue =
        QueueStore::open(postino_queue::QueueOptions { body_memory_bytes: 100_000, ..options(small.path(), &house.clock) }).unwrap();
    let mut writers: Vec<_> = (0..6).map(|_| queue.begin(None).unwrap()).collect();
    assert!(matches!(queue.begin(None).map(drop), Err(AcceptError::Busy)));
    // Whoever grows when the memory is spent goes on in a file.
    for (seed, writer) in writers.iter_mut().enumerate() {
        writer.write(&body(seed as u64, 60_000)).unwrap();
    }
    assert!(queue.stat().body_memory_bytes <= 100_000);
    for (seed, writer) in writers.into_iter().enumerate() {
        let id = writer.commit(new_entry(seed as u64, 1, house.now())).await.unwrap();
        assert!(crate::house::body_bytes(&queue, id).await.unwrap() == body(seed as u64, 60_000));
    }
    assert_eq!(queue.stat().body_memory_bytes, 0);
}

#[tokio::test]
async fn one_owner_at_a_time() {
    let house = House::new();
    assert!(matches!(QueueStore::open(options(house.home.path(), &house.clock)), Err(OpenError::Running)));
    assert!(matches!(check(house.home.path(), Repair::No), Err(OpenError::Running)));
    house.queue.stop().await;
    assert!(house.check().is_sound());
}

#[tokio::test]
async fn a_stop_writes_what_waits_and_refuses_what_comes() {
    let house = House::new();
    let waiting: Vec<_> = (0..50)
        .map(|seed| {
            let (queue, now) = (Arc::clone(&house.queue), house.now());
            tokio::spawn(async move { accept(&queue, now, (seed, 1, 1000)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    house.queue.stop().await;
    let mut accepted = 0;
    for task in waiting {
        match task.await.unwrap() {
            Ok(_) => accepted += 1,
            Err(error) => assert!(matches!(error, AcceptError::Stopping), "{error}"),
        }
    }
    assert!(matches!(house.queue.begin(None).map(drop), Err(AcceptError::Stopping)));
    assert!(house.queue.settle(settlement(QueueId(1), vec![], None)).await.is_err());
    assert!(!house.queue.failed());
    let house = house.restart();
    assert_eq!(house.queue.stat().entries, accepted);
}

#[tokio::test]
async fn queue_database_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::new();
    house.accept(1, 1, 1000).await;
    let path = |name| house.home.path().join("queue").join(name);
    let modes =
        || ["queue.db", "queue.db-wal", "queue.db-shm"].map(|name| std::fs::metadata(path(name)).unwrap().permissions().mode() & 0o7777);
    assert_eq!(modes(), [0o600; 3]);
    // One made by an earlier version is narrowed at the next start.
    std::fs::set_permissions(path("queue.db"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let house = house.restart();
    house.accept(2, 1, 1000).await;
    let found = ["queue.db", "queue.db-wal"]
        .map(|name| std::fs::metadata(house.home.path().join("queue").join(name)).unwrap().permissions().mode() & 0o7777);
    assert_eq!(found, [0o600; 2]);
}
