//! Rules by client address that follow their files while a server runs, as tcpserver -x does: each connection looks whether the file is
//! still the one that was read. Called by the loader, `Live` and the daemons' doors; never writes a file, and a broken one changes nothing.

use crate::cdb::Cdb;
use crate::problem::Problem;
use crate::raw;
use crate::tcprules::Rules;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError};
use std::time::{Duration, SystemTime};

/// A file that was changed so shortly before it was read may change again without looking different (file systems count time in ticks,
/// old ones in seconds).
const UNSETTLED: Duration = Duration::from_millis(1100);

/// Whom the rules are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// SMTP and submission.
    Smtp,
    /// POP3.
    Pop3,
}

impl Service {
    /// The name of the text form in `control/`.
    #[must_use]
    pub const fn file(self) -> &'static str {
        match self {
            Self::Smtp => "tcp.smtp",
            Self::Pop3 => "tcp.pop3",
        }
    }
}

/// How a file looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let m = std::fs::metadata(path).ok()?;
        let (modified, changed) = ((m.mtime(), m.mtime_nsec()), (m.ctime(), m.ctime_nsec()));
        Some(Self { device: m.dev(), inode: m.ino(), bytes: m.len(), modified, changed })
    }

    fn is_settled(&self, now: SystemTime) -> bool {
        let seconds = u64::try_from(self.modified.0).unwrap_or(0);
        let age = now.duration_since(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        // A time to come is a wrong clock: waiting for it would read the file for ever.
        age.map_or(true, |age| age > UNSETTLED)
    }
}

/// Where the rules of one service may stand (the first file that exists counts), and how that looked when it was read. `Default`: nowhere.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    files: Vec<PathBuf>,
    /// A file named by the administrator: that it is gone is a mistake, not the absence of rules.
    named: bool,
    seen: Vec<Option<Stamp>>,
    settled: bool,
}

impl Sources {
    /// `control/tcp.smtp`, else `control/tcp.smtp.cdb` (or those of another service), as they look now: call it before they are read.
    #[must_use]
    pub fn standard(home: &Path, service: Service) -> Self {
        let text = home.join("control").join(service.file());
        let compiled = PathBuf::from(format!("{}.cdb", text.display()));
        let mut sources = Self { files: vec![text, compiled], ..Self::default() };
        sources.look();
        sources
    }

    /// The file that the administrator named; compiled when its name ends with `.cdb`.
    #[must_use]
    pub fn named(file: PathBuf) -> Self {
        let mut sources = Self { files: vec![file], named: true, ..Self::default() };
        sources.look();
        sources
    }

    /// Notes how the files look; true when they do not look as they did, or could have changed unseen. A new owner or mode is another look.
    pub fn look(&mut self) -> bool {
        let mut now = Vec::with_capacity(self.files.len());
        for file in &self.files {
            now.push(Stamp::of(file));
            if now.last().is_some_and(Option::is_some) {
                break;
            }
        }
        let fresh = now != self.seen || !self.settled;
        let clock = SystemTime::now();
        self.settled = now.iter().flatten().all(|stamp| stamp.is_settled(clock));
        self.seen = now;
        fresh
    }

    /// Reads the rules and says from where; no file, no rules.
    ///
    /// # Errors
    /// A file that cannot be read or holds what is no rule; a named file that is not there.
    pub fn read(&self) -> Result<(Rules, Option<&Path>), Problem> {
        for file in &self.files {
            let Some(bytes) = raw::read_file(file)? else { continue };
            let rules = if file.extension().is_some_and(|e| e == "cdb") { compiled(&bytes, file) } else { parsed(&bytes, file) };
            return rules.map(|rules| (rules, Some(file.as_path())));
        }
        match self.files.first().filter(|_| self.named) {
            Some(file) => Err(Problem::new(file, "is missing").advise("make it, or take its name out of control/server.toml")),
            None => Ok((Rules::default(), None)),
        }
    }
}

/// Rules from their text.
pub(crate) fn parsed(bytes: &[u8], file: &Path) -> Result<Rules, Problem> {
    Rules::parse(bytes).map_err(|e| {
        let problem = Problem::new(file, format!("unable to parse this line: {}", e.text)).at(e.line);
        problem.advise("ADDRESS:allow or ADDRESS:deny, then ,NAME=\"VALUE\"")
    })
}

/// Rules from a cdb.
pub(crate) fn compiled(bytes: &[u8], file: &Path) -> Result<Rules, Problem> {
    Cdb::new(bytes)
        .and_then(|cdb| Rules::from_cdb(&cdb))
        .map_err(|e| Problem::new(file, e.to_string()).advise("compile it again with tcprules, or write the rules as text"))
}

/// What a look brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Other rules are in force; `None`: the file is gone and there are none.
    Reread(Option<PathBuf>),
    /// The file is broken; the rules that were read before stay in force. Told once for each reason.
    Kept(Problem),
}

/// The rules of one service in force.
#[derive(Debug, Default)]
pub struct Gate {
    rules: RwLock<Arc<Rules>>,
    watch: Mutex<Watch>,
}

#[derive(Debug, Default)]
struct Watch {
    sources: Sources,
    told: Option<Problem>,
}

impl Gate {
    pub(crate) fn new(rules: Rules, sources: Sources) -> Self {
        Self { rules: RwLock::new(Arc::new(rules)), watch: Mutex::new(Watch { sources, told: None }) }
    }

    /// The rules now.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, rules: Rules, sources: Sources) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        *watch = Watch { sources, told: None };
        self.put(rules);
    }

    fn put(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// Reads the file again when it does not look as it did. Costs one or two stat(2) else; while another session reads, the old rules count.
    pub fn look(&self) -> Option<Change> {
        let mut watch = match self.watch.try_lock() {
            Ok(watch) => watch,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        if watch.sources.files.is_empty() || !watch.sources.look() {
            return None;
        }
        match watch.sources.read() {
            Ok((rules, file)) => {
                let mended = watch.told.is_some();
                let file = file.map(Path::to_owned);
                watch.told = None;
                if !mended && *self.rules() == rules {
                    return None;
                }
                self.put(rules);
                Some(Change::Reread(file))
            }
            Err(problem) if watch.told.as_ref() == Some(&problem) => None,
            Err(problem) => {
                watch.told = Some(problem.clone());
                Some(Change::Kept(problem))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn allows(gate: &Gate, ip: &str) -> bool {
        gate.rules().lookup(ip.parse::<IpAddr>().unwrap(), None, None).is_none_or(|v| v.allow)
    }

    #[test]
    fn a_changed_file_counts_at_once_and_a_broken_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("control")).unwrap();
        let text = dir.path().join("control/tcp.smtp");
        let cdb = dir.path().join("control/tcp.smtp.cdb");
        let gate = Gate::new(Rules::default(), Sources::standard(dir.path(), Service::Smtp));
        assert_eq!(gate.look(), None);
        std::fs::write(&text, "10.:deny\n").unwrap();
        assert_eq!(gate.look(), Some(Change::Reread(Some(text.clone()))));
        assert!(!allows(&gate, "10.1.1.1"));
        // Same length, same tick: seen all the same.
        std::fs::write(&text, "11.:deny\n").unwrap();
        assert!(gate.look().is_some() && allows(&gate, "10.1.1.1") && !allows(&gate, "11.1.1.1"));
        assert_eq!(gate.look(), None);
        std::fs::write(&text, ":allow\n10.:dney\n").unwrap();
        let Some(Change::Kept(problem)) = gate.look() else { panic!("a broken file is told") };
        assert_eq!((problem.file.clone(), problem.line), (text.clone(), Some(2)));
        assert!(problem.reason.contains("10.:dney"), "{problem}");
        assert_eq!(gate.look(), None, "once");
        assert!(!allows(&gate, "11.1.1.1"), "the old rules stay");
        std::fs::write(&text, "11.:deny\n").unwrap();
        assert_eq!(gate.look(), Some(Change::Reread(Some(text.clone()))), "that it was mended is told");
        std::fs::write(&cdb, Rules::parse(b"12.:deny\n").unwrap().to_cdb().unwrap()).unwrap();
        assert_eq!(gate.look(), None, "the text wins");
        std::fs::remove_file(&text).unwrap();
        assert_eq!(gate.look(), Some(Change::Reread(Some(cdb.clone()))));
        assert!(!allows(&gate, "12.1.1.1"));
        std::fs::remove_file(&cdb).unwrap();
        assert_eq!(gate.look(), Some(Change::Reread(None)));
        assert!(allows(&gate, "12.1.1.1"));
    }

    #[test]
    fn a_named_file_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let cdb = dir.path().join("tcp.smtp.cdb");
        std::fs::write(&cdb, Rules::parse(b"12.:deny\n").unwrap().to_cdb().unwrap()).unwrap();
        let sources = Sources::named(cdb.clone());
        let rules = sources.read().unwrap().0;
        let gate = Gate::new(rules, sources);
        std::fs::remove_file(&cdb).unwrap();
        assert!(matches!(gate.look(), Some(Change::Kept(p)) if p.reason == "is missing"));
        assert!(!allows(&gate, "12.1.1.1"));
        std::fs::write(&cdb, "damaged").unwrap();
        assert!(matches!(gate.look(), Some(Change::Kept(p)) if p.reason.contains("damaged")));
        assert!(!allows(&gate, "12.1.1.1"));
    }
}
