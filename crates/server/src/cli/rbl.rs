//! `postino rbl`: asks the lists of `control/rbl` by hand, as the server would, and says what each said and what would follow. Changes nothing.

use super::{Place, print_json, say};
use anyhow::{Context, bail};
use clap::Args;
use postino_control::Config;
use postino_control::rbl::{About, List, Refusal, Role};
use postino_policy::rbl::Finding;
use postino_ports::event::Silent;
use postino_smtpd::lists::{Inquiry, Subject};
use postino_types::printable::printable;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  postino rbl 192.0.2.99\n  postino rbl 2001:db8::99 --json\n  postino rbl spammer.example\n\nExit codes: 0 such a client may write here, 1 it is refused, 111 the question failed."
)]
pub(crate) struct RblArgs {
    /// A client's address, or a domain: then the lists of senders and of HELO names are asked
    #[arg(value_name = "ADDRESS")]
    what: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Asks and reports. A script must be able to tell a refusal from a question that could not be asked.
pub(crate) fn run(place: &Place, args: &RblArgs) -> anyhow::Result<i32> {
    asked(place, args).or_else(|error| {
        eprintln!("postino: {}", super::told(&error));
        Ok(postino_types::exit::SOFT)
    })
}

fn asked(place: &Place, args: &RblArgs) -> anyhow::Result<i32> {
    let config = super::load(&place.home())?;
    if config.rbl.is_empty() {
        bail!("{} names no list", config.home.join("control/rbl").display());
    }
    let subject = subject(&args.what);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let (findings, refusal) = runtime.block_on(ask(&config, subject.clone()))?;
    let pairs = || config.rbl.iter().zip(&findings);
    if args.json {
        let lists: Vec<_> = pairs().map(|(list, finding)| as_json(list, finding)).collect();
        let refused = refusal.as_ref().map(|(how, text)| json!({"code": code(*how), "text": printable(text.as_bytes())}));
        print_json(&json!({"asked": args.what, "lists": lists, "refused": refused}));
    } else {
        let width = config.rbl.iter().map(|list| list.base.len()).max().unwrap_or(0);
        for (list, finding) in pairs() {
            say(&format!("{:width$}  {:7}  {}", list.base, about(list.about), words(list, finding)));
        }
        say(&match &refusal {
            Some((how, text)) => format!("refused: {} {}", code(*how), printable(text.as_bytes())),
            None => "not refused".into(),
        });
    }
    Ok(i32::from(refusal.is_some()))
}

fn subject(what: &str) -> Subject {
    match what.parse::<IpAddr>() {
        Ok(ip) => Subject { ip: ip.to_canonical(), sender: None, helo: None },
        Err(_) => Subject { ip: Ipv4Addr::LOCALHOST.into(), sender: Some(what.to_owned()), helo: Some(what.to_owned()) },
    }
}

async fn ask(config: &Config, subject: Subject) -> anyhow::Result<(Vec<Finding>, Option<(Refusal, String)>)> {
    let lists = crate::compose::block_lists(config, Arc::new(Silent))?;
    // A domain is no client: the lists of addresses have nothing to be asked.
    let mut config = config.clone();
    let by_domain = subject.sender.is_some();
    let mut inquiry = Inquiry::new(&lists, &config, subject, move |about| (about == About::Address) != by_domain);
    let findings = inquiry.findings().await.to_vec();
    config.server.rbl.only_log = false;
    let refusal = inquiry.decide(&config, 0).await;
    Ok((findings, refusal))
}

fn code(how: Refusal) -> u16 {
    match how {
        Refusal::ForNow => 451,
        Refusal::ForGood => 553,
    }
}

fn about(about: About) -> &'static str {
    match about {
        About::Address => "address",
        About::Sender => "sender",
        About::Helo => "helo",
    }
}

fn words(list: &List, finding: &Finding) -> String {
    match finding {
        Finding::NotAsked => "not asked".into(),
        Finding::NotListed => "not listed".into(),
        Finding::NoAnswer => "no answer".into(),
        Finding::LeftOut(why) => format!("left out: it {}", printable(why.as_bytes())),
        Finding::Listed { answers, text } => {
            let mut line = "LISTED".to_owned();
            answers.iter().for_each(|answer| line += &format!(" {answer}"));
            line += &match (finding.score(list), list.role) {
                (None, _) => ", an answer that does not count".into(),
                (Some(_), Role::Allow) => ", let in".into(),
                (Some(_), Role::Block(how)) => format!(", {}", code(how)),
                (Some(score), Role::Score(_)) => format!(", score {score}"),
            };
            match text {
                Some(text) => format!("{line}: {}", printable(text.as_bytes())),
                None => line,
            }
        }
    }
}

fn as_json(list: &List, finding: &Finding) -> serde_json::Value {
    let (word, why) = match finding {
        Finding::NotAsked => ("not asked", None),
        Finding::NotListed => ("not listed", None),
        Finding::NoAnswer => ("no answer", None),
        Finding::LeftOut(why) => ("left out", Some(why)),
        Finding::Listed { .. } => ("listed", None),
    };
    let (answers, text) = match finding {
        Finding::Listed { answers, text } => (answers.iter().map(ToString::to_string).collect(), text.as_ref()),
        _ => (Vec::new(), None),
    };
    json!({"list": list.base, "about": about(list.about), "result": word, "why": why, "answers": answers, "text": text,
        "counts": finding.counts(list), "score": finding.score(list)})
}
