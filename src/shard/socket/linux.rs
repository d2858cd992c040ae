//! `recvmmsg` with UDP_GRO and `sendmmsg` with UDP_SEGMENT (Linux). All of the socket's unsafe code for them.
//!
//! Message headers are built on the stack for each call: that is about 100 ns per batch, and no pointer outlives the
//! function that made it.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::ptr;

use arrayvec::ArrayVec;
use libc::{c_int, c_void};
use socket2::SockAddr;

use super::receive::{MESSAGES, Message, RecvBatch};
use super::send::{RUN_DATAGRAMS, Run, SendDrop, SendReport};
use super::senders::Senders;
use super::{Batching, SKIPPED_ERRORS, SocketOptions, UdpSocket, is_of_another, unmapped};

/// Buffers handed to one `sendmmsg`. Larger: more stack (16 bytes each); smaller: more calls when runs are long.
const VECTORS: usize = 512;
const _: () = assert!(VECTORS >= RUN_DATAGRAMS, "a run always fits");

/// Runs in a row that the kernel may refuse as a run but take one by one before runs are given up. Larger: a machine
/// that can not segment pays for more failed calls; smaller: a few destinations behind a narrow path (their path MTU
/// is below the segment size) take the gain from everybody.
pub(super) const REFUSED_RUNS: u32 = 16;

/// Room for the control messages of one received message: packet info (40 bytes), segment size and drop count (24
/// each).
const CONTROL_BYTES: usize = 96;

/// Sets up a fresh socket and says what it can do.
pub(super) fn configure(socket: &impl AsRawFd, address: SocketAddr, wanted: Batching) -> io::Result<Batching> {
    match address {
        SocketAddr::V4(_) => set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?,
        SocketAddr::V6(_) => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?,
    }
    // Only a counter for the metrics.
    let _ = set_option(socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1);
    if wanted != Batching::Segments {
        return Ok(wanted);
    }
    // Without joined datagrams receiving costs more and is otherwise the same.
    let _ = set_option(socket, libc::SOL_UDP, libc::UDP_GRO, 1);
    // 0 is "no segmentation by default" and is refused by kernels that know nothing of it. Asking matters: those would
    // ignore the control message and send the whole run as one datagram.
    match set_option(socket, libc::SOL_UDP, libc::UDP_SEGMENT, 0) {
        Ok(()) => Ok(Batching::Segments),
        Err(_) => Ok(Batching::Messages),
    }
}

/// Lets a socket on all addresses send from sockets on each of them. The port has to be open for sharing.
pub(super) fn give_senders(socket: &mut UdpSocket, options: &SocketOptions) {
    if socket.local.ip().is_unspecified() && socket.batching() != Batching::None {
        socket.senders = Some(Box::new(Senders::new(socket.local.port(), options.send_buffer)));
    }
}

/// Fills the batch with what has arrived.
pub(super) fn receive(socket: &UdpSocket, batch: &mut RecvBatch) -> io::Result<()> {
    // SAFETY: sockaddr_in6 is plain data; all zeroes is a valid value.
    let mut names: [libc::sockaddr_in6; MESSAGES] = unsafe { mem::zeroed() };
    let mut controls = [const { MaybeUninit::<ControlBuffer>::uninit() }; MESSAGES];
    let mut vectors: ArrayVec<libc::iovec, MESSAGES> =
        batch.slots().map(|slot| libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() }).collect();
    let mut headers: ArrayVec<libc::mmsghdr, MESSAGES> = vectors
        .iter_mut()
        .zip(&mut names)
        .zip(&mut controls)
        .map(|((vector, name), control)| {
            let name = ptr::from_mut(name).cast();
            header(name, mem::size_of::<libc::sockaddr_in6>(), vector, 1, control.as_mut_ptr().cast(), CONTROL_BYTES)
        })
        .collect();
    // SAFETY: the parts the headers point to are the arrays above and the batch's buffer, all alive.
    let received = unsafe { recvmmsg(socket, &mut headers)? };
    for (slot, header) in headers.iter().take(received).enumerate() {
        let len = header.msg_len as usize;
        let Some(remote) = remote_address(&names[slot], header.msg_hdr.msg_namelen as usize) else { continue };
        // SAFETY: the kernel filled the control buffer of this header, which is still alive, and set its length.
        let control = unsafe { ReceivedControl::read(&header.msg_hdr) };
        if let Some(drops) = control.kernel_drops {
            batch.set_kernel_drops(drops);
        }
        batch.push(Message {
            slot,
            len,
            segment: control.segment.unwrap_or(len),
            remote: unmapped(remote),
            local_ip: control.local_ip.map(|ip| ip.to_canonical()),
        });
    }
    Ok(())
}

/// Sends the runs, each as one message while the kernel segments, else datagram by datagram.
pub(super) fn send(socket: &UdpSocket, runs: &[Run], report: &mut SendReport) {
    let segments = if socket.batching() == Batching::Segments { RUN_DATAGRAMS } else { 1 };
    let mut room = Room::Left;
    let mut messages = Messages::new();
    let mut vectors = 0;
    let mut exit = socket;
    for run in runs {
        let next = exit_of(socket, run);
        if !ptr::eq(next, exit) {
            transmit(socket, exit, &messages, room, report);
            messages.clear();
            (room, vectors, exit) = (Room::Left, 0, next);
        }
        for datagrams in run.datagrams.chunks(segments) {
            if messages.is_full() || vectors + datagrams.len() > VECTORS {
                room = transmit(socket, exit, &messages, room, report);
                messages.clear();
                vectors = 0;
            }
            vectors += datagrams.len();
            messages.push(Outgoing { run, datagrams });
        }
    }
    transmit(socket, exit, &messages, room, report);
}

/// The socket that a run leaves by: one for its own address if there is one.
fn exit_of<'a>(socket: &'a UdpSocket, run: &Run) -> &'a UdpSocket {
    let senders = socket.senders.as_deref();
    senders.and_then(|senders| senders.find(run.local_ip, run.remote)).unwrap_or(socket)
}

/// One message: a whole run, or one datagram of it.
#[derive(Clone, Copy)]
struct Outgoing<'a> {
    run: &'a Run,
    datagrams: &'a [Vec<u8>],
}

type Messages<'a> = ArrayVec<Outgoing<'a>, MESSAGES>;

/// Whether the send buffer has room; once it is full the rest of the batch would only be refused one by one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Left,
    None,
}

/// Sends up to one call's worth of messages for a socket by its `exit`, going on behind each that fails.
fn transmit(
    socket: &UdpSocket,
    exit: &UdpSocket,
    messages: &[Outgoing<'_>],
    room: Room,
    report: &mut SendReport,
) -> Room {
    if room == Room::None {
        report.drop(SendDrop::BufferFull, count(messages));
        return Room::None;
    }
    let names: ArrayVec<SockAddr, MESSAGES> =
        messages.iter().map(|message| SockAddr::from(exit.kernel_address(message.run.remote))).collect();
    let mut controls: ArrayVec<SentControl, MESSAGES> =
        messages.iter().map(|message| SentControl::of(exit, message)).collect();
    let mut vectors: ArrayVec<libc::iovec, VECTORS> = messages
        .iter()
        .flat_map(|message| message.datagrams)
        .map(|datagram| libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() })
        .collect();
    let mut rest = vectors.as_mut_slice();
    let mut headers: ArrayVec<libc::mmsghdr, MESSAGES> = ArrayVec::new();
    for ((message, name), control) in messages.iter().zip(&names).zip(&mut controls) {
        let (own, others) = rest.split_at_mut(message.datagrams.len());
        rest = others;
        let name_bytes = name.len() as usize;
        let name = name.as_ptr().cast_mut().cast();
        headers.push(header(name, name_bytes, own.as_mut_ptr(), own.len(), control.as_mut_ptr(), control.len));
    }
    let mut next = 0;
    let mut skipped = 0;
    while next < messages.len() {
        report.calls += 1;
        // SAFETY: the parts the headers point to are the lists above and the batch's datagrams, all alive.
        match unsafe { sendmmsg(exit, &mut headers[next..]) } {
            Ok(sent) => {
                messages[next..next + sent].iter().for_each(|message| took(socket, message, report));
                next += sent;
            }
            Err(error) if is_of_another(&error) && skipped < SKIPPED_ERRORS => skipped += 1,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                report.drop(SendDrop::BufferFull, count(&messages[next..]));
                return Room::None;
            }
            Err(error) => {
                refused(socket, exit, &messages[next], &error, report);
                next += 1;
            }
        }
    }
    Room::Left
}

fn took(socket: &UdpSocket, message: &Outgoing<'_>, report: &mut SendReport) {
    report.sent(message.datagrams);
    if message.datagrams.len() > 1 {
        socket.refused_runs.set(0);
    }
}

/// The kernel did not take a message. A run may be refused for being one: the path's MTU is below the segment size
/// (EINVAL or EMSGSIZE, by kernel version), or the interface can not fill in checksums (EIO). Its datagrams then go out
/// one by one.
fn refused(socket: &UdpSocket, exit: &UdpSocket, message: &Outgoing<'_>, error: &io::Error, report: &mut SendReport) {
    tracing::debug!(remote = %message.run.remote, datagrams = message.datagrams.len(), %error, "not sent");
    let may_be_the_run = matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EMSGSIZE | libc::EIO));
    if message.datagrams.len() == 1 || !may_be_the_run {
        report.drop(SendDrop::of(error), message.datagrams.len() as u64);
        return;
    }
    let before = report.datagrams;
    let singles: Messages<'_> =
        message.datagrams.chunks(1).map(|datagrams| Outgoing { run: message.run, datagrams }).collect();
    transmit(socket, exit, &singles, Room::Left, report);
    if report.datagrams > before {
        count_refused_run(socket, error);
    }
}

/// The kernel refused a run but took its datagrams one by one.
fn count_refused_run(socket: &UdpSocket, error: &io::Error) {
    let refused = socket.refused_runs.get() + 1;
    socket.refused_runs.set(refused);
    if refused == REFUSED_RUNS {
        socket.batching.set(Batching::Messages);
        tracing::warn!(%error, "the kernel refuses UDP segmentation here; sending costs more CPU without it");
    }
}

fn count(messages: &[Outgoing<'_>]) -> u64 {
    messages.iter().map(|message| message.datagrams.len() as u64).sum()
}

/// A header over the given parts; each pointer has to stay valid for as long as the header is used.
fn header(
    name: *mut c_void,
    name_bytes: usize,
    vectors: *mut libc::iovec,
    vector_count: usize,
    control: *mut c_void,
    control_bytes: usize,
) -> libc::mmsghdr {
    // SAFETY: mmsghdr is plain data, zero and null in all places are valid. Some C libraries have padding in it that
    // can not be named, so a literal would not do.
    let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
    header.msg_hdr.msg_name = name;
    header.msg_hdr.msg_namelen = name_bytes as _;
    header.msg_hdr.msg_iov = vectors;
    header.msg_hdr.msg_iovlen = vector_count as _;
    header.msg_hdr.msg_control = if control_bytes == 0 { ptr::null_mut() } else { control };
    header.msg_hdr.msg_controllen = control_bytes as _;
    header
}

/// Messages received; 0 when nothing waits.
///
/// # Safety
/// Every header points to a name, buffers and a control buffer of the lengths it says, all alive and writable.
unsafe fn recvmmsg(socket: &UdpSocket, headers: &mut [libc::mmsghdr]) -> io::Result<usize> {
    for _ in 0..=SKIPPED_ERRORS {
        // SAFETY: the headers are as the kernel needs them by this function's contract; there is no timeout.
        let received = unsafe {
            libc::recvmmsg(
                socket.socket.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as _,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        match usize::try_from(received) {
            Ok(received) => return Ok(received),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                error if is_of_another(&error) => {}
                error => return Err(error),
            },
        }
    }
    Ok(0)
}

/// Messages sent, at least one; an error is that of the first.
///
/// # Safety
/// Every header points to a name, buffers and a control buffer of the lengths it says, all alive.
unsafe fn sendmmsg(socket: &UdpSocket, headers: &mut [libc::mmsghdr]) -> io::Result<usize> {
    // SAFETY: the headers are as the kernel needs them by this function's contract. It reads what they point to, and
    // writes only the sent lengths into the headers themselves.
    let sent = unsafe {
        libc::sendmmsg(socket.socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as _, libc::MSG_DONTWAIT as _)
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

pub(super) fn set_option(socket: &impl AsRawFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the option value is an int that is alive during the call, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            ptr::from_ref(&value).cast(),
            mem::size_of::<c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The sender's address, from as many bytes as the kernel wrote.
fn remote_address(name: &libc::sockaddr_in6, bytes: usize) -> Option<SocketAddr> {
    match c_int::from(name.sin6_family) {
        libc::AF_INET6 if bytes >= mem::size_of::<libc::sockaddr_in6>() => Some(SocketAddr::V6(SocketAddrV6::new(
            Ipv6Addr::from(name.sin6_addr.s6_addr),
            u16::from_be(name.sin6_port),
            0,
            name.sin6_scope_id,
        ))),
        libc::AF_INET if bytes >= mem::size_of::<libc::sockaddr_in>() => {
            // SAFETY: the family says that the kernel wrote a sockaddr_in here; it is the smaller of the two types, has
            // no stricter alignment, and any bytes are a valid value.
            let name = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(name.sin_port))))
        }
        _ => None,
    }
}

#[repr(C, align(8))]
struct ControlBuffer([u8; CONTROL_BYTES]);

/// What the control messages of a received message said.
#[derive(Default)]
struct ReceivedControl {
    local_ip: Option<IpAddr>,
    segment: Option<usize>,
    kernel_drops: Option<u32>,
}

impl ReceivedControl {
    /// # Safety
    /// The header's control pointer and length describe a buffer the kernel filled.
    unsafe fn read(header: &libc::msghdr) -> Self {
        let mut read = Self::default();
        // SAFETY: by the function's contract the macros walk initialised memory; each value is read unaligned, and only
        // with the type the kernel documents for its level and kind.
        unsafe {
            let mut control = libc::CMSG_FIRSTHDR(header);
            while !control.is_null() {
                let data = libc::CMSG_DATA(control);
                match ((*control).cmsg_level, (*control).cmsg_type) {
                    (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                        let info: libc::in_pktinfo = ptr::read_unaligned(data.cast());
                        read.local_ip = Some(IpAddr::from(info.ipi_addr.s_addr.to_ne_bytes()));
                    }
                    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                        let info: libc::in6_pktinfo = ptr::read_unaligned(data.cast());
                        read.local_ip = Some(IpAddr::from(info.ipi6_addr.s6_addr));
                    }
                    (libc::SOL_UDP, libc::UDP_GRO) => {
                        let segment: c_int = ptr::read_unaligned(data.cast());
                        read.segment = usize::try_from(segment).ok().filter(|segment| *segment > 0);
                    }
                    (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                        read.kernel_drops = Some(ptr::read_unaligned(data.cast()));
                    }
                    _ => {}
                }
                control = libc::CMSG_NXTHDR(header, control);
            }
        }
        read
    }
}

/// The control messages of a message to send: the source address and the segment size.
#[repr(C, align(8))]
struct SentControl {
    buffer: [u8; Self::BYTES],
    len: usize,
}

impl SentControl {
    /// Packet info (40 bytes) and segment size (24).
    const BYTES: usize = 64;

    fn of(socket: &UdpSocket, message: &Outgoing<'_>) -> Self {
        let mut control = Self { buffer: [0; Self::BYTES], len: 0 };
        match (socket.local, message.run.local_ip) {
            // Bound to it.
            (local, Some(ip)) if local.ip() == ip => {}
            (SocketAddr::V4(_), Some(IpAddr::V4(ip))) => {
                let ipi_spec_dst = libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) };
                let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst, ipi_addr: libc::in_addr { s_addr: 0 } };
                control.push(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            (SocketAddr::V6(_), Some(ip)) if ip.is_ipv4() == message.run.remote.is_ipv4() => {
                let ip = match ip {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                    IpAddr::V6(ip) => ip,
                };
                let ipi6_addr = libc::in6_addr { s6_addr: ip.octets() };
                control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, libc::in6_pktinfo { ipi6_addr, ipi6_ifindex: 0 });
            }
            // No wish, or an address of the other family, which could only make the call fail.
            _ => {}
        }
        if message.datagrams.len() > 1 {
            // Fits: a run is at most 65,000 bytes.
            let segment = u16::try_from(message.run.segment()).unwrap_or(u16::MAX);
            control.push(libc::SOL_UDP, libc::UDP_SEGMENT, segment);
        }
        control
    }

    /// Appends a control message (cmsg(3): header, value, padding to the next header).
    fn push<T: Copy>(&mut self, level: c_int, kind: c_int, value: T) {
        // SAFETY: CMSG_LEN and CMSG_SPACE only compute.
        let (len, space) = unsafe {
            let bytes = mem::size_of::<T>() as libc::c_uint;
            (libc::CMSG_LEN(bytes) as usize, libc::CMSG_SPACE(bytes) as usize)
        };
        assert!(self.len + space <= Self::BYTES, "two control messages at most");
        // SAFETY: cmsghdr is plain data.
        let mut header: libc::cmsghdr = unsafe { mem::zeroed() };
        header.cmsg_len = len as _;
        header.cmsg_level = level;
        header.cmsg_type = kind;
        // SAFETY: the assertion keeps both writes within the buffer, which is aligned as a cmsghdr needs and whose
        // offset stays a multiple of that alignment (CMSG_SPACE rounds up); the value follows its header's padded
        // size, where CMSG_DATA looks for it.
        unsafe {
            let at: *mut u8 = self.buffer.as_mut_ptr().add(self.len);
            at.cast::<libc::cmsghdr>().write(header);
            at.add(len - mem::size_of::<T>()).cast::<T>().write_unaligned(value);
        }
        self.len += space;
    }

    fn as_mut_ptr(&mut self) -> *mut c_void {
        self.buffer.as_mut_ptr().cast()
    }
}
