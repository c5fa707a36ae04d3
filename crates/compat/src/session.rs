//! Programs that speak with one client over descriptors 0 and 1: SMTP, POP3, and the password check between. Called by `main`; never listen.

mod checkpassword;
mod net;
mod pop3d;
mod popup;
mod smtpd;

use crate::{Program, home};

/// The programs of this room.
pub(crate) const PROGRAMS: &[(&str, Program)] = &[
    ("checkpassword", checkpassword::run),
    ("qmail-pop3d", pop3d::run),
    ("qmail-popup", popup::run),
    ("qmail-smtpd", |_| smtpd::run(&home::choose())),
];
