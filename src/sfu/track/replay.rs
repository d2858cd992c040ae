//! Viewers who wait for a key frame are shown the group of pictures that flows, from its key frame on, if it is fresh
//! enough or the publisher makes no key frame when asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Layer, Track};
use crate::forward::{DropReason, Forwarder, Rewritten, Target};
use crate::rtp::{LayerIndex, Packet};
use crate::sfu::ParticipantKey;

/// A group of pictures younger than this is replayed in place of asking for a key frame, which takes about as long to
/// come. Larger sends viewers more of the past in a burst, smaller has publishers make more key frames.
const FRESH: Duration = Duration::from_millis(400);

/// What is replayed to who has no picture yet while it is not known whether the publisher makes key frames on request,
/// or the next may not be asked for soon. Larger fills thin links with the past, smaller has more viewers wait.
const MODEST_BYTES: usize = 300_000;

/// Time between two steps of a replay.
const STEP: Duration = Duration::from_millis(5);

/// Steps a replay is spread over. Larger takes longer to reach the present, smaller sends larger bursts.
const STEPS: usize = 80;

/// The least that is sent in a step to who has seen something, whose link is known: 20 Mbit/s. Larger: more is lost on
/// thin links; smaller: who changes to a smaller picture on one stands still longer.
const LEAST_PER_STEP: usize = 10;

/// The same to who sees a first picture: 2 Mbit/s. Larger: on a link of 900 kbit/s with 150 ms of buffer so much is
/// lost that the picture stands for half a second; smaller: good links take longer to reach the present.
const LEAST_AT_FIRST: usize = 1;

/// A replay under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Replay {
    pub(super) layer: LayerIndex,
    /// Sequence number of the next packet.
    pub(super) next: u64,
    per_step: usize,
}

impl Track {
    /// Sends the next step of each replay, beginning those that can. `deliver` gets what is to be sent, `drop` why
    /// something is not. Returns when to come again.
    pub(in crate::sfu) fn replay(
        &mut self,
        now: Instant,
        mut deliver: impl FnMut(ParticipantKey, u8, u8, Rewritten, &Arc<Packet>),
        mut drop: impl FnMut(DropReason),
    ) -> Option<Instant> {
        let (formats, clocks, source) = (&self.formats, &self.clocks, self.source);
        let mut again = None;
        for subscription in &mut self.subscriptions {
            let pending = subscription.forwarder.pending();
            if let Some(target) = pending
                && subscription.replay.is_none_or(|replay| replay.layer != target.layer)
                && let Some(layer) = self.layers.get(usize::from(target.layer.0))
                && let Some(start) = layer.replay_from(now, &subscription.forwarder, target)
            {
                if subscription.forwarder.is_between_pictures(now) {
                    let least = if subscription.forwarder.has_begun() { LEAST_PER_STEP } else { LEAST_AT_FIRST };
                    let per_step = (layer.ring.backlog().0 / STEPS).max(least);
                    subscription.replay = Some(Replay { layer: target.layer, next: start, per_step });
                } else {
                    again = Some(now + STEP);
                }
            }
            let Some(mut replay) = subscription.replay.take() else { continue };
            let concerned = pending.or(subscription.forwarder.serving());
            let Some(layer) = self.layers.get(usize::from(replay.layer.0)) else { continue };
            let Some(present) = layer.ring.present() else { continue };
            if concerned.is_none_or(|target| target.layer != replay.layer) && !subscription.shows(replay.layer) {
                continue;
            }
            for _ in 0..replay.per_step {
                let Some(packet) = layer.ring.next(replay.next) else { break };
                replay.next = packet.sequence + 1;
                match subscription.replayed(source, packet, formats, clocks, present) {
                    Ok((payload_type, rewritten)) => {
                        deliver(subscription.subscriber, subscription.slot, payload_type, rewritten, packet);
                    }
                    Err(reason) => drop(reason),
                }
            }
            if layer.ring.next(replay.next).is_some() {
                subscription.replay = Some(replay);
                again = Some(now + STEP);
            }
        }
        self.release_rings();
        again
    }

    /// The layer's group of pictures has outgrown what is kept of it: who joins waits for the next key frame.
    pub(in crate::sfu) fn is_past_replaying(&self, layer: LayerIndex) -> bool {
        self.layers.get(usize::from(layer.0)).is_some_and(|layer| layer.ring.is_too_long())
    }

    /// Forgets a group of pictures that nobody would be shown any more: it is neither fresh nor modest, and its
    /// publisher makes a key frame when asked.
    pub(super) fn spare_ring(&mut self, now: Instant, index: usize) {
        let Some(layer) = self.layers.get_mut(index) else { return };
        let (ring, keyframes) = (&mut layer.ring, &layer.keyframes);
        let is_old = ring.age(now).is_some_and(|age| age > FRESH);
        if ring.bytes() <= MODEST_BYTES || !is_old || !keyframes.has_answered() || keyframes.never_answers(now) {
            return;
        }
        let mut replays = self.subscriptions.iter().filter_map(|subscription| subscription.replay);
        if replays.all(|replay| usize::from(replay.layer.0) != index) {
            ring.forget();
        }
    }

    pub(super) fn release_rings(&mut self) {
        for (layer, index) in self.layers.iter_mut().zip(0..) {
            let replays = self.subscriptions.iter().filter_map(|subscription| subscription.replay);
            layer.ring.release(replays.filter(|replay| replay.layer.0 == index).map(|replay| replay.next).min());
        }
    }
}

impl Layer {
    /// Where to replay from for a viewer who is to be sent this target; `None`: better wait for a key frame.
    pub(super) fn replay_from(&self, now: Instant, forwarder: &Forwarder, target: Target) -> Option<u64> {
        let keyframes = &self.keyframes;
        let start = self.ring.start()?;
        // Who was paused for a moment has seen some of it, and goes on behind that instead of seeing it again.
        if forwarder.shown(target).is_some_and(|shown| shown >= start) {
            let next = forwarder.goes_on_at(target, start)?;
            let missed = now.saturating_duration_since(self.ring.next(next)?.arrived);
            return (missed <= FRESH || keyframes.never_answers(now)).then_some(next);
        }
        let is_fresh = self.ring.age(now)? <= FRESH;
        let has_picture = forwarder.current().is_some();
        let is_better_than_waiting = || !keyframes.has_answered() || keyframes.rests_beyond(now + FRESH);
        let is_only_way =
            || keyframes.never_answers(now) || is_better_than_waiting() && self.ring.backlog().1 <= MODEST_BYTES;
        (is_fresh || !has_picture && is_only_way()).then_some(start)
    }
}
