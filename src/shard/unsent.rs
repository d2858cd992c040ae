//! What other shards had no room for: media is lost, what the halves of a room tell each other is kept and tried again.

use std::collections::VecDeque;
use std::time::Duration;

use tracing::error;

use super::{Parcel, ShardHandle};
use crate::sfu::{Crossing, ShardIndex};

/// How long another shard is given to make room. Larger: what is told comes later; smaller: more tries in vain.
const RETRY: Duration = Duration::from_millis(2);

/// Values kept for other shards. Larger: a shard may stand still for longer before its halves of rooms go wrong;
/// smaller: it costs the others less memory. A join in a room of 500 is one value for each other shard.
const MAX_KEPT: usize = 100_000;

/// In order for each shard.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    kept: VecDeque<(ShardIndex, Crossing)>,
}

impl Unsent {
    /// Sends a value, or keeps it, or loses it. Returns how many were lost.
    pub(super) fn send(&mut self, shards: &[ShardHandle], to: ShardIndex, crossing: Crossing) -> u64 {
        let is_behind = self.kept.iter().any(|(shard, _)| *shard == to);
        let refused = if is_behind { Some(crossing) } else { try_send(shards, to, crossing) };
        match refused {
            None => 0,
            Some(crossing @ Crossing::Link(_)) if self.kept.len() < MAX_KEPT => {
                self.kept.push_back((to, crossing));
                0
            }
            Some(crossing) => {
                if matches!(crossing, Crossing::Link(_)) {
                    error!(
                        shard = to.0,
                        "a shard has stood still for too long: rooms that are spread there are out of step"
                    );
                }
                1
            }
        }
    }

    /// Tries again what was kept.
    pub(super) fn retry(&mut self, shards: &[ShardHandle]) {
        let mut full: Vec<ShardIndex> = Vec::new();
        for _ in 0..self.kept.len() {
            let Some((to, crossing)) = self.kept.pop_front() else { return };
            let refused = if full.contains(&to) { Some(crossing) } else { try_send(shards, to, crossing) };
            if let Some(crossing) = refused {
                full.push(to);
                self.kept.push_back((to, crossing));
            }
        }
    }

    /// When to try again.
    pub(super) fn retry_in(&self) -> Option<Duration> {
        (!self.kept.is_empty()).then_some(RETRY)
    }
}

/// Returns the value when there is no room for it.
fn try_send(shards: &[ShardHandle], to: ShardIndex, crossing: Crossing) -> Option<Crossing> {
    // There is a handle for every index that values are made for.
    let handle = shards.get(usize::from(to.0))?;
    match handle.try_cross(Parcel::Crossing(crossing)) {
        Err(Parcel::Crossing(crossing)) => Some(crossing),
        Err(Parcel::Stream(_)) | Ok(()) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::mailbox;

    fn media() -> Crossing {
        Crossing::Media(Vec::new())
    }

    #[test]
    fn media_is_lost_where_there_is_no_room_and_what_is_told_is_sent_later_in_order() {
        let (handle, mailbox) = mailbox::<Parcel>().expect("a pipe");
        let (shards, to) = ([handle], ShardIndex(0));
        let mut unsent = Unsent::default();
        while unsent.send(&shards, to, media()) == 0 {}
        for number in 0..3 {
            assert_eq!(unsent.send(&shards, to, Crossing::Link(crate::sfu::LinkParcel::bye(number))), 0);
        }
        assert!(unsent.retry_in().is_some());
        assert!(mailbox.crossing().is_some(), "one place is free");
        assert_eq!(unsent.send(&shards, to, media()), 1, "nothing overtakes what is kept");
        unsent.retry(&shards);
        let mut told = Vec::new();
        while let Some(Parcel::Crossing(crossing)) = mailbox.crossing() {
            if let Crossing::Link(parcel) = crossing {
                told.push(parcel.sender().0);
            }
            unsent.retry(&shards);
        }
        assert_eq!((told.as_slice(), unsent.retry_in()), (&[0, 1, 2][..], None));
    }
}
