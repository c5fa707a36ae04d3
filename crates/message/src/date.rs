//! Dates as mail writes them, always UTC: qmail's header form, the From_ line's form, and a lenient reader of RFC 5322 dates.
//! Called by all that build or read header lines; never reads a clock.

use postino_types::Time;
use std::fmt::Write as _;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const DAY_S: i64 = 86_400;

/// A moment of UTC, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    /// Year of the proleptic Gregorian calendar.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// 0 = Sunday.
    pub weekday: u8,
}

impl Civil {
    /// Takes a time apart (whole seconds, rounded down).
    #[must_use]
    pub fn of(time: Time) -> Self {
        let days = time.secs().div_euclid(DAY_S);
        let rest = time.secs().rem_euclid(DAY_S);
        // Days since 0000-03-01, so that the leap day is the last of a year.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self {
            year,
            month: small(month),
            day: small(day),
            hour: small(rest / 3600),
            minute: small(rest / 60 % 60),
            second: small(rest % 60),
            weekday: small((days + 4).rem_euclid(7)),
        }
    }

    fn month_name(self) -> &'static str {
        MONTHS.get(usize::from(self.month).wrapping_sub(1)).copied().unwrap_or("Jan")
    }

    fn weekday_name(self) -> &'static str {
        WEEKDAYS.get(usize::from(self.weekday)).copied().unwrap_or("Sun")
    }
}

fn small(n: i64) -> u8 {
    u8::try_from(n).unwrap_or(0)
}

/// qmail's header form, `24 Nov 2026 02:15:07 -0000` (RFC 5322 3.3 without the day's name; `-0000` says that the zone is not told).
#[must_use]
pub fn qmail_date(time: Time) -> String {
    let mut out = String::with_capacity(27);
    push_qmail_date(&mut out, time);
    out
}

/// The same with the day's name before it: `Tue, 24 Nov 2026 02:15:07 -0000`.
#[must_use]
pub fn with_day(time: Time) -> String {
    format!("{}, {}", Civil::of(time).weekday_name(), qmail_date(time))
}

/// As [`qmail_date`], added to `out`.
pub fn push_qmail_date(out: &mut String, time: Time) {
    let c = Civil::of(time);
    // Writing to a String cannot fail.
    let _ = write!(out, "{} {} {} {:02}:{:02}:{:02} -0000", c.day, c.month_name(), c.year, c.hour, c.minute, c.second);
}

/// The form of the From_ line (mbox(5)): `Tue Nov 24 02:15:07 2026`, UTC.
#[must_use]
pub fn asctime(time: Time) -> String {
    let c = Civil::of(time);
    format!("{} {} {:02} {:02}:{:02}:{:02} {}", c.weekday_name(), c.month_name(), c.day, c.hour, c.minute, c.second, c.year)
}

/// `20261124021507`, for message identifiers.
#[must_use]
pub fn compact(time: Time) -> String {
    let c = Civil::of(time);
    format!("{:04}{:02}{:02}{:02}{:02}{:02}", c.year, c.month, c.day, c.hour, c.minute, c.second)
}

/// Seconds since the epoch of a UTC date. Dates beyond year 9999 are not made by mail.
#[must_use]
pub fn from_civil(year: i64, month: u8, day: u8, second_of_day: i64) -> Time {
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let shifted_month = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Time::from_secs((era * 146_097 + day_of_era - 719_468) * DAY_S + second_of_day)
}

/// Reads an RFC 5322 3.3 date leniently: day name, seconds and zone may be missing, obsolete zones and two-digit years are known
/// (RFC 5322 4.3), comments are skipped. `None` when there is no date in it.
#[must_use]
pub fn parse(text: &[u8]) -> Option<Time> {
    let clean = without_comments(text.get(..text.len().min(200))?);
    let mut words = clean.split([' ', '\t', '\r', '\n', ',']).filter(|w| !w.is_empty()).peekable();
    if words.peek()?.starts_with(|c: char| c.is_ascii_alphabetic()) {
        words.next();
    }
    let day: u8 = words.next()?.parse().ok().filter(|d| (1..=31).contains(d))?;
    let month = month_number(words.next()?)?;
    let year = full_year(words.next()?)?;
    let second_of_day = clock(words.next()?)?;
    let zone_s = words.next().map_or(Some(0), zone)?;
    Some(from_civil(year, month, day, second_of_day - zone_s))
}

fn without_comments(text: &[u8]) -> String {
    let mut depth = 0u32;
    let mut out = String::with_capacity(text.len());
    for &b in text {
        match b {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => out.push(char::from(b)),
            _ => {}
        }
    }
    out
}

fn month_number(word: &str) -> Option<u8> {
    let word = word.get(..3)?;
    MONTHS.iter().position(|m| m.eq_ignore_ascii_case(word)).and_then(|i| u8::try_from(i + 1).ok())
}

fn full_year(word: &str) -> Option<i64> {
    let year: i64 = word.parse().ok().filter(|y| (0..=9999).contains(y))?;
    Some(match (word.len(), year) {
        (2, 0..=49) => year + 2000,
        (2 | 3, _) => year + 1900,
        _ => year,
    })
}

fn clock(word: &str) -> Option<i64> {
    let mut parts = word.split(':').map(|p| p.parse::<i64>().ok());
    let hour = parts.next()??;
    let minute = parts.next()??;
    let second = parts.next().unwrap_or(Some(0))?;
    let fits = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..=60).contains(&second) && parts.next().is_none();
    fits.then_some(hour * 3600 + minute * 60 + second)
}

/// Seconds east of UTC; an unknown name counts as UTC (RFC 5322 4.3).
fn zone(word: &str) -> Option<i64> {
    if let Some(sign) = word.chars().next().filter(|c| matches!(c, '+' | '-')) {
        let number: i64 = word.get(1..)?.parse().ok().filter(|n| (0..=9959).contains(n))?;
        let seconds = (number / 100) * 3600 + (number % 100) * 60;
        return Some(if sign == '-' { -seconds } else { seconds });
    }
    let hours = match word.to_ascii_uppercase().as_str() {
        "EDT" => -4,
        "EST" | "CDT" => -5,
        "CST" | "MDT" => -6,
        "MST" | "PDT" => -7,
        "PST" => -8,
        _ => 0,
    };
    Some(hours * 3600)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn writes_known_dates() {
        assert_eq!(qmail_date(Time::from_secs(0)), "1 Jan 1970 00:00:00 -0000");
        assert_eq!(qmail_date(Time::from_secs(1_795_486_507)), "24 Nov 2026 02:15:07 -0000");
        assert_eq!(asctime(Time::from_secs(1_795_486_507)), "Tue Nov 24 02:15:07 2026");
        assert_eq!(asctime(Time::from_secs(951_782_400)), "Tue Feb 29 00:00:00 2000");
        assert_eq!(qmail_date(Time::from_secs(-1)), "31 Dec 1969 23:59:59 -0000");
        assert_eq!(compact(Time::from_secs(1_795_486_507)), "20261124021507");
    }

    #[test]
    fn reads_lenient_dates() {
        let at = Some(Time::from_secs(1_795_486_507));
        for text in [
            "Tue, 24 Nov 2026 02:15:07 -0000",
            "24 nov 26 02:15:07 GMT",
            "Tue, 24 Nov 2026 03:15:07 +0100 (CET)",
            "23 Nov 2026 21:15:07 EST",
            "Tue,24\r\n\tNov 2026 02:15:07",
        ] {
            assert_eq!(parse(text.as_bytes()), at, "{text}");
        }
        for text in ["", "Tue", "32 Nov 2026 00:00", "1 Nov 2026 24:00", "1 Foo 2026 00:00", "1 Nov 2026 10", "- - -"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(secs in 0i64..253_402_300_799) {
            let time = Time::from_secs(secs);
            prop_assert_eq!(parse(qmail_date(time).as_bytes()), Some(time));
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80), ms in any::<i64>()) {
            let _ = parse(&bytes);
            let _ = qmail_date(Time(ms));
            let _ = asctime(Time(ms));
        }
    }
}
