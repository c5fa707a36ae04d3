//! vpopmail's own files, read: account records, the account files of a domain, `vdelivermail` in process. Called by the directory.
//! Never writes.

pub(crate) mod accounts;
pub(crate) mod deliver;
