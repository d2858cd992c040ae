//! The dependency descriptor's bytes in str0m's header extensions, which have no reader of their own for it.

use str0m::rtp::{Extension, ExtensionSerializer, ExtensionValues};

const URI: &str = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// A descriptor, in `ExtensionValues::user_values`.
#[derive(Debug, Clone)]
pub(super) struct DependencyDescriptor(pub(super) Vec<u8>);

/// The extension, for str0m's extension map.
pub(super) fn extension() -> Extension {
    Extension::with_serializer(URI, Serializer)
}

#[derive(Debug)]
struct Serializer;

impl ExtensionSerializer for Serializer {
    fn write_to(&self, buffer: &mut [u8], values: &ExtensionValues) -> usize {
        let Some(DependencyDescriptor(bytes)) = values.user_values.get() else { return 0 };
        buffer.get_mut(..bytes.len()).map_or(0, |place| {
            place.copy_from_slice(bytes);
            bytes.len()
        })
    }

    fn parse_value(&self, bytes: &[u8], values: &mut ExtensionValues) -> bool {
        values.user_values.set(DependencyDescriptor(bytes.to_vec()));
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }

    /// The one-byte form holds 16 bytes (RFC 8285 section 4.2).
    fn requires_two_byte_form(&self, values: &ExtensionValues) -> bool {
        values.user_values.get().is_some_and(|DependencyDescriptor(bytes)| bytes.len() > 16)
    }
}
