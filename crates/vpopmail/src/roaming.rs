//! Opened relays of a world, and the clock they go by. Called by vchkpw and clearopensmtp.

use crate::World;
use postino_directory::keepers::OpenSmtp;
use postino_directory::roaming::Roaming;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Rows where the world keeps them, rules where its configuration says.
pub(crate) fn of(world: &World) -> Roaming {
    let home = &world.config.vpopmail_home;
    let relays = match &world.keepers {
        Some(keepers) => Arc::clone(&keepers.relays),
        None => Arc::new(OpenSmtp::new(home)),
    };
    let settings = &world.config.vpopmail;
    Roaming::new(relays, home, settings.tcpserver_file.as_deref(), settings.relay_clear)
}

/// Unix time.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
