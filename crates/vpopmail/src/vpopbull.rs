//! vpopbull -f FILE [options] [DOMAIN …]: puts one message into every mailbox, with `To` and `Date` before it. Run by an administrator. Quotas are not asked:
//! an administrator's bulletin is for full mailboxes too. Each file is written whole and durable, with the rights of the domain's owner.

use crate::World;
use crate::accounts;
use crate::complaint::{Complaint, ended, need_rights, say};
use crate::domains::Domain;
use crate::options::Options;
use crate::rights::Rights;
use crate::world::VERSION;
use nix::unistd::geteuid;
use postino_disk::maildir_file::{Earlier, MaildirFile, deliver};
use rustix::fs::{AtFlags, Mode, OFlags};
use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const USAGE: &str = "usage: vpopbull [options] -f [email_file] [virtual_domain] [...]
       -v (print version number)
       -V (verbose)
       -f email_file (file with message contents)
       -e exclude_email_addr_file (list of addresses to exclude)
       -n (don't mail. Use with -V to list accounts)
       -c (default, copy file)
       -h (use hard links)
       -s (use symbolic links)
";
/// Largest bulletin, bytes.
const BULLETIN_BYTES_MAX: u64 = 64 << 20;

/// How the message comes into a mailbox.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Copy,
    HardLink,
    SymbolicLink,
    Nothing,
}

struct Bulletin {
    path: PathBuf,
    text: Vec<u8>,
    excluded: HashSet<String>,
    way: Way,
    verbose: Option<()>,
    number: u64,
}

/// The program.
pub(crate) fn run(world: &World, args: &[OsString]) -> i32 {
    ended(work(world, &Options::read(world, args, "vVf:e:hnsc")))
}

fn work(world: &World, options: &Options) -> Result<i32, Complaint> {
    let mut bulletin =
        Bulletin { path: PathBuf::new(), text: Vec::new(), excluded: HashSet::new(), way: Way::Copy, verbose: None, number: 0 };
    let mut exclude = None;
    for (letter, value) in &options.letters {
        match letter {
            'v' => say(VERSION),
            'V' => bulletin.verbose = Some(()),
            'f' => bulletin.path = value.as_deref().unwrap_or_default().into(),
            'e' => exclude = value.clone(),
            'h' => bulletin.way = Way::HardLink,
            's' => bulletin.way = Way::SymbolicLink,
            'c' => bulletin.way = Way::Copy,
            'n' => bulletin.way = Way::Nothing,
            _ => return Err(Complaint::words(255, USAGE)),
        }
    }
    if bulletin.path.as_os_str().is_empty() && bulletin.way != Way::Nothing {
        return Err(Complaint::words(255, USAGE));
    }
    need_rights(world)?;
    bulletin.read(exclude.as_deref())?;
    let mut domains: Vec<String> = options.words.iter().map(|word| word.to_ascii_lowercase()).collect();
    if domains.is_empty() {
        domains = world.admin()?.domains()?.into_iter().filter(|entry| entry.alias_of.is_none()).map(|entry| entry.name).collect();
    }
    let mut failed = None;
    for name in &domains {
        let domain = accounts::domain(world, name)?;
        accounts::each(world, &domain, |record| {
            let address = format!("{}@{}", record.name, domain.name);
            if bulletin.excluded.contains(&address) {
                return Ok(());
            }
            if bulletin.verbose.is_some() {
                say(&format!("{address}\n"));
            }
            if let Err(error) = bulletin.put(&domain, &Path::new(&record.directory).join("Maildir"), &address) {
                let _ = writeln!(io::stderr().lock(), "{address}: {error}");
                failed = Some(());
            }
            Ok(())
        })?;
    }
    Ok(if failed.is_some() { 255 } else { 0 })
}

impl Bulletin {
    fn read(&mut self, exclude: Option<&str>) -> Result<(), Complaint> {
        let trouble = |path: &Path, error: io::Error| Complaint::error(format_args!("{}: {error}", path.display()));
        if let Some(exclude) = exclude {
            let text = std::fs::read_to_string(exclude).map_err(|error| trouble(Path::new(exclude), error))?;
            self.excluded = text.lines().map(|line| line.trim().to_ascii_lowercase()).filter(|line| !line.is_empty()).collect();
        }
        if self.way == Way::Nothing {
            return Ok(());
        }
        self.path = std::path::absolute(&self.path).map_err(|error| trouble(&self.path, error))?;
        let bytes = std::fs::metadata(&self.path).map_err(|error| trouble(&self.path, error))?.len();
        if bytes > BULLETIN_BYTES_MAX {
            return Err(trouble(&self.path, io::Error::other("larger than 64 MiB")));
        }
        self.text = std::fs::read(&self.path).map_err(|error| trouble(&self.path, error))?;
        Ok(())
    }

    fn put(&mut self, domain: &Domain, maildir: &Path, address: &str) -> io::Result<()> {
        self.number += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let host = rustix::system::uname().nodename().to_string_lossy().replace(['/', ':'], "_");
        let name = format!("{now}.{}_{}.{host}", std::process::id(), self.number);
        if self.way == Way::HardLink {
            // The file is root's or the caller's: only that caller may link to it, but into a folder of the mailbox's owner and nowhere else.
            let new = {
                let _owner = Rights::of(domain.uid, domain.gid)?;
                rustix::fs::open(
                    maildir.join("new"),
                    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    Mode::empty(),
                )?
            };
            if geteuid().is_root() && rustix::fs::fstat(&new)?.st_uid != domain.uid {
                return Err(io::Error::other("its folder new belongs to somebody else"));
            }
            return Ok(rustix::fs::linkat(rustix::fs::CWD, &self.path, &new, name, AtFlags::empty())?);
        }
        let _owner = Rights::of(domain.uid, domain.gid)?;
        match self.way {
            Way::Nothing | Way::HardLink => Ok(()),
            Way::SymbolicLink => std::os::unix::fs::symlink(&self.path, maildir.join("new").join(name)),
            Way::Copy => {
                let head = format!("To: {address}\nDate: {}\n", date(now));
                let target = MaildirFile { maildir, name: &name, earlier: Earlier::InNew };
                deliver(&postino_disk::RealDisk::default(), target, &mut |file| {
                    file.write_all(head.as_bytes())?;
                    file.write_all(&self.text)
                })
                .map(drop)
            }
        }
    }
}

/// `Tue, 24 Nov 2026 02:15:07 +0000`.
fn date(now: u64) -> String {
    let time = postino_types::Time::from_secs(i64::try_from(now).unwrap_or(0));
    let weekday = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    let civil = postino_message::date::Civil::of(time);
    let day = weekday.get(usize::from(civil.weekday)).unwrap_or(&"Sun");
    format!("{day}, {}", postino_message::date::qmail_date(time).replace("-0000", "+0000"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_date_has_its_weekday() {
        assert_eq!(super::date(1_795_487_225), "Tue, 24 Nov 2026 02:27:05 +0000");
    }
}
