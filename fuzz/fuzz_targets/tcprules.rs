//! Rules by client address: bounded whatever the text; compiled and read back they say the same.
#![no_main]

use postino_control::cdb::Cdb;
use postino_control::tcprules::Rules;
use postino_fuzz::Source;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

postino_fuzz::fuzz_target!(|input: &[u8]| {
    let mut source = Source::new(input);
    let v4 = Ipv4Addr::from(std::array::from_fn(|_| source.byte()));
    let v6 = Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|_| source.byte()));
    let (host, info) = (source.text(), source.text());
    let text = source.rest();
    if let Ok(rules) = Rules::parse(text) {
        assert!(rules.len() <= 256 * (1 + text.iter().filter(|b| **b == b'\n').count()));
        let compiled = rules.to_cdb().expect("small");
        let back = Rules::from_cdb(&Cdb::new(&compiled).expect("just made")).expect("just made");
        let addresses = [IpAddr::V4(v4), IpAddr::V6(v6), IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        for ip in addresses {
            for (host, info) in [(None, None), (Some(host.as_str()), Some(info.as_str()))] {
                assert_eq!(rules.find(ip, host, info), back.find(ip, host, info));
            }
        }
    }
    if let Ok(cdb) = Cdb::new(text)
        && let Ok(rules) = Rules::from_cdb(&cdb)
    {
        let _ = rules.lookup(IpAddr::V6(v6), Some(&host), Some(&info));
    }
});
