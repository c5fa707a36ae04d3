//! How far the directories below a domain are hashed: vpopmail's `.dir-control`, and the row of table `dir_control`. Called by the administration
//! when an account or a domain is added. Never touches a directory.

use std::fmt::Write;

/// Names of the directories of one level, in their order.
const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Entries of one directory.
const ENTRIES_PER_DIRECTORY: u32 = 100;
/// Longest `.dir-control` that is read, in bytes.
pub const HASH_STATE_BYTES_MAX: usize = 4096;

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

impl HashState {
    /// Before the first entry.
    #[must_use]
    pub fn new() -> Self {
        Self { level_max: 3, level_end: [61; 3], level_mod: [0, 2, 4], ..Self::default() }
    }

    /// The state with one more entry; its [`directory`](Self::directory) is where that entry goes. The count alone decides, so it does not
    /// matter how often accounts came and went: the first 99 lie in the domain's own directory, the next hundred in `0`, then in `1` …
    /// `z`, `0/0`, …
    #[must_use]
    pub fn added(before: Option<&Self>) -> Self {
        let Some(before) = before else { return Self { current_users: 1, ..Self::new() } };
        let mut state = before.changed(before.current_users.saturating_add(1));
        (state.level_current, state.level_index, state.directory) = place(state.current_users / ENTRIES_PER_DIRECTORY);
        state
    }

    /// The state with one entry less; entries that stay are not moved.
    #[must_use]
    pub fn removed(&self) -> Self {
        self.changed(self.current_users.saturating_sub(1))
    }

    /// vpopmail's own reader takes the second number of this line for the third, too, so a file that was written twice has it twice.
    fn changed(&self, current_users: u32) -> Self {
        let [first, second, _] = self.level_mod;
        Self { current_users, level_mod: [first, second, second], ..self.clone() }
    }

    /// Reads `.dir-control`; `None` when it is none, or names a directory outside the domain.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= HASH_STATE_BYTES_MAX)?;
        let mut lines = text.split('\n');
        let mut one = || lines.next()?.trim().parse().ok();
        let (current_users, level_current, level_max) = (one()?, one()?, one()?);
        let mut three = || {
            let mut words = lines.next()?.split_ascii_whitespace().map(|word| word.parse().ok());
            Some([words.next()??, words.next()??, words.next()??])
        };
        let (level_start, level_end, level_mod, level_index) = (three()?, three()?, three()?, three()?);
        let directory = lines.next().unwrap_or_default().trim_end_matches('/').to_owned();
        let inside = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
        let good = directory.is_empty() || directory.split('/').all(inside);
        good.then_some(Self { current_users, level_current, level_max, level_start, level_end, level_mod, level_index, directory })
    }

    /// The file.
    #[must_use]
    pub fn print(&self) -> String {
        let mut out = format!("{}\n{}\n{}\n", self.current_users, self.level_current, self.level_max);
        for [a, b, c] in [self.level_start, self.level_end, self.level_mod, self.level_index] {
            let _ = writeln!(out, "{a} {b} {c}");
        }
        out.push_str(&self.directory);
        out.push('\n');
        out
    }
}

/// Level, letters and path of the directory with this number; the domain's own is number 0. After the last of three levels it begins anew.
fn place(number: u32) -> (u32, [u32; 3], String) {
    let Some(mut rest) = number.checked_sub(1) else { return (0, [0; 3], String::new()) };
    rest %= 62 + 62 * 62 + 62 * 62 * 62;
    let levels = if rest < 62 {
        1
    } else if rest < 62 + 62 * 62 {
        rest -= 62;
        2
    } else {
        rest -= 62 + 62 * 62;
        3
    };
    let digits = [rest, rest / 62, rest / (62 * 62)].map(|n| n % 62);
    let mut index = [0; 3];
    let mut path = String::new();
    for (slot, digit) in index.iter_mut().zip(digits.iter().take(levels).rev()) {
        *slot = *digit;
        if !path.is_empty() {
            path.push('/');
        }
        path.push(usize::try_from(*digit).ok().and_then(|i| LETTERS.get(i)).map_or('0', |&b| char::from(b)));
    }
    (u32::try_from(levels - 1).unwrap_or_default(), index, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(count: u32) -> HashState {
        (0..count).fold(None, |state: Option<HashState>, _| Some(HashState::added(state.as_ref()))).unwrap()
    }

    #[test]
    fn files_are_those_of_vpopmail() {
        assert_eq!(after(1).print(), "1\n0\n3\n0 0 0\n61 61 61\n0 2 4\n0 0 0\n\n");
        assert_eq!(after(2).print(), "2\n0\n3\n0 0 0\n61 61 61\n0 2 2\n0 0 0\n\n");
        assert_eq!(after(102).print(), "102\n0\n3\n0 0 0\n61 61 61\n0 2 2\n0 0 0\n0\n");
        assert_eq!(after(1).removed().print(), "0\n0\n3\n0 0 0\n61 61 61\n0 2 2\n0 0 0\n\n");
    }

    #[test]
    fn the_next_directory_comes_with_each_hundred() {
        for (count, directory) in [(1, ""), (99, ""), (100, "0"), (199, "0"), (200, "1"), (6_200, "z"), (6_300, "0/0"), (6_400, "0/1")] {
            assert_eq!(after(count).directory, directory, "{count}");
        }
        assert_eq!(place(62 + 62 * 62).2, "z/z");
        assert_eq!(place(62 + 62 * 62 + 1).2, "0/0/0");
        assert_eq!(place(62 + 62 * 62 + 62 * 62 * 62).2, "z/z/z");
        assert_eq!(place(62 + 62 * 62 + 62 * 62 * 62 + 1).2, "0");
    }

    #[test]
    fn nothing_leads_outside() {
        for bad in ["..", "/etc", "a/../b", "a//b"] {
            assert_eq!(HashState::parse(format!("1\n0\n3\n0 0 0\n61 61 61\n0 2 4\n0 0 0\n{bad}\n").as_bytes()), None, "{bad}");
        }
        for damaged in ["", "1", "1\n0\n3\n0 0\n", "x\n0\n3\n0 0 0\n61 61 61\n0 2 4\n0 0 0\n\n"] {
            assert_eq!(HashState::parse(damaged.as_bytes()), None, "{damaged:?}");
        }
    }

    proptest! {
        #[test]
        fn parse_undoes_print(users: u32, level in 0u32..4, numbers: [[u32; 3]; 4], directory in "([0-9A-Za-z](/[0-9A-Za-z]){0,2})?") {
            let [level_start, level_end, level_mod, level_index] = numbers;
            let state = HashState { current_users: users, level_current: level, level_max: 3, level_start, level_end, level_mod, level_index, directory };
            prop_assert_eq!(HashState::parse(state.print().as_bytes()), Some(state));
        }
    }
}
