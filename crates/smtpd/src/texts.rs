//! The replies that come from decisions outside the protocol: relaying, mailboxes, the queue. Each once; texts in qmail-smtpd's words
//! where it has them, codes by RFC 3463.

use postino_policy::rbl::Refusal;
use postino_ports::queue::AcceptError;
use postino_smtp::Reply;

/// badmailfrom.
pub const BAD_SENDER: Reply = Reply::new(553, (5, 7, 1), "sorry, your envelope sender is in my badmailfrom list");
/// Relaying denied.
pub const RELAY_DENIED: Reply = Reply::new(550, (5, 7, 1), "sorry, that domain isn't in my list of allowed rcpthosts");
/// A stranger's local part that the next host might read as a route.
pub const ROUTE_DENIED: Reply = Reply::new(550, (5, 7, 1), "sorry, no routes in the local part");
/// Nobody there.
pub const NO_MAILBOX: Reply = Reply::new(550, (5, 1, 1), "sorry, no mailbox here by that name");
/// The account takes no mail.
pub const LOCKED: Reply = Reply::new(550, (5, 2, 1), "sorry, that mailbox takes no mail");
/// No room in the mailbox.
pub const OVER_QUOTA: Reply = Reply::new(552, (5, 2, 2), "sorry, that mailbox is over quota");
/// The same where the administrator wants it tried again.
pub const OVER_QUOTA_NOW: Reply = Reply::new(452, (4, 2, 2), "sorry, that mailbox is over quota, try again later");
/// The directory cannot tell.
pub const LOOKUP_FAILED: Reply = Reply::new(451, (4, 3, 0), "temporary lookup failure, try again later");
/// No room.
pub const FULL: Reply = Reply::new(452, (4, 3, 1), "insufficient system storage, try again later");
/// The queue failed.
pub const QUEUE_FAILED: Reply = Reply::new(451, (4, 3, 0), "queue trouble, try again later");
/// The queue is stopping.
pub const STOPPING: Reply = Reply::new(451, (4, 3, 2), "service shutting down");

/// The reply to a client whom a block list or the rules by address refuse, with rblsmtpd's codes.
#[must_use]
pub fn listed(how: Refusal, text: &str) -> Reply {
    match how {
        Refusal::ForNow => Reply::new(451, (4, 7, 1), ""),
        Refusal::ForGood => Reply::new(553, (5, 7, 1), ""),
    }
    .with_text(&text.replace('\n', " "))
}

/// The reply to a client whose message the queue did not take. Never a 2xx; 5xx only for size, or when a program on the way says so.
#[must_use]
pub fn accept_error(error: &AcceptError) -> Reply {
    match error {
        AcceptError::Busy | AcceptError::DiskFull => FULL,
        AcceptError::TooBig(_) => postino_smtp::server::replies::TOO_BIG,
        AcceptError::Io(_) => QUEUE_FAILED,
        AcceptError::Stopping => STOPPING,
        AcceptError::Refused(words) => in_words(554, words),
        AcceptError::Postponed(words) => in_words(451, words),
    }
}

/// `words` end with the status as qmail's programs write it; where it is one of the code's class it becomes the reply's.
fn in_words(code: u16, words: &str) -> Reply {
    let class = if code < 500 { 4 } else { 5 };
    let found = words.strip_suffix(')').and_then(|words| words.rsplit_once(" (#")).and_then(|(text, status)| {
        let numbers: Vec<u16> = status.split('.').map_while(|n| n.parse().ok()).collect();
        match *numbers.as_slice() {
            [own, subject, detail] if own == u16::from(class) => Some((text, subject, detail)),
            _ => None,
        }
    });
    let (text, subject, detail) = found.unwrap_or((words, 3, 0));
    Reply::new(code, (class, subject, detail), "").with_text(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_words_and_status_become_the_reply() {
        let line = |error: AcceptError| {
            let mut out = Vec::new();
            accept_error(&error).write_to(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(line(AcceptError::Refused("virus found (#5.7.1)".into())), "554 5.7.1 virus found\r\n");
        assert_eq!(line(AcceptError::Postponed("qq timeout (#4.3.0)".into())), "451 4.3.0 qq timeout\r\n");
        assert_eq!(line(AcceptError::Postponed("odd (#5.7.1)".into())), "451 4.3.0 odd (#5.7.1)\r\n");
        assert_eq!(line(AcceptError::Refused("no".into())), "554 5.3.0 no\r\n");
    }
}
