//! `postino`: the server and its command line. Chooses the adapters behind the ports; the rooms know only ports.

mod bind;
mod cli;
mod clock;
mod compose;
mod control_socket;
mod environment;
mod events;
mod fetch;
mod home;
mod http;
mod inject;
mod keepers;
mod links;
mod log_writer;
mod metrics;
mod odmr;
mod qmail;
mod qmail_remote;
mod queue_program;
mod roaming;
mod sandbox;
mod service_manager;
mod supervise;
mod worker;

fn main() {
    // The supervisor waits for signals with sigwait(3), and a blocked signal stays blocked over exec: each part begins with none.
    let _ = nix::sys::signal::SigSet::all().thread_unblock();
    if let Some(code) = postino_compat::with_borrowed_rights() {
        std::process::exit(code);
    }
    // The spawner starts this very program for each delivery; nothing else may happen first.
    if let Some(code) = postino_local::child_program() {
        std::process::exit(code);
    }
    // Parts are started through /proc/self/exe; ps, ss and pgrep should not show "exe".
    let _ = rustix::thread::set_name(c"postino");
    // Rust ignores SIGPIPE, so a closed reader of our output is an error, not a death; SIGXFSZ likewise must be an error of write(2).
    ignore_file_size_signal();
    let called = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&called).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name == qmail::NAME {
        std::process::exit(qmail::main());
    }
    if let Some(program) = postino_compat::injector(name) {
        let args: Vec<_> = std::env::args_os().skip(1).collect();
        std::process::exit(program(&args));
    }
    std::process::exit(cli::run());
}

#[allow(unsafe_code)] // sigaction has no safe form
fn ignore_file_size_signal() {
    // SAFETY: SIG_IGN installs no handler code; done before any thread exists.
    let _ = unsafe { nix::sys::signal::signal(nix::sys::signal::Signal::SIGXFSZ, nix::sys::signal::SigHandler::SigIgn) };
}
