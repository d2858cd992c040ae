//! Streams written without the engine: their numbers, repairs and reports. That receivers can read them is the
//! simulator's to show.

use super::*;
use crate::rtp::format::Profile as FormatProfile;
use crate::rtp::{Codec, Descriptor, Extensions, LayerIndex};
use crate::srtp::{Profile, Side};

const MS: Duration = Duration::from_millis(1);
const SSRC: u32 = 0x0102_0304;
const REPAIR: u32 = 0x0506_0708;

fn keys(side: Side) -> MasterKeys {
    let exported: Vec<u8> = (0..56).collect();
    MasterKeys::from_exported(Profile::Aes128Gcm, &exported, side).unwrap()
}

/// A writer with a video stream in slot 0, made at `now`.
fn writer(now: Instant) -> Writer {
    let mut writer = Writer::new(keys(Side::Server), now).unwrap();
    let format = |payload_type, rtx| Format {
        payload_type,
        rtx,
        red: None,
        codec: Codec::Vp8,
        clock_rate: 90_000,
        channels: None,
        profile: FormatProfile::Only,
    };
    writer.adopt(
        Scope::Everything,
        &StreamSpec {
            slot: 0,
            mid: "v".into(),
            kind: MediaKind::Video,
            ssrc: SSRC,
            repair: Some(REPAIR),
            extensions: ExtensionIds { mid: 4, ..ExtensionIds::default() },
            formats: &[format(96, Some(97)), format(98, None)],
        },
    );
    writer
}

fn packet(captured: Instant, length: usize) -> Arc<Packet> {
    Arc::new(Packet {
        generation: 0,
        layer: LayerIndex(0),
        payload_type: 100,
        codec: Codec::Vp8,
        sequence: 1,
        timestamp: 1,
        marker: false,
        arrived: captured,
        captured,
        payload: vec![7; length].into(),
        descriptor: Descriptor::Opaque,
        picture: None,
        dependency: None,
        starts_keyframe: false,
        redundant: None,
        extensions: Extensions::default(),
    })
}

fn queued(sequence: u64, payload_type: u8) -> Queued {
    let rewritten = Rewritten {
        sequence,
        timestamp: 1_000_000,
        catching_up: 0,
        marker: true,
        empty: false,
        redundant: None,
        ids: None,
        dependency: None,
    };
    Queued { packet: 0, slot: 0, payload_type, rewritten }
}

fn write(writer: &mut Writer, now: Instant, queued: &Queued, packet: &Arc<Packet>) -> Option<Vec<u8>> {
    let mut drafts: Drafts = writer.draft(now, queued, packet, Vec::new()).into_iter().collect();
    let mut datagram = None;
    writer.finish(&mut drafts, |written| datagram = Some(written));
    datagram
}

/// What stays readable of a packet: payload type, number, timestamp, SSRC.
fn head(datagram: &[u8]) -> (u8, u16, u32, u32) {
    let word = |at: usize| u32::from_be_bytes(datagram[at..at + 4].try_into().unwrap());
    (datagram[1] & 0x7f, word(0) as u16, word(4), word(8))
}

/// Has the writer hear this compound packet of the remote side.
fn hear(writer: &mut Writer, now: Instant, words: &[u32]) -> (Heard, Vec<Vec<u8>>, Vec<PeerEvent>) {
    let plain = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    let sealed = keys(Side::Client).local.rtcp().unwrap().seal(plain, 3).unwrap();
    let (mut resent, mut events) = (Vec::new(), Vec::new());
    let compound = writer.open(&sealed).unwrap();
    let heard = writer.hear(now, &compound, |datagram| resent.push(datagram), &mut events);
    (heard, resent, events)
}

fn nack(first: u16, following: u16) -> [u32; 4] {
    [0x81cd_0003, 9, SSRC, u32::from(first) << 16 | u32::from(following)]
}

#[test]
fn a_number_is_written_once() {
    let now = Instant::now();
    let mut writer = writer(now);
    let packet = packet(now, 100);
    let first = write(&mut writer, now, &queued(70_000, 96), &packet).unwrap();
    assert_eq!(head(&first), (96, (70_000u32 & 0xffff) as u16, 1_000_000, SSRC));
    assert_eq!(first.len(), 12 + 4 + 4 + 100 + TAG);
    assert_eq!(write(&mut writer, now, &queued(70_000, 96), &packet), None);
    assert!(write(&mut writer, now, &queued(69_999, 96), &packet).is_some(), "a late one, for the first time");
    assert_eq!(write(&mut writer, now, &Queued { slot: 2, ..queued(70_001, 96) }, &packet), None, "not its slot");
}

#[test]
fn what_is_missing_is_sent_again_under_the_other_ssrc() {
    let now = Instant::now();
    let mut writer = writer(now);
    for sequence in 65_530..65_550 {
        let payload_type = if sequence == 65_537 { 98 } else { 96 };
        write(&mut writer, now, &queued(sequence, payload_type), &packet(now, 100)).unwrap();
    }
    // 65534, 65535, 65536 and 65537, which has no retransmissions; 7 was never sent.
    let (heard, resent, _) = hear(&mut writer, now, &nack(65_534, 0b111));
    assert_eq!(heard, Heard::All);
    let heads: Vec<_> = resent.iter().map(|datagram| head(datagram)).collect();
    assert_eq!(heads, [0, 1, 2].map(|number| (97, number, 1_000_000, REPAIR)));
    assert!(resent.iter().all(|datagram| datagram.len() == 12 + 4 + 4 + 2 + 100 + TAG), "with the original number");
    assert_eq!(hear(&mut writer, now, &nack(7000, 0)).1.len(), 0);
    assert!(writer.forget_sent(SSRC));
    assert_eq!(hear(&mut writer, now, &nack(65_534, 0)).1.len(), 0, "forgotten");
    assert!(!writer.forget_sent(REPAIR), "none of its streams");
}

#[test]
fn retransmissions_are_a_share_of_what_is_sent() {
    let now = Instant::now();
    let mut writer = writer(now);
    let big = packet(now, 1000);
    let mut resent = 0;
    for sequence in 0..2000u16 {
        write(&mut writer, now, &queued(sequence.into(), 96), &big).unwrap();
        resent += hear(&mut writer, now, &nack(sequence, 0)).1.len();
    }
    assert_eq!(resent, 2000 / MEDIA_PER_REPAIR + MOST_ALLOWED / 1000);
}

#[test]
fn the_packets_of_a_picture_leave_with_one_length() {
    let now = Instant::now();
    let mut writer = writer(now);
    let mut drafts = Drafts::new();
    for (number, length) in [(1, 1041), (2, 1042), (3, 1041), (4, 300)] {
        drafts.extend(writer.draft(now, &queued(number, 96), &packet(now, length), Vec::new()));
    }
    let mut lengths = Vec::new();
    writer.finish(&mut drafts, |datagram| lengths.push(datagram.len()));
    assert_eq!(lengths.len(), 4);
    assert_eq!(lengths[..3], [lengths[0]; 3]);
    assert!(drafts.is_empty() && lengths[3] < lengths[0]);
}

#[test]
fn receivers_reports_are_read_and_sender_reports_corrected() {
    let now = Instant::now();
    let mut writer = writer(now);
    write(&mut writer, now, &queued(5, 96), &packet(now - 200 * MS, 100)).unwrap();
    write(&mut writer, now, &queued(6, 96), &packet(now - 100 * MS, 50)).unwrap();
    // The engine's report knows nothing of this stream; one of another stream is left alone.
    let report = |ssrc: u32| [0x80c8_0006, ssrc, 0xaaaa_1111, 0x2222_bbbb, 0, 0, 0];
    let plain: Vec<u8> = [report(SSRC), report(77)].concat().iter().flat_map(|word| word.to_be_bytes()).collect();
    let cipher = keys(Side::Server).local.rtcp().unwrap();
    let corrected = writer.correct(now, cipher.seal(plain, 9).unwrap()).unwrap();
    let (opened, index) = cipher.open(&corrected).unwrap();
    let words: Vec<u32> = opened.chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect();
    assert_eq!(index, 9, "the engine's index");
    assert_eq!(words[..7], [0x80c8_0006, SSRC, 0xaaaa_1111, 0x2222_bbbb, 1_000_000 + 9000, 2, 150]);
    assert_eq!(words[7..], report(77));

    let block =
        |ssrc: u32, sequence: u32, report: u32| [0x81c9_0007, 9, ssrc, 64 << 24, sequence, 0, report, 65_536 / 4];
    let (heard, _, events) = hear(&mut writer, now + 300 * MS, &block(SSRC, 0x0001_0006, 0x1111_2222));
    let [PeerEvent::Egress { loss: None, rtt: Some(rtt), highest_sequence, .. }] = events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((heard, rtt, highest_sequence), (Heard::All, 50 * MS, Some(0x0001_0006)));
    let (heard, _, events) = hear(&mut writer, now + 3000 * MS, &block(SSRC, 0x0001_0046, 5));
    let [PeerEvent::Egress { loss: Some(loss), rtt: None, .. }] = events[..] else { panic!("{events:?}") };
    assert_eq!((heard, loss), (Heard::All, 0.25), "about a report we do not remember, but enough of them");
    assert_eq!(hear(&mut writer, now, &block(REPAIR, 1, 0)).0, Heard::All);
    assert_eq!(hear(&mut writer, now, &block(77, 1, 0)).0, Heard::Some, "the engine's");
    assert_eq!(hear(&mut writer, now, &[0x81ce_0002, 9, SSRC]).0, Heard::Some, "a PLI is the engine's");
}

#[test]
fn reports_that_leap_are_borne() {
    let now = Instant::now();
    let mut writer = writer(now);
    for step in 0..6_u32 {
        let highest = step.wrapping_mul(0x7fff_ffff);
        let report = [0x81c9_0007, 9, SSRC, 0x8000_0000, highest, 0, 0, 0];
        let (heard, _, events) = hear(&mut writer, now, &report);
        assert_eq!((heard, events.len()), (Heard::All, 1));
    }
    let (_, _, events) = hear(&mut writer, now + STATISTICS, &[0x81c9_0007, 9, SSRC, 0x8000_0000, 0, 0, 0, 0]);
    let [PeerEvent::Egress { loss: Some(loss), .. }] = *events else { panic!("{events:?}") };
    assert!((0.0..=1.0).contains(&loss), "{loss}");
}

#[test]
fn of_a_report_that_misses_everything_not_everything_is_looked_for() {
    let now = Instant::now();
    let mut writer = writer(now);
    write(&mut writer, now, &queued(1, 96), &packet(now, 100)).unwrap();
    for (before, resent) in [(MOST_MISSING - 1, 1), (MOST_MISSING, 0)] {
        let mut entries = vec![0x0400_ffff; before];
        entries.push(0x0001_0000);
        let mut words = vec![0x81cd_0002 + entries.len() as u32, 9, SSRC];
        words.extend(entries);
        assert_eq!(hear(&mut writer, now, &words).1.len(), resent, "{before}");
    }
}
