//! Programs of vpopmail's that have no work here and say so: their work is done elsewhere, or would harm. Run by scripts that know the names.

use crate::World;
use crate::complaint::say;
use std::ffi::OsString;

/// vkill ended or signalled every process whose name looked right; here only a server is told, and by its own door.
pub(crate) fn vkill(world: &World, args: &[OsString]) -> i32 {
    let options = crate::options::Options::read(world, args, "v");
    match options.letters.first() {
        Some(('v', _)) => say(crate::world::VERSION),
        _ if options.word(0).is_none() => {
            say("vkill: usage: process\noptions: -v (print the version)\n");
            return 255;
        }
        _ => say("vkill: processes are not searched by name; qmail-send is ended by its init script, and postino by its service manager\n"),
    }
    i32::from(options.word(0).is_some()) * 255
}

/// Rows of a database take the place of dot-qmail files where one keeps the aliases.
pub(crate) fn dotqmail2valias(_: &World, _: &[OsString]) -> i32 {
    explain("dotqmail2valias", "aliases go from one keeper to another with: postino directory copy")
}

/// qmail-local with virtual users, run instead of the real one.
pub(crate) fn vqmaillocal(_: &World, args: &[OsString]) -> i32 {
    if args.len() != 9 {
        say("vqmaillocal: wrong number of parameters\n");
        return 0;
    }
    let _ = explain("vqmaillocal", "virtual domains are delivered by vdelivermail in their .qmail-default");
    postino_types::exit::SOFT
}

/// A daemon that kept usage in memory for vpopmail 5.5.
pub(crate) fn vusaged(_: &World, _: &[OsString]) -> i32 {
    explain("vusaged", "usage stands in each mailbox's maildirsize; no daemon is needed")
}

/// A daemon for remote administration, with passwords in the clear.
pub(crate) fn vpopmaild(_: &World, _: &[OsString]) -> i32 {
    explain("vpopmaild", "remote administration in the clear is not offered; postino domain, user and alias have --json")
}

fn explain(name: &str, why: &str) -> i32 {
    say(&format!("{name}: {why}\n"));
    255
}
