//! `postino install-compat`: puts the historical names, accounts and folders of a qmail machine in place, and takes them away again. Called from the
//! command line; never touches mail, control files that exist, or a file that somebody else put where a name should go (unless told to).

mod accounts;
mod folders;
mod names;
mod programs;
mod record;
mod samples;
mod sendmail;

use super::{Place, print_json, say};
use accounts::Accounts;
use anyhow::{Context, bail};
use clap::Args;
use programs::Programs;
use record::Record;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  postino install-compat --dry-run\n  postino install-compat\n  postino install-compat --uid vpopmail=1089 --gid vchkpw=1089\n  postino install-compat --root /tmp/package --json\n  postino install-compat --remove\n\nRun again after an upgrade: what stands is left, what is older is replaced. A file that somebody else put in the place of a name stays;\n--force takes the place and keeps the old file under before-postino/ in the home."
)]
pub(crate) struct InstallCompatArgs {
    /// Install below DIR (for packages; accounts go into DIR/etc when DIR/etc/passwd exists)
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Number for an account that is made (vpopmail has 89 unless given); may be repeated
    #[arg(long, value_name = "NAME=NUMBER", value_parser = name_and_number)]
    uid: Vec<(String, u32)>,
    /// Number for a group that is made (vchkpw has 89 unless given); may be repeated
    #[arg(long, value_name = "NAME=NUMBER", value_parser = name_and_number)]
    gid: Vec<(String, u32)>,
    /// Take /usr/sbin/sendmail and /usr/lib/sendmail even where they are another mailer's (Debian: by dpkg-divert)
    #[arg(long)]
    sendmail: bool,
    /// Take the places of files that are not ours; the old ones are kept under before-postino/
    #[arg(long)]
    force: bool,
    /// Take away what was installed and put back what --force and --sendmail had set aside
    #[arg(long, conflicts_with_all = ["force", "sendmail"])]
    remove: bool,
    /// Change nothing, say what would be done
    #[arg(long)]
    dry_run: bool,
    /// The historical programs' file (default: postino-compat beside this program)
    #[arg(long, value_name = "FILE")]
    compat: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn name_and_number(word: &str) -> Result<(String, u32), String> {
    let (name, number) = word.split_once('=').ok_or("NAME=NUMBER is wanted")?;
    match number.parse() {
        Ok(number) if number != 0 && number < u32::from(u16::MAX) => Ok((name.to_owned(), number)),
        Ok(_) => Err("must be between 1 and 65534".to_owned()),
        Err(_) => Err(format!("{number:?} is no number")),
    }
}

/// What happened to one thing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    /// It was not there.
    Made,
    /// Ours, and older.
    Replaced,
    /// As it should be already.
    Kept,
    /// Somebody else's: not touched.
    Left,
    /// Taken away.
    Removed,
    /// Something that the administrator should know.
    Note,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Replaced => "replaced",
            Self::Kept => "kept",
            Self::Left => "left",
            Self::Removed => "removed",
            Self::Note => "note",
        }
    }
}

/// Where we install, and what was done so far.
struct Site {
    root: PathBuf,
    /// As seen from inside `root`.
    home: PathBuf,
    dry: bool,
    force: bool,
    steps: Vec<(Action, String, String)>,
}

impl Site {
    /// The path on this machine of one that is written as seen from inside.
    fn path(&self, inside: &Path) -> PathBuf {
        self.root.join(inside.strip_prefix("/").unwrap_or(inside))
    }

    fn whole_machine(&self) -> bool {
        self.root == Path::new("/")
    }

    fn step(&mut self, action: Action, what: impl Into<String>, why: impl Into<String>) {
        self.steps.push((action, what.into(), why.into()));
    }

    /// Makes the folder of `inside`; a link there must not lead out of `root`.
    fn folder_of(&self, inside: &Path) -> anyhow::Result<()> {
        let path = self.path(inside);
        let folder = path.parent().unwrap_or(&self.root);
        if !self.dry {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        self.stays_inside(folder)
    }

    /// A folder of ours may be a link, but not to a place outside.
    fn stays_inside(&self, folder: &Path) -> anyhow::Result<()> {
        match folder.canonicalize() {
            Ok(real) if !real.starts_with(self.root.canonicalize()?) => {
                bail!("{} leads out of {}, to {}", folder.display(), self.root.display(), real.display())
            }
            Ok(_) => Ok(()),
            Err(error) if self.dry || error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot enter {}", folder.display())),
        }
    }
}

/// The command.
pub(crate) fn run(place: &Place, args: &InstallCompatArgs) -> anyhow::Result<i32> {
    let root = std::path::absolute(&args.root)?;
    let home = place.explicit().unwrap_or_else(|| postino_control::home::QMAIL_HOME.into());
    let mut site = Site { root, home, dry: args.dry_run, force: args.force, steps: Vec::new() };
    if site.whole_machine() && !site.dry && !nix::unistd::geteuid().is_root() {
        bail!("only root can make accounts and write /var/qmail (try --dry-run, or --root DIR)");
    }
    let record_path = site.path(&site.home.join(record::NAME));
    site.stays_inside(record_path.parent().unwrap_or(&site.root))?;
    let mut record = Record::read(&record_path)?;
    let result = if args.remove { programs::remove(&mut site, &mut record) } else { install(&mut site, &mut record, args) };
    if !site.dry {
        // Also after an error: what was put in place so far is ours.
        record.write(&record_path)?;
    }
    report(&site, args.json);
    result.map(|()| 0)
}

fn install(site: &mut Site, record: &mut Record, args: &InstallCompatArgs) -> anyhow::Result<()> {
    let sources = programs::sources(args.compat.as_deref())?;
    refuse_half_a_qmail(site, record)?;
    let accounts = Accounts::make(site, &args.uid, &args.gid)?;
    let owner = folders::make(site, &accounts)?;
    Programs { site, record, sources: &sources, accounts: &accounts, queue_group: owner.map(|(_, gid)| gid) }.place()?;
    samples::place(site, record)?;
    sendmail::place(site, record, args.sendmail)
}

/// Some programs of qmail's beside some of ours would be two mailers with two queues in one home.
fn refuse_half_a_qmail(site: &Site, record: &Record) -> anyhow::Result<()> {
    let engine = site.home.join("bin/qmail-send");
    let foreign = std::fs::symlink_metadata(site.path(&engine)).is_ok_and(|found| !record.is_ours(&engine, &found));
    if foreign && !site.force {
        bail!(
            "{} is not ours: qmail is installed here; stop it, let its queue run empty, then use --force (docs/take-over.md)",
            site.path(&engine).display()
        );
    }
    Ok(())
}

fn report(site: &Site, as_json: bool) {
    if as_json {
        let steps: Vec<_> =
            site.steps.iter().map(|(action, what, why)| json!({"action": action.word(), "what": what, "why": why})).collect();
        return print_json(&json!({"root": site.root, "home": site.home, "dry_run": site.dry, "steps": steps}));
    }
    let mut kept = 0;
    for (action, what, why) in &site.steps {
        match action {
            Action::Kept => kept += 1,
            _ if why.is_empty() => say(&format!("{:9} {what}", action.word())),
            _ => say(&format!("{:9} {what}: {why}", action.word())),
        }
    }
    let done = site.steps.len() - kept;
    let dry = if site.dry { " (nothing was changed: --dry-run)" } else { "" };
    say(&format!("{done} done, {kept} as they should be already{dry}"));
}
