//! Data messages between members: over their WebSockets, or over data channels, labelled `data` and `reliable`.
//!
//! On a data channel a message is a line of JSON ([`DataHeader`]), a line feed, and the payload as it is. What is
//! reliable reaches others over their channels labelled `reliable` (see [`reliable`](super::reliable)), over their
//! WebSockets where they have none; what is not goes over their channels labelled `data` where they have one, and is
//! dropped where it would have to wait.

use std::sync::Arc;
use std::time::Instant;

use str0m::channel::ChannelId;

use crate::sfu::command::EndReason;
use crate::sfu::member::{Admission, Member};
use crate::sfu::outlet::DataMessage;
use crate::sfu::peer::{ChannelEvent, Written};
use crate::sfu::signal::{CloseReason, Data, DataHeader, ErrorCode, Failure, Response};
use crate::sfu::{ParticipantKey, Sfu, sid};

use super::enter::check_length;
use super::requests::DONE;

/// Bytes of a payload. Larger: longer messages; smaller: they hold up others less.
const MAX_PAYLOAD: usize = 32_768;

/// Bytes of a topic. Larger: longer names; smaller: less is repeated with each message.
const MAX_TOPIC: usize = 128;

/// Label of the channel that carries what need not be complete.
const LABEL: &str = "data";

/// Label of the channel that carries what is to be complete.
const RELIABLE: &str = "reliable";

impl Sfu {
    /// `data`.
    pub(super) fn on_data(&mut self, key: ParticipantKey, asked: Data) -> Result<Response, Failure> {
        check_length("payload", &asked.payload, data_encoding::BASE64.encode_len(MAX_PAYLOAD))?;
        let payload = data_encoding::BASE64.decode(asked.payload.as_bytes());
        let payload =
            payload.map_err(|_| Failure::new(ErrorCode::BadRequest, "the payload is not base64 with padding"))?;
        self.pass_data(key, (asked.topic, asked.to, asked.reliable), payload)?;
        DONE
    }

    /// Something happened to a data channel.
    pub(in crate::sfu) fn on_channel(&mut self, now: Instant, key: ParticipantKey, event: ChannelEvent) {
        let Some(member) = self.member_mut(key) else { return };
        match event {
            ChannelEvent::Opened(id, label) if label == LABEL => member.channel = Some(id),
            ChannelEvent::Opened(id, label) if label == RELIABLE => self.open_reliable(now, key, id),
            ChannelEvent::Opened(..) => {}
            ChannelEvent::Closed(id) if member.has_reliable(id) => self.close_reliable(key),
            ChannelEvent::Closed(id) => member.channel = member.channel.filter(|open| *open != id),
            ChannelEvent::Data(id, frame) if member.has_reliable(id) => self.on_reliable(now, key, &frame),
            ChannelEvent::Data(_, frame) => match member.data_budget.admit(now) {
                Admission::Granted => self.on_channel_data(key, &frame),
                // There is no answer on this channel: what cannot be passed on is dropped.
                Admission::Refused(_) => {}
                Admission::Flooding => self.end_flood(now, key),
            },
            ChannelEvent::Low => self.send_waiting(key),
        }
    }

    /// The engine is gone, and its channels with it.
    pub(super) fn lose_channels(&mut self, key: ParticipantKey) {
        if let Some(member) = self.member_mut(key) {
            member.channel = None;
            self.close_reliable(key);
        }
    }

    /// Ends a member that sends too much.
    pub(super) fn end_flood(&mut self, now: Instant, key: ParticipantKey) {
        self.tell_closed(key, CloseReason::Flooding, "you sent far too many data messages");
        self.end(now, key, EndReason::Flooding);
    }

    fn on_channel_data(&mut self, key: ParticipantKey, frame: &[u8]) {
        let (header, payload) = split(frame);
        if let Ok(DataHeader { topic, to, reliable, .. }) = serde_json::from_slice(header) {
            // As above: nobody to tell why not.
            let _ = self.pass_data(key, (topic, to, reliable), payload.to_vec());
        }
    }

    /// Passes a message on: its topic, to whom, and whether reliably.
    pub(super) fn pass_data(
        &mut self,
        key: ParticipantKey,
        (topic, to, reliable): (String, Option<Vec<String>>, Option<bool>),
        payload: Vec<u8>,
    ) -> Result<(), Failure> {
        self.require_data(key, to.as_deref())?;
        check_length("topic", &topic, MAX_TOPIC)?;
        check_length("payload", &payload, MAX_PAYLOAD)?;
        let recipients = self.recipients(key, to.as_deref())?;
        let room = self.participants.get(key).map(|participant| participant.room).unwrap_or_default();
        let (from, reliable) = (Some(sid::of_participant(self.settings.shard, key)), reliable.or(Some(true)));
        let header = DataHeader { topic, to: None, reliable, from, id: None, seq: None, after: None };
        let message = Arc::new(DataMessage { header, payload });
        self.hand_data(&recipients.here, &message);
        self.pass_data_on(room, None, to.is_some().then_some(&recipients.there), &message);
        Ok(())
    }

    /// Hands a message to participants of this shard.
    pub(in crate::sfu) fn hand_data(&mut self, recipients: &[ParticipantKey], message: &Arc<DataMessage>) {
        let has_channel = |key: &ParticipantKey| {
            let member = self.participants.get(*key).and_then(|participant| participant.member.as_ref());
            member.is_some_and(|m| if message.is_reliable() { m.outlet.is_some() } else { m.channel.is_some() })
        };
        let (channels, links): (Vec<_>, Vec<_>) = recipients.iter().copied().partition(has_channel);
        if !links.is_empty() {
            self.tell_these(&links, message.told(None));
        }
        if message.is_reliable() {
            channels.into_iter().for_each(|key| self.keep_data(key, message));
        } else if !channels.is_empty() {
            let frame = message.framed(&message.header);
            channels.into_iter().for_each(|key| self.write_lossy(key, &frame));
        }
    }

    fn write_lossy(&mut self, key: ParticipantKey, frame: &[u8]) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        let Some(member) = participant.member.as_mut() else { return };
        let Some(channel) = member.channel else { return };
        match participant.peer.write_lossy(channel, frame) {
            Written::Queued => self.mark_dirty(key),
            Written::Full => self.stats.data_dropped += 1,
            Written::Closed => member.channel = None,
        }
    }

    pub(super) fn member_mut(&mut self, key: ParticipantKey) -> Option<&mut Member> {
        self.participants.get_mut(key)?.member.as_deref_mut()
    }
}

impl Member {
    fn has_reliable(&self, id: ChannelId) -> bool {
        self.outlet.as_ref().is_some_and(|outlet| outlet.channel == Some(id))
    }
}

/// The line of JSON of what came over a data channel, and the payload behind it.
pub(super) fn split(frame: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = frame.splitn(2, |byte| *byte == b'\n');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}
