//! A proxy that lets so many bytes of the server's through and then cuts both connections.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};

/// One connection to `to`; after `bytes` of its answer everything is closed. The port to connect to.
pub(crate) fn cut_after(to: u16, bytes: usize) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let Ok((client, _)) = listener.accept() else { return };
        let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { return };
        let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let up = std::thread::spawn(move || {
            let _ = std::io::copy(&mut from_client, &mut to_server);
            let _ = to_server.shutdown(Shutdown::Both);
        });
        let (mut server, mut client, mut left, mut buffer) = (server, client, bytes, [0u8; 512]);
        while left > 0 {
            let n = server.read(&mut buffer[..left.min(512)]).unwrap_or(0);
            if n == 0 || client.write_all(&buffer[..n]).is_err() {
                break;
            }
            left -= n;
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
        let _ = up.join();
    });
    port
}
