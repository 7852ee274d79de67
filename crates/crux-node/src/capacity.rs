//! What this machine has for services: cores, memory and the disk of the state directory, times this fulcrum's share.
//!
//! What the machine may not use does not count: limits of the control groups that this process is in, their ancestors
//! included, and the cores that it may run on. Measured once, at the start; an operator's `--share` takes off what others
//! need. Disk is the size of the file system that holds the state, as memory is the size of the machine's: what services
//! use of it is in both.

use crux_core::resources::{BYTES_MOST, CPU_MOST, Resources};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the system tells of itself.
struct System {
    proc: PathBuf,
    cgroup: PathBuf,
}

/// What this fulcrum has for services. What cannot be found out is 0, and nothing that asks for it is placed here.
pub(crate) fn measure(state: &Path, share: f64) -> Resources {
    let system = System { proc: "/proc".into(), cgroup: "/sys/fs/cgroup".into() };
    let disk = rustix::fs::statvfs(state).map_or(0, |disk| disk.f_frsize.saturating_mul(disk.f_blocks));
    shared(Resources { cpu_milli: system.cpu_milli(), memory: system.memory(), disk }, share)
}

fn shared(all: Resources, share: f64) -> Resources {
    let [cpu, memory, disk] = all.amounts().map(|amount| (amount as f64 * share) as u64);
    Resources { cpu_milli: cpu.min(CPU_MOST), memory: memory.min(BYTES_MOST), disk: disk.min(BYTES_MOST) }
}

impl System {
    fn cpu_milli(&self) -> u64 {
        let status = fs::read_to_string(self.proc.join("self/status")).unwrap_or_default();
        let allowed = field(&status, "Cpus_allowed_list:").map_or(0, cores);
        let quotas = self.groups("cpu").into_iter().filter_map(|group| cpu_quota(&group));
        quotas.fold(allowed.saturating_mul(1000), u64::min)
    }

    fn memory(&self) -> u64 {
        let info = fs::read_to_string(self.proc.join("meminfo")).unwrap_or_default();
        let kib = field(&info, "MemTotal:").and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        let all = kib.unwrap_or(0).saturating_mul(1024);
        self.groups("memory").into_iter().filter_map(|group| memory_limit(&group)).fold(all, u64::min)
    }

    /// The control groups that limit this process in one way, from its own up. Where a container sees a path of its host, those
    /// of its directories that are there.
    fn groups(&self, controller: &str) -> Vec<PathBuf> {
        let text = fs::read_to_string(self.proc.join("self/cgroup")).unwrap_or_default();
        let mut groups = Vec::new();
        for line in text.lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
            let roots = match controllers {
                "" => vec![self.cgroup.clone(), self.cgroup.join("unified")],
                // Mounted under the names of those that it unites, `cpu,cpuacct`, or under the one.
                all if all.split(',').any(|one| one == controller) => {
                    vec![self.cgroup.join(all), self.cgroup.join(controller)]
                }
                _ => continue,
            };
            let path = Path::new(path.trim_start_matches('/'));
            // An empty path's only ancestor is itself, the root.
            groups.extend(roots.iter().flat_map(|root| path.ancestors().map(|inner| root.join(inner))));
        }
        groups
    }
}

fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// How many a list like `0-3,8` names.
fn cores(list: &str) -> u64 {
    let count = |range: &str| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let (from, to) = (from.trim().parse::<u64>().ok()?, to.trim().parse::<u64>().ok()?);
        Some(to.checked_sub(from)?.saturating_add(1))
    };
    list.split(',').filter_map(count).fold(0, u64::saturating_add)
}

/// Thousandths of a core that a control group allows, in either form; `None`: it does not limit them.
fn cpu_quota(group: &Path) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    let (quota, period) = match read("cpu.max") {
        Some(text) => {
            let (quota, period) = text.trim().split_once(' ')?;
            (quota.parse::<u64>().ok()?, period.parse::<u64>().ok()?)
        }
        // -1 stands for none there and is no number here.
        None => (read("cpu.cfs_quota_us")?.trim().parse().ok()?, read("cpu.cfs_period_us")?.trim().parse().ok()?),
    };
    quota.saturating_mul(1000).checked_div(period)
}

/// Bytes that a control group allows, in either form; `None`: it does not limit them. The older form says a number of more
/// memory than there is where there is no limit.
fn memory_limit(group: &Path) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    read("memory.max").or_else(|| read("memory.limit_in_bytes"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Machine(tempfile::TempDir);

    impl Machine {
        /// 64 cores and 8 GiB, with these files of control groups.
        fn new(cgroup: &str, files: &[(&str, &str)]) -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            machine.write("proc/self/status", "Name:\tcrux\nCpus_allowed:\tff\nCpus_allowed_list:\t0-62,63\n");
            machine.write("proc/meminfo", "MemTotal:        8388608 kB\nMemFree:          100 kB\n");
            machine.write("proc/self/cgroup", cgroup);
            for (path, text) in files {
                machine.write(&format!("cgroup/{path}"), text);
            }
            machine
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn has(&self) -> (u64, u64) {
            let system = System { proc: self.0.path().join("proc"), cgroup: self.0.path().join("cgroup") };
            (system.cpu_milli(), system.memory() >> 20)
        }
    }

    #[test]
    fn a_machine_without_limits_has_all_that_it_has() {
        assert_eq!(Machine::new("0::/\n", &[("cpu.stat", "")]).has(), (64_000, 8192));
        let unlimited = [("crux/cpu.max", "max 100000\n"), ("crux/memory.max", "max\n")];
        assert_eq!(Machine::new("0::/crux\n", &unlimited).has(), (64_000, 8192));
    }

    #[test]
    fn limits_of_the_process_and_of_what_it_is_in_count() {
        let nested = [
            ("box/cpu.max", "200000 100000\n"),
            ("box/memory.max", "1073741824\n"),
            ("box/crux/cpu.max", "max 100000\n"),
            ("box/crux/memory.max", "2147483648\n"),
        ];
        assert_eq!(Machine::new("0::/box/crux\n", &nested).has(), (2_000, 1024));
        // A container that sees its host's path: its own group is the root.
        let container = [("cpu.max", "50000 100000\n"), ("memory.max", "536870912\n")];
        assert_eq!(Machine::new("0::/host/docker/abc\n", &container).has(), (500, 512));
    }

    #[test]
    fn the_older_form_counts_too() {
        let old = [
            ("cpu,cpuacct/box/cpu.cfs_quota_us", "150000\n"),
            ("cpu,cpuacct/box/cpu.cfs_period_us", "100000\n"),
            ("cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/box/memory.limit_in_bytes", "268435456\n"),
        ];
        assert_eq!(Machine::new("5:cpu,cpuacct:/box\n4:memory:/box\n0::/\n", &old).has(), (1_500, 256));
    }

    #[test]
    fn what_cannot_be_found_out_is_nothing_and_a_share_takes_its_part() {
        assert_eq!(cores("0-3,8"), 5);
        assert_eq!((cores(""), cores("x-3"), cores("3-1")), (0, 0, 0));
        let all = Resources { cpu_milli: 4_000, memory: 1 << 30, disk: u64::MAX };
        assert_eq!(shared(all, 0.5), Resources { cpu_milli: 2_000, memory: 1 << 29, disk: BYTES_MOST });
        let here = measure(Path::new("."), 1.0);
        assert!(here.cpu_milli > 0 && here.memory > 0 && here.disk > 0, "{here}");
        assert_eq!(measure(Path::new("/nowhere/at/all"), 1.0).disk, 0);
    }
}
