//! Real PostgreSQL and MariaDB servers for tests: each in a directory of its own, on a socket there, as an unprivileged user, ended by its pid.
//! Where the programs are missing a test says so and is skipped.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Brand {
    /// PostgreSQL.
    Postgresql,
    /// MariaDB.
    Mariadb,
}

/// A server; stopped when it is dropped.
#[derive(Debug)]
pub struct DatabaseServer {
    brand: Brand,
    directory: tempfile::TempDir,
    child: Option<Child>,
    user: Option<(u32, u32)>,
}

fn program(names: &[&str]) -> Option<PathBuf> {
    let places = ["/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/17/bin", "/usr/sbin", "/usr/bin"];
    names.iter().flat_map(|name| places.map(|place| Path::new(place).join(name))).find(|path| path.is_file())
}

/// Root may not run a database: the account that Debian made for it does.
fn user_of(brand: Brand) -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let name = if brand == Brand::Postgresql { "postgres" } else { "mysql" };
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2).map_while(|id| id.parse().ok());
    Some((fields.next()?, fields.next()?))
}

impl DatabaseServer {
    /// A new, empty server that answers, with a database `vpopmail`; `None`: it is not installed here.
    pub fn start_new(brand: Brand) -> Option<Self> {
        let prepare = match brand {
            Brand::Postgresql => program(&["initdb"]),
            Brand::Mariadb => program(&["mariadb-install-db"]),
        };
        let Some(prepare) = prepare else {
            eprintln!("skipped: {brand:?} is not installed");
            return None;
        };
        let directory = tempfile::tempdir().expect("a directory");
        let user = user_of(brand);
        if let Some((uid, gid)) = user {
            std::os::unix::fs::chown(directory.path(), Some(uid), Some(gid)).expect("chown");
            // Clients are other users.
            std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
        }
        let mut server = Self { brand, directory, child: None, user };
        let data = server.directory.path().join("data");
        let mut command = server.command(&prepare);
        match brand {
            Brand::Postgresql => {
                command.args(["-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"]).arg(&data)
            }
            Brand::Mariadb => {
                command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
                command.arg(format!("--datadir={}", data.display()))
            }
        };
        let made = command.stdout(Stdio::null()).output().expect("runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.start();
        server.sql("", "CREATE DATABASE vpopmail");
        Some(server)
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.directory.path()).env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").env("LC_ALL", "C");
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// The directory with the socket.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The line of vpopmail's connection file for this server.
    #[must_use]
    pub fn connection_line(&self, database: &str) -> String {
        let directory = self.directory.path().display();
        match self.brand {
            Brand::Postgresql => format!("host={directory} user=postgres dbname={database}"),
            Brand::Mariadb => format!("{directory}/m.sock|0|root||{database}"),
        }
    }

    /// Starts it (again) and waits until it says that it is ready.
    pub fn start(&mut self) {
        let directory = self.directory.path().to_path_buf();
        let (names, ready): (&[&str], _) = match self.brand {
            Brand::Postgresql => (&["postgres"], "ready to accept connections"),
            Brand::Mariadb => (&["mariadbd"], "ready for connections"),
        };
        let mut command = self.command(&program(names).expect("installed with the other"));
        match self.brand {
            Brand::Postgresql => command.arg("-D").arg(directory.join("data")).arg("-k").arg(&directory).args([
                "-c",
                "listen_addresses=",
                "-c",
                "fsync=off",
                "-c",
                "max_connections=40",
                "-c",
                "shared_buffers=4MB",
            ]),
            Brand::Mariadb => command
                .args(["--no-defaults", "--skip-networking", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M"])
                .arg(format!("--datadir={}", directory.join("data").display()))
                .arg(format!("--socket={}", directory.join("m.sock").display()))
                .arg(format!("--pid-file={}", directory.join("m.pid").display())),
        };
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
        let mut log = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut said = String::new();
        let is_ready = log.by_ref().map_while(Result::ok).any(|line| {
            said.push_str(&line);
            said.push('\n');
            line.contains(ready)
        });
        self.child = Some(child);
        assert!(is_ready, "{said}");
        // A full pipe would stop it.
        std::thread::spawn(move || log.for_each(drop));
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).expect("its pid is ours");
    }

    /// Stops it, and its connections.
    pub fn stop(&mut self) {
        // PostgreSQL: INT ends sessions, TERM would wait for them.
        self.signal(if self.brand == Brand::Postgresql { Signal::INT } else { Signal::TERM });
        if let Some(mut child) = self.child.take() {
            child.wait().expect("ends");
        }
    }

    /// Freezes it: it neither answers nor hangs up. PostgreSQL's sessions are processes of their own and are frozen too.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        self.sessions(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.sessions(Signal::CONT);
        self.signal(Signal::CONT);
    }

    fn sessions(&self, signal: Signal) {
        let Some(parent) = self.child.as_ref().map(Child::id) else { return };
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        for pid in children.split_whitespace().filter_map(|pid| pid.parse().ok()).filter_map(Pid::from_raw) {
            let _ = kill_process(pid, signal); // one may have ended by itself
        }
    }

    /// Feeds SQL to the server's own client.
    pub fn sql(&self, database: &str, text: &str) -> String {
        let directory = self.directory.path();
        let mut command = match self.brand {
            Brand::Postgresql => {
                let mut command = self.command(&program(&["psql"]).expect("psql"));
                command.args(["-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-f", "-", "-h"]).arg(directory);
                command.args(["-d", if database.is_empty() { "postgres" } else { database }]);
                command
            }
            Brand::Mariadb => {
                let mut command = self.command(&program(&["mariadb"]).expect("mariadb"));
                command.args(["--no-defaults", "-N", "-B", "-u", "root", "--default-character-set=utf8mb4"]);
                command.arg(format!("--socket={}", directory.join("m.sock").display())).arg(database);
                command
            }
        };
        if self.brand == Brand::Mariadb && database.is_empty() {
            command = self.command(&program(&["mariadb"]).expect("mariadb"));
            command.args(["--no-defaults", "-N", "-B", "-u", "root"]).arg(format!("--socket={}", directory.join("m.sock").display()));
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        let mut input = child.stdin.take().expect("piped");
        let text = text.to_owned();
        let writer = std::thread::spawn(move || std::io::Write::write_all(&mut input, text.as_bytes()));
        let output = child.wait_with_output().expect("ends");
        writer.join().expect("writes").expect("writes");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for DatabaseServer {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.resume();
            self.stop();
        }
    }
}
