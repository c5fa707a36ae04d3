//! `/usr/sbin/sendmail` and `/usr/lib/sendmail`: links to ours where no other mailer has them, or where the administrator asks for it. On Debian the other
//! mailer's file is set aside by dpkg-divert, so that its next upgrade does not take the name back.

use super::record::Record;
use super::{Action, Site, programs};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

const PLACES: [&str; 2] = ["/usr/sbin/sendmail", "/usr/lib/sendmail"];

/// Makes the links.
pub(super) fn place(site: &mut Site, record: &mut Record, asked: bool) -> anyhow::Result<()> {
    let target = site.home.join("bin/sendmail");
    for inside in PLACES.map(Path::new) {
        site.folder_of(inside)?;
        let path = site.path(inside);
        let text = inside.display().to_string();
        let mut before = None;
        let mut diverted = false;
        match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot look at {}", path.display())),
            Ok(_) if leads_to(&path, &[&target, Path::new("/usr/sbin/sendmail")]) => {
                site.step(Action::Kept, text, "");
                continue;
            }
            Ok(_) if !asked => {
                site.step(Action::Left, text, "another mailer's; --sendmail sets it aside");
                continue;
            }
            Ok(_) if site.dry => {}
            Ok(_) => {
                diverted = divert(site, inside)?;
                if !diverted {
                    before = programs::save(site, record, inside)?;
                    std::fs::remove_file(&path)?;
                }
            }
        }
        if !site.dry {
            std::os::unix::fs::symlink(&target, &path).with_context(|| format!("cannot make the link {}", path.display()))?;
            record.note(inside, &std::fs::symlink_metadata(&path)?, before);
            record.files.entry(inside.to_path_buf()).or_default().diverted |= diverted;
        }
        site.step(Action::Made, text, format!("leads to {}", target.display()));
    }
    Ok(())
}

/// A link to one of these (Debian's `/usr/lib/sendmail` is `../sbin/sendmail`).
fn leads_to(path: &Path, targets: &[&Path]) -> bool {
    let Ok(to) = std::fs::read_link(path) else { return false };
    let is_debians = to == Path::new("../sbin/sendmail");
    is_debians || targets.contains(&to.as_path())
}

/// True when dpkg keeps the file aside from now on.
fn divert(site: &Site, inside: &Path) -> anyhow::Result<bool> {
    let Some(mut command) = dpkg_divert(site) else { return Ok(false) };
    command.arg("--divert").arg(aside(inside)).arg("--add").arg(inside);
    run(&mut command)?;
    Ok(true)
}

/// Puts the diverted file back.
pub(super) fn undivert(site: &Site, inside: &Path) -> anyhow::Result<()> {
    let Some(mut command) = dpkg_divert(site) else { bail!("dpkg-divert is gone; {} is still aside", inside.display()) };
    run(command.arg("--remove").arg(inside))
}

fn aside(inside: &Path) -> PathBuf {
    let mut name = inside.file_name().unwrap_or_default().to_os_string();
    name.push(".before-postino");
    inside.with_file_name(name)
}

fn dpkg_divert(site: &Site) -> Option<Command> {
    let known = site.path(Path::new("/usr/bin/dpkg-divert")).is_file() && site.path(Path::new("/var/lib/dpkg/status")).is_file();
    let mut command = Command::new("dpkg-divert");
    if !site.whole_machine() {
        command.arg("--root").arg(&site.root);
    }
    command.args(["--local", "--rename", "--quiet"]);
    known.then_some(command)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().context("cannot run dpkg-divert")?;
    if !output.status.success() {
        bail!("dpkg-divert: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
