//! The room, its participants and tracks, bindings and statistics in the words of messages.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::rtp::{Codec, MediaKind};
use crate::sfu::command::Role;
use crate::sfu::link::Remote;
use crate::sfu::participant::{Binding as SlotBinding, Participant};
use crate::sfu::room::Room;
use crate::sfu::signal::{
    Binding, ParticipantInfo, ParticipantKind, ParticipantState, Permissions, PublishedTrack, RoomInfo, SlotStats,
    Stats, SubscriptionReason, TrackInfo, TrackSource, TrackStats,
};
use crate::sfu::track::Track;
use crate::sfu::{ParticipantKey, RoomKey, Sfu, TrackKey, sid};

use super::dynacast::Encodings;

impl Sfu {
    pub(in crate::sfu) fn describe_conference(&self, key: RoomKey, room: &Room) -> RoomInfo {
        if let Some(info) = room.home_info() {
            return info.clone();
        }
        RoomInfo {
            sid: sid::of_room(self.settings.shard, key),
            name: room.name.to_string(),
            metadata: room.conference.metadata.clone(),
            mode: room.conference.mode,
            path: room.conference.media_path(),
            created_at: self.unix_ms(room.conference.created),
            playout_delay: room.conference.playout_delay.map(Into::into),
        }
    }

    pub(in crate::sfu) fn describe_participant(&self, now: Instant, key: ParticipantKey) -> Option<ParticipantInfo> {
        let participant = self.participants.get(key)?;
        let room = self.rooms.get(participant.room)?;
        let published = participant.tracks.iter().filter_map(|key| Some((*key, room.tracks.get(*key)?)));
        let tracks = published.map(|(key, track)| self.describe_track(now, key, track)).collect();
        let member = participant.member.as_deref();
        Some(ParticipantInfo {
            sid: sid::of_participant(self.settings.shard, key),
            identity: participant.identity.to_string(),
            name: member.map_or_else(|| participant.identity.to_string(), |member| member.name.clone()),
            metadata: member.map(|member| member.metadata.clone()).unwrap_or_default(),
            attributes: member.map_or_else(BTreeMap::new, |member| member.attributes.clone()),
            kind: kind(&participant.role),
            state: presence(participant),
            joined_at: self.unix_ms(participant.created),
            permissions: permissions(participant),
            quality: member.map_or(0, |member| member.quality.score()),
            tracks,
        })
    }

    /// Everybody in a room that is shown, but for `except`.
    pub(super) fn describe_others(&self, now: Instant, room: RoomKey, except: ParticipantKey) -> Vec<ParticipantInfo> {
        let Some(room) = self.rooms.get(room) else { return Vec::new() };
        let others = room.participants.iter().filter(|key| **key != except);
        let others = others.filter_map(|key| self.describe_participant(now, *key));
        others.chain(room.remotes().map(Remote::describe)).filter(|info| !info.permissions.hidden).collect()
    }

    pub(in crate::sfu) fn describe_track(&self, now: Instant, key: TrackKey, track: &Track) -> TrackInfo {
        if let Some(told) = track.published.told.as_ref().filter(|_| track.upstream.is_some()) {
            return told.clone();
        }
        let layers = if track.kind == MediaKind::Video { track.report(now) } else { Vec::new() };
        let size = |of: fn(&crate::sfu::command::LayerReport) -> Option<u16>| layers.iter().filter_map(of).max();
        TrackInfo {
            sid: sid::of_track(self.settings.shard, key),
            kind: track.kind,
            source: track.published.source,
            name: track.published.name.clone(),
            muted: track.published.muted,
            codec: track.codec.map(codec_name).unwrap_or_default().to_owned(),
            width: size(|layer| layer.width).unwrap_or_default(),
            height: size(|layer| layer.height).unwrap_or_default(),
            simulcast: track.layers.len() > 1,
            encrypted: track.published.encrypted,
        }
    }

    /// Sids of a participant's own tracks.
    pub(super) fn describe_own_tracks(&self, key: ParticipantKey) -> Vec<PublishedTrack> {
        let Some(participant) = self.participants.get(key) else { return Vec::new() };
        let Some(room) = self.rooms.get(participant.room) else { return Vec::new() };
        let tracks = participant.tracks.iter().filter_map(|key| Some((*key, room.tracks.get(*key)?)));
        let shard = self.settings.shard;
        tracks
            .map(|(key, track)| PublishedTrack { mid: track.original_mid.clone(), sid: sid::of_track(shard, key) })
            .collect()
    }

    /// What every slot carries.
    pub(in crate::sfu) fn describe_bindings(&self, key: ParticipantKey) -> Vec<Binding> {
        let Some(participant) = self.participants.get(key) else { return Vec::new() };
        let Some(room) = self.rooms.get(participant.room) else { return Vec::new() };
        let open = participant.slots.iter().filter(|slot| !slot.formats.is_empty());
        let mut undecodable = self.undecodable(key).into_iter();
        open.map(|slot| {
            let (track, no_codec) = match slot.binding {
                SlotBinding::Bound(track) => (Some(track), None),
                // What is wanted there but cannot be decoded.
                SlotBinding::Free(..) if slot.kind == MediaKind::Video => {
                    (undecodable.next(), Some(SubscriptionReason::NoCodec))
                }
                SlotBinding::Free(..) => (None, None),
            };
            let bound = track.and_then(|track| Some((track, room.tracks.get(track)?)));
            let shard = self.settings.shard;
            Binding {
                mid: slot.original_mid.clone(),
                kind: slot.kind,
                track: bound.map(|(key, _)| room.sid_of_track(shard, key)),
                participant: bound.map(|(_, track)| room.sid_of(shard, track.publisher)),
                reason: bound.and_then(|(bound, track)| no_codec.or_else(|| reason(participant, key, bound, track))),
            }
        })
        .collect()
    }

    /// The server's view of a member's media.
    pub(super) fn describe_stats(&self, now: Instant, key: ParticipantKey) -> Option<Stats> {
        let participant = self.participants.get(key)?;
        let room = self.rooms.get(participant.room)?;
        let report = self.describe(now, key, None)?;
        let shard = self.settings.shard;
        let tracks = participant.tracks.iter().filter_map(|key| Some((*key, room.tracks.get(*key)?)));
        let tracks = tracks.map(|(key, track)| TrackStats {
            sid: sid::of_track(shard, key),
            packets: track.packets,
            loss: track.loss,
            subscribers: track.subscribers(),
        });
        let slots = participant.slots.iter().zip(report.media.iter().skip(participant.tracks.len()));
        let slots = slots.map(|(slot, media)| {
            let bound = match slot.binding {
                SlotBinding::Bound(track) => room.tracks.get(track).map(|found| (track, found)),
                SlotBinding::Free(..) => None,
            };
            SlotStats {
                mid: slot.original_mid.clone(),
                track: bound.map(|(key, _)| room.sid_of_track(shard, key)),
                rid: media.sending.as_ref().and_then(|layer| layer.rid.clone()),
                height: media.sending.as_ref().and_then(|layer| layer.height),
                bitrate: media.sending.as_ref().map_or(0, |layer| layer.bitrate),
                packets: media.packets,
                loss: media.loss,
                reason: bound.and_then(|(bound, track)| reason(participant, key, bound, track)),
                explanation: media.reason.clone().unwrap_or_default(),
            }
        });
        Some(Stats {
            rtt_ms: participant.connectivity.rtt.map(|rtt| rtt.as_secs_f32() * 1000.0),
            estimate: participant.allocation.estimate(),
            score: participant.member.as_ref().map_or(5, |member| member.quality.score()),
            slots: slots.collect(),
            tracks: tracks.collect(),
        })
    }
}

pub(super) fn permissions(participant: &Participant) -> Permissions {
    if let Some(member) = &participant.member {
        return member.permissions;
    }
    let publishes = participant.role == Role::Publish;
    Permissions {
        can_publish: publishes,
        can_subscribe: !publishes,
        can_publish_data: false,
        can_update_metadata: false,
        admin: false,
        hidden: false,
    }
}

/// Whether others see it as reachable: its link stands, and so does its media where it has any.
pub(in crate::sfu) fn presence(participant: &Participant) -> ParticipantState {
    match &participant.member {
        Some(member) if member.kept_until.is_some() || member.media_lost => ParticipantState::Reconnecting,
        _ => ParticipantState::Active,
    }
}

fn kind(role: &Role) -> ParticipantKind {
    match role {
        Role::Member => ParticipantKind::Standard,
        Role::Publish => ParticipantKind::Ingress,
        Role::Play { .. } => ParticipantKind::Egress,
    }
}

/// Why nothing is sent of a track that is bound.
fn reason(
    participant: &Participant,
    key: ParticipantKey,
    bound: TrackKey,
    track: &Track,
) -> Option<SubscriptionReason> {
    let wish = participant.member.as_ref().and_then(|member| member.wish(bound));
    if wish.is_some_and(|wish| wish.paused) {
        return Some(SubscriptionReason::Paused);
    }
    if track.published.muted {
        return Some(SubscriptionReason::Muted);
    }
    let paused = track.subscriptions.iter().any(|s| s.subscriber == key && s.is_paused());
    paused.then_some(SubscriptionReason::NoBandwidth)
}

fn codec_name(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => "opus",
        Codec::Vp8 => "vp8",
        Codec::Vp9 => "vp9",
        Codec::H264 => "h264",
        Codec::H265 => "h265",
        Codec::Av1 => "av1",
    }
}

/// What a publisher says about a track, and what was said about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::sfu) struct Published {
    pub(in crate::sfu) source: TrackSource,
    pub(in crate::sfu) name: String,
    pub(in crate::sfu) muted: bool,
    pub(in crate::sfu) encrypted: bool,
    pub(in crate::sfu) encodings: Encodings,
    /// What members were last told of it.
    pub(in crate::sfu) told: Option<TrackInfo>,
}
