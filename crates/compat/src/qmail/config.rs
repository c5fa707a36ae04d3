//! `config-fast` and `config`: the first control files, from the host's name. Called by `main`. Never touches a name that is already in a list.

use crate::fatal::Fatal;
use crate::home::read_if_there;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

const FILE_MODE: u32 = 0o644;
/// Longest host name (RFC 1035 2.3.4), bytes.
const NAME_BYTES_MAX: usize = 255;

/// `config-fast FQDN`.
pub(crate) fn fast(args: &[OsString], home: &Path) -> Result<(), Fatal> {
    let [name] = args else { return Err(Fatal::usage("config-fast fully.qualified.domain.name")) };
    let name = name.to_str().filter(|name| is_host(name)).ok_or_else(|| Fatal::hard("that is not a host name"))?;
    say(&format!("Your fully qualified host name is {name}."));
    write(name, home)
}

/// `config`: as `config-fast` with the name the system has.
pub(crate) fn found(home: &Path) -> Result<(), Fatal> {
    let system = rustix::system::uname();
    let name = system.nodename().to_string_lossy().to_ascii_lowercase();
    say(&format!("Your hostname is {name}."));
    if !name.contains('.') || !is_host(&name) {
        return Err(Fatal::hard("sorry, the host name has no domain: use config-fast FULLY.QUALIFIED.NAME"));
    }
    write(&name, home)
}

fn is_host(name: &str) -> bool {
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    name.len() <= NAME_BYTES_MAX && name.split('.').all(is_label)
}

fn write(name: &str, home: &Path) -> Result<(), Fatal> {
    let labels: Vec<&str> = name.split('.').collect();
    let domain = if labels.len() < 3 { name.to_owned() } else { labels.get(1..).unwrap_or_default().join(".") };
    let plus = labels.get(labels.len().saturating_sub(2)..).unwrap_or_default().join(".");
    let control = home.join("control");
    for (file, value) in [("me", name), ("defaultdomain", &domain), ("plusdomain", &plus)] {
        say(&format!("Putting {value} into control/{file}..."));
        replace(&control.join(file), format!("{value}\n").as_bytes())?;
    }
    for file in ["locals", "rcpthosts"] {
        say(&format!("Putting {name} into control/{file}..."));
        add(&control.join(file), name)?;
    }
    say("Now qmail will refuse to accept SMTP messages except to this host.");
    say("Make sure to change rcpthosts if you add hosts to locals or virtualdomains!");
    Ok(())
}

fn add(path: &Path, name: &str) -> Result<(), Fatal> {
    let old = read_if_there(path).map_err(|e| Fatal::unable(&format!("read {}", path.display()), &e))?;
    let mut old = old.unwrap_or_default();
    if postino_control::classic::list(&old).any(|(_, line)| line.eq_ignore_ascii_case(name.as_bytes())) {
        return Ok(());
    }
    if old.last().is_some_and(|last| *last != b'\n') {
        old.push(b'\n');
    }
    old.extend_from_slice(format!("{name}\n").as_bytes());
    replace(path, &old)
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), Fatal> {
    postino_disk::replace_file(path, bytes, FILE_MODE).map_err(|e| Fatal::unable(&format!("write {}", path.display()), &e))
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
