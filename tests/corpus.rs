//! Replays the fuzzers' corpus: every input that once reached something new, on the stable toolchain.
//!
//! To search for more: `cd tests/fuzz && cargo +nightly fuzz run TARGET corpus/TARGET`, then commit what
//! `cargo +nightly fuzz cmin TARGET` leaves. An input that broke something is committed with the fix.

use std::fs;
use std::path::Path;

#[path = "fuzz/targets.rs"]
mod targets;

#[test]
fn payload_descriptors_survive_the_corpus() {
    replay("tests/fuzz/corpus/descriptors", targets::descriptors);
}

#[test]
fn offers_survive_the_corpus() {
    replay("tests/fuzz/corpus/offer", targets::offer);
    replay("tests/offers", targets::offer);
}

#[test]
fn fragments_survive_the_corpus() {
    replay("tests/fuzz/corpus/fragment", targets::fragment);
}

#[test]
fn datagrams_survive_the_corpus() {
    replay("tests/fuzz/corpus/datagrams", targets::datagrams);
}

#[test]
fn streams_survive_the_corpus() {
    replay("tests/fuzz/corpus/framing", targets::framing);
}

#[test]
fn turn_messages_survive_the_corpus() {
    replay("tests/fuzz/corpus/turn", targets::turn);
}

fn replay(directory: &str, target: fn(&[u8])) {
    let mut inputs = 0;
    for entry in fs::read_dir(Path::new(directory)).expect("the corpus is there") {
        let path = entry.expect("the corpus is readable").path();
        let input = fs::read(&path).expect("the corpus is readable");
        if let Err(panic) = std::panic::catch_unwind(|| target(&input)) {
            eprintln!("broken by {}", path.display());
            std::panic::resume_unwind(panic);
        }
        inputs += 1;
    }
    assert!(inputs > 0, "{directory} is empty");
}
