//! A running server is told that its control files changed: by its control socket, never by a search through the processes. Called after a change of
//! domains. A server that is not there, or that the caller may not speak with, is no error: it reads the files when it starts.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long the server may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer, bytes.
const ANSWER_BYTES_MAX: u64 = 4096;

/// Asks the server of this home to reread; what it had to say against it goes to standard error.
pub(crate) fn ask(home: &Path) {
    if let Ok(Some(trouble)) = told(home) {
        let _ = writeln!(std::io::stderr().lock(), "warning: the server goes on with what it has: {trouble}");
    }
}

fn told(home: &Path) -> std::io::Result<Option<String>> {
    let mut stream = UnixStream::connect(home.join("run/control.sock"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(b"{\"do\":\"reload\"}\n")?;
    let mut answer = Vec::new();
    let mut limited = stream.take(ANSWER_BYTES_MAX);
    let mut byte = [0u8; 1];
    while limited.read(&mut byte)? == 1 && byte != [b'\n'] {
        answer.extend_from_slice(&byte);
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    Ok((answer.contains("\"error\"")).then_some(answer))
}
