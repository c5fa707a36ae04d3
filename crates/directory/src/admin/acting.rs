//! Work in the folder of a less trusted account, done with that account's rights. Called by the changes that run as root below `domains/`: whoever
//! owns a folder there may put links in it, and root would follow them to its own files. Never used by a daemon.

use super::{AdminError, Owner};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use std::marker::PhantomData;

/// While it lives, this thread reaches files as the owner does. Declare it before a journal: what is undone is undone as the owner, too.
#[derive(Debug)]
#[must_use]
pub struct ActingAs {
    before: Option<(Uid, Gid)>,
    /// The rights are the thread's.
    _stays: PhantomData<*const ()>,
}

impl ActingAs {
    /// Takes the owner's rights; nothing changes for a caller that is not root, or for an owner that is.
    pub fn begin(owner: Owner) -> Result<Self, AdminError> {
        if !rustix::process::geteuid().is_root() || owner.uid == 0 {
            return Ok(Self { before: None, _stays: PhantomData });
        }
        // The group first: without root's uid it could not be changed any more.
        let gid = setfsgid(Gid::from_raw(owner.gid));
        let uid = setfsuid(Uid::from_raw(owner.uid));
        let acting = Self { before: Some((uid, gid)), _stays: PhantomData };
        // Neither call tells of a failure; asked for an impossible number, they tell what is in force.
        let now = (setfsuid(Uid::from_raw(u32::MAX)), setfsgid(Gid::from_raw(u32::MAX)));
        if now == (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid)) { Ok(acting) } else { Err(AdminError::Rights(owner.uid)) }
    }
}

impl Drop for ActingAs {
    fn drop(&mut self) {
        if let Some((uid, gid)) = self.before {
            setfsuid(uid);
            setfsgid(gid);
        }
    }
}
