//! A login attempt: throttle, directory, event. Called by `serve`; shows and keeps no password.

use crate::context::Context;
use crate::watch::Watch;
use postino_net::Admission;
use postino_ports::directory::{Credentials, Login, Mailbox, Service};
use postino_smtp::server::Attempt;
use postino_types::printable::printable;
use std::net::IpAddr;

/// So much of a login name is told, in bytes: longer ones are nobody's.
const LOGIN_SHOWN_MAX: usize = 255;

/// How an attempt ended.
pub(crate) enum Outcome {
    Granted(Mailbox),
    Denied,
    /// Nobody can tell now: the directory is away or too many are waiting.
    Unavailable,
}

/// Checks one attempt. A wrong one may be made to wait first; the wait is the throttle's word.
pub(crate) async fn check(context: &Context, watch: &Watch, peer: IpAddr, attempt: Attempt) -> Outcome {
    let name = printable(attempt.login.get(..LOGIN_SHOWN_MAX).unwrap_or(&attempt.login));
    match context.throttle.admit(peer, &attempt.login, context.clock.monotonic()) {
        Admission::Now => {}
        Admission::After(wait) => tokio::time::sleep(wait).await,
        Admission::Refuse => {
            watch.login_tried(&name, false);
            return Outcome::Unavailable;
        }
    }
    let login = attempt.login;
    let credentials = Credentials { login: login.clone(), secret: attempt.secret, service: Service::Smtp, peer };
    let answer = context.directory.authenticate(credentials).await;
    let now = context.clock.monotonic();
    match answer {
        Ok(Login::Granted(mailbox)) => {
            context.throttle.succeeded(peer, &login, now);
            watch.login_tried(&name, true);
            Outcome::Granted(mailbox)
        }
        Ok(Login::Denied) => {
            context.throttle.failed(peer, &login, now);
            watch.login_tried(&name, false);
            Outcome::Denied
        }
        Err(error) => {
            context.throttle.undecided(peer, &login, now);
            watch.warn("login could not be checked", &error.what);
            Outcome::Unavailable
        }
    }
}
