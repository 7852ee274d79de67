//! Which process is which. A number alone is nobody: the kernel gives it out again. A process here is its number, its
//! start time and the boot of the machine, and it is signalled only through a descriptor that cannot change hands.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// One process that can be told from every other one that ever had its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessId {
    pub(super) pid: u32,
    /// Clock ticks since the machine's boot (proc(5), `stat`, field 22).
    pub(super) start: u64,
    /// The kernel's id of the machine's boot.
    pub(super) boot: String,
}

/// What the kernel says of a process now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) group: u32,
    pub(super) start: u64,
    /// It has ended and waits to be reaped.
    pub(super) zombie: bool,
}

impl ProcessId {
    pub(super) fn of(pid: u32) -> Option<Self> {
        stat(pid).map(|stat| Self { pid, start: stat.start, boot: boot_id() })
    }

    /// Whether this very process still runs.
    pub(super) fn alive(&self) -> bool {
        boot_id() == self.boot && stat(self.pid).is_some_and(|stat| stat.start == self.start && !stat.zombie)
    }

    /// Signals this very process, or nobody. Whether it was there to be signalled.
    pub(super) fn signal(&self, signal: Signal) -> bool {
        signal_if(self.pid, signal, || self.alive())
    }
}

/// Opens the process first and asks then: what `is_it` looked at by number is what gets the signal.
pub(super) fn signal_if(pid: u32, signal: Signal, is_it: impl FnOnce() -> bool) -> bool {
    let Some(number) = raw(pid) else { return false };
    let Ok(handle) = pidfd_open(number, PidfdFlags::empty()) else { return false };
    is_it() && pidfd_send_signal(&handle, signal).is_ok()
}

pub(super) fn raw(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

pub(super) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

pub(super) fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name in the second field may hold anything, also `)`: the fields that count come after the last one.
    let after = text.iter().rposition(|byte| *byte == b')')? + 1;
    let rest = std::str::from_utf8(&text[after..]).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(Stat {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
        zombie: matches!(*fields.first()?, "Z" | "X"),
    })
}

/// All processes that can be seen.
pub(super) fn all() -> Vec<Stat> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| stat(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect()
}

/// The live descendants of a process as one look at the process table shows them. Those that move while one looks can
/// be missed: look again until the kernel says that none is left.
pub(super) fn descendants(root: u32) -> Vec<Stat> {
    let all = all();
    let mut family = BTreeSet::from([root]);
    loop {
        let before = family.len();
        family.extend(all.iter().filter(|stat| family.contains(&stat.parent)).map(|stat| stat.pid).collect::<Vec<_>>());
        if family.len() == before {
            break;
        }
    }
    all.into_iter().filter(|stat| stat.pid != root && family.contains(&stat.pid) && !stat.zombie).collect()
}

/// Signals one descendant, if it still is the one that was seen.
pub(super) fn signal_seen(seen: &Stat, signal: Signal) -> bool {
    signal_if(seen.pid, signal, || stat(seen.pid).is_some_and(|now| now.start == seen.start && !now.zombie))
}

/// Processes whose environment has all of these entries. This finds what was started for an instance when the
/// supervisor is gone and the tree with it; nobody else has an instance's id and directory in its environment.
pub(super) fn marked(marks: &[Vec<u8>]) -> Vec<Stat> {
    all()
        .into_iter()
        .filter(|stat| !stat.zombie && stat.pid != std::process::id())
        .filter(|stat| {
            let Ok(env) = std::fs::read(format!("/proc/{}/environ", stat.pid)) else { return false };
            marks.iter().all(|mark| env.split(|byte| *byte == 0).any(|entry| entry == mark.as_slice()))
        })
        .collect()
}

/// Kills what carries the marks until none is seen in `rounds` looks at most. Returns how many were killed.
pub(super) fn kill_marked(marks: &[Vec<u8>], rounds: u32) -> usize {
    let mut killed = 0;
    for _ in 0..rounds {
        let found = marked(marks);
        if found.is_empty() {
            break;
        }
        killed += found.iter().filter(|stat| signal_seen(stat, Signal::KILL)).count();
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    killed
}

/// The marks that an instance's processes carry.
pub(super) fn marks(id: &str, root: &Path) -> [Vec<u8>; 2] {
    use std::os::unix::ffi::OsStrExt;
    [format!("CRUX_INSTANCE={id}").into_bytes(), [b"CRUX_DIR=", root.as_os_str().as_bytes()].concat()]
}

/// A signal by its name: `TERM` or `SIGTERM`; `None` if crux does not know it.
pub(super) fn signal_named(name: &str) -> Option<Signal> {
    Some(match name.strip_prefix("SIG").unwrap_or(name) {
        "TERM" | "" => Signal::TERM,
        "INT" => Signal::INT,
        "HUP" => Signal::HUP,
        "QUIT" => Signal::QUIT,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        "WINCH" => Signal::WINCH,
        "ALRM" => Signal::ALARM,
        "KILL" => Signal::KILL,
        _ => return None,
    })
}
