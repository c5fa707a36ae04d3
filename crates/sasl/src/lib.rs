//! SASL, the server's side, sans I/O: lines of the client in, challenges, questions and attempts out. SMTP AUTH (RFC 4954), POP3 AUTH (RFC 5034) and
//! later IMAP use it. It knows no account and makes no random bytes: the shell answers its questions, the directory judges its attempts.
#![forbid(unsafe_code)]

mod bearer;
pub mod cram;
mod exchange;
mod mechanism;
mod plain;
mod prep;
pub mod scram;

pub use exchange::{Answer, Attempt, Binding, End, Exchange, Plus, Question, ScramFacts, Step, Verdict};
pub use mechanism::{Channel, Mechanism, Offered};
pub use prep::prepared;
