//! The same rows against a whole node: real shards, real negotiation, HTTP over loopback.

use crosspoint::config::{Config, IceServer};
use crosspoint::node::Node;

use crate::malformed::{Malformed, corpus};
use crate::row::{Row, check};
use crate::server::{Remote, Target as _, request};
use crate::{api, cors, events, layer, pages, patch, whep, whip};

#[tokio::test]
async fn the_rules_hold_on_a_whole_node() {
    let rows = [
        whip::accepted,
        whip::refusals,
        whip::methods,
        whip::endings,
        whep::accepted,
        whep::methods,
        whep::counter_offers,
        patch::trickles,
        patch::refusals,
        layer::selections,
        events::subscriptions,
        cors::preflights,
        api::answers,
        pages::pages,
    ];
    let rows = rows.into_iter().flat_map(|rows| rows()).filter(|row: &Row| !row.needs_script()).collect();
    let node = Node::start(&config(), None).await.expect("a node");
    check(&Remote::new(node.http()), rows).await;
    node.stop().await;
}

#[tokio::test]
async fn no_malformed_offer_is_taken() {
    let node = Node::start(&config(), None).await.expect("a node");
    let remote = Remote::new(node.http());
    let mut wrong = Vec::new();
    for (number, Malformed { name, body }) in corpus().into_iter().enumerate() {
        let room = format!("/whip/malformed-{number}");
        let headers = [("content-type", "application/sdp")];
        let response = remote.send(request(axum::http::Method::POST, &room, &headers, body)).await;
        if !response.status.is_client_error() {
            wrong.push(format!("{name}: {response:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(remote.send(request(axum::http::Method::GET, "/readyz", &[], "")).await.status, 200);
    node.stop().await;
}

/// Free ports, two shards, and the ICE servers of the scripted server.
pub(crate) fn config() -> Config {
    let mut config = Config::default();
    config.http.listen.set_port(0);
    config.media.port = 0;
    config.media.bind = [127, 0, 0, 1].into();
    config.media.shards = 2;
    let turn = IceServer {
        username: Some("user".into()),
        credential: "secret".to_owned().into(),
        ..stun("turn:turn.example:3478")
    };
    config.ice.servers = vec![stun("stun:stun.example:3478"), turn];
    config
}

fn stun(url: &str) -> IceServer {
    IceServer { urls: vec![url.into()], ..IceServer::default() }
}
