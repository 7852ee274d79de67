//! `crux bloc create` against real `sshd`s, each on a machine of its own with a directory of its own: from nothing but ssh
//! to one flock, and again after one of them died.

use crux_lab::{Lab, until};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const HOSTS: [usize; 3] = [0, 1, 2];
/// Where the administrator sits: a machine without an sshd.
const DESK: usize = 3;

/// The sshds, which end with the test.
struct Servers(Vec<Child>);

impl Drop for Servers {
    fn drop(&mut self) {
        for server in &mut self.0 {
            // It may have ended by itself.
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Keys, configurations, and an sshd on each host. Where a host has its files the others see theirs.
fn serve(lab: &Lab) -> Servers {
    let mut servers = Servers(Vec::new());
    let place = lab.path("host");
    fs::create_dir(&place).unwrap();
    let keygen =
        |path: &str| crux_lab::run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", path]));
    keygen(&lab.path("key"));
    fs::copy(lab.path("key.pub"), lab.path("authorized")).unwrap();
    let (mut config, mut known) = (String::new(), String::new());
    for at in HOSTS {
        let (name, addr) = (format!("h{}", at + 1), lab.network().addr(at));
        let key = lab.path(&format!("{name}.key"));
        keygen(&key);
        let own = lab.path(&format!("{name}.files"));
        fs::create_dir(&own).unwrap();
        let public = fs::read_to_string(format!("{key}.pub")).unwrap();
        known += &format!("{addr} {public}");
        config += &format!("Host {name}\n  HostName {addr}\n");
        let server = lab.path(&format!("{name}.sshd"));
        let text = format!(
            "ListenAddress {addr}\nPort 22\nHostKey {key}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n",
            lab.path("authorized")
        );
        fs::write(&server, text).unwrap();
        // A command in a name space has mounts of its own.
        let script = format!(
            "mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && mount --bind {own} {place} && exec $(command -v sshd) -D -e -f {server}"
        );
        let log = fs::File::create(lab.path(&format!("{name}.log"))).unwrap();
        let mut command = lab.network().command(at, Path::new("sh"));
        command.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        servers.0.push(command.spawn().expect("sshd starts"));
    }
    config += &format!(
        "Host h9\n  HostName {}\nHost *\n  User root\n  IdentityFile {}\n  IdentitiesOnly yes\n  UserKnownHostsFile {}\n  \
         StrictHostKeyChecking yes\n  KexAlgorithms curve25519-sha256\n  Ciphers aes128-gcm@openssh.com\n",
        lab.network().addr(DESK),
        lab.path("key"),
        lab.path("known")
    );
    fs::write(lab.path("ssh_config"), config).unwrap();
    fs::write(lab.path("known"), known).unwrap();
    for at in HOSTS {
        let log = lab.path(&format!("h{}.log", at + 1));
        let listens = until(LIMIT, || fs::read_to_string(&log).unwrap_or_default().contains("listening on"));
        assert!(listens.is_ok(), "{}", fs::read_to_string(&log).unwrap_or_default());
    }
    servers
}

fn crux(lab: &Lab, words: &[&str]) -> Output {
    let binary = crux_lab::binary().unwrap();
    let mut command = lab.network().command(DESK, &binary);
    command.args(words).env("XDG_CONFIG_HOME", lab.path("desk")).current_dir(lab.dir());
    command.output().expect("crux starts")
}

fn create(lab: &Lab, hosts: &str) -> Output {
    let (config, place, ca) = (lab.path("ssh_config"), lab.path("host"), lab.path("shop-ca"));
    let words = ["bloc", "create", "shop", "--ssh", hosts, "--ssh-config", &config, "--dir", &place, "--ca", &ca];
    crux(lab, &[&words[..], &["--timeout", "120s", "-o", "json"]].concat())
}

/// What was done at each host, when all are one flock.
fn did(output: &Output) -> Vec<Value> {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stdout));
    let created: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(created["one_flock"], true, "{said}");
    created["hosts"].as_array().unwrap().iter().map(|host| host["did"].clone()).collect()
}

/// The processes of crux on a machine.
fn fulcrums(lab: &Lab, at: usize) -> Vec<String> {
    let mut command = lab.network().command(at, Path::new("sh"));
    // Whoever has this machine's network, by the link under /proc.
    command.args(["-c", "me=$(readlink /proc/self/ns/net); for p in /proc/[0-9]*; do [ \"$(readlink $p/ns/net 2>/dev/null)\" = \"$me\" ] && echo ${p#/proc/}; done; true"]);
    let pids = crux_lab::run(&mut command);
    let is = |pid: &&str| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("bin/crux\0up\0")
    };
    pids.split_whitespace().filter(is).map(str::to_owned).collect()
}

#[test]
fn three_hosts_with_nothing_but_ssh_become_one_flock_and_one_that_died_is_started_again() {
    let Some(lab) = Lab::or_skip(4) else { return };
    let _servers = serve(&lab);
    // One that does not answer: all are looked at first, so nothing is begun.
    let refused = create(&lab, "h1,h2,h9");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(5), "{said}");
    assert!(said.contains("h9: ssh does not get in") && said.contains("ssh h9 true"), "{said}");
    assert_eq!(fs::read_dir(lab.path("h1.files")).unwrap().count(), 0);

    let all = json!(["install crux", "install its certificate", "write its settings", "start it"]);
    assert_eq!(did(&create(&lab, "h1,h2,h3")), [all.clone(), all.clone(), all]);
    // The administrator's own machine asks over the API port, with the certificate that it was given.
    let at = format!("{}:2789", lab.network().addr(1));
    let status = crux(&lab, &["--at", &at, "bloc", "status", "-o", "json"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!((&status["bloc"], &status["members"]), (&"shop".into(), &json!(["h1", "h2", "h3"])), "{status}");
    assert_eq!(status["expect"], 3);

    let died = fulcrums(&lab, 1);
    assert_eq!(died.len(), 1, "{died:?}");
    crux_lab::run(Command::new("kill").args(["-9", &died[0]]));
    assert!(until(LIMIT, || fulcrums(&lab, 1).is_empty()).is_ok());
    assert_eq!(did(&create(&lab, "h1,h2,h3")), [json!([]), json!(["start it"]), json!([])]);
    for at in HOSTS {
        assert_eq!(fulcrums(&lab, at).len(), 1, "h{}", at + 1);
    }
}
