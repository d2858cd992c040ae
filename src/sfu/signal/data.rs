//! What travels on data channels: a line of JSON, a line feed, and for a message its payload as it is.

use serde::{Deserialize, Serialize};

use super::Failure;

/// The first line of a message on a data channel; after it come a line feed and the payload as it is. The client opens
/// the channels: `data` (unordered, without retransmissions) for what need not be complete, `reliable` for what is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct DataHeader {
    /// What it is about.
    pub topic: String,
    /// Sids; without: everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<String>>,
    /// As in `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reliable: Option<bool>,
    /// Sid of the sender; the server writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// On `reliable`, of the client: the answer (`DataAnswer`) repeats it. Without, there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// On `reliable`, of the server: rises from message to message, also from session to session. One that is no higher
    /// than an earlier one is that message once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// On `reliable`, of the server: where the count of events, from `events` of the reply to `join` on, stood before
    /// this. The channel may be quicker than the WebSocket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// What a message with an `id` on `reliable` is answered there: a line without a payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct DataAnswer {
    /// Of the message.
    pub id: u64,
    /// Why it was refused; without: it was passed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// What a client says on `reliable`, in a line without a payload, soon after messages came: what it has need not be
/// kept for it any longer. One that lets 16 MiB gather is cut off as a slow reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct DataReceipt {
    /// The highest `seq` that came.
    pub received: u64,
}
