//! VP9 payload descriptor (RFC 9628 section 4.2), flexible and non-flexible, with the picture sizes of its scalability
//! structure. The bitstream behind it is not looked at.

use super::{PictureIds, Resolution, Resolutions};

/// The fields forwarding uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vp9 {
    /// PictureID; after ingress always in its 15-bit form ([`super::PictureIdExpander`]).
    pub picture_id: Option<u16>,
    /// P: inter-picture predicted.
    pub inter_predicted: bool,
    /// B: first packet of a layer frame.
    pub start_of_frame: bool,
    /// E: last packet of a layer frame.
    pub end_of_frame: bool,
    /// Spatial layer (SID).
    pub spatial_id: u8,
    /// Temporal layer (TID).
    pub temporal_id: u8,
    /// U: a switch up to this temporal layer may happen here.
    pub switching_up_point: bool,
    /// D: inter-layer dependency used.
    pub inter_layer_dependency: bool,
    /// TL0PICIDX (non-flexible mode).
    pub tl0_picture_index: Option<u8>,
    /// Spatial layers are predicted from each other in key pictures only ("K-SVC"). Not in the descriptor:
    /// [`PredictionWatch`] finds it out.
    pub key_pictures_only: bool,
}

/// Pictures with several spatial layers and no prediction between them that tell K-SVC. Larger sends the lower layers
/// needlessly for longer; smaller trusts an encoder that leaves out a prediction now and then.
const CONVINCING: u32 = 8;

/// Finds out from the packets of one stream whether its spatial layers are predicted from each other outside key
/// pictures, which no field tells.
#[derive(Debug, Clone, Default)]
pub struct PredictionWatch {
    /// Frames of upper layers since the last one that was predicted from the layer below outside a key picture.
    independent: u32,
}

impl PredictionWatch {
    /// Notes a packet, and fills in what is known so far. A stream that is not convincing needs all layers.
    pub fn note(&mut self, vp9: &mut Vp9) {
        if vp9.start_of_frame && vp9.inter_predicted && vp9.spatial_id > 0 {
            self.independent = if vp9.inter_layer_dependency { 0 } else { self.independent.saturating_add(1) };
        }
        vp9.key_pictures_only = self.independent >= CONVINCING;
    }
}

/// Reads the descriptor, and the sizes of the spatial layers where a scalability structure gives them. `None`:
/// truncated, or nothing behind the descriptor.
pub fn parse(payload: &[u8]) -> Option<(Vp9, Resolutions)> {
    let mut reader = Reader(payload);
    let head = reader.byte()?;
    let flexible = head & FLEXIBLE != 0;
    let mut vp9 = Vp9 {
        inter_predicted: head & 0x40 != 0,
        start_of_frame: head & 0x08 != 0,
        end_of_frame: head & 0x04 != 0,
        ..Vp9::default()
    };
    if head & HAS_PICTURE_ID != 0 {
        let high = reader.byte()?;
        vp9.picture_id = Some(match high & LONG_PICTURE_ID {
            0 => u16::from(high),
            _ => u16::from(high & 0x7f) << 8 | u16::from(reader.byte()?),
        });
    }
    if head & HAS_LAYERS != 0 {
        let layers = reader.byte()?;
        vp9.temporal_id = layers >> 5;
        vp9.switching_up_point = layers & 0x10 != 0;
        vp9.spatial_id = layers >> 1 & 0x07;
        vp9.inter_layer_dependency = layers & 0x01 != 0;
        if !flexible {
            vp9.tl0_picture_index = Some(reader.byte()?);
        }
    }
    if flexible && vp9.inter_predicted {
        reader.skip_reference_differences()?;
    }
    let resolutions = match head & 0x02 {
        0 => Resolutions::new(),
        _ => reader.scalability_structure()?,
    };
    (!reader.0.is_empty()).then_some((vp9, resolutions))
}

/// Where the payload has its PictureID, if it has one.
pub(super) fn picture_id_at(payload: &[u8]) -> Option<usize> {
    payload.first().is_some_and(|head| head & HAS_PICTURE_ID != 0).then_some(1)
}

/// Puts these ids into the descriptor at a payload's head, each where there is one. PictureIDs must be in their 15-bit
/// form ([`super::PictureIdExpander`]), others are left alone.
pub(super) fn patch(payload: &mut [u8], ids: &PictureIds) {
    let Some((&mut head, rest)) = payload.split_first_mut() else { return };
    let rest = match rest {
        [high, low, rest @ ..] if head & HAS_PICTURE_ID != 0 && *high & LONG_PICTURE_ID != 0 => {
            if let Some(id) = ids.picture_id {
                [*high, *low] = (id | 0x8000).to_be_bytes();
            }
            rest
        }
        [_, rest @ ..] if head & HAS_PICTURE_ID != 0 => rest,
        rest => rest,
    };
    if let ([_, place, ..], Some(index)) = (rest, ids.tl0_picture_index)
        && head & (HAS_LAYERS | FLEXIBLE) == HAS_LAYERS
    {
        *place = index;
    }
}

/// I, in the descriptor's first byte.
const HAS_PICTURE_ID: u8 = 0x80;
/// L.
const HAS_LAYERS: u8 = 0x20;
/// F.
const FLEXIBLE: u8 = 0x10;
/// M, in the PictureID's first.
const LONG_PICTURE_ID: u8 = 0x80;

impl Vp9 {
    /// Whether this packet starts a key picture. With spatial layers all frames of a key picture have P = 0, but a
    /// decoder can start only at the lowest.
    pub fn starts_keyframe(&self) -> bool {
        !self.inter_predicted && self.start_of_frame && self.spatial_id == 0
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    /// P_DIFF: up to three, each with a bit that says whether another follows.
    fn skip_reference_differences(&mut self) -> Option<()> {
        for _ in 0..3 {
            if self.byte()? & 0x01 == 0 {
                return Some(());
            }
        }
        Some(())
    }

    /// Passes over the structure; keeps the sizes of as many spatial layers as are handled.
    fn scalability_structure(&mut self) -> Option<Resolutions> {
        let head = self.byte()?;
        let mut resolutions = Resolutions::new();
        if head & 0x10 != 0 {
            for _ in 0..=(head >> 5) {
                let resolution = Resolution { width: self.number()?, height: self.number()? };
                let _ = resolutions.try_push(resolution);
            }
        }
        if head & 0x08 != 0 {
            for _ in 0..self.byte()? {
                let references = self.byte()? >> 2 & 0x03;
                for _ in 0..references {
                    self.byte()?;
                }
            }
        }
        Some(resolutions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_read_field_by_field() {
        let key = Vp9 { start_of_frame: true, ..Vp9::default() };
        const SMALL: Resolution = Resolution { width: 320, height: 180 };
        const LARGE: Resolution = Resolution { width: 640, height: 360 };
        type Row = (&'static str, &'static [u8], Option<Vp9>, &'static [Resolution]);
        let table: [Row; 9] = [
            ("no options", &[0x08, 0x82], Some(key), &[]),
            ("nothing behind", &[0x08], None, &[]),
            ("short picture id", &[0x88, 0x11, 0x82], Some(Vp9 { picture_id: Some(17), ..key }), &[]),
            ("long picture id", &[0x88, 0x92, 0x34, 0x82], Some(Vp9 { picture_id: Some(0x1234), ..key }), &[]),
            (
                "layers, non-flexible",
                &[0xec, 0x81, 0x02, 0x53, 0x07, 0x00],
                Some(Vp9 {
                    picture_id: Some(0x102),
                    inter_predicted: true,
                    start_of_frame: true,
                    end_of_frame: true,
                    spatial_id: 1,
                    temporal_id: 2,
                    switching_up_point: true,
                    inter_layer_dependency: true,
                    tl0_picture_index: Some(7),
                    key_pictures_only: false,
                }),
                &[],
            ),
            (
                "flexible, three references",
                &[0x70, 0x20, 0x03, 0x05, 0x07, 0x00],
                Some(Vp9 { inter_predicted: true, temporal_id: 1, ..Vp9::default() }),
                &[],
            ),
            ("flexible, references truncated", &[0x50, 0x03, 0x05], None, &[]),
            (
                "structure of two layers and a picture group",
                &[
                    0x2a, 0x00, 0x07, // V, layers, TL0PICIDX
                    0x38, 0x01, 0x40, 0x00, 0xb4, 0x02, 0x80, 0x01, 0x68, // N_S 1, Y, G; 320x180, 640x360
                    0x02, 0x04, 0x01, 0x38, 0x01, 0x02, // two pictures with one and two references
                    0x82,
                ],
                Some(Vp9 { tl0_picture_index: Some(7), ..key }),
                &[SMALL, LARGE],
            ),
            ("structure truncated", &[0x0a, 0x10, 0x01, 0x40, 0x00], None, &[]),
        ];
        for (name, payload, vp9, resolutions) in table {
            let expected = vp9.map(|vp9| (vp9, resolutions.iter().copied().collect()));
            assert_eq!(parse(payload), expected, "{name}");
        }
    }

    #[test]
    fn ids_are_patched_where_there_are_any() {
        let table: [(&[u8], &[u8]); 7] = [
            (&[0xa8, 0x92, 0x34, 0x00, 0x56, 0x82], &[0xa8, 0x81, 0x02, 0x00, 3, 0x82]),
            (&[0xb8, 0x92, 0x34, 0x00, 0x82], &[0xb8, 0x81, 0x02, 0x00, 0x82]),
            (&[0x88, 0x92, 0x34, 0x82], &[0x88, 0x81, 0x02, 0x82]),
            (&[0xa8, 0x12, 0x00, 0x56, 0x82], &[0xa8, 0x12, 0x00, 3, 0x82]),
            (&[0x28, 0x00, 0x56, 0x82], &[0x28, 0x00, 3, 0x82]),
            (&[0x08, 0x82], &[0x08, 0x82]),
            (&[0xa8, 0x92], &[0xa8, 0x92]),
        ];
        for (payload, expected) in table {
            let mut patched = payload.to_vec();
            patch(&mut patched, &PictureIds { picture_id: Some(0x0102), tl0_picture_index: Some(3), key_index: None });
            assert_eq!(patched, expected, "{payload:02x?}");
            let mut unchanged = payload.to_vec();
            patch(&mut unchanged, &PictureIds::default());
            assert_eq!(unchanged, payload);
        }
    }

    #[test]
    fn prediction_in_key_pictures_only_is_believed_after_a_while_and_doubted_at_once() {
        let upper = |inter_layer_dependency| Vp9 {
            inter_predicted: true,
            start_of_frame: true,
            spatial_id: 1,
            inter_layer_dependency,
            ..Vp9::default()
        };
        let key = Vp9 { inter_predicted: false, ..upper(true) };
        let mut watch = PredictionWatch::default();
        let mut note = |mut vp9: Vp9| {
            watch.note(&mut vp9);
            vp9.key_pictures_only
        };
        assert!(!note(key));
        let told: Vec<bool> = (0..CONVINCING).map(|_| note(upper(false))).collect();
        assert_eq!(told.iter().position(|told| *told), Some(CONVINCING as usize - 1));
        assert!(note(key), "prediction within a key picture says nothing");
        assert!(!note(upper(true)));
        assert!(!note(upper(false)));
    }

    #[test]
    fn only_the_lowest_spatial_layer_of_a_key_picture_is_a_start() {
        let start = Vp9 { start_of_frame: true, ..Vp9::default() };
        let table = [
            (start, true),
            (Vp9 { inter_predicted: true, ..start }, false),
            (Vp9 { start_of_frame: false, ..start }, false),
            (Vp9 { spatial_id: 1, inter_layer_dependency: true, ..start }, false),
        ];
        for (vp9, expected) in table {
            assert_eq!(vp9.starts_keyframe(), expected, "{vp9:?}");
        }
    }
}
