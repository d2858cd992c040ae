//! What was decided about the frames of one stream, so that all packets of a frame share one fate, late ones too.

/// Frames remembered. Two seconds of four spatial layers at 30 pictures a second; larger costs two bits each per
/// subscription, smaller decides about late packets anew.
const WINDOW: u64 = 256;
const WORDS: usize = WINDOW as usize / 64;

/// Decisions by frame number, the newest [`WINDOW`] of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Decisions {
    /// Numbers below this were seen or passed over.
    end: u64,
    known: [u64; WORDS],
    passed: [u64; WORDS],
}

impl Decisions {
    /// Whether a frame was passed; `None` when that was not decided, or is forgotten.
    pub(super) fn of(&self, frame: u64) -> Option<bool> {
        let (word, bit) = position(frame);
        let known = frame < self.end && self.end - frame <= WINDOW;
        let known = known && self.known.get(word).is_some_and(|word| word & bit != 0);
        known.then(|| self.passed.get(word).is_some_and(|word| word & bit != 0))
    }

    /// Notes a decision. One about a forgotten frame is forgotten at once.
    pub(super) fn note(&mut self, frame: u64, passes: bool) {
        if frame >= self.end {
            self.move_on(frame + 1);
        } else if self.end - frame > WINDOW {
            return;
        }
        let (word, bit) = position(frame);
        if let (Some(known), Some(passed)) = (self.known.get_mut(word), self.passed.get_mut(word)) {
            *known |= bit;
            *passed = if passes { *passed | bit } else { *passed & !bit };
        }
    }

    fn move_on(&mut self, end: u64) {
        if end - self.end >= WINDOW {
            self.known = [0; WORDS];
        } else {
            for frame in self.end..end {
                let (word, bit) = position(frame);
                if let Some(word) = self.known.get_mut(word) {
                    *word &= !bit;
                }
            }
        }
        self.end = end;
    }
}

/// Word and bit of a frame in the window.
fn position(frame: u64) -> (usize, u64) {
    ((frame / 64) as usize % WORDS, 1 << (frame % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_kept_for_a_window_and_never_mistaken_for_older_ones() {
        let mut decisions = Decisions::default();
        for (frame, passes) in [(1000, true), (1001, false), (1003, true), (1002, false)] {
            decisions.note(frame, passes);
        }
        let table = [(999, None), (1000, Some(true)), (1001, Some(false)), (1002, Some(false)), (1003, Some(true))];
        for (frame, expected) in table {
            assert_eq!(decisions.of(frame), expected, "{frame}");
        }
        assert_eq!(decisions.of(1004), None);
        decisions.note(1003 + 200, false);
        assert_eq!((decisions.of(1003), decisions.of(1004)), (Some(true), None));
        decisions.note(1001 + WINDOW, true);
        assert_eq!((decisions.of(1001), decisions.of(1002)), (None, Some(false)), "one fell out");
        decisions.note(1001, false);
        assert_eq!(decisions.of(1001 + WINDOW), Some(true), "a forgotten frame does not overwrite");
        decisions.note(1_000_000, true);
        assert_eq!((decisions.of(1001 + WINDOW), decisions.of(999_999)), (None, None));
    }
}
