//! Header extension values between the engine and [`rtp::Packet`](crate::rtp::Packet), and those str0m has no parser
//! for, carried byte for byte through its user values.

use std::sync::Arc;

use str0m::media::MediaTime;
use str0m::rtp::vla::{self, VideoLayersAllocation};
use str0m::rtp::{AbsCaptureTime, Extension, ExtensionSerializer, ExtensionValues};

use crate::forward::Rewritten;
use crate::rtp::allocation::{
    LayersAllocation, MAX_DECLARED_TEMPORAL, MAX_STREAMS, SpatialAllocation, StreamAllocation,
};
use crate::rtp::dependency_descriptor::rewrite;
use crate::rtp::{AudioLevel, CaptureTime, Extensions, MAX_SPATIAL_LAYERS, Packet, PlayoutDelay, Resolution};

/// URI of the dependency descriptor (AV1 RTP payload format, appendix A).
pub const DEPENDENCY_DESCRIPTOR_URI: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// Longest value of the one-byte header form (RFC 8285 section 4.2).
const ONE_BYTE_FORM: usize = 16;

/// A dependency descriptor as received. Found in and put into `ExtensionValues::user_values`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyDescriptor(pub Arc<[u8]>);

/// What a received packet carries on to subscribers.
pub(super) fn read(values: &ExtensionValues) -> Extensions {
    let limits = values.play_delay_min.zip(values.play_delay_max);
    Extensions {
        audio_level: values.audio_level.map(|level| AudioLevel {
            minus_dbov: level.unsigned_abs().min(127),
            voice: values.voice_activity.unwrap_or_default(),
        }),
        video_orientation: values.video_orientation.map(|orientation| orientation as u8),
        capture_time: values
            .abs_capture_time
            .map(|capture| CaptureTime { time: capture.capture_time, clock_offset: capture.clock_offset }),
        playout_delay: limits.map(|(min, max)| PlayoutDelay { min: hundredths(min), max: hundredths(max) }),
        dependency_descriptor: values.user_values.get().map(|DependencyDescriptor(bytes)| Arc::clone(bytes)),
    }
}

/// What a received packet's sender declares about its layers. Layers beyond the bounds are left out.
pub(super) fn allocation(values: &ExtensionValues) -> Option<LayersAllocation> {
    let declared: &VideoLayersAllocation = values.user_values.get()?;
    let streams = declared.simulcast_streams.iter().map(|stream| StreamAllocation {
        spatial: stream.spatial_layers.iter().filter_map(spatial_allocation).take(MAX_SPATIAL_LAYERS).collect(),
    });
    Some(LayersAllocation {
        current: declared.current_simulcast_stream_index.into(),
        streams: streams.take(MAX_STREAMS).collect(),
    })
}

/// `None` for a spatial layer that is off.
fn spatial_allocation(layer: &vla::SpatialLayerAllocation) -> Option<SpatialAllocation> {
    let size = layer.resolution_and_framerate.as_ref();
    let temporal = layer.temporal_layers.iter().map(|temporal| temporal.cumulative_kbps.saturating_mul(1000));
    (!layer.temporal_layers.is_empty()).then(|| SpatialAllocation {
        temporal: temporal.take(MAX_DECLARED_TEMPORAL).collect(),
        resolution: size.map(|size| Resolution { width: size.width, height: size.height }),
        frame_rate: size.map(|size| size.framerate),
    })
}

/// Puts them into a packet to be sent. The engine leaves out what its peer did not negotiate.
pub(super) fn write(extensions: &Extensions, values: &mut ExtensionValues) {
    if let Some(level) = extensions.audio_level {
        values.audio_level = Some(0i8.saturating_sub_unsigned(level.minus_dbov));
        values.voice_activity = Some(level.voice);
    }
    values.video_orientation = extensions.video_orientation.map(Into::into);
    if let Some(capture) = extensions.capture_time {
        let CaptureTime { time: capture_time, clock_offset } = capture;
        values.abs_capture_time = Some(AbsCaptureTime { capture_time, clock_offset });
    }
    if let Some(delay) = extensions.playout_delay {
        values.play_delay_min = Some(MediaTime::from_hundredths(delay.min.into()));
        values.play_delay_max = Some(MediaTime::from_hundredths(delay.max.into()));
    }
}

/// The dependency descriptor as this subscriber gets it. One that could not be read is left out: its numbers would not
/// fit what was sent before.
pub(super) fn write_dependency(packet: &Packet, rewritten: &Rewritten, values: &mut ExtensionValues) {
    let Some(bytes) = packet.extensions.dependency_descriptor.as_ref() else { return };
    let Some(parsed) = packet.dependency.as_deref().filter(|_| !rewritten.empty) else { return };
    let bytes = match rewritten.dependency {
        None => Some(Arc::clone(bytes)),
        Some(changes) => rewrite(bytes, Some(parsed), changes).map(|bytes| Arc::from(bytes.as_slice())),
    };
    if let Some(bytes) = bytes {
        values.user_values.set(DependencyDescriptor(bytes));
    }
}

fn hundredths(time: MediaTime) -> u16 {
    u16::try_from(time.rebase(str0m::media::Frequency::HUNDREDTHS).numer()).unwrap_or(u16::MAX)
}

/// The extension, for str0m's extension map.
pub fn dependency_descriptor() -> Extension {
    Extension::with_serializer(DEPENDENCY_DESCRIPTOR_URI, Serializer)
}

#[derive(Debug)]
struct Serializer;

impl ExtensionSerializer for Serializer {
    fn write_to(&self, buffer: &mut [u8], values: &ExtensionValues) -> usize {
        let Some(DependencyDescriptor(bytes)) = values.user_values.get() else { return 0 };
        match buffer.get_mut(..bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                bytes.len()
            }
            None => 0,
        }
    }

    fn parse_value(&self, bytes: &[u8], values: &mut ExtensionValues) -> bool {
        values.user_values.set(DependencyDescriptor(bytes.into()));
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }

    fn requires_two_byte_form(&self, values: &ExtensionValues) -> bool {
        values.user_values.get().is_some_and(|DependencyDescriptor(bytes)| bytes.len() > ONE_BYTE_FORM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_comes_out_as_it_went_in() {
        for length in [3, 16, 17, 200] {
            let bytes: Vec<u8> = (0..length).collect();
            let mut values = ExtensionValues::default();
            assert!(Serializer.parse_value(&bytes, &mut values));
            let mut buffer = [0; 255];
            let written = Serializer.write_to(&mut buffer, &values);
            assert_eq!(&buffer[..written], bytes.as_slice());
            assert_eq!(Serializer.requires_two_byte_form(&values), length > 16, "{length}");
        }
    }

    #[test]
    fn nothing_is_written_without_a_value_or_without_room() {
        let mut values = ExtensionValues::default();
        assert_eq!(Serializer.write_to(&mut [0; 255], &values), 0);
        values.user_values.set(DependencyDescriptor([1, 2, 3].as_slice().into()));
        assert_eq!(Serializer.write_to(&mut [0; 2], &values), 0);
    }
}
