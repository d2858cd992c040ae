//! The mailbox of a shard: how the control plane (and other shards) reach it without ever making it wait.
//!
//! Two bounded queues behind one waker. Requests come from control and are refused at once when the queue is full.
//! Values from other shards are lossy: what does not fit is dropped and counted by the sender. The waker is a pipe, so
//! that one `poll` call waits for the socket and the mailbox together on every Unix.

use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use tokio::sync::oneshot;

use crate::sfu::command::{Command, Reply};

/// Requests that may wait for a shard. Larger: a join storm waits longer instead of being told 503; smaller: the
/// opposite.
const REQUESTS: usize = 1024;

/// Batches from other shards that may wait. Larger: more memory held and more delay hidden when a shard is late;
/// smaller: loss sooner.
const CROSSINGS: usize = 1024;

/// Makes the two ends of a mailbox. `T` is what shards send each other.
///
/// # Errors
/// The system has no file descriptor left for the waker.
pub fn mailbox<T>() -> io::Result<(Handle<T>, Mailbox<T>)> {
    let (wake_reader, wake_writer) = io::pipe()?;
    set_nonblocking(wake_reader.as_fd())?;
    set_nonblocking(wake_writer.as_fd())?;
    let pending = Arc::new(AtomicBool::new(false));
    let (request_sender, requests) = sync_channel(REQUESTS);
    let (crossing_sender, crossings) = sync_channel(CROSSINGS);
    let waker = Waker { pending: Arc::clone(&pending), pipe: Arc::new(wake_writer) };
    let handle = Handle { requests: request_sender, crossings: crossing_sender, waker };
    Ok((handle, Mailbox { requests, crossings, pending, pipe: wake_reader }))
}

/// The sending end. Clones are cheap and may live on any thread.
#[derive(Debug)]
pub struct Handle<T> {
    requests: SyncSender<Envelope>,
    crossings: SyncSender<T>,
    waker: Waker,
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self { requests: self.requests.clone(), crossings: self.crossings.clone(), waker: self.waker.clone() }
    }
}

impl<T> Handle<T> {
    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// [`AskError::Busy`] at once when the mailbox is full; [`AskError::Gone`] when the shard has stopped.
    pub async fn ask(&self, command: Command) -> Result<Reply, AskError> {
        let (sender, reply) = oneshot::channel();
        self.requests.try_send(Envelope { command, reply: sender }).map_err(|refused| match refused {
            TrySendError::Full(_) => AskError::Busy,
            TrySendError::Disconnected(_) => AskError::Gone,
        })?;
        self.waker.wake();
        reply.await.map_err(|_| AskError::Gone)
    }

    /// Hands a value from another shard over. Returns false, and drops it, when the queue is full.
    pub fn cross(&self, value: T) -> bool {
        self.try_cross(value).is_ok()
    }

    /// The same for those who may wait.
    ///
    /// # Errors
    /// The queue is full, or the shard has stopped: here is the value again.
    pub fn try_cross(&self, value: T) -> Result<(), T> {
        match self.crossings.try_send(value) {
            Ok(()) => {
                self.waker.wake();
                Ok(())
            }
            Err(TrySendError::Full(value) | TrySendError::Disconnected(value)) => Err(value),
        }
    }
}

/// A command with the place its reply goes to.
#[derive(Debug)]
pub struct Envelope {
    /// The command.
    pub command: Command,
    /// Where the reply goes; the asker may have gone away.
    pub reply: oneshot::Sender<Reply>,
}

/// Why a shard did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Its mailbox is full.
    #[error("the server is busy; try again")]
    Busy,
    /// It has stopped.
    #[error("the server is shutting down")]
    Gone,
}

/// The receiving end, owned by the shard's thread.
#[derive(Debug)]
pub struct Mailbox<T> {
    requests: Receiver<Envelope>,
    crossings: Receiver<T>,
    pending: Arc<AtomicBool>,
    pipe: PipeReader,
}

impl<T> Mailbox<T> {
    /// Becomes readable when something is waiting.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Whether something may be waiting, without a system call.
    pub fn has_news(&self) -> bool {
        self.pending.load(Ordering::SeqCst)
    }

    /// Takes the wake-up back. Call before draining the queues: what is sent later wakes again.
    pub fn acknowledge(&mut self) {
        // At most one byte waits, or two when a sender was between its two steps; the pipe never blocks. It is emptied
        // first: a sender in between finds the wake-up pending and writes nothing, but its value is in the queue. The
        // other way round its byte would be taken away, and all later senders would trust in it.
        let _ = self.pipe.read(&mut [0; 16]);
        self.pending.store(false, Ordering::SeqCst);
    }

    /// The next request, if one waits. (Every shard holds handles to all, so there are always senders.)
    pub fn request(&self) -> Option<Envelope> {
        self.requests.try_recv().ok()
    }

    /// The next value from another shard, if one waits.
    pub fn crossing(&self) -> Option<T> {
        self.crossings.try_recv().ok()
    }
}

#[derive(Debug, Clone)]
struct Waker {
    pending: Arc<AtomicBool>,
    pipe: Arc<PipeWriter>,
}

impl Waker {
    /// Makes the pipe readable, once until it is acknowledged.
    fn wake(&self) {
        if !self.pending.swap(true, Ordering::SeqCst) {
            let _ = (&*self.pipe).write(&[1]);
        }
    }
}

fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open for the length of the call; F_GETFL and F_SETFL touch no memory of ours.
    let done = unsafe {
        let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
        flags >= 0 && libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) >= 0
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::thread;

    use super::*;

    /// Values each sender sends, one at a time. Two senders meet in the middle of an acknowledgement often enough.
    const VALUES: u32 = 30_000;

    #[test]
    fn no_wake_up_is_lost_between_two_senders_and_an_acknowledgement() {
        let (handle, mut mailbox) = mailbox::<usize>().expect("a pipe");
        let seen = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        for sender in 0..2 {
            let (handle, seen) = (handle.clone(), Arc::clone(&seen));
            thread::spawn(move || {
                for value in 1..=VALUES {
                    // So that the moments differ.
                    (0..value.wrapping_mul(2_654_435_761) >> 22).for_each(|_| std::hint::spin_loop());
                    assert!(handle.cross(sender));
                    while seen[sender].load(Ordering::SeqCst) < value {
                        std::hint::spin_loop();
                    }
                }
            });
        }
        let mut received = 0;
        while received < 2 * VALUES {
            let mut waited = libc::pollfd { fd: mailbox.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one initialised pollfd.
            let ready = unsafe { libc::poll(&mut waited, 1, 10_000) };
            assert_eq!(ready, 1, "asleep with {received} of {} values received", 2 * VALUES);
            mailbox.acknowledge();
            while let Some(sender) = mailbox.crossing() {
                received += 1;
                seen[sender].fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}
