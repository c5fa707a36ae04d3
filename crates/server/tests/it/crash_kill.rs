//! `kill -9` of every process under load, again and again: nothing accepted is lost, nothing torn, duplicates fewer than one a kill,
//! and the kills are shown to fall into each phase of a message's way.

use super::client::Line;
use super::house::{House, text};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const USERS: [&str; 2] = ["pippo", "pluto"];
const SENDERS: usize = 6;

/// What the senders know.
#[derive(Default)]
struct Known {
    accepted: HashMap<String, Vec<&'static str>>,
    unanswered: HashSet<String>,
}

/// Where each sender stood when the kill fell.
struct Phases {
    receiving: AtomicU64,
    committing: AtomicU64,
}

fn body(token: &str, rows: usize) -> String {
    let mut text = format!("Subject: {token}\r\nX-Token: {token} {rows}\r\n\r\n");
    for row in 0..rows {
        text.push_str(&format!("{token} {row:05} 0123456789012345678901234567890123456789\r\n"));
    }
    text + &format!("END {token}")
}

fn sender(port: u16, number: usize, stop: &AtomicBool, known: &Mutex<Known>, state: &[AtomicU64]) {
    let mut sequence = 0u64;
    while !stop.load(Ordering::Relaxed) {
        let Some((mut line, banner)) = Line::try_connect(port) else {
            std::thread::yield_now();
            continue;
        };
        if !banner.starts_with("220") || !line.command("EHLO client.example").starts_with("250") {
            continue;
        }
        while !stop.load(Ordering::Relaxed) {
            sequence += 1;
            let token = format!("T{number}x{sequence}");
            let to: Vec<&'static str> =
                if sequence.is_multiple_of(3) { USERS.to_vec() } else { vec![USERS[usize::try_from(sequence % 2).unwrap()]] };
            // Every fifth message is too large to lie inline.
            let rows = if sequence.is_multiple_of(5) { 2500 } else { 20 };
            if !one(&mut line, &token, &to, rows, known, &state[number]) {
                break;
            }
        }
        state[number].store(0, Ordering::Relaxed);
    }
}

fn one(line: &mut Line, token: &str, to: &[&'static str], rows: usize, known: &Mutex<Known>, state: &AtomicU64) -> bool {
    state.store(1, Ordering::Relaxed);
    if !line.command("MAIL FROM:<a@x.test>").starts_with("250") {
        return false;
    }
    for user in to {
        if !line.command(&format!("RCPT TO:<{user}@example.test>")).starts_with("250") {
            return false;
        }
    }
    if !line.command("DATA").starts_with("354") {
        return false;
    }
    if !line.send(format!("{}\r\n", body(token, rows)).as_bytes()) {
        return false;
    }
    known.lock().unwrap().unanswered.insert(token.into());
    state.store(2, Ordering::Relaxed);
    let reply = line.command(".");
    state.store(0, Ordering::Relaxed);
    let mut known = known.lock().unwrap();
    if reply.starts_with("250") {
        known.unanswered.remove(token);
        known.accepted.insert(token.into(), to.to_vec());
    } else if reply.starts_with('4') || reply.starts_with('5') {
        known.unanswered.remove(token);
    }
    !reply.is_empty()
}

/// Rounds and messages of the short form; `POSTINO_CRASH_ROUNDS` makes it longer.
fn rounds() -> usize {
    std::env::var("POSTINO_CRASH_ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(12)
}

#[test]
fn kill_9_under_load_loses_and_tears_nothing() {
    let mut house = House::started("[limits]\nconnections_per_address = 0\n");
    let known = Arc::new(Mutex::new(Known::default()));
    let stop = Arc::new(AtomicBool::new(false));
    let state: Arc<Vec<AtomicU64>> = Arc::new((0..SENDERS).map(|_| AtomicU64::new(0)).collect());
    let port = house.ports.smtp;
    let threads: Vec<_> = (0..SENDERS)
        .map(|number| {
            let (known, stop, state) = (Arc::clone(&known), Arc::clone(&stop), Arc::clone(&state));
            std::thread::spawn(move || sender(port, number, &stop, &known, &state))
        })
        .collect();
    let phases = Phases { receiving: AtomicU64::new(0), committing: AtomicU64::new(0) };
    let (mut delivering, mut settling, mut tmp_files) = (0u64, 0u64, 0u64);
    let rounds = rounds();
    let goal = 2000usize.max(rounds * 40);
    for round in 1..=rounds {
        let wanted = goal * round / rounds;
        super::house::wait_for("enough accepted messages", || known.lock().unwrap().accepted.len() >= wanted);
        for s in state.iter() {
            match s.load(Ordering::Relaxed) {
                1 => _ = phases.receiving.fetch_add(1, Ordering::Relaxed),
                2 => _ = phases.committing.fetch_add(1, Ordering::Relaxed),
                _ => {}
            }
        }
        house.kill();
        tmp_files += USERS.iter().map(|u| std::fs::read_dir(house.maildir(u).join("tmp")).map_or(0, |d| d.count() as u64)).sum::<u64>();
        let delivered: usize = USERS.iter().map(|u| house.messages(u).len()).sum();
        let accepted: usize = known.lock().unwrap().accepted.values().map(Vec::len).sum();
        if delivered < accepted {
            delivering += 1;
        }
        settling += unsettled(&house);
        house.start();
    }
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    house.wait_empty();
    account(&house, &known.lock().unwrap(), rounds);
    eprintln!(
        "kills: {rounds}; senders receiving {}, committing {}; kills with accepted mail not delivered yet {delivering}; \
         recipients delivered but not settled {settling}; files in tmp {tmp_files}",
        phases.receiving.load(Ordering::Relaxed),
        phases.committing.load(Ordering::Relaxed)
    );
    assert!(phases.receiving.load(Ordering::Relaxed) > 0, "no kill fell into receiving");
    assert!(phases.committing.load(Ordering::Relaxed) > 0, "no kill fell into a commit");
    assert!(delivering > 0, "no kill fell between accept and delivery");
    assert!(settling > 0, "no kill fell between delivery and settlement");
    house.stop();
    house.cli(&["check-store"]);
}

/// Recipients whose message lies in the Maildir (its name tells entry and recipient) while the queue still has them as pending: the kill fell
/// between the two.
fn unsettled(house: &House) -> u64 {
    let list: serde_json::Value = serde_json::from_str(&house.cli(&["queue", "list", "--json"])).unwrap();
    let files: Vec<String> =
        USERS.iter().flat_map(|user| house.messages(user)).map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    let delivered: HashSet<&str> =
        files.iter().filter_map(|name| name.split_once(".M")?.1.split_once('Q')).map(|(unique, _)| unique).collect();
    let mut count = 0;
    for entry in list.as_array().unwrap() {
        for (index, recipient) in entry["recipients"].as_array().unwrap().iter().enumerate() {
            let unique = format!("{}P{index}", entry["id"]);
            count += u64::from(recipient["state"] == "pending" && delivered.contains(unique.as_str()));
        }
    }
    count
}

fn account(house: &House, known: &Known, rounds: usize) {
    let mut found: HashMap<(String, &str), usize> = HashMap::new();
    for user in USERS {
        for file in house.messages(user) {
            let content = text(&std::fs::read(&file).unwrap());
            let tail = content.split("X-Token: ").nth(1).unwrap_or_else(|| panic!("torn: {}", file.display()));
            let mut words = tail.lines().next().unwrap().split(' ');
            let token = words.next().unwrap().to_owned();
            let rows: usize = words.next().unwrap().parse().unwrap();
            let wanted = body(&token, rows).replace("\r\n", "\n") + "\n";
            let at = content.find("Subject: ").unwrap();
            assert!(content[at..] == wanted, "torn: {}", file.display());
            *found.entry((token, user)).or_default() += 1;
        }
    }
    let lost: Vec<_> = known
        .accepted
        .iter()
        .flat_map(|(token, to)| to.iter().map(move |u| (token.clone(), *u)))
        .filter(|key| !found.contains_key(key))
        .collect();
    let duplicates = found.values().filter(|n| **n > 1).count();
    eprintln!("accepted {}, unanswered {}, lost {}, duplicates {duplicates}", known.accepted.len(), known.unanswered.len(), lost.len());
    assert!(lost.is_empty(), "{} lost after 250: {:?}", lost.len(), lost.first());
    assert!(duplicates < rounds, "{duplicates} duplicates in {rounds} kills");
}
