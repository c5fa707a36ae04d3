//! What changes and look-ups cost in a domain of 100,000 accounts and among 10,000 domains. By hand, on a real disk:
//! `TMPDIR=/var/tmp [POSTINO_SIZE_SHORT=1] cargo test --release -p postino-directory size -- --ignored --nocapture`.

use super::*;
use crate::vpasswd::Record;
use std::time::Instant;

const USERS: usize = 100_000;
const DOMAINS: usize = 10_000;

fn timed(what: &str, times: u32, mut step: impl FnMut(u32)) {
    let mut worst = std::time::Duration::ZERO;
    let start = Instant::now();
    for n in 0..times {
        let one = Instant::now();
        step(n);
        worst = worst.max(one.elapsed());
    }
    println!(
        "{what}: {:.2} ms on average, {:.2} ms at worst",
        start.elapsed().as_secs_f64() * 1e3 / f64::from(times),
        worst.as_secs_f64() * 1e3
    );
}

#[test]
#[ignore = "by hand"]
fn size_of_one_domain() {
    let world = World::empty();
    let _ = world.admin.add_domain("example.test", b"x").unwrap();
    let short = std::env::var_os("POSTINO_SIZE_SHORT").is_some();
    let hash = if short { format!("$1${}", "x".repeat(31)) } else { format!("$6${}", "x".repeat(100)) };
    let record = |n: usize| {
        let name = format!("user{n:06}");
        let directory = world.domain(&name).display().to_string();
        Record {
            gecos: name.clone().into_bytes(),
            name,
            password: hash.clone(),
            kind: 1,
            flags: 0,
            directory,
            quota: "NOQUOTA".into(),
            clear: None,
        }
    };
    let records: Vec<Record> = (0..USERS).map(record).collect();
    world.admin.keepers().accounts.insert_all("example.test", &records).unwrap();
    println!("vpasswd: {} bytes", std::fs::metadata(world.domain("vpasswd")).unwrap().len());
    let secret = || NewSecret::Hash(hash.clone());
    timed("add a user", 20, |n| {
        let _ = world.admin.add_users("example.test", &[NewUser { secret: secret(), ..NewUser::new(&format!("new{n}"), b"") }]).unwrap();
    });
    timed("change a record", 20, |n| drop(world.admin.set_flags(&format!("new{n}@example.test"), 1).unwrap()));
    timed("look up", 2000, |n| drop(world.admin.user(&format!("user{:06}@example.test", n * 7)).unwrap()));
    timed("remove a user", 20, |n| drop(world.admin.remove_user(&format!("new{n}@example.test")).unwrap()));
}

#[test]
#[ignore = "by hand"]
fn size_of_many_domains() {
    let world = World::empty();
    let _ = world.admin.add_domain("example.test", b"x").unwrap();
    let (mut lines, mut lists) = (Vec::new(), [String::new(), String::new(), String::new()]);
    for n in 0..DOMAINS {
        let name = format!("d{n:05}.test");
        lines.push(format!("+{name}-:{name}:89:89:{}:-::\n", world.path("domains").join(&name).display()));
        lists[0].push_str(&format!("{name}:{name}\n"));
        lists[usize::from(n >= 50) + 1].push_str(&format!("{name}\n"));
    }
    let text = format!("{}.\n", lines.concat());
    world.write("users/assign", &text);
    std::fs::write(world.path("users/cdb"), assign::to_cdb(&assign::parse(text.as_bytes()).unwrap()).unwrap()).unwrap();
    for (name, list) in ["virtualdomains", "rcpthosts", "morercpthosts"].iter().zip(&lists) {
        world.write(&format!("control/{name}"), list);
    }
    timed("add a domain", 20, |n| drop(world.admin.add_domain(&format!("new{n}.test"), b"x").unwrap()));
    timed("find a domain", 2000, |n| drop(world.admin.domain(&format!("d{:05}.test", n * 3)).unwrap()));
    timed("look up in one of them", 2000, |n| drop(world.admin.user(&format!("postmaster@new{}.test", n % 20)).unwrap()));
    timed("remove a domain", 20, |n| drop(world.admin.remove_domain(&format!("new{n}.test"), AliasDomains::Keep).unwrap()));
}
