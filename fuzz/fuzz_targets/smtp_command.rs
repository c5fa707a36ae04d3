//! One SMTP command line: never a panic; what is understood prints as one ASCII-or-UTF-8 line that is understood the same way.
#![no_main]

use postino_smtp::command::{self, Command};

/// RFC 3461 4.2.
const ORCPT_BYTES_MAX: usize = 500;

postino_fuzz::fuzz_target!(|line: &[u8]| {
    let Ok(command) = command::parse(line) else { return };
    if let Command::Auth { initial: Some(initial), .. } = &command
        && !initial.iter().all(u8::is_ascii_graphic)
    {
        return; // never base64: the session refuses it, and its printed form need not hold
    }
    let printed = command.to_string();
    if printed.rsplit_once(" ORCPT=").is_some_and(|(_, orcpt)| orcpt.len() > ORCPT_BYTES_MAX) {
        return; // escapes make it longer; the client leaves such a one out
    }
    assert!(!printed.bytes().any(|b| b < 32 || b == 127), "a control byte in {printed:?}");
    assert_eq!(command::parse(printed.as_bytes()), Ok(command), "{printed:?}");
});
