//! What became of a recipient, in qmail-remote's words (they go into logs and bounces) and RFC 3463's codes. Called by everything else in
//! this crate; pure.

use crate::connection::Broken;
use postino_smtp::client::{AddressFault, Progress, ProtocolError, Refusal, Reply, Stage};
use postino_types::outcome::DETAIL_BYTES_MAX;
use postino_types::printable::{cut, printable};
use postino_types::{DeliveryOutcome, PermStatus, TempStatus, Time};
use std::net::IpAddr;

fn deferred(status: TempStatus, text: &str) -> DeliveryOutcome {
    DeliveryOutcome::deferred(status, cut(text, DETAIL_BYTES_MAX))
}

fn failed(status: PermStatus, text: &str) -> DeliveryOutcome {
    DeliveryOutcome::failed(status, cut(text, DETAIL_BYTES_MAX))
}

/// Something here went wrong.
pub(crate) fn internal(text: &str) -> DeliveryOutcome {
    deferred(TempStatus::SYSTEM, text)
}

/// DNS gave no answer: never a reason to bounce.
pub(crate) fn no_answer_from_dns() -> DeliveryOutcome {
    deferred(TempStatus::LOOKUP, "Sorry, I couldn't find any host by that name. (#4.4.3)\n")
}

/// The host that control/smtproutes or control/links names has no address. Whatever DNS says: the mistake is ours, and no reason to bounce.
pub(crate) fn no_relay(name: &str) -> DeliveryOutcome {
    let name = printable(name.as_bytes());
    deferred(
        TempStatus::LOOKUP,
        &format!("Sorry, I couldn't find the address of {name}, the host that this mail has to go through. (#4.4.3)\n"),
    )
}

/// The name does not exist, or has no address.
pub(crate) fn no_host(name: &str) -> DeliveryOutcome {
    failed(PermStatus::NO_HOST, &format!("Sorry, I couldn't find any host named {}. (#5.1.2)\n", printable(name.as_bytes())))
}

/// What stands after the `@` can be no host.
pub(crate) fn impossible_host() -> DeliveryOutcome {
    failed(PermStatus::NO_HOST, "Sorry, that address has an impossible host name. (#5.1.2)\n")
}

/// MX records exist, addresses do not.
pub(crate) fn no_exchanger() -> DeliveryOutcome {
    failed(PermStatus::new(4, 4), "Sorry, I couldn't find a mail exchanger or IP address. (#5.4.4)\n")
}

/// RFC 7505.
pub(crate) fn null_mx(name: &str) -> DeliveryOutcome {
    failed(PermStatus::new(1, 10), &format!("Sorry, the domain {} accepts no mail. (#5.1.10)\n", printable(name.as_bytes())))
}

/// We are our own best MX.
pub(crate) fn we_are_best() -> DeliveryOutcome {
    let text = "Sorry. Although I'm listed as a best-preference MX or A for that host,\n\
                it isn't in my control/locals file, so I don't treat it as local. (#5.4.6)\n";
    failed(PermStatus::LOOP, text)
}

/// No address took a connection; `not_before` when none was even tried.
pub(crate) fn no_connection(not_before: Option<Time>) -> DeliveryOutcome {
    DeliveryOutcome::Deferred {
        status: TempStatus::NO_ANSWER,
        detail: "Sorry, I wasn't able to establish an SMTP connection. (#4.4.1)\n".into(),
        not_before,
    }
}

/// A recipient that cannot be spoken.
pub(crate) fn bad_recipient(fault: AddressFault) -> DeliveryOutcome {
    match fault {
        AddressFault::NoHost => failed(PermStatus::new(1, 3), "Sorry, address must include host name. (#5.1.3)\n"),
        other => failed(PermStatus::new(1, 3), &format!("Sorry, I can't use that {other}. (#5.1.3)\n")),
    }
}

/// A sender that cannot be spoken.
pub(crate) fn bad_sender(fault: AddressFault) -> DeliveryOutcome {
    failed(PermStatus::new(1, 7), &format!("Sorry, I can't use that sender {fault}. (#5.1.7)\n"))
}

/// RFC 8689 4.2.1: nobody whom we could verify.
pub(crate) fn no_verified_tls() -> DeliveryOutcome {
    failed(PermStatus::new(7, 30), "Sorry, the message asks for REQUIRETLS and I can't verify the next host. (#5.7.30)\n")
}

/// RFC 6531 3.5: the message needs SMTPUTF8, the host does not have it.
pub(crate) fn no_smtputf8(ip: IpAddr) -> DeliveryOutcome {
    failed(PermStatus::new(6, 7), &format!("{ip} doesn't support SMTPUTF8, which the message needs. (#5.6.7)\n"))
}

/// RFC 1870 6.1: larger than the host says it takes.
pub(crate) fn too_large(ip: IpAddr, bytes_max: u64) -> DeliveryOutcome {
    failed(PermStatus::new(3, 4), &format!("{ip} takes messages up to {bytes_max} bytes only. (#5.3.4)\n"))
}

/// A refusal before the first transaction.
pub(crate) fn refused(ip: IpAddr, refusal: &Refusal) -> DeliveryOutcome {
    let said = said(&refusal.reply);
    match refusal.stage {
        Stage::Greeting => temporary(&refusal.reply, TempStatus::new(4, 0), &format!("Connected to {ip} but greeting failed.\n{said}")),
        Stage::Hello => temporary(&refusal.reply, TempStatus::new(4, 0), &format!("Connected to {ip} but my name was rejected.\n{said}")),
        Stage::TlsNotOffered => no_tls(ip, "the host doesn't offer STARTTLS"),
        Stage::StartTls => no_tls(ip, &format!("the host refused STARTTLS.\n{said}")),
        Stage::AuthNotOffered => deferred(
            TempStatus::new(7, 0),
            &format!("Connected to {ip} but it offers no login mechanism I can use (PLAIN, LOGIN). (#4.7.0)\n"),
        ),
        Stage::Auth => deferred(TempStatus::new(7, 8), &format!("Connected to {ip} but my login was rejected. (#4.7.8)\n{said}")),
    }
}

/// TLS is a must for this relay and did not come about.
pub(crate) fn no_tls(ip: IpAddr, why: &str) -> DeliveryOutcome {
    let why = why.trim_end();
    deferred(TempStatus::new(7, 5), &format!("Connected to {ip} but a login needs TLS, and I have none (#4.7.5): {why}\n"))
}

/// The connection died before anybody was refused or accepted.
pub(crate) fn died(ip: IpAddr, broken: &Broken, duplicate: Duplicate) -> DeliveryOutcome {
    let warning = match duplicate {
        Duplicate::Possible => "Possible duplicate! ",
        Duplicate::Impossible => "",
    };
    match broken {
        Broken::Protocol(error) => deferred(
            TempStatus::new(5, 0),
            &format!("Connected to {ip} but it doesn't speak SMTP: {}. {warning}(#4.5.0)\n", describe(*error)),
        ),
        Broken::Body => internal(&format!("{warning}Unable to read message. (#4.3.0)\n")),
        Broken::Closed | Broken::TimedOut | Broken::Io => {
            deferred(TempStatus::CONNECTION, &format!("Connected to {ip} but connection died. {warning}(#4.4.2)\n"))
        }
    }
}

fn describe(error: ProtocolError) -> String {
    error.to_string()
}

/// Whether the other side may have the message all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duplicate {
    /// The final dot was (or may have been) sent.
    Possible,
    /// It was not.
    Impossible,
}

/// What a transaction meant for each of its recipients.
pub(crate) struct TransactionReport<'a> {
    /// The host.
    pub(crate) ip: IpAddr,
    /// How far it came.
    pub(crate) progress: &'a Progress,
    /// Why it ended early, if it did.
    pub(crate) broken: Option<&'a Broken>,
    /// The host has no DSN: it will not report success (RFC 3461 5.2.2).
    pub(crate) relayed: bool,
}

impl TransactionReport<'_> {
    /// One outcome a recipient.
    pub(crate) fn outcomes(&self) -> Vec<DeliveryOutcome> {
        if let Some(mail) = self.progress.mail.as_ref().filter(|mail| !mail.is_positive()) {
            let outcome = verdict(mail, &format!("Connected to {} but sender was rejected.\n{}", self.ip, said(mail)));
            return self.progress.recipients.iter().map(|_| outcome.clone()).collect();
        }
        let accepted = self.of_accepted();
        self.progress.recipients.iter().map(|reply| self.of_recipient(reply.as_ref(), &accepted)).collect()
    }

    fn of_recipient(&self, reply: Option<&Reply>, accepted: &DeliveryOutcome) -> DeliveryOutcome {
        match reply {
            Some(reply) if reply.is_positive() => accepted.clone(),
            Some(reply) => {
                let said = said(reply);
                verdict(reply, &format!("{ip} does not like recipient.\n{said}Giving up on {ip}.\n", ip = self.ip))
            }
            None => self.died(Duplicate::Impossible),
        }
    }

    fn of_accepted(&self) -> DeliveryOutcome {
        let (ip, progress) = (self.ip, self.progress);
        let Some(data) = &progress.data else { return self.died(Duplicate::Impossible) };
        if !data.is_intermediate() {
            return verdict(data, &format!("{ip} failed on DATA command.\n{}", said(data)));
        }
        let duplicate = if progress.dot_sent { Duplicate::Possible } else { Duplicate::Impossible };
        match &progress.end {
            // A 2xx before the whole message went out promises nothing.
            Some(end) if end.is_positive() && progress.dot_sent => {
                let detail = format!("{ip} accepted message.\n{}", said(end));
                DeliveryOutcome::Delivered { detail: cut(&detail, DETAIL_BYTES_MAX).into(), forwards: Vec::new(), relayed: self.relayed }
            }
            Some(end) if !end.is_positive() => verdict(end, &format!("{ip} failed after I sent the message.\n{}", said(end))),
            _ => self.died(duplicate),
        }
    }

    fn died(&self, duplicate: Duplicate) -> DeliveryOutcome {
        died(self.ip, self.broken.unwrap_or(&Broken::Closed), duplicate)
    }
}

/// 5xx fails, everything else that is no acceptance defers.
fn verdict(reply: &Reply, text: &str) -> DeliveryOutcome {
    if reply.is_permanent() {
        let status = reply.enhanced().map_or(PermStatus::new(0, 0), |s| PermStatus::new(s.subject, s.detail));
        failed(status, text)
    } else {
        temporary(reply, TempStatus::new(0, 0), text)
    }
}

fn temporary(reply: &Reply, otherwise: TempStatus, text: &str) -> DeliveryOutcome {
    let status = reply.enhanced().filter(|s| s.class == 4).map_or(otherwise, |s| TempStatus::new(s.subject, s.detail));
    deferred(status, text)
}

fn said(reply: &Reply) -> String {
    format!("Remote host said: {}", reply.text)
}
