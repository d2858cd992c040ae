//! RTP written without the engine, for streams that need nothing of its congestion control: header, payload and tag go
//! into one buffer, from a few cache lines of state.
//!
//! The engine keeps ICE, DTLS and the rest of RTCP. What it cannot know of these streams is read and corrected here:
//! receivers' reports and NACKs on their way in, sender reports on their way out.
//!
//! A key must never protect two packets under one number (see `srtp`). So a stream has one writer at a time, its
//! retransmissions included; the engine is not even told their SSRC; a number that was used is refused a second time,
//! whoever asks; and should the engine go on with a stream, it goes on behind them all (`handover`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use str0m::media::Mid;

use super::STATISTICS;
use super::event::PeerEvent;
use super::handover::Left;
use super::kept::KeptPackets;
use super::numbers::UsedNumbers;
use super::padding::{TOGETHER, pad, paddings};
use crate::forward::Rewritten;
use crate::prefetch;
use crate::rtp::dependency_descriptor::rewrite;
use crate::rtp::format::Format;
use crate::rtp::header::{ExtensionIds, Header, Values, send_time};
use crate::rtp::rtcp::{self, Missing, Report, SenderInfo, Statement};
use crate::rtp::{MediaKind, Packet, Redundant, red};
use crate::sfu::participant::Queued;
use crate::srtp::{MasterKey, MasterKeys, RtcpCipher, RtpSealer, TAG};

/// Bytes of media that pay for one byte of retransmissions: 25 % of what is sent in all. Larger: less repair on lossy
/// links; smaller: loss from congestion makes more of it.
const MEDIA_PER_REPAIR: usize = 3;

/// Retransmissions that may be saved up for, in bytes. Larger: longer bursts of loss can be repaired at once; smaller:
/// a smaller burst on a link that has just lost one.
const MOST_ALLOWED: usize = 64 * 1024;

/// Entries of a compound packet's NACKs that are looked for, each of 17 numbers. Larger: whoever names numbers at
/// random costs more than he pays for; smaller: after a long break some of what is kept is not repeated at once.
const MOST_MISSING: usize = 32;

/// Payload formats of one slot that have retransmissions. Larger and smaller: no offer has more video formats than 16.
const MAX_FORMATS: usize = 16;

/// Room for header, extensions, padding and tag beside a payload: what a buffer is made with.
const OVERHEAD: usize = 80 + TAG;

/// The writer of one peer.
#[derive(Debug)]
pub(super) struct Writer {
    /// Opens the remote side's RTCP.
    incoming: RtcpCipher,
    /// What we send with. The cipher of RTCP is made of it for each of the engine's few packets: kept, it would take
    /// 0.7 KB of every viewer.
    local: MasterKey,
    /// There as soon as there are streams.
    sealer: Option<RtpSealer>,
    /// What abs-send-time counts from: receivers look at differences only.
    epoch: Instant,
    streams: Vec<Stream>,
    scope: Scope,
}

/// What of a peer's media is written here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Nothing,
    /// The streams of sound. On those of video nothing is sent.
    Sound,
    Everything,
}

/// What is written, under which names.
#[derive(Debug)]
pub(in crate::sfu) struct StreamSpec<'a> {
    pub(in crate::sfu) slot: u8,
    pub(in crate::sfu) mid: Mid,
    pub(in crate::sfu) kind: MediaKind,
    pub(in crate::sfu) ssrc: u32,
    /// SSRC of its retransmissions, where they were agreed on.
    pub(in crate::sfu) repair: Option<u32>,
    pub(in crate::sfu) extensions: ExtensionIds,
    pub(in crate::sfu) formats: &'a [Format],
}

#[derive(Debug)]
struct Stream {
    slot: u8,
    kind: MediaKind,
    ssrc: u32,
    clock_rate: u32,
    ids: ExtensionIds,
    label: ArrayVec<u8, 16>,
    used: UsedNumbers,
    /// The newest packet's timestamp and when it was captured: what sender reports are made of.
    reference: Option<(u32, Instant)>,
    packets: u32,
    octets: u32,
    repair: Option<Repair>,
    mid: Mid,
    /// The middle of the last sender report's NTP time, and when that was.
    reported: Option<(u32, Instant)>,
    /// The newest report about it, not told yet.
    heard: Option<Report>,
    losses: Losses,
}

/// What was reported lost since it was told last.
#[derive(Debug, Default)]
struct Losses {
    highest: Option<u32>,
    expected: u64,
    lost: f32,
    since: Option<Instant>,
}

/// The retransmission stream (RFC 4588).
#[derive(Debug)]
struct Repair {
    ssrc: u32,
    next: u64,
    /// Payload types and those of their retransmissions.
    types: ArrayVec<(u8, u8), MAX_FORMATS>,
    kept: KeptPackets,
    /// Bytes that may be sent again.
    allowance: usize,
}

/// A packet that is written but not protected yet.
#[derive(Debug)]
pub(super) struct Draft {
    packet: Vec<u8>,
    /// Bytes of its header, extensions included.
    header: usize,
    ssrc: u32,
    /// Its sequence number, extended.
    index: u64,
}

/// What one peer is sent at once.
pub(super) type Drafts = ArrayVec<Draft, TOGETHER>;

/// How much of an RTCP packet concerned streams written here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// All of it.
    All,
    /// Not all: the engine has to see it.
    Some,
}

impl Writer {
    pub(super) fn new(keys: MasterKeys, now: Instant) -> Option<Self> {
        let incoming = keys.remote.rtcp()?;
        Some(Self { incoming, local: keys.local, sealer: None, epoch: now, streams: Vec::new(), scope: Scope::Nothing })
    }

    pub(super) fn scope(&self) -> Scope {
        self.scope
    }

    pub(super) fn knows(&self, slot: u8) -> bool {
        self.streams.iter().any(|stream| stream.slot == slot)
    }

    /// Takes a stream over, as one of sound or of everything.
    pub(super) fn adopt(&mut self, scope: Scope, spec: &StreamSpec<'_>) {
        self.scope = scope;
        let pairs = spec.formats.iter().filter_map(|format| Some((format.payload_type, format.rtx?)));
        let repair = spec.repair.map(|ssrc| Repair {
            ssrc,
            next: 0,
            types: pairs.take(MAX_FORMATS).collect(),
            kept: KeptPackets::default(),
            allowance: MOST_ALLOWED,
        });
        let stream = Stream {
            slot: spec.slot,
            kind: spec.kind,
            ssrc: spec.ssrc,
            clock_rate: spec.formats.first().map_or(1, |format| format.clock_rate),
            ids: spec.extensions,
            label: spec.mid.bytes().take(16).collect(),
            used: UsedNumbers::default(),
            reference: None,
            packets: 0,
            octets: 0,
            repair,
            mid: spec.mid,
            reported: None,
            heard: None,
            losses: Losses::default(),
        };
        self.streams.push(stream);
        if self.sealer.is_none() {
            self.sealer = self.local.rtp();
        }
    }

    /// Asks for memory that writing and protecting read.
    pub(super) fn fetch(&self) {
        prefetch::read(self.streams.as_slice());
        if let Some(sealer) = &self.sealer {
            prefetch::read_behind(sealer);
        }
    }

    /// Leaves all streams to somebody else, who has to go on behind the numbers that were used.
    pub(super) fn leave(&mut self) -> Option<(RtpSealer, Vec<Left>)> {
        let sealer = self.sealer.take()?;
        self.scope = Scope::Nothing;
        let left = std::mem::take(&mut self.streams).into_iter().map(|stream| Left {
            mid: stream.mid,
            kind: stream.kind,
            ssrc: stream.ssrc,
            next: stream.used.next(),
            repair: stream.repair.map(|repair| (repair.ssrc, repair.next)),
        });
        Some((sealer, left.collect()))
    }

    /// Keeps nothing of what was sent so far on a stream for retransmission. False when it is not written here.
    pub(super) fn forget_sent(&mut self, ssrc: u32) -> bool {
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.ssrc == ssrc) else { return false };
        if let Some(repair) = &mut stream.repair {
            repair.kept.clear();
        }
        true
    }

    /// Writes a packet of one of the streams into an empty buffer. `None` when its number was used already, or the
    /// stream is not written here.
    pub(super) fn draft(
        &mut self,
        now: Instant,
        queued: &Queued,
        packet: &Arc<Packet>,
        mut buffer: Vec<u8>,
    ) -> Option<Draft> {
        let stream = self.streams.iter_mut().find(|stream| stream.slot == queued.slot)?;
        let rewritten = &queued.rewritten;
        if !stream.used.take(rewritten.sequence) {
            return None;
        }
        let header = Header {
            payload_type: queued.payload_type,
            marker: rewritten.marker,
            sequence: rewritten.sequence as u16,
            timestamp: rewritten.timestamp,
            ssrc: stream.ssrc,
        };
        buffer.reserve(OVERHEAD + packet.payload.len());
        let sent_at = send_time(now.saturating_duration_since(self.epoch));
        let length = write_header(&header, &stream.ids, &stream.label, sent_at, packet, rewritten, &mut buffer);
        let payload = write_payload(packet, rewritten, &mut buffer);
        stream.sent(queued, packet, payload);
        Some(Draft { packet: buffer, header: length, ssrc: stream.ssrc, index: rewritten.sequence })
    }

    /// Protects packets that leave together, padded to few lengths.
    pub(super) fn finish(&self, drafts: &mut Drafts, mut send: impl FnMut(Vec<u8>)) {
        let Some(sealer) = &self.sealer else { return };
        let lengths: ArrayVec<usize, TOGETHER> = drafts.iter().map(|draft| draft.packet.len()).collect();
        for (Draft { mut packet, header, ssrc, index }, padding) in drafts.drain(..).zip(paddings(&lengths)) {
            pad(&mut packet, padding);
            if sealer.seal(&mut packet, 0, header, ssrc, index) {
                send(packet);
            }
        }
    }

    /// The remote side's RTCP, if it is authentic.
    pub(super) fn open(&self, protected: &[u8]) -> Option<Vec<u8>> {
        self.incoming.open(protected).map(|(compound, _)| compound)
    }

    /// Reads the remote side's RTCP. `resend` gets the retransmissions it asks for.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        compound: &[u8],
        mut resend: impl FnMut(Vec<u8>),
        events: &mut Vec<PeerEvent>,
    ) -> Heard {
        let (mut heard, mut missing) = (Heard::All, 0);
        for statement in rtcp::statements(compound) {
            missing += usize::from(matches!(statement, Statement::Missing(_)));
            let known = match statement {
                // On streams that nobody writes yet.
                Statement::Report(_) | Statement::Missing(_) if self.streams.is_empty() => true,
                Statement::Report(report) => self.note(report),
                Statement::Missing(_) if missing > MOST_MISSING => true,
                Statement::Missing(missing) => self.repair(now, missing, &mut resend),
                Statement::Introduction => true,
                Statement::Other => false,
            };
            if !known {
                heard = Heard::Some;
            }
        }
        // In the order of the streams: that of the reports is chance.
        events.extend(self.streams.iter_mut().filter_map(|stream| stream.tell(now)));
        heard
    }

    /// The engine's RTCP, with what it cannot know of these streams put right. Nothing, for what it was made to send in
    /// order to tell its path.
    pub(super) fn correct(&mut self, now: Instant, protected: Vec<u8>) -> Option<Vec<u8>> {
        let Some(cipher) = self.local.rtcp() else { return Some(protected) };
        let Some((mut compound, index)) = cipher.open(&protected) else { return Some(protected) };
        rtcp::remove_requests_to_self(&mut compound);
        if compound.is_empty() {
            return None;
        }
        let streams = &mut self.streams;
        rtcp::correct_sender_reports(&mut compound, |ssrc, middle| {
            let stream = streams.iter_mut().find(|stream| stream.ssrc == ssrc)?;
            stream.reported = Some((middle, now));
            stream.sender_info(now)
        });
        Some(cipher.seal(compound, index).unwrap_or(protected))
    }

    /// Notes a report. False when it is about a stream of the engine.
    fn note(&mut self, report: Report) -> bool {
        let of_repair = |stream: &Stream| stream.repair.as_ref().is_some_and(|repair| repair.ssrc == report.ssrc);
        match self.streams.iter_mut().find(|stream| stream.ssrc == report.ssrc) {
            Some(stream) => stream.heard = Some(report),
            None => return self.streams.iter().any(of_repair),
        }
        true
    }

    fn repair(&mut self, now: Instant, missing: Missing, resend: &mut impl FnMut(Vec<u8>)) -> bool {
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.ssrc == missing.ssrc) else { return false };
        let (Some(repair), Some(sealer)) = (&mut stream.repair, &self.sealer) else { return true };
        let sent_at = send_time(now.saturating_duration_since(self.epoch));
        for sequence in missing.sequences() {
            let Some((packet, rewritten, repair_type)) = repair.kept.find(sequence) else { continue };
            let Some(rest) = repair.allowance.checked_sub(packet.payload.len()) else { continue };
            repair.allowance = rest;
            let header = Header {
                payload_type: repair_type,
                marker: rewritten.marker,
                sequence: repair.next as u16,
                timestamp: rewritten.timestamp,
                ssrc: repair.ssrc,
            };
            let mut datagram = Vec::with_capacity(OVERHEAD + packet.payload.len());
            let length = write_header(&header, &stream.ids, &stream.label, sent_at, packet, &rewritten, &mut datagram);
            datagram.extend_from_slice(&sequence.to_be_bytes());
            write_payload(packet, &rewritten, &mut datagram);
            if sealer.seal(&mut datagram, 0, length, repair.ssrc, repair.next) {
                resend(datagram);
            }
            repair.next += 1;
        }
        true
    }
}

impl Losses {
    /// Adds a report. Tells the share lost as often as the engine's statistics do, each report weighed by its packets:
    /// a single one is mostly chance.
    fn report(&mut self, now: Instant, report: &Report) -> Option<f32> {
        if let Some(before) = self.highest.replace(report.highest_sequence) {
            let expected = report.highest_sequence.wrapping_sub(before).cast_signed().max(0).unsigned_abs();
            self.expected += u64::from(expected);
            self.lost += f32::from(report.fraction_lost) / 256.0 * expected as f32;
        }
        let since = *self.since.get_or_insert(now);
        if self.expected == 0 || now.saturating_duration_since(since) < STATISTICS {
            return None;
        }
        let share = self.lost / self.expected as f32;
        (self.expected, self.lost, self.since) = (0, 0.0, Some(now));
        Some(share)
    }
}

impl Stream {
    /// What the report that was noted says.
    fn tell(&mut self, now: Instant) -> Option<PeerEvent> {
        let report = self.heard.take()?;
        let held = Duration::from_nanos(u64::from(report.delay) * 1_000_000_000 / 65_536);
        let sent = self.reported.filter(|(middle, _)| *middle == report.last_report);
        Some(PeerEvent::Egress {
            mid: self.mid,
            loss: self.losses.report(now, &report),
            rtt: sent.and_then(|(_, at)| now.saturating_duration_since(at).checked_sub(held)),
            highest_sequence: Some(report.highest_sequence.into()),
        })
    }

    /// Notes a packet that is on its way.
    fn sent(&mut self, queued: &Queued, packet: &Arc<Packet>, payload: usize) {
        let rewritten = queued.rewritten;
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload as u32);
        let ahead =
            Duration::from_nanos(u64::from(rewritten.catching_up) * 1_000_000_000 / u64::from(self.clock_rate.max(1)));
        // The wall clock of the timestamp it is sent with.
        self.reference = Some((rewritten.timestamp, packet.captured + ahead));
        let Some(repair) = self.repair.as_mut().filter(|_| self.kind == MediaKind::Video) else { return };
        repair.allowance = (repair.allowance + payload / MEDIA_PER_REPAIR).min(MOST_ALLOWED);
        let of = repair.types.iter().find(|(media, _)| *media == queued.payload_type);
        if let Some((_, repair_type)) = of {
            repair.kept.push(packet, &rewritten, *repair_type);
        }
    }

    /// What a sender report says now; `None` while nothing was sent.
    fn sender_info(&self, now: Instant) -> Option<SenderInfo> {
        let (timestamp, captured) = self.reference?;
        let ticks = |time: Duration| (time.as_nanos() * u128::from(self.clock_rate) / 1_000_000_000) as u32;
        let since = ticks(now.saturating_duration_since(captured));
        let until = ticks(captured.saturating_duration_since(now));
        let timestamp = timestamp.wrapping_add(since).wrapping_sub(until);
        Some(SenderInfo { timestamp, packets: self.packets, octets: self.octets })
    }
}

fn write_header(
    header: &Header,
    ids: &ExtensionIds,
    label: &[u8],
    send_time: u32,
    packet: &Packet,
    rewritten: &Rewritten,
    datagram: &mut Vec<u8>,
) -> usize {
    let extensions = &packet.extensions;
    // One that could not be read is left out: its numbers would not fit what was sent before.
    let descriptor = extensions.dependency_descriptor.as_deref();
    let parsed = packet.dependency.as_deref().filter(|_| !rewritten.empty && ids.dependency_descriptor != 0);
    let changed = rewritten.dependency.and_then(|changes| rewrite(descriptor?, Some(parsed?), changes));
    let descriptor = match (parsed, rewritten.dependency) {
        (None, _) => None,
        (Some(_), None) => descriptor,
        (Some(_), Some(_)) => changed.as_deref(),
    };
    let values = Values {
        mid: label,
        send_time,
        audio_level: extensions.audio_level,
        video_orientation: extensions.video_orientation,
        capture_time: extensions.capture_time,
        playout_delay: extensions.playout_delay,
        dependency_descriptor: descriptor.unwrap_or_default(),
    };
    header.write(ids, &values, datagram)
}

/// Appends the payload as this receiver gets it, and returns its length.
fn write_payload(packet: &Packet, rewritten: &Rewritten, datagram: &mut Vec<u8>) -> usize {
    if rewritten.empty {
        return 0;
    }
    let start = datagram.len();
    if let (Some(payload_type), Some(Redundant { payload, .. })) = (rewritten.redundant, &packet.redundant) {
        datagram.extend_from_slice(payload);
        if let Some(blocks) = datagram.get_mut(start..) {
            red::retype(blocks, payload_type);
        }
        return payload.len();
    }
    datagram.extend_from_slice(&packet.payload);
    if let Some(ids) = rewritten.ids
        && let Some(payload) = datagram.get_mut(start..)
    {
        ids.patch(&packet.descriptor, payload);
    }
    packet.payload.len()
}

#[cfg(test)]
mod tests;
