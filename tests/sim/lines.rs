//! Lines and viewers that many scenarios have.

use std::time::Duration;

use loadtest::ViewerSpec;
use loadtest::net::{Conditions, GilbertElliot, NetemConfig};
use loadtest::oracle::{Expectations, Losses};

/// Most scenarios count in these.
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A line on which nothing may be lost.
pub(crate) fn clean() -> Conditions {
    Conditions::symmetric(NetemConfig::new().latency(Duration::from_millis(10)))
}

/// 5 % loss in bursts, 50 ms, jitter enough to reorder.
pub(crate) fn lossy() -> Conditions {
    let loss = GilbertElliot::new().good_duration(60.0).bad_duration(3.0);
    Conditions::symmetric(
        NetemConfig::new().latency(Duration::from_millis(50)).jitter(Duration::from_millis(8)).loss(loss),
    )
}

/// Nothing may be missing, all is the first publisher's, and nothing on the wire may break a rule.
pub(crate) fn strict() -> ViewerSpec {
    let expectations =
        Expectations { losses: Losses::None, publishers: Some(vec![1]), wire: true, ..Expectations::default() };
    ViewerSpec { expectations, ..ViewerSpec::default() }
}
