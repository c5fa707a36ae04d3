//! The customer's side of ATRN (RFC 2645): connects to the provider, logs in over TLS, asks for the connection to be turned round. Called by the
//! server, which then serves the connection; takes no mail itself.

use crate::connection::Broken;
use crate::deliver::{Remote, manner_for};
use crate::mx;
use crate::open::{Manner, OpenError, open};
use crate::own::OwnAddresses;
use crate::route::Route;
use crate::stream::Stream;
use postino_control::resolved::SmtpRoute;
use postino_net::BoxedStream;
use postino_smtp::client::{Credentials, Login, Phase, TlsWish};
use postino_types::DeliveryOutcome;
use postino_types::printable::printable;
use std::net::SocketAddr;

/// Longest reply to ATRN, bytes.
const REPLY_BYTES_MAX: usize = 4096;

/// What the provider did.
pub enum Provided {
    /// We are the server of this connection from now on.
    Turned(BoxedStream, SocketAddr),
    /// Nothing waits (453).
    NoMail,
}

impl Remote {
    /// Asks `server` for the mail of `domains` (bytes without blanks, commas between them).
    ///
    /// # Errors
    /// Why there is none, as text for people.
    pub async fn ask_for_mail(&self, server: &SmtpRoute, domains: &[u8]) -> Result<Provided, String> {
        let Some(auth) = &server.auth else {
            return Err("smtproutes.auth has no login for this server, and ATRN wants one".into());
        };
        let config = self.live.get();
        let (helo, timeouts) = manner_for(&config);
        let login = Login::With(Credentials { user: auth.user.clone(), password: auth.password.clone() });
        let manner = Manner { helo, tls: TlsWish::Required, login, timeouts };
        let route = Route::Relay { relay: server.relay.to_ascii_lowercase(), port: server.port, auth: server.auth.clone() };
        let own = OwnAddresses { configured: &config.server.remote.own_addresses, allow_loopback: true };
        let targets = mx::resolve(&*self.shared.dns, &route, own).await.map_err(|outcome| told(&outcome))?;
        let mut last = "no address of the server takes a connection".to_owned();
        for target in &targets {
            let peer = SocketAddr::new(target.ip, server.port);
            match open(&self.shared, target, peer, &manner).await {
                Ok(connection) => {
                    let (mut stream, _, _counted) = connection.into_stream();
                    let wait = manner.timeouts.of(Phase::Ready);
                    let asked = tokio::time::timeout(wait, ask(&mut stream, domains)).await;
                    let (code, text) =
                        asked.map_err(|_| "the server does not answer ATRN")?.map_err(|_| "the server closed the connection")?;
                    return match code {
                        250 => Ok(Provided::Turned(stream.into_boxed(), peer)),
                        453 => Ok(Provided::NoMail),
                        _ => Err(format!("the server says: {text}")),
                    };
                }
                Err(OpenError::NoConnection) => {}
                Err(OpenError::NoSession(outcome)) => last = told(&outcome),
            }
        }
        Err(last)
    }
}

fn told(outcome: &DeliveryOutcome) -> String {
    match outcome {
        DeliveryOutcome::Deferred { detail, .. } | DeliveryOutcome::Failed { detail, .. } | DeliveryOutcome::Delivered { detail, .. } => {
            detail.to_string().trim_end().replace('\n', " / ")
        }
    }
}

/// Says ATRN; code and text of the reply. Not a byte more than the reply is read: what follows belongs to the server that we become.
async fn ask(stream: &mut Stream, domains: &[u8]) -> Result<(u16, String), Broken> {
    let command = [b"ATRN ", domains, b"\r\n"].concat();
    let mut rest = command.as_slice();
    while !rest.is_empty() {
        let n = stream.write(rest).await.map_err(|_| Broken::Io)?;
        rest = rest.get(n..).unwrap_or_default();
    }
    stream.flush().await.map_err(|_| Broken::Io)?;
    let mut reply = Vec::new();
    let mut byte = [0u8; 1];
    while reply.len() < REPLY_BYTES_MAX {
        if stream.read(&mut byte).await.map_err(|_| Broken::Io)? == 0 {
            return Err(Broken::Closed);
        }
        reply.extend_from_slice(&byte);
        if let Some(last) = reply.strip_suffix(b"\n").map(|whole| whole.rsplit(|&b| b == b'\n').next().unwrap_or_default())
            && last.get(3) != Some(&b'-')
        {
            let code = std::str::from_utf8(last.get(..3).unwrap_or_default()).ok().and_then(|code| code.parse().ok());
            return Ok((code.unwrap_or(0), printable(last.trim_ascii_end())));
        }
    }
    Err(Broken::Io)
}
