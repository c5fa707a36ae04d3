//! Dovecot of Debian's packages: one for all tests of this program, on loopback, without any file of the machine's own. Ended by its pid.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running server. Each user name is a mailbox; the password of all is `segreto`.
pub(crate) struct Dovecot {
    pub(crate) pop3: u16,
    pub(crate) pop3s: u16,
    pub(crate) imap: u16,
    pub(crate) imaps: u16,
    dir: tempfile::TempDir,
    child: Child,
    ids: (u32, u32),
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

impl Dovecot {
    pub(crate) fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("postino-dovecot-").tempdir_in("/var/tmp").unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let root = rustix::process::geteuid().is_root();
        let ids = if root { (65534, 65534) } else { (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()) };
        // Root takes the package's own accounts.
        let internal = if root {
            String::new()
        } else {
            let name = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
            format!("default_internal_user = {0}\ndefault_login_user = {0}\n", name.trim())
        };
        let made =
            postino_net::tls::ensure_self_made(dir.path(), &["mail.test".into()], &[], postino_types::Time::from_secs(now())).unwrap();
        let homes = dir.path().join("homes");
        std::fs::create_dir(&homes).unwrap();
        if root {
            std::os::unix::fs::chown(&homes, Some(ids.0), Some(ids.1)).unwrap();
        }
        let [pop3, pop3s, imap, imaps] = [free_port(), free_port(), free_port(), free_port()];
        let config = format!(
            "base_dir = {d}/run\nlog_path = {d}/log\nstate_dir = {d}/state\nprotocols = pop3 imap\nlisten = 127.0.0.1\nssl = yes\nssl_cert = <{cert}\nssl_key = <{key}\n\
             mail_location = maildir:~/Maildir\ndisable_plaintext_auth = no\nauth_mechanisms = plain login cram-md5 xoauth2 oauthbearer\nfirst_valid_uid = 1\n\
             {internal}mail_max_userip_connections = 1000\nauth_failure_delay = 0\n\
             passdb {{\n driver = static\n mechanisms = plain login cram-md5\n args = password=segreto\n}}\n             passdb {{\n driver = oauth2\n mechanisms = xoauth2 oauthbearer\n args = {d}/oauth2\n}}\n\
             userdb {{\n driver = static\n args = uid={uid} gid={gid} home={h}/%u\n}}\n\
             service anvil {{\n chroot =\n}}\nservice stats {{\n chroot =\n}}\n\
             service pop3-login {{\n chroot =\n inet_listener pop3 {{\n port = {pop3}\n }}\n inet_listener pop3s {{\n port = {pop3s}\n ssl = yes\n }}\n}}\n\
             service imap-login {{\n chroot =\n inet_listener imap {{\n port = {imap}\n }}\n inet_listener imaps {{\n port = {imaps}\n ssl = yes\n }}\n}}\n",
            d = dir.path().display(),
            h = homes.display(),
            cert = made.identity.certificate.display(),
            key = made.identity.key.display(),
            uid = ids.0,
            gid = ids.1,
        );
        std::fs::write(dir.path().join("conf"), config).unwrap();
        let asked = format!("tokeninfo_url = http://127.0.0.1:{}/\nusername_attribute = username\n", token_server());
        std::fs::write(dir.path().join("oauth2"), asked).unwrap();
        let child = Command::new("/usr/sbin/dovecot")
            .args(["-F", "-c"])
            .arg(dir.path().join("conf"))
            .stdin(Stdio::null())
            .spawn()
            .expect("dovecot (Debian: dovecot-imapd dovecot-pop3d; see .ci/install-test-deps)");
        let server = Self { pop3, pop3s, imap, imaps, dir, child, ids };
        for port in [pop3, imaps] {
            let began = std::time::Instant::now();
            while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
                assert!(began.elapsed().as_secs() < 30, "dovecot does not answer: {}", server.log());
                std::thread::yield_now();
            }
        }
        server
    }

    /// The token that opens this user's mailbox.
    pub(crate) fn token(user: &str) -> String {
        format!("good-token.{user}")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The authority that signed its certificate.
    pub(crate) fn roots(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    fn maildir(&self, user: &str) -> PathBuf {
        self.dir.path().join("homes").join(user).join("Maildir")
    }

    fn own(&self, path: &Path) {
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(path, Some(self.ids.0), Some(self.ids.1)).unwrap();
        }
    }

    /// Puts a message into a mailbox.
    pub(crate) fn put(&self, user: &str, name: &str, text: &[u8]) {
        let maildir = self.maildir(user);
        if !maildir.is_dir() {
            for dir in
                [maildir.parent().unwrap().to_path_buf(), maildir.clone(), maildir.join("cur"), maildir.join("new"), maildir.join("tmp")]
            {
                std::fs::create_dir(&dir).unwrap();
                self.own(&dir);
            }
        }
        let path = maildir.join("new").join(name);
        std::fs::write(&path, text).unwrap();
        self.own(&path);
    }

    /// Messages that are left in a mailbox.
    pub(crate) fn count(&self, user: &str) -> usize {
        ["new", "cur"].iter().map(|d| std::fs::read_dir(self.maildir(user).join(d)).map_or(0, Iterator::count)).sum()
    }
}

/// Says whose a token is, as a provider would: it stands in the token.
fn token_server() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = [0u8; 4096];
            let n = std::io::Read::read(&mut stream, &mut head).unwrap_or(0);
            let asked = String::from_utf8_lossy(&head[..n]).into_owned();
            let user = asked.split("good-token.").nth(1).map(|rest| rest.split(' ').next().unwrap().to_owned());
            let (status, body) = match user {
                Some(user) => ("200 OK", format!("{{\"username\": \"{user}\"}}")),
                None => ("401 Unauthorized", "{\"error\": \"invalid_token\"}".to_owned()),
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = std::io::Write::write_all(&mut stream, answer.as_bytes());
        }
    });
    port
}

pub(crate) fn now() -> i64 {
    i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
