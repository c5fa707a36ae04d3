//! vpopmail's programs under their own names, one file a program or small group. Called by `postino-compat` (accounts in files) and, where a database
//! keeps the accounts, by `postino vpopmail NAME`. Small and single-threaded: links no tokio, no TLS and no database.
#![forbid(unsafe_code)]

mod accounts;
mod address;
mod clearopensmtp;
mod complaint;
mod domains;
mod elsewhere;
mod explained;
mod local_time;
pub mod onchange;
mod options;
mod prompt;
mod random_password;
mod reload;
mod rights;
mod roaming;
mod syslog;
mod vaddaliasdomain;
mod vadddomain;
mod vadduser;
mod valias;
mod vcdir;
mod vchangepw;
mod vchkpw;
mod vconvert;
mod vdeldomain;
mod vdelivermail;
mod vdeloldusers;
mod vdeluser;
mod vdominfo;
mod vipmap;
mod vmkpasswd;
mod vmoddomlimits;
mod vmoduser;
mod vpasswd;
mod vpopbull;
mod vsetuserquota;
mod vuserinfo;
mod world;

pub use world::World;

use postino_control::directory::Store;
use postino_types::exit;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

/// A program: the words after its name in, the exit code out.
pub type Program = fn(&World, &[OsString]) -> i32;

/// The programs, by name.
pub const PROGRAMS: &[(&str, Program)] = &[
    ("clearopensmtp", clearopensmtp::run),
    ("dotqmail2valias", explained::dotqmail2valias),
    ("vaddaliasdomain", vaddaliasdomain::run),
    ("vadddomain", vadddomain::run),
    ("vadduser", vadduser::run),
    ("valias", valias::run),
    ("vcdir", vcdir::run),
    ("vchangepw", vchangepw::run),
    ("vchkpw", vchkpw::run),
    ("vconvert", vconvert::run),
    ("vdeldomain", vdeldomain::run),
    ("vdelivermail", vdelivermail::run),
    ("vdeloldusers", vdeloldusers::run),
    ("vdeluser", vdeluser::run),
    ("vdominfo", vdominfo::run),
    ("vipmap", vipmap::run),
    ("vkill", explained::vkill),
    ("vmkpasswd", vmkpasswd::run),
    ("vmoddomlimits", vmoddomlimits::run),
    ("vmoduser", vmoduser::run),
    ("vpasswd", vpasswd::run),
    ("vpopbull", vpopbull::run),
    ("vpopmaild", explained::vpopmaild),
    ("vqmaillocal", explained::vqmaillocal),
    ("vsetuserquota", vsetuserquota::run),
    ("vusaged", explained::vusaged),
    ("vuserinfo", vuserinfo::run),
];

/// What they exit with when they cannot even read the configuration.
const TROUBLE: i32 = 255;

/// Run by qmail for mail and logins: with these, trouble means "later".
const OF_THE_MAIL: [&str; 3] = ["autorespond", "vchkpw", "vdelivermail"];

/// The program of this name.
#[must_use]
pub fn find(name: &str) -> Option<Program> {
    PROGRAMS.iter().find(|(known, _)| *known == name).map(|(_, program)| *program)
}

/// Runs a program on a home; `None`: there is no program of this name. Where `[directory]` names a database, `postino` runs it in our place.
#[must_use]
pub fn run(name: &str, home: &Path, args: &[OsString]) -> Option<i32> {
    let program = find(name)?;
    Some(match World::open(name, home) {
        Ok(world) if world.config.directory.store != Store::Files => elsewhere::run(name, home, args),
        Ok(world) => program(&world, args),
        Err(text) => {
            let _ = writeln!(std::io::stderr().lock(), "{name}: fatal: {text}");
            trouble(name)
        }
    })
}

/// The exit code of a program that cannot begin.
#[must_use]
pub fn trouble(name: &str) -> i32 {
    if OF_THE_MAIL.contains(&name) { exit::SOFT } else { TROUBLE }
}
