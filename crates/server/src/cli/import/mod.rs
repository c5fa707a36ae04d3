//! `postino import qmail`: a whole qmail and vpopmail machine into a home of ours: settings, aliases, domains with their mail, the waiting queue.
//! Never changes the source; may be interrupted and run again.

pub(super) mod queue_child;
mod queue_parent;
mod queue_source;
mod report;
mod settings;
mod tree;

use super::{Place, print_json, say};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use postino_control::assign::{self, Match};
use postino_directory::admin::{ActingAs, Admin, Owner};
use report::Report;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::IsTerminal as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use tree::{Doing, Tree};

/// Done, but something was not mapped.
const NOT_WHOLE: i32 = 3;

#[derive(Subcommand)]
pub(crate) enum ImportCommand {
    /// Take over a qmail machine: control files, aliases, domains, mailboxes, waiting mail
    Qmail(QmailArgs),
    /// (internal) the half that owns the queue
    #[command(name = queue_parent::CHILD_WORD, hide = true)]
    Queue,
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  postino import qmail /var/qmail /home/vpopmail --home /var/lib/postino --dry-run\n  postino import qmail /var/qmail /home/vpopmail --home /var/lib/postino\n  postino import qmail /var/qmail --queue-only          on a home that is /var/qmail itself\n  postino import qmail /mnt/old/var/qmail /mnt/old/home/vpopmail --was /home/vpopmail\n\nRun it as often as you like before the change: what is here already is left. The source is never changed. Stop qmail-send there before the last run;\nthe server of the home is stopped, too.\n\nExit codes: 0 done, 1 not done, 2 wrong usage, 3 done but for what the report names."
)]
pub(crate) struct QmailArgs {
    /// qmail's home, as a rule /var/qmail
    qmail: PathBuf,
    /// vpopmail's home, as a rule /home/vpopmail; without it no domains are taken
    vpopmail: Option<PathBuf>,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Only the waiting mail
    #[arg(long, conflicts_with_all = ["no_queue", "vpopmail"])]
    queue_only: bool,
    /// All but the waiting mail (qmail-send may go on there)
    #[arg(long)]
    no_queue: bool,
    /// Where vpopmail's home was on the old machine, when VPOPMAIL is a copy of it
    #[arg(long, value_name = "DIR", requires = "vpopmail")]
    was: Option<PathBuf>,
    /// Import once more into a home that has been switched over
    #[arg(long)]
    again: bool,
    /// Account that the server works as, when the home is new
    #[arg(long, default_value = "postino")]
    user: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The old machine.
struct Source {
    qmail: PathBuf,
    /// Where vpopmail's tree lies now.
    vpopmail_at: Option<PathBuf>,
    /// How the old machine's files call that place.
    vpopmail: PathBuf,
    /// Where it goes.
    new_vpopmail: PathBuf,
    assign: Vec<assign::Line>,
}

impl Source {
    /// True for a directory of users/assign that moves with vpopmail's tree.
    fn is_moved(&self, directory: &[u8]) -> bool {
        self.vpopmail_at.is_some() && self.vpopmail != self.new_vpopmail && self.below(directory).is_some()
    }

    /// The part below vpopmail's home; `None` for other places and for paths that climb.
    fn below(&self, directory: &[u8]) -> Option<PathBuf> {
        let path = Path::new(OsStr::from_bytes(directory));
        let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        path.strip_prefix(&self.vpopmail).ok().filter(|rest| plain && !rest.as_os_str().is_empty()).map(Path::to_path_buf)
    }
}

/// Runs one of the imports.
pub(crate) fn run(place: &Place, command: &ImportCommand) -> anyhow::Result<i32> {
    match command {
        ImportCommand::Qmail(args) => qmail(place, args),
        ImportCommand::Queue => queue_child::run(place),
    }
}

fn qmail(place: &Place, args: &QmailArgs) -> anyhow::Result<i32> {
    let home = place.home();
    let doing = if args.dry_run { Doing::Plan } else { Doing::Copy };
    let in_place = same(&args.qmail, &home);
    if in_place && !args.queue_only && args.vpopmail.is_none() {
        bail!(
            "{} is the home itself: nothing but its queue can be imported (--queue-only); docs/take-over.md serves it in place",
            home.display()
        );
    }
    refuse_running(&home)?;
    let done = home.join("control/imported");
    if done.try_exists()? && !args.again && doing == Doing::Copy {
        bail!("{} has taken over a machine already ({}); --again imports what is new there since", home.display(), done.display());
    }
    let lock = if args.no_queue || doing == Doing::Plan { None } else { Some(free_queue(&args.qmail)?) };
    let mut report = Report::default();
    if !args.queue_only {
        if doing == Doing::Copy {
            make_home(&home, &args.user)?;
        }
        machine(args, &home, in_place, doing, &mut report)?;
    }
    if !args.no_queue {
        // On the same home the other half takes this very lock.
        let lock = lock.filter(|_| !in_place);
        queue_parent::run(&args.qmail, &home, doing, &mut report)?;
        drop(lock);
        if doing == Doing::Copy && !args.queue_only {
            let text = format!("{}\n", args.qmail.display());
            postino_disk::replace_file(&done, text.as_bytes(), 0o644).with_context(|| format!("cannot write {}", done.display()))?;
        }
    }
    if args.json {
        print_json(&report.to_json(args.dry_run));
    } else {
        say(&report.text(args.dry_run));
    }
    Ok(if report.is_whole() { 0 } else { NOT_WHOLE })
}

fn same(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| std::fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    id(one).is_some() && id(one) == id(other)
}

fn refuse_running(home: &Path) -> anyhow::Result<()> {
    match crate::control_socket::Client::connect(home) {
        Ok(None) => Ok(()),
        _ => bail!("a server runs on {}: stop it first", home.display()),
    }
}

fn free_queue(qmail: &Path) -> anyhow::Result<Option<std::fs::File>> {
    match queue_source::lock(&qmail.join("queue"))? {
        queue_source::Lock::Free(file) => Ok(file),
        queue_source::Lock::Taken => bail!(
            "qmail-send runs on {}: stop it, so that no message is sent twice (--no-queue imports everything else while it runs)",
            qmail.display()
        ),
    }
}

/// What `setup` would make, without its first domain: the rest comes from the old machine.
fn make_home(home: &Path, user: &str) -> anyhow::Result<()> {
    postino_directory::admin::plain_path(home)?;
    let control = home.join("control");
    std::fs::create_dir_all(&control).with_context(|| format!("cannot make {}", control.display()))?;
    let toml = control.join("server.toml");
    if !toml.try_exists()? {
        crate::compose::account(user)?;
        let text = format!("# What qmail's control files never had; `postino config doc` explains each key.\nuser = \"{user}\"\n");
        postino_disk::replace_file(&toml, text.as_bytes(), 0o644).with_context(|| format!("cannot write {}", toml.display()))?;
    }
    Ok(())
}

/// Everything but the queue.
fn machine(args: &QmailArgs, home: &Path, in_place: bool, doing: Doing, report: &mut Report) -> anyhow::Result<()> {
    let mut source = survey(args, home)?;
    if !in_place {
        settings::control(&source, home, doing, report)?;
    }
    let config = match super::load_quietly(home) {
        Ok(loaded) => Some(loaded.config),
        // A plan for a home that is not made yet.
        Err(_) if doing == Doing::Plan => None,
        Err(error) => return Err(error.context("with the old machine's settings")),
    };
    if let Some(config) = &config {
        source.new_vpopmail.clone_from(&config.vpopmail_home);
    }
    let owner = match &config {
        Some(config) => {
            if doing == Doing::Copy {
                crate::home::prepare(home, crate::compose::owner(config)?)?;
                crate::compose::self_made(config, &[])?;
            }
            Admin::owner_for(config)?
        }
        None => Owner { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() },
    };
    let progress = bar(args, doing);
    if !in_place {
        settings::assignments(&source, home, owner, doing, report)?;
        aliases(&source, home, doing, report, &progress)?;
    }
    domains(&source, owner, doing, report, &progress)?;
    if doing == Doing::Copy && !in_place {
        settings::assignment_data(home)?;
    }
    progress.finish_and_clear();
    Ok(())
}

fn survey(args: &QmailArgs, home: &Path) -> anyhow::Result<Source> {
    let path = args.qmail.join("users/assign");
    let assign = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        Ok(text) => assign::parse(&text).with_context(|| format!("{}", path.display()))?,
    };
    let at = args.vpopmail.as_ref().map(std::path::absolute).transpose()?;
    let vpopmail = args.was.clone().or_else(|| at.clone()).unwrap_or_else(|| PathBuf::from("/home/vpopmail"));
    Ok(Source { qmail: args.qmail.clone(), vpopmail_at: at, vpopmail, new_vpopmail: home.to_path_buf(), assign })
}

fn bar(args: &QmailArgs, doing: Doing) -> indicatif::ProgressBar {
    if args.json || doing == Doing::Plan || !std::io::stderr().is_terminal() {
        return indicatif::ProgressBar::hidden();
    }
    let bar = indicatif::ProgressBar::new_spinner();
    if let Ok(style) = indicatif::ProgressStyle::with_template("{spinner} {bytes} at {bytes_per_sec}  {msg}") {
        bar.set_style(style);
    }
    bar
}

fn aliases(source: &Source, home: &Path, doing: Doing, report: &mut Report, progress: &indicatif::ProgressBar) -> anyhow::Result<()> {
    let from = source.qmail.join("alias");
    let Some(source_owner) = owner_of(&from)? else { return Ok(()) };
    let to = home.join("alias");
    let target_owner = owner_of(&to)?.unwrap_or(source_owner);
    let moved = (source.vpopmail.clone(), source.vpopmail.clone());
    report.settings.push("alias/".into());
    Tree { mode: doing, source_owner, target_owner, moved, report, progress }.copy(&from, &to)
}

/// Owner of a directory; `None`: it is not there.
fn owner_of(path: &Path) -> anyhow::Result<Option<Owner>> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(Some(Owner { uid: meta.uid(), gid: meta.gid() })),
        Ok(_) => bail!("{} is no directory", path.display()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", path.display())),
    }
}

fn domains(source: &Source, owner: Owner, doing: Doing, report: &mut Report, progress: &indicatif::ProgressBar) -> anyhow::Result<()> {
    let Some(at) = source.vpopmail_at.clone() else {
        if source.assign.iter().any(is_domain) {
            report.left(&source.qmail.join("users/assign"), "names virtual domains: give vpopmail's home as the second argument");
        }
        return Ok(());
    };
    if same(&at, &source.new_vpopmail) {
        report.note(format!("{} is used where it lies: its domains are served in place", at.display()));
        return Ok(());
    }
    let mut seen = BTreeSet::new();
    for line in source.assign.iter().filter(|line| is_domain(line)) {
        let [name, _, _, directory, ..] = &line.fields;
        let name = String::from_utf8_lossy(name).into_owned();
        if !seen.insert(directory.clone()) {
            continue;
        }
        let Some(below) = source.below(directory) else {
            report.left(
                Path::new(OsStr::from_bytes(directory)),
                "a domain outside vpopmail's home: it is served where it lies, if this machine has it",
            );
            continue;
        };
        let from = at.join(&below);
        let Some(source_owner) = owner_of(&from)? else {
            report.left(&from, "named in users/assign, not there");
            continue;
        };
        let to = source.new_vpopmail.join(&below);
        if doing == Doing::Copy {
            make_above(&to, &source.new_vpopmail, owner)?;
        }
        progress.set_message(name.clone());
        {
            let _reader = ActingAs::begin(source_owner)?;
            look_at(&from, &name, report)?;
        }
        report.domains.push(name);
        let moved = (source.vpopmail.clone(), source.new_vpopmail.clone());
        Tree { mode: doing, source_owner, target_owner: owner, moved, report, progress }.copy(&from, &to)?;
    }
    etc(source, &at, owner, doing, report)
}

/// `+example.org-:example.org:89:89:DIR:-::`.
fn is_domain(line: &assign::Line) -> bool {
    matches!(&line.matches, Match::Prefix(prefix) if prefix.ends_with(b"-") && prefix.contains(&b'.'))
}

/// Folders between vpopmail's home and a domain's.
fn make_above(to: &Path, top: &Path, owner: Owner) -> anyhow::Result<()> {
    let rest = to.strip_prefix(top).context("a domain lies below vpopmail's home")?;
    let mut path = top.to_path_buf();
    for part in rest.parent().into_iter().flat_map(Path::components) {
        path.push(part);
        if !path.try_exists()? {
            postino_disk::create_dir_durable(&path, 0o711).with_context(|| format!("cannot make {}", path.display()))?;
            if rustix::process::geteuid().is_root() {
                std::os::unix::fs::lchown(&path, Some(owner.uid), Some(owner.gid))?;
            }
        }
    }
    Ok(())
}

/// What a domain has besides files that are copied: accounts, and programs that its dot-qmail files need.
fn look_at(domain: &Path, name: &str, report: &mut Report) -> anyhow::Result<()> {
    match std::fs::read(domain.join("vpasswd")) {
        Ok(text) => report.accounts += u64::try_from(text.split(|&b| b == b'\n').filter(|line| !line.is_empty()).count())?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            report.left(domain, "no vpasswd: its accounts are in a database (server.toml: [directory])");
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read the accounts of {name}")),
    }
    for entry in std::fs::read_dir(domain).with_context(|| format!("cannot read {}", domain.display()))? {
        let path = entry?.path();
        let is_dot_qmail = path.file_name().is_some_and(|file| file.as_bytes().starts_with(b".qmail"));
        // A link (ezmlm's) leads to a file that is looked at by its own name.
        if !is_dot_qmail || !std::fs::symlink_metadata(&path)?.is_file() {
            continue;
        }
        let text = std::fs::read(&path)?;
        let programs = text.split(|&b| b == b'\n').filter_map(|line| line.strip_prefix(b"|")).map(|line| line.trim_ascii());
        for program in
            programs.filter(|line| !line.split(u8::is_ascii_whitespace).next().is_some_and(|word| word.ends_with(b"/vdelivermail")))
        {
            let word = program.split(u8::is_ascii_whitespace).next().unwrap_or_default();
            let file = Path::new(OsStr::from_bytes(word));
            if file.is_absolute() && !file.try_exists().unwrap_or(false) {
                report.left(&path, &format!("runs {}, which is not on this machine", file.display()));
            }
        }
    }
    Ok(())
}

/// vpopmail's own settings.
fn etc(source: &Source, at: &Path, owner: Owner, doing: Doing, report: &mut Report) -> anyhow::Result<()> {
    let from = at.join("etc");
    let Ok(Some(source_owner)) = owner_of(&from) else { return Ok(()) };
    let Ok(entries) = std::fs::read_dir(&from) else { return Ok(()) };
    let to = source.new_vpopmail.join("etc");
    let mut names: Vec<_> = entries.map(|e| e.map(|e| e.file_name())).collect::<Result<_, _>>()?;
    names.sort();
    for name in names {
        let text = name.to_string_lossy().into_owned();
        let path = from.join(&name);
        match text.as_str() {
            "tcp.smtp" | "vlimits.default" | "ip_alias_map" | "open-smtp" | "onchange" => {
                let target = to.join(&name);
                if target.try_exists()? || !std::fs::symlink_metadata(&path)?.is_file() {
                    continue;
                }
                report.settings.push(format!("etc/{text}"));
                if doing == Doing::Plan {
                    continue;
                }
                make_above(&target, &source.new_vpopmail, owner)?;
                let (text, mode) = {
                    // Whoever owns the folder may put a link there.
                    let _reader = ActingAs::begin(source_owner)?;
                    (std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?, std::fs::metadata(&path)?.mode())
                };
                postino_disk::replace_file(&target, &text, mode & 0o777).with_context(|| format!("cannot write {}", target.display()))?;
                if rustix::process::geteuid().is_root() {
                    std::os::unix::fs::lchown(&target, Some(owner.uid), Some(owner.gid))?;
                }
            }
            "vpopmail.mysql" | "vpopmail.pgsql" | "vpopmail.ldap" => {
                report.left(&path, "accounts in a database: server.toml, [directory], says how to reach it")
            }
            "tcp.smtp.cdb" | "open-smtp.lock" | "lib_deps" | "inc_deps" => {}
            _ => report.left(&path, "not one of vpopmail's settings that Postino has"),
        }
    }
    Ok(())
}
