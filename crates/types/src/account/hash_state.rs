//! How far the directories below a domain are hashed: vpopmail's `.dir-control`, and the row of table `dir_control`. Called by the administration
//! when an account is added. Never touches a directory.

/// The counters of one domain, as vpopmail keeps them: up to three levels of directories named by one of 62 letters each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HashState {
    /// Accounts counted so far.
    pub current_users: u32,
    /// Level in use (0: straight in the domain's directory).
    pub level_current: u32,
    /// Deepest level.
    pub level_max: u32,
    /// First letter of each level, as a number.
    pub level_start: [u32; 3],
    /// Last letter of each level.
    pub level_end: [u32; 3],
    /// Accounts of a level's directory.
    pub level_mod: [u32; 3],
    /// Letter in use at each level.
    pub level_index: [u32; 3],
    /// Directory for the next account, below the domain's; empty: the domain's own.
    pub directory: String,
}
