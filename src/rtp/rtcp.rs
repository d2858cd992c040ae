//! RTCP as far as a sender of its own needs it: what receivers report and miss (RFC 3550 section 6.4, RFC 4585 section
//! 6.2.1), and the figures in sender reports.
//!
//! Everything else is str0m's; a compound packet with anything else in it is left to it.

mod arrivals;

pub use arrivals::{Arrival, last_arrival};

/// Packet types (RFC 3550 section 12.1, RFC 4585 section 6.1).
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const DESCRIPTION: u8 = 202;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;

/// Format of a generic NACK among transport feedback.
const NACK: u8 = 1;

/// Format of a picture loss indication among payload-specific feedback.
const PICTURE_LOSS: u8 = 1;

/// One statement of a compound packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement {
    /// What became of a stream.
    Report(Report),
    /// Packets of a stream did not arrive.
    Missing(Missing),
    /// Who speaks: nothing to act on.
    Introduction,
    /// Anything else.
    Other,
}

/// A report block (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The stream it is about.
    pub ssrc: u32,
    /// Lost since the report before, in 256ths.
    pub fraction_lost: u8,
    /// Highest sequence number received, with the receiver's count of rollovers above it.
    pub highest_sequence: u32,
    /// The middle of the NTP time of the last sender report that arrived; zero for none.
    pub last_report: u32,
    /// How long ago that was, in 65536ths of a second.
    pub delay: u32,
}

/// One entry of a generic NACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// The stream.
    pub ssrc: u32,
    /// Its first missing sequence number.
    pub first: u16,
    /// Bit n: number `first + n + 1` is missing, too.
    pub following: u16,
}

impl Missing {
    /// The numbers.
    pub fn sequences(self) -> impl Iterator<Item = u16> {
        let following = (0..16u16).filter(move |bit| self.following >> bit & 1 == 1);
        std::iter::once(self.first).chain(following.map(move |bit| self.first.wrapping_add(bit + 1)))
    }
}

/// What the sender of a stream says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// RTP timestamp of the report's time.
    pub timestamp: u32,
    /// Packets sent so far, modulo 2^32.
    pub packets: u32,
    /// Bytes of payload in them.
    pub octets: u32,
}

/// Reads a compound packet, up to where it stops making sense.
pub fn statements(compound: &[u8]) -> impl Iterator<Item = Statement> + '_ {
    packets(compound).flat_map(|packet| {
        let blocks = match packet.kind {
            SENDER_REPORT => packet.body.get(24..),
            RECEIVER_REPORT => packet.body.get(4..),
            _ => None,
        };
        let reports = blocks.unwrap_or_default().chunks_exact(24).take(packet.count.into()).filter_map(report);
        let is_nack = packet.kind == TRANSPORT_FEEDBACK && packet.count == NACK;
        let entries = packet.body.get(8..).filter(|_| is_nack).unwrap_or_default();
        let ssrc = word(packet.body, 4).unwrap_or_default();
        let missing = entries.chunks_exact(4).filter_map(move |entry| {
            let [a, b, c, d] = *entry.first_chunk()?;
            let (first, following) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            Some(Statement::Missing(Missing { ssrc, first, following }))
        });
        let rest = match packet.kind {
            SENDER_REPORT | RECEIVER_REPORT | DESCRIPTION => Statement::Introduction,
            TRANSPORT_FEEDBACK if is_nack => Statement::Introduction,
            _ => Statement::Other,
        };
        reports.map(Statement::Report).chain(missing).chain(std::iter::once(rest))
    })
}

/// Corrects the sender reports in a compound packet. `info` is asked for what to say of a stream, given the middle of
/// the report's NTP time (by which receivers refer to it); `None` leaves a report as it is.
pub fn correct_sender_reports(compound: &mut [u8], mut info: impl FnMut(u32, u32) -> Option<SenderInfo>) {
    let mut rest = compound;
    loop {
        let length = packets(rest).next().map(|packet| packet.length);
        let Some((packet, tail)) = length.and_then(|length| std::mem::take(&mut rest).split_at_mut_checked(length))
        else {
            return;
        };
        rest = tail;
        if matches!(packet, [_, SENDER_REPORT, ..])
            && let (Some(ssrc), Some(seconds), Some(fraction)) = (word(packet, 4), word(packet, 8), word(packet, 12))
            && let Some(info) = info(ssrc, seconds << 16 | fraction >> 16)
            && let Some(place) = packet.get_mut(16..28)
        {
            let [a, b, c, d] = info.timestamp.to_be_bytes();
            let [e, f, g, h] = info.packets.to_be_bytes();
            let [i, j, k, l] = info.octets.to_be_bytes();
            place.copy_from_slice(&[a, b, c, d, e, f, g, h, i, j, k, l]);
        }
    }
}

/// Takes out picture loss indications in which a sender asks itself for a picture. Nobody means these: they are what an
/// engine is made to send when all that is wanted is that it sends.
pub fn remove_requests_to_self(compound: &mut Vec<u8>) {
    let mut start = 0;
    while let Some(packet) = compound.get(start..).and_then(|rest| packets(rest).next()) {
        let Packet { count, kind, body, length } = packet;
        let to_self = word(body, 0) == word(body, 4);
        if kind == PAYLOAD_FEEDBACK && count == PICTURE_LOSS && to_self {
            compound.drain(start..start + length);
        } else {
            start += length;
        }
    }
}

/// One packet of a compound.
struct Packet<'a> {
    /// The five bits whose meaning depends on the kind.
    count: u8,
    kind: u8,
    /// Behind the first word.
    body: &'a [u8],
    /// In bytes, with the first word.
    length: usize,
}

fn packets(compound: &[u8]) -> impl Iterator<Item = Packet<'_>> {
    let mut rest = compound;
    std::iter::from_fn(move || {
        let &[first, kind, high, low] = rest.first_chunk()?;
        let length = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
        let (packet, tail) = rest.split_at_checked(length).filter(|_| first >> 6 == 2)?;
        rest = tail;
        Some(Packet { count: first & 0x1f, kind, body: packet.get(4..)?, length })
    })
}

fn report(block: &[u8]) -> Option<Report> {
    Some(Report {
        ssrc: word(block, 0)?,
        fraction_lost: *block.get(4)?,
        highest_sequence: word(block, 8)?,
        last_report: word(block, 16)?,
        delay: word(block, 20)?,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet of this kind around these words.
    fn packet(count: u8, kind: u8, words: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0x80 | count, kind, 0, words.len() as u8];
        bytes.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        bytes
    }

    const BLOCK: [u32; 6] = [7, 0x4000_0003, 0x0001_0203, 9, 0xaabb_ccdd, 65_536];
    const REPORT: Report =
        Report { ssrc: 7, fraction_lost: 64, highest_sequence: 0x0001_0203, last_report: 0xaabb_ccdd, delay: 65_536 };

    #[test]
    fn compounds_are_read_statement_by_statement() {
        let mut words = vec![1];
        words.extend(BLOCK);
        let receiver = packet(1, 201, &words);
        let sender = packet(1, 200, &[&[1, 2, 3, 4, 5, 6], &BLOCK[..]].concat());
        let nack = packet(1, 205, &[1, 7, 0x0005_8001, 0x0100_0000]);
        let missing = |first, following| Statement::Missing(Missing { ssrc: 7, first, following });
        let rows: [(Vec<u8>, Vec<Statement>); 7] = [
            (receiver.clone(), vec![Statement::Report(REPORT), Statement::Introduction]),
            (sender, vec![Statement::Report(REPORT), Statement::Introduction]),
            (
                [receiver.clone(), nack].concat(),
                vec![
                    Statement::Report(REPORT),
                    Statement::Introduction,
                    missing(5, 0x8001),
                    missing(256, 0),
                    Statement::Introduction,
                ],
            ),
            (packet(1, 206, &[1, 7]), vec![Statement::Other]),
            (packet(15, 205, &[1, 7, 0, 0]), vec![Statement::Other]),
            (receiver[..receiver.len() - 1].to_vec(), vec![]),
            (packet(3, 201, &words), vec![Statement::Report(REPORT), Statement::Introduction]),
        ];
        for (bytes, expected) in rows {
            assert_eq!(statements(&bytes).collect::<Vec<_>>(), expected, "{bytes:x?}");
        }
    }

    #[test]
    fn a_nack_names_seventeen_packets_at_most() {
        let missing = Missing { ssrc: 7, first: 65_535, following: 0x8001 };
        assert_eq!(missing.sequences().collect::<Vec<_>>(), [65_535, 0, 15]);
    }

    #[test]
    fn sender_reports_are_corrected_where_there_is_something_to_say() {
        let report = |ssrc| packet(0, 200, &[ssrc, 0x1111_2222, 0x3333_4444, 1, 2, 3]);
        let mut compound = [report(7), packet(1, 202, &[7, 0]), report(8)].concat();
        correct_sender_reports(&mut compound, |ssrc, middle| {
            assert_eq!(middle, 0x2222_3333);
            (ssrc == 7).then_some(SenderInfo { timestamp: 40, packets: 50, octets: 60 })
        });
        let corrected = packet(0, 200, &[7, 0x1111_2222, 0x3333_4444, 40, 50, 60]);
        assert_eq!(compound, [corrected, packet(1, 202, &[7, 0]), report(8)].concat());
    }

    #[test]
    fn requests_to_oneself_are_taken_out_and_nothing_else() {
        let (to_self, to_other) = (packet(1, 206, &[7, 7]), packet(1, 206, &[7, 8]));
        let (report, full_request) = (packet(0, 200, &[7, 1, 2, 3, 4, 5]), packet(4, 206, &[7, 7]));
        for (compound, expected) in [
            (vec![&to_self], vec![]),
            (vec![&report, &to_self], vec![&report]),
            (vec![&to_self, &report, &to_self], vec![&report]),
            (vec![&report, &to_other, &full_request], vec![&report, &to_other, &full_request]),
        ] {
            let flat = |packets: Vec<&Vec<u8>>| packets.into_iter().flatten().copied().collect::<Vec<u8>>();
            let mut bytes = flat(compound);
            remove_requests_to_self(&mut bytes);
            assert_eq!(bytes, flat(expected));
        }
    }
}
