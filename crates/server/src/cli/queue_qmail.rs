//! The queue in the words of qmail-qread(8) and qmail-qstat(8), which scripts read. Called by `postino queue … --qmail`, which those programs
//! become. Pure but for the output.

use serde_json::Value;
use std::io::{self, Write};

/// A message and its recipients.
pub(super) fn write_entry(out: &mut impl Write, entry: &Value) -> io::Result<()> {
    let number = |key: &str| entry.get(key).and_then(Value::as_i64).unwrap_or(0);
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let recipients = entry.get("recipients").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let failed = recipients.iter().any(|recipient| text(recipient, "state") == "failed");
    let date = postino_message::qmail_date(postino_types::Time::from_secs(number("arrived")));
    let date = date.strip_suffix(" -0000").unwrap_or(&date);
    let tail = if failed { " bouncing" } else { "" };
    writeln!(out, "{date} GMT  #{}  {}  <{}> {tail}", number("id"), number("size"), text(entry, "sender"))?;
    for recipient in recipients {
        let done = if matches!(text(recipient, "state").as_str(), "delivered" | "failed") { "  done" } else { "" };
        writeln!(out, "{done}\t{}\t{}", text(recipient, "channel"), text(recipient, "routed"))?;
    }
    Ok(())
}

/// The counts.
pub(super) fn write_stat(out: &mut impl Write, entries: u64, dropped: u64) -> io::Result<()> {
    writeln!(out, "messages in queue: {}", entries.saturating_add(dropped))?;
    writeln!(out, "messages in queue but not yet preprocessed: {dropped}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn as_the_originals_print() {
        let recipient = |channel: &str, address: &str, state: &str| json!({"channel": channel, "routed": address, "state": state});
        let mut entry = json!({"id": 7, "size": 123, "arrived": 1_795_486_685, "sender": "s@a.test", "recipients": [
            recipient("local", "oqalice@oracle.test", "pending"), recipient("remote", "far@remote.test", "held")]});
        let printed = |entry: &Value| {
            let mut out = Vec::new();
            write_entry(&mut out, entry).unwrap();
            String::from_utf8(out).unwrap()
        };
        let text = printed(&entry);
        let (head, rest) = text.split_once('\n').unwrap();
        assert!(head.ends_with(" GMT  #7  123  <s@a.test> "), "{head}");
        assert_eq!(rest, "\tlocal\toqalice@oracle.test\n\tremote\tfar@remote.test\n");
        entry["recipients"][1]["state"] = json!("failed");
        let text = printed(&entry);
        assert!(text.contains("<s@a.test>  bouncing\n") && text.ends_with("  done\tremote\tfar@remote.test\n"), "{text}");
        let mut out = Vec::new();
        write_stat(&mut out, 1, 0).unwrap();
        assert_eq!(out, b"messages in queue: 1\nmessages in queue but not yet preprocessed: 0\n");
    }
}
