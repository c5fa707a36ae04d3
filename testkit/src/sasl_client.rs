//! A client's side of SCRAM, for transcripts and servers on sockets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postino_sasl::scram;
use postino_types::ScramHash;

/// One exchange of a client.
pub struct ScramClient {
    hash: ScramHash,
    password: Vec<u8>,
    header: String,
    binding: Vec<u8>,
    bare: String,
    expected: String,
}

impl ScramClient {
    /// `flag` is `n`, `y` or `p=TYPE`; `binding` the channel's data.
    #[must_use]
    pub fn new(hash: ScramHash, login: &str, password: &str, (flag, binding): (&str, &[u8])) -> Self {
        let name = login.replace('=', "=3D").replace(',', "=2C");
        Self {
            hash,
            password: password.as_bytes().to_vec(),
            header: format!("{flag},,"),
            binding: binding.to_vec(),
            bare: format!("n={name},r=fyko+d2lbbFgONRv9qkxdawL"),
            expected: String::new(),
        }
    }

    /// The first message, in base64 as all of them.
    #[must_use]
    pub fn first(&self) -> String {
        STANDARD.encode(format!("{}{}", self.header, self.bare))
    }

    /// The final message.
    pub fn last(&mut self, challenge: &str) -> String {
        let server_first = String::from_utf8(STANDARD.decode(challenge).unwrap()).unwrap();
        let part = |key: &str| server_first.split(',').find_map(|part| part.strip_prefix(key)).unwrap();
        let (nonce, salt, iterations) = (part("r="), STANDARD.decode(part("s=")).unwrap(), part("i=").parse().unwrap());
        assert!(nonce.starts_with("fyko+d2lbbFgONRv9qkxdawL") && nonce.len() > 40, "{nonce}");
        let bound = STANDARD.encode([self.header.as_bytes(), &self.binding].concat());
        let without_proof = format!("c={bound},r={nonce}");
        let message = format!("{},{server_first},{without_proof}", self.bare);
        let keys = scram::Keys::derive(self.hash, &self.password, &salt, iterations);
        let proof = scram::client_proof(self.hash, &self.password, (&salt, iterations), message.as_bytes());
        self.expected = format!("v={}", STANDARD.encode(scram::server_signature(self.hash, &keys.server, message.as_bytes())));
        STANDARD.encode(format!("{without_proof},p={}", STANDARD.encode(proof)))
    }

    /// Did the server prove that it knows the password?
    #[must_use]
    pub fn believes(&self, challenge: &str) -> bool {
        STANDARD.decode(challenge).is_ok_and(|message| message == self.expected.as_bytes())
    }
}

/// The answer to a challenge of CRAM-MD5.
#[must_use]
pub fn cram_md5(login: &str, password: &str, challenge: &str) -> String {
    let stamp = STANDARD.decode(challenge).unwrap();
    assert!(stamp.starts_with(b"<") && stamp.ends_with(b">") && stamp.contains(&b'@'));
    STANDARD.encode(format!("{login} {}", postino_sasl::cram::respond(password.as_bytes(), &stamp)))
}
