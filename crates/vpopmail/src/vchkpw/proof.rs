//! What a client says on descriptor 3, and whether it proves to be the account's owner. Called by vchkpw. Keeps no password longer than needed and
//! shows none.

use super::service::Kind;
use postino_control::vpopmail::PasswordHash;
use postino_directory::password::digest::{apop_matches, cram_md5_matches};
use postino_directory::password::verify_password;
use postino_types::account::Record;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::io::{self, Read};

/// Longest thing that vpopmail reads from descriptor 3, bytes.
const SAID_BYTES_MAX: usize = 156;

/// What an account that does not exist is checked against: a hash of the kind that is written here.
fn decoy(kind: PasswordHash) -> &'static str {
    match kind {
        PasswordHash::Md5Crypt => "$1$decoydec$",
        PasswordHash::Sha512Crypt => "$6$decoydecoydecoyd$",
        PasswordHash::Yescrypt => "$y$j9T$decoydecoydecoydecoyd/$decoydecoydecoydecoydecoydecoydecoydecoyde0",
    }
}

/// Name, password (or answer to a challenge) and challenge.
#[derive(Default)]
pub(super) struct Said {
    pub(super) name: Vec<u8>,
    pub(super) secret: Vec<u8>,
    pub(super) challenge: Vec<u8>,
}

impl Said {
    /// Reads descriptor 3 and closes it.
    pub(super) fn read() -> io::Result<Self> {
        // A second descriptor for the same pipe, which can be owned here; the number itself is closed before the program runs.
        let pipe = File::open("/proc/self/fd/3")?;
        let mut said = Vec::with_capacity(SAID_BYTES_MAX);
        pipe.take(SAID_BYTES_MAX as u64).read_to_end(&mut said)?;
        let _ = nix::unistd::close(3);
        Ok(Self::split(&said))
    }

    /// What does not end with a NUL was cut off: a password that is only known in part is none.
    fn split(said: &[u8]) -> Self {
        let mut parts = said.split_inclusive(|&b| b == 0).map(|part| part.strip_suffix(b"\0").map(<[u8]>::to_vec));
        let mut part = || parts.next().flatten().unwrap_or_default();
        Self { name: part(), secret: part(), challenge: part() }
    }
}

/// How an owner was known; the words of the log.
pub(super) fn prove(record: &Record, said: &Said, kind: Kind) -> Option<&'static str> {
    if let Some(clear) = record.clear.as_deref().filter(|clear| !clear.is_empty()) {
        match kind {
            Kind::Smtp if cram_md5_matches(clear.as_bytes(), &said.challenge, &said.secret) => return Some("CRAM-MD5"),
            Kind::Pop if apop_matches(clear.as_bytes(), &said.challenge, &said.secret) => return Some("APOP"),
            _ => {}
        }
    }
    let right = with_room_for(&record.password, || verify_password(&said.secret, &record.password));
    right.then_some("PLAIN")
}

/// The same work for nobody, so that the time does not tell who exists.
pub(super) fn work_for_nobody(said: &Said, kind: PasswordHash) {
    let _ = with_room_for(decoy(kind), || verify_password(&said.secret, decoy(kind)));
}

/// Hashes that need much memory do not fit into what `ulimit -v` leaves a program of qmail's. Root may lift that for the moment of the work; without
/// the right it is tried as it is.
fn with_room_for<T>(stored: &str, work: impl FnOnce() -> T) -> T {
    let hungry = ["$argon2", "$y$", "$7$", "{ARGON2", "{argon2"].iter().any(|kind| stored.contains(kind));
    let before = getrlimit(Resource::As);
    let lifted = hungry && before.current.is_some() && {
        let all = Rlimit { current: None, maximum: None };
        let allowed = Rlimit { current: before.maximum, maximum: before.maximum };
        setrlimit(Resource::As, all).is_ok() || setrlimit(Resource::As, allowed).is_ok()
    };
    let result = work();
    if lifted {
        let _ = setrlimit(Resource::As, before);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_end_with_nul() {
        let said = Said::split(b"joe\0pass word\0<1@h>\0rest");
        assert_eq!(
            (said.name.as_slice(), said.secret.as_slice(), said.challenge.as_slice()),
            (&b"joe"[..], &b"pass word"[..], &b"<1@h>"[..])
        );
        let cut = Said::split(b"joe\0passwo");
        assert_eq!((cut.name.as_slice(), cut.secret.as_slice()), (&b"joe"[..], &b""[..]));
        assert!(Said::split(b"").name.is_empty());
    }

    #[test]
    fn proofs_by_service() {
        let mut record = Record::parse(b"pippo:$1$saltsalt$5ENprRTZuN/1MfWzxet3M0:1:0:pippo:/d:NOQUOTA:pippo").unwrap();
        let said = |secret: &str, challenge: &str| Said { name: b"pippo".to_vec(), secret: secret.into(), challenge: challenge.into() };
        let plain = said("pippo", "");
        for kind in [Kind::Smtp, Kind::Pop, Kind::Imap, Kind::Webmail] {
            assert_eq!(prove(&record, &plain, kind), Some("PLAIN"));
            assert_eq!(prove(&record, &said("wrong", ""), kind), None);
        }
        // printf '<1.2@h>pippo' | md5sum; printf '<1.2@h>' | openssl dgst -md5 -hmac pippo
        let apop = said("a0b832d224d82c1b98fc3eb5926964ed", "<1.2@h>");
        let cram = said("8af832c3d51ed3995c112f4461e9c194", "<1.2@h>");
        assert_eq!((prove(&record, &apop, Kind::Pop), prove(&record, &apop, Kind::Smtp)), (Some("APOP"), None));
        assert_eq!((prove(&record, &cram, Kind::Smtp), prove(&record, &cram, Kind::Pop)), (Some("CRAM-MD5"), None));
        assert_eq!(prove(&record, &apop, Kind::Webmail), None, "no APOP for a web server");
        record.clear = None;
        assert_eq!(prove(&record, &apop, Kind::Pop), None);
        assert_eq!(prove(&record, &plain, Kind::Pop), Some("PLAIN"));
    }
}
