//! The two ways media leaves a peer: through the engine, or written here.
//!
//! The engine's way has congestion control, pacing and probes; the [`Writer`]'s costs a fraction of it. Which streams
//! go which way is decided at their first packet; from the writer they may go to the engine later, once and for good
//! (`sfu/writing.rs`).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::media::{Media, Mid};
use str0m::rtp::{Extension, ExtensionValues, RtpWrite, Ssrc, Vp8Descriptor, Vp8Patch};

use super::event::PeerEvent;
use super::writer::{Drafts, Heard, Scope, StreamSpec, Writer};
use super::{Peer, RTX_AGE, RTX_PACKETS, RTX_RATIO, VIDEO_CLOCK, is_rtcp, keys};
use crate::forward::Rewritten;
use crate::prefetch;
use crate::rtp::rtcp;
use crate::rtp::{Descriptor, MediaKind, Packet, PictureIds, Redundant, red};
use crate::sfu::extensions;
use crate::sfu::flush::Ahead;
use crate::sfu::outbox::{Outbox, Outgoing, Source, Via};
use crate::sfu::participant::Queued;

/// Bytes of the paths in which the first of them lies. Larger: more is fetched of those that hardly anybody has.
const FIRST_PATH: usize = 128;

/// Whom a picture is asked of when all that is wanted is that something is sent.
const NOBODY: u32 = 1;

impl Peer {
    /// Queues a packet for sending. It leaves when the peer [settles](Self::settle).
    pub(in crate::sfu) fn write(&mut self, ssrc: Ssrc, payload_type: u8, rewritten: &Rewritten, packet: &Packet) {
        if self.handed_over.as_ref().is_some_and(|before| !before.allows(*ssrc, rewritten.sequence)) {
            return;
        }
        self.changed = true;
        let mut direct = self.rtc.direct_api();
        let Some(stream) = direct.stream_tx(&ssrc) else { return };
        let mut extensions = ExtensionValues::default();
        extensions::write(&packet.extensions, &mut extensions);
        extensions::write_dependency(packet, rewritten, &mut extensions);
        // The wall clock of the timestamp it is sent with, which sender reports are made of.
        let captured = packet.captured + Duration::from_secs_f64(f64::from(rewritten.catching_up) / VIDEO_CLOCK);
        let payload = payload_for_engine(packet, rewritten);
        let mut write =
            RtpWrite::new(payload_type.into(), rewritten.sequence.into(), rewritten.timestamp, captured, payload)
                .marker(rewritten.marker)
                .nackable(packet.codec.kind() == MediaKind::Video)
                .ext_vals(extensions);
        if let Some(patch) = rewritten.ids.and_then(|ids| vp8_patch(packet, &ids)) {
            write = write.vp8_patch(patch);
        }
        stream.write_rtp(write);
    }

    /// The SSRCs an m-line is sent on, for media and for retransmissions. The engine has them ready to send.
    pub(in crate::sfu) fn prepare_sending(&mut self, mid: Mid, kind: MediaKind) -> Option<(Ssrc, Option<Ssrc>)> {
        let numbering = |media: &Media| media.remote_extmap().id_of(Extension::TransportSequenceNumber);
        self.numbering = self.rtc.media(mid).and_then(numbering).unwrap_or(self.numbering);
        let mut direct = self.rtc.direct_api();
        let stream = direct.stream_tx_by_mid(mid, None)?;
        let ssrcs = (stream.ssrc(), stream.rtx());
        if kind == MediaKind::Video {
            stream.set_rtx_cache(RTX_PACKETS, RTX_AGE, Some(RTX_RATIO));
            // The publisher has paced already. The engine's pacer would hold back what a collapsed link cannot take,
            // for up to two seconds, and has no way to drop it when a smaller layer takes its place.
            stream.set_unpaced(true);
        }
        Some(ssrcs)
    }

    /// Takes a stream out of the engine's reach: nobody may have sent on its SSRCs when it is decided who will. Until
    /// then the engine has no need of its state, 5 KB each, nor of reports on it.
    pub(in crate::sfu) fn withhold(&mut self, ssrc: Ssrc) {
        self.withheld = true;
        self.rtc.direct_api().remove_stream_tx(ssrc);
    }

    /// Gives the engine what was withheld from it.
    pub(in crate::sfu) fn leave_to_engine(&mut self, mid: Mid, kind: MediaKind, ssrc: Ssrc, repair: Option<Ssrc>) {
        self.withheld = false;
        let mut direct = self.rtc.direct_api();
        direct.remove_stream_tx(ssrc);
        direct.declare_stream_tx(ssrc, repair, mid, None);
        self.prepare_sending(mid, kind);
    }

    /// Leaves the engine a stream on which nothing was sent, without one for retransmissions: on those it pads up to 50
    /// kbit/s, though there is nothing to send. [`leave_to_engine`](Self::leave_to_engine) gives it back.
    pub(in crate::sfu) fn keep_from_padding(&mut self, mid: Mid, ssrc: Ssrc) {
        let mut direct = self.rtc.direct_api();
        direct.remove_stream_tx(ssrc);
        direct.declare_stream_tx(ssrc, None, mid, None);
    }

    /// Streams can be written without the engine.
    pub(in crate::sfu) fn has_writer(&self) -> bool {
        self.writer.is_some()
    }

    /// Writes a stream without the engine from now on. It must have been withheld. The engine has the SSRC for media to
    /// report on, and sends nothing on it; that for retransmissions, on which it pads and probes, it is not told.
    pub(in crate::sfu) fn adopt(&mut self, spec: &StreamSpec<'_>) {
        if let Some(writer) = &mut self.writer {
            self.withheld = false;
            self.rtc.direct_api().declare_stream_tx(spec.ssrc.into(), None, spec.mid, None);
            writer.adopt(Scope::Everything, spec);
        }
    }

    /// Writes a stream of sound without the engine from now on, while the engine has those of video and sends nothing
    /// on them. It has the SSRC of the sound to report on, has sent nothing on it, and knows none for retransmissions.
    /// False where that cannot be.
    pub(in crate::sfu) fn adopt_sound(&mut self, spec: &StreamSpec<'_>) -> bool {
        let may = spec.repair.is_none() && self.handed_over.is_none();
        let Some(writer) = self.writer.as_mut().filter(|_| may) else { return false };
        if !writer.knows(spec.slot) {
            writer.adopt(Scope::Sound, spec);
        }
        true
    }

    /// Has the engine's estimator rest: it is told of nothing that is sent.
    pub(in crate::sfu) fn rest_estimator(&mut self) {
        if !self.estimates_nothing {
            self.estimates_nothing = true;
            self.set_desired_bitrate(0);
        }
    }

    /// How media gets to the remote side now; `None` before anything was sent.
    fn media_way(&self) -> Option<Way> {
        let to = self.paths.living(self.nominated?);
        let (via, local_ip) = self.way(to);
        Some(Way { remote: to.address, via, local_ip })
    }

    /// What is sent is written here, not by the engine.
    pub(in crate::sfu) fn writes(&self) -> bool {
        self.scope() == Scope::Everything
    }

    /// Sound is written here, and there is nothing else to send.
    pub(in crate::sfu) fn writes_sound(&self) -> bool {
        self.scope() == Scope::Sound
    }

    fn scope(&self) -> Scope {
        self.writer.as_ref().map_or(Scope::Nothing, |writer| writer.scope())
    }

    /// Nothing of what is sent is the engine's alone to know of: some is written here, or nothing is decided yet.
    fn concerns_writer(&self) -> bool {
        self.withheld || self.scope() != Scope::Nothing
    }

    /// Asks for memory that [`send`](Self::send) reads.
    pub(in crate::sfu) fn fetch(&self, what: Ahead) {
        match (what, &self.writer) {
            (Ahead::Itself, _) => {
                prefetch::read(&self.writer);
                prefetch::read(&self.nominated);
                prefetch::read(&self.changed);
                prefetch::read(&self.timeout);
                prefetch::read_head(&self.paths, FIRST_PATH);
            }
            (Ahead::Behind, Some(writer)) => prefetch::read(&**writer),
            (Ahead::Streams, Some(writer)) => writer.fetch(),
            (Ahead::Behind | Ahead::Streams, None) => {}
        }
    }

    /// Sends what is queued, without the engine.
    pub(in crate::sfu) fn send(
        &mut self,
        now: Instant,
        queue: impl Iterator<Item = Queued>,
        packets: &[Arc<Packet>],
        outbox: &mut Outbox,
    ) {
        let Some(way) = self.media_way() else { return };
        let Some(writer) = &mut self.writer else { return };
        let mut drafts = Drafts::new();
        for queued in queue {
            let Some(packet) = packets.get(queued.packet as usize) else { continue };
            drafts.extend(writer.draft(now, &queued, packet, outbox.buffer()));
            if drafts.is_full() {
                writer.finish(&mut drafts, |datagram| way.send(datagram, outbox));
            }
        }
        writer.finish(&mut drafts, |datagram| way.send(datagram, outbox));
    }

    /// Reads RTCP before the engine does, for the streams written here.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        datagram: &[u8],
        outbox: &mut Outbox,
        events: &mut Vec<PeerEvent>,
    ) -> Heard {
        let concerns_writer = self.concerns_writer();
        let Some(writer) = self.writer.as_mut().filter(|_| concerns_writer || !self.estimates_nothing) else {
            return Heard::Some;
        };
        let Some(compound) = writer.open(datagram) else { return Heard::Some };
        self.arrived =
            rtcp::last_arrival(&compound).and_then(|arrival| self.departures.arrived(arrival)).or(self.arrived);
        if !concerns_writer {
            return Heard::Some;
        }
        let mut repairs = Vec::new();
        let heard = writer.hear(now, &compound, |repair| repairs.push(repair), events);
        if let Some(way) = self.media_way() {
            repairs.into_iter().for_each(|repair| way.send(repair, outbox));
        }
        heard
    }

    /// Whether RTCP is the client's, by its keys; `None` where the engine alone has them.
    pub(in crate::sfu) fn opens(&self, datagram: &[u8]) -> Option<bool> {
        self.writer.as_ref().map(|writer| writer.open(datagram).is_some())
    }

    /// What the engine sends, as it is to leave. Nothing, for what it was made to send in order to tell the path.
    pub(super) fn revise(&mut self, now: Instant, datagram: Vec<u8>) -> Option<Vec<u8>> {
        let concerns_writer = self.concerns_writer();
        let is_rtcp = is_rtcp(&datagram);
        match (self.writer.as_mut().filter(|_| concerns_writer && is_rtcp), &mut self.handed_over) {
            (Some(writer), _) => writer.correct(now, datagram),
            (None, Some(handed_over)) if !is_rtcp => handed_over.revise(datagram),
            (None, _) => Some(datagram),
        }
    }

    /// Makes the engine tell which path it has chosen, after a check on another: it tells by where it sends, and of
    /// itself it sends no more than a report every few seconds. What it sends for this does not leave ([`revise`]).
    ///
    /// [`revise`]: Self::revise
    pub(super) fn ask_path(&mut self, checked: Source) {
        let elsewhere = self.nominated.is_some_and(|nominated| nominated != checked);
        if self.writer.is_some() && self.concerns_writer() && elsewhere {
            self.rtc.direct_api().send_pli_feedback(NOBODY.into(), NOBODY.into());
        }
    }

    /// Takes up keys that the engine exported in the call that has just returned.
    pub(super) fn take_keys(&mut self, now: Instant) {
        if let Some(keys) = keys::take()
            && self.writer.is_none()
        {
            self.writer = Writer::new(keys, now).map(Box::new);
        }
    }
}

/// The payload as the engine is given it. Of VP8 the engine changes the ids while it writes; of VP9 it does not, so the
/// payload is copied once a viewer's ids are no longer the publisher's.
fn payload_for_engine(packet: &Packet, rewritten: &Rewritten) -> Arc<[u8]> {
    match (rewritten.ids, &packet.descriptor) {
        _ if rewritten.empty => Arc::default(),
        _ if rewritten.redundant.is_some() => retyped(packet, rewritten),
        (Some(ids), Descriptor::Vp9(_)) => {
            let mut payload = Arc::from(&*packet.payload);
            if let Some(payload) = Arc::get_mut(&mut payload) {
                ids.patch(&packet.descriptor, payload);
            }
            payload
        }
        _ => Arc::clone(&packet.payload),
    }
}

/// The payload with its redundancy, whose frames name the receiver's payload type.
fn retyped(packet: &Packet, rewritten: &Rewritten) -> Arc<[u8]> {
    let (Some(Redundant { payload, .. }), Some(payload_type)) = (&packet.redundant, rewritten.redundant) else {
        return Arc::clone(&packet.payload);
    };
    let mut copy = Arc::from(&**payload);
    if let Some(blocks) = Arc::get_mut(&mut copy) {
        red::retype(blocks, payload_type);
    }
    copy
}

fn vp8_patch(packet: &Packet, ids: &PictureIds) -> Option<Vp8Patch> {
    let Descriptor::Vp8(_) = packet.descriptor else { return None };
    let mut patch = Vp8Descriptor::parse(&packet.payload).ok()?.patch();
    if let Some(picture_id) = ids.picture_id {
        patch = patch.picture_id(picture_id);
    }
    if let Some(index) = ids.tl0_picture_index {
        patch = patch.tl0_pic_idx(index);
    }
    if let Some(index) = ids.key_index {
        patch = patch.key_idx(index);
    }
    patch.build().ok()
}

/// How a peer is reached.
#[derive(Debug, Clone, Copy)]
struct Way {
    remote: SocketAddr,
    via: Via,
    local_ip: Option<IpAddr>,
}

impl Way {
    fn send(self, contents: Vec<u8>, outbox: &mut Outbox) {
        outbox.send(self.via, Outgoing { remote: self.remote, local_ip: self.local_ip, contents });
    }
}
