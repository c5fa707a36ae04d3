//! The control directory as it lies on disk: bytes of each known file, names of the unknown ones. The only part of the loader that opens files.
//! Never interprets what it reads.

use crate::access::Service;
use crate::problem::Problem;
use crate::table::{self, Home, SERVER_TOML};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Longest control file, bytes.
pub const FILE_BYTES_MAX: u64 = 256 << 20;

/// What was read. Not `Debug`: it holds the smarthost passwords.
#[derive(Default)]
pub struct Raw {
    /// The home that `control/` belongs to.
    pub home: PathBuf,
    /// Classic files that exist, by name.
    pub files: BTreeMap<&'static str, Vec<u8>>,
    /// `server.toml`, when it exists.
    pub server_toml: Option<Vec<u8>>,
    /// Compiled rules by the name of their text (`tcp.smtp` for `tcp.smtp.cdb`), read only when the text is missing.
    pub rules_cdb: BTreeMap<&'static str, Vec<u8>>,
    /// `morercpthosts.cdb` exists.
    pub has_morercpthosts_cdb: bool,
    /// `smtproutes.auth` can be read by every user of the machine.
    pub logins_are_world_readable: bool,
    /// Names in `control/` that the table does not know.
    pub unknown_files: BTreeSet<String>,
}

/// Reads only these classic files and `server.toml`: for programs that are run for each message or login, and by accounts that may not read secrets.
pub(crate) fn read_only(home: &Path, names: &[&str]) -> Result<Raw, Vec<Problem>> {
    let control = home.join("control");
    let mut raw = Raw { home: home.to_path_buf(), ..Raw::default() };
    let mut problems = Vec::new();
    for setting in table::settings().filter(|s| s.home == Home::File && names.contains(&s.name)) {
        match read_file(&control.join(setting.name)) {
            Ok(Some(bytes)) => drop(raw.files.insert(setting.name, bytes)),
            Ok(None) => {}
            Err(problem) => problems.push(problem),
        }
    }
    match read_file(&home.join(SERVER_TOML)) {
        Ok(text) => raw.server_toml = text,
        Err(problem) => problems.push(problem),
    }
    if problems.is_empty() { Ok(raw) } else { Err(problems) }
}

/// Reads the control directory of `home`. An existing file that cannot be read is a problem, a missing one is not.
pub fn read(home: &Path) -> Result<Raw, Vec<Problem>> {
    let control = home.join("control");
    let mut raw = Raw { home: home.to_path_buf(), ..Raw::default() };
    let mut problems = Vec::new();
    match std::fs::read_dir(&control) {
        Ok(entries) => {
            raw.unknown_files = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).filter(|n| !is_known(n)).collect()
        }
        Err(e) => {
            let problem =
                Problem::new(&control, format!("cannot be read: {e}")).advise("make a home with: postino setup HOSTNAME --home DIR");
            return Err(vec![problem]);
        }
    }
    for setting in table::settings().filter(|s| s.home == Home::File) {
        match read_file(&control.join(setting.name)) {
            Ok(Some(bytes)) => drop(raw.files.insert(setting.name, bytes)),
            Ok(None) => {}
            Err(problem) => problems.push(problem),
        }
    }
    let mut optional = |path: PathBuf| {
        read_file(&path).unwrap_or_else(|problem| {
            problems.push(problem);
            None
        })
    };
    raw.server_toml = optional(home.join(SERVER_TOML));
    for name in [Service::Smtp, Service::Pop3].map(Service::file) {
        if !raw.files.contains_key(name)
            && let Some(bytes) = optional(control.join(format!("{name}.cdb")))
        {
            raw.rules_cdb.insert(name, bytes);
        }
    }
    raw.has_morercpthosts_cdb = control.join("morercpthosts.cdb").is_file();
    let logins = std::fs::metadata(control.join("smtproutes.auth"));
    raw.logins_are_world_readable = logins.is_ok_and(|m| m.permissions().mode() & 0o007 != 0);
    if problems.is_empty() { Ok(raw) } else { Err(problems) }
}

fn is_known(name: &str) -> bool {
    matches!(name, "server.toml" | "tcp.smtp.cdb" | "tcp.pop3.cdb" | "morercpthosts.cdb")
        || name.starts_with('.')
        || table::find(name).is_some_and(|s| s.home == Home::File)
}

/// A whole file; `None` when it is missing.
pub(crate) fn read_file(path: &Path) -> Result<Option<Vec<u8>>, Problem> {
    let fail = |e: std::io::Error| {
        Problem::new(path, format!("cannot be read: {e}")).advise("mend the file's owner or mode, or take it away for the default")
    };
    match std::fs::metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fail(e)),
        Ok(m) if !m.is_file() => return Err(Problem::new(path, "is not a regular file")),
        Ok(m) if m.len() > FILE_BYTES_MAX => return Err(Problem::new(path, "is larger than 256 MiB")),
        Ok(_) => {}
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|f| f.take(FILE_BYTES_MAX).read_to_end(&mut bytes)).map_err(fail)?;
    Ok(Some(bytes))
}
