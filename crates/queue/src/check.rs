//! `check-store`: looks at a queue that no server uses, tells what is wrong in words, and mends what can be mended without losing anything.
//! Called by the command line and by the crash tests. Never deletes a message: what cannot be read is put aside as files.

use crate::body::DIRECTORIES;
use crate::database::{self, Place, Purpose, unsigned};
use crate::store::{DATABASE, OpenError, prepare_directory};
use rusqlite::{Connection, params};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// May the check mend?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Look only.
    No,
    /// Remove body files that no entry refers to, and move entries that cannot be read to `queue/damaged/`.
    Yes,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Entries.
    pub entries: u64,
    /// Body files in use.
    pub body_files: u64,
    /// Body files that no entry refers to: what a crash during reception leaves. No fault; the next start removes them.
    pub orphans: u64,
    /// Broken promises, one line each; the name of the invariant first. Empty when all is well.
    pub problems: Vec<String>,
    /// What was mended.
    pub repaired: Vec<String>,
}

impl Report {
    /// True when every promise holds.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Checks the queue under `home` (in `home/queue`).
///
/// # Errors
/// [`OpenError::Running`] while a server has it open; other errors when it cannot be read at all.
pub fn check(home: &Path, repair: Repair) -> Result<Report, OpenError> {
    let queue = home.join("queue");
    let mut report = Report::default();
    if !queue.join(DATABASE).try_exists()? {
        return Ok(report);
    }
    let _lock = prepare_directory(&queue)?;
    let connection = database::open(&queue.join(DATABASE), Purpose::Write)?;
    check_database(&connection, &mut report)?;
    let mut checker = Checker { queue, connection, report, lengths: HashMap::new(), damaged: Vec::new() };
    checker.entries()?;
    checker.strays()?;
    checker.files(repair)?;
    if repair == Repair::Yes {
        checker.put_aside()?;
    }
    Ok(checker.report)
}

fn check_database(connection: &Connection, report: &mut Report) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("PRAGMA integrity_check")?;
    for line in statement.query_map([], |row| row.get::<_, String>(0))? {
        match line?.as_str() {
            "ok" => {}
            other => report.problems.push(format!("database: {other}")),
        }
    }
    Ok(())
}

struct Checker {
    queue: PathBuf,
    connection: Connection,
    report: Report,
    /// Body files that entries refer to, with the length that they say.
    lengths: HashMap<i64, u64>,
    damaged: Vec<u64>,
}

/// Entries read at once.
const SLICE: usize = 500;

impl Checker {
    fn problem(&mut self, text: String) {
        self.report.problems.push(text);
    }

    fn entries(&mut self) -> rusqlite::Result<()> {
        let bound: i64 = self.connection.query_row("SELECT bound FROM ids", [], |row| row.get(0))?;
        let mut after = 0;
        loop {
            let slice = database::list(&self.connection, after, SLICE)?;
            let Some((last, _)) = slice.last() else { return Ok(()) };
            after = *last;
            for (id, loaded) in slice {
                self.report.entries += 1;
                if id >= unsigned(bound) {
                    self.problem(format!("Q-ORDER: entry {id} lies beyond the ids that were given"));
                }
                match loaded {
                    Err(damaged) => {
                        self.damaged.push(id);
                        self.problem(format!("entry {id}: {damaged}"));
                    }
                    Ok((entry, place)) => {
                        if entry.expires < entry.arrived || entry.next_at < entry.arrived {
                            self.problem(format!("Q-TIME: entry {id} has times in the wrong order"));
                        }
                        if !entry.states.is_empty() && !entry.states.iter().any(postino_types::RecipientState::is_pending) {
                            self.problem(format!("Q-ONCE: entry {id} is finished but still there"));
                        }
                        self.body(id, place, entry.body_bytes)?;
                    }
                }
            }
        }
    }

    fn body(&mut self, id: u64, place: Place, bytes: u64) -> rusqlite::Result<()> {
        match place {
            Place::Inline => {
                let length: i64 = self
                    .connection
                    .prepare_cached("SELECT length(body) FROM content WHERE id = ?1")?
                    .query_row(params![database::signed(id)], |row| row.get(0))?;
                if unsigned(length) != bytes {
                    self.problem(format!("Q-BODY: entry {id} has {length} bytes of body, not {bytes}"));
                }
            }
            Place::File(file) => {
                if self.lengths.insert(file, bytes).is_some_and(|other| other != bytes) {
                    self.problem(format!("Q-BODY: entry {id} shares body file {file:016x} under another length"));
                }
            }
        }
        Ok(())
    }

    /// Rows of one table without their row in the other.
    fn strays(&mut self) -> rusqlite::Result<()> {
        const QUERIES: [(&str, &str); 2] = [
            ("SELECT id FROM entry WHERE id NOT IN (SELECT id FROM content)", "Q-BODY: entry without content"),
            ("SELECT id FROM content WHERE id NOT IN (SELECT id FROM entry)", "content without entry"),
        ];
        for (sql, text) in QUERIES {
            let ids: Vec<i64> = self.connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            ids.iter().for_each(|id| self.problem(format!("{text}: {id}")));
        }
        Ok(())
    }

    fn files(&mut self, repair: Repair) -> Result<(), OpenError> {
        for number in 0..DIRECTORIES {
            for found in std::fs::read_dir(self.queue.join("body").join(format!("{number:x}")))? {
                let found = found?;
                let name = found.file_name().to_string_lossy().into_owned();
                let expected = i64::from_str_radix(&name, 16).ok().and_then(|file| self.lengths.remove(&file));
                let length = found.metadata()?.len();
                match expected {
                    Some(bytes) if bytes == length => self.report.body_files += 1,
                    Some(bytes) => self.problem(format!("Q-BODY: body file {name} has {length} bytes, not {bytes}")),
                    None => {
                        self.report.orphans += 1;
                        if repair == Repair::Yes && self.damaged.is_empty() {
                            std::fs::remove_file(found.path())?;
                            self.report.repaired.push(format!("removed body file {name}, which no entry refers to"));
                        }
                    }
                }
            }
        }
        let missing: Vec<i64> = self.lengths.keys().copied().collect();
        missing.iter().for_each(|file| self.problem(format!("Q-BODY: body file {file:016x} is missing")));
        Ok(())
    }

    /// Entries that cannot be read leave the queue, but not the disk.
    fn put_aside(&mut self) -> Result<(), OpenError> {
        let aside = self.queue.join("damaged");
        for id in std::mem::take(&mut self.damaged) {
            postino_disk::create_dir_durable(&aside, 0o700)?;
            let parts: (Vec<u8>, Vec<u8>, Vec<u8>) = self.connection.query_row(
                "SELECT e.state, c.meta, c.body FROM entry e JOIN content c ON c.id = e.id WHERE e.id = ?1",
                params![database::signed(id)],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )?;
            for (suffix, bytes) in [("state", &parts.0), ("meta", &parts.1), ("body", &parts.2)] {
                postino_disk::replace_file(&aside.join(format!("{id}.{suffix}")), bytes, 0o600)?;
            }
            let batch = format!("BEGIN IMMEDIATE;DELETE FROM entry WHERE id={id};DELETE FROM content WHERE id={id};COMMIT");
            self.connection.execute_batch(&batch)?;
            self.report.repaired.push(format!("moved entry {id}, which cannot be read, to queue/damaged/"));
        }
        Ok(())
    }
}
