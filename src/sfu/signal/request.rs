//! What members ask, and what they are answered. One table pairs each method with its parameters and its result.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::reply::{ChatSent, Joined, Offered, Stats, Subscribed, Updated};
use super::value::{MediaPath, RoomMode, TrackSource, Wish};
use super::{ErrorCode, Failure};

/// Pairs methods with parameters and results: the enums, the parser and the TypeScript table come from one list.
macro_rules! methods {
    ($($(#[doc = $doc:literal])+ $variant:ident $name:literal ($params:ty) -> $result:ident($value:ty),)+) => {
        /// What a member asks.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Request {
            $($(#[doc = $doc])+ $variant($params),)+
        }

        impl Request {
            /// Reads the parameters of a method.
            ///
            /// # Errors
            /// [`ErrorCode::Unsupported`] for a method there is not; [`ErrorCode::BadRequest`] for wrong parameters.
            pub fn parse(method: &str, params: Value) -> Result<Self, Failure> {
                match method {
                    $($name => read(method, params).map(Self::$variant),)+
                    _ => {
                        let known = [$($name),+].join(", ");
                        let message = format!("there is no method \"{method:.40}\"; there are {known}");
                        Err(Failure::new(ErrorCode::Unsupported, message))
                    }
                }
            }

            /// The method's name.
            pub fn method(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)+
                }
            }
        }

        #[cfg(test)]
        pub(super) fn typescript(config: &ts_rs::Config) -> String {
            use ts_rs::TS as _;
            let mut table = String::new();
            $(
                let doc = [$($doc),+].map(str::trim).join(" ");
                let (params, result) = (<$params>::name(config), <$value>::name(config));
                table.push_str(&format!("  /** {doc} */\n  {}: {{ params: {params}; result: {result} }};\n", $name));
            )+
            table
        }
    };
}

methods! {
    /// Come in. With an offer: media is negotiated in the same round trip.
    Join "join" (Box<JoinRequest>) -> Joined(Joined),
    /// Negotiate anew: publish, unpublish, more slots, ICE restart.
    Offer "offer" (OfferRequest) -> Offered(Offered),
    /// ICE candidates found later. The server needs none: it is reachable, and learns from the client's checks.
    Trickle "trickle" (Trickle) -> Nothing(Nothing),
    /// The full desired state of what is received.
    Subscribe "subscribe" (Subscribe) -> Subscribed(Subscribed),
    /// Mute or unmute an own track.
    Mute "mute" (Mute) -> Nothing(Nothing),
    /// Change own name, metadata or attributes.
    Update "update" (Update) -> Updated(Updated),
    /// Write to everybody or to some.
    Chat "chat" (Chat) -> ChatSent(ChatSent),
    /// Send a data message to everybody or to some.
    Data "data" (Data) -> Nothing(Nothing),
    /// Pass a message about a direct connection to another member.
    Signal "signal" (Signal) -> Nothing(Nothing),
    /// Change what the room says of itself. Needs `admin`.
    UpdateRoom "updateRoom" (UpdateRoom) -> Nothing(Nothing),
    /// Change the room's mode.
    SetMode "setMode" (SetMode) -> Nothing(Nothing),
    /// This member's media runs on that path.
    PathReady "pathReady" (PathReady) -> Nothing(Nothing),
    /// Quality as the client measured it.
    Report "report" (Report) -> Nothing(Nothing),
    /// The server's view of this member's media.
    Stats "stats" (Nothing) -> Stats(Stats),
    /// Remove somebody. Needs `admin`.
    Kick "kick" (Kick) -> Nothing(Nothing),
    /// Mute somebody's track. Needs `admin`.
    MuteOther "muteOther" (MuteOther) -> Nothing(Nothing),
    /// Remove everybody. Needs `admin`.
    CloseRoom "closeRoom" (Reasoned) -> Nothing(Nothing),
    /// Leave. The connection is closed afterwards.
    Leave "leave" (Nothing) -> Nothing(Nothing),
    /// Nothing; to see whether the connection lives.
    Ping "ping" (Nothing) -> Nothing(Nothing),
}

/// What a request is answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Response {
    /// To `join`.
    Joined(Box<Joined>),
    /// To `offer`.
    Offered(Offered),
    /// To `subscribe`.
    Subscribed(Subscribed),
    /// To `update`.
    Updated(Updated),
    /// To `chat`.
    ChatSent(ChatSent),
    /// To `stats`.
    Stats(Stats),
    /// To everything else.
    Nothing(Nothing),
}

fn read<T: serde::de::DeserializeOwned>(method: &str, params: Value) -> Result<T, Failure> {
    let refused = |error| Failure::new(ErrorCode::BadRequest, format!("the parameters of {method}: {error}"));
    serde_json::from_value(params).map_err(refused)
}

/// No parameters, or nothing to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(type = "{}"))]
pub struct Nothing {}

/// Parameters of `join`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
#[serde(rename_all = "camelCase")]
pub struct JoinRequest {
    /// 1.
    pub version: u32,
    /// Name for people; the identity otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who it is. A token with an identity decides instead; without either one is made up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Free text for the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// Small values for the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<BTreeMap<String, String>>,
    /// SDP: own senders as `sendonly`, receiving slots as `recvonly` m-lines. Without: chat and data only, for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<String>,
    /// The m-lines that are published; a `sendonly` m-line that is not listed is kept for later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracks: Option<Vec<OwnTrack>>,
    /// Take the place up again that was held before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
    /// What the client is, for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(type = "{ sdk?: string; version?: string; browser?: string }"))]
    pub client_info: Option<Value>,
}

/// One m-line the client publishes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct OwnTrack {
    /// The m-line.
    pub mid: String,
    /// What it shows.
    #[serde(default)]
    pub source: TrackSource,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Starts muted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted: Option<bool>,
    /// Its payload is encrypted end to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
}

/// The session to take up again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct Resume {
    /// `session.id` of the reply to the first join.
    pub session: String,
    /// `session.resumeSecret` of that reply.
    pub secret: String,
    /// The highest `seq` of the data messages that came, 0 if none did: those behind it come again. Without, for a page
    /// that was loaded anew, none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
}

/// Parameters of `offer`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct OfferRequest {
    /// SDP. A connection keeps the payload types of its first offer. Codecs and m-lines may come and go later,
    /// but formats that the first one did not name are left out of the answer.
    pub offer: String,
    /// All m-lines that are published.
    pub tracks: Vec<OwnTrack>,
}

/// Parameters of `trickle`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Trickle {
    /// `candidate:...` lines.
    pub candidates: Vec<String>,
}

/// Parameters of `subscribe`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Subscribe {
    /// The tracks to see. Video that is not listed is not sent. Audio is chosen by the server unless listed as paused.
    pub wishes: Vec<Wish>,
}

/// Parameters of `mute`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Mute {
    /// An own track.
    pub track: String,
    /// Muted or not.
    pub muted: bool,
}

/// Parameters of `update`: what is left out stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct Update {
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Free text for the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// Those named are set, those with an empty value removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<BTreeMap<String, String>>,
}

/// Parameters of `chat`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct Chat {
    /// What to write.
    pub text: String,
    /// Sids; without: everybody, and it is kept for those who come later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<String>>,
}

/// Parameters of `data`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct Data {
    /// What it is about.
    pub topic: String,
    /// Base64.
    pub payload: String,
    /// Sids; without: everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<String>>,
    /// True unless said otherwise. What is not reliable goes over the data channel where there is one, and is dropped
    /// where it would have to wait. What is, goes over the channel labelled `reliable` where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reliable: Option<bool>,
}

/// Parameters of `signal`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Signal {
    /// Sid of the other member of a direct path, which a `path` event named.
    pub to: String,
    /// Passed on as it is, up to 32 KiB.
    #[cfg_attr(test, ts(type = "unknown"))]
    pub payload: Value,
}

/// Parameters of `updateRoom`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct UpdateRoom {
    /// Free text for the application, up to 4 KiB; replaces the former.
    pub metadata: String,
}

/// Parameters of `setMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct SetMode {
    /// The new mode.
    pub mode: RoomMode,
}

/// Parameters of `pathReady`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct PathReady {
    /// The path.
    pub path: MediaPath,
    /// As in the `path` event.
    pub epoch: u32,
}

/// Parameters of `report`: since the last report.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
#[serde(rename_all = "camelCase", default)]
pub struct Report {
    /// How often the video that froze least did so, where packets were late or missing. One that freezes alone, or of
    /// which nothing is missing, is its sender's matter.
    pub freezes: Option<u32>,
    /// Milliseconds it stood still.
    pub freeze_ms: Option<u32>,
    /// Milliseconds this covers.
    pub interval_ms: Option<u32>,
}

/// Parameters of `kick`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct Kick {
    /// Sid.
    pub participant: String,
    /// Told to the one removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Parameters of `muteOther`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct MuteOther {
    /// Sid of the track.
    pub track: String,
}

/// Parameters of `closeRoom`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct Reasoned {
    /// Told to those removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
