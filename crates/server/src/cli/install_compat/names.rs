//! Where each historical name lives, and which are files of their own. Asked by `programs`; the names themselves come from `postino-compat --list`.

/// ucspi-tcp and its small tools.
const UCSPI: [&str; 21] = [
    "tcpserver",
    "tcpclient",
    "tcprules",
    "tcprulescheck",
    "rblsmtpd",
    "cdb",
    "cdbmake",
    "cdbget",
    "cdbdump",
    "cdbstats",
    "addcr",
    "delcr",
    "fixcrlf",
    "recordio",
    "argv0",
    "mconnect",
    "tcpcat",
    "who@",
    "date@",
    "finger@",
    "http@",
];
/// serialmail: in `/usr/local/bin` as its own installation has it, and in the folder that the HOWTO types.
const SERIALMAIL: [&str; 5] = ["maildirsmtp", "maildirserial", "serialsmtp", "maildirqmtp", "serialqmtp"];

/// Where vpopmail's own installation puts its programs.
const VPOPMAIL_BIN: &str = "/home/vpopmail/bin";

/// Programs whose file scripts touch by itself (`killall /usr/local/bin/tcpserver`, `mv qmail-queue qmail-queue-real`, chown, chmod): no link to another's
/// file, or the script would hit that one too.
const ALONE: [&str; 12] = [
    "tcpserver",
    "tcpclient",
    "rblsmtpd",
    "qmail-queue",
    "qmail-start",
    "qmail-smtpd",
    "qmail-popup",
    "qmail-pop3d",
    "qmail-remote",
    "checkpassword",
    "setlock",
    "splogger",
];

/// The folders of a name, as seen from inside; `None` stands for the home's `bin`.
pub(super) fn folders(name: &str) -> &'static [Option<&'static str>] {
    match name {
        _ if UCSPI.contains(&name) => &[Some("/usr/local/bin")],
        _ if SERIALMAIL.contains(&name) => &[Some("/usr/local/bin"), Some("/usr/local/bin/serialmail")],
        _ if postino_vpopmail::find(name).is_some() => &[Some(VPOPMAIL_BIN)],
        "setlock" => &[Some("/usr/local/bin")],
        "checkpassword" => &[Some("/bin")],
        // Typed without a path by root, whose PATH has not always qmail's folder.
        "maildirmake" => &[None, Some("/usr/local/bin")],
        _ => &[None],
    }
}

/// Whether the name must be a file of its own.
pub(super) fn alone(name: &str) -> bool {
    ALONE.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paths_that_the_howto_types() {
        assert_eq!(folders("qmail-smtpd"), [None]);
        assert_eq!(folders("tcpserver"), [Some("/usr/local/bin")]);
        assert_eq!(folders("checkpassword"), [Some("/bin")]);
        assert_eq!(folders("vmkpasswd"), [Some("/home/vpopmail/bin")]);
        assert!(folders("maildirsmtp").contains(&Some("/usr/local/bin/serialmail")));
        assert!(alone("tcpserver") && alone("qmail-queue") && !alone("forward"));
    }
}
