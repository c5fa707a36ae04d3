//! Queue records: arbitrary bytes never panic the reader; what it reads, written again, is read as the same; made-up records come back whole. The
//! codec is included from crate `queue`, which as a whole would pull SQLite in.
#![no_main]

#[path = "../../crates/queue/src/codec.rs"]
mod codec;

use postino_fuzz::Source;
use postino_types::{PermStatus, RecipientState, TempStatus, Time};

fn states(source: &mut Source<'_>) -> Vec<RecipientState> {
    let mut states = Vec::new();
    while !source.is_empty() && states.len() < 1000 {
        states.push(match source.byte() % 4 {
            0 => RecipientState::fresh(),
            1 => RecipientState::Pending {
                attempts: source.u16(),
                last: (source.byte() & 1 == 0).then(|| (TempStatus::new(source.u16(), source.u16()), source.bytes().to_vec().into())),
                delay_told: source.byte() & 1 == 0,
            },
            2 => RecipientState::Delivered { at: Time(source.u64() as i64), detail: source.bytes().to_vec().into() },
            _ => RecipientState::Failed {
                at: Time(source.u64() as i64),
                status: PermStatus::new(source.u16(), source.u16()),
                detail: source.bytes().to_vec().into(),
            },
        });
    }
    states
}

postino_fuzz::fuzz_target!(|input: &[u8]| {
    if let Ok(meta) = codec::decode_meta(input) {
        let again = codec::encode_meta(&meta.envelope, &meta.origin, &meta.prepend, (meta.arrived, meta.expires));
        assert_eq!(codec::decode_meta(&again).as_ref(), Ok(&meta));
        assert!(codec::decode_meta(&again[..again.len() - 1]).is_err(), "a record cut short was taken");
    }
    let mut source = Source::new(input);
    let recipients = usize::from(source.u16());
    if let Ok(states) = codec::decode_states(source.rest(), recipients) {
        assert_eq!(states.len(), recipients);
        assert_eq!(codec::decode_states(&codec::encode_states(&states), recipients), Ok(states));
    }
    let made = states(&mut Source::new(input));
    assert_eq!(codec::decode_states(&codec::encode_states(&made), made.len()), Ok(made));
});
