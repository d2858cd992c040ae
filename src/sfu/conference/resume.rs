//! A member's link or media is lost and comes back; a page that was reloaded takes its old place over.

use std::time::{Duration, Instant};

use subtle::ConstantTimeEq as _;
use tracing::info;

use crate::sfu::command::{CommandError, EndReason, Link, Parting, Reply, SessionId};
use crate::sfu::failure::Lost;
use crate::sfu::negotiate::Offer;
use crate::sfu::signal::{CloseReason, ErrorCode, Event, Failure, ParticipantState, Permissions};
use crate::sfu::{ParticipantKey, Sfu, sid};

use super::describe::presence;
use super::enter::{Enter, check_tracks};
use super::media::NOT_GRANTED;

/// How long the place of a page that was left is kept, which may be a reload: the browser does not say. Larger: others
/// see whose tab was closed for longer; smaller: a page that loads slowly comes back as somebody new.
const RELOAD_WINDOW: Duration = Duration::from_secs(6);

impl Sfu {
    /// A `join` with the secret of an earlier one.
    pub(super) fn resume(&mut self, now: Instant, enter: &Enter, offer: Option<Offer>) -> Result<(), Failure> {
        let ended = || Failure::new(ErrorCode::NotFound, "the session to resume has ended; join without `resume`");
        let key = self.key_of(enter.session).map_err(|_| ended())?;
        let before = self.presence_of(key);
        let participant = self.participants.get_mut(key).ok_or_else(ended)?;
        let member = participant.member.as_mut().ok_or_else(ended)?;
        let said = enter.request.resume.as_ref().map(|resume| resume.secret.as_bytes()).unwrap_or_default();
        if !bool::from(member.secret.as_bytes().ct_eq(said)) || participant.credential != enter.credential {
            let message =
                "the secret, or the key or token, is not that of the session to resume; join without `resume`";
            return Err(Failure::new(ErrorCode::Forbidden, message));
        }
        let granted = if enter.expired { member.permissions } else { enter.permissions };
        check_tracks(&enter.request, granted)?;
        self.regrant(now, key, granted);
        if let Some(offer) = offer {
            self.negotiate_member(now, key, offer, enter.request.tracks.as_deref())?;
        }
        let Some(member) = self.participants.get_mut(key).and_then(|participant| participant.member.as_mut()) else {
            return Err(ended());
        };
        let replaced = member.kept_until.take().is_none().then_some(member.link);
        (member.link, member.ice_servers) = (enter.link, enter.ice_servers.clone());
        if let Some(link) = replaced {
            self.tell_link_closed(key, link, CloseReason::Replaced, "another connection took this place up");
        }
        info!(session = %enter.session, "member resumed");
        self.answer_join(now, key, enter.id, true);
        self.resume_data(key, enter.request.resume.as_ref().and_then(|resume| resume.received));
        self.tell_presence(key, before);
        self.arm_participant(now, key);
        if let Some(room) = self.participants.get(key).map(|participant| participant.room) {
            self.review_path(now, room);
        }
        Ok(())
    }

    /// Gives a member what it is granted now, and takes what it no longer is. Whether it is seen stays: the others
    /// know it, or do not. They are told what changed.
    fn regrant(&mut self, now: Instant, key: ParticipantKey, granted: Permissions) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        let Some(member) = participant.member.as_mut() else { return };
        let hidden = member.permissions.hidden;
        let granted = Permissions { hidden, can_publish: granted.can_publish && !hidden, ..granted };
        if std::mem::replace(&mut member.permissions, granted) == granted {
            return;
        }
        let (room, tracks, slots) = (participant.room, participant.tracks.clone(), participant.slots.len());
        if !granted.can_publish {
            self.withdraw(now, key, &tracks);
        }
        for index in (0..slots).filter(|_| !granted.can_subscribe) {
            self.close_slot(room, key, index, NOT_GRANTED);
        }
        if let Some(participant) = self.describe_participant(now, key) {
            self.tell_of(room, key, Event::ParticipantUpdated { participant });
        }
    }

    /// A member's link is gone. Its place is kept for a while, a shorter one when its page was left.
    pub(in crate::sfu) fn unlink(
        &mut self,
        now: Instant,
        session: SessionId,
        link: Link,
        parting: Parting,
    ) -> Result<Reply, CommandError> {
        let window = self.settings.member_resume_window;
        let key = self.key_of(session)?;
        let before = self.presence_of(key);
        let member = self.participants.get_mut(key).and_then(|participant| participant.member.as_mut());
        let Some(member) = member.filter(|member| member.link == link && member.kept_until.is_none()) else {
            return Ok(Reply::Done);
        };
        let window = match parting {
            Parting::Lost => window,
            Parting::PageLeft => window.min(RELOAD_WINDOW),
        };
        member.kept_until = Some(now + window);
        self.tell_presence(key, before);
        self.arm_participant(now, key);
        Ok(Reply::Done)
    }

    /// Cuts off members that missed a message: whoever comes back is told everything anew. The last word may be lost
    /// like the message was, which brings it here again.
    pub(in crate::sfu) fn cut_off_those_behind(&mut self, now: Instant) {
        let mut behind = std::mem::take(&mut self.outbox.behind);
        behind.sort_unstable_by_key(|(session, link)| (session.0, link.0));
        behind.dedup();
        for (session, link) in behind {
            // Whose session has ended is told so by its end.
            let Ok(key) = self.key_of(session) else { continue };
            // The link is of the past when somebody has come back meanwhile.
            let _ = self.unlink(now, session, link, Parting::Lost);
            self.tell_link_closed(key, link, CloseReason::SlowReader, "a message was lost on the way; join again");
        }
    }

    /// A member's media has failed or was closed. It keeps its place as long as its link stands, and may offer anew.
    pub(in crate::sfu) fn lose_media(&mut self, now: Instant, key: ParticipantKey, reason: EndReason) {
        let before = self.presence_of(key);
        let lost = self.describe(now, key, Some(reason)).map(|report| {
            info!(room = %report.room, session = %report.id, identity = &*report.identity, reason = ?reason,
                "a member is without media: {}", report.summary);
            self.count_failure(report.failure);
            Lost { failure: report.failure, summary: report.summary }
        });
        self.drop_media(now, key);
        let Some(participant) = self.participants.get_mut(key) else { return };
        participant.connectivity.connected = false;
        participant.connectivity.lost = lost;
        participant.peer.timeout = now + self.settings.consent_timeout;
        if let Some(member) = &mut participant.member {
            member.negotiated = false;
            member.media_lost = true;
        }
        self.tell_presence(key, before);
        self.arm_participant(now, key);
    }

    /// ICE found or lost its path to a member.
    pub(in crate::sfu) fn on_media_path(&mut self, key: ParticipantKey, works: bool) {
        let before = self.presence_of(key);
        let Some(participant) = self.participants.get_mut(key) else { return };
        let was_connected = participant.connectivity.connected;
        if let Some(member) = participant.member.as_mut().filter(|member| member.negotiated) {
            member.media_lost = was_connected && !works;
        }
        self.tell_presence(key, before);
    }

    pub(super) fn presence_of(&self, key: ParticipantKey) -> ParticipantState {
        self.participants.get(key).map_or(ParticipantState::Active, presence)
    }

    /// Tells the others whether somebody is reachable, if that changed.
    pub(super) fn tell_presence(&mut self, key: ParticipantKey, before: ParticipantState) {
        let Some(participant) = self.participants.get(key) else { return };
        let (state, room) = (presence(participant), participant.room);
        if state != before {
            let sid = sid::of_participant(self.settings.shard, key);
            self.tell_of(room, key, Event::ParticipantState { sid, state });
        }
    }
}
