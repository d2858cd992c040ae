//! Chat: text passed on between members, the latest of it kept for those who come later.

use std::collections::VecDeque;
use std::time::Instant;

use crate::sfu::signal::{Chat, ChatMessage, ChatSent, ErrorCode, Event, Failure, Response, Sender};
use crate::sfu::{ParticipantKey, Sfu, ShardIndex, sid};

use super::enter::check_length;
use super::media::gone;

/// Messages kept for those who come later. Larger: a longer memory; smaller: shorter joins.
const HISTORY: usize = 50;

/// Bytes of a chat message.
const MAX_TEXT: usize = 4096;

/// Participants one message may name.
const MAX_RECIPIENTS: usize = 100;

/// The latest messages to everybody.
#[derive(Debug, Default)]
pub(in crate::sfu) struct History {
    messages: VecDeque<ChatMessage>,
    next: u64,
}

impl History {
    pub(in crate::sfu) fn latest(&self) -> Vec<ChatMessage> {
        self.messages.iter().cloned().collect()
    }

    /// Ids are unique in a room: each of its halves counts in steps of the number of shards, and no half from where one
    /// before it on the same shard began, `time` being the milliseconds since 1970.
    fn next_id(&mut self, time: u64, ShardIndex(shard): ShardIndex, shards: u16) -> String {
        let number = self.next.max(time);
        self.next = number + 1;
        format!("CH_{}", number * u64::from(shards) + u64::from(shard))
    }

    /// Takes over what was said before.
    pub(in crate::sfu) fn adopt(&mut self, messages: Vec<ChatMessage>) {
        self.messages = messages.into();
    }

    pub(in crate::sfu) fn keep(&mut self, message: ChatMessage) {
        if self.messages.len() == HISTORY {
            self.messages.pop_front();
        }
        self.messages.push_back(message);
    }
}

impl Sfu {
    pub(super) fn on_chat(&mut self, now: Instant, key: ParticipantKey, asked: Chat) -> Result<Response, Failure> {
        self.require_data(key, asked.to.as_deref())?;
        check_length("text", &asked.text, MAX_TEXT)?;
        if asked.text.trim().is_empty() {
            return Err(Failure::new(ErrorCode::BadRequest, "the text is empty"));
        }
        let recipients = self.recipients(key, asked.to.as_deref())?;
        let (from, time) = (self.describe_sender(key)?, self.unix_ms(now));
        let room = self.participants.get(key).map(|participant| participant.room).ok_or_else(gone)?;
        let (shard, shards) = (self.settings.shard, self.settings.shards);
        let history = &mut self.rooms.get_mut(room).ok_or_else(gone)?.conference.chat;
        let message =
            ChatMessage { id: history.next_id(time, shard, shards), from, text: asked.text, to: asked.to, time };
        if message.to.is_none() {
            history.keep(message.clone());
            self.tell_room(room, Some(key), Event::Chat { message: message.clone() });
        } else {
            for to in recipients.here {
                self.tell(to, Event::Chat { message: message.clone() });
            }
            self.deliver(room, &recipients.there, Event::Chat { message: message.clone() });
        }
        Ok(Response::ChatSent(ChatSent { message }))
    }

    pub(super) fn require_data(&self, key: ParticipantKey, to: Option<&[String]>) -> Result<(), Failure> {
        let may = self.participants.get(key).is_some_and(|p| super::describe::permissions(p).can_publish_data);
        if !may {
            return Err(Failure::new(ErrorCode::Forbidden, "you may not send messages in this room"));
        }
        if to.is_some_and(|to| to.len() > MAX_RECIPIENTS) {
            let message = format!("more than {MAX_RECIPIENTS} recipients; leave `to` out to reach everybody");
            return Err(Failure::new(ErrorCode::TooLarge, message));
        }
        Ok(())
    }

    fn describe_sender(&self, key: ParticipantKey) -> Result<Sender, Failure> {
        let participant = self.participants.get(key).ok_or_else(gone)?;
        let name = participant.member.as_ref().map(|member| member.name.clone()).unwrap_or_default();
        let sid = sid::of_participant(self.settings.shard, key);
        Ok(Sender { sid, identity: participant.identity.to_string(), name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_keeps_the_latest_and_ids_go_on() {
        let mut history = History::default();
        for number in 1..=HISTORY + 5 {
            let from = Sender { sid: "PA_x".into(), identity: "x".into(), name: "X".into() };
            let id = history.next_id(7, ShardIndex(0), 1);
            history.keep(ChatMessage { id, from, text: number.to_string(), to: None, time: 0 });
        }
        let kept = history.latest();
        assert_eq!(kept.len(), HISTORY);
        assert_eq!((kept[0].text.as_str(), kept[0].id.as_str()), ("6", "CH_12"));
    }
}
