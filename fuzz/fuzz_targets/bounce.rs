//! Notices made from hostile words (replies of remote hosts, odd addresses): mail that no reader can see a second message, part or field in.
#![no_main]

use postino_fuzz::Source;
use postino_message::dsn::report::{Bits, Family, Report, Returned};
use postino_message::dsn::{Action, Kind, Notice, Reported};
use postino_types::{Address, EnhancedStatus, Orcpt, ReversePath, Time};

const BOUNDARY: &str = "b0123456789abcdef";

postino_fuzz::fuzz_target!(|input: &[u8]| {
    let mut source = Source::new(input);
    let flags = source.byte();
    let Ok(address) = Address::from_bytes(source.bytes()) else { return };
    let Ok(to) = Address::from_bytes(source.bytes()) else { return };
    let Ok(sender) = ReversePath::from_bytes(source.bytes()) else { return };
    let original = Orcpt { kind: if flags & 1 == 0 { "rfc822" } else { "utf-8" }.into(), address: source.bytes().to_vec() };
    let envid = source.bytes().to_vec();
    let text = source.rest();
    let recipients = [Reported {
        address: &address,
        original: (flags & 2 == 0).then_some(&original),
        action: [Action::Failed, Action::Delayed, Action::Delivered, Action::Relayed][usize::from(flags >> 2 & 3)],
        status: EnhancedStatus { class: 5, subject: 1, detail: 1 },
        text,
        last_attempt: Some(Time(0)),
    }];
    let notice = Notice {
        kind: [Kind::Failure, Kind::DoubleBounce, Kind::Delay, Kind::Success][usize::from(flags >> 4 & 3)],
        now: Time(1_700_000_000_000),
        bouncefrom: "MAILER-DAEMON",
        bouncehost: "mx.test",
        to: &to,
        sender: &sender,
        recipients: &recipients,
    };
    let report = Report {
        notice,
        reporting_mta: "mx.test",
        message_id: "1.2@mx.test",
        boundary: BOUNDARY,
        envid: Some(&envid),
        arrived: Time(0),
        will_retry_until: None,
        family: if flags & 64 == 0 { Family::Classic } else { Family::Global },
        returned: Returned::Headers,
        bits: Bits::Eight,
    };
    let head = report.head();
    let tail = report.tail();
    assert!(!head.contains(&0) && !head.contains(&b'\r'), "{:?}", String::from_utf8_lossy(&head));
    let lines: Vec<&[u8]> = head.split(|&b| b == b'\n').collect();
    assert!(lines.iter().all(|line| line.len() <= 998), "a line is too long");
    let delimiter = format!("--{BOUNDARY}").into_bytes();
    let parts = lines.iter().filter(|line| line.starts_with(&delimiter)).count();
    // Nobody can guess the boundary; the fuzzer that learns it here is told apart.
    let leaked =
        [text, address.as_bytes(), &envid, &original.address].iter().any(|b| b.windows(17).any(|w| w == BOUNDARY.as_bytes()));
    assert!(leaked || parts == 3, "{parts} parts");
    assert!(tail.ends_with(b"--\n"));
    // The header of the notice is what was meant to be there.
    let header = lines.iter().position(|line| line.is_empty()).expect("a header ends");
    for line in &lines[..header] {
        let name = line.split(|&b| b == b':').next().unwrap_or_default();
        let folded = line.first().is_some_and(|b| matches!(b, b' ' | b'\t'));
        let known: [&[u8]; 11] = [
            b"Date",
            b"From",
            b"To",
            b"Subject",
            b"Message-ID",
            b"MIME-Version",
            b"Content-Type",
            b"Auto-Submitted",
            b"References",
            b"In-Reply-To",
            b"Content-Transfer-Encoding",
        ];
        let good = folded || known.iter().any(|k| k.eq_ignore_ascii_case(name));
        assert!(good, "a field that nobody meant: {:?}", String::from_utf8_lossy(line));
    }
});
