//! Which encodings of a video anybody wants: the others need not be sent ("dynacast"). Members are told over their
//! link, WHIP publishers by the `layers` event of their session.
//!
//! An encoding is wanted when a subscriber's wish reaches up to it; the smaller ones stay for those whose connection
//! gets worse. What becomes wanted is told at once, what no longer is only after a while. The same goes for frame
//! rates: what nobody wishes more of need not be encoded more often.
//!
//! A WHIP client that knows nothing of such events is told by REMB what is enough for the encodings that are wanted:
//! browsers then leave out the largest.

use std::time::{Duration, Instant};

use crate::forward::Window;
use crate::rtp::{LayerIndex, MediaKind};
use crate::sfu::signal::{Event, LayerWish};
use crate::sfu::track::Track;
use crate::sfu::{RoomKey, Sfu, TrackKey, sid};

/// How long an encoding stays unwanted before its publisher is told to stop it. Larger: fewer restarts of encoders;
/// smaller: less is sent in vain.
const STOP_AFTER: Duration = Duration::from_secs(3);

/// What a sender may use beyond what its wanted encodings take, in percent, and at least in bit/s: they must be able to
/// grow, and sound and retransmissions need their place. Larger: unwanted encodings fit in, too; smaller: wanted ones
/// come to their full bitrate later.
const SPARE_PERCENT: u64 = 40;
const LEAST_SPARE: u64 = 100_000;

/// What takes a limit back, in bit/s: more than anybody sends.
const NO_LIMIT: u64 = 1_000_000_000;

/// What a publisher was told about the encodings of a track.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::sfu) struct Encodings {
    /// Whether each is wanted, by index; empty: nothing was told, so all are sent.
    told: Vec<bool>,
    /// Frames a second that were told to be enough; `None`: as many as it likes.
    told_rate: Option<u32>,
    /// Since when fewer are wanted than were told.
    fewer_since: Option<Instant>,
    /// The most that each was seen to take, in bit/s.
    needs: Vec<u64>,
    /// Its bitrate was limited once: no limit has to be told as well, again and again, as either may be lost.
    limited: bool,
}

impl Encodings {
    /// Whether its publisher was told that this one is wanted; `None`: it was told nothing.
    pub(in crate::sfu) fn told(&self, index: usize) -> Option<bool> {
        self.told.get(index).copied()
    }

    /// What the publisher is to send at most, given what each encoding brings now; `None` when there is nothing to say.
    /// One that is wanted and has not come yet has to find room, however much it takes.
    fn limit(&mut self, bitrates: impl Iterator<Item = u64>) -> Option<u64> {
        self.limited |= self.told.contains(&false);
        self.needs.resize(self.told.len(), 0);
        let (mut total, mut is_missing) = (0, false);
        for ((need, bitrate), wanted) in self.needs.iter_mut().zip(bitrates).zip(&self.told) {
            *need = bitrate.max(*need);
            total += if *wanted { *need } else { 0 };
            is_missing |= *wanted && *need == 0;
        }
        let all = !self.told.contains(&false) || is_missing;
        let limit = if all { NO_LIMIT } else { total + (total * SPARE_PERCENT / 100).max(LEAST_SPARE) };
        self.limited.then_some(limit)
    }

    /// Takes what is wanted now, and how many frames a second of it. True when that is to be told.
    fn update(&mut self, now: Instant, wanted: &[bool], rate: Option<u32>) -> bool {
        let told = |index: usize| self.told.get(index).copied().unwrap_or(true);
        let (faster, slower) = (exceeds(rate, self.told_rate), exceeds(self.told_rate, rate));
        let more = faster || wanted.iter().enumerate().any(|(index, wanted)| *wanted && !told(index));
        let fewer = slower || wanted.iter().enumerate().any(|(index, wanted)| !*wanted && told(index));
        if !fewer {
            self.fewer_since = None;
        }
        let due = fewer && now.saturating_duration_since(*self.fewer_since.get_or_insert(now)) >= STOP_AFTER;
        if more || due {
            self.told = wanted.to_vec();
            self.told_rate = rate;
            self.fewer_since = None;
        }
        more || due
    }
}

/// One cap of frame rates lets more through than another.
fn exceeds(a: Option<u32>, b: Option<u32>) -> bool {
    a.unwrap_or(u32::MAX) > b.unwrap_or(u32::MAX)
}

/// The frame rate that satisfies all wishes; `None` when somebody wishes for all there is, or nobody is there to wish.
fn enough(mut wishes: impl Iterator<Item = Option<u32>>) -> Option<u32> {
    let first = wishes.next()??;
    wishes.try_fold(first, |most, wish| Some(most.max(wish?)))
}

/// Which encodings are wanted: those up to the largest that fits under some subscriber's cap. `heights` of encodings
/// whose size is not known yet are `None`; those are wanted by anybody. A cap below all of them means the smallest.
fn wanted(heights: &[Option<u16>], caps: &[Option<u32>]) -> Vec<bool> {
    let smallest = heights.iter().flatten().min().copied().map(u32::from);
    let fits = |height: u32, cap: &Option<u32>| cap.is_none_or(|cap| height <= cap || Some(height) == smallest);
    let each = heights.iter().map(|height| match height {
        None => !caps.is_empty(),
        Some(height) => caps.iter().any(|cap| fits(u32::from(*height), cap)),
    });
    each.collect()
}

impl Sfu {
    /// Tells the publisher of a track which encodings are wanted, or the half it comes from what is, if that has
    /// changed.
    pub(in crate::sfu) fn want_encodings(&mut self, now: Instant, room_key: RoomKey, key: TrackKey) {
        let Some(room) = self.rooms.get_mut(room_key) else { return };
        let Some(track) = room.tracks.get_mut(key) else { return };
        if track.kind == MediaKind::Audio {
            return self.want_upstream(room_key, key);
        }
        let Some(publisher) = track.publisher.here() else { return self.want_upstream(room_key, key) };
        let is_member = self.participants.get(publisher).is_some_and(|publisher| publisher.member.is_some());
        let heights = heights(now, track);
        let mut wanted = wanted(&heights, &track.caps());
        if !is_member {
            keep_smallest(&heights, &mut wanted);
        }
        let wishes = track.subscriptions.iter().map(|subscription| {
            let slot = self.participants.get(subscription.subscriber)?.slots.get(usize::from(subscription.slot))?;
            slot.max_frame_rate
        });
        // Of other shards it is not known.
        let elsewhere = (!track.downlinks.is_empty()).then_some(None);
        let max_fps = enough(wishes.chain(elsewhere)).filter(|_| is_member);
        let news = track.published.encodings.update(now, &wanted, max_fps);
        if !is_member && track.takes_remb {
            let bitrates = track.monitors.iter().map(|monitor| monitor.bitrate(now, Window::Long));
            let limit = track.published.encodings.limit(bitrates);
            if let (Some(limit), Some(peer)) = (limit, self.participants.get_mut(publisher)) {
                let rid = track.layers.first().and_then(|layer| layer.rid);
                peer.peer.limit_sender(track.mid, rid, limit);
                self.mark_dirty(publisher);
            }
        }
        if !news {
            return;
        }
        let Some(track) = self.rooms.get_mut(room_key).and_then(|room| room.tracks.get_mut(key)) else { return };
        track.on_told_encodings(&wanted, &mut self.outbox);
        if !is_member {
            return self.tell_layers(now, room_key);
        }
        let rid = |index: usize| track.layers.get(index).and_then(|layer| layer.rid).map(|rid| rid.to_string());
        let wanted = wanted.into_iter().enumerate();
        let wanted = wanted.map(|(index, active)| LayerWish { rid: rid(index).unwrap_or_default(), active, max_fps });
        let event = Event::Layers { track: sid::of_track(self.settings.shard, key), wanted: wanted.collect() };
        self.tell(publisher, event);
    }

    /// Once a second: the same for all videos of a room.
    pub(in crate::sfu) fn want_encodings_of_room(&mut self, now: Instant, key: RoomKey) {
        let Some(room) = self.rooms.get(key) else { return };
        let tracks: Vec<TrackKey> = room.tracks.keys().collect();
        for track in tracks {
            self.want_encodings(now, key, track);
        }
    }
}

fn heights(now: Instant, track: &Track) -> Vec<Option<u16>> {
    let layers = (0u8..).map(LayerIndex).take(track.layers.len());
    layers.map(|layer| track.report_layer(now, layer, u8::MAX).and_then(|report| report.height)).collect()
}

/// A WHIP publisher goes on with its smallest encoding when everybody has left: who comes next sees something at once,
/// and nobody takes the session for dead.
fn keep_smallest(heights: &[Option<u16>], wanted: &mut [bool]) {
    let known = heights.iter().zip(wanted.iter_mut());
    let smallest = known.filter_map(|(height, wanted)| Some(((*height)?, wanted))).min_by_key(|(height, _)| *height);
    match smallest {
        Some((_, wanted)) => *wanted = true,
        // Nothing is known of them yet.
        None => wanted.fill(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_reaches_up_to_the_highest_cap() {
        const SIZES: &[Option<u16>] = &[Some(180), Some(360), Some(720)];
        type Row = (&'static [Option<u16>], &'static [Option<u32>], &'static [bool]);
        let rows: [Row; 7] = [
            (SIZES, &[], &[false, false, false]),
            (SIZES, &[None], &[true, true, true]),
            (SIZES, &[Some(200)], &[true, false, false]),
            (SIZES, &[Some(200), Some(480)], &[true, true, false]),
            (SIZES, &[Some(90)], &[true, false, false]),
            (&[None, None], &[Some(90)], &[true, true]),
            (&[Some(720)], &[Some(90)], &[true]),
        ];
        for (heights, caps, expected) in rows {
            assert_eq!(wanted(heights, caps), expected, "{heights:?} {caps:?}");
        }
    }

    #[test]
    fn a_sender_is_limited_to_what_is_wanted_until_all_is() {
        let mut encodings = Encodings::default();
        let mut limit = |told: &[bool], bitrates: [u64; 3]| {
            encodings.told = told.to_vec();
            encodings.limit(bitrates.into_iter())
        };
        let all = [150_000, 500_000, 1_500_000];
        assert_eq!(limit(&[], all), None);
        assert_eq!(limit(&[true, true, true], all), None, "it never was limited");
        assert_eq!(limit(&[true, false, false], all), Some(150_000 + LEAST_SPARE));
        assert_eq!(limit(&[true, false, false], [20_000, 0, 0]), Some(150_000 + LEAST_SPARE), "what it can take");
        assert_eq!(limit(&[true, true, false], [150_000, 0, 0]), Some(650_000 * (100 + SPARE_PERCENT) / 100));
        assert_eq!(limit(&[true, true, true], all), Some(NO_LIMIT));
        let mut unknown = Encodings { told: vec![true, true, false], ..Encodings::default() };
        assert_eq!(unknown.limit([150_000, 0, 0].into_iter()), Some(NO_LIMIT), "nobody knows what it takes");
    }

    #[test]
    fn a_plain_publisher_always_goes_on_with_the_smallest() {
        type Row = (&'static [Option<u16>], [bool; 3], [bool; 3]);
        let rows: [Row; 4] = [
            (&[Some(720), Some(180), Some(360)], [false; 3], [false, true, false]),
            (&[Some(720), Some(180), Some(360)], [true, false, true], [true, true, true]),
            (&[Some(720), None, Some(360)], [false, true, false], [false, true, true]),
            (&[None, None, None], [false; 3], [true; 3]),
        ];
        for (heights, mut wanted, expected) in rows {
            keep_smallest(heights, &mut wanted);
            assert_eq!(wanted, expected, "{heights:?}");
        }
    }

    #[test]
    fn more_is_told_at_once_and_less_after_a_while() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (all, one, none) = ([true, true], [true, false], [false, false]);
        let mut encodings = Encodings::default();
        assert!(!encodings.update(at(0), &all, None), "all are sent anyway");
        assert!(!encodings.update(at(1), &none, None));
        assert!(!encodings.update(at(3), &none, None));
        assert!(encodings.update(at(4), &none, None));
        assert!(encodings.update(at(4), &one, None), "somebody came");
        assert!(!encodings.update(at(5), &none, None));
        assert!(!encodings.update(at(6), &one, None), "and did not leave");
        assert!(!encodings.update(at(8), &none, None), "so the time starts again");
    }

    #[test]
    fn a_publisher_need_not_send_more_frames_than_the_keenest_wishes() {
        type Row = (&'static [Option<u32>], Option<u32>);
        let rows: [Row; 5] = [
            (&[], None),
            (&[None], None),
            (&[Some(5)], Some(5)),
            (&[Some(5), Some(15), Some(10)], Some(15)),
            (&[Some(5), None], None),
        ];
        for (wishes, expected) in rows {
            assert_eq!(enough(wishes.iter().copied()), expected, "{wishes:?}");
        }
    }

    #[test]
    fn more_frames_are_told_at_once_and_fewer_after_a_while() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut encodings = Encodings::default();
        assert!(!encodings.update(at(0), &[true], Some(5)));
        assert!(encodings.update(at(3), &[true], Some(5)));
        assert!(!encodings.update(at(4), &[true], Some(5)), "told already");
        assert!(encodings.update(at(4), &[true], Some(15)));
        assert!(encodings.update(at(5), &[true], None));
    }
}
