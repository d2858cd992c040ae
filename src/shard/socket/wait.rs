//! Sleeping until the socket or the mailbox has something, or a deadline passes.

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
}

/// Waits until the socket is readable, the mailbox is, or the timeout is over (`None`: no timeout). A signal ends the
/// wait early with nothing ready, so look at the clock afterwards.
///
/// # Errors
/// The system is out of memory, or a descriptor is not open.
pub fn wait(socket: &UdpSocket, mailbox: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<Ready> {
    let readable = |fd: BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut waited = [readable(socket.as_fd()), readable(mailbox)];
    match poll(&mut waited, timeout) {
        // An error or a hang-up counts as readable: reading is how one learns of it.
        Ok(()) => Ok(Ready { socket: waited[0].revents != 0, mailbox: waited[1].revents != 0 }),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Ready::default()),
        Err(error) => Err(error),
    }
}

/// To the nanosecond: `poll` counts in milliseconds, too coarse for pacing.
#[cfg(target_os = "linux")]
fn poll(waited: &mut [libc::pollfd; 2], timeout: Option<Duration>) -> io::Result<()> {
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `waited` is an array of two initialised pollfd, the timeout is null or points to a timespec that outlives
    // the call, and a null signal mask leaves signals as they are.
    let ready = unsafe { libc::ppoll(waited.as_mut_ptr(), 2, timeout, std::ptr::null()) };
    if ready < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Rounded up to the millisecond, so that a deadline is over when it returns.
#[cfg(not(target_os = "linux"))]
fn poll(waited: &mut [libc::pollfd; 2], timeout: Option<Duration>) -> io::Result<()> {
    let timeout = timeout.map_or(-1, |timeout| {
        libc::c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
    });
    // SAFETY: `waited` is an array of two initialised pollfd.
    let ready = unsafe { libc::poll(waited.as_mut_ptr(), 2, timeout) };
    if ready < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
