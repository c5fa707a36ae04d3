//! `postino setup`: makes a home that serves at once: control files, certificate, first domain, postmaster; says what to put in DNS.

use super::{Place, say};
use anyhow::{Context, bail};
use clap::Args;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  postino setup mail.example.org\n  postino setup mail.example.org --domain example.org --home /srv/mail\n\nFiles that exist already are left as they are."
)]
pub(crate) struct SetupArgs {
    /// This host's full name (control/me)
    hostname: String,
    /// First mail domain (default: the host's name without its first label)
    #[arg(long)]
    domain: Option<String>,
    /// Read the postmaster's password from this file's first line (`-`: standard input; default: a random one, printed)
    #[arg(long, value_name = "FILE", conflicts_with = "postmaster_password")]
    postmaster_password_file: Option<PathBuf>,
    /// Postmaster's password, for tests: visible to other users of this machine while the command runs
    #[arg(long, value_name = "PASSWORD")]
    postmaster_password: Option<String>,
    /// Account that the server works as when started as root
    #[arg(long, default_value = "postino")]
    user: String,
    /// More names for the certificate made by ourselves
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    host_names: Vec<String>,
    /// Print nothing
    #[arg(long)]
    quiet: bool,
}

/// Makes the home.
pub(crate) fn run(place: &Place, args: &SetupArgs) -> anyhow::Result<i32> {
    let home = place.home();
    let host = args.hostname.to_ascii_lowercase();
    check_name(&host)?;
    let domain = match &args.domain {
        Some(domain) => domain.to_ascii_lowercase(),
        None => default_domain(&host)?,
    };
    check_name(&domain)?;
    postino_directory::admin::plain_path(&home)?;
    refuse_another_host(&home, &host)?;
    if !home.join("control/server.toml").try_exists()? {
        // Before anything is made.
        crate::compose::account(&args.user)?;
    }
    let made = make(&home, &host, &args.user)?;
    let config = super::load(&home)?;
    let owner = crate::compose::owner(&config)?;
    crate::home::prepare(&config.home, owner)?;
    crate::compose::self_made(&config, &args.host_names)?;
    // One that was given is not shown again.
    let (password, is_shown) = match (&args.postmaster_password_file, &args.postmaster_password) {
        (Some(file), _) => (super::directory::first_line(file)?, false),
        (None, Some(password)) => (password.clone(), false),
        (None, None) => (random_password()?, true),
    };
    let new_domain = super::directory::add_domain_if_missing(&config, &domain, &password)?;
    system_aliases(&home, &domain)?;
    crate::home::prepare(&config.home, owner)?;
    if !args.quiet {
        report(&home, &host, &domain, (new_domain && is_shown).then_some(password.as_str()), &made);
    }
    Ok(0)
}

/// Names that every host must answer to (RFC 5321 4.5.1, RFC 2142): for this host itself they lead to the first domain's postmaster.
pub(crate) fn system_aliases(home: &Path, domain: &str) -> anyhow::Result<()> {
    for name in ["postmaster", "mailer-daemon", "abuse"] {
        let path = home.join("alias").join(format!(".qmail-{name}"));
        if !path.try_exists()? {
            let line = format!("&postmaster@{domain}\n");
            postino_disk::replace_file(&path, line.as_bytes(), 0o644).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

/// What is printed at the end is about one host; a home that serves another is a mistyped name or the wrong home.
fn refuse_another_host(home: &Path, host: &str) -> anyhow::Result<()> {
    let Ok(me) = std::fs::read_to_string(home.join("control/me")) else { return Ok(()) };
    let me = me.lines().next().unwrap_or_default().trim();
    if !me.is_empty() && !me.eq_ignore_ascii_case(host) {
        bail!(
            "{} is the home of {me} already (control/me); rename it with `postino config set me {host}`, or give another --home",
            home.display()
        );
    }
    Ok(())
}

/// Letters, digits, hyphens and dots; it goes into files, certificates and banners.
fn check_name(name: &str) -> anyhow::Result<()> {
    let label_ok = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if name.len() > 255 || !name.split('.').all(label_ok) {
        bail!("{name:?} is no host name (letters, digits, hyphens and dots)");
    }
    Ok(())
}

fn default_domain(host: &str) -> anyhow::Result<String> {
    match host.split_once('.') {
        Some((_, rest)) if rest.contains('.') => Ok(rest.to_owned()),
        Some(_) => Ok(host.to_owned()),
        None => bail!("{host:?} has no domain; name the first mail domain with --domain"),
    }
}

/// Writes the control files that are missing; returns their names.
fn make(home: &Path, host: &str, user: &str) -> anyhow::Result<Vec<String>> {
    let control = home.join("control");
    let made_home = !home.try_exists()?;
    std::fs::create_dir_all(&control).with_context(|| format!("cannot make {}", control.display()))?;
    if made_home {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o755))?;
    }
    let files = [
        ("me", format!("{host}\n")),
        ("locals", format!("{host}\n")),
        ("rcpthosts", format!("{host}\n")),
        ("defaultdelivery", "./Maildir/\n".to_owned()),
        ("server.toml", format!("# What qmail's control files never had; `postino config doc` explains each key.\nuser = \"{user}\"\n")),
    ];
    let mut made = Vec::new();
    for (name, content) in files {
        let path = control.join(name);
        if !path.try_exists()? {
            postino_disk::file::replace_file(&path, content.as_bytes(), 0o644)
                .with_context(|| format!("cannot write {}", path.display()))?;
            made.push(name.to_owned());
        }
    }
    Ok(made)
}

fn random_password() -> anyhow::Result<String> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0u8; 20];
    getrandom::fill(&mut bytes).map_err(|e| anyhow::anyhow!("no random numbers: {e}"))?;
    Ok(bytes.iter().filter_map(|b| LETTERS.get(usize::from(*b % 32))).map(|b| char::from(*b)).collect())
}

fn report(home: &Path, host: &str, domain: &str, password: Option<&str>, made: &[String]) {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = writeln!(text, "home                {}", home.display());
    if !made.is_empty() {
        let _ = writeln!(text, "written             control/{}", made.join(", control/"));
    }
    if let Some(password) = password {
        let _ = writeln!(text, "postmaster@{domain}  password: {password}");
    }
    let _ = writeln!(
        text,
        "certificate         {0}/tls/cert.pem, made by ourselves; clients that should trust it need {0}/tls/ca.pem",
        home.display()
    );
    let _ = write!(
        text,
        "\nPut these into DNS:\n  {domain}.  MX   10 {host}.\n  {host}.  A    (this host's address; AAAA likewise)\n  {domain}.  TXT  \"v=spf1 mx -all\"\n  and ask your provider for the reverse name {host} of the address\n\nThen:\n  postino check --home {0}\n  postino serve --home {0}\n  postino user add you@{domain} --home {0}",
        home.display()
    );
    say(&text);
}
