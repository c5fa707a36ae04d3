//! Tests of the command parser: each rule once, and that printing and parsing are inverse.

use super::*;
use postino_types::{BodyKind, Notify, Orcpt, Ret};
use proptest::prelude::*;

fn error(line: &str) -> CommandError {
    parse(line.as_bytes()).expect_err(line)
}

#[test]
fn mail_and_its_parameters() {
    let line = "mail from: <j@x.test> size=100 BODY=8bitmime SMTPUTF8 RET=hdrs ENVID=q+2B1 AUTH=<>";
    let Ok(Command::Mail(mail)) = parse(line.as_bytes()) else { panic!("{line}") };
    assert_eq!(mail.sender.as_bytes(), b"j@x.test");
    assert_eq!((mail.params.size, mail.params.body, mail.params.utf8), (Some(100), BodyKind::EightBit, true));
    assert_eq!((mail.params.dsn.ret, mail.params.dsn.envid), (Ret::Headers, Some(b"q+1".to_vec())));
    assert_eq!(mail.params.auth, Some(Vec::new()));
    let Ok(Command::Mail(huge)) = parse(b"MAIL FROM:<> SIZE=99999999999999999999") else { panic!() };
    assert_eq!(huge.params.size, Some(u64::MAX), "over every limit, never wrapped");
}

#[test]
fn mail_refusals() {
    use CommandError::*;
    for (line, want) in [
        ("MAIL", Argument),
        ("MAIL FROM", Argument),
        ("MAIL FROM:", Sender(PathError::Syntax)),
        ("MAIL TO:<a@b>", Argument),
        ("MAIL FROM:<a@b", Sender(PathError::Syntax)),
        ("MAIL FROM:<a b@c>", Sender(PathError::Syntax)),
        ("MAIL FROM:a@b", Sender(PathError::Syntax)),
        ("MAIL FROM:<a@b>SIZE=1", BadParameter),
        ("MAIL FROM:<a@b> NOSUCH=1", UnknownParameter),
        ("MAIL FROM:<a@b> REQUIRETLS", UnknownParameter),
        ("MAIL FROM:<a@b> SIZE=x", BadParameter),
        ("MAIL FROM:<a@b> SIZE=", BadParameter),
        ("MAIL FROM:<a@b> SIZE", BadParameter),
        ("MAIL FROM:<a@b> SIZE=-1", BadParameter),
        ("MAIL FROM:<a@b> SIZE=1 size=2", DuplicateParameter),
        ("MAIL FROM:<a@b> BODY=QUX", BadParameter),
        ("MAIL FROM:<a@b> BODY=BINARYMIME", BadParameter),
        ("MAIL FROM:<a@b> SMTPUTF8=1", BadParameter),
        ("MAIL FROM:<a@b> RET=SOME", BadParameter),
        ("MAIL FROM:<a@b> ENVID=a+0Ab", BadParameter),
        ("MAIL FROM:<a@b> ENVID=", BadParameter),
        ("MAIL FROM:<a@b> AUTH=a+0A@b", BadParameter),
        ("MAIL FROM:<a@b> AUTH=nobody", BadParameter),
        ("MAIL FROM:<a@b> =1", BadParameter),
        ("MAIL FROM:<ä@b>", NeedsUtf8),
    ] {
        assert_eq!(error(line), want, "{line}");
    }
}

#[test]
fn rcpt_and_its_parameters() {
    let Ok(Command::Rcpt(rcpt)) = parse(b"RCPT TO:<j@x.test> NOTIFY=success,DELAY ORCPT=RFC822;a+2Bb@y") else { panic!() };
    assert_eq!(rcpt.params.notify, Notify { explicit: true, success: true, failure: false, delay: true });
    assert_eq!(rcpt.params.original, Some(Orcpt { kind: "rfc822".into(), address: b"a+b@y".to_vec() }));
    use CommandError::*;
    for (line, want) in [
        ("RCPT", Argument),
        ("RCPT TO:<>", Recipient(PathError::Syntax)),
        ("RCPT TO:<joe>", Recipient(PathError::NoHost)),
        ("RCPT TO:<a@b> NOTIFY=NEVER,SUCCESS", BadParameter),
        ("RCPT TO:<a@b> NOTIFY=", BadParameter),
        ("RCPT TO:<a@b> ORCPT=rfc822", BadParameter),
        ("RCPT TO:<a@b> ORCPT=rfc822;a+0D+0Ab", BadParameter),
        ("RCPT TO:<a@b> ORCPT=utf-8;\\x{A}@b", BadParameter),
        ("RCPT TO:<a@b> SIZE=1", UnknownParameter),
    ] {
        assert_eq!(error(line), want, "{line}");
    }
}

#[test]
fn other_commands() {
    assert_eq!(parse(b"ehlo  [127.0.0.1] "), Ok(Command::Ehlo(b"[127.0.0.1]".to_vec())));
    assert_eq!(parse(b"BDAT 10 last"), Ok(Command::Bdat { bytes: 10, last: true }));
    assert_eq!(parse(b"bdat 0"), Ok(Command::Bdat { bytes: 0, last: false }));
    assert_eq!(parse(b"AUTH plain AGEAYg=="), Ok(Command::Auth { mechanism: b"PLAIN".to_vec(), initial: Some(b"AGEAYg==".to_vec()) }));
    assert_eq!(parse(b"noop whatever"), Ok(Command::Noop));
    use CommandError::*;
    for (line, want) in [
        ("", Unknown),
        ("XYZZY 1", Unknown),
        ("HELO", Argument),
        ("EHLO a b", Argument),
        ("DATA now", Argument),
        ("RSET x", Argument),
        ("QUIT x", Argument),
        ("STARTTLS now", Argument),
        ("VRFY", Argument),
        ("AUTH", Argument),
        ("AUTH PLAIN a b", Argument),
        ("ETRN", Argument),
        ("ETRN a b", Argument),
        ("ETRN @", Argument),
        ("ATRN a b", Argument),
        ("ATRN ,", Argument),
        ("TURN", NotImplemented),
        ("GET / HTTP/1.1", Http),
        ("post /", Http),
        ("Host: x", Http),
        ("NOOP \0", Control),
        ("NOOP a\rRSET", Control),
        ("NOOP\r", Control),
        ("DATA \r ", Control),
        ("\x1b[2J", Control),
        ("BDAT", BdatSize),
        ("BDAT x LAST", BdatSize),
        ("BDAT -1", BdatSize),
        ("BDAT +1", BdatSize),
        ("BDAT 18446744073709551616 LAST", BdatSize),
        ("BDAT 5 FIRST", BdatSyntax { bytes: 5 }),
        ("BDAT 5 LAST LAST", BdatSyntax { bytes: 5 }),
    ] {
        assert_eq!(error(line), want, "{line:?}");
    }
}

fn printable_command() -> impl Strategy<Value = Command> {
    let address = ("[a-z ä\"@%.]{1,12}", "[a-z]{1,8}(\\.[a-z]{1,5})?");
    let address = address.prop_map(|(local, host)| Address::from_parts(local.as_bytes(), host.as_bytes()).unwrap());
    let text = || proptest::collection::vec(32u8..127, 1..20);
    let mail = (address.clone(), any::<Option<u64>>(), any::<[bool; 2]>(), 0..3u8, proptest::option::of(text()));
    let mail = mail.prop_map(|(address, size, [eight, _], ret, envid)| {
        let ret = [Ret::Unset, Ret::Full, Ret::Headers][usize::from(ret)];
        let body = if eight { BodyKind::EightBit } else { BodyKind::SevenBit };
        let dsn = postino_types::DsnWish { ret, envid };
        let auth = Some(address.to_quoted(true)).filter(|a| a.is_ascii());
        Command::Mail(MailCommand { sender: ReversePath::Address(address), params: MailParams { size, body, utf8: true, dsn, auth } })
    });
    let rcpt = (address, any::<[bool; 4]>(), proptest::option::of(("rfc822", text())));
    let rcpt = rcpt.prop_map(|(address, [explicit, success, failure, delay], original)| {
        let notify = if explicit { Notify { explicit, success, failure, delay } } else { Notify::default() };
        let original = original.map(|(kind, address)| Orcpt { kind, address });
        Command::Rcpt(RcptCommand { address, params: RcptParams { notify, original } })
    });
    let bdat = (any::<u64>(), any::<bool>()).prop_map(|(bytes, last)| Command::Bdat { bytes, last });
    prop_oneof![mail, rcpt, bdat, "[a-z.]{1,20}".prop_map(|n| Command::Ehlo(n.into_bytes())), Just(Command::Data), Just(Command::Quit)]
}

proptest! {
    #[test]
    fn parse_reads_back_what_print_wrote(command in printable_command()) {
        prop_assert_eq!(parse(command.to_string().as_bytes()), Ok(command));
    }

    #[test]
    fn no_line_panics(verb in "(MAIL FROM:<|RCPT TO:<|AUTH |BDAT |EHLO |)", bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let line = [verb.as_bytes(), &bytes].concat();
        if let Ok(command) = parse(&line) {
            let printed = command.to_string();
            prop_assert!(!printed.contains(['\r', '\n', '\0']));
        }
    }
}
