//! Promises S7 and S8 at the very first start: a disk that is full stops no fulcrum.
#![allow(missing_docs)]

use crux_names::{BlocName, Duration, NodeName};
use crux_node::up::{self, UpConfig};
use crux_pki::{Ca, IssueRequest, Role};
use rustix::process::{Signal, getpid, kill_process};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Instant;

const LIMIT: Duration = Duration::from_secs(60);

/// A small file system of its own, unmounted at the end.
struct Small(tempfile::TempDir);

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

fn small(options: &str) -> Option<Small> {
    let dir = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "crux-test"]).arg(dir.path()).output();
    mounted.is_ok_and(|output| output.status.success()).then(|| Small(dir))
}

#[test]
fn a_first_start_on_a_full_disk_is_a_start() {
    let Some(disk) = small("size=1m") else {
        println!("SKIPPED: this test mounts a tmpfs, which needs root");
        return;
    };
    let mut ca = Ca::in_memory(BlocName::parse("acme.example").unwrap()).unwrap();
    let identity = tempfile::tempdir().unwrap();
    let bundle = ca.issue(IssueRequest::new(Role::Node(NodeName::parse("n1").unwrap()))).unwrap();
    bundle.save(&identity.path().join("n1")).unwrap();
    let mut filler = std::fs::File::create(disk.0.path().join("filler")).unwrap();
    while filler.write(&[1; 4096]).is_ok() {}

    let state = disk.0.path().join("state");
    let config = UpConfig {
        identity: identity.path().join("n1"),
        listen: "127.0.0.1:0".parse().unwrap(),
        api: None,
        metrics: None,
        page: None,
        state: state.clone(),
        seeds: vec![],
        probes: vec![],
        multicast: false,
        visitor: false,
        expect: None,
        fulcrum: "main".parse().unwrap(),
        timers: 1.0,
        share: 1.0,
        dev_child: false,
    };
    let life = std::thread::spawn(|| up::run(config));
    let start = Instant::now();
    while UnixStream::connect(state.join("crux.sock")).is_err() {
        assert!(!life.is_finished(), "{:?}", life.join().unwrap());
        assert!(start.elapsed() < LIMIT, "nobody answers at the socket");
        // waits: until it answers or has ended
        std::thread::sleep(Duration::from_millis(10));
    }
    kill_process(getpid(), Signal::TERM).unwrap();
    life.join().unwrap().unwrap();
}
