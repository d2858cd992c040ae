//! What a payload says about itself: one call per received packet, for every codec.

use super::{Codec, Descriptor, Resolution, Resolutions, av1, h264, h265, vp8, vp9};

/// What [`inspect`] found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inspected {
    /// The parsed head of the payload.
    pub descriptor: Descriptor,
    /// A decoder that has seen nothing before can start at this packet.
    pub starts_keyframe: bool,
    /// Picture sizes of the spatial layers, where this packet tells them.
    pub resolutions: Resolutions,
}

/// Reads the head of a payload. Never fails: what cannot be read is opaque, and no start of a key frame.
///
/// `dependency_descriptor` is the bytes of that header extension where the packet has it. A receiver that uses it can
/// decode nothing before it has the template structure, so then a start needs the structure, too.
pub fn inspect(codec: Codec, payload: &[u8], dependency_descriptor: Option<&[u8]>) -> Inspected {
    let mut inspected = match codec {
        Codec::Opus => Inspected::default(),
        Codec::Vp8 => inspect_vp8(payload),
        Codec::Vp9 => inspect_vp9(payload),
        Codec::H264 => opaque(h264::starts_keyframe(payload), h264::resolution(payload)),
        Codec::H265 => opaque(h265::starts_keyframe(payload), h265::resolution(payload)),
        Codec::Av1 => opaque(av1::starts_keyframe(payload), av1::resolution(payload)),
    };
    inspected.starts_keyframe &= dependency_descriptor.is_none_or(carries_structure);
    inspected
}

fn inspect_vp8(payload: &[u8]) -> Inspected {
    let Some((vp8, data)) = vp8::parse(payload) else {
        return Inspected::default();
    };
    let starts_keyframe = vp8.starts_keyframe(data);
    let resolution = if starts_keyframe { vp8::resolution(data) } else { None };
    Inspected { descriptor: Descriptor::Vp8(vp8), starts_keyframe, resolutions: resolution.into_iter().collect() }
}

fn inspect_vp9(payload: &[u8]) -> Inspected {
    let Some((vp9, resolutions)) = vp9::parse(payload) else {
        return Inspected::default();
    };
    Inspected { descriptor: Descriptor::Vp9(vp9), starts_keyframe: vp9.starts_keyframe(), resolutions }
}

fn opaque(starts_keyframe: bool, resolution: Option<Resolution>) -> Inspected {
    Inspected { descriptor: Descriptor::Opaque, starts_keyframe, resolutions: resolution.into_iter().collect() }
}

/// start_of_frame, and template_dependency_structure_present_flag of the part behind the three mandatory bytes (AV1 RTP
/// specification, appendix A.8.2).
fn carries_structure(dependency_descriptor: &[u8]) -> bool {
    matches!(*dependency_descriptor, [head, _, _, flags, ..] if head & 0x80 != 0 && flags & 0x80 != 0)
}

#[cfg(test)]
mod tests {
    use super::super::PictureIdExpander;
    use super::*;

    /// One payload per codec that starts a key frame and tells its size.
    const KEYFRAMES: [(Codec, &[u8], (u16, u16)); 5] = [
        (
            Codec::Vp8,
            &[0x90, 0xf0, 0x80, 0x11, 0x07, 0x21, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01],
            (640, 360),
        ),
        (Codec::Vp9, &[0xaa, 0x80, 0x11, 0x00, 0x07, 0x18, 0x02, 0x80, 0x01, 0x68, 1, 0x04, 1, 0x82], (640, 360)),
        (Codec::H264, &[0x78, 0, 10, 0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x70], (640, 360)),
        (
            Codec::H265,
            &[
                0x60, 0x01, 0, 3, 0x40, 0x01, 0x0c, 0, 26, 0x42, 0x01, 0x01, 0x01, 0x60, 0, 0, 3, 0, 0x90, 0, 0, 3, 0,
                0, 3, 0, 0x78, 0xa0, 0x03, 0xc0, 0x80, 0x11, 0x07, 0xcb, 0x96,
            ],
            (1920, 1080),
        ),
        (Codec::Av1, &[0x18, 0x08, 0x00, 0x00, 0x00, 0x24, 0xc4, 0xff, 0xdf, 0x00, 0x68, 0x02], (640, 480)),
    ];

    #[test]
    fn every_video_codec_shows_its_key_frames_and_their_size() {
        for (codec, payload, (width, height)) in KEYFRAMES {
            let inspected = inspect(codec, payload, None);
            assert!(inspected.starts_keyframe, "{codec:?}");
            assert_eq!(inspected.resolutions.last(), Some(&Resolution { width, height }), "{codec:?}");
        }
        assert_eq!(inspect(Codec::Opus, &[0xf8, 0xff, 0xfe], None), Inspected::default());
    }

    #[test]
    fn a_start_with_a_dependency_descriptor_needs_its_structure() {
        let (codec, payload, _) = KEYFRAMES[4];
        let table: [(&[u8], bool); 5] = [
            (&[0x80, 0x00, 0x01, 0x80, 0x00, 0x3a, 0x41, 0x01, 0x80, 0xef, 0x80, 0x86, 0x80], true),
            (&[0x40, 0x00, 0x01, 0x80, 0x00], false),
            (&[0x86, 0x01, 0x73, 0x40, 0xfc], false),
            (&[0x80, 0x00, 0x01], false),
            (&[], false),
        ];
        for (descriptor, expected) in table {
            assert_eq!(inspect(codec, payload, Some(descriptor)).starts_keyframe, expected, "{descriptor:02x?}");
        }
    }

    #[test]
    fn no_truncation_or_changed_byte_makes_a_parser_panic() {
        for (codec, payload, _) in KEYFRAMES {
            for length in 0..payload.len() {
                let cut = payload.get(..length).unwrap();
                inspect(codec, cut, Some(cut));
                for value in [0x00, 0x7f, 0x80, 0xff] {
                    let mut changed = payload.to_vec();
                    changed[length] = value;
                    inspect(codec, &changed, None);
                    PictureIdExpander::default().expand(codec, &changed);
                }
            }
        }
    }
}
