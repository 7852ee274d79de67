//! `cargo xtask test`: everything that can be tested on this machine, ending in the runner's own summary.

use crate::{sh, tools};
use std::path::Path;

pub const HELP: &str = "\
cargo xtask test [--no-lab] [NEXTEST ARGS]

Builds all targets of the workspace once, runs the doc tests, then every other test in one
`cargo nextest run --workspace`, so that the last lines are the runner's own summary.
cargo-nextest is installed where it is missing; where that fails, `cargo test` runs instead.

The tests of crux-lab start real fulcrums in network namespaces. They need root and the right to make
namespaces; that is tried out first, by making one. As root on Debian, missing packages
(iproute2, nftables, iputils-ping, openssh-client, openssh-server) are installed by apt-get. Where it is not permitted they are skipped
and the reason is printed. They are told by their environment:
  CRUX_LAB   1 run, 0 skip
  CRUX_BIN   the `crux` that was just built

  --no-lab   skip them anyway
Other arguments go to nextest, for instance `-E 'package(crux-core)'` or a part of a test's name.";

/// # Errors
/// When something does not build or a test fails.
pub fn run(args: &[String]) -> sh::Result<()> {
    let wants_lab = !args.iter().any(|a| a == "--no-lab");
    let passed: Vec<&String> = args.iter().filter(|a| *a != "--no-lab").collect();

    let lab = if wants_lab { lab_permitted() } else { Err("--no-lab was given".into()) };
    let nextest = tools::NEXTEST.ensure();

    // One build with the features of all targets: the binary that the lab starts is the one the tests were built
    // beside, and no dependency is built a second time for another feature set.
    sh::run(&mut sh::cargo(["build", "--workspace", "--all-targets", "--locked"]))?;
    sh::run(&mut sh::cargo(["test", "--workspace", "--doc", "--locked"]))?;

    match &lab {
        Ok(()) => eprintln!("lab: namespaces are permitted here: its tests are not skipped"),
        Err(why) => eprintln!("lab: SKIPPED, the tests with real processes in namespaces do not run: {why}"),
    }
    let mut runner = match &nextest {
        Ok(()) => sh::cargo(["nextest", "run", "--workspace", "--locked"]),
        Err(why) => {
            eprintln!("nextest: {why}\nnextest: falling back to `cargo test`");
            sh::cargo(["test", "--workspace", "--lib", "--bins", "--tests", "--locked"])
        }
    };
    runner.args(passed);
    runner.env("CRUX_LAB", if lab.is_ok() { "1" } else { "0" });
    runner.env("CRUX_BIN", sh::target_dir()?.join("debug/crux"));
    sh::run(&mut runner)
}

/// What the lab calls, with Debian's package for it.
const LAB_PROGRAMS: [(&str, &str); 5] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("ping", "iputils-ping"),
    ("ssh", "openssh-client"),
    ("sshd", "openssh-server"),
];

/// `Ok` if namespaces, bridges and packet filters can be made here; else the reason.
fn lab_permitted() -> sh::Result<()> {
    if sh::capture(sh::program("id").arg("-u"))?.trim() != "0" {
        return Err("it needs root".into());
    }
    install_lab_programs()?;

    let space = format!("crux-probe-{}", std::process::id());
    sh::capture(sh::program("ip").args(["netns", "add", &space]))
        .map_err(|why| format!("network namespaces are not permitted here: {why}"))?;
    let tried = [
        ["ip", "link", "add", "probe0", "type", "bridge"].as_slice(),
        &["ip", "link", "add", "probe1", "type", "veth", "peer", "name", "probe2"],
        &["nft", "add", "table", "bridge", "probe"],
    ]
    .into_iter()
    .try_for_each(|words| sh::capture(sh::program("ip").args(["netns", "exec", &space]).args(words)).map(drop))
    .map_err(|why| format!("a namespace can be made, but not used: {why}"));
    // Also after a failure: a probe must leave nothing behind.
    sh::capture(sh::program("ip").args(["netns", "delete", &space]))?;
    tried
}

fn install_lab_programs() -> sh::Result<()> {
    let missing: Vec<(&str, &str)> = LAB_PROGRAMS.into_iter().filter(|(name, _)| !on_path(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    if !Path::new("/etc/debian_version").exists() {
        let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
        return Err(format!("missing programs: {} (Debian's packages {})", names.join(" "), packages.join(" ")));
    }
    let apt = || {
        let mut command = sh::program("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    sh::run(apt().args(["-q", "update"]))?;
    sh::run(apt().args(["-q", "install", "-y", "--no-install-recommends"]).args(&packages))?;
    match missing.iter().find(|(name, _)| !on_path(name)) {
        None => Ok(()),
        Some((name, package)) => Err(format!("`{name}` is still missing after installing {package}")),
    }
}

fn on_path(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(name).is_file()))
}
