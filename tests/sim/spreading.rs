//! Rooms over several shards: the same people are served as on one.

use crosspoint::sfu::Sfu;
use crosspoint::sfu::signal::{Chat, Event, Nothing, Request, Response, RoomMode, SetMode};
use loadtest::media::Codec;
use loadtest::oracle::{Expectations, Losses};
use loadtest::{MemberSpec, PublisherSpec, ViewerSpec};

use crate::conferences::member;
use crate::lines::{SECOND, clean};
use crate::world::{Options, Trace, Who, World, over_shards};
use crate::{conferences, crowds, layers, messages, publishing, sessions, sources, storms};

fn assert_empty(world: &World) {
    assert!(world.sfus().iter().all(Sfu::is_empty), "{:?}", world.sfus().iter().map(Sfu::stats).collect::<Vec<_>>());
}

fn crossed(world: &World) -> u64 {
    world.sfus().iter().map(|sfu| sfu.stats().packets_crossed).sum()
}

fn watching() -> ViewerSpec {
    let expectations = Expectations { losses: Losses::None, wire: true, ..Expectations::default() };
    ViewerSpec { expectations, ..ViewerSpec::default() }
}

/// A broadcast to viewers who come before and after it has begun: frames each saw, and the trace.
fn broadcast(options: Options) -> (Vec<u64>, Trace) {
    let mut world = World::new(options);
    let early: Vec<Who> = (0..4).map(|_| world.watch("show", watching(), clean()).unwrap()).collect();
    world.run(SECOND);
    let publisher = world.publish("show", PublisherSpec::new(7), clean()).unwrap();
    world.run(3 * SECOND);
    let late: Vec<Who> = (0..5).map(|_| world.watch("show", watching(), clean()).unwrap()).collect();
    world.run(SECOND);
    // The handshakes are behind us: their messages have random lengths.
    world.take_trace();
    world.run(2 * SECOND);
    let trace = world.take_trace();
    let sent = world.sfus().iter().map(|sfu| sfu.stats().packets_received).sum::<u64>();
    if options.spread {
        let copies = u64::from(options.shards) - 1;
        let crossed = crossed(&world);
        assert!(
            crossed > 0 && crossed <= sent * copies,
            "{crossed} of {sent} packets crossed: more than one copy each"
        );
    }
    let frames = early.iter().chain(&late).map(|viewer| {
        let report = world.report(*viewer);
        assert!(report.violations.is_empty(), "{}", report.violations);
        let video = report.video().expect("video");
        assert!(video.first_frame_after.is_some_and(|after| after < SECOND * 3 / 2), "{video:?}");
        video.frames
    });
    let frames = frames.collect();
    world.delete(publisher);
    world.run(SECOND);
    for viewer in early.into_iter().chain(late) {
        world.delete(viewer);
    }
    world.run(4 * SECOND);
    assert_empty(&world);
    (frames, trace)
}

#[test]
fn a_broadcast_over_three_shards_is_seen_by_the_same_viewers() {
    let (one, _) = broadcast(Options::seed(31));
    let (three, trace) = broadcast(Options::spread(31, 3));
    for (one, three) in one.iter().zip(&three) {
        assert!(one.abs_diff(*three) <= 3, "{one} frames on one shard, {three} on three");
    }
    assert_eq!(trace, broadcast(Options::spread(31, 3)).1, "the same seed, the same trace");
}

#[test]
fn conferences_over_three_shards_go_as_on_one() {
    for scenario in [
        conferences::three_members_see_and_hear_each_other,
        conferences::everyone_leaves_and_nothing_is_left,
        conferences::who_comes_later_knows_whose_connection_is_poor,
        conferences::wishes_decide_what_is_shown_and_pins_come_first,
        conferences::slots_follow_the_speakers_when_they_do_not_suffice,
        conferences::a_member_that_loses_its_network_comes_back_as_the_same,
        conferences::a_place_is_not_kept_for_ever_nor_given_to_a_stranger,
    ] {
        over_shards(3, scenario);
    }
}

#[test]
fn crowded_rooms_over_three_shards_go_as_on_one() {
    for scenario in [
        crowds::people_come_and_go_and_everyone_else_sees_who_is_there,
        crowds::fifty_people_fit_into_a_room_and_hear_whoever_speaks,
        crowds::an_encoder_is_a_participant_and_a_lone_viewer_sees_who_speaks,
        crowds::floods_and_nonsense_harm_nobody_else,
        crowds::what_moderators_and_publishers_say_reaches_everyone,
        crowds::encodings_nobody_wants_are_told_to_stop_and_to_start_again,
        crowds::a_reloaded_page_takes_its_old_place_over,
        crowds::members_without_media_chat_and_may_offer_later,
        crowds::data_channels_carry_messages_and_drop_what_would_have_to_wait,
        messages::reliable_messages_go_over_channels_where_there_are_and_over_links_where_not,
        messages::who_comes_back_with_another_engine_misses_nothing_and_hears_nothing_twice,
        storms::storms_of_coming_and_going_leave_everyone_with_who_is_there_and_at_last_nothing,
        storms::keyboards_and_crosstalk_move_no_slots,
        storms::huge_messages_and_junk_on_the_wire_reach_nobody,
    ] {
        over_shards(3, scenario);
    }
}

#[test]
fn layers_over_three_shards_go_as_on_one() {
    for scenario in [
        layers::a_publisher_that_ignores_requests_is_seen_at_once_in_the_middle_of_a_group_of_pictures,
        layers::a_viewer_goes_up_and_down_between_encodings_without_a_seam,
        layers::a_second_viewer_who_goes_up_soon_after_the_first_needs_no_key_frame,
        layers::layers_within_a_stream_come_and_go_and_what_is_sent_can_always_be_decoded,
        layers::a_viewer_that_did_not_negotiate_the_dependency_descriptor_gets_none,
    ] {
        over_shards(3, scenario);
    }
}

#[test]
fn publishers_over_three_shards_go_as_on_one() {
    for scenario in [
        publishing::a_publisher_that_restarts_goes_on_for_the_viewers_who_stayed,
        publishing::a_publisher_may_change_its_codec_when_it_restarts,
        publishing::key_frame_requests_of_a_crowd_are_one_to_the_publisher,
        sources::a_publisher_may_go_on_under_other_ssrcs,
        sources::one_encoding_of_several_may_go_on_under_another_ssrc,
        publishing::of_simulcast_the_best_layer_that_lives_is_forwarded,
    ] {
        over_shards(3, scenario);
    }
}

#[test]
fn sessions_over_three_shards_go_as_on_one() {
    for scenario in [
        sessions::viewers_are_told_when_the_stream_starts_and_stops_and_how_many_they_are,
        sessions::when_everyone_has_left_nothing_is_left,
    ] {
        over_shards(3, scenario);
    }
}

/// Members who take losses as they come, two on each of three shards.
fn six(world: &mut World) -> Vec<Who> {
    let enter = |number: u16| {
        let MemberSpec { viewer, .. } = member(number, 9, 4);
        let expectations = Expectations { losses: Losses::Possible, ..viewer.expectations };
        let spec = MemberSpec { viewer: ViewerSpec { expectations, ..viewer }, ..member(number, 9, 4) };
        world.enter("meeting", &format!("m{number}"), spec, clean()).unwrap()
    };
    (1..=6).map(enter).collect()
}

/// Streams that were brought a frame lately.
fn living(world: &World, who: Who) -> usize {
    let report = world.report(who);
    assert!(report.violations.is_empty(), "{}", report.violations);
    report.streams.iter().filter(|stream| stream.quiet_for < SECOND / 2).count()
}

fn assert_all_live(world: &World, members: &[Who]) {
    for who in members {
        assert_eq!(living(world, *who), 5 + 4, "five pictures, the four voices there are slots for");
    }
}

/// How many a member is told that are sent its picture.
fn told_viewers(world: &mut World, who: Who) -> u32 {
    match world.ask(who, Request::Stats(Nothing {})).unwrap() {
        Response::Stats(stats) => stats.tracks.last().unwrap().subscribers,
        other => panic!("unexpected answer {other:?}"),
    }
}

#[test]
fn publishers_are_told_how_many_are_sent_their_pictures_wherever_those_are() {
    let mut world = World::new(Options::spread(45, 3));
    let members = six(&mut world);
    world.run(3 * SECOND);
    for who in &members {
        assert_eq!(told_viewers(&mut world, *who), 5);
    }
    for gone in &members[4..] {
        world.ask(*gone, Request::Leave(Nothing {})).unwrap();
    }
    world.run(2 * SECOND);
    for who in &members[..4] {
        assert_eq!(told_viewers(&mut world, *who), 3);
    }
}

#[test]
fn what_a_link_loses_is_counted_and_made_good_by_key_frames() {
    let mut world = World::new(Options::spread(41, 3));
    let members = six(&mut world);
    world.run(3 * SECOND);
    assert_all_live(&world, &members);
    world.queues.lose_one_in = Some(25);
    world.run(3 * SECOND);
    world.queues.lose_one_in = None;
    assert!(world.queues.lost > 20, "{}", world.queues.lost);
    world.run(3 * SECOND);
    assert_all_live(&world, &members);
}

#[test]
fn a_shard_that_takes_nothing_harms_nobody_elsewhere_and_catches_up() {
    let mut world = World::new(Options::spread(42, 3));
    let members = six(&mut world);
    world.run(3 * SECOND);
    let full = world.shard(members[1]);
    assert_ne!(full, world.shard_of_room("meeting"));
    let (there, elsewhere): (Vec<Who>, Vec<Who>) = members.iter().partition(|who| world.shard(**who) == full);
    let seen = |world: &World, who: Who| {
        let lives =
            |stream: &&loadtest::oracle::StreamReport| stream.codec == Codec::Vp8 && stream.quiet_for < SECOND / 2;
        world.report(who).streams.iter().filter(lives).count()
    };
    world.fill_queue(Some(full));
    world.ask(elsewhere[0], Request::Chat(Chat { text: "hello there".into(), to: None })).unwrap();
    let sid = world.page(elsewhere[1]).sid();
    world.ask(elsewhere[1], Request::Leave(Nothing {})).unwrap();
    world.run(2 * SECOND);
    for who in &elsewhere {
        if *who != elsewhere[1] {
            // Those of the full shard whose datagrams arrive at another one are cut off as well.
            assert!(seen(&world, *who) >= elsewhere.len() - 2, "all who are elsewhere are seen");
        }
    }
    let told = |events: &[Event]| {
        let chat = events.iter().any(|event| matches!(event, Event::Chat { message } if message.text == "hello there"));
        let left = events.iter().any(|event| matches!(event, Event::ParticipantLeft { sid: who, .. } if *who == sid));
        (chat, left)
    };
    assert_eq!(told(&world.take_events(there[0])), (false, false));
    world.fill_queue(None);
    world.run(2 * SECOND);
    assert_eq!(told(&world.take_events(there[0])), (true, true), "what is told is late, not lost");
    for who in members.iter().filter(|who| **who != elsewhere[1]) {
        assert_eq!(seen(&world, *who), 4);
    }
}

#[test]
fn the_home_decides_how_media_travels_whoever_asks() {
    let mut world = World::new(Options::spread(43, 3));
    let members = six(&mut world);
    world.run(SECOND);
    let asking = members[2];
    assert_ne!(world.shard(asking), world.shard_of_room("meeting"));
    for who in &members {
        world.take_events(*who);
    }
    world.ask(asking, Request::SetMode(SetMode { mode: RoomMode::Auto })).unwrap();
    world.run(SECOND);
    for who in members {
        let events = world.take_events(who);
        let updated = |event: &Event| matches!(event, Event::RoomUpdated { room } if room.mode == RoomMode::Auto);
        assert_eq!(events.iter().filter(|event| updated(event)).count(), 1, "{events:?}");
        assert!(!events.iter().any(|event| matches!(event, Event::Path { .. })), "six are no pair");
    }
}

#[test]
fn a_room_that_begins_anew_on_another_shard_knows_nothing_of_the_one_before() {
    let mut world = World::new(Options::spread(44, 3));
    let before = six(&mut world);
    world.run(2 * SECOND);
    for who in before {
        world.ask(who, Request::Leave(Nothing {})).unwrap();
    }
    world.move_homes();
    let members = six(&mut world);
    world.run(3 * SECOND);
    assert_all_live(&world, &members);
    for who in &members {
        let joined = world.page(*who).joined.clone().unwrap();
        assert!(joined.chat.is_empty() && joined.participants.len() < 6, "{joined:?}");
    }
    for who in members {
        world.ask(who, Request::Leave(Nothing {})).unwrap();
    }
    world.run(4 * SECOND);
    assert_empty(&world);
}

#[test]
fn messages_have_ids_of_their_own_though_halves_of_a_room_come_and_go() {
    let mut world = World::new(Options::spread(46, 3));
    let stays = world.enter("meeting", "stays", member(1, 9, 4), clean()).unwrap();
    let mut shards = Vec::new();
    for number in 2..8 {
        let who = world.enter("meeting", &format!("m{number}"), member(number, 9, 4), clean()).unwrap();
        shards.push(world.shard(who));
        world.run(SECOND);
        for to in [None, Some(vec![world.page(stays).sid()])] {
            world.ask(who, Request::Chat(Chat { text: "hello".into(), to })).unwrap();
        }
        world.ask(who, Request::Leave(Nothing {})).unwrap();
        // Its half closes.
        world.run(5 * SECOND);
    }
    assert!(shards[3..].iter().any(|shard| shards[..3].contains(shard)), "{shards:?}");
    let ids = world.take_events(stays).into_iter().filter_map(|event| match event {
        Event::Chat { message } => Some(message.id),
        _ => None,
    });
    let ids: Vec<String> = ids.collect();
    let distinct: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!((ids.len(), distinct.len()), (12, 12), "{ids:?}");
}
