//! Replies of a remote server: bounded, printable, the same whatever the pieces.
#![no_main]

use postino_fuzz::pieces;
use postino_smtp::client::Capabilities;
use postino_smtp::client::reply::{REPLY_BYTES_MAX, Reply, ReplyError, ReplyReader};

fn read(input: &[u8], seed: u8) -> (Vec<Reply>, Option<ReplyError>) {
    let mut reader = ReplyReader::default();
    let mut replies = Vec::new();
    for piece in pieces(input, seed) {
        let mut rest = piece;
        while !rest.is_empty() {
            match reader.feed(rest) {
                Err(error) => return (replies, Some(error)),
                Ok((used, reply)) => {
                    assert!(used > 0 && used <= rest.len());
                    assert!(reply.is_some() || used == rest.len());
                    replies.extend(reply);
                    rest = &rest[used..];
                }
            }
        }
    }
    (replies, None)
}

postino_fuzz::fuzz_target!(|input: &[u8]| {
    let Some((&seed, input)) = input.split_first() else { return };
    let (replies, error) = read(input, 1);
    for reply in &replies {
        assert!(reply.text.len() <= REPLY_BYTES_MAX);
        assert!(reply.text.bytes().all(|b| b == b'\n' || (32..127).contains(&b)), "{:?}", reply.text);
        assert!((200..600).contains(&reply.code));
        let _ = (reply.enhanced(), Capabilities::from_reply(reply), reply.lines().count());
    }
    assert_eq!((replies, error), read(input, seed));
});
