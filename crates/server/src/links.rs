//! Links (control/links) as the command line, the sessions and local clocks see them. Called by the control socket and the listeners; the
//! switches themselves are the scheduler's.

use crate::control_socket::Holder;
use postino_control::links::{Link, LinkTable};
use postino_control::{Config, Live};
use postino_ports::BoxFuture;
use postino_ports::clock::Clock;
use postino_ports::links::{Asked, Asker, Links, Turn};
use postino_ports::queue::{Queue, SettleError};
use postino_remote::Remote;
use postino_send::{Scheduler, WeekMinute};
use postino_types::{Channel, QueueId, Recipient, Time};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Entries read at once for a count.
const PAGE: usize = 500;
/// How long a link stays up when a client has asked for its mail.
const WINDOW: Duration = Duration::from_secs(600);
/// A client that asks again sooner changes nothing.
const BETWEEN_LOOKS: Duration = Duration::from_secs(10);
const DAY_MINUTES: u32 = 24 * 60;

/// What switches links.
#[derive(Clone)]
pub(crate) struct Turnpike {
    pub(crate) live: Live,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) remote: Arc<Remote>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Links that a client asked for lately, and when.
    pub(crate) asked: Arc<Mutex<HashMap<Arc<str>, Duration>>>,
}

impl Links for Turnpike {
    fn ask<'a>(&'a self, asker: Asker<'a>, node: &'a [u8]) -> BoxFuture<'a, Asked> {
        Box::pin(async move {
            let config = self.live.get();
            let Some(link) = config.links.of_node(node).filter(|link| link.etrn.hold(asker.ip, asker.login)) else {
                return Asked::NotAllowed;
            };
            if self.was_asked_lately(link) {
                return Asked::UnderWay;
            }
            match self.up(link, Some(WINDOW), Some(asker.ip)).await {
                Ok(messages) => Asked::Started(messages),
                Err(error) => {
                    tracing::warn!(link = &*link.name, error, "held mail cannot be let go");
                    Asked::Unavailable
                }
            }
        })
    }

    fn turn<'a>(&'a self, login: &'a str, domains: &'a [u8]) -> BoxFuture<'a, Turn> {
        Box::pin(async move {
            let config = self.live.get();
            let links = turnable(&config.links, login, domains);
            if links.is_empty() {
                return Turn::NotAllowed;
            }
            for link in &links {
                match self.has_mail(link).await {
                    Ok(true) => return Turn::Granted(links.iter().map(|link| link.name.to_string()).collect()),
                    Ok(false) => {}
                    Err(_) => return Turn::Unavailable,
                }
            }
            Turn::NoMail
        })
    }

    fn connected(&self, ip: IpAddr) {
        for link in self.live.get().links.turned_by(ip) {
            if self.scheduler.link_state(link).is_up || self.was_asked_lately(link) {
                continue;
            }
            let (turnpike, link) = (self.clone(), link.clone());
            tokio::spawn(async move {
                if let Err(error) = turnpike.up(&link, Some(WINDOW), Some(ip)).await {
                    tracing::warn!(link = &*link.name, error, "held mail cannot be let go");
                }
            });
        }
    }
}

impl Turnpike {
    pub(crate) fn link(&self, name: &str) -> Result<Arc<Link>, String> {
        self.live.get().links.named(name).cloned().ok_or_else(|| format!("control/links has no link {name:?}"))
    }

    /// Switches a link on; the number of messages that it lets go.
    pub(crate) async fn up(&self, link: &Link, window: Option<Duration>, caller: Option<IpAddr>) -> Result<u64, String> {
        self.remote.link_is_up(&link.name, caller);
        let messages = self.scheduler.link_up(link, window).await.map_err(|e| e.to_string())?;
        tracing::info!(link = &*link.name, messages, "link is up");
        Ok(messages)
    }

    pub(crate) fn down(&self, link: &Link) {
        self.scheduler.link_down(link);
        tracing::info!(link = &*link.name, "link is down");
    }

    /// Nothing more than a moment ago: each look through the queue costs, and a client may ask as often as it likes.
    fn was_asked_lately(&self, link: &Link) -> bool {
        let now = self.clock.monotonic();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|_, at| now.saturating_sub(*at) < BETWEEN_LOOKS);
        asked.contains_key(&link.name) || asked.insert(link.name.clone(), now).is_some()
    }

    async fn has_mail(&self, link: &Link) -> Result<bool, SettleError> {
        let config = self.live.get();
        let mut after = QueueId(0);
        loop {
            let page = self.queue.list(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(false) };
            after = last.id;
            if page.iter().any(|entry| !entry.held && postino_send::waits_for(&config.links, entry, &link.name)) {
                return Ok(true);
            }
        }
    }

    /// All links with what waits for each.
    pub(crate) async fn status(&self) -> Result<Value, String> {
        let config = self.live.get();
        let mut waiting: HashMap<Arc<str>, u64> = HashMap::new();
        let mut after = QueueId(0);
        while !config.links.is_empty() {
            let page = self.queue.list(after, PAGE).await.map_err(|e| e.to_string())?;
            let Some(last) = page.last() else { break };
            after = last.id;
            for link in config.links.iter() {
                let count = page.iter().filter(|entry| postino_send::waits_for(&config.links, entry, &link.name)).count() as u64;
                *waiting.entry(link.name.clone()).or_default() += count;
            }
        }
        let all = config.links.iter().map(|link| {
            let state = self.scheduler.link_state(link);
            let destinations: Vec<String> = link.destinations.iter().map(|d| String::from_utf8_lossy(d).into_owned()).collect();
            let server = link.server.as_ref().map(|server| format!("{}:{}", server.relay, server.port));
            let server = server.or_else(|| link.caller_port.map(|port| format!("caller:{port}")));
            json!({"name": &*link.name, "up": state.is_up, "messages": waiting.get(&link.name).copied().unwrap_or(0),
                "under_way": state.under_way, "destinations": destinations, "server": server})
        });
        Ok(json!({ "links": all.collect::<Vec<_>>() }))
    }
}

/// The links that ATRN means: those of each domain named, or all that are this login's. Empty when one of them is not for it (RFC 2645 5.2.1).
fn turnable(links: &LinkTable, login: &str, domains: &[u8]) -> Vec<Arc<Link>> {
    let may = |link: &&Arc<Link>| link.atrn.hold(IpAddr::V4(Ipv4Addr::UNSPECIFIED), Some(login));
    if domains.is_empty() {
        return links.iter().filter(may).cloned().collect();
    }
    let named: Option<Vec<&Arc<Link>>> = domains.split(|&b| b == b',').map(|domain| links.of_node(domain).filter(may)).collect();
    let mut found: Vec<Arc<Link>> = Vec::new();
    for link in named.unwrap_or_default() {
        if !found.iter().any(|known| known.name == link.name) {
            found.push(link.clone());
        }
    }
    found
}

/// For the queue of a server that does not run: links without hours are down.
pub(crate) fn holder_while_stopped(config: Config) -> Box<Holder> {
    let minute = week_minute()(Time::from_secs(jiff::Timestamp::now().as_second()));
    Box::new(move |recipient: &Recipient| {
        let remote = recipient.routed.channel == Channel::Remote;
        let link = config.links.of_host(recipient.routed.address.host().unwrap_or_default()).filter(|_| remote)?;
        (!link.hours.iter().any(|hours| hours.hold(minute))).then(|| link.clone())
    })
}

/// The minute of the week by this machine's time zone.
pub(crate) fn week_minute() -> WeekMinute {
    let zone = jiff::tz::TimeZone::system();
    Arc::new(move |time: Time| {
        let moment = jiff::Timestamp::from_millisecond(time.0).unwrap_or_default().to_zoned_datetime(zone.clone());
        let positive = |n: i8| u32::try_from(n).unwrap_or(0);
        let day = positive(moment.weekday().to_monday_zero_offset());
        day * DAY_MINUTES + positive(moment.hour()) * 60 + positive(moment.minute())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atrn_means_all_of_a_logins_links_or_those_of_its_domains() {
        let table =
            LinkTable::parse(b"a a.test - atrn=joe@a.test\nb b.test,c.test - atrn=joe@a.test\nd d.test - atrn=ann@d.test\n").unwrap();
        let names = |login: &str, domains: &str| {
            let links = turnable(&table, login, domains.as_bytes());
            links.iter().map(|link| link.name.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names("joe@a.test", ""), "a b");
        assert_eq!(names("Joe@A.test", "B.test,c.test"), "b");
        assert_eq!(names("joe@a.test", "a.test,d.test"), "");
        assert_eq!(names("ann@d.test", "a.test"), "");
        assert_eq!(names("", ""), "");
    }

    #[test]
    fn the_week_begins_on_monday() {
        let minute = week_minute();
        // Whatever the zone: an hour later is sixty minutes later, and a week later the same minute.
        let at = Time::from_secs(1_795_486_507);
        assert_eq!((minute(at) + 60) % (7 * DAY_MINUTES), minute(at.plus_secs(3600)));
        assert!(minute(at) < 7 * DAY_MINUTES);
        assert_eq!(
            jiff::Timestamp::from_second(0).unwrap().to_zoned_datetime(jiff::tz::TimeZone::UTC).weekday().to_monday_zero_offset(),
            3
        );
    }
}
