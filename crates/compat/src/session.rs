//! Programs that speak with one client over descriptors 0 and 1: SMTP, QMTP, QMQP, POP3, and the password check between. Called by `main`; never listen.

mod checkpassword;
mod net;
mod netstring;
mod peer;
mod pop3d;
mod popup;
mod qmqpc;
mod qmqpd;
mod qmtpd;
mod settings;
mod smtpd;

use crate::{Program, home};
pub(crate) use netstring::netstring;
pub(crate) use peer::now;

/// The programs of this room.
pub(crate) const PROGRAMS: &[(&str, Program)] = &[
    ("checkpassword", checkpassword::run),
    ("qmail-pop3d", pop3d::run),
    ("qmail-popup", popup::run),
    ("qmail-qmqpc", |_| qmqpc::run(&home::choose())),
    ("qmail-qmqpd", |_| qmqpd::run(&home::choose())),
    ("qmail-qmtpd", |_| qmtpd::run(&home::choose())),
    ("qmail-smtpd", |_| smtpd::run(&home::choose())),
];
