//! `postino demo`: a whole server on loopback with a throw-away home, and commands to try. Calls `setup` and `serve`; knows nothing that they do not.

use super::Place;
use anyhow::{Context, bail};
use clap::Args;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  postino demo\n  postino demo --base-port 12000\n  postino demo --home /tmp/mail\n\nEvery port is the standard one plus the base. Ctrl-C stops it; started again it finds its mail again."
)]
pub(crate) struct DemoArgs {
    /// Added to every standard port
    #[arg(long, default_value_t = 2000, value_name = "N")]
    base_port: u16,
}

/// Users of the demo and their passwords.
const USERS: [(&str, &str); 2] = [("pippo", "pippo-demo"), ("pluto", "pluto-demo")];
const DOMAIN: &str = "example.test";

/// Makes the home if needed, explains, serves.
pub(crate) fn run(place: &Place, args: &DemoArgs) -> anyhow::Result<i32> {
    let user = account()?;
    let listen = listeners(args.base_port)?;
    let home = home(place)?;
    let first = !home.join("control/me").try_exists()?;
    prepare(&home, &format!("# written by `postino demo` at each start\nuser = \"{user}\"\n{listen}"))?;
    let config = super::load(&home)?;
    crate::home::prepare(&config.home, crate::compose::owner(&config)?)?;
    crate::compose::self_made(&config, &[])?;
    super::directory::add_domain_if_missing(&config, DOMAIN, "postmaster-demo")?;
    super::setup::system_aliases(&home, DOMAIN)?;
    for (name, password) in USERS {
        super::directory::add_user_if_missing(&config, &format!("{name}@{DOMAIN}"), password)?;
    }
    crate::home::prepare(&config.home, crate::compose::owner(&config)?)?;
    super::serve::serve(&super::load_quietly(&home)?, Some(explain(&home, args.base_port, first)))
        .context("the demo cannot run (--base-port N chooses other ports, --home DIR another folder)")
}

/// `[listen]` with every port that is built.
fn listeners(base: u16) -> anyhow::Result<String> {
    let mut toml = String::from("[listen]\n");
    for (name, standard) in [("smtp", 25), ("submissions", 465), ("submission", 587), ("pop3", 110), ("pop3s", 995), ("http", 80)] {
        let port =
            base.checked_add(standard).with_context(|| format!("--base-port {base} is too high: {name} would be {base} + {standard}"))?;
        toml.push_str(&format!("{name} = [\"127.0.0.1:{port}\"]\n"));
    }
    Ok(toml)
}

/// `--home`, or a folder of this user below the folder for temporary files, which the next start finds again.
fn home(place: &Place) -> anyhow::Result<PathBuf> {
    if let Some(home) = place.explicit() {
        postino_directory::admin::plain_path(&home)?;
        return Ok(home);
    }
    let uid = nix::unistd::geteuid().as_raw();
    let home = std::env::temp_dir().join(format!("postino-demo-{uid}"));
    match std::fs::symlink_metadata(&home) {
        Ok(meta) if meta.is_dir() && meta.uid() == uid => {}
        Ok(_) => bail!("{} exists and is not a folder of yours; name another with --home", home.display()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir(&home).with_context(|| format!("cannot make {}", home.display()))?
        }
        Err(e) => return Err(e).with_context(|| format!("cannot look at {}", home.display())),
    }
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o755))?;
    Ok(home)
}

/// As root the worker is `postino` if that account exists, else `nobody`; otherwise ourselves.
fn account() -> anyhow::Result<String> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().map_or_else(|| "postino".into(), |u| u.name));
    }
    for name in ["postino", "nobody"] {
        if nix::unistd::User::from_name(name).ok().flatten().is_some() {
            return Ok(name.into());
        }
    }
    bail!("there is neither an account postino nor nobody to work as")
}

fn prepare(home: &Path, toml: &str) -> anyhow::Result<()> {
    let control = home.join("control");
    std::fs::create_dir_all(&control).with_context(|| format!("cannot make {}", control.display()))?;
    let write = |name: &str, content: &str| {
        let path = control.join(name);
        postino_disk::file::replace_file(&path, content.as_bytes(), 0o644).with_context(|| format!("cannot write {}", path.display()))
    };
    if !control.join("me").try_exists()? {
        write("me", "localhost\n")?;
        write("locals", "localhost\n")?;
        write("rcpthosts", "localhost\n")?;
        write("defaultdelivery", "./Maildir/\n")?;
    }
    write("server.toml", toml)
}

/// A path as one word of a shell command.
fn word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-' | b'+' | b'@' | b':');
    if text.bytes().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn explain(home: &Path, base: u16, first: bool) -> String {
    let p = |standard: u16| base.saturating_add(standard);
    let ca = word(&home.join("tls/ca.pem"));
    let accounts: String = USERS.iter().map(|(name, password)| format!("  {name}@{DOMAIN}  password {password}\n")).collect();
    let found = if first { "" } else { " (found again, with its mail)" };
    let program = std::env::current_exe().map_or_else(|_| "postino".into(), |p| word(&p));
    format!(
        "Postino demo{found}\n\
         home     {home}\n\
         CA       {ca}\n\
         users\n{accounts}\
         ports    smtp {smtp}  submission {submission}  submissions {submissions}  pop3 {pop3}  pop3s {pop3s}  http {http}\n\
         metrics  http://127.0.0.1:{http}/metrics\n\
         \n\
         Try, in another terminal:\n\
         \n\
         send a message:\n\
         \x20 printf 'Subject: ciao\\r\\n\\r\\nCiao Pippo\\r\\n' | curl -sS --cacert {ca} --url smtps://localhost:{submissions} -u pluto@{DOMAIN}:pluto-demo --mail-from pluto@{DOMAIN} --mail-rcpt pippo@{DOMAIN} -T -\n\
         read it:\n\
         \x20 curl -sS --cacert {ca} -u pippo@{DOMAIN}:pippo-demo pop3s://localhost:{pop3s}/1\n\
         watch the queue:\n\
         \x20 {program} queue list --home {place}\n\
         \n\
         Ctrl-C stops it.\n",
        home = home.display(),
        place = word(home),
        smtp = p(25),
        submission = p(587),
        submissions = p(465),
        pop3 = p(110),
        pop3s = p(995),
        http = p(80),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_copied_from_any_home() {
        assert_eq!(word(Path::new("/tmp/postino-demo-0")), "/tmp/postino-demo-0");
        assert_eq!(word(Path::new("/tmp/my mail's")), "'/tmp/my mail'\\''s'");
        let text = explain(Path::new("/tmp/my mail"), 2000, true);
        let commands: Vec<&str> =
            text.lines().filter(|l| l.starts_with("  printf ") || l.contains("curl") || l.contains(" queue list")).collect();
        assert_eq!(commands.len(), 3, "{text}");
        assert!(commands.iter().all(|c| c.contains("'/tmp/my mail")), "{text}");
    }

    #[test]
    fn a_base_port_that_runs_over_is_refused() {
        assert!(listeners(65_000).is_err());
        assert!(listeners(2000).unwrap().contains("127.0.0.1:2465"));
    }
}
