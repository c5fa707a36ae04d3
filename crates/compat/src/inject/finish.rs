//! The end of qmail-inject's header: the fields that are missing, and the envelope sender when nobody named one.

use super::message::Injection;
use super::tokens::{Token, is_plain, lex, quote, unparse, unquote};
use crate::fatal::Fatal;
use postino_message::date;
use postino_types::time::Time;
use std::time::{SystemTime, UNIX_EPOCH};

const NOT_SHOWN: &str = "recipient list not shown: ;";

impl Injection<'_> {
    /// The whole header without its empty line.
    pub(crate) fn finish(&mut self) -> Result<Vec<u8>, Fatal> {
        let now = now();
        let pid = std::process::id();
        if self.sender.is_none() {
            self.sender = Some(self.default_sender(now, pid)?);
        }
        let (prefix, lower) = if self.is_resent() { ("Resent-", "resent-") } else { ("", "") };
        let missing = |name: &str| !self.has(&format!("{lower}{name}"));
        let mut head = Vec::new();
        let mut put =
            |name: &str, value: &[u8]| head.extend_from_slice(&[prefix.as_bytes(), name.as_bytes(), b": ", value, b"\n"].concat());
        if missing("date") {
            put("Date", date::qmail_date(now).as_bytes());
        }
        if missing("message-id") {
            let id = format!("<{}.{pid}.qmail@", date::compact(now));
            put("Message-ID", &[id.as_bytes(), &self.settings.id_host, b">"].concat());
        }
        if missing("from") {
            let from = self.default_from(prefix)?;
            head.extend_from_slice(&from);
        }
        if missing("to") && missing("cc") {
            head.extend_from_slice(format!("{prefix}Cc: {NOT_SHOWN}\n").as_bytes());
        }
        if prefix.is_empty() {
            head.extend_from_slice(&self.follow_up());
        }
        head.extend_from_slice(&self.saved);
        Ok(head)
    }

    /// Where answers to a mailing list's message go.
    fn follow_up(&self) -> Vec<u8> {
        let is_list = |address: &Vec<u8>| self.settings.lists.contains(&address.to_ascii_lowercase());
        if self.has("mail-followup-to") || !self.addressed.iter().any(is_list) {
            return Vec::new();
        }
        let all: Vec<Vec<u8>> = self.addressed.iter().rev().map(|address| quote(address)).collect();
        [b"Mail-Followup-To: ".as_slice(), &all.join(b",\n  ".as_slice()), b"\n"].concat()
    }

    fn default_from(&self, prefix: &str) -> Result<Vec<u8>, Fatal> {
        let mut tokens = vec![Token::Atom(format!("{prefix}From").into_bytes()), Token::Colon];
        let mut address = user_at_host(&self.settings.user, &self.settings.user_host)?;
        self.complete(&mut address);
        match self.settings.name.clone() {
            Some(name) if self.settings.flag(b'c') => {
                tokens.append(&mut address);
                tokens.push(Token::Comment(name));
            }
            Some(name) => {
                tokens.extend([Token::Quote(name), Token::Left]);
                tokens.append(&mut address);
                tokens.push(Token::Right);
            }
            None => tokens.append(&mut address),
        }
        Ok(unparse(&tokens))
    }

    fn default_sender(&self, now: Time, pid: u32) -> Result<Vec<u8>, Fatal> {
        let mut user = self.settings.sender_user.clone();
        if self.settings.flag(b'm') {
            user.extend_from_slice(format!("-{}.{pid}", now.secs()).as_bytes());
        }
        let verp = self.settings.flag(b'r');
        if verp {
            user.push(b'-');
        }
        let mut tokens = user_at_host(&user, &self.settings.sender_host)?;
        self.complete(&mut tokens);
        let mut sender = unquote(&tokens);
        if verp {
            sender.extend_from_slice(b"-@[]");
        }
        Ok(sender)
    }
}

fn user_at_host(user: &[u8], host: &[u8]) -> Result<Vec<Token>, Fatal> {
    let user_token = if is_plain(user) { Token::Atom(user.to_vec()) } else { Token::Quote(user.to_vec()) };
    let mut tokens = vec![user_token, Token::At];
    tokens.extend(lex(host).ok_or_else(|| Fatal::soft(format!("unable to parse host {}", String::from_utf8_lossy(host))))?);
    Ok(tokens)
}

fn now() -> Time {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Time::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX))
}
