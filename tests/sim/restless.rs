//! Meetings of several people in layers, on lines that lose and change, while speakers, wishes and the encodings that
//! are sent change all the time: whatever happens, nothing on the wire may break a rule, and pictures go on.

use crosspoint::sfu::signal::{Event, Request, Subscribe, Wish};
use loadtest::Voice;
use loadtest::media::Codec;
use loadtest::oracle::Losses;

use crate::lines::{SECOND, clean, lossy};
use crate::meetings::in_layers;
use crate::network::{QUEUE, thin};
use crate::world::{Options, Who, World};

/// Heights of tiles that a page goes through: hidden, thumbnails, a grid, the stage.
const TILES: [u32; 5] = [180, 0, 720, 90, 360];

/// What a member's line becomes, round by round, in kbps; `None`: 5 % lost in bursts.
const LINES: [Option<u64>; 4] = [None, Some(700), Some(5000), None];

/// Publishers stop the encodings that nobody wants, as pages do when they are told. Gives how many that were.
fn obey(world: &mut World, members: &[Who]) -> usize {
    let mut stopped = 0;
    for who in members {
        for event in world.take_events(*who) {
            let Event::Layers { wanted, .. } = event else { continue };
            let now = world.now;
            for layer in wanted {
                stopped += usize::from(!layer.active);
                world.client(*who).stop_layer(now, &layer.rid, !layer.active);
            }
        }
    }
    stopped
}

fn wish(world: &mut World, who: Who, cameras: &[(Who, String)], round: usize) {
    let others = cameras.iter().enumerate().filter(|(_, (owner, _))| *owner != who);
    let wishes = others.map(|(index, (_, track))| {
        let height = TILES[(index * 3 + round) % TILES.len()];
        Wish { track: track.clone(), height, fps: None, priority: None, pinned: Some(round % 4 == index), paused: None }
    });
    world.ask(who, Request::Subscribe(Subscribe { wishes: wishes.collect() })).unwrap();
}

#[test]
fn restless_meetings_break_no_rule() {
    for (seed, count) in [(1, 4), (2, 6)] {
        let mut world = World::new(Options::seed(seed));
        let enter = |number: u16| {
            let line = if number.is_multiple_of(2) { lossy() } else { clean() };
            world.enter("meeting", &format!("m{number}"), in_layers(number, Losses::Possible), line).unwrap()
        };
        let members: Vec<Who> = (1..=count).map(enter).collect();
        let camera = |who: &Who| (*who, world.page(*who).joined.as_ref().unwrap().tracks.last().unwrap().sid.clone());
        let cameras: Vec<(Who, String)> = members.iter().map(camera).collect();
        world.run(2 * SECOND);
        for round in 0..16 {
            let turn = round % members.len();
            world.client(members[turn]).speak(Voice::Speaking);
            wish(&mut world, members[turn], &cameras, round);
            if round % 3 == 0 {
                let line = LINES[round / 3 % LINES.len()].map_or_else(lossy, |kbps| thin(kbps, QUEUE));
                world.change_line(members[0], line);
            }
            world.run(SECOND / 2);
            obey(&mut world, &members);
        }
        for who in &members {
            wish(&mut world, *who, &cameras, 2);
            world.change_line(*who, clean());
        }
        let mut stopped = 0;
        for _ in 0..10 {
            world.run(SECOND / 2);
            stopped += obey(&mut world, &members);
        }
        assert!(stopped > 0, "large encodings of those whose tiles are small are wanted by nobody");
        for who in &members {
            let report = world.report(*who);
            assert!(report.violations.is_empty(), "{}", report.violations);
            let live = report.streams.iter().filter(|s| s.codec == Codec::Vp8 && s.quiet_for < SECOND / 2).count();
            let shown = world.page(*who).bindings.iter().filter(|b| b.track.is_some() && b.reason.is_none()).count();
            assert!(live >= 2 && live <= shown, "{live} pictures move of {shown} that are sent");
        }
    }
}
