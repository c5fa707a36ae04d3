//! Remote delivery in qmail's profile: one `qmail-remote` a recipient through the spawner, and its records turned into an outcome (what
//! qmail-rspawn did). Made by `compose` for the engine; opens no connection itself.

use postino_local::spawn_link::SpawnLink;
use postino_policy::verp;
use postino_ports::BoxFuture;
use postino_ports::deliver::{Deliver, Job};
use postino_ports::spawn::{ChildReport, LocalDelivery, Once};
use postino_types::{DeliveryOutcome, PermStatus, Recipient, TempStatus, exit};

/// The remote channel.
pub(crate) struct QmailRemote(pub(crate) SpawnLink);

impl QmailRemote {
    async fn one(&self, job: &Job, index: usize) -> DeliveryOutcome {
        let Some(recipient) = job.entry.envelope.recipients.get(index) else {
            return DeliveryOutcome::deferred(TempStatus::SYSTEM, "No such recipient. (#4.3.0)\n");
        };
        let routed = &recipient.routed.address;
        let Some(host) = routed.host() else {
            return DeliveryOutcome::failed(PermStatus::new(1, 3), "Sorry, address must include host name. (#5.1.3)\n");
        };
        let delivery = LocalDelivery {
            local: routed.as_bytes().to_vec(),
            host: host.to_vec(),
            sender: verp::expand(&job.entry.envelope.sender, routed).as_bytes().to_vec(),
            default_delivery: Vec::new(),
            once: Once::None,
            prepend: job.entry.prepend.clone(),
            body: job.body.clone(),
        };
        outcome(&self.0.run_remote(delivery).await)
    }
}

impl Deliver for QmailRemote {
    /// Each recipient is a destination of its own: qmail knows no others.
    fn destination(&self, recipient: &Recipient) -> String {
        String::from_utf8_lossy(recipient.routed.address.as_bytes()).into_owned()
    }

    fn deliver(&self, job: Job) -> BoxFuture<'_, Vec<DeliveryOutcome>> {
        Box::pin(async move {
            let mut outcomes = Vec::with_capacity(job.recipients.len());
            for &index in &job.recipients {
                outcomes.push(self.one(&job, index).await);
            }
            outcomes
        })
    }
}

/// Ordered from bad to good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Failed,
    Deferred,
    Delivered,
}

impl Verdict {
    fn of(letter: Option<&u8>) -> Option<Self> {
        match letter {
            Some(b'K') => Some(Self::Delivered),
            Some(b'Z') => Some(Self::Deferred),
            Some(b'D') => Some(Self::Failed),
            _ => None,
        }
    }

    fn with(self, text: &[u8]) -> DeliveryOutcome {
        match self {
            // No status of connection trouble: qmail's schedule is the message's, not the host's.
            Self::Deferred => DeliveryOutcome::deferred(TempStatus::SYSTEM, text),
            Self::Failed => DeliveryOutcome::failed(PermStatus::SYSTEM, text),
            Self::Delivered => DeliveryOutcome::delivered(text),
        }
    }
}

/// What the records of one run come to for its one recipient.
fn outcome(report: &ChildReport) -> DeliveryOutcome {
    match report.exit {
        exit::OK => {}
        exit::SOFT if !report.text.is_empty() => return Verdict::Deferred.with(&report.text),
        exit::SOFT => return Verdict::Deferred.with(b"Unable to run qmail-remote.\n"),
        _ => return Verdict::Failed.with(b"Unable to run qmail-remote.\n"),
    }
    if report.text.is_empty() {
        return Verdict::Deferred.with(b"qmail-remote produced no output.\n");
    }
    let records: Vec<&[u8]> = report.text.split(|&b| b == 0).collect();
    let message = records.iter().find_map(|record| Some((Verdict::of(record.first())?, record.get(1..).unwrap_or_default())));
    let whole = message.map_or(Verdict::Failed, |(verdict, _)| verdict);
    let (letter, text) = records.first().and_then(|r| r.split_first()).map_or((None, &[][..]), |(letter, text)| (Some(letter), text));
    let verdict = match letter {
        Some(b's') => Verdict::Deferred,
        Some(b'h') => Verdict::Failed,
        _ => whole,
    };
    // A record that is the message's own is not also the recipient's.
    let own = if Verdict::of(letter).is_some() { &[][..] } else { text };
    let rest = message.filter(|_| whole <= verdict).map_or(&[][..], |(_, text)| text);
    verdict.with(&[own, rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(exit: i32, text: &[u8]) -> (char, String) {
        match outcome(&ChildReport { exit, text: text.to_vec(), forwards: Vec::new(), uid: 1 }) {
            DeliveryOutcome::Delivered { detail, .. } => ('K', detail.to_string()),
            DeliveryOutcome::Deferred { detail, .. } => ('Z', detail.to_string()),
            DeliveryOutcome::Failed { detail, .. } => ('D', detail.to_string()),
        }
    }

    #[test]
    fn records_come_to_one_report() {
        for (exit, records, letter, text) in [
            (0, &b"r\0Kip accepted message.\n\0"[..], 'K', "ip accepted message.\n"),
            (0, b"hip does not like recipient.\n\0DGiving up on ip.\n\0", 'D', "ip does not like recipient.\nGiving up on ip.\n"),
            (0, b"sip does not like recipient.\n\0DGiving up on ip.\n\0", 'Z', "ip does not like recipient.\nGiving up on ip.\n"),
            (0, b"sno.\n\0Kip accepted.\n\0", 'Z', "no.\n"),
            (0, b"r\0Zip failed.\n\0", 'Z', "ip failed.\n"),
            (0, b"ZSorry.\n\0", 'Z', "Sorry.\n"),
            (0, b"DSorry.\n\0", 'D', "Sorry.\n"),
            (0, b"", 'Z', "qmail-remote produced no output.\n"),
            (111, b"", 'Z', "Unable to run qmail-remote.\n"),
            (100, b"r\0K\0", 'D', "Unable to run qmail-remote.\n"),
        ] {
            assert_eq!(of(exit, records), (letter, text.to_owned()), "{records:?}");
        }
    }
}
