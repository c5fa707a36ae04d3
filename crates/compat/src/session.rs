//! Programs that speak with one client over descriptors 0 and 1: SMTP, POP3. Called by `main`; never listen.

mod net;
mod pop3d;
mod popup;
mod smtpd;

use crate::{Program, home};

/// The programs of this room.
pub(crate) const PROGRAMS: &[(&str, Program)] =
    &[("qmail-pop3d", pop3d::run), ("qmail-popup", popup::run), ("qmail-smtpd", |_| smtpd::run(&home::choose()))];
