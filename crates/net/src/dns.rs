//! Names and addresses from the DNS through hickory-resolver: the adapter behind `ports::dns::Dns`. Remote delivery and policy ask it;
//! it never decides what an answer means for a message.

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError as HickoryError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use postino_ports::BoxFuture;
use postino_ports::dns::{Dns, DnsError, Mx};
use postino_types::printable::{cut, printable};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Records kept of one answer.
const RECORDS_MAX: usize = 100;
/// Bytes kept of one TXT record (RFC 7208 3.3 lets an SPF record grow; nobody needs more).
const TXT_BYTES_MAX: usize = 16 * 1024;
/// Answers kept in memory.
const CACHE_ANSWERS: u64 = 2048;
/// Questions on the way at once: each holds a socket.
const QUESTIONS_MAX: usize = 256;
/// One try at one server, and everything together.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);
const WHOLE_TIMEOUT: Duration = Duration::from_secs(25);
/// Answers and refusals are asked for again after so long, whatever their TTL says.
const POSITIVE_MAX: Duration = Duration::from_secs(86_400);
const NEGATIVE_MAX: Duration = Duration::from_secs(900);

/// Questions to block lists have a cache of their own: a flood of strangers must not push the answers out that mail is sent by.
const LIST_ANSWERS: u64 = 16_384;
/// Nobody waits long for a list.
const LIST_TRY_TIMEOUT: Duration = Duration::from_secs(2);
/// Some lists give TTLs of seconds, and a listed client comes back at once.
const LIST_TTL_MIN: Duration = Duration::from_secs(60);
const LIST_TTL_MAX: Duration = Duration::from_secs(6 * 3600);

/// The resolver.
pub struct Resolver {
    inner: TokioResolver,
    questions: Semaphore,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver(..)")
    }
}

/// The resolver could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("dns: {0}")]
pub struct SetupError(String);

impl Resolver {
    /// Asks `servers`, or those of /etc/resolv.conf when the list is empty (127.0.0.1 when that file is missing or names none).
    pub fn new(servers: &[SocketAddr]) -> Result<Self, SetupError> {
        Self::with(servers, |options| set_options(options, servers.is_empty()))
    }

    /// The same for block lists: short waits, a larger cache, TTLs with a floor.
    pub fn for_lists(servers: &[SocketAddr]) -> Result<Self, SetupError> {
        Self::with(servers, |options| {
            set_options(options, false);
            options.timeout = LIST_TRY_TIMEOUT;
            options.cache_size = LIST_ANSWERS;
            options.positive_min_ttl = Some(LIST_TTL_MIN);
            options.negative_min_ttl = Some(LIST_TTL_MIN);
            options.positive_max_ttl = Some(LIST_TTL_MAX);
        })
    }

    fn with(servers: &[SocketAddr], set: impl FnOnce(&mut ResolverOpts)) -> Result<Self, SetupError> {
        let provider = TokioRuntimeProvider::default();
        let mut builder = if servers.is_empty() {
            TokioResolver::builder(provider.clone()).unwrap_or_else(|_| {
                let fallback = configured(&[SocketAddr::from((Ipv4Addr::LOCALHOST, 53))]);
                TokioResolver::builder_with_config(fallback, provider)
            })
        } else {
            TokioResolver::builder_with_config(configured(servers), provider)
        };
        set(builder.options_mut());
        let inner = builder.build().map_err(|e| SetupError(e.to_string()))?;
        Ok(Self { inner, questions: Semaphore::new(QUESTIONS_MAX) })
    }

    /// Forgets all answers.
    pub fn clear_cache(&self) {
        self.inner.clear_cache();
    }

    async fn ask(&self, name: Name, kind: RecordType) -> Result<Lookup, DnsError> {
        let question = async {
            let _turn = self.questions.acquire().await;
            self.inner.lookup(name, kind).await
        };
        match tokio::time::timeout(WHOLE_TIMEOUT, question).await {
            Ok(Ok(lookup)) => Ok(lookup),
            Ok(Err(error)) => Err(meaning(&error)),
            Err(_) => Err(DnsError::Temporary("timed out".into())),
        }
    }

    /// What `pick` takes from the records of the type that was asked for (CNAMEs on the way are followed by hickory and left out here).
    async fn records<T>(&self, name: Name, kind: RecordType, pick: impl Fn(&RData) -> Option<T>) -> Result<Vec<T>, DnsError> {
        let lookup = self.ask(name, kind).await?;
        let found: Vec<T> = lookup.answers().iter().filter(|r| r.record_type() == kind).filter_map(|r| pick(&r.data)).collect();
        // Only CNAMEs came back: the chain ends nowhere.
        if found.is_empty() { Err(DnsError::NoRecord) } else { Ok(found) }
    }

    async fn capped<T>(&self, name: Name, kind: RecordType, pick: impl Fn(&RData) -> Option<T>) -> Result<Vec<T>, DnsError> {
        let mut found = self.records(name, kind, pick).await?;
        found.truncate(RECORDS_MAX);
        Ok(found)
    }
}

impl Dns for Resolver {
    fn mx<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Mx>, DnsError>> {
        Box::pin(async move {
            let pick = |data: &RData| match data {
                RData::MX(mx) => plain(&mx.exchange).map(|host| Mx { preference: mx.preference, host }),
                _ => None,
            };
            let mut found = self.records(question(name)?, RecordType::MX, pick).await?;
            // The best ones are kept, whatever the order of the answer.
            found.sort_by_key(|mx| mx.preference);
            found.truncate(RECORDS_MAX);
            Ok(found)
        })
    }

    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>> {
        Box::pin(async move {
            let name = question(name)?;
            let v4 = self.capped(name.clone(), RecordType::A, |data| if let RData::A(a) = data { Some(IpAddr::V4(a.0)) } else { None });
            let v6 = self.capped(name, RecordType::AAAA, |data| if let RData::AAAA(a) = data { Some(IpAddr::V6(a.0)) } else { None });
            let (v4, v6) = tokio::join!(v4, v6);
            both(v4, v6)
        })
    }

    fn a<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Ipv4Addr>, DnsError>> {
        Box::pin(
            async move { self.capped(question(name)?, RecordType::A, |data| if let RData::A(a) = data { Some(a.0) } else { None }).await },
        )
    }

    fn ptr(&self, ip: IpAddr) -> BoxFuture<'_, Result<Vec<String>, DnsError>> {
        Box::pin(async move {
            let pick = |data: &RData| {
                if let RData::PTR(name) = data { plain(name) } else { None }
            };
            self.capped(Name::from(ip.to_canonical()), RecordType::PTR, pick).await
        })
    }

    fn txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<String>, DnsError>> {
        Box::pin(async move {
            let pick = |data: &RData| match data {
                RData::TXT(txt) => {
                    let joined: Vec<u8> = txt.txt_data.iter().flat_map(|part| part.iter().copied()).take(TXT_BYTES_MAX).collect();
                    Some(String::from_utf8_lossy(&joined).into_owned())
                }
                _ => None,
            };
            self.capped(question(name)?, RecordType::TXT, pick).await
        })
    }
}

fn configured(servers: &[SocketAddr]) -> ResolverConfig {
    let servers = servers.iter().map(|server| {
        let mut config = NameServerConfig::udp_and_tcp(server.ip());
        config.connections.iter_mut().for_each(|c| c.port = server.port());
        config
    });
    ResolverConfig::from_name_servers(servers.collect())
}

fn set_options(options: &mut ResolverOpts, system: bool) {
    options.timeout = TRY_TIMEOUT;
    options.attempts = 2;
    options.cache_size = CACHE_ANSWERS;
    options.positive_max_ttl = Some(POSITIVE_MAX);
    options.negative_max_ttl = Some(NEGATIVE_MAX);
    options.max_active_requests = QUESTIONS_MAX;
    options.use_hosts_file = if system { ResolveHosts::Always } else { ResolveHosts::Never };
}

/// The three kinds of no. Whatever is not a clear statement of the name's own servers is temporary.
fn meaning(error: &NetError) -> DnsError {
    if let NetError::Dns(HickoryError::NoRecordsFound(no)) = error {
        // A referral instead of an answer: a lame server, which knows nothing about the name.
        let is_referral = no.soa.is_none() && no.ns.as_ref().is_some_and(|ns| !ns.is_empty());
        match no.response_code {
            ResponseCode::NXDomain => return DnsError::NoName,
            ResponseCode::NoError if !is_referral => return DnsError::NoRecord,
            _ => {}
        }
    }
    DnsError::Temporary(cut(&printable(error.to_string().as_bytes()), 200).to_owned())
}

/// A and AAAA together: what one of them found is good; without any, the less certain answer counts.
fn both(v4: Result<Vec<IpAddr>, DnsError>, v6: Result<Vec<IpAddr>, DnsError>) -> Result<Vec<IpAddr>, DnsError> {
    match (v4, v6) {
        (Ok(mut all), Ok(more)) => {
            all.extend(more);
            all.truncate(RECORDS_MAX);
            Ok(all)
        }
        (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
        (Err(temporary @ DnsError::Temporary(_)), Err(_)) | (Err(_), Err(temporary @ DnsError::Temporary(_))) => Err(temporary),
        (Err(DnsError::NoName), Err(_)) | (Err(_), Err(DnsError::NoName)) => Err(DnsError::NoName),
        (Err(DnsError::NoRecord), Err(DnsError::NoRecord)) => Err(DnsError::NoRecord),
    }
}

/// A name as a question: A-labels (RFC 5890), absolute, so that no search list applies. What cannot be a name does not exist.
fn question(name: &str) -> Result<Name, DnsError> {
    let ascii = if name.is_ascii() { name.to_ascii_lowercase() } else { idna::domain_to_ascii(name).map_err(|_| DnsError::NoName)? };
    let ascii = ascii.strip_suffix('.').unwrap_or(&ascii);
    let is_plain = ascii.bytes().all(|b| b.is_ascii_graphic() && b != b'\\' && b != b'"');
    if ascii.is_empty() || !is_plain {
        return Err(DnsError::NoName);
    }
    let mut name = Name::from_ascii(ascii).map_err(|_| DnsError::NoName)?;
    name.set_fqdn(true);
    Ok(name)
}

/// A name of an answer: lower case, no dot at its end; `None` when it holds bytes that no host name has.
fn plain(name: &Name) -> Option<String> {
    let text = name.to_ascii().to_ascii_lowercase();
    let text = text.strip_suffix('.').unwrap_or(&text);
    (!text.contains('\\') && text.bytes().all(|b| b.is_ascii_graphic())).then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
