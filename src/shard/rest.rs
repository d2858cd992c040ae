//! How a shard waits between two turns: on the watch for whatever comes first, or asleep for a while so that one turn
//! serves several things.
//!
//! To be woken costs a shard 10 to 17 us of its own CPU on a virtual machine, as much as relaying several datagrams:
//! after a rest the processor's caches are cold. A shard that is woken seldom is on the watch, and what comes is served
//! at once. One that is woken more often than every [`SPACING`], again and again, sleeps through what is left of it,
//! and then serves together what came. Not here: the system calls (`socket::wait`).

use std::time::{Duration, Instant};

/// Least time between two wake-ups of a shard that is woken often. Larger: less CPU, and datagrams wait longer (half of
/// it on average) at some thousand a second; smaller: the opposite.
const SPACING: Duration = Duration::from_micros(500);

/// Wake-ups in a row that follow one another within [`SPACING`] before it sleeps. Larger: what begins to keep coming
/// costs more wake-ups; smaller: it sleeps behind the few datagrams of a picture, behind which nothing comes, and is
/// woken for nothing.
const IN_A_ROW: u32 = 4;

/// A watch that is over sooner found something at once; in a longer one the shard fell asleep. Larger: short sleeps are
/// not noticed; smaller: an interrupted look is taken for a sleep.
const AT_ONCE: Duration = Duration::from_micros(4);

/// How to wait for the next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Until something is ready, or for so long (`None`: no limit).
    Watch(Option<Duration>),
    /// For so long, whatever comes.
    Sleep(Duration),
}

/// What a turn found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// Something, and all there was.
    Some,
    /// More than it took.
    More,
}

/// Decides how to wait, from how often the shard was woken.
#[derive(Debug)]
pub(super) struct Rests {
    /// End of the last wait.
    woken: Instant,
    /// Wake-ups in a row that came soon after the one before.
    quick: u32,
}

impl Rests {
    pub(super) fn new(now: Instant) -> Self {
        Self { woken: now, quick: 0 }
    }

    /// How to wait after a turn that found this, with so much time left before the next deadline.
    pub(super) fn next(&mut self, now: Instant, found: Found, left: Option<Duration>) -> Rest {
        if found == Found::Nothing {
            self.quick = 0;
        }
        let rest = SPACING.saturating_sub(now.saturating_duration_since(self.woken));
        let rest = left.map_or(rest, |left| left.min(rest));
        match found {
            Found::More => Rest::Watch(Some(Duration::ZERO)),
            Found::Some if self.quick >= IN_A_ROW && !rest.is_zero() => Rest::Sleep(rest),
            Found::Some | Found::Nothing => Rest::Watch(left),
        }
    }

    /// The wait is over.
    pub(super) fn over(&mut self, before: Instant, now: Instant, rest: Rest) {
        match rest {
            Rest::Watch(_) if now.saturating_duration_since(before) < AT_ONCE => return,
            Rest::Watch(_) if now.saturating_duration_since(self.woken) < SPACING => self.quick += 1,
            Rest::Watch(_) => self.quick = 0,
            Rest::Sleep(_) => {}
        }
        self.woken = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROSECOND: Duration = Duration::from_micros(1);

    /// Lets datagrams arrive at these microseconds. A turn takes what is there, and 2 us. Gives the times of the turns
    /// that found something.
    fn served(arrivals: impl IntoIterator<Item = u32>) -> Vec<u32> {
        turns(arrivals).0
    }

    /// The same, and how many turns there were that a sleep ended in and that found nothing.
    fn turns(arrivals: impl IntoIterator<Item = u32>) -> (Vec<u32>, u32) {
        let start = Instant::now();
        let at = |time: u32| start + time * MICROSECOND;
        let mut arrivals = arrivals.into_iter().peekable();
        let mut rests = Rests::new(start);
        let (mut time, mut served) = (0, Vec::new());
        let (mut slept, mut wasted) = (false, 0);
        while arrivals.peek().is_some() {
            let mut found = Found::Nothing;
            while arrivals.next_if(|arrival| *arrival <= time).is_some() {
                found = Found::Some;
            }
            if found == Found::Some {
                served.push(time);
            }
            wasted += u32::from(slept && found == Found::Nothing);
            time += 2;
            let before = at(time);
            let rest = rests.next(before, found, None);
            time = match rest {
                Rest::Watch(_) => arrivals.peek().map_or(time, |arrival| time.max(*arrival)),
                Rest::Sleep(rest) => time + u32::try_from(rest.as_micros()).unwrap(),
            };
            rests.over(before, at(time), rest);
            slept = matches!(rest, Rest::Sleep(_));
        }
        (served, wasted)
    }

    #[test]
    fn what_comes_seldom_is_served_at_once() {
        let arrivals: Vec<u32> = (1..20).map(|n| n * 700).collect();
        assert_eq!(served(arrivals.iter().copied()), arrivals);
    }

    #[test]
    fn bursts_are_served_as_they_come() {
        // Sixteen within 50 us, every millisecond.
        let arrivals: Vec<u32> = (1..6).flat_map(|round| (0..16).map(move |n| round * 1_000 + 3 * n)).collect();
        assert_eq!(served(arrivals.iter().copied()), arrivals);
    }

    #[test]
    fn behind_the_few_datagrams_of_a_picture_nobody_sleeps() {
        let arrivals: Vec<u32> = (1..6).flat_map(|picture| (0..4).map(move |n| picture * 33_000 + 100 * n)).collect();
        let (turns, wasted) = turns(arrivals.iter().copied());
        assert_eq!((turns, wasted), (arrivals, 0));
    }

    #[test]
    fn what_keeps_coming_is_served_every_half_millisecond() {
        let arrivals = (1..300).map(|n| n * 66);
        let served = served(arrivals.chain([29_000, 39_000]));
        let (first, served) = served.split_at(IN_A_ROW as usize);
        assert_eq!(first, [66, 132, 198, 264]);
        let gaps: Vec<u32> = served.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps[..gaps.len() - 2].iter().all(|gap| (498..=568).contains(gap)), "{gaps:?}");
        assert_eq!(served[served.len() - 2..], [29_000, 39_000], "what comes then is served at once again");
    }

    #[test]
    fn a_deadline_ends_a_sleep_and_more_of_the_same_prevents_it() {
        let start = Instant::now();
        let (early, later) = (start + 10 * MICROSECOND, start + 20 * MICROSECOND);
        let mut rests = Rests::new(start);
        (0..IN_A_ROW).for_each(|_| rests.over(start, early, Rest::Watch(None)));
        assert_eq!(rests.next(later, Found::Some, Some(50 * MICROSECOND)), Rest::Sleep(50 * MICROSECOND));
        assert_eq!(rests.next(later, Found::More, None), Rest::Watch(Some(Duration::ZERO)));
        assert_eq!(rests.next(early + SPACING, Found::Some, None), Rest::Watch(None), "there is nothing left to sleep");
        assert_eq!(rests.next(later, Found::Nothing, None), Rest::Watch(None));
        assert_eq!(rests.next(later, Found::Some, Some(SPACING)), Rest::Watch(Some(SPACING)), "a pause has ended it");
    }
}
