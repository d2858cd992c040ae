//! H.264 payloads (RFC 6184): where a key frame starts, and the picture size its parameter set gives.
//!
//! A key frame starts at its sequence parameter set, not at the IDR slice: a decoder that joins needs both, and senders
//! put them into packets of their own. MTAPs are not looked into: they need interleaved mode, which WebRTC has not.

use arrayvec::ArrayVec;

use super::Resolution;
use super::bits::BitReader;

/// Whether a sequence parameter set starts in this packet.
pub(super) fn starts_keyframe(payload: &[u8]) -> bool {
    sequence_parameter_set(payload).is_some()
}

/// The profile-level-id (RFC 6184 section 8.1) of the sequence parameter set in this packet: profile, constraints,
/// level.
pub fn profile_level_id(payload: &[u8]) -> Option<u32> {
    let set = sequence_parameter_set(payload)?;
    let [profile, constraints, level] = *set.first_chunk()?;
    Some(u32::from_be_bytes([0, profile, constraints, level]))
}

/// Cropped picture size from the sequence parameter set in this packet, if it can be read that far.
pub(super) fn resolution(payload: &[u8]) -> Option<Resolution> {
    let set = without_emulation_prevention(sequence_parameter_set(payload)?);
    read_resolution(&mut BitReader::new(&set))
}

const SPS: u8 = 7;
const STAP_A: u8 = 24;
const STAP_B: u8 = 25;
const FU_A: u8 = 28;
const FU_B: u8 = 29;

/// How much of a parameter set is read. The size stands in the first 20 bytes unless scaling lists come before it;
/// larger than this buys nothing, smaller loses the size of streams that have them.
const PARAMETER_SET_HEAD: usize = 256;

/// The first sequence parameter set in the payload, without its NAL header; for a fragment what it holds of it.
fn sequence_parameter_set(payload: &[u8]) -> Option<&[u8]> {
    let (&header, rest) = payload.split_first()?;
    match header & 0x1f {
        SPS => Some(rest),
        STAP_A => find_aggregated(rest),
        STAP_B => find_aggregated(rest.get(2..)?),
        kind @ (FU_A | FU_B) => {
            let (&fragment, rest) = rest.split_first()?;
            let starts = fragment & 0x80 != 0 && fragment & 0x1f == SPS;
            let decoding_order_number = if kind == FU_B { 2 } else { 0 };
            starts.then(|| rest.get(decoding_order_number..)).flatten()
        }
        _ => None,
    }
}

/// Access unit delimiters and SEI may stand before the set.
fn find_aggregated(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let (unit, tail) = super::split_sized_unit(rest)?;
        if let Some((header, set)) = unit.split_first()
            && header & 0x1f == SPS
        {
            return Some(set);
        }
        rest = tail;
    }
}

/// The head of a NAL unit with its `00 00 03` escapes undone (H.264 section 7.4.1, H.265 section 7.4.2).
pub(super) fn without_emulation_prevention(unit: &[u8]) -> ArrayVec<u8, PARAMETER_SET_HEAD> {
    let mut plain = ArrayVec::new();
    let mut zeros = 0;
    for &byte in unit {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        if plain.try_push(byte).is_err() {
            break;
        }
    }
    plain
}

/// Section 7.3.2.1.1, up to the cropping rectangle.
fn read_resolution(reader: &mut BitReader) -> Option<Resolution> {
    let profile = reader.bits(8)?;
    reader.skip(16)?; // constraint flags, level
    reader.unsigned_golomb()?; // seq_parameter_set_id
    let chroma = if has_chroma_format(profile) { read_chroma_format(reader)? } else { CHROMA_420 };
    reader.unsigned_golomb()?; // log2_max_frame_num
    skip_picture_order_count(reader)?;
    reader.unsigned_golomb()?; // max_num_ref_frames
    reader.flag()?; // gaps_in_frame_num_value_allowed
    let width = reader.unsigned_golomb()?.checked_add(1)?.checked_mul(16)?;
    let map_units = reader.unsigned_golomb()?.checked_add(1)?;
    let frames_only = reader.flag()?;
    if !frames_only {
        reader.flag()?; // mb_adaptive_frame_field
    }
    let fields = if frames_only { 1 } else { 2 };
    let height = map_units.checked_mul(16 * fields)?;
    reader.flag()?; // direct_8x8_inference
    let (mut cropped_width, mut cropped_height) = (0, 0);
    if reader.flag()? {
        let [left, right, top, bottom] = [(); 4].map(|()| reader.unsigned_golomb());
        let (unit_x, unit_y) = chroma.crop_unit();
        cropped_width = left?.checked_add(right?)?.checked_mul(unit_x)?;
        cropped_height = top?.checked_add(bottom?)?.checked_mul(unit_y * fields)?;
    }
    Resolution::from_wide(width.checked_sub(cropped_width)?, height.checked_sub(cropped_height)?)
}

/// ChromaArrayType: 0 monochrome (or separate planes), 1 4:2:0, 2 4:2:2, 3 4:4:4.
#[derive(Clone, Copy)]
pub(super) struct ChromaFormat(pub(super) u32);

const CHROMA_420: ChromaFormat = ChromaFormat(1);

impl ChromaFormat {
    /// Luma samples per unit of the cropping rectangle, across and down (table 6-1; the same in H.265).
    pub(super) fn crop_unit(self) -> (u32, u32) {
        match self.0 {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        }
    }
}

/// Profiles whose parameter sets carry a chroma format.
fn has_chroma_format(profile: u32) -> bool {
    matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135)
}

fn read_chroma_format(reader: &mut BitReader) -> Option<ChromaFormat> {
    let format = reader.unsigned_golomb()?;
    let separate_planes = format == 3 && reader.flag()?;
    reader.unsigned_golomb()?; // bit_depth_luma
    reader.unsigned_golomb()?; // bit_depth_chroma
    reader.flag()?; // qpprime_y_zero_transform_bypass
    if reader.flag()? {
        for list in 0..if format == 3 { 12 } else { 8 } {
            if reader.flag()? {
                skip_scaling_list(reader, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some(ChromaFormat(if separate_planes { 0 } else { format }))
}

/// Section 7.3.2.1.1.1.
fn skip_scaling_list(reader: &mut BitReader, size: usize) -> Option<()> {
    let (mut last, mut next) = (8, 8);
    for _ in 0..size {
        if next != 0 {
            next = (last + reader.signed_golomb()? % 256 + 256) % 256;
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

fn skip_picture_order_count(reader: &mut BitReader) -> Option<()> {
    match reader.unsigned_golomb()? {
        0 => {
            reader.unsigned_golomb()?; // log2_max_pic_order_cnt_lsb
        }
        1 => {
            reader.flag()?; // delta_pic_order_always_zero
            reader.signed_golomb()?; // offset_for_non_ref_pic
            reader.signed_golomb()?; // offset_for_top_to_bottom_field
            for _ in 0..reader.unsigned_golomb()? {
                reader.signed_golomb()?; // offset_for_ref_frame
            }
        }
        _ => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_frame_starts_where_its_parameter_set_does() {
        let table: [(&str, &[u8], bool); 15] = [
            ("single SPS", &[0x67, 0x42], true),
            ("single PPS", &[0x68, 0xce], false),
            ("single IDR without its SPS", &[0x65, 0x88], false),
            ("single non-IDR", &[0x41, 0x9a], false),
            ("STAP-A of SPS and PPS", &[0x78, 0, 2, 0x67, 0x42, 0, 2, 0x68, 0xce], true),
            ("STAP-A with AUD and SEI before", &[0x78, 0, 2, 9, 0xf0, 0, 1, 6, 0, 2, 0x67, 0x42], true),
            ("STAP-A without SPS", &[0x78, 0, 2, 0x68, 0xce, 0, 1, 0x41], false),
            ("STAP-A whose size is too large", &[0x78, 0, 9, 0x67, 0x42], false),
            ("STAP-A with an empty unit", &[0x78, 0, 0, 0, 2, 0x67, 0x42], true),
            ("STAP-B", &[0x79, 0, 1, 0, 2, 0x67, 0x42], true),
            ("FU-A start of an SPS", &[0x7c, 0x87, 0x42], true),
            ("FU-A start of an IDR", &[0x7c, 0x85, 0x88], false),
            ("FU-A end of an IDR", &[0x7c, 0x45, 0x88], false),
            ("FU-A end of an SPS", &[0x7c, 0x47, 0x42], false),
            ("FU-B start of an SPS", &[0x7d, 0x87, 0, 1, 0x42], true),
        ];
        for (name, payload, expected) in table {
            assert_eq!(starts_keyframe(payload), expected, "{name}");
        }
    }

    #[test]
    fn resolution_comes_from_the_parameter_set_with_cropping() {
        type Row = (&'static str, &'static [u8], Option<(u16, u16)>);
        let table: [Row; 5] = [
            // Constrained Baseline 640x360: 23 macroblock rows, 8 luma rows cropped.
            ("baseline", &[0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x70, 0x11], Some((640, 360))),
            // High 1920x1080 with an emulation prevention byte before the size.
            (
                "high",
                &[0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0xc0, 0x5a, 0x80, 0x80, 0x80],
                Some((1920, 1080)),
            ),
            (
                "in a STAP-A",
                &[0x78, 0, 10, 0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x70],
                Some((640, 360)),
            ),
            ("truncated", &[0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00], None),
            ("no parameter set", &[0x65, 0x88], None),
        ];
        for (name, payload, expected) in table {
            let expected = expected.map(|(width, height)| Resolution { width, height });
            assert_eq!(resolution(payload), expected, "{name}");
        }
    }

    #[test]
    fn escapes_are_undone_once() {
        let unit = [0, 0, 3, 1, 0, 0, 3, 0, 0, 3, 3, 0, 3];
        assert_eq!(without_emulation_prevention(&unit).as_slice(), [0, 0, 1, 0, 0, 0, 0, 3, 0, 3]);
    }
}
