//! A member comes in: checked, given a place, introduced to the others. A place taken up again is `resume`'s business.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng as _;
use tracing::info;

use crate::sfu::command::{CommandError, Credential, EndReason, Link, Reply, Role, SessionId};
use crate::sfu::demux::Route;
use crate::sfu::link::Act;
use crate::sfu::member::{Budget, Member};
use crate::sfu::negotiate::Offer;
use crate::sfu::participant::{Description, Participant};
use crate::sfu::peer::{self, Peer};
use crate::sfu::signal::{
    self, CloseReason, ErrorCode, Event, Failure, JoinRequest, Joined, Permissions, Response, RoomLimits, ServerInfo,
    SessionInfo,
};
use crate::sfu::{ParticipantKey, RoomKey, Sfu, ShardIndex};

/// Bytes of a name or identity. Larger: long names fit; smaller: less is told to everybody.
pub(super) const MAX_NAME: usize = 128;

/// Bytes of a participant's metadata. Larger: applications can put more there; smaller: each join tells less.
pub(super) const MAX_METADATA: usize = 4096;

/// Attributes of a participant. Larger and smaller: as for metadata.
pub(super) const MAX_ATTRIBUTES: usize = 32;

/// Bytes of an attribute's name or value.
pub(super) const MAX_ATTRIBUTE: usize = 512;

/// Bytes of a message from a client, as the WebSocket admits them: an offer with 32 m-lines fits, of which Chromium 156
/// writes 2.9 KB each. Larger: each client can have more memory taken; smaller: pages with many slots cannot come in.
pub const MAX_MESSAGE: usize = 131_072;

/// A member that wants in, with what control knows of it.
#[derive(Debug, Clone)]
pub struct Enter {
    /// Minted by control; of a resumed session, the one the client named.
    pub session: SessionId,
    /// The connection messages go over.
    pub link: Link,
    /// Id of the request.
    pub id: u64,
    /// The room.
    pub room: Arc<str>,
    /// The shard it is at home on.
    pub home: ShardIndex,
    /// Stands for the credential used.
    pub credential: Credential,
    /// Who it is, if the credential says so.
    pub identity: Option<Arc<str>>,
    /// What the credential allows.
    pub permissions: Permissions,
    /// Its time is over: who resumes with it has what it had.
    pub expired: bool,
    /// Address the request came from: a caller on loopback gets loopback candidates.
    pub caller: Option<IpAddr>,
    /// STUN and TURN servers for this member.
    pub ice_servers: Vec<signal::IceServer>,
    /// What it said.
    pub request: Box<JoinRequest>,
}

impl Sfu {
    /// A member's `join`.
    pub(in crate::sfu) fn enter(&mut self, now: Instant, enter: &Enter) -> Reply {
        match self.admit_member(now, enter) {
            Ok(()) => Reply::Done,
            Err(failure) => {
                self.stats.joins_refused += 1;
                Reply::Refused(failure)
            }
        }
    }

    fn admit_member(&mut self, now: Instant, enter: &Enter) -> Result<(), Failure> {
        if self.shutting_down {
            return Err(Failure::new(ErrorCode::Draining, "the server is stopping; join again in a while"));
        }
        check(enter)?;
        let offer = enter.request.offer.as_deref().map(|offer| Offer::parse(offer, &Role::Member)).transpose();
        let offer = offer.map_err(|error| Failure::new(ErrorCode::BadOffer, error.to_string()))?;
        if enter.request.resume.is_some() {
            return self.resume(now, enter, offer);
        }
        check_tracks(&enter.request, enter.permissions)?;
        let (replaced, elsewhere) = (self.check_capacity(enter)?, self.check_elsewhere(enter)?);
        let room = self.open_room(now, &enter.room);
        self.link_home(now, room, enter.home);
        let key = self.seat(now, room, enter);
        if let Some(offer) = offer
            && let Err(failure) = self.negotiate_member(now, key, offer, enter.request.tracks.as_deref())
        {
            self.participants.remove(key);
            self.close_room_if_empty(room);
            return Err(failure);
        }
        if let Some(sid) = elsewhere {
            self.act(room, &Act::Supersede { sid });
        }
        if let Some(replaced) = replaced {
            self.tell_closed(replaced, CloseReason::DuplicateIdentity, "somebody joined under your identity");
            self.end_keeping_room(now, replaced, EndReason::TakenOver);
        }
        self.introduce(now, room, key, enter);
        Ok(())
    }

    /// The limits, and who has to give way: a member of the same identity, if the newcomer proves it or the other one
    /// is not there at present. So nobody can keep somebody out by taking their name first.
    fn check_capacity(&self, enter: &Enter) -> Result<Option<ParticipantKey>, Failure> {
        if self.participants.len() >= self.settings.max_sessions {
            return Err(Failure::new(ErrorCode::ServerFull, "the server is full (limits.sessions); try again later"));
        }
        let Some(room) = self.room_names.get(&enter.room).and_then(|key| self.rooms.get(*key)) else { return Ok(None) };
        let wanted = enter.identity.as_deref().or(enter.request.identity.as_deref());
        let members = room.participants.iter().filter_map(|key| Some((*key, self.participants.get(*key)?)));
        let mut members = members.filter_map(|(key, other)| Some((key, other, other.member.as_ref()?)));
        let same = wanted.and_then(|wanted| members.clone().find(|(_, other, _)| *other.identity == *wanted));
        if let Some((key, other, member)) = same {
            if enter.identity.is_some() || member.kept_until.is_some() {
                return Ok(Some(key));
            }
            let message = format!("\"{}\" is in the room already; choose another identity", other.identity);
            return Err(Failure::new(ErrorCode::Forbidden, message));
        }
        let elsewhere = room.remotes().filter(|remote| remote.is_member()).count();
        let most = room.conference.most_members(self.settings.max_members);
        if members.by_ref().count() + elsewhere >= most {
            let key = if most < self.settings.max_members { "its mode is p2p" } else { "rooms.max_members" };
            let message = format!("no more than {most} may be in it at once ({key})");
            return Err(Failure::new(ErrorCode::RoomFull, message));
        }
        Ok(None)
    }

    /// The same for those on other shards: the sid of who has to give way.
    fn check_elsewhere(&self, enter: &Enter) -> Result<Option<String>, Failure> {
        let Some(room) = self.room_names.get(&enter.room).and_then(|key| self.rooms.get(*key)) else { return Ok(None) };
        let wanted = enter.identity.as_deref().or(enter.request.identity.as_deref());
        let same = room.remotes().find(|other| other.is_member() && Some(&*other.info.identity) == wanted);
        let Some(other) = same else { return Ok(None) };
        if enter.identity.is_some() || other.is_away() {
            return Ok(Some(other.info.sid.clone()));
        }
        let message = format!("\"{}\" is in the room already; choose another identity", other.info.identity);
        Err(Failure::new(ErrorCode::Forbidden, message))
    }

    /// Makes the participant, with an engine that waits for an offer.
    fn seat(&mut self, now: Instant, room: RoomKey, enter: &Enter) -> ParticipantKey {
        let request = &enter.request;
        let made_up = || format!("guest-{}", enter.session).chars().take(12).collect::<String>();
        let identity = enter.identity.clone().or_else(|| request.identity.as_deref().map(Arc::from));
        let identity = identity.filter(|identity| !identity.is_empty()).unwrap_or_else(|| made_up().into());
        let mut secret = [0; 16];
        self.rng.fill_bytes(&mut secret);
        let name = request.name.clone().filter(|name| !name.trim().is_empty());
        let member = Member {
            name: name.unwrap_or_else(|| identity.to_string()),
            metadata: request.metadata.clone().unwrap_or_default(),
            attributes: request.attributes.clone().unwrap_or_default(),
            permissions: enter.permissions,
            secret: data_encoding::BASE32_NOPAD.encode(&secret).to_ascii_lowercase(),
            link: enter.link,
            kept_until: None,
            negotiated: false,
            media_lost: false,
            wishes: None,
            bindings_told: None,
            ice_servers: enter.ice_servers.clone(),
            budget: Budget::of_requests(now),
            data_budget: Budget::of_data(now),
            channel: None,
            outlet: None,
            told: self.unix_ms(now),
            quality: crate::sfu::quality::Quality::default(),
        };
        let addresses = self.addresses_for(enter.caller);
        // Nobody is told these: checks for a member without an offer are refused.
        let credentials =
            Route { shard: self.settings.shard, participant: ParticipantKey::default() }.mint(&mut self.rng);
        let peer = Peer::new(peer::idle(&self.settings, &credentials, now), addresses.clone(), now);
        let offer = Offer::none(Role::Member);
        let description = Description { offer, credentials, generation: 0, counter_offer: None, addresses };
        let (session, credential) = (enter.session, enter.credential);
        let mut participant =
            Participant::new(session, identity, credential, Role::Member, room, peer, description, now);
        participant.member = Some(Box::new(member));
        self.participants.insert(participant)
    }

    /// Puts a new member on the lists, answers it, and tells the others.
    fn introduce(&mut self, now: Instant, room: RoomKey, key: ParticipantKey, enter: &Enter) {
        self.sessions.insert(enter.session, key);
        if let Some(room) = self.rooms.get_mut(room) {
            room.participants.push(key);
        }
        self.stats.sessions_created += 1;
        self.arm_participant(now, key);
        if let Some(participant) = self.participants.get(key) {
            info!(room = %enter.room, session = %enter.session, identity = &*participant.identity,
                client = enter.request.client_info.as_ref().map(ToString::to_string).unwrap_or_default(),
                "member joined");
        }
        self.answer_join(now, key, enter.id, false);
        self.announce(now, key);
        self.bind_room(now, room);
        self.review_path(now, room);
    }

    /// Tells a room's members that somebody came.
    pub(in crate::sfu) fn announce(&mut self, now: Instant, key: ParticipantKey) {
        let Some(room) = self.participants.get(key).map(|participant| participant.room) else { return };
        let Some(participant) = self.describe_participant(now, key) else { return };
        self.tell_of(room, key, Event::ParticipantJoined { participant });
        self.note_told_tracks(now, key);
    }

    /// The reply to `join`.
    pub(super) fn answer_join(&mut self, now: Instant, key: ParticipantKey, id: u64, resumed: bool) {
        let Some(joined) = self.describe_joined(now, key, resumed) else { return };
        if let Some(member) = self.participants.get_mut(key).and_then(|participant| participant.member.as_mut()) {
            member.bindings_told = Some(joined.bindings.clone());
        }
        self.reply(key, id, Ok(Response::Joined(Box::new(joined))));
    }

    fn describe_joined(&self, now: Instant, key: ParticipantKey, resumed: bool) -> Option<Joined> {
        let participant = self.participants.get(key)?;
        let member = participant.member.as_ref()?;
        let room = self.rooms.get(participant.room)?;
        Some(Joined {
            session: SessionInfo {
                id: participant.session.to_string(),
                resume_secret: member.secret.clone(),
                resume_window: milliseconds(self.settings.member_resume_window),
            },
            resumed,
            room: self.describe_conference(participant.room, room),
            participant: self.describe_participant(now, key)?,
            participants: self.describe_others(now, participant.room, key),
            answer: participant.answer.clone(),
            tracks: self.describe_own_tracks(key),
            bindings: self.describe_bindings(key),
            chat: room.conference.chat.latest(),
            events: member.told,
            ice_servers: member.ice_servers.clone(),
            limits: RoomLimits {
                message: u32::try_from(MAX_MESSAGE).unwrap_or(u32::MAX),
                video_slots: self.settings.video_slots,
                audio_slots: self.settings.audio_slots,
            },
            server_info: ServerInfo { version: env!("CARGO_PKG_VERSION").to_owned() },
        })
    }
}

/// What can be said of a join without looking at the room.
fn check(enter: &Enter) -> Result<(), Failure> {
    let request = &enter.request;
    if request.version != signal::VERSION {
        let message = format!("version {} is not spoken here; this server speaks {}", request.version, signal::VERSION);
        return Err(Failure::new(ErrorCode::Unsupported, message));
    }
    let (name, metadata) = (request.name.as_deref(), request.metadata.as_deref());
    check_introduction(request.identity.as_deref(), name, metadata, request.attributes.as_ref())
}

/// Only who may publish names tracks.
pub(super) fn check_tracks(request: &JoinRequest, permissions: Permissions) -> Result<(), Failure> {
    if request.tracks.as_ref().is_some_and(|tracks| !tracks.is_empty()) && !permissions.can_publish {
        let message = "you may not publish in this room; join without `tracks`";
        return Err(Failure::new(ErrorCode::Forbidden, message));
    }
    Ok(())
}

/// Checks the lengths of what is said of a member when it comes.
///
/// # Errors
/// Says what is too long, and how long it may be.
pub fn check_introduction(
    identity: Option<&str>,
    name: Option<&str>,
    metadata: Option<&str>,
    attributes: Option<&BTreeMap<String, String>>,
) -> Result<(), Failure> {
    check_texts(name, metadata, attributes)?;
    check_length("identity", identity.unwrap_or_default(), MAX_NAME)
}

/// Checks what is told to everybody.
pub(super) fn check_texts(
    name: Option<&str>,
    metadata: Option<&str>,
    attributes: Option<&BTreeMap<String, String>>,
) -> Result<(), Failure> {
    check_length("name", name.unwrap_or_default(), MAX_NAME)?;
    check_length("metadata", metadata.unwrap_or_default(), MAX_METADATA)?;
    let attributes = attributes.into_iter().flatten();
    if attributes.clone().count() > MAX_ATTRIBUTES {
        return Err(Failure::new(ErrorCode::TooLarge, format!("more than {MAX_ATTRIBUTES} attributes")));
    }
    for (key, value) in attributes {
        check_length("attribute", key, MAX_ATTRIBUTE)?;
        check_length("attribute", value, MAX_ATTRIBUTE)?;
    }
    Ok(())
}

pub(super) fn check_length(what: &str, text: impl AsRef<[u8]>, most: usize) -> Result<(), Failure> {
    let bytes = text.as_ref().len();
    if bytes <= most {
        return Ok(());
    }
    let message = format!("the {what} has {bytes} bytes; {most} are allowed");
    Err(Failure::new(ErrorCode::TooLarge, message))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        let code = match &error {
            CommandError::Description(_) => ErrorCode::BadOffer,
            CommandError::Full { .. } => ErrorCode::ServerFull,
            CommandError::ShuttingDown => ErrorCode::Draining,
            CommandError::UnknownSession => ErrorCode::NotJoined,
            _ => ErrorCode::BadRequest,
        };
        Failure::new(code, error.to_string())
    }
}
