//! The layer extension (P7b), in both dialects.

use crate::row::{Given, Row, check, row};
use crate::server::Server;

fn select(says: &'static str, body: &'static str) -> Row {
    row("P7b", says).given(Given::Viewer).request("POST", "{session}/layer").body(body)
}

#[tokio::test]
async fn a_viewer_chooses_a_layer_or_none() {
    check(&Server::open(), selections()).await;
}

pub(crate) fn selections() -> Vec<Row> {
    vec![
        select("by rid", r#"{"mediaId":"0","rid":"h"}"#)
            .with("content-type", "application/json")
            .status(200)
            .scripted(),
        select("by encodingId, under a form's type", r#"{"mediaId":"1","encodingId":"h"}"#)
            .with("content-type", "application/x-www-form-urlencoded")
            .status(200)
            .scripted(),
        select("by size", r#"{"maxHeight":360}"#).status(200),
        select("back to automatic", r#"{"mediaId":"0"}"#).status(200),
        select("a layer there is not", r#"{"rid":"none"}"#).status(400),
        select("no JSON", "rid=h").status(400),
        select("no body", "").status(400),
        select("no m-line index", r#"{"mediaId":"video"}"#).status(400),
        row("P7b", "DELETE is back to automatic").given(Given::Viewer).request("DELETE", "{session}/layer").status(200),
        row("P7b", "an unknown session").request("POST", "{session}/layer").body("{}").status(404),
        row("P7b", "GET")
            .given(Given::Viewer)
            .request("GET", "{session}/layer")
            .status(405)
            .header_contains("allow", "POST"),
    ]
}
