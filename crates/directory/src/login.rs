//! Logins: name to account, account to password. Called by [`crate::VpopmailDirectory`]. An unknown name costs the same work as a wrong
//! password; nothing here logs a name, a password or a hash.

use crate::names::split_login;
use crate::password::{self, NewHash, PASSWORD_BYTES_MAX, constant_time_equal};
use crate::resolve::Sources;
use crate::scram::{self, Salter};
use crate::trouble::{Depth, Trouble};
use crate::users;
use crate::verified::{Proof, Verified};
use crate::vpasswd::{DomainLimits, FLAG_NO_IMAP, FLAG_NO_POP, FLAG_NO_SMTP, Record};
use crate::vpopmail::deliver::{Domain, mailbox};
use md5::{Digest, Md5};
use postino_ports::directory::{Login, LookupError, Mailbox, ScramHash, Secret, Service};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Longest login name looked at, in bytes.
const LOGIN_BYTES_MAX: usize = 255;
/// Largest file of limits, in bytes.
const LIMITS_BYTES_MAX: u64 = 64 << 10;

/// An account with what proves its owner.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) mailbox: Mailbox,
    pub(crate) record: Record,
}

/// Finds the account of a login name. `None`: there is none.
pub(crate) fn find(sources: Sources<'_>, login: &[u8], depth: Depth) -> Result<Option<Candidate>, Trouble> {
    if login.len() > LOGIN_BYTES_MAX || login.iter().any(u8::is_ascii_control) {
        return Ok(None);
    }
    let (user, host) = split_login(login);
    let host = host.unwrap_or_else(|| sources.config.me.to_ascii_lowercase().into_bytes());
    if user.is_empty() || host.is_empty() {
        return Ok(None);
    }
    let prefix = [host.as_slice(), b"-"].concat();
    let Some(account) = users::assigned_prefix(sources.files, sources.config, &prefix, depth)? else { return Ok(None) };
    if account.uid == 0 || account.uid < sources.config.server.minuid {
        return Err(Trouble::text(format!("users/cdb: a domain of uid {}", account.uid)));
    }
    let domain = Domain::new(&account);
    let Some(mut record) = sources.accounts().find(&domain, &user, depth)? else { return Ok(None) };
    if sources.kept.is_none() {
        record.flags = flags_in_files(sources, &account.home, &record)?; // a keeper's are in force already
    }
    Ok(Some(Candidate { mailbox: mailbox(&domain, &record)?, record }))
}

/// The flags in force: services that the domain's limits close, or the site's where the domain has none of its own.
fn flags_in_files(sources: Sources<'_>, domain: &Path, record: &Record) -> Result<u32, Trouble> {
    for path in [domain.join(".qmailadmin-limits"), sources.config.vpopmail_home.join("etc/vlimits.default")] {
        // One that is there and cannot be read may close the service: not "open".
        if let Some(found) = sources.files.small(&path, LIMITS_BYTES_MAX, sources.wall).map_err(|error| Trouble::io(&path, &error))? {
            return Ok(record.effective_flags(&DomainLimits::parse(&found.text)));
        }
    }
    Ok(record.flags)
}

/// What a client showed, and for which account.
#[derive(Clone)]
pub(crate) struct Asked {
    /// As the client wrote it.
    pub(crate) login: Vec<u8>,
    pub(crate) secret: Secret,
    pub(crate) service: Service,
}

/// Checks secrets on a small pool of its own.
#[derive(Debug)]
pub(crate) struct Checker {
    hashing: Arc<Semaphore>,
    verified: Arc<Verified>,
    salter: Arc<Salter>,
    /// A stored hash of the kind in use here: what an unknown name is checked against.
    decoy: Arc<Mutex<Zeroizing<String>>>,
}

impl Checker {
    /// As many hashes at once as there are cores.
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let decoy = password::hash_password(b"", NewHash::default()).unwrap_or_else(|_| "$6$decoydecoydecoyd$".into());
        Self {
            hashing: Arc::new(Semaphore::new(cores)),
            verified: Arc::new(Verified::new()),
            salter: Arc::new(Salter::new()),
            decoy: Arc::new(Mutex::new(Zeroizing::new(decoy))),
        }
    }

    /// The end of a login that the keeper itself decided.
    pub(crate) fn told(candidate: Candidate, proven: bool, service: Service) -> Login {
        if proven && is_open(candidate.record.flags, service) { Login::Granted(candidate.mailbox) } else { Login::Denied }
    }

    /// Is `secret` the one of `candidate`? `None` costs as much as somebody.
    pub(crate) async fn check(&self, candidate: Option<Candidate>, asked: Asked, now: std::time::Duration) -> Result<Login, LookupError> {
        let Asked { login, secret, service } = asked;
        let proven = match secret {
            Secret::CramMd5 { challenge, digest } => cram(candidate.as_ref().and_then(|c| c.record.clear.as_deref()), &challenge, &digest),
            Secret::Scram { hash, message, proof } => {
                let account = self.scram(candidate.as_ref(), login, hash).await?;
                account.is_proven(&message, &proof)
            }
            Secret::Bearer(_) => false,
            Secret::Apop { stamp, digest } => apop(candidate.as_ref().and_then(|c| c.record.clear.as_deref()), &stamp, &digest),
            Secret::Plain(password) => self.plain(candidate.as_ref(), Zeroizing::new(password), now).await?,
        };
        Ok(match candidate {
            Some(candidate) if proven && is_open(candidate.record.flags, service) => Login::Granted(candidate.mailbox),
            _ => Login::Denied,
        })
    }

    /// What SCRAM needs of an account; the same work for nobody.
    pub(crate) async fn scram(
        &self,
        candidate: Option<&Candidate>,
        login: Vec<u8>,
        hash: ScramHash,
    ) -> Result<scram::Account, LookupError> {
        let clear = candidate.and_then(|c| c.record.clear.clone()).map(Zeroizing::new);
        let salter = Arc::clone(&self.salter);
        self.work(move || salter.account(&login, hash, clear.as_deref().map(String::as_str))).await
    }

    async fn plain(
        &self,
        candidate: Option<&Candidate>,
        password: Zeroizing<Vec<u8>>,
        now: std::time::Duration,
    ) -> Result<bool, LookupError> {
        if password.is_empty() || password.len() > PASSWORD_BYTES_MAX || password.contains(&0) {
            return Ok(false); // decided by the password alone: tells nothing about the account
        }
        let stored = candidate.map(|c| c.record.password.as_str()).filter(|stored| !stored.is_empty());
        let (Some(candidate), Some(stored)) = (candidate, stored) else {
            let decoy = self.decoy.lock().unwrap_or_else(PoisonError::into_inner).clone();
            self.hash(password, decoy).await?;
            return Ok(false);
        };
        let login = candidate.mailbox.address.as_str();
        let proof = self.verified.proof(login, &password, stored);
        if proof.as_ref().is_some_and(|proof| self.verified.knows(login, proof, now)) {
            return Ok(true);
        }
        let stored = Zeroizing::new(stored.to_owned());
        self.decoy.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&stored);
        let right = self.hash(password, stored).await?;
        if right {
            self.remember(login, proof, now);
        }
        Ok(right)
    }

    fn remember(&self, login: &str, proof: Option<Proof>, now: std::time::Duration) {
        if let Some(proof) = proof {
            self.verified.remember(login, proof, now);
        }
    }

    /// The hash itself; the permit goes with it, so a client that leaves frees no place before the work is done.
    async fn hash(&self, password: Zeroizing<Vec<u8>>, stored: Zeroizing<String>) -> Result<bool, LookupError> {
        self.work(move || password::verify_password(&password, &stored)).await
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, LookupError> {
        let failed = |what: &str| LookupError { what: what.to_owned() };
        let permit = Arc::clone(&self.hashing).acquire_owned().await.map_err(|_| failed("password pool closed"))?;
        let work = move || {
            let done = work();
            drop(permit);
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| failed("password check was interrupted"))
    }
}

fn apop(clear: Option<&str>, stamp: &[u8], digest: &[u8]) -> bool {
    let mut hash = Md5::new();
    hash.update(stamp);
    hash.update(clear.unwrap_or("no such user"));
    let computed: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let equal = constant_time_equal(computed.as_bytes(), &digest.to_ascii_lowercase());
    equal && clear.is_some_and(|clear| !clear.is_empty())
}

fn cram(clear: Option<&str>, challenge: &[u8], digest: &[u8]) -> bool {
    let computed = postino_sasl::cram::respond(clear.unwrap_or("no such user").as_bytes(), challenge);
    postino_sasl::cram::is_same(&computed, digest) && clear.is_some_and(|clear| !clear.is_empty())
}

fn is_open(flags: u32, service: Service) -> bool {
    let closed = match service {
        Service::Smtp => FLAG_NO_SMTP,
        Service::Pop3 => FLAG_NO_POP,
        Service::Imap => FLAG_NO_IMAP,
    };
    flags & closed == 0
}
