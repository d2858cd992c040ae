//! Data messages that are to be complete: over channels and links, on poor lines, and through changes of the way.

use std::collections::BTreeMap;

use crosspoint::sfu::signal::{
    CloseReason, Data, DataAnswer, DataHeader, DataReceipt, ErrorCode, Event, JoinRequest, Permissions, Request, Resume,
};
use loadtest::MemberSpec;
use loadtest::net::Conditions;

use crate::conferences::member;
use crate::lines::{SECOND, clean, lossy};
use crate::members::ALL;
use crate::world::{Options, Who, World};

const CHANNEL: &str = "reliable";

/// What a page makes of the reliable messages that come for it.
#[derive(Debug, Default)]
struct Inbox {
    /// The highest number so far.
    last: u64,
    topics: Vec<String>,
    /// How many came over the channel, those among them that came before.
    over_channel: usize,
    answers: Vec<DataAnswer>,
    closed: Option<CloseReason>,
}

impl Inbox {
    /// Looks at what came since the last time, and acknowledges it.
    fn look(&mut self, world: &mut World, who: Who) {
        let mut numbered = BTreeMap::new();
        for event in world.take_events(who) {
            match event {
                Event::Data { topic, seq: None, .. } => self.topics.push(topic),
                Event::Data { topic, seq: Some(seq), .. } => drop(numbered.insert(seq, topic)),
                Event::Closed { reason, .. } => self.closed = Some(reason),
                _ => {}
            }
        }
        let mut newest = 0;
        for frame in world.client(who).take_data(CHANNEL) {
            let line = frame.split(|byte| *byte == b'\n').next().unwrap();
            if let Ok(answer) = serde_json::from_slice(line) {
                self.answers.push(answer);
                continue;
            }
            let header: DataHeader = serde_json::from_slice(line).unwrap();
            let seq = header.seq.unwrap();
            assert!(seq > newest, "{seq} comes behind {newest}");
            newest = seq;
            self.over_channel += 1;
            numbered.insert(seq, header.topic);
        }
        // As the links of pages keep their order, what is numbered needs none but that of its numbers here.
        let new = numbered.split_off(&(self.last + 1));
        self.last = new.keys().next_back().copied().unwrap_or(self.last);
        self.topics.extend(new.into_values());
        let receipt = serde_json::to_vec(&DataReceipt { received: self.last }).unwrap();
        let now = world.now;
        world.client(who).send_data(now, CHANNEL, &receipt);
    }

    fn has(&self, count: usize) {
        let expected: Vec<String> = (0..count).map(|number| number.to_string()).collect();
        assert_eq!(self.topics, expected);
    }
}

/// A member with slots that nobody fills.
fn quiet(number: u16) -> MemberSpec {
    MemberSpec { publisher: None, ..member(number, 2, 2) }
}

/// Members with media, without channels for reliable messages.
fn people(world: &mut World, count: u16) -> Vec<Who> {
    let enter = |number| world.enter("meeting", &format!("m{number}"), quiet(number), clean()).unwrap();
    let people = (1..=count).map(enter).collect();
    world.run(2 * SECOND);
    people
}

fn open(world: &mut World, who: Who) {
    let now = world.now;
    world.client(who).open_channel(now, CHANNEL);
    world.run(SECOND);
}

fn header(topic: &str, id: Option<u64>, to: Option<Vec<String>>) -> DataHeader {
    DataHeader { topic: topic.to_owned(), to, reliable: None, from: None, id, seq: None, after: None }
}

/// Sends a message over the channel.
fn send(world: &mut World, who: Who, header: &DataHeader, bytes: usize) {
    let mut frame = serde_json::to_vec(header).unwrap();
    frame.push(b'\n');
    frame.resize(frame.len() + bytes, 7);
    let now = world.now;
    assert!(world.client(who).send_data(now, CHANNEL, &frame), "the channel is closed or full");
}

/// Sends a message over the link.
fn say(world: &mut World, who: Who, topic: usize, bytes: usize) {
    let payload = data_encoding::BASE64.encode(&vec![7; bytes]);
    let data = Data { topic: topic.to_string(), payload, to: None, reliable: None };
    world.ask(who, Request::Data(data)).unwrap();
}

#[test]
pub(crate) fn reliable_messages_go_over_channels_where_there_are_and_over_links_where_not() {
    let mut world = World::new(Options::seed(1));
    let members = people(&mut world, 3);
    let (listener, request) = world.without_media("m4");
    let id = world.session(listener);
    let without = JoinRequest { offer: None, tracks: None, ..request };
    world.join_with(listener, id, "meeting", ALL, without).unwrap();
    let (ann, bob, cleo) = (members[0], members[1], members[2]);
    open(&mut world, ann);
    let mut inboxes: Vec<Inbox> = (0..4).map(|_| Inbox::default()).collect();
    for number in 0..40 {
        // In the midst of them one has a channel, too.
        if number == 20 {
            let now = world.now;
            world.client(bob).open_channel(now, CHANNEL);
        }
        send(&mut world, ann, &header(&number.to_string(), Some(number), None), 5000);
        world.run(SECOND / 50);
    }
    world.run(SECOND);
    for (inbox, who) in inboxes.iter_mut().zip([ann, bob, cleo, listener]) {
        inbox.look(&mut world, who);
    }
    let ids: Vec<u64> = inboxes[0].answers.iter().map(|answer| answer.id).collect();
    assert_eq!(ids, (0..40).collect::<Vec<_>>());
    assert!(inboxes[0].answers.iter().all(|answer| answer.error.is_none()) && inboxes[0].topics.is_empty());
    inboxes[1..].iter().for_each(|inbox| inbox.has(40));
    assert!((10..=20).contains(&inboxes[1].over_channel), "{}", inboxes[1].over_channel);
    // To one alone, and from one without a channel.
    let to = Some(vec![world.page(bob).sid()]);
    send(&mut world, ann, &header("40", Some(40), to), 0);
    world.run(SECOND);
    say(&mut world, cleo, 41, 10);
    world.run(SECOND);
    for (inbox, who) in inboxes.iter_mut().zip([ann, bob, cleo, listener]) {
        inbox.look(&mut world, who);
    }
    inboxes[1].has(42);
    inboxes[2].has(40);
    assert_eq!(inboxes[3].topics.last().unwrap(), "41");
    assert_eq!(inboxes[0].topics, ["41"]);
}

#[test]
fn a_message_says_behind_which_events_it_belongs() {
    let mut world = World::new(Options::seed(2));
    let members = people(&mut world, 2);
    open(&mut world, members[1]);
    let late = world.enter("meeting", "late", quiet(9), clean()).unwrap();
    say(&mut world, late, 0, 10);
    world.unlink(late);
    world.run(SECOND);
    let frames = world.client(members[1]).take_data(CHANNEL);
    let header: DataHeader = serde_json::from_slice(frames[0].split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    let page = world.page(members[1]);
    let before = header.after.unwrap() - page.joined.as_ref().unwrap().events;
    let (before, behind) = page.events.split_at(usize::try_from(before).unwrap());
    let comes = |event: &Event| matches!(event, Event::ParticipantJoined { participant } if participant.name == "late");
    let goes = |event: &Event| matches!(event, Event::ParticipantState { .. });
    assert!(before.iter().any(comes) && behind.iter().any(goes), "{before:?} {behind:?}");
}

#[test]
fn a_channel_answers_why_a_message_was_refused() {
    let mut world = World::new(Options::seed(3));
    let members = people(&mut world, 2);
    let silent = Permissions { can_publish_data: false, ..ALL };
    let silent = world.enter_as("meeting", "silent", quiet(3), clean(), silent).unwrap();
    world.run(2 * SECOND);
    let ann = members[0];
    [ann, silent].into_iter().for_each(|who| open(&mut world, who));
    let mut inbox = Inbox::default();
    send(&mut world, ann, &header("x", Some(1), Some(vec!["PA_nobody".to_owned()])), 1);
    send(&mut world, ann, &header("x", Some(2), None), 32_769);
    send(&mut world, ann, &header(&"x".repeat(129), Some(3), None), 1);
    send(&mut world, ann, &header("fine", Some(4), None), 32_768);
    send(&mut world, silent, &header("x", Some(5), None), 1);
    world.run(SECOND);
    [ann, silent].into_iter().for_each(|who| inbox.look(&mut world, who));
    let codes: Vec<_> = inbox.answers.iter().map(|a| (a.id, a.error.as_ref().map(|error| error.code))).collect();
    let expected = [
        (1, Some(ErrorCode::NotFound)),
        (2, Some(ErrorCode::TooLarge)),
        (3, Some(ErrorCode::TooLarge)),
        (4, None),
        (5, Some(ErrorCode::Forbidden)),
    ];
    assert_eq!(codes, expected);
    for id in 6..200 {
        send(&mut world, ann, &header("fast", Some(id), None), 1);
    }
    world.run(SECOND);
    inbox.look(&mut world, ann);
    let limited = |answer: &DataAnswer| answer.error.as_ref().is_some_and(|e| e.code == ErrorCode::RateLimited);
    assert!((50..150).contains(&inbox.answers.iter().filter(|answer| limited(answer)).count()));
    assert_eq!((inbox.answers.len(), world.ended(ann)), (199, None));
}

#[test]
fn a_lossy_line_delays_messages_and_changes_nothing_else() {
    let mut world = World::new(Options::seed(4));
    let members = people(&mut world, 2);
    members.iter().for_each(|who| open(&mut world, *who));
    members.iter().for_each(|who| world.change_line(*who, lossy()));
    let mut inbox = Inbox::default();
    for number in 0..200 {
        send(&mut world, members[0], &header(&number.to_string(), None, None), 2000);
        world.run(SECOND / 20);
        inbox.look(&mut world, members[1]);
    }
    world.until(60 * SECOND, |world| {
        inbox.look(world, members[1]);
        inbox.topics.len() == 200
    });
    inbox.has(200);
    assert_eq!(inbox.over_channel, 200, "each once");
}

#[test]
pub(crate) fn who_comes_back_with_another_engine_misses_nothing_and_hears_nothing_twice() {
    let mut world = World::new(Options::seed(5));
    let members = people(&mut world, 2);
    members.iter().for_each(|who| open(&mut world, *who));
    let (ann, bob) = (members[0], members[1]);
    let mut inbox = Inbox::default();
    let mut sent = 0;
    let mut talk = |world: &mut World, count: usize| {
        for _ in 0..count {
            send(world, ann, &header(&sent.to_string(), None, None), 9000);
            sent += 1;
            world.run(SECOND / 20);
        }
    };
    talk(&mut world, 20);
    // Some have come that were not acknowledged, and some will not come.
    world.change_line(bob, Conditions::severed());
    talk(&mut world, 40);
    world.unlink(bob);
    talk(&mut world, 40);
    inbox.look(&mut world, bob);
    assert!((10..=20).contains(&inbox.topics.len()), "{}", inbox.topics.len());
    world.client(bob).vanish();
    let (session, page) = (world.session(bob), world.page(bob).joined.clone().unwrap().session);
    let (again, mut request) = world.reloaded(quiet(2), clean(), session);
    let resume = Resume { session: page.id, secret: page.resume_secret, received: Some(inbox.last) };
    request.resume = Some(resume);
    world.join_with(again, session, "meeting", ALL, request).unwrap();
    talk(&mut world, 20);
    open(&mut world, again);
    talk(&mut world, 20);
    world.run(SECOND);
    inbox.look(&mut world, again);
    inbox.has(140);
    assert!(inbox.over_channel >= 30, "{}", inbox.over_channel);
}

#[test]
fn a_page_that_was_loaded_anew_hears_nothing_old() {
    let mut world = World::new(Options::seed(6));
    let members = people(&mut world, 2);
    members.iter().for_each(|who| open(&mut world, *who));
    send(&mut world, members[0], &header("old", None, None), 10);
    world.run(SECOND);
    world.unlink(members[1]);
    world.resume(members[1]).unwrap();
    world.client(members[1]).take_data(CHANNEL);
    send(&mut world, members[0], &header("0", None, None), 10);
    world.run(SECOND);
    let mut inbox = Inbox::default();
    inbox.look(&mut world, members[1]);
    inbox.has(1);
}

#[test]
fn a_channel_that_outlives_a_link_carries_what_comes_meanwhile_once() {
    let mut world = World::new(Options::seed(7));
    let members = people(&mut world, 2);
    members.iter().for_each(|who| open(&mut world, *who));
    let mut inbox = Inbox::default();
    for number in 0..30 {
        match number {
            10 => world.unlink(members[1]),
            20 => world.resume_with(members[1], Some(inbox.last)).unwrap(),
            _ => {}
        }
        send(&mut world, members[0], &header(&number.to_string(), None, None), 1000);
        world.run(SECOND / 10);
        inbox.look(&mut world, members[1]);
    }
    inbox.has(30);
}

#[test]
fn one_that_reads_nothing_is_cut_off_and_the_others_get_everything() {
    let mut world = World::new(Options::seed(8));
    let members = people(&mut world, 3);
    members.iter().for_each(|who| open(&mut world, *who));
    let (ann, bob, dead) = (members[0], members[1], members[2]);
    let (mut inbox, mut deaf) = (Inbox::default(), Inbox::default());
    world.take_events(dead);
    world.change_line(dead, Conditions::severed());
    for number in 0..520 {
        send(&mut world, ann, &header(&number.to_string(), None, None), 32_768);
        world.run(SECOND / 50);
        inbox.look(&mut world, bob);
    }
    world.run(SECOND);
    inbox.look(&mut world, bob);
    inbox.has(520);
    deaf.look(&mut world, dead);
    assert_eq!(deaf.closed, Some(CloseReason::SlowReader));
    assert_eq!(world.ended(bob), None);
}
