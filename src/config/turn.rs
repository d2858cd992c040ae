//! `[turn]`: the STUN and TURN server inside.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Secret, text};
use crate::turn::Network;

/// `[turn]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Turn {
    /// Whether it relays.
    pub mode: Switch,
    /// Secret shared with others who make credentials (the TURN REST API); empty: only joins make some.
    pub secret: Secret,
    /// Name clients are told instead of an address; `turns:` needs the one in the certificate.
    #[serde(with = "text::optional")]
    pub host: Option<String>,
    /// UDP ports of relayed addresses.
    #[serde(with = "ports")]
    pub relay_ports: RangeInclusive<u16>,
    /// Networks relayed to although they are not public.
    #[serde(with = "text::parsed")]
    pub allow_peers: Vec<Network>,
    /// Allocations of this node.
    #[serde(deserialize_with = "text::whole::<_, _, 1, 1_000_000>")]
    pub allocations: u32,
    /// Allocations of one session or user.
    #[serde(deserialize_with = "text::whole::<_, _, 1, 1_000_000>")]
    pub allocations_per_user: u32,
    /// Bytes per second of one allocation, each direction.
    #[serde(with = "text::bytes")]
    pub bandwidth: usize,
    /// How long the credentials of a join are good for.
    #[serde(with = "text::duration")]
    pub credential_lifetime: Duration,
}

/// A thing that can be switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// It is there.
    On,
    /// It is not.
    Off,
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            mode: Switch::On,
            secret: Secret::default(),
            host: None,
            relay_ports: 49_152..=65_535,
            allow_peers: Vec::new(),
            allocations: 4000,
            allocations_per_user: 16,
            bandwidth: 4 << 20,
            credential_lifetime: Duration::from_secs(12 * 3600),
        }
    }
}

/// `first-last`
mod ports {
    use std::ops::RangeInclusive;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(range: &RangeInclusive<u16>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}-{}", range.start(), range.end()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RangeInclusive<u16>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let read = || {
            let (first, last) = text.split_once('-')?;
            let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (first > 0 && first < last).then_some(first..=last)
        };
        read().ok_or_else(|| {
            Error::custom(format_args!(
                "\"{text}\" is not a range of ports; write the first and the last, like \"49152-65535\""
            ))
        })
    }
}
