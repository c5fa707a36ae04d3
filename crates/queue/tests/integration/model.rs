//! Random operations against a model that is a map: after each restart the queue must say what the model says.

use crate::house::{House, body, deferred, delivered, seed_of, settlement};
use postino_ports::queue::{AdminAction, NewBody, NewMessage, Queue, Selection, Settlement};
use postino_types::{QueueId, RecipientState, Time};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Debug, Clone)]
enum Step {
    Accept { recipients: usize, bytes: usize },
    Take(usize),
    Settle { which: usize, index: usize, fate: u8, forward: bool, release: bool },
    Park(usize),
    Admin { action: u8, which: usize },
    Pass(u64),
    Jump(i64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1usize..4, prop_oneof![Just(0usize), 1usize..2000, Just(65_537usize)]).prop_map(|(recipients, bytes)| Step::Accept { recipients, bytes }),
        4 => (1usize..5).prop_map(Step::Take),
        8 => (0usize..20, 0usize..4, 0u8..3, any::<bool>(), any::<bool>())
            .prop_map(|(which, index, fate, forward, release)| Step::Settle { which, index, fate, forward, release }),
        2 => (0usize..20).prop_map(Step::Park),
        3 => (0u8..4, 0usize..20).prop_map(|(action, which)| Step::Admin { action, which }),
        2 => (0u64..1000).prop_map(Step::Pass),
        1 => prop_oneof![Just(-300_000_000_000i64), Just(300_000_000_000i64), Just(-5000i64)].prop_map(Step::Jump),
        1 => Just(Step::Restart),
    ]
}

#[derive(Debug, Clone, PartialEq)]
struct Known {
    seed: u64,
    bytes: usize,
    states: Vec<RecipientState>,
    held: bool,
}

#[derive(Default)]
struct Model {
    entries: BTreeMap<QueueId, Known>,
    flying: BTreeSet<QueueId>,
    seeds: u64,
}

impl Model {
    fn pick(&self, which: usize) -> Option<QueueId> {
        let n = self.entries.len();
        (n > 0).then(|| *self.entries.keys().nth(which % n).unwrap())
    }

    async fn run(&mut self, mut house: House, steps: Vec<Step>) -> House {
        for step in steps {
            house = self.step(house, step).await;
            assert_eq!(house.queue.stat().entries, self.entries.len() as u64);
            assert_eq!(house.queue.stat().held, self.entries.values().filter(|k| k.held).count() as u64);
        }
        house
    }

    async fn step(&mut self, house: House, step: Step) -> House {
        match step {
            Step::Accept { recipients, bytes } => {
                self.seeds += 1;
                let id = house.accept(self.seeds, recipients, bytes).await;
                assert!(self.entries.keys().next_back().is_none_or(|last| *last < id), "Q-ORDER");
                self.entries.insert(id, Known { seed: self.seeds, bytes, states: vec![RecipientState::fresh(); recipients], held: false });
            }
            Step::Take(max) => {
                for entry in tokio::time::timeout(Duration::from_millis(20), house.queue.due(max)).await.unwrap_or_default() {
                    let known = &self.entries[&entry.id];
                    assert!(!known.held, "a held entry was handed out");
                    assert_eq!(entry.states, known.states);
                    assert!(self.flying.insert(entry.id), "handed out twice");
                }
            }
            Step::Settle { which, index, fate, forward, release } => self.settle(&house, (which, index, fate), forward, release).await,
            Step::Park(which) => {
                if let Some(id) = self.pick(which) {
                    house.queue.park(id, house.now().plus_secs(60));
                    self.flying.remove(&id);
                }
            }
            Step::Admin { action, which } => self.admin(&house, action, which).await,
            Step::Pass(seconds) => house.clock.advance(Duration::from_secs(seconds)),
            Step::Jump(by) => house.clock.jump(by),
            Step::Restart => {
                self.flying.clear();
                let house = house.restart();
                self.compare(&house).await;
                return house;
            }
        }
        house
    }

    async fn settle(&mut self, house: &House, (which, index, fate): (usize, usize, u8), forward: bool, release: bool) {
        let Some(id) = self.pick(which) else { return };
        let known = self.entries.get_mut(&id).unwrap();
        let index = index % known.states.len();
        let state = match fate {
            0 => delivered(),
            1 => deferred(1),
            _ => RecipientState::Failed { at: Time(1), status: postino_types::PermStatus::LOOP, detail: "loop".into() },
        };
        let applies = known.states[index].is_pending();
        if applies {
            known.states[index] = state.clone();
        }
        let finished = !known.states.iter().any(RecipientState::is_pending);
        let (seed, bytes) = (known.seed, known.bytes);
        let mut settle: Settlement = settlement(id, vec![(index, state)], release.then(|| house.now().plus_secs(400)));
        if forward {
            let entry = crate::house::new_entry(seed, 1, house.now());
            settle.new.push(NewMessage { entry, body: NewBody::Parent });
        }
        let settled = house.queue.settle(settle).await.unwrap();
        assert_eq!((settled.finished, settled.new.len()), (finished, usize::from(forward && applies)));
        for new in settled.new {
            self.entries.insert(new, Known { seed, bytes, states: vec![RecipientState::fresh()], held: false });
        }
        if finished {
            self.entries.remove(&id);
        }
        if finished || release {
            self.flying.remove(&id);
        }
    }

    async fn admin(&mut self, house: &House, action: u8, which: usize) {
        let Some(id) = self.pick(which) else { return };
        let known = self.entries.get_mut(&id).unwrap();
        let (action, expected) = match action {
            0 => (AdminAction::Hold, !std::mem::replace(&mut known.held, true)),
            1 => (AdminAction::Release, std::mem::replace(&mut known.held, false)),
            2 => (AdminAction::Retry, true),
            _ => {
                self.entries.remove(&id);
                self.flying.remove(&id);
                (AdminAction::Remove, true)
            }
        };
        assert_eq!(house.queue.admin(action, Selection::Ids(vec![id])).await.unwrap(), u64::from(expected), "{action:?}");
    }

    /// The disk says what the model says.
    async fn compare(&self, house: &House) {
        let found = house.queue.list(QueueId(0), 10_000).await.unwrap();
        let listed: Vec<_> = found.iter().map(|e| (e.id, seed_of(e), e.body_bytes, e.states.clone(), e.held)).collect();
        let known: Vec<_> = self.entries.iter().map(|(id, k)| (*id, k.seed, k.bytes as u64, k.states.clone(), k.held)).collect();
        assert_eq!(listed, known);
        for (id, known) in &self.entries {
            assert!(house.body(*id).await.unwrap() == body(known.seed, known.bytes));
        }
    }

    /// Whatever happened, each entry that is not held comes out within a day of monotonic time.
    async fn drain(&mut self, house: &House) {
        house.clock.advance(Duration::from_secs(86_401));
        loop {
            let taken = house.due(100).await;
            if taken.is_empty() {
                break;
            }
            taken.iter().for_each(|entry| assert!(self.flying.insert(entry.id)));
        }
        let free: BTreeSet<_> = self.entries.iter().filter(|(_, k)| !k.held).map(|(id, _)| *id).collect();
        let flying: BTreeSet<_> = self.flying.iter().filter(|id| free.contains(id)).copied().collect();
        assert_eq!(flying, free, "an entry was forgotten");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(24), failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn the_queue_is_a_map_that_survives(steps in prop::collection::vec(step(), 1..50)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut model = Model::default();
            let house = model.run(House::new(), steps).await;
            model.drain(&house).await;
            model.flying.clear();
            let house = house.restart();
            model.compare(&house).await;
            model.drain(&house).await;
            house.queue.stop().await;
            let report = house.check();
            assert!(report.is_sound(), "{report:?}");
        });
    }
}
