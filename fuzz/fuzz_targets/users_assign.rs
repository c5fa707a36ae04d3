//! users/assign: print∘parse, and the compiled form finds what the text says; a hostile users/cdb gives errors only.
#![no_main]

use postino_control::assign::{self, Match};
use postino_control::cdb::Cdb;
use postino_fuzz::Source;

postino_fuzz::fuzz_target!(|input: &[u8]| {
    let mut source = Source::new(input);
    let local = source.bytes();
    let text = source.rest();
    if let Ok(lines) = assign::parse(text) {
        assert_eq!(assign::parse(&assign::print(&lines)).as_ref(), Ok(&lines));
        let compiled = assign::to_cdb(&lines).expect("small");
        let cdb = Cdb::new(&compiled).expect("just made");
        let found = assign::lookup(&cdb, local);
        let named = |m: &Match| matches!(m, Match::Exact(name) if name.eq_ignore_ascii_case(local));
        if let Some(line) = lines.iter().find(|l| named(&l.matches)).filter(|_| !local.contains(&0))
            && let Ok(found) = found
        {
            let found = found.expect("an exact line is found");
            assert_eq!(found.user, line.fields[0], "the first exact line wins");
        }
    }
    if let Ok(cdb) = Cdb::new(text) {
        let _ = assign::lookup(&cdb, local);
    }
});
