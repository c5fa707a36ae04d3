//! Limits, dead destinations, probes.

use super::*;

const CAPS: Caps = Caps { per_destination: 10, probes: 2 };

fn s(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn key(name: &str) -> Arc<str> {
    Arc::from(name)
}

fn seed() -> Option<Seed> {
    Some(Seed { channel: postino_types::Channel::Remote, destination: Some(key("x")), recipients: vec![0], role: Role::Ordinary })
}

fn ask(all: &mut Destinations, id: u64, now: Duration) -> Admission {
    all.admit(&key("x"), &mut seed(), QueueId(id), now, CAPS)
}

fn unreachable() -> Meeting {
    Meeting::Unreachable(TempStatus::NO_ANSWER, "no".into(), None)
}

fn die(all: &mut Destinations, now: Duration) -> LetGo {
    let mut gone = LetGo::default();
    for id in 0..3 {
        assert_eq!(ask(all, id, now), Admission::Start(Role::Ordinary));
    }
    for _ in 0..3 {
        gone = all.ended("x", Role::Ordinary, unreachable(), now, CAPS);
    }
    gone
}

#[test]
fn starts_waits_and_sends_away() {
    let mut all = Destinations::default();
    let mut counts = (0, 0, 0);
    for id in 0..500 {
        match ask(&mut all, id, s(0)) {
            Admission::Start(Role::Ordinary) => counts.0 += 1,
            Admission::Waits => counts.1 += 1,
            Admission::Busy(until) => {
                assert!(until >= BUSY && until <= BUSY + BUSY_MAX);
                counts.2 += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(counts, (INITIAL, WAITING_MAX, 500 - INITIAL - WAITING_MAX));
}

#[test]
fn success_opens_the_door_wider_up_to_the_cap() {
    let mut all = Destinations::default();
    for id in 0..50 {
        ask(&mut all, id, s(0));
    }
    let mut running = INITIAL;
    for _ in 0..20 {
        running -= 1;
        running += all.ended("x", Role::Ordinary, Meeting::Reached, s(0), CAPS).start.len();
        assert!(running <= 10);
    }
    assert_eq!(running, 10);
}

#[test]
fn three_failures_in_a_row_kill_and_one_probe_at_a_time_revives() {
    let mut all = Destinations::default();
    for id in 0..8 {
        ask(&mut all, id, s(0));
    }
    all.ended("x", Role::Ordinary, unreachable(), s(0), CAPS);
    all.ended("x", Role::Ordinary, Meeting::Reached, s(0), CAPS);
    let mut away = 0;
    for _ in 0..3 {
        away += all.ended("x", Role::Ordinary, unreachable(), s(0), CAPS).away.len();
    }
    assert!(away > 0, "those who waited are sent away");
    assert!(matches!(ask(&mut all, 9, s(1)), Admission::Dead(until, TempStatus::NO_ANSWER, said) if until >= s(60) && said == "no"));
    assert_eq!(ask(&mut all, 9, s(60)), Admission::Start(Role::Probe));
    assert!(matches!(ask(&mut all, 10, s(61)), Admission::Dead(..)));
    all.ended("x", Role::Probe, unreachable(), s(62), CAPS);
    assert!(matches!(ask(&mut all, 9, s(62 + 119)), Admission::Dead(..)), "the pause doubled");
    assert_eq!(ask(&mut all, 9, s(62 + 120)), Admission::Start(Role::Probe));
    all.ended("x", Role::Probe, Meeting::Reached, s(190), CAPS);
    assert_eq!(ask(&mut all, 9, s(191)), Admission::Start(Role::Ordinary));
}

#[test]
fn a_named_moment_is_honoured_at_once() {
    let mut all = Destinations::default();
    ask(&mut all, 1, s(0));
    all.ended("x", Role::Ordinary, Meeting::Unreachable(TempStatus::NO_ANSWER, ReportText::default(), Some(s(500))), s(0), CAPS);
    assert!(matches!(ask(&mut all, 1, s(499)), Admission::Dead(until, ..) if until >= s(500)));
    assert_eq!(ask(&mut all, 1, s(500)), Admission::Start(Role::Probe));
}

#[test]
fn forgetting_gives_everybody_a_chance() {
    let mut all = Destinations::default();
    die(&mut all, s(0));
    assert!(matches!(ask(&mut all, 1, s(1)), Admission::Dead(..)));
    all.forget_pauses();
    assert_eq!(ask(&mut all, 1, s(1)), Admission::Start(Role::Ordinary));
}

#[test]
fn probes_of_all_destinations_together_are_limited() {
    let mut all = Destinations::default();
    let mut started = 0;
    for name in ["a", "b", "c", "d"] {
        for id in 0..3 {
            all.admit(&key(name), &mut seed(), QueueId(id), s(0), CAPS);
        }
        for _ in 0..3 {
            all.ended(name, Role::Ordinary, unreachable(), s(0), CAPS);
        }
        started += usize::from(all.admit(&key(name), &mut seed(), QueueId(9), s(100), CAPS) == Admission::Start(Role::Probe));
    }
    assert_eq!(started, 2);
}

#[test]
fn the_number_of_idle_destinations_is_bounded() {
    let mut all = Destinations::default();
    for n in 0..DESTINATIONS_MAX * 2 {
        let name = n.to_string();
        all.admit(&key(&name), &mut seed(), QueueId(1), s(0), CAPS);
        all.ended(&name, Role::Ordinary, Meeting::Reached, s(0), CAPS);
    }
    assert!(all.known.len() <= DESTINATIONS_MAX);
}
