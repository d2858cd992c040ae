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
        let problem = finding.result.unwrap_err();
        assert_eq!(problem.symptom, "answers, but does not relay: it does not take our credentials");
        assert!(problem.remedy.contains("turn.secret"));
    }
    let gone = node.subject().clone();
    node.stop().await;
    for finding in examine(&gone).await {
        let problem = finding.result.unwrap_err();
        assert!(problem.remedy.starts_with("nothing listens there"), "{}: {problem:?}", finding.path);
    }
}

#[test]
fn what_is_to_be_done_is_said_once_for_all_paths_that_fail_alike() {
    let finding = |path: &str, remedy: Option<&'static str>| {
        let result =
            remedy.map_or(Ok(String::new()), |remedy| Err(Problem { symptom: "no answer".to_owned(), remedy }));
        Finding { path: path.to_owned(), result }
    };
    let found = [("a", Some("open it")), ("b", None), ("c", Some("close it")), ("d", Some("open it"))];
    let findings = found.map(|(path, remedy)| finding(path, remedy));
    assert_eq!(remedies(&findings), ["a, d: open it", "c: close it"]);
}

#[tokio::test]
async fn ports_that_other_programs_have_are_told_from_a_server() {
    let (udp, tcp) = loop {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        if let Ok(udp) = std::net::UdpSocket::bind(tcp.local_addr().expect("an address")) {
            break (udp, tcp);
        }
    };
    let taken = tcp.local_addr().expect("an address");
    let subject = Subject { addresses: vec![taken], tcp: true, ..Subject::default() };
    let problems = examine(&subject).await.into_iter().map(|finding| finding.result.unwrap_err());
    let expected = [
        ("no answer", "clients are told this address"),
        ("it is connected, but nothing is answered", "another program has this TCP port"),
    ];
    for (problem, (symptom, remedy)) in problems.zip(expected) {
        assert!(problem.symptom == symptom && problem.remedy.starts_with(remedy), "{problem:?}");
    }
    let mut config = config();
    config.media.port = taken.port();
    drop(tcp);
    let error = tokio::task::spawn_blocking(move || crate::node::check(&config)).await.expect("no panic").unwrap_err();
    assert!(error.to_string().contains("is in use"), "{error}");
    drop(udp);
}
