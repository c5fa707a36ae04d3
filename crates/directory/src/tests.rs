//! The directory as its port shows it: one contract for every backend, then what is vpopmail's own.

mod contract;
mod vpopmail;
pub(crate) mod world;
