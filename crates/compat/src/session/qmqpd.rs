//! `qmail-qmqpd(8)`: takes one message over QMQP from hosts without a queue of their own. Called by tcpserver, whose rules say who may: every
//! client that reaches it may relay.

use super::net::Net;
use super::netstring::{Reader, netstring};
use super::peer::{Peer, now};
use crate::qq::Qq;
use postino_types::exit;
use std::path::Path;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(3600);

/// The program; returns the exit code.
pub(crate) fn run(home: &Path) -> i32 {
    let mut net = Net::new(TIMEOUT);
    let answer = match take(home, &mut net) {
        Ok(answer) => answer,
        Err(code) => return code,
    };
    let said = net.say(&netstring(answer.as_bytes())).and_then(|()| net.flush());
    if said.is_ok() { exit::OK } else { exit::SOFT }
}

fn take(home: &Path, net: &mut Net) -> Result<String, i32> {
    let mut reader = Reader::new(net);
    let whole = reader.length()?;
    reader.limit(whole);
    let length = reader.length()?;
    let mut qq = Qq::open(home).map_err(|_| exit::SOFT)?;
    qq.put(&Peer::by_environment().received(None, "QMQP"));
    reader.bytes(length, &mut |bytes| qq.put(bytes))?;
    reader.comma()?;
    let sender = reader.address()?;
    let mut good = sender.is_some();
    qq.from(&sender.unwrap_or_default());
    while reader.left() > 0 {
        match reader.address()? {
            Some(recipient) => qq.to(&recipient),
            None => good = false,
        }
    }
    reader.unlimit();
    reader.comma()?;
    if !good {
        qq.fail();
    }
    Ok(match qq.close() {
        _ if !good => "Dsorry, I can't accept addresses like that (#5.1.3)".to_owned(),
        Ok(qp) => format!("Kok {} qp {qp}", now().secs()),
        Err(refused) => refused.with_letter(),
    })
}
