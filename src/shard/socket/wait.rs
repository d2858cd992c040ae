//! Sleeping until a socket or the mailbox has something, or a deadline passes.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::time::Duration;

use super::UdpSocket;

/// What there is to do.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// Datagrams have arrived.
    pub socket: bool,
    /// The mailbox has something.
    pub mailbox: bool,
    /// A relayed address has something.
    pub relays: bool,
}

/// Waits until the socket is readable, the mailbox is, the relays are (where there are some), or the timeout is over
/// (`None`: no timeout). A signal ends the wait early with nothing ready, so look at the clock afterwards.
///
/// # Errors
/// The system is out of memory, or a descriptor is not open.
pub fn wait(
    socket: &UdpSocket,
    mailbox: BorrowedFd<'_>,
    relays: Option<BorrowedFd<'_>>,
    timeout: Option<Duration>,
) -> io::Result<Ready> {
    // The system passes over negative descriptors.
    let readable = |fd: Option<BorrowedFd<'_>>| {
        let fd = fd.map_or(-1, |fd| fd.as_raw_fd());
        libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
    };
    let mut waited = [readable(Some(socket.as_fd())), readable(Some(mailbox)), readable(relays)];
    match poll(&mut waited, timeout) {
        // An error or a hang-up counts as readable: reading is how one learns of it.
        Ok(()) => {
            let [socket, mailbox, relays] = waited.map(|waited| waited.revents != 0);
            Ok(Ready { socket, mailbox, relays })
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Ready::default()),
        Err(error) => Err(error),
    }
}

/// Sleeps for so long, whatever comes meanwhile. A signal ends it early.
///
/// # Errors
/// The system is out of memory.
pub(in crate::shard) fn sleep(time: Duration) -> io::Result<()> {
    match poll(&mut [], Some(time)) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        result => result,
    }
}

/// To the nanosecond: `poll` counts in milliseconds, too coarse for pacing.
#[cfg(target_os = "linux")]
fn poll(waited: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<()> {
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `waited` is a slice of initialised pollfd, the timeout is null or points to a timespec that
    // outlives the call, and a null signal mask leaves signals as they are.
    let ready = unsafe { libc::ppoll(waited.as_mut_ptr(), waited.len() as libc::nfds_t, timeout, std::ptr::null()) };
    if ready < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Rounded up to the millisecond, so that a deadline is over when it returns.
#[cfg(not(target_os = "linux"))]
fn poll(waited: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<()> {
    let timeout = timeout.map_or(-1, |timeout| {
        libc::c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
    });
    // SAFETY: `waited` is a slice of initialised pollfd.
    let ready = unsafe { libc::poll(waited.as_mut_ptr(), waited.len() as libc::nfds_t, timeout) };
    if ready < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
