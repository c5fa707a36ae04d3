//! The certificate that a new installation makes for itself: a small local authority and a server certificate signed by it, so that
//! clients can be told to trust one file. `setup`, `demo` and the first start of `serve` call it; it never touches a certificate that
//! an administrator configured.

use super::identity::{Identity, chain, expiry};
use super::{TlsError, identity};
use postino_control::resolved::TlsIdentity;
use postino_types::Time;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};

/// The authority lives this long.
const AUTHORITY_DAYS: i64 = 3650;
/// A server certificate lives this long: some clients refuse more than 398 days.
const SERVER_DAYS: i64 = 397;
/// A certificate with less left is made anew.
const RENEW_DAYS: i64 = 30;

/// The files that are in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfMade {
    /// Certificate (`cert.pem`, with the authority behind it) and key (`key.pem`, mode 0600).
    pub identity: TlsIdentity,
    /// The authority's certificate (`ca.pem`), for clients.
    pub authority: PathBuf,
    /// A new server certificate was written.
    pub renewed: bool,
}

/// Makes what is missing in `dir`, or renews a certificate that has less than 30 days left or lacks one of the names. `hostnames`:
/// `me` first; `localhost`, 127.0.0.1 and ::1 are added. The key survives renewals, so certificate and key fit at every instant.
pub fn ensure_self_made(dir: &Path, hostnames: &[String], addresses: &[IpAddr], now: Time) -> Result<SelfMade, TlsError> {
    fs::create_dir_all(dir).map_err(|source| TlsError::File { path: dir.to_owned(), source })?;
    let names = all_names(hostnames, addresses);
    let host = names.iter().find_map(|n| if let SanType::DnsName(d) = n { Some(d.as_str().to_owned()) } else { None });
    let host = host.unwrap_or_else(|| "localhost".into());
    let identity = TlsIdentity { host: host.clone(), certificate: dir.join("cert.pem"), key: dir.join("key.pem") };
    let authority_path = dir.join("ca.pem");
    let authority = authority(dir, &authority_path, &host, now)?;
    let renewed = !is_good(&identity, &authority, &names, now);
    if renewed {
        make_server(&identity, &authority, names, now)?;
    }
    Ok(SelfMade { identity, authority: authority_path, renewed })
}

/// The local authority: its certificate as PEM and the means to sign.
struct Authority {
    pem: String,
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

fn authority(dir: &Path, path: &Path, host: &str, now: Time) -> Result<Authority, TlsError> {
    let key_path = dir.join("ca-key.pem");
    if let Some(found) = read_authority(path, &key_path, now) {
        return Ok(found);
    }
    let key = KeyPair::generate().map_err(setup)?;
    let name = format!("Postino local authority of {host}");
    let mut params = authority_params(&name);
    (params.not_before, params.not_after) = validity(now, AUTHORITY_DAYS)?;
    params.serial_number = Some(SerialNumber::from_slice(&now.0.to_be_bytes()));
    let certificate = params.self_signed(&key).map_err(setup)?;
    // The key first: a certificate without its key would be taken for whole.
    write_durably(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
    write_durably(path, certificate.pem().as_bytes(), 0o644)?;
    Ok(Authority { pem: certificate.pem(), der: certificate.der().to_vec(), issuer: Issuer::new(authority_params(&name), key) })
}

/// The authority on disk, if it is whole and lives long enough to sign another server certificate.
fn read_authority(path: &Path, key_path: &Path, now: Time) -> Option<Authority> {
    let pem = fs::read_to_string(path).ok()?;
    let key = KeyPair::from_pem(&fs::read_to_string(key_path).ok()?).ok()?;
    let der = chain(pem.as_bytes()).ok()?.first()?.to_vec();
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).ok()?;
    let ours = certificate.public_key().subject_public_key.data == key.public_key_raw();
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    if !ours || days_left(&der, now) < RENEW_DAYS {
        return None;
    }
    Some(Authority { pem, issuer: Issuer::new(authority_params(&name), key), der: der.clone() })
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn make_server(identity: &TlsIdentity, authority: &Authority, names: Vec<SanType>, now: Time) -> Result<(), TlsError> {
    let kept = fs::read_to_string(&identity.key).ok().and_then(|pem| KeyPair::from_pem(&pem).ok());
    let key = match kept {
        Some(key) => key,
        None => {
            let key = KeyPair::generate().map_err(setup)?;
            write_durably(&identity.key, key.serialize_pem().as_bytes(), 0o600)?;
            key
        }
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, postino_types::printable::cut(&identity.host, 64));
    params.subject_alt_names = names;
    (params.not_before, params.not_after) = validity(now, SERVER_DAYS)?;
    // A serial of its own at each renewal: the default is made from the key, and browsers refuse a serial that comes back.
    params.serial_number = Some(SerialNumber::from_slice(&now.0.saturating_add(1).to_be_bytes()));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &authority.issuer).map_err(setup)?;
    write_durably(&identity.certificate, format!("{}{}", certificate.pem(), authority.pem).as_bytes(), 0o644)
}

/// True when the files fit together, are signed by this authority, live long enough and hold every name.
fn is_good(identity: &TlsIdentity, authority: &Authority, names: &[SanType], now: Time) -> bool {
    if Identity::read(identity).is_err() {
        return false;
    }
    let Some(chain) = identity::read(&identity.certificate).ok().and_then(|pem| chain(&pem).ok()) else {
        return false;
    };
    let (Some(der), Some(issuer)) = (chain.first(), chain.get(1)) else {
        return false;
    };
    if issuer.as_ref() != authority.der || days_left(der, now) < RENEW_DAYS {
        return false;
    }
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(der) else {
        return false;
    };
    let Ok(Some(present)) = certificate.subject_alternative_name() else {
        return false;
    };
    names.iter().all(|name| present.value.general_names.iter().any(|have| same_name(name, have)))
}

fn same_name(wanted: &SanType, have: &x509_parser::extensions::GeneralName<'_>) -> bool {
    use x509_parser::extensions::GeneralName;
    match (wanted, have) {
        (SanType::DnsName(a), GeneralName::DNSName(b)) => a.as_str() == *b,
        (SanType::IpAddress(IpAddr::V4(a)), GeneralName::IPAddress(b)) => a.octets() == *b,
        (SanType::IpAddress(IpAddr::V6(a)), GeneralName::IPAddress(b)) => a.octets() == *b,
        _ => false,
    }
}

fn days_left(der: &[u8], now: Time) -> i64 {
    expiry(der).map_or(0, |end| end.secs_since(now).div_euclid(86_400))
}

/// Every name once, `me` first, then what every installation is called.
fn all_names(hostnames: &[String], addresses: &[IpAddr]) -> Vec<SanType> {
    let mut names: Vec<SanType> = Vec::new();
    let mut add = |name: SanType| {
        if !names.contains(&name) {
            names.push(name);
        }
    };
    for host in hostnames.iter().map(String::as_str).chain(["localhost"]) {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        // A name that no certificate can hold (`me` may be anything) is left out rather than stopping the start.
        if let (false, Ok(name)) = (host.is_empty(), host.try_into()) {
            add(SanType::DnsName(name));
        }
    }
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    addresses.iter().copied().chain(loopback).for_each(|ip| add(SanType::IpAddress(ip)));
    names
}

/// From a day ago (clocks differ) until `days` from now.
fn validity(now: Time, days: i64) -> Result<(OffsetDateTime, OffsetDateTime), TlsError> {
    let now = OffsetDateTime::from_unix_timestamp(now.secs()).map_err(|e| TlsError::Setup(e.to_string()))?;
    let end = now.checked_add(Duration::days(days)).ok_or_else(|| TlsError::Setup("the clock is out of range".into()))?;
    Ok((now.checked_sub(Duration::days(1)).unwrap_or(now), end))
}

fn setup(error: rcgen::Error) -> TlsError {
    TlsError::Setup(error.to_string())
}

/// Writes beside, syncs, renames, syncs the directory: after a crash there is the old file or the new one.
fn write_durably(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TlsError> {
    let result = || -> io::Result<()> {
        let beside = path.with_extension("pem.new");
        // `setup` writes as root into a folder that the worker owns: never through what lies there under this name.
        if let Err(error) = fs::remove_file(&beside)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    result().map_err(|source| TlsError::File { path: path.to_owned(), source })
}
