//! docs/attacks.md, 1 and 34: no spelling of a line end but CRLF `.` CRLF ends a message, in DATA, split DATA and BDAT.

use crate::house::House;
use postino_control::resolved::ListenerKind;

const EVIL: &str = "MAIL FROM:<evil@evil.test>\r\nRCPT TO:<user2@example.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nevil\r\n";

/// What might be taken for the end of a message.
const SPELLINGS: [&str; 34] = [
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r\n.\r",
    "\r.\r\n",
    "\r.\n",
    "\n.\r",
    "\n\n.\n\n",
    "\n\n.\r\n",
    "\r\r.\r\r",
    "\r\n\n.\n",
    "\r\n\n.\r\n",
    "\r\n.\r\r\n",
    "\r\n.\n\r\n",
    "\r\n.\0\r\n",
    "\r\n\0.\r\n",
    "\r\0\n.\r\n",
    "\r\n.\r\0\n",
    "\0\n.\n",
    "\n\0.\n",
    "\r\n. \r\n",
    "\r\n.\t\r\n",
    "\r\n .\r\n",
    "\r\n..\r\n",
    "\u{85}.\u{85}",
    "\u{2028}.\u{2028}",
    "\x0b.\x0b",
    "\x0c.\x0c",
    "\x1a",
    "\x04",
    "\\r\\n.\\r\\n",
    "=0D=0A.=0D=0A",
    "\n\r.\n\r",
];

fn content(spelling: &str) -> String {
    format!("Subject: first\r\n\r\nbody{spelling}{EVIL}")
}

fn judge(house: &House, spelling: &str, reply: &str, next: &str, way: &str) {
    assert!(next.starts_with("250"), "{way} {spelling:?}: the session is in step: {next:?}");
    let stored = house.queue.stored.lock().unwrap();
    if reply.starts_with("250") {
        assert_eq!(stored.len(), 1, "{way} {spelling:?}");
        assert!(stored[0].text().contains("smuggled"), "{way} {spelling:?}: all of it is one message");
        assert_eq!(stored[0].recipients(), ["user1@example.test"]);
    } else {
        assert!(reply.starts_with("550 5.6.0"), "{way} {spelling:?}: {reply:?}");
        assert!(stored.is_empty(), "{way} {spelling:?}");
    }
}

async fn by_data(spelling: &str, room: usize) {
    let house = House::new();
    let mut client = house.pipe(ListenerKind::Smtp, room);
    client.reply().await;
    for (line, want) in [("EHLO c", "250"), ("MAIL FROM:<a@b.test>", "250"), ("RCPT TO:<user1@example.test>", "250"), ("DATA", "354")] {
        client.say(line, want).await;
    }
    client.send(format!("{}.\r\nNOOP\r\n", content(spelling))).await;
    let (reply, next) = (client.reply().await, client.reply().await);
    judge(&house, spelling, &reply, &next, if room == 1 { "split" } else { "data" });
}

#[tokio::test]
async fn data() {
    for spelling in SPELLINGS {
        by_data(spelling, 1 << 16).await;
    }
}

#[tokio::test]
async fn data_split_at_every_byte() {
    for spelling in SPELLINGS {
        by_data(spelling, 1).await;
    }
}

#[tokio::test]
async fn bdat() {
    for spelling in SPELLINGS.into_iter().chain(["\r\n.\r\n"]) {
        let house = House::new();
        let mut client = house.greeted().await;
        client.say("MAIL FROM:<a@b.test>", "250").await;
        client.say("RCPT TO:<user1@example.test>", "250").await;
        let all = content(spelling);
        let (head, tail) = all.as_bytes().split_at(all.find(spelling).unwrap() + 1);
        client.send([format!("BDAT {}\r\n", head.len()).as_bytes(), head].concat()).await;
        client.reply().await;
        client.send([format!("BDAT {} LAST\r\n", tail.len()).as_bytes(), tail, b"NOOP\r\n"].concat()).await;
        let (reply, next) = (client.reply().await, client.reply().await);
        judge(&house, spelling, &reply, &next, "bdat");
    }
}

/// Content sent without waiting for 354 is content when DATA is taken, and nothing at all when it is not.
#[tokio::test]
async fn content_ahead_of_354() {
    let house = House::new();
    let mut client = house.greeted().await;
    let group = format!("MAIL FROM:<a@b.test>\r\nRCPT TO:<user1@example.test>\r\nDATA\r\n{EVIL}.\r\nQUIT\r\n");
    client.send(group).await;
    let codes: Vec<String> = client.rest().await.iter().map(|r| r[..3].to_owned()).collect();
    assert_eq!(codes, ["250", "250", "354", "250", "221"]);
    assert!(house.last(|m| m.text()).starts_with("MAIL FROM"));

    let house = House::new();
    let mut client = house.greeted().await;
    client.send(format!("MAIL FROM:<a@b.test>\r\nRCPT TO:<nobody@example.test>\r\nDATA\r\n{EVIL}.\r\n")).await;
    let codes: Vec<String> = client.rest().await.iter().map(|r| r[..3].to_owned()).collect();
    assert_eq!(codes, ["250", "550", "554", "421"]);
    assert_eq!(house.count(), 0);
}
