//! The limits of a domain: vpopmail's `.qmailadmin-limits` and `vlimits.default`, and the row of table `limits`. Called by the administration, by
//! logins (closed services) and by quotas. Never counts anything.

/// What the domain's administrators may do with a kind of thing: bits 1 no create, 2 no modify, 4 no delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions {
    /// Accounts.
    pub account: u8,
    /// Aliases.
    pub alias: u8,
    /// Forwards.
    pub forward: u8,
    /// Autoresponders.
    pub autoresponder: u8,
    /// Mailing lists (with the bits of list users and moderators).
    pub mailing_list: u16,
    /// Quotas.
    pub quota: u8,
    /// The default quota.
    pub default_quota: u8,
}

/// Limits of a domain; a maximum of -1 is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainLimits {
    /// Accounts.
    pub accounts_max: i64,
    /// Aliases.
    pub aliases_max: i64,
    /// Forwards.
    pub forwards_max: i64,
    /// Autoresponders.
    pub autoresponders_max: i64,
    /// Mailing lists.
    pub mailing_lists_max: i64,
    /// Quota of all accounts together, in MB (2^20 bytes); 0: none.
    pub quota_mb: u64,
    /// Messages of all accounts together; 0: no limit.
    pub messages_max: u64,
    /// Quota of a new account in bytes; 0: none.
    pub default_quota_bytes: u64,
    /// Messages of a new account; 0: no limit.
    pub default_messages_max: u64,
    /// Flag bits that count for every account without `FLAG_OVERRIDE` (the `disable_…` and `delete_spam` columns).
    pub flags: u32,
    /// What is forbidden to administrators.
    pub permissions: Permissions,
}

impl Default for DomainLimits {
    fn default() -> Self {
        Self {
            accounts_max: -1,
            aliases_max: -1,
            forwards_max: -1,
            autoresponders_max: -1,
            mailing_lists_max: -1,
            quota_mb: 0,
            messages_max: 0,
            default_quota_bytes: 0,
            default_messages_max: 0,
            flags: 0,
            permissions: Permissions::default(),
        }
    }
}
