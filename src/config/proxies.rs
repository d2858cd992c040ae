//! `[proxies]`: programs in front of this server.

use serde::{Deserialize, Serialize};

use super::text;
use crate::turn::Network;

/// `[proxies]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Proxies {
    /// Reverse proxies that name the caller in a header field.
    #[serde(with = "text::parsed")]
    pub http: Vec<Network>,
    /// The field they write.
    pub http_field: ForwardedField,
    /// Proxies whose TCP connections begin with a PROXY protocol header.
    #[serde(with = "text::parsed")]
    pub tcp: Vec<Network>,
}

/// The header field a reverse proxy names the caller in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedField {
    /// By convention.
    #[default]
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}
