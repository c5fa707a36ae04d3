//! Artificial routes: control/smtproutes as qmail-remote(8) reads it. Called by remote; never asks DNS.

use postino_control::Config;
use postino_control::resolved::SmtpRoute;

/// The route for a destination (lower case): see [`Config::smtproute`].
#[must_use]
pub fn smtproute<'a>(config: &'a Config, host_lower: &[u8]) -> Option<&'a SmtpRoute> {
    config.smtproute(host_lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_then_longest_suffix_then_default() {
        let mut config = Config::default();
        let mut add =
            |key: &str, relay: &str, port| config.smtproutes.insert(key.into(), SmtpRoute { relay: relay.into(), port, auth: None });
        add("far.org", "", 25);
        add(".org", "relay1", 25);
        add("", "relay2", 26);
        let relay = |host: &str| smtproute(&config, host.as_bytes()).map(|r| (r.relay.as_str(), r.port));
        assert_eq!(relay("far.org"), None);
        assert_eq!(relay("www.far.org"), Some(("relay1", 25)));
        assert_eq!(relay("a.net"), Some(("relay2", 26)));
        assert_eq!(smtproute(&Config::default(), b"a.net"), None);
    }
}
