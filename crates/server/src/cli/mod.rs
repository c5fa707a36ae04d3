//! The command line: words, help and exit codes. Each subcommand's work is in its own file; nothing here opens mail.

mod check;
mod config;
mod demo;
mod directory;
mod directory_copy;
mod fetch;
mod import;
mod install_compat;
mod queue;
mod queue_qmail;
mod rbl;
mod relay;
mod send;
mod serialmail;
mod serve;
mod setup;
mod vpopmail;

pub(crate) use serve::raise_limits;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
#[command(
    name = "postino",
    version,
    about = "A whole mail server: SMTP, queue, local and remote delivery, POP3, virtual domains",
    after_help = "Examples:\n  postino demo                                  a throw-away server on loopback\n  postino setup mail.example.org                make a home and the first domain\n  postino serve                                 run it\n  postino user add pippo@example.org            add a mailbox\n  postino queue list                            what waits\n\nExit codes: 0 done, 1 not done (the text says why), 2 wrong usage, 100 permanent and 111 temporary failure of mail programs."
)]
struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

/// Where the home is.
#[derive(Args, Clone)]
pub(crate) struct Place {
    /// Postino's home: control/, queue/, domains/ (default: /var/qmail if it exists, else /var/lib/postino)
    #[arg(long, global = true, env = "POSTINO_HOME", value_name = "DIR")]
    home: Option<PathBuf>,
}

impl Place {
    /// The home that was named with `--home` or POSTINO_HOME.
    pub(crate) fn explicit(&self) -> Option<PathBuf> {
        self.home.as_ref().map(|h| std::path::absolute(h).unwrap_or_else(|_| h.clone()))
    }

    /// The home in force.
    pub(crate) fn home(&self) -> PathBuf {
        let home = postino_control::home::choose(self.home.as_deref());
        // Children and error messages want a path that does not depend on the working directory.
        std::path::absolute(&home).unwrap_or(home)
    }
}

#[derive(Subcommand)]
enum Command {
    /// Run a whole mail server on loopback with a throw-away home, and print what to try
    Demo(demo::DemoArgs),
    /// Make a home: control files, certificate, first domain, postmaster
    Setup(setup::SetupArgs),
    /// Run the server (SIGHUP rereads, SIGALRM retries the whole queue, SIGTERM ends cleanly)
    Serve(serve::ServeArgs),
    /// Check every control file and the environment without starting
    Check(check::CheckArgs),
    /// Check queue and indexes while the server is stopped
    CheckStore(check::CheckStoreArgs),
    /// Read and change settings
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Virtual domains
    #[command(subcommand)]
    Domain(directory::DomainCommand),
    /// Copy accounts between vpopmail's files and databases
    #[command(subcommand)]
    Directory(directory_copy::DirectoryCommand),
    /// Mailboxes
    #[command(subcommand)]
    User(directory::UserCommand),
    /// Aliases of a virtual domain
    #[command(subcommand)]
    Alias(directory::AliasCommand),
    /// The queue
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// Take over another mail server's settings, mailboxes and waiting mail
    #[command(subcommand)]
    Import(import::ImportCommand),
    /// Put the historical programs, accounts and folders of a qmail machine in place
    InstallCompat(install_compat::InstallCompatArgs),
    /// Queue a message from standard input as it is
    Send(send::SendArgs),
    /// Read a message from standard input and send it, as sendmail(8); also under that name
    #[command(disable_help_flag = true)]
    Sendmail(send::Words),
    /// Complete a message's header and send it, as qmail-inject(8); also under that name
    #[command(name = "qmail-inject", disable_help_flag = true)]
    QmailInject(send::Words),
    /// Queue a message: descriptor 0 the message, 1 the envelope, as qmail-queue(8); also under that name
    #[command(name = "qmail-queue", disable_help_flag = true)]
    QmailQueue(send::Words),
    /// Bring mail of other servers here, by the [[fetch]] accounts of server.toml
    Fetch(fetch::FetchArgs),
    /// (internal) the password or token of a [[fetch]] account
    #[command(name = crate::fetch::SECRET_WORD, hide = true)]
    FetchSecret { account: String },
    /// Links of control/links: send what is held for one, or hold it again
    #[command(subcommand)]
    Serialmail(serialmail::SerialmailCommand),
    /// Ask the block lists of control/rbl about an address or a domain
    Rbl(rbl::RblArgs),
    /// Addresses that may send mail to other hosts since somebody logged in from there
    #[command(subcommand)]
    Relay(relay::RelayCommand),
    /// (internal) a program of vpopmail's, where a database keeps the accounts
    #[command(hide = true, disable_help_flag = true)]
    Vpopmail(vpopmail::VpopmailArgs),
    /// (internal) the unprivileged part of serve
    #[command(hide = true)]
    Worker,
    /// (internal) the part of serve that starts deliveries as their users
    #[command(hide = true)]
    Spawner,
}

/// Parses, runs, reports; returns the exit code.
pub(crate) fn run() -> i32 {
    let cli = Cli::from_arg_matches(&with_examples(Cli::command()).get_matches()).unwrap_or_else(|error| error.exit());
    let result = match cli.command {
        Command::Demo(args) => demo::run(&cli.place, &args),
        Command::Setup(args) => setup::run(&cli.place, &args),
        Command::Serve(args) => serve::run(&cli.place, &args),
        Command::Check(args) => check::run(&cli.place, &args),
        Command::CheckStore(args) => check::run_store(&cli.place, &args),
        Command::Config(command) => config::run(&cli.place, command),
        Command::Directory(command) => directory_copy::run(&cli.place, &command),
        Command::Domain(command) => directory::domain(&cli.place, command),
        Command::User(command) => directory::user(&cli.place, command),
        Command::Alias(command) => directory::alias(&cli.place, command),
        Command::Queue(command) => queue::run(&cli.place, command),
        Command::Import(command) => import::run(&cli.place, &command),
        Command::InstallCompat(args) => install_compat::run(&cli.place, &args),
        Command::Send(args) => send::run(&cli.place, &args),
        Command::Sendmail(words) => send::program(&cli.place, "sendmail", &words),
        Command::QmailInject(words) => send::program(&cli.place, "qmail-inject", &words),
        Command::QmailQueue(words) => send::program(&cli.place, "qmail-queue", &words),
        Command::Fetch(args) => fetch::run(&cli.place, &args),
        Command::FetchSecret { account } => fetch::secret(&cli.place, &account),
        Command::Serialmail(command) => serialmail::run(&cli.place, command),
        Command::Rbl(args) => rbl::run(&cli.place, &args),
        Command::Relay(command) => relay::run(&cli.place, &command),
        Command::Vpopmail(args) => vpopmail::run(&cli.place, &args),
        Command::Worker => crate::worker::main(&cli.place.home()),
        Command::Spawner => serve::spawner(&cli.place),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("postino: {}", told(&error));
            1
        }
    }
}

/// Gives each command of a group those of the group's examples that show it.
fn with_examples(command: clap::Command) -> clap::Command {
    command.mut_subcommands(|group| {
        let name = group.get_name().to_owned();
        let examples = group.get_after_help().map(ToString::to_string).unwrap_or_default();
        group.mut_subcommands(|leaf| {
            let beginning = format!("postino {name} {}", leaf.get_name());
            let shows =
                |line: &&str| line.trim_start().strip_prefix(&beginning).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
            let lines: Vec<&str> = examples.lines().filter(shows).collect();
            if lines.is_empty() || leaf.get_after_help().is_some() {
                return leaf;
            }
            leaf.after_help(format!("Examples:\n{}", lines.join("\n")))
        })
    })
}

/// Loads the configuration or says, file by file, what is wrong. Warnings go to standard error.
pub(crate) fn load(home: &std::path::Path) -> anyhow::Result<postino_control::Config> {
    let loaded = load_quietly(home)?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(loaded.config)
}

/// As [`load`]; the caller has another place for the warnings.
pub(crate) fn load_quietly(home: &std::path::Path) -> anyhow::Result<postino_control::Loaded> {
    let load = if crate::qmail::engine().is_some() { postino_control::load_as_qmail } else { postino_control::load };
    load(home).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("the configuration in {} cannot be used:\n  {}", home.join("control").display(), lines.join("\n  "))
    })
}

/// An error with its causes. A cause that the line before quotes already is not said twice.
fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string).filter(|c| !c.is_empty()) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    let denied = |e: &(dyn std::error::Error + 'static)| {
        e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied)
    };
    if error.chain().any(denied) && !nix::unistd::geteuid().is_root() {
        text.push_str(" (root may, and the server's own account)");
    }
    text
}

/// Prints a value as JSON.
pub(crate) fn print_json(value: &serde_json::Value) {
    use std::io::Write as _;
    // A reader that closed its end is not an error of ours.
    let _ = writeln!(std::io::stdout(), "{value:#}");
}

/// Prints one line; a closed reader is not an error.
pub(crate) fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_shows_an_example() {
        fn lacking(command: &clap::Command, path: &str, found: &mut Vec<String>) {
            let visible: Vec<_> = command.get_subcommands().filter(|sub| !sub.is_hide_set()).collect();
            let programs = ["sendmail", "qmail-inject", "qmail-queue"]; // their words are the historical programs' own
            if visible.is_empty() && !command.get_after_help().is_some_and(|help| help.to_string().contains("Examples:\n")) {
                found.extend(Some(path.to_owned()).filter(|_| !programs.contains(&command.get_name())));
            }
            visible.iter().for_each(|sub| lacking(sub, &format!("{path} {}", sub.get_name()), found));
        }
        let mut found = Vec::new();
        lacking(&with_examples(Cli::command()), "postino", &mut found);
        assert!(found.is_empty(), "no example in the help of {found:?}; its group's after_help has the place for it");
    }
}
