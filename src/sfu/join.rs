//! Commands in, replies out; and how a participant comes in: WHIP, WHEP, counter-offers, takeover.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::Candidate;
use str0m::net::TcpType;
use tracing::info;

use super::allocation::{self, Allocation};
use super::command::{Command, CommandError, EndReason, Join, Joined, Reply, Role, SessionId};
use super::demux::Route;
use super::negotiate::{self, Local, NegotiatedMedia, Offer};
use super::participant::{Description, Participant, Waiting};
use super::peer::{self, Peer};
use super::signal::RoomMode;
use super::{EarlyViewers, ParticipantKey, RoomKey, Sfu};
use crate::rtp::MediaKind;
use crate::rtp::format::Format;

/// How long a counter-offer waits for its answer (draft-ietf-wish-whep section 4.2: 30 s unless said otherwise).
const COUNTER_OFFER_VALID: Duration = Duration::from_secs(30);

/// When a viewer that came too early should ask again.
const EARLY_RETRY: Duration = Duration::from_secs(2);

/// Name of the MediaStream viewers receive: browsers play what is in one stream in step.
pub(super) const STREAM: &str = "crosspoint";

/// Silence worth telling a second publisher about.
const NOTICEABLE_SILENCE: Duration = Duration::from_secs(1);

/// What came out of negotiation.
struct Negotiated {
    participant: Participant,
    media: Vec<NegotiatedMedia>,
    reply: Reply,
}

impl Sfu {
    /// Carries out a command. Call [`flush`](Sfu::flush) in the same turn.
    pub fn command(&mut self, now: Instant, command: Command) -> Reply {
        let done = match command {
            Command::Join(join) => self.join(now, &join),
            Command::Answer { session, answer } => self.answer(now, session, &answer),
            Command::Patch { session, expected, fragment } => self.patch(now, session, expected, &fragment),
            Command::Enter(enter) => Ok(self.enter(now, &enter)),
            Command::Request { session, link, id, request } => self.request(now, session, link, id, *request),
            Command::Unlinked { session, link, parting } => self.unlink(now, session, link, parting),
            Command::ChangeRoom { room, change } => self.on_change_room(&room, change),
            Command::Spill { room, to } => Ok(self.spill(now, &room, to)),
            Command::Drain { remaining } => Ok(self.drain(remaining)),
            Command::Leave { session, reason } => self.leave(now, session, reason),
            Command::SelectLayer { session, selection } => self.select_layer(now, session, &selection),
            Command::Inspect { session } => self.inspect(now, session),
            Command::Rooms => Ok(Reply::Rooms(self.room_reports())),
            Command::Stats => Ok(Reply::Stats(Box::new(self.stats()))),
            Command::Shutdown => Ok(self.shut_down(now)),
        };
        done.unwrap_or_else(Reply::Failed)
    }

    fn join(&mut self, now: Instant, join: &Join) -> Result<Reply, CommandError> {
        let joined = self.admit(now, join);
        if joined.is_err() {
            self.stats.joins_refused += 1;
        }
        joined
    }

    fn admit(&mut self, now: Instant, join: &Join) -> Result<Reply, CommandError> {
        if self.shutting_down {
            return Err(CommandError::ShuttingDown);
        }
        if self.participants.len() >= self.settings.max_sessions {
            let limit = format!("limits.sessions ({} per shard)", self.settings.max_sessions);
            return Err(CommandError::Full { limit });
        }
        let offer = Offer::parse(&join.offer, &join.role)?;
        let existing = self.room_names.get(&join.room).copied();
        let room = existing.and_then(|key| self.rooms.get(key));
        if room.map_or(self.settings.room_mode, |room| room.conference.mode) == RoomMode::P2p {
            return Err(CommandError::RoomForTwo { room: Arc::clone(&join.room) });
        }
        let incumbent = match &join.role {
            Role::Publish => self.incumbent(now, existing, join)?,
            Role::Play { .. } => self.admit_viewer(existing, join).map(|()| None)?,
            // Members enter: they have more to say than an offer.
            Role::Member => return Err(CommandError::UnknownSession),
        };
        let room = self.open_room(now, &join.room);
        self.link_home(now, room, join.home);
        let negotiated = self.negotiate(now, room, join, offer);
        let (key, media, reply) = match negotiated {
            Ok(negotiated) => negotiated,
            Err(error) => {
                self.close_room_if_empty(room);
                return Err(error);
            }
        };
        // Only now: a refused offer must not have ended anybody.
        if let Some(incumbent) = incumbent {
            self.end_keeping_room(now, incumbent, EndReason::TakenOver);
        }
        self.sessions.insert(join.session, key);
        if let Some(room) = self.rooms.get_mut(room) {
            room.participants.push(key);
        }
        self.add_media(now, key, &media);
        self.arm_participant(now, key);
        self.stats.sessions_created += 1;
        let role = if join.role == Role::Publish { "publish" } else { "play" };
        info!(room = %join.room, session = %join.session, identity = &*join.identity, role, "session created");
        Ok(reply)
    }

    /// The publisher that has to give way, if there is one that has to.
    fn incumbent(
        &self,
        now: Instant,
        room: Option<RoomKey>,
        join: &Join,
    ) -> Result<Option<ParticipantKey>, CommandError> {
        let Some(room) = room.and_then(|key| self.rooms.get(key)) else { return Ok(None) };
        let publishes =
            |key: &ParticipantKey| self.participants.get(*key).filter(|p| p.is_publisher()).map(|p| (*key, p));
        let Some((key, publisher)) = room.participants.iter().find_map(publishes) else { return Ok(None) };
        let silent = publisher.mute_for(now);
        if publisher.credential == join.credential && silent >= self.settings.takeover_after {
            return Ok(Some(key));
        }
        let silent_for = (silent >= NOTICEABLE_SILENCE).then_some(silent);
        Err(CommandError::RoomTaken { room: Arc::clone(&join.room), silent_for })
    }

    fn admit_viewer(&self, room: Option<RoomKey>, join: &Join) -> Result<(), CommandError> {
        let room = room.and_then(|key| self.rooms.get(key));
        if room.is_some_and(|room| room.participants.len() + room.remotes().count() > self.settings.max_viewers) {
            let limit = format!("rooms.max_viewers ({})", self.settings.max_viewers);
            return Err(CommandError::Full { limit });
        }
        let published = room.is_some_and(|room| !room.tracks.is_empty());
        if !published && self.settings.early_viewers == EarlyViewers::Refuse {
            return Err(CommandError::NothingPublished { room: Arc::clone(&join.room), retry_after: EARLY_RETRY });
        }
        Ok(())
    }

    fn negotiate(
        &mut self,
        now: Instant,
        room: RoomKey,
        join: &Join,
        offer: Offer,
    ) -> Result<(ParticipantKey, Vec<NegotiatedMedia>, Reply), CommandError> {
        // The key comes first, because the ufrag carries it.
        let mut participants = std::mem::take(&mut self.participants);
        let mut rest = None;
        let key = participants.try_insert_with_key(|key| {
            let Negotiated { participant, media, reply } = self.negotiate_as(now, key, room, join, offer)?;
            rest = Some((media, reply));
            Ok::<_, CommandError>(participant)
        });
        self.participants = participants;
        let key = key?;
        let (media, reply) = rest.unwrap_or((Vec::new(), Reply::Done));
        Ok((key, media, reply))
    }

    fn negotiate_as(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        room: RoomKey,
        join: &Join,
        offer: Offer,
    ) -> Result<Negotiated, CommandError> {
        let credentials = Route { shard: self.settings.shard, participant: key }.mint(&mut self.rng);
        let estimates = allocation::estimates(&join.role, &offer);
        let config = || {
            let config = peer::config(&self.settings, &credentials);
            let config = if join.role == Role::Publish { config } else { peer::exporting(config) };
            if estimates { allocation::estimating(config) } else { config }
        };
        let addresses = self.addresses_for(join.caller);
        let candidates = candidates(&addresses, self.settings.tcp);
        let local = Local { candidates: &candidates, stream: STREAM };
        let accepted = negotiate::accept(config(), &offer, &local, now)?;
        let mismatch = self.nothing_in_common(room, &accepted.media);
        let (media, counter_offer, reply) = if mismatch {
            let offer = negotiate::counter_offer(config(), &self.published(room), &local, now)?;
            let reply = Reply::CounterOffer { offer: offer.offer.clone(), valid_for: COUNTER_OFFER_VALID };
            (Vec::new(), Some(Box::new(Waiting { offer, expires: now + COUNTER_OFFER_VALID })), reply)
        } else {
            let reply = Reply::Joined(Joined { answer: accepted.answer, generation: 0 });
            (accepted.media, None, reply)
        };
        let description =
            Description { offer, credentials, generation: 0, counter_offer, addresses: addresses.clone() };
        let mut participant = Participant::new(
            join.session,
            Arc::clone(&join.identity),
            join.credential,
            join.role.clone(),
            room,
            Peer::new(accepted.rtc, addresses, now),
            description,
            now,
        );
        participant.allocation = Allocation::new(estimates);
        Ok(Negotiated { participant, media, reply })
    }

    /// Advertised addresses, those of loopback only for callers on this machine or when there are no others.
    pub(super) fn addresses_for(&self, caller: Option<IpAddr>) -> Vec<SocketAddr> {
        let mut addresses = self.settings.candidates.clone();
        if addresses.is_empty() || caller.is_some_and(|caller| caller.to_canonical().is_loopback()) {
            addresses.extend(&self.settings.loopback_candidates);
        }
        addresses
    }

    /// True when a viewer's m-lines of some kind fit none of the tracks of that kind that are published now.
    fn nothing_in_common(&self, room: RoomKey, media: &[NegotiatedMedia]) -> bool {
        let Some(room) = self.rooms.get(room) else { return false };
        [MediaKind::Audio, MediaKind::Video].into_iter().any(|kind| {
            let mut lines = media.iter().filter(|line| line.kind == kind && line.direction.is_sending());
            let mut tracks = room.tracks.values().filter(|track| track.kind == kind).peekable();
            let asked = lines.clone().next().is_some() && tracks.peek().is_some();
            asked && !tracks.any(|track| lines.any(|line| track.serves(&line.formats)))
        })
    }

    /// Every format that is published in a room.
    fn published(&self, room: RoomKey) -> Vec<Format> {
        let tracks = self.rooms.get(room).into_iter().flat_map(|room| room.tracks.values());
        tracks.flat_map(|track| track.formats().iter().cloned()).collect()
    }

    fn answer(&mut self, now: Instant, session: SessionId, answer: &str) -> Result<Reply, CommandError> {
        let key = self.sessions.get(&session).copied().ok_or(CommandError::UnknownSession)?;
        let participant = self.participants.get_mut(key).ok_or(CommandError::UnknownSession)?;
        let description = &mut participant.description;
        let waiting = description.counter_offer.take_if(|waiting| now < waiting.expires);
        let Waiting { offer, expires } = *waiting.ok_or(CommandError::NotExpectingAnswer)?;
        let answer = match offer.read_answer(answer) {
            Ok(answer) => answer,
            Err(error) => {
                // The client may try again.
                description.counter_offer = Some(Box::new(Waiting { offer, expires }));
                return Err(error.into());
            }
        };
        let (rtc, media) = offer.accept(&answer)?;
        description.offer = answer;
        let addresses = description.addresses.clone();
        // The client's checks may have come before its answer; they come again.
        self.forget_addresses(key);
        let Some(participant) = self.participants.get_mut(key) else { return Err(CommandError::UnknownSession) };
        participant.peer = Peer::new(rtc, addresses, now);
        self.add_media(now, key, &media);
        self.mark_dirty(key);
        Ok(Reply::Done)
    }
}

/// Host candidates for the engine and the answer; with `tcp` also passive ones for TCP (RFC 6544 section 4.1).
pub(super) fn candidates(addresses: &[SocketAddr], tcp: bool) -> Vec<Candidate> {
    let over_udp = addresses.iter().filter_map(|address| Candidate::host(*address, "udp").ok());
    let passive = |address: &SocketAddr| Candidate::builder().tcp().host(*address).tcptype(TcpType::Passive).build();
    let over_tcp = addresses.iter().filter(|_| tcp).filter_map(|address| passive(address).ok());
    over_udp.chain(over_tcp).collect()
}
