//! Vectors made with crypt(3) of libxcrypt 4.4, openssl 3.0 and slapd's scheme definitions; "pippo" unless said.

use super::*;

#[track_caller]
fn right(password: &[u8], stored: &str) {
    assert!(verify_password(password, stored), "must match: {stored}");
    let mut wrong = password.to_vec();
    match wrong.first_mut() {
        Some(first) => *first ^= 1,
        None => wrong.push(b'x'),
    }
    assert!(!verify_password(&wrong, stored), "another password must not match: {stored}");
}

#[test]
fn md5_crypt_and_apr1() {
    right(b"pippo", "$1$saltsalt$5ENprRTZuN/1MfWzxet3M0");
    right(&[b'a'; 40], "$1$x$DHmq9bsdPDY1rhlu8Qzct.");
    right(b"", "$1$abcdefgh$M55TzYaaccxVGbptZWaxX/");
    right(b"pippo", "$apr1$saltsalt$41eArhi3eJvN14zZxHHD91");
}

#[test]
fn des_crypt() {
    right(b"", "abmF1QH4PEr.E");
    right(b"pippo", "ZzaUNm/iitJq.");
    right(b"U*U*U*U*", "CCNf8Sbh3HDfQ");
    right(b"\xff\xa3tab", "k9hyHwBoGg5yM");
    right(b"rasmuslerdorf", "rl.3StKT.4T8M");
    assert!(verify_password(b"12345678-anything", "./qw5JW./79Vg"), "only eight characters count");
}

#[test]
fn sha_crypt() {
    right(b"pippo", "$5$rounds=1400$anotherlongsalts$AKHR5jQFys9jKbVRTG8Zk8xgjcg0o0YHTAVM/fMWRb5");
    right(b"pippo", "$5$saltstring$TavvUADlGxA3BvBiwRQnC7w6bGcNK2DEtn6l7SLuusD");
    let secret = "$6$rounds=1000$abcdefghijklmnop$tEYreeQVx5cjgNDvHiyNrk1LGodcOODNa7ouAs48lteWrnYWMPlwe6jisN0e8FJcYTB6i90SAX4FqwX7/UsS7/";
    right(b"Secret-1", secret);
    right(b"Secret-1", "$6$saltstring$5nL8PCU27tWLhyjQcvia.dJ8OlzePWr9E5QqWLt8spkBPphAfSOXgeKfBV0cvUpCbjJzw.h7AgOfOSn2QdHeJ0");
    right(&[b'a'; 130], "$6$longpass$CIM8uGcjlocZRDIRdc5flNiRn1s6tAyLIQRl0qDUYOuB/3vaQqtoc6ECq3Sn2afxReevGDDEsq9A8CtWnm40i.");
}

#[test]
fn bcrypt_yescrypt_scrypt() {
    right(b"pippo", "$2a$04$abcdefghijklmnopqrstuuERY/2ICped0KnOmDN/c4xrJyhOorSKm");
    right(b"pippo", "$2y$04$abcdefghijklmnopqrstuuERY/2ICped0KnOmDN/c4xrJyhOorSKm");
    right(b"U*U*U", "$2b$05$CCCCCCCCCCCCCCCCCCCCC.Bw3BobdGs1SFsKsRLIx9rC4T.Q7DtEm");
    right(b"pippo", "$y$j75$abcdefghijkl$oXJE7s9q3lmtCYVmz209HaZU5XjrrG2H650Y67wmXH.");
    right(b"pw", "$7$C6..../....SodiumChloride$L0u1l02GT8RRZhWA7zEJVsURA78BZaf4GJZSYc/8Cl4");
}

#[test]
fn schemes() {
    right(b"pippo", "{PLAIN}pippo");
    right(b"pippo", "{crypt}$1$saltsalt$5ENprRTZuN/1MfWzxet3M0");
    right(b"pippo", "{CRYPT}ZzaUNm/iitJq.");
    right(b"pippo", "{MD5}DIgCi/OqamoUPthG8r4epA==");
    right(b"pippo", "{PLAIN-MD5}0c88028bf3aa6a6a143ed846f2be1ea4");
    right(b"pippo", "{md5}$1$saltsalt$5ENprRTZuN/1MfWzxet3M0");
    right(b"pippo", "{SHA}0BL2gUTtDxIdPMMwoX7sUowufVk=");
    right(b"pippo", "{SSHA}39V1S7AjyeAML+Hbogk7q7zpqoBzYWx0c2FsdA==");
    right(b"pippo", "{SSHA256}WDAmFLHY7UV4PZl+lqppKggboIb/00fp8RKfBleTKJpzYWx0c2FsdA==");
    right(b"pippo", "{SHA256}oiQurVXJTD3rfPI0C/751bysoi3+ZuZGdF7kNxxjP8g=");
    right(b"pippo", "{SSHA512}COUQ217Cdv6d2w8NK7AtgY1LZGP7Ykkkwv4sW0Q6EWBli9xHwP9dC5nqmKYXOLqhKk+S2qNIaUfEPwWFNp2H0XNhbHRzYWx0");
    right(b"pippo", "{SMD5}Jpjz35P8k7ND7l42zzRV93NhbHQ=");
}

#[test]
fn new_hashes_verify_and_differ() {
    for new_hash in [NewHash::Sha512Crypt { rounds: 1000 }, NewHash::default(), NewHash::Yescrypt, NewHash::Argon2id] {
        let one = hash_password(b"Secret-1", new_hash).unwrap();
        let two = hash_password(b"Secret-1", new_hash).unwrap();
        assert_ne!(one, two, "salts are random");
        right(b"Secret-1", &one);
        assert!(!one.contains([':', '\n']), "fits a vpasswd column: {one}");
    }
    assert!(hash_password(b"x", NewHash::default()).unwrap().starts_with("$6$"), "the default is read by crypt(3)");
    assert_eq!(hash_password(b"x", NewHash::Sha512Crypt { rounds: 10 }), Err(HashError::Parameters));
}

#[test]
fn damaged_hashes_are_a_no() {
    let long = "x".repeat(PASSWORD_BYTES_MAX + 1);
    for stored in [
        "",
        "*",
        "x",
        "!!",
        "$",
        "$$",
        "$1",
        "$1$",
        "$5$",
        "$6$rounds=",
        "$6$rounds=99999999999$a$b",
        "$6$rounds=900000000$a$b",
        "$2a$",
        "$2a$99$aaa",
        "$2a$é",
        "$y$",
        "$y$j9T",
        "$y$jzzzzzzzzz$a$b",
        "$7$",
        "$7$zzzzzzzzzzzzzzz",
        "$argon2id$",
        "$argon2id$v=19$m=4294967295,t=1,p=1$c2FsdHNhbHQ$AAAA",
        "$9$x$y",
        "{",
        "{}",
        "{SHA}",
        "{SSHA}@@",
        "{CRYPT}",
        "{PLAIN-MD5}é0",
        "{X}y",
        "abc",
        "éééééé",
        "1234567890123",
        "$6$é$é",
    ] {
        assert!(!verify_password(b"pippo", stored), "{stored}");
        assert!(!verify_password(b"", stored), "{stored}");
    }
    assert!(!verify_password(b"pi\0ppo", "{PLAIN}pi\0ppo"), "NUL ends a C string: refused");
    assert!(!verify_password(long.as_bytes(), &format!("{{PLAIN}}{long}")), "overlong");
}

proptest::proptest! {
    #[test]
    fn any_stored_text_is_survived(stored in "[ -~]{0,60}", magic in proptest::sample::select(vec!["", "$1$", "$2a$04$", "{SSHA}", "$apr1$", "$argon2id$v=19$m=8,t=1,p=1$"])) {
        let _ = verify_password(b"pippo", &format!("{magic}{stored}"));
    }
}
