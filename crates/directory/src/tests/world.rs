//! A throw-away installation with a clock that tests move by hand.

use crate::VpopmailDirectory;
use crate::admin::{Admin, AdminSettings, ClearPassword, NewUser, Owner};
use crate::password::NewHash;
use postino_control::{Config, Live};
use postino_ports::clock::Clock;
use postino_ports::directory::{Credentials, Directory, Login, LookupError, Resolution, Secret, Service};
use postino_types::{Address, Time};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct HandClock(AtomicU64);

impl HandClock {
    pub(crate) fn forward(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Time {
        Time(i64::try_from(self.0.load(Ordering::SeqCst)).unwrap())
    }
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) struct World {
    pub(crate) directory: VpopmailDirectory,
    pub(crate) admin: Admin,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) live: Live,
    home: tempfile::TempDir,
}

/// Root gives mailboxes to nobody, as in life; anybody else keeps them.
pub(crate) fn owner() -> Owner {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    if uid.is_root() { Owner { uid: 65534, gid: 65534 } } else { Owner { uid: uid.as_raw(), gid: gid.as_raw() } }
}

pub(crate) fn admin(home: &Path) -> Admin {
    Admin::new(AdminSettings {
        home: home.into(),
        vpopmail_home: home.into(),
        me: "mail.example.test".into(),
        owner: owner(),
        new_hash: NewHash::Sha512Crypt { rounds: 1000 },
        clear: ClearPassword::LeaveOut,
        hashing: crate::admin::Hashing::Continue,
        actor: crate::admin::Actor::System,
        default_quota: String::new(),
    })
}

impl World {
    /// Nothing but an empty home.
    pub(crate) fn empty() -> Self {
        let home = tempfile::tempdir().unwrap();
        // Its owners pass through it, as in life.
        std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
        let config = Config { home: home.path().into(), vpopmail_home: home.path().into(), me: "example.test".into(), ..Config::default() };
        let live = Live::new(config);
        let clock = Arc::new(HandClock::default());
        let directory = VpopmailDirectory::new(live.clone(), Arc::clone(&clock) as Arc<dyn Clock>);
        Self { directory, admin: admin(home.path()), clock, live, home }
    }

    /// `example.test` with postmaster, pippo and pluto.
    pub(crate) fn with_users() -> Self {
        let world = Self::empty();
        let _ = world.admin.add_domain("example.test", b"Post-1").unwrap();
        let users = [NewUser::new("pippo", b"Secret-1"), NewUser::new("pluto", b"Secret-2")];
        let _ = world.admin.add_users("example.test", &users).unwrap();
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn domain(&self, name: &str) -> PathBuf {
        self.path("domains/example.test").join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) async fn resolve(&self, routed: &str) -> Result<Resolution, LookupError> {
        self.directory.resolve(&address(routed)).await
    }

    /// The routed form of a user of example.test.
    pub(crate) async fn user(&self, name: &str) -> Resolution {
        self.resolve(&format!("example.test-{name}@example.test")).await.unwrap()
    }

    pub(crate) async fn login(&self, login: &str, password: &str) -> Login {
        self.login_to(login, password, Service::Pop3).await.unwrap()
    }

    pub(crate) async fn login_to(&self, login: &str, password: &str, service: Service) -> Result<Login, LookupError> {
        self.directory.authenticate(credentials(login, Secret::Plain(password.into()), service)).await
    }
}

pub(crate) fn credentials(login: &str, secret: Secret, service: Service) -> Credentials {
    Credentials { login: login.into(), secret, service, peer: IpAddr::from([192, 0, 2, 33]) }
}

pub(crate) fn address(text: &str) -> Address {
    Address::from_bytes(text.as_bytes()).unwrap()
}
