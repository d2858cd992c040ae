//! Writing descriptions: lines that end in CRLF (OBS looks for it), and the lines that several writers share.

use std::fmt::{Arguments, Write as _};

use super::codecs::OfferedFormat;
use super::offer::{MediaSection, Offer, Section};
use crate::rtp::format::Format;

/// A description being written.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    /// Appends a line.
    pub(super) fn line(&mut self, line: Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.0.write_fmt(line);
        self.0.push_str("\r\n");
    }

    pub(super) fn finish(self) -> String {
        self.0
    }

    /// `v=` to `t=`. The identifier must differ between sessions (RFC 8866 section 5.2).
    pub(super) fn session(&mut self, id: &str) {
        self.line(format_args!("v=0"));
        self.line(format_args!("o=- {id} 2 IN IP4 127.0.0.1"));
        self.line(format_args!("s=-"));
        self.line(format_args!("t=0 0"));
    }

    /// The m-line of a served section, with all its payload types.
    pub(super) fn media_line(&mut self, section: &MediaSection, proto: &str) {
        let mut payload_types = String::new();
        for OfferedFormat { format, prefers_red, .. } in &section.formats {
            let Format { payload_type, rtx, red, .. } = format;
            let (first, last) = if *prefers_red { (*red, None) } else { (None, *red) };
            for payload_type in [first, Some(*payload_type), *rtx, last].into_iter().flatten() {
                let _ = write!(payload_types, " {payload_type}");
            }
        }
        self.line(format_args!("m={} 9 {proto}{payload_types}", section.kind_name()));
        self.line(format_args!("c=IN IP4 0.0.0.0"));
    }

    /// `a=rtpmap`, `a=rtcp-fb`, `a=fmtp` of a format and of its retransmissions.
    pub(super) fn format(&mut self, offered: &OfferedFormat, fmtp: Option<&str>) {
        let Format { payload_type, rtx, clock_rate, .. } = offered.format;
        self.line(format_args!("a=rtpmap:{payload_type} {}", offered.rtpmap()));
        for feedback in &offered.feedback {
            self.line(format_args!("a=rtcp-fb:{payload_type} {}", feedback.name()));
        }
        if let Some(fmtp) = fmtp.filter(|fmtp| !fmtp.is_empty()) {
            self.line(format_args!("a=fmtp:{payload_type} {fmtp}"));
        }
        if let Some(rtx) = rtx {
            self.line(format_args!("a=rtpmap:{rtx} rtx/{clock_rate}"));
            self.line(format_args!("a=fmtp:{rtx} apt={payload_type}"));
        }
    }

    /// `a=rtpmap` and `a=fmtp` of a format with frames repeated (RFC 2198 section 4).
    pub(super) fn redundancy(&mut self, offered: &OfferedFormat) {
        let Format { payload_type, red: Some(red), clock_rate, channels, .. } = offered.format else { return };
        self.line(format_args!("a=rtpmap:{red} red/{clock_rate}/{}", channels.unwrap_or(1)));
        self.line(format_args!("a=fmtp:{red} {payload_type}/{payload_type}"));
    }

    /// `a=rid` and `a=simulcast`, all encodings active; `direction` is the writer's.
    pub(super) fn simulcast(&mut self, section: &MediaSection, direction: &str) {
        for rid in &section.rids {
            self.line(format_args!("a=rid:{rid} {direction}"));
        }
        if !section.rids.is_empty() {
            self.line(format_args!("a=simulcast:{direction} {}", section.rids.join(";")));
        }
    }
}

/// The mids of the BUNDLE group that are served, separated by blanks; empty when the client has no group.
pub(super) fn bundle(offer: &Offer) -> String {
    let served = |mid: &&String| offer.sections.iter().filter_map(Section::served).any(|(_, served)| served == **mid);
    offer.bundle.iter().filter(served).map(String::as_str).collect::<Vec<_>>().join(" ")
}
