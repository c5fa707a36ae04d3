//! DNs and filters from names that come from outside: nothing in a name may end a value. Called by the keepers here. Pure.

use super::settings::LdapSettings;
use ldap3::{dn_escape, ldap_escape};

/// Where accounts without a domain are.
const DOMAINLESS: &str = "users";

impl LdapSettings {
    /// `ou=DOMAIN,BASE` (RFC 4514).
    pub(super) fn domain_dn(&self, domain: &str) -> String {
        let domain = if domain.is_empty() { DOMAINLESS } else { domain };
        format!("ou={},{}", dn_escape(domain), self.base)
    }

    /// `uid=NAME,ou=DOMAIN,BASE`.
    pub(super) fn account_dn(&self, domain: &str, name: &str) -> String {
        format!("{}={},{}", self.names.user, dn_escape(name), self.domain_dn(domain))
    }

    /// `aa=ALIAS@DOMAIN,ou=DOMAIN,BASE`.
    pub(super) fn alias_dn(&self, domain: &str, alias: &str) -> String {
        format!("aa={},{}", dn_escape(alias_address(domain, alias)), self.domain_dn(domain))
    }
}

/// What the attribute `aa` (aliasAddress) holds.
pub(super) fn alias_address(domain: &str, alias: &str) -> String {
    format!("{alias}@{domain}")
}

/// The filter template with the parts of an address in it, escaped (RFC 4515 3); without a name, `{user}` is "any".
pub(super) fn filter(template: &str, domain: &str, name: Option<&str>) -> String {
    let user = name.map_or_else(|| "*".into(), ldap_escape);
    fill(template, &user, &ldap_escape(domain))
}

/// The directory template with the parts of an address in it. A `/` or `..` in a part would lead elsewhere: then there is no directory.
pub(super) fn directory(template: &str, domain: &str, name: &str) -> Option<String> {
    let harmless = |part: &str| !part.contains('/') && part != ".." && part != ".";
    (harmless(domain) && harmless(name)).then(|| fill(template, name, domain))
}

/// One pass, so that braces in a name stay what they are.
fn fill(template: &str, user: &str, domain: &str) -> String {
    let mut out = String::with_capacity(template.len() + user.len() + domain.len());
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let known = [("{user}", user), ("{domain}", domain)].into_iter().find_map(|(mark, value)| Some((from.strip_prefix(mark)?, value)));
        match known {
            Some((after, value)) => {
                out.push_str(value);
                rest = after;
            }
            None => {
                out.push('{');
                rest = from.strip_prefix('{').unwrap_or_default();
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::super::settings::Bind;
    use super::*;

    #[test]
    fn a_name_ends_no_filter() {
        let template = "(&(objectClass=person)(mail={user}@{domain}))";
        assert_eq!(filter(template, "example.org", Some("pippo")), "(&(objectClass=person)(mail=pippo@example.org))");
        assert_eq!(
            filter(template, "example.org)(x=y", Some("*)(uid=*))(|(uid=*")),
            "(&(objectClass=person)(mail=\\2a\\29\\28uid=\\2a\\29\\29\\28|\\28uid=\\2a@example.org\\29\\28x=y))"
        );
        assert_eq!(filter(template, "a\\b\0", Some("{domain}")), "(&(objectClass=person)(mail={domain}@a\\5cb\\00))");
        assert_eq!(filter(template, "example.org", None), "(&(objectClass=person)(mail=*@example.org))");
    }

    #[test]
    fn a_name_ends_no_dn() {
        let settings = LdapSettings::new("ldap://x", "o=mail", Bind::Anonymous);
        assert_eq!(settings.account_dn("example.org", "pippo"), "uid=pippo,ou=example.org,o=mail");
        assert_eq!(settings.account_dn("x,o=other", "a+cn=b"), "uid=a\\2bcn\\3db,ou=x\\2co\\3dother,o=mail");
        assert_eq!(settings.account_dn("", " #\"x;<y>\\ "), "uid=\\20#\\22x\\3b\\3cy\\3e\\5c\\20,ou=users,o=mail");
        assert_eq!(settings.alias_dn("example.org", "info"), "aa=info@example.org,ou=example.org,o=mail");
    }

    #[test]
    fn a_name_leads_to_no_other_directory() {
        let template = "/mail/{domain}/{user}";
        assert_eq!(directory(template, "example.org", "pippo").as_deref(), Some("/mail/example.org/pippo"));
        for (domain, name) in [("..", "x"), ("x", ".."), ("x", "a/../../etc"), ("a/b", "x")] {
            assert_eq!(directory(template, domain, name), None, "{domain} {name}");
        }
        assert_eq!(directory("/m/{other}/{user", "d", "u").as_deref(), Some("/m/{other}/{user"));
    }
}
