//! Hours of a link: `22:00-06:00`, with days `22:00-06:00/mon-fri`. Pure: the caller says what the local clock shows.

/// Minutes of a day.
pub(super) const DAY: u32 = 24 * 60;
const WEEK: u32 = 7 * DAY;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// From one time of the day until another; over midnight when the end is not later. The day is that of the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    /// Minutes after midnight.
    from: u32,
    /// Length, minutes.
    length: u32,
    /// Bit 0 = Monday.
    days: u8,
}

impl Hours {
    /// Is it within these hours? `minute`: minutes since Monday 00:00, local time.
    #[must_use]
    pub fn hold(&self, minute: u32) -> bool {
        self.starts().any(|start| (minute % WEEK + WEEK - start) % WEEK < self.length)
    }

    /// Minutes from `minute` until they begin next; 0 while they last.
    #[must_use]
    pub fn until(&self, minute: u32) -> Option<u32> {
        if self.hold(minute) {
            return Some(0);
        }
        self.starts().map(|start| (start + WEEK - minute % WEEK) % WEEK).min()
    }

    fn starts(&self) -> impl Iterator<Item = u32> + '_ {
        (0..7u32).filter(|day| self.days & (1 << day) != 0).map(|day| day * DAY + self.from)
    }

    /// `HH:MM-HH:MM`, `HH:MM-HH:MM/mon`, `…/mon-fri`, `…/sat+sun`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (span, days) = text.split_once('/').map_or((text, None), |(span, days)| (span, Some(days)));
        let (from, to) = span.split_once('-')?;
        let (from, to) = (time(from)?, time(to)?);
        let length = if to > from { to - from } else { DAY + to - from };
        let days = match days {
            None => 0x7f,
            Some(days) => days.split('+').try_fold(0u8, |all, part| Some(all | range(part)?))?,
        };
        (from < DAY).then_some(Self { from, length, days })
    }
}

fn time(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str, max: u32| {
        let plain = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u32>().ok().filter(|n| plain && *n <= max)
    };
    let minute = number(hours, 24)? * 60 + number(minutes, 59)?;
    (minute <= DAY).then_some(minute)
}

fn range(text: &str) -> Option<u8> {
    let day = |name: &str| DAYS.iter().position(|day| day.eq_ignore_ascii_case(name));
    let (from, to) = match text.split_once('-') {
        Some((from, to)) => (day(from)?, day(to)?),
        None => (day(text)?, day(text)?),
    };
    let length = (to + 7 - from) % 7;
    Some((0..=length).fold(0, |all, n| all | 1 << ((from + n) % 7)))
}
