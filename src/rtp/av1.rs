//! AV1 payloads (AOM's "RTP Payload Format For AV1"): where a key frame starts, and the picture size of its sequence
//! header. Layers are not read here: the dependency descriptor has them.

use super::Resolution;
use super::bits::BitReader;

/// Whether a coded video sequence starts in this packet: N says so, and the first OBU is a sequence header, not cut.
pub(super) fn starts_keyframe(payload: &[u8]) -> bool {
    sequence_header(payload).is_some()
}

/// Largest picture size of the sequence header in this packet.
pub(super) fn resolution(payload: &[u8]) -> Option<Resolution> {
    read_resolution(&mut BitReader::new(sequence_header(payload)?))
}

const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;

/// The body of the sequence header a key frame's first packet begins with.
fn sequence_header(payload: &[u8]) -> Option<&[u8]> {
    let (&aggregation, mut rest) = payload.split_first()?;
    let (continues, starts_sequence) = (aggregation & 0x80 != 0, aggregation & 0x08 != 0);
    if continues || !starts_sequence {
        return None;
    }
    // W: how many elements, the last of which has no length; 0 means that all have one.
    let elements = match aggregation >> 4 & 0x03 {
        0 => u8::MAX,
        count => count,
    };
    for index in 1..=elements {
        let element = if index == elements {
            rest
        } else {
            let (length, tail) = split_leb128(rest)?;
            let (element, tail) = tail.split_at_checked(length)?;
            rest = tail;
            element
        };
        let (kind, body) = split_obu_header(element)?;
        match kind {
            SEQUENCE_HEADER => return Some(body),
            // Senders should leave it out (section 5), some do not.
            TEMPORAL_DELIMITER => {}
            _ => return None,
        }
    }
    None
}

fn split_obu_header(obu: &[u8]) -> Option<(u8, &[u8])> {
    let (&header, rest) = obu.split_first()?;
    let (has_extension, has_size) = (header & 0x04 != 0, header & 0x02 != 0);
    let rest = if has_extension { rest.get(1..)? } else { rest };
    let rest = if has_size { split_leb128(rest)?.1 } else { rest };
    Some((header >> 3 & 0x0f, rest))
}

/// A little-endian base-128 number of at most four bytes: more than a packet can hold.
fn split_leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}

/// AV1 specification section 5.5.1, up to the frame size.
fn read_resolution(reader: &mut BitReader) -> Option<Resolution> {
    reader.skip(4)?; // seq_profile, still_picture
    let reduced_still_picture = reader.flag()?;
    if reduced_still_picture {
        reader.skip(5)?; // seq_level_idx
    } else {
        skip_operating_points(reader)?;
    }
    let (width_bits, height_bits) = (reader.bits(4)? + 1, reader.bits(4)? + 1);
    Resolution::from_wide(reader.bits(width_bits)? + 1, reader.bits(height_bits)? + 1)
}

fn skip_operating_points(reader: &mut BitReader) -> Option<()> {
    let has_timing = reader.flag()?;
    if has_timing {
        reader.skip(64)?; // num_units_in_display_tick, time_scale
        if reader.flag()? {
            reader.unsigned_golomb()?; // num_ticks_per_picture: uvlc() is the same code as ue(v)
        }
    }
    let decoder_model_bits = if has_timing && reader.flag()? { Some(read_decoder_model(reader)?) } else { None };
    let has_display_delay = reader.flag()?;
    for _ in 0..=reader.bits(5)? {
        reader.skip(12)?; // operating_point_idc
        if reader.bits(5)? > 7 {
            reader.skip(1)?; // seq_tier
        }
        if let Some(delay_bits) = decoder_model_bits
            && reader.flag()?
        {
            reader.skip(2 * delay_bits + 1)?; // decoder and encoder buffer delay, low_delay_mode
        }
        if has_display_delay && reader.flag()? {
            reader.skip(4)?; // initial_display_delay
        }
    }
    Some(())
}

/// Section 5.5.4; the width of its buffer delays.
fn read_decoder_model(reader: &mut BitReader) -> Option<usize> {
    let delay_bits = reader.bits(5)? as usize + 1;
    reader.skip(32 + 5 + 5)?; // num_units_in_decoding_tick, lengths of two times
    Some(delay_bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Main profile, one operating point, level 3.0, 640x480 in ten and nine bits.
    const HEADER: [u8; 10] = [0x00, 0x00, 0x00, 0x24, 0xc4, 0xff, 0xdf, 0x00, 0x68, 0x02];

    #[test]
    fn a_key_frame_starts_with_a_sequence_header_in_a_new_sequence() {
        let table: [(&str, &[u8], bool); 10] = [
            ("one element", &[0x18, 0x08, 0x00], true),
            ("two elements", &[0x28, 0x02, 0x08, 0x00, 0x30, 0x00], true),
            ("all elements with a length", &[0x08, 0x02, 0x08, 0x00, 0x02, 0x30, 0x00], true),
            ("temporal delimiter before", &[0x28, 0x02, 0x12, 0x00, 0x0a, 0x01, 0x00], true),
            ("header with extension and size", &[0x18, 0x0e, 0x00, 0x01, 0x00], true),
            ("no new sequence", &[0x10, 0x08, 0x00], false),
            ("continues an OBU", &[0x98, 0x08, 0x00], false),
            ("a frame first", &[0x18, 0x30, 0x00], false),
            ("length beyond the packet", &[0x28, 0x7f, 0x08, 0x00], false),
            ("length without an end", &[0x28, 0xff, 0xff, 0xff, 0xff, 0x00], false),
        ];
        for (name, payload, expected) in table {
            assert_eq!(starts_keyframe(payload), expected, "{name}");
        }
    }

    #[test]
    fn resolution_comes_from_the_sequence_header() {
        let payload = [&[0x18, 0x08], &HEADER[..]].concat();
        assert_eq!(resolution(&payload), Some(Resolution { width: 640, height: 480 }));
        assert_eq!(resolution(&payload[..8]), None);
        assert_eq!(resolution(&[0x18, 0x30, 0x00]), None);
    }
}
