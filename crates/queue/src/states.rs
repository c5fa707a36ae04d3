//! The states of a queued message, as data: the documentation and the crash tests read the same table. Nothing here runs.

/// One state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// `S1` to `S6`.
    pub name: &'static str,
    /// In one word.
    pub word: &'static str,
    /// The body on the disk.
    pub body: &'static str,
    /// The rows `entry` and `content`.
    pub record: &'static str,
    /// The recipients.
    pub recipients: &'static str,
    /// What a crash here means.
    pub crash: &'static str,
    /// Who brings it on.
    pub next: &'static str,
    /// A message in this state was promised to the client (250).
    pub promised: bool,
    /// The client (or whoever sent it) may send it again.
    pub may_repeat: bool,
}

/// The table. A message goes from S1 to S6 and never back.
pub const STATES: &[State] = &[
    State {
        name: "S1",
        word: "absent",
        body: "none",
        record: "none",
        recipients: "none",
        crash: "nothing existed",
        next: "client",
        promised: false,
        may_repeat: true,
    },
    State {
        name: "S2",
        word: "receiving",
        body: "in memory, or a file that grows and is perhaps synced",
        record: "none",
        recipients: "none",
        crash: "the client got no 250 and sends again; a body file without a row is removed at the next start",
        next: "session: commit",
        promised: false,
        may_repeat: true,
    },
    State {
        name: "S3",
        word: "queued",
        body: "whole and synced (in the row, or a file whose directory is synced)",
        record: "committed and synced",
        recipients: "all pending",
        crash: "delivered after the start",
        next: "send: due",
        promised: true,
        may_repeat: false,
    },
    State {
        name: "S4",
        word: "working",
        body: "whole",
        record: "committed",
        recipients: "some done, some pending",
        crash: "an attempt may be repeated, only for recipients in flight",
        next: "send: settle",
        promised: true,
        may_repeat: false,
    },
    State {
        name: "S5",
        word: "settled",
        body: "whole until the commit; a file until it is removed after the commit",
        record: "deleted in the commit that makes forwards and bounces",
        recipients: "all delivered or failed",
        crash: "before the commit S4, after it S6: there is no state between",
        next: "writer",
        promised: true,
        may_repeat: false,
    },
    State {
        name: "S6",
        word: "forgotten",
        body: "perhaps a file that no row refers to",
        record: "none",
        recipients: "none",
        crash: "the file is removed at the next start",
        next: "nobody",
        promised: true,
        may_repeat: false,
    },
];

#[cfg(test)]
mod tests {
    use super::STATES;

    #[test]
    fn the_page_on_internals_says_the_same() {
        let page = include_str!("../../../INTERNALS.md");
        for s in STATES {
            let row = format!("| {} {} | {} | {} | {} | {} | {} |", s.name, s.word, s.body, s.record, s.recipients, s.crash, s.next);
            assert!(page.contains(&row), "INTERNALS.md lacks: {row}");
        }
    }
}
