//! Name look-ups for the historical programs: one question, one answer, no threads and no cache, over UDP and, for long answers, TCP. Asks the
//! servers of $DNSCACHEIP or /etc/resolv.conf. Called by qmail-remote, tcpserver, rblsmtpd and others; never recurses itself, never takes a
//! failing server for a name that does not exist.
#![allow(dead_code)] // one part of its callers uses one half, another the other

use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const PORT: u16 = 53;
const RESOLV_CONF: &str = "/etc/resolv.conf";
const SERVERS_MAX: usize = 16;
/// Largest datagram read, bytes; without EDNS an answer has at most 512.
const DATAGRAM_BYTES: usize = 4096;
/// How long each server is waited for, round by round.
const ROUNDS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(11)];
/// Aliases followed in one answer.
const ALIASES_MAX: usize = 16;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DnsError {
    /// The name does not exist (or cannot be a name).
    NoName,
    /// The name exists without records of this kind.
    NoData,
    /// No server answered, or all of them failed: try again later.
    Soft,
}

impl DnsError {
    /// True when asking later may help.
    pub(crate) fn is_soft(self) -> bool {
        self == Self::Soft
    }
}

/// The servers to ask.
#[derive(Debug, Clone)]
pub(crate) struct Resolver {
    servers: Vec<SocketAddr>,
}

impl Resolver {
    /// The servers of `$DNSCACHEIP` (addresses, each perhaps with a port, separated by blanks or commas), else of /etc/resolv.conf, else loopback.
    pub(crate) fn from_system() -> Self {
        let asked = std::env::var("DNSCACHEIP").unwrap_or_default();
        let mut servers: Vec<SocketAddr> = asked.split([' ', ',', '\t', '\n']).filter_map(server).collect();
        if servers.is_empty() {
            servers = nameservers(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default());
        }
        if servers.is_empty() {
            servers.push(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
        }
        servers.truncate(SERVERS_MAX);
        Self { servers }
    }

    /// IPv4 addresses of `name`.
    pub(crate) fn a(&self, name: &str) -> Result<Vec<Ipv4Addr>, DnsError> {
        self.pick(name, RecordType::A, |data| if let RData::A(a) = data { Some(a.0) } else { None })
    }

    /// IPv6 addresses of `name`.
    pub(crate) fn aaaa(&self, name: &str) -> Result<Vec<Ipv6Addr>, DnsError> {
        self.pick(name, RecordType::AAAA, |data| if let RData::AAAA(a) = data { Some(a.0) } else { None })
    }

    /// All addresses of `name`, IPv4 first. An error only when neither kind was found; then the softer of the two.
    pub(crate) fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, DnsError> {
        let v4 = self.a(name);
        if v4 == Err(DnsError::NoName) {
            return Err(DnsError::NoName);
        }
        let v6 = self.aaaa(name);
        match (v4, v6) {
            (Err(DnsError::Soft), Err(_)) | (Err(_), Err(DnsError::Soft)) => Err(DnsError::Soft),
            (Err(error), Err(_)) => Err(error),
            (v4, v6) => {
                let (v4, v6) = (v4.unwrap_or_default(), v6.unwrap_or_default());
                Ok(v4.into_iter().map(IpAddr::V4).chain(v6.into_iter().map(IpAddr::V6)).collect())
            }
        }
    }

    /// Mail exchangers of `name`: preference and host, in the order of the answer. A null MX (RFC 7505) comes as the empty host.
    pub(crate) fn mx(&self, name: &str) -> Result<Vec<(u16, String)>, DnsError> {
        self.pick(name, RecordType::MX, |data| if let RData::MX(mx) = data { Some((mx.preference, text(&mx.exchange))) } else { None })
    }

    /// Texts of `name`, the strings of each record joined.
    pub(crate) fn txt(&self, name: &str) -> Result<Vec<Vec<u8>>, DnsError> {
        self.pick(name, RecordType::TXT, |data| if let RData::TXT(txt) = data { Some(txt.txt_data.concat()) } else { None })
    }

    /// Names of an address.
    pub(crate) fn ptr(&self, ip: IpAddr) -> Result<Vec<String>, DnsError> {
        self.pick(&reverse_name(ip), RecordType::PTR, |data| if let RData::PTR(ptr) = data { Some(text(&ptr.0)) } else { None })
    }

    /// What `name` is an alias of.
    pub(crate) fn cname(&self, name: &str) -> Result<String, DnsError> {
        let found = self.pick(name, RecordType::CNAME, |data| if let RData::CNAME(to) = data { Some(text(&to.0)) } else { None })?;
        found.into_iter().next().ok_or(DnsError::NoData)
    }

    fn pick<T>(&self, name: &str, kind: RecordType, take: impl Fn(&RData) -> Option<T>) -> Result<Vec<T>, DnsError> {
        let mut asked = Name::from_ascii(name).map_err(|_| DnsError::NoName)?;
        asked.set_fqdn(true);
        let answer = self.ask(&asked, kind)?;
        let owner = if kind == RecordType::CNAME { asked } else { canonical(&answer, asked) };
        let records = answer.answers.iter().filter(|record| record.name == owner);
        let found: Vec<T> = records.filter_map(|record| take(&record.data)).collect();
        match (found.is_empty(), answer.metadata.response_code) {
            (false, _) => Ok(found),
            (true, ResponseCode::NXDomain) => Err(DnsError::NoName),
            (true, _) => Err(DnsError::NoData),
        }
    }

    fn ask(&self, name: &Name, kind: RecordType) -> Result<Message, DnsError> {
        for wait in ROUNDS {
            let mut failed = 0;
            for server in &self.servers {
                let mut question = Message::query(); // a fresh random number for each server
                question.metadata.recursion_desired = true;
                question.add_query(Query::query(name.clone(), kind));
                match exchange(*server, &question, wait) {
                    Ok(answer) if matches!(answer.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain) => {
                        return Ok(answer);
                    }
                    Ok(_) => failed += 1,
                    Err(_) => {}
                }
            }
            if failed == self.servers.len() {
                break; // all of them answered that they cannot
            }
        }
        Err(DnsError::Soft)
    }
}

/// The name under which an address is looked up: `4.3.2.1.in-addr.arpa`, or 32 nibbles and `ip6.arpa`.
pub(crate) fn reverse_name(ip: IpAddr) -> String {
    let suffix = if ip.to_canonical().is_ipv4() { "in-addr.arpa" } else { "ip6.arpa" };
    format!("{}.{suffix}", reverse_labels(ip))
}

/// The address backwards, as block lists want it too: `4.3.2.1`, or 32 nibbles with dots.
pub(crate) fn reverse_labels(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}")
        }
        IpAddr::V6(v6) => {
            let nibbles = v6.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}")).collect::<Vec<_>>().join(".")
        }
    }
}

fn server(word: &str) -> Option<SocketAddr> {
    word.parse().ok().or_else(|| word.parse().ok().map(|ip: IpAddr| SocketAddr::from((ip, PORT))))
}

fn nameservers(conf: &str) -> Vec<SocketAddr> {
    let value = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next().and_then(server)).flatten()
    };
    conf.lines().filter_map(value).collect()
}

fn text(name: &Name) -> String {
    let mut name = name.clone();
    name.set_fqdn(false);
    name.to_ascii().trim_end_matches('.').to_owned()
}

/// Where the aliases in an answer lead to.
fn canonical(answer: &Message, mut name: Name) -> Name {
    for _ in 0..ALIASES_MAX {
        let next = answer.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(to) if record.name == name => Some(to.0.clone()),
            _ => None,
        });
        match next {
            Some(next) => name = next,
            None => break,
        }
    }
    name
}

fn exchange(server: SocketAddr, question: &Message, wait: Duration) -> io::Result<Message> {
    let bytes = question.to_vec().map_err(io::Error::other)?;
    let answer = by_datagram(server, question, &bytes, wait)?;
    if answer.metadata.truncation { by_stream(server, question, &bytes, wait) } else { Ok(answer) }
}

fn by_datagram(server: SocketAddr, question: &Message, bytes: &[u8], wait: Duration) -> io::Result<Message> {
    let local: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((local, 0))?; // a random port of the kernel's choice for each question
    socket.connect(server)?;
    socket.send(bytes)?;
    let end = Instant::now() + wait;
    let mut buffer = [0u8; DATAGRAM_BYTES];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let got = socket.recv(&mut buffer)?;
        if let Some(answer) = buffer.get(..got).and_then(|bytes| answer_to(question, bytes)) {
            return Ok(answer);
        }
    }
}

fn by_stream(server: SocketAddr, question: &Message, bytes: &[u8], wait: Duration) -> io::Result<Message> {
    let mut stream = TcpStream::connect_timeout(&server, wait)?;
    stream.set_read_timeout(Some(wait))?;
    stream.set_write_timeout(Some(wait))?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat())?;
    let mut length = [0u8; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0u8; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    answer_to(question, &answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The answer in `bytes` if it is one to this question; strangers' datagrams are not.
fn answer_to(question: &Message, bytes: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let fits = answer.metadata.id == question.metadata.id && answer.metadata.message_type == MessageType::Response;
    (fits && answer.queries == question.queries).then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{A, CNAME, TXT};

    /// Answers `count` questions on loopback, each by `reply`.
    fn fake(count: usize, reply: impl Fn(&Message) -> Message + Send + 'static) -> Resolver {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let servers = vec![socket.local_addr().unwrap()];
        std::thread::spawn(move || {
            let mut buffer = [0u8; 512];
            for _ in 0..count {
                let (got, from) = socket.recv_from(&mut buffer).unwrap();
                let question = Message::from_vec(&buffer[..got]).unwrap();
                socket.send_to(b"noise", from).unwrap();
                socket.send_to(&reply(&question).to_vec().unwrap(), from).unwrap();
            }
        });
        Resolver { servers }
    }

    fn response(question: &Message, code: ResponseCode) -> Message {
        let mut answer = question.clone().into_response();
        answer.metadata.response_code = code;
        answer
    }

    #[test]
    fn aliases_are_followed_and_strings_joined() {
        let resolver = fake(2, |question| {
            let mut answer = response(question, ResponseCode::NoError);
            let name = question.queries[0].name().clone();
            let other = Name::from_ascii("other.test.").unwrap();
            answer.add_answer(Record::from_rdata(name, 1, RData::CNAME(CNAME(other.clone()))));
            answer.add_answer(Record::from_rdata(other.clone(), 1, RData::A(A(Ipv4Addr::new(192, 0, 2, 1)))));
            answer.add_answer(Record::from_rdata(other, 1, RData::TXT(TXT::from_bytes(vec![b"a", b"b"]))));
            answer.add_answer(Record::from_rdata(Name::from_ascii("x.").unwrap(), 1, RData::A(A(Ipv4Addr::LOCALHOST))));
            answer
        });
        assert_eq!(resolver.a("name.test"), Ok(vec![Ipv4Addr::new(192, 0, 2, 1)]));
        assert_eq!(resolver.txt("Name.Test."), Ok(vec![b"ab".to_vec()]));
    }

    #[test]
    fn failing_is_not_missing() {
        assert_eq!(fake(1, |q| response(q, ResponseCode::NXDomain)).a("x.test"), Err(DnsError::NoName));
        assert_eq!(fake(1, |q| response(q, ResponseCode::NoError)).mx("x.test"), Err(DnsError::NoData));
        assert_eq!(fake(1, |q| response(q, ResponseCode::ServFail)).txt("x.test"), Err(DnsError::Soft));
        assert_eq!(fake(0, Message::clone).a(&"x".repeat(64)), Err(DnsError::NoName));
    }

    #[test]
    fn addresses_backwards_and_servers_in_files() {
        assert_eq!(reverse_name("192.0.2.7".parse().unwrap()), "7.2.0.192.in-addr.arpa");
        assert!(reverse_name("2001:db8::1".parse().unwrap()).starts_with("1.0.0.0.0.0.0.0."));
        assert!(reverse_name("2001:db8::1".parse().unwrap()).ends_with(".8.b.d.0.1.0.0.2.ip6.arpa"));
        let conf = "# c\nnameserver 192.0.2.1\nsearch x\nnameserver ::1\n nameserver nonsense\n";
        assert_eq!(nameservers(conf), ["192.0.2.1:53", "[::1]:53"].map(|s| s.parse().unwrap()));
        assert_eq!(server("127.0.0.1:5300"), "127.0.0.1:5300".parse().ok());
    }
}
