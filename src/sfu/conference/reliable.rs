//! Reliable data messages over a member's channel labelled `reliable`.
//!
//! Three things the WebSocket does by itself are done here. An answer: a message with an `id` gets one on the channel.
//! Nothing is lost with a channel that breaks: what is for the member is kept ([`Outlet`]) until it says that it came,
//! and goes again over its link, or the next channel. Nothing overtakes the link's events: a message says behind how
//! many of them it belongs, and the client waits for those.
//!
//! What a channel does not take yet waits; a member for whom too much waits is cut off as a slow reader.

use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;
use str0m::channel::ChannelId;

use crate::sfu::member::Admission;
use crate::sfu::outlet::{DataMessage, Kept, Outlet};
use crate::sfu::peer::Written;
use crate::sfu::signal::{DataAnswer, DataHeader, DataReceipt, Event, Failure};
use crate::sfu::{ParticipantKey, Sfu};

use super::data::split;

/// What a client says on the channel.
#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Receipt(DataReceipt),
    Message(DataHeader),
}

impl Sfu {
    /// A member has a channel: from now on reliable messages go over that.
    pub(super) fn open_reliable(&mut self, now: Instant, key: ParticipantKey, id: ChannelId) {
        let time = self.unix_ms(now);
        let Some(participant) = self.participants.get_mut(key) else { return };
        let Some(member) = participant.member.as_mut() else { return };
        member.outlet.get_or_insert_with(|| Box::new(Outlet::new(now, time))).channel = Some(id);
        participant.peer.watch_channel(id);
        self.send_waiting(key);
    }

    /// Its channel is gone: what may not have come goes over its link.
    pub(super) fn close_reliable(&mut self, key: ParticipantKey) {
        if let Some(outlet) = self.outlet_mut(key) {
            outlet.lose_channel();
            self.send_waiting(key);
        }
    }

    /// It is back with another link, and has all messages up to `received`; a page that was loaded anew has none, and
    /// wants none of those.
    pub(super) fn resume_data(&mut self, key: ParticipantKey, received: Option<u64>) {
        let Some(outlet) = self.outlet_mut(key) else { return };
        match received {
            Some(received) => {
                outlet.acknowledge(received);
                outlet.again();
            }
            None => outlet.clear(),
        }
        self.send_waiting(key);
    }

    /// Something came over the channel.
    pub(super) fn on_reliable(&mut self, now: Instant, key: ParticipantKey, frame: &[u8]) {
        let Some(outlet) = self.outlet_mut(key) else { return };
        let admission = outlet.budget.admit(now);
        let (line, payload) = split(frame);
        let said = serde_json::from_slice(line);
        match (admission, said) {
            (Admission::Flooding, _) => self.end_flood(now, key),
            (_, Ok(Said::Receipt(DataReceipt { received }))) => outlet.acknowledge(received),
            (Admission::Refused(failure), Ok(Said::Message(header))) => self.answer_data(key, header.id, Some(failure)),
            (Admission::Granted, Ok(Said::Message(DataHeader { topic, to, reliable, id, .. }))) => {
                let passed = self.pass_data(key, (topic, to, reliable), payload.to_vec());
                self.answer_data(key, id, passed.err());
            }
            // Nothing that could be answered.
            (_, Err(_)) => {}
        }
    }

    /// Keeps a message for a member that has, or had, a channel, and sends it on.
    pub(super) fn keep_data(&mut self, key: ParticipantKey, message: &Arc<DataMessage>) {
        let Some(member) = self.member_mut(key) else { return };
        let Some(outlet) = member.outlet.as_mut() else { return };
        outlet.push(member.told, message);
        self.send_waiting(key);
        self.bound_data(key);
    }

    /// Sends on what waits for a member: as much as its channel takes; without one over its link, if that stands.
    pub(super) fn send_waiting(&mut self, key: ParticipantKey) {
        self.write_waiting(key);
        while let Some(event) = self.waiting_for_link(key) {
            self.tell(key, event);
        }
    }

    fn write_waiting(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        let Some(outlet) = participant.member.as_mut().and_then(|member| member.outlet.as_mut()) else { return };
        let mut wrote = false;
        while let (Some(channel), Some(kept)) = (outlet.channel, outlet.waiting()) {
            if !participant.peer.takes(channel, kept.size()) {
                break;
            }
            match participant.peer.write_channel(channel, &kept.framed()) {
                Written::Queued => outlet.went(),
                Written::Full => break,
                Written::Closed => outlet.lose_channel(),
            }
            wrote = true;
        }
        if wrote {
            self.mark_dirty(key);
        }
    }

    fn waiting_for_link(&mut self, key: ParticipantKey) -> Option<Event> {
        let participant = self.participants.get_mut(key)?;
        participant.address()?;
        let outlet = participant.member.as_mut()?.outlet.as_mut().filter(|outlet| outlet.channel.is_none())?;
        let event = outlet.waiting().map(Kept::told)?;
        outlet.went();
        Some(event)
    }

    /// Cuts a member off for whom too much waits. Of what has gone over its link, and while it has none, the latest is
    /// kept.
    fn bound_data(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        let address = participant.address();
        let Some(outlet) = participant.member.as_mut().and_then(|member| member.outlet.as_mut()) else { return };
        match address.filter(|_| outlet.is_over() && outlet.channel.is_some()) {
            Some(address) => {
                outlet.clear();
                self.outbox.behind.push(address);
            }
            None => outlet.shorten(),
        }
    }

    fn answer_data(&mut self, key: ParticipantKey, id: Option<u64>, error: Option<Failure>) {
        let Some(id) = id else { return };
        let Some(participant) = self.participants.get_mut(key) else { return };
        let outlet = participant.member.as_ref().and_then(|member| member.outlet.as_ref());
        let Some(channel) = outlet.and_then(|outlet| outlet.channel) else { return };
        // A number and two strings: serialising them does not fail.
        let line = serde_json::to_vec(&DataAnswer { id, error }).unwrap_or_default();
        // On a channel that is closed nobody waits for it any more.
        let _ = participant.peer.write_channel(channel, &line);
        self.mark_dirty(key);
    }

    fn outlet_mut(&mut self, key: ParticipantKey) -> Option<&mut Outlet> {
        self.member_mut(key)?.outlet.as_deref_mut()
    }
}
