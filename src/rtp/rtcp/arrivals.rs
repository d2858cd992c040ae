//! Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1), as far as it tells which
//! packet a receiver got last, and when. What became of each packet is the engine's to know.

use std::time::Duration;

use super::{TRANSPORT_FEEDBACK, packets, word};

/// Format of transport-wide feedback among transport feedback.
const ARRIVALS: u8 = 15;

/// Unit of the differences between arrivals.
const TICK: Duration = Duration::from_micros(250);

/// These in one unit of the time that they are counted from.
const TICKS_PER_REFERENCE: i64 = 256;

/// The last packet a report tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Its transport-wide number.
    pub number: u16,
    /// When it came, by the receiver's clock, which begins anew every 12 days.
    pub at: Duration,
}

/// What became of a number of packets in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    symbol: u8,
    length: u16,
}

/// The last arrival that a compound packet tells of.
pub fn last_arrival(compound: &[u8]) -> Option<Arrival> {
    let reports = packets(compound).filter(|packet| packet.kind == TRANSPORT_FEEDBACK && packet.count == ARRIVALS);
    reports.filter_map(|packet| read(packet.body)).last()
}

fn read(body: &[u8]) -> Option<Arrival> {
    let [base, count] = [word(body, 8)? >> 16, word(body, 8)? & 0xffff].map(|half| half as u16);
    let chunks = body.get(16..)?;
    let deltas = runs(chunks, count).map(|(place, _)| place + 2).last()?;
    let mut deltas = chunks.get(deltas..)?.iter().copied();
    let mut ticks = i64::from(word(body, 12)? >> 8) * TICKS_PER_REFERENCE;
    let (mut next, mut last) = (base, None);
    for (_, run) in runs(chunks, count) {
        // Packets that did not come take no bytes, so a run of them may be long: it is passed in one step.
        let length = if run.symbol == 0 { 0 } else { run.length };
        for index in 0..length {
            let delta = match run.symbol {
                1 => deltas.next().map(i64::from),
                2 => deltas.next().zip(deltas.next()).map(|(high, low)| i16::from_be_bytes([high, low]).into()),
                _ => None,
            };
            let Some(delta) = delta else { return last };
            ticks += delta;
            let at = TICK * u32::try_from(ticks).ok()?;
            last = Some(Arrival { number: next.wrapping_add(index), at });
        }
        next = next.wrapping_add(run.length);
    }
    last
}

/// The chunks for `count` packets as runs, each with the place of its chunk.
fn runs(chunks: &[u8], count: u16) -> impl Iterator<Item = (usize, Run)> {
    let symbols = chunks.chunks_exact(2).enumerate().flat_map(|(index, chunk)| {
        let chunk = u16::from_be_bytes([chunk.first().copied().unwrap_or(0), chunk.get(1).copied().unwrap_or(0)]);
        let (bits, symbols) = match chunk >> 14 {
            0 | 1 => (0, 1),
            2 => (1, 14),
            _ => (2, 7),
        };
        (0..symbols).map(move |symbol| {
            let run = match bits {
                0 => Run { symbol: (chunk >> 13 & 3) as u8, length: chunk & 0x1fff },
                1 => Run { symbol: (chunk >> (13 - symbol) & 1) as u8, length: 1 },
                _ => Run { symbol: (chunk >> (12 - 2 * symbol) & 3) as u8, length: 1 },
            };
            (index * 2, run)
        })
    });
    let mut left = count;
    symbols.map_while(move |(place, run)| {
        let length = run.length.min(left);
        (left > 0).then(|| left -= length)?;
        Some((place, Run { length, ..run }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Feedback on `count` packets from 65 534 on, counted from 640 ms.
    fn feedback(count: u16, chunks: &[u16], deltas: &[u8]) -> Vec<u8> {
        let mut body = vec![0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xfe];
        body.extend(count.to_be_bytes());
        body.extend([0, 0, 10, 7]);
        body.extend(chunks.iter().flat_map(|chunk| chunk.to_be_bytes()));
        body.extend(deltas);
        body.resize(body.len().next_multiple_of(4), 0);
        let mut packet = vec![0x80 | ARRIVALS, TRANSPORT_FEEDBACK, 0, (body.len() / 4) as u8];
        packet.extend(body);
        packet
    }

    #[test]
    fn the_last_packet_that_came_is_told_with_its_time() {
        let arrival = |number, at| Some(Arrival { number, at });
        type Row<'a> = (&'a str, u16, &'a [u16], &'a [u8], Option<Arrival>);
        let table: [Row<'_>; 9] = [
            ("a run", 3, &[0x2003], &[4, 8, 12], arrival(0, 646 * MS)),
            ("a run longer than what is told of", 2, &[0x2fff], &[4, 8], arrival(65_535, 643 * MS)),
            ("lost ones behind", 5, &[0x2001, 0x0004], &[4], arrival(65_534, 641 * MS)),
            ("lost ones before", 5000, &[0x1387, 0x2001], &[4], arrival(4997, 641 * MS)),
            ("one bit each", 4, &[0x8000 | 0b1010 << 10], &[40, 40], arrival(0, 660 * MS)),
            ("two bits each", 3, &[0xc000 | 0b01_00_10 << 8], &[40, 1, 144], arrival(0, 750 * MS)),
            ("one that came before another", 2, &[0x2001, 0x4001], &[40, 0xff, 0xf8], arrival(65_535, 648 * MS)),
            ("none", 7, &[0x0007], &[], None),
            ("fewer times than packets", 4, &[0x2004], &[4, 8], arrival(65_535, 643 * MS)),
        ];
        for (what, count, chunks, deltas, expected) in table {
            assert_eq!(last_arrival(&feedback(count, chunks, deltas)), expected, "{what}");
        }
    }

    #[test]
    fn of_several_reports_the_last_counts_and_half_a_report_says_nothing() {
        let (first, second) = (feedback(1, &[0x2001], &[4]), feedback(2, &[0x2002], &[4, 4]));
        let whole = [first.clone(), vec![0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1], second.clone()].concat();
        assert_eq!(last_arrival(&whole), last_arrival(&second));
        for length in 0..first.len() {
            assert_eq!(last_arrival(&first[..length]), None);
        }
    }
}
