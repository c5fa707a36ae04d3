//! The directory of a single machine: vpopmail's files and users/cdb behind the port. Called by smtpd, pop3d and local through the port; made by
//! the server. Most look-ups are a few stat(2) calls on the caller's thread; what must be loaded is loaded on a blocking one.

use crate::files::FileCache;
use crate::kept::Kept;
use crate::last_login::LastLogins;
use crate::login::{self, Asked, Checker};
use crate::resolve::{self, Deliverer, Sources};
use crate::trouble::{Depth, Trouble};
use crate::users::SystemUsers;
use postino_control::Live;
use postino_ports::BoxFuture;
use postino_ports::accounts::Keepers;
use postino_ports::clock::Clock;
use postino_ports::directory::{Credentials, Directory, Login, LookupError, Resolution, ScramHash, ScramParameters, Secret};
use postino_types::Address;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Look-ups on blocking threads at once.
const LOADING_MAX: usize = 64;
/// Longest wait for a place among them.
const LOADING_WAIT: Duration = Duration::from_secs(20);

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
    /// Who keeps the accounts, when that is not vpopmail's files.
    kept: Option<Arc<Kept>>,
    /// Look-ups on blocking threads at once: a keeper that hangs must not take all of them.
    loading: Semaphore,
    deliverer: Deliverer,
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
            kept: None,
            loading: Semaphore::new(LOADING_MAX),
            deliverer: Deliverer::Server,
        };
        Self { shared: Arc::new(shared) }
    }

    /// With accounts, aliases, logins and limits at these keepers instead of vpopmail's files. What was found stands for `found`, what was not for
    /// `absent`.
    #[must_use]
    pub fn with_keepers(self, keepers: Keepers, found: Duration, absent: Duration) -> Self {
        let kept = Some(Arc::new(Kept::new(keepers, found, absent)));
        match Arc::try_unwrap(self.shared) {
            Ok(shared) => Self { shared: Arc::new(Shared { kept, ..shared }) },
            // In use already: the caller's mistake, and no look-up may see two truths.
            Err(shared) => Self { shared },
        }
    }

    /// For the engine as qmail-send: whose mail users/assign gives to an account is delivered by its own programs, vdelivermail for a virtual domain, since the
    /// engine may not look into its folders.
    #[must_use]
    pub fn for_engine(self) -> Self {
        match Arc::try_unwrap(self.shared) {
            Ok(shared) => Self { shared: Arc::new(Shared { deliverer: Deliverer::Programs, ..shared }) },
            Err(shared) => Self { shared },
        }
    }

    /// The same look-up for callers without a runtime (programs that run as a user). Blocks.
    pub fn resolve_blocking(&self, routed: &Address) -> Result<Resolution, LookupError> {
        self.shared.look(Depth::Load, |sources, depth| resolve::resolve(sources, routed, depth)).map_err(Trouble::into_lookup_error)
    }
}

impl Shared {
    /// A place among the blocking threads that look-ups may hold.
    async fn place(&self) -> Result<SemaphorePermit<'_>, LookupError> {
        let busy = || LookupError { what: "too many look-ups wait for the accounts".into() };
        tokio::time::timeout(LOADING_WAIT, self.loading.acquire()).await.map_err(|_| busy())?.map_err(|_| busy())
    }

    fn look<T>(&self, depth: Depth, question: impl Fn(Sources<'_>, Depth) -> Result<T, Trouble>) -> Result<T, Trouble> {
        let config = self.config.get();
        let (now, wall) = (self.clock.monotonic(), self.clock.now());
        let deliverer = self.deliverer;
        let kept = self.kept.as_deref();
        let sources = Sources { config: &config, files: &self.files, kept, system: &self.system, deliverer, now, wall };
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
    let permit = shared.place().await?;
    let shared = Arc::clone(shared);
    let loaded = tokio::task::spawn_blocking(move || shared.look(Depth::Load, question)).await;
    drop(permit);
    loaded.map_err(|_| LookupError { what: "look-up was interrupted".into() })?.map_err(Trouble::into_lookup_error)
}

/// A login at a keeper. A password that is wrong for what is remembered is tried once more on what is kept now, so that a new one counts at once.
async fn kept_login(shared: &Arc<Shared>, kept: &Arc<Kept>, asked: Asked) -> Result<Login, LookupError> {
    let find = || {
        let login = asked.login.clone();
        ask(shared, move |sources, depth| login::find(sources, &login, depth))
    };
    let now = shared.clock.monotonic();
    let candidate = find().await?;
    if let (Some(candidate), Secret::Plain(password)) = (&candidate, &asked.secret)
        && let Some(proven) = asked_keeper(shared, kept, candidate, password).await?
    {
        return Ok(Checker::told(candidate.clone(), proven, asked.service));
    }
    let first = shared.checker.check(candidate.clone(), asked.clone(), now).await?;
    let Some(before) = candidate.filter(|_| first == Login::Denied) else { return Ok(first) };
    let address = before.mailbox.address.as_str();
    let (name, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    kept.forget(domain, name);
    match find().await? {
        Some(after) if after.record != before.record => shared.checker.check(Some(after), asked, now).await,
        _ => Ok(first),
    }
}

/// Some keepers say themselves whether a password is right (LDAP by bind).
async fn asked_keeper(
    shared: &Shared,
    kept: &Arc<Kept>,
    candidate: &login::Candidate,
    password: &[u8],
) -> Result<Option<bool>, LookupError> {
    let _place = shared.place().await?;
    let (kept, password) = (Arc::clone(kept), zeroize::Zeroizing::new(password.to_vec()));
    let address = candidate.mailbox.address.clone();
    let work = move || {
        let (name, domain) = address.rsplit_once('@').unwrap_or((&address, ""));
        kept.keepers.accounts.check_password(domain, name, &password)
    };
    let told = tokio::task::spawn_blocking(work).await.map_err(|_| LookupError { what: "password check was interrupted".into() })?;
    told.map_err(|error| LookupError { what: error.to_string() })
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
            let asked = Asked { login, secret, service };
            let now = self.shared.clock.monotonic();
            let answer = match &self.shared.kept {
                None => {
                    let name = asked.login.clone();
                    let candidate = ask(&self.shared, move |sources, depth| login::find(sources, &name, depth)).await?;
                    self.shared.checker.check(candidate, asked, now).await?
                }
                Some(kept) => kept_login(&self.shared, kept, asked).await?,
            };
            if let Login::Granted(mailbox) = &answer {
                let kept = self.shared.kept.clone().map(|kept| (kept, mailbox.address.clone()));
                self.shared.last_logins.note(kept, &mailbox.home, peer, now);
            }
            Ok(answer)
        })
    }

    fn scram(&self, login: Vec<u8>, hash: ScramHash) -> BoxFuture<'_, Result<ScramParameters, LookupError>> {
        Box::pin(async move {
            let name = login.clone();
            let candidate = ask(&self.shared, move |sources, depth| login::find(sources, &name, depth)).await?;
            Ok(self.shared.checker.scram(candidate.as_ref(), login, hash).await?.parameters())
        })
    }
}
