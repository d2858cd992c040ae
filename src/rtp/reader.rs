//! Reads the payloads of one incoming stream: what each says, with what only the packets before it can tell.

use std::sync::Arc;

use super::dependency_descriptor::{DependencyDescriptor, DependencyReader};
use super::vp9::PredictionWatch;
use super::{Codec, Descriptor, Inspected, PictureIdExpander, PictureNumbers, Resolutions, inspect};

/// What the packets of a stream have said so far.
#[derive(Debug, Clone, Default)]
pub struct StreamReader {
    picture_ids: PictureIdExpander,
    pictures: PictureNumbers,
    prediction: PredictionWatch,
    dependencies: DependencyReader,
}

/// One payload, read.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The payload, PictureIDs widened to 15 bits.
    pub payload: Arc<[u8]>,
    /// Its parsed head.
    pub descriptor: Descriptor,
    /// Which picture it belongs to, counted on beyond the width of its id.
    pub picture: Option<u64>,
    /// Its dependency descriptor, if that can be read.
    pub dependency: Option<Arc<DependencyDescriptor>>,
    /// A decoder that has seen nothing before can start here.
    pub starts_keyframe: bool,
    /// Picture sizes of the spatial layers, where this packet tells them.
    pub resolutions: Resolutions,
}

impl StreamReader {
    /// Reads the next packet in the order of arrival. `dependency_descriptor` is the bytes of that header extension
    /// where the packet has it.
    pub fn read(&mut self, codec: Codec, payload: Arc<[u8]>, dependency_descriptor: Option<&[u8]>) -> Reading {
        let payload = self.picture_ids.expand(codec, &payload).unwrap_or(payload);
        let Inspected { mut descriptor, starts_keyframe, mut resolutions } =
            inspect(codec, &payload, dependency_descriptor);
        let picture = match &mut descriptor {
            Descriptor::Vp8(vp8) => vp8.picture_id.map(|id| self.pictures.extend(id)),
            Descriptor::Vp9(vp9) => {
                self.prediction.note(vp9);
                vp9.picture_id.map(|id| self.pictures.extend(id))
            }
            Descriptor::Opaque => None,
        };
        let dependency = dependency_descriptor.and_then(|bytes| self.dependencies.read(bytes)).map(Arc::new);
        if let Some(dependency) = dependency.as_ref().filter(|dependency| dependency.starts_sequence) {
            let declared = dependency.structure.resolutions();
            if !declared.is_empty() {
                resolutions = declared;
            }
        }
        Reading { payload, descriptor, picture, dependency, starts_keyframe, resolutions }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::Resolution;

    #[test]
    fn pictures_are_counted_whatever_the_width_of_their_ids() {
        let vp8 = |id: u8| [0x90, 0x80, id, 0x01, 0, 0, 0];
        let vp9 = |id: u8| [0x88, id, 0x86];
        let mut reader = StreamReader::default();
        let mut vp9_reader = StreamReader::default();
        let mut pictures = Vec::new();
        for id in [126, 127, 0, 1] {
            let reading = reader.read(Codec::Vp8, vp8(id).into(), None);
            let other = vp9_reader.read(Codec::Vp9, vp9(id).into(), None);
            assert_eq!((reading.payload.len(), other.payload.len()), (8, 4), "widened");
            pictures.push((reading.picture.unwrap(), other.picture.unwrap()));
        }
        let first = pictures[0];
        let expected: Vec<_> = (0..4).map(|step| (first.0 + step, first.1 + step)).collect();
        assert_eq!(pictures, expected);
    }

    #[test]
    fn a_dependency_descriptor_tells_layers_and_sizes_of_any_codec() {
        let structure = [
            0x80, 0x00, 0x01, 0x80, 0x02, 0x14, 0xea, 0xa8, 0x60, 0x41, 0x4d, 0x14, 0x10, 0x20, 0x84, 0x27, 0x01, 0xdf,
            0x01, 0x0d,
        ];
        let mut reader = StreamReader::default();
        let delta = [0x10, 0x30, 0x00];
        let reading = reader.read(Codec::Av1, delta.into(), Some(&[0x83, 0x00, 0x02]));
        assert!(reading.dependency.is_none(), "no structure yet");
        let reading = reader.read(Codec::Av1, [0x18, 0x08, 0x00].into(), Some(&structure));
        assert!(reading.starts_keyframe);
        assert_eq!(reading.resolutions.as_slice(), [Resolution { width: 480, height: 270 }]);
        let reading = reader.read(Codec::Av1, delta.into(), Some(&[0x83, 0x00, 0x02]));
        assert_eq!(reading.dependency.unwrap().dependencies.temporal_id, 2);
    }
}
