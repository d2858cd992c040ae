//! Against a node on loopback, and against nobody.

use super::*;
use crate::config::Config;
use crate::node::Node;

fn config() -> Config {
    let mut config = Config::default();
    config.http.listen.set_port(0);
    config.media.port = 0;
    config.media.bind = [127, 0, 0, 1].into();
    config
}

#[tokio::test]
async fn a_node_that_can_be_reached_is_found_on_every_path() {
    let node = Node::start(&config(), None).await.expect("a node");
    let findings = examine(node.subject()).await;
    let paths: Vec<&str> = findings.iter().map(|finding| finding.path.as_str()).collect();
    let media = node.media();
    assert_eq!(paths, [format!("UDP {media}"), format!("TCP {media}")]);
    for finding in &findings {
        let found = finding.result.as_ref().expect("it answers");
        assert!(
            found.contains("sees this machine as 127.0.0.1:") && found.contains("relays from 127.0.0.1:"),
            "{found}"
        );
    }
    node.stop().await;
}

#[tokio::test]
async fn a_relay_with_another_secret_and_a_port_nobody_has_are_told_with_the_remedy() {
    let node = Node::start(&config(), None).await.expect("a node");
    let credential = Credential::mint(b"another secret", Duration::from_secs(u32::MAX.into()), "check");
    let subject = Subject { credential: Some(credential), ..node.subject().clone() };
    for finding in examine(&subject).await {
        assert_eq!(finding.result.unwrap_err(), "answers, but does not relay: it does not take our credentials");
    }
    let gone = node.subject().clone();
    node.stop().await;
    for finding in examine(&gone).await {
        let problem = finding.result.unwrap_err();
        assert!(problem.contains("media.public_ip") || problem.contains("media.tcp"), "{problem}");
    }
}
