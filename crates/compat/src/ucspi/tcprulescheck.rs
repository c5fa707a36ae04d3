//! `tcprulescheck CDB`: what tcpserver would do with the client in TCPREMOTEIP, TCPREMOTEHOST and TCPREMOTEINFO.

use crate::fatal::Fatal;
use postino_control::cdb::{Cdb, CdbError};
use postino_control::tcprules;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

pub(crate) fn run(args: &[OsString]) -> Result<(), Fatal> {
    let Some(path) = args.first() else { return Err(Fatal::usage("tcprulescheck rules.cdb")) };
    let unreadable = |error: CdbError| match error {
        CdbError::Io(e) => Fatal::unable(&format!("read {}", Path::new(path).display()), &e),
        other => Fatal::soft(format!("unable to read {}: {other}", Path::new(path).display())),
    };
    let cdb = File::open(path).map_err(CdbError::Io).and_then(Cdb::new).map_err(unreadable)?;
    let variable = |name| std::env::var(name).ok();
    let ip = variable("TCPREMOTEIP").and_then(|ip| ip.parse().ok()).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let (host, info) = (variable("TCPREMOTEHOST"), variable("TCPREMOTEINFO"));
    let found = tcprules::find_in(&cdb, ip, host.as_deref(), info.as_deref()).map_err(unreadable)?;
    let mut out: Vec<u8> = Vec::new();
    let mut allow = true;
    match found {
        None => out.extend_from_slice(b"default:\n"),
        Some((key, verdict)) => {
            out.extend_from_slice(&[b"rule ", key.as_slice(), b":\n"].concat());
            allow = verdict.allow;
            // A denied client gets no variables, so none are told.
            for (name, value) in verdict.env.iter().filter(|_| allow) {
                out.extend_from_slice(format!("set environment variable {name}={value}\n").as_bytes());
            }
        }
    }
    out.extend_from_slice(if allow { b"allow connection\n" } else { b"deny connection\n" });
    io::stdout().lock().write_all(&out).map_err(|e| Fatal::unable("write output", &e))
}
