//! Work below a domain's folder with the rights of its owner, who may have put links there that root would follow to its own files. Called by the programs
//! that write into mailboxes or read from them. The process is single-threaded: its effective ids are everybody's here.

use nix::unistd::{Gid, Uid, getegid, geteuid, setegid, seteuid, setgroups};
use std::io;

/// While it lives, files are reached as the owner reaches them.
#[derive(Debug)]
#[must_use]
pub(crate) struct Rights {
    before: Option<(Uid, Gid)>,
}

impl Rights {
    /// Takes the owner's rights; nothing changes for a caller that is not root.
    pub(crate) fn of(uid: u32, gid: u32) -> io::Result<Self> {
        if !geteuid().is_root() || uid == 0 {
            return Ok(Self { before: None });
        }
        let before = (geteuid(), getegid());
        // Root's other groups could open what the owner may not.
        setgroups(&[])?;
        setegid(Gid::from_raw(gid))?;
        let taken = Self { before: Some(before) };
        seteuid(Uid::from_raw(uid))?;
        Ok(taken)
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        if let Some((uid, gid)) = self.before {
            let _ = seteuid(uid).and_then(|()| setegid(gid));
        }
    }
}
