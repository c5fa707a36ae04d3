//! The syntax of control/links. Called by the table; keeps nothing.

use super::{Askers, Fetch, Hours, LIFETIME_S, LINKS_MAX, Link, LinkTable};
use crate::classic;
use crate::load::parse_route;
use postino_types::printable::printable;
use std::net::IpAddr;
use std::sync::Arc;

const FORM: &str = "is not: NAME DESTINATION[,...] SERVER[:PORT]|caller[:PORT]|- manual|HH:MM-HH:MM[/DAYS]|WORD=VALUE ...";
/// Ten years.
const LIFETIME_S_MAX: i64 = 315_360_000;
const CONNECTIONS_MAX: usize = 1000;
const SMTP_PORT: u16 = 25;

pub(super) fn table(bytes: &[u8]) -> Result<LinkTable, Vec<(usize, String)>> {
    let mut table = LinkTable::default();
    let mut problems = Vec::new();
    for (number, line) in classic::list(bytes) {
        if let Err(reason) = link(line).and_then(|link| add(&mut table, link)) {
            problems.push((number, reason));
        }
    }
    if problems.is_empty() { Ok(table) } else { Err(problems) }
}

fn add(table: &mut LinkTable, link: Link) -> Result<(), String> {
    if table.links.len() >= LINKS_MAX {
        return Err(format!("is beyond the {LINKS_MAX} links that are allowed"));
    }
    if table.named(&link.name).is_some() {
        return Err(format!("names the link {} again", link.name));
    }
    for destination in &link.destinations {
        if table.by_destination.insert(destination.clone(), table.links.len()).is_some() {
            return Err(format!("names {}, which a line before (or this one) has already", printable(destination)));
        }
    }
    table.links.push(Arc::new(link));
    Ok(())
}

fn link(line: &[u8]) -> Result<Link, String> {
    if line.iter().any(|b| b.is_ascii_control() && *b != b'\t') {
        return Err("holds a control byte".into());
    }
    let text = std::str::from_utf8(line).map_err(|_| "is not UTF-8".to_owned())?;
    let mut words = text.split_ascii_whitespace();
    let (Some(name), Some(destinations), Some(server)) = (words.next(), words.next(), words.next()) else { return Err(FORM.into()) };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if !name.bytes().all(plain) || name.len() > 64 {
        return Err(format!("begins with \"{name}\"; a name is made of letters, digits, dots, - and _"));
    }
    let mut link = Link {
        name: Arc::from(name),
        destinations: destinations.split(',').map(destination).collect::<Result<_, _>>()?,
        server: None,
        caller_port: None,
        hours: Vec::new(),
        lifetime_s: LIFETIME_S,
        connections: 1,
        etrn: Askers::default(),
        atrn: Askers::default(),
        turn: Askers::default(),
        fetch: Fetch::Never,
    };
    if let Some(port) = caller(server) {
        link.caller_port = Some(port.ok_or(FORM)?);
    } else if server != "-" {
        let (route, doubt) = parse_route(server.as_bytes());
        if let Some(doubt) = doubt.or_else(|| route.relay.is_empty().then(|| FORM.to_owned())) {
            return Err(doubt);
        }
        link.server = Some(route);
    }
    let mut has_word = false;
    for word in words {
        has_word = true;
        apply(&mut link, word)?;
    }
    if link.fetch != Fetch::Never && link.server.is_none() {
        return Err("says fetch, but names no server to fetch from".into());
    }
    if link.caller_port.is_some() && link.turn.is_empty() && link.etrn.is_empty() {
        return Err("sends to its caller, but says neither turn= nor etrn=: nobody can call it".into());
    }
    if has_word { Ok(link) } else { Err("does not say when: manual, hours, etrn=, atrn=, turn= or fetch".into()) }
}

/// `caller` or `caller:PORT`; the port is `None` when it is none.
fn caller(server: &str) -> Option<Option<u16>> {
    let rest = server.strip_prefix("caller")?;
    match rest.strip_prefix(':') {
        Some(port) => Some(port.parse().ok().filter(|port| *port != 0)),
        None => rest.is_empty().then_some(Some(SMTP_PORT)),
    }
}

fn destination(text: &str) -> Result<Vec<u8>, String> {
    let host = text.strip_prefix('.').unwrap_or(text);
    let labels = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '[' | ']' | ':');
    if text == "*" || (!host.is_empty() && host.chars().all(labels) && !host.ends_with('.')) {
        return Ok(text.to_ascii_lowercase().into_bytes());
    }
    Err(format!("names \"{text}\", which is neither a host, nor .suffix, nor *"))
}

fn apply(link: &mut Link, word: &str) -> Result<(), String> {
    let Some((key, value)) = word.split_once('=') else {
        if word == "fetch" {
            link.fetch = Fetch::Asked;
        } else if word != "manual" {
            link.hours.push(Hours::parse(word).ok_or_else(|| format!("says \"{word}\", which is neither manual nor HH:MM-HH:MM[/DAYS]"))?);
        }
        return Ok(());
    };
    let bad = || format!("says {key}={value}, which cannot be");
    match key {
        "lifetime" => link.lifetime_s = seconds(value).ok_or_else(bad)?,
        "connections" => link.connections = value.parse().ok().filter(|n| (1..=CONNECTIONS_MAX).contains(n)).ok_or_else(bad)?,
        "etrn" => link.etrn = askers(value).ok_or_else(bad)?,
        "atrn" => link.atrn = askers(value).filter(|askers| askers.networks.is_empty()).ok_or_else(bad)?,
        "fetch" => link.fetch = Fetch::Every(seconds(value).ok_or_else(bad)?),
        "turn" => link.turn = askers(value).filter(|askers| askers.logins.is_empty()).ok_or_else(bad)?,
        _ => return Err(format!("says \"{key}=\"; known are lifetime, connections, etrn, atrn, turn, fetch")),
    }
    Ok(())
}

/// Seconds, or a number with `m`, `h` or `d`.
fn seconds(text: &str) -> Option<i64> {
    let unit = match text.bytes().last()? {
        b'm' => 60,
        b'h' => 3600,
        b'd' => 86_400,
        _ => 1,
    };
    let digits = if unit == 1 { text } else { text.get(..text.len() - 1)? };
    digits.parse::<i64>().ok()?.checked_mul(unit).filter(|s| (60..=LIFETIME_S_MAX).contains(s))
}

/// Addresses, networks (`10.0.0.0/8`) and logins (`user@domain`, `login:user`).
fn askers(text: &str) -> Option<Askers> {
    let mut askers = Askers::default();
    for part in text.split(',') {
        if let Some(login) = part.strip_prefix("login:").or_else(|| part.contains('@').then_some(part)).filter(|l| !l.is_empty()) {
            askers.logins.push(login.to_ascii_lowercase());
            continue;
        }
        let (address, bits) = part.split_once('/').map_or((part, None), |(address, bits)| (address, Some(bits)));
        let ip: IpAddr = address.parse().ok()?;
        let whole: u8 = if ip.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(whole), |bits| bits.parse().ok().filter(|n| *n <= whole))?;
        askers.networks.push((ip, bits));
    }
    Some(askers)
}
