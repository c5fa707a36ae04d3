//! Records survive the way through bytes, and no bytes make the decoder panic or lie.

use super::*;
use proptest::prelude::*;

fn address() -> impl Strategy<Value = Address> {
    prop::collection::vec(1u8..=255, 0..40).prop_map(|bytes| Address::from_bytes(&bytes).unwrap())
}

fn text_of() -> impl Strategy<Value = String> {
    "\\PC{0,30}"
}

prop_compose! {
    fn recipient_of()(address in address(), routed in address(), same: bool, local: bool, bits in 0u8..16,
                      original in prop::option::of((text_of(), prop::collection::vec(any::<u8>(), 0..20)))) -> Recipient {
        let routed = Routed { channel: if local { Channel::Local } else { Channel::Remote }, address: if same { address.clone() } else { routed } };
        let notify = Notify { explicit: bits & 1 != 0, success: bits & 2 != 0, failure: bits & 4 != 0, delay: bits & 8 != 0 };
        Recipient { address, routed, notify, original: original.map(|(kind, address)| Orcpt { kind, address }) }
    }
}

fn origin_of() -> impl Strategy<Value = Origin> {
    prop_oneof![
        (text_of(), text_of(), prop::option::of(text_of())).prop_map(|(ip, helo, login)| Origin::Smtp(PeerInfo { ip, helo, login })),
        any::<u32>().prop_map(|uid| Origin::Local { uid }),
        any::<(u64, u32)>().prop_map(|(of, uid)| Origin::Forward { of: QueueId(of), uid }),
        any::<u64>().prop_map(|of| Origin::Bounce { of: QueueId(of) }),
    ]
}

prop_compose! {
    fn envelope_of()(sender in prop_oneof![Just(ReversePath::Null), Just(ReversePath::DoubleBounce),
                         "[a-z]{1,9}@[a-z]{1,9}".prop_map(|s| ReversePath::from_bytes(s.as_bytes()).unwrap())],
                     recipients in prop::collection::vec(recipient_of(), 0..6), eight: bool, utf8: bool, require_tls: bool,
                     ret in prop_oneof![Just(Ret::Unset), Just(Ret::Full), Just(Ret::Headers)],
                     envid in prop::option::of(prop::collection::vec(any::<u8>(), 0..20))) -> Envelope {
        let body = if eight { BodyKind::EightBit } else { BodyKind::SevenBit };
        Envelope { sender, recipients, body, utf8, dsn: DsnWish { ret, envid }, require_tls }
    }
}

/// Any bytes: programs say what they like.
fn report_of() -> impl Strategy<Value = ReportText> {
    prop::collection::vec(any::<u8>(), 0..30).prop_map(ReportText::from)
}

fn state_of() -> impl Strategy<Value = RecipientState> {
    prop_oneof![
        Just(RecipientState::fresh()),
        (any::<u16>(), prop::option::of((any::<u16>(), any::<u16>(), report_of())), any::<bool>()).prop_map(
            |(attempts, last, delay_told)| {
                let last = last.map(|(subject, detail, text)| (TempStatus::new(subject, detail), text));
                RecipientState::Pending { attempts, last, delay_told }
            }
        ),
        (any::<i64>(), report_of()).prop_map(|(at, detail)| RecipientState::Delivered { at: Time(at), detail }),
        (any::<i64>(), any::<u16>(), any::<u16>(), report_of()).prop_map(|(at, subject, code, detail)| RecipientState::Failed {
            at: Time(at),
            status: PermStatus::new(subject, code),
            detail
        }),
    ]
}

proptest! {
    #[test]
    fn meta_survives(envelope in envelope_of(), origin in origin_of(), prepend in prop::collection::vec(any::<u8>(), 0..50), arrived: i64, expires: i64) {
        let bytes = encode_meta(&envelope, &origin, &prepend, (Time(arrived), Time(expires)));
        let meta = Meta { envelope, origin, prepend: prepend.into(), arrived: Time(arrived), expires: Time(expires) };
        prop_assert_eq!(decode_meta(&bytes), Ok(meta));
        // Every shorter record is refused: nothing is ever read as a smaller message.
        for end in 0..bytes.len() {
            prop_assert!(decode_meta(&bytes[..end]).is_err());
        }
    }

    #[test]
    fn states_survive(states in prop::collection::vec(state_of(), 0..8)) {
        let bytes = encode_states(&states);
        prop_assert_eq!(decode_states(&bytes, states.len()), Ok(states.clone()));
        for end in 1..bytes.len() {
            prop_assert!(decode_states(&bytes[..end], states.len()).is_err());
        }
    }

    #[test]
    fn any_bytes_are_harmless(mut bytes in prop::collection::vec(any::<u8>(), 0..200), right_version: bool) {
        if right_version && let Some(first) = bytes.first_mut() {
            *first = VERSION;
        }
        let _ = decode_states(&bytes, bytes.len() % 7);
        if let Ok(meta) = decode_meta(&bytes) {
            prop_assert_eq!(decode_meta(&encode_meta(&meta.envelope, &meta.origin, &meta.prepend, (meta.arrived, meta.expires))), Ok(meta));
        }
    }
}

#[test]
fn a_line_end_in_a_field_stays_in_its_field() {
    let peer = PeerInfo { ip: "1.2.3.4".to_owned(), helo: "x\nrecipient evil@x\n".to_owned(), login: None };
    let envelope = Envelope {
        sender: ReversePath::Null,
        recipients: Vec::new(),
        body: BodyKind::SevenBit,
        utf8: false,
        dsn: DsnWish::default(),
        require_tls: false,
    };
    let origin = Origin::Smtp(peer);
    let meta = decode_meta(&encode_meta(&envelope, &origin, b"", (Time(1), Time(2)))).unwrap();
    assert_eq!((meta.origin, meta.envelope.recipients.len()), (origin, 0));
}

#[test]
fn a_count_that_promises_too_much_allocates_nothing() {
    let mut bytes = encode_states(&[RecipientState::Delivered { at: Time(0), detail: ReportText::default() }]);
    bytes.truncate(1);
    bytes.extend_from_slice(&u32::MAX.to_be_bytes());
    assert!(decode_states(&bytes, usize::MAX).is_err());
}
