//! The database file: opened with the settings that durability and speed rest on, its tables, and its statements. Used by writer, readers and `check`.
//! Decides nothing about mail.

use crate::codec::{self, Damaged};
use postino_ports::queue::QueueEntry;
use postino_types::{QueueId, Time};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, params};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

/// Page size, bytes: a body of 10 KB needs few pages (each page is two writes into the log), and small records waste little.
const PAGE_BYTES: u32 = 8192;
/// `PRAGMA application_id`, "PstQ".
const APPLICATION_ID: i64 = 0x5073_7451;
/// `PRAGMA user_version` of this layout.
const LAYOUT_VERSION: i64 = 1;
/// The log file is cut back to this size when it has grown beyond.
const LOG_BYTES_KEPT: i64 = 64 << 20;

/// Tables: `entry` is narrow and changes, `content` never changes. So a deferral rewrites neither envelope nor body, and a start reads only `entry`.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS entry(id INTEGER PRIMARY KEY, next_at INTEGER NOT NULL, held INTEGER NOT NULL, arrived INTEGER NOT NULL, state BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS content(id INTEGER PRIMARY KEY, file INTEGER, bytes INTEGER NOT NULL, meta BLOB NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS content_file ON content(file) WHERE file IS NOT NULL;
CREATE TABLE IF NOT EXISTS ids(one INTEGER PRIMARY KEY CHECK(one = 1), bound INTEGER NOT NULL);
INSERT OR IGNORE INTO ids VALUES(1, 1);";

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The one writer; makes the tables.
    Write,
    /// Loads entries.
    Read,
    /// Copies the log into the database beside the writer.
    Checkpoint,
}

/// Opens the database with everything set.
pub(crate) fn open(path: &Path, purpose: Purpose) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if purpose == Purpose::Write {
        make_private(path).map_err(|_| cannot_open())?;
    }
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(2))?;
    if purpose == Purpose::Write {
        connection.pragma_update(None, "page_size", PAGE_BYTES)?;
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    }
    // FULL: the log is synced at every commit. This line is the promise behind every 250.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES_KEPT, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "mmap_size", 0, |_| Ok(())).optional()?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    let cache_kib = if purpose == Purpose::Write { -6144 } else { -512 };
    connection.pragma_update(None, "cache_size", cache_kib)?;
    connection.set_prepared_statement_cache_capacity(32);
    if purpose == Purpose::Write {
        make_tables(&connection)?;
    }
    Ok(connection)
}

/// Bodies lie in the database and its log, and whoever may open the index may lock it: the three are the owner's alone. Made here because
/// SQLite goes by the umask, and gives the log and the index the database's mode.
fn make_private(path: &Path) -> std::io::Result<()> {
    match postino_disk::create_new(path, 0o600) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::set_permissions(&name, std::fs::Permissions::from_mode(0o600)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn cannot_open() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN), None)
}

fn make_tables(connection: &Connection) -> rusqlite::Result<()> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        LAYOUT_VERSION => Ok(()),
        0 => connection.execute_batch(&format!(
            "BEGIN IMMEDIATE;{TABLES}PRAGMA application_id={APPLICATION_ID};PRAGMA user_version={LAYOUT_VERSION};COMMIT"
        )),
        // Made by a later version: not ours to touch.
        _ => Err(rusqlite::Error::InvalidQuery),
    }
}

/// The page size in bytes.
pub(crate) fn page_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    connection.pragma_query_value(None, "page_size", |row| row.get(0)).map(unsigned)
}

/// What kind of trouble a database error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No room.
    Full,
    /// The disk failed; it may be well again later.
    Io,
    /// The database is damaged: only a person (or `check`) can help.
    Damaged,
}

pub(crate) fn trouble(error: &rusqlite::Error) -> Trouble {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Trouble::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Trouble::Damaged,
        _ => Trouble::Io,
    }
}

/// Ids and times are unsigned in the house and signed in the database; both are far below 2^63.
pub(crate) fn signed(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

/// The way back.
pub(crate) fn unsigned(id: i64) -> u64 {
    u64::try_from(id).unwrap_or(0)
}

/// Where a body lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the row.
    Inline,
    /// In the file with this number.
    File(i64),
}

impl Place {
    pub(crate) fn of(file: Option<i64>) -> Self {
        file.map_or(Self::Inline, Self::File)
    }
}

/// An entry with the place of its body, or the reason why it cannot be read.
pub(crate) type Loaded = Result<(QueueEntry, Place), Damaged>;

const LOAD: &str =
    "SELECT e.id, e.next_at, e.held, e.state, c.file, c.bytes, c.meta FROM entry e JOIN content c ON c.id = e.id WHERE e.id = ?1";
const LIST: &str = "SELECT e.id, e.next_at, e.held, e.state, c.file, c.bytes, c.meta FROM entry e JOIN content c ON c.id = e.id \
                    WHERE e.id > ?1 ORDER BY e.id LIMIT ?2";

fn entry_of(row: &Row<'_>) -> rusqlite::Result<Loaded> {
    let id = QueueId(unsigned(row.get(0)?));
    let (next_at, held): (i64, bool) = (row.get(1)?, row.get(2)?);
    let place = Place::of(row.get(4)?);
    let body_bytes = unsigned(row.get(5)?);
    let decoded = codec::decode_meta(row.get_ref(6)?.as_blob().unwrap_or_default()).and_then(|meta| {
        let state = row.get_ref(3).ok().and_then(|v| v.as_blob().ok()).ok_or(Damaged("state"))?;
        let states = codec::decode_states(state, meta.envelope.recipients.len())?;
        Ok((meta, states))
    });
    Ok(decoded.map(|(meta, states)| {
        let codec::Meta { envelope, origin, prepend, arrived, expires } = meta;
        let next_at = Time(next_at);
        (QueueEntry { id, envelope, origin, prepend, body_bytes, arrived, expires, states, next_at, held }, place)
    }))
}

/// One entry.
pub(crate) fn load(connection: &Connection, id: u64) -> rusqlite::Result<Option<Loaded>> {
    connection.prepare_cached(LOAD)?.query_row(params![signed(id)], entry_of).optional()
}

/// Up to `max` entries above `after`, by id.
pub(crate) fn list(connection: &Connection, after: u64, max: usize) -> rusqlite::Result<Vec<(u64, Loaded)>> {
    let mut statement = connection.prepare_cached(LIST)?;
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    statement.query_map(params![signed(after), max], |row| Ok((unsigned(row.get(0)?), entry_of(row)?)))?.collect()
}

/// Ids above `after`, at most `max`.
pub(crate) fn ids(connection: &Connection, after: u64, max: usize) -> rusqlite::Result<Vec<u64>> {
    let mut statement = connection.prepare_cached("SELECT id FROM entry WHERE id > ?1 ORDER BY id LIMIT ?2")?;
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    statement.query_map(params![signed(after), max], |row| row.get(0).map(unsigned))?.collect()
}

/// A body in its row.
pub(crate) fn inline_body(connection: &Connection, id: u64) -> rusqlite::Result<Option<Vec<u8>>> {
    connection.prepare_cached("SELECT body FROM content WHERE id = ?1")?.query_row(params![signed(id)], |row| row.get(0)).optional()
}

/// The place and length of a body.
pub(crate) fn place(connection: &Connection, id: u64) -> rusqlite::Result<Option<(Place, u64)>> {
    let mut statement = connection.prepare_cached("SELECT file, bytes FROM content WHERE id = ?1")?;
    statement.query_row(params![signed(id)], |row| Ok((Place::of(row.get(0)?), unsigned(row.get(1)?)))).optional()
}

/// True when some entry's body lies in this file.
pub(crate) fn is_referenced(connection: &Connection, file: i64) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM content WHERE file = ?1 LIMIT 1")?.exists(params![file])
}

/// The oldest entry: id and arrival.
pub(crate) fn oldest(connection: &Connection) -> rusqlite::Result<Option<(u64, i64)>> {
    let mut statement = connection.prepare_cached("SELECT id, arrived FROM entry ORDER BY id LIMIT 1")?;
    statement.query_row([], |row| Ok((unsigned(row.get(0)?), row.get(1)?))).optional()
}
