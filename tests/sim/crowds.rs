//! Rooms that are full, restless or hostile; and people who come by WHIP and WHEP.

use std::collections::BTreeSet;

use crosspoint::rtp::MediaKind;
use crosspoint::sfu::Sfu;
use crosspoint::sfu::command::{CommandError, EndReason};
use crosspoint::sfu::signal::{
    Chat, ErrorCode, Event, JoinRequest, Kick, MediaPath, MuteOther, Nothing, ParticipantKind, PathReady, Permissions,
    Request, RoomMode, SetMode, Signal, Subscribe, Wish,
};
use loadtest::media::Codec;
use loadtest::net::Conditions;
use loadtest::oracle::{Expectations, Losses};
use loadtest::{PublisherSpec, VideoSpec, ViewerSpec, Voice};

use crate::conferences::{meeting, member, publishers};
use crate::lines::{SECOND, clean};
use crate::members::ALL;
use crate::world::{Options, Who, World};

fn assert_empty(world: &World) {
    assert!(world.sfus().iter().all(Sfu::is_empty), "{:?}", world.sfus().iter().map(Sfu::stats).collect::<Vec<_>>());
}

#[test]
pub(crate) fn people_come_and_go_and_everyone_else_sees_who_is_there() {
    for (seed, shards) in [(1, 1), (2, 3)] {
        let mut world = World::new(Options { shards, ..Options::seed(seed) });
        let mut present: Vec<(u16, Who)> = Vec::new();
        for round in 1..=12u16 {
            let who = world.enter("meeting", &format!("m{round}"), member(round, 4, 3), clean()).unwrap();
            present.push((round, who));
            if round.is_multiple_of(3) {
                let (_, gone) = present.remove(usize::from(round) % present.len());
                if round.is_multiple_of(2) {
                    world.ask(gone, Request::Leave(Nothing {})).unwrap();
                } else {
                    world.client(gone).vanish();
                    world.unlink(gone);
                }
            }
            world.run(SECOND / 2);
        }
        world.run(12 * SECOND);
        for (_, who) in &present {
            let report = world.report(*who);
            assert!(report.violations.is_empty(), "{}", report.violations);
            let live = report.streams.iter().filter(|s| s.codec == Codec::Vp8 && s.quiet_for < SECOND / 2).count();
            assert_eq!(live, 4, "all slots are in use: {}", present.len());
        }
        for (_, who) in present {
            world.ask(who, Request::Leave(Nothing {})).unwrap();
        }
        world.run(2 * SECOND);
        assert_empty(&world);
    }
}

#[test]
pub(crate) fn fifty_people_fit_into_a_room_and_hear_whoever_speaks() {
    let mut world = World::new(Options::seed(3));
    let members: Vec<Who> = (1..=50)
        .map(|number| {
            let mut spec = member(number, 2, 2);
            spec.publisher = Some(
                PublisherSpec::new(number)
                    .with_video(VideoSpec { frame_rate: 5, ..VideoSpec::new(Codec::Vp8).with_bitrate(40_000) }),
            );
            world.enter("meeting", &format!("m{number}"), spec, clean()).unwrap()
        })
        .collect();
    for who in &members {
        world.client(*who).speak(Voice::Quiet);
    }
    world.run(2 * SECOND);
    let speaker = members[41];
    world.client(speaker).speak(Voice::Speaking);
    world.run(4 * SECOND);
    let sid = world.page(speaker).sid();
    for who in members.iter().filter(|who| **who != speaker) {
        let page = world.page(*who);
        assert!(page.shown(MediaKind::Audio).contains(&sid) && page.shown(MediaKind::Video).contains(&sid));
        let report = world.report(*who);
        assert!(report.violations.is_empty(), "{}", report.violations);
        assert_eq!(report.streams.len(), 4, "no more streams than slots");
    }
}

#[test]
pub(crate) fn an_encoder_is_a_participant_and_a_lone_viewer_sees_who_speaks() {
    let mut world = World::new(Options::seed(4));
    let members = meeting(&mut world, 3, 9, 4);
    world.publish("meeting", PublisherSpec::new(9), clean()).unwrap();
    let expectations = Expectations { losses: Losses::None, wire: true, ..Expectations::default() };
    let viewer = world.watch("meeting", ViewerSpec { expectations, ..ViewerSpec::default() }, clean()).unwrap();
    for who in &members {
        world.client(*who).speak(Voice::Quiet);
    }
    world.run(3 * SECOND);
    let told = world.take_events(members[0]);
    let kinds: Vec<ParticipantKind> = told
        .iter()
        .filter_map(|event| match event {
            Event::ParticipantJoined { participant } => Some(participant.kind),
            _ => None,
        })
        .collect();
    assert!(kinds.contains(&ParticipantKind::Ingress) && kinds.contains(&ParticipantKind::Egress), "{kinds:?}");
    assert_eq!(publishers(&world, members[0]), BTreeSet::from([2, 3, 9]), "the encoder is seen like anybody");
    for (speaker, publisher) in [(1, 2), (2, 3)] {
        world.client(members[speaker]).speak(Voice::Speaking);
        world.run(4 * SECOND);
        let latest = world.report(viewer).video().unwrap().sources.last().unwrap().publisher;
        assert_eq!(latest, publisher, "the viewer's one picture follows the speaker");
        world.client(members[speaker]).speak(Voice::Quiet);
    }
    assert!(world.report(viewer).violations.is_empty(), "{}", world.report(viewer).violations);
}

#[test]
pub(crate) fn floods_and_nonsense_harm_nobody_else() {
    let mut world = World::new(Options::seed(5));
    let members = meeting(&mut world, 3, 9, 4);
    world.run(2 * SECOND);
    let hostile = members[2];
    let wishes = (0..120).map(|n| Wish {
        track: format!("TR_{n}"),
        height: u32::MAX,
        fps: Some(0),
        priority: Some(255),
        pinned: Some(true),
        paused: None,
    });
    let wishes: Vec<Wish> = wishes.collect();
    for _ in 0..50 {
        world.ask(hostile, Request::Subscribe(Subscribe { wishes: wishes.clone() })).unwrap();
    }
    let many = wishes.iter().cycle().take(1000).cloned().collect();
    let refused = world.ask(hostile, Request::Subscribe(Subscribe { wishes: many })).unwrap_err();
    assert_eq!(refused.code, ErrorCode::TooLarge);
    let limited = (0..100).map(|_| world.ask(hostile, Request::Ping(Nothing {}))).find_map(Result::err).unwrap();
    assert_eq!(limited.code, ErrorCode::RateLimited);
    while world.ended(hostile).is_none() {
        let _ = world.ask(hostile, Request::Ping(Nothing {}));
    }
    assert_eq!(world.ended(hostile), Some(EndReason::Flooding));
    world.run(3 * SECOND);
    for who in [members[0], members[1]] {
        let report = world.report(who);
        assert!(report.violations.is_empty(), "{}", report.violations);
        let live = report.streams.iter().filter(|s| s.codec == Codec::Vp8 && s.quiet_for < SECOND / 2).count();
        assert_eq!(live, 1, "the other one is still seen");
    }
}

#[test]
pub(crate) fn what_moderators_and_publishers_say_reaches_everyone() {
    let mut world = World::new(Options::seed(6));
    let members = meeting(&mut world, 3, 9, 4);
    world.run(2 * SECOND);
    let (host, guest, other) = (members[0], members[1], members[2]);
    let joined = world.page(guest).joined.clone().unwrap();
    let track = joined.tracks[0].sid.clone();
    members.iter().for_each(|who| drop(world.take_events(*who)));
    world.ask(host, Request::MuteOther(MuteOther { track: track.clone() })).unwrap();
    let muted = |events: Vec<Event>| {
        events.iter().any(|e| matches!(e, Event::TrackUpdated { track: t, .. } if t.sid == track && t.muted))
    };
    let told = world.take_events(guest);
    assert!(told.iter().any(|event| matches!(event, Event::Muted { .. })), "{told:?}");
    assert!(muted(told) && muted(world.take_events(other)));
    world.ask(other, Request::Chat(Chat { text: "hi".into(), to: None })).unwrap();
    assert!(world.take_events(host).iter().any(|event| matches!(event, Event::Chat { .. })));
    let guest_sid = joined.participant.sid;
    world.ask(host, Request::Kick(Kick { participant: guest_sid.clone(), reason: None })).unwrap();
    assert_eq!(world.ended(guest), Some(EndReason::Kicked));
    world.run(SECOND);
    let told = world.take_events(other);
    assert!(told.iter().any(|event| matches!(event, Event::ParticipantLeft { sid, .. } if *sid == guest_sid)));
    assert_eq!(world.page(other).shown(MediaKind::Video).len(), 1, "its slot is free");
}

#[test]
fn two_alone_go_direct_and_a_third_brings_them_back() {
    let mut world = World::new(Options::seed(7));
    let members = meeting(&mut world, 2, 9, 4);
    let path = |world: &mut World, who: Who| {
        world.take_events(who).into_iter().rev().find_map(|event| match event {
            Event::Path { path, epoch, peer, offerer } => Some((path, epoch, peer, offerer)),
            _ => None,
        })
    };
    world.ask(members[0], Request::SetMode(SetMode { mode: RoomMode::Auto })).unwrap();
    let (first, second) = (path(&mut world, members[0]).unwrap(), path(&mut world, members[1]).unwrap());
    assert_eq!((first.0, second.0), (MediaPath::P2p, MediaPath::P2p));
    assert_ne!(first.3, second.3, "one of them offers");
    assert_eq!(first.2, Some(world.page(members[1]).sid()));
    let signal = |world: &World, to: Who| {
        let to = world.page(to).sid();
        Request::Signal(Signal { to, payload: serde_json::json!({"sdp": "x"}) })
    };
    let said = signal(&world, members[1]);
    world.ask(members[0], said).unwrap();
    assert!(world.take_events(members[1]).iter().any(|event| matches!(event, Event::Signal { .. })));
    for who in &members {
        world.ask(*who, Request::PathReady(PathReady { path: MediaPath::P2p, epoch: first.1 })).unwrap();
    }
    let room = |events: Vec<Event>| {
        events.into_iter().rev().find_map(|event| match event {
            Event::RoomUpdated { room } => Some(room.path),
            _ => None,
        })
    };
    assert_eq!(room(world.take_events(members[0])), Some(MediaPath::P2p));
    let said = signal(&world, members[0]);
    world.ask(members[1], said).unwrap();
    let viewer = world.watch("meeting", ViewerSpec::default(), clean()).unwrap();
    let (back, epoch, ..) = path(&mut world, members[0]).unwrap();
    assert_eq!(back, MediaPath::Sfu, "a WHEP viewer needs the server");
    for (who, other) in [(members[0], members[1]), (members[1], members[0])] {
        let said = signal(&world, other);
        world.ask(who, said).unwrap();
        world.ask(who, Request::PathReady(PathReady { path: MediaPath::Sfu, epoch })).unwrap();
    }
    let said = signal(&world, members[1]);
    assert_eq!(world.ask(members[0], said).unwrap_err().code, ErrorCode::Forbidden, "they have no direct path");
    assert_eq!(room(world.take_events(members[0])), Some(MediaPath::Sfu));
    world.delete(viewer);
    assert_eq!(path(&mut world, members[0]).map(|path| path.0), Some(MediaPath::P2p), "alone again");
}

#[test]
fn a_room_for_two_takes_nobody_else() {
    let mut world = World::new(Options::seed(8));
    let members = meeting(&mut world, 2, 9, 4);
    world.ask(members[0], Request::SetMode(SetMode { mode: RoomMode::P2p })).unwrap();
    let direct = |event: &Event| matches!(event, Event::Path { path: MediaPath::P2p, .. });
    for who in &members {
        assert!(world.take_events(*who).iter().any(direct));
    }
    let third = |world: &mut World| {
        world.enter("meeting", "third", member(3, 9, 4), clean()).map(drop).map_err(|failure| failure.code)
    };
    assert_eq!(third(&mut world), Err(ErrorCode::RoomFull));
    let watches = world.watch("meeting", ViewerSpec::default(), clean()).map(drop);
    assert!(matches!(watches, Err(CommandError::RoomForTwo { .. })), "{watches:?}");
    let publishes = world.publish("meeting", PublisherSpec::new(4), clean()).map(drop);
    assert!(matches!(publishes, Err(CommandError::RoomForTwo { .. })), "{publishes:?}");
    assert!(!world.take_events(members[0]).iter().any(|event| matches!(event, Event::Path { .. })));
    world.ask(members[0], Request::SetMode(SetMode { mode: RoomMode::Auto })).unwrap();
    assert_eq!(third(&mut world), Ok(()));
}

#[test]
fn two_whose_direct_path_broke_try_again_when_one_has_another_network() {
    let mut world = World::new(Options::seed(9));
    let members = meeting(&mut world, 2, 9, 4);
    let ordered = |world: &mut World| {
        world.take_events(members[0]).into_iter().rev().find_map(|event| match event {
            Event::Path { path, epoch, .. } => Some((path, epoch)),
            _ => None,
        })
    };
    world.ask(members[0], Request::SetMode(SetMode { mode: RoomMode::Auto })).unwrap();
    let (path, epoch) = ordered(&mut world).unwrap();
    assert_eq!(path, MediaPath::P2p);
    world.ask(members[1], Request::PathReady(PathReady { path: MediaPath::Sfu, epoch })).unwrap();
    world.run(60 * SECOND);
    assert_eq!(ordered(&mut world), None, "the same networks would break it again");
    world.unlink(members[1]);
    world.resume(members[1]).unwrap();
    world.run(2 * SECOND);
    assert_eq!(ordered(&mut world).map(|(path, _)| path), Some(MediaPath::P2p));
}

#[test]
pub(crate) fn encodings_nobody_wants_are_told_to_stop_and_to_start_again() {
    let mut world = World::new(Options::seed(8));
    let mut spec = member(1, 9, 4);
    spec.publisher = Some(PublisherSpec::new(1).with_video(VideoSpec::new(Codec::Vp8).with_simulcast()));
    let publisher = world.enter("meeting", "m1", spec, clean()).unwrap();
    let viewer = world.enter("meeting", "m2", member(2, 9, 4), clean()).unwrap();
    world.run(4 * SECOND);
    let track = world.page(publisher).joined.clone().unwrap().tracks.last().unwrap().sid.clone();
    world.take_events(publisher);
    let wanted = |world: &mut World| {
        world.take_events(publisher).into_iter().rev().find_map(|event| match event {
            Event::Layers { wanted, .. } => Some(wanted.iter().filter(|w| w.active).map(|w| w.rid.clone()).collect()),
            _ => None,
        })
    };
    let rows: [(u32, &[&str]); 4] = [(150, &["q"]), (0, &[]), (300, &["q", "h"]), (720, &["q", "h", "f"])];
    for (height, expected) in rows {
        let wish = Wish { track: track.clone(), height, fps: None, priority: None, pinned: None, paused: None };
        world.ask(viewer, Request::Subscribe(Subscribe { wishes: vec![wish] })).unwrap();
        world.run(6 * SECOND);
        let told: Option<Vec<String>> = wanted(&mut world);
        assert_eq!(
            told.as_deref(),
            Some(&expected.iter().map(ToString::to_string).collect::<Vec<_>>()[..]),
            "{height}"
        );
    }
}

#[test]
pub(crate) fn a_reloaded_page_takes_its_old_place_over() {
    let mut world = World::new(Options::seed(9));
    let members = meeting(&mut world, 2, 9, 4);
    world.run(3 * SECOND);
    let (old, other) = (members[0], members[1]);
    let page = world.page(old).clone();
    let session = page.joined.clone().unwrap().session;
    world.client(old).vanish();
    world.leave_page(old);
    world.run(SECOND);
    let id = world.session(old);
    let (client, mut request) = world.reloaded(member(11, 9, 4), clean(), id);
    request.resume =
        Some(crosspoint::sfu::signal::Resume { session: session.id, secret: session.resume_secret, received: None });
    world.join_with(client, id, "meeting", ALL, request).unwrap();
    let joined = world.page(client).joined.clone().unwrap();
    assert!(joined.resumed);
    assert_eq!(joined.participant.sid, page.sid());
    world.run(3 * SECOND);
    assert_eq!(publishers(&world, client), BTreeSet::from([2]));
    assert!(publishers(&world, other).contains(&11), "its new tracks are seen");
    let told = world.take_events(other);
    assert!(!told.iter().any(|event| matches!(event, Event::ParticipantLeft { .. })), "and it never left");
}

#[test]
fn who_resumes_with_other_grants_has_those_and_no_others() {
    let mut world = World::new(Options::seed(19));
    let members = meeting(&mut world, 2, 9, 4);
    world.run(2 * SECOND);
    let (ann, bob) = (members[0], members[1]);
    let resume = |world: &mut World, granted: Permissions| {
        let session = world.page(ann).joined.clone().unwrap().session;
        let resume =
            crosspoint::sfu::signal::Resume { session: session.id, secret: session.resume_secret, received: None };
        let request = JoinRequest { version: 1, resume: Some(resume), ..JoinRequest::default() };
        let id = world.session(ann);
        world.join_with(ann, id, "meeting", granted, request).unwrap();
        world.run(2 * SECOND);
        let told = world.take_events(bob).into_iter().find_map(|event| match event {
            Event::ParticipantUpdated { participant } => Some(participant.permissions),
            _ => None,
        });
        let sees = |who| {
            let report = world.report(who);
            assert!(report.violations.is_empty(), "{}", report.violations);
            report.streams.iter().any(|stream| stream.quiet_for < SECOND)
        };
        (told, sees(ann), sees(bob))
    };
    let silent = Permissions { can_publish: false, ..ALL };
    assert_eq!(resume(&mut world, ALL), (None, true, true));
    assert_eq!(resume(&mut world, silent), (Some(silent), true, false));
    let deaf = Permissions { can_subscribe: false, ..silent };
    assert_eq!(resume(&mut world, deaf), (Some(deaf), false, false));
    assert_eq!(resume(&mut world, ALL).0, Some(ALL));
}

#[test]
fn grants_that_went_are_told_although_the_offer_beside_them_is_refused() {
    let mut world = World::new(Options::seed(20));
    let members = meeting(&mut world, 2, 9, 4);
    world.run(2 * SECOND);
    let (ann, bob) = (members[0], members[1]);
    let session = world.page(ann).joined.clone().unwrap().session;
    let now = world.now;
    let offer = world.client(ann).restart_ice(now).unwrap();
    // An m-line that was there is missing.
    let offer = offer[..offer.rfind("m=").unwrap()].to_owned();
    let resume = crosspoint::sfu::signal::Resume { session: session.id, secret: session.resume_secret, received: None };
    let request = JoinRequest { version: 1, offer: Some(offer), resume: Some(resume), ..JoinRequest::default() };
    let silent = Permissions { can_publish: false, ..ALL };
    let id = world.session(ann);
    assert_eq!(world.join_with(ann, id, "meeting", silent, request).unwrap_err().code, ErrorCode::BadOffer);
    let told = world.take_events(bob).into_iter().find_map(|event| match event {
        Event::ParticipantUpdated { participant } => Some((participant.permissions, participant.tracks.len())),
        _ => None,
    });
    assert_eq!(told, Some((silent, 0)));
}

#[test]
pub(crate) fn whose_page_is_closed_has_left_sooner_than_who_lost_the_network() {
    let left_within = |seconds: u32, part: fn(&mut World, Who)| {
        let mut world = World::new(Options::seed(9));
        let members = meeting(&mut world, 2, 9, 4);
        world.run(3 * SECOND);
        world.client(members[0]).vanish();
        part(&mut world, members[0]);
        world.run(seconds * SECOND);
        world.take_events(members[1]).iter().any(|event| matches!(event, Event::ParticipantLeft { .. }))
    };
    assert!(!left_within(5, World::leave_page), "it may be a reload");
    assert!(left_within(7, World::leave_page));
    assert!(!left_within(9, World::unlink));
    assert!(left_within(11, World::unlink));
}

#[test]
pub(crate) fn members_without_media_chat_and_may_offer_later() {
    let mut world = World::new(Options::seed(10));
    let members = meeting(&mut world, 1, 9, 4);
    world.run(SECOND);
    let (client, request) = world.without_media("m2");
    let id = world.session(client);
    let offer = JoinRequest { offer: None, tracks: None, ..request.clone() };
    world.join_with(client, id, "meeting", ALL, offer).unwrap();
    world.ask(client, Request::Chat(Chat { text: "listening".into(), to: None })).unwrap();
    world.run(60 * SECOND);
    assert_eq!(world.ended(client), None, "no media is no reason to be thrown out");
    world.offer(client, &request).unwrap();
    world.run(3 * SECOND);
    assert_eq!(publishers(&world, client), BTreeSet::from([1]));
    assert_eq!(publishers(&world, members[0]), BTreeSet::from([2]));
    world.change_line(client, Conditions::severed());
    world.run(40 * SECOND);
    assert_eq!(world.ended(client), None, "its link stands");
    let state = world.take_events(members[0]).into_iter().rev().find_map(|event| match event {
        Event::ParticipantState { state, .. } => Some(state),
        _ => None,
    });
    assert_eq!(state, Some(crosspoint::sfu::signal::ParticipantState::Reconnecting));
}

#[test]
pub(crate) fn data_channels_carry_messages_and_drop_what_would_have_to_wait() {
    let mut world = World::new(Options::seed(11));
    let members = meeting(&mut world, 3, 2, 2);
    world.run(2 * SECOND);
    let (from, to, slow) = (members[0], members[1], members[2]);
    let now = world.now;
    let message = b"{\"topic\":\"pointer\",\"reliable\":false}\n\x00\x01binary";
    assert!(world.client(from).send_data(now, "data", message));
    assert!(world.client(from).send_data(now, "data", b"{\"topic\":\"file\"}\nreliable"));
    assert!(world.client(from).send_data(now, "data", b"no header"));
    world.run(SECOND);
    let received = world.client(to).take_data("data");
    assert_eq!(received.len(), 1, "what is reliable comes by WebSocket, nonsense not at all");
    assert!(received[0].ends_with(b"\n\x00\x01binary"), "{received:?}");
    let header: serde_json::Value =
        serde_json::from_slice(received[0].split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    assert_eq!((&header["topic"], &header["from"]), (&"pointer".into(), &world.page(from).sid().into()));
    let told = world.take_events(to);
    assert!(told.iter().any(|event| matches!(event, Event::Data { topic, .. } if topic == "file")), "{told:?}");
    // One line is dead: what is for it is dropped beyond a bound, and the other one gets everything.
    world.change_line(slow, Conditions::severed());
    let mut body = message.to_vec();
    body.extend(vec![7; 4000]);
    for _ in 0..60 {
        let now = world.now;
        assert!(world.client(from).send_data(now, "data", &body));
        world.run(SECOND / 20);
    }
    assert!(world.client(to).take_data("data").len() >= 59);
    assert!(world.sfus()[0].stats().data_dropped > 20, "{}", world.sfus()[0].stats().data_dropped);
}
