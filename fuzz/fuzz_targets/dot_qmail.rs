//! dot-qmail files and their names: total, bounded, nothing but forwards after `+list` or in a file with the execute bit, and no name made from
//! an address leaves the home.
#![no_main]

use postino_fuzz::Source;
use postino_policy::dotqmail::{Line, Mode, Step, candidates, owner_names, parse, plan};

postino_fuzz::fuzz_target!(|input: &[u8]| {
    let mut source = Source::new(input);
    let ext = source.bytes();
    let names = candidates(b"-", ext).into_iter().map(|c| c.name);
    let (owner, owner_default) = owner_names(b"-", ext);
    for name in names.chain([owner, owner_default]) {
        assert!(name.starts_with(b".qmail-"));
        assert!(!name.windows(2).any(|w| w == b".."), "{name:?}");
        assert!(!name.iter().skip(1).any(|b| *b == b'.'), "a dot of the address stayed: {name:?}");
    }
    let text = source.rest();
    let Ok(lines) = parse(text) else { return };
    assert!(lines.len() <= 1 + text.iter().filter(|b| **b == b'\n').count());
    for mode in [Mode::All, Mode::ForwardOnly] {
        let steps = plan(&lines, mode);
        assert!(steps.len() <= lines.len());
        let refused = steps.iter().position(|s| matches!(s, Step::RefuseFile | Step::RefuseProgram));
        assert!(refused.is_none_or(|at| at + 1 == steps.len()), "nothing is done after a refusal");
        if mode == Mode::ForwardOnly || lines.first() == Some(&Line::List) {
            assert!(!steps.iter().any(|s| matches!(s, Step::Maildir(_) | Step::Mbox(_) | Step::Program(_))));
        }
    }
});
