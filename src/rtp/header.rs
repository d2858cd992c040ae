//! Writing RTP headers (RFC 3550 section 5.1) with header extensions (RFC 8285), and renaming what was written.
//!
//! Reading is str0m's, but for what a sender has to know of its own packets. Elements are written in a fixed order, and
//! a MID always, so that the headers of one stream have one length as long as the same values are there.

use std::time::SystemTime;

use super::{AudioLevel, CaptureTime, PlayoutDelay};

/// Largest id of the one-byte form (RFC 8285 section 4.2).
const ONE_BYTE_IDS: u8 = 14;

/// Longest value of the one-byte form.
const ONE_BYTE_LENGTH: usize = 16;

/// Seconds between the NTP era (1900) and 1970 (RFC 5905 section 6).
const NTP_OFFSET: u64 = 2_208_988_800;

/// The ids of header extensions on an m-line, 1 to 255; zero for those that were not agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExtensionIds {
    /// RFC 9143 section 15.
    pub mid: u8,
    /// RFC 6464.
    pub audio_level: u8,
    /// abs-send-time.
    pub send_time: u8,
    /// 3GPP CVO.
    pub video_orientation: u8,
    /// abs-capture-time.
    pub capture_time: u8,
    /// playout-delay.
    pub playout_delay: u8,
    /// AV1 RTP payload format, appendix A.
    pub dependency_descriptor: u8,
}

/// What is written into a packet's extensions. Those without an id are left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Values<'a> {
    /// The m-line's mid; empty for none.
    pub mid: &'a [u8],
    /// abs-send-time, the low 24 bits: see [`send_time`].
    pub send_time: u32,
    /// RFC 6464.
    pub audio_level: Option<AudioLevel>,
    /// Two bits.
    pub video_orientation: Option<u8>,
    /// abs-capture-time.
    pub capture_time: Option<CaptureTime>,
    /// playout-delay.
    pub playout_delay: Option<PlayoutDelay>,
    /// As it is sent; empty for none.
    pub dependency_descriptor: &'a [u8],
}

/// The fixed part of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// 0 to 127.
    pub payload_type: u8,
    /// Marker bit.
    pub marker: bool,
    /// Low 16 bits.
    pub sequence: u16,
    /// In ticks of the codec's clock.
    pub timestamp: u32,
    /// Whose packet it is.
    pub ssrc: u32,
}

/// abs-send-time of an instant, given as time since 1970: 6.18 fixed point seconds, modulo 64 s.
pub fn send_time(since_1970: std::time::Duration) -> u32 {
    let fraction = (u64::from(since_1970.subsec_nanos()) << 18) / 1_000_000_000;
    (((since_1970.as_secs() << 18) | fraction) & 0x00ff_ffff) as u32
}

/// Bytes of a packet's header with its extensions; `None` when it ends within them.
pub fn length(packet: &[u8]) -> Option<usize> {
    let sources = usize::from(packet.first()? & 0x0f);
    let fixed = 12 + 4 * sources;
    let has_extensions = packet.first()? & 0x10 != 0;
    let words = match has_extensions {
        true => u16::from_be_bytes(*packet.get(fixed + 2..)?.first_chunk()?).into(),
        false => 0usize,
    };
    let length = fixed + if has_extensions { 4 + 4 * words } else { 0 };
    (length <= packet.len()).then_some(length)
}

/// The value of a header extension in a packet (RFC 8285); `None` where it has none.
pub fn element(packet: &[u8], id: u8) -> Option<&[u8]> {
    let first = packet.first()?;
    // Of RTP's version, which DTLS does not share, and with extensions.
    let may_have_it = id != 0 && first & 0b1101_0000 == 0b1001_0000;
    let end = length(packet).filter(|_| may_have_it)?;
    let start = 12 + 4 * usize::from(first & 0x0f);
    let one_byte = packet.get(start..start + 2)? == [0xbe, 0xde];
    let mut rest = packet.get(start + 4..end)?;
    while let [head, tail @ ..] = rest {
        if *head == 0 {
            rest = tail;
            continue;
        }
        let (found, size, values) = match (one_byte, tail) {
            (true, _) => (head >> 4, usize::from(head & 0x0f) + 1, tail),
            (false, [size, values @ ..]) => (*head, usize::from(*size), values),
            (false, []) => return None,
        };
        let (value, behind) = values.split_at_checked(size)?;
        if found == id {
            return Some(value);
        }
        rest = behind;
    }
    None
}

/// Number and SSRC of a packet, as it is on the wire.
pub fn name(packet: &[u8]) -> Option<(u16, u32)> {
    let &[_, _, s0, s1, _, _, _, _, a, b, c, d] = packet.first_chunk()?;
    Some((u16::from_be_bytes([s0, s1]), u32::from_be_bytes([a, b, c, d])))
}

/// Gives a packet another number and SSRC.
pub fn rename(packet: &mut [u8], sequence: u16, ssrc: u32) {
    if let Some([_, _, s0, s1, _, _, _, _, a, b, c, d]) = packet.first_chunk_mut() {
        [*s0, *s1] = sequence.to_be_bytes();
        [*a, *b, *c, *d] = ssrc.to_be_bytes();
    }
}

impl Header {
    /// Appends header and extensions to the buffer and returns their length, a multiple of four bytes.
    pub fn write(&self, ids: &ExtensionIds, values: &Values<'_>, buffer: &mut Vec<u8>) -> usize {
        let start = buffer.len();
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [r0, r1, r2, r3] = self.ssrc.to_be_bytes();
        let second = u8::from(self.marker) << 7 | self.payload_type & 0x7f;
        buffer.extend_from_slice(&[0x90, second, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3]);
        let form = Form::of(ids, values);
        buffer.extend_from_slice(&form.head());
        let elements = buffer.len();
        values.write(ids, form, buffer);
        let padded = (buffer.len() - elements).next_multiple_of(4);
        buffer.resize(elements + padded, 0);
        if let Some(length) = buffer.get_mut(elements - 2..elements) {
            length.copy_from_slice(&((padded / 4) as u16).to_be_bytes());
        }
        buffer.len() - start
    }
}

/// The two forms of extension elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    OneByte,
    TwoByte,
}

impl Form {
    fn of(ids: &ExtensionIds, values: &Values<'_>) -> Self {
        let wide = |id: u8, present: bool| id > ONE_BYTE_IDS && present;
        let long = ids.dependency_descriptor != 0 && values.dependency_descriptor.len() > ONE_BYTE_LENGTH;
        let two = long
            || values.mid.len() > ONE_BYTE_LENGTH
            || wide(ids.mid, !values.mid.is_empty())
            || wide(ids.send_time, true)
            || wide(ids.audio_level, values.audio_level.is_some())
            || wide(ids.video_orientation, values.video_orientation.is_some())
            || wide(ids.capture_time, values.capture_time.is_some())
            || wide(ids.playout_delay, values.playout_delay.is_some())
            || wide(ids.dependency_descriptor, !values.dependency_descriptor.is_empty());
        if two { Form::TwoByte } else { Form::OneByte }
    }

    /// The word in front of the elements; its length is filled in later.
    fn head(self) -> [u8; 4] {
        match self {
            Form::OneByte => [0xbe, 0xde, 0, 0],
            Form::TwoByte => [0x10, 0x00, 0, 0],
        }
    }

    /// Appends one element, if it was agreed on and has a value.
    fn element(self, id: u8, value: &[u8], buffer: &mut Vec<u8>) {
        if id == 0 || value.is_empty() {
            return;
        }
        match self {
            Form::OneByte => buffer.push(id << 4 | (value.len() - 1) as u8 & 0x0f),
            Form::TwoByte => buffer.extend_from_slice(&[id, value.len() as u8]),
        }
        buffer.extend_from_slice(value);
    }
}

impl Values<'_> {
    fn write(&self, ids: &ExtensionIds, form: Form, buffer: &mut Vec<u8>) {
        form.element(ids.mid, self.mid, buffer);
        let [_, a, b, c] = self.send_time.to_be_bytes();
        form.element(ids.send_time, &[a, b, c], buffer);
        if let Some(AudioLevel { minus_dbov, voice }) = self.audio_level {
            form.element(ids.audio_level, &[u8::from(voice) << 7 | minus_dbov & 0x7f], buffer);
        }
        if let Some(orientation) = self.video_orientation {
            form.element(ids.video_orientation, &[orientation], buffer);
        }
        if let Some(CaptureTime { time, clock_offset }) = self.capture_time {
            let [a, b, c, d, e, f, g, h] = ntp(time).to_be_bytes();
            if let Some(offset) = clock_offset {
                let [i, j, k, l, m, n, o, p] = offset.to_be_bytes();
                let value = [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p];
                form.element(ids.capture_time, &value, buffer);
            } else {
                form.element(ids.capture_time, &[a, b, c, d, e, f, g, h], buffer);
            }
        }
        if let Some(PlayoutDelay { min, max }) = self.playout_delay {
            let [_, a, b, c] = (u32::from(min & 0xfff) << 12 | u32::from(max & 0xfff)).to_be_bytes();
            form.element(ids.playout_delay, &[a, b, c], buffer);
        }
        form.element(ids.dependency_descriptor, self.dependency_descriptor, buffer);
    }
}

/// A time as NTP's 32.32 fixed point seconds; the era's beginning for times before it.
fn ntp(time: SystemTime) -> u64 {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let fraction = (u64::from(since_1970.subsec_nanos()) << 32) / 1_000_000_000;
    (since_1970.as_secs().wrapping_add(NTP_OFFSET)) << 32 | fraction
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HEADER: Header = Header { payload_type: 96, marker: true, sequence: 0x1234, timestamp: 0x0102_0304, ssrc: 7 };
    const FIXED: [u8; 12] = [0x90, 0xe0, 0x12, 0x34, 1, 2, 3, 4, 0, 0, 0, 7];

    fn extensions(ids: &ExtensionIds, values: &Values<'_>) -> Vec<u8> {
        let mut buffer = vec![0xff; 3];
        let length = HEADER.write(ids, values, &mut buffer);
        assert_eq!(length, buffer.len() - 3);
        assert_eq!(buffer[3..15], FIXED);
        buffer[15..].to_vec()
    }

    #[test]
    fn elements_are_found_in_both_forms() {
        let level = Some(AudioLevel { minus_dbov: 37, voice: true });
        for (mid, send_time, long) in [(4, 2, &b"0"[..]), (4, 200, b"0"), (4, 2, b"seventeen letters")] {
            let ids = ExtensionIds { mid, audio_level: 1, send_time, ..ExtensionIds::default() };
            let values = Values { mid: long, send_time: 0x0a_0b0c, audio_level: level, ..Values::default() };
            let mut packet = Vec::new();
            HEADER.write(&ids, &values, &mut packet);
            let whole = packet.len();
            packet.extend_from_slice(b"payload");
            assert_eq!(element(&packet, mid), Some(long));
            assert_eq!(element(&packet, send_time), Some(&[0x0a, 0x0b, 0x0c][..]));
            assert_eq!(element(&packet, 1), Some(&[0xa5][..]));
            assert_eq!((element(&packet, 7), element(&packet, 0)), (None, None));
            for cut in 0..whole {
                assert_eq!(element(&packet[..cut], 1), None);
            }
        }
        assert_eq!(element(&[0x80; 12], 1), None, "no extensions at all");
        let mut record = [0; 52];
        record[0] = 23;
        record[40..48].copy_from_slice(&[0xbe, 0xde, 0, 1, 0x10, 7, 0, 0]);
        assert_eq!(element(&record, 1), None, "DTLS");
    }

    #[test]
    fn elements_are_written_in_the_form_they_need_and_padded() {
        let ids = ExtensionIds { mid: 4, audio_level: 1, send_time: 2, ..ExtensionIds::default() };
        let level = Some(AudioLevel { minus_dbov: 37, voice: true });
        let all = Values { mid: b"0", send_time: 0x0a_0b0c, audio_level: level, ..Values::default() };
        let one = [0xbe, 0xde, 0, 2, 0x40, b'0', 0x22, 0x0a, 0x0b, 0x0c, 0x10, 0xa5];
        assert_eq!(extensions(&ids, &all), one);
        let high = ExtensionIds { audio_level: 15, ..ids };
        let two = [0x10, 0, 0, 3, 4, 1, b'0', 2, 3, 0x0a, 0x0b, 0x0c, 15, 1, 0xa5, 0];
        assert_eq!(extensions(&high, &all), two);
        assert_eq!(extensions(&ExtensionIds::default(), &all), [0xbe, 0xde, 0, 0], "nothing was agreed on");
        let without = Values { audio_level: None, ..all };
        assert_eq!(extensions(&high, &without)[..2], [0xbe, 0xde], "a wide id that is not used needs no wide form");
    }

    #[test]
    fn each_value_has_its_bits() {
        let ids = |id: fn(&mut ExtensionIds) -> &mut u8| {
            let mut ids = ExtensionIds::default();
            *id(&mut ids) = 5;
            ids
        };
        let capture = |clock_offset| {
            Some(CaptureTime { time: SystemTime::UNIX_EPOCH + Duration::from_millis(500), clock_offset })
        };
        let long: Vec<u8> = (0..17).collect();
        let rows: [(ExtensionIds, Values<'_>, &[u8]); 6] = [
            (
                ids(|ids| &mut ids.video_orientation),
                Values { video_orientation: Some(3), ..Values::default() },
                &[0xbe, 0xde, 0, 1, 0x50, 3, 0, 0],
            ),
            (
                ids(|ids| &mut ids.playout_delay),
                Values { playout_delay: Some(PlayoutDelay { min: 0x123, max: 0x456 }), ..Values::default() },
                &[0xbe, 0xde, 0, 1, 0x52, 0x12, 0x34, 0x56],
            ),
            (
                ids(|ids| &mut ids.capture_time),
                Values { capture_time: capture(None), ..Values::default() },
                &[0xbe, 0xde, 0, 3, 0x57, 0x83, 0xaa, 0x7e, 0x80, 0x80, 0, 0, 0, 0, 0, 0],
            ),
            (
                ids(|ids| &mut ids.capture_time),
                Values { capture_time: capture(Some(-1)), ..Values::default() },
                &[
                    0xbe, 0xde, 0, 5, 0x5f, 0x83, 0xaa, 0x7e, 0x80, 0x80, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255,
                    255, 0, 0, 0,
                ],
            ),
            (
                ids(|ids| &mut ids.dependency_descriptor),
                Values { dependency_descriptor: &[9, 8, 7], ..Values::default() },
                &[0xbe, 0xde, 0, 1, 0x52, 9, 8, 7],
            ),
            (
                ids(|ids| &mut ids.dependency_descriptor),
                Values { dependency_descriptor: &long, ..Values::default() },
                &[0x10, 0, 0, 5, 5, 17, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0],
            ),
        ];
        for (ids, values, expected) in rows {
            assert_eq!(extensions(&ids, &values), expected, "{values:?}");
        }
    }

    #[test]
    fn a_packet_is_as_long_as_its_head_says_and_can_get_another_name() {
        let ids = ExtensionIds { mid: 4, send_time: 2, ..ExtensionIds::default() };
        let mut packet = Vec::new();
        let written = HEADER.write(&ids, &Values { mid: b"0", ..Values::default() }, &mut packet);
        assert_eq!(length(&packet), Some(written));
        assert_eq!(length(&packet[..written - 1]), None);
        assert_eq!((length(&packet[..14]), length(&[])), (None, None));
        let mut with_source = packet.clone();
        with_source[0] = 0x81;
        assert_eq!(length(&with_source), Some(16), "a contributing source and no extensions");
        rename(&mut packet, 0xfffe, 0x0a0b_0c0d);
        assert_eq!(name(&packet), Some((0xfffe, 0x0a0b_0c0d)));
        assert_eq!((packet[1], &packet[4..8], name(&packet[..11])), (FIXED[1], &FIXED[4..8], None));
    }

    #[test]
    fn send_times_are_64ths_of_a_minute_wide() {
        assert_eq!(send_time(Duration::from_millis(1500)), 1 << 18 | 1 << 17);
        assert_eq!(send_time(Duration::from_secs(64)), 0);
        assert_eq!(send_time(Duration::from_nanos(63_999_999_999)), 0x00ff_ffff);
    }
}
