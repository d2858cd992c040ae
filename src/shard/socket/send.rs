//! A batch of datagrams to send: gathered into runs by destination and size. No system calls.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::AddAssign;

use super::{Batching, UdpSocket, native, portable};

/// Datagrams in one run. The kernel's own limit (UDP_MAX_SEGMENTS before Linux 6.9).
pub(super) const RUN_DATAGRAMS: usize = 64;

/// Bytes in one run. Headers added, it has to stay below the 65,535 bytes of an IP packet.
const RUN_BYTES: usize = 65_000;

/// Open runs looked back at for one that continues. Larger: finds runs in more finely interleaved pushes, at a
/// comparison per run and push; smaller: fewer runs. Callers push peer by peer, so the last run nearly always fits.
const LOOK_BACK: usize = 4;

/// Datagrams after which the batch asks to be flushed. Larger: more per call, but they have left the processor's cache
/// when the kernel reads them (256 of 1200 bytes are 300 KiB) and the first ones wait longer; smaller: more calls.
const FLUSH_AT: usize = 256;

/// Datagrams held at most. Larger: more memory (about 10 MB at full size) when a caller does not flush in time;
/// smaller: loss sooner then.
const CAPACITY: usize = 8192;

/// Buffers kept for reuse. Larger: more memory that is idle between turns (0.6 MB); smaller: more are allocated anew in
/// long turns.
const SPARE: usize = 512;

/// Buffers smaller than this are freed: most datagrams would have to enlarge them.
const SPARE_BYTES: usize = 1024;

/// Datagrams waiting to be sent. Reuse it: it keeps its lists, and the buffers until they are
/// [reclaimed](Self::reclaim).
#[derive(Debug, Default)]
pub struct SendBatch {
    /// The first `used` are the runs of this batch; the others are kept for their memory.
    runs: Vec<Run>,
    used: usize,
    datagrams: usize,
    overflowed: u64,
    /// Buffers of datagrams that were sent.
    spare: Vec<Vec<u8>>,
}

/// Datagrams that may leave as one message: one destination, one source, equal sizes, the last possibly shorter.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) remote: SocketAddr,
    pub(super) local_ip: Option<IpAddr>,
    pub(super) datagrams: Vec<Vec<u8>>,
    bytes: usize,
}

/// What became of a batch.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct SendReport {
    /// Datagrams the kernel took.
    pub datagrams: u64,
    /// Their bytes, without headers.
    pub bytes: u64,
    /// Messages they went in; `datagrams / messages` is how well runs formed.
    pub messages: u64,
    /// System calls made.
    pub calls: u64,
    dropped: [u64; SendDrop::ALL.len()],
}

/// Why a datagram was not sent. None of these is retried: media that is late is media that is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendDrop {
    /// The send buffer (or the network card's queue) is full: the link is slower than what is sent.
    BufferFull,
    /// Larger than a UDP datagram can be.
    TooBig,
    /// No route to it, or no address of ours that reaches it.
    Unreachable,
    /// A firewall or the system's policy forbids it.
    Forbidden,
    /// Pushed while the batch was full: the caller did not flush.
    Overflow,
    /// Any other error.
    Other,
}

impl SendBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a datagram. `local_ip` is the address of ours it is to leave from, normally the one the peer's own
    /// datagrams were sent to; `None` lets the system choose. The order per destination is kept.
    pub fn push(&mut self, remote: SocketAddr, local_ip: Option<IpAddr>, contents: Vec<u8>) {
        if self.datagrams >= CAPACITY {
            self.overflowed += 1;
            return;
        }
        self.datagrams += 1;
        let recent = self.runs[..self.used].iter_mut().rev().take(LOOK_BACK);
        // Only the newest run of a destination may grow: an older one would put this datagram before later ones.
        let newest = recent.into_iter().find(|run| run.remote == remote);
        match newest {
            Some(run) if run.local_ip == local_ip && run.admits(contents.len()) => run.push(contents),
            _ => self.start_run(remote, local_ip, contents),
        }
    }

    /// Datagrams waiting.
    pub fn len(&self) -> usize {
        self.datagrams
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.datagrams == 0
    }

    /// Enough waits that it should be flushed before more is pushed.
    pub fn is_due(&self) -> bool {
        self.datagrams >= FLUSH_AT
    }

    /// Sends everything and empties the batch. Never blocks: what the kernel does not take at once is dropped and
    /// counted, and one bad destination does not stop the others.
    pub fn flush(&mut self, socket: &UdpSocket) -> SendReport {
        let mut report = SendReport::default();
        report.drop(SendDrop::Overflow, std::mem::take(&mut self.overflowed));
        let runs = &self.runs[..self.used];
        match socket.batching() {
            Batching::Segments | Batching::Messages => native::send(socket, runs, &mut report),
            Batching::None => portable::send(socket, runs, &mut report),
        }
        for run in &mut self.runs[..self.used] {
            for mut datagram in run.datagrams.drain(..) {
                if self.spare.len() < SPARE && datagram.capacity() >= SPARE_BYTES {
                    datagram.clear();
                    self.spare.push(datagram);
                }
            }
        }
        self.used = 0;
        self.datagrams = 0;
        report
    }

    /// Hands the buffers of what was sent to who makes the next datagrams, up to a bound; they are empty.
    pub fn reclaim(&mut self, spare: &mut Vec<Vec<u8>>) {
        let room = SPARE.saturating_sub(spare.len());
        spare.extend(self.spare.drain(..).take(room));
    }

    fn start_run(&mut self, remote: SocketAddr, local_ip: Option<IpAddr>, first: Vec<u8>) {
        let bytes = first.len();
        match self.runs.get_mut(self.used) {
            Some(run) => {
                (run.remote, run.local_ip, run.bytes) = (remote, local_ip, bytes);
                run.datagrams.push(first);
            }
            None => self.runs.push(Run { remote, local_ip, datagrams: vec![first], bytes }),
        }
        self.used += 1;
    }
}

impl Run {
    /// Length of its datagrams in bytes, of all but a shorter last one.
    pub(super) fn segment(&self) -> usize {
        self.datagrams.first().map_or(0, Vec::len)
    }

    /// Whether a datagram of `len` bytes may follow.
    fn admits(&self, len: usize) -> bool {
        let last = self.datagrams.last().map_or(0, Vec::len);
        (1..=last).contains(&len)
            && last == self.segment()
            && self.datagrams.len() < RUN_DATAGRAMS
            && self.bytes + len <= RUN_BYTES
    }

    fn push(&mut self, contents: Vec<u8>) {
        self.bytes += contents.len();
        self.datagrams.push(contents);
    }
}

impl SendReport {
    /// Datagrams not sent for this reason.
    pub fn dropped(&self, reason: SendDrop) -> u64 {
        self.dropped[reason as usize]
    }

    /// Datagrams not sent for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// The kernel took one message with these datagrams.
    pub(super) fn sent(&mut self, datagrams: &[Vec<u8>]) {
        self.messages += 1;
        self.datagrams += datagrams.len() as u64;
        self.bytes += datagrams.iter().map(|datagram| datagram.len() as u64).sum::<u64>();
    }

    pub(super) fn drop(&mut self, reason: SendDrop, datagrams: u64) {
        self.dropped[reason as usize] += datagrams;
    }
}

impl AddAssign for SendReport {
    fn add_assign(&mut self, other: Self) {
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
        self.messages += other.messages;
        self.calls += other.calls;
        for (sum, more) in self.dropped.iter_mut().zip(other.dropped) {
            *sum += more;
        }
    }
}

impl SendDrop {
    /// All reasons, in the order they are declared.
    pub const ALL: [Self; 6] =
        [Self::BufferFull, Self::TooBig, Self::Unreachable, Self::Forbidden, Self::Overflow, Self::Other];

    /// The reason as a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::BufferFull => "buffer_full",
            Self::TooBig => "too_big",
            Self::Unreachable => "unreachable",
            Self::Forbidden => "forbidden",
            Self::Overflow => "overflow",
            Self::Other => "other",
        }
    }

    /// The reason behind an error of a send call.
    pub(super) fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Self::BufferFull,
            Some(libc::EMSGSIZE) => Self::TooBig,
            Some(
                // EINVAL is what Linux says to a source address that is no longer ours, and to port 0.
                libc::ENETUNREACH
                | libc::EHOSTUNREACH
                | libc::ENETDOWN
                | libc::EHOSTDOWN
                | libc::EADDRNOTAVAIL
                | libc::EAFNOSUPPORT
                | libc::EINVAL,
            ) => Self::Unreachable,
            Some(libc::EPERM | libc::EACCES) => Self::Forbidden,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes (destination, length) pairs and shows the runs as (destination, lengths).
    fn runs(pushed: &[(char, usize)]) -> Vec<(char, Vec<usize>)> {
        let mut batch = SendBatch::new();
        for &(name, len) in pushed {
            batch.push(SocketAddr::from(([192, 0, 2, 1], name as u16)), None, vec![0; len]);
        }
        let shown = batch.runs[..batch.used].iter().map(|run| {
            let name = char::from(u8::try_from(run.remote.port()).expect("a letter"));
            (name, run.datagrams.iter().map(Vec::len).collect())
        });
        shown.collect()
    }

    #[test]
    fn runs_hold_equal_sizes_for_one_destination_and_a_shorter_last() {
        for (what, pushed, expected) in [
            ("equal", vec![('a', 9), ('a', 9), ('a', 9)], vec![('a', vec![9, 9, 9])]),
            ("shorter last", vec![('a', 9), ('a', 9), ('a', 4)], vec![('a', vec![9, 9, 4])]),
            ("none after a shorter", vec![('a', 9), ('a', 4), ('a', 4)], vec![('a', vec![9, 4]), ('a', vec![4])]),
            ("longer", vec![('a', 4), ('a', 9), ('a', 9)], vec![('a', vec![4]), ('a', vec![9, 9])]),
            ("empty", vec![('a', 0), ('a', 0)], vec![('a', vec![0]), ('a', vec![0])]),
            ("interleaved", vec![('a', 9), ('b', 9), ('a', 9), ('b', 9)], vec![('a', vec![9, 9]), ('b', vec![9, 9])]),
            (
                "order before size: the older run of a stays shut",
                vec![('a', 4), ('a', 9), ('b', 9), ('a', 4), ('a', 4)],
                vec![('a', vec![4]), ('a', vec![9, 4]), ('b', vec![9]), ('a', vec![4])],
            ),
            (
                "beyond the look-back",
                vec![('a', 9), ('b', 9), ('c', 9), ('d', 9), ('e', 9), ('a', 9)],
                vec![('a', vec![9]), ('b', vec![9]), ('c', vec![9]), ('d', vec![9]), ('e', vec![9]), ('a', vec![9])],
            ),
            ("64 at most", vec![('a', 9); 65], vec![('a', vec![9; 64]), ('a', vec![9])]),
            ("65,000 bytes at most", vec![('a', 13_001); 5], vec![('a', vec![13_001; 4]), ('a', vec![13_001])]),
        ] {
            assert_eq!(runs(&pushed), expected, "{what}");
        }
    }

    #[test]
    fn a_run_has_one_source_address() {
        let remote = SocketAddr::from(([192, 0, 2, 1], 1));
        let sources = [Some([10, 0, 0, 1].into()), Some([10, 0, 0, 2].into()), Some([10, 0, 0, 1].into()), None];
        let mut batch = SendBatch::new();
        for source in sources {
            batch.push(remote, source, vec![0; 9]);
        }
        let shown: Vec<_> = batch.runs[..batch.used].iter().map(|run| run.local_ip).collect();
        assert_eq!(shown, sources);
    }

    #[test]
    fn a_batch_nobody_flushes_stays_bounded() {
        let mut batch = SendBatch::new();
        for _ in 0..CAPACITY + 3 {
            batch.push(SocketAddr::from(([192, 0, 2, 1], 1)), None, vec![0; 9]);
        }
        assert_eq!((batch.len(), batch.overflowed, batch.is_due()), (CAPACITY, 3, true));
    }

    #[test]
    fn every_drop_reason_has_its_own_counter() {
        let mut report = SendReport::default();
        for (index, reason) in SendDrop::ALL.into_iter().enumerate() {
            report.drop(reason, index as u64 + 1);
        }
        report += report;
        let counted: Vec<_> = SendDrop::ALL.into_iter().map(|reason| report.dropped(reason)).collect();
        assert_eq!(counted, [2, 4, 6, 8, 10, 12]);
        assert_eq!(report.dropped_total(), 42);
    }
}
