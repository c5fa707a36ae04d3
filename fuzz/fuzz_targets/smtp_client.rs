//! The client's session against a hostile server: no panic, no endless loop, bounded output, every command one line, no secret before TLS.
#![no_main]

use postino_fuzz::{Source, pieces};
use postino_smtp::client::{
    Credentials, Event, Login, Options, Session, TlsWish, Transaction, TransactionRecipient, check_recipient, check_sender,
};
use postino_types::{Address, DsnWish, Notify, Orcpt, Ret, ReversePath};

fn transaction(source: &mut Source<'_>) -> Option<Transaction> {
    let sender = ReversePath::from_bytes(source.bytes()).ok()?;
    let flags = source.byte();
    let utf8 = flags & 1 != 0;
    let mut recipients = Vec::new();
    for _ in 0..=(flags >> 1 & 3) {
        let address = Address::from_bytes(source.bytes()).ok()?;
        let original =
            (flags & 8 != 0).then(|| Orcpt { kind: if utf8 { "utf-8" } else { "rfc822" }.into(), address: source.bytes().to_vec() });
        check_recipient(&address).ok()?;
        recipients.push(TransactionRecipient {
            address,
            notify: Notify { explicit: flags & 16 != 0, success: true, failure: false, delay: false },
            original,
        });
    }
    check_sender(&sender).ok()?;
    let envid = (flags & 32 != 0).then(|| source.bytes().to_vec());
    let ret = if flags & 64 != 0 { Ret::Headers } else { Ret::Unset };
    Some(Transaction { sender, recipients, size_bytes: 5, eight_bit: flags & 128 != 0, utf8, dsn: DsnWish { ret, envid } })
}

fn take_output(session: &mut Session, sent: &mut Vec<u8>) {
    let out = session.output();
    assert!(out.len() <= 64 * 1024, "output is bounded");
    assert!(out.is_empty() || out.ends_with(b"\r\n"), "whole lines");
    for (i, &b) in out.iter().enumerate() {
        let lonely = match b {
            b'\n' => i == 0 || out[i - 1] != b'\r',
            b'\r' => out.get(i + 1) != Some(&b'\n'),
            0 => true,
            _ => false,
        };
        assert!(!lonely, "{:?}", String::from_utf8_lossy(out));
    }
    let secret = out.windows(7).any(|w| w == b"c2VzYW1");
    assert!(!secret || session.is_under_tls(), "the password in clear");
    sent.extend_from_slice(out);
    session.output_sent();
}

postino_fuzz::fuzz_target!(|input: &[u8]| {
    let mut source = Source::new(input);
    let (flags, seed) = (source.byte(), source.byte());
    let Some(transaction) = transaction(&mut source) else { return };
    let tls = [TlsWish::Never, TlsWish::Opportunistic, TlsWish::Required, TlsWish::Active][usize::from(flags & 3)];
    let login = if flags & 4 == 0 { Login::No } else { Login::With(Credentials { user: "joe".into(), password: "sesame".into() }) };
    let mut session = Session::new(Options { helo: "mx.test".into(), tls, login });
    let mut sent = Vec::new();
    let mut transactions = 0u8;
    // A server that answers before it is asked is hung up on, so whole lines lead further; odd pieces are for those that do not.
    let rest = source.rest();
    let read: Vec<&[u8]> = if seed & 1 == 0 { rest.split_inclusive(|&b| b == b'\n').collect() } else { pieces(rest, seed).collect() };
    'read: for piece in read {
        session.receive(piece);
        for _ in 0..64 + 4 * piece.len() {
            take_output(&mut session, &mut sent);
            let Ok(event) = session.next_event() else { break 'read };
            match event {
                None => continue 'read,
                Some(Event::StartTls) => session.tls_established(),
                Some(Event::Ready) if transactions < 3 => {
                    transactions += 1;
                    if session.begin(&transaction).is_err() {
                        break 'read;
                    }
                }
                Some(Event::Ready) => break 'read,
                Some(Event::SendBody) => session.body_sent(),
                Some(Event::Refused(_)) => break 'read,
                Some(Event::Done) => {
                    let progress = session.take_progress();
                    assert_eq!(progress.recipients.len(), transaction.recipients.len());
                    if !session.is_reusable() {
                        break 'read;
                    }
                    if transactions < 3 {
                        transactions += 1;
                        if session.begin(&transaction).is_err() {
                            break 'read;
                        }
                    }
                }
            }
        }
        panic!("the session does not come to an end");
    }
});
