//! What a SASL exchange asks of its shell: stamps, nonces, the account's salt, the connection's binding. Called by the daemons; it judges nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postino_ports::directory::{Directory, LookupError};
use postino_sasl::{Answer, Binding, Question, ScramFacts};
use postino_types::Time;

/// Finds the answer. `me` and `now` go into the stamp of CRAM-MD5; `binding` is the connection's.
pub async fn answer(
    directory: &dyn Directory,
    question: Question,
    (me, now): (&str, Time),
    binding: impl FnOnce(Binding) -> Option<Vec<u8>>,
) -> Result<Answer, LookupError> {
    let nonce = nonce()?;
    match question {
        Question::Stamp => {
            let host: String = me.chars().filter(|c| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '@')).collect();
            Ok(Answer::Stamp(format!("<{nonce}.{}@{host}>", now.secs()).into_bytes()))
        }
        Question::Scram { login, hash, binding: wanted } => {
            let binding = wanted.and_then(binding);
            let found = directory.scram(login, hash).await?;
            let (salt, iterations, server_key) = (found.salt, found.iterations, found.server_key);
            Ok(Answer::Scram(ScramFacts { nonce: nonce.into_bytes(), salt, iterations, server_key, binding }))
        }
    }
}

/// 144 random bits, printable, without comma.
fn nonce() -> Result<String, LookupError> {
    let mut random = [0u8; 18];
    getrandom::fill(&mut random).map_err(|_| LookupError { what: "the system has no random bytes".into() })?;
    Ok(URL_SAFE_NO_PAD.encode(random))
}
