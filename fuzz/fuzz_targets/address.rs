//! The one parser of addresses: what it takes prints as a path that it reads back to the same, can be spoken to the next host, holds no control
//! byte, and has its host where every reader looks for it: after the last `@`.
#![no_main]

use postino_smtp::client::{check_recipient, check_sender};
use postino_smtp::path;
use postino_types::{Address, ReversePath};

fn check(address: &Address) {
    assert!(!address.as_bytes().iter().any(|&b| b < 32 || b == 127), "{address:?}");
    if let Some(host) = address.host() {
        assert!(path::is_host(host), "{address:?}");
        check_recipient(address).expect("what was taken can be passed on");
        assert_eq!(path::mailbox(&address.to_quoted(true)).as_ref(), Ok(address));
    }
    assert!(std::str::from_utf8(address.as_bytes()).is_ok());
}

postino_fuzz::fuzz_target!(|input: &[u8]| {
    if let Ok(address) = path::mailbox(input) {
        check(&address);
    }
    if let Ok((address, rest)) = path::forward_path(input) {
        check(&address);
        assert!(input.ends_with(rest));
        let printed = [b"<", address.to_quoted(true).as_slice(), b">", rest].concat();
        assert_eq!(path::forward_path(&printed), Ok((address, rest)));
    }
    if let Ok((sender, rest)) = path::reverse_path(input) {
        check_sender(&sender).expect("what was taken can be passed on");
        if let ReversePath::Address(address) = &sender {
            check(address);
            // `#@[]` inside quotes would turn into the double bounce when it is read back from internal bytes.
            assert_eq!(ReversePath::from_bytes(address.as_bytes()), Ok(sender.clone()));
        }
        let printed = [b"<", sender.to_quoted(true).as_slice(), b">", rest].concat();
        assert_eq!(path::reverse_path(&printed), Ok((sender, rest)));
    }
    // Internal bytes from elsewhere (local injection, dot-qmail) may be odd; quoting them never makes a second path.
    if let Ok(address) = Address::from_bytes(input) {
        assert_eq!(Address::from_bytes(address.as_bytes()), Ok(address.clone()));
        let quoted = address.to_quoted(true);
        if let Ok(back) = path::mailbox(&quoted) {
            assert_eq!(back, address);
        }
    }
});
