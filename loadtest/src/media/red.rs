//! Redundant audio (RFC 2198): frames with those before them in one packet.

/// One frame of a packet: how much earlier than the packet's timestamp it is, and its bytes.
pub type Block<'a> = (u32, &'a [u8]);

/// Reads a packet's frames, the oldest first. `None` when it is malformed.
pub fn read(payload: &[u8]) -> Option<Vec<Block<'_>>> {
    let (mut rest, mut lengths) = (payload, Vec::new());
    while let [0x80..=0xff, high, middle, low, tail @ ..] = rest {
        let word = u32::from_be_bytes([0, *high, *middle, *low]);
        lengths.push((word >> 10, (word & 0x3ff) as usize));
        rest = tail;
    }
    let mut rest = rest.get(1..)?;
    let mut blocks = Vec::new();
    for (offset, length) in lengths {
        let (block, tail) = rest.split_at_checked(length)?;
        blocks.push((offset, block));
        rest = tail;
    }
    blocks.push((0, rest));
    Some(blocks)
}

/// Writes a frame with the one before it, `ticks` earlier.
pub fn write(payload_type: u8, before: &[u8], ticks: u32, frame: &[u8]) -> Vec<u8> {
    let [_, b, c, d] = (ticks << 10 | before.len() as u32).to_be_bytes();
    [&[0x80 | payload_type, b, c, d, payload_type], before, frame].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let packet = write(111, &[1, 2], 960, &[3]);
        assert_eq!(read(&packet), Some(vec![(960, &[1, 2][..]), (0, &[3][..])]));
        assert_eq!(read(&[111, 3]), Some(vec![(0, &[3][..])]));
        assert_eq!(read(&packet[..6]), None);
        assert_eq!(read(&[]), None);
    }
}
