//! Where a peer was heard, and where it has been proven to be.
//!
//! An ICE-lite agent believes every authentic check, and a check that was overheard is authentic wherever it is sent
//! from. So a source that turns up once media flows is asked for an answer only the peer can give, and its check waits
//! until then. Not here: what is asked (`sfu::proof`).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use crate::sfu::outbox::{Datagram, Source, Via};

/// Addresses a peer may be reached at while ICE chooses. Larger: an authenticated peer can fill more of the address
/// book; smaller: a client with many interfaces loses a path.
const MAX_PATHS: usize = 8;

/// A path gives way to another that was heard this much later. ICE says the client nominates anew when its address
/// changes; not every client does. Larger: such a client waits longer for its stream; smaller: a client that changes
/// over between two working paths is followed back and forth.
const PATH_SILENCE: Duration = Duration::from_secs(2);

/// Names one question and its answer.
pub(in crate::sfu) type Transaction = [u8; 12];

/// The paths of one peer.
#[derive(Debug, Default)]
pub(super) struct Paths(ArrayVec<Path, MAX_PATHS>);

/// A remote address that passed a check, and the local address its datagrams arrive at.
#[derive(Debug)]
struct Path {
    source: Source,
    /// How its datagrams travel.
    via: Via,
    local_ip: Option<IpAddr>,
    /// When something arrived on it last.
    heard: Instant,
    proof: Proof,
}

/// Whether the peer is there.
#[derive(Debug)]
enum Proof {
    /// It answered, or its check came before there was anything to divert.
    Given,
    /// It was asked.
    Wanted {
        transaction: Transaction,
        /// Its latest check, which counts once it has answered.
        check: Vec<u8>,
    },
}

impl Paths {
    pub(super) fn sources(&self) -> impl Iterator<Item = Source> + '_ {
        self.0.iter().map(|path| path.source)
    }

    pub(super) fn is_proven(&self, source: Source) -> bool {
        self.0.iter().any(|path| path.source == source && matches!(path.proof, Proof::Given))
    }

    /// Takes a source for the peer's. Gives the one that had to make room, which is not where media goes.
    pub(super) fn learn(&mut self, now: Instant, datagram: &Datagram<'_>, nominated: Option<Source>) -> Option<Source> {
        self.note(now, datagram, Proof::Given, nominated)
    }

    /// Keeps a check until its source has answered the question, which stays the same however often it is put: answers
    /// may take longer than the next check.
    pub(super) fn doubt(
        &mut self,
        now: Instant,
        datagram: &Datagram<'_>,
        fresh: Transaction,
        nominated: Option<Source>,
    ) -> (Option<Source>, Transaction) {
        let transaction = self.asked(datagram.source()).unwrap_or(fresh);
        let proof = Proof::Wanted { transaction, check: datagram.contents.to_vec() };
        (self.note(now, datagram, proof, nominated), transaction)
    }

    /// The question that is put to a source.
    pub(super) fn asked(&self, source: Source) -> Option<Transaction> {
        self.0.iter().find(|path| path.source == source).and_then(|path| match path.proof {
            Proof::Wanted { transaction, .. } => Some(transaction),
            Proof::Given => None,
        })
    }

    /// A source has answered. Gives the check that waited for that, if it was the answer to the question.
    pub(super) fn prove(&mut self, source: Source, answered: Transaction) -> Option<Vec<u8>> {
        let path = self.0.iter_mut().find(|path| path.source == source)?;
        if !matches!(path.proof, Proof::Wanted { transaction, .. } if transaction == answered) {
            return None;
        }
        match std::mem::replace(&mut path.proof, Proof::Given) {
            Proof::Wanted { check, .. } => Some(check),
            Proof::Given => None,
        }
    }

    /// Something arrived.
    pub(super) fn hear(&mut self, now: Instant, source: Source) {
        if let Some(path) = self.0.iter_mut().find(|path| path.source == source) {
            path.heard = now;
        }
    }

    /// The nominated path, or another if that one has fallen silent and the other has not.
    pub(super) fn living(&self, nominated: Source) -> Source {
        let Some(current) = self.0.iter().find(|path| path.source == nominated) else { return nominated };
        let proven = self.0.iter().filter(|path| matches!(path.proof, Proof::Given));
        let moved = proven.max_by_key(|path| path.heard).filter(|path| path.heard > current.heard + PATH_SILENCE);
        moved.map_or(nominated, |path| path.source)
    }

    /// How datagrams from there travel, and the local address they arrive at.
    pub(super) fn way(&self, source: Source) -> (Via, Option<IpAddr>) {
        let path = self.0.iter().find(|path| path.source == source);
        path.map_or((Via::Socket, None), |path| (path.via, path.local_ip))
    }

    fn note(
        &mut self,
        now: Instant,
        datagram: &Datagram<'_>,
        proof: Proof,
        nominated: Option<Source>,
    ) -> Option<Source> {
        let source = datagram.source();
        let path = Path { source, via: datagram.via, local_ip: datagram.local_ip, heard: now, proof };
        if let Some(known) = self.0.iter_mut().find(|known| known.source == source) {
            *known = path;
            return None;
        }
        let evicted = if self.0.is_full() { self.evict(nominated) } else { None };
        self.0.push(path);
        evicted
    }

    /// Whoever has not answered makes room first, so that overheard checks from many addresses push out one another;
    /// then what was silent for longest, but never the path that media takes.
    fn evict(&mut self, nominated: Option<Source>) -> Option<Source> {
        let is_spare = |path: &Path| Some(path.source) != nominated;
        let doubtful = self.0.iter().position(|path| matches!(path.proof, Proof::Wanted { .. }) && is_spare(path));
        let silent = || {
            let spare = self.0.iter().enumerate().filter(|(_, path)| is_spare(path));
            spare.min_by_key(|(_, path)| path.heard).map(|(index, _)| index)
        };
        let index = doubtful.or_else(silent)?;
        Some(self.0.remove(index).source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: Transaction = [7; 12];

    fn datagram(port: u16) -> Datagram<'static> {
        let remote = ([192, 0, 2, 1], port).into();
        Datagram { remote, local_ip: None, via: Via::Socket, contents: b"check" }
    }

    #[test]
    fn a_doubted_source_counts_once_it_has_answered_its_question() {
        let now = Instant::now();
        let later = now + 2 * PATH_SILENCE;
        let mut paths = Paths::default();
        let (home, elsewhere) = (datagram(1), datagram(2));
        assert_eq!(paths.learn(now, &home, None), None);
        assert_eq!(paths.doubt(later, &elsewhere, QUESTION, None), (None, QUESTION));
        assert_eq!(paths.doubt(later, &elsewhere, [8; 12], None), (None, QUESTION), "the question stays the same");
        assert_eq!(paths.living(home.source()), home.source(), "however silent the other is");
        assert_eq!(paths.prove(elsewhere.source(), [8; 12]), None);
        assert!(!paths.is_proven(elsewhere.source()));
        assert_eq!(paths.prove(elsewhere.source(), QUESTION), Some(b"check".to_vec()));
        assert_eq!(paths.prove(elsewhere.source(), QUESTION), None, "once");
        assert_eq!(paths.living(home.source()), elsewhere.source());
    }

    #[test]
    fn with_every_path_proven_the_one_media_takes_stays() {
        let start = Instant::now();
        let nominated = datagram(1).source();
        let mut paths = Paths::default();
        for port in 1..=MAX_PATHS as u16 {
            let now = start + Duration::from_millis(port.into());
            paths.learn(now, &datagram(port), None);
        }
        let now = start + Duration::from_secs(1);
        paths.hear(now, datagram(2).source());
        let (evicted, _) = paths.doubt(now, &datagram(100), QUESTION, Some(nominated));
        assert_eq!(evicted, Some(datagram(3).source()), "the most silent of the others makes room");
        assert_eq!(paths.doubt(now, &datagram(101), QUESTION, Some(nominated)).0, Some(datagram(100).source()));
        assert_eq!(paths.learn(now, &datagram(9), Some(nominated)), Some(datagram(101).source()));
        assert_eq!(paths.learn(now, &datagram(10), Some(nominated)), Some(datagram(4).source()));
        assert!(paths.is_proven(nominated));
    }

    #[test]
    fn doubted_sources_push_out_one_another_and_no_real_path() {
        let now = Instant::now();
        let mut paths = Paths::default();
        paths.learn(now, &datagram(1), None);
        for port in 100..200 {
            paths.doubt(now, &datagram(port), QUESTION, None);
        }
        assert!(paths.is_proven(datagram(1).source()));
        assert_eq!(paths.sources().count(), MAX_PATHS);
        assert_eq!(paths.learn(now, &datagram(2), None), Some(datagram(193).source()));
    }
}
