//! Why a packet was not forwarded: the label of a counter, never an error that travels.

/// Why [`Forwarder::forward`](super::Forwarder::forward) refused a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Its layer is not the one this subscription is sent.
    NotSelected,
    /// Its layer is wanted, but no key frame has come to start at.
    AwaitingKeyframe,
    /// A key frame to switch at, but too far behind what was sent already: ask for another, which is taken as it comes.
    LateKeyframe,
    /// A key frame to switch at, but a picture of the layer before is not at its end: it is replayed then.
    OpenPicture,
    /// It precedes the packet this layer was joined at, so what it belongs to was never begun.
    BeforeSwitch,
    /// So late that its place in the output is no longer known.
    TooOld,
    /// This sequence number was handled before.
    Duplicate,
    /// Padding without payload; the numbers close up over it.
    Padding,
    /// Its temporal or spatial layer is above what this subscription is sent; the numbers close up over it.
    UpperLayer,
    /// The subscriber has no payload format for it.
    NoFormat,
}

impl DropReason {
    /// Every reason, in the order of the discriminants: `ALL[reason as usize] == reason`.
    pub const ALL: [DropReason; 10] = [
        DropReason::NotSelected,
        DropReason::AwaitingKeyframe,
        DropReason::LateKeyframe,
        DropReason::OpenPicture,
        DropReason::BeforeSwitch,
        DropReason::TooOld,
        DropReason::Duplicate,
        DropReason::Padding,
        DropReason::UpperLayer,
        DropReason::NoFormat,
    ];

    /// The value of the metric's `reason` label.
    pub fn label(self) -> &'static str {
        match self {
            DropReason::NotSelected => "not_selected",
            DropReason::AwaitingKeyframe => "awaiting_keyframe",
            DropReason::LateKeyframe => "late_keyframe",
            DropReason::OpenPicture => "open_picture",
            DropReason::BeforeSwitch => "before_switch",
            DropReason::TooOld => "too_old",
            DropReason::Duplicate => "duplicate",
            DropReason::Padding => "padding",
            DropReason::UpperLayer => "upper_layer",
            DropReason::NoFormat => "no_format",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_own_index_under_its_own_label() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert_eq!(DropReason::ALL.iter().filter(|other| other.label() == reason.label()).count(), 1);
        }
    }
}
