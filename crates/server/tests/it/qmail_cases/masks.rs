//! What differs from run to run (numbers, dates, names of files), written as the cases write it. Called by `qmail_cases`; never touches a file.

use super::names::Names;
use std::collections::BTreeMap;

/// Replaces the number that follows each `before`.
fn numbers(text: &str, before: &str, mut token: impl FnMut(&str) -> String) -> String {
    let mut parts = text.split(before);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        out.push_str(before);
        out.push_str(&if number.is_empty() { String::new() } else { token(number) });
        out.push_str(rest);
    }
    out
}

/// The log's lines up to the end that the test asked for.
pub(super) fn log(text: &str, names: &Names) -> Vec<String> {
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    let lines = text.lines().take_while(|line| !line.contains("exitasap") && !line.contains("exiting"));
    lines
        .map(|line| {
            let line = numbers(&line.replace("bounce/", "bounce/msg "), "msg ", |id| {
                let next = known.len() + 1;
                // A number comes again for a later message when the first is gone.
                if line.starts_with("new msg ") {
                    known.retain(|old, _| old != id);
                    let most = known.values().copied().max().unwrap_or(0).max(next - 1);
                    known.insert(id.to_owned(), most + 1);
                }
                format!("#{}", known.get(id).copied().unwrap_or(0))
            });
            let line = line.replace("bounce/msg ", "bounce/");
            let line = numbers(&numbers(&line, "bytes ", |_| "<N>".into()), " qp ", |_| "<PID>".into());
            numbers(&numbers(&line, "/qp_", |_| "<PID>".into()), " uid ", |uid| names.token(uid))
        })
        .collect()
}

/// The same events: in order, or, where deliveries at the same time may end either way round, without the counts between them.
pub(super) fn same(seen: &[String], wanted: &[String]) -> bool {
    let events = |lines: &[String]| {
        let mut lines: Vec<String> = lines.iter().filter(|line| !line.starts_with("status: ")).cloned().collect();
        lines.sort();
        lines
    };
    seen == wanted || (events(seen) == events(wanted) && seen.first() == wanted.first() && seen.last() == wanted.last())
}

/// `~joe/Maildir/new/<UNIQ>#2` as `~joe/Maildir/new/<UNIQ>`.
pub(super) fn plain(name: &str) -> String {
    name.split_once("<UNIQ>#").map_or_else(|| name.to_owned(), |(before, _)| format!("{before}<UNIQ>"))
}

/// Names and contents, sorted.
pub(super) fn files(files: &[(String, String)], names: &Names) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = files.iter().map(|(name, content)| (file_name(name), settled(&body(content, names)))).collect();
    files.sort();
    files
}

/// A bounce's paragraphs in one order: deliveries at the same time fail either way round.
pub(super) fn settled(content: &str) -> String {
    if !content.contains("Hi. This is the qmail-send program") {
        return content.to_owned();
    }
    let mut paragraphs: Vec<&str> = content.split("\n\n").collect();
    paragraphs.sort_unstable();
    paragraphs.join("\n\n")
}

fn file_name(name: &str) -> String {
    name.split_once("/new/").map_or_else(|| name.to_owned(), |(before, _)| format!("{before}/new/<UNIQ>"))
}

fn body(text: &str, names: &Names) -> String {
    let text = numbers(&numbers(text, "(qmail ", |_| "<PID>".into()), "invoked by uid ", |uid| names.token(uid));
    text.split('\n').map(dates).collect::<Vec<_>>().join("\n")
}

fn dates(line: &str) -> String {
    let received = line.split_once("); ").filter(|(before, date)| before.starts_with("Received: ") && date.ends_with(" -0000"));
    match received {
        Some((before, _)) => format!("{before}); <DATE>"),
        None if line.starts_with("Date: ") && line.ends_with(" -0000") => "Date: <DATE>".to_owned(),
        None if line.starts_with("From ") || line.starts_with("UFLINE=From ") => mbox_date(line),
        None => line.to_owned(),
    }
}

/// `From sender Tue Nov 24 10:47:26 2026`; other lines that begin so are left alone.
fn mbox_date(line: &str) -> String {
    let at = line.len().saturating_sub(24);
    let date = line.get(at..).filter(|date| date.matches(':').count() == 2 && date.matches(' ').count() >= 4);
    date.map_or_else(|| line.to_owned(), |_| format!("{}<CTIME>", line.get(..at).unwrap_or_default()))
}
