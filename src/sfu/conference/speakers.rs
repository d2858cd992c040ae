//! Who speaks in a room: levels come in with the packets, decisions are made a few times a second while anybody is
//! audible, and follow-ups (slots, events) only when something changed.

use std::time::{Duration, Instant};

use slotmap::SecondaryMap;

use crate::forward::loudness::Loudness;
use crate::forward::speaker::{DECISION_INTERVAL, Speaker, dominant};
use crate::sfu::deadlines::{Due, Patience};
use crate::sfu::link::Publisher;
use crate::sfu::room::Room;
use crate::sfu::signal::{Event, SpeakerLevel, TrackSource};
use crate::sfu::{RoomKey, Sfu, ShardIndex, TrackKey};

/// How often seats are contested and levels told. Larger: less work; smaller: a new voice is heard sooner.
const TICK: Duration = Duration::from_millis(100);

/// Time between two `speakers` events: at most five a second.
const TELL_INTERVAL: Duration = Duration::from_millis(200);

/// Speakers told of at once. Larger: more marks on the page; smaller: shorter events.
const MAX_TOLD: usize = 8;

/// A change of level worth telling, as a share of full scale.
const WORTH_TELLING: f32 = 0.05;

/// The voices of a room.
#[derive(Debug, Default)]
pub(in crate::sfu) struct Voices {
    tracks: SecondaryMap<TrackKey, Voice>,
    dominant: Option<TrackKey>,
    /// Who dominated, the latest first.
    recent: Vec<Publisher>,
    decided: Option<Instant>,
    told: Option<(Instant, Vec<SpeakerLevel>, Option<String>)>,
    awake: bool,
}

#[derive(Debug)]
struct Voice {
    loudness: Loudness,
    speaker: Speaker,
}

impl Voices {
    /// A packet of a track arrived. True when its room should wake up.
    pub(in crate::sfu) fn heard(&mut self, now: Instant, track: TrackKey, minus_dbov: u8) -> bool {
        let Some(voice) = self
            .tracks
            .entry(track)
            .map(|entry| entry.or_insert_with(|| Voice { loudness: Loudness::new(now), speaker: Speaker::default() }))
        else {
            return false;
        };
        voice.speaker.heard(now, minus_dbov);
        let wakes = voice.loudness.heard(now, minus_dbov) && !self.awake;
        self.awake |= wakes;
        wakes
    }

    pub(in crate::sfu) fn loudness(&self, track: TrackKey) -> Option<Loudness> {
        self.tracks.get(track).map(|voice| voice.loudness)
    }

    /// How long ago somebody dominated: 0 is now, larger is longer ago or never.
    pub(in crate::sfu) fn recency(&self, publisher: Publisher) -> usize {
        self.recent.iter().position(|known| *known == publisher).unwrap_or(usize::MAX)
    }

    pub(in crate::sfu) fn forget_track(&mut self, track: TrackKey) {
        self.tracks.remove(track);
        self.dominant = self.dominant.filter(|dominant| *dominant != track);
    }

    pub(in crate::sfu) fn forget_participant(&mut self, participant: Publisher) {
        self.recent.retain(|known| *known != participant);
    }

    /// Somebody dominates from now on.
    pub(in crate::sfu) fn dominates(&mut self, speaker: Publisher) {
        self.forget_participant(speaker);
        self.recent.insert(0, speaker);
    }

    /// Who dominated, as the room's home tells it.
    pub(in crate::sfu) fn set_recent(&mut self, recent: Vec<Publisher>) {
        self.recent = recent;
    }

    /// Sids of who dominated.
    pub(in crate::sfu) fn recent_sids(&self, room: &Room, shard: ShardIndex) -> Vec<String> {
        self.recent.iter().map(|publisher| room.sid_of(shard, *publisher)).collect()
    }
}

impl Sfu {
    /// An audible packet woke a quiet room.
    pub(in crate::sfu) fn wake_conference(&mut self, key: RoomKey, at: Instant) {
        self.watch_conference(key, at, Patience::Prompt);
    }

    fn watch_conference(&mut self, key: RoomKey, at: Instant, patience: Patience) {
        if let Some(room) = self.rooms.get_mut(key) {
            self.deadlines.arm(&mut room.conference.alarm, Due::Conference(key), at, patience);
        }
    }

    /// A few times a second while anybody is audible. Who dominates is decided where the room is at home.
    pub(in crate::sfu) fn on_conference_alarm(&mut self, now: Instant, key: RoomKey) {
        let home = self.rooms.get(key).is_some_and(Room::is_home);
        let changed = home && self.decide_dominant(now, key);
        let Some(room) = self.rooms.get_mut(key) else { return };
        let audible = room.conference.voices.tracks.values().any(|voice| voice.loudness.is_recent(now));
        room.conference.voices.awake = audible;
        if changed {
            self.bind_room(now, key);
        } else {
            self.contest_room(now, key);
        }
        if home {
            self.tell_speakers(now, key);
        }
        if audible {
            self.watch_conference(key, now + TICK, Patience::Patient);
        }
    }

    fn decide_dominant(&mut self, now: Instant, key: RoomKey) -> bool {
        let Some(room) = self.rooms.get_mut(key) else { return false };
        let (voices, tracks) = (&mut room.conference.voices, &room.tracks);
        if voices.decided.is_some_and(|at| now < at + DECISION_INTERVAL) {
            return false;
        }
        voices.decided = Some(now);
        let speaks = |key: &TrackKey| {
            let track = tracks.get(*key).filter(|track| !track.published.muted);
            track.is_some_and(|track| track.published.source != TrackSource::ScreenShareAudio)
        };
        let speakers = voices.tracks.iter_mut().filter(|(key, _)| speaks(key));
        let current = dominant(now, voices.dominant, speakers.map(|(key, voice)| (key, &mut voice.speaker)));
        if current == voices.dominant {
            return false;
        }
        voices.dominant = current;
        let Some(track) = current.and_then(|key| tracks.get(key)) else { return false };
        voices.dominates(track.publisher);
        true
    }

    fn tell_speakers(&mut self, now: Instant, key: RoomKey) {
        let shard = self.settings.shard;
        let Some(room) = self.rooms.get(key) else { return };
        let voices = &room.conference.voices;
        if voices.told.as_ref().is_some_and(|(at, ..)| now < *at + TELL_INTERVAL) {
            return;
        }
        let mut levels: Vec<SpeakerLevel> = Vec::new();
        for (track, voice) in voices.tracks.iter().filter(|(_, voice)| voice.loudness.is_audible(now)) {
            let Some(track) = room.tracks.get(track).filter(|track| !track.published.muted) else { continue };
            let sid = room.sid_of(shard, track.publisher);
            if levels.iter().all(|other| other.sid != sid) {
                let level = (voice.loudness.amplitude(now) * 100.0).round() / 100.0;
                levels.push(SpeakerLevel { sid, level, active: true });
            }
        }
        levels.sort_by(|a, b| b.level.total_cmp(&a.level));
        levels.truncate(MAX_TOLD);
        let dominant = voices.dominant.and_then(|track| room.tracks.get(track));
        let dominant = dominant.map(|track| room.sid_of(shard, track.publisher));
        let same = voices.told.as_ref().is_some_and(|(_, told, who)| *who == dominant && alike(told, &levels));
        if same || (voices.told.is_none() && levels.is_empty()) {
            return;
        }
        if let Some(room) = self.rooms.get_mut(key) {
            room.conference.voices.told = Some((now, levels.clone(), dominant.clone()));
        }
        self.tell_room(key, None, Event::Speakers { speakers: levels, dominant });
    }
}

/// The same people in the same order, about as loud.
fn alike(before: &[SpeakerLevel], after: &[SpeakerLevel]) -> bool {
    before.len() == after.len()
        && before.iter().zip(after).all(|(a, b)| a.sid == b.sid && (a.level - b.level).abs() < WORTH_TELLING)
}
