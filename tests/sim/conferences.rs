//! Rooms of members: everyone sees and hears everyone while slots suffice, and the right ones when they do not.

use std::collections::BTreeSet;

use crosspoint::rtp::MediaKind;
use crosspoint::sfu::Sfu;
use crosspoint::sfu::command::EndReason;
use crosspoint::sfu::signal::{
    CloseReason, ErrorCode, Event, JoinRequest, Mute, Nothing, ParticipantState, Report, Request, Resume, Subscribe,
    SubscriptionReason, Update, Wish,
};
use loadtest::media::Codec;
use loadtest::net::Conditions;
use loadtest::oracle::{Expectations, Losses};
use loadtest::spec::VideoFormat;
use loadtest::{MemberSpec, PublisherSpec, VideoSpec, ViewerSpec, Voice};

use crate::lines::{SECOND, clean};
use crate::members::ALL;
use crate::world::{Options, Who, World, over_shards};

/// A member that publishes, and has these slots.
pub(crate) fn member(publisher: u16, videos: usize, audio_slots: usize) -> MemberSpec {
    let expectations = Expectations { losses: Losses::None, wire: true, ..Expectations::default() };
    MemberSpec {
        publisher: Some(PublisherSpec::new(publisher).with_video(VideoSpec::new(Codec::Vp8))),
        viewer: ViewerSpec {
            videos,
            formats: vec![VideoFormat::of(Codec::Vp8)],
            expectations,
            ..ViewerSpec::default()
        },
        audio_slots,
    }
}

/// Whose streams came, by the stamps in them.
pub(crate) fn publishers(world: &World, who: Who) -> BTreeSet<u16> {
    let report = world.report(who);
    assert!(report.violations.is_empty(), "{}", report.violations);
    report.streams.iter().flat_map(|stream| &stream.sources).map(|source| source.publisher).collect()
}

#[test]
pub(crate) fn three_members_see_and_hear_each_other() {
    let mut world = World::new(Options::seed(1));
    let members: Vec<Who> = (1..=3)
        .map(|number| {
            let who = world.enter("meeting", &format!("m{number}"), member(number, 9, 4), clean()).unwrap();
            world.run(SECOND);
            who
        })
        .collect();
    world.run(4 * SECOND);
    for (who, own) in members.iter().zip(1..) {
        let others: BTreeSet<u16> = (1..=3).filter(|other| *other != own).collect();
        assert_eq!(publishers(&world, *who), others);
        let report = world.report(*who);
        let videos = report.streams.iter().filter(|stream| stream.codec == Codec::Vp8 && stream.frames > 80).count();
        let voices = report.streams.iter().filter(|stream| stream.codec == Codec::Opus && stream.packets > 100).count();
        assert_eq!((videos, voices), (2, 2), "{report:#?}");
        assert_eq!(world.page(*who).shown(MediaKind::Video).len(), 2);
    }
}

/// Members of a room who have all come.
pub(crate) fn meeting(world: &mut World, count: u16, videos: usize, audio_slots: usize) -> Vec<Who> {
    (1..=count)
        .map(|number| {
            let spec = member(number, videos, audio_slots);
            world.enter("meeting", &format!("m{number}"), spec, clean()).unwrap()
        })
        .collect()
}

#[test]
fn muted_pictures_come_last_unless_they_are_wished_for() {
    muted_pictures_come_last();
    over_shards(2, muted_pictures_come_last);
}

fn muted_pictures_come_last() {
    let mut world = World::new(Options::seed(5));
    let members = meeting(&mut world, 4, 2, 4);
    world.run(2 * SECOND);
    let viewer = members[3];
    let shown = |world: &World| world.page(viewer).shown(MediaKind::Video);
    let before = shown(&world);
    let sid = |world: &World, who: &Who| world.page(*who).sid();
    let first = *members.iter().find(|who| before.contains(&sid(&world, who))).unwrap();
    let muted = camera(&world, first);
    let mute = |world: &mut World, muted_now| {
        world.ask(first, Request::Mute(Mute { track: muted.clone(), muted: muted_now })).unwrap();
        world.run(SECOND);
    };
    mute(&mut world, true);
    assert!(!shown(&world).contains(&sid(&world, &first)), "others are shown instead");
    assert_eq!(shown(&world).len(), 2);
    mute(&mut world, false);
    let wishes = vec![wish(&muted, 360)];
    world.ask(viewer, Request::Subscribe(Subscribe { wishes })).unwrap();
    world.run(SECOND);
    mute(&mut world, true);
    assert_eq!(shown(&world), [sid(&world, &first)], "it was asked for");
    let told = world.page(viewer).bindings.iter().find_map(|binding| binding.reason);
    assert_eq!(told, Some(SubscriptionReason::Muted));
}

fn wish(track: &str, height: u32) -> Wish {
    Wish { track: track.to_owned(), height, fps: None, priority: None, pinned: None, paused: None }
}

/// The video track of a member.
fn camera(world: &World, who: Who) -> String {
    let joined = world.page(who).joined.clone().unwrap();
    joined.tracks.last().unwrap().sid.clone()
}

#[test]
pub(crate) fn who_comes_later_knows_whose_connection_is_poor() {
    let mut world = World::new(Options::seed(11));
    let members = meeting(&mut world, 2, 4, 4);
    world.run(2 * SECOND);
    let frozen = Report { freezes: Some(2), freeze_ms: Some(3_000), interval_ms: Some(10_000) };
    world.ask(members[0], Request::Report(frozen)).unwrap();
    world.run(2 * SECOND);
    let sid = world.page(members[0]).sid();
    let told = world.take_events(members[1]);
    let is_poor = |event: &Event| matches!(event, Event::Quality { sid: whose, score: 2 } if *whose == sid);
    assert!(told.iter().any(is_poor), "{told:?}");
    let late = world.enter("meeting", "late", member(3, 4, 4), clean()).unwrap();
    let joined = world.page(late).joined.clone().unwrap();
    let qualities: Vec<u8> = joined.participants.iter().map(|info| info.quality).collect();
    assert_eq!(joined.participants.iter().find(|info| info.sid == sid).map(|info| info.quality), Some(2));
    assert!(qualities.contains(&5), "{qualities:?}");
}

#[test]
pub(crate) fn everyone_leaves_and_nothing_is_left() {
    for seed in [1, 2] {
        let mut world = World::new(Options::seed(seed));
        let members = meeting(&mut world, 10, 9, 4);
        world.run(2 * SECOND);
        for (index, who) in members.iter().enumerate() {
            match index % 3 {
                0 => drop(world.ask(*who, Request::Leave(Nothing {})).unwrap()),
                1 => world.unlink(*who),
                _ => {
                    world.client(*who).vanish();
                    world.unlink(*who);
                }
            }
            world.run(SECOND / 10);
        }
        world.run(12 * SECOND);
        assert!(world.sfus().iter().all(Sfu::is_empty), "{:?}", world.sfus()[0].stats());
    }
}

#[test]
pub(crate) fn wishes_decide_what_is_shown_and_pins_come_first() {
    let mut world = World::new(Options::seed(3));
    let members = meeting(&mut world, 5, 2, 4);
    world.run(2 * SECOND);
    let me = members[0];
    assert_eq!(world.page(me).shown(MediaKind::Video).len(), 2, "automatic: as many as there are slots");
    let tracks: Vec<String> = members[1..].iter().map(|who| camera(&world, *who)).collect();
    let sids: Vec<String> = members[1..].iter().map(|who| world.page(*who).sid()).collect();
    let rows: [(Vec<Wish>, Vec<usize>, &str); 6] = [
        (vec![], vec![], "nothing is wished"),
        (vec![wish(&tracks[2], 180)], vec![2], "one"),
        (vec![wish(&tracks[0], 0), wish(&tracks[1], 360)], vec![1], "off the screen is not sent"),
        (vec![wish("TR_nobody", 360), wish(&tracks[3], 360)], vec![3], "a track that is gone is no error"),
        (
            vec![
                wish(&tracks[0], 360),
                wish(&tracks[1], 360),
                Wish { pinned: Some(true), ..wish(&tracks[2], 720) },
                Wish { priority: Some(90), ..wish(&tracks[3], 90) },
            ],
            vec![2, 3],
            "pinned, then by priority",
        ),
        (vec![Wish { paused: Some(true), ..wish(&tracks[0], 360) }], vec![0], "paused keeps the slot"),
    ];
    for (wishes, expected, why) in rows {
        world.ask(me, Request::Subscribe(Subscribe { wishes })).unwrap();
        let mut expected: Vec<String> = expected.into_iter().map(|index| sids[index].clone()).collect();
        expected.sort();
        assert_eq!(world.page(me).shown(MediaKind::Video), expected, "{why}");
        world.run(2 * SECOND);
    }
    let paused =
        world.page(me).bindings.iter().find(|binding| binding.kind == MediaKind::Video && binding.track.is_some());
    assert_eq!(paused.unwrap().reason, Some(SubscriptionReason::Paused));
    let report = world.report(me);
    assert!(report.violations.is_empty(), "{}", report.violations);
    let quiet = report.streams.iter().filter(|s| s.codec == Codec::Vp8).map(|s| s.quiet_for).min().unwrap();
    assert!(quiet > SECOND, "what is paused is not sent: {quiet:?}");
}

#[test]
pub(crate) fn slots_follow_the_speakers_when_they_do_not_suffice() {
    let mut world = World::new(Options::seed(4));
    let members = meeting(&mut world, 8, 2, 2);
    for who in &members {
        world.client(*who).speak(Voice::Quiet);
    }
    world.run(3 * SECOND);
    let me = members[0];
    for speaker in [7, 5, 6] {
        world.client(members[speaker]).speak(Voice::Speaking);
        world.run(4 * SECOND);
        let sid = world.page(members[speaker]).sid();
        assert!(world.page(me).shown(MediaKind::Video).contains(&sid), "speaker {speaker} is seen");
        assert!(world.page(me).shown(MediaKind::Audio).contains(&sid), "speaker {speaker} is heard");
        let told = world.take_events(me);
        let dominant = told.iter().rev().find_map(|event| match event {
            Event::Speakers { dominant, .. } => Some(dominant.clone()),
            _ => None,
        });
        assert_eq!(dominant, Some(Some(sid)), "speaker {speaker} dominates");
        let speakers = told.iter().filter(|event| matches!(event, Event::Speakers { .. })).count();
        assert!(speakers <= 20, "{speakers} events in 4 s");
        world.client(members[speaker]).speak(Voice::Quiet);
        world.run(SECOND);
    }
    // The two who spoke last are shown.
    let mut last = vec![world.page(members[5]).sid(), world.page(members[6]).sid()];
    last.sort();
    assert_eq!(world.page(me).shown(MediaKind::Video), last);
    // A keyboard changes nothing.
    world.take_events(me);
    world.client(members[3]).speak(Voice::Typing);
    world.run(5 * SECOND);
    assert_eq!(world.page(me).shown(MediaKind::Video), last);
    for who in members {
        let report = world.report(who);
        assert!(report.violations.is_empty(), "{}", report.violations);
    }
}

#[test]
pub(crate) fn a_member_that_loses_its_network_comes_back_as_the_same() {
    let mut world = World::new(Options::seed(5));
    let members = meeting(&mut world, 3, 9, 4);
    world.run(3 * SECOND);
    let (lost, other) = (members[0], members[1]);
    let sid = world.page(lost).sid();
    world.take_events(other);
    world.change_line(lost, Conditions::severed());
    world.unlink(lost);
    world.run(5 * SECOND);
    world.change_line(lost, clean());
    world.rebind(lost);
    world.resume(lost).unwrap();
    let joined = world.page(lost).joined.clone().unwrap();
    assert!(joined.resumed);
    assert_eq!(joined.participant.sid, sid);
    world.run(4 * SECOND);
    let states = world.take_events(other).into_iter().filter_map(|event| match event {
        Event::ParticipantState { sid: who, state } if who == sid => Some(state),
        Event::ParticipantLeft { .. } | Event::TrackUnpublished { .. } => panic!("nobody has left"),
        _ => None,
    });
    let states: Vec<_> = states.collect();
    assert_eq!(states.first(), Some(&ParticipantState::Reconnecting));
    assert_eq!(states.last(), Some(&ParticipantState::Active));
    for who in [lost, other] {
        let report = world.report(who);
        let video = report.streams.iter().find(|stream| stream.codec == Codec::Vp8).unwrap();
        assert!(video.quiet_for < SECOND / 2, "media flows again: {video:?}");
    }
}

#[test]
pub(crate) fn a_place_is_not_kept_for_ever_nor_given_to_a_stranger() {
    let mut world = World::new(Options::seed(6));
    let members = meeting(&mut world, 2, 9, 4);
    world.run(2 * SECOND);
    let session = world.page(members[0]).joined.clone().unwrap().session;
    let resume = Some(Resume { session: session.id, secret: "guessed".into(), received: None });
    let request = JoinRequest { version: 1, resume, ..JoinRequest::default() };
    let id = world.session(members[0]);
    let kept = world.page(members[0]).clone();
    let refused = world.join_with(members[0], id, "meeting", ALL, request).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Forbidden);
    world.pages.by_client.insert(members[0], kept);
    world.unlink(members[0]);
    world.run(9 * SECOND);
    assert_eq!(world.ended(members[0]), None);
    world.run(2 * SECOND);
    assert_eq!(world.ended(members[0]), Some(EndReason::Left));
    let left = world.take_events(members[1]);
    assert!(left.iter().any(|event| matches!(event, Event::ParticipantLeft { .. })), "{left:?}");
}

#[test]
fn members_whose_messages_were_lost_are_cut_off_and_may_come_back() {
    let mut world = World::new(Options::seed(12));
    let members = meeting(&mut world, 3, 9, 4);
    world.run(2 * SECOND);
    members.iter().for_each(|who| drop(world.take_events(*who)));
    world.control_is_full = true;
    let update = Update { name: Some("Ann".into()), metadata: None, attributes: None };
    assert!(world.ask(members[0], Request::Update(update)).is_err(), "there is no answer either");
    world.run(SECOND / 10);
    world.control_is_full = false;
    world.run(2 * SECOND);
    for who in &members {
        let told = world.take_events(*who);
        let closed = |event: &Event| matches!(event, Event::Closed { reason: CloseReason::SlowReader, .. });
        assert!(told.last().is_some_and(closed), "{told:?}");
        world.resume(*who).unwrap();
        assert!(world.page(*who).joined.as_ref().unwrap().resumed);
    }
    let others = world.page(members[2]).joined.clone().unwrap().participants;
    assert!(others.iter().any(|other| other.name == "Ann"), "{others:?}");
    world.run(2 * SECOND);
    assert!(world.sfus()[0].stats().events_lost > 3);
    assert_eq!(publishers(&world, members[1]), BTreeSet::from([1, 3]));
}
