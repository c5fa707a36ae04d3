//! The environment as an injector sees it: the process's own, with what a caller in the same process sets and takes away. Never changes the
//! process's own.

use std::os::unix::ffi::OsStringExt;

/// The changes; the last one for a name counts.
#[derive(Debug, Default)]
pub(crate) struct Environment(Vec<(&'static str, Option<Vec<u8>>)>);

impl Environment {
    pub(crate) fn set(&mut self, name: &'static str, value: &[u8]) {
        self.0.push((name, Some(value.to_vec())));
    }

    pub(crate) fn remove(&mut self, name: &'static str) {
        self.0.push((name, None));
    }

    pub(crate) fn get(&self, name: &str) -> Option<Vec<u8>> {
        match self.0.iter().rev().find(|(changed, _)| *changed == name) {
            Some((_, value)) => value.clone(),
            None => std::env::var_os(name).map(OsStringExt::into_vec),
        }
    }

    /// The first of these that is set.
    pub(crate) fn first(&self, names: &[&str]) -> Option<Vec<u8>> {
        names.iter().find_map(|name| self.get(name))
    }
}
