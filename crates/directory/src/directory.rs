//! The directory of a single machine: vpopmail's files and users/cdb behind the port. Called by smtpd, pop3d and local through the port; made by
//! the server. Most look-ups are a few stat(2) calls on the caller's thread; what must be loaded is loaded on a blocking one.

use crate::files::FileCache;
use crate::last_login::LastLogins;
use crate::login::{self, Checker};
use crate::resolve::{self, Sources};
use crate::trouble::{Depth, Trouble};
use crate::users::SystemUsers;
use postino_control::Live;
use postino_ports::BoxFuture;
use postino_ports::clock::Clock;
use postino_ports::directory::{Credentials, Directory, Login, LookupError, Resolution};
use postino_types::Address;
use std::sync::Arc;

/// Accounts as qmail and vpopmail keep them.
#[derive(Clone)]
pub struct VpopmailDirectory {
    shared: Arc<Shared>,
}

struct Shared {
    config: Live,
    clock: Arc<dyn Clock>,
    files: FileCache,
    system: SystemUsers,
    checker: Checker,
    last_logins: LastLogins,
}

impl std::fmt::Debug for VpopmailDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VpopmailDirectory(..)")
    }
}

impl VpopmailDirectory {
    /// Reads `home`, `vpopmail_home`, `me`, `minuid` and `recipient_delimiters` from the configuration at each use. Opens nothing yet;
    /// takes the time of one password hash.
    #[must_use]
    pub fn new(config: Live, clock: Arc<dyn Clock>) -> Self {
        let shared = Shared {
            config,
            clock,
            files: FileCache::default(),
            system: SystemUsers::default(),
            checker: Checker::new(),
            last_logins: LastLogins::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The same look-up for callers without a runtime (programs that run as a user). Blocks.
    pub fn resolve_blocking(&self, routed: &Address) -> Result<Resolution, LookupError> {
        self.shared.look(Depth::Load, |sources, depth| resolve::resolve(sources, routed, depth)).map_err(Trouble::into_lookup_error)
    }
}

impl Shared {
    fn look<T>(&self, depth: Depth, question: impl Fn(Sources<'_>, Depth) -> Result<T, Trouble>) -> Result<T, Trouble> {
        let config = self.config.get();
        let (now, wall) = (self.clock.monotonic(), self.clock.now());
        let sources = Sources { config: &config, files: &self.files, system: &self.system, now, wall };
        question(sources, depth)
    }
}

/// First with what is at hand, then, if something must be loaded, again on a blocking thread.
async fn ask<T, Q>(shared: &Arc<Shared>, question: Q) -> Result<T, LookupError>
where
    T: Send + 'static,
    Q: Fn(Sources<'_>, Depth) -> Result<T, Trouble> + Send + 'static,
{
    match shared.look(Depth::Warm, &question) {
        Ok(answer) => return Ok(answer),
        Err(Trouble::Failed(error)) => return Err(error),
        Err(Trouble::NeedsLoad) => {}
    }
    let shared = Arc::clone(shared);
    let loaded = tokio::task::spawn_blocking(move || shared.look(Depth::Load, question)).await;
    loaded.map_err(|_| LookupError { what: "look-up was interrupted".into() })?.map_err(Trouble::into_lookup_error)
}

impl Directory for VpopmailDirectory {
    fn resolve<'a>(&'a self, routed: &'a Address) -> BoxFuture<'a, Result<Resolution, LookupError>> {
        Box::pin(async move {
            let routed = routed.clone();
            ask(&self.shared, move |sources, depth| resolve::resolve(sources, &routed, depth)).await
        })
    }

    fn authenticate(&self, credentials: Credentials) -> BoxFuture<'_, Result<Login, LookupError>> {
        Box::pin(async move {
            let Credentials { login, secret, service, peer } = credentials;
            let candidate = ask(&self.shared, move |sources, depth| login::find(sources, &login, depth)).await?;
            let now = self.shared.clock.monotonic();
            let answer = self.shared.checker.check(candidate, secret, service, now).await?;
            if let Login::Granted(mailbox) = &answer {
                self.shared.last_logins.note(&mailbox.home, peer, now);
            }
            Ok(answer)
        })
    }
}
