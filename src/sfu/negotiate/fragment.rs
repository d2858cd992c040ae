//! Trickle ICE and ICE restarts: application/trickle-ice-sdpfrag (RFC 8840) as WHIP and WHEP use it (RFC 9725 section
//! 4.3).

use str0m::{Candidate, IceCreds, Rtc};

use super::offer::{Offer, Section};
use super::sdp::{Lines, Sdp};
use super::text::{Text, bundle};
use super::{DescriptionError, answer, candidate, engine, malformed, transport};

/// Most candidates taken from one fragment. Larger: more work for a hostile one; smaller: a client that sends all at
/// once, for every m-line, loses some.
const MAX_CANDIDATES: usize = 64;

/// What a client trickles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// The ICE generation it is about; those of the offer, or new ones for a restart. Some clients leave them out.
    pub credentials: Option<IceCreds>,
    /// The candidates the server can use, from all m-lines; the others are dropped.
    pub candidates: Vec<Candidate>,
    /// No more will come.
    pub end_of_candidates: bool,
}

impl Fragment {
    /// Reads a fragment, whether credentials and candidates come before the first m-line (medooze, simple-whip-client)
    /// or inside a section (the RFC), for one m-line or for several (MediaMTX).
    ///
    /// # Errors
    /// [`DescriptionError::Malformed`]: not lines of SDP, nothing in it, or half of the credentials.
    pub fn parse(text: &str) -> Result<Self, DescriptionError> {
        let sdp = Sdp::parse_fragment(text)?;
        let mut fragment = Self { credentials: None, candidates: Vec::new(), end_of_candidates: false };
        let mut seen = false;
        for lines in std::iter::once(&sdp.session).chain(sdp.media.iter().map(|media| &media.lines)) {
            seen |= fragment.take(lines)?;
        }
        if seen { Ok(fragment) } else { Err(malformed("the fragment has no ICE credentials and no candidates")) }
    }

    /// The client asks for an ICE restart, seen from the credentials it has now.
    pub fn restarts(&self, current: &IceCreds) -> bool {
        self.credentials.as_ref().is_some_and(|credentials| credentials != current)
    }

    /// Takes what a section has; false if that is nothing.
    fn take(&mut self, lines: &Lines) -> Result<bool, DescriptionError> {
        let credentials = transport::credentials(lines)?;
        let candidates = lines.has("candidate");
        let end = lines.has("end-of-candidates");
        let seen = credentials.is_some() || candidates || end;
        match (&self.credentials, credentials) {
            (Some(known), Some(other)) if *known != other => {
                return Err(malformed(
                    "the fragment has two different ICE credentials; one transport serves all m-lines",
                ));
            }
            (None, other) => self.credentials = other,
            _ => {}
        }
        for candidate in lines.attributes("candidate").take(MAX_CANDIDATES).filter_map(candidate::usable) {
            let known = self.candidates.iter().any(|known| known.addr() == candidate.addr());
            if !known && self.candidates.len() < MAX_CANDIDATES {
                self.candidates.push(candidate);
            }
        }
        self.end_of_candidates |= end;
        Ok(seen)
    }
}

/// Restarts ICE as the client asks and returns the server's fragment. Media goes on over the old path until the new one
/// is checked. `offer` then holds the client's new credentials; `credentials` are the server's new ones.
///
/// str0m restarts when an offer comes with other credentials, so it is given the first one again, changed in that.
///
/// # Errors
/// [`DescriptionError::Malformed`]: the fragment is no restart. Nothing has changed then.
pub fn restart(
    rtc: &mut Rtc,
    offer: &mut Offer,
    fragment: &Fragment,
    credentials: &IceCreds,
    candidates: &[Candidate],
) -> Result<String, DescriptionError> {
    let Some(remote) = fragment.credentials.clone().filter(|_| fragment.restarts(offer.credentials())) else {
        return Err(malformed("an ICE restart needs a new a=ice-ufrag and a=ice-pwd"));
    };
    let mut renewed = offer.clone();
    renewed.transport.credentials = remote;
    let engine_answer = engine::apply(rtc, &renewed)?;
    *offer = renewed;
    // str0m made up credentials of its own, which nobody could be routed by.
    rtc.direct_api().set_local_ice_credentials(credentials.clone());
    let lite = engine_answer.lines().any(|line| line == "a=ice-lite");
    if !lite {
        for candidate in &fragment.candidates {
            rtc.add_remote_candidate(candidate.clone());
        }
    }
    Ok(write(offer, lite, credentials, candidates))
}

fn write(offer: &Offer, lite: bool, credentials: &IceCreds, candidates: &[Candidate]) -> String {
    let mut text = Text::default();
    if lite {
        text.line(format_args!("a=ice-lite"));
    }
    text.line(format_args!("a=ice-options:trickle"));
    let bundle = bundle(offer);
    if !bundle.is_empty() {
        text.line(format_args!("a=group:BUNDLE {bundle}"));
    }
    let tagged = offer.tagged();
    if let Some(media) = offer.sections.iter().filter_map(Section::media).find(|media| Some(media.index) == tagged) {
        text.media_line(media, &media.proto);
        text.line(format_args!("a=mid:{}", media.mid));
    }
    text.line(format_args!("a=ice-ufrag:{}", credentials.ufrag));
    text.line(format_args!("a=ice-pwd:{}", credentials.pass));
    answer::write_candidates(&mut text, candidates);
    text.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANDIDATE: &str = "a=candidate:1 1 udp 2130706431 192.0.2.7 5000 typ host";
    const UFRAG: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1";

    fn credentials() -> IceCreds {
        IceCreds { ufrag: "EsAw".into(), pass: "P2uYro0UCOQ4zxjKXaWCBui1".into() }
    }

    #[test]
    fn fragments_are_read_as_every_client_writes_them() {
        let rows = [
            // RFC 9725: credentials and candidates inside the section.
            format!(
                "a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n{UFRAG}\r\n{CANDIDATE}\r\n\
                 a=candidate:2 1 tcp 1 192.0.2.7 9 typ host tcptype active\r\na=end-of-candidates\r\n"
            ),
            // medooze: credentials before.
            format!(
                "{UFRAG}\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n{CANDIDATE}\r\n\
                 a=candidate:1 1 udp 1 9078d9a9-6005-4f54-bbee-70293edf1f4d.local 4 typ host\r\na=end-of-candidates"
            ),
            // simple-whip-client.
            format!("{UFRAG}\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n{CANDIDATE}\r\na=end-of-candidates\r\n"),
            // MediaMTX: the whole m-line of the offer, once for each section.
            format!(
                "{UFRAG}\nm=audio 9 UDP/TLS/RTP/SAVPF 111 63\na=mid:0\n{CANDIDATE}\n\
                 m=video 9 UDP/TLS/RTP/SAVPF 96 97\na=mid:1\n{CANDIDATE}\na=end-of-candidates\n"
            ),
        ];
        for text in rows {
            let fragment = Fragment::parse(&text).unwrap();
            assert_eq!(fragment.credentials, Some(credentials()), "{text}");
            let addresses: Vec<String> = fragment.candidates.iter().map(|c| c.addr().to_string()).collect();
            assert_eq!(addresses, ["192.0.2.7:5000"], "{text}");
            assert!(fragment.end_of_candidates, "{text}");
            assert!(!fragment.restarts(&credentials()));
        }
    }

    #[test]
    fn an_empty_candidate_or_the_end_alone_is_a_fragment() {
        for text in ["a=candidate:", "a=end-of-candidates", "m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:\r\n"] {
            let fragment = Fragment::parse(text).unwrap();
            assert_eq!((fragment.credentials, fragment.candidates), (None, Vec::new()), "{text}");
        }
    }

    #[test]
    fn only_other_credentials_restart() {
        let other = Fragment::parse("a=ice-ufrag:ysXw\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k").unwrap();
        assert!(other.restarts(&credentials()));
        assert!(!Fragment::parse(CANDIDATE).unwrap().restarts(&credentials()));
    }

    #[test]
    fn what_is_no_fragment_is_malformed() {
        let many = format!("{}\n", "a=x\n".repeat(5000));
        let two = format!("{UFRAG}\nm=audio 9 RTP/AVP 0\na=ice-ufrag:ysXw\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k");
        let rows = [
            "",
            "hello",
            "{\"candidate\":\"\"}",
            "m=audio 9 RTP/AVP 0\na=mid:0",
            "a=ice-ufrag:EsAw",
            "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
            "a=ice-ufrag:E\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
            "a=ice-ufrag:EsAw\na=ice-pwd:short",
            "a=ice-ufrag:Es:w\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
            "a=candidate:\0",
            &many,
            &two,
        ];
        for text in rows {
            assert!(matches!(Fragment::parse(text), Err(DescriptionError::Malformed(_))), "{text:.40}");
        }
    }

    #[test]
    fn a_fragment_keeps_a_bounded_number_of_candidates() {
        let lines: Vec<String> = (1..=500).map(|port| CANDIDATE.replace("5000", &port.to_string())).collect();
        assert_eq!(Fragment::parse(&lines.join("\n")).unwrap().candidates.len(), MAX_CANDIDATES);
    }
}
