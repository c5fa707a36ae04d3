//! vpopmail's tables in any SQL database: statements, pool and keepers, over the two traits of `link` that each kind of database implements
//! (`sqlite`, `postgresql`, `mysql`, `odbc`). Called by the constructors of the crate. Values are bound, never written into a statement; names of tables and columns
//! are quoted.

mod accounts;
mod aliases;
pub(crate) mod dialect;
mod domain_data;
#[cfg(test)]
mod generated;
pub(crate) mod keeper;
pub(crate) mod link;
mod logins;
mod pool;
mod relays;
mod tables;
