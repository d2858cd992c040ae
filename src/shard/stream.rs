//! TCP connections that carry what UDP would: ICE-TCP (RFC 6544) and TURN over TCP, with or without TLS around.
//!
//! A task per connection cuts the stream into messages and hands them to one shard, the connection's home; what that
//! shard has for it comes back through a bounded queue. To the `Sfu` a connection is one more way a peer's datagrams
//! travel. Not here: what the messages mean.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::proxied::canonical;
use super::{Parcel, ShardHandle};
use crate::sfu::stats::IoStats;
use crate::sfu::{Datagram, Sfu, ShardIndex, Via};
use crate::turn::StreamId;
use crate::turn::framing::{Deframer, Framing};

/// Messages waiting to be written to one connection. Larger: more delay builds up on a slow one; smaller: bursts (a key
/// frame) are cut off.
const QUEUE: usize = 512;

/// How long a new connection may take to show what it is.
const FIRST_MESSAGE: Duration = Duration::from_secs(10);

/// Silence after which a connection is closed: longer than an allocation lives without being refreshed.
const IDLE: Duration = Duration::from_secs(660);

/// How long one write may take. Longer: a reader that hangs holds its memory; shorter: poor networks are cut off.
const WRITE: Duration = Duration::from_secs(10);

/// Bytes read, or gathered for one write. Larger: fewer calls; smaller: less memory per connection.
const CHUNK: usize = 16 << 10;

/// How often a shard whose mailbox is full is tried again, and how long between: TCP then makes the sender wait. After
/// that messages are dropped, as datagrams would be.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(2);

/// What a connection tells its home shard.
#[derive(Debug)]
pub enum StreamEvent {
    /// It is there; what is for it goes here.
    Opened {
        /// Which.
        stream: StreamId,
        /// Messages to write.
        outgoing: mpsc::Sender<Vec<u8>>,
    },
    /// Messages have arrived.
    Messages {
        /// Which.
        stream: StreamId,
        /// The client's address.
        remote: SocketAddr,
        /// Ours.
        local: SocketAddr,
        /// In order.
        batch: Vec<Vec<u8>>,
    },
    /// It is gone.
    Closed {
        /// Which.
        stream: StreamId,
        /// The client's address.
        remote: SocketAddr,
        /// Ours.
        local: SocketAddr,
    },
}

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// Of this node. Larger: more memory when all are used (each buffers up to some 100 KiB); smaller: networks without
    /// UDP hold fewer people.
    pub all: usize,
    /// Of one address. Larger: one host can take more of them; smaller: fewer people behind one NAT.
    pub per_source: usize,
}

/// What a connection's bytes travel in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// TCP as it is.
    Tcp,
    /// TLS. Each message gets a record of its own: clients of coturn's make take what they read at once for one.
    Tls,
}

/// Takes connections and gives them to shards. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Streams(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    shards: Vec<ShardHandle>,
    limits: StreamLimits,
    next: AtomicU64,
    sources: Mutex<Sources>,
}

/// Connections that are open, in all and by source.
#[derive(Debug, Default)]
struct Sources {
    all: usize,
    each: HashMap<IpAddr, usize>,
}

/// One connection's place among them.
struct Place<'a> {
    shared: &'a Shared,
    source: IpAddr,
}

impl Streams {
    /// For these shards.
    pub fn new(shards: Vec<ShardHandle>, limits: StreamLimits) -> Self {
        Self(Arc::new(Shared { shards, limits, next: AtomicU64::new(0), sources: Mutex::default() }))
    }

    /// Serves a connection until it ends.
    pub async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send,
        carrier: Carrier,
        remote: SocketAddr,
        local: SocketAddr,
    ) {
        let remote = canonical(remote);
        let local = canonical(local);
        let Some(_place) = self.0.admit(remote.ip()) else {
            tracing::debug!(%remote, "too many media connections; this one is closed");
            return;
        };
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let Some(shard) = self.0.shards.get(number as usize % self.0.shards.len().max(1)) else { return };
        let stream_id = StreamId(number);
        let (outgoing, queue) = mpsc::channel(QUEUE);
        if !hand_over(shard, StreamEvent::Opened { stream: stream_id, outgoing }).await {
            return;
        }
        let ended = carry(stream, carrier, shard, stream_id, (remote, local), queue).await;
        tracing::debug!(%remote, why = ended.err().map(tracing::field::display), "media connection ended");
        hand_over(shard, StreamEvent::Closed { stream: stream_id, remote, local }).await;
    }
}

impl Shared {
    fn admit(&self, source: IpAddr) -> Option<Place<'_>> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let of_source = sources.each.get(&source).copied().unwrap_or(0);
        if sources.all >= self.limits.all || of_source >= self.limits.per_source {
            return None;
        }
        sources.all += 1;
        sources.each.insert(source, of_source + 1);
        Some(Place { shared: self, source })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut sources = self.shared.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.all -= 1;
        if let Some(count) = sources.each.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                sources.each.remove(&self.source);
            }
        }
    }
}

/// Reads and writes until one of them ends.
async fn carry(
    stream: impl AsyncRead + AsyncWrite + Send,
    carrier: Carrier,
    shard: &ShardHandle,
    id: StreamId,
    (remote, local): (SocketAddr, SocketAddr),
    mut queue: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (told, telling) = tokio::sync::watch::channel(None);
    let reading = async {
        let mut deframer = Deframer::default();
        let mut buffer = vec![0; CHUNK];
        loop {
            let patience = if deframer.framing().is_some() { IDLE } else { FIRST_MESSAGE };
            let length = timeout(patience, reader.read(&mut buffer)).await??;
            if length == 0 {
                return Ok(());
            }
            let mut batch = Vec::new();
            let ended = deframer.push(&buffer[..length], |message| batch.push(message.to_vec()));
            told.send_if_modified(|framing| std::mem::replace(framing, deframer.framing()) != deframer.framing());
            if !batch.is_empty() {
                hand_over(shard, StreamEvent::Messages { stream: id, remote, local, batch }).await;
            }
            ended.map_err(io::Error::other)?;
        }
    };
    let writing = async {
        let mut bytes = Vec::with_capacity(CHUNK);
        while let Some(message) = queue.recv().await {
            // Nothing is sent to a connection that has not said anything.
            let Some(framing): Option<Framing> = *telling.borrow() else { continue };
            framing.write(&message, &mut bytes);
            while carrier == Carrier::Tcp
                && bytes.len() < CHUNK
                && let Ok(message) = queue.try_recv()
            {
                framing.write(&message, &mut bytes);
            }
            timeout(WRITE, writer.write_all(&bytes)).await??;
            timeout(WRITE, writer.flush()).await??;
            bytes.clear();
        }
        Ok(())
    };
    tokio::select! {
        ended = reading => ended,
        ended = writing => ended,
    }
}

/// Gives an event to a shard, patiently. False when it was dropped.
async fn hand_over(shard: &ShardHandle, event: StreamEvent) -> bool {
    let mut parcel = Parcel::Stream(event);
    for _ in 0..TRIES {
        match shard.try_cross(parcel) {
            Ok(()) => return true,
            Err(refused) => parcel = refused,
        }
        sleep(PAUSE).await;
    }
    false
}

/// The connections of one shard, on its side.
#[derive(Debug, Default)]
pub(super) struct HomeStreams {
    outgoing: FxHashMap<StreamId, mpsc::Sender<Vec<u8>>>,
}

impl HomeStreams {
    /// Takes note of an event, and hands messages to the `Sfu`.
    pub(super) fn handle(&mut self, now: std::time::Instant, shard: ShardIndex, event: StreamEvent, sfu: &mut Sfu) {
        match event {
            StreamEvent::Opened { stream, outgoing } => {
                self.outgoing.insert(stream, outgoing);
            }
            StreamEvent::Messages { stream, remote, local, batch } => {
                let via = Via::Stream { shard, stream };
                for contents in &batch {
                    sfu.handle(now, &Datagram { remote, local_ip: Some(local.ip()), via, contents });
                }
            }
            StreamEvent::Closed { stream, remote, local } => {
                self.outgoing.remove(&stream);
                sfu.stream_closed(stream, remote, local);
            }
        }
    }

    /// Queues messages. What a slow reader has no room for is dropped, as a full link drops datagrams.
    pub(super) fn send(&mut self, messages: &mut Vec<(StreamId, Vec<u8>)>, io: &mut IoStats) {
        for (stream, contents) in messages.drain(..) {
            let length = contents.len() as u64;
            let sent = self.outgoing.get(&stream).is_some_and(|outgoing| outgoing.try_send(contents).is_ok());
            io.datagrams_sent += u64::from(sent);
            io.bytes_sent += if sent { length } else { 0 };
            io.datagrams_unsent += u64::from(!sent);
        }
    }
}

#[cfg(test)]
mod tests;
