//! Times as ctime(3) writes them, in the machine's zone: `Tue Nov 24 10:47:26 2026`. Called by vuserinfo. date(1) knows $TZ and the zone; one run of it
//! tells many times. Without it they are told in UTC.

use postino_message::date::Civil;
use postino_types::Time;
use std::io::Write;
use std::process::{Command, Stdio};

const FORMAT: &str = "+%a %b %e %H:%M:%S %Y";

/// One text for each time (Unix seconds).
pub(crate) fn texts(times: &[i64]) -> Vec<String> {
    asked(times).filter(|told| told.len() == times.len()).unwrap_or_else(|| times.iter().map(|time| universal(*time)).collect())
}

fn asked(times: &[i64]) -> Option<Vec<String>> {
    if times.is_empty() {
        return Some(Vec::new());
    }
    let mut date = Command::new("date");
    date.args(["-f", "-", FORMAT]).env("LC_ALL", "C").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = date.spawn().ok()?;
    // All questions fit into a pipe (callers ask a page at a time), so neither side waits for the other.
    let questions: String = times.iter().map(|time| format!("@{time}\n")).collect();
    child.stdin.take()?.write_all(questions.as_bytes()).ok()?;
    let output = child.wait_with_output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    Some(text.lines().map(str::to_owned).collect())
}

fn universal(time: i64) -> String {
    let civil = Civil::of(Time::from_secs(time));
    let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let weekday = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    format!(
        "{} {} {:>2} {:02}:{:02}:{:02} {}",
        weekday.get(usize::from(civil.weekday)).unwrap_or(&"Sun"),
        month.get(usize::from(civil.month).wrapping_sub(1)).unwrap_or(&"Jan"),
        civil.day,
        civil.hour,
        civil.minute,
        civil.second,
        civil.year
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_a_time() {
        assert_eq!(universal(1_795_487_225), "Tue Nov 24 02:27:05 2026");
        let told = texts(&[0, 1_795_487_225]);
        assert_eq!(told.len(), 2);
        assert!(told.iter().all(|text| text.len() == 24), "{told:?}");
        assert!(texts(&[]).is_empty());
    }
}
