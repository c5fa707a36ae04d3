//! The configuration in force: readers take a snapshot, a reload swaps it whole. Never holds a lock while anything else happens.

use crate::resolved::Config;
use std::sync::{Arc, RwLock};

/// A shared, swappable configuration.
#[derive(Debug, Clone)]
pub struct Live {
    inner: Arc<RwLock<Arc<Config>>>,
}

impl Live {
    /// Starts with `config`.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { inner: Arc::new(RwLock::new(Arc::new(config))) }
    }
    /// The configuration now. Cheap; keep it for one command or one delivery, not for a connection's life.
    #[must_use]
    pub fn get(&self) -> Arc<Config> {
        self.inner.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
    /// Swaps in a new configuration.
    pub fn set(&self, config: Config) {
        *self.inner.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(config);
    }
}
