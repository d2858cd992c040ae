//! The stamp at the end of every synthetic payload: what the packet is, when it left, what it depends on.
//!
//! It sits at the end, not behind the codec's header: a server may change the length of the header (VP8 PictureIDs of 7
//! bits become 15) but never what follows it.

use std::fmt;

/// Bytes of an encoded [`Stamp`].
pub const STAMP_LEN: usize = 36;

/// First bytes of every stamp.
const MAGIC: [u8; 4] = *b"XPST";

/// Where the checksum lies: behind everything it covers.
const CHECKSUM_AT: usize = STAMP_LEN - 4;

/// One published stream: who, which life of theirs, and which of their tracks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId {
    /// The publisher, as its spec names it.
    pub publisher: u16,
    /// Counts a publisher's restarts: frames of one life do not refer to frames of another.
    pub incarnation: u8,
    /// Audio or video.
    pub kind: Kind,
}

/// Audio or video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Audio.
    Audio,
    /// Video.
    Video,
}

/// What one packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The stream it belongs to.
    pub source: SourceId,
    /// Simulcast layer, in the order of the publisher's spec.
    pub layer: u8,
    /// Number of the frame within its layer, from zero.
    pub frame: u32,
    /// Number of the packet within its frame, from zero.
    pub index: u16,
    /// Packets of the frame.
    pub count: u16,
    /// A decoder can start here.
    pub key: bool,
    /// Temporal layer.
    pub temporal: u8,
    /// Spatial layer. Frames of one picture have neighbouring numbers, the lowest layer the lowest.
    pub spatial: u8,
    /// How many frames back the frames lie that this one refers to; zero for none.
    pub references: [u16; 2],
    /// When it was sent, in nanoseconds of the sender's [`Clock`](crate::Clock).
    pub sent: u64,
    /// Filler bytes between the codec's header and the stamp.
    pub filler: u16,
}

/// A picture, all its spatial layers together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    source: SourceId,
    layer: u8,
    lowest_frame: u32,
}

impl Stamp {
    /// The picture the frame is of.
    pub fn picture(&self) -> Picture {
        let lowest_frame = self.frame.wrapping_sub(u32::from(self.spatial));
        Picture { source: self.source, layer: self.layer, lowest_frame }
    }

    /// Appends filler and stamp to a payload that holds the codec's header.
    pub fn append_to(&self, payload: &mut Vec<u8>) {
        payload.resize(payload.len() + usize::from(self.filler), self.filler_byte());
        let start = payload.len();
        payload.extend_from_slice(&MAGIC);
        payload.extend_from_slice(&self.source.publisher.to_be_bytes());
        payload.push(self.source.incarnation);
        payload.push(self.source.kind as u8);
        payload.extend_from_slice(&self.frame.to_be_bytes());
        payload.extend_from_slice(&self.index.to_be_bytes());
        payload.extend_from_slice(&self.count.to_be_bytes());
        payload.push(self.layer);
        payload.push(self.temporal | self.spatial << 3 | u8::from(self.key) << 7);
        payload.extend_from_slice(&self.references[0].to_be_bytes());
        payload.extend_from_slice(&self.references[1].to_be_bytes());
        payload.extend_from_slice(&self.sent.to_be_bytes());
        payload.extend_from_slice(&self.filler.to_be_bytes());
        let checksum = fnv1a(&payload[start..]);
        payload.extend_from_slice(&checksum.to_be_bytes());
    }

    /// Reads the stamp of a received payload whose codec header is `head` bytes long, and compares every byte between
    /// them with what was sent.
    pub fn read(payload: &[u8], head: usize) -> Result<Self, StampError> {
        let body = payload.get(head..).ok_or(StampError::Missing)?;
        let (filler, tail) = body.split_last_chunk::<STAMP_LEN>().ok_or(StampError::Missing)?;
        let stamp = Self::decode(tail)?;
        if filler.len() != usize::from(stamp.filler) {
            return Err(StampError::Length { expected: stamp.filler, found: filler.len() });
        }
        let byte = stamp.filler_byte();
        if filler.iter().any(|b| *b != byte) {
            return Err(StampError::Altered);
        }
        Ok(stamp)
    }

    /// Whether `other` is a packet of the same frame.
    pub fn same_frame(&self, other: &Self) -> bool {
        (self.source, self.layer, self.frame) == (other.source, other.layer, other.frame)
    }

    fn decode(tail: &[u8; STAMP_LEN]) -> Result<Self, StampError> {
        if tail[..4] != MAGIC {
            return Err(StampError::Missing);
        }
        if fnv1a(&tail[..CHECKSUM_AT]).to_be_bytes() != tail[CHECKSUM_AT..] {
            return Err(StampError::Altered);
        }
        let u16_at = |at: usize| u16::from_be_bytes([tail[at], tail[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) << 16 | u32::from(u16_at(at + 2));
        let kind = if tail[7] == Kind::Audio as u8 { Kind::Audio } else { Kind::Video };
        Ok(Self {
            source: SourceId { publisher: u16_at(4), incarnation: tail[6], kind },
            frame: u32_at(8),
            index: u16_at(12),
            count: u16_at(14),
            layer: tail[16],
            temporal: tail[17] & 0x07,
            spatial: tail[17] >> 3 & 0x07,
            key: tail[17] & 0x80 != 0,
            references: [u16_at(18), u16_at(20)],
            sent: u64::from(u32_at(22)) << 32 | u64::from(u32_at(26)),
            filler: u16_at(30),
        })
    }

    /// Different in neighbouring packets and frames, so that a mix-up shows.
    fn filler_byte(&self) -> u8 {
        let mixed = self.frame.wrapping_mul(31).wrapping_add(u32::from(self.index)).wrapping_mul(7);
        mixed.to_be_bytes()[3]
    }
}

/// Why a payload carries no valid stamp.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StampError {
    /// No stamp where one must be: truncated, or not ours.
    #[error("no stamp at the end of the payload: truncated, or not sent by this program")]
    Missing,
    /// Bytes behind the codec's header were changed.
    #[error("the payload was altered behind the codec's header")]
    Altered,
    /// Bytes were inserted or removed.
    #[error("{found} filler bytes where {expected} were sent")]
    Length {
        /// As sent.
        expected: u16,
        /// As received.
        found: usize,
    },
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Audio => "audio",
            Kind::Video => "video",
        };
        write!(f, "{kind} of publisher {} (life {})", self.publisher, self.incarnation)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, layer, frame, index, count, .. } = self;
        write!(f, "{source}, layer {layer}, frame {frame}, packet {index} of {count}")
    }
}

/// FNV-1a, 32 bits: enough to tell a changed stamp, and no dependency.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, b| (hash ^ u32::from(*b)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        Stamp {
            source: SourceId { publisher: 7, incarnation: 2, kind: Kind::Video },
            layer: 1,
            frame: 70_000,
            index: 3,
            count: 9,
            key: true,
            temporal: 2,
            spatial: 1,
            references: [1, 300],
            sent: 0x0102_0304_0506_0708,
            filler: 500,
        }
    }

    #[test]
    fn a_stamp_reads_back_behind_a_header_of_any_length() {
        for head in [0, 1, 6] {
            let mut payload = vec![0xaa; head];
            stamp().append_to(&mut payload);
            assert_eq!(payload.len(), head + 500 + STAMP_LEN);
            assert_eq!(Stamp::read(&payload, head), Ok(stamp()));
        }
    }

    #[test]
    fn every_changed_byte_behind_the_header_is_noticed() {
        let mut sent = vec![0xaa; 4];
        stamp().append_to(&mut sent);
        for at in 4..sent.len() {
            let mut received = sent.clone();
            received[at] ^= 0x40;
            assert!(Stamp::read(&received, 4).is_err(), "byte {at}");
        }
    }

    #[test]
    fn truncated_and_padded_payloads_are_refused() {
        let mut sent = vec![0xaa; 4];
        stamp().append_to(&mut sent);
        assert_eq!(Stamp::read(&sent[..sent.len() - 1], 4), Err(StampError::Missing));
        assert_eq!(Stamp::read(&sent, 3), Err(StampError::Length { expected: 500, found: 501 }));
        assert_eq!(Stamp::read(&[], 0), Err(StampError::Missing));
        assert_eq!(Stamp::read(&[1], 3), Err(StampError::Missing));
    }
}
