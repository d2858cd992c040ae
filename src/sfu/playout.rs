//! How long receivers hold pictures back before they show them, by room: sent along with every packet (the
//! playout-delay header extension), which receivers that negotiated it obey.

use std::fmt;
use std::str::FromStr;

use super::signal::PlayoutLimits;
use crate::rtp::PlayoutDelay;

/// What the extension can say: 12 bits of 10 ms.
const LONGEST_MS: u32 = 0xfff * 10;

/// Bounds of the delay in one room, or in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomDelay {
    /// `None`: every room.
    room: Option<String>,
    delay: PlayoutDelay,
}

/// The delay of a room: that of the first entry that fits.
pub(super) fn delay_of(delays: &[RoomDelay], room: &str) -> Option<PlayoutDelay> {
    let fits = |entry: &&RoomDelay| entry.room.as_ref().is_none_or(|name| name == room);
    delays.iter().find(fits).map(|entry| entry.delay)
}

impl From<PlayoutDelay> for PlayoutLimits {
    fn from(PlayoutDelay { min, max }: PlayoutDelay) -> Self {
        Self { min: u32::from(min) * 10, max: u32::from(max) * 10 }
    }
}

impl TryFrom<PlayoutLimits> for PlayoutDelay {
    type Error = String;

    fn try_from(PlayoutLimits { min, max }: PlayoutLimits) -> Result<Self, String> {
        let of = |ms: u32| hundredths(ms).filter(|_| ms <= LONGEST_MS);
        let delay = of(min).zip(of(max)).filter(|(min, max)| min <= max);
        delay.map(|(min, max)| Self { min, max }).ok_or_else(|| {
            format!(
                "a playout delay from {min} to {max} ms cannot be told: the least comes first, {LONGEST_MS} is the most"
            )
        })
    }
}

impl FromStr for RoomDelay {
    type Err = String;

    /// Reads `<room>: <min>-<max>`, both in milliseconds; `*` is every room.
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.rsplit_once(':').and_then(|(room, range)| {
            let (min, max) = range.split_once('-')?;
            let (min, max) = (milliseconds(min)?, milliseconds(max)?);
            let room = room.trim();
            let delay = PlayoutDelay { min: hundredths(min)?, max: hundredths(max)? };
            (!room.is_empty() && min <= max).then(|| Self { room: (room != "*").then(|| room.to_owned()), delay })
        });
        parsed.ok_or_else(|| {
            format!(
                "\"{text}\" is not a room's delay; write the room (or * for all), and the least and the most in ms, up \
                 to {LONGEST_MS}, like \"studio: 200ms-600ms\""
            )
        })
    }
}

impl fmt::Display for RoomDelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PlayoutDelay { min, max } = self.delay;
        let ms = |hundredths: u16| u32::from(hundredths) * 10;
        write!(f, "{}: {}ms-{}ms", self.room.as_deref().unwrap_or("*"), ms(min), ms(max))
    }
}

fn milliseconds(text: &str) -> Option<u32> {
    text.trim().strip_suffix("ms")?.parse().ok().filter(|ms| *ms <= LONGEST_MS)
}

fn hundredths(ms: u32) -> Option<u16> {
    u16::try_from(ms / 10).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_read_as_it_is_written() {
        for text in ["*: 0ms-0ms", "studio: 200ms-600ms", "a: b: 10ms-40950ms"] {
            assert_eq!(text.parse::<RoomDelay>().unwrap().to_string(), text);
        }
        for text in ["", "studio", "studio: 200ms", ": 1ms-2ms", "a: 600ms-200ms", "a: 0ms-40960ms", "a: 1s-2s"] {
            assert!(text.parse::<RoomDelay>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_first_entry_that_fits_counts() {
        let delays = ["talk: 0ms-100ms", "*: 200ms-400ms", "late: 0ms-0ms"].map(|text| text.parse().unwrap());
        let of = |room| delay_of(&delays, room).map(|delay| (delay.min, delay.max));
        assert_eq!((of("talk"), of("other"), of("late")), (Some((0, 10)), Some((20, 40)), Some((20, 40))));
        assert_eq!(delay_of(&[], "talk"), None);
    }
}
