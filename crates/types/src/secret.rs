//! What a client shows to prove who it is, from the protocol that heard it to the directory that judges it. Never printed.

/// The hash of a SCRAM mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ScramHash {
    /// SCRAM-SHA-1 (RFC 5802).
    Sha1,
    /// SCRAM-SHA-256 (RFC 7677).
    Sha256,
}

impl ScramHash {
    /// Bytes of its digests.
    #[must_use]
    pub const fn len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// Never: a digest has bytes.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        false
    }
}

/// The proof of identity.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// A clear password.
    Plain(Vec<u8>),
    /// APOP: lower-case hex MD5 of the banner's stamp followed by the password.
    Apop {
        /// Stamp with its angle brackets.
        stamp: Vec<u8>,
        /// 32 hex digits.
        digest: Vec<u8>,
    },
    /// CRAM-MD5 (RFC 2195): hex HMAC-MD5 of the challenge, keyed with the password.
    CramMd5 {
        /// The challenge as it was sent, with its angle brackets.
        challenge: Vec<u8>,
        /// 32 hex digits.
        digest: Vec<u8>,
    },
    /// SCRAM: the client's proof (RFC 5802 3).
    Scram {
        /// Which of the hashes.
        hash: ScramHash,
        /// AuthMessage.
        message: Vec<u8>,
        /// ClientProof.
        proof: Vec<u8>,
    },
    /// An OAuth 2.0 access token (RFC 7628), to be shown to whoever issued it.
    Bearer(Vec<u8>),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}
