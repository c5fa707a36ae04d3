//! `mailsubj(1)`: sends standard input with a subject. Called by `main`; the message goes through qmail-inject.

use crate::fatal::Fatal;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The header before the text, and the program that takes both.
pub(crate) fn run(args: &[OsString], home: &Path) -> Result<i32, Fatal> {
    let [subject, recipients @ ..] = args else { return Err(Fatal::usage("mailsubj subject recip ...")) };
    if recipients.is_empty() {
        return Err(Fatal::usage("mailsubj subject recip ..."));
    }
    if [subject].into_iter().chain(recipients).any(|word| word.as_bytes().contains(&b'\n')) {
        return Err(Fatal::hard("a line feed in the subject or in an address"));
    }
    let list: Vec<&[u8]> = recipients.iter().map(|recipient| recipient.as_bytes()).collect();
    let head = [b"Subject: ", subject.as_bytes(), b"\nTo: ", &list.join(b" ".as_slice()), b"\n\n"].concat();
    crate::inject::feed(home.join("bin/qmail-inject").as_os_str(), &[], &head)
}
