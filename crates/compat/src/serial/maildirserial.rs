//! `maildirserial`: gives the files of a Maildir to a client, removes what was sent, bounces what cannot be. Called by `serial`; never connects
//! anywhere itself.

use super::bounce::{self, Bounced};
use super::client::{self, Answer};
use super::{log, scan};
use crate::fatal::{self, Fatal};
use crate::getopt::{Getopt, Opt};
use crate::{home, maildir};
use postino_local::error_text::error_text;
use postino_types::exit;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

const USAGE: &str = "maildirserial [ -b ] [ -t lifetime ] dir prefix client [ arg ... ]";
/// Runs of the client without any result before it is given up.
const IDLE_MAX: usize = 3;

/// The program.
pub(super) fn run(args: &[OsString]) -> i32 {
    match Job::of(args).and_then(Job::work) {
        Ok(code) => code,
        Err(fatal) => fatal::main("maildirserial", Err(fatal)),
    }
}

struct Job {
    bounces: bool,
    lifetime: Option<Duration>,
    dir: PathBuf,
    prefix: Vec<u8>,
    client: Vec<OsString>,
    done: HashSet<scan::Name>,
    /// Something stays in the Maildir.
    left: bool,
}

impl Job {
    fn of(args: &[OsString]) -> Result<Self, Fatal> {
        let usage = || Fatal::usage(USAGE);
        let (mut bounces, mut lifetime) = (false, None);
        let mut options = Getopt::new(args, b"b", b"t");
        for option in options.by_ref() {
            match option {
                Opt::Plain(_) => bounces = true,
                Opt::With(_, value) => {
                    let seconds = postino_control::classic::number(value.as_bytes()).ok_or_else(usage)?;
                    lifetime = Some(Duration::from_secs(seconds));
                }
                Opt::Bad => return Err(usage()),
            }
        }
        let [dir, prefix, client @ ..] = options.rest() else { return Err(usage()) };
        if client.is_empty() {
            return Err(usage());
        }
        let (dir, prefix) = (PathBuf::from(dir), prefix.as_bytes().to_vec());
        Ok(Self { bounces, lifetime, dir, prefix, client: client.to_vec(), done: HashSet::new(), left: false })
    }

    fn work(mut self) -> Result<i32, Fatal> {
        let scanned = |error| Fatal::unable("read maildir", &error);
        maildir::clean_tmp(&self.dir);
        let mut idle = 0;
        loop {
            let names = scan::list(&self.dir, &self.prefix, &self.done).map_err(scanned)?;
            if names.is_empty() {
                return Ok(if self.left { exit::SOFT } else { exit::OK });
            }
            let before = self.done.len();
            let (client, dir) = (self.client.clone(), self.dir.clone());
            let status = client::run(&client, &dir, &names, |answer| self.take(answer));
            let status =
                status.map_err(|error| Fatal::unable(&format!("run {}", client.first().unwrap_or(&OsString::new()).display()), &error))?;
            if status.code() == Some(exit::HARD) {
                log(b"fatal: client failed permanently, giving up");
                return Ok(exit::HARD);
            }
            idle = if self.done.len() > before { 0 } else { idle + 1 };
            if idle >= IDLE_MAX {
                return Err(Fatal::soft("making no progress, giving up"));
            }
        }
    }

    fn take(&mut self, Answer { name, letter, text }: Answer) {
        let is_old = letter != b'K' && letter != b'D' && self.is_old(&name);
        match letter {
            b'K' => {
                info(&name, "succeeded", &text);
                self.remove(&name);
            }
            _ if self.bounces && (letter == b'D' || is_old) => {
                info(&name, "bounced", &text);
                self.bounce(&name, text, is_old);
            }
            _ => {
                info(&name, if letter == b'D' { "failed" } else { "failed temporarily" }, &text);
                self.left = true;
            }
        }
        self.done.insert(name);
    }

    fn is_old(&self, name: &[u8]) -> bool {
        let born = fs::symlink_metadata(scan::path(&self.dir, name)).and_then(|stat| stat.modified());
        let age = born.ok().and_then(|born| SystemTime::now().duration_since(born).ok());
        self.lifetime.zip(age).is_some_and(|(lifetime, age)| age > lifetime)
    }

    fn bounce(&mut self, name: &[u8], mut text: Vec<u8>, is_old: bool) {
        text.push(b'\n');
        if is_old {
            text.extend_from_slice(b"This message is too old. Giving up.\n");
        }
        match bounce::send(&home::choose(), &scan::path(&self.dir, name), &self.prefix, &text) {
            Ok(Bounced::Queued(qp)) => log(&[b"info: returned ", name, format!(": qp {qp}").as_bytes()].concat()),
            Ok(Bounced::Discarded) => log(&[b"info: discarded ", name, b": triple bounce"].concat()),
            Err(why) => {
                log(&[b"warning: unable to bounce ", name, b": ", why.as_bytes()].concat());
                self.left = true;
                return;
            }
        }
        self.remove(name);
    }

    fn remove(&mut self, name: &[u8]) {
        if let Err(error) = fs::remove_file(scan::path(&self.dir, name)) {
            log(&[b"warning: unable to remove ", name, b": ", error_text(&error).as_bytes()].concat());
            self.left = true;
        }
    }
}

fn info(name: &[u8], what: &str, text: &[u8]) {
    log(&[b"info: ", name, b" ", what.as_bytes(), b": ", text].concat());
}
