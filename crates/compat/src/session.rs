//! Programs that speak with one client over descriptors 0 and 1: SMTP, QMTP, QMQP, POP3. Called by `main`; never listen.

use crate::Program;

/// The programs of this room.
pub(crate) const PROGRAMS: &[(&str, Program)] = &[];
