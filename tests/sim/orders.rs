//! Wishes, reloads, restarts and direct paths in every order: five seconds after the last change each shown picture is
//! the best that was wished for, at its full frame rate.

use std::collections::BTreeMap;
use std::time::Duration;

use crosspoint::rtp::MediaKind;
use crosspoint::sfu::signal::{Event, Request, Resume, Subscribe, Wish};
use loadtest::media::Codec;
use loadtest::oracle::Losses;
use loadtest::{MemberSpec, VideoSpec};

use crate::lines::{SECOND, clean};
use crate::meetings::in_layers;
use crate::members::ALL;
use crate::network::{QUEUE, thin};
use crate::world::{Options, Who, World};

/// Time between two changes, in ms: within a division of the connection, a few of them, and after all has settled.
const PAUSES: [u64; 6] = [0, 15, 45, 120, 400, 1300];

/// Heights of tiles.
const HEIGHTS: [u32; 3] = [135, 270, 720];

/// How a tile is wished for, more often shown than not.
const WISHES: [How; 4] = [How::Shown, How::Shown, How::Paused, How::Not];

/// How often all settles.
const ROUNDS: u32 = 3;

/// Most changes before that.
const CHANGES: usize = 6;

/// Pictures per second of a camera on a slow machine.
const RATE: u32 = 10;

/// A tile on a member's page.
#[derive(Debug, Clone, Copy)]
struct Tile {
    height: u32,
    how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Shown,
    Paused,
    Not,
}

/// A room in which everything changes.
struct Room {
    world: World,
    present: Vec<Who>,
    /// What each wishes of whose camera.
    tiles: BTreeMap<(Who, Who), Tile>,
    /// Who sends nothing to the server, since two see each other directly.
    direct: Vec<Who>,
    came: u16,
    /// Whose turn it is to change something.
    turn: usize,
    dice: u64,
}

/// A camera in three sizes and three temporal layers.
fn camera(number: u16) -> MemberSpec {
    let mut spec = in_layers(number, Losses::Possible);
    let video =
        VideoSpec { frame_rate: RATE, temporal_layers: 3, ..VideoSpec::new(Codec::Vp8).with_simulcast_of(600_000) };
    spec.publisher = spec.publisher.map(|publisher| publisher.with_video(video));
    spec
}

impl Room {
    fn new(seed: u64) -> Self {
        let (present, tiles, direct) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { world: World::new(Options::seed(seed)), present, tiles, direct, came: 0, turn: 0, dice: seed }
    }

    /// The next of pseudo-random numbers below a bound (splitmix64).
    fn roll(&mut self, bound: usize) -> usize {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.dice ^ (self.dice >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    fn enter(&mut self) {
        self.came += 1;
        let (spec, name) = (camera(self.came), format!("m{}", self.came));
        let who = self.world.enter("meeting", &name, spec, clean()).unwrap();
        self.present.push(who);
    }

    /// A member's page is loaded anew: another client takes its place.
    fn reload(&mut self, index: usize) {
        let old = self.present[index];
        let session = self.world.page(old).joined.clone().unwrap().session;
        let id = self.world.session(old);
        self.world.client(old).vanish();
        self.world.leave_page(old);
        self.came += 1;
        let (new, mut request) = self.world.reloaded(camera(self.came), clean(), id);
        request.resume = Some(Resume { session: session.id, secret: session.resume_secret, received: None });
        self.world.join_with(new, id, "meeting", ALL, request).unwrap();
        self.present[index] = new;
        self.direct.retain(|who| *who != old);
        self.tiles.retain(|(by, of), _| *by != old && *of != old);
    }

    /// A member sends nothing to the server any more, or again.
    fn stop(&mut self, who: Who, stopped: bool) {
        let now = self.world.now;
        for rid in ["q", "h", "f"] {
            self.world.client(who).stop_layer(now, rid, stopped);
        }
        self.direct.retain(|other| *other != who);
        self.direct.extend(stopped.then_some(who));
    }

    fn camera_of(&self, who: Who) -> String {
        self.world.page(who).joined.as_ref().unwrap().tracks.last().unwrap().sid.clone()
    }

    /// A member wishes for something else: mostly that the same tile is shown, or not.
    fn wish(&mut self, who: Who) {
        for other in self.present.clone().into_iter().filter(|other| *other != who) {
            let (how, height) = (WISHES[self.roll(WISHES.len())], HEIGHTS[self.roll(HEIGHTS.len())]);
            let stays = self.roll(4) > 0;
            let tile = self.tiles.entry((who, other)).or_insert(Tile { height, how });
            *tile = Tile { height: if stays { tile.height } else { height }, how };
        }
        self.say(who);
    }

    /// It wishes for something else and at once for what it had again, as a page whose tiles are laid out anew.
    fn flicker(&mut self, who: Who) {
        let before = self.tiles.clone();
        self.wish(who);
        let pause = PAUSES[self.roll(3)];
        self.run(Duration::from_millis(pause));
        self.tiles = before;
        self.say(who);
    }

    fn say(&mut self, who: Who) {
        let tiles = self.tiles.iter().filter(|((by, _), tile)| *by == who && tile.how != How::Not);
        let wish = |((_, of), tile): (&(Who, Who), &Tile)| Wish {
            track: self.camera_of(*of),
            height: tile.height,
            fps: None,
            priority: None,
            pinned: None,
            paused: Some(tile.how == How::Paused),
        };
        let wishes = tiles.map(wish).collect();
        self.world.ask(who, Request::Subscribe(Subscribe { wishes })).unwrap();
    }

    fn change(&mut self) {
        // Mostly the same one again.
        if self.roll(4) == 0 {
            self.turn = self.roll(4);
        }
        let index = self.turn % self.present.len();
        let who = self.present[index];
        match self.roll(10) {
            0 if self.present.len() < 4 => self.enter(),
            1 => self.reload(index),
            2 => {
                self.world.unlink(who);
                self.world.resume(who).unwrap();
            }
            3 => {
                let stopped = !self.direct.contains(&who);
                self.stop(who, stopped);
            }
            4..7 => self.flicker(who),
            _ => self.wish(who),
        }
    }

    /// The time passes, while publishers stop encodings that nobody wants, as pages do.
    fn run(&mut self, time: Duration) {
        let end = self.world.now + time;
        while self.world.now < end {
            let step = (end - self.world.now).min(SECOND / 10);
            self.world.run(step);
            for who in self.present.clone() {
                for event in self.world.take_events(who) {
                    let Event::Layers { wanted, .. } = event else { continue };
                    let now = self.world.now;
                    for layer in wanted.iter().filter(|_| !self.direct.contains(&who)) {
                        self.world.client(who).stop_layer(now, &layer.rid, !layer.active);
                    }
                }
            }
        }
    }

    /// Frames that a member has decoded of each publisher's pictures.
    fn frames(&self, who: Who) -> BTreeMap<u32, u64> {
        let report = self.world.report(who);
        assert!(report.violations.is_empty(), "{}", report.violations);
        let videos = report.streams.iter().filter(|stream| stream.codec == Codec::Vp8);
        videos.map(|stream| (stream.ssrc, stream.frames)).collect()
    }

    /// All send again, and all have said what they wish.
    fn settle(&mut self, within: Duration) {
        for who in self.present.clone() {
            if self.direct.contains(&who) {
                self.stop(who, false);
            }
            let said = |other: &Who| *other == who || self.tiles.contains_key(&(who, *other));
            if !self.present.iter().all(said) {
                self.wish(who);
            }
        }
        self.run(within);
    }

    /// Everybody is sent what it wishes, with all pictures.
    fn assert_best(&mut self, seed: u64) {
        let before: Vec<_> = self.present.iter().map(|who| self.frames(*who)).collect();
        self.run(2 * SECOND);
        for (who, before) in self.present.clone().into_iter().zip(before) {
            let wished = self.wished(who);
            assert_eq!(self.sent(who), wished, "seed {seed}: {:#?}", self.world.inspect(who));
            let after = self.frames(who);
            let moved = after.iter().map(|(ssrc, frames)| frames - before.get(ssrc).copied().unwrap_or(0));
            let moved: Vec<u64> = moved.filter(|frames| *frames > 0).collect();
            let full = u64::from(2 * RATE - 2);
            let all = moved.len() == wished.len() && moved.iter().all(|frames| *frames >= full);
            assert!(all, "seed {seed}: of {wished} {moved:?} pictures in two seconds");
        }
    }

    /// Encodings that are sent to a member, sorted.
    fn sent(&mut self, who: Who) -> String {
        let session = self.world.inspect(who);
        let videos = session.media.iter().filter(|media| media.kind == MediaKind::Video);
        let mut rids: Vec<String> = videos.filter_map(|media| media.sending.clone()?.rid).collect();
        rids.sort();
        rids.concat()
    }

    /// Encodings that should be.
    fn wished(&self, who: Who) -> String {
        let tiles = self.present.iter().filter_map(|other| self.tiles.get(&(who, *other)));
        let shown = tiles.filter(|tile| tile.how == How::Shown);
        let mut rids: Vec<&str> = shown
            .map(|tile| match tile.height {
                ..=180 => "q",
                181..=360 => "h",
                _ => "f",
            })
            .collect();
        rids.sort_unstable();
        rids.concat()
    }
}

/// Lines that members have for a while, in kbps; `None`: a good one.
const LINES: [Option<u64>; 4] = [None, Some(250), Some(700), Some(1500)];

/// Plays an order of changes, and looks each time when all has settled.
fn play(seed: u64, lines: &[Option<u64>], settled_within: Duration) {
    let mut room = Room::new(seed);
    (0..2).for_each(|_| room.enter());
    room.run(SECOND);
    for _ in 0..ROUNDS {
        for _ in 0..=room.roll(CHANGES) {
            room.change();
            if !lines.is_empty() && room.roll(3) == 0 {
                let (index, line) = (room.roll(room.present.len()), lines[room.roll(lines.len())]);
                let who = room.present[index];
                room.world.change_line(who, line.map_or_else(clean, |kbps| thin(kbps, QUEUE)));
            }
            let pause = PAUSES[room.roll(PAUSES.len())];
            room.run(Duration::from_millis(pause));
        }
        for who in room.present.clone() {
            room.world.change_line(who, clean());
        }
        room.settle(settled_within);
        room.assert_best(seed);
    }
}

// With these seeds, of 1 to 60, it is noticed when a decision outlives the subscription it was about (which showed the
// smallest picture at a quarter of its frame rate for good), and when a tile that is shown again is steered otherwise
// than was decided.
#[test]
fn whatever_changed_in_whatever_order_what_is_shown_is_the_best_of_it() {
    for seed in [1, 6, 9] {
        play(seed, &[], 5 * SECOND);
    }
}

#[test]
fn lines_that_were_thin_meanwhile_and_are_good_again_leave_nothing_behind() {
    for seed in [1, 2] {
        play(seed, &LINES, 15 * SECOND);
    }
}
