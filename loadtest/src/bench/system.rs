//! Affinity, CPU time and the name of the machine.

use std::fs;
use std::io;
use std::time::Duration;

/// Cores this process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// Binds the calling thread, and what it starts from now on, to one core.
pub(super) fn pin(core: usize) -> io::Result<()> {
    // SAFETY: an all-zero cpu_set_t is a valid, empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `core` is far below the 1024 bits of the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the set is valid for reads of its size; thread 0 is the caller.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets this process, and what it starts from now on, open so many files.
pub(super) fn allow_files(files: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for writes.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur >= files {
        return Ok(());
    }
    (limit.rlim_cur, limit.rlim_max) = (files, limit.rlim_max.max(files));
    // SAFETY: `limit` is valid for reads.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// CPU time of the calling thread.
pub(super) fn own_cpu_time() -> io::Result<Duration> {
    scheduled("/proc/thread-self/schedstat")
}

/// CPU time in a schedstat file: its first number, in nanoseconds.
pub(super) fn scheduled(path: &str) -> io::Result<Duration> {
    let text = fs::read_to_string(path)?;
    let nanoseconds = text.split_whitespace().next().and_then(|field| field.parse().ok());
    nanoseconds.map(Duration::from_nanos).ok_or_else(|| io::Error::other(format!("{path}: no schedstat: {text:?}")))
}

/// Processor, number of cores, kernel.
pub(super) fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{}, {} cores, Linux {}", model.unwrap_or("unknown processor"), cores_of_machine(&cpu), kernel.trim())
}

fn cores_of_machine(cpuinfo: &str) -> usize {
    cpuinfo.lines().filter(|line| line.starts_with("processor")).count()
}
