//! Data messages between members: over the WebSocket, or over a data channel labelled `data`.
//!
//! On a data channel a message is a line of JSON ([`signal::DataHeader`]), a line feed, and the payload as it is. What
//! is reliable reaches others over their WebSockets, in one order; what is not goes over their data channels where they
//! have one, and is dropped where it would have to wait.

use std::time::Instant;

use str0m::channel::ChannelId;

use crate::sfu::command::EndReason;
use crate::sfu::member::Admission;
use crate::sfu::peer::{ChannelEvent, Written};
use crate::sfu::signal::{CloseReason, Data, DataHeader, ErrorCode, Event, Failure, Response};
use crate::sfu::{ParticipantKey, Sfu, sid};

use super::enter::check_length;
use super::requests::DONE;

/// Bytes of a payload. Larger: longer messages; smaller: they hold up others less.
const MAX_PAYLOAD: usize = 32_768;

/// Bytes of a topic. Larger: longer names; smaller: less is repeated with each message.
const MAX_TOPIC: usize = 128;

/// Label of the channel that carries messages.
const LABEL: &str = "data";

impl Sfu {
    /// `data`.
    pub(super) fn on_data(&mut self, key: ParticipantKey, asked: Data) -> Result<Response, Failure> {
        check_length("payload", &asked.payload, data_encoding::BASE64.encode_len(MAX_PAYLOAD))?;
        let payload = data_encoding::BASE64.decode(asked.payload.as_bytes());
        let payload =
            payload.map_err(|_| Failure::new(ErrorCode::BadRequest, "the payload is not base64 with padding"))?;
        let header = DataHeader { topic: asked.topic, to: asked.to, reliable: asked.reliable, from: None };
        self.pass_data(key, header, &payload)?;
        DONE
    }

    /// Something happened to a data channel.
    pub(in crate::sfu) fn on_channel(&mut self, now: Instant, key: ParticipantKey, event: ChannelEvent) {
        let Some(member) = self.participants.get_mut(key).and_then(|participant| participant.member.as_mut()) else {
            return;
        };
        match event {
            ChannelEvent::Opened(id, label) if label == LABEL => member.channel = Some(id),
            ChannelEvent::Opened(..) => {}
            ChannelEvent::Closed(id) => member.channel = member.channel.filter(|open| *open != id),
            ChannelEvent::Data(message) => match member.data_budget.admit(now) {
                Admission::Granted => self.on_channel_data(key, &message),
                // There is no answer on a data channel: what cannot be passed on is dropped.
                Admission::Refused(_) => {}
                Admission::Flooding => {
                    self.tell_closed(key, CloseReason::Flooding, "you sent far too many data messages");
                    self.end(now, key, EndReason::Flooding);
                }
            },
        }
    }

    fn on_channel_data(&mut self, key: ParticipantKey, message: &[u8]) {
        let Some(end) = message.iter().position(|byte| *byte == b'\n') else { return };
        let Some((header, payload)) = message.split_at_checked(end) else { return };
        let payload = payload.get(1..).unwrap_or_default();
        if let Ok(header) = serde_json::from_slice::<DataHeader>(header)
            && payload.len() <= MAX_PAYLOAD
        {
            // As above: nobody to tell why not.
            let _ = self.pass_data(key, header, payload);
        }
    }

    fn pass_data(&mut self, key: ParticipantKey, header: DataHeader, payload: &[u8]) -> Result<(), Failure> {
        self.require_data(key, header.to.as_deref())?;
        check_length("topic", &header.topic, MAX_TOPIC)?;
        let recipients = self.recipients(key, header.to.as_deref())?;
        let room = self.participants.get(key).map(|participant| participant.room).unwrap_or_default();
        let (from, reliable) = (sid::of_participant(self.settings.shard, key), header.reliable.unwrap_or(true));
        if reliable && header.to.is_none() {
            self.tell_room(room, Some(key), told(&header.topic, payload, from, true));
            return Ok(());
        }
        let named = header.to.is_some();
        let header = DataHeader { to: None, reliable: Some(reliable), from: Some(from), ..header };
        self.hand_data(&recipients.here, &header, payload);
        self.pass_data_on(room, None, named.then_some(&recipients.there), &header, payload);
        Ok(())
    }

    /// Hands a message to participants of this shard.
    pub(in crate::sfu) fn hand_data(&mut self, recipients: &[ParticipantKey], header: &DataHeader, payload: &[u8]) {
        let reliable = header.reliable.unwrap_or(true);
        let event = told(&header.topic, payload, header.from.clone().unwrap_or_default(), reliable);
        let framed = framed(header, payload);
        for to in recipients.iter().copied() {
            match self.channel_of(to).filter(|_| !reliable) {
                Some(channel) => self.write_channel(to, channel, &framed),
                None => self.tell(to, event.clone()),
            }
        }
    }

    fn channel_of(&self, key: ParticipantKey) -> Option<ChannelId> {
        self.participants.get(key)?.member.as_ref()?.channel
    }

    fn write_channel(&mut self, key: ParticipantKey, channel: ChannelId, message: &[u8]) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        match participant.peer.write_channel(channel, message) {
            Written::Queued => self.mark_dirty(key),
            Written::Full => self.stats.data_dropped += 1,
            Written::Closed => {
                if let Some(member) = &mut participant.member {
                    member.channel = None;
                }
            }
        }
    }
}

/// A message as it travels over a WebSocket.
fn told(topic: &str, payload: &[u8], from: String, reliable: bool) -> Event {
    Event::Data { topic: topic.to_owned(), payload: data_encoding::BASE64.encode(payload), from, reliable }
}

/// A message as it travels over a data channel.
fn framed(header: &DataHeader, payload: &[u8]) -> Vec<u8> {
    // Strings and a flag: serialising them does not fail.
    let mut message = serde_json::to_vec(header).unwrap_or_default();
    message.push(b'\n');
    message.extend_from_slice(payload);
    message
}
