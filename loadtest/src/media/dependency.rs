//! The dependency descriptor (RTP payload format for AV1, appendix A): written from structures that Chromium sends, and
//! read as far as its numbers go.

use crate::spec::{Prediction, Svc};

use super::encoder::Frame;

/// A structure as Chromium sends it, in the descriptor of a key frame's first packet, and its templates.
#[derive(Debug, Clone, Copy)]
struct Known {
    first: &'static str,
    /// For each spatial layer: the template of key pictures, of T0, T1, T2 behind T0, T2 behind T1.
    templates: &'static [[u8; 5]],
}

const L1T1: Known = Known { first: "80000180003a410180ef808680", templates: &[[0, 1, 1, 1, 1]] };
const L1T3: Known = Known { first: "800001800214eaa860414d141020842701df010d", templates: &[[0, 1, 2, 3, 4]] };
const L3T3: Known = Known {
    first: "d0013481e81485214eafffaaaa863cf0430c10c302afc0aaa0063c00430010c002a000a80006000040001d954926e082b04a0941\
            b820ac1282503157f974000ca864330e222222eca8655304224230eca87753013f00b3027f016704ff02cf",
    templates: &[[1, 0, 2, 3, 4], [6, 5, 7, 8, 9], [11, 10, 12, 13, 14]],
};
const L3T3_KEY: Known = Known {
    first: "8f008581e81485214eaaaaa8000600004000100002aa80a8000600004000100002a000a800060000400016d549241b5524906d54\
            923157e001974ca864330e222396eca8655304224390eca87753013f00b3027f016704ff02cf",
    templates: &[[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12, 13, 14]],
};

/// Writes the descriptors of one stream.
#[derive(Debug)]
pub(super) struct Descriptors {
    first: Vec<u8>,
    templates: &'static [[u8; 5]],
}

impl Descriptors {
    /// `None`: there is no structure for these layers.
    pub(super) fn new(svc: Option<Svc>, temporal_layers: u8) -> Option<Self> {
        let known = match (svc, temporal_layers) {
            (None, 1) => L1T1,
            (None, 3) => L1T3,
            (Some(Svc { layers: 3, prediction: Prediction::Always }), 3) => L3T3,
            (Some(Svc { layers: 3, prediction: Prediction::InKeyPictures }), 3) => L3T3_KEY,
            _ => return None,
        };
        Some(Self { first: bytes(known.first), templates: known.templates })
    }

    /// The descriptor of packet `index` of `count`. Frame numbers are those of the frames.
    pub(super) fn next(&mut self, frame: &Frame, index: u16, count: u16) -> Vec<u8> {
        let place = match (frame.key_picture, frame.temporal, frame.sync) {
            (true, _, _) => 0,
            (false, 0, _) => 1,
            (false, 1, _) => 2,
            (false, _, true) => 3,
            (false, _, false) => 4,
        };
        let offset = Described::read(&self.first).and_then(|first| first.structure).map_or(0, |known| known.offset);
        let template = self.templates[usize::from(frame.spatial.0)][place];
        let ends = u8::from(index + 1 == count) << 6;
        let starts = u8::from(index == 0) << 7;
        let [high, low] = (frame.number as u16).to_be_bytes();
        let mut descriptor = vec![starts | ends | (offset + template) & 0x3f, high, low];
        if frame.key && index == 0 {
            descriptor.extend_from_slice(&self.first[3..]);
        }
        descriptor
    }
}

/// The numbers of a received descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Described {
    /// First packet of its frame.
    pub starts_frame: bool,
    /// Last packet of its frame.
    pub ends_frame: bool,
    /// Template id, six bits.
    pub template: u8,
    /// Frame number.
    pub frame: u16,
    /// The structure that came with it.
    pub structure: Option<Templates>,
}

/// The templates of a structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Templates {
    /// Id of the first.
    pub offset: u8,
    /// Spatial and temporal layer of each.
    layers: [(u8, u8); 16],
    count: usize,
}

impl Templates {
    /// Spatial and temporal layer of the template with this id.
    pub fn layers(&self, id: u8) -> Option<(u8, u8)> {
        let index = usize::from(id.wrapping_sub(self.offset) & 0x3f);
        self.layers.get(index).copied().filter(|_| index < self.count)
    }

    /// template_dependency_structure(), from its first byte on: behind the id and the number of decode targets, which
    /// end at a whole byte, the layers of each template in two bits relative to the one before.
    fn read(bytes: &[u8]) -> Option<Self> {
        let offset = (bytes.first()? & 0x07) << 3 | bytes.get(1)? >> 5;
        let mut templates = Self { offset, layers: [(0, 0); 16], count: 1 };
        let (mut spatial, mut temporal) = (0, 0);
        for bit in (0..).step_by(2) {
            match bytes.get(2 + bit / 8)? >> (6 - bit % 8) & 3 {
                0 => {}
                1 => temporal += 1,
                2 => (spatial, temporal) = (spatial + 1, 0),
                _ => return Some(templates),
            }
            *templates.layers.get_mut(templates.count)? = (spatial, temporal);
            templates.count += 1;
        }
        None
    }
}

impl Described {
    /// Reads what it says of itself; `None` when it is cut short.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (&[head, high, low], rest) = bytes.split_first_chunk()?;
        let structure = match rest.first() {
            Some(flags) if flags & 0x80 != 0 => Some(Templates::read(rest)?),
            _ => None,
        };
        Some(Self {
            starts_frame: head & 0x80 != 0,
            ends_frame: head & 0x40 != 0,
            template: head & 0x3f,
            frame: u16::from_be_bytes([high, low]),
            structure,
        })
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_tell_the_layers_of_their_templates() {
        for (known, spatial_layers) in [(L1T1, 1), (L1T3, 1), (L3T3, 3), (L3T3_KEY, 3)] {
            let described = Described::read(&bytes(known.first)).unwrap();
            let structure = described.structure.unwrap();
            assert_eq!(known.templates.len(), spatial_layers);
            for (templates, spatial) in known.templates.iter().zip(0..) {
                let layers = templates.map(|template| structure.layers(structure.offset + template).unwrap());
                let temporal: [u8; 5] = if structure.count == 2 { [0; 5] } else { [0, 0, 1, 2, 2] };
                assert_eq!(layers, temporal.map(|temporal| (spatial, temporal)), "{}", known.first);
            }
            assert_eq!(structure.layers(structure.offset.wrapping_sub(1)), None);
        }
    }
}
