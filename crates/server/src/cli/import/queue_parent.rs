//! The half of the import that reads qmail's queue, as root if need be, and hands each waiting message to the half that owns ours. Never writes to
//! the old queue.

use super::queue_child::Head;
use super::queue_source::{self, Waiting};
use super::report::Report;
use super::tree::Doing;
use anyhow::{Context, bail};
use std::io::{BufReader, BufWriter, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// The hidden subcommand.
pub(super) const CHILD_WORD: &str = "queue-intake";

/// Reads what waits in `qmail/queue` and has it accepted into the queue of `home`.
pub(super) fn run(qmail: &Path, home: &Path, doing: Doing, report: &mut Report) -> anyhow::Result<()> {
    let queue = qmail.join("queue");
    if !queue.join("mess").try_exists()? {
        report.note(format!("{} has no messages of qmail's", queue.display()));
        return Ok(());
    }
    let (messages, strange) = queue_source::list(&queue)?;
    for what in strange {
        report.left(Path::new(&what), "left out");
    }
    let mut intake = match doing {
        Doing::Plan => None,
        Doing::Copy => Some(Intake::start(home)?),
    };
    for path in messages {
        match queue_source::read(&queue, &path) {
            Ok(Some(waiting)) => {
                let head = head(&waiting);
                if head.recipients.is_empty() && head.failures.is_empty() {
                    continue;
                }
                match &mut intake {
                    None => report.queued += 1,
                    Some(intake) => intake.give(&head, waiting).with_context(|| format!("{}", path.display()))?,
                }
            }
            Ok(None) => report.note(format!("{}: never accepted by qmail, or done; left out", path.display())),
            Err(error) => report.left(&path, &format!("{error:#}")),
        }
    }
    intake.map_or(Ok(()), |intake| intake.finish(report))
}

fn head(waiting: &Waiting) -> Head {
    let of = |kind: u8, list: &[Vec<u8>]| list.iter().map(|address| (kind, address.clone())).collect::<Vec<_>>();
    Head {
        key: format!("{} {} {}", waiting.inode, waiting.bytes, waiting.birth_s),
        birth_s: waiting.birth_s,
        body_bytes: waiting.bytes,
        sender: waiting.sender.clone(),
        recipients: [of(b'U', &waiting.unrouted), of(b'L', &waiting.local), of(b'R', &waiting.remote)].concat(),
        failures: waiting.failures.clone(),
    }
}

/// The other half, and who listens to it: it may say much before we have said everything.
struct Intake {
    child: Child,
    to: BufWriter<ChildStdin>,
    listener: std::thread::JoinHandle<std::io::Result<Answers>>,
}

#[derive(Default)]
struct Answers {
    done: u64,
    known: u64,
    failed: Vec<String>,
}

impl Intake {
    fn start(home: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("which program am I?")?;
        let mut command = Command::new(program);
        command.args(["import", CHILD_WORD, "--home"]).arg(home).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start the half that owns the queue")?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else { bail!("no pipes to the half that owns the queue") };
        let listener = std::thread::spawn(move || listen(BufReader::new(from)));
        Ok(Self { child, to: BufWriter::with_capacity(1 << 16, to), listener })
    }

    fn give(&mut self, head: &Head, waiting: Waiting) -> anyhow::Result<()> {
        self.to.write_all(&head.encode()?).context("the half that owns the queue ended")?;
        let mut body = std::io::Read::take(&waiting.file, waiting.bytes);
        let copied = std::io::copy(&mut body, &mut self.to)?;
        if copied != waiting.bytes {
            bail!("it changed while it was read ({})", waiting.name);
        }
        Ok(())
    }

    fn finish(self, report: &mut Report) -> anyhow::Result<()> {
        let Self { mut child, to, listener } = self;
        // Dropping the pipe is the end of the list; what went wrong, the other half has said itself.
        let flushed = to.into_inner().map(drop);
        let answers = listener.join().map_err(|_| anyhow::anyhow!("the listener broke"))??;
        let status = child.wait()?;
        report.queued += answers.done;
        report.queued_before += answers.known;
        for failure in answers.failed {
            report.left(Path::new("queue/mess"), &failure);
        }
        if !status.success() || flushed.is_err() {
            bail!("not all waiting messages were taken ({} were): run it again", report.queued + report.queued_before);
        }
        Ok(())
    }
}

fn listen(from: impl std::io::BufRead) -> std::io::Result<Answers> {
    let mut answers = Answers::default();
    for line in from.lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("done", _)) => answers.done += 1,
            Some(("known", _)) => answers.known += 1,
            Some(("failed", rest)) => answers.failed.push(rest.to_owned()),
            _ => {}
        }
    }
    Ok(answers)
}
