//! xtext (RFC 3461 4): the coding of ENVID, ORCPT and AUTH= values. Called by the parameter parsers and printers; what it decodes
//! never holds a control byte.

/// Decodes xtext. `None` when it is malformed or when a control byte (or DEL) would come out.
#[must_use]
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        let value = match byte {
            b'+' => hex(bytes.next()?)?.checked_mul(16)?.checked_add(hex(bytes.next()?)?)?,
            b'=' => return None,
            33..=126 | 128.. => byte,
            _ => return None,
        };
        if value < 32 || value == 127 {
            return None;
        }
        out.push(value);
    }
    Some(out)
}

/// Encodes as xtext: every byte outside `!`..`~`, and `+` and `=`, as `+HH`. ASCII comes out whatever goes in.
#[must_use]
pub fn encode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        if (33..=126).contains(&byte) && byte != b'+' && byte != b'=' {
            out.push(byte);
        } else {
            out.push(b'+');
            out.push(digit(byte >> 4));
            out.push(digit(byte & 15));
        }
    }
    out
}

/// Decodes the `\x{HEX}` escapes of an `utf-8` original recipient (RFC 6533 3). `None` when malformed, not UTF-8, or holding controls.
#[must_use]
pub fn decode_unitext(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x{") {
        out.push_str(before);
        let (digits, tail) = after.split_once('}')?;
        if digits.is_empty() || digits.len() > 6 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        out.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
        rest = tail;
    }
    out.push_str(rest);
    (!out.chars().any(char::is_control)).then(|| out.into_bytes())
}

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        // RFC 3461 4 wants capitals; small ones are seen in the field and mean nothing else.
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

fn digit(value: u8) -> u8 {
    match value {
        0..=9 => b'0' + value,
        _ => b'A' + (value - 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_and_refuses() {
        assert_eq!(decode(b"a+2Bb+3D"), Some(b"a+b=".to_vec()));
        assert_eq!(decode(b"x+0Ay"), None, "a newline never comes out");
        assert_eq!(decode(b"x+00"), None);
        assert_eq!(decode(b"x+7F"), None);
        assert_eq!(decode(b"x+4"), None);
        assert_eq!(decode(b"x+GG"), None);
        assert_eq!(decode(b"a=b"), None);
        assert_eq!(decode(b"a b"), None);
    }

    #[test]
    fn unitext() {
        assert_eq!(decode_unitext(b"\\x{3B1}@x"), Some("α@x".into()));
        assert_eq!(decode_unitext(b"\\x{A}@x"), None);
        assert_eq!(decode_unitext(b"\\x{D800}"), None);
        assert_eq!(decode_unitext(b"\\x{41"), None);
    }
}
