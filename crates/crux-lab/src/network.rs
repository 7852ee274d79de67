//! Machines made of network namespaces on one bridge.
//!
//! The bridge carries or drops what goes from one machine to another, so a cut is one transaction of the packet filter,
//! however many paths it takes, and no sender sees an error: a drop on the sender's own output hook would make `send`
//! fail, which no real network does.

use crate::run;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Namespaces with one address each, on a bridge in a namespace of its own.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    addrs: Vec<Ipv4Addr>,
    /// Cut paths, from and to.
    cut: BTreeSet<(usize, usize)>,
}

/// Octets that a machine sent and received since it was made, with every header from Ethernet on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Octets {
    /// By the machine.
    pub sent: u64,
    /// By the machine.
    pub received: u64,
}

/// From so many machines on they are told of each other.
const CROWD: usize = 24;

/// The hardware address of a machine.
fn hardware(at: usize) -> String {
    format!("02:c0:00:00:{:02x}:{:02x}", at / 256, at % 256)
}

/// Runs a program that reads what it is to do.
fn fed(command: &mut Command, text: &str) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("ip starts");
    child.stdin.take().expect("its input").write_all(text.as_bytes()).expect("it reads what it is to do");
    let output = child.wait_with_output().expect("its end");
    assert!(output.status.success(), "{command:?}: {text}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Network {
    /// Makes the machines.
    ///
    /// # Panics
    /// If the kernel or the tools do not permit it.
    #[must_use]
    pub fn new(machines: usize) -> Self {
        let prefix = format!("cx{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let addrs = (0..machines).map(|at| Ipv4Addr::new(10, 77, (at / 250) as u8, (at % 250 + 1) as u8)).collect();
        let network = Self { prefix, state: Mutex::new(State { addrs, cut: BTreeSet::new() }) };
        let switch = network.switch();
        ip(&["netns", "add", &switch]);
        ip(&["-n", &switch, "link", "add", "name", "br0", "type", "bridge"]);
        ip(&["-n", &switch, "link", "set", "dev", "br0", "up"]);
        network.nft(
            "table bridge lab {\n\
               set cut { type ifname . ifname; }\n\
               chain lost { }\n\
               chain paths { type filter hook forward priority 0; policy accept;\n\
                 meta protocol ip iifname . oifname @cut drop\n\
                 meta protocol ip jump lost\n\
               }\n\
             }\n",
        );
        for at in 0..machines {
            let (space, port) = (network.space(at), port(at));
            ip(&["netns", "add", &space]);
            let peer = ["peer", "name", "eth0", "address", &hardware(at), "netns", &space];
            ip(&[&["-n", &switch, "link", "add", "name", &port, "type", "veth"][..], &peer].concat());
            ip(&["-n", &switch, "link", "set", "dev", &port, "master", "br0", "up"]);
            let addr = format!("{}/16", network.addr(at));
            ip(&["-n", &space, "addr", "add", &addr, "brd", "+", "dev", "eth0"]);
            ip(&["-n", &space, "link", "set", "eth0", "up"]);
            ip(&["-n", &space, "link", "set", "lo", "up"]);
        }
        if machines > CROWD {
            network.introduce();
        }
        network
    }

    /// Tells every machine where all others are, for good: what is learned counts against a limit of 1,024 entries of the
    /// kernel for all name spaces together, which is full at 33 machines that all talk to each other.
    fn introduce(&self) {
        let machines = self.machines();
        for at in 0..machines {
            let mut lines = String::new();
            for other in (0..machines).filter(|other| *other != at) {
                let (addr, hardware) = (self.addr(other), hardware(other));
                let _ = writeln!(lines, "neigh replace {addr} lladdr {hardware} dev eth0 nud permanent");
            }
            let mut command = Command::new("ip");
            command.args(["-n", &self.space(at), "-batch", "-"]);
            fed(&mut command, &lines);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn machines(&self) -> usize {
        self.state().addrs.len()
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
        self.state().addrs[at]
    }

    /// Takes a machine's address away and gives it another one, as a changed lease does.
    pub fn set_addr(&self, at: usize, new: Ipv4Addr) {
        let (space, old) = (self.space(at), self.addr(at));
        ip(&["-n", &space, "addr", "del", &format!("{old}/16"), "dev", "eth0"]);
        ip(&["-n", &space, "addr", "add", &format!("{new}/16"), "brd", "+", "dev", "eth0"]);
        self.state().addrs[at] = new;
    }

    /// A program to be run on a machine.
    #[must_use]
    pub fn command(&self, at: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space(at)]).arg(program);
        command
    }

    /// One transaction of the packet filter between the machines.
    fn nft(&self, rules: &str) {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.switch(), "nft", "-f", "-"]);
        fed(&mut command, rules);
    }

    /// Cuts or joins these paths, each from one machine to another, all at the same moment.
    pub fn set_paths(&self, paths: impl IntoIterator<Item = (usize, usize)>, works: bool) {
        let mut state = self.state();
        let mut rules = String::new();
        for path in paths {
            let (changes, verb) =
                if works { (state.cut.remove(&path), "delete") } else { (state.cut.insert(path), "add") };
            if changes && path.0 != path.1 {
                let (from, to) = (port(path.0), port(path.1));
                let _ = writeln!(rules, "{verb} element bridge lab cut {{ \"{from}\" . \"{to}\" }}");
            }
        }
        drop(state);
        if !rules.is_empty() {
            self.nft(&rules);
        }
    }

    /// Cuts or joins one direction.
    pub fn set_path(&self, from: usize, to: usize, works: bool) {
        self.set_paths([(from, to)], works);
    }

    /// Cuts or joins both directions between every machine of one side and every one of the other.
    pub fn set_between(&self, a: &[usize], b: &[usize], works: bool) {
        self.set_paths(between(a, b), works);
    }

    /// Only machines of one group reach each other; who is in no group keeps what it has.
    pub fn split(&self, groups: &[&[usize]]) {
        let pairs = groups.iter().enumerate().flat_map(|(n, a)| groups[n + 1..].iter().flat_map(|b| between(a, b)));
        self.set_paths(pairs, false);
    }

    /// Every path works again.
    pub fn heal(&self) {
        let cut: Vec<_> = self.state().cut.iter().copied().collect();
        self.set_paths(cut, true);
    }

    /// The paths that are cut.
    #[must_use]
    pub fn cuts(&self) -> Vec<(usize, usize)> {
        self.state().cut.iter().copied().collect()
    }

    /// Every machine loses so many percent of what it is sent.
    pub fn set_loss(&self, percent: u32) {
        let mut rules = String::from("flush chain bridge lab lost\n");
        if percent > 0 {
            let _ = writeln!(rules, "add rule bridge lab lost numgen random mod 100 < {percent} drop");
        }
        self.nft(&rules);
    }

    /// What went over the wires of all machines so far.
    ///
    /// # Panics
    /// If the kernel does not say.
    #[must_use]
    pub fn octets(&self) -> Vec<Octets> {
        // `/proc/net/dev` of the switch: what a port received its machine sent.
        let mut command = Command::new("ip");
        let text = run(command.args(["netns", "exec", &self.switch(), "cat", "/proc/net/dev"]));
        let mut octets = vec![Octets::default(); self.machines()];
        for line in text.lines() {
            let Some((name, numbers)) = line.split_once(':') else { continue };
            let Some(at) = name.trim().strip_prefix('p').and_then(|at| at.parse::<usize>().ok()) else { continue };
            let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            octets[at] = Octets { sent: numbers[0], received: numbers[8] };
        }
        octets
    }

    /// Counts from now on what the links of a machine carry, to it and from it: packets of QUIC between
    /// the ports of the mesh, with the short header, as nobody sends them who has no link. Until [`Self::meter_no_new_links`] every link counts; then only those that are
    /// known from their packets, by the connection ids that these begin with.
    pub fn meter_links(&self, at: usize) {
        let port = port(at);
        self.nft(&format!(
            "table bridge lab {{\n\
               counter sent {{ }}\n\
               counter received {{ }}\n\
               set links {{ typeof @th,72,64; flags dynamic; size 4096; }}\n\
               chain known {{ type filter hook forward priority 10; policy accept;\n\
                 iifname \"{port}\" udp sport 2789 udp dport 2789 @th,64,1 0 add @links {{ @th,72,64 }}\n\
                 oifname \"{port}\" udp sport 2789 udp dport 2789 @th,64,1 0 add @links {{ @th,72,64 }}\n\
               }}\n\
               chain metered {{ type filter hook forward priority 11; policy accept;\n\
                 iifname \"{port}\" udp sport 2789 udp dport 2789 @th,64,1 0 @th,72,64 @links counter name sent\n\
                 oifname \"{port}\" udp sport 2789 udp dport 2789 @th,64,1 0 @th,72,64 @links counter name received\n\
               }}\n\
             }}\n"
        ));
    }

    /// Links that come up from now on are not counted.
    pub fn meter_no_new_links(&self) {
        self.nft("flush chain bridge lab known\n");
    }

    /// What the links of the machine that is metered carried so far, with every header from IP on.
    ///
    /// # Panics
    /// If no machine is metered, or the kernel does not say.
    #[must_use]
    pub fn metered(&self) -> Octets {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.switch(), "nft", "list", "counters", "table", "bridge", "lab"]);
        let text = run(&mut command);
        let bytes = |name: &str| {
            let of = text.split(&format!("counter {name} {{")).nth(1)?.split('}').next()?;
            of.split_whitespace().last()?.parse().ok()
        };
        let of = |name| bytes(name).unwrap_or_else(|| panic!("no counter {name}: {text}"));
        Octets { sent: of("sent"), received: of("received") }
    }

    /// Ends every process that still lives in the machines.
    pub fn end_processes(&self) {
        for at in 0..self.machines() {
            let Ok(output) = Command::new("ip").args(["netns", "pids", &self.space(at)]).output() else { continue };
            let pids = String::from_utf8_lossy(&output.stdout).into_owned();
            let pids: Vec<&str> = pids.split_whitespace().collect();
            if !pids.is_empty() {
                // They may have ended in the meantime.
                let _ = Command::new("kill").arg("-9").args(pids).output();
            }
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.end_processes();
        for space in (0..self.machines()).map(|at| self.space(at)).chain([self.switch()]) {
            // A lab that could not be made whole is taken down as far as it came.
            let _ = Command::new("ip").args(["netns", "delete", &space]).output();
        }
    }
}

/// The paths between two sides, both ways.
fn between(a: &[usize], b: &[usize]) -> Vec<(usize, usize)> {
    a.iter().flat_map(|&x| b.iter().flat_map(move |&y| [(x, y), (y, x)])).collect()
}

/// The bridge's port of a machine.
fn port(at: usize) -> String {
    format!("p{at}")
}

fn ip(args: &[&str]) {
    run(Command::new("ip").args(args));
}
