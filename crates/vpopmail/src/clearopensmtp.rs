//! clearopensmtp: forgets the addresses whose time for relaying has run out, and compiles `tcp.smtp.cdb` anew. Run by cron, as vpopmail or root.

use crate::World;
use crate::complaint::say;
use crate::roaming;
use crate::world::VERSION;
use postino_types::exit;
use std::ffi::OsString;
use std::io::Write;

/// The program. Its crontab line throws standard output away; what goes wrong is told on standard error, which cron mails.
pub(crate) fn run(world: &World, args: &[OsString]) -> i32 {
    if args.first().is_some_and(|word| word == "-v") {
        say(VERSION);
        return exit::OK;
    }
    match roaming::of(world).clear(roaming::now()) {
        Ok(_) => exit::OK,
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "clearopensmtp: fatal: {error}");
            exit::SOFT
        }
    }
}
