//! One datagram per system call, by the standard library: for systems without `recvmmsg` and `sendmmsg`.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use super::receive::{MESSAGES, Message, RecvBatch};
use super::send::{Run, SendDrop, SendReport};
use super::{SKIPPED_ERRORS, UdpSocket, is_of_another, unmapped};

/// Sets up a fresh socket and says what it can do.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "its Linux counterpart can fail")]
pub(super) fn configure(_: &socket2::Socket, _: SocketAddr, _: super::Batching) -> io::Result<super::Batching> {
    Ok(super::Batching::None)
}

/// One socket does both here.
#[cfg(not(target_os = "linux"))]
pub(super) fn give_senders(_: &mut UdpSocket, _: &super::SocketOptions) {}

/// Fills the batch with what has arrived.
pub(super) fn receive(socket: &UdpSocket, batch: &mut RecvBatch) -> io::Result<()> {
    let bound = socket.local.ip().to_canonical();
    let local_ip = (!bound.is_unspecified()).then_some(bound);
    let mut skipped = 0;
    let mut slot = 0;
    while slot < MESSAGES {
        let Some(buffer) = batch.slots().nth(slot) else { break };
        match socket.socket.recv_from(buffer) {
            Ok((len, remote)) => {
                batch.push(Message { slot, len, segment: len, remote: unmapped(remote), local_ip });
                slot += 1;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if is_of_another(&error) && skipped < SKIPPED_ERRORS => skipped += 1,
            Err(error) if is_of_another(&error) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sends the runs datagram by datagram. The source address is the system's choice.
pub(super) fn send(socket: &UdpSocket, runs: &[Run], report: &mut SendReport) {
    for run in runs {
        let remote = socket.kernel_address(run.remote);
        for datagram in &run.datagrams {
            match send_one(socket, remote, datagram, report) {
                Ok(()) => report.sent(std::slice::from_ref(datagram)),
                Err(error) => report.drop(SendDrop::of(&error), 1),
            }
        }
    }
}

fn send_one(socket: &UdpSocket, remote: SocketAddr, datagram: &[u8], report: &mut SendReport) -> io::Result<()> {
    let mut skipped = 0;
    loop {
        report.calls += 1;
        match socket.socket.send_to(datagram, remote) {
            Err(error) if is_of_another(&error) && skipped < SKIPPED_ERRORS => skipped += 1,
            result => return result.map(|_| ()),
        }
    }
}
