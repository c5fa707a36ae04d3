//! The configuration in force: readers take a snapshot, a reload swaps it whole. Rules by client address follow their files between
//! reloads, too. Never holds a lock while anything else happens.

use crate::access::{Gate, Service};
use crate::resolved::Config;
use std::sync::{Arc, RwLock};

/// A shared, swappable configuration.
#[derive(Debug, Clone)]
pub struct Live {
    inner: Arc<RwLock<Arc<Config>>>,
    smtp: Arc<Gate>,
    pop3: Arc<Gate>,
}

impl Live {
    /// Starts with `config`.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let gate = |service| {
            let access = config.access(service);
            Arc::new(Gate::new(access.0.clone(), access.1.clone()))
        };
        Self { smtp: gate(Service::Smtp), pop3: gate(Service::Pop3), inner: Arc::new(RwLock::new(Arc::new(config))) }
    }
    /// The configuration now. Cheap; keep it for one command or one delivery, not for a connection's life.
    #[must_use]
    pub fn get(&self) -> Arc<Config> {
        self.inner.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
    /// Swaps in a new configuration.
    pub fn set(&self, config: Config) {
        for service in [Service::Smtp, Service::Pop3] {
            let (rules, sources) = config.access(service);
            self.gate(service).set(rules.clone(), sources.clone());
        }
        *self.inner.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(config);
    }
    /// The rules by client address, which may be younger than the configuration.
    #[must_use]
    pub fn gate(&self, service: Service) -> &Gate {
        match service {
            Service::Smtp => &self.smtp,
            Service::Pop3 => &self.pop3,
        }
    }
}
