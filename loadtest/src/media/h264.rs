//! H.264: packets of RFC 6184 (packetization-mode 1) and the parameter sets of a key frame.
//!
//! A key frame is one STAP-A with SPS, PPS and an SEI that carries the stamp, then the IDR picture in FU-A fragments.

use super::encoder::Frame;

const NAL_SLICE: u8 = 1;
const NAL_IDR: u8 = 5;
const NAL_SEI: u8 = 6;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// nal_ref_idc 3, as encoders set it on parameter sets and reference pictures.
const REFERENCE: u8 = 0x60;

/// Picture parameter set: CAVLC, one slice group.
const PPS: [u8; 4] = [0x68, 0xce, 0x38, 0x80];

/// Whether a packet in front of the pictures carries parameter sets.
pub(super) fn leading_packets(frame: &Frame) -> u16 {
    u16::from(frame.key)
}

/// Everything in front of filler and stamp in packet `index` of `count`. `trailer` is the length of filler and stamp.
pub(super) fn head(frame: &Frame, index: u16, count: u16, sps: &[u8], trailer: usize) -> Vec<u8> {
    if frame.key && index == 0 {
        return aggregate(sps, trailer);
    }
    let first = index == leading_packets(frame);
    let last = index + 1 == count;
    let nal = if frame.key { NAL_IDR } else { NAL_SLICE };
    let reference = if frame.discardable { 0 } else { REFERENCE };
    if first && last {
        return vec![reference | nal];
    }
    vec![reference | FU_A, u8::from(first) << 7 | u8::from(last) << 6 | nal]
}

/// A sequence parameter set (section 7.3.2.1.1) of the given profile-level-id and picture size.
pub(super) fn sps(profile_level_id: u32, width: u16, height: u16) -> Vec<u8> {
    let [_, profile, constraints, level] = profile_level_id.to_be_bytes();
    let (mbs_wide, mbs_high) = (u32::from(width).div_ceil(16), u32::from(height).div_ceil(16));
    let mut bits = Bits::default();
    bits.unsigned_golomb(0); // seq_parameter_set_id
    if profile >= 100 {
        bits.unsigned_golomb(1); // chroma_format_idc: 4:2:0
        bits.unsigned_golomb(0); // bit_depth_luma_minus8
        bits.unsigned_golomb(0); // bit_depth_chroma_minus8
        bits.push(0, 2); // no transform bypass, no scaling matrix
    }
    bits.unsigned_golomb(0); // log2_max_frame_num_minus4
    bits.unsigned_golomb(2); // pic_order_cnt_type
    bits.unsigned_golomb(1); // max_num_ref_frames
    bits.push(0, 1); // no gaps in frame_num
    bits.unsigned_golomb(mbs_wide - 1);
    bits.unsigned_golomb(mbs_high - 1);
    bits.push(0b11, 2); // frame_mbs_only, direct_8x8_inference
    let (crop_right, crop_bottom) = ((mbs_wide * 16 - u32::from(width)) / 2, (mbs_high * 16 - u32::from(height)) / 2);
    bits.push(u32::from(crop_right + crop_bottom > 0), 1);
    if crop_right + crop_bottom > 0 {
        for crop in [0, crop_right, 0, crop_bottom] {
            bits.unsigned_golomb(crop);
        }
    }
    bits.push(0, 1); // no VUI
    bits.push(1, 1); // stop bit
    let mut nal = vec![0x67, profile, constraints, level];
    nal.extend_from_slice(&bits.bytes);
    nal
}

/// Length of everything in front of filler and stamp in a received payload.
pub(super) fn head_len(payload: &[u8]) -> Option<usize> {
    match payload.first()? & 0x1f {
        FU_A => Some(2),
        STAP_A => {
            let mut at = 1;
            loop {
                let size = u16::from_be_bytes([*payload.get(at)?, *payload.get(at + 1)?]);
                let end = at + 2 + usize::from(size);
                if end >= payload.len() {
                    return (end == payload.len()).then_some(at + 3);
                }
                at = end;
            }
        }
        _ => Some(1),
    }
}

fn aggregate(sps: &[u8], trailer: usize) -> Vec<u8> {
    let mut head = vec![REFERENCE | STAP_A];
    for nal in [sps, &PPS] {
        head.extend_from_slice(&(nal.len() as u16).to_be_bytes());
        head.extend_from_slice(nal);
    }
    head.extend_from_slice(&(trailer as u16 + 1).to_be_bytes());
    head.push(NAL_SEI);
    head
}

/// Bits from the most significant down, for Exp-Golomb codes (section 9.1).
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn push(&mut self, value: u32, count: u32) {
        for bit in (0..count).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if let Some(byte) = self.bytes.last_mut() {
                *byte |= ((value >> bit & 1) as u8) << (7 - self.used % 8);
            }
            self.used += 1;
        }
    }

    fn unsigned_golomb(&mut self, value: u32) {
        let code = value + 1;
        let length = 32 - code.leading_zeros();
        self.push(0, length - 1);
        self.push(code, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sps_of_a_plain_picture_is_the_one_worked_out_by_hand() {
        // 640x368: no cropping. ue: 0=1, 0=1, 2=011, 1=010, gaps 0, 39=00000101000, 22=000010111, 11, 0, 0, stop 1.
        assert_eq!(
            sps(0x42_e01f, 640, 368),
            [0x67, 0x42, 0xe0, 0x1f, 0b1101_1010, 0b0000_0010, 0b1000_0000, 0b1011_1110, 0b0100_0000]
        );
    }

    #[test]
    fn cropping_is_said_when_the_height_is_no_multiple_of_16() {
        assert_ne!(sps(0x42_e01f, 640, 360), sps(0x42_e01f, 640, 368));
        assert_eq!(sps(0x64_0028, 1280, 720)[..4], [0x67, 0x64, 0x00, 0x28]);
    }
}
