//! What every directory must do, whatever holds its data. A new backend adds itself to `backends`.

use super::world::{World, address, credentials};
use postino_ports::directory::{Directory, Login, Resolution, Secret, Service};
use std::sync::Arc;

/// A backend that holds: domain `example.test`, users `pippo`/`Secret-1` and `pluto`/`Secret-2`, everything else unknown.
struct Backend {
    directory: Arc<dyn Directory>,
    /// Local part under which a user of the domain is routed.
    prefix: &'static str,
    _world: World,
}

fn backends() -> Vec<Backend> {
    let world = World::with_users();
    vec![Backend { directory: Arc::new(world.directory.clone()), prefix: "example.test-", _world: world }]
}

impl Backend {
    async fn resolve(&self, user: &str) -> Resolution {
        self.directory.resolve(&address(&format!("{}{user}@example.test", self.prefix))).await.unwrap()
    }

    async fn login(&self, login: &[u8], password: &[u8]) -> Login {
        let mut asked = credentials("", Secret::Plain(password.to_vec()), Service::Pop3);
        asked.login = login.to_vec();
        self.directory.authenticate(asked).await.unwrap()
    }
}

#[tokio::test]
async fn users_are_found_in_any_case_and_with_an_extension() {
    for backend in backends() {
        for name in ["pippo", "Pippo", "pippo-tag", "PIPPO-Tag-x"] {
            match backend.resolve(name).await {
                Resolution::Mailbox(mailbox) => assert_eq!(mailbox.address, "pippo@example.test", "{name}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn unknown_users_are_no_mailbox_not_trouble() {
    let long = "x".repeat(900);
    for backend in backends() {
        for name in [
            "nobody-here",
            "pipp",
            "pippox",
            "../pippo",
            "a/../pippo",
            "pi:ppo",
            "pi\u{1}ppo",
            "pi ppo",
            "pippo\n",
            "vpasswd",
            ".",
            "..",
            long.as_str(),
            "é",
        ] {
            let answer = backend.resolve(name).await;
            assert!(matches!(answer, Resolution::NoMailbox { .. }), "{name:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn an_empty_local_part_is_thrown_away() {
    for backend in backends() {
        assert_eq!(backend.directory.resolve(&address("@example.test")).await, Ok(Resolution::Discard));
    }
}

#[tokio::test]
async fn only_the_right_password_opens() {
    for backend in backends() {
        assert!(matches!(backend.login(b"pippo@example.test", b"Secret-1").await, Login::Granted(m) if m.address == "pippo@example.test"));
        assert!(matches!(backend.login(b"PIPPO@Example.Test", b"Secret-1").await, Login::Granted(_)));
        // twice: the second time from memory
        assert!(matches!(backend.login(b"pippo@example.test", b"Secret-1").await, Login::Granted(_)));
        for password in [&b""[..], b"secret-1", b"Secret-1 ", b"Secret-2", b"Secret-1\0", b"\0"] {
            assert_eq!(backend.login(b"pippo@example.test", password).await, Login::Denied, "{password:?}");
        }
    }
}

#[tokio::test]
async fn hostile_names_are_denied() {
    let long = [b'a'; 5000];
    for backend in backends() {
        for login in [
            &b""[..],
            b"@",
            b"pippo@",
            b"@example.test",
            b"pippo@example.test\0",
            b"pippo\n@example.test",
            b"pippo@../example.test",
            b"../pippo@example.test",
            b"pippo@example.test/..",
            b"pippo@nowhere.test",
            b"nobody@example.test",
            b"\xff\xfe@example.test",
            &long,
        ] {
            assert_eq!(backend.login(login, b"Secret-1").await, Login::Denied, "{login:?}");
        }
    }
}
