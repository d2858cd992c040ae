//! The WHEP layer extension: a viewer chooses the encoding it wants, or goes back to automatic.
//!
//! Both dialects: `rid` of the present draft, and `encodingId` of the first drafts (Millicast, Broadcast Box), which
//! sends JSON under a form's content type; so the content type is not looked at.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use super::auth::Permit;
use super::headers::read_text;
use super::path::Path;
use super::problem::{Problem, ProblemBody};
use super::sessions::Session;
use super::{Control, session};
use crate::sfu::command::{Command, LayerSelection, Reply};

/// Longest selection in bytes.
const SELECTION_BYTES: usize = 4096;

/// What a viewer wants to see. Without a layer in it: automatic.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Selection {
    /// m-line index it applies to; every video slot when absent.
    #[schema(value_type = Option<String>)]
    media_id: Option<MediaId>,
    /// The encoding.
    #[serde(alias = "encodingId")]
    rid: Option<String>,
    /// The spatial layer.
    spatial_layer_id: Option<u8>,
    /// The temporal layer.
    temporal_layer_id: Option<u8>,
    /// At most this spatial layer.
    max_spatial_layer_id: Option<u8>,
    /// At most this temporal layer.
    max_temporal_layer_id: Option<u8>,
    /// At most this picture width.
    max_width: Option<u32>,
    /// At most this picture height.
    max_height: Option<u32>,
}

/// `"0"` in the draft; some write `0`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum MediaId {
    Number(u8),
    Text(String),
}

/// Choose a layer
#[utoipa::path(post, path = "/sessions/{session}/layer", tag = "layer",
    request_body = Selection,
    responses((status = 200), (status = "4XX", body = ProblemBody), (status = 503, body = ProblemBody)))]
pub(super) async fn select(
    State(control): State<Control>,
    permit: Permit,
    Path(session): Path<String>,
    body: Body,
) -> Result<StatusCode, Problem> {
    let session = session::owned(&control, &permit, &session)?;
    let text = read_text(body, SELECTION_BYTES).await?;
    let selection: Selection = serde_json::from_str(&text)
        .map_err(|error| Problem::bad_request(format!("send a JSON object such as {{\"rid\": \"h\"}}: {error}")))?;
    apply(&control, &session, selection.try_into()?).await
}

/// Back to automatic
#[utoipa::path(delete, path = "/sessions/{session}/layer", tag = "layer",
    responses((status = 200), (status = "4XX", body = ProblemBody), (status = 503, body = ProblemBody)))]
pub(super) async fn unselect(
    State(control): State<Control>,
    permit: Permit,
    Path(session): Path<String>,
) -> Result<StatusCode, Problem> {
    let session = session::owned(&control, &permit, &session)?;
    apply(&control, &session, LayerSelection::default()).await
}

async fn apply(control: &Control, session: &Session, selection: LayerSelection) -> Result<StatusCode, Problem> {
    match session::forward(control, session, Command::SelectLayer { session: session.id, selection }).await? {
        Reply::Done => Ok(StatusCode::OK),
        other => Err(Problem::unexpected(&other)),
    }
}

impl TryFrom<Selection> for LayerSelection {
    type Error = Problem;

    fn try_from(selection: Selection) -> Result<Self, Problem> {
        let media = match selection.media_id {
            None => None,
            Some(MediaId::Number(index)) => Some(index),
            Some(MediaId::Text(text)) => Some(text.parse().map_err(|_| {
                Problem::bad_request(format!("mediaId \"{text}\" is not the index of an m-line, such as \"1\""))
            })?),
        };
        Ok(Self {
            media,
            rid: selection.rid.filter(|rid| !rid.is_empty()),
            max_width: selection.max_width,
            max_height: selection.max_height,
            spatial: selection.spatial_layer_id.or(selection.max_spatial_layer_id),
            temporal: selection.temporal_layer_id.or(selection.max_temporal_layer_id),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_dialects_mean_the_same() {
        let on = |media| LayerSelection { media, ..LayerSelection::default() };
        let rows = [
            ("{}", Some(on(None))),
            (r#"{"mediaId":"0"}"#, Some(on(Some(0)))),
            (r#"{"mediaId":1}"#, Some(on(Some(1)))),
            (r#"{"mediaId":"1","rid":"h"}"#, Some(LayerSelection { rid: Some("h".into()), ..on(Some(1)) })),
            (r#"{"mediaId":"1","encodingId":"h"}"#, Some(LayerSelection { rid: Some("h".into()), ..on(Some(1)) })),
            (r#"{"rid":""}"#, Some(on(None))),
            (r#"{"maxHeight":720,"maxWidth":1280}"#, {
                Some(LayerSelection { max_height: Some(720), max_width: Some(1280), ..on(None) })
            }),
            (r#"{"spatialLayerId":1,"maxTemporalLayerId":2}"#, {
                Some(LayerSelection { spatial: Some(1), temporal: Some(2), ..on(None) })
            }),
            (r#"{"mediaId":"video"}"#, None),
            (r#"{"mediaId":-1}"#, None),
            (r#"{"maxHeight":"720"}"#, None),
            ("[]", None),
        ];
        for (json, expected) in rows {
            let parsed = serde_json::from_str::<Selection>(json).ok();
            assert_eq!(parsed.and_then(|selection| LayerSelection::try_from(selection).ok()), expected, "{json}");
        }
    }
}
