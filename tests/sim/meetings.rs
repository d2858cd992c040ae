//! Meetings in which one has a thin link: it gets sound and the pictures that fit, and nobody else notices.

use crosspoint::rtp::MediaKind;
use crosspoint::sfu::signal::{Request, Subscribe, SubscriptionReason, Wish};
use loadtest::media::Codec;
use loadtest::net::Conditions;
use loadtest::oracle::{Expectations, Losses, StreamReport};
use loadtest::{MemberSpec, VideoSpec, ViewerSpec};

use crate::conferences::member;
use crate::lines::{SECOND, clean, lossy};
use crate::network::{QUEUE, thin};
use crate::world::{Options, Who, World};

/// A member whose camera sends three layers: 60, 200 and 600 kbps.
pub(crate) fn in_layers(publisher: u16, losses: Losses) -> MemberSpec {
    let mut spec = member(publisher, 9, 4);
    let video = VideoSpec::new(Codec::Vp8).with_simulcast_of(600_000);
    spec.publisher = spec.publisher.map(|publisher| publisher.with_video(video));
    spec.viewer.expectations = Expectations { losses, wire: true, ..Expectations::default() };
    spec
}

/// A meeting with one on its own line.
struct Meeting {
    world: World,
    /// On a thin link.
    poor: Who,
    /// On good ones.
    others: Vec<Who>,
}

impl Meeting {
    fn new(seed: u64, others: u16, line: Conditions) -> Self {
        Self::of(seed, others, clean(), in_layers(100, Losses::Possible), line)
    }

    /// The others' lines, who has another, and that.
    fn of(seed: u64, others: u16, good: Conditions, spec: MemberSpec, line: Conditions) -> Self {
        let mut world = World::new(Options::seed(seed));
        let enter = |number: u16| {
            let (spec, name) = (in_layers(number, Losses::None), format!("m{number}"));
            world.enter("meeting", &name, spec, good).unwrap()
        };
        let others: Vec<Who> = (1..=others).map(enter).collect();
        let poor = world.enter("meeting", "poor", spec, line).unwrap();
        Self { world, poor, others }
    }

    /// Layers sent to a member, by rid; `-` is a video that is not sent.
    fn layers(&mut self, who: Who) -> String {
        let session = self.world.inspect(who);
        let bound = self.world.page(who).shown(MediaKind::Video).len();
        let videos = session.media.iter().filter(|media| media.kind == MediaKind::Video);
        let mut rids: Vec<String> = videos.filter_map(|media| media.sending.clone()?.rid).collect();
        rids.resize(bound, "-".into());
        rids.sort();
        rids.concat()
    }

    fn streams(&self, who: Who, codec: Codec) -> Vec<StreamReport> {
        let report = self.world.report(who);
        assert!(report.violations.is_empty(), "{}", report.violations);
        report.streams.into_iter().filter(|stream| stream.codec == codec).collect()
    }

    /// The others see the largest layer of everybody without a pause and hear every packet.
    fn others_are_unharmed(&mut self) {
        for who in self.others.clone() {
            let everybody = "f".repeat(self.others.len());
            assert_eq!(self.layers(who), everybody);
            for stream in self.streams(who, Codec::Vp8) {
                assert_eq!(stream.freezes, 0, "{stream:?}");
            }
        }
    }

    /// A member hears everybody, but for what was lost while the link was found out.
    fn hears_everybody(&self, who: Who) {
        for stream in self.streams(who, Codec::Opus) {
            assert!(stream.lost <= 15 && stream.quiet_for < SECOND / 5, "{stream:?}");
        }
    }

    /// How many videos a member is told its link does not carry.
    fn told_unsent(&self, who: Who) -> usize {
        let bindings = self.world.page(who).bindings.iter();
        bindings.filter(|binding| binding.reason == Some(SubscriptionReason::NoBandwidth)).count()
    }
}

/// What layers take, in kbps.
fn cost(layers: &str) -> u64 {
    layers
        .chars()
        .map(|rid| match rid {
            'q' => 60,
            'h' => 200,
            'f' => 600,
            _ => 0,
        })
        .sum()
}

/// What a member on a thin link must have after three seconds: this many of its pictures, all of the time but for a
/// twentieth.
const THIN: [(u64, u16, usize); 3] = [(500, 2, 2), (800, 4, 4), (1200, 4, 4)];

#[test]
fn a_thin_link_gets_sound_at_once_and_within_three_seconds_every_picture_that_fits_to_stay() {
    for (kbps, others, pictures) in THIN {
        let mut meeting = Meeting::new(7, others, thin(kbps, QUEUE));
        let poor = meeting.poor;
        meeting.world.run(3 * SECOND);
        let moving = |meeting: &Meeting| meeting.streams(poor, Codec::Vp8).iter().filter(|s| s.frames > 3).count();
        assert!(moving(&meeting) >= 2, "{kbps} kbps: {} pictures after three seconds", moving(&meeting));
        let mut missing = 0;
        for _ in 0..60 {
            meeting.world.run(SECOND / 10);
            let layers = meeting.layers(poor);
            let unsent = meeting.told_unsent(poor);
            assert!(unsent <= layers.matches('-').count(), "told of {unsent}, while {layers} are sent");
            missing += pictures.saturating_sub(usize::from(others) - unsent);
            // Sound takes 48 kbps of each.
            let carried = cost(&layers) + 48 * u64::from(others);
            assert!(carried <= kbps * 6 / 5, "{layers} at {kbps} kbps");
        }
        assert!(missing <= 3 * pictures, "{kbps} kbps: pictures were missing {missing} times of {}", 60 * pictures);
        meeting.hears_everybody(poor);
        meeting.others_are_unharmed();
    }
}

#[test]
fn a_link_that_gets_good_shows_everybody_large() {
    let mut meeting = Meeting::new(7, 2, thin(500, QUEUE));
    let poor = meeting.poor;
    meeting.world.run(8 * SECOND);
    meeting.world.change_line(poor, thin(20_000, QUEUE));
    meeting.world.run(12 * SECOND);
    assert_eq!(meeting.layers(poor), "ff");
    assert_eq!(meeting.told_unsent(poor), 0);
    meeting.others_are_unharmed();
}

#[test]
fn who_was_left_with_sound_alone_sees_everybody_again_within_seconds_of_a_better_link() {
    let mut meeting = Meeting::new(7, 4, thin(1500, QUEUE));
    let poor = meeting.poor;
    meeting.world.run(6 * SECOND);
    meeting.world.change_line(poor, thin(230, QUEUE));
    meeting.world.run(12 * SECOND);
    assert_eq!(meeting.layers(poor), "----", "sound takes 192 kbps");
    meeting.hears_everybody(poor);
    meeting.world.change_line(poor, thin(20_000, QUEUE));
    let back = (1..=100).find(|_| {
        meeting.world.run(SECOND / 10);
        !meeting.layers(poor).contains('-')
    });
    assert!(back.is_some_and(|tenths| tenths <= 40), "after {back:?} tenths of a second");
    meeting.world.run(8 * SECOND);
    assert_eq!(meeting.layers(poor), "ffff");
    meeting.others_are_unharmed();
}

/// A member that publishes nothing, and reports what it lost and nothing about arrivals.
fn reporting_losses_only() -> MemberSpec {
    let spec = in_layers(100, Losses::Possible);
    MemberSpec { publisher: None, viewer: ViewerSpec { transport_feedback: false, ..spec.viewer }, ..spec }
}

#[test]
fn a_member_without_transport_feedback_gets_what_its_losses_say_that_fits() {
    for seed in [7] {
        let mut meeting = Meeting::of(seed, 2, clean(), reporting_losses_only(), thin(800, QUEUE));
        let poor = meeting.poor;

        meeting.world.run(12 * SECOND);
        let mut carried = 0;
        for _ in 0..20 {
            meeting.world.run(SECOND / 2);
            carried += cost(&meeting.layers(poor)) + 96;
        }
        assert!((200..=880).contains(&(carried / 20)), "seed {seed}: {} kbps over 800", carried / 20);
        for other in meeting.others.clone() {
            assert_eq!(meeting.layers(other), "f", "the others are unharmed");
        }
        meeting.world.change_line(poor, thin(20_000, QUEUE));
        meeting.world.run(36 * SECOND);
        assert_eq!(meeting.layers(poor), "ff", "seed {seed}");
    }
}

#[test]
fn what_publishers_lose_on_their_own_lines_is_not_held_against_a_member() {
    for seed in [7, 8, 9] {
        let mut meeting = Meeting::of(seed, 1, lossy(), reporting_losses_only(), clean());
        meeting.world.run(4 * SECOND);
        for _ in 0..30 {
            meeting.world.run(SECOND);
            assert_eq!(meeting.layers(meeting.poor), "f", "seed {seed}");
        }
    }
}

#[test]
fn a_screen_share_stays_on_a_thin_link_that_gets_thinner() {
    for seed in [3, 4] {
        let mut meeting = Meeting::new(seed, 1, thin(900, QUEUE));
        let mut screen = member(50, 9, 4);
        let video = VideoSpec { frame_rate: 10, ..VideoSpec::new(Codec::Vp8).with_bitrate(500_000) };
        screen.publisher = screen.publisher.map(|publisher| publisher.with_video(video));
        let sharer = meeting.world.share("meeting", "sharer", screen, clean()).unwrap();
        let (poor, sid) = (meeting.poor, meeting.world.page(sharer).sid());
        let shows_screen = |world: &World| {
            let mut bindings = world.page(poor).bindings.iter();
            let binding = bindings.find(|b| b.kind == MediaKind::Video && b.participant.as_ref() == Some(&sid));
            binding.is_some_and(|binding| binding.reason.is_none())
        };
        for kbps in [900, 750] {
            meeting.world.change_line(poor, thin(kbps, QUEUE));
            meeting.world.run(3 * SECOND);
            let mut shown = 0;
            for _ in 0..80 {
                meeting.world.run(SECOND / 10);
                shown += u64::from(shows_screen(&meeting.world));
            }
            // 500 kbps of the screen, 96 of sound: the camera gets what is left.
            assert!(shown >= 76, "{kbps} kbps, seed {seed}: the screen was there {shown} times of 80");
            assert!(cost(&meeting.layers(poor)) <= 200, "{}", meeting.layers(poor));
        }
        meeting.world.change_line(poor, thin(10_000, QUEUE));
        meeting.world.run(8 * SECOND);
        assert!(shows_screen(&meeting.world) && meeting.layers(poor).contains('f'), "{}", meeting.layers(poor));
        meeting.hears_everybody(poor);
    }
}

#[test]
fn a_member_that_comes_back_over_a_good_line_is_not_held_to_the_losses_of_the_old_one() {
    let mut meeting = Meeting::of(7, 2, clean(), reporting_losses_only(), thin(300, QUEUE));
    let poor = meeting.poor;
    meeting.world.run(14 * SECOND);
    assert!(cost(&meeting.layers(poor)) < 400, "{}", meeting.layers(poor));
    meeting.world.unlink(poor);
    meeting.world.change_line(poor, clean());
    meeting.world.rebind(poor);
    meeting.world.resume(poor).unwrap();
    meeting.world.run(10 * SECOND);
    assert_eq!(meeting.layers(poor), "ff");
}

#[test]
fn a_tile_that_is_hidden_for_a_moment_gets_no_more_than_before() {
    let mut meeting = Meeting::new(7, 1, thin(400, QUEUE));
    let poor = meeting.poor;
    meeting.world.run(8 * SECOND);
    let of = |world: &World, who: Who| world.page(who).joined.clone().unwrap().tracks;
    let track = of(&meeting.world, meeting.others[0]).last().unwrap().sid.clone();
    let watch = |world: &mut World, paused| {
        let wish = Wish { track: track.clone(), height: 720, fps: None, priority: None, pinned: None, paused };
        world.ask(poor, Request::Subscribe(Subscribe { wishes: vec![wish] })).unwrap();
    };
    watch(&mut meeting.world, Some(false));
    meeting.world.run(8 * SECOND);
    assert_eq!(meeting.layers(poor), "h");
    for round in 0..10 {
        watch(&mut meeting.world, Some(true));
        watch(&mut meeting.world, Some(false));
        meeting.world.run(SECOND / 2);
        assert!(meeting.layers(poor) != "f", "round {round}: of 400 kbps it takes 600");
        meeting.world.run(SECOND);
    }
}
