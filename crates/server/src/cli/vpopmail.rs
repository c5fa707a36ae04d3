//! `postino vpopmail NAME [ARGUMENT …]` (hidden): vpopmail's programs on whatever keeps the accounts. Run by `postino-compat` under the programs' own
//! names; small programs that link no database are that one's.

use super::Place;
use crate::keepers::Purpose;
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
    let Some(program) = postino_vpopmail::find(&args.name) else {
        anyhow::bail!("vpopmail has no program {:?} (known: {})", args.name, known());
    };
    let home = place.home();
    let opened = postino_vpopmail::World::open(&args.name, &home).map_err(anyhow::Error::msg).and_then(|mut world| {
        let of_the_mail = matches!(args.name.as_str(), "vchkpw" | "vdelivermail");
        let purpose = if of_the_mail { Purpose::Serving } else { Purpose::Changing };
        world.keepers = crate::keepers::configured(&world.config, purpose)?;
        Ok(world)
    });
    match opened {
        Ok(world) => Ok(program(&world, &args.words)),
        Err(error) => {
            eprintln!("{}: fatal: {error:#}", args.name);
            Ok(postino_vpopmail::trouble(&args.name))
        }
    }
}

fn known() -> String {
    postino_vpopmail::PROGRAMS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
}
