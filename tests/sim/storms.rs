//! Rooms of all sizes that people enter and leave all at once, again and again; contests of voices; and the hostile
//! among them.

use std::collections::BTreeSet;

use crosspoint::rtp::MediaKind;
use crosspoint::sfu::Sfu;
use crosspoint::sfu::signal::{Chat, Data, ErrorCode, Event, Nothing, OfferRequest, Request, Signal, Update};
use loadtest::media::Codec;
use loadtest::{Datagram, MemberSpec, PublisherSpec, VideoSpec, Voice};

use crate::conferences::{meeting, member};
use crate::lines::{SECOND, clean};
use crate::world::{Options, SERVER, Who, World};

/// People in a room, and the pictures and voices that each has slots for.
const ROOMS: [(u16, usize, usize); 4] = [(2, 9, 4), (3, 9, 4), (10, 4, 3), (50, 2, 2)];

/// A room in a storm.
struct Storm {
    world: World,
    present: Vec<Who>,
    /// Publishers so far: each has a number of its own.
    came: u16,
    slots: (usize, usize),
}

impl Storm {
    fn enter(&mut self) {
        self.came += 1;
        let (videos, voices) = self.slots;
        let video = VideoSpec { frame_rate: 10, ..VideoSpec::new(Codec::Vp8).with_bitrate(40_000) };
        let publisher = Some(PublisherSpec::new(self.came).with_video(video));
        let spec = MemberSpec { publisher, ..member(self.came, videos, voices) };
        let who = self.world.enter("meeting", &format!("m{}", self.came), spec, clean()).unwrap();
        self.present.push(who);
    }

    /// Everybody but the first half leaves, and as many others come, one for one in the same instant.
    fn gust(&mut self, may_vanish: bool) {
        let leaving = self.present.split_off(self.present.len().div_ceil(2));
        for (index, who) in leaving.into_iter().enumerate() {
            if may_vanish && index.is_multiple_of(2) {
                self.world.client(who).vanish();
                self.world.unlink(who);
            } else {
                self.world.ask(who, Request::Leave(Nothing {})).unwrap();
            }
            self.enter();
        }
    }

    /// Everybody knows who is there, and sees and hears as many as there are slots for.
    fn assert_settled(&mut self) {
        let sids: BTreeSet<String> = self.present.iter().map(|who| self.world.page(*who).sid()).collect();
        let others = self.present.len() - 1;
        for who in self.present.clone() {
            let mut known = roster(&mut self.world, who);
            known.insert(self.world.page(who).sid());
            assert_eq!(known, sids);
            let report = self.world.report(who);
            assert!(report.violations.is_empty(), "{}", report.violations);
            let live = |codec| {
                let streams = report.streams.iter().filter(|stream| stream.codec == codec);
                streams.filter(|stream| stream.quiet_for < SECOND / 2).count()
            };
            let expected = (others.min(self.slots.0), others.min(self.slots.1));
            assert_eq!((live(Codec::Vp8), live(Codec::Opus)), expected, "pictures and voices of {others}");
        }
    }
}

/// Who else is there, as a member was told.
fn roster(world: &mut World, who: Who) -> BTreeSet<String> {
    let joined = world.page(who).joined.clone().unwrap();
    let mut known: BTreeSet<String> = joined.participants.into_iter().map(|other| other.sid).collect();
    for event in world.take_events(who) {
        match event {
            Event::ParticipantJoined { participant } => assert!(known.insert(participant.sid), "joined once"),
            Event::ParticipantLeft { sid, .. } => assert!(known.remove(&sid), "left once"),
            _ => {}
        }
    }
    known
}

#[test]
pub(crate) fn storms_of_coming_and_going_leave_everyone_with_who_is_there_and_at_last_nothing() {
    for (people, videos, voices) in ROOMS {
        let world = World::new(Options::seed(people.into()));
        let mut storm = Storm { world, present: Vec::new(), came: 0, slots: (videos, voices) };
        (0..people).for_each(|_| storm.enter());
        storm.world.run(SECOND);
        for round in 0..3 {
            storm.gust(round == 0);
            storm.world.run(SECOND / 2);
        }
        // Who vanished is given up after 10 s.
        storm.world.run(11 * SECOND);
        storm.assert_settled();
        for who in std::mem::take(&mut storm.present) {
            storm.world.ask(who, Request::Leave(Nothing {})).unwrap();
        }
        storm.world.run(4 * SECOND);
        let sfus = storm.world.sfus();
        assert!(sfus.iter().all(Sfu::is_empty), "{:?}", sfus.iter().map(Sfu::stats).collect::<Vec<_>>());
    }
}

#[test]
pub(crate) fn keyboards_and_crosstalk_move_no_slots() {
    let mut world = World::new(Options::seed(14));
    let members = meeting(&mut world, 9, 2, 2);
    let say = |world: &mut World, who: &[Who], voice| who.iter().for_each(|who| world.client(*who).speak(voice));
    say(&mut world, &members, Voice::Quiet);
    world.run(2 * SECOND);
    let (listener, talkers, typists) = (members[0], &members[1..3], &members[3..7]);
    say(&mut world, talkers, Voice::Speaking);
    world.run(4 * SECOND);
    let mut expected: Vec<String> = talkers.iter().map(|who| world.page(*who).sid()).collect();
    expected.sort();
    say(&mut world, typists, Voice::Typing);
    world.take_events(listener);
    // Two interrupt each other every 400 ms while four type.
    for turn in 0..25 {
        say(&mut world, talkers, Voice::Quiet);
        say(&mut world, &talkers[turn % 2..=turn % 2], Voice::Speaking);
        world.run(SECOND * 2 / 5);
    }
    assert_eq!(world.page(listener).shown(MediaKind::Audio), expected, "the talkers are heard");
    assert_eq!(world.page(listener).shown(MediaKind::Video), expected, "and seen");
    let told = world.take_events(listener);
    let rebound = told.iter().filter(|event| matches!(event, Event::Bindings { .. })).count();
    assert_eq!(rebound, 0, "no slot moves for a key or an interruption: {told:?}");
    let dominants = told.iter().filter_map(|event| match event {
        Event::Speakers { dominant, .. } => dominant.as_ref(),
        _ => None,
    });
    assert!(dominants.clone().all(|dominant| expected.contains(dominant)), "who types has not the floor: {told:?}");
    assert!(world.report(listener).violations.is_empty(), "{}", world.report(listener).violations);
}

/// Requests larger than anybody needs.
fn huge(stranger: &str) -> Vec<(&'static str, Request)> {
    let text = |bytes| "x".repeat(bytes);
    let update = Update { name: None, metadata: None, attributes: None };
    let data = |topic, payload: usize, to| {
        let payload = data_encoding::BASE64.encode(&vec![0; payload]);
        Request::Data(Data { topic, payload, to, reliable: None })
    };
    let attributes = |count: usize, bytes| Some((0..count).map(|n| (n.to_string(), text(bytes))).collect());
    let signal = Signal { to: stranger.to_owned(), payload: text(33_000).into() };
    let crowd = vec![stranger.to_owned(); 101];
    vec![
        ("a chat message", Request::Chat(Chat { text: text(4097), to: None })),
        ("recipients of a chat message", Request::Chat(Chat { text: text(1), to: Some(crowd.clone()) })),
        ("a payload", data(text(1), 33_000, None)),
        ("a topic", data(text(129), 1, None)),
        ("recipients of data", data(text(1), 1, Some(crowd))),
        ("a name", Request::Update(Update { name: Some(text(129)), ..update.clone() })),
        ("metadata", Request::Update(Update { metadata: Some(text(4097)), ..update.clone() })),
        ("many attributes", Request::Update(Update { attributes: attributes(33, 1), ..update.clone() })),
        ("an attribute", Request::Update(Update { attributes: attributes(1, 513), ..update })),
        ("a signal", Request::Signal(signal)),
        ("an offer", Request::Offer(OfferRequest { offer: text(200_000), tracks: Vec::new() })),
    ]
}

#[test]
pub(crate) fn huge_messages_and_junk_on_the_wire_reach_nobody() {
    let mut world = World::new(Options::seed(15));
    let members = meeting(&mut world, 3, 9, 4);
    world.run(3 * SECOND);
    let (hostile, others) = (members[2], [members[0], members[1]]);
    for who in others {
        world.take_events(who);
        world.client(who).oracle_mut().unwrap().restart_freezes();
    }
    let stranger = world.page(others[0]).sid();
    for (what, request) in huge(&stranger) {
        let refused = world.ask(hostile, request).unwrap_err();
        assert!(matches!(refused.code, ErrorCode::TooLarge | ErrorCode::BadOffer), "{what}: {refused:?}");
    }
    let (source, destination) = ("203.0.113.9:9".parse().unwrap(), SERVER.parse().unwrap());
    for number in 0..20_000u32 {
        // All first bytes there are (RFC 7983), all lengths that a path carries.
        let mut contents = vec![number as u8; 1 + number as usize * 7 % 1500];
        contents[0] = (number / 7) as u8;
        world.network.send(world.now, Datagram { source, destination, contents });
        if number.is_multiple_of(100) {
            world.run(SECOND / 100);
        }
    }
    world.run(SECOND);
    for who in others {
        let report = world.report(who);
        assert!(report.violations.is_empty(), "{}", report.violations);
        for stream in &report.streams {
            assert!(stream.freezes == 0 && stream.quiet_for < SECOND / 2, "{stream:?}");
        }
        let told = world.take_events(who);
        let only_measured = |event: &Event| matches!(event, Event::Quality { .. } | Event::Speakers { .. });
        assert!(told.iter().all(only_measured), "{told:?}");
    }
}
