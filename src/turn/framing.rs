//! Where messages begin and end in a TCP stream: STUN and ChannelData by their own lengths (RFC 8656 section 12.5,
//! RFC 8489 section 6.2.2), ICE-TCP by a length in front (RFC 4571).

/// Longest message taken from a stream. Larger: one connection may hold more memory; smaller: what ICE may send (a
/// datagram) does not fit.
pub const LONGEST: usize = 4096;

/// Bytes needed to tell the framings apart: a length, and a STUN header up to its cookie.
const TELLING: usize = 10;

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// How messages are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// STUN and ChannelData: a TURN client.
    Turn,
    /// A 16-bit length in front of each: an ICE agent.
    Ice,
}

/// The stream carries neither, or a message that is too long: it cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream is neither STUN, TURN nor ICE")]
pub struct Unreadable;

/// Cuts a stream into messages.
#[derive(Debug, Default)]
pub struct Deframer {
    framing: Option<Framing>,
    buffer: Vec<u8>,
}

impl Framing {
    /// Tells the framing from the first bytes. `Ok(None)`: more are needed.
    ///
    /// # Errors
    /// It is neither.
    pub fn of(start: &[u8]) -> Result<Option<Self>, Unreadable> {
        let is_stun = |at: usize| start.get(at).is_some_and(|first| *first <= 3);
        let has_cookie = |at: usize| start.get(at..at + 4).is_some_and(|found| found == COOKIE);
        if is_stun(0) && has_cookie(4) {
            Ok(Some(Self::Turn))
        } else if is_stun(2) && has_cookie(6) {
            Ok(Some(Self::Ice))
        } else if start.len() < TELLING {
            Ok(None)
        } else {
            Err(Unreadable)
        }
    }

    /// Appends a message to what is to be written.
    pub fn write(self, message: &[u8], out: &mut Vec<u8>) {
        if self == Self::Ice {
            let Ok(length) = u16::try_from(message.len()) else { return };
            out.extend(length.to_be_bytes());
        }
        out.extend_from_slice(message);
    }
}

impl Deframer {
    /// What was told from the first message.
    pub fn framing(&self) -> Option<Framing> {
        self.framing
    }

    /// Takes bytes as they arrived and hands each whole message on.
    ///
    /// # Errors
    /// The stream cannot be read on; messages before were handed on.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), Unreadable> {
        self.buffer.extend_from_slice(bytes);
        if self.framing.is_none() {
            self.framing = Framing::of(&self.buffer)?;
        }
        let Some(framing) = self.framing else { return Ok(()) };
        let mut rest = self.buffer.as_slice();
        let ended = loop {
            match next(framing, rest) {
                Ok(Some((message, after))) => {
                    each(message);
                    rest = after;
                }
                Ok(None) => break Ok(()),
                Err(unreadable) => break Err(unreadable),
            }
        };
        let taken = self.buffer.len() - rest.len();
        self.buffer.drain(..taken);
        ended
    }
}

/// A message and what is behind it.
type Cut<'a> = (&'a [u8], &'a [u8]);

/// The first message and what is behind it, padding skipped. `Ok(None)`: it has not wholly arrived.
fn next(framing: Framing, bytes: &[u8]) -> Result<Option<Cut<'_>>, Unreadable> {
    let Some((&[b0, b1, b2, b3], _)) = bytes.split_first_chunk() else {
        // An empty ICE frame is two bytes.
        let empty = bytes.strip_prefix(&[0, 0]).filter(|_| framing == Framing::Ice);
        return Ok(empty.map(|after| (Default::default(), after)));
    };
    let length = usize::from(u16::from_be_bytes([b2, b3]));
    let (head, body, padded) = match (framing, b0) {
        (Framing::Ice, _) => {
            let length = usize::from(u16::from_be_bytes([b0, b1]));
            (2, length, length)
        }
        (Framing::Turn, 0..=3) => (0, 20 + length, 20 + length),
        (Framing::Turn, 0x40..=0x7f) => (0, 4 + length, (4 + length).next_multiple_of(4)),
        (Framing::Turn, _) => return Err(Unreadable),
    };
    if body > LONGEST {
        return Err(Unreadable);
    }
    let (Some(message), Some(after)) = (bytes.get(head..head + body), bytes.get(head + padded..)) else {
        return Ok(None);
    };
    Ok(Some((message, after)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stun(body: usize) -> Vec<u8> {
        let mut message = vec![0, 3, 0, body as u8];
        message.extend(COOKIE);
        message.resize(20 + body, 7);
        message
    }

    fn run(stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, Result<(), Unreadable>) {
        let mut deframer = Deframer::default();
        let mut messages = Vec::new();
        for bytes in stream.chunks(piece) {
            if let Err(unreadable) = deframer.push(bytes, |message| messages.push(message.to_vec())) {
                return (messages, Err(unreadable));
            }
        }
        (messages, Ok(()))
    }

    #[test]
    fn messages_come_out_whole_however_the_stream_is_cut() {
        let channel = [0x40, 0, 0, 3, 1, 2, 3];
        let turn = [&stun(8)[..], &channel, &[0], &stun(0), &[0x7f, 0xfe, 0, 0], &stun(4)].concat();
        let turn_messages = vec![stun(8), channel.to_vec(), stun(0), vec![0x7f, 0xfe, 0, 0], stun(4)];
        let mut ice = Vec::new();
        let ice_messages = vec![stun(12), vec![], vec![0x80; 5], vec![22; 300], vec![]];
        ice_messages.iter().for_each(|message| Framing::Ice.write(message, &mut ice));
        for (stream, expected) in [(turn, turn_messages), (ice, ice_messages)] {
            for piece in 1..stream.len() + 1 {
                assert_eq!(run(&stream, piece), (expected.clone(), Ok(())), "pieces of {piece}");
            }
        }
    }

    #[test]
    fn what_is_neither_is_not_read_on() {
        let long = [&stun(0)[..], &[0, 3, 0xff, 0xfc]].concat();
        for (stream, messages) in [
            (b"GET / HTTP/1.1\r\n".to_vec(), 0),
            (vec![0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3], 0),
            (vec![0; 10], 0),
            (long, 1),
            ([&stun(0)[..], &[0x80, 0, 0, 0]].concat(), 1),
        ] {
            let (read, ended) = run(&stream, 64);
            assert_eq!((read.len(), ended), (messages, Err(Unreadable)), "{stream:?}");
        }
    }
}
