//! The machine's floor: fan-out with encryption and the system call, and nothing else.
//!
//! One thread seals a packet for each receiver and sends it; another core empties the receivers' sockets, for which it
//! waits as the generator does: over loopback it is the sender who pays for telling somebody who waits. CPU time is
//! taken of the sending thread while it sends; it waits for the receivers after each round, so that no socket
//! overflows (a packet dropped at a full socket is cheaper than one delivered).
//!
//! That loop is hot: code, keys and sockets are in the cache all the time. A server of few viewers is woken for each
//! picture after milliseconds of sleep. The same loop in that rhythm tells what of its price is the machine's.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use loadtest::socket::{ClientSocket, Message, Taking};
use mio::{Events, Interest, Poll, Token};
use serde::Serialize;

use super::system;

/// Bytes of each packet before header and tag: the size of the video packets that are measured.
pub(super) const PAYLOAD: usize = 1_100;

/// An RTP header with the extensions that browsers negotiate.
const HEADER: usize = 28;

/// Bytes of GCM's tag.
const TAG: usize = 16;

/// Header, payload, tag.
const PACKET: usize = HEADER + PAYLOAD + TAG;

/// CPU time spent sending, per way of sending. Longer: steadier figures.
const SAMPLE: Duration = Duration::from_millis(700);

/// Bytes of each packet of sound before header and tag: Opus at 64 kbit/s.
const SOUND: usize = 160;

/// Packets of a picture: 1 Mbit/s at [`PICTURES`].
const PICTURE: usize = 4;

/// Pictures a second.
const PICTURES: u32 = 30;

/// Packets of sound a second.
const SOUNDS: u32 = 50;

/// How long the rhythm is kept up. Longer: steadier figures.
const PACED: Duration = Duration::from_secs(5);

/// Messages per sendmmsg.
const BATCH: usize = 64;

/// How often the receiving thread looks whether it is to stop.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

/// For the receivers to empty their sockets after a round; then the round is taken as lost.
const ROUND_PATIENCE: Duration = Duration::from_millis(200);

/// Microseconds of CPU per packet, by way of sending.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(super) struct Floor {
    pub(super) send_to_us: f64,
    /// send_to in the rhythm of one publisher.
    pub(super) paced_us: f64,
    pub(super) sendmmsg_us: f64,
    pub(super) gso4_us: f64,
    pub(super) gso8_us: f64,
}

/// How packets are handed to the kernel.
#[derive(Debug, Clone, Copy)]
enum Way {
    SendTo,
    Sendmmsg,
    /// sendmmsg with this many packets for one receiver in each message (UDP_SEGMENT).
    Gso(usize),
}

/// What a publisher sends at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Picture,
    Sound,
}

impl Sent {
    /// How many packets, of how many bytes.
    fn packets(self) -> (usize, usize) {
        match self {
            Self::Picture => (PICTURE, PACKET),
            Self::Sound => (1, HEADER + SOUND + TAG),
        }
    }
}

/// When a publisher sends what, in order, for so long.
fn rhythm(time: Duration) -> Vec<(Duration, Sent)> {
    let every = |per_second: u32, what| {
        let times = (0..).map(move |number| Duration::from_secs(1) * number / per_second);
        times.take_while(move |at| *at < time).map(move |at| (at, what))
    };
    let mut rhythm: Vec<_> = every(PICTURES, Sent::Picture).chain(every(SOUNDS, Sent::Sound)).collect();
    rhythm.sort_by_key(|(at, _)| *at);
    rhythm
}

/// Measures all ways, the calling thread sending.
pub(super) fn measure(receivers: usize, receiving_core: usize, taking: Taking) -> anyhow::Result<Floor> {
    let drain = Drain::start(receivers, receiving_core, taking)?;
    let mut sender = Sender::new(&drain.addresses)?;
    let mut cost = |way| sender.cost(way, &drain.received);
    Ok(Floor {
        send_to_us: cost(Way::SendTo)?,
        sendmmsg_us: cost(Way::Sendmmsg)?,
        gso4_us: cost(Way::Gso(4))?,
        gso8_us: cost(Way::Gso(8))?,
        paced_us: sender.paced_cost()?,
    })
}

/// The receivers, emptied by a thread on another core.
struct Drain {
    addresses: Vec<SocketAddr>,
    received: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drain {
    fn start(receivers: usize, core: usize, taking: Taking) -> io::Result<Self> {
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        let mut sockets: Vec<ClientSocket> =
            (0..receivers).map(|_| ClientSocket::bind(loopback, taking)).collect::<io::Result<_>>()?;
        let addresses = sockets.iter().map(ClientSocket::local_addr).collect::<io::Result<_>>()?;
        let mut poll = Poll::new()?;
        for (index, socket) in sockets.iter_mut().enumerate() {
            poll.registry().register(socket.source(), Token(index), Interest::READABLE)?;
        }
        let (received, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stop) = (Arc::clone(&received), Arc::clone(&done));
        let thread = std::thread::spawn(move || {
            // Without a core of its own the figures are worse, not wrong.
            let _ = system::pin(core);
            let (mut events, mut message) = (Events::with_capacity(receivers), Message::new());
            while !stop.load(Ordering::Relaxed) && poll.poll(&mut events, Some(STOP_INTERVAL)).is_ok() {
                let readable = events.iter().filter_map(|event| sockets.get(event.token().0));
                count.fetch_add(readable.map(|socket| empty(socket, &mut message)).sum(), Ordering::Relaxed);
            }
        });
        Ok(Self { addresses, received, done, thread: Some(thread) })
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Takes everything that waits; returns how many.
fn empty(socket: &ClientSocket, message: &mut Message) -> u64 {
    let mut count = 0;
    while socket.receive(message).is_ok() {
        count += message.datagrams().count() as u64;
    }
    count
}

/// The sending side of a bare SFU.
struct Sender {
    socket: UdpSocket,
    receivers: Vec<Receiver>,
    /// One arena for a round: each receiver's packets lie together, as GSO wants them.
    arena: Vec<u8>,
    sent: u64,
}

struct Receiver {
    address: libc::sockaddr_in,
    destination: SocketAddr,
    key: LessSafeKey,
}

impl Sender {
    fn new(addresses: &[SocketAddr]) -> anyhow::Result<Self> {
        let receivers = addresses
            .iter()
            .map(|destination| {
                let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).map_err(|_| anyhow::anyhow!("no AES-256-GCM"))?;
                Ok(Receiver { address: sockaddr(*destination), destination: *destination, key: LessSafeKey::new(key) })
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { socket: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, receivers, arena: Vec::new(), sent: 0 })
    }

    /// CPU microseconds per packet, over rounds of one message for each receiver.
    fn cost(&mut self, way: Way, received: &AtomicU64) -> anyhow::Result<f64> {
        let per_receiver = if let Way::Gso(packets) = way { packets } else { 1 };
        self.arena.resize(self.receivers.len() * per_receiver * PACKET, 0);
        let (mut busy, mut packets) = (Duration::ZERO, 0);
        while busy < SAMPLE {
            let before = thread_cpu_time()?;
            self.seal(per_receiver, PACKET);
            match way {
                Way::SendTo => self.send_to(1, PACKET)?,
                Way::Sendmmsg => self.sendmmsg(1)?,
                Way::Gso(packets) => self.sendmmsg(packets)?,
            }
            busy += thread_cpu_time()? - before;
            packets += self.receivers.len() * per_receiver;
            self.sent += (self.receivers.len() * per_receiver) as u64;
            self.wait(received);
        }
        Ok(busy.as_secs_f64() * 1e6 / packets as f64)
    }

    /// CPU microseconds per packet in the rhythm of one publisher, asleep in between.
    fn paced_cost(&mut self) -> anyhow::Result<f64> {
        self.arena.resize(self.receivers.len() * PICTURE * PACKET, 0);
        let (before, start, mut packets) = (thread_cpu_time()?, Instant::now(), 0);
        for (due, what) in rhythm(PACED) {
            while let Some(left) = (start + due).checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
                std::thread::park_timeout(left);
            }
            let (per_receiver, length) = what.packets();
            self.seal(per_receiver, length);
            self.send_to(per_receiver, length)?;
            packets += self.receivers.len() * per_receiver;
        }
        Ok((thread_cpu_time()? - before).as_secs_f64() * 1e6 / packets as f64)
    }

    /// Encrypts every packet of a round in place, each receiver with its own key.
    fn seal(&mut self, per_receiver: usize, length: usize) {
        let packets = self.arena.chunks_exact_mut(length);
        for (index, packet) in packets.enumerate() {
            let Some(receiver) = self.receivers.get(index / per_receiver) else { return };
            let (header, body) = packet.split_at_mut(HEADER);
            let (payload, tag) = body.split_at_mut(length - HEADER - TAG);
            let nonce = Nonce::assume_unique_for_key([index as u8; 12]);
            let sealed = receiver.key.seal_in_place_separate_tag(nonce, Aad::from(&*header), payload);
            if let Ok(sealed) = sealed {
                tag.copy_from_slice(sealed.as_ref());
            }
        }
    }

    fn send_to(&self, per_receiver: usize, length: usize) -> io::Result<()> {
        for (receiver, packets) in self.receivers.iter().zip(self.arena.chunks_exact(length * per_receiver)) {
            for packet in packets.chunks_exact(length) {
                self.socket.send_to(packet, receiver.destination)?;
            }
        }
        Ok(())
    }

    /// One message of `segments` packets for each receiver, [`BATCH`] messages to a call.
    fn sendmmsg(&mut self, segments: usize) -> io::Result<()> {
        let mut control = Segments::new(PACKET as u16);
        let mut payloads: Vec<libc::iovec> = self
            .arena
            .chunks_exact_mut(PACKET * segments)
            .map(|run| libc::iovec { iov_base: run.as_mut_ptr().cast(), iov_len: run.len() })
            .collect();
        let mut messages: Vec<libc::mmsghdr> = self
            .receivers
            .iter_mut()
            .zip(&mut payloads)
            .map(|(receiver, payload)| message(receiver, payload, (segments > 1).then_some(&mut control)))
            .collect();
        let mut rest = &mut messages[..];
        while !rest.is_empty() {
            let count = rest.len().min(BATCH) as libc::c_uint;
            // SAFETY: every message points to an address, a payload and a control buffer that outlive the call.
            let sent = unsafe { libc::sendmmsg(self.socket.as_raw_fd(), rest.as_mut_ptr(), count, 0) };
            let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
            rest = &mut rest[sent..];
        }
        Ok(())
    }

    /// Until the receivers have taken everything that was sent.
    fn wait(&mut self, received: &AtomicU64) {
        let end = Instant::now() + ROUND_PATIENCE;
        while received.load(Ordering::Relaxed) < self.sent && Instant::now() < end {
            std::thread::yield_now();
        }
        self.sent = received.load(Ordering::Relaxed);
    }
}

/// Room for one control message with a 16-bit value, aligned as the kernel wants it.
#[repr(C)]
struct Segments {
    header: libc::cmsghdr,
    size: u16,
}

impl Segments {
    /// UDP_SEGMENT: the payload is cut into datagrams of this size.
    fn new(size: u16) -> Self {
        // SAFETY: an all-zero cmsghdr is a valid value of a plain C struct.
        let mut header: libc::cmsghdr = unsafe { std::mem::zeroed() };
        // SAFETY: pure arithmetic.
        header.cmsg_len = unsafe { libc::CMSG_LEN(2) } as _;
        header.cmsg_level = libc::SOL_UDP;
        header.cmsg_type = libc::UDP_SEGMENT;
        Self { header, size }
    }
}

fn message(receiver: &mut Receiver, payload: &mut libc::iovec, segments: Option<&mut Segments>) -> libc::mmsghdr {
    // SAFETY: an all-zero mmsghdr is a valid value of a plain C struct.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_name = (&raw mut receiver.address).cast();
    message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    message.msg_hdr.msg_iov = payload;
    message.msg_hdr.msg_iovlen = 1;
    if let Some(segments) = segments {
        message.msg_hdr.msg_control = (&raw mut *segments).cast();
        message.msg_hdr.msg_controllen = size_of::<Segments>() as _;
    }
    message
}

/// The C form of a loopback address.
fn sockaddr(address: SocketAddr) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be() },
        sin_zero: [0; 8],
    }
}

/// Finer than schedstat, which is brought up to date at the scheduler's tick only.
fn thread_cpu_time() -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0;
    if failed {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_sending_delivers_whole_packets_to_every_receiver() {
        let sockets: Vec<UdpSocket> = (0..3).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<SocketAddr> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let mut sender = Sender::new(&addresses).unwrap();
        for (way, packets) in [(Way::SendTo, 1), (Way::Sendmmsg, 1), (Way::Gso(4), 4), (Way::Gso(8), 8)] {
            sender.arena.resize(3 * packets * PACKET, 0);
            sender.seal(packets, PACKET);
            match way {
                Way::SendTo => sender.send_to(1, PACKET).unwrap(),
                _ => sender.sendmmsg(packets).unwrap(),
            }
            for socket in &sockets {
                for _ in 0..packets {
                    let mut buffer = [0; 2_048];
                    assert_eq!(socket.recv(&mut buffer).unwrap(), PACKET, "{way:?}");
                }
            }
        }
    }

    #[test]
    fn the_rhythm_is_that_of_a_publisher_and_every_receiver_gets_all_of_a_picture() {
        let rhythm = rhythm(Duration::from_secs(2));
        assert_eq!(rhythm.iter().filter(|(_, what)| *what == Sent::Picture).count(), 60);
        assert_eq!(rhythm.iter().filter(|(_, what)| *what == Sent::Sound).count(), 100);
        assert!(rhythm.is_sorted_by_key(|(at, _)| *at));

        let sockets: Vec<UdpSocket> = (0..2).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<SocketAddr> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let mut sender = Sender::new(&addresses).unwrap();
        for what in [Sent::Picture, Sent::Sound] {
            let (packets, length) = what.packets();
            sender.arena.resize(2 * PICTURE * PACKET, 0);
            sender.seal(packets, length);
            sender.send_to(packets, length).unwrap();
            for socket in &sockets {
                for _ in 0..packets {
                    assert_eq!(socket.recv(&mut [0; 2_048]).unwrap(), length, "{what:?}");
                }
            }
        }
    }
}
