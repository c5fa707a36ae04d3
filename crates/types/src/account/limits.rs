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

/// What a key of the file means.
type Set = fn(&mut DomainLimits, &str);

/// Flags that a bare key sets, in the order of vpopmail's file.
const FLAGS: [(&str, u32); 10] = [
    ("disable_pop", super::FLAG_NO_POP),
    ("disable_imap", super::FLAG_NO_IMAP),
    ("disable_dialup", super::FLAG_NO_DIALUP),
    ("disable_password_changing", super::FLAG_NO_PASSWORD_CHANGE),
    ("disable_webmail", super::FLAG_NO_WEBMAIL),
    ("disable_external_relay", super::FLAG_NO_RELAY),
    ("disable_smtp", super::FLAG_NO_SMTP),
    ("disable_spamassassin", super::FLAG_NO_SPAM_CHECK),
    ("delete_spam", super::FLAG_DELETE_SPAM),
    ("disable_maildrop", super::FLAG_NO_MAILDROP),
];

const VALUES: [(&str, Set); 16] = [
    ("maxpopaccounts", |l, v| l.accounts_max = maximum(v)),
    ("maxaliases", |l, v| l.aliases_max = maximum(v)),
    ("maxforwards", |l, v| l.forwards_max = maximum(v)),
    ("maxautoresponders", |l, v| l.autoresponders_max = maximum(v)),
    ("maxmailinglists", |l, v| l.mailing_lists_max = maximum(v)),
    ("quota", |l, v| l.quota_mb = number(v)),
    ("maxmsgcount", |l, v| l.messages_max = number(v)),
    ("default_quota", |l, v| l.default_quota_bytes = number(v)),
    ("default_maxmsgcount", |l, v| l.default_messages_max = number(v)),
    ("perm_account", |l, v| l.permissions.account = bits(v)),
    ("perm_alias", |l, v| l.permissions.alias = bits(v)),
    ("perm_forward", |l, v| l.permissions.forward = bits(v)),
    ("perm_autoresponder", |l, v| l.permissions.autoresponder = bits(v)),
    ("perm_maillist", |l, v| l.permissions.mailing_list = u16::try_from(number(v)).unwrap_or_default()),
    ("perm_quota", |l, v| l.permissions.quota = bits(v)),
    ("perm_defaultquota", |l, v| l.permissions.default_quota = bits(v)),
];

impl DomainLimits {
    /// Reads `.qmailadmin-limits` or `vlimits.default`: `key: value`, or a bare key for a flag; `#` comments; unknown keys are passed over.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut limits = Self::default();
        for line in String::from_utf8_lossy(text).lines() {
            let mut words = line.split([' ', '\t', ':']).filter(|word| !word.is_empty());
            let Some(key) = words.next().filter(|key| !key.starts_with('#')) else { continue };
            if let Some((_, flag)) = FLAGS.iter().find(|(name, _)| *name == key) {
                limits.flags |= flag;
            } else if let (Some((_, set)), Some(value)) = (VALUES.iter().find(|(name, _)| *name == key), words.next()) {
                set(&mut limits, value);
            }
        }
        limits
    }

    /// The file with every value, flags only where they are set.
    #[must_use]
    pub fn print(&self) -> String {
        let p = &self.permissions;
        let mut lines = vec![
            format!("maxpopaccounts: {}", self.accounts_max),
            format!("maxaliases: {}", self.aliases_max),
            format!("maxforwards: {}", self.forwards_max),
            format!("maxautoresponders: {}", self.autoresponders_max),
            format!("maxmailinglists: {}", self.mailing_lists_max),
            format!("quota: {}", self.quota_mb),
            format!("maxmsgcount: {}", self.messages_max),
            format!("default_quota: {}", self.default_quota_bytes),
            format!("default_maxmsgcount: {}", self.default_messages_max),
        ];
        lines.extend(FLAGS.iter().filter(|(_, flag)| self.flags & flag != 0).map(|(name, _)| (*name).to_owned()));
        lines.extend([
            format!("perm_account: {}", p.account),
            format!("perm_alias: {}", p.alias),
            format!("perm_forward: {}", p.forward),
            format!("perm_autoresponder: {}", p.autoresponder),
            format!("perm_maillist: {}", p.mailing_list),
            format!("perm_quota: {}", p.quota),
            format!("perm_defaultquota: {}", p.default_quota),
        ]);
        lines.push(String::new());
        lines.join("\n")
    }

    /// The quota of a new account: `5000000S,1000C`, `NOQUOTA`.
    #[must_use]
    pub fn default_quota(&self) -> String {
        match (self.default_quota_bytes, self.default_messages_max) {
            (0, 0) => "NOQUOTA".into(),
            (bytes, 0) => format!("{bytes}S"),
            (0, count) => format!("{count}C"),
            (bytes, count) => format!("{bytes}S,{count}C"),
        }
    }
}

/// A maximum; what is none, or less than -1, is no limit.
fn maximum(value: &str) -> i64 {
    value.parse().unwrap_or(-1).max(-1)
}

fn number(value: &str) -> u64 {
    value.parse().unwrap_or(0)
}

/// Like an 8-bit number that is too big for it: nothing is forbidden by mistake.
fn bits(value: &str) -> u8 {
    value.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        let text = b"# ours\nmaxpopaccounts: 5\n\tmaxaliases\t7\nquota 100\ndisable_pop\ndelete_spam:\nmystery: 9\nmaxforwards\ndefault_quota: 10485760\n";
        let limits = DomainLimits::parse(text);
        assert_eq!((limits.accounts_max, limits.aliases_max, limits.forwards_max, limits.quota_mb), (5, 7, -1, 100));
        assert_eq!(limits.flags, super::super::FLAG_NO_POP | super::super::FLAG_DELETE_SPAM);
        assert_eq!(limits.default_quota(), "10485760S");
        assert_eq!(DomainLimits::parse(b""), DomainLimits::default());
    }

    proptest! {
        #[test]
        fn parse_undoes_print(maxima: [i16; 5], sizes: [u64; 4], flags in proptest::collection::vec(0usize..10, 0..10), bits: [u8; 6], lists: u16) {
            let [accounts, aliases, forwards, autoresponders, lists_max] = maxima.map(|n| i64::from(n).max(-1));
            let [quota_mb, messages_max, default_quota_bytes, default_messages_max] = sizes;
            let [account, alias, forward, autoresponder, quota, default_quota] = bits;
            let limits = DomainLimits {
                accounts_max: accounts,
                aliases_max: aliases,
                forwards_max: forwards,
                autoresponders_max: autoresponders,
                mailing_lists_max: lists_max,
                quota_mb,
                messages_max,
                default_quota_bytes,
                default_messages_max,
                flags: flags.into_iter().filter_map(|i| FLAGS.get(i)).fold(0, |all, (_, flag)| all | flag),
                permissions: Permissions { account, alias, forward, autoresponder, mailing_list: lists, quota, default_quota },
            };
            prop_assert_eq!(DomainLimits::parse(limits.print().as_bytes()), limits);
        }
    }
}
