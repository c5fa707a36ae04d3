//! Every historical name is known, and only those are listed for the installer.

use super::program;
use std::path::Path;

/// The names that an administrator's scripts may call. `qmail-send` is a copy of `postino`.
const NAMES: &str = "qmail-start qmail-lspawn qmail-rspawn qmail-local qmail-remote qmail-clean qmail-queue qmail-inject sendmail mailq \
    newaliases qmail-smtpd qmail-popup qmail-pop3d checkpassword qmail-qread qmail-qstat qmail-tcpto qmail-tcpok qmail-showctl qmail-newu \
    qmail-pw2u qmail-newmrh qmail-getpw config config-fast splogger maildirmake maildir2mbox maildirwatch maildirsmtp maildirserial \
    serialsmtp maildirqmtp serialqmtp setlock predate forward condredirect bouncesaying except preline qbiff qreceipt elq pinq qail datemail \
    mailsubj qmail-qmtpd qmail-qmqpc qmail-qmqpd tcpserver tcpclient tcp-env tcprules tcprulescheck rblsmtpd cdb addcr delcr fixcrlf recordio argv0 \
    mconnect tcpcat who@ date@ finger@ http@ vadddomain vdeldomain vaddaliasdomain vadduser vdeluser vpasswd vmoduser vsetuserquota vuserinfo \
    vdominfo valias vmoddomlimits vmkpasswd vqmaillocal vipmap vcdir vchangepw vchkpw clearopensmtp vpopbull vkill vdeloldusers dotqmail2valias \
    vusaged vpopmaild vconvert";

#[test]
fn every_historical_name_is_known() {
    let output = program("--list", Path::new("/")).output().unwrap();
    let listed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for name in NAMES.split_ascii_whitespace() {
        assert!(listed.lines().any(|line| line == name), "{name}");
    }
    for hidden in ["qmail-queue-real", "tcpserver-connection", "recordio-copy"] {
        assert!(!listed.lines().any(|line| line == hidden), "{hidden}");
    }
    let mut sorted: Vec<&str> = listed.lines().collect();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), listed.lines().count(), "a name stands twice");
}
