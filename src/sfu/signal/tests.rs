//! The declarations in `web/` are up to date; what is no request is refused; messages look as documented.

use std::fs;
use std::path::Path;

use serde_json::json;
use ts_rs::{Config, TS};

use super::*;

/// Set to write the declarations instead of comparing them.
const UPDATE: &str = "UPDATE_SIGNALLING_TYPES";

const PREAMBLE: &str = r#"// Messages of rooms, version 1, over the WebSocket at /rooms/{room}/ws.
// Made from the server's types (src/sfu/signal) by its test; do not edit.

/** What the client sends: one JSON object for each text frame. */
export type RequestMessage = {
  [M in keyof Methods]: { id: number; method: M; params: Methods[M]["params"] };
}[keyof Methods];

/** What the server sends. */
export type ServerMessage =
  | { id: number; result: Methods[keyof Methods]["result"] }
  | { id: number | null; error: Failure }
  | Event;

/** Every method with its parameters and its result. */
export interface Methods {
"#;

#[test]
fn the_typescript_declarations_are_those_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/signalling.d.ts");
    let made = declarations();
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&path, &made).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == made, "web/signalling.d.ts is out of date; run this test with {UPDATE}=1");
}

fn declarations() -> String {
    let config = Config::new().with_large_int("number");
    let mut text = PREAMBLE.to_owned();
    text.push_str(&request::typescript(&config));
    text.push_str("}\n");
    macro_rules! declare {
        ($($name:ty),+ $(,)?) => {
            $(
                text.push('\n');
                if let Some(docs) = <$name>::docs() {
                    text.push_str(docs.trim_end());
                    text.push('\n');
                }
                text.push_str("export ");
                text.push_str(&<$name>::decl(&config));
                text.push('\n');
            )+
        };
    }
    declare!(
        Failure,
        ErrorCode,
        Event,
        JoinRequest,
        OwnTrack,
        Resume,
        Joined,
        SessionInfo,
        PublishedTrack,
        RoomLimits,
        ServerInfo,
        OfferRequest,
        Offered,
        Trickle,
        Subscribe,
        Subscribed,
        Mute,
        Update,
        Updated,
        Chat,
        ChatSent,
        Data,
        DataHeader,
        DataAnswer,
        DataReceipt,
        Signal,
        UpdateRoom,
        SetMode,
        PathReady,
        Report,
        Stats,
        SlotStats,
        TrackStats,
        Kick,
        MuteOther,
        Reasoned,
        Nothing,
        RoomInfo,
        PlayoutLimits,
        RoomMode,
        MediaPath,
        ParticipantInfo,
        ParticipantKind,
        ParticipantState,
        Permissions,
        TrackInfo,
        TrackSource,
        Binding,
        SubscriptionReason,
        Wish,
        ChatMessage,
        Sender,
        IceServer,
        SpeakerLevel,
        LayerWish,
        CloseReason,
    );
    tidied(&text)
}

/// One-line comments on one line, no white space at the ends of lines.
fn tidied(text: &str) -> String {
    let text = text.replace("/**\n * ", "/** ").replace("\n */", " */");
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[test]
fn what_is_no_request_is_refused_with_its_id_and_a_sentence() {
    let rows = [
        ("", None, ErrorCode::BadRequest, "not a request"),
        ("[]", None, ErrorCode::BadRequest, "not a request"),
        (r#"{"method":"ping"}"#, None, ErrorCode::BadRequest, "\"id\""),
        (r#"{"id":-1,"method":"ping"}"#, None, ErrorCode::BadRequest, "not a request"),
        (r#"{"id":1}"#, Some(1), ErrorCode::BadRequest, "\"method\""),
        (r#"{"id":1,"method":"fly"}"#, Some(1), ErrorCode::Unsupported, "subscribe"),
        (r#"{"id":1,"method":"mute","params":{"track":"TR_x"}}"#, Some(1), ErrorCode::BadRequest, "muted"),
        (r#"{"id":1,"method":"mute","params":7}"#, Some(1), ErrorCode::BadRequest, "mute"),
        (
            r#"{"id":1,"method":"subscribe","params":{"wishes":[{"track":"t","height":-5}]}}"#,
            Some(1),
            ErrorCode::BadRequest,
            "subscribe",
        ),
    ];
    for (text, id, code, says) in rows {
        let (refused_id, failure) = Envelope::parse(text).unwrap_err();
        assert_eq!((refused_id, failure.code), (id, code), "{text}: {failure}");
        assert!(failure.message.contains(says), "{text}: {failure}");
    }
}

#[test]
fn requests_without_parameters_need_none() {
    for text in [r#"{"id":1,"method":"ping"}"#, r#"{"id":1,"method":"ping","params":null}"#] {
        assert_eq!(Envelope::parse(text), Ok(Envelope { id: 1, request: Request::Ping(Nothing {}) }), "{text}");
    }
}

#[test]
fn messages_have_the_shapes_the_contract_names() {
    let failure = Failure::new(ErrorCode::RoomFull, "x");
    let left = Event::ParticipantLeft { sid: "PA_x".into(), reason: "left".into() };
    let rows = [
        (Message::Reply { id: 7, result: Box::new(Response::Nothing(Nothing {})) }, json!({"id": 7, "result": {}})),
        (
            Message::Refusal { id: Some(7), error: failure },
            json!({"id": 7, "error": {"code": "room_full", "message": "x"}}),
        ),
        (
            Message::Event(Box::new(left)),
            json!({"event": "participantLeft", "data": {"sid": "PA_x", "reason": "left"}}),
        ),
    ];
    for (message, expected) in rows {
        assert_eq!(serde_json::to_value(&message).unwrap(), expected);
    }
}
