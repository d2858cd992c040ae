//! The log: lines on standard error, for people or for programs.
//!
//! A shard must never wait, not even for a terminal somebody has paused: lines go through a bounded queue to a thread
//! that writes them, and what does not fit is dropped and counted. Which spans and fields exist is decided where they
//! are opened; room and session are fields of the sessions' spans.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{Log, LogFormat};

/// Lines that may wait to be written. Larger: more memory while the reader hangs; smaller: lines lost in a burst.
const QUEUE: usize = 4096;

/// How long the end of the program waits for the last lines. Longer: a hanging reader delays the end; shorter: the last
/// lines may be lost.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be understood.
    #[error("log.filter cannot be understood")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// No thread for writing.
    #[error("cannot start the thread that writes the log")]
    Thread(#[from] io::Error),
    /// There is one already.
    #[error("the log is set up already")]
    Installed(#[from] tracing_subscriber::util::TryInitError),
}

/// Writes what is left when it goes out of scope; keep it until the program ends.
#[derive(Debug)]
pub struct LogGuard {
    queue: Queue,
}

/// Sends everything logged from here on to standard error.
///
/// # Errors
/// The filter is wrong, there is no thread to be had, or this was called before.
pub fn init(log: &Log) -> Result<LogGuard, LogError> {
    let (queue, entries) = queue(QUEUE);
    let colour = io::IsTerminal::is_terminal(&io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    subscriber(log, colour, queue.clone())?.try_init()?;
    let lost = Arc::clone(&queue.lost);
    std::thread::Builder::new().name("log".into()).spawn(move || write_out(&entries, &lost, &mut io::stderr()))?;
    Ok(LogGuard { queue })
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let (written, is_written) = sync_channel(1);
        if self.queue.entries.try_send(Entry::Flush(written)).is_ok() {
            let _ = is_written.recv_timeout(LAST_LINES);
        }
    }
}

fn subscriber<W>(log: &Log, colour: bool, writer: W) -> Result<Box<dyn Subscriber + Send + Sync>, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let base = fmt().with_env_filter(EnvFilter::try_new(&log.filter)?).with_writer(writer);
    Ok(match log.format {
        LogFormat::Text => Box::new(base.with_ansi(colour).finish()),
        LogFormat::Json => Box::new(base.json().flatten_event(true).with_span_list(false).finish()),
    })
}

enum Entry {
    Line(Vec<u8>),
    /// Answer when everything before it is written.
    Flush(SyncSender<()>),
}

/// The loggers' end of the queue.
#[derive(Debug, Clone)]
struct Queue {
    entries: SyncSender<Entry>,
    lost: Arc<AtomicU64>,
}

fn queue(capacity: usize) -> (Queue, Receiver<Entry>) {
    let (entries, receiver) = sync_channel(capacity);
    (Queue { entries, lost: Arc::default() }, receiver)
}

/// Until the loggers are gone.
fn write_out(entries: &Receiver<Entry>, lost: &AtomicU64, output: &mut impl Write) {
    // A log nobody can be told about: errors of the output end here.
    for entry in entries {
        match entry {
            Entry::Line(line) => {
                let _ = output.write_all(&line);
            }
            Entry::Flush(written) => {
                let _ = output.flush();
                let _ = written.try_send(());
            }
        }
        match lost.swap(0, Ordering::Relaxed) {
            0 => {}
            // JSON in both formats: a person can read it too.
            lost => {
                let _ = writeln!(output, "{{\"level\":\"WARN\",\"message\":\"log lines lost\",\"lost\":{lost}}}");
            }
        }
    }
}

impl<'w> MakeWriter<'w> for Queue {
    type Writer = Line<'w>;

    fn make_writer(&'w self) -> Line<'w> {
        Line { queue: self, text: Vec::new() }
    }
}

/// One line; enters the queue when complete.
struct Line<'w> {
    queue: &'w Queue,
    text: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let line = Entry::Line(std::mem::take(&mut self.text));
        if self.queue.entries.try_send(line).is_err() {
            self.queue.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::{debug, info, info_span};

    use super::*;

    /// What is written for the events of `emit`, with room for `capacity` lines.
    fn logged(format: LogFormat, filter: &str, capacity: usize, emit: impl FnOnce()) -> String {
        let (queue, entries) = queue(capacity);
        let lost = Arc::clone(&queue.lost);
        let log = Log { format, filter: filter.to_owned() };
        tracing::subscriber::with_default(subscriber(&log, false, queue).unwrap(), emit);
        let mut output = Vec::new();
        write_out(&entries, &lost, &mut output);
        String::from_utf8(output).unwrap()
    }

    fn session_event() {
        let _session = info_span!("session", room = "studio", session = "abc").entered();
        info!(rtt_ms = 12, "connected");
        debug!("not of interest");
    }

    #[test]
    fn a_json_line_carries_the_fields_of_the_event_and_of_its_session() {
        let output = logged(LogFormat::Json, "info", 8, session_event);
        let line: serde_json::Value = serde_json::from_str(&output).unwrap();
        assert_eq!(
            (&line["message"], &line["level"], &line["rtt_ms"]),
            (&"connected".into(), &"INFO".into(), &12.into())
        );
        assert_eq!((&line["span"]["room"], &line["span"]["session"]), (&"studio".into(), &"abc".into()));
    }

    #[test]
    fn a_text_line_carries_room_and_session() {
        let output = logged(LogFormat::Text, "info", 8, session_event);
        assert!(
            output.contains("session{room=\"studio\" session=\"abc\"}") && output.contains("connected"),
            "{output}"
        );
        assert_eq!(output.lines().count(), 1, "{output}");
    }

    #[test]
    fn the_filter_goes_by_module() {
        let filter = format!("warn,{}=debug", module_path!());
        assert_eq!(logged(LogFormat::Text, &filter, 8, session_event).lines().count(), 2);
        assert_eq!(logged(LogFormat::Text, "warn", 8, session_event), "");
    }

    #[test]
    fn a_full_queue_loses_lines_and_says_how_many_instead_of_waiting() {
        let output = logged(LogFormat::Json, "info", 2, || (0..5).for_each(|i| info!(i, "tick")));
        let lines: Vec<serde_json::Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3, "{output}");
        let lost = lines.iter().find_map(|line| line["lost"].as_u64());
        assert_eq!(lost, Some(3), "{output}");
    }

    #[test]
    fn a_flush_is_answered_when_everything_before_it_is_written() {
        let (queue, entries) = queue(8);
        let lost = Arc::clone(&queue.lost);
        queue.make_writer().write_all(b"last words\n").unwrap();
        let (written, is_written) = sync_channel(1);
        queue.entries.try_send(Entry::Flush(written)).unwrap();
        drop(queue);
        let mut output = Vec::new();
        write_out(&entries, &lost, &mut output);
        assert_eq!((output.as_slice(), is_written.try_recv()), (b"last words\n".as_slice(), Ok(())));
    }
}
