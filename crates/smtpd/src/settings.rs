//! From the configuration to the session's settings, once when a session starts. Pure.

use crate::context::Caller;
use postino_control::Config;
use postino_control::resolved::ListenerKind;
use postino_control::tcprules::Verdict;
use postino_smtp::server::{Door, Limits, Settings, Tls};

/// Settings for one session. `rules` may change the size limit (DATABYTES).
#[must_use]
pub fn settings(config: &Config, caller: &Caller, rules: Option<&Verdict>, tls: Tls) -> Settings {
    let from = &config.server.limits;
    Settings {
        greeting: config.smtpgreeting.clone(),
        door: match caller.kind {
            ListenerKind::Smtp => Door::Exchange,
            ListenerKind::Odmr => Door::Odmr,
            _ => Door::Submission,
        },
        tls,
        mechanisms: config.mechanisms(),
        etrn: config.links.offers_etrn(),
        limits: Limits {
            message_bytes_max: message_bytes_max(config, rules),
            line_bytes_max: from.line_bytes_max,
            recipients_max: from.recipients_max,
            commands_max: from.commands_max,
            errors_max: from.errors_max,
            unknown_recipients_max: from.unknown_recipients_max,
            hops_max: from.hops_max,
            idle_before_mail: from.idle_before_login,
            idle: config.timeout_smtpd,
            session: from.session,
        },
    }
}

/// `limits.message_bytes_max`, or databytes when it is set and smaller; DATABYTES of the address rules takes databytes' place.
fn message_bytes_max(config: &Config, rules: Option<&Verdict>) -> u64 {
    let most = config.server.limits.message_bytes_max;
    let ruled = rules.and_then(|r| r.variable("DATABYTES")).and_then(|v| v.trim().parse::<u64>().ok());
    match ruled.unwrap_or(config.databytes) {
        0 => most,
        databytes => databytes.min(most),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databytes_and_rules() {
        let rule = |text: &str| Verdict { allow: true, env: vec![("DATABYTES".into(), text.into())] };
        let mut config = Config { databytes: 1000, ..Config::default() };
        assert_eq!(message_bytes_max(&config, None), 1000);
        assert_eq!(message_bytes_max(&config, Some(&rule("50"))), 50);
        assert_eq!(message_bytes_max(&config, Some(&rule("0"))), 50 << 20);
        config.databytes = 0;
        assert_eq!(message_bytes_max(&config, None), 50 << 20);
        assert_eq!(message_bytes_max(&config, Some(&rule("99999999999"))), 50 << 20);
    }
}
