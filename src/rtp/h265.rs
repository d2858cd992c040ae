//! H.265 payloads (RFC 7798): where a key frame starts, and the picture size its parameter set gives.
//!
//! A key frame starts at its video parameter set, the first of the three sets a joining decoder needs. An IRAP picture
//! without sets before it is no start: nothing here keeps old sets.

use super::Resolution;
use super::bits::BitReader;
use super::h264::{ChromaFormat, without_emulation_prevention};

/// Whether a video parameter set starts in this packet.
pub(super) fn starts_keyframe(payload: &[u8]) -> bool {
    find_unit(payload, VPS).is_some()
}

/// Cropped picture size from the sequence parameter set in this packet, if it can be read that far.
pub(super) fn resolution(payload: &[u8]) -> Option<Resolution> {
    let set = without_emulation_prevention(find_unit(payload, SPS)?);
    read_resolution(&mut BitReader::new(&set))
}

const VPS: u8 = 32;
const SPS: u8 = 33;
const AGGREGATION: u8 = 48;
const FRAGMENTATION: u8 = 49;

/// The first unit of this type, without its two header bytes; for a fragment what it holds of it.
fn find_unit(payload: &[u8], wanted: u8) -> Option<&[u8]> {
    let (kind, rest) = split_header(payload)?;
    match kind {
        AGGREGATION => find_aggregated(rest, wanted),
        FRAGMENTATION => {
            let (&fragment, rest) = rest.split_first()?;
            (fragment & 0x80 != 0 && fragment & 0x3f == wanted).then_some(rest)
        }
        _ => (kind == wanted).then_some(rest),
    }
}

fn find_aggregated(mut rest: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        let (unit, tail) = super::split_sized_unit(rest)?;
        if let Some((kind, body)) = split_header(unit)
            && kind == wanted
        {
            return Some(body);
        }
        rest = tail;
    }
}

fn split_header(unit: &[u8]) -> Option<(u8, &[u8])> {
    let [first, _, rest @ ..] = unit else {
        return None;
    };
    Some((first >> 1 & 0x3f, rest))
}

/// H.265 section 7.3.2.2.1, up to the conformance window.
fn read_resolution(reader: &mut BitReader) -> Option<Resolution> {
    reader.skip(4)?; // sps_video_parameter_set_id
    let sub_layers = reader.bits(3)?;
    reader.skip(1)?; // sps_temporal_id_nesting
    skip_profile_tier_level(reader, sub_layers)?;
    reader.unsigned_golomb()?; // sps_seq_parameter_set_id
    let format = reader.unsigned_golomb()?;
    let separate_planes = format == 3 && reader.flag()?;
    let chroma = ChromaFormat(if separate_planes { 0 } else { format });
    let (mut width, mut height) = (reader.unsigned_golomb()?, reader.unsigned_golomb()?);
    if reader.flag()? {
        let [left, right, top, bottom] = [(); 4].map(|()| reader.unsigned_golomb());
        let (unit_x, unit_y) = chroma.crop_unit();
        width = width.checked_sub(left?.checked_add(right?)?.checked_mul(unit_x)?)?;
        height = height.checked_sub(top?.checked_add(bottom?)?.checked_mul(unit_y)?)?;
    }
    Resolution::from_wide(width, height)
}

/// Section 7.3.3: 88 bits of profile and 8 of level for the whole, then flags and the same for each sub-layer.
fn skip_profile_tier_level(reader: &mut BitReader, sub_layers: u32) -> Option<()> {
    reader.skip(96)?;
    if sub_layers == 0 {
        return Some(());
    }
    let present = reader.bits(16)?; // two flags for each of eight sub-layers
    for layer in 0..sub_layers {
        let flags = present >> (14 - 2 * layer) & 0b11;
        if flags & 0b10 != 0 {
            reader.skip(88)?;
        }
        if flags & 0b01 != 0 {
            reader.skip(8)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_frame_starts_where_its_video_parameter_set_does() {
        let table: [(&str, &[u8], bool); 9] = [
            ("single VPS", &[0x40, 0x01, 0x0c], true),
            ("single SPS", &[0x42, 0x01, 0x01], false),
            ("single IDR_W_RADL without its sets", &[0x26, 0x01, 0xaf], false),
            ("single trailing picture", &[0x02, 0x01, 0xd0], false),
            ("aggregation of VPS, SPS", &[0x60, 0x01, 0, 3, 0x40, 1, 0x0c, 0, 3, 0x42, 1, 1], true),
            ("aggregation with a delimiter before", &[0x60, 0x01, 0, 3, 0x46, 1, 0x50, 0, 3, 0x40, 1, 0x0c], true),
            ("aggregation whose size is too large", &[0x60, 0x01, 0, 9, 0x40, 0x01], false),
            ("fragment that starts a VPS", &[0x62, 0x01, 0xa0, 0x0c], true),
            ("fragment that ends a VPS", &[0x62, 0x01, 0x60, 0x0c], false),
        ];
        for (name, payload, expected) in table {
            assert_eq!(starts_keyframe(payload), expected, "{name}");
        }
    }

    #[test]
    fn resolution_comes_from_the_parameter_set_with_cropping() {
        // Main profile, level 4, 1920x1088 coded, 8 rows cropped.
        let set = [
            0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x78,
            0xa0, 0x03, 0xc0, 0x80, 0x11, 0x07, 0xcb, 0x96,
        ];
        assert_eq!(resolution(&set), Some(Resolution { width: 1920, height: 1080 }));
        assert_eq!(resolution(&set[..20]), None);
        assert_eq!(resolution(&[0x40, 0x01, 0x0c]), None);
    }
}
