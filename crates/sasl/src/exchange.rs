//! One exchange, from the mechanism's name to its end. The session of a protocol drives it: lines in base64 come in, what to send and what to ask comes
//! out. A new one for every AUTH, so nothing of one mechanism is left for the next.

use crate::scram::{self, ClientFinal, ClientFirst, Flag};
use crate::{Mechanism, bearer, cram, plain};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postino_types::{ScramHash, Secret};

/// Whose secret is to be checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Name as sent; empty only with a token that tells it.
    pub login: Vec<u8>,
    /// The proof.
    pub secret: Secret,
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Attempt(..)")
    }
}

/// A type of channel binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// `tls-exporter` (RFC 9266): TLS 1.3.
    Exporter,
    /// `tls-server-end-point` (RFC 5929 4).
    EndPoint,
}

impl Binding {
    fn find(name: &[u8]) -> Option<Self> {
        match name {
            b"tls-exporter" => Some(Self::Exporter),
            b"tls-server-end-point" => Some(Self::EndPoint),
            _ => None,
        }
    }
}

/// Were the -PLUS forms offered on this connection?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plus {
    /// Yes: a client that has not seen them was lied to.
    Offered,
    /// No.
    NotOffered,
}

/// What the exchange cannot know.
#[derive(Clone, PartialEq, Eq)]
pub enum Question {
    /// A stamp that never comes twice, with angle brackets. *Answer*: [`Answer::Stamp`].
    Stamp,
    /// What SCRAM needs. *Answer*: [`Answer::Scram`].
    Scram {
        /// Whose.
        login: Vec<u8>,
        /// With which hash.
        hash: ScramHash,
        /// Data of this binding are needed.
        binding: Option<Binding>,
    },
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Question(..)")
    }
}

/// The answer.
#[derive(Clone, PartialEq, Eq)]
pub enum Answer {
    /// The stamp.
    Stamp(Vec<u8>),
    /// For SCRAM.
    Scram(ScramFacts),
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answer(..)")
    }
}

/// What SCRAM needs.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramFacts {
    /// Our part of the nonce: printable, without comma, at least 18 random bytes.
    pub nonce: Vec<u8>,
    /// The account's salt.
    pub salt: Vec<u8>,
    /// The account's iterations.
    pub iterations: u32,
    /// The account's server key.
    pub server_key: Vec<u8>,
    /// The channel's data, if the question asked for a binding; `None`: it cannot be had.
    pub binding: Option<Vec<u8>>,
}

/// How an attempt was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Welcome.
    Granted,
    /// Wrong.
    Denied,
}

/// What is to be done next. Challenges are in base64 already.
#[derive(Debug)]
pub enum Step {
    /// Send this, and hand the next line to [`Exchange::response`].
    Challenge(String, Exchange),
    /// Find this out, and go on with [`Exchange::answer`].
    Ask(Question, Exchange),
    /// Judge this, and go on with [`Exchange::verdict`].
    Attempt(Attempt, Exchange),
    /// It is over.
    End(End),
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The attempt that was judged good stands.
    Granted,
    /// Wrong, or bound to another channel.
    Denied,
    /// `*`.
    Cancelled,
    /// Bad base64, or not what the mechanism wants.
    Malformed,
    /// It wants to act for somebody else.
    OtherIdentity,
}

/// An exchange.
pub struct Exchange(State);

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exchange(..)")
    }
}

enum State {
    Plain,
    LoginName,
    LoginPassword(Vec<u8>),
    Stamp,
    Cram {
        challenge: Vec<u8>,
    },
    Scram {
        hash: ScramHash,
        bound: bool,
        plus: Plus,
    },
    ScramAsked(Box<Scram>),
    ScramFinal(Box<Scram>, Box<ScramFacts>),
    /// The proof is out; its verdict decides whether `signature` is sent.
    ScramJudged {
        signature: Vec<u8>,
    },
    Bearer(Mechanism),
    BearerJudged,
    /// PLAIN, LOGIN, CRAM: the verdict is the end.
    Judged,
    /// One more line of the client, then this end.
    Last(End),
}

struct Scram {
    hash: ScramHash,
    first: ClientFirst,
    binding: Option<Binding>,
}

impl Exchange {
    /// For a mechanism that is offered on this channel.
    #[must_use]
    pub fn new(mechanism: Mechanism, plus: Plus) -> Self {
        Self(match mechanism {
            Mechanism::Plain => State::Plain,
            Mechanism::Login => State::LoginName,
            Mechanism::CramMd5 => State::Stamp,
            Mechanism::Scram(hash) => State::Scram { hash, bound: false, plus },
            Mechanism::ScramPlus(hash) => State::Scram { hash, bound: true, plus },
            Mechanism::OAuthBearer | Mechanism::XOAuth2 => State::Bearer(mechanism),
        })
    }

    /// AUTH with or without initial response; `=` is the empty one (RFC 4954 4, RFC 5034 4).
    #[must_use]
    pub fn first(self, initial: Option<&[u8]>) -> Step {
        match (self.0, initial) {
            (State::Stamp, None) => Step::Ask(Question::Stamp, Self(State::Stamp)),
            // The server speaks first.
            (State::Stamp, Some(_)) | (_, Some(b"*")) => Step::End(End::Malformed),
            (state, Some(b"=")) => Self(state).take(Vec::new()),
            (state, Some(text)) => Self(state).response(text),
            (State::LoginName, None) => Step::Challenge("VXNlcm5hbWU6".into(), Self(State::LoginName)),
            (state, None) => Step::Challenge(String::new(), Self(state)),
        }
    }

    /// One line of the client.
    #[must_use]
    pub fn response(self, line: &[u8]) -> Step {
        if line == b"*" {
            return Step::End(if matches!(self.0, State::Last(End::Denied)) { End::Denied } else { End::Cancelled });
        }
        match STANDARD.decode(line) {
            Ok(message) => self.take(message),
            Err(_) => Step::End(End::Malformed),
        }
    }

    /// What was asked for. An answer to another question ends the exchange.
    #[must_use]
    pub fn answer(self, answer: Answer) -> Step {
        match (self.0, answer) {
            (State::Stamp, Answer::Stamp(challenge)) => Step::Challenge(STANDARD.encode(&challenge), Self(State::Cram { challenge })),
            (State::ScramAsked(scram), Answer::Scram(facts)) => {
                if scram.binding.is_some() && facts.binding.is_none() {
                    return Step::End(End::Denied);
                }
                let message = scram::server_first(&scram.first, &facts.nonce, &facts.salt, facts.iterations);
                Step::Challenge(STANDARD.encode(message), Self(State::ScramFinal(scram, Box::new(facts))))
            }
            _ => Step::End(End::Denied),
        }
    }

    /// How the attempt was judged.
    #[must_use]
    pub fn verdict(self, verdict: Verdict) -> Step {
        match (self.0, verdict) {
            (State::ScramJudged { signature }, Verdict::Granted) => {
                let message = format!("v={}", STANDARD.encode(signature));
                Step::Challenge(STANDARD.encode(message), Self(State::Last(End::Granted)))
            }
            (State::BearerJudged, Verdict::Denied) => {
                // RFC 7628 3.2.2; the client answers with one more line before it is told.
                Step::Challenge(STANDARD.encode(r#"{"status":"invalid_token","schemes":"bearer"}"#), Self(State::Last(End::Denied)))
            }
            (_, Verdict::Granted) => Step::End(End::Granted),
            (_, Verdict::Denied) => Step::End(End::Denied),
        }
    }

    fn take(self, message: Vec<u8>) -> Step {
        let attempt = |attempt| Step::Attempt(attempt, Self(State::Judged));
        match self.0 {
            State::Plain => plain::message(&message).map_or_else(Step::End, attempt),
            State::LoginName if plain::is_name(&message) => Step::Challenge("UGFzc3dvcmQ6".into(), Self(State::LoginPassword(message))),
            State::LoginPassword(login) if plain::is_password(&message) => attempt(Attempt { login, secret: Secret::Plain(message) }),
            State::Cram { challenge } => match cram::response(&message) {
                Some((login, digest)) => {
                    attempt(Attempt { login: login.to_vec(), secret: Secret::CramMd5 { challenge, digest: digest.to_ascii_lowercase() } })
                }
                None => Step::End(End::Malformed),
            },
            State::Scram { hash, bound, plus } => scram_first(hash, &message, bound, plus).unwrap_or_else(Step::End),
            State::ScramFinal(scram, facts) => scram_final(*scram, *facts, &message).unwrap_or_else(Step::End),
            State::Bearer(mechanism) => {
                let found = if mechanism == Mechanism::XOAuth2 { bearer::xoauth2(&message) } else { bearer::oauth_bearer(&message) };
                found.map_or(Step::End(End::Malformed), |bearer| {
                    Step::Attempt(Attempt { login: bearer.login, secret: Secret::Bearer(bearer.token) }, Self(State::BearerJudged))
                })
            }
            State::Last(End::Granted) if !message.is_empty() => Step::End(End::Malformed),
            State::Last(end) => Step::End(end),
            _ => Step::End(End::Malformed),
        }
    }
}

fn scram_first(hash: ScramHash, message: &[u8], bound: bool, plus: Plus) -> Result<Step, End> {
    let first = ClientFirst::parse(message).ok_or(End::Malformed)?;
    let binding = match (&first.flag, bound) {
        (Flag::Bound(name), true) => Some(Binding::find(name).ok_or(End::Denied)?),
        // RFC 5802 6: somebody took our -PLUS out of the list.
        (Flag::NotSeen, false) if plus == Plus::Offered => return Err(End::Denied),
        (Flag::None | Flag::NotSeen, false) => None,
        (Flag::Bound(_), false) | (Flag::None | Flag::NotSeen, true) => return Err(End::Malformed),
    };
    plain::own_identity(&first.identity, &first.login)?;
    let question = Question::Scram { login: first.login.clone(), hash, binding };
    Ok(Step::Ask(question, Exchange(State::ScramAsked(Box::new(Scram { hash, first, binding })))))
}

fn scram_final(scram: Scram, facts: ScramFacts, message: &[u8]) -> Result<Step, End> {
    let last = ClientFinal::parse(message).ok_or(End::Malformed)?;
    let nonce = [scram.first.nonce.as_slice(), &facts.nonce].concat();
    let binding = [scram.first.header.as_slice(), facts.binding.as_deref().unwrap_or_default()].concat();
    if last.nonce != nonce || last.binding != binding {
        return Err(End::Denied);
    }
    let server_first = scram::server_first(&scram.first, &facts.nonce, &facts.salt, facts.iterations);
    let message = [scram.first.bare.as_slice(), &server_first, &last.without_proof].join(&b","[..]);
    let signature = scram::server_signature(scram.hash, &facts.server_key, &message);
    let secret = Secret::Scram { hash: scram.hash, message, proof: last.proof };
    Ok(Step::Attempt(Attempt { login: scram.first.login, secret }, Exchange(State::ScramJudged { signature })))
}

#[cfg(test)]
mod tests;
