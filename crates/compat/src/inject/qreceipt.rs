//! `qreceipt(1)`: answers a Notice-Requested-Upon-Delivery-To field, from a dot-qmail file. Called by `main`; never answers a bounce.

use super::addresses::rewrite;
use super::tokens::{Token, lex, quote, unquote};
use crate::fatal::Fatal;
use crate::qq::Qq;
use postino_message::header;
use postino_types::exit;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

const REQUEST: &str = "Notice-Requested-Upon-Delivery-To";
/// Longest header that is read, bytes.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// `qreceipt deliveryaddress`.
pub(super) fn run(args: &[OsString], home: &Path) -> Result<i32, Fatal> {
    let [target] = args else { return Err(Fatal::usage("qreceipt deliveryaddress")) };
    let sender = std::env::var_os("SENDER").map(OsStringExt::into_vec).ok_or_else(|| Fatal::hard("SENDER not set"))?;
    let head = head().map_err(|e| Fatal::unable("read message", &e))?;
    let nobody = sender.is_empty() || sender == b"#@[]";
    if nobody || !is_asked(&head, target.as_bytes()) {
        return Ok(exit::OK);
    }
    answer(&head, target.as_bytes(), &sender, home)?;
    Ok(exit::OK)
}

/// The header, without more of the body than a buffer's.
fn head() -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut input = BufReader::new(std::io::stdin().lock()).take(HEADER_BYTES_MAX);
    while input.read_until(b'\n', &mut head)? > 0 && !head.ends_with(b"\n\n") && head != b"\n" {}
    Ok(head)
}

/// True when one of the request's addresses is `target`: the host in any case, the rest as written.
fn is_asked(head: &[u8], target: &[u8]) -> bool {
    let mut asked = false;
    for field in header::fields(head).filter(|field| field.is(REQUEST)) {
        let Some(tokens) = lex(&field.unfolded()) else { continue };
        let _ = rewrite(tokens, &mut |address: &mut Vec<Token>| asked |= same(&unquote(address), target));
    }
    asked
}

fn same(one: &[u8], other: &[u8]) -> bool {
    let at = |address: &[u8]| address.iter().rposition(|&b| b == b'@').unwrap_or(address.len());
    let ((box_one, host_one), (box_other, host_other)) = (one.split_at(at(one)), other.split_at(at(other)));
    box_one == box_other && host_one.eq_ignore_ascii_case(host_other)
}

fn answer(head: &[u8], target: &[u8], sender: &[u8], home: &Path) -> Result<(), Fatal> {
    if target.contains(&b'\n') || sender.contains(&b'\n') {
        return Err(Fatal::hard("a line feed in an address"));
    }
    let mut qq = Qq::open(home).map_err(|e| Fatal::unable("fork", &e))?;
    qq.put(&[b"From: DELIVERY NOTICE SYSTEM <", quote(target).as_slice(), b">\nTo: <", &quote(sender), b">\n"].concat());
    qq.put(b"Subject: success notice\n\nHi! This is the qreceipt program. Your message was delivered to the\nfollowing address: ");
    qq.put(&[target, b". Thanks for asking.\n"].concat());
    if let Some(id) = header::fields(head).find(|field| field.is("Message-ID")) {
        qq.put(&[b"Your message was Message-ID:", id.unfolded().as_slice(), b"\n"].concat());
    }
    qq.from(b"");
    qq.to(sender);
    let qp = qq.close().map_err(|refused| Fatal::refused(&refused))?;
    let _ = writeln!(std::io::stderr().lock(), "qreceipt: qp {qp}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asked_for_this_address() {
        let head = b"Subject: x\nNotice-Requested-Upon-Delivery-To: Joe <\"a b\"@X.test>,\n joe@y.test\n\n";
        assert!(is_asked(head, b"a b@x.TEST") && is_asked(head, b"joe@y.test"));
        assert!(!is_asked(head, b"JOE@y.test") && !is_asked(head, b"x@y.test"));
        assert!(!is_asked(b"X: y\n\nNotice-Requested-Upon-Delivery-To: joe@y.test\n", b"joe@y.test"));
    }
}
