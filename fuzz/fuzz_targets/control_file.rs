//! The control directory: arbitrary bytes in any one file, or in several, resolve to a configuration or to problems that name a file; never a
//! panic, never a control byte or a password in what is shown.
#![no_main]

use postino_control::load::resolve;
use postino_control::raw::Raw;
use postino_control::table::{self, Home};
use postino_fuzz::Source;
use std::path::Path;

const SECRET: &str = "s3cr3t-pass";

fn printable(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t')
}

postino_fuzz::fuzz_target!(|input: &[u8]| {
    let files: Vec<&'static str> = table::settings().filter(|s| s.home == Home::File).map(|s| s.name).collect();
    let mut raw = Raw { home: Path::new("/home/fuzz").into(), ..Raw::default() };
    raw.files.insert("me", b"mx.test\n".to_vec());
    raw.files.insert("smtproutes", b":relay.test:25\n".to_vec());
    raw.files.insert("smtproutes.auth", format!("relay.test joe {SECRET}\n").into_bytes());
    let mut source = Source::new(input);
    // All but the last content are short; the last takes the rest.
    while !source.is_empty() {
        let which = usize::from(source.byte());
        let more = source.byte() & 1 == 1;
        let content = if more { source.bytes() } else { source.rest() }.to_vec();
        match files.get(which) {
            Some(name) => drop(raw.files.insert(*name, content)),
            None if which == 254 => drop(raw.rules_cdb.insert("tcp.smtp", content)),
            None => raw.server_toml = Some(content),
        }
        if !more {
            break;
        }
    }
    match resolve(&raw) {
        Ok(loaded) => {
            for problem in loaded.warnings.iter().chain(&loaded.notes) {
                let text = problem.to_string();
                assert!(printable(&text) && !text.contains(SECRET), "{text:?}");
            }
            assert!(!loaded.config.me.is_empty());
            for (name, value) in &loaded.values {
                assert!(!value.text.contains(SECRET), "{name} shows the password");
            }
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                let text = problem.to_string();
                assert!(printable(&text) && !text.contains(SECRET), "{text:?}");
                assert!(problem.file.starts_with("/home/fuzz/control"), "{text:?}");
            }
        }
    }
});
