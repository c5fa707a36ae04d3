//! `qmail-inject(8)`: reads a message, completes its header, finds sender and recipients, hands it to the queue. Called by `main`, and by
//! sendmail in the same process. Never writes to the queue itself.

use super::addresses::{Domains, rewrite};
use super::environment::Environment;
use super::fields::{self, Known, Role};
use super::options::{Choice, Options, Which};
use super::settings::Settings;
use super::tokens::{Token, lex, quote, unparse, unquote};
use crate::fatal::Fatal;
use std::io::{BufRead, Write};
use std::path::Path;

/// The header must fit in memory: with all its fields, bytes.
const HEADER_BYTES_MAX: usize = 1 << 20;
/// One field, and one line of the header: its tokens need many times the space, bytes.
const FIELD_BYTES_MAX: usize = 256 << 10;

/// A message whose header is being read.
pub(crate) struct Injection<'a> {
    pub(crate) options: &'a Options,
    pub(crate) settings: Settings,
    domains: Domains,
    pub(crate) sender: Option<Vec<u8>>,
    from_arguments: Vec<Vec<u8>>,
    from_header: Vec<Vec<u8>>,
    from_resent: Vec<Vec<u8>>,
    /// Addresses in To and Cc.
    pub(crate) addressed: Vec<Vec<u8>>,
    pub(crate) seen: Vec<Known>,
    /// The fields to be sent.
    pub(crate) saved: Vec<u8>,
}

/// What the first line after the header is.
enum End {
    /// The empty line, or the message's end.
    Empty,
    /// A line of the body without an empty line before it.
    Body(Vec<u8>),
}

pub(crate) fn run(options: &Options, environment: &Environment, home: &Path) -> Result<(), Fatal> {
    let settings = Settings::read(environment, home)?;
    let domains = settings.domains()?;
    let mut injection = Injection {
        options,
        settings,
        domains,
        sender: None,
        from_arguments: Vec::new(),
        from_header: Vec::new(),
        from_resent: Vec::new(),
        addressed: Vec::new(),
        seen: Vec::new(),
        saved: Vec::new(),
    };
    if let Some(sender) = &options.sender {
        injection.sender = Some(injection.argument("Envelope-Sender: ", sender)?);
    }
    for recipient in &options.recipients {
        let recipient = injection.argument("Recipient: ", recipient)?;
        injection.from_arguments.push(recipient);
    }
    let mut input = std::io::stdin().lock();
    let end = injection.header(&mut input)?;
    let head = injection.finish()?;
    match options.choice {
        Choice::Print => injection.print(&head, end, &mut input),
        Choice::Queue => injection.queue(&head, end, &mut input, home),
    }
}

impl Injection<'_> {
    /// An address from the command line, which is not quoted.
    fn argument(&self, what: &str, address: &[u8]) -> Result<Vec<u8>, Fatal> {
        if address == b"<>" {
            return Ok(Vec::new());
        }
        let quoted = quote(address);
        let mut tokens = lex(&quoted).ok_or_else(|| unparseable(&[what.as_bytes(), &quoted, b"\n"].concat()))?;
        self.domains.complete(&mut tokens);
        Ok(unquote(&tokens))
    }

    /// Completed tokens of an address made here.
    pub(crate) fn complete(&self, tokens: &mut Vec<Token>) {
        self.domains.complete(tokens);
    }

    fn header(&mut self, input: &mut impl BufRead) -> Result<End, Fatal> {
        let (mut field, mut total) = (Vec::new(), 0usize);
        let end = loop {
            let line = next_line(input)?;
            total += line.len();
            if total > HEADER_BYTES_MAX || field.len() + line.len() > FIELD_BYTES_MAX {
                return Err(Fatal::hard("header or header field too long"));
            }
            match line.first() {
                None | Some(b'\n') => break End::Empty,
                Some(b' ' | b'\t') if !field.is_empty() => field.extend_from_slice(&line),
                _ if line.starts_with(b"From ") => self.next_field(&mut field, [b"MBOX-Line: ", line.as_slice()].concat())?,
                _ if fields::name(&line).is_some() => self.next_field(&mut field, line)?,
                _ => break End::Body(line),
            }
        };
        self.next_field(&mut field, Vec::new())?;
        Ok(end)
    }

    /// The field at hand is whole: `line` begins the next one.
    fn next_field(&mut self, field: &mut Vec<u8>, line: Vec<u8>) -> Result<(), Fatal> {
        let whole = std::mem::replace(field, line);
        if whole.is_empty() { Ok(()) } else { self.take(&whole) }
    }

    fn take(&mut self, field: &[u8]) -> Result<(), Fatal> {
        let Some(known) = fields::name(field).and_then(fields::find) else {
            self.saved.extend_from_slice(field);
            return Ok(());
        };
        if self.settings.is_ignored(known.name) {
            return Ok(());
        }
        self.seen.push(known);
        let new = match known.role {
            Role::Plain => None,
            Role::Recipient | Role::ResentRecipient => self.recipients(known, field),
            Role::Sender => Some(self.addresses(field, |_| {}).ok_or_else(|| unparseable(field))?),
            Role::ReturnPath => {
                let mut last = None;
                let new = self.addresses(field, |address| last = Some(unquote(address))).ok_or_else(|| unparseable(field))?;
                self.sender = self.sender.take().or(last);
                Some(new)
            }
        };
        if !known.private {
            self.saved.extend_from_slice(new.as_deref().unwrap_or(field));
        }
        Ok(())
    }

    /// `None`: the field cannot be read and stays as it is.
    fn recipients(&mut self, known: Known, field: &[u8]) -> Option<Vec<u8>> {
        let mut found = Vec::new();
        let new = self.addresses(field, |address| found.push(unquote(address)));
        found.retain(|address| !address.is_empty());
        if matches!(known.name, "to" | "cc") {
            self.addressed.extend_from_slice(&found);
        }
        let list = if known.role == Role::Recipient { &mut self.from_header } else { &mut self.from_resent };
        list.append(&mut found);
        new
    }

    fn addresses(&self, field: &[u8], mut found: impl FnMut(&[Token])) -> Option<Vec<u8>> {
        let mut tokens = lex(field)?;
        let list = tokens.split_off(2.min(tokens.len()));
        tokens.extend(rewrite(list, &mut |address| {
            self.domains.complete(address);
            found(address);
        })?);
        Some(unparse(&tokens))
    }

    fn envelope_recipients(&self) -> impl Iterator<Item = &Vec<u8>> {
        let arguments = match self.options.which {
            Which::Header => &[][..],
            Which::Arguments | Which::Both | Which::Either => &self.from_arguments,
        };
        let header: &[Vec<u8>] = match self.options.which {
            Which::Arguments => &[],
            Which::Either if !self.options.recipients.is_empty() => &[],
            _ if self.is_resent() => &self.from_resent,
            _ => &self.from_header,
        };
        arguments.iter().chain(header)
    }

    /// True for a message that is sent again (RFC 822 4.2).
    pub(crate) fn is_resent(&self) -> bool {
        self.seen.iter().any(|field| field.is_resent())
    }

    /// True when the header has the field.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.seen.iter().any(|field| field.name == name)
    }

    fn print(&self, head: &[u8], end: End, input: &mut impl BufRead) -> Result<(), Fatal> {
        let mut out = std::io::stdout().lock();
        let sender = quote(self.sender.as_deref().unwrap_or_default());
        let mut failed = None;
        let mut put = |bytes: &[u8]| {
            if failed.is_none() {
                failed = out.write_all(bytes).err();
            }
        };
        put(b"Return-Path: <");
        put(&sender);
        put(b">\n");
        put(head);
        body(end, input, &mut put)?;
        match failed.or_else(|| out.flush().err()) {
            Some(error) => Err(Fatal::unable("write", &error)),
            None => Ok(()),
        }
    }

    fn queue(&self, head: &[u8], end: End, input: &mut impl BufRead, home: &Path) -> Result<(), Fatal> {
        let mut qq = crate::qq::Qq::open(home).map_err(|e| Fatal::unable("fork", &e))?;
        qq.put(head);
        // An error drops the half message: nothing is queued.
        body(end, input, &mut |bytes| qq.put(bytes))?;
        qq.from(self.sender.as_deref().unwrap_or_default());
        for recipient in self.envelope_recipients() {
            qq.to(recipient);
        }
        qq.close().map(|_| ()).map_err(|refused| Fatal::refused(&refused))
    }
}

/// The empty line and the body, which ends with a whole line.
fn body(end: End, input: &mut impl BufRead, put: &mut dyn FnMut(&[u8])) -> Result<(), Fatal> {
    put(b"\n");
    let mut last = b'\n';
    if let End::Body(line) = end {
        put(&line);
        last = line.last().copied().unwrap_or(last);
    }
    loop {
        let bytes = match input.fill_buf() {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Fatal::unable("read", &e)),
        };
        let Some(&end) = bytes.last() else { break };
        last = end;
        put(bytes);
        let used = bytes.len();
        input.consume(used);
    }
    if last != b'\n' {
        put(b"\n");
    }
    Ok(())
}

/// A line of the header with its end; empty at the message's end.
fn next_line(input: &mut impl BufRead) -> Result<Vec<u8>, Fatal> {
    let mut line = Vec::new();
    let limit = u64::try_from(FIELD_BYTES_MAX).unwrap_or(u64::MAX);
    let read = std::io::Read::take(&mut *input, limit).read_until(b'\n', &mut line);
    read.map_err(|e| Fatal::unable("read", &e))?;
    if !line.is_empty() && line.last() != Some(&b'\n') {
        if line.len() >= FIELD_BYTES_MAX {
            return Ok(line); // the rest follows: it is a body's line, or a header's that is refused
        }
        line.push(b'\n');
    }
    Ok(line)
}

/// A field that must be understood.
fn unparseable(field: &[u8]) -> Fatal {
    let text = String::from_utf8_lossy(field);
    Fatal::hard(format!("unable to parse this line:\n{}", text.strip_suffix('\n').unwrap_or(&text)))
}
