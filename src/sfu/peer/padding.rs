//! Packets of one length. The kernel takes those of one peer as one message (UDP_SEGMENT) for half the price, and
//! encoders cut a picture into packets that differ by a byte: padding (RFC 3550 section 5.1) makes up for it.

use arrayvec::ArrayVec;

/// Packets looked at together. Larger: longer runs, which save little more (a run of 8 costs a fifth less per packet
/// than one of 4); smaller: pictures come apart.
pub(super) const TOGETHER: usize = 8;

/// Bytes a packet is padded by at most. Larger: runs of more uneven packets form; smaller: less is sent for nothing.
const MOST: usize = 16;

/// The P bit in a packet's first byte.
const PADDED: u8 = 0x20;

/// By how much each of some packets of these lengths is to be padded, so that neighbours of nearly one length have one.
/// The last stays as it is: the last of a run may be shorter.
pub(super) fn paddings(lengths: &[usize]) -> ArrayVec<usize, TOGETHER> {
    let mut paddings: ArrayVec<usize, TOGETHER> = ArrayVec::new();
    let mut rest = lengths;
    while let Some(&first) = rest.first() {
        let (mut shortest, mut longest, mut run) = (first, first, 0);
        for &length in rest {
            if longest.max(length) - shortest.min(length) > MOST {
                break;
            }
            (shortest, longest, run) = (shortest.min(length), longest.max(length), run + 1);
        }
        let (these, others) = rest.split_at(run);
        paddings.extend(these.iter().take(TOGETHER - paddings.len()).map(|length| longest - length));
        rest = others;
    }
    if let Some(last) = paddings.last_mut() {
        *last = 0;
    }
    paddings
}

/// Pads a packet that is not protected yet.
pub(super) fn pad(packet: &mut Vec<u8>, padding: usize) {
    let count @ 1..=255 = padding else { return };
    if let Some(first) = packet.first_mut() {
        *first |= PADDED;
    }
    packet.resize(packet.len() + count - 1, 0);
    packet.push(count as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_nearly_one_length_get_one() {
        for (lengths, expected) in [
            (vec![], vec![]),
            (vec![100], vec![0]),
            (vec![1041, 1042, 1041, 1042], vec![1, 0, 1, 0]),
            (vec![1042, 1041, 1041, 1041], vec![0, 1, 1, 0]),
            (vec![1036, 1041, 1041, 90], vec![5, 0, 0, 0]),
            (vec![1040, 1041, 90, 1041, 1040], vec![1, 0, 0, 0, 0]),
            (vec![1000, 1016, 1017, 1017], vec![16, 0, 0, 0]),
            (vec![1000, 1017, 1016, 1016], vec![0, 0, 1, 0]),
            (vec![5; 8], vec![0; 8]),
        ] {
            assert_eq!(paddings(&lengths).as_slice(), expected, "{lengths:?}");
        }
    }

    #[test]
    fn padding_says_how_long_it_is() {
        for (padding, expected) in
            [(0, vec![0x90, 7]), (1, vec![0xb0, 7, 1]), (3, vec![0xb0, 7, 0, 0, 3]), (256, vec![0x90, 7])]
        {
            let mut packet = vec![0x90, 7];
            pad(&mut packet, padding);
            assert_eq!(packet, expected);
        }
    }
}
