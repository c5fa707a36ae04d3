//! The name server of the recorded cases: answers from the zone that a case describes in words. Called by `qmail_cases`.

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, MX, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use serde_json::Value;
use std::net::{Ipv4Addr, UdpSocket};

/// What the case's zone holds.
#[derive(Default)]
struct Zone {
    records: Vec<(Name, RData)>,
    failing: Vec<Name>,
}

/// Answers on port 53 of loopback for as long as this process lives.
pub(super) fn serve(zone: &Value) {
    let zone = read(zone);
    let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0u8; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut bytes) {
            if let Some(answer) = Message::from_vec(&bytes[..length]).ok().and_then(|question| zone.answer(&question).to_vec().ok()) {
                let _ = socket.send_to(&answer, peer);
            }
        }
    });
}

impl Zone {
    fn answer(&self, question: &Message) -> Message {
        let mut answer = question.clone();
        answer.metadata.message_type = MessageType::Response;
        let Some(query) = question.queries.first() else { return answer };
        let asked = query.name();
        if self.failing.contains(asked) {
            answer.metadata.response_code = ResponseCode::ServFail;
            return answer;
        }
        let known = self.records.iter().any(|(name, _)| name == asked);
        answer.metadata.response_code = if known { ResponseCode::NoError } else { ResponseCode::NXDomain };
        self.collect(asked, query.query_type(), &mut answer);
        answer
    }

    /// The records of a name, or its alias and what that has.
    fn collect(&self, name: &Name, kind: RecordType, answer: &mut Message) {
        for (owner, data) in self.records.iter().filter(|(owner, _)| owner == name) {
            if data.record_type() == kind || data.record_type() == RecordType::CNAME {
                answer.add_answer(Record::from_rdata(owner.clone(), 60, data.clone()));
            }
            if let (RData::CNAME(to), true) = (data, kind != RecordType::CNAME) {
                self.collect(&to.0, kind, answer);
            }
        }
    }
}

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}

fn address(text: &str) -> Option<RData> {
    text.parse::<Ipv4Addr>().ok().map(|ip| RData::A(A(ip)))
}

/// `NAME KIND` or `KIND NAME (remark)` with the data; a name alone that fails.
fn read(words: &Value) -> Zone {
    let mut zone = Zone::default();
    for (key, value) in words.as_object().into_iter().flatten() {
        let value = value.as_str().unwrap();
        let parts: Vec<&str> = key.split(' ').collect();
        match parts[..] {
            [failing] => zone.failing.push(name(failing)),
            [first, second, ..] => {
                let (kind, owner) = if first.contains('.') { (second, first) } else { (first, second) };
                match kind {
                    "MX" => exchangers(owner, value, &mut zone),
                    "A" => zone.records.push((name(owner), address(value).unwrap())),
                    "CNAME" => zone.records.push((name(owner), RData::CNAME(CNAME(name(value))))),
                    "TXT" => zone.records.push((name(owner), RData::TXT(TXT::new(vec![value.to_owned()])))),
                    other => panic!("no records of kind {other} here"),
                }
            }
            [] => {}
        }
    }
    zone
}

/// `10 mx1 (127.0.0.9, nothing listening), 20 mx2`: a host's address stands in brackets once.
fn exchangers(owner: &str, value: &str, zone: &mut Zone) {
    let mut rest = value;
    while !rest.is_empty() {
        let (preference, tail) = rest.split_once(' ').unwrap();
        let end = tail.find([' ', ',']).unwrap_or(tail.len());
        let (host, tail) = tail.split_at(end);
        zone.records.push((name(owner), RData::MX(MX::new(preference.parse().unwrap(), name(host)))));
        rest = tail.trim_start();
        if let Some((remark, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            let first = remark.split([',', ' ']).next().unwrap_or_default();
            let record = address(first).map(|ip| (name(host), ip));
            zone.records.extend(record.filter(|record| !zone.records.contains(record)));
            rest = after;
        }
        rest = rest.trim_start_matches([',', ' ']);
    }
}
