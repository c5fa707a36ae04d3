//! Address lists in header fields and the rules that complete an address: `joe` becomes `joe@defaulthost`. Called by qmail-inject. Pure; never
//! drops an address that has a local part.

use super::tokens::{Token, lex};

/// What incomplete addresses get.
#[derive(Debug)]
pub(crate) struct Domains {
    /// For addresses without `@`.
    pub(crate) host: Vec<Token>,
    /// For hosts without a dot.
    pub(crate) domain: Vec<Token>,
    /// For hosts that end in `+`.
    pub(crate) plus: Vec<Token>,
}

impl Domains {
    /// From the control values; `None` when one of them has no tokens.
    pub(crate) fn new(host: &[u8], domain: &[u8], plus: &[u8]) -> Option<Self> {
        Some(Self { host: lex(host)?, domain: lex(domain)?, plus: lex(plus)? })
    }

    /// Completes one address. Comments go behind it.
    pub(crate) fn complete(&self, address: &mut Vec<Token>) {
        let is_comment = |token: &Token| matches!(token, Token::Comment(_));
        let comments: Vec<Token> = address.iter().filter(|token| is_comment(token)).cloned().collect();
        address.retain(|token| !is_comment(token));
        self.complete_bare(address);
        address.extend(comments);
    }

    fn complete_bare(&self, address: &mut Vec<Token>) {
        // `foo@[]` is a sign between our own programs.
        if address.is_empty() || matches!(address.as_slice(), [.., Token::At, Token::Literal(text)] if text.is_empty()) {
            return;
        }
        strip(address);
        if address.is_empty() {
            return;
        }
        if !address.contains(&Token::At) {
            address.push(Token::At);
            address.extend_from_slice(&self.host);
        }
        if let Some(Token::Atom(text)) = address.last_mut()
            && text.last() == Some(&b'+')
        {
            text.pop();
            address.push(Token::Dot);
            address.extend_from_slice(&self.plus);
        }
        let mut host = address.iter().rev().take_while(|token| **token != Token::At);
        if !host.any(|token| matches!(token, Token::Dot | Token::Literal(_))) {
            address.push(Token::Dot);
            address.extend_from_slice(&self.domain);
        }
    }
}

/// Takes off a source route and dots and `@`s that stand for nothing.
fn strip(address: &mut Vec<Token>) {
    if address.first() == Some(&Token::At) {
        let route = address.iter().position(|token| *token == Token::Colon).map_or(address.len(), |colon| colon + 1);
        address.drain(..route);
    }
    let stray = address.iter().take_while(|token| matches!(token, Token::Dot | Token::At)).count();
    address.drain(..stray);
    while matches!(address.last(), Some(Token::Dot | Token::At)) {
        address.pop();
    }
}

/// A list on its way from right to left, which is the easy direction (RFC 822 6.1).
struct Walk<'a> {
    /// What is done, the last token first.
    out: Vec<Token>,
    /// The address at hand, the last token first.
    address: Vec<Token>,
    on_address: &'a mut dyn FnMut(&mut Vec<Token>),
}

impl Walk<'_> {
    fn end_address(&mut self) {
        self.address.reverse();
        (self.on_address)(&mut self.address);
        self.out.extend(self.address.drain(..).rev());
    }

    fn flush(&mut self) {
        if !self.address.is_empty() {
            self.end_address();
        }
    }

    fn flush_with_comma(&mut self) {
        if !self.address.is_empty() {
            self.end_address();
            self.out.push(Token::Comma);
        }
    }

    /// From `>` to what stands before `<`. `None`: no `<`.
    fn angle(&mut self, rest: &mut Vec<Token>) -> Option<()> {
        self.flush_with_comma();
        self.out.push(Token::Right);
        let opened = loop {
            match rest.pop() {
                Some(Token::Left) => break true,
                Some(token) => self.address.push(token),
                None => break false,
            }
        };
        self.end_address();
        if !opened {
            return None;
        }
        self.out.push(Token::Left);
        while let Some(token) = rest.pop_if(|t| matches!(t, Token::Comment(_) | Token::Atom(_) | Token::Quote(_) | Token::At | Token::Dot))
        {
            self.out.push(token);
        }
        Some(())
    }

    /// A group's name, back to the comma before it.
    fn group_name(&mut self, rest: &mut Vec<Token>) {
        self.out.push(Token::Colon);
        while let Some(token) = rest.pop() {
            let is_end = token == Token::Comma;
            self.out.push(token);
            if is_end {
                return;
            }
        }
    }
}

/// Calls `on_address` with each address of the list (the tokens behind the field's colon), the last one first, and returns the list with what
/// `on_address` made of them. `None`: not a list of addresses.
pub(crate) fn rewrite(mut rest: Vec<Token>, on_address: &mut dyn FnMut(&mut Vec<Token>)) -> Option<Vec<Token>> {
    let mut walk = Walk { out: Vec::with_capacity(rest.len()), address: Vec::new(), on_address };
    let (mut in_group, mut word_ok) = (false, true);
    while let Some(token) = rest.pop() {
        match token {
            Token::Semi => {
                walk.flush_with_comma();
                if std::mem::replace(&mut in_group, true) {
                    return None;
                }
                word_ok = true;
                walk.out.push(Token::Semi);
            }
            Token::Colon => {
                walk.flush();
                if !std::mem::replace(&mut in_group, false) {
                    return None;
                }
                walk.group_name(&mut rest);
                word_ok = true;
            }
            Token::Right => {
                walk.angle(&mut rest)?;
                word_ok = false;
            }
            Token::Atom(_) | Token::Quote(_) | Token::Literal(_) => {
                if !std::mem::replace(&mut word_ok, false) {
                    walk.flush_with_comma();
                }
                walk.address.push(token);
            }
            Token::Comment(_) => walk.out.push(token),
            Token::Comma => {
                walk.flush();
                word_ok = true;
                walk.out.push(Token::Comma);
            }
            Token::Left | Token::At | Token::Dot => {
                word_ok = true;
                walk.address.push(token);
            }
        }
    }
    walk.flush();
    walk.out.reverse();
    Some(walk.out)
}

#[cfg(test)]
mod tests {
    use super::super::tokens::{unparse, unquote};
    use super::*;

    fn rewritten(list: &str) -> (String, Vec<String>) {
        let domains = Domains::new(b"dh", b"dd.test", b"pd.test").unwrap();
        let mut found = Vec::new();
        let tokens = rewrite(lex(list.as_bytes()).unwrap(), &mut |address| {
            domains.complete(address);
            found.push(String::from_utf8(unquote(address)).unwrap());
        });
        (String::from_utf8(unparse(&tokens.unwrap())).unwrap().trim_end().to_owned(), found)
    }

    #[test]
    fn addresses_are_completed() {
        for (list, want) in [
            ("a", "a@dh.dd.test"),
            ("b@host", "b@host.dd.test"),
            ("c@dom+", "c@dom.pd.test"),
            ("d@full.test", "d@full.test"),
            ("Real Name <e>", "Real Name <e@dh.dd.test>"),
            ("(comment) f@x.y", "f@x.y (comment)"),
            ("<@r1,@r2:g@x.y>", "<g@x.y>"),
            ("a@[1.2.3.4]", "a@[1.2.3.4]"),
            ("<>", "<>"),
            ("foo@[]", "foo@[]"),
            ("@c", ""),
            ("a@", "a@dh.dd.test"),
            ("a@b.", "a@b.dd.test"),
            ("friends: a, b@c.d;", "friends: a@dh.dd.test, b@c.d;"),
            ("a b", "a@dh.dd.test, b@dh.dd.test"),
            ("\"a b\"@c.d", "\"a b\"@c.d"),
        ] {
            assert_eq!(rewritten(list).0, want, "{list}");
        }
        assert_eq!(rewritten("a@x.test, b@y.test").1, ["b@y.test", "a@x.test"]);
    }

    #[test]
    fn a_second_time_changes_nothing_and_no_address_is_lost() {
        let parts = ["a", "b@c", "\"q x\"@h+", "N <n@o>", "(c) d", "g: x, y;", "<>", "<@r:s@t>", "u@[1.2.3.4]"];
        for first in parts {
            for second in parts {
                let list = format!("{first}, {second}");
                let (once, found) = rewritten(&list);
                let (twice, again) = rewritten(&once);
                assert_eq!(once, twice, "{list}");
                assert_eq!(found, again, "{list}");
            }
        }
    }
}
