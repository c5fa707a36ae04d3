//! The accept loop on loopback sockets.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, mpsc};

struct House {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<io::Result<()>>,
}

fn start(address: &str, limits: Arc<ConnectionLimits>, handler: Handler) -> House {
    let listener = bind(address.parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, shutdown) = watch::channel(false);
    let settings = ListenerSettings { name: "test", limits, refusal: b"421 too many\r\n".to_vec() };
    House { address, stop, task: tokio::spawn(accept_loop(listener, settings, shutdown, handler)) }
}

/// Says `hi`, then waits for the client to close.
fn greeter() -> Handler {
    Arc::new(|mut accepted| {
        Box::pin(async move {
            let _ = accepted.stream.write_all(b"hi").await;
            let mut rest = Vec::new();
            let _ = accepted.stream.read_to_end(&mut rest).await;
        })
    })
}

async fn hear(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut buffer = vec![0; length];
    let read = stream.read_exact(&mut buffer);
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("in time").unwrap();
    buffer
}

#[tokio::test]
async fn serves_many_at_once_without_delay_and_stops_when_told() {
    let limits = ConnectionLimits::new(100, 0);
    let house = start("127.0.0.1:0", limits.clone(), greeter());
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = TcpStream::connect(house.address).await.unwrap();
        assert_eq!(hear(&mut client, 2).await, b"hi");
        clients.push(client);
    }
    assert_eq!(limits.open(), 50);
    house.stop.send(true).unwrap();
    drop(clients);
    house.task.await.unwrap().unwrap();
    assert_eq!(limits.open(), 0, "the loop ends after its sessions");
    assert!(TcpStream::connect(house.address).await.is_err());
}

#[tokio::test]
async fn accepted_sockets_do_not_wait_for_more_bytes_and_die_with_exec() {
    let (tell, mut told) = mpsc::channel(1);
    let handler: Handler = Arc::new(move |accepted| {
        let tell = tell.clone();
        Box::pin(async move {
            let Stream::Plain(socket) = &accepted.stream else { panic!("clear text") };
            let flags = rustix::io::fcntl_getfd(socket).unwrap();
            let facts = (socket.nodelay().unwrap(), flags.contains(rustix::io::FdFlags::CLOEXEC));
            tell.send((facts, accepted.peer)).await.unwrap();
        })
    });
    let house = start("127.0.0.1:0", ConnectionLimits::new(0, 0), handler);
    let client = TcpStream::connect(house.address).await.unwrap();
    let (facts, peer) = told.recv().await.unwrap();
    assert_eq!(facts, (true, true));
    assert_eq!(peer, client.local_addr().unwrap());
}

#[tokio::test]
async fn too_many_from_one_address_are_told_so() {
    let limits = ConnectionLimits::new(0, 2);
    let house = start("127.0.0.1:0", limits, greeter());
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = TcpStream::connect(house.address).await.unwrap();
        assert_eq!(hear(&mut client, 2).await, b"hi");
        held.push(client);
    }
    let mut third = TcpStream::connect(house.address).await.unwrap();
    let mut reply = Vec::new();
    third.read_to_end(&mut reply).await.unwrap();
    assert_eq!(reply, b"421 too many\r\n");
}

/// The kernel keeps callers while all slots are taken; none is lost.
#[tokio::test]
async fn the_rest_waits_until_a_place_is_free() {
    let limits = ConnectionLimits::new(2, 0);
    let house = start("127.0.0.1:0", limits.clone(), greeter());
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(TcpStream::connect(house.address).await.unwrap());
    }
    for mut client in clients {
        assert_eq!(hear(&mut client, 2).await, b"hi");
        assert!(limits.open() <= 2);
    }
}

/// Two listeners share two slots; an idle listener holds none of them.
#[tokio::test]
async fn an_idle_listener_takes_no_place() {
    let limits = ConnectionLimits::new(1, 0);
    let _idle = start("127.0.0.1:0", limits.clone(), greeter());
    let house = start("127.0.0.1:0", limits, greeter());
    for _ in 0..3 {
        let mut client = TcpStream::connect(house.address).await.unwrap();
        assert_eq!(hear(&mut client, 2).await, b"hi");
    }
}

#[tokio::test]
async fn a_panic_ends_one_session_only() {
    let limits = ConnectionLimits::new(10, 0);
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    let handler: Handler = Arc::new(move |mut accepted| {
        let number = seen.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            assert_ne!(number, 0, "the first session has a bug");
            let _ = accepted.stream.write_all(b"hi").await;
        })
    });
    let house = start("127.0.0.1:0", limits.clone(), handler);
    let mut first = TcpStream::connect(house.address).await.unwrap();
    let mut nothing = Vec::new();
    let _ = first.read_to_end(&mut nothing).await;
    assert!(nothing.is_empty());
    let mut second = TcpStream::connect(house.address).await.unwrap();
    assert_eq!(hear(&mut second, 2).await, b"hi");
    house.stop.send(true).unwrap();
    house.task.await.unwrap().unwrap();
    assert_eq!(limits.open(), 0, "a panic gives its place back");
}

#[tokio::test]
async fn an_idle_session_makes_room_for_the_next() {
    let left = Arc::new(Notify::new());
    let tell = left.clone();
    let handler: Handler = Arc::new(move |mut accepted| {
        let tell = tell.clone();
        Box::pin(async move {
            let _ = accepted.stream.write_all(b"hi").await;
            accepted.permit.evicted().await;
            tell.notify_one();
        })
    });
    let limits = ConnectionLimits::new(1, 0);
    let house = start("127.0.0.1:0", limits.clone(), handler);
    let mut first = TcpStream::connect(house.address).await.unwrap();
    assert_eq!(hear(&mut first, 2).await, b"hi");
    assert_eq!(limits.evictions(), 0, "nobody waits yet");
    let mut second = TcpStream::connect(house.address).await.unwrap();
    assert_eq!(hear(&mut second, 2).await, b"hi");
    left.notified().await;
    assert_eq!(limits.evictions(), 1);
}

#[tokio::test]
async fn ipv6_is_ipv6_only() {
    let Ok(six) = bind("[::1]:0".parse().unwrap()) else { return };
    assert!(SockRef::from(&six).only_v6().unwrap());
    assert!(!SockRef::from(&six).reuse_port().unwrap());
    assert!(SockRef::from(&six).reuse_address().unwrap());
    assert_eq!(normal("[::ffff:192.0.2.1]:25".parse().unwrap()), "192.0.2.1:25".parse().unwrap());
}

#[test]
fn want_of_descriptors_waits_longer_and_longer() {
    let mut pause = Pause::default();
    let millis = |d: io::Result<Duration>| d.unwrap().as_millis();
    let waits: Vec<_> = (0..7).map(|_| millis(pause.after("test", Errno::MFILE.into()))).collect();
    assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000]);
    pause.reset();
    assert_eq!(millis(pause.after("test", Errno::NFILE.into())), 50);
    let gone = millis(pause.after("test", Errno::CONNABORTED.into()));
    assert_eq!(gone, 0, "a caller that went away costs nothing");
    assert!(pause.after("test", Errno::BADF.into()).is_err());
}
