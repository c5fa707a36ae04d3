//! Tests of the `[[fetch]]` tables: defaults, every key, and the line of each mistake.

use super::*;

fn read(text: &str) -> Result<Vec<FetchAccount>, Vec<Wrong>> {
    let table = DeTable::parse(text).unwrap();
    let (_, value) = table.get_ref().iter().find(|(key, _)| key.get_ref().as_ref() == "fetch").unwrap();
    accounts(text, value.get_ref(), Path::new("/h"))
}

const LEAST: &str = "[[fetch]]\nname = \"isp\"\nserver = \"pop.example.net\"\nprotocol = \"pop3\"\nuser = \"joe\"\npassword_file = \"control/fetch.isp\"\nto = \"joe@example.org\"\n";

#[test]
fn few_keys_are_needed_and_the_defaults_are_safe() {
    let account = read(LEAST).unwrap().remove(0);
    assert_eq!((account.port, account.tls, account.trust), (995, FetchTls::Implicit, FetchTrust::System));
    assert_eq!(account.keep_days, None, "nothing is deleted unless it is asked for");
    assert_eq!(account.every, Some(Duration::from_secs(300)));
    assert_eq!(account.secret, FetchSecret::PasswordFile("/h/control/fetch.isp".into()));
}

#[test]
fn every_key() {
    let text = LEAST.replace("protocol = \"pop3\"", "protocol = \"imap\"").replace("password_file = \"control/fetch.isp\"", "")
        + "tls = \"starttls\"\nauth = \"xoauth2\"\ntoken_command = [\"/bin/token\", \"-x\"]\nmultidrop_header = \"delivered-to:2\"\nmultidrop_strip = \"isp-\"\nmultidrop_domain = \"here.test\"\nfolders = [\"INBOX\", \"Lists\"]\nkeep_days = 7\nevery_s = 0\nmessages_max = 9\nidle_s = 5\nfingerprint = \"sha256:AA:00:00000000000000000000000000000000000000000000000000000000000f\"\n";
    let account = read(&text).unwrap().remove(0);
    assert_eq!((account.port, account.keep_days, account.every, account.messages_max), (143, Some(7), None, 9));
    let drop = account.multidrop.unwrap();
    assert_eq!(
        (drop.header.as_str(), drop.nth, drop.strip.as_str(), drop.domain.as_deref()),
        ("delivered-to", 2, "isp-", Some("here.test"))
    );
    assert!(matches!(account.trust, FetchTrust::Pinned(f) if f[0] == 0xaa && f[31] == 15));
}

#[test]
fn servers_with_ports_and_addresses() {
    let server = |text: &str| read(&LEAST.replace("pop.example.net", text)).map(|mut a| (a[0].host.clone(), a.remove(0).port)).ok();
    assert_eq!(server("h:11"), Some(("h".into(), 11)));
    assert_eq!(server("[::1]:11"), Some(("::1".into(), 11)));
    assert_eq!(server("::1"), Some(("::1".into(), 995)));
    assert_eq!(server("[::1]"), Some(("::1".into(), 995)));
    assert_eq!(server("h:0"), None);
    assert_eq!(server("h/x"), None);
}

#[test]
fn each_mistake_has_its_line() {
    let line = |more: &str| read(&format!("{LEAST}{more}\n")).unwrap_err().remove(0);
    assert_eq!(line("keep_days = -1").0, Some(8));
    assert!(line("paswd = \"x\"").1.contains("unknown key \"paswd\""));
    assert_eq!(line("auth = \"xoauth2\"").0, Some(8));
    assert!(line("password_command = [\"/bin/pass\"]").1.contains("exactly one"));
    assert!(line("tls = \"none\"\nca_file = \"x\"").1.contains("has none"));
    assert!(line("folders = [\"a\"]").1.contains("IMAP"));
    assert!(line("multidrop_header = \"delivered-to:0\"").1.contains("topmost"));
    assert!(line("multidrop_strip = \"x\"").1.contains("without multidrop_header"));
    assert!(line("fingerprint = \"sha256:00\"").1.contains("SHA-256"));
    assert!(read(&LEAST.replace("\"isp\"", "\"../isp\"")).unwrap_err()[0].1.contains("name must be"));
    assert!(read(&LEAST.replace("joe@example.org", "joe")).unwrap_err()[0].1.contains("box@domain"));
    let twice = read(&format!("{LEAST}{LEAST}")).unwrap_err().remove(0);
    assert_eq!((twice.0, twice.1.contains("two accounts")), (Some(8), true));
}
