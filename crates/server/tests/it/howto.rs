//! The HOWTO's chapter, typed: each script of `tests/howto` runs on a machine of its own (mounts, processes, network, host name) with the historical
//! programs put in place by `postino install-compat`. Needs root, unshare and overlay mounts; without them it says so.

use super::house::{is_root, text};
use super::peers::compat;
use std::path::Path;
use std::process::{Command, Stdio};

/// Type these as root in name spaces of their own.
fn machine() -> Command {
    let mut command = Command::new("unshare");
    command.args(["-m", "-p", "-n", "-u", "-f", "--mount-proc", "--kill-child", "--", "bash"]).stdin(Stdio::null());
    command
}

fn possible() -> bool {
    let overlay =
        "mount -t tmpfs t /home && mkdir /home/u /home/w && mount -t overlay o -o lowerdir=/var,upperdir=/home/u,workdir=/home/w /var";
    let able = is_root() && machine().args(["-c", overlay]).status().is_ok_and(|status| status.success());
    if !able {
        eprintln!("skipped: the machines of the HOWTO need root, unshare and overlay mounts");
    }
    able
}

fn section(script: &str) {
    if !possible() {
        return;
    }
    let Some(compat) = compat() else { panic!("the historical programs are not built") };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/howto");
    let bin = tempfile::Builder::new().prefix("postino-howto-").tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(bin.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for (from, name) in [(Path::new(env!("CARGO_BIN_EXE_postino")), "postino"), (&compat, "postino-compat")] {
        // Debugging information would be copied a dozen times.
        super::house::run(Command::new("strip").arg("-o").arg(bin.path().join(name)).arg(from));
    }
    let output = machine().arg(folder.join(script)).env("LIB", &folder).env("BIN", bin.path()).output().unwrap();
    println!("{}", text(&output.stdout));
    assert!(output.status.success(), "{script}: {}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr));
}

#[test]
fn a_mailing_list_runs_as_on_qmail() {
    section("mailing-list.sh");
}

#[test]
fn other_peoples_clients() {
    section("clients.sh");
}

#[test]
fn install_compat() {
    section("install-compat.sh");
}

#[test]
fn section_3_1_aliases() {
    section("3.1-aliases.sh");
}

#[test]
fn section_3_2_init_script() {
    section("3.2-init-script.sh");
}

#[test]
fn section_3_3_accounts() {
    section("3.3-accounts.sh");
}

#[test]
fn section_3_6_control_files() {
    section("3.6-control.sh");
}

#[test]
fn section_3_7_dmz() {
    section("3.7-dmz.sh");
}

#[test]
fn section_3_8_dial_up() {
    section("3.8-dial-up.sh");
}

#[test]
fn section_3_10_protocols() {
    section("3.10-protocols.sh");
}

/// A qmail machine is taken over and given back.
#[test]
fn take_over() {
    section("take-over.sh");
}
