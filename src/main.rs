//! The `crosspoint` program: reads the configuration, sets up the log, runs a node.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use crosspoint::config::{Config, Flags, MANUAL, Task};
use crosspoint::lan::{Lan, Surroundings};
use crosspoint::{check, logging, node, ready};

/// What was asked cannot be done: flags, file or environment are wrong. clap uses it too.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let flags = Flags::parse();
    if flags.print_config {
        // A closed pipe (`| head`) is not worth a word.
        let _ = io::stdout().write_all(MANUAL.as_bytes());
        return ExitCode::SUCCESS;
    }
    let (config, lan) = match prepare(&flags) {
        Ok(prepared) => prepared,
        Err(error) => return explain(&error, EXIT_USAGE),
    };
    if flags.task == Some(Task::Ready) {
        return done(ready::ask(&config).map_err(anyhow::Error::msg));
    }
    let _written_at_the_end = match logging::init(&config.log) {
        Ok(guard) => guard,
        Err(error) => return explain(&error.into(), EXIT_USAGE),
    };
    if flags.task == Some(Task::Check) {
        return check(&config);
    }
    done(node::run(&config, lan.as_ref()))
}

/// Says what was found, one line per path, and then what to do.
fn check(config: &Config) -> ExitCode {
    let findings = match node::check(config) {
        Ok(findings) => findings,
        Err(error) => return explain(&error, 1),
    };
    for finding in &findings {
        let _ = writeln!(io::stdout(), "{finding}");
    }
    for remedy in check::remedies(&findings) {
        let _ = writeln!(io::stdout(), "\n{remedy}");
    }
    if findings.iter().all(|finding| finding.result.is_ok()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn prepare(flags: &Flags) -> anyhow::Result<(Config, Option<Lan>)> {
    // What is not Unicode is not ours.
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let mut config = Config::load(flags, &environment)?;
    let lan = match flags.lan {
        Some(port) => Some(Lan::prepare(port, &mut config.auth, &Surroundings::look()?)?),
        None => None,
    };
    Ok((config, lan))
}

fn done(result: anyhow::Result<()>) -> ExitCode {
    result.map_or_else(|error| explain(&error, 1), |()| ExitCode::SUCCESS)
}

fn explain(error: &anyhow::Error, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "crosspoint: {error:#}");
    ExitCode::from(code)
}
