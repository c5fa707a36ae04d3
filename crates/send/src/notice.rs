//! Whom to tell what about a settlement: bounces, double bounces, delay and success notices (qmail-send(8), RFC 3461, RFC 3464), and the
//! messages themselves. Used by settlements; a notice is queued in the same commit as the fact that it tells.

use crate::context::Context;
use crate::flight::Ended;
use crate::settle::{Plan, Telling, UNTOLD};
use bytes::Bytes;
use postino_control::Config;
use postino_control::resolved::BounceFormat;
use postino_message::dsn::report::{Bits, Family, Report, Returned};
use postino_message::dsn::{Action, Kind, Notice, Reported, qsbmf};
use postino_message::{HeaderScanner, InvokedBy, date, qmail_received};
use postino_policy::{make_recipient, retry, strip_virtual_prefix, verp};
use postino_ports::body::Body;
use postino_ports::event::Event;
use postino_ports::queue::{BodyWriter, NewBody, NewEntry, NewMessage, SettleError};
use postino_types::{
    Address, BodyKind, Channel, DeliveryOutcome, DsnWish, EnhancedStatus, Envelope, Origin, Recipient, RecipientState, ReportText, Ret,
    ReversePath,
};

/// RFC 3461 leaves the delay to us; four hours is what users are used to.
const DELAY_TOLD_AFTER_S: i64 = 4 * 3600;
/// Notices up to this size are built in memory and lie in the queue's row, bytes.
const MEMORY_BYTES_MAX: u64 = 65_536;
/// Longest header that is returned, bytes.
const HEADER_BYTES_MAX: usize = 65_536;
/// After so many failed settlements a large original is returned as its header: a full disk must not keep a bounce from being told.
const TRIES_WITH_WHOLE_ORIGINAL: u32 = 3;

/// The notices of one settlement.
#[derive(Default)]
pub(crate) struct Notices {
    /// Failure notices first.
    pub(crate) messages: Vec<NewMessage>,
    /// How many of them are failure notices.
    pub(crate) failures: usize,
    /// Failures of a double bounce: nobody is told.
    pub(crate) triple_bounce: bool,
}

/// One recipient's part of a notice.
struct Line {
    index: usize,
    address: Address,
    action: Action,
    status: EnhancedStatus,
    text: ReportText,
}

/// What is told of a recipient: what happened, its code, its report.
type Fact = (Action, EnhancedStatus, ReportText);

/// Makes the notices that a plan calls for.
pub(crate) async fn make(context: &Context, plan: &Plan, tries: u32) -> Result<Notices, SettleError> {
    let mut notices = Notices::default();
    let config = context.config();
    let mut failed = untold(plan, &config);
    if failed.is_empty() && !plan.ended.iter().any(|ended| calls_for_notice(plan, ended)) {
        return Ok(notices);
    }
    let lines = |pick: fn(&Plan, &Ended) -> Option<Fact>| lines(plan, &config, pick);
    failed.extend(lines(failure));
    if !failed.is_empty() {
        match failure_addressee(&config, &plan.entry.envelope.sender) {
            Addressee::Nobody => notices.triple_bounce = true,
            Addressee::Discard => context.emit(&Event::Warning { what: "double bounce discarded", detail: &plan.entry.id.to_string() }),
            Addressee::Send(kind, to) => {
                notices.messages.push(compose(context, plan, &config, &Letter { kind, to, lines: failed }, tries).await?);
                notices.failures = 1;
            }
        }
    }
    if let ReversePath::Address(sender) = &plan.entry.envelope.sender {
        for (kind, lines) in [(Kind::Success, lines(success)), (Kind::Delay, lines(delay))] {
            if !lines.is_empty() {
                let letter = Letter { kind, to: verp::bounce_recipient(sender), lines };
                notices.messages.push(compose(context, plan, &config, &letter, tries).await?);
            }
        }
    }
    Ok(notices)
}

/// Does this settlement tell a delay of this recipient? Once, and only when it was asked for.
pub(crate) fn tells_delay(plan: &Plan, ended: &Ended) -> bool {
    delay(plan, ended).is_some()
}

/// Would a pass that leaves a recipient alone have to tell a delay?
pub(crate) fn delay_is_due(recipient: &Recipient, sender: &ReversePath, told: bool, age_s: i64) -> bool {
    recipient.notify.explicit && recipient.notify.delay && !told && age_s >= DELAY_TOLD_AFTER_S && matches!(sender, ReversePath::Address(_))
}

fn calls_for_notice(plan: &Plan, ended: &Ended) -> bool {
    failure(plan, ended).is_some() || success(plan, ended).is_some() || delay(plan, ended).is_some()
}

fn recipient<'a>(plan: &'a Plan, ended: &Ended) -> Option<&'a Recipient> {
    plan.entry.envelope.recipients.get(ended.index)
}

fn failure(plan: &Plan, ended: &Ended) -> Option<Fact> {
    let DeliveryOutcome::Failed { status, detail } = &ended.outcome else { return None };
    if plan.telling == Telling::AtTheEnd {
        return None;
    }
    recipient(plan, ended)?.notify.wants_failure().then(|| (Action::Failed, status.enhanced(), detail.clone()))
}

fn delay(plan: &Plan, ended: &Ended) -> Option<Fact> {
    let DeliveryOutcome::Deferred { status, detail, .. } = &ended.outcome else { return None };
    let (_, told) = plan.before(ended.index);
    let due = delay_is_due(recipient(plan, ended)?, &plan.entry.envelope.sender, told, plan.age_s);
    due.then(|| (Action::Delayed, status.enhanced(), detail.clone()))
}

/// RFC 3461 5.2.2 to 5.2.7: told when we delivered, or handed on to where nobody else will tell.
fn success(plan: &Plan, ended: &Ended) -> Option<Fact> {
    let DeliveryOutcome::Delivered { detail, forwards, relayed } = &ended.outcome else { return None };
    let recipient = recipient(plan, ended)?;
    if !recipient.notify.success {
        return None;
    }
    let done = |action, text: ReportText| Some((action, EnhancedStatus { class: 2, subject: 0, detail: 0 }, text));
    let handed_on: Vec<&Recipient> = forwards.iter().flat_map(|f| &f.recipients).collect();
    if !handed_on.is_empty() {
        // Those who carry the wish on will be told about themselves.
        let carried = handed_on.iter().all(|r| r.notify.success);
        let action = if handed_on.len() > 1 { Action::Expanded } else { Action::Relayed };
        return if carried { None } else { done(action, "handed on to another address\n".into()) };
    }
    match (recipient.routed.channel, relayed) {
        (Channel::Local, _) => done(Action::Delivered, "delivered\n".into()),
        (Channel::Remote, true) => done(Action::Relayed, detail.clone()),
        // The next host took over the duty to tell.
        (Channel::Remote, false) => None,
    }
}

/// Failures of earlier passes that were left for the end, oldest first.
fn untold(plan: &Plan, config: &Config) -> Vec<Line> {
    if plan.telling != Telling::All {
        return Vec::new();
    }
    let mut found: Vec<(postino_types::Time, Line)> = Vec::new();
    for (index, (state, recipient)) in plan.entry.states.iter().zip(&plan.entry.envelope.recipients).enumerate() {
        let RecipientState::Failed { at, status, detail } = state else { continue };
        let Some(text) = detail.strip_prefix(UNTOLD).filter(|_| recipient.notify.wants_failure()) else { continue };
        let fact = (Action::Failed, status.enhanced(), text);
        found.push((*at, line(config, index, recipient, fact)));
    }
    found.sort_by_key(|(at, _)| at.0);
    found.into_iter().map(|(_, line)| line).collect()
}

fn line(config: &Config, index: usize, recipient: &Recipient, (action, status, text): Fact) -> Line {
    let routed = &recipient.routed;
    let address = match routed.channel {
        Channel::Local => strip_virtual_prefix(config, &routed.address),
        Channel::Remote => routed.address.clone(),
    };
    Line { index, address, action, status, text }
}

fn lines(plan: &Plan, config: &Config, pick: fn(&Plan, &Ended) -> Option<Fact>) -> Vec<Line> {
    let told = |ended: &Ended| Some(line(config, ended.index, recipient(plan, ended)?, pick(plan, ended)?));
    plan.ended.iter().filter_map(told).collect()
}

/// Who hears of a failure.
enum Addressee {
    /// The sender, or the postmaster of double bounces.
    Send(Kind, Address),
    /// The message was a double bounce itself.
    Nobody,
    /// `doublebounceto` is empty: the administrator wants none.
    Discard,
}

fn failure_addressee(config: &Config, sender: &ReversePath) -> Addressee {
    match sender {
        ReversePath::DoubleBounce => Addressee::Nobody,
        ReversePath::Address(sender) => Addressee::Send(Kind::Failure, verp::bounce_recipient(sender)),
        ReversePath::Null if config.doublebounceto.is_empty() => Addressee::Discard,
        ReversePath::Null => match Address::from_parts(config.doublebounceto.as_bytes(), config.doublebouncehost.as_bytes()) {
            Ok(to) => Addressee::Send(Kind::DoubleBounce, to),
            Err(_) => Addressee::Discard,
        },
    }
}

/// A notice before its text is written.
struct Letter {
    kind: Kind,
    to: Address,
    lines: Vec<Line>,
}

/// A notice as text, around the place for the original.
struct Written {
    head: Vec<u8>,
    tail: Vec<u8>,
    returned: Returned,
    family: Family,
    body: BodyKind,
}

async fn compose(context: &Context, plan: &Plan, config: &Config, letter: &Letter, tries: u32) -> Result<NewMessage, SettleError> {
    let original = context.body(&plan.body, &plan.entry).await.map_err(SettleError::Io)?;
    let returned = what_to_return(plan, config, letter.kind, tries);
    let (written, header) = match returned {
        Returned::Headers => {
            let header = header_of(plan.entry.prepend.clone(), original.clone()).await?;
            let bits = if header.is_ascii() { Bits::Seven } else { Bits::Eight };
            (write(context, plan, config, letter, (returned, bits)), Some(header))
        }
        _ => (write(context, plan, config, letter, (returned, bits_of(plan, &original))), None),
    };
    let entry = envelope(context, plan, config, letter, &written);
    let body = match header {
        Some(header) => NewBody::Bytes([written.head, header, written.tail].concat().into()),
        None => with_original(context, plan, written, original).await?,
    };
    Ok(NewMessage { entry, body })
}

fn what_to_return(plan: &Plan, config: &Config, kind: Kind, tries: u32) -> Returned {
    let bytes = plan.entry.body_bytes.saturating_add(plan.entry.prepend.len() as u64);
    let too_often = tries >= TRIES_WITH_WHOLE_ORIGINAL && bytes > MEMORY_BYTES_MAX / 2;
    match (kind, config.bounceformat) {
        // RFC 3461 4.3: RET is about failures only.
        (Kind::Delay | Kind::Success, _) => Returned::Headers,
        _ if too_often => Returned::Headers,
        (_, BounceFormat::Qsbmf) => Returned::Full,
        (_, BounceFormat::Both) if plan.entry.envelope.dsn.ret == Ret::Headers => Returned::Headers,
        (_, BounceFormat::Both) if bytes > config.server.limits.bounce_bytes_max => Returned::Headers,
        (_, BounceFormat::Both) => Returned::Full,
    }
}

/// A body in a file is not read for this: calling it 8-bit is always allowed.
fn bits_of(plan: &Plan, original: &Body) -> Bits {
    match original {
        Body::Memory(bytes) if bytes.is_ascii() && plan.entry.prepend.is_ascii() => Bits::Seven,
        _ => Bits::Eight,
    }
}

fn write(context: &Context, plan: &Plan, config: &Config, letter: &Letter, original: (Returned, Bits)) -> Written {
    let (returned, bits) = original;
    let envelope = &plan.entry.envelope;
    let sender = match &envelope.sender {
        ReversePath::Address(sender) => ReversePath::Address(verp::bounce_recipient(sender)),
        other => other.clone(),
    };
    let told: Vec<Reported<'_>> = letter.lines.iter().map(|line| reported(plan, line)).collect();
    let notice = Notice {
        kind: letter.kind,
        now: plan.now,
        bouncefrom: &config.bouncefrom,
        bouncehost: &config.bouncehost,
        to: &letter.to,
        sender: &sender,
        recipients: &told,
    };
    let plain = config.bounceformat == BounceFormat::Qsbmf && matches!(letter.kind, Kind::Failure | Kind::DoubleBounce);
    let family = if envelope.utf8 && !plain { Family::Global } else { Family::Classic };
    let (head, tail) = if plain {
        (qsbmf::opening(&notice), Vec::new())
    } else {
        let report = Report {
            notice,
            reporting_mta: &config.me,
            message_id: &format!("{}.{}.{}.postino@{}", date::compact(plan.now), context.pid, plan.entry.id, config.bouncehost),
            boundary: &context.unguessable(),
            envid: envelope.dsn.envid.as_deref(),
            arrived: plan.entry.arrived,
            will_retry_until: (letter.kind == Kind::Delay).then_some(plan.entry.expires),
            family,
            returned,
            bits,
        };
        (report.head(), report.tail())
    };
    let body = if bits == Bits::Eight || !head.is_ascii() { BodyKind::EightBit } else { BodyKind::SevenBit };
    Written { head, tail, returned, family, body }
}

fn reported<'a>(plan: &'a Plan, line: &'a Line) -> Reported<'a> {
    Reported {
        address: &line.address,
        original: plan.entry.envelope.recipients.get(line.index).and_then(|r| r.original.as_ref()),
        action: line.action,
        status: line.status,
        text: line.text.as_bytes(),
        last_attempt: Some(plan.now),
    }
}

fn envelope(context: &Context, plan: &Plan, config: &Config, letter: &Letter, written: &Written) -> NewEntry {
    let sender = if letter.kind == Kind::DoubleBounce { ReversePath::DoubleBounce } else { ReversePath::Null };
    let envelope = Envelope {
        sender,
        recipients: vec![make_recipient(config, &letter.to)],
        body: written.body,
        utf8: written.family == Family::Global || letter.to.is_non_ascii(),
        dsn: DsnWish::default(),
        // RFC 8689 5: what must travel under TLS must not come back without it.
        require_tls: plan.entry.envelope.require_tls && written.returned != Returned::Nothing,
    };
    NewEntry {
        envelope,
        origin: Origin::Bounce { of: plan.entry.id },
        prepend: Bytes::from(qmail_received(context.pid, InvokedBy::Bounce, plan.now)),
        arrived: plan.now,
        expires: retry::expires(config, plan.now),
    }
}

/// Copies the whole original: in memory while it is small, else through the queue's own writer, which keeps to its limits.
async fn with_original(context: &Context, plan: &Plan, written: Written, original: Body) -> Result<NewBody, SettleError> {
    let prepend = plan.entry.prepend.clone();
    let fixed = written.head.len().saturating_add(prepend.len()).saturating_add(written.tail.len());
    let total = original.len().saturating_add(fixed as u64);
    if total <= MEMORY_BYTES_MAX {
        let mut whole = written.head;
        whole.extend_from_slice(&prepend);
        append_all(&mut whole, original).await?;
        whole.extend_from_slice(&written.tail);
        return Ok(NewBody::Bytes(whole.into()));
    }
    let mut writer = context.parts.queue.begin(Some(total)).map_err(|error| SettleError::Io(error.to_string()))?;
    let copied = blocking(move || {
        copy(writer.as_mut(), &written, &prepend, &original)?;
        Ok(writer)
    });
    Ok(NewBody::Written(copied.await?))
}

fn copy(writer: &mut dyn BodyWriter, written: &Written, prepend: &[u8], original: &Body) -> std::io::Result<()> {
    let other = |error: postino_ports::queue::AcceptError| std::io::Error::other(error.to_string());
    writer.write(&written.head).map_err(other)?;
    writer.write(prepend).map_err(other)?;
    original.for_each_chunk(|chunk| writer.write(chunk).map_err(other))?;
    writer.write(&written.tail).map_err(other)
}

async fn append_all(whole: &mut Vec<u8>, original: Body) -> Result<(), SettleError> {
    if let Body::Memory(bytes) = &original {
        whole.extend_from_slice(bytes);
        return Ok(());
    }
    let read = blocking(move || {
        let mut bytes = Vec::with_capacity(usize::try_from(original.len()).unwrap_or(0));
        original.for_each_chunk(|chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        })?;
        Ok(bytes)
    });
    whole.extend(read.await?);
    Ok(())
}

/// The message's header without its empty line.
async fn header_of(prepend: Bytes, original: Body) -> Result<Vec<u8>, SettleError> {
    match original {
        Body::Memory(_) => read_header(&prepend, &original).map_err(io),
        Body::File { .. } => blocking(move || read_header(&prepend, &original)).await,
    }
}

fn read_header(prepend: &[u8], original: &Body) -> std::io::Result<Vec<u8>> {
    let mut scanner = HeaderScanner::new();
    scanner.feed(prepend);
    let mut header = prepend.get(..prepend.len().min(HEADER_BYTES_MAX)).unwrap_or_default().to_vec();
    let mut buffer = vec![0u8; 8192];
    let mut offset = 0u64;
    while !scanner.is_done() && header.len() < HEADER_BYTES_MAX {
        let n = original.read_at(offset, &mut buffer)?;
        let chunk = buffer.get(..n).unwrap_or_default();
        if chunk.is_empty() {
            break;
        }
        scanner.feed(chunk);
        header.extend_from_slice(chunk);
        offset = offset.saturating_add(n as u64);
    }
    let end = usize::try_from(scanner.header_bytes()).unwrap_or(usize::MAX).min(HEADER_BYTES_MAX);
    header.truncate(end);
    if scanner.is_done() && header.ends_with(b"\n\n") {
        header.pop();
    }
    Ok(header)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> Result<T, SettleError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(io),
        Err(crashed) => Err(SettleError::Io(crashed.to_string())),
    }
}

fn io(error: std::io::Error) -> SettleError {
    SettleError::Io(error.to_string())
}
