//! The queues between the shards of a simulation.

use crosspoint::sfu::Crossing;

/// The queues between shards, which may be full.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    /// Of media, every so many batches are lost.
    pub(crate) lose_one_in: Option<u64>,
    /// This shard takes nothing.
    pub(super) full: Option<usize>,
    pub(super) waiting: Vec<Crossing>,
    batches: u64,
    pub(crate) lost: u64,
}

impl Queues {
    /// What gets into a shard's queue at once.
    pub(super) fn admit(&mut self, shard: usize, crossing: Crossing) -> Option<Crossing> {
        let full = self.full == Some(shard);
        match &crossing {
            Crossing::Link(_) if full => {
                self.waiting.push(crossing);
                None
            }
            Crossing::Media(_) => {
                self.batches += 1;
                let lost = full || self.lose_one_in.is_some_and(|every| self.batches.is_multiple_of(every));
                self.lost += u64::from(lost);
                (!lost).then_some(crossing)
            }
            _ => (!full).then_some(crossing),
        }
    }
}
