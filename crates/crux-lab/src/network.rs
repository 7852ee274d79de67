//! Machines made of network namespaces on one bridge.

use crate::run;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Namespaces with one address each, on a bridge in a namespace of its own.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    machines: usize,
}

impl Network {
    /// Makes the machines.
    ///
    /// # Panics
    /// If the kernel or the tools do not permit it.
    #[must_use]
    pub fn new(machines: usize) -> Self {
        let prefix = format!("cx{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let network = Self { prefix, machines };
        let switch = network.switch();
        ip(&["netns", "add", &switch]);
        ip(&["-n", &switch, "link", "add", "name", "br0", "type", "bridge"]);
        ip(&["-n", &switch, "link", "set", "dev", "br0", "up"]);
        for at in 0..machines {
            let (space, port) = (network.space(at), format!("p{at}"));
            ip(&["netns", "add", &space]);
            ip(&["-n", &switch, "link", "add", "name", &port, "type", "veth", "peer", "name", "eth0", "netns", &space]);
            ip(&["-n", &switch, "link", "set", "dev", &port, "master", "br0", "up"]);
            let addr = format!("{}/16", network.addr(at));
            ip(&["-n", &space, "addr", "add", &addr, "dev", "eth0"]);
            ip(&["-n", &space, "link", "set", "eth0", "up"]);
            ip(&["-n", &space, "link", "set", "lo", "up"]);
            network.nft(at, "add table inet lab");
            network.nft(at, "add set inet lab cut { type ipv4_addr; }");
            network.nft(at, "add chain inet lab in { type filter hook input priority 0; policy accept; }");
            network.nft(at, "add rule inet lab in ip saddr @cut drop");
            network.nft(at, "add chain inet lab loss");
            network.nft(at, "add rule inet lab in iifname eth0 jump loss");
        }
        network
    }

    fn switch(&self) -> String {
        format!("{}-sw", self.prefix)
    }

    fn space(&self, at: usize) -> String {
        format!("{}-n{}", self.prefix, at + 1)
    }

    /// The address of a machine.
    #[must_use]
    pub fn addr(&self, at: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, (at / 250) as u8, (at % 250 + 1) as u8)
    }

    /// A program to be run on a machine.
    #[must_use]
    pub fn command(&self, at: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space(at)]).arg(program);
        command
    }

    fn nft(&self, at: usize, rule: &str) {
        run(Command::new("ip").args(["netns", "exec", &self.space(at), "nft", rule]));
    }

    /// Cuts or joins one direction.
    pub fn set_path(&self, from: usize, to: usize, works: bool) {
        let verb = if works { "delete" } else { "add" };
        self.nft(to, &format!("{verb} element inet lab cut {{ {} }}", self.addr(from)));
    }

    /// Cuts or joins both directions between every machine of one side and every one of the other.
    pub fn set_between(&self, a: &[usize], b: &[usize], works: bool) {
        for &x in a {
            for &y in b {
                self.set_path(x, y, works);
                self.set_path(y, x, works);
            }
        }
    }

    /// Drops so many percent of what a machine receives.
    pub fn set_loss(&self, at: usize, percent: u32) {
        self.nft(at, "flush chain inet lab loss");
        if percent > 0 {
            self.nft(at, &format!("add rule inet lab loss numgen random mod 100 < {percent} drop"));
        }
    }

    /// Ends every process that still lives in the machines.
    pub fn end_processes(&self) {
        for at in 0..self.machines {
            let Ok(output) = Command::new("ip").args(["netns", "pids", &self.space(at)]).output() else { continue };
            let pids = String::from_utf8_lossy(&output.stdout).into_owned();
            for pid in pids.split_whitespace() {
                // It may have ended in the meantime.
                let _ = Command::new("kill").args(["-9", pid]).output();
            }
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.end_processes();
        for space in (0..self.machines).map(|at| self.space(at)).chain([self.switch()]) {
            // A lab that could not be made whole is taken down as far as it came.
            let _ = Command::new("ip").args(["netns", "delete", &space]).output();
        }
    }
}

fn ip(args: &[&str]) {
    run(Command::new("ip").args(args));
}
