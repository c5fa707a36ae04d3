//! ESMTP parameters of MAIL and RCPT (RFC 1870, 6152, 6531, 3461, 4954). Called by the command parser only; a keyword that is not
//! offered is an error, never ignored.

use crate::command::CommandError;
use crate::{path, xtext};
use postino_types::{BodyKind, DsnWish, Notify, Orcpt, Ret};
use std::fmt;

/// Longest ENVID before decoding, bytes (RFC 3461 4.4).
const ENVID_BYTES_MAX: usize = 100;
/// Longest ORCPT before decoding, bytes (RFC 3461 4.2).
const ORCPT_BYTES_MAX: usize = 500;

/// What MAIL may carry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MailParams {
    /// `SIZE=`, bytes; `u64::MAX` when the digits do not fit (it is over every limit then).
    pub size: Option<u64>,
    /// `BODY=`.
    pub body: BodyKind,
    /// `SMTPUTF8`.
    pub utf8: bool,
    /// `RET=` and `ENVID=`.
    pub dsn: DsnWish,
    /// `AUTH=`, decoded; empty for `<>`. Checked and then of no consequence: nobody's word for another's login is taken.
    pub auth: Option<Vec<u8>>,
}

/// What RCPT may carry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RcptParams {
    /// `NOTIFY=`.
    pub notify: Notify,
    /// `ORCPT=`.
    pub original: Option<Orcpt>,
}

/// Reads the text after MAIL's path.
pub fn mail(rest: &[u8]) -> Result<MailParams, CommandError> {
    let mut params = MailParams::default();
    let mut seen = Seen::default();
    for word in words(rest)? {
        let (key, value) = keyword(word)?;
        seen.once(&key)?;
        match key.as_slice() {
            b"SIZE" => params.size = Some(size(value)?),
            b"BODY" => params.body = body(value)?,
            b"SMTPUTF8" => {
                flag(value)?;
                params.utf8 = true;
            }
            b"RET" => params.dsn.ret = ret(value)?,
            b"ENVID" => params.dsn.envid = Some(envid(value)?),
            b"AUTH" => params.auth = Some(submitter(value)?),
            _ => return Err(CommandError::UnknownParameter),
        }
    }
    Ok(params)
}

/// Reads the text after RCPT's path.
pub fn rcpt(rest: &[u8]) -> Result<RcptParams, CommandError> {
    let mut params = RcptParams::default();
    let mut seen = Seen::default();
    for word in words(rest)? {
        let (key, value) = keyword(word)?;
        seen.once(&key)?;
        match key.as_slice() {
            b"NOTIFY" => params.notify = notify(value)?,
            b"ORCPT" => params.original = Some(orcpt(value)?),
            _ => return Err(CommandError::UnknownParameter),
        }
    }
    Ok(params)
}

/// As they stand after the path, each with a blank before it.
impl fmt::Display for MailParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(size) = self.size {
            write!(f, " SIZE={size}")?;
        }
        if self.body == BodyKind::EightBit {
            f.write_str(" BODY=8BITMIME")?;
        }
        if self.utf8 {
            f.write_str(" SMTPUTF8")?;
        }
        match self.dsn.ret {
            Ret::Unset => {}
            Ret::Full => f.write_str(" RET=FULL")?,
            Ret::Headers => f.write_str(" RET=HDRS")?,
        }
        if let Some(envid) = &self.dsn.envid {
            write!(f, " ENVID={}", String::from_utf8_lossy(&xtext::encode(envid)))?;
        }
        match self.auth.as_deref() {
            None => Ok(()),
            Some(b"") => f.write_str(" AUTH=<>"),
            Some(auth) => write!(f, " AUTH={}", String::from_utf8_lossy(&xtext::encode(auth))),
        }
    }
}

/// As they stand after the path, each with a blank before it.
impl fmt::Display for RcptParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let notify = self.notify;
        if notify.explicit {
            let kinds = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
            let words: Vec<&str> = kinds.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
            write!(f, " NOTIFY={}", if words.is_empty() { "NEVER".to_owned() } else { words.join(",") })?;
        }
        let Some(original) = &self.original else { return Ok(()) };
        let address = if original.kind == "utf-8" && !original.address.is_ascii() {
            unitext(&original.address)
        } else {
            String::from_utf8_lossy(&xtext::encode(&original.address)).into_owned()
        };
        write!(f, " ORCPT={};{address}", original.kind)
    }
}

/// RFC 6533 3: everything but plain ASCII as `\x{HEX}`, so that the line stays ASCII.
fn unitext(address: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for c in String::from_utf8_lossy(address).chars() {
        if c.is_ascii_graphic() && !matches!(c, '\\' | '+' | '=') {
            out.push(c);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{{{:X}}}", u32::from(c));
        }
    }
    out
}

/// Keywords seen so far: at most the six that exist are kept, the line length bounds the rest.
#[derive(Default)]
struct Seen {
    keys: Vec<Vec<u8>>,
}

impl Seen {
    fn once(&mut self, key: &[u8]) -> Result<(), CommandError> {
        if self.keys.iter().any(|k| k == key) {
            return Err(CommandError::DuplicateParameter);
        }
        if self.keys.len() < 8 {
            self.keys.push(key.to_vec());
        }
        Ok(())
    }
}

fn words(rest: &[u8]) -> Result<impl Iterator<Item = &[u8]>, CommandError> {
    if rest.first().is_some_and(|b| *b != b' ') {
        return Err(CommandError::BadParameter);
    }
    Ok(rest.split(|&b| b == b' ').filter(|w| !w.is_empty()))
}

/// `keyword[=value]`; the keyword in capitals (RFC 5321 4.1.2 esmtp-param).
fn keyword(word: &[u8]) -> Result<(Vec<u8>, Option<&[u8]>), CommandError> {
    let mut parts = word.splitn(2, |&b| b == b'=');
    let key = parts.next().unwrap_or_default();
    let value = parts.next();
    let good = key.first().is_some_and(u8::is_ascii_alphanumeric) && key.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'-');
    if !good {
        return Err(CommandError::BadParameter);
    }
    Ok((key.to_ascii_uppercase(), value))
}

fn flag(value: Option<&[u8]>) -> Result<(), CommandError> {
    if value.is_none() { Ok(()) } else { Err(CommandError::BadParameter) }
}

fn size(value: Option<&[u8]>) -> Result<u64, CommandError> {
    let digits = value.filter(|v| (1..=20).contains(&v.len()) && v.iter().all(u8::is_ascii_digit)).ok_or(CommandError::BadParameter)?;
    Ok(decimal(digits).unwrap_or(u64::MAX))
}

/// Decimal digits; `None` for anything else or when it does not fit.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, b| {
        let digit = b.checked_sub(b'0').filter(|d| *d <= 9)?;
        n.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

fn body(value: Option<&[u8]>) -> Result<BodyKind, CommandError> {
    match value.map(<[u8]>::to_ascii_uppercase).as_deref() {
        Some(b"7BIT") => Ok(BodyKind::SevenBit),
        Some(b"8BITMIME") => Ok(BodyKind::EightBit),
        _ => Err(CommandError::BadParameter),
    }
}

fn ret(value: Option<&[u8]>) -> Result<Ret, CommandError> {
    match value.map(<[u8]>::to_ascii_uppercase).as_deref() {
        Some(b"FULL") => Ok(Ret::Full),
        Some(b"HDRS") => Ok(Ret::Headers),
        _ => Err(CommandError::BadParameter),
    }
}

fn envid(value: Option<&[u8]>) -> Result<Vec<u8>, CommandError> {
    let text = value.filter(|v| !v.is_empty() && v.len() <= ENVID_BYTES_MAX && v.is_ascii()).ok_or(CommandError::BadParameter)?;
    // RFC 3461 4.4: printable US-ASCII before the coding, too.
    xtext::decode(text).filter(|decoded| decoded.is_ascii()).ok_or(CommandError::BadParameter)
}

fn submitter(value: Option<&[u8]>) -> Result<Vec<u8>, CommandError> {
    let text = value.ok_or(CommandError::BadParameter)?;
    if text == b"<>" {
        return Ok(Vec::new());
    }
    let decoded = xtext::decode(text).ok_or(CommandError::BadParameter)?;
    path::mailbox(&decoded).map_err(|_| CommandError::BadParameter)?;
    Ok(decoded)
}

fn notify(value: Option<&[u8]>) -> Result<Notify, CommandError> {
    let value = value.ok_or(CommandError::BadParameter)?.to_ascii_uppercase();
    if value == b"NEVER" {
        return Ok(Notify::NEVER);
    }
    let mut notify = Notify { explicit: true, ..Notify::default() };
    for word in value.split(|&b| b == b',') {
        let wish = match word {
            b"SUCCESS" => &mut notify.success,
            b"FAILURE" => &mut notify.failure,
            b"DELAY" => &mut notify.delay,
            // NEVER stands alone (RFC 3461 4.1).
            _ => return Err(CommandError::BadParameter),
        };
        *wish = true;
    }
    Ok(notify)
}

fn orcpt(value: Option<&[u8]>) -> Result<Orcpt, CommandError> {
    let value = value.filter(|v| v.len() <= ORCPT_BYTES_MAX).ok_or(CommandError::BadParameter)?;
    let mut parts = value.splitn(2, |&b| b == b';');
    let kind = parts.next().unwrap_or_default();
    let text = parts.next().filter(|t| !t.is_empty()).ok_or(CommandError::BadParameter)?;
    let kind_ok = !kind.is_empty() && kind.len() <= 32 && kind.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'-');
    if !kind_ok {
        return Err(CommandError::BadParameter);
    }
    let kind = String::from_utf8_lossy(kind).to_ascii_lowercase();
    let mut address = xtext::decode(text).ok_or(CommandError::BadParameter)?;
    if kind == "utf-8" {
        address = xtext::decode_unitext(&address).ok_or(CommandError::BadParameter)?;
    } else if !address.is_ascii() {
        return Err(CommandError::BadParameter);
    }
    Ok(Orcpt { kind, address })
}
