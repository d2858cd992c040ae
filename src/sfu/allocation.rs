//! How a viewer's connection is divided: estimates come in, each slot gets a rung of its track's ladder, and the engine
//! is told what to look for.
//!
//! Decided are only viewers whose connection is known to have a limit; all others get the best. A viewer is looked at
//! when its estimate is told, when what it wishes or watches changes, and at most every [`INTERVAL`]; nobody walks over
//! all of them. Not here: the division itself (`forward::allocate`), how far an estimate is believed
//! (`forward::Bandwidth`), how a rung is switched to (`Track::steer`).

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use str0m::RtcConfig;
use str0m::bwe::Bitrate;

use super::command::Role;
use super::negotiate::Offer;
use super::participant::{Binding, MAX_SLOTS, Participant, Slot};
use super::room::Room;
use super::signal::TrackSource;
use super::track::{Steering, Track};
use super::{ParticipantKey, Sfu, TrackKey};
use crate::forward::{Bandwidth, Demand, Grant, Ladder, Necessity, Outcome, Reading, Rung, allocate, ideal};
use crate::rtp::{LayerIndex, MediaKind};

/// Least time between two divisions for one viewer. Larger: slower reaction; smaller: more work while an estimate
/// moves.
const INTERVAL: Duration = Duration::from_millis(100);

/// Time between the engine's statistics where they carry its estimate. Its event about estimates is an average over
/// three seconds, too late for a link that collapses. Larger: slower reaction; smaller: more wake-ups per viewer.
const ESTIMATES: Duration = Duration::from_millis(100);

/// Age of a report of loss that still counts: statistics come every 2 s. Larger: what is no longer sent is counted;
/// smaller: what is reported less often is not.
const REPORTED: Duration = Duration::from_millis(4500);

/// Least time between two looks at what a member lost. It gets statistics of each slot, one after the other.
const LOSSES: Duration = Duration::from_millis(1500);

/// What a viewer's connection is believed to carry before anything is known, in bit/s. Probes go to three and six times
/// as much. Larger: a thin link is overrun at the start; smaller: good links start with small pictures.
pub(super) const INITIAL_ESTIMATE: u64 = 500_000;

/// What a pinned slot has over the others: their priorities end at 100.
const PINNED: u8 = 101;

/// What the headers of sound take, in bit/s: 40 bytes 50 times a second, half as much as the sound.
const SOUND_HEADERS: u64 = 16_000;

/// What a screen share has over a camera that is wished for as much: text is read, faces are recognised.
const SCREEN: u8 = 25;

/// Has an engine estimate what its connection carries. That costs 40 wake-ups a second, and one per packet sent.
pub(super) fn estimating(config: RtcConfig) -> RtcConfig {
    config.enable_bwe(Some(Bitrate::bps(INITIAL_ESTIMATE))).set_stats_interval(Some(ESTIMATES))
}

/// True when an engine should be able to estimate the connection of who offered this: where there is nothing to choose
/// yet, there may be when somebody else publishes, and an engine is made once.
pub(super) fn estimates(role: &Role, offer: &Offer) -> bool {
    *role != Role::Publish && offer.receives_media() && offer.reports_arrivals()
}

/// What is known of a viewer's connection, and how it was divided last.
#[derive(Debug, Default)]
pub(super) struct Allocation {
    estimator: Estimator,
    bandwidth: Bandwidth,
    /// What a member last lost, and when that was looked at.
    lost: Option<(Instant, f32)>,
    last: Option<Instant>,
    /// Something has changed since.
    pending: bool,
    /// For each video slot.
    decisions: Vec<Decision>,
    total: u64,
}

/// What the engine has to estimate with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Estimator {
    #[default]
    None,
    /// Nothing to estimate from: the streams are written without the engine.
    Resting,
    Working,
}

/// What was decided about a slot.
#[derive(Debug, Clone, Copy)]
struct Decision {
    slot: u8,
    track: TrackKey,
    rung: Option<Rung>,
    /// There was nothing to choose from yet.
    unknown: bool,
    next: Option<Better>,
}

/// The next better rung.
#[derive(Debug, Clone, Copy)]
struct Better {
    rung: Rung,
    /// The estimate that it takes, in bit/s.
    needs: u64,
}

/// What one slot could be sent.
struct Choice {
    slot: u8,
    track: TrackKey,
    kind: MediaKind,
    is_screen: bool,
    priority: u8,
    max_frame_rate: Option<f32>,
    ladder: Ladder,
    held: Option<usize>,
}

impl Allocation {
    /// For an engine that estimates, or does not.
    pub(super) fn new(estimating: bool) -> Self {
        Self { estimator: if estimating { Estimator::Working } else { Estimator::None }, ..Self::default() }
    }

    /// The engine estimates what its connection carries.
    pub(super) fn is_estimating(&self) -> bool {
        self.estimator == Estimator::Working
    }

    /// It could estimate, but has nothing to estimate from.
    pub(super) fn is_resting(&self) -> bool {
        self.estimator == Estimator::Resting
    }

    /// Forgets what is known of the connection: it has become another.
    pub(super) fn restart(&mut self) {
        *self = Self { estimator: self.estimator, ..Self::default() };
    }

    /// The engine has nothing to estimate from.
    pub(super) fn rest(&mut self) {
        let estimator = if self.estimator == Estimator::None { Estimator::None } else { Estimator::Resting };
        *self = Self { estimator, ..Self::default() };
    }

    /// The engine estimates again, if it can and rested: from nothing.
    pub(super) fn wake(&mut self) -> bool {
        let rested = self.estimator == Estimator::Resting;
        if rested {
            *self = Self::new(true);
        }
        rested
    }

    /// How a slot is steered until it was decided about: what an engine estimates begins small.
    pub(super) fn first_steering(&self) -> Steering {
        if self.estimator == Estimator::None { Steering::Best } else { Steering::Least }
    }

    /// How a slot is steered that is shown again: as was decided last.
    pub(super) fn steering(&self, slot: u8, track: TrackKey) -> Steering {
        let decided = self.decisions.iter().find(|decision| (decision.slot, decision.track) == (slot, track));
        decided.map_or_else(|| self.first_steering(), Decision::steering)
    }

    /// A slot's subscription begins anew: nothing was decided about it.
    pub(super) fn forget(&mut self, slot: u8) {
        self.decisions.retain(|decision| decision.slot != slot);
    }

    /// The share that was lost in two looks in a row. A member's streams come over as many lines as there are
    /// publishers: what those lost in a burst reaches the member's reports at another time than their own.
    fn lost_again(&mut self, now: Instant, share: f32) -> Option<f32> {
        if self.lost.is_some_and(|(at, _)| now < at + LOSSES) {
            return None;
        }
        self.lost.replace((now, share)).map(|(_, before)| before.min(share))
    }

    /// What the connection is believed to carry, in bit/s; `None` while nothing limits it.
    pub(super) fn estimate(&self) -> Option<u64> {
        self.bandwidth.estimate()
    }

    /// When a division that was put off is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.last.filter(|_| self.pending).map(|last| last + INTERVAL)
    }

    /// Why a slot gets what it gets, and the estimate at which it gets more; `None` when nothing was decided about it.
    pub(super) fn reason(&self, slot: u8, track: &Track) -> Option<(String, Option<u64>)> {
        let estimate = self.estimate()?;
        let decision = self.decisions.iter().find(|decision| decision.slot == slot)?;
        let mut text = String::new();
        let _ = match (&decision.rung, &decision.next) {
            (Some(_), None) => return None,
            (None, None) if decision.unknown => return None,
            (None, None) => write!(text, "paused: nothing is sent that fits"),
            (None, Some(next)) => {
                write!(
                    text,
                    "paused: estimate {} kbps; {} needs {}",
                    kbps(estimate),
                    next.name(track),
                    kbps(next.needs)
                )
            }
            (Some(_), Some(next)) => {
                write!(text, "estimate {} kbps; {} needs {}", kbps(estimate), next.name(track), kbps(next.needs))
            }
        };
        Some((text, decision.next.map(|next| next.needs)))
    }

    fn held(&self, slot: u8, track: TrackKey, ladder: &Ladder) -> Option<usize> {
        let decided = self.decisions.iter().find(|decision| (decision.slot, decision.track) == (slot, track));
        let Some(decided) = decided.filter(|decided| !decided.unknown) else {
            return match self.first_steering() {
                Steering::Least => ladder.iter().position(|rung| rung.live),
                _ => ladder.iter().rposition(|rung| rung.live),
            };
        };
        let held = decided.rung?;
        ladder.iter().position(|rung| same(rung, &held))
    }
}

impl Better {
    fn name(&self, track: &Track) -> String {
        track.rung_name(&self.rung)
    }
}

impl Sfu {
    /// An engine or a receiver tells what it believes a connection to carry.
    pub(super) fn on_estimate(&mut self, now: Instant, key: ParticipantKey, reading: Reading) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        if let Some(afresh) = participant.allocation.bandwidth.read(now, reading) {
            participant.peer.restart_estimate(afresh);
            self.mark_dirty(key);
        }
        self.reallocate(now, key);
    }

    /// A receiver has reported what it lost. What a publisher's own line lost is missing there, too: only what all
    /// streams lost on their second way says something of the viewer's line.
    pub(super) fn on_loss(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        let is_member = participant.member.is_some();
        if is_member && participant.allocation.is_estimating() {
            return;
        }
        let Some(room) = self.rooms.get(participant.room) else { return };
        let recent = |slot: &&Slot| slot.reported.is_some_and(|at| now < at + REPORTED);
        let lost = participant.slots.iter().filter(recent).filter_map(|slot| {
            let publisher = slot.binding.track().and_then(|track| room.tracks.get(track))?.loss.unwrap_or(0.0);
            Some((slot.loss? - publisher).max(0.0))
        });
        let Some(share) = lost.min_by(f32::total_cmp) else { return };
        let allocation = &mut participant.allocation;
        let share = if is_member { allocation.lost_again(now, share) } else { Some(share) };
        let Some(share) = share else { return };
        let sent = if allocation.total > 0 { allocation.total } else { best(now, &participant.slots, room) };
        allocation.bandwidth.lost(now, share, sent);
        self.reallocate(now, key);
    }

    /// A viewer's connection has become another. Who has no estimator is sent the best until losses tell otherwise.
    pub(super) fn restart_allocation(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        participant.allocation.restart();
        let (first, room) = (participant.allocation.first_steering(), participant.room);
        let shown = participant.slots.iter().zip(0u8..).filter(|(slot, _)| first == Steering::Best && !slot.held);
        let shown: ArrayVec<_, MAX_SLOTS> =
            shown.filter_map(|(slot, index)| Some((index, slot.binding.track()?))).collect();
        for (slot, track_key) in shown {
            if let Some(track) = self.rooms.get_mut(room).and_then(|room| room.tracks.get_mut(track_key)) {
                track.steer(now, key, slot, first);
            }
            self.request_keyframes(now, room, track_key);
        }
        self.tell_bindings(key);
    }

    /// Divides a viewer's connection anew, now or as soon as it may be.
    pub(super) fn reallocate(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        let allocation = &mut participant.allocation;
        if allocation.estimate().is_none() {
            return;
        }
        let waits = allocation.last.is_some_and(|last| now < last + INTERVAL && !allocation.bandwidth.collapsed(last));
        if waits {
            allocation.pending = true;
            return self.arm_participant(now, key);
        }
        self.divide(now, key);
    }

    fn divide(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        let room_key = participant.room;
        let Some(room) = self.rooms.get_mut(room_key) else { return };
        let allocation = &mut participant.allocation;
        (allocation.last, allocation.pending) = (Some(now), false);
        let Some(budget) = allocation.bandwidth.budget(now) else { return };
        let collapsing = allocation.bandwidth.is_collapsing(now);
        let choices = choices(now, participant, room);
        let awaits =
            |choice: &Choice| room.tracks.get(choice.track).is_some_and(|track| track.awaits(key, choice.slot));
        if participant.allocation.bandwidth.awaits() && !choices.iter().any(awaits) {
            participant.allocation.bandwidth.flows(now);
        }
        let demands = demands(now, &mut participant.allocation.bandwidth, &choices);
        let grants = allocate(budget, &demands);
        let outcome = outcome(&demands, &grants);
        let before = std::mem::take(&mut participant.allocation.decisions);
        let mut changed = ArrayVec::<TrackKey, MAX_SLOTS>::new();
        for (choice, grant) in choices.iter().zip(&grants).filter(|(choice, _)| choice.kind == MediaKind::Video) {
            let decision = choice.decide(grant);
            let same_as_before = before.iter().any(|old| old.steers_like(&decision));
            if !same_as_before && let Some(track) = room.tracks.get_mut(choice.track) {
                if collapsing {
                    if let Some(slot) = participant.slots.get(usize::from(choice.slot)) {
                        participant.peer.forget_sent(slot.ssrc);
                    }
                    track.cut(key, choice.slot);
                }
                track.steer(now, key, choice.slot, decision.steering());
                changed.push(choice.track);
            }
            participant.allocation.decisions.push(decision);
        }
        // What is hidden for a moment is shown as before.
        let hidden = |old: &Decision| {
            let slot = participant.slots.get(usize::from(old.slot));
            slot.is_some_and(|slot| slot.held && slot.binding.track() == Some(old.track))
        };
        participant.allocation.decisions.extend(before.into_iter().filter(hidden));
        participant.allocation.total = outcome.total;
        participant.peer.set_silent(outcome.total == 0);
        if let Some(ask) = participant.allocation.bandwidth.allocated(now, outcome) {
            participant.peer.set_desired_bitrate(ask.desired);
            if let Some(bitrate) = ask.afresh {
                participant.peer.restart_estimate(bitrate);
            }
            self.mark_dirty(key);
        }
        if !changed.is_empty() {
            self.tell_bindings(key);
        }
        for track in changed {
            self.request_keyframes(now, room_key, track);
        }
    }
}

impl Choice {
    fn decide(&self, grant: &Grant) -> Decision {
        let next = grant.next_needs.and_then(|total| {
            let rung = self.ladder.iter().enumerate().skip(grant.rung.map_or(0, |rung| rung + 1));
            let rung = rung.map(|(_, rung)| *rung).find(|rung| rung.live)?;
            Some(Better { rung, needs: Bandwidth::needed_for(total) })
        });
        let rung = grant.rung.and_then(|rung| self.ladder.get(rung)).copied();
        Decision { slot: self.slot, track: self.track, rung, unknown: self.ladder.is_empty(), next }
    }
}

impl Decision {
    fn steering(&self) -> Steering {
        match self.rung {
            Some(rung) => Steering::Rung(rung),
            None if self.unknown => Steering::Least,
            None => Steering::Paused,
        }
    }

    fn steers_like(&self, other: &Self) -> bool {
        let same_rung = match (&self.rung, &other.rung) {
            (Some(a), Some(b)) => same(a, b),
            (None, None) => self.unknown == other.unknown,
            _ => false,
        };
        same_rung && (self.slot, self.track) == (other.slot, other.track)
    }
}

fn choices(now: Instant, participant: &Participant, room: &Room) -> ArrayVec<Choice, MAX_SLOTS> {
    let shown = participant.slots.iter().zip(0u8..).filter(|(slot, _)| !slot.held);
    let bound = shown.filter_map(|(slot, index)| match slot.binding {
        Binding::Bound(track) => Some((slot, index, track)),
        Binding::Free(..) => None,
    });
    let choices = bound.filter_map(|(slot, index, key)| {
        let track = room.tracks.get(key)?;
        let ladder = match slot.kind {
            MediaKind::Video => track.offers(now, &slot.wish, slot.assembles),
            MediaKind::Audio => std::iter::once(sound(track.bitrate(now))).collect(),
        };
        let held = participant.allocation.held(index, key, &ladder);
        let priority = priority(slot, track);
        let max_frame_rate = slot.max_frame_rate.map(|rate| rate as f32);
        let is_screen = is_screen(track);
        Some(Choice { slot: index, track: key, kind: slot.kind, is_screen, priority, max_frame_rate, ladder, held })
    });
    choices.collect()
}

fn priority(slot: &Slot, track: &Track) -> u8 {
    let wished = slot.priority.saturating_add(if is_screen(track) { SCREEN } else { 0 }).min(PINNED - 1);
    wished + if slot.pinned { PINNED } else { 0 }
}

fn is_screen(track: &Track) -> bool {
    track.kind == MediaKind::Video && track.published.source == TrackSource::ScreenShare
}

fn demands<'a>(now: Instant, bandwidth: &mut Bandwidth, choices: &'a [Choice]) -> ArrayVec<Demand<'a>, MAX_SLOTS> {
    let videos = choices.iter().filter(|choice| choice.kind == MediaKind::Video).count();
    let floor = |choice: &Choice| choice.ladder.first().map_or(0, |rung| rung.bitrate);
    let sound: u64 = choices.iter().filter(|choice| choice.kind == MediaKind::Audio).map(floor).sum();
    // A screen that is shown is left out last: what is talked about is on it, and it may have nothing smaller.
    let screens = choices.iter().filter(|choice| choice.is_screen && choice.held.is_some());
    let screen = screens.max_by_key(|choice| choice.priority).map(|choice| choice.slot);
    let demand = |choice: &'a Choice| {
        // A lone picture is what this viewer came for: it is given up only when there is no hope for it.
        let needed = match choice.kind {
            MediaKind::Audio => true,
            MediaKind::Video if videos == 1 => bandwidth.may_carry(now, floor(choice) / 2),
            MediaKind::Video if screen == Some(choice.slot) => bandwidth.may_keep(now, sound + floor(choice)),
            MediaKind::Video => false,
        };
        Demand {
            necessity: if needed { Necessity::Always } else { Necessity::IfAffordable },
            priority: if choice.kind == MediaKind::Audio { u8::MAX } else { choice.priority },
            ladder: &choice.ladder,
            max_height: None,
            max_frame_rate: choice.max_frame_rate,
            held: choice.held,
        }
    };
    choices.iter().map(demand).collect()
}

fn outcome(demands: &[Demand<'_>], grants: &[Grant]) -> Outcome {
    let cost = |(demand, grant): (&Demand<'_>, &Grant)| Some(demand.ladder.get(grant.rung?)?.bitrate);
    Outcome {
        total: demands.iter().zip(grants).filter_map(cost).sum(),
        next_needs: grants.iter().filter_map(|grant| grant.next_needs).min(),
        ideal: ideal(demands),
    }
}

/// Sound as a ladder of one rung.
fn sound(payload: u64) -> Rung {
    let bitrate = if payload > 0 { payload + SOUND_HEADERS } else { 0 };
    let layer = LayerIndex::default();
    Rung { layer, spatial: 0, temporal: 0, bitrate, resolution: None, frame_rate: 0.0, live: true }
}

fn same(a: &Rung, b: &Rung) -> bool {
    (a.layer, a.spatial, a.temporal) == (b.layer, b.spatial, b.temporal)
}

/// Cost of the best of everything a viewer watches: what it is sent before anything limits it.
fn best(now: Instant, slots: &[Slot], room: &Room) -> u64 {
    let cost = |slot: &Slot| match slot.binding {
        Binding::Bound(track) => room.tracks.get(track).map(|track| match slot.kind {
            MediaKind::Video => track.offers(now, &slot.wish, slot.assembles).last().map_or(0, |rung| rung.bitrate),
            MediaKind::Audio => track.bitrate(now),
        }),
        Binding::Free(..) => None,
    };
    slots.iter().filter_map(cost).sum()
}

fn kbps(bitrate: u64) -> u64 {
    (bitrate + 500) / 1000
}
