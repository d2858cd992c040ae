//! The server under test: a child process, its CPU time and its memory.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::system;

/// For the server to open its HTTP port.
const START: Duration = Duration::from_secs(10);

/// Between two looks at the port.
const RETRY: Duration = Duration::from_millis(50);

/// A running server; ended when dropped.
pub(super) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts a server that is to open the port of `base`, which nobody else may have.
    pub(super) fn start(binary: &Path, arguments: &[String], base: &str) -> anyhow::Result<Self> {
        let address = authority(base).with_context(|| format!("--base {base}: write http://HOST:PORT"))?;
        if TcpStream::connect_timeout(&address, RETRY).is_ok() {
            bail!("another program has {address}, and would be measured instead: stop it, or choose another port");
        }
        let child = Command::new(binary)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start the server {}", binary.display()))?;
        Ok(Self { child, address })
    }

    /// Waits until it accepts connections.
    pub(super) fn wait_until_ready(&mut self, mut wait: impl FnMut(Duration) -> io::Result<()>) -> anyhow::Result<()> {
        let end = Instant::now() + START;
        while TcpStream::connect_timeout(&self.address, RETRY).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended by itself ({status}); its last words are above");
            }
            if Instant::now() >= end {
                bail!("the server did not open {} within {} s", self.address, START.as_secs());
            }
            wait(RETRY)?;
        }
        Ok(())
    }

    /// CPU time of all its threads.
    pub(super) fn cpu_time(&self) -> anyhow::Result<Duration> {
        let mut sum = Duration::ZERO;
        for task in fs::read_dir(self.file("task")).context("the server has ended")? {
            let path = task?.path().join("schedstat");
            sum += system::scheduled(&path.to_string_lossy())?;
        }
        Ok(sum)
    }

    /// How often its threads went to sleep.
    pub(super) fn sleeps(&self) -> anyhow::Result<u64> {
        let mut sum = 0;
        for task in fs::read_dir(self.file("task")).context("the server has ended")? {
            let status = fs::read_to_string(task?.path().join("status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            sum += line.context("no voluntary_ctxt_switches")?.trim().parse::<u64>()?;
        }
        Ok(sum)
    }

    /// Resident memory of its own, in bytes: not that of its code, of which the first clients have more read in.
    pub(super) fn memory(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(self.file("status")).context("the server has ended")?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("the server has ended")?;
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().context("unexpected RssAnon")?;
        Ok(kibibytes * 1_024)
    }

    fn file(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is to be reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in `http://HOST:PORT`.
fn authority(base: &str) -> Option<SocketAddr> {
    let authority = base.strip_prefix("http://")?.split('/').next()?;
    authority.to_socket_addrs().ok()?.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_base_url_is_found() {
        assert_eq!(authority("http://127.0.0.1:8080"), Some(SocketAddr::from(([127, 0, 0, 1], 8080))));
        assert_eq!(authority("http://127.0.0.1:8080/prefix"), Some(SocketAddr::from(([127, 0, 0, 1], 8080))));
        assert_eq!(authority("127.0.0.1:8080"), None);
    }
}
