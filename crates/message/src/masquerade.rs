//! Addresses of a header replaced on the way out (control/masquerade). Fed by `remote` and by `qmail-remote` with a message in chunks; every
//! byte that is no replaced address goes through as it came, folding, comments, names and 8-bit text included. Never looks into the body.

mod spans;

use memchr::memchr;
use postino_types::Address;

/// Longest field that is rewritten, bytes. A longer one goes through as it is: it is no address list that a person wrote, and must not cost
/// memory.
pub const FIELD_BYTES_MAX: usize = 256 * 1024;
/// Longest name of a field (RFC 5322 2.1.1 allows a line of 998; ours are short).
const NAME_BYTES_MAX: usize = 80;

/// Fields that say who sent.
const SENDERS: &[&str] = &[
    "From",
    "Sender",
    "Reply-To",
    "Return-Path",
    "Resent-From",
    "Resent-Sender",
    "Resent-Reply-To",
    "Errors-To",
    "Mail-Reply-To",
    "Disposition-Notification-To",
    "Return-Receipt-To",
];
/// Fields that say who receives.
const RECIPIENTS: &[&str] = &["To", "Cc", "Bcc", "Resent-To", "Resent-Cc", "Resent-Bcc", "Mail-Followup-To", "Apparently-To"];

/// Whose fields are rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fields {
    /// The sender's.
    #[default]
    Senders,
    /// The sender's and the recipients'.
    All,
}

impl Fields {
    fn hold(self, name: &[u8]) -> bool {
        let among = |names: &[&str]| names.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name));
        among(SENDERS) || (self == Self::All && among(RECIPIENTS))
    }
}

/// What becomes of the field under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It goes through.
    Through,
    /// Its name is not whole yet.
    Unknown,
    /// It is kept until it is whole.
    Kept,
}

/// Rewrites one message's header. Chunks may be cut anywhere.
#[derive(Debug, Clone)]
pub struct HeaderRewriter {
    fields: Fields,
    kept: Vec<u8>,
    way: Way,
    at_line_start: bool,
    done: bool,
    changed: bool,
}

impl HeaderRewriter {
    /// At the start of a message.
    #[must_use]
    pub fn new(fields: Fields) -> Self {
        Self { fields, kept: Vec::new(), way: Way::Through, at_line_start: true, done: false, changed: false }
    }

    /// The header is over: whatever follows goes through untouched and need not be shown.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// An address was replaced.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.changed
    }

    /// Takes the next bytes; what can go out is added to `out`. `map` names the address that stands for another.
    pub fn feed(&mut self, chunk: &[u8], map: &dyn Fn(&Address) -> Option<Address>, out: &mut Vec<u8>) {
        let mut rest = chunk;
        while let Some(&first) = rest.first().filter(|_| !self.done) {
            if self.at_line_start && !matches!(first, b' ' | b'\t') {
                self.end_field(map, out);
                self.way = Way::Unknown;
            }
            let end = memchr(b'\n', rest).map_or(rest.len(), |i| i + 1);
            let (piece, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            self.take(piece, out);
            rest = after;
        }
        out.extend_from_slice(rest);
    }

    /// The end of the message: what was kept goes out.
    pub fn finish(&mut self, map: &dyn Fn(&Address) -> Option<Address>, out: &mut Vec<u8>) {
        self.end_field(map, out);
        self.done = true;
    }

    /// A piece of one line.
    fn take(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.at_line_start = piece.last() == Some(&b'\n');
        if self.way == Way::Through {
            return out.extend_from_slice(piece);
        }
        self.kept.extend_from_slice(piece);
        if self.way == Way::Unknown {
            self.way = self.judge();
        }
        if self.way == Way::Through || self.kept.len() > FIELD_BYTES_MAX {
            self.way = Way::Through;
            out.append(&mut self.kept);
        }
    }

    fn judge(&mut self) -> Way {
        self.done = matches!(self.kept.as_slice(), b"\n" | b"\r\n");
        match memchr(b':', &self.kept) {
            Some(colon) => {
                let name = self.kept.get(..colon).unwrap_or_default().trim_ascii_end();
                if self.fields.hold(name) { Way::Kept } else { Way::Through }
            }
            None if self.at_line_start || self.kept.len() > NAME_BYTES_MAX => Way::Through,
            None => Way::Unknown,
        }
    }

    fn end_field(&mut self, map: &dyn Fn(&Address) -> Option<Address>, out: &mut Vec<u8>) {
        let field = std::mem::take(&mut self.kept);
        if self.way != Way::Kept {
            return out.extend_from_slice(&field);
        }
        let colon = memchr(b':', &field).map_or(field.len(), |i| i + 1);
        let (name, value) = field.split_at_checked(colon).unwrap_or((&field, &[]));
        out.extend_from_slice(name);
        self.changed |= rewrite_value(value, map, out);
    }
}

/// Writes a field's value with its addresses replaced; true when one was.
fn rewrite_value(value: &[u8], map: &dyn Fn(&Address) -> Option<Address>, out: &mut Vec<u8>) -> bool {
    let mut from = 0;
    let mut changed = false;
    for span in spans::find(value) {
        let Some(new) = span.address(value).and_then(|old| map(&old).filter(|new| *new != old)) else { continue };
        let quoted = new.to_quoted(true);
        let at = quoted.len() - new.host().map_or(0, |host| host.len() + 1);
        let (local, host) = quoted.split_at_checked(at).unwrap_or((&quoted, &[]));
        out.extend_from_slice(value.get(from..span.local.start).unwrap_or_default());
        out.extend_from_slice(local);
        // What stands between the two is kept: blanks and comments are the writer's.
        out.extend_from_slice(value.get(span.local.end..span.host.start).unwrap_or_default());
        out.extend_from_slice(host.get(1..).unwrap_or_default());
        from = span.host.end;
        changed = true;
    }
    out.extend_from_slice(value.get(from..).unwrap_or_default());
    changed
}

#[cfg(test)]
mod tests;
