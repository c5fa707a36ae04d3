//! Accounts of a domain from one keeper to another, with what belongs to them: last logins, limits, hashing and, if wanted, alias lines. Called by
//! `postino directory copy` and by vconvert. What is the same already is left alone, so a copy that was interrupted is simply run again; nothing is
//! ever removed from either side, except the lines of an alias that differs.

use crate::vpasswd::Record;
use postino_ports::accounts::{AccountsError, Aliases, Keepers};
use std::collections::BTreeMap;

/// Accounts asked for at once.
const PAGE: usize = 500;

/// Are alias lines copied too? In files they are `.qmail-NAME`, which count in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithAliases {
    /// Yes.
    Yes,
    /// No.
    No,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    /// Accounts that the target did not have.
    pub added: u64,
    /// Accounts that differed.
    pub changed: u64,
    /// Accounts that were the same.
    pub same: u64,
    /// Aliases written.
    pub aliases: u64,
    /// Accounts that only the target has: left alone.
    pub only_there: u64,
}

/// Why a copy ended early.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source.
    #[error("reading {domain}: {error}")]
    Source {
        /// Domain.
        domain: String,
        /// Why.
        error: AccountsError,
    },
    /// The target.
    #[error("writing {what}: {error}")]
    Target {
        /// Domain or account.
        what: String,
        /// Why.
        error: AccountsError,
    },
    /// What was read back is not what was written.
    #[error("{0}: what the target has now is not what was copied")]
    Differs(String),
}

/// Copies one domain and reads everything back. `step` is told of each account.
pub fn copy_domain(from: &Keepers, to: &Keepers, domain: &str, aliases: WithAliases, step: &mut dyn FnMut()) -> Result<Copied, CopyError> {
    let source = |error| CopyError::Source { domain: domain.to_owned(), error };
    let target = target_error;
    to.accounts.add_domain(domain).map_err(target(domain))?;
    let mut copied = Copied::default();
    for_each_account(from, domain, &mut |record| {
        let address = format!("{}@{domain}", record.name);
        match to.accounts.find(domain, &record.name).map_err(target(&address))? {
            None => {
                to.accounts.insert(domain, record).map_err(target(&address))?;
                copied.added += 1;
            }
            Some(there) if is_same(&there, record) => copied.same += 1,
            Some(_) => {
                to.accounts.update(domain, record).map_err(target(&address))?;
                copied.changed += 1;
            }
        }
        if let Some(login) = from.logins.last(domain, &record.name).map_err(source)?
            && to.logins.last(domain, &record.name).map_err(target(&address))?.is_none_or(|there| there.at < login.at)
        {
            to.logins.note(domain, &record.name, &login).map_err(target(&address))?;
        }
        step();
        Ok(())
    })?;
    if let Some(limits) = from.domains.limits(domain).map_err(source)? {
        to.domains.set_limits(domain, Some(&limits)).map_err(target(domain))?;
    }
    if let Some(state) = from.domains.hash_state(domain).map_err(source)? {
        to.domains.set_hash_state(domain, Some(&state)).map_err(target(domain))?;
    }
    if let (WithAliases::Yes, Some(from), Some(to)) = (aliases, &from.aliases, &to.aliases) {
        copied.aliases = copy_aliases(from.as_ref(), to.as_ref(), domain)?;
    }
    let verified = verify(from, to, domain)?;
    copied.only_there = to.accounts.count(domain).map_err(target(domain))?.saturating_sub(verified);
    Ok(copied)
}

fn target_error(what: &str) -> impl FnOnce(AccountsError) -> CopyError + use<> {
    let what = what.to_owned();
    move |error| CopyError::Target { what, error }
}

fn for_each_account(from: &Keepers, domain: &str, work: &mut dyn FnMut(&Record) -> Result<(), CopyError>) -> Result<(), CopyError> {
    let mut after: Option<String> = None;
    loop {
        let page = from.accounts.page(domain, after.as_deref(), PAGE);
        let page = page.map_err(|error| CopyError::Source { domain: domain.to_owned(), error })?;
        page.iter().try_for_each(&mut *work)?;
        match page.last() {
            Some(last) => after = Some(last.name.clone()),
            None => return Ok(()),
        }
    }
}

/// Reads everything back; says how many there are at the source.
fn verify(from: &Keepers, to: &Keepers, domain: &str) -> Result<u64, CopyError> {
    let mut count = 0;
    for_each_account(from, domain, &mut |record| {
        let address = format!("{}@{domain}", record.name);
        let there = to.accounts.find(domain, &record.name).map_err(target_error(&address))?;
        count += 1;
        if there.is_some_and(|there| is_same(&there, record)) { Ok(()) } else { Err(CopyError::Differs(address)) }
    })?;
    Ok(count)
}

/// The same account, whatever a store's columns do to a comment: bytes that are no UTF-8 become letters, blanks at the end go. A clear password that is empty is none.
fn is_same(a: &Record, b: &Record) -> bool {
    let letters = |gecos: &[u8]| match std::str::from_utf8(gecos) {
        Ok(text) => text.trim_end().to_owned(),
        Err(_) => gecos.iter().map(|&b| char::from(b)).collect::<String>().trim_end().to_owned(),
    };
    let clear = |record: &Record| record.clear.clone().filter(|clear| !clear.is_empty());
    let rest = |record: &Record| Record { gecos: Vec::new(), clear: None, ..record.clone() };
    letters(&a.gecos) == letters(&b.gecos) && clear(a) == clear(b) && rest(a) == rest(b)
}

fn copy_aliases(from: &dyn Aliases, to: &dyn Aliases, domain: &str) -> Result<u64, CopyError> {
    let (mut after, mut count): (Option<String>, u64) = (None, 0);
    loop {
        let page = from.page(domain, after.as_deref(), PAGE);
        let page = page.map_err(|error| CopyError::Source { domain: domain.to_owned(), error })?;
        let Some((last, _)) = page.last() else { return Ok(count) };
        after = Some(last.clone());
        let mut aliases: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (alias, line) in page {
            aliases.entry(alias).or_default().push(line);
        }
        for (alias, lines) in aliases {
            let target = || target_error(&alias);
            if to.lines(domain, &alias).map_err(target())? == lines {
                continue;
            }
            to.remove(domain, &alias, None).map_err(target())?;
            for line in &lines {
                to.add_line(domain, &alias, line).map_err(target())?;
            }
            count += 1;
        }
    }
}
