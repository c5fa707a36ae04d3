//! The accounts of the recorded cases and the other names that a seed gives to everything in them. Called by `qmail_cases`; pure.

use serde_json::Value;
use std::path::{Path, PathBuf};

pub(super) const QMAIL: &str = "/var/qmail";
/// Users of the recorded cases with their numbers; the first three own mail.
const ACCOUNTS: [(&str, u32); 9] = [
    ("oqalice", 5992),
    ("oqbob", 5993),
    ("alias", 1001),
    ("qmaild", 5981),
    ("qmaill", 5982),
    ("qmailp", 5983),
    ("qmailq", 5984),
    ("qmailr", 5985),
    ("qmails", 5986),
];

/// What a seed changes: words by words of one label, so that HOST2 and its like count the same.
const WORDS: [&str; 8] = ["oqalice", "oqbob", "oracle", "remote", "client", "hostname", "line", "text"];
/// Groups in whose results lengths are counted: their words keep theirs.
const COUNTED: [&str; 8] = ["vpopmail delivery", "pop3", "tcprules", "inject", "smtpd", "users/assign", "rblsmtpd", "qmail-queue"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lengths {
    Kept,
    Free,
}

/// An account of the world.
#[derive(Clone)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) home: PathBuf,
}

/// The names that a seed gives.
pub(super) struct Names {
    swaps: Vec<(String, String)>,
}

impl Names {
    /// 0 is the names as recorded.
    pub(super) fn new(seed: u64, group: &str) -> Self {
        let mut swaps = vec![("/oracle/run".to_owned(), "/tmp/run".to_owned())];
        if seed == 0 {
            return Self { swaps };
        }
        let mut state = seed;
        if group == "vchkpw" {
            // Digests are of the recorded challenge and password, sizes of the recorded lengths.
            let [user, domain] = ["pippo", "example"].map(|old| word(&mut state, old, Lengths::Kept));
            let pairs = [("pippo", user), ("example.test", format!("{domain}.test")), ("192.0.2.3", format!("192.0.2.{}", 4 + seed % 6))];
            swaps.extend(pairs.map(|(old, new)| (old.to_owned(), new)));
            return Self { swaps };
        }
        let lengths = if COUNTED.contains(&group) { Lengths::Kept } else { Lengths::Free };
        let words = WORDS.map(|old| word(&mut state, old, lengths));
        let [alice, bob, oracle, remote, client, host, line, text] = words;
        let digit = |number: u64| char::from(b"34568"[usize::try_from(number % 5).unwrap()]);
        let net = digit(seed);
        let text_of = |before: &str, old: &str| (format!("{before}{old}"), format!("{before}{}", &text[..old.len().min(text.len())]));
        let pairs = [
            ("OqAlice".to_owned(), capital(&alice)),
            ("oqalice".to_owned(), alice),
            ("oqbob".to_owned(), bob),
            ("ORACLE".to_owned(), oracle.to_uppercase()),
            ("Oracle".to_owned(), capital(&oracle)),
            ("oracle".to_owned(), oracle),
            ("REMOTE.".to_owned(), format!("{}.", remote.to_uppercase())),
            ("remote.test".to_owned(), format!("{remote}.test")),
            ("CLIENT.example".to_owned(), format!("{}.example", client.to_uppercase())),
            ("client.example".to_owned(), format!("{client}.example")),
            ("host.test".to_owned(), format!("{}.test", &host[..4])),
            ("192.0.2.7".to_owned(), format!("192.0.2.{net}")),
            ("7.2.0.192".to_owned(), format!("{net}.2.0.192")),
            ("1.2.3.".to_owned(), format!("{net}.2.3.")),
            ("Mon Jan 1 00:00:00 2001".to_owned(), "Tue Feb 2 01:02:03 2012".to_owned()),
            ("body line".to_owned(), format!("body {line}")),
            ("hello".to_owned(), text[..5].to_owned()),
            ("prova".to_owned(), text[..5].to_owned()),
            text_of("Subject: ", "one"),
            text_of("Subject: ", "two"),
            ("Secret".to_owned(), format!("S{}", &text[..5])),
        ];
        swaps.extend(pairs);
        if group.starts_with("vpopmail") {
            // Their places in sorted files stay.
            let (user, domain) = (word(&mut state, "pippo", lengths), word(&mut state, "example", lengths));
            let user = format!("pi{}", &user[2..]);
            let capitals = [("PIPPO", user.to_uppercase()), ("Example.TEST", format!("{}.TEST", capital(&domain)))];
            swaps.extend(capitals.map(|(old, new)| (old.to_owned(), new)));
            let pairs = [
                ("pippo", user),
                ("Example.Test", format!("{}.Test", capital(&domain))),
                ("example.test", format!("{domain}.test")),
                ("zxc32", format!("Z{}", &text[..4])),
            ];
            swaps.extend(pairs.map(|(old, new)| (old.to_owned(), new)));
        }
        Self { swaps }
    }

    /// The case with other names, everywhere; its title says what is set up and stays.
    pub(super) fn varied(&self, case: &Value) -> Value {
        match case {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.varied(item)).collect(),
            Value::Object(fields) => {
                let vary = |(key, value): (&String, &Value)| match key.as_str() {
                    "title" | "group" | "id" => (key.clone(), value.clone()),
                    _ => (self.text(key), self.varied(value)),
                };
                Value::Object(fields.iter().map(vary).collect())
            }
            other => other.clone(),
        }
    }

    /// One text with other names; what stands for a user's number stays.
    pub(super) fn text(&self, text: &str) -> String {
        self.swaps.iter().fold(text.to_owned(), |text, (old, new)| text.replace(old, new))
    }

    /// How the cases write this user's number.
    pub(super) fn token(&self, uid: &str) -> String {
        let known = ACCOUNTS.iter().find(|(_, number)| number.to_string() == uid);
        known.map_or_else(|| uid.to_owned(), |(name, _)| format!("<{}>", name.to_uppercase()))
    }

    /// The number that a token such as `OQBOB` stands for.
    pub(super) fn number(&self, token: &str) -> Option<u32> {
        ACCOUNTS.iter().find(|(name, _)| name.to_uppercase() == token).map(|(_, uid)| *uid)
    }

    pub(super) fn accounts(&self) -> Vec<Account> {
        let home = |name: &str| match name {
            "alias" => Path::new(QMAIL).join("alias"),
            _ if name.starts_with("qmail") => QMAIL.into(),
            _ => Path::new("/home").join(name),
        };
        let account = |(name, uid): (&str, u32)| Account { name: self.text(name), uid, home: home(&self.text(name)) };
        ACCOUNTS.into_iter().map(account).collect()
    }

    /// An account by its recorded name.
    pub(super) fn account(&self, name: &str) -> Account {
        let name = self.text(name);
        self.accounts().into_iter().find(|account| account.name == name).unwrap_or_else(|| panic!("nobody is called {name}"))
    }
}

fn capital(word: &str) -> String {
    format!("{}{}", word[..1].to_uppercase(), &word[1..])
}

/// A word for `old`: of its length, or of a length of its own.
fn word(state: &mut u64, old: &str, lengths: Lengths) -> String {
    let syllables = ["ka", "mo", "ri", "tu", "le", "po", "sa", "vi"];
    let mut next = || {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(*state >> 60).unwrap()
    };
    let length = if lengths == Lengths::Kept { old.len() } else { 5 + next() % 4 };
    let mut word = String::from(&old[..1]);
    while word.len() < 8 {
        word.push_str(syllables[next() % 8]);
    }
    // The first letters stay apart, so that no two accounts meet.
    word.truncate(if old == "text" || old == "hostname" { 8 } else { length.min(8) });
    word
}
