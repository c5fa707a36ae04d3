//! Debian's slapd with our schema, in a temporary directory, for one test.

use postino_databases::ldap::{Bind, LdapSettings, Tls};
use std::fmt::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const BASE: &str = "ou=mail,o=example";
pub(crate) const ROOT_DN: &str = "cn=postino,ou=mail,o=example";
pub(crate) const ROOT_PASSWORD: &str = "root-of-the-test";
const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/vpopmail.schema");

pub(crate) struct Slapd {
    dir: tempfile::TempDir,
    child: Child,
    port: u16,
    port_tls: u16,
}

impl Drop for Slapd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again until there is an answer, for at most ten seconds.
pub(crate) fn eventually<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "slapd does not answer");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

impl Slapd {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("db")).unwrap();
        certificates(dir.path());
        std::fs::write(dir.path().join("slapd.conf"), configuration(dir.path())).unwrap();
        let (port, port_tls) = (free_port(), free_port());
        let child = spawn(dir.path(), port, port_tls);
        let server = Self { dir, child, port, port_tls };
        server.wait();
        server.add(&format!("dn: {BASE}\nobjectClass: organizationalUnit\nou: mail\n"));
        server
    }

    fn wait(&self) {
        eventually(|| UnixStream::connect(self.socket()).ok());
        eventually(|| TcpStream::connect(("127.0.0.1", self.port)).ok());
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("ldapi")
    }

    pub(crate) fn settings(&self) -> LdapSettings {
        let bind = Bind::Simple { dn: ROOT_DN.into(), password: ROOT_PASSWORD.to_owned().into() };
        LdapSettings::new(&format!("ldap://127.0.0.1:{}", self.port), BASE, bind)
    }

    pub(crate) fn tls_settings(&self, tls: Tls) -> LdapSettings {
        let url = match tls {
            Tls::Ldaps => format!("ldaps://localhost:{}", self.port_tls),
            _ => format!("ldap://localhost:{}", self.port),
        };
        LdapSettings { url, tls, ca_file: Some(self.dir.path().join("server.pem")), ..self.settings() }
    }

    /// A certificate that has signed nothing here.
    pub(crate) fn other_authority(&self) -> PathBuf {
        self.dir.path().join("other.pem")
    }

    /// Adds entries by Debian's ldapadd.
    pub(crate) fn add(&self, ldif: &str) {
        let file = self.dir.path().join("add.ldif");
        std::fs::write(&file, ldif).unwrap();
        let url = format!("ldapi://{}", self.socket().display().to_string().replace('/', "%2F"));
        let arguments = ["-x", "-H", &url, "-D", ROOT_DN, "-w", ROOT_PASSWORD, "-f"];
        let status = Command::new("ldapadd").args(arguments).arg(&file).stdout(Stdio::null()).status().unwrap();
        assert!(status.success());
    }

    /// Adds a domain with many accounts.
    pub(crate) fn add_many(&self, domain: &str, count: usize) {
        let mut ldif = format!("dn: ou={domain},{BASE}\nobjectClass: organizationalUnit\nou: {domain}\n\n");
        for number in 0..count {
            let name = format!("u{}", number * 7919 % count);
            write!(ldif, "dn: uid={name},ou={domain},{BASE}\nobjectClass: qmailUser\nuid: {name}\ncn: x\nsn: x\nqmailGID: 0\n\n").unwrap();
        }
        self.add(&ldif);
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
        let stat = format!("/proc/{}/stat", self.child.id());
        eventually(|| std::fs::read_to_string(&stat).unwrap().contains(") T ").then_some(()));
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    pub(crate) fn stop(&mut self) {
        self.signal("-TERM");
        self.child.wait().unwrap();
    }

    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.dir.path(), self.port, self.port_tls);
        self.wait();
    }
}

fn spawn(dir: &Path, port: u16, port_tls: u16) -> Child {
    let socket = dir.join("ldapi").display().to_string().replace('/', "%2F");
    let urls = format!("ldapi://{socket} ldap://127.0.0.1:{port} ldaps://127.0.0.1:{port_tls}");
    let mut command = Command::new("/usr/sbin/slapd");
    command.arg("-f").arg(dir.join("slapd.conf")).args(["-h", &urls, "-d", "0"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\ninclude /etc/ldap/schema/inetorgperson.schema\ninclude {SCHEMA}\n\
         pidfile {dir}/pid\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n\
         TLSCACertificateFile {dir}/server.pem\nTLSCertificateFile {dir}/server.pem\nTLSCertificateKeyFile {dir}/server.key\n\
         database mdb\nmaxsize 67108864\nsuffix \"{BASE}\"\nrootdn \"{ROOT_DN}\"\nrootpw {ROOT_PASSWORD}\ndirectory {dir}/db\n\
         dbnosync\naccess to attrs=userPassword by anonymous auth by * none\naccess to * by * read\n"
    )
}

/// A certificate for localhost, and one of somebody else.
fn certificates(dir: &Path) {
    for (file, name) in [("server", "localhost"), ("other", "other.example")] {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        std::fs::write(dir.join(format!("{file}.pem")), made.cert.pem()).unwrap();
        std::fs::write(dir.join(format!("{file}.key")), made.signing_key.serialize_pem()).unwrap();
    }
}
