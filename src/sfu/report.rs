//! Sessions and rooms described for people, and the record of sessions that have ended.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::command::{
    CommandError, Connectivity, EndReason, MediaReport, Reply, Role, RoomReport, RoomSession, SessionId, SessionReport,
    SessionState,
};
use super::participant::{Binding, Participant, Slot};
use super::room::Room;
use super::track::Track;
use super::{ParticipantKey, Sfu};

/// Ended sessions that can still be asked about. Larger: more history; smaller: less memory (about 2 KB each).
const MAX_RECORDS: usize = 1024;

/// Time a client gets before "no check has arrived" is called a problem.
const FIRST_CHECK_GRACE: Duration = Duration::from_secs(3);

/// The last ended sessions, oldest first.
#[derive(Debug, Default)]
pub(super) struct Records {
    ended: VecDeque<(SessionId, SessionReport)>,
}

impl Records {
    pub(super) fn keep(&mut self, session: SessionId, report: SessionReport) {
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
        self.rooms.values().map(|room| self.describe_room(room)).collect()
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
            summary: diagnose(now, participant, ended),
            age_ms: milliseconds(now.saturating_duration_since(participant.created)),
            connectivity: connectivity(now, participant),
            media: media.chain(received).collect(),
        })
    }

    fn describe_room(&self, room: &Room) -> RoomReport {
        let people = room.participants.iter().filter_map(|key| self.participants.get(*key));
        let publishers = people.clone().filter(|participant| participant.is_publisher()).count();
        let sessions = people.map(|participant| RoomSession {
            id: participant.session.to_string(),
            role: role(participant),
            identity: participant.identity.to_string(),
            state: participant.state(),
        });
        RoomReport {
            name: room.name.to_string(),
            publishers: u32::try_from(publishers).unwrap_or(u32::MAX),
            viewers: u32::try_from(room.participants.len() - publishers).unwrap_or(u32::MAX),
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
        ice_connected: known.ice_connected,
        dtls_connected: known.connected,
        error: known.error.clone(),
        estimate: participant.allocation.estimate(),
        rtt_ms: known.rtt.map(|rtt| rtt.as_secs_f32() * 1000.0),
        silent_ms: known.alive.map(|alive| milliseconds(now.saturating_duration_since(alive))),
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
    report.layers = track.report(now);
    let Some(subscription) = track.subscriptions.iter().find(|s| s.subscriber == key) else { return report };
    report.packets += subscription.packets;
    report.bytes += subscription.bytes;
    let current = subscription.forwarder.current();
    report.sending = current.and_then(|target| track.report_layer(now, target.layer));
    if let Some((reason, needs)) = why(track) {
        (report.reason, report.needs) = (Some(reason), needs);
        return report;
    }
    report.reason = Some(match (current.is_some(), subscription.forwarder.awaits_keyframe().is_some()) {
        (true, true) => "waiting for a key frame of another layer".to_owned(),
        (false, true) => "waiting for a key frame of the publisher".to_owned(),
        (true, false) => "the best layer that is sent".to_owned(),
        (false, false) => "waiting for the first packet".to_owned(),
    });
    report
}

/// One sentence for whoever asks why there is no picture.
fn diagnose(now: Instant, participant: &Participant, ended: Option<EndReason>) -> String {
    let known = &participant.connectivity;
    let age = now.saturating_duration_since(participant.created);
    if !known.connected && !matches!(ended, Some(EndReason::Deleted | EndReason::PeerClosed)) {
        return not_connected(participant, age);
    }
    match ended {
        None => "connected".to_owned(),
        Some(EndReason::Deleted) => "the client ended the session".to_owned(),
        Some(EndReason::PeerClosed) => "the client closed the connection".to_owned(),
        Some(EndReason::Timeout) => {
            let silent = participant.silent_for(now).as_secs();
            format!("nothing has arrived from the client for {silent} s: it lost its network or stopped without a word")
        }
        Some(EndReason::TakenOver) => "the same credential published to the room again".to_owned(),
        Some(EndReason::NothingPublished) => "the publisher did not come back".to_owned(),
        Some(EndReason::Left) => "the member left, or did not come back in time".to_owned(),
        Some(EndReason::Flooding) => "the member sent far too many requests".to_owned(),
        Some(EndReason::Kicked) => "an operator ended the session".to_owned(),
        Some(EndReason::Shutdown) => "the server is shutting down".to_owned(),
        Some(EndReason::NeverConnected | EndReason::DtlsFailed | EndReason::Internal) => {
            let error = known.error.as_deref().unwrap_or("no error was recorded");
            format!("the connection broke: {error}")
        }
    }
}

/// Why a session has no connection (yet).
fn not_connected(participant: &Participant, age: Duration) -> String {
    let known = &participant.connectivity;
    let advertised: Vec<String> = participant.description.addresses.iter().map(ToString::to_string).collect();
    let advertised = advertised.join(", ");
    if participant.description.counter_offer.is_some() {
        return "waiting for the client's answer to the server's offer".to_owned();
    }
    if let Some(error) = &known.error {
        return format!("the connection failed during the DTLS handshake: {error}");
    }
    match (known.checks_received, known.checks_refused) {
        (0, 0) if age < FIRST_CHECK_GRACE => "waiting for the client's first ICE check".to_owned(),
        (0, 0) => format!(
            "no ICE check from the client has reached the server; it was told to send to {advertised} over UDP: check \
             that this address is right (media.public_ip) and that a firewall lets the UDP port through"
        ),
        (0, refused) => format!(
            "{refused} ICE checks arrived but failed authentication: the client uses other credentials than those in \
             its offer, or answers to an older session"
        ),
        (checks, _) => format!(
            "ICE works ({checks} checks arrived), but the DTLS handshake is not complete: UDP packets to the client \
             may be lost, or its certificate does not match its offer"
        ),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
