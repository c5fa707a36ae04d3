//! Accounts in a database: copied there from files, mail in by SMTP, out by POP3, a wrong password, the database stopped and started under a running server.

use super::client::{Line, deliver};
use super::house::{House, postino, text};
use std::path::Path;

/// A POP3 session's answers to USER and PASS.
fn login(port: u16, user: &str, password: &str) -> String {
    let (mut line, banner) = Line::try_connect(port).expect("a banner");
    assert!(banner.starts_with("+OK"), "{banner}");
    line.send(format!("USER {user}\r\n").as_bytes());
    assert!(line.line().unwrap().starts_with("+OK"));
    line.send(format!("PASS {password}\r\n").as_bytes());
    line.line().unwrap_or_default()
}

/// A home whose accounts were copied from its files into `store`, and the files taken away.
fn house_on(store: &str, connection_file: &Path) -> House {
    let toml = format!(
        "[directory]\nstore = \"{store}\"\nconnection_file = \"{}\"\ncache_s = 1\nconnect_timeout_s = 2\nquery_timeout_s = 2\n",
        connection_file.display()
    );
    let mut house = House::new("");
    house.write_toml(&toml);
    let copied = house.cli(&["directory", "copy", "--from", "files", "--to", store, "--json"]);
    let copied: serde_json::Value = serde_json::from_str(&copied).unwrap();
    assert_eq!(copied["domains"][0]["added"], 3, "{copied}");
    let again: serde_json::Value =
        serde_json::from_str(&house.cli(&["directory", "copy", "--from", "files", "--to", store, "--json"])).unwrap();
    assert_eq!((&again["domains"][0]["added"], &again["domains"][0]["same"]), (&0.into(), &3.into()));
    for name in ["vpasswd", "vpasswd.cdb"] {
        std::fs::remove_file(house.home.join("domains/example.test").join(name)).unwrap();
    }
    house.start();
    // The command line changes what the server serves.
    house.cli(&["user", "remove", "pluto@example.test", "--yes"]);
    let mut add = postino();
    add.args(["user", "add", "pluto@example.test", "--password-file", "-", "--home"]).arg(&house.home);
    let mut add = add.stdin(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut add.stdin.take().unwrap(), b"segreto\n").unwrap();
    assert!(add.wait().unwrap().success());
    let info = text(
        &super::house::run(postino().args(["vpopmail", "vuserinfo", "-q", "pluto@example.test"]).env("POSTINO_HOME", &house.home)).stdout,
    );
    assert_eq!(info.trim(), "NOQUOTA");
    house
}

fn mail_and_logins(house: &House) {
    deliver(house.ports.smtp, "a@x.test", "pippo@example.test", "Subject: one\r\n\r\nhello");
    house.wait_messages("pippo", 1);
    let mut line = Line::smtp(house.ports.smtp);
    line.expect("MAIL FROM:<a@x.test>", "250");
    line.expect("RCPT TO:<nobody@example.test>", "550");
    assert!(login(house.ports.pop3, "pippo@example.test", "segreto").starts_with("+OK"));
    let wrong = login(house.ports.pop3, "pippo@example.test", "falso");
    assert!(wrong.starts_with("-ERR [AUTH]"), "{wrong}");
}

#[test]
fn accounts_in_sqlite() {
    let place = tempfile::Builder::new().prefix("postino-sqlite-").tempdir_in("/var/tmp").unwrap();
    if super::house::is_root() {
        let nobody = text(&super::house::run(std::process::Command::new("id").args(["-u", "nobody"])).stdout);
        std::os::unix::fs::chown(place.path(), nobody.trim().parse().ok(), None).unwrap();
    }
    let house = house_on("sqlite", &place.path().join("accounts.db"));
    mail_and_logins(&house);
    let output = postino().arg("check").arg("--home").arg(&house.home).output().unwrap();
    assert!(!text(&output.stderr).contains("[directory]"), "{}", text(&output.stderr));
}

#[cfg(all(feature = "postgresql", feature = "mysql"))]
mod servers {
    use super::*;
    use postino_testkit::database_server::{Brand, DatabaseServer};

    #[test]
    fn accounts_in_postgresql() {
        on_a_server(Brand::Postgresql, "postgresql");
    }

    #[test]
    fn accounts_in_mariadb() {
        on_a_server(Brand::Mariadb, "mysql");
    }

    fn on_a_server(brand: Brand, store: &str) {
        let Some(mut server) = DatabaseServer::start_new(brand) else { return };
        let place = tempfile::Builder::new().prefix("postino-db-").tempdir_in("/var/tmp").unwrap();
        std::fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let file = place.path().join("connection");
        std::fs::write(&file, format!("# for the test\n{}\n", server.connection_line("vpopmail"))).unwrap();
        let house = house_on(store, &file);
        mail_and_logins(&house);
        server.stop();
        // What is remembered may be served; pluto was never asked for, and everybody is forgotten a second later.
        let mut line = Line::smtp(house.ports.smtp);
        line.expect("MAIL FROM:<a@x.test>", "250");
        line.expect("RCPT TO:<pluto@example.test>", "451");
        let down = login(house.ports.pop3, "pluto@example.test", "segreto");
        assert!(down.starts_with("-ERR [SYS/TEMP]"), "{down}");
        let unknown = login(house.ports.pop3, "unheard@example.test", "segreto");
        assert!(unknown.starts_with("-ERR [SYS/TEMP]"), "{unknown}");
        server.start();
        super::super::house::wait_for("a login after the database came back", || {
            login(house.ports.pop3, "pluto@example.test", "segreto").starts_with("+OK")
        });
        deliver(house.ports.smtp, "a@x.test", "pluto@example.test", "Subject: two\r\n\r\nhello");
        house.wait_messages("pluto", 1);
    }
}
