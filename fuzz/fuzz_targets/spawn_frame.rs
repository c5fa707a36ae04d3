//! Frames between worker, spawner and child: arbitrary bytes give errors only; what is taken has one spelling; reports survive their packets.
#![no_main]

use postino_fuzz::Source;
use postino_types::spawn_frame::{
    Forward, PACKET_BYTES_MAX, Report, Request, TEXT_BYTES_MAX, decode_forwards, encode_forwards, report_packet,
};

fn through_packets(report: &Report, id: u64) -> Report {
    let packets = report.packets(id);
    let mut body = Vec::new();
    for (i, packet) in packets.iter().enumerate() {
        assert!(packet.len() <= PACKET_BYTES_MAX);
        let part = report_packet(packet).expect("just made");
        assert_eq!((part.id, part.last), (id, i + 1 == packets.len()));
        body.extend_from_slice(part.chunk);
    }
    Report::decode(&body).expect("just made")
}

postino_fuzz::fuzz_target!(|input: &[u8]| {
    if let Ok(request) = Request::decode(input) {
        assert_eq!(request.encode().as_deref(), Ok(input), "two spellings of one request");
    }
    if let Ok(part) = report_packet(input) {
        let _ = Report::decode(part.chunk);
    }
    if let Ok(mut report) = Report::decode(input) {
        report.text.truncate(TEXT_BYTES_MAX);
        assert_eq!(through_packets(&report, 3), report);
    }
    if let Ok(forwards) = decode_forwards(input) {
        assert_eq!(encode_forwards(&forwards).as_deref(), Ok(input), "two spellings of one list");
    }
    let mut source = Source::new(input);
    let mut report =
        Report { exit: i32::from(source.byte()), uid: u32::from(source.u16()), text: source.bytes().to_vec(), forwards: Vec::new() };
    while !source.is_empty() && report.forwards.len() < 100 {
        let text = |source: &mut Source<'_>| source.bytes().iter().copied().filter(|b| *b != 0).collect::<Vec<u8>>();
        let (sender, delivered_to) = (text(&mut source), text(&mut source));
        let to = (0..source.byte() % 4).map(|_| text(&mut source)).collect();
        report.forwards.push(Forward { sender, delivered_to, to });
    }
    assert_eq!(through_packets(&report, 9), report);
});
