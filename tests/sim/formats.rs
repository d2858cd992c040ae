//! Later offers that change the formats of m-lines in use, and publishers that change their codec.

use crosspoint::rtp::MediaKind;
use crosspoint::sfu::signal::{
    Event, Failure, JoinRequest, Nothing, OfferRequest, Offered, Request, Response, SlotStats, SubscriptionReason,
};
use loadtest::media::Codec;
use loadtest::spec::VideoFormat;
use loadtest::{MemberSpec, PublisherSpec, VideoSpec, ViewerSpec};

use crate::conferences::member;
use crate::lines::SECOND;
use crate::members::ALL;
use crate::world::{Options, Who, World, over_shards};

const BOTH: [Codec; 2] = [Codec::Vp8, Codec::H264];

/// A member that sends and takes these codecs of video, and sends the first unless told otherwise.
fn speaks(publisher: u16, codecs: &[Codec]) -> MemberSpec {
    let spec = member(publisher, 1, 1);
    let formats = codecs.iter().map(|codec| VideoFormat::of(*codec)).collect();
    let viewer = ViewerSpec { formats, keep_records: true, ..spec.viewer };
    let video = VideoSpec::new(codecs[0]);
    MemberSpec { publisher: Some(PublisherSpec::new(publisher).with_video(video)), viewer, ..spec }
}

/// The same, but it only watches.
fn watches(codecs: &[Codec]) -> MemberSpec {
    MemberSpec { publisher: None, ..speaks(9, codecs) }
}

/// A member comes in. Gives what it said, for further offers.
fn enter(world: &mut World, name: &str, spec: MemberSpec) -> (Who, JoinRequest) {
    let (who, request) = world.page_with(name, spec);
    let session = world.session(who);
    world.join_with(who, session, "meeting", ALL, request.clone()).unwrap();
    (who, request)
}

/// Makes the offer of a request once more, changed. The client itself goes on as it was.
fn reoffer(
    world: &mut World,
    who: Who,
    request: &JoinRequest,
    change: impl Fn(&str) -> String,
) -> Result<String, Failure> {
    let (offer, tracks) = (change(request.offer.as_ref().unwrap()), request.tracks.clone().unwrap());
    match world.ask(who, Request::Offer(OfferRequest { offer, tracks }))? {
        Response::Offered(Offered { answer, .. }) => Ok(answer),
        other => panic!("unexpected answer {other:?}"),
    }
}

/// Payload types of a codec in an offer, and of its retransmissions.
fn payload_types(offer: &str, codec: &str) -> Vec<String> {
    let of = |line: &str| {
        let (number, name) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
        name.starts_with(codec).then(|| number.to_owned())
    };
    let mut found: Vec<String> = offer.lines().filter_map(of).collect();
    let repairs = |line: &str| {
        let (number, apt) = line.strip_prefix("a=fmtp:")?.split_once(" apt=")?;
        found.contains(&apt.to_owned()).then(|| number.to_owned())
    };
    let repairs: Vec<String> = offer.lines().filter_map(repairs).collect();
    found.extend(repairs);
    found.sort();
    found.dedup();
    found
}

/// An offer without a codec.
fn without(offer: &str, codec: &str) -> String {
    let gone = payload_types(offer, codec);
    let is_gone = |number: &str| gone.iter().any(|gone| gone == number);
    let lines = offer.lines().filter_map(|line| {
        if line.starts_with("m=") {
            let words: Vec<&str> = line.split(' ').collect();
            let kept = words.iter().enumerate().filter(|(place, word)| *place < 3 || !is_gone(word));
            return Some(kept.map(|(_, word)| *word).collect::<Vec<_>>().join(" "));
        }
        let numbered = line.split_once(':').and_then(|(_, rest)| rest.split_once(' ')).map(|(number, _)| number);
        (!numbered.is_some_and(is_gone)).then(|| line.to_owned())
    });
    lines.map(|line| line + "\r\n").collect()
}

/// An offer in which payload types go by other numbers.
fn renumbered(offer: &str, change: impl Fn(&str) -> String) -> String {
    let rewrite = |line: &str| {
        if line.starts_with("m=") {
            let words = line.split(' ').enumerate();
            let words = words.map(|(place, word)| if place < 3 { word.to_owned() } else { change(word) });
            return words.collect::<Vec<_>>().join(" ");
        }
        for attribute in ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"] {
            if let Some((number, rest)) = line.strip_prefix(attribute).and_then(|rest| rest.split_once(' ')) {
                let rest =
                    rest.strip_prefix("apt=").map_or_else(|| rest.to_owned(), |apt| format!("apt={}", change(apt)));
                return format!("{attribute}{} {rest}", change(number));
            }
        }
        line.to_owned()
    };
    offer.lines().map(|line| rewrite(line) + "\r\n").collect()
}

/// What came on a member's video slot since a number of packets ago: the codecs, by their payload types.
fn came(world: &mut World, who: Who, request: &JoinRequest, since: usize) -> Vec<&'static str> {
    let offer = request.offer.clone().unwrap();
    let received = &world.client(who).received()[since..];
    let of = |codec: &str| {
        let numbers = payload_types(&offer, codec);
        received.iter().any(|packet| numbers.contains(&packet.payload_type.to_string()))
    };
    ["VP8", "H264"].into_iter().filter(|codec| of(codec)).collect()
}

fn received(world: &mut World, who: Who) -> usize {
    world.client(who).received().len()
}

/// The server's view of a member's video slot.
fn slot(world: &mut World, who: Who) -> SlotStats {
    let mid = world.page(who).bindings.iter().find(|slot| slot.kind == MediaKind::Video).unwrap().mid.clone();
    match world.ask(who, Request::Stats(Nothing {})).unwrap() {
        Response::Stats(stats) => stats.slots.into_iter().find(|slot| slot.mid == mid).unwrap(),
        other => panic!("unexpected answer {other:?}"),
    }
}

/// Pictures a member is sent.
fn sent(world: &World, who: Who) -> usize {
    let slots = world.page(who).bindings.iter().filter(|slot| slot.kind == MediaKind::Video);
    slots.filter(|slot| slot.track.is_some() && slot.reason.is_none()).count()
}

/// It receives no video, and is told of which and why.
fn assert_cannot_decode(world: &mut World, who: Who) {
    let told = world.page(who).bindings.iter().find(|slot| slot.kind == MediaKind::Video).unwrap();
    assert_eq!(told.reason, Some(SubscriptionReason::NoCodec), "{told:?}");
    assert!(told.track.is_some(), "{told:?}");
    let slot = slot(world, who);
    assert!(slot.explanation.contains("understands none of the codecs"), "{slot:?}");
}

fn assert_faultless(world: &World, who: Who) {
    let report = world.report(who);
    assert!(report.violations.is_empty(), "{}", report.violations);
}

#[test]
fn a_slot_that_takes_a_codec_no_more_is_given_another_track() {
    a_slot_is_given_another_track();
    over_shards(3, a_slot_is_given_another_track);
}

fn a_slot_is_given_another_track() {
    let mut world = World::new(Options::seed(41));
    let (first, _) = enter(&mut world, "vp8", speaks(1, &BOTH));
    world.run(SECOND);
    let (second, _) = enter(&mut world, "h264", speaks(2, &[Codec::H264, Codec::Vp8]));
    let (viewer, request) = enter(&mut world, "viewer", watches(&BOTH));
    world.run(2 * SECOND);
    let shown = |world: &World| world.page(viewer).shown(MediaKind::Video);
    assert_eq!(shown(&world), [world.page(first).sid()]);
    assert_eq!(came(&mut world, viewer, &request, 0), ["VP8"]);

    let before = received(&mut world, viewer);
    let answer = reoffer(&mut world, viewer, &request, |offer| without(offer, "VP8")).unwrap();
    assert!(!answer.contains("VP8"), "{answer}");
    world.run(2 * SECOND);
    assert_eq!(shown(&world), [world.page(second).sid()], "what it can decode");
    assert_eq!(came(&mut world, viewer, &request, before), ["H264"]);

    world.delete(second);
    world.run(SECOND);
    let before = received(&mut world, viewer);
    world.run(SECOND);
    assert_eq!(came(&mut world, viewer, &request, before), [""; 0]);
    assert_cannot_decode(&mut world, viewer);

    reoffer(&mut world, viewer, &request, str::to_owned).unwrap();
    world.run(2 * SECOND);
    assert_eq!(shown(&world), [world.page(first).sid()]);
    assert_eq!(came(&mut world, viewer, &request, before), ["VP8"], "it takes that again");
    assert_faultless(&world, viewer);
}

#[test]
fn what_stays_as_it_was_goes_on_without_a_seam() {
    let mut world = World::new(Options::seed(42));
    enter(&mut world, "vp8", speaks(1, &BOTH));
    let (viewer, request) = enter(&mut world, "viewer", watches(&BOTH));
    world.run(2 * SECOND);
    let key_frames = |world: &World| world.report(viewer).video().unwrap().key_frames;
    let before = key_frames(&world);
    reoffer(&mut world, viewer, &request, |offer| without(offer, "H264")).unwrap();
    world.run(2 * SECOND);
    assert_eq!(key_frames(&world), before, "VP8 goes on");
    let report = world.report(viewer);
    assert!(report.video().unwrap().longest_gap < SECOND / 5, "{:?}", report.video());
    assert_faultless(&world, viewer);
}

#[test]
fn payload_types_keep_their_numbers_and_media_goes_on_when_they_would_not() {
    let mut world = World::new(Options::seed(43));
    let (publisher, published) = enter(&mut world, "vp8", speaks(1, &BOTH));
    let (viewer, request) = enter(&mut world, "viewer", watches(&BOTH));
    world.run(2 * SECOND);
    let all = payload_types(request.offer.as_ref().unwrap(), "VP8");
    let others = payload_types(request.offer.as_ref().unwrap(), "H264");
    let video: Vec<String> = all.iter().chain(&others).cloned().collect();
    let new = |number: &str| number.parse::<u8>().map_or(number.to_owned(), |number| (number + 10).to_string());
    let moved = |number: &str| if video.iter().any(|known| known == number) { new(number) } else { number.to_owned() };
    let swapped = |number: &str| {
        let place = |list: &[String]| list.iter().position(|known| known == number);
        match (place(&all), place(&others)) {
            (Some(place), _) => others[place].clone(),
            (_, Some(place)) => all[place].clone(),
            _ => number.to_owned(),
        }
    };
    for (who, request) in [(viewer, &request), (publisher, &published)] {
        for change in [&moved as &dyn Fn(&str) -> String, &swapped] {
            let refused = reoffer(&mut world, who, request, |offer| renumbered(offer, change)).unwrap_err();
            assert!(refused.message.contains("payload type"), "{refused:?}");
            assert!(refused.message.contains("RTCPeerConnection"), "says what to do: {refused:?}");
        }
    }
    world.run(2 * SECOND);
    assert_eq!(came(&mut world, viewer, &request, 0), ["VP8"]);
    let report = world.report(viewer);
    assert!(report.video().unwrap().longest_gap < SECOND / 5, "{:?}", report.video());
    assert_faultless(&world, viewer);
    reoffer(&mut world, viewer, &request, str::to_owned).unwrap();
}

#[test]
fn formats_that_the_connection_did_not_begin_with_are_not_promised() {
    let mut world = World::new(Options::seed(44));
    let (viewer, request) = world.page_with("viewer", watches(&BOTH));
    let session = world.session(viewer);
    let offer = request.offer.as_deref().map(|offer| without(offer, "H264"));
    world.join_with(viewer, session, "meeting", ALL, JoinRequest { offer, ..request.clone() }).unwrap();
    world.run(SECOND);
    let answer = reoffer(&mut world, viewer, &request, str::to_owned).unwrap();
    assert!(answer.contains("VP8") && !answer.contains("H264"), "{answer}");
}

#[test]
fn a_publisher_that_drops_its_codec_goes_on_with_another() {
    goes_on_with_another();
    over_shards(3, goes_on_with_another);
}

fn goes_on_with_another() {
    let mut world = World::new(Options::seed(45));
    let (publisher, published) = enter(&mut world, "publisher", speaks(1, &BOTH));
    world.run(SECOND);
    let [(both, request), (vp8, _), (h264, _)] =
        [("both", &BOTH[..]), ("vp8", &[Codec::Vp8]), ("h264", &[Codec::H264])]
            .map(|(name, codecs)| enter(&mut world, name, watches(codecs)));
    world.run(3 * SECOND);
    assert_eq!([both, vp8, h264].map(|who| sent(&world, who)), [1, 1, 0]);
    assert_cannot_decode(&mut world, h264);

    let before = received(&mut world, both);
    let answer = reoffer(&mut world, publisher, &published, |offer| without(offer, "VP8")).unwrap();
    assert!(!answer.contains("VP8"), "{answer}");
    let now = world.now;
    world.client(publisher).change_codec(now, Codec::H264);
    world.run(3 * SECOND);
    assert_eq!([both, vp8, h264].map(|who| sent(&world, who)), [1, 0, 1]);
    assert_cannot_decode(&mut world, vp8);
    assert_eq!(came(&mut world, both, &request, before), ["H264"]);
    let report = world.report(both);
    let video = report.video().unwrap();
    assert!(video.longest_gap < SECOND / 2, "{video:?}");
    assert_eq!(video.sources.len(), 2, "{video:?}");
    for who in [both, vp8, h264] {
        assert_faultless(&world, who);
    }
}

#[test]
fn a_publisher_may_change_to_another_codec_it_has_agreed_on() {
    changes_to_another_codec();
    over_shards(3, changes_to_another_codec);
}

fn changes_to_another_codec() {
    let mut world = World::new(Options::seed(46));
    let (publisher, _) = enter(&mut world, "publisher", speaks(1, &BOTH));
    world.run(SECOND);
    let [(both, _), (vp8, _), (h264, _)] = [("both", &BOTH[..]), ("vp8", &[Codec::Vp8]), ("h264", &[Codec::H264])]
        .map(|(name, codecs)| enter(&mut world, name, watches(codecs)));
    world.run(2 * SECOND);
    for (codec, expected) in [(Codec::H264, [1, 0, 1]), (Codec::Vp8, [1, 1, 0]), (Codec::H264, [1, 0, 1])] {
        let now = world.now;
        world.client(publisher).change_codec(now, codec);
        world.run(3 * SECOND);
        let shown = [both, vp8, h264].map(|who| sent(&world, who));
        assert_eq!(shown, expected, "{codec:?}");
    }
    let told = world.take_events(both).into_iter().rev().find_map(|event| match event {
        Event::TrackUpdated { track, .. } if track.kind == MediaKind::Video => Some(track.codec),
        _ => None,
    });
    assert_eq!(told.as_deref(), Some("h264"));
    let report = world.report(both);
    let video = report.video().unwrap();
    assert!(video.frames > 270 && video.longest_gap < SECOND / 2, "{video:?}");
    assert_eq!(video.sources.len(), 4, "{video:?}");
    for who in [both, vp8, h264] {
        assert_faultless(&world, who);
    }
}
