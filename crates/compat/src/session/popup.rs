//! `qmail-popup(8)`: POP3 up to the password, which it hands with its stamp to a program like checkpassword on descriptor 3. Called by tcpserver;
//! checks no password itself and never reads what the client says after it.

use super::net::{Gone, Net, command};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The other side may say nothing for so long.
const TIMEOUT: Duration = Duration::from_secs(1200);
/// Where the program expects name, password and stamp.
const CREDENTIALS_FD: i32 = 3;

/// The program. It always ends with 1: the session that counts is the subprogram's.
pub(crate) fn run(args: &[OsString]) -> i32 {
    let mut net = Net::new(TIMEOUT);
    let last = match args {
        [host, program, arguments @ ..] => Popup { net: &mut net, stamp: stamp(host), program, arguments, user: None }.speak(),
        _ => Ok(Some("usage: popup hostname subprogram")),
    };
    if let Ok(Some(error)) = last {
        let _ = net.say(format!("-ERR {error}\r\n").as_bytes()).and_then(|()| net.flush());
    }
    1
}

fn stamp(host: &OsStr) -> Vec<u8> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let start = format!("<{}.{seconds}@", std::process::id());
    [start.as_bytes(), host.as_bytes(), b">"].concat()
}

struct Popup<'a> {
    net: &'a mut Net,
    stamp: Vec<u8>,
    program: &'a OsStr,
    arguments: &'a [OsString],
    user: Option<Vec<u8>>,
}

/// The last words of the connection, if there are any.
type Last = Option<&'static str>;

impl Popup<'_> {
    fn speak(&mut self) -> Result<Last, Gone> {
        let greeting = [b"+OK ", self.stamp.as_slice(), b"\r\n"].concat();
        self.net.say(&greeting)?;
        loop {
            let line = self.net.line()?;
            let (word, argument) = command(&line);
            let answer: &[u8] = match word.as_slice() {
                b"user" if argument.is_empty() => b"-ERR syntax error\r\n",
                b"user" => {
                    self.user = Some(argument.to_vec());
                    b"+OK \r\n"
                }
                b"pass" => match &self.user {
                    None => b"-ERR USER first\r\n",
                    Some(_) if argument.is_empty() => b"-ERR syntax error\r\n",
                    Some(user) => return self.hand_over(&[user, argument].map(<[u8]>::to_vec)),
                },
                b"apop" => match argument.iter().position(|&b| b == b' ').and_then(|blank| argument.split_at_checked(blank)) {
                    Some((user, digest)) => {
                        return self.hand_over(&[user.to_vec(), digest.get(1..).unwrap_or_default().to_vec()]);
                    }
                    None => b"-ERR syntax error\r\n",
                },
                b"noop" => b"+OK \r\n",
                b"quit" => {
                    self.net.say(b"+OK \r\n")?;
                    self.net.flush()?;
                    return Ok(None);
                }
                _ => b"-ERR authorization first\r\n",
            };
            self.net.say(answer)?;
        }
    }

    fn hand_over(&mut self, credentials: &[Vec<u8>; 2]) -> Result<Last, Gone> {
        self.net.flush()?;
        let [user, password] = credentials;
        // Whatever was left open there by those who started us.
        let _ = nix::unistd::close(CREDENTIALS_FD);
        let Ok((reader, mut writer)) = std::io::pipe() else { return Ok(Some("unable to open pipe")) };
        if reader.as_raw_fd() != CREDENTIALS_FD || rustix::io::fcntl_setfd(&reader, rustix::io::FdFlags::empty()).is_err() {
            return Ok(Some("unable to open pipe"));
        }
        // Before the program starts: it fits into the pipe, and a program that ends at once cannot make it fail.
        let bytes = [user.as_slice(), password, &self.stamp, b""].join(&0);
        if writer.write_all(&bytes).is_err() {
            return Ok(Some("unable to write pipe"));
        }
        drop(writer);
        let child = Command::new(self.program).args(self.arguments).spawn();
        drop(OwnedFd::from(reader));
        let mut child = match child {
            Ok(child) => child,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(Some("unable to fork")),
            Err(_) => return Ok(Some("authorization failed")),
        };
        Ok(match child.wait() {
            Ok(status) if status.signal().is_some() => Some("aack, child crashed"),
            Ok(status) if !status.success() => Some("authorization failed"),
            _ => None,
        })
    }
}
