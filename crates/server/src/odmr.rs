//! On-demand mail relay (RFC 2645), both sides: connections that customers turn round get their links' mail, and connections that we turn round
//! at a provider are served like any other. Called by the SMTP sessions, the control socket and a timer; decides nothing about mail.

use crate::links::Turnpike;
use postino_control::links::{Fetch, Link};
use postino_control::resolved::ListenerKind;
use postino_ports::BoxFuture;
use postino_remote::Provided;
use postino_smtpd::{Caller, Context, Turned, TurnedDoor};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

/// How often a turned connection is asked whether its mail is through.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longest time of a turned connection.
const TURNED_MAX: Duration = Duration::from_secs(2 * 3600);
/// How often the timer looks which links are to be fetched from.
const TIMER: Duration = Duration::from_secs(15);

/// What [`fetch`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// The provider sent.
    Mail,
    /// It had nothing.
    Nothing,
}

/// The provider's side: for the sessions.
pub(crate) fn door(turnpike: Turnpike) -> TurnedDoor {
    Arc::new(move |turned| -> BoxFuture<'static, ()> {
        let turnpike = turnpike.clone();
        Box::pin(async move {
            if let Err(error) = deliver(&turnpike, turned).await {
                tracing::warn!(error, "mail of a link was not taken over a turned connection");
            }
        })
    })
}

async fn deliver(turnpike: &Turnpike, turned: Turned) -> Result<(), String> {
    let links = turned.links.iter().map(|name| turnpike.link(name)).collect::<Result<Vec<Arc<Link>>, String>>()?;
    let names = links.iter().map(|link| link.name.clone()).collect();
    let adopted = turnpike.remote.adopt(names, turned.stream, turned.peer).await?;
    let mut went = Ok(());
    for link in &links {
        if let Err(error) = turnpike.up(link, Some(TURNED_MAX), None).await {
            went = Err(error);
        }
    }
    let end = turnpike.clock.monotonic() + TURNED_MAX;
    let under_way = || links.iter().any(|link| turnpike.scheduler.link_state(link).under_way > 0);
    while under_way() && adopted.is_alive() && turnpike.clock.monotonic() < end {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    links.iter().for_each(|link| turnpike.down(link));
    turnpike.remote.release(adopted).await;
    went
}

/// The customer's side: takes the mail that a link's server keeps for us; ends when the provider has ended the connection.
pub(crate) async fn fetch(turnpike: &Turnpike, context: &Context, link: &Link) -> Result<Fetched, String> {
    let server = link.server.as_ref().filter(|_| link.fetch != Fetch::Never);
    let Some(server) = server else { return Err(format!("control/links does not say fetch for {}", link.name)) };
    let domains = link.destinations.iter().filter(|d| !d.starts_with(b".") && *d != b"*").cloned().collect::<Vec<_>>().join(&b","[..]);
    match turnpike.remote.ask_for_mail(server, &domains).await? {
        Provided::NoMail => Ok(Fetched::Nothing),
        Provided::Turned(stream, peer) => {
            let local = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            let caller = Caller { peer, local, kind: ListenerKind::Smtp, session: 0, permit: None };
            // What secures the connection is below it: STARTTLS is not offered a second time. We chose whom we called: no block list is asked.
            let context = Context { tls: None, held: None, lists: None, ..context.clone() };
            postino_smtpd::serve_turned(stream, caller, context).await;
            Ok(Fetched::Mail)
        }
    }
}

/// Fetches at the intervals that control/links names, until the task is ended.
pub(crate) async fn keep_fetching(turnpike: Turnpike, context: Context) {
    let mut next: HashMap<Arc<str>, Duration> = HashMap::new();
    loop {
        let config = turnpike.live.get();
        let now = turnpike.clock.monotonic();
        for link in config.links.iter() {
            let Fetch::Every(interval_s) = link.fetch else { continue };
            let due = next.entry(link.name.clone()).or_insert(now);
            if now < *due {
                continue;
            }
            *due = now + Duration::from_secs(interval_s.unsigned_abs());
            if let Err(error) = fetch(&turnpike, &context, link).await {
                tracing::warn!(link = &*link.name, error, "mail cannot be fetched");
            }
        }
        next.retain(|name, _| config.links.named(name).is_some());
        tokio::time::sleep(TIMER).await;
    }
}
