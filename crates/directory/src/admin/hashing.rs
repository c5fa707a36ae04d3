//! Where the next account of a domain, and the next domain, goes when directories are hashed. Called by changes. A place once given is written down
//! in vpasswd or users/assign and never computed again.

use super::{Admin, AdminError, DomainEntry, Owner};
use crate::keepers::{hash_state_in, put_hash_state};
use crate::vpasswd::HashState;
use std::path::{Path, PathBuf};

/// Spread accounts and domains over directories of a hundred each, as vpopmail does?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hashing {
    /// Only where it was begun.
    #[default]
    Continue,
    /// Begin it with new domains and trees.
    Begin,
}

/// Counters before and after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) before: Option<HashState>,
    pub(super) after: Option<HashState>,
}

/// Whose counters.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scope<'a> {
    /// Accounts of a domain.
    Domain(&'a DomainEntry),
    /// Domains below `HOME/domains`.
    Site(&'a Path, Owner),
}

impl Admin {
    pub(super) fn hash_state(&self, scope: Scope<'_>) -> Result<Option<HashState>, AdminError> {
        match scope {
            Scope::Domain(entry) => Ok(self.keepers.domains.hash_state(entry.real())?),
            Scope::Site(domains, _) if domains == self.settings.vpopmail_home.join("domains") => Ok(self.keepers.domains.hash_state("")?),
            Scope::Site(domains, _) => Ok(hash_state_in(&domains.join(".dir-control"))?),
        }
    }

    pub(super) fn set_hash_state(&self, scope: Scope<'_>, state: Option<&HashState>) -> Result<(), AdminError> {
        match scope {
            Scope::Domain(entry) => Ok(self.keepers.domains.set_hash_state(entry.real(), state)?),
            Scope::Site(domains, _) if domains == self.settings.vpopmail_home.join("domains") => {
                Ok(self.keepers.domains.set_hash_state("", state)?)
            }
            Scope::Site(domains, owner) => Ok(put_hash_state(domains, owner, state)?),
        }
    }

    /// Counts new entries; says below which directories they go.
    pub(super) fn count_up(&self, scope: Scope<'_>, entries: usize) -> Result<(Counted, Vec<PathBuf>), AdminError> {
        let before = self.hash_state(scope)?;
        if before.is_none() && self.settings.hashing == Hashing::Continue {
            return Ok((Counted { before: None, after: None }, vec![PathBuf::new(); entries]));
        }
        let mut state = before.clone();
        let mut places = Vec::with_capacity(entries);
        for _ in 0..entries {
            let next = HashState::added(state.as_ref());
            places.push(PathBuf::from(&next.directory));
            state = Some(next);
        }
        Ok((Counted { before, after: state }, places))
    }

    /// The counters of a new domain with its first account.
    pub(super) fn count_up_new(&self) -> Option<HashState> {
        (self.settings.hashing == Hashing::Begin).then(|| HashState::added(None))
    }

    /// Counts an entry that went.
    pub(super) fn count_down(&self, scope: Scope<'_>) -> Result<Counted, AdminError> {
        let before = self.hash_state(scope)?;
        let after = before.as_ref().map(HashState::removed);
        Ok(Counted { before, after })
    }
}
