//! Whom tcpserver serves: its children with their clients' addresses, and the connections that wait because their address has its share already.
//! Called by tcpserver. Bounded, and one step costs the same however many clients there are. Never starts anything.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};

/// One part in so many of the places is kept from any one address.
const RESERVE: usize = 8;
/// Most connections that wait for their address's turn, all together.
const WAITING_MAX: usize = 256;
/// And from one address.
const WAITING_PER_ADDRESS_MAX: usize = 64;

/// Most children that ended before their start was heard of.
const EARLY_MAX: usize = 4096;

/// How many connections one address may have at once.
#[derive(Debug, Clone, Copy)]
enum Share {
    /// Further ones are closed.
    Closes(usize),
    /// Further ones wait.
    Waits(usize),
}

/// What becomes of a new connection.
pub(super) enum Place {
    /// There is room.
    Now(TcpStream),
    /// It waits here.
    Later,
    /// Its address has so many already.
    Refused(usize),
}

/// A connection that waited.
pub(super) type Waiting = (TcpStream, SocketAddr);

#[derive(Debug, Default)]
struct Address {
    running: usize,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
pub(super) struct Clients {
    limit: usize,
    share: Share,
    running: HashMap<i32, IpAddr>,
    /// Places of programs that are being started.
    starting: usize,
    /// Children that ended before it was known whom they served.
    early: HashSet<i32>,
    addresses: HashMap<IpAddr, Address>,
    waiting: usize,
}

impl Clients {
    /// `limit` places; `per_address` of them for one address when it is given.
    pub(super) fn new(limit: usize, per_address: Option<usize>) -> Self {
        let share = match per_address {
            Some(0) => Share::Waits(usize::MAX),
            Some(most) => Share::Closes(most),
            None => Share::Waits(limit - limit / RESERVE),
        };
        Self { limit, share, running: HashMap::new(), starting: 0, early: HashSet::new(), addresses: HashMap::new(), waiting: 0 }
    }

    /// How many run.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// True when one more may run.
    pub(super) fn has_room(&self) -> bool {
        self.running.len() + self.starting < self.limit
    }

    /// Where a new connection goes.
    pub(super) fn place(&mut self, stream: TcpStream, remote: SocketAddr) -> Place {
        let key = key(remote.ip());
        let count = self.addresses.get(&key).map_or(0, |address| address.running);
        match self.share {
            Share::Closes(most) if count >= most => Place::Refused(count),
            Share::Waits(most) if count >= most => {
                let address = self.addresses.entry(key).or_default();
                if self.waiting >= WAITING_MAX || address.waiting.len() >= WAITING_PER_ADDRESS_MAX {
                    return Place::Refused(count + address.waiting.len());
                }
                address.waiting.push_back((stream, remote));
                self.waiting += 1;
                Place::Later
            }
            _ => Place::Now(stream),
        }
    }

    /// A child began to serve `ip`.
    pub(super) fn started(&mut self, pid: i32, ip: IpAddr) {
        self.running.insert(pid, key(ip));
        self.addresses.entry(key(ip)).or_default().running += 1;
    }

    /// A program is about to be started for `ip`: the place is taken.
    pub(super) fn starting(&mut self, ip: IpAddr) {
        self.starting += 1;
        self.addresses.entry(key(ip)).or_default().running += 1;
    }

    /// Its start ended: its process number, or `None` when there is none. The address whose place is free again, if it is.
    pub(super) fn start_ended(&mut self, pid: Option<i32>, ip: IpAddr) -> Option<IpAddr> {
        self.starting = self.starting.saturating_sub(1);
        let is_gone = pid.is_none_or(|pid| self.early.remove(&pid));
        if self.starting == 0 {
            self.early.clear(); // the rest were children of failed starts; their numbers come again
        }
        match pid {
            Some(pid) if !is_gone => {
                self.running.insert(pid, key(ip));
                None
            }
            _ => Some(self.left(key(ip))),
        }
    }

    /// A child that nobody knows is gone: it may belong to a start whose end was not heard of yet.
    pub(super) fn ended_early(&mut self, pid: i32) {
        if self.starting > 0 && self.early.len() < EARLY_MAX {
            self.early.insert(pid);
        }
    }

    /// A child is gone: the address that it served, when it was one that served.
    pub(super) fn ended(&mut self, pid: i32) -> Option<IpAddr> {
        let key = self.running.remove(&pid)?;
        Some(self.left(key))
    }

    fn left(&mut self, key: IpAddr) -> IpAddr {
        if let Some(address) = self.addresses.get_mut(&key) {
            address.running = address.running.saturating_sub(1);
        }
        self.forget_idle(key);
        key
    }

    /// The connection of this address that waited longest.
    pub(super) fn next(&mut self, address: IpAddr) -> Option<Waiting> {
        let next = self.addresses.get_mut(&address)?.waiting.pop_front()?;
        self.waiting = self.waiting.saturating_sub(1);
        self.forget_idle(address);
        Some(next)
    }

    fn forget_idle(&mut self, key: IpAddr) {
        if self.addresses.get(&key).is_some_and(|address| address.running == 0 && address.waiting.is_empty()) {
            self.addresses.remove(&key);
        }
    }
}

/// Who has one address of IPv6 has its /64.
fn key(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn stream() -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        TcpStream::connect(listener.local_addr().unwrap()).unwrap()
    }

    #[test]
    fn one_address_leaves_places_to_others() {
        let (flood, other): (SocketAddr, SocketAddr) = ("192.0.2.1:1".parse().unwrap(), "192.0.2.2:1".parse().unwrap());
        let mut clients = Clients::new(40, None);
        for pid in 0..35 {
            assert!(matches!(clients.place(stream(), flood), Place::Now(_)));
            clients.started(pid, flood.ip());
        }
        for _ in 0..WAITING_PER_ADDRESS_MAX {
            assert!(matches!(clients.place(stream(), flood), Place::Later));
        }
        assert!(matches!(clients.place(stream(), flood), Place::Refused(99)));
        assert!(clients.has_room() && matches!(clients.place(stream(), other), Place::Now(_)));
        assert_eq!(clients.ended(3), Some(flood.ip()));
        assert!(clients.next(flood.ip()).is_some() && clients.next(other.ip()).is_none());
        assert_eq!((clients.ended(3), clients.running()), (None, 34));
        assert!(matches!(Clients::new(1, None).place(stream(), flood), Place::Now(_)));
    }

    #[test]
    fn a_child_may_end_before_its_start_is_heard_of() {
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let mut clients = Clients::new(2, None);
        clients.starting(ip);
        clients.starting(ip);
        assert!(!clients.has_room());
        assert_eq!(clients.ended(7), None);
        clients.ended_early(7);
        assert_eq!(clients.start_ended(Some(7), ip), Some(ip));
        assert_eq!(clients.start_ended(Some(8), ip), None);
        assert_eq!((clients.running(), clients.ended(8)), (1, Some(ip)));
        clients.starting(ip);
        assert_eq!(clients.start_ended(None, ip), Some(ip));
        assert!(clients.addresses.is_empty() && clients.early.is_empty() && clients.starting == 0);
    }

    #[test]
    fn nothing_is_kept_of_who_is_gone() {
        let mut clients = Clients::new(4, Some(1));
        let (one, same): (SocketAddr, SocketAddr) = ("[2001:db8::1]:1".parse().unwrap(), "[2001:db8::2]:1".parse().unwrap());
        clients.started(9, one.ip());
        assert!(matches!(clients.place(stream(), same), Place::Refused(1)));
        clients.ended(9);
        assert!(clients.addresses.is_empty() && clients.running.is_empty());
        assert!(matches!(clients.place(stream(), same), Place::Now(_)));
    }
}
