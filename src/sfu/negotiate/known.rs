//! What an engine was built with bounds every later description: its payload types are set once, for good.

use str0m::format::{CodecConfig, PayloadParams};

use super::offer::Offer;
use super::{DescriptionError, unacceptable};

/// Leaves of a description what the engine knows. Other formats the answer does not name, so that nobody sends them.
///
/// # Errors
/// [`DescriptionError::Unacceptable`]: a payload type would get another meaning (RFC 3264 section 8.3.2), or an m-line
/// has no format left.
pub(super) fn narrow(offer: &mut Offer, engine: &CodecConfig) -> Result<(), DescriptionError> {
    for section in offer.media_mut() {
        let label = section.label();
        let renamed = section.formats.iter().find(|offered| has_other_meaning(engine, offered.params));
        if let Some(offered) = renamed {
            let (payload_type, format) = (offered.format.payload_type, &offered.format);
            return Err(unacceptable(format!(
                "{label} gives payload type {payload_type} another meaning ({format}) than it has; {ADVICE}"
            )));
        }
        section.formats.retain(|offered| known(engine, offered.params).is_some());
        for offered in &mut section.formats {
            let resend = known(engine, offered.params).and_then(PayloadParams::resend);
            offered.format.rtx = offered.format.rtx.filter(|rtx| resend == Some((*rtx).into()));
            offered.format.red =
                offered.format.red.filter(|red| engine.iter().any(|known| known.pt() == (*red).into()));
        }
        if section.formats.is_empty() {
            return Err(unacceptable(format!("{label} has no payload type that the connection began with; {ADVICE}")));
        }
    }
    Ok(())
}

/// What to do about payload types.
const ADVICE: &str = "a connection keeps its payload types: offer those, or begin anew with another RTCPeerConnection";

/// The engine's view of a format, if it has one.
fn known(engine: &CodecConfig, offered: PayloadParams) -> Option<&PayloadParams> {
    engine.iter().find(|known| known.pt() == offered.pt() && known.spec().codec == offered.spec().codec)
}

fn has_other_meaning(engine: &CodecConfig, offered: PayloadParams) -> bool {
    let uses = |known: &PayloadParams| known.pt() == offered.pt() || known.resend() == Some(offered.pt());
    known(engine, offered).is_none() && engine.iter().any(uses)
}
