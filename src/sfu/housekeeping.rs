//! Time passing: engine timers, sessions that never connect or fall silent, clients that stop sending checks.

use std::time::{Duration, Instant};

use str0m::IceConnectionState;
use tracing::info;

use super::command::{EndReason, Event, EventKind};
use super::deadlines::Due;
use super::participant::Participant;
use super::peer::PeerEvent;
use super::{Datagram, ParticipantKey, Settings, Sfu, stun};
use crate::rtp::MediaKind;

/// A client that sends media but no ICE checks for this long has one made up for it: libnice stops checking after
/// nomination, and an ICE-lite engine lives on incoming checks alone (it gives up after 15 s).
const CHECK_MISSING_AFTER: Duration = Duration::from_secs(5);

/// How often a member without media is looked at. It has no timers of its own.
const MEMBER_INTERVAL: Duration = Duration::from_secs(60);

impl Participant {
    /// When this participant's own rules want to be looked at.
    pub(super) fn next_check(&self, now: Instant, settings: &Settings) -> Instant {
        let mut expires = if self.connectivity.connected {
            self.connectivity.alive.unwrap_or(self.created) + settings.consent_timeout
        } else {
            self.negotiated_at + settings.connect_timeout
        };
        expires = self.allocation.due().map_or(expires, |due| due.min(expires));
        if let Some(member) = &self.member {
            if !member.negotiated {
                expires = now + MEMBER_INTERVAL;
            }
            expires = member.kept_until.map_or(expires, |end| end.min(expires));
        }
        match self.connectivity.last_check {
            Some(check) if self.connectivity.connected => expires.min((check + CHECK_MISSING_AFTER).max(now)),
            _ => expires,
        }
    }

    /// Why it should end now, if it should.
    fn expired(&self, now: Instant, settings: &Settings) -> Option<EndReason> {
        let kept_until = self.member.as_ref().and_then(|member| member.kept_until);
        if kept_until.is_some_and(|end| now >= end) {
            return Some(EndReason::Left);
        }
        if self.member.as_ref().is_some_and(|member| !member.negotiated) {
            return None;
        }
        if !self.peer.is_alive() {
            return Some(EndReason::PeerClosed);
        }
        if !self.connectivity.connected {
            return (now >= self.negotiated_at + settings.connect_timeout).then_some(EndReason::NeverConnected);
        }
        (self.silent_for(now) >= settings.consent_timeout).then_some(EndReason::Timeout)
    }
}

impl Sfu {
    /// Wakes everything that is due.
    pub(super) fn wake_due(&mut self, now: Instant) {
        while let Some((at, due)) = self.deadlines.pop(now, !self.dirty.is_empty()) {
            match due {
                Due::Participant(key) => {
                    if self.participants.get_mut(key).is_some_and(|participant| participant.alarm.rings(at)) {
                        self.wake_participant(now, key);
                    }
                }
                Due::Track(room, key) => {
                    let track = self.rooms.get_mut(room).and_then(|room| room.tracks.get_mut(key));
                    if track.is_some_and(|track| track.alarm.rings(at)) {
                        self.request_keyframes(now, room, key);
                    }
                }
                Due::Conference(key) => {
                    if self.rooms.get_mut(key).is_some_and(|room| room.conference.alarm.rings(at)) {
                        self.on_conference_alarm(now, key);
                    }
                }
                Due::Room(key) => {
                    if self.rooms.get_mut(key).is_some_and(|room| room.alarm.rings(at)) {
                        self.on_room_alarm(now, key);
                    }
                }
            }
        }
    }

    fn wake_participant(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        match participant.expired(now, &self.settings) {
            // A member keeps its place as long as its link stands.
            Some(reason) if participant.member.is_some() && reason != EndReason::Left => {
                return self.lose_media(now, key, reason);
            }
            Some(reason) => return self.end(now, key, reason),
            None => {}
        }
        self.stand_in_for_checks(now, key);
        let Some(participant) = self.participants.get(key) else { return };
        if participant.allocation.due().is_some_and(|due| due <= now) {
            self.reallocate(now, key);
        }
        let Some(participant) = self.participants.get(key) else { return };
        if participant.peer.timeout <= now {
            self.mark_dirty(key);
        } else {
            self.arm_participant(now, key);
        }
    }

    /// Makes up the check a client did not send, as long as authenticated media or reports arrive from it.
    fn stand_in_for_checks(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        let overdue = |check: Instant| now.saturating_duration_since(check) >= CHECK_MISSING_AFTER;
        if !participant.connectivity.connected || !participant.connectivity.last_check.is_some_and(overdue) {
            return;
        }
        participant.connectivity.last_check = Some(now);
        if participant.silent_for(now) >= CHECK_MISSING_AFTER {
            return;
        }
        let Some(remote) = participant.peer.nominated() else { return };
        let description = &participant.description;
        let local = &description.credentials;
        let remote_ufrag = &description.offer.credentials().ufrag;
        let Some(check) = stun::keepalive(&local.ufrag, remote_ufrag, &local.pass) else { return };
        let (via, local_ip) = participant.peer.way(remote);
        let datagram = Datagram { remote: remote.address, local_ip, via, contents: &check };
        let mut events = std::mem::take(&mut self.events);
        let result = participant.peer.check(now, &datagram, &mut self.outbox, &mut events);
        self.outbox.retract(stun::is_keepalive_reply);
        self.after(now, key, result.map(drop), events);
    }

    /// Everything an engine reports besides packets.
    pub(super) fn on_report(&mut self, now: Instant, key: ParticipantKey, event: &PeerEvent) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        let connectivity = &mut participant.connectivity;
        match *event {
            PeerEvent::Connected => {
                connectivity.connected = true;
                connectivity.alive = Some(now);
                self.stats.sessions_connected += 1;
                let took = now.saturating_duration_since(participant.created);
                info!(session = %participant.session, took_ms = took.as_millis() as u64, "session connected");
                self.outbox.event(Event { session: participant.session, kind: EventKind::Connected });
                let room = participant.room;
                self.bind(now, room, key);
            }
            PeerEvent::Ice(state) => {
                use IceConnectionState::{Completed, Connected};
                connectivity.ice_connected = matches!(state, Connected | Completed);
                let works = connectivity.ice_connected;
                self.on_media_path(key, works);
            }
            PeerEvent::SenderReport { mid, rid, theirs, timestamp, ours } => {
                participant.clock.report(theirs, ours);
                self.with_track(key, mid, |track, outbox| {
                    let layer = track.layer_of(rid);
                    layer.into_iter().for_each(|layer| track.on_sender_report(layer, (theirs, timestamp), outbox));
                });
            }
            PeerEvent::Egress { mid, loss, rtt, highest_sequence } => {
                connectivity.rtt = rtt.or(connectivity.rtt);
                let slots = (0..).zip(&mut participant.slots);
                let Some((index, slot)) = slots.into_iter().find(|(_, slot)| slot.mid == mid) else { return };
                slot.loss = loss.or(slot.loss);
                if let Some(share) = loss.filter(|_| slot.kind == MediaKind::Audio)
                    && let Some(room) = self.rooms.get_mut(participant.room)
                    && let Some(track) = slot.binding.track().and_then(|track| room.tracks.get_mut(track))
                {
                    track.sound_lost(key, index, share);
                }
                // Progress in receiver reports is the sign of life of a viewer that sends nothing else.
                if highest_sequence > slot.highest_sequence {
                    slot.highest_sequence = highest_sequence;
                    slot.reported = Some(now);
                    connectivity.alive = Some(now);
                }
                if loss.is_some() {
                    self.on_loss(now, key);
                }
            }
            PeerEvent::Estimate(reading) => self.on_estimate(now, key, reading),
            PeerEvent::Ingress { mid, loss, rtt } => {
                connectivity.rtt = rtt.or(connectivity.rtt);
                self.with_track(key, mid, |track, _| track.loss = loss.or(track.loss));
            }
            PeerEvent::Paused { mid, rid } => self.with_track(key, mid, |track, outbox| {
                let layer = track.layer_of(rid);
                layer.into_iter().for_each(|layer| track.on_paused(layer, outbox));
            }),
            PeerEvent::Rtp(_) | PeerEvent::Channel(_) | PeerEvent::KeyframeRequest(_) | PeerEvent::Closed => {}
        }
    }

    fn with_track(
        &mut self,
        key: ParticipantKey,
        mid: str0m::media::Mid,
        change: impl FnOnce(&mut super::track::Track, &mut super::Outbox),
    ) {
        let Some(participant) = self.participants.get(key) else { return };
        let Some(room) = self.rooms.get_mut(participant.room) else { return };
        let mut keys = participant.tracks.iter();
        if let Some(key) = keys.find(|key| room.tracks.get(**key).is_some_and(|track| track.mid == mid))
            && let Some(track) = room.tracks.get_mut(*key)
        {
            change(track, &mut self.outbox);
        }
    }
}
