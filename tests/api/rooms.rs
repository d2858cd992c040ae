//! `/rooms/{room}/ws` against a whole node: who may open it, every method, every refusal. Media is the simulation's
//! business; these members have none.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use crosspoint::config::{Config, Key};
use crosspoint::node::Node;
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message, WebSocket};

use crate::server::{Remote, Target as _, request};

/// Longer than any answer takes; what does not come is an error, not a wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// A member's page, as far as these tests need one.
struct Page {
    socket: WebSocket<TcpStream>,
    next: u64,
    events: Vec<Value>,
    joined: Value,
}

impl Page {
    fn open(node: SocketAddr, room: &str, token: Option<&str>) -> Result<Self, u16> {
        let query = token.map(|token| format!("?token={token}")).unwrap_or_default();
        let mut request = format!("ws://{node}/rooms/{room}/ws{query}").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "crosspoint.v1".parse().unwrap());
        let stream = TcpStream::connect(node).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match tungstenite::client(request, stream) {
            Ok((socket, response)) => {
                assert_eq!(response.headers()["sec-websocket-protocol"], "crosspoint.v1");
                Ok(Self { socket, next: 0, events: Vec::new(), joined: Value::Null })
            }
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                Err(response.status().as_u16())
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn join(node: SocketAddr, room: &str, token: Option<&str>, name: &str) -> Self {
        let mut page = Self::open(node, room, token).unwrap();
        page.joined = page.ask("join", json!({"version": 1, "name": name, "identity": name})).unwrap();
        page
    }

    fn sid(&self) -> String {
        self.joined["participant"]["sid"].as_str().unwrap().to_owned()
    }

    /// The result of a request, or the code it was refused with.
    fn ask(&mut self, method: &str, params: impl Into<Value>) -> Result<Value, String> {
        self.next += 1;
        let (id, params) = (self.next, params.into());
        self.say(&json!({"id": id, "method": method, "params": params}).to_string());
        self.answer(Some(id))
    }

    fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).unwrap();
    }

    fn answer(&mut self, id: Option<u64>) -> Result<Value, String> {
        loop {
            let message = self.read();
            if message.get("event").is_some() {
                self.events.push(message);
                continue;
            }
            assert_eq!(message["id"], json!(id));
            return match message.get("result") {
                Some(result) => Ok(result.clone()),
                None => {
                    assert!(message["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{message}");
                    Err(message["error"]["code"].as_str().unwrap().to_owned())
                }
            };
        }
    }

    /// The next event of that name.
    fn event(&mut self, name: &str) -> Value {
        loop {
            if let Some(at) = self.events.iter().position(|event| event["event"] == name) {
                return self.events.remove(at)["data"].clone();
            }
            let message = self.read();
            self.events.push(message);
        }
    }

    fn read(&mut self) -> Value {
        loop {
            match self.socket.read().expect("a message in time") {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn config() -> Config {
    let mut config = Config::default();
    config.http.listen.set_port(0);
    config.media.port = 0;
    config.media.bind = [127, 0, 0, 1].into();
    config.media.shards = 2;
    config.rooms.max_members = 3;
    config
}

/// Runs a test of blocking clients against a node.
async fn against(config: Config, test: impl FnOnce(SocketAddr) + Send + 'static) {
    let node = Node::start(&config, None).await.expect("a node");
    let address = node.http();
    tokio::task::spawn_blocking(move || test(address)).await.expect("the test");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_is_answered() {
    against(config(), |node| every_method(node, true)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_is_answered_in_a_room_over_two_shards() {
    let mut config = config();
    config.rooms.spill_after = 1;
    against(config, |node| every_method(node, false)).await;
}

/// `together`: two who are alone may connect directly.
fn every_method(node: SocketAddr, together: bool) {
    let mut ann = Page::join(node, "methods", None, "ann");
    let mut bob = Page::join(node, "methods", None, "bob");
    let (ann_sid, bob_sid) = (ann.sid(), bob.sid());
    assert_eq!(ann.event("participantJoined")["participant"]["sid"], bob_sid.as_str());
    assert_eq!(bob.joined["participants"][0]["identity"], "ann");
    for (method, params, expected) in rows(&ann_sid, together) {
        let answer = bob.ask(method, params.clone()).map(drop);
        assert_eq!(answer, expected.map_err(str::to_owned), "{method} {params:.200}");
    }
    assert_eq!(ann.event("participantUpdated")["participant"]["attributes"]["hand"], "17");
    assert_eq!(ann.event("chat")["message"]["text"], "hello");
    assert_eq!(ann.event("chat")["message"]["to"], json!([ann_sid]));
    assert_eq!(ann.event("data")["payload"], "aGk=");
    if together {
        assert_eq!(ann.event("signal"), json!({"from": bob_sid, "payload": {"a": 1}}));
    }
    assert_eq!(ann.event("roomUpdated")["room"]["metadata"], "stage=2");
    let cleo = Page::join(node, "methods", None, "cleo");
    assert_eq!(cleo.joined["room"]["metadata"], "stage=2", "late joiners are told, too");
    let chat = cleo.joined["chat"].as_array().unwrap();
    let texts: Vec<&Value> = chat.iter().map(|message| &message["text"]).collect();
    assert_eq!(texts, ["hello"], "late joiners get what was said to all, and nothing else");
    ann.ask("kick", json!({"participant": bob_sid, "reason": "noise"})).unwrap();
    assert_eq!(bob.event("closed"), json!({"reason": "kicked", "message": "noise"}));
    assert_eq!(ann.event("participantLeft")["sid"], bob_sid.as_str());
    ann.ask("leave", json!({})).unwrap();
    assert_eq!(ann.event("closed")["reason"], "left");
}

/// What somebody asks in a room with another, and how that ends.
fn rows(other: &str, together: bool) -> Vec<(&'static str, Value, Result<(), &'static str>)> {
    let sentence = "x".repeat(5000);
    vec![
        ("ping", json!({}), Ok(())),
        ("trickle", json!({"candidates": ["candidate:1 1 udp 1 192.0.2.1 9 typ host"]}), Ok(())),
        ("join", json!({"version": 1}), Err("already_joined")),
        ("offer", json!({"offer": "v=0", "tracks": []}), Err("bad_offer")),
        ("offer", json!({}), Err("bad_request")),
        ("subscribe", json!({"wishes": [{"track": "TR_gone", "height": 180}]}), Ok(())),
        ("subscribe", json!({"wishes": [{"track": "TR_gone", "height": 180, "colour": 1}]}), Err("bad_request")),
        ("mute", json!({"track": "TR_gone", "muted": true}), Err("not_found")),
        ("update", json!({"name": "Bobby", "attributes": {"hand": "17"}}), Ok(())),
        ("update", json!({"name": sentence}), Err("too_large")),
        ("chat", json!({"text": "hello"}), Ok(())),
        ("chat", json!({"text": "psst", "to": [other]}), Ok(())),
        ("chat", json!({"text": " "}), Err("bad_request")),
        ("chat", json!({"text": sentence}), Err("too_large")),
        ("chat", json!({"text": "x", "to": ["PA_gone"]}), Err("not_found")),
        ("data", json!({"topic": "t", "payload": "aGk="}), Ok(())),
        ("data", json!({"topic": "t", "payload": "a"}), Err("bad_request")),
        ("signal", json!({"to": other, "payload": {"a": 1}}), if together { Ok(()) } else { Err("forbidden") }),
        ("signal", json!({"to": "PA_gone", "payload": {}}), Err("not_found")),
        ("updateRoom", json!({"metadata": "stage=2"}), Ok(())),
        ("updateRoom", json!({"metadata": sentence}), Err("too_large")),
        ("updateRoom", json!({}), Err("bad_request")),
        ("setMode", json!({"mode": "sfu"}), Ok(())),
        ("setMode", json!({"mode": "carrier pigeon"}), Err("bad_request")),
        ("pathReady", json!({"path": "sfu", "epoch": 0}), Ok(())),
        ("report", json!({"freezes": 1, "freezeMs": 100, "intervalMs": 5000}), Ok(())),
        ("stats", json!({}), Ok(())),
        ("kick", json!({"participant": "PA_gone"}), Err("not_found")),
        ("muteOther", json!({"track": "TR_gone"}), Err("not_found")),
        ("fly", json!({}), Err("unsupported")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_is_refused_with_a_code_and_may_be_tried_again() {
    against(config(), |node| {
        let _ann = Page::join(node, "joins", None, "ann");
        let _bob = Page::join(node, "joins", None, "bob");
        let mut page = Page::open(node, "joins", None).unwrap();
        page.say("no JSON");
        assert_eq!(page.answer(None), Err("bad_request".into()));
        assert_eq!(page.ask("chat", json!({"text": "x"})), Err("not_joined".into()));
        assert_eq!(page.ask("join", json!({"version": 2})), Err("unsupported".into()));
        assert_eq!(page.ask("join", json!({"version": 1, "identity": "ann"})), Err("forbidden".into()));
        page.ask("join", json!({"version": 1, "identity": "cleo"})).unwrap();
        let mut fourth = Page::open(node, "joins", None).unwrap();
        assert_eq!(fourth.ask("join", json!({"version": 1, "identity": "dan"})), Err("room_full".into()));
        let mut offers = Page::open(node, "others", None).unwrap();
        let bad = json!({"version": 1, "offer": "v=0\r\n", "tracks": []});
        assert_eq!(offers.ask("join", bad), Err("bad_offer".into()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_resumed_over_another_connection() {
    against(config(), |node| {
        let ann = Page::join(node, "resumes", None, "ann");
        let mut bob = Page::join(node, "resumes", None, "bob");
        let (sid, session) = (ann.sid(), ann.joined["session"].clone());
        let resume = |secret: &Value| json!({"version": 1, "resume": {"session": session["id"], "secret": secret}});
        let mut thief = Page::open(node, "resumes", None).unwrap();
        assert_eq!(thief.ask("join", resume(&json!("guess"))), Err("forbidden".into()));
        drop(ann);
        assert_eq!(bob.event("participantState"), json!({"sid": sid, "state": "reconnecting"}));
        let mut again = Page::open(node, "resumes", None).unwrap();
        let joined = again.ask("join", resume(&session["resumeSecret"])).unwrap();
        assert_eq!((&joined["resumed"], &joined["participant"]["sid"]), (&json!(true), &json!(sid)));
        assert_eq!(bob.event("participantState"), json!({"sid": sid, "state": "active"}));
        let mut third = Page::open(node, "resumes", None).unwrap();
        third.ask("join", resume(&session["resumeSecret"])).unwrap();
        assert_eq!(again.event("closed")["reason"], "replaced");
        let mut lost = Page::open(node, "resumes", None).unwrap();
        let unknown = json!({"version": 1, "identity": "new", "resume": {"session": "abc", "secret": "x"}});
        assert_eq!(lost.ask("join", unknown).unwrap()["resumed"], false, "what is gone is joined anew");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_decide_who_may_what() {
    let key = |key: &str, publish| Key {
        key: key.to_owned().into(),
        publish,
        play: true,
        admin: false,
        rooms: vec!["team-*".into()],
        ..Key::default()
    };
    let mut config = config();
    config.auth.keys = vec![key("member-key-0123456789", true), key("viewer-key-0123456789", false)];
    against(config, |node| {
        assert_eq!(Page::open(node, "team-1", None).err(), Some(401));
        assert_eq!(Page::open(node, "team-1", Some("wrong")).err(), Some(401));
        assert_eq!(Page::open(node, "other", Some("member-key-0123456789")).err(), Some(403));
        let mut member = Page::join(node, "team-1", Some("member-key-0123456789"), "ann");
        let sid = member.sid();
        for (method, params) in [
            ("kick", json!({"participant": sid})),
            ("muteOther", json!({"track": "TR_x"})),
            ("closeRoom", json!({})),
            ("updateRoom", json!({"metadata": "mine"})),
        ] {
            assert_eq!(member.ask(method, params), Err("forbidden".into()), "{method}");
        }
        let mut viewer = Page::open(node, "team-1", Some("viewer-key-0123456789")).unwrap();
        let publishes = json!({"version": 1, "tracks": [{"mid": "0", "source": "camera"}]});
        assert_eq!(viewer.ask("join", publishes), Err("forbidden".into()));
        viewer.ask("join", json!({"version": 1})).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_change_rooms_that_somebody_is_in() {
    let mut config = config();
    config.rooms.spill_after = 1;
    config.auth.keys = [("operator-key-0123456789", true), ("member-key-0123456789", false)]
        .map(|(key, admin)| Key { key: key.to_owned().into(), admin, ..Key::default() })
        .into();
    against(config, |node| {
        let change = |key: &str, body: &str| {
            let bearer = format!("Bearer {key}");
            let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
            let patch = request(Method::PATCH, "/api/v1/rooms/stage", &headers, Body::from(body.to_owned()));
            let response = tokio::runtime::Handle::current().block_on(Remote::new(node).send(patch));
            response.status.as_u16()
        };
        let [operator, member] = ["operator-key-0123456789", "member-key-0123456789"];
        assert_eq!(change(operator, r#"{"metadata": "early"}"#), 404, "nobody is in it");
        let mut pages = ["ann", "bob"].map(|name| Page::join(node, "stage", Some(member), name));
        for (key, body, status) in [
            (member, r#"{"metadata": "mine"}"#, 403),
            (operator, "metadata", 400),
            (operator, r#"{"colour": "red"}"#, 400),
            (operator, r#"{"playout_delay": {"min": 600, "max": 200}}"#, 400),
            (operator, &json!({"metadata": "x".repeat(5000)}).to_string(), 413),
            (operator, r#"{"metadata": "act=2", "playout_delay": {"min": 200, "max": 600}}"#, 204),
            (operator, r#"{"playout_delay": null}"#, 204),
        ] {
            assert_eq!(change(key, body), status, "{body:.80}");
        }
        for page in &mut pages {
            let [changed, cleared] = [(); 2].map(|()| page.event("roomUpdated")["room"].clone());
            assert_eq!(
                (&changed["metadata"], &changed["playoutDelay"]),
                (&json!("act=2"), &json!({"min": 200, "max": 600}))
            );
            assert_eq!((&cleared["metadata"], cleared.get("playoutDelay")), (&json!("act=2"), None));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn join_tokens_say_who_somebody_is_and_what_they_may() {
    const OPERATOR: &str = "operator-key-0123456789-0123456789";
    let mut config = config();
    let key = |key: &str, admin, rooms: &str| Key {
        key: key.to_owned().into(),
        admin,
        rooms: vec![rooms.to_owned()],
        ..Key::default()
    };
    config.auth.keys = vec![
        key(OPERATOR, true, "stage*"),
        key("member-key-0123456789", false, "*"),
        key("short-operator-key-0123", true, "*"),
    ];
    against(config, |node| {
        let make = |key: &str, order: &Value| {
            let bearer = format!("Bearer {key}");
            let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
            let post = request(Method::POST, "/api/v1/tokens", &headers, Body::from(order.to_string()));
            let response = tokio::runtime::Handle::current().block_on(Remote::new(node).send(post));
            let body: Value = serde_json::from_str(&response.body).unwrap();
            (response.status.as_u16(), body["token"].as_str().unwrap_or_default().to_owned())
        };
        let [operator, member, short] = [OPERATOR, "member-key-0123456789", "short-operator-key-0123"];
        for (key, order, status) in [
            (member, json!({"room": "stage"}), 403),
            (short, json!({"room": "stage"}), 403),
            (operator, json!({"room": "elsewhere"}), 403),
            (operator, json!({"room": "a room"}), 400),
            (operator, json!({"room": "stage", "lifetime": 0}), 400),
            (operator, json!({"room": "stage", "colour": "red"}), 400),
            (operator, json!({"room": "stage", "hidden": true, "publish": true}), 400),
            (operator, json!({"room": "stage", "metadata": "x".repeat(30_000)}), 413),
            (operator, json!({"room": "stage", "metadata": "x".repeat(4097)}), 413),
            (operator, json!({"room": "stage", "name": "x".repeat(129)}), 413),
            (operator, json!({"room": "stage", "identity": "x".repeat(129)}), 413),
            (operator, json!({"room": "stage", "attributes": {"seat": "x".repeat(513)}}), 413),
        ] {
            assert_eq!(make(key, &order).0, status, "{order:.80}");
        }
        let order = json!({"room": "stage", "identity": "ann", "name": "Ann", "metadata": "seat 7",
            "attributes": {"team": "red"}, "publish": false, "moderator": true});
        let (status, token) = make(operator, &order);
        assert_eq!(status, 201);
        assert_eq!(Page::open(node, "other", Some(&token)).err(), Some(403), "it is for one room");
        assert_eq!(Page::open(node, "stage", Some(&token[..token.len() - 1])).err(), Some(401), "it was changed");
        assert_eq!(make(&token, &order).0, 403, "who moderates a room is no operator");
        let bob = Page::join(node, "stage", Some(member), "bob");
        let mut pretender = Page::join(node, "stage", Some(member), "ann");
        let mut ann = Page::join(node, "stage", Some(&token), "somebody else");
        assert_eq!(pretender.event("closed")["reason"], "duplicate_identity", "who proves a name has it");
        let told = &ann.joined["participant"];
        assert_eq!(
            (&told["identity"], &told["name"], &told["metadata"], &told["attributes"]["team"]),
            (&json!("ann"), &json!("Ann"), &json!("seat 7"), &json!("red"))
        );
        assert_eq!(told["permissions"]["canPublish"], false);
        assert_eq!(ann.ask("update", json!({"metadata": "seat 1"})).unwrap_err(), "forbidden");
        // The same person with a token that was made later takes the place over.
        let (_, later) = make(operator, &order);
        let mut again = Page::join(node, "stage", Some(&later), "");
        assert_eq!(ann.event("closed")["reason"], "duplicate_identity");
        again.ask("kick", json!({"participant": bob.sid()})).unwrap();
        // Whose token has ended comes back, but not anew.
        let claims = json!({"exp": 1_000_000_000, "sub": "ann", "video": {"room": "stage", "roomJoin": true}});
        let secret = jsonwebtoken::EncodingKey::from_secret(OPERATOR.as_bytes());
        let ended = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &secret).unwrap();
        let session = &again.joined["session"];
        let resume = json!({"session": session["id"], "secret": session["resumeSecret"]});
        let mut late = Page::open(node, "stage", Some(&ended)).unwrap();
        assert_eq!(late.ask("join", json!({"version": 1})).unwrap_err(), "forbidden");
        let returned = late.ask("join", json!({"version": 1, "resume": resume})).unwrap();
        let had = &returned["participant"]["permissions"]["admin"];
        assert_eq!((&returned["resumed"], had), (&json!(true), &json!(true)), "and has what it had");
        // A token that is good grants what it says, to who comes back, too.
        let lesser = json!({"room": "stage", "identity": "ann", "data": false});
        let mut lessened = Page::open(node, "stage", Some(&make(operator, &lesser).1)).unwrap();
        let returned = lessened.ask("join", json!({"version": 1, "resume": resume})).unwrap();
        let permissions = &returned["participant"]["permissions"];
        assert_eq!((&permissions["admin"], &permissions["canPublish"]), (&json!(false), &json!(true)));
        assert_eq!(lessened.ask("chat", json!({"text": "hello"})).unwrap_err(), "forbidden");
        assert_eq!(make(&ended, &order).0, 403, "and may nothing else");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_hidden_publishes_nothing() {
    const SECRET: &str = "operator-key-0123456789-0123456789";
    let mut config = config();
    config.auth.keys = vec![Key { key: SECRET.to_owned().into(), admin: true, ..Key::default() }];
    against(config, |node| {
        let token = |hidden: bool| {
            let video = json!({"room": "stage", "roomJoin": true, "canPublish": true, "hidden": hidden});
            let claims = json!({"exp": 9_000_000_000_u64, "sub": "eve", "video": video});
            let secret = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
            jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &secret).unwrap()
        };
        let eve = Page::join(node, "stage", Some(&token(true)), "eve");
        let may = |joined: &Value| {
            let may = &joined["participant"]["permissions"];
            ["hidden", "canPublish", "canPublishData"].map(|what| may[what].as_bool().unwrap())
        };
        assert_eq!(may(&eve.joined), [true, false, false]);
        let session = &eve.joined["session"];
        let resume = json!({"session": session["id"], "secret": session["resumeSecret"]});
        let mut again = Page::open(node, "stage", Some(&token(false))).unwrap();
        let returned = again.ask("join", json!({"version": 1, "resume": resume})).unwrap();
        assert_eq!(may(&returned), [true, false, true], "others do not know of it, so they are not to see it");
        let whip = [("content-type", "application/sdp"), ("authorization", &*format!("Bearer {}", token(true)))];
        let publish = request(Method::POST, "/whip/stage", &whip, Body::from("v=0"));
        let response = tokio::runtime::Handle::current().block_on(Remote::new(node).send(publish));
        assert_eq!(response.status.as_u16(), 403, "{}", response.body);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_and_huge_messages_end_their_own_connection_alone() {
    against(config(), |node| {
        let mut ann = Page::join(node, "hostile", None, "ann");
        let mut flood = Page::join(node, "hostile", None, "flood");
        for id in 0..600 {
            if flood.socket.send(Message::text(json!({"id": id, "method": "ping"}).to_string())).is_err() {
                break;
            }
        }
        let ended = (0..).map(|_| flood.read()).find(|message| message["event"] == "closed").unwrap();
        assert_eq!(ended["data"]["reason"], "flooding");
        let mut huge = Page::join(node, "hostile", None, "huge");
        let _ = huge.socket.send(Message::text("x".repeat(140_000)));
        assert!((0..9).any(|_| huge.socket.read().is_err()), "the connection is closed");
        ann.ask("chat", json!({"text": "still here"})).unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_is_no_websocket_and_who_is_of_another_site_is_told_so() {
    let mut config = config();
    config.http.allowed_origins = vec!["https://good.example".into()];
    let node = Node::start(&config, None).await.expect("a node");
    let remote = Remote::new(node.http());
    let rows = [
        ("/rooms/a/ws", &[][..], 400),
        ("/rooms/a%20b/ws", &[][..], 400),
        ("/rooms/a/ws", &[("origin", "https://good.example")][..], 400),
        ("/rooms/a/ws", &[("origin", "https://evil.example")][..], 403),
    ];
    for (path, headers, status) in rows {
        let response = remote.send(request(Method::GET, path, headers, Body::empty())).await;
        assert_eq!(response.status.as_u16(), status, "{path} {response:?}");
    }
    node.stop().await;
}
