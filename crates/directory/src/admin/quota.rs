//! Quota texts as people type them, turned into vpopmail's form. Called by user changes. Pure.

use super::AdminError;

/// `50M` → `52428800S`, `10M,500C` → `10485760S,500C`, `NOQUOTA`. K and M are powers of 1024; a `B` or `S` may follow.
pub fn quota_text(text: &str) -> Result<String, AdminError> {
    let wrong = || AdminError::Quota(postino_types::printable::printable(text.as_bytes()));
    if text.eq_ignore_ascii_case("NOQUOTA") {
        return Ok("NOQUOTA".into());
    }
    let (mut bytes, mut count) = (None, None);
    for part in text.split(',') {
        let part = part.trim().to_ascii_uppercase();
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = part.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        if unit == "C" {
            count = Some(number);
            continue;
        }
        let unit = unit.strip_suffix('S').unwrap_or(unit);
        let factor: u64 = match unit.strip_suffix('B').unwrap_or(unit) {
            "" => 1,
            "K" => 1 << 10,
            "M" => 1 << 20,
            _ => return Err(wrong()),
        };
        bytes = Some(number.checked_mul(factor).ok_or_else(wrong)?);
    }
    let parts: Vec<String> = [bytes.map(|n| format!("{n}S")), count.map(|n| format!("{n}C"))].into_iter().flatten().collect();
    Ok(parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, want) in [
            ("noquota", "NOQUOTA"),
            ("5000000", "5000000S"),
            ("50M", "52428800S"),
            ("1KB", "1024S"),
            ("10MBS, 500c", "10485760S,500C"),
            ("1000C", "1000C"),
            ("5000000S,1000C", "5000000S,1000C"),
        ] {
            assert_eq!(quota_text(text).unwrap(), want, "{text}");
        }
        for bad in ["", "M", "10G", "-1", "1:2", "10M,,", "99999999999999999999", "99999999999999999M"] {
            assert!(quota_text(bad).is_err(), "{bad}");
        }
    }
}
