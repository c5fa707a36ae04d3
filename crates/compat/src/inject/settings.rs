//! What qmail-inject takes from the environment and control/. Never looks at the message.

use super::addresses::Domains;
use super::environment::Environment;
use crate::fatal::Fatal;
use crate::home::read_if_there;
use postino_control::classic;
use std::path::Path;

/// QMAILINJECT's letters, by what they do.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    flags: Vec<u8>,
    host: Vec<u8>,
    domain: Vec<u8>,
    plus: Vec<u8>,
    pub(crate) id_host: Vec<u8>,
    /// User and host of the From made here.
    pub(crate) user: Vec<u8>,
    pub(crate) user_host: Vec<u8>,
    /// User and host of the envelope sender made here.
    pub(crate) sender_user: Vec<u8>,
    pub(crate) sender_host: Vec<u8>,
    pub(crate) name: Option<Vec<u8>>,
    /// Mailing lists that the user reads, in lower case.
    pub(crate) lists: Vec<Vec<u8>>,
}

impl Settings {
    pub(crate) fn read(environment: &Environment, home: &Path) -> Result<Self, Fatal> {
        let value = |variable: &str, file: &str| environment.get(variable).map_or_else(|| control(home, file), Ok);
        let host = value("QMAILDEFAULTHOST", "defaulthost")?;
        let user = environment.first(&["QMAILUSER", "MAILUSER", "USER", "LOGNAME"]).unwrap_or_else(|| b"anonymous".to_vec());
        let user_host = environment.first(&["QMAILHOST", "MAILHOST"]).unwrap_or_else(|| host.clone());
        Ok(Self {
            flags: environment.get("QMAILINJECT").unwrap_or_default(),
            domain: value("QMAILDEFAULTDOMAIN", "defaultdomain")?,
            plus: value("QMAILPLUSDOMAIN", "plusdomain")?,
            id_host: value("QMAILIDHOST", "idhost")?,
            sender_user: environment.get("QMAILSUSER").unwrap_or_else(|| user.clone()),
            sender_host: environment.get("QMAILSHOST").unwrap_or_else(|| user_host.clone()),
            name: environment.first(&["QMAILNAME", "MAILNAME", "NAME"]),
            lists: lists(environment)?,
            host,
            user,
            user_host,
        })
    }

    pub(crate) fn domains(&self) -> Result<Domains, Fatal> {
        Domains::new(&self.host, &self.domain, &self.plus).ok_or_else(|| Fatal::soft("unable to parse default host, domain or plusdomain"))
    }

    /// One of QMAILINJECT's letters.
    pub(crate) fn flag(&self, letter: u8) -> bool {
        self.flags.contains(&letter)
    }

    /// True for the fields that the user wants to be made anew.
    pub(crate) fn is_ignored(&self, field: &str) -> bool {
        match field {
            "from" => self.flag(b'f'),
            "message-id" => self.flag(b'i'),
            "return-path" => self.flag(b's'),
            _ => false,
        }
    }
}

/// A control file that falls back to me, and then to its own name.
fn control(home: &Path, file: &str) -> Result<Vec<u8>, Fatal> {
    for name in [file, "me"] {
        let found = read_if_there(&home.join("control").join(name)).map_err(|e| Fatal::unable(&format!("read control/{name}"), &e))?;
        if let Some(bytes) = found {
            return Ok(classic::line(&bytes).to_vec());
        }
    }
    Ok(file.as_bytes().to_vec())
}

fn lists(environment: &Environment) -> Result<Vec<Vec<u8>>, Fatal> {
    use std::os::unix::ffi::OsStringExt;
    let Some(file) = environment.get("QMAILMFTFILE") else { return Ok(Vec::new()) };
    let path = std::path::PathBuf::from(std::ffi::OsString::from_vec(file));
    let bytes = read_if_there(&path).map_err(|e| Fatal::unable(&format!("read {}", path.display()), &e))?.unwrap_or_default();
    Ok(classic::list(&bytes).map(|(_, line)| line.to_ascii_lowercase()).collect())
}
