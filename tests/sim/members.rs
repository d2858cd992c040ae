//! Members in the world: they join with their messages, hear what they are told, and keep the state a page would keep.

use std::collections::BTreeMap;
use std::sync::Arc;

use crosspoint::sfu::ShardIndex;
use crosspoint::sfu::command::{Command, Credential, EventKind, Link, Parting, Reply, SessionId};
use crosspoint::sfu::conference::Enter;
use crosspoint::sfu::signal::{
    Binding, ErrorCode, Event, Failure, JoinRequest, Joined, Message, OfferRequest, Offered, OwnTrack, Permissions,
    Request, Response, Resume, TrackSource,
};
use loadtest::media::Kind;
use loadtest::net::Conditions;
use loadtest::{Client, MemberSpec};

use crate::world::{Who, World};

/// Ids of requests: each waits for its own answer.
const REQUEST: u64 = 7;

/// What a member knows of its room, from what it was told.
#[derive(Debug, Default, Clone)]
pub(crate) struct Page {
    pub(crate) link: u64,
    pub(crate) room: String,
    pub(crate) joined: Option<Joined>,
    pub(crate) bindings: Vec<Binding>,
    pub(crate) events: Vec<Event>,
    replies: Vec<Result<Response, Failure>>,
}

/// All pages of a world.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    pub(crate) by_client: BTreeMap<Who, Page>,
    links: u64,
}

impl Page {
    pub(crate) fn sid(&self) -> String {
        self.joined.as_ref().unwrap().participant.sid.clone()
    }

    /// Tracks bound to slots of a kind: publishers' sids, sorted.
    pub(crate) fn shown(&self, kind: crosspoint::rtp::MediaKind) -> Vec<String> {
        let mut shown: Vec<String> =
            self.bindings.iter().filter(|b| b.kind == kind).filter_map(|b| b.participant.clone()).collect();
        shown.sort();
        shown
    }

    fn note(&mut self, message: &Message) {
        match message {
            Message::Reply { result, .. } => {
                match &**result {
                    Response::Joined(joined) => {
                        self.bindings.clone_from(&joined.bindings);
                        self.joined = Some((**joined).clone());
                    }
                    Response::Offered(Offered { bindings, .. }) => self.bindings.clone_from(bindings),
                    Response::Subscribed(subscribed) => self.bindings.clone_from(&subscribed.bindings),
                    _ => {}
                }
                self.replies.push(Ok((**result).clone()));
            }
            Message::Refusal { error, .. } => self.replies.push(Err(error.clone())),
            Message::Event(event) => {
                if let Event::Bindings { bindings } = &**event {
                    assert!(self.joined.is_some(), "bindings came before the answer to the join");
                    self.bindings.clone_from(bindings);
                }
                self.events.push((**event).clone());
            }
        }
    }
}

/// All a member of an open server may do.
pub(crate) const ALL: Permissions = Permissions {
    can_publish: true,
    can_subscribe: true,
    can_publish_data: true,
    can_update_metadata: true,
    admin: true,
    hidden: false,
};

/// What a client publishes, as a page would say it: its camera.
pub(crate) fn own_tracks(client: &Client) -> Vec<OwnTrack> {
    tracks_of(client, TrackSource::Camera)
}

/// The same with a video of another source.
fn tracks_of(client: &Client, video: TrackSource) -> Vec<OwnTrack> {
    let source = |kind| match kind {
        Kind::Audio => TrackSource::Microphone,
        Kind::Video => video,
    };
    let track = |(mid, kind)| OwnTrack { mid, source: source(kind), name: None, muted: None, encrypted: None };
    client.own_lines().into_iter().map(track).collect()
}

impl World {
    /// A member joins with media.
    pub(crate) fn enter(&mut self, room: &str, name: &str, spec: MemberSpec, line: Conditions) -> Result<Who, Failure> {
        self.enter_as(room, name, spec, line, ALL)
    }

    pub(crate) fn enter_as(
        &mut self,
        room: &str,
        name: &str,
        spec: MemberSpec,
        line: Conditions,
        permissions: Permissions,
    ) -> Result<Who, Failure> {
        self.enter_with(room, name, (spec, TrackSource::Camera), line, permissions)
    }

    /// A member whose video shows its screen.
    pub(crate) fn share(&mut self, room: &str, name: &str, spec: MemberSpec, line: Conditions) -> Result<Who, Failure> {
        self.enter_with(room, name, (spec, TrackSource::ScreenShare), line, ALL)
    }

    fn enter_with(
        &mut self,
        room: &str,
        name: &str,
        (spec, video): (MemberSpec, TrackSource),
        line: Conditions,
        permissions: Permissions,
    ) -> Result<Who, Failure> {
        let (setup, session) = self.setup(line);
        let (client, offer) = Client::member(spec, setup, self.now).unwrap();
        let request = JoinRequest {
            version: 1,
            name: Some(name.to_owned()),
            identity: Some(name.to_owned()),
            tracks: Some(tracks_of(&client, video)),
            offer: Some(offer),
            ..JoinRequest::default()
        };
        let who = self.place(client, session, room);
        self.join_with(who, session, room, permissions, request)?;
        Ok(who)
    }

    /// Sends a `join` over a new link, and takes the answer.
    pub(crate) fn join_with(
        &mut self,
        who: Who,
        session: SessionId,
        room: &str,
        permissions: Permissions,
        request: JoinRequest,
    ) -> Result<(), Failure> {
        self.pages.links += 1;
        let (link, offers) = (self.pages.links, request.offer.is_some());
        self.pages.by_client.insert(who, Page { link, room: room.to_owned(), ..Page::default() });
        let enter = Enter {
            session,
            link: Link(link),
            id: REQUEST,
            room: Arc::from(room),
            home: ShardIndex(self.shard_of_room(room) as u16),
            credential: Credential::Anonymous,
            identity: None,
            permissions,
            expired: false,
            caller: None,
            ice_servers: Vec::new(),
            request: Box::new(request),
        };
        let shard = self.shard(who);
        match self.command(shard, Command::Enter(Box::new(enter))) {
            Reply::Done => {}
            Reply::Refused(failure) => return Err(failure),
            other => panic!("unexpected reply {other:?}"),
        }
        let answer = self.page(who).joined.as_ref().and_then(|joined| joined.answer.clone());
        if let Some(answer) = answer.filter(|_| offers) {
            self.client(who).accept_answer(&answer).unwrap();
        }
        Ok(())
    }

    /// A page that was loaded anew: another client for the same session.
    pub(crate) fn reloaded(&mut self, spec: MemberSpec, line: Conditions, session: SessionId) -> (Who, JoinRequest) {
        let (setup, _) = self.setup(line);
        self.page_of(spec, setup, session)
    }

    /// A page that will not offer media at first.
    pub(crate) fn without_media(&mut self, name: &str) -> (Who, JoinRequest) {
        self.page_with(name, crate::conferences::member(2, 9, 4))
    }

    /// A page that has not joined yet.
    pub(crate) fn page_with(&mut self, name: &str, spec: MemberSpec) -> (Who, JoinRequest) {
        let (setup, session) = self.setup(crate::lines::clean());
        let (who, request) = self.page_of(spec, setup, session);
        (who, JoinRequest { name: Some(name.to_owned()), identity: Some(name.to_owned()), ..request })
    }

    fn page_of(&mut self, spec: MemberSpec, setup: loadtest::Setup, session: SessionId) -> (Who, JoinRequest) {
        let (client, offer) = Client::member(spec, setup, self.now).unwrap();
        let tracks = Some(own_tracks(&client));
        let who = self.place(client, session, "meeting");
        (who, JoinRequest { version: 1, offer: Some(offer), tracks, ..JoinRequest::default() })
    }

    /// A member offers the media of a request it did not join with.
    pub(crate) fn offer(&mut self, who: Who, request: &JoinRequest) -> Result<(), Failure> {
        let (offer, tracks) = (request.offer.clone().unwrap(), request.tracks.clone().unwrap());
        match self.ask(who, Request::Offer(OfferRequest { offer, tracks }))? {
            Response::Offered(offered) => self.client(who).accept_answer(&offered.answer).unwrap(),
            other => panic!("unexpected answer {other:?}"),
        }
        Ok(())
    }

    /// The member's link breaks, and the shard hears of it.
    pub(crate) fn unlink(&mut self, who: Who) {
        self.part(who, Parting::Lost);
    }

    /// The member's page is closed, or loaded anew.
    pub(crate) fn leave_page(&mut self, who: Who) {
        self.part(who, Parting::PageLeft);
    }

    fn part(&mut self, who: Who, parting: Parting) {
        let page = self.page(who).clone();
        let session = self.session(who);
        let shard = self.shard(who);
        self.command(shard, Command::Unlinked { session, link: Link(page.link), parting });
    }

    /// The member comes back over another link with an ICE restart.
    pub(crate) fn resume(&mut self, who: Who) -> Result<(), Failure> {
        self.resume_with(who, None)
    }

    /// The same; it says up to which number data messages came.
    pub(crate) fn resume_with(&mut self, who: Who, received: Option<u64>) -> Result<(), Failure> {
        let page = self.page(who).clone();
        let now = self.now;
        let offer = self.client(who).restart_ice(now).unwrap();
        let tracks = own_tracks(self.client(who));
        let session = page.joined.unwrap().session;
        let resume = Some(Resume { session: session.id, secret: session.resume_secret, received });
        let request =
            JoinRequest { version: 1, offer: Some(offer), tracks: Some(tracks), resume, ..JoinRequest::default() };
        let session = self.session(who);
        self.join_with(who, session, &page.room, ALL, request)
    }

    /// Asks something, and takes the answer.
    pub(crate) fn ask(&mut self, who: Who, request: Request) -> Result<Response, Failure> {
        let page = self.pages.by_client.get_mut(&who).unwrap();
        page.replies.clear();
        let link = Link(page.link);
        let shard = self.shard(who);
        let session = self.session(who);
        let reply = self.command(shard, Command::Request { session, link, id: REQUEST, request: Box::new(request) });
        match reply {
            Reply::Done => {}
            Reply::Failed(error) => return Err(error.into()),
            other => panic!("unexpected reply {other:?}"),
        }
        // Whose link was closed instead gets no answer.
        let ended = || Err(Failure::new(ErrorCode::NotJoined, "the link was closed"));
        self.pages.by_client.get_mut(&who).unwrap().replies.pop().unwrap_or_else(ended)
    }

    pub(crate) fn page(&self, who: Who) -> &Page {
        &self.pages.by_client[&who]
    }

    /// What a member was told since the last call.
    pub(crate) fn take_events(&mut self, who: Who) -> Vec<Event> {
        std::mem::take(&mut self.pages.by_client.get_mut(&who).unwrap().events)
    }

    /// Hands messages to the pages they are for.
    pub(crate) fn deliver_message(&mut self, event: &crosspoint::sfu::command::Event) {
        if let EventKind::Message { to, message } = &event.kind {
            for (_, link) in to {
                let page = self.pages.by_client.values_mut().find(|page| Link(page.link) == *link);
                if let Some(page) = page {
                    page.note(message);
                }
            }
        }
    }
}
