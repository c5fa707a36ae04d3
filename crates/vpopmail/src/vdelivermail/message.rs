//! The message that vdelivermail delivers: standard input, a file as a rule, and a copy without a name where it is a pipe. Read as often as there are
//! instructions.

use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

/// The message.
#[derive(Debug)]
pub(super) struct Message {
    file: File,
    bytes: u64,
}

impl Message {
    /// Takes standard input.
    pub(super) fn open() -> io::Result<Self> {
        let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let meta = input.metadata()?;
        if meta.is_file() {
            return Ok(Self { file: input, bytes: meta.len() });
        }
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::CLOEXEC;
        let copy = rustix::fs::open(std::env::temp_dir(), flags, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
        let mut copy = File::from(copy);
        let bytes = io::copy(&mut io::BufReader::new(input), &mut copy)?;
        Ok(Self { file: copy, bytes })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(buffer, at)
    }

    /// The same file at its start, for a child's standard input.
    pub(super) fn rewound(&self) -> io::Result<File> {
        let mut copy = self.file.try_clone()?;
        copy.rewind()?;
        Ok(copy)
    }

    /// Gives all of it, piece by piece.
    pub(super) fn each(&self, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut buffer = vec![0u8; 65_536];
        let mut at = 0u64;
        loop {
            let n = self.read_at(&mut buffer, at)?;
            if n == 0 {
                return Ok(());
            }
            take(buffer.get(..n).unwrap_or_default())?;
            at += n as u64;
        }
    }
}
