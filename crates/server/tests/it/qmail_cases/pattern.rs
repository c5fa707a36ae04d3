//! Texts of the cases in which numbers and dates stand as `<PID>`, `<DATE>` and their like, against what was seen. Called by `qmail_cases`; pure.

use super::names::Names;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Fails with both texts when `seen` is not what the case wants.
pub(super) fn assert_fits(what: &str, seen: &str, wanted: &str, names: &Names) {
    assert!(fits(seen, wanted, names), "{what}\n{seen:?}\nwanted\n{wanted:?}");
}

/// True when `seen` is `wanted` with something fitting in place of each token.
pub(super) fn fits(seen: &str, wanted: &str, names: &Names) -> bool {
    let Some((before, token, after)) = next_token(wanted, names) else { return seen == wanted };
    let Some(rest) = seen.strip_prefix(before) else { return false };
    lengths(rest, token, names).into_iter().any(|length| fits(&rest[length..], after, names))
}

/// The first token of a text: what stands before it, its word, what follows.
fn next_token<'a>(text: &'a str, names: &Names) -> Option<(&'a str, &'a str, &'a str)> {
    text.match_indices('<').find_map(|(at, _)| {
        let (word, after) = text[at + 1..].split_once('>')?;
        // `<PID.TIME@host>` keeps its brackets.
        if let Some(host) = word.strip_prefix("PID.TIME@") {
            let end = at + 1 + "PID.TIME".len();
            debug_assert!(text[end..].starts_with(&format!("@{host}")));
            return Some((&text[..=at], "PID.TIME", &text[end..]));
        }
        let known = matches!(word, "PID" | "TIME" | "N" | "ID" | "CPORT" | "STAMP" | "DATE" | "QDATE") || names.number(word).is_some();
        known.then_some((&text[..at], word, after))
    })
}

/// How much of the beginning of `rest` may be what `token` stands for.
fn lengths(rest: &str, token: &str, names: &Names) -> Vec<usize> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let all = digits(rest);
    match token {
        "STAMP" => (all == 14).then_some(14).into_iter().collect(),
        "DATE" => rest.find(" -0000").map(|at| at + 6).filter(|end| is_date(&rest[..*end])).into_iter().collect(),
        "QDATE" => rest.find(" GMT").filter(|end| is_date(&format!("{} -0000", &rest[..*end]))).into_iter().collect(),
        // A case's own program may have put it there.
        "PID.TIME" if rest.starts_with("PID.TIME") => vec!["PID.TIME".len()],
        "PID.TIME" => {
            let second = rest.get(all + 1..).map_or(0, digits);
            (all > 0 && second > 0 && rest[all..].starts_with('.')).then_some(all + 1 + second).into_iter().collect()
        }
        _ => match names.number(token) {
            Some(number) => rest.starts_with(&number.to_string()).then(|| number.to_string().len()).into_iter().collect(),
            None => (all > 0).then_some(all).into_iter().collect(),
        },
    }
}

/// `5 Jan 2026 02:03:04 -0000`
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split(' ').collect();
    let [day, month, year, time, "-0000"] = parts[..] else { return false };
    let day_is_one = !day.starts_with('0') && day.parse::<u32>().is_ok_and(|day| (1..=31).contains(&day));
    let clock = time.len() == 8 && time.split(':').filter(|part| part.len() == 2 && part.parse::<u32>().is_ok()).count() == 3;
    day_is_one && MONTHS.contains(&month) && year.len() == 4 && year.parse::<u32>().is_ok() && clock
}

/// Line ends as the cases write them: `\r\n` in letters, then the end of the line.
pub(super) fn visible(stdout: &[u8]) -> String {
    super::world::read_text(stdout).replace("\r\n", "\\r\\n\n")
}
