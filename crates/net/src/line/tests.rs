//! Lines in every shape, from a stream that gives bytes as it likes.

use super::*;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::ReadBuf;

/// Gives one piece a read.
struct Pieces(VecDeque<Vec<u8>>);

impl Pieces {
    fn of(bytes: &[u8], size: usize) -> Self {
        Self(bytes.chunks(size).map(<[u8]>::to_vec).collect())
    }
}

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.0.pop_front() {
            let rest = piece.split_off(piece.len().min(buffer.remaining()));
            buffer.put_slice(&piece);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

async fn all(bytes: &[u8], size: usize, max: usize) -> Vec<String> {
    let (mut stream, mut reader) = (Pieces::of(bytes, size), LineReader::new(max));
    let mut lines = Vec::new();
    loop {
        assert!(reader.buffer.len() <= max.max(BUFFER_BYTES));
        match reader.next(&mut stream).await.unwrap() {
            Line::Text(line) => lines.push(String::from_utf8(line.to_vec()).unwrap()),
            Line::TooLong => lines.push("TOO LONG".into()),
            Line::End => return lines,
        }
    }
}

#[tokio::test]
async fn lines_whatever_the_pieces() {
    let long = "x".repeat(2000);
    let text = format!("a\r\nb\n\r\n\n{long}\r\nlast\r\nhalf");
    for size in [1, 2, 3, 7, 1000, 1_000_000] {
        assert_eq!(all(text.as_bytes(), size, 2002).await, ["a", "b", "", "", &long, "last"]);
        assert_eq!(all(text.as_bytes(), size, 2001).await, ["a", "b", "", "", "TOO LONG", "last"]);
    }
    let flood = format!("{}\nok\n", "y".repeat(1_000_000));
    assert_eq!(all(flood.as_bytes(), 4096, 512).await, ["TOO LONG", "ok"]);
}

#[tokio::test]
async fn what_was_read_ahead_can_be_forgotten() {
    let (mut stream, mut reader) = (Pieces::of(b"220 go\r\ninjected\r\n", 100), LineReader::new(512));
    assert_eq!(reader.next(&mut stream).await.unwrap(), Line::Text(b"220 go"));
    assert_eq!(reader.rest(), b"injected\r\n");
    reader.clear();
    assert_eq!(reader.next(&mut stream).await.unwrap(), Line::End);
}
