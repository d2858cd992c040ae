//! What a TURN server keeps of those who never authenticate: its memory before and after callers from very many
//! addresses.
//!
//! Each caller has an address of its own out of 127.0.0.0/8, asks for an allocation and is challenged. In a second pass
//! each answers the challenge with a password that is none. Before both, some callers of each kind have the server read
//! in the code and the buffers that any caller needs.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use anyhow::bail;
use serde::Serialize;

use super::relay::{pause, relaying};
use super::server::Server;
use super::turn::Stranger;
use crate::cli::Strangers;

/// Callers who wait for their answers at the same time. Larger: sooner done; smaller: nothing is lost in a buffer.
const AT_ONCE: usize = 64;

/// Callers before memory is looked at for the first time.
const WARM_UP: usize = 4_096;

/// Growth that is not the callers': of threads that are first used in between, and of the allocator's own.
const SLACK: u64 = 512 << 10;

/// Most callers: as many addresses are left in 127.0.0.0/8 behind those of other measurements.
const MOST: usize = 200 << 16;

/// The secret of credentials, which no caller knows.
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// How far a caller goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// It asks, and is challenged.
    Nameless,
    /// It answers the challenge with a wrong password.
    WrongPassword,
}

/// The whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    callers: usize,
    passes: Vec<Pass>,
}

/// All callers of a kind.
#[derive(Debug, Serialize)]
struct Pass {
    kind: Kind,
    /// Callers who were refused as they should be; the others were not answered.
    refused: usize,
    /// Bytes of the server's own memory.
    before: u64,
    after: u64,
}

impl Outcome {
    /// Nothing was kept of anybody.
    pub(crate) fn is_good(&self) -> bool {
        self.passes.iter().all(|pass| pass.after <= pass.before + SLACK)
    }
}

/// Starts a server, lets everybody call, and looks at its memory.
pub(crate) fn run(arguments: &Strangers) -> anyhow::Result<Outcome> {
    let Strangers { server, http_port, port, count, .. } = arguments;
    if *count > MOST {
        bail!("--count {count}: there are addresses for {MOST}");
    }
    let address = SocketAddr::from(([127, 0, 0, 1], *port));
    let flags = relaying(*http_port, *port, SECRET, 1_000);
    let mut server = Server::start(server, &flags, &format!("http://127.0.0.1:{http_port}"))?;
    server.wait_until_ready(|time| {
        pause(time);
        Ok(())
    })?;
    let kinds = [Kind::Nameless, Kind::WrongPassword];
    for kind in kinds {
        call(kind, address, WARM_UP)?;
    }
    let mut passes = Vec::new();
    for kind in kinds {
        let before = server.memory()?;
        let refused = call(kind, address, *count)?;
        if refused < count / 2 {
            bail!("only {refused} of {count} callers were answered, which shows nothing of the others");
        }
        passes.push(Pass { kind, refused, before, after: server.memory()? });
    }
    Ok(Outcome { callers: *count, passes })
}

/// Lets so many callers call; gives the number of those who were refused.
fn call(kind: Kind, server: SocketAddr, count: usize) -> anyhow::Result<usize> {
    let mut refused = 0;
    for first in (0..count).step_by(AT_ONCE) {
        let numbers = first..count.min(first + AT_ONCE);
        let mut callers = numbers.map(|number| Stranger::new(own_ip(number), server)).collect::<Result<Vec<_>, _>>()?;
        callers.iter_mut().try_for_each(Stranger::ask)?;
        let mut challenges = callers.iter().map(Stranger::answer).collect::<Result<Vec<_>, _>>()?;
        if kind == Kind::WrongPassword {
            let challenged = callers.iter_mut().zip(&challenges);
            let mut guesses = challenged.filter_map(|(caller, challenge)| Some((caller, challenge.as_ref()?)));
            guesses.try_for_each(|(caller, challenge)| caller.guess(challenge))?;
            challenges = callers.iter().map(Stranger::answer).collect::<Result<Vec<_>, _>>()?;
        }
        refused += challenges.iter().flatten().count();
    }
    Ok(refused)
}

/// From 127.16.0.0 on.
fn own_ip(number: usize) -> IpAddr {
    let [.., high, middle, low] = number.to_be_bytes();
    IpAddr::from([127, 16 + high, middle, low])
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Pass { kind, refused, before, after } in &self.passes {
            let what = match kind {
                Kind::Nameless => "without credentials",
                Kind::WrongPassword => "with a wrong password",
            };
            writeln!(
                f,
                "{} callers {what}: {refused} refused, memory {} KiB before and {} KiB after",
                self.callers,
                before >> 10,
                after >> 10
            )?;
        }
        f.write_str(if self.is_good() { "Nothing is kept of them." } else { "Something is kept of them." })
    }
}
