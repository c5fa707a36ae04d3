//! A child's report turned into a delivery outcome: qmail-lspawn(8)'s table of exit codes and its cut of long texts. Pure.

use postino_control::Config;
use postino_message::delivered_to::delivered_to;
use postino_policy::make_recipient;
use postino_ports::spawn::ChildReport;
use postino_types::outcome::Forward;
use postino_types::{Address, DeliveryOutcome, EnhancedStatus, PermStatus, ReportText, ReversePath, TempStatus, exit, status};

/// Longest report, bytes; beyond it the text is cut and says so.
const TEXT_BYTES_MAX: usize = 3000;
const TOO_LONG: &[u8] = b"\nError report too long, sorry.\n";

/// The outcome for the recipient `routed`.
#[must_use]
pub fn outcome(report: ChildReport, config: &Config, routed: &Address) -> DeliveryOutcome {
    let detail = text(&report.text);
    match report.exit {
        exit::OK => match forwards(&report, config, routed) {
            Ok(forwards) => DeliveryOutcome::Delivered { detail, forwards, relayed: false },
            Err(status) => DeliveryOutcome::failed(status, "Unable to forward message: envelope address too long for qq (#5.1.3).\n"),
        },
        code if is_temporary(code) => DeliveryOutcome::deferred(temporary(&detail.to_text()), detail),
        _ => DeliveryOutcome::failed(permanent(&detail.to_text()), detail),
    }
}

/// Exit codes that mean "later"; qmail-lspawn's own codes included.
fn is_temporary(code: i32) -> bool {
    matches!(code, exit::SOFT | 71 | 74 | 75 | 112..=121)
}

fn text(bytes: &[u8]) -> ReportText {
    let bytes = bytes.split(|&b| b == 0).next().unwrap_or_default();
    if bytes.len() <= TEXT_BYTES_MAX {
        return bytes.into();
    }
    let kept = bytes.get(..TEXT_BYTES_MAX - TOO_LONG.len() - 3).unwrap_or_default();
    [kept, TOO_LONG].concat().into()
}

fn forwards(report: &ChildReport, config: &Config, routed: &Address) -> Result<Vec<Forward>, PermStatus> {
    const BAD_ADDRESS: PermStatus = PermStatus::new(1, 3);
    let mut out = Vec::with_capacity(report.forwards.len());
    for asked in &report.forwards {
        let sender = ReversePath::from_bytes(&asked.sender).map_err(|_| BAD_ADDRESS)?;
        let mut recipients = Vec::with_capacity(asked.to.len());
        for to in &asked.to {
            recipients.push(make_recipient(config, &Address::from_bytes(to).map_err(|_| BAD_ADDRESS)?));
        }
        // Our own word for the line, not the child's: the loop check of the next step rests on it.
        out.push(Forward { sender, recipients, prepend: delivered_to(routed), uid: report.uid });
    }
    Ok(out)
}

/// The last `(#d.d.d)` of a text, as qmail's programs write it.
fn written(text: &str) -> Option<EnhancedStatus> {
    let (_, tail) = text.rsplit_once("(#")?;
    status::parse(tail.split_once(')')?.0)
}

fn temporary(text: &str) -> TempStatus {
    written(text).filter(|s| s.class == 4).map_or(TempStatus::SYSTEM, |s| TempStatus::new(s.subject, s.detail))
}

fn permanent(text: &str) -> PermStatus {
    written(text).filter(|s| s.class == 5).map_or(PermStatus::SYSTEM, |s| PermStatus::new(s.subject, s.detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use postino_ports::spawn::ChildForward;

    fn report(exit: i32, text: &[u8]) -> ChildReport {
        ChildReport { exit, text: text.to_vec(), forwards: Vec::new(), uid: 1000 }
    }

    fn ended(exit: i32, text: &[u8]) -> DeliveryOutcome {
        outcome(report(exit, text), &Config::default(), &Address::from_bytes(b"joe@here.test").unwrap())
    }

    #[test]
    fn exit_codes() {
        assert_eq!(ended(0, b"did 1+0+0\n"), DeliveryOutcome::delivered("did 1+0+0\n"));
        for soft in [111, 71, 74, 75, 113, 116, 117, 121] {
            assert!(matches!(ended(soft, b"x\n"), DeliveryOutcome::Deferred { .. }), "{soft}");
        }
        for hard in [100, 1, 2, 64, 70, 99, 126, 127, -1] {
            assert!(matches!(ended(hard, b"x\n"), DeliveryOutcome::Failed { .. }), "{hard}");
        }
        assert!(matches!(ended(100, b"Sorry. (#5.1.1)\n"), DeliveryOutcome::Failed { status: PermStatus::NO_MAILBOX, .. }));
        assert!(matches!(ended(111, b"Uh-oh. (#4.2.1)\n"), DeliveryOutcome::Deferred { status, .. } if status == TempStatus::new(2, 1)));
    }

    #[test]
    fn texts_end_at_a_nul_and_are_cut() {
        assert_eq!(ended(100, b"out\nerr\na\0b"), DeliveryOutcome::failed(PermStatus::SYSTEM, "out\nerr\na"));
        let DeliveryOutcome::Failed { detail, .. } = ended(100, &[b'x'; 9000]) else { panic!("not failed") };
        assert_eq!(detail.len(), 2997);
        assert!(detail.as_bytes().ends_with(b"x\nError report too long, sorry.\n"));
    }

    #[test]
    fn forwards_are_routed_and_carry_our_own_delivered_to() {
        let mut config = Config { envnoathost: "here.test".to_owned(), ..Config::default() };
        config.locals.insert(b"here.test".to_vec());
        let forged =
            ChildForward { sender: b"s@x".to_vec(), to: vec![b"ann".to_vec(), b"u@far.test".to_vec()], delivered_to: b"X: y\n".to_vec() };
        let report = ChildReport { forwards: vec![forged], ..report(0, b"did 0+2+0\nqp 7\n") };
        let routed = Address::from_bytes(b"joe@here.test").unwrap();
        let DeliveryOutcome::Delivered { forwards, .. } = outcome(report, &config, &routed) else { panic!("not delivered") };
        let forward = forwards.first().unwrap();
        assert_eq!(forward.prepend, b"Delivered-To: joe@here.test\n");
        assert_eq!(forward.uid, 1000);
        let channels: Vec<_> = forward.recipients.iter().map(|r| (r.routed.address.to_string(), r.routed.channel)).collect();
        assert_eq!(
            channels,
            [("ann@here.test".to_owned(), postino_types::Channel::Local), ("u@far.test".to_owned(), postino_types::Channel::Remote)]
        );
    }
}
