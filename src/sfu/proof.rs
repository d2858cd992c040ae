//! Asking whether a peer is where a check of its says: a check of ours, which only the peer can answer (RFC 8445
//! section 7.3.1.4, although an ICE-lite agent need not; RFC 7675 for the reason).

use std::time::Instant;

use rand::RngExt as _;

use super::outbox::{Datagram, Outgoing, Source};
use super::peer::{Check, Transaction};
use super::{ParticipantKey, Sfu, ShardIndex, stun};

impl Sfu {
    /// A check came from a source that has yet to answer: asks it.
    pub(super) fn challenge(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        datagram: &Datagram<'_>,
        arrived_at: ShardIndex,
    ) {
        let fresh = self.rng.random();
        let Some(participant) = self.participants.get_mut(key) else { return };
        let (evicted, transaction) = participant.peer.doubt(now, datagram, fresh);
        // Its answer comes from there and names nobody.
        self.learn_address(key, datagram.source(), evicted, arrived_at);
        self.ask(key, datagram, transaction);
    }

    /// Puts the question to where the datagram came from.
    pub(super) fn ask(&mut self, key: ParticipantKey, datagram: &Datagram<'_>, transaction: Transaction) {
        let Some(participant) = self.participants.get(key) else { return };
        let description = &participant.description;
        let (ours, theirs) = (&description.credentials, description.offer.credentials());
        if let Some(contents) = stun::check(&theirs.ufrag, &ours.ufrag, &theirs.pass, transaction) {
            let outgoing = Outgoing { remote: datagram.remote, local_ip: datagram.local_ip, contents };
            self.outbox.send(datagram.via, outgoing);
        }
    }

    /// An answer to a check of ours: what the source said before now counts.
    pub(super) fn on_answer(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        datagram: &Datagram<'_>,
        arrived_at: ShardIndex,
    ) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        let password = &participant.description.offer.credentials().pass;
        let Some(transaction) = stun::answered(datagram.contents, password) else { return };
        let source: Source = datagram.source();
        let Some(check) = participant.peer.prove(source, transaction) else { return };
        let check = Datagram { contents: &check, ..*datagram };
        let mut events = std::mem::take(&mut self.events);
        let result = participant.peer.check(now, &check, &mut self.outbox, &mut events);
        if let Ok(Check::Accepted { evicted }) = &result {
            self.on_check(now, key, source, *evicted, arrived_at);
        }
        // Where media stood for the check nobody waits for an answer.
        self.outbox.retract(stun::is_keepalive_reply);
        self.after(now, key, result.map(drop), events);
    }
}
