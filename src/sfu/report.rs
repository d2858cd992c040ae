//! Sessions and rooms described for people, and the record of sessions that have ended.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::command::{
    CommandError, Connectivity, EndReason, MediaReport, Reply, Role, RoomReport, RoomSession, SessionId, SessionReport,
    SessionState,
};
use super::failure::{Failure, diagnose};
use super::participant::{Binding, Participant, Slot};
use super::room::Room;
use super::track::Track;
use super::{ParticipantKey, RoomKey, Sfu};

/// Ended sessions that can still be asked about. Larger: more history; smaller: less memory (2 KB of a
/// viewer, 4 of a member with 13 slots).
const MAX_RECORDS: usize = 1024;

/// The last ended sessions, oldest first.
#[derive(Debug, Default)]
pub(super) struct Records {
    ended: VecDeque<(SessionId, SessionReport)>,
}

impl Records {
    pub(super) fn keep(&mut self, session: SessionId, mut report: SessionReport) {
        report.media.shrink_to_fit();
        if self.ended.len() >= MAX_RECORDS {
            self.ended.pop_front();
        }
        self.ended.push_back((session, report));
    }

    /// The session ended because its client closed the connection.
    pub(super) fn closed_by_peer(&self, session: SessionId) -> bool {
        self.find(session).is_some_and(|report| report.ended == Some(EndReason::PeerClosed))
    }

    fn find(&self, session: SessionId) -> Option<&SessionReport> {
        self.ended.iter().rev().find(|(id, _)| *id == session).map(|(_, report)| report)
    }
}

impl Sfu {
    /// Describes a session, living or recently ended.
    pub(super) fn inspect(&self, now: Instant, session: SessionId) -> Result<Reply, CommandError> {
        let living = self.key_of(session).ok().and_then(|key| self.describe(now, key, None));
        let report = living.or_else(|| self.records.find(session).cloned()).ok_or(CommandError::UnknownSession)?;
        Ok(Reply::Session(Box::new(report)))
    }

    pub(super) fn room_reports(&self) -> Vec<RoomReport> {
        // A half nobody is in is about to close.
        let rooms = self.rooms.iter().filter(|(_, room)| !room.participants.is_empty());
        rooms.map(|(key, room)| self.describe_room(key, room)).collect()
    }

    /// Describes a living session, or one that ends for `ended`.
    pub(super) fn describe(
        &self,
        now: Instant,
        key: ParticipantKey,
        ended: Option<EndReason>,
    ) -> Option<SessionReport> {
        let participant = self.participants.get(key)?;
        let room = self.rooms.get(participant.room)?;
        let published = participant.tracks.iter().filter_map(|key| room.tracks.get(*key));
        let media = published.map(|track| publishing(now, track));
        let received = participant.slots.iter().zip(0..).map(|(slot, index)| {
            let why = |track: &Track| participant.allocation.reason(index, track);
            receiving(now, slot, room, key, why)
        });
        Some(SessionReport {
            id: participant.session.to_string(),
            room: room.name.to_string(),
            identity: participant.identity.to_string(),
            role: role(participant),
            state: if ended.is_some() { SessionState::Ended } else { participant.state() },
            ended,
            failure: Failure::of(participant, ended),
            summary: diagnose(now, participant, ended, self.settings.tcp),
            age_ms: milliseconds(now.saturating_duration_since(participant.created)),
            warnings: room.warnings(&participant.tracks),
            connectivity: connectivity(now, participant),
            media: media.chain(received).collect(),
        })
    }

    fn describe_room(&self, key: RoomKey, room: &Room) -> RoomReport {
        let conference = self.describe_conference(key, room);
        let people = room.participants.iter().filter_map(|key| self.participants.get(*key));
        let publishers = people.clone().filter(|participant| participant.is_publisher()).count();
        let members = people.clone().filter(|participant| participant.member.is_some()).count();
        let sessions = people.map(|participant| RoomSession {
            id: participant.session.to_string(),
            role: role(participant),
            identity: participant.identity.to_string(),
            state: participant.state(),
        });
        RoomReport {
            name: room.name.to_string(),
            publishers: u32::try_from(publishers).unwrap_or(u32::MAX),
            viewers: u32::try_from(room.participants.len() - publishers - members).unwrap_or(u32::MAX),
            members: u32::try_from(members).unwrap_or(u32::MAX),
            metadata: conference.metadata,
            playout_delay: conference.playout_delay,
            sessions: sessions.collect(),
        }
    }
}

fn role(participant: &Participant) -> &'static str {
    match participant.role {
        Role::Member => "member",
        Role::Publish => "publish",
        Role::Play { .. } => "play",
    }
}

fn connectivity(now: Instant, participant: &Participant) -> Connectivity {
    let known = &participant.connectivity;
    let since = |at: Option<Instant>| at.map(|at| milliseconds(now.saturating_duration_since(at)));
    Connectivity {
        local_candidates: participant.description.addresses.iter().map(ToString::to_string).collect(),
        remote_candidates: remote_candidates(participant),
        remote_address: participant
            .peer
            .nominated()
            .or_else(|| participant.peer.addresses().last())
            .map(|to| to.address),
        checks_received: known.checks_received,
        checks_refused: known.checks_refused,
        checks_answered: participant.peer.checks_answered(),
        checked_from: participant.peer.addresses().map(|source| source.to_string()).collect(),
        carried_by: participant.peer.nominated().map(|to| participant.peer.way(to).0.into()),
        ice_connected: known.ice_connected,
        dtls_connected: known.connected,
        error: known.error.clone(),
        estimate: participant.allocation.estimate(),
        rtt_ms: known.rtt.map(|rtt| rtt.as_secs_f32() * 1000.0),
        silent_ms: since(known.alive),
        last_check_ms: since(known.last_check),
        last_media_ms: since(known.last_media),
    }
}

fn remote_candidates(participant: &Participant) -> Vec<String> {
    participant.description.offer.candidates().iter().map(|candidate| candidate.addr().to_string()).collect()
}

fn publishing(now: Instant, track: &Track) -> MediaReport {
    MediaReport {
        mid: track.mid.to_string(),
        kind: track.kind,
        codec: track.codec,
        layers: track.report(now),
        sending: None,
        needs: None,
        reason: (track.packets == 0).then(|| "no packet has arrived on this m-line".to_owned()),
        packets: track.packets,
        bytes: track.bytes,
        loss: track.loss,
    }
}

/// `why` tells what the division of the viewer's connection has to do with it.
fn receiving(
    now: Instant,
    slot: &Slot,
    room: &Room,
    key: ParticipantKey,
    why: impl Fn(&Track) -> Option<(String, Option<u64>)>,
) -> MediaReport {
    let mut report = MediaReport {
        mid: slot.mid.to_string(),
        kind: slot.kind,
        codec: None,
        layers: Vec::new(),
        sending: None,
        needs: None,
        reason: None,
        packets: slot.packets,
        bytes: slot.bytes,
        loss: slot.loss,
    };
    let track = match &slot.binding {
        Binding::Free(_, why) => {
            report.reason = Some((*why).to_owned());
            return report;
        }
        Binding::Bound(track) => room.tracks.get(*track),
    };
    let Some(track) = track else { return report };
    report.codec = track.codec;
    report.layers = track.report_for(now, slot.assembles);
    let Some(subscription) = track.subscriptions.iter().find(|s| s.subscriber == key) else { return report };
    report.packets += subscription.packets;
    report.bytes += subscription.bytes;
    let current = subscription.forwarder.current();
    report.sending = current.and_then(|target| track.report_layer(now, target.layer, target.spatial));
    if let Some((reason, needs)) = why(track) {
        (report.reason, report.needs) = (Some(reason), needs);
        return report;
    }
    let awaited = subscription.forwarder.awaits_keyframe();
    report.reason = Some(match (current.is_some(), awaited.is_some()) {
        (true, true) => "waiting for a key frame of another layer".to_owned(),
        (false, true) if awaited.is_some_and(|layer| track.is_past_replaying(layer)) => {
            "waiting for a key frame of the publisher: the last one is too long ago to be replayed".to_owned()
        }
        (false, true) => "waiting for a key frame of the publisher".to_owned(),
        (true, false) => "the best layer that is sent".to_owned(),
        (false, false) => "waiting for the first packet".to_owned(),
    });
    report
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
