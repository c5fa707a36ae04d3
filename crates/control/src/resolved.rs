//! The resolved configuration: typed values that daemons read. Made from the control directory by this crate alone.

use crate::access::{Service, Sources};
use crate::rbl::List;
use crate::tcprules::Rules;
use postino_sasl::Offered;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Everything that is configured, typed. `Default` is a small server called `localhost` with nothing local.
#[derive(Debug, Clone)]
pub struct Config {
    /// Postino's home (`--home`, `POSTINO_HOME`, /var/qmail, /var/lib/postino).
    pub home: PathBuf,
    /// Where vpopmail's tree lies: `domains/`, `etc/` (control/vpopmail-home; default the home itself).
    pub vpopmail_home: PathBuf,
    // --- classic files
    /// `me`.
    pub me: String,
    /// `locals`, lower case.
    pub locals: HashSet<Vec<u8>>,
    /// `virtualdomains`: key (lower case) → prefix; empty prefix = remote.
    pub virtualdomains: HashMap<Vec<u8>, Vec<u8>>,
    /// `rcpthosts`, lower case; `None` when the file is missing. NOTE: `postino serve` never becomes an open relay: a missing file means locals + virtualdomains.
    pub rcpthosts: Option<HashSet<Vec<u8>>>,
    /// `morercpthosts.cdb`, if there.
    pub morercpthosts: Option<PathBuf>,
    /// `badmailfrom`, lower case.
    pub badmailfrom: HashSet<Vec<u8>>,
    /// `percenthack`, lower case.
    pub percenthack: HashSet<Vec<u8>>,
    /// `smtproutes`: key (lower case; whole host, `.suffix` or empty) → relay.
    pub smtproutes: HashMap<Vec<u8>, SmtpRoute>,
    /// `databytes`; 0 = no limit of its own (then `limits.message_bytes_max`).
    pub databytes: u64,
    /// `concurrencylocal`.
    pub concurrency_local: usize,
    /// `concurrencyremote`.
    pub concurrency_remote: usize,
    /// `queuelifetime`, seconds.
    pub queue_lifetime_s: i64,
    /// `bouncefrom`.
    pub bouncefrom: String,
    /// `bouncehost`.
    pub bouncehost: String,
    /// `bounceformat`.
    pub bounceformat: BounceFormat,
    /// `doublebounceto`.
    pub doublebounceto: String,
    /// `doublebouncehost`.
    pub doublebouncehost: String,
    /// `envnoathost`.
    pub envnoathost: String,
    /// `helohost`.
    pub helohost: String,
    /// `localiphost`.
    pub localiphost: String,
    /// `smtpgreeting`.
    pub smtpgreeting: String,
    /// `defaultdelivery`: text of a missing or empty dot-qmail file.
    pub defaultdelivery: Vec<u8>,
    /// `timeoutconnect`, seconds.
    pub timeout_connect: Duration,
    /// `timeoutremote`, seconds.
    pub timeout_remote: Duration,
    /// `timeoutsmtpd`, seconds.
    pub timeout_smtpd: Duration,
    /// `authmechs`: SASL mechanisms that are offered; those with tokens besides, when `[oauth]` says whom to ask.
    pub authmechs: Offered,
    /// `defaultdomain`: added to host names without a dot by the injectors.
    pub defaultdomain: String,
    /// `defaulthost`: added to addresses without a host by the injectors.
    pub defaulthost: String,
    /// `idhost`: right side of Message-ID.
    pub idhost: String,
    /// `plusdomain`: replaces a `+` at the end of a host.
    pub plusdomain: String,
    /// `qmqpservers`: addresses of QMQP servers.
    pub qmqpservers: Vec<String>,
    /// `links`: destinations whose mail is held until a link is up.
    pub links: crate::links::LinkTable,
    /// `masquerade`: addresses that stand for ours outside.
    pub masquerade: crate::masquerade::Masquerade,
    /// `tcp.smtp` rules by client address (RELAYCLIENT and others), compiled in memory.
    pub tcprules: Rules,
    /// `tcp.pop3`: the same for POP3.
    pub tcprules_pop3: Rules,
    /// The files that those two follow while the server runs: SMTP's, POP3's.
    pub rule_files: (Sources, Sources),
    /// `rbl`: block lists and allow lists in the DNS.
    pub rbl: Arc<[List]>,
    // --- server.toml
    /// vpopmail's options (`[vpopmail]`).
    pub vpopmail: crate::vpopmail::Vpopmail,
    /// Who keeps accounts (`[directory]`).
    pub directory: crate::directory::DirectorySettings,
    /// What `server.toml` says.
    pub server: Server,
}

/// One artificial route.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SmtpRoute {
    /// Relay name, dotted quad or bracketed literal; empty = by MX.
    pub relay: String,
    /// Port, 25 unless given.
    pub port: u16,
    /// AUTH user and password file for a smarthost: `control/smtproutes.auth`, lines `relay[:port] user password`.
    pub auth: Option<RelayAuth>,
}

/// Login at a smarthost; used over TLS only.
#[derive(Clone, PartialEq, Eq)]
pub struct RelayAuth {
    /// User.
    pub user: String,
    /// Password; never logged.
    pub password: String,
}

impl std::fmt::Debug for RelayAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RelayAuth({}, ..)", self.user)
    }
}

/// Shape of bounces (`control/bounceformat`: `both`, `qsbmf`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BounceFormat {
    /// RFC 3464 multipart/report whose text part is QSBMF.
    #[default]
    Both,
    /// Plain QSBMF with the whole message, as qmail-send writes it.
    Qsbmf,
}

/// The kind of service behind a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenerKind {
    /// Port 25.
    Smtp,
    /// Port 465, implicit TLS.
    Submissions,
    /// Port 587.
    Submission,
    /// Port 110.
    Pop3,
    /// Port 995, implicit TLS.
    Pop3s,
    /// Port 366: customers take their mail by ATRN.
    Odmr,
    /// Metrics and health.
    Http,
}

/// `server.toml`, resolved.
#[derive(Debug, Clone)]
pub struct Server {
    /// Listeners by kind; default: every built service on all addresses at its standard port, http on loopback 2080 only.
    pub listeners: BTreeMap<ListenerKind, Vec<SocketAddr>>,
    /// User that the worker runs as when started as root (`user`, default `postino`).
    pub user: String,
    /// Certificates by host name; the first is the default. Empty = self-made at first start in `home/tls/`.
    pub tls: Vec<TlsIdentity>,
    /// Limits.
    pub limits: Limits,
    /// Where the rules by client address stand, when not in `control/`.
    pub access: AccessFiles,
    /// What block lists lead to.
    pub rbl: Rbl,
    /// Recipient delimiter besides `-` for `user+tag` (`recipient_delimiters`, default `"-"`).
    pub recipient_delimiters: String,
    /// AUTH and password logins before TLS from loopback addresses for POP3 and IMAP (`plaintext_login_from_loopback`, default true). Never for SMTP.
    pub plaintext_login_from_loopback: bool,
    /// First retry after so many seconds, then every such interval, instead of qmail's quadratic schedule (`retry_interval_s`, default none).
    pub retry_interval_s: Option<i64>,
    /// Send everything that is not local here, without DNS (from `[remote] relay`; tests and null clients; smtproutes wins).
    pub remote: Remote,
    /// `sandbox = "off" | "best" | "required"`.
    pub sandbox: Sandbox,
    /// Smallest uid that may receive local mail (`minuid`, default 1).
    pub minuid: u32,
    /// Log format.
    pub log: Log,
    /// Seconds that a stop waits for running deliveries (default 30).
    pub stop_grace: Duration,
    /// Programs in dot-qmail: seconds (`program_timeout_s`), memory (`program_memory_mb`), processes.
    pub programs: ProgramLimits,
    /// Program on the way into the queue, absolute or below the home; empty: none is named.
    pub queue_program: String,
    /// Longest run of a program on the way into the queue (default 300 s).
    pub queue_program_timeout: Duration,
    /// Accounts on other servers whose mail is fetched.
    pub fetch: Vec<crate::fetch::FetchAccount>,
}

/// Rules by client address that other programs of the machine keep (`[access]`).
#[derive(Debug, Clone, Default)]
pub struct AccessFiles {
    /// For SMTP instead of `control/tcp.smtp`; compiled when the name ends with `.cdb`.
    pub smtp: Option<PathBuf>,
    /// For POP3 instead of `control/tcp.pop3`.
    pub pop3: Option<PathBuf>,
}

impl AccessFiles {
    /// The file named for a service.
    #[must_use]
    pub fn file(&self, service: Service) -> Option<&PathBuf> {
        match service {
            Service::Smtp => self.smtp.as_ref(),
            Service::Pop3 => self.pop3.as_ref(),
        }
    }
}

/// Block lists (`[rbl]`); the lists themselves stand in `control/rbl`.
#[derive(Debug, Clone)]
pub struct Rbl {
    /// Sum of scores from which a client is refused with 553 (default 10).
    pub refuse_score: i32,
    /// Sum of scores from which a client is refused with 451 (default 0: never).
    pub defer_score: i32,
    /// How long a client may wait for the lists (default 5 s).
    pub timeout: Duration,
    /// Recipients that listed clients may write to: addresses, or local parts at any host.
    pub except: Vec<String>,
    /// Text where neither `control/rbl` nor the list has one.
    pub text: String,
    /// Listings are told in the log and refuse nobody (default false).
    pub only_log: bool,
}

impl Default for Rbl {
    fn default() -> Self {
        Self {
            refuse_score: 10,
            defer_score: 0,
            timeout: Duration::from_secs(5),
            except: Vec::new(),
            text: "sorry, %WHAT% is listed by %LIST%".into(),
            only_log: false,
        }
    }
}

/// A certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsIdentity {
    /// Host name (SNI), lower case.
    pub host: String,
    /// PEM chain.
    pub certificate: PathBuf,
    /// PEM key.
    pub key: PathBuf,
}

/// Outgoing mail.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Recipients of one destination in one transaction (default 100).
    pub recipients_max: usize,
    /// Connections at once to one destination (default 20; never more than three quarters of `concurrencyremote`).
    pub per_destination: usize,
    /// Messages over one connection (default 100).
    pub messages_per_connection: usize,
    /// How long an idle connection is kept for reuse while more mail is under way to its place (default 5 s).
    pub idle: Duration,
    /// DNS servers instead of /etc/resolv.conf (tests, split DNS).
    pub dns_servers: Vec<SocketAddr>,
    /// Port used for MX hosts (25; tests).
    pub port: u16,
    /// Addresses that are this host besides its interfaces'.
    pub own_addresses: Vec<IpAddr>,
    /// Allow MX and A records that point at loopback (tests only).
    pub allow_loopback: bool,
    /// Opportunistic STARTTLS (default true).
    pub starttls: bool,
}

/// Sandbox mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sandbox {
    /// None.
    Off,
    /// As much as the kernel has.
    #[default]
    Best,
    /// Refuse to start without.
    Required,
}

/// Log settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Log {
    /// Human on a terminal, else logfmt.
    #[default]
    Auto,
    /// JSON lines.
    Json,
    /// qmail-send's lines.
    Qmail,
}

/// Limits for programs run from dot-qmail.
#[derive(Debug, Clone)]
pub struct ProgramLimits {
    /// Wall time (default 1 h).
    pub timeout: Duration,
    /// Address space, bytes (default 1 GiB).
    pub memory_bytes: u64,
    /// Processes of the user (default 256).
    pub processes: u64,
    /// Largest file a program may write, bytes (default 1 GiB).
    pub file_bytes: u64,
}

/// Limits of sessions and memory.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest message, bytes (default 50 MiB); `databytes`, when set and smaller, wins.
    pub message_bytes_max: u64,
    /// Longest SMTP command line, bytes (default 4096; RFC 5321 4.5.3.1.4 asks 512 and more with extensions; AUTH lines 12288).
    pub line_bytes_max: usize,
    /// Recipients a message (default 1000).
    pub recipients_max: usize,
    /// Commands a session (default 10000).
    pub commands_max: u32,
    /// Bad commands before 421 (default 20).
    pub errors_max: u32,
    /// Unknown recipients before 421 (default 20).
    pub unknown_recipients_max: u32,
    /// Session time (default 2 h).
    pub session: Duration,
    /// Idle time before a login or MAIL (default 60 s under load, else timeoutsmtpd).
    pub idle_before_login: Duration,
    /// POP3 idle time (RFC 1939: 10 min at least).
    pub pop3_idle: Duration,
    /// Connections at once, all services (default 2000).
    pub connections_max: usize,
    /// Connections at once from one address (default 50).
    pub connections_per_address: usize,
    /// Memory for bodies being received, bytes (default 64 MiB).
    pub body_memory_bytes: u64,
    /// Bodies up to this size lie inline in the database row, bytes (default 65536).
    pub inline_body_bytes: usize,
    /// Hops (Received and Delivered-To lines) before 554 (default 100).
    pub hops_max: usize,
    /// Free space kept on the queue's disk, bytes (default 16 MiB); below it mail is refused 452.
    pub disk_reserve_bytes: u64,
    /// Failed logins a minute from one address before it is made to wait (default 10); 0 = wrong passwords cost nothing.
    pub failed_logins_per_minute: u32,
    /// Bounces larger than this return the header only, bytes (default 50 KiB; bounceformat `both` only).
    pub bounce_bytes_max: u64,
    /// Entries in flight at once (default 1000).
    pub in_flight_max: usize,
    /// Deliveries into virtual mailboxes at once.
    pub mailbox_deliveries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 50 << 20,
            line_bytes_max: 4096,
            recipients_max: 1000,
            commands_max: 10_000,
            errors_max: 20,
            unknown_recipients_max: 20,
            session: Duration::from_secs(7200),
            idle_before_login: Duration::from_secs(300),
            pop3_idle: Duration::from_secs(600),
            connections_max: 2000,
            connections_per_address: 50,
            body_memory_bytes: 64 << 20,
            inline_body_bytes: 65536,
            hops_max: 100,
            disk_reserve_bytes: 16 << 20,
            failed_logins_per_minute: 10,
            bounce_bytes_max: 50 << 10,
            in_flight_max: 1000,
            mailbox_deliveries: 32,
        }
    }
}

const NAME: &str = "localhost";

impl Config {
    /// The artificial route for a destination (lower case): the whole host, each suffix that begins with a dot, the empty key; the first
    /// hit decides. `None`: by MX, also when the hit names no relay (qmail-remote(8)).
    #[must_use]
    pub fn smtproute(&self, host_lower: &[u8]) -> Option<&SmtpRoute> {
        let mut candidates = crate::classic::host_keys(host_lower).chain(std::iter::once(b"".as_slice()));
        candidates.find_map(|key| self.smtproutes.get(key)).filter(|route| !route.relay.is_empty())
    }

    /// The mechanisms of SASL that are offered.
    #[must_use]
    pub fn mechanisms(&self) -> Offered {
        self.authmechs
    }

    /// The rules of a service as they were loaded, and the files that they follow.
    #[must_use]
    pub fn access(&self, service: Service) -> (&Rules, &Sources) {
        match service {
            Service::Smtp => (&self.tcprules, &self.rule_files.0),
            Service::Pop3 => (&self.tcprules_pop3, &self.rule_files.1),
        }
    }

    pub(crate) fn follow(&mut self, service: Service, rules: Option<Rules>, sources: Sources) {
        let (place, files) = match service {
            Service::Smtp => (&mut self.tcprules, &mut self.rule_files.0),
            Service::Pop3 => (&mut self.tcprules_pop3, &mut self.rule_files.1),
        };
        if let Some(rules) = rules {
            *place = rules;
        }
        *files = sources;
    }

    /// Looks a key (lower case: a host or `.suffix`) up in morercpthosts.cdb. The file is opened anew each time, so a new one counts at once;
    /// a missing one holds nothing.
    pub fn is_in_morercpthosts(&self, key: &[u8]) -> Result<bool, crate::cdb::CdbError> {
        let Some(path) = &self.morercpthosts else { return Ok(false) };
        match std::fs::File::open(path) {
            Ok(file) => crate::cdb::Cdb::new(&file)?.contains(key),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            home: PathBuf::from("/var/qmail"),
            vpopmail_home: PathBuf::from("/var/qmail"),
            me: NAME.into(),
            locals: HashSet::new(),
            virtualdomains: HashMap::new(),
            rcpthosts: None,
            morercpthosts: None,
            badmailfrom: HashSet::new(),
            percenthack: HashSet::new(),
            smtproutes: HashMap::new(),
            databytes: 0,
            concurrency_local: 10,
            concurrency_remote: 20,
            queue_lifetime_s: 604_800,
            bouncefrom: "MAILER-DAEMON".into(),
            bouncehost: NAME.into(),
            bounceformat: BounceFormat::Both,
            doublebounceto: "postmaster".into(),
            doublebouncehost: NAME.into(),
            envnoathost: NAME.into(),
            helohost: NAME.into(),
            localiphost: NAME.into(),
            smtpgreeting: NAME.into(),
            defaultdelivery: b"./Maildir/\n".to_vec(),
            timeout_connect: Duration::from_secs(60),
            timeout_remote: Duration::from_secs(1200),
            timeout_smtpd: Duration::from_secs(1200),
            authmechs: Offered::default(),
            defaultdomain: NAME.into(),
            defaulthost: NAME.into(),
            idhost: NAME.into(),
            plusdomain: NAME.into(),
            qmqpservers: Vec::new(),
            links: crate::links::LinkTable::default(),
            masquerade: crate::masquerade::Masquerade::default(),
            tcprules: Rules::default(),
            tcprules_pop3: Rules::default(),
            rule_files: Default::default(),
            rbl: Arc::from([]),
            vpopmail: crate::vpopmail::Vpopmail::default(),
            directory: crate::directory::DirectorySettings::default(),
            server: Server::default(),
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listeners: default_listeners(),
            user: "postino".into(),
            tls: Vec::new(),
            limits: Limits::default(),
            access: AccessFiles::default(),
            rbl: Rbl::default(),
            recipient_delimiters: "-".into(),
            plaintext_login_from_loopback: true,
            retry_interval_s: None,
            remote: Remote::default(),
            sandbox: Sandbox::default(),
            minuid: 1,
            log: Log::default(),
            stop_grace: Duration::from_secs(30),
            programs: ProgramLimits::default(),
            queue_program: String::new(),
            queue_program_timeout: Duration::from_secs(300),
            fetch: Vec::new(),
        }
    }
}

impl ListenerKind {
    /// Every kind, in the order in which they are shown.
    pub const ALL: [Self; 7] = [Self::Smtp, Self::Submissions, Self::Submission, Self::Pop3, Self::Pop3s, Self::Odmr, Self::Http];

    /// Its key in `[listen]`.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Submissions => "submissions",
            Self::Submission => "submission",
            Self::Pop3 => "pop3",
            Self::Pop3s => "pop3s",
            Self::Odmr => "odmr",
            Self::Http => "http",
        }
    }

    /// Its standard port.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Smtp => 25,
            Self::Submissions => 465,
            Self::Submission => 587,
            Self::Pop3 => 110,
            Self::Pop3s => 995,
            Self::Odmr => 366,
            Self::Http => 2080,
        }
    }

    /// Where it listens when nothing is said: all addresses at the standard port, http on loopback only, odmr nowhere.
    #[must_use]
    pub fn default_addresses(self) -> Vec<SocketAddr> {
        use std::net::{Ipv4Addr, Ipv6Addr};
        match self {
            Self::Http => vec![(Ipv4Addr::LOCALHOST, self.port()).into()],
            Self::Odmr => Vec::new(),
            _ => vec![(Ipv4Addr::UNSPECIFIED, self.port()).into(), (Ipv6Addr::UNSPECIFIED, self.port()).into()],
        }
    }
}

fn default_listeners() -> BTreeMap<ListenerKind, Vec<SocketAddr>> {
    ListenerKind::ALL.into_iter().map(|kind| (kind, kind.default_addresses())).collect()
}

impl Default for Remote {
    fn default() -> Self {
        Self {
            recipients_max: 100,
            per_destination: 20,
            messages_per_connection: 100,
            idle: Duration::from_secs(5),
            dns_servers: Vec::new(),
            port: 25,
            own_addresses: Vec::new(),
            allow_loopback: false,
            starttls: true,
        }
    }
}

impl Default for ProgramLimits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(3600), memory_bytes: 1 << 30, processes: 256, file_bytes: 1 << 30 }
    }
}
