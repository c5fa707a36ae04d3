//! Local injection: `postino send`, and the historical injectors as subcommands. Puts nothing into the queue by itself: `postino-compat` does, by
//! the server's socket, a program in qmail-queue's place, or the drop directory.

use super::Place;
use anyhow::Context;
use clap::Args;
use postino_types::exit;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  postino send --from me@example.org --to joe@example.net <message\n  postino send --from '' --to joe@example.net --json <message\n\nExit codes: 0 it is on stable storage, 100 refused for good, 111 not now."
)]
pub(crate) struct SendArgs {
    /// Envelope sender, where bounces go; '' for none
    #[arg(long, value_name = "ADDRESS")]
    from: OsString,
    /// Recipient; may be repeated
    #[arg(long, value_name = "ADDRESS", required = true)]
    to: Vec<OsString>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// The words of a historical program, untouched.
#[derive(Args)]
pub(crate) struct Words {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    words: Vec<OsString>,
}

/// `postino send`.
pub(crate) fn run(place: &Place, args: &SendArgs) -> anyhow::Result<i32> {
    let recipients: Vec<&[u8]> = args.to.iter().map(|to| to.as_bytes()).collect();
    let mut message = std::io::stdin().lock();
    let answer = postino_compat::queue(&place.home(), args.from.as_bytes(), &recipients, &mut message);
    let answer = answer.context("cannot read the message, or start a program")?;
    if args.json {
        super::print_json(&match &answer {
            Ok(qp) => serde_json::json!({ "queued": true, "qp": qp }),
            Err(refused) => serde_json::json!({ "queued": false, "permanent": refused.hard, "text": refused.text }),
        });
    }
    Ok(match answer {
        Ok(_) => exit::OK,
        Err(refused) => {
            if !args.json {
                eprintln!("postino: {}", refused.text);
            }
            refused.exit_code()
        }
    })
}

/// A historical program as a subcommand.
pub(crate) fn program(place: &Place, name: &str, words: &Words) -> anyhow::Result<i32> {
    if let Some(home) = place.explicit().filter(|home| std::env::var_os("POSTINO_HOME").is_none_or(|set| set != home.as_os_str())) {
        // The programs know the variable only.
        let error = std::process::Command::new("/proc/self/exe").arg0(name).args(&words.words).env("POSTINO_HOME", home).exec();
        return Err(error).context("cannot start anew");
    }
    let program = postino_compat::injector(name).context("invariant: the name is in the table")?;
    Ok(program(&words.words))
}
