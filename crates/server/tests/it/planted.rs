//! What a broken worker or a local user could prepare, and what becomes of it: links in the worker's folders, a spell without descriptors.

use super::house::{House, is_root, postino, wait_for};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Root's look at a stopped queue goes through no link that lies there.
#[test]
fn root_follows_no_link_planted_in_the_queue() {
    if !is_root() {
        println!("skipped: only root could do harm");
        return;
    }
    let house = House::new("");
    house.cli(&["queue", "list"]);
    let precious = house.home.join("precious");
    for name in ["queue.db-wal", "queue.db-shm"] {
        std::fs::write(&precious, "mine").unwrap();
        std::fs::set_permissions(&precious, std::fs::Permissions::from_mode(0o640)).unwrap();
        let planted = house.home.join("queue").join(name);
        let _ = std::fs::remove_file(&planted);
        std::os::unix::fs::symlink(&precious, &planted).unwrap();
        for words in [["queue", "list"].as_slice(), &["check-store"]] {
            let _ = postino().args(words).arg("--home").arg(&house.home).output().unwrap();
        }
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "mine", "{name}");
        assert_eq!(std::fs::metadata(&precious).unwrap().permissions().mode() & 0o777, 0o640, "{name}");
        std::fs::remove_file(&planted).unwrap();
    }
    house.cli(&["check-store"]);
}

/// Row 56: a spell without descriptors ends neither the control socket nor the injection socket.
#[test]
fn row_56_the_local_doors_outlive_a_spell_without_descriptors() {
    let mut house = House::new("[limits]\nconnections_per_address = 0\n");
    // The test's own account may not change another's limits: the server is born with them.
    let mut command = Command::new("prlimit");
    let program = env!("CARGO_BIN_EXE_postino");
    command.args(["--nofile=64:64", program, "serve", "--home"]).arg(&house.home).env_remove("POSTINO_HOME").stdin(Stdio::null());
    house.start_by(&mut command);
    let is_worker = |pid: &&i32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"postino\0worker"));
    let worker = house.family().iter().find(is_worker).copied().unwrap_or_else(|| house.pid());
    let open = || std::fs::read_dir(format!("/proc/{worker}/fd")).unwrap().count();
    let crowd: Vec<TcpStream> = (0..80).map(|_| TcpStream::connect(("127.0.0.1", house.ports.smtp)).unwrap()).collect();
    wait_for("no descriptor to be left", || open() >= 64);
    let waiting = ["run/control.sock", "run/queue.sock"].map(|name| UnixStream::connect(house.home.join(name)).unwrap());
    std::thread::sleep(Duration::from_millis(300));
    drop((crowd, waiting));
    house.cli(&["queue", "stat"]);
    UnixStream::connect(house.home.join("run/queue.sock")).unwrap();
}
