//! Header extensions str0m has no parser for, carried byte for byte through its user values.

use std::sync::Arc;

use str0m::rtp::{Extension, ExtensionSerializer, ExtensionValues};

/// URI of the dependency descriptor (AV1 RTP payload format, appendix A).
pub const DEPENDENCY_DESCRIPTOR_URI: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// Longest value of the one-byte header form (RFC 8285 section 4.2).
const ONE_BYTE_FORM: usize = 16;

/// A dependency descriptor as received. Found in and put into `ExtensionValues::user_values`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyDescriptor(pub Arc<[u8]>);

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
