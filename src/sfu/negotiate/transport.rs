//! What an offer says about the transport: ICE credentials (RFC 8839), certificate fingerprint (RFC 8122), DTLS role
//! (RFC 8842).

use str0m::IceCreds;

use super::sdp::{Lines, Media, Sdp};
use super::{DescriptionError, malformed, unacceptable};

/// The transport of a bundle.
#[derive(Debug, Clone)]
pub(super) struct Transport {
    pub(super) credentials: IceCreds,
    /// `sha-256 AB:CD:...`
    pub(super) fingerprint: String,
    pub(super) setup: Setup,
}

/// The DTLS role a client offers or takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setup {
    /// Either; the server then waits for the client's ClientHello.
    ActPass,
    /// The client speaks first.
    Active,
    /// The server speaks first. FFmpeg offers this.
    Passive,
}

impl Setup {
    pub(super) fn name(self) -> &'static str {
        match self {
            Setup::ActPass => "actpass",
            Setup::Active => "active",
            Setup::Passive => "passive",
        }
    }

    /// What the server answers.
    pub(super) fn answer(self) -> Setup {
        match self {
            Setup::ActPass | Setup::Active => Setup::Passive,
            Setup::Passive => Setup::Active,
        }
    }
}

impl Transport {
    /// Of nobody.
    pub(super) fn none() -> Self {
        let credentials = IceCreds { ufrag: String::new(), pass: String::new() };
        Self { credentials, fingerprint: String::new(), setup: Setup::ActPass }
    }

    /// Reads the transport from the tagged m-line, else from the session, else from wherever it stands.
    ///
    /// # Errors
    /// [`DescriptionError::Malformed`]: missing or unreadable; [`DescriptionError::Unacceptable`]: a hash that is not
    /// supported.
    pub(super) fn read(sdp: &Sdp, tagged: &Media) -> Result<Self, DescriptionError> {
        let others = sdp.media.iter().map(|media| &media.lines);
        let places: Vec<&Lines> = [&tagged.lines, &sdp.session].into_iter().chain(others).collect();
        let credentials = places.iter().find_map(|lines| credentials(lines).transpose());
        let credentials =
            credentials.unwrap_or_else(|| Err(malformed("the offer has no a=ice-ufrag and a=ice-pwd")))?;
        let fingerprint = fingerprint(&places)?;
        let setup = match places.iter().find_map(|lines| lines.attribute("setup")) {
            Some("actpass") => Setup::ActPass,
            // Nothing said means active in an offer (RFC 4145 section 4).
            Some("active") | None => Setup::Active,
            Some("passive") => Setup::Passive,
            Some(other) => {
                return Err(malformed(format!("a=setup:{other:.20}; it must be actpass, active or passive")));
            }
        };
        Ok(Self { credentials, fingerprint, setup })
    }
}

/// The ICE credentials of a section, if it has any.
///
/// # Errors
/// [`DescriptionError::Malformed`]: only one of the two, or not of the length RFC 8839 section 5.4 asks for.
pub(super) fn credentials(lines: &Lines) -> Result<Option<IceCreds>, DescriptionError> {
    let valid = |value: &&str, least: usize| {
        (least..=256).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_graphic() && b != b':')
    };
    match (lines.attribute("ice-ufrag"), lines.attribute("ice-pwd")) {
        (None, None) => Ok(None),
        (Some(ufrag), Some(pass)) => {
            if !valid(&ufrag, 4) || !valid(&pass, 22) {
                return Err(malformed("a=ice-ufrag needs 4 to 256 and a=ice-pwd 22 to 256 printable characters"));
            }
            Ok(Some(IceCreds { ufrag: ufrag.to_owned(), pass: pass.to_owned() }))
        }
        (Some(_), None) => Err(malformed("a=ice-ufrag without a=ice-pwd")),
        (None, Some(_)) => Err(malformed("a=ice-pwd without a=ice-ufrag")),
    }
}

/// The fingerprint with the best hash that str0m can check, as `name HEX:HEX:...`.
fn fingerprint(places: &[&Lines]) -> Result<String, DescriptionError> {
    let mut offered = None;
    for (hash, length) in [("sha-256", 32), ("sha-1", 20)] {
        for value in places.iter().flat_map(|lines| lines.attributes("fingerprint")) {
            let (name, digest) = value.split_once(' ').unwrap_or((value, ""));
            offered = offered.or(Some(name));
            if name.eq_ignore_ascii_case(hash) {
                let digest = digest.trim();
                let hex = |byte: &str| byte.len() == 2 && byte.bytes().all(|b| b.is_ascii_hexdigit());
                if !digest.split(':').all(hex) || digest.split(':').count() != length {
                    return Err(malformed(format!("a=fingerprint:{hash} needs {length} bytes in hexadecimal")));
                }
                return Ok(format!("{hash} {}", digest.to_ascii_uppercase()));
            }
        }
    }
    match offered {
        Some(name) => Err(unacceptable(format!("a=fingerprint uses {name:.20}; the server checks sha-256"))),
        None => Err(malformed("the offer has no a=fingerprint")),
    }
}
