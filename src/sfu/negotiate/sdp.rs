//! Session descriptions as lines (RFC 8866): split, bounded, looked up by attribute name. Nothing is interpreted here
//! beyond the m-line; unknown lines are kept, because a description belongs to its author.
//!
//! Lenient where clients differ: LF or CRLF, no newline at the end, blank lines, any order of lines in a section.

use super::{DescriptionError, malformed};

/// Longest description in bytes. Larger: a hostile client costs more parsing; smaller: offers with many video m-lines
/// (Chromium writes 5 KB for each) are refused.
const MAX_BYTES: usize = 256 * 1024;

/// Most lines. Chromium writes up to 190 for one video m-line, so this is some 20 of them. Larger and smaller: as
/// above.
const MAX_LINES: usize = 4000;

/// Most m-lines. Larger: a viewer could ask for more slots than one peer can be served; smaller: fewer slots.
const MAX_MEDIA: usize = 32;

/// A description, borrowed from its text.
#[derive(Debug)]
pub(super) struct Sdp<'a> {
    /// The lines before the first m-line.
    pub(super) session: Lines<'a>,
    /// The m-lines with what follows each.
    pub(super) media: Vec<Media<'a>>,
}

/// An m-line and its section.
#[derive(Debug)]
pub(super) struct Media<'a> {
    /// `audio`, `video`, `application`, ...
    pub(super) kind: &'a str,
    /// Zero means rejected, or bundled (RFC 9143 section 6).
    pub(super) port: u16,
    /// `UDP/TLS/RTP/SAVPF` and the like.
    pub(super) proto: &'a str,
    /// The rest of the m-line: payload types, or whatever the protocol puts there.
    pub(super) formats: &'a str,
    /// The lines that follow.
    pub(super) lines: Lines<'a>,
}

/// The lines of one section: type letter and value.
#[derive(Debug, Default)]
pub(super) struct Lines<'a>(Vec<(char, &'a str)>);

impl<'a> Sdp<'a> {
    /// Splits a description that must begin with `v=0`.
    ///
    /// # Errors
    /// [`DescriptionError::Malformed`]: too long, not lines of `letter=value`, no `v=0`, no readable m-line.
    pub(super) fn parse(text: &'a str) -> Result<Self, DescriptionError> {
        let sdp = Self::parse_fragment(text)?;
        match sdp.session.0.first() {
            Some(('v', "0")) => Ok(sdp),
            _ => Err(malformed("not SDP: the first line must be v=0")),
        }
    }

    /// Splits a piece of a description, as in a trickle PATCH (RFC 8840 section 9). Errors as `parse`.
    pub(super) fn parse_fragment(text: &'a str) -> Result<Self, DescriptionError> {
        if text.len() > MAX_BYTES {
            return Err(malformed(format!("the description has {} bytes; at most {MAX_BYTES}", text.len())));
        }
        let mut sdp = Sdp { session: Lines::default(), media: Vec::new() };
        for (index, line) in text.split('\n').enumerate() {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.trim().is_empty() {
                continue;
            }
            if index >= MAX_LINES {
                return Err(malformed(format!("the description has more than {MAX_LINES} lines")));
            }
            sdp.push(line).map_err(|reason| malformed(format!("line {}: {reason}", index + 1)))?;
        }
        Ok(sdp)
    }

    fn push(&mut self, line: &'a str) -> Result<(), String> {
        if line.chars().any(|c| c.is_control() && c != '\t') {
            return Err("contains a control character".to_owned());
        }
        let (kind, value) = match line.split_once('=') {
            Some((kind, value)) if kind.len() == 1 && kind.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                (kind.chars().next().unwrap_or_default(), value)
            }
            _ => return Err("not of the form <letter>=<value>".to_owned()),
        };
        if kind == 'm' {
            if self.media.len() == MAX_MEDIA {
                return Err(format!("more than {MAX_MEDIA} m-lines"));
            }
            self.media.push(Media::parse(value)?);
            return Ok(());
        }
        let section = self.media.last_mut().map_or(&mut self.session, |media| &mut media.lines);
        section.0.push((kind, value));
        Ok(())
    }
}

impl<'a> Media<'a> {
    fn parse(value: &'a str) -> Result<Self, String> {
        let unreadable = || "not an m-line: it needs <media> <port> <protocol> <formats>".to_owned();
        let mut parts = value.splitn(4, ' ');
        let (Some(kind), Some(port), Some(proto)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(unreadable());
        };
        let port = port.split_once('/').map_or(port, |(port, _)| port).parse().map_err(|_| unreadable())?;
        if kind.is_empty() || proto.is_empty() {
            return Err(unreadable());
        }
        let formats = parts.next().unwrap_or_default().trim();
        Ok(Self { kind, port, proto, formats, lines: Lines::default() })
    }
}

impl<'a> Lines<'a> {
    /// The values of every `a=name:value`; empty for a bare `a=name`.
    pub(super) fn attributes<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n, '_> {
        self.0.iter().filter(|(kind, _)| *kind == 'a').filter_map(move |(_, line)| {
            let (key, value) = line.split_once(':').unwrap_or((line, ""));
            (key.trim_end() == name).then(|| value.trim())
        })
    }

    /// The value of the first `a=name`.
    pub(super) fn attribute(&self, name: &str) -> Option<&'a str> {
        self.attributes(name).next()
    }

    /// There is an `a=name`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    /// The names of all flag attributes and the like, in order; used for directions.
    pub(super) fn flags(&self) -> impl Iterator<Item = &'a str> + use<'a, '_> {
        self.0.iter().filter(|(kind, _)| *kind == 'a').map(|(_, line)| line.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_lf_or_crlf_or_nothing() {
        for newline in ["\n", "\r\n"] {
            let text = ["v=0", "s=-", "", "a=group:BUNDLE 0", "m=audio 9/2 UDP/TLS/RTP/SAVPF 111 0", "x=?", "a=mid:0"];
            let text = text.join(newline);
            let sdp = Sdp::parse(&text).unwrap();
            assert_eq!(sdp.session.attribute("group"), Some("BUNDLE 0"));
            let [media] = sdp.media.as_slice() else { panic!("one m-line") };
            assert_eq!((media.kind, media.port, media.formats), ("audio", 9, "111 0"));
            assert_eq!(media.lines.attribute("mid"), Some("0"));
        }
    }

    #[test]
    fn what_is_not_sdp_is_refused_with_the_line() {
        let long = "a=x\n".repeat(MAX_LINES + 1);
        let many = format!("v=0\n{}", "m=audio 9 RTP/AVP 0\n".repeat(MAX_MEDIA + 1));
        let rows = [
            ("", "v=0"),
            ("hello", "line 1"),
            ("a=b", "v=0"),
            ("\u{feff}v=0", "line 1"),
            ("v=0\nm=audio", "line 2: not an m-line"),
            ("v=0\nm=audio x UDP/TLS/RTP/SAVPF 0", "line 2: not an m-line"),
            ("v=0\nm= 9  0", "line 2: not an m-line"),
            ("v=0\na=\0", "control character"),
            (&long, "lines"),
            (&many, "m-lines"),
        ];
        for (text, expected) in rows {
            let error = Sdp::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:.20}: {error}");
        }
    }
}
