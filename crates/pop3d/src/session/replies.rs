//! Reply lines into the output buffer. The session writes every one-line reply through here.

use super::Action;

/// One line.
pub(super) fn line(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `+OK`, and nothing for the shell to do.
pub(super) fn ok(out: &mut Vec<u8>) -> Option<Action> {
    line(out, "+OK");
    None
}

/// A number that names no message, or a deleted one.
pub(super) fn no_message(out: &mut Vec<u8>) {
    line(out, "-ERR no such message");
}
