//! What other shards had no room for: media is lost; what the halves of a room tell each other, and whose an address
//! is, is kept and tried again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tracing::error;

use super::{Parcel, ShardHandle};
use crate::sfu::{Crossing, ShardIndex};

/// How long another shard is given to make room. Larger: what is told comes later; smaller: more tries in vain.
const RETRY: Duration = Duration::from_millis(2);

/// Values kept for each other shard. Larger: a shard may stand still for longer before its halves of rooms go wrong;
/// smaller: it costs the others less memory. A join in a room of 500 is one value for each other shard.
const MAX_KEPT: usize = 100_000;

/// In order for each shard.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    /// None of the queues is empty.
    kept: BTreeMap<ShardIndex, VecDeque<Crossing>>,
}

impl Unsent {
    /// Sends a value, or keeps it, or loses it. Returns how many were lost.
    pub(super) fn send(&mut self, shards: &[ShardHandle], to: ShardIndex, crossing: Crossing) -> u64 {
        let is_behind = self.kept.contains_key(&to);
        let refused = if is_behind { Some(crossing) } else { try_send(shards, to, crossing) };
        let Some(refused) = refused else { return 0 };
        if !must_arrive(&refused) {
            return 1;
        }
        let queue = self.kept.entry(to).or_default();
        if queue.len() >= MAX_KEPT {
            error!(shard = to.0, "a shard has stood still for too long: rooms that are spread there are out of step");
            return 1;
        }
        queue.push_back(refused);
        0
    }

    /// Tries again what was kept.
    pub(super) fn retry(&mut self, shards: &[ShardHandle]) {
        self.kept.retain(|to, queue| {
            while let Some(crossing) = queue.pop_front() {
                if let Some(refused) = try_send(shards, *to, crossing) {
                    queue.push_front(refused);
                    break;
                }
            }
            !queue.is_empty()
        });
    }

    /// When to try again.
    pub(super) fn retry_in(&self) -> Option<Duration> {
        (!self.kept.is_empty()).then_some(RETRY)
    }
}

/// Halves of a room that miss a word are out of step, and an address that was never forgotten is kept for good.
fn must_arrive(crossing: &Crossing) -> bool {
    matches!(crossing, Crossing::Link(_) | Crossing::Learned { .. } | Crossing::Forgotten { .. })
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
        let protocol = crate::sfu::Protocol::Udp;
        let address = crate::sfu::Source { address: ([192, 0, 2, 1], 1).into(), protocol };
        let owner = ShardIndex(1);
        assert_eq!(unsent.send(&shards, to, Crossing::Learned { address, owner }), 0);
        assert_eq!(unsent.send(&shards, to, Crossing::Forgotten { address, owner }), 0);
        for number in 0..3 {
            assert_eq!(unsent.send(&shards, to, Crossing::Link(crate::sfu::LinkParcel::bye(number))), 0);
        }
        assert!(unsent.retry_in().is_some());
        assert!(mailbox.crossing().is_some(), "one place is free");
        assert_eq!(unsent.send(&shards, to, media()), 1, "nothing overtakes what is kept");
        unsent.retry(&shards);
        let (mut told, mut addresses) = (Vec::new(), Vec::new());
        while let Some(Parcel::Crossing(crossing)) = mailbox.crossing() {
            match crossing {
                Crossing::Link(parcel) => told.push(parcel.sender().0),
                Crossing::Learned { .. } => addresses.push("learned"),
                Crossing::Forgotten { .. } => addresses.push("forgotten"),
                _ => {}
            }
            unsent.retry(&shards);
        }
        assert_eq!((told.as_slice(), unsent.retry_in()), (&[0, 1, 2][..], None));
        assert_eq!(addresses, ["learned", "forgotten"]);
    }
}
