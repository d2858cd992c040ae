//! A client's UDP socket: datagrams as the kernel joined them, and when the kernel got them.
//!
//! Over loopback the sender pays for the receiving half of the network stack. A socket that takes joined datagrams
//! (`UDP_GRO`) has a server's run of them (`UDP_SEGMENT`) handed over whole; one that does not has the kernel cut it
//! apart within the server's own call, which no network card would charge the server's processor with. The kernel's
//! time tells when a datagram arrived, not when its client got round to it. Not here: anything that reads a datagram.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use mio::net::UdpSocket;

/// Bytes of the largest message: joined datagrams have no more than one of UDP can have.
const MAX_MESSAGE: usize = 65_536;

/// Receive buffer asked for. The system may grant less; a small one loses packets whenever the thread is kept from its
/// core for the time of a key frame, and the loss would look like the server's.
const RECEIVE_BUFFER: usize = 2 << 20;

/// How datagrams are taken from the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Taking {
    /// Those of one sender and length joined, where the system can.
    #[default]
    Joined,
    /// One by one, as browsers take them.
    Singly,
}

/// A socket that does not wait.
#[derive(Debug)]
pub struct ClientSocket(UdpSocket);

/// What one call received into; reuse it.
pub struct Message {
    buffer: Box<[u8]>,
    length: usize,
    /// Length of each datagram in it; the last may be shorter.
    segment: usize,
    source: SocketAddr,
    arrived: Instant,
}

impl ClientSocket {
    /// A socket on a free port of this address.
    pub fn bind(ip: IpAddr, taking: Taking) -> io::Result<Self> {
        let socket = UdpSocket::bind(SocketAddr::new(ip, 0))?;
        // What the system grants has to do; without its clock ours is later, and without joining it costs more.
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER);
        #[cfg(target_os = "linux")]
        linux::configure(&socket, taking);
        #[cfg(not(target_os = "linux"))]
        let _ = taking;
        Ok(Self(socket))
    }

    /// The address it is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Takes the next message. An error when there is none.
    pub fn receive(&self, message: &mut Message) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        return linux::receive(&self.0, message);
        #[cfg(not(target_os = "linux"))]
        {
            let (length, source) = self.0.recv_from(&mut message.buffer)?;
            (message.length, message.segment, message.source) = (length, length, source);
            message.arrived = Instant::now();
            Ok(())
        }
    }

    /// Sends a datagram. A full socket buffer is loss, as on any network.
    pub fn send_to(&self, contents: &[u8], destination: SocketAddr) {
        let _ = self.0.send_to(contents, destination);
    }

    /// For the poll.
    pub fn source(&mut self) -> &mut impl mio::event::Source {
        &mut self.0
    }
}

impl Message {
    /// Room for the largest message.
    pub fn new() -> Self {
        Self {
            buffer: vec![0; MAX_MESSAGE].into_boxed_slice(),
            length: 0,
            segment: 0,
            source: SocketAddr::from(([0; 4], 0)),
            arrived: Instant::now(),
        }
    }

    /// Who sent it.
    pub fn source(&self) -> SocketAddr {
        self.source
    }

    /// When the kernel got it, by our clock.
    pub fn arrived(&self) -> Instant {
        self.arrived
    }

    /// The datagrams in it, in order.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.buffer[..self.length].chunks(self.segment.max(1))
    }
}

impl Default for Message {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(target_os = "linux")]
mod linux {
    //! The calls, with the control messages that tell of joining and of time.

    use std::io;
    use std::os::fd::AsRawFd;
    use std::ptr;
    use std::time::{Duration, Instant, SystemTime};

    use mio::net::UdpSocket;
    use socket2::{SockAddr, SockAddrStorage};

    use super::{Message, Taking};

    /// Room for the control messages of one message: segment size and time (24 and 32 bytes).
    const CONTROL_BYTES: usize = 64;

    #[repr(C, align(8))]
    struct Control([u8; CONTROL_BYTES]);

    pub(super) fn configure(socket: &UdpSocket, taking: Taking) {
        let set = |level, option| {
            let on: libc::c_int = 1;
            let size = size_of::<libc::c_int>() as libc::socklen_t;
            // SAFETY: the value is an int that is alive during the call, and its size is given.
            unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, ptr::from_ref(&on).cast(), size) };
        };
        set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS);
        if taking == Taking::Joined {
            set(libc::SOL_UDP, libc::UDP_GRO);
        }
    }

    pub(super) fn receive(socket: &UdpSocket, message: &mut Message) -> io::Result<()> {
        let mut control = Control([0; CONTROL_BYTES]);
        let mut vector = libc::iovec { iov_base: message.buffer.as_mut_ptr().cast(), iov_len: message.buffer.len() };
        let header = &mut message_header(&mut vector, &mut control);
        let mut name = SockAddrStorage::zeroed();
        header.msg_name = ptr::from_mut(&mut name).cast();
        header.msg_namelen = name.size_of();
        // SAFETY: the header points to a name, a buffer and a control buffer of the lengths it says, all alive.
        let received = unsafe { libc::recvmsg(socket.as_raw_fd(), header, libc::MSG_DONTWAIT) };
        message.length = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        // SAFETY: the kernel has written an address of the length it says.
        let source = unsafe { SockAddr::new(name, header.msg_namelen) };
        message.source = source.as_socket().ok_or(io::ErrorKind::InvalidData)?;
        message.segment = message.length;
        message.arrived = Instant::now();
        // SAFETY: the kernel filled the control buffer, which is still alive, and set its length.
        unsafe { read_control(header, message) };
        Ok(())
    }

    fn message_header(vector: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
        // SAFETY: an all-zero msghdr is a valid value of a plain C struct.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = vector;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL_BYTES as _;
        header
    }

    /// # Safety
    /// The header's control pointer and length describe a buffer that the kernel filled.
    unsafe fn read_control(header: &libc::msghdr, message: &mut Message) {
        // SAFETY: by the function's contract the macros walk initialised memory; each value is read unaligned, and only
        // with the type the kernel documents for its level and kind.
        unsafe {
            let mut control = libc::CMSG_FIRSTHDR(header);
            while !control.is_null() {
                let data = libc::CMSG_DATA(control);
                match ((*control).cmsg_level, (*control).cmsg_type) {
                    (libc::SOL_UDP, libc::UDP_GRO) => {
                        let segment: libc::c_int = ptr::read_unaligned(data.cast());
                        message.segment = usize::try_from(segment).unwrap_or(message.length);
                    }
                    (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                        message.arrived -= age(ptr::read_unaligned(data.cast()));
                    }
                    _ => {}
                }
                control = libc::CMSG_NXTHDR(header, control);
            }
        }
    }

    /// How long ago the kernel's clock said this; nothing when that clock has been set meanwhile.
    fn age(stamp: libc::timespec) -> Duration {
        let stamp = Duration::new(stamp.tv_sec.unsigned_abs(), u32::try_from(stamp.tv_nsec).unwrap_or(0));
        (SystemTime::UNIX_EPOCH + stamp).elapsed().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// By how much a datagram is taken late.
    const LATE: Duration = Duration::from_millis(20);

    /// Datagrams until one must have its stamp. Linux begins to stamp some time after the first socket asked for it.
    const ATTEMPTS: u32 = 50;

    #[test]
    fn a_message_says_who_sent_it_and_when_it_came_not_when_it_was_taken() {
        for taking in [Taking::Joined, Taking::Singly] {
            let socket = ClientSocket::bind(Ipv4Addr::LOCALHOST.into(), taking).unwrap();
            let sender = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let mut message = Message::new();
            assert!(socket.receive(&mut message).is_err(), "nothing yet");
            let stamped = (0..ATTEMPTS).any(|_| {
                sender.send_to(&[1, 2, 3], socket.local_addr().unwrap()).unwrap();
                let sent = Instant::now();
                while sent.elapsed() < LATE {
                    thread::yield_now();
                }
                socket.receive(&mut message).unwrap();
                assert_eq!(message.source(), sender.local_addr().unwrap());
                assert_eq!(message.datagrams().collect::<Vec<_>>(), [[1, 2, 3]]);
                message.arrived() < sent + LATE / 2
            });
            assert!(stamped || cfg!(not(target_os = "linux")), "{taking:?}");
        }
    }

    #[test]
    fn joined_datagrams_come_apart_again() {
        let mut message = Message::new();
        (message.length, message.segment) = (25, 10);
        assert_eq!(message.datagrams().map(<[u8]>::len).collect::<Vec<_>>(), [10, 10, 5]);
    }
}
