//! `postino vpopmail NAME [ARGUMENT …]` (hidden): vpopmail's programs on whatever keeps the accounts. Run by `postino-compat` under the programs' own
//! names; small programs that link no database are that one's.

use super::Place;
use clap::Args;
use std::ffi::OsString;

#[derive(Args)]
pub(crate) struct VpopmailArgs {
    /// The program
    name: String,
    /// Its words
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// The command.
pub(crate) fn run(place: &Place, args: &VpopmailArgs) -> anyhow::Result<i32> {
    postino_vpopmail::run(&args.name, &place.home(), &args.words)
        .ok_or_else(|| anyhow::anyhow!("vpopmail has no program {:?} (known: {})", args.name, known()))
}

fn known() -> String {
    postino_vpopmail::PROGRAMS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
}
