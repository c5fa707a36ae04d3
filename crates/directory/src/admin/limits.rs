//! Limits of domains: set, shown, and what they forbid to a domain's own administrator. Called by the command line, by vmoddomlimits and by
//! changes. The system's administrator is bound by none of them.

use super::{Admin, AdminError, Change};
use crate::vpasswd::DomainLimits;

/// For whom the changes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Actor {
    /// Root or the owner of vpopmail's tree: no limit counts.
    #[default]
    System,
    /// Somebody who administers one domain.
    DomainAdministrator,
}

/// Bits of `DomainLimits::permissions`.
const NO_CREATE: u8 = 1;
const NO_MODIFY: u8 = 2;
const NO_DELETE: u8 = 4;

/// What is about to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Create,
    Modify,
    Delete,
}

impl Act {
    fn is_forbidden(self, bits: u8) -> bool {
        let bit = match self {
            Self::Create => NO_CREATE,
            Self::Modify => NO_MODIFY,
            Self::Delete => NO_DELETE,
        };
        bits & bit != 0
    }
}

impl Admin {
    /// The limits that count for a domain: its own, else the site's (`etc/vlimits.default`), else none.
    pub fn limits(&self, domain: &str) -> Result<DomainLimits, AdminError> {
        let entry = self.domain(domain)?;
        Ok(match self.keepers.domains.limits(entry.real())? {
            Some(own) => own,
            None => self.keepers.domains.limits("")?.unwrap_or_default(),
        })
    }

    /// The domain's own limits; `None`: the site's count.
    pub fn own_limits(&self, domain: &str) -> Result<Option<DomainLimits>, AdminError> {
        let entry = self.domain(domain)?;
        Ok(self.keepers.domains.limits(entry.real())?)
    }

    /// Gives a domain limits of its own, or with `None` takes them away.
    pub fn set_limits(&self, domain: &str, limits: Option<&DomainLimits>) -> Result<Change, AdminError> {
        let entry = self.domain(domain)?;
        let _lock = self.lock_domain(&entry)?;
        self.keepers.domains.set_limits(entry.real(), limits)?;
        Ok(Change::noticed())
    }

    /// The limits of the site, for domains without their own.
    pub fn default_limits(&self) -> Result<DomainLimits, AdminError> {
        Ok(self.keepers.domains.limits("")?.unwrap_or_default())
    }

    /// Sets them.
    pub fn set_default_limits(&self, limits: Option<&DomainLimits>) -> Result<Change, AdminError> {
        self.keepers.domains.set_limits("", limits)?;
        Ok(Change::noticed())
    }

    /// May the actor do this to accounts, `more` of them?
    pub(super) fn allow_accounts(&self, domain: &str, act: Act, more: usize) -> Result<(), AdminError> {
        if self.settings.actor == Actor::System {
            return Ok(());
        }
        let limits = self.limits(domain)?;
        if act.is_forbidden(limits.permissions.account) {
            return Err(AdminError::Forbidden("accounts"));
        }
        if act == Act::Create {
            let count = self.keepers.accounts.count(self.domain(domain)?.real())?;
            within("accounts", limits.accounts_max, usize::try_from(count).unwrap_or(usize::MAX).saturating_add(more))?;
        }
        Ok(())
    }

    /// May the actor do this to a quota?
    pub(super) fn allow_quota(&self, domain: &str) -> Result<(), AdminError> {
        let is_bound = self.settings.actor == Actor::DomainAdministrator;
        if is_bound && Act::Modify.is_forbidden(self.limits(domain)?.permissions.quota) {
            return Err(AdminError::Forbidden("quotas"));
        }
        Ok(())
    }

    /// May the actor do this to an alias (leads to accounts here) or forward (leads elsewhere)? One that is new counts against the maximum.
    pub(super) fn allow_alias(&self, domain: &str, act: Act, leads_here: impl Fn(&str) -> bool, line: &str) -> Result<(), AdminError> {
        if self.settings.actor == Actor::System {
            return Ok(());
        }
        let limits = self.limits(domain)?;
        let here = leads_here(line);
        let (what, bits, max) = if here {
            ("aliases", limits.permissions.alias, limits.aliases_max)
        } else {
            ("forwards", limits.permissions.forward, limits.forwards_max)
        };
        if act.is_forbidden(bits) {
            return Err(AdminError::Forbidden(what));
        }
        if act == Act::Create {
            let count =
                self.aliases(domain)?.iter().filter(|alias| alias.lines.first().is_some_and(|line| leads_here(line) == here)).count();
            within(what, max, count + 1)?;
        }
        Ok(())
    }
}

fn within(what: &'static str, max: i64, count: usize) -> Result<(), AdminError> {
    match usize::try_from(max) {
        Ok(max) if count > max => Err(AdminError::Limit { what, max }),
        _ => Ok(()),
    }
}
