//! What may be where: arrows point only downward, and levels 0 to 2 are pure state machines.

use crate::Rule;
use crate::tidy::repo::{Repo, Violation};
use crate::tidy::source::{Source, has_word, is_word};

/// The modules of `src/` and their levels. What is not listed starts the program: level 4.
const LEVELS: &[(&str, u8)] = &[
    ("prefetch", 0),
    ("rtp", 0),
    ("srtp", 0),
    ("forward", 1),
    ("turn", 1),
    ("sfu", 2),
    ("shard", 3),
    ("control", 3),
    ("cluster", 3),
    ("record", 3),
];
const TOP: u8 = 4;

/// The highest level that is a state machine: no clock, no sockets, no threads.
const PURE: u8 = 2;

/// The files that may hold an `Rtc`.
const RTC_HOLDERS: &[&str] = &["src/sfu/peer", "src/sfu/negotiate"];

/// The files that may use `anyhow`: those that only start the program and explain why it did not start.
const ANYHOW_USERS: &[&str] = &["src/main.rs", "src/node"];

/// The one file of levels 0 to 2 that keeps something per thread and behind `dyn`: str0m's interface for DTLS asks for
/// both, and nothing else tells the keys.
const KEY_TAKERS: &[&str] = &["src/sfu/peer/keys.rs"];

/// Words that have no place in levels 0 to 2, and what to do instead.
const IMPURE: &[(&str, &[&str])] = &[
    ("take the time as a parameter called `now`", &["Instant::now", "SystemTime::now", ".elapsed("]),
    (
        "a state machine has no runtime and never waits: return what is wanted and let the shell do it",
        &["tokio", "async", ".await", "futures_util", "std::thread", "thread::", "park_timeout"],
    ),
    (
        "sockets and files belong to the shells (`shard`, `control`): return what is to be sent",
        &[
            "UdpSocket",
            "TcpStream",
            "TcpListener",
            "UnixStream",
            "socket2",
            "libc",
            "std::fs",
            "std::env",
            "std::process",
        ],
    ),
    (
        "nothing here is shared between threads: plain fields, and values across the boundary",
        &[
            "Mutex",
            "RwLock",
            "Condvar",
            "OnceLock",
            "LazyLock",
            "mpsc",
            "dashmap",
            "sync::atomic",
            "AtomicBool",
            "AtomicU32",
            "AtomicU64",
            "AtomicUsize",
            "thread_local",
            "static mut",
        ],
    ),
    (
        "randomness comes from the one generator the Sfu was built with: take it as a parameter",
        &["rand::rng", "rand::random", "thread_rng", "SysRng", "OsRng", "getrandom", "RandomState"],
    ),
    (
        "one bad packet must not end everybody's call: return a drop reason or a typed error",
        &[".unwrap()", ".expect(", ".unwrap_err()", ".expect_err(", "panic!", "unreachable!", "assert!", "assert_eq!"],
    ),
    ("variants are enums, so that the reader sees them all in one place", &["dyn"]),
    ("say it with a counter or an event; the shells log", &["println!", "eprintln!", "dbg!"]),
];

pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "arrows point downward",
        check: upward_arrows,
        bad: &[
            &[("src/rtp/a.rs", "use crate::sfu::Sfu;")],
            &[("src/forward/a.rs", "fn f(c: &crate::config::Config) {}")],
            &[("src/turn/a.rs", "use crate::forward::Forwarder;")],
            &[("src/control/a.rs", "use crate::{config::Http, sfu::command};")],
        ],
        good: &[
            &[("src/sfu/a.rs", "use crate::rtp::Packet; // never crate::shard")],
            &[("src/control/a.rs", "use crate::shard::mailbox;")],
            &[("src/node.rs", "use crate::config::Config;")],
        ],
    },
    Rule {
        name: "levels 0 to 2 are pure",
        check: impure_words,
        bad: &[
            &[("src/sfu/a.rs", "fn f() { let now = Instant::now(); }")],
            &[("src/rtp/a.rs", "use tokio::sync::mpsc_like;")],
            &[("src/forward/a.rs", "fn f(x: Option<u8>) { x.unwrap(); }")],
            &[("src/turn/a.rs", "fn f(x: Box<dyn Fn()>) {}")],
            &[("src/sfu/a.rs", "static HITS: AtomicU64 = AtomicU64::new(0);")],
        ],
        good: &[
            &[("src/shard/a.rs", "fn f() { let now = Instant::now(); }")],
            &[("src/sfu/a.rs", "#[cfg(test)]\nmod tests {\n    fn f() { Some(1).unwrap(); }\n}")],
            &[("src/sfu/a.rs", "/// Never `.unwrap()`.\nfn f(x: Option<u8>) { x.unwrap_or_default(); }")],
            &[("src/sfu/a.rs", "const _: () = assert!(1 < 2);\nfn f() { debug_assert!(true); }")],
        ],
    },
    Rule {
        name: "no indexing in levels 0 to 2",
        check: indexing,
        bad: &[
            &[("src/rtp/a.rs", "fn f(x: &[u8]) -> u8 { x[0] }")],
            &[("src/rtp/a.rs", "fn f(x: &[u8]) -> &[u8] { g(x)[1..].as_ref() }")],
        ],
        good: &[&[(
            "src/rtp/a.rs",
            "#[derive(Debug)]\nfn f(x: &[u8; 2]) -> Vec<[u8; 2]> { let [a, _] = x; vec![*x] }",
        )]],
    },
    Rule {
        name: "hash maps are never walked in levels 0 to 2",
        check: walked_hash_maps,
        bad: &[
            &[("src/sfu/a.rs", "struct A {\n    peers: HashMap<u8, u8>,\n}\nfn f(a: &A) { a.peers.values(); }")],
            &[("src/sfu/a.rs", "fn f() { let mut m = FxHashMap::default(); }\nfn g() { for x in &m {} }")],
        ],
        good: &[&[("src/sfu/a.rs", "struct A {\n    peers: FxHashMap<u8, u8>,\n}\nfn f(a: &A) { a.peers.get(&1); }")]],
    },
    Rule {
        name: "a trait has more than one implementation",
        check: lonely_traits,
        bad: &[&[("src/forward/a.rs", "trait Select {}\nimpl Select for A {}")]],
        good: &[&[("src/forward/a.rs", "trait Select {}\nimpl Select for A {}\nimpl<T> Select for B<T> {}")]],
    },
    Rule {
        name: "only Peer holds an Rtc",
        check: |repo| {
            words_outside(repo, "Rtc", RTC_HOLDERS, "ask the Peer; the engine's drain rules live there alone")
        },
        bad: &[&[("src/sfu/room.rs", "use str0m::Rtc;")]],
        good: &[&[("src/sfu/peer.rs", "use str0m::Rtc;")], &[("src/sfu/room.rs", "use str0m::RtcError; // not Rtc")]],
    },
    Rule {
        name: "anyhow only where the program starts",
        check: |repo| words_outside(repo, "anyhow", ANYHOW_USERS, "give this boundary its own error (thiserror)"),
        bad: &[&[("src/control/a.rs", "use anyhow::Result;")]],
        good: &[&[("src/node.rs", "use anyhow::Result;")]],
    },
];

fn upward_arrows(repo: &Repo) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in repo.rust("src/") {
        let (from, level) = module_of(&source.file.path);
        for (number, line) in source.production() {
            for (to, target) in used_modules(line) {
                let sideways = target == level && to != from && level < TOP - 1;
                if target > level || sideways {
                    let remedy = format!(
                        "`{from}` (level {level}) uses `{to}` (level {target}): move what both need down, or \
                         hand it in as a value"
                    );
                    found.push(source.violation(number, remedy));
                }
            }
        }
    }
    found
}

fn impure_words(repo: &Repo) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in pure_sources(repo).filter(|source| !KEY_TAKERS.contains(&source.file.path.as_str())) {
        for (number, line) in source.production().filter(|(_, line)| !line.trim_start().starts_with("const ")) {
            for (remedy, words) in IMPURE {
                if let Some(word) = words.iter().find(|word| has_word(line, word)) {
                    found.push(source.violation(number, format!("`{word}`: {remedy}")));
                }
            }
        }
    }
    found
}

/// After `cargo fmt` an indexing bracket follows its operand, and no other bracket follows a name or a closing one.
fn indexing(repo: &Repo) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in pure_sources(repo) {
        for (number, line) in source.production() {
            let operand = |at: usize| line[..at].chars().next_back().is_some_and(|c| is_word(c) || ")]?".contains(c));
            if line.match_indices('[').any(|(at, _)| operand(at)) {
                found
                    .push(source.violation(number, "indexing can panic: use `get`, `first_chunk`, `split_at_checked`"));
            }
        }
    }
    found
}

fn walked_hash_maps(repo: &Repo) -> Vec<Violation> {
    const WALKS: &[&str] = &["iter", "iter_mut", "keys", "values", "values_mut", "into_iter", "drain", "retain"];
    let mut found = Vec::new();
    for source in pure_sources(repo) {
        let maps: Vec<String> = source.production().filter_map(|(_, line)| hash_container(line)).collect();
        for (number, line) in source.production() {
            let walked = maps.iter().find(|map| {
                let called = WALKS.iter().any(|walk| has_word(line, &format!("{map}.{walk}(")));
                let looped = line.trim_start().starts_with("for ") || line.contains("{ for ");
                called || looped && line.split(" in ").skip(1).any(|rest| has_word(rest, map) && !rest.contains('.'))
            });
            if let Some(map) = walked {
                let remedy =
                    format!("the order of `{map}` differs from run to run: use a slotmap, a Vec or a BTreeMap");
                found.push(source.violation(number, remedy));
            }
        }
    }
    found
}

fn lonely_traits(repo: &Repo) -> Vec<Violation> {
    let sources: Vec<Source<'_>> = repo.rust("src/").chain(repo.rust("loadtest/")).collect();
    let mut found = Vec::new();
    for source in pure_sources(repo) {
        for (number, line) in source.production() {
            let words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
            let mut words = words.skip_while(|word| *word == "unsafe");
            let (Some("trait"), Some(name)) = (words.next(), words.next()) else { continue };
            let name: String = name.chars().take_while(|c| is_word(*c)).collect();
            let implements =
                |line: &str| line.trim_start().starts_with("impl") && has_word(line, &format!("{name} for"));
            let count = sources.iter().flat_map(Source::production).filter(|(_, line)| implements(line)).count();
            if count < 2 {
                let remedy = format!("`{name}` has {count}: call the type itself");
                found.push(source.violation(number, remedy));
            }
        }
    }
    found
}

fn words_outside(repo: &Repo, word: &str, allowed: &[&str], remedy: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in repo.rust("src/").filter(|source| !allowed.iter().any(|place| source.file.path.starts_with(place))) {
        let uses = source.production().filter(|(_, line)| has_word(line, word));
        found.extend(uses.map(|(number, _)| source.violation(number, format!("`{word}`: {remedy}"))));
    }
    found
}

fn pure_sources(repo: &Repo) -> impl Iterator<Item = Source<'_>> {
    repo.rust("src/").filter(|source| module_of(&source.file.path).1 <= PURE)
}

/// The top module a file belongs to, with its level.
fn module_of(path: &str) -> (&str, u8) {
    let name = path.strip_prefix("src/").unwrap_or(path);
    let name = name.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    (name, level_of(name))
}

fn level_of(module: &str) -> u8 {
    LEVELS.iter().find(|(name, _)| *name == module).map_or(TOP, |(_, level)| *level)
}

/// The top modules a line names: `crate::a::b`, `crate::{a, b::c}`.
fn used_modules(line: &str) -> Vec<(String, u8)> {
    let mut found = Vec::new();
    for (at, prefix) in line.match_indices("crate::") {
        let rest = &line[at + prefix.len()..];
        let names = match rest.strip_prefix('{') {
            Some(group) => group.split(',').map(str::trim).map(first_name).collect(),
            None => vec![first_name(rest)],
        };
        let modules = names.into_iter().filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
        found.extend(modules.map(|name| (name.to_owned(), level_of(name))));
    }
    found
}

fn first_name(text: &str) -> &str {
    &text[..text.find(|c| !is_word(c)).unwrap_or(text.len())]
}

/// The name a line gives to a hash map or a hash set.
fn hash_container(line: &str) -> Option<String> {
    const CONTAINERS: &[&str] = &["HashMap", "FxHashMap", "HashSet", "FxHashSet"];
    CONTAINERS.iter().find(|container| has_word(line, container))?;
    let before = line.split(['=', ':']).next()?.trim_end();
    let name: String = before.chars().rev().take_while(|c| is_word(*c)).collect();
    (!name.is_empty() && name != "use").then(|| name.chars().rev().collect())
}
