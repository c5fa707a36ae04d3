//! Why a look-up stopped. Internal to the crate; at the port only [`LookupError`] is seen. Never means "not there".

use postino_ports::directory::LookupError;
use std::fmt;
use std::path::Path;

/// How far a look-up may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Only stat(2), small files and what is in memory: on the runtime's own thread.
    Warm,
    /// Anything: on a blocking thread.
    Load,
}

/// Why a look-up stopped.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It must go on at [`Depth::Load`].
    NeedsLoad,
    /// It cannot tell.
    Failed(LookupError),
}

impl Trouble {
    /// Trouble with a file.
    pub(crate) fn io(path: &Path, error: &std::io::Error) -> Self {
        Self::because(path, error)
    }

    /// Trouble with a file, any reason.
    pub(crate) fn because(path: &Path, reason: &dyn fmt::Display) -> Self {
        Self::Failed(LookupError { what: format!("{}: {reason}", path.display()) })
    }

    /// Trouble in words.
    pub(crate) fn text(what: impl Into<String>) -> Self {
        Self::Failed(LookupError { what: what.into() })
    }

    /// For the port; called only when nothing can be loaded any more.
    pub(crate) fn into_lookup_error(self) -> LookupError {
        match self {
            Self::NeedsLoad => LookupError { what: "look-up was not finished".into() },
            Self::Failed(error) => error,
        }
    }
}
