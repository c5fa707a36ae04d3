//! `tcpclient [options] host port program`: connects and becomes the program, with the connection on descriptors 6 and 7. Called by `main`, and by
//! the ready-made clients for the connection alone. Never reads from it or writes to it.

use super::connection::{self, Ends, HostLookup, Lookup};
use super::server_options::{Verbosity, number, port_number};
use crate::dns::{DnsError, Resolver};
use crate::fatal::Fatal;
use crate::getopt::{Getopt, Opt};
use crate::wait::ready;
use postino_local::error_text::error_text;
use rustix::event::PollFlags;
use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

const USAGE: &str = "tcpclient \\\n[ -hHrRdDqQv ] \\\n[ -i localip ] \\\n[ -p localport ] \\\n[ -T timeoutconn ] \\\n[ -l localname ] \\\n[ -t timeoutident ] \\\nhost port program";
/// Where UCSPI clients have the connection: read from the first, write to the second.
const CONNECTION_FDS: [i32; 2] = [6, 7];
/// All addresses are tried for the first time; those that did not answer in it, once more for the second.
const TIMEOUTS_DEFAULT: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(58)];

/// A connection to make.
#[derive(Debug)]
pub(super) struct Client {
    verbosity: Verbosity,
    nodelay: bool,
    local_ip: Option<IpAddr>,
    local_port: u16,
    timeouts: [Duration; 2],
    lookup: Lookup,
    host: String,
    port: u16,
}

pub(crate) fn run(args: &[OsString]) -> Result<(), Fatal> {
    let (client, program) = Client::parse(args)?;
    if program.is_empty() {
        return Err(Fatal::usage(USAGE));
    }
    let stream = client.connect()?;
    let ends = ends_of(&stream).map_err(|e| Fatal::unable("get the addresses of the connection", &e))?;
    let names = connection::look_up(&client.lookup, ends);
    let mut command = connection::command(program, ends, &names, &[]);
    hand_over(stream).map_err(|e| Fatal::unable("set up descriptors", &e))?;
    let error = command.exec();
    Err(Fatal::unable(&format!("run {}", program.first().map(|p| p.display().to_string()).unwrap_or_default()), &error))
}

fn ends_of(stream: &TcpStream) -> io::Result<Ends> {
    Ok(Ends { local: stream.local_addr()?, remote: stream.peer_addr()? })
}

impl Client {
    /// The client and the words of the program.
    pub(super) fn parse(args: &[OsString]) -> Result<(Self, &[OsString]), Fatal> {
        let mut client = Self::to(String::new(), 0);
        let mut options = Getopt::new(args, b"hHrRdDqQv", b"ipTlt");
        for option in options.by_ref() {
            match option {
                Opt::Plain(letter) => client.flag(letter),
                Opt::With(letter, value) => client.value(letter, value)?,
                Opt::Bad => return Err(Fatal::usage(USAGE)),
            }
        }
        let [host, port, program @ ..] = options.rest() else { return Err(Fatal::usage(USAGE)) };
        let port = port.to_string_lossy();
        client.port = port_number(&port).ok_or_else(|| Fatal::soft(format!("unable to figure out port number for {port}")))?;
        client.host = host.to_string_lossy().into_owned();
        Ok((client, program))
    }

    /// As without any option.
    pub(super) fn to(host: String, port: u16) -> Self {
        Self {
            verbosity: Verbosity::Errors,
            nodelay: false,
            local_ip: None,
            local_port: 0,
            timeouts: TIMEOUTS_DEFAULT,
            lookup: Lookup::default(),
            host,
            port,
        }
    }

    fn flag(&mut self, letter: u8) {
        match letter {
            b'q' => self.verbosity = Verbosity::Quiet,
            b'Q' => self.verbosity = Verbosity::Errors,
            b'v' => self.verbosity = Verbosity::All,
            b'D' => self.nodelay = true,
            b'd' => self.nodelay = false,
            b'h' => self.lookup.host = HostLookup::Name,
            b'H' => self.lookup.host = HostLookup::No,
            b'r' => self.lookup.ident = true,
            _ => self.lookup.ident = false,
        }
    }

    fn value(&mut self, letter: u8, value: &OsStr) -> Result<(), Fatal> {
        match letter {
            b'i' => {
                let ip = value.to_str().and_then(|text| text.parse().ok());
                self.local_ip = Some(ip.ok_or_else(|| Fatal::hard(format!("-i needs an IP address, not {}", value.display())))?);
            }
            b'p' => self.local_port = number("-p", value)?,
            b'T' => self.timeouts = timeouts(value)?,
            b'l' => self.lookup.local_name = Some(value.to_string_lossy().into_owned()),
            _ => self.lookup.ident_timeout = Duration::from_secs(number("-t", value)?),
        }
        Ok(())
    }

    /// The first address that answers.
    pub(super) fn connect(&self) -> Result<TcpStream, Fatal> {
        let mut addresses = self.addresses()?;
        for (timeout, is_last) in self.timeouts.into_iter().zip([self.timeouts.last().is_some_and(Duration::is_zero), true]) {
            let mut silent = Vec::new();
            for address in addresses {
                match self.try_address(address, timeout) {
                    Ok(stream) => {
                        self.log(Verbosity::All, &format!("connected to {} port {}", address.ip(), address.port()));
                        return Ok(stream);
                    }
                    Err(e) if e.kind() == io::ErrorKind::TimedOut && !is_last => silent.push(address),
                    Err(e) => {
                        let (ip, port) = (address.ip(), address.port());
                        self.log(Verbosity::Errors, &format!("unable to connect to {ip} port {port}: {}", error_text(&e)));
                    }
                }
            }
            addresses = silent;
        }
        Err(Fatal::silent(postino_types::exit::SOFT))
    }

    fn log(&self, at: Verbosity, text: &str) {
        if self.verbosity >= at {
            let _ = io::stderr().write_all(format!("tcpclient: {text}\n").as_bytes());
        }
    }

    fn addresses(&self) -> Result<Vec<SocketAddr>, Fatal> {
        let host = self.host.as_str();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let ips = match host {
            "" | "0" => vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            _ => match bare.parse() {
                Ok(ip) => vec![ip],
                Err(_) => match Resolver::from_system().addresses(host) {
                    Err(DnsError::Soft) => return Err(Fatal::soft(format!("temporarily unable to figure out IP address for {host}"))),
                    found => found.unwrap_or_default(),
                },
            },
        };
        if ips.is_empty() {
            return Err(Fatal::soft(format!("no IP address for {host}")));
        }
        Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, self.port)).collect())
    }

    fn try_address(&self, address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        let any = if address.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED) };
        if self.local_ip.is_some() || self.local_port != 0 {
            let local = SocketAddr::new(self.local_ip.unwrap_or(any), self.local_port);
            rustix::net::bind(&socket, &local)?;
        }
        match rustix::net::connect(&socket, &address) {
            Err(Errno::INPROGRESS) => await_connection(&socket, timeout)?,
            other => other?,
        }
        let stream = TcpStream::from(socket);
        stream.set_nonblocking(false)?;
        if self.nodelay {
            let _ = stream.set_nodelay(true); // only a matter of speed
        }
        Ok(stream)
    }
}

fn await_connection(socket: &OwnedFd, timeout: Duration) -> io::Result<()> {
    if !ready(socket, PollFlags::OUT, Instant::now() + timeout)? {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(sockopt::socket_error(socket)??)
}

/// `x` or `x+y`, seconds.
fn timeouts(value: &OsStr) -> Result<[Duration; 2], Fatal> {
    let text = value.to_string_lossy();
    let (first, second) = text.split_once('+').unwrap_or((&text, "0"));
    let seconds = |text: &str| number("-T", OsStr::new(text)).map(Duration::from_secs);
    Ok([seconds(first)?, seconds(second)?])
}

/// Puts the connection where the program looks for it, whatever was left open there by those who started us.
fn hand_over(stream: TcpStream) -> io::Result<()> {
    let beyond = CONNECTION_FDS.iter().max().map_or(0, |last| last + 1);
    let aside = rustix::io::fcntl_dupfd_cloexec(&stream, beyond)?;
    drop(stream);
    for number in CONNECTION_FDS {
        let _ = nix::unistd::close(number);
        let placed = rustix::io::fcntl_dupfd_cloexec(&aside, number)?;
        if placed.as_raw_fd() != number {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        rustix::io::fcntl_setfd(&placed, FdFlags::empty())?;
        let _ = placed.into_raw_fd(); // stays open for the program
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Client, Fatal> {
        Client::parse(&line.split(' ').map(OsString::from).collect::<Vec<_>>()).map(|(client, _)| client)
    }

    #[test]
    fn the_line_of_maildirsmtp_and_timeouts() {
        let client = parse("-RHl0 -- mx.test 25 serialsmtp").unwrap();
        assert_eq!((client.host.as_str(), client.port, client.lookup.local_name.as_deref()), ("mx.test", 25, Some("0")));
        assert!(client.lookup.host == HostLookup::No && !client.lookup.ident);
        assert_eq!(parse("-T 5+7 h 1 p").unwrap().timeouts, [5, 7].map(Duration::from_secs));
        assert_eq!(parse("-T9 h 1 p").unwrap().timeouts, [9, 0].map(Duration::from_secs));
        assert!(parse("-i nowhere h 1 p").is_err() && parse("h").is_err() && parse("h no-such-port p").is_err());
    }
}
