//! `crux bloc create` against a program that is called `ssh` and gives each host a directory: what is done, in which order,
//! what is left when something fails, and that it goes on from there. Real hosts: `crux-lab/tests/bloc.rs`.

mod help;
use help::fulcrum::{Fulcrum, until};
use help::{Ran, World};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command};

/// Each host is a directory, and what it is told runs there.
const SSH: &str = r#"#!/bin/sh
printf '%s\n' "$*" >> "$FAKE/log"
asked=
while [ $# -gt 0 ]; do
  case "$1" in -F|-l|-o) shift 2 ;; -G) asked=1; shift ;; --) shift; break ;; *) shift ;; esac
done
host=$1
shift
if [ -n "$asked" ]; then echo "user ann"; echo "hostname 127.0.0.${host#h}"; exit 0; fi
if [ -e "$FAKE/$host/down" ]; then echo "ssh: connect to host $host port 22: Connection refused" >&2; exit 255; fi
HOME="$FAKE/$host"
export HOME
cd "$HOME" || exit 1
told() { [ -e "$1" ] && case "$2" in *"$(cat "$1")"*) true ;; *) false ;; esac; }
# It stands still, or the connection is lost when all was done.
if told hangs "$*"; then exec sleep 300; fi
if told lost "$*"; then sh -c "$*"; echo "Connection to $host closed by remote host." >&2; exit 255; fi
exec sh -c "$*"
"#;

/// A crux that only remembers that it was started.
const CRUX: &str = r#"#!/bin/sh
case "$*" in
  --version) [ ! -e "$HOME/unfit" ] || { echo "it does not run here" >&2; exit 1; } ;;
  *" confab -o json") [ -e "$HOME/runs" ] ;;
  *" status -o json") [ -e "$HOME/runs" ] && { cat "$HOME/status.json" 2>/dev/null || cat "$FAKE/status.json"; } ;;
  "up --identity "*) echo "$*" > "$HOME/runs"; echo "a line of its log" ;;
  *) exit 9 ;;
esac
"#;

struct Hosts {
    world: World,
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Hosts {
    fn new() -> Self {
        let world = World::new();
        for (name, text) in [("bin/ssh", SSH), ("crux.fake", CRUX)] {
            let path = world.write(name, text);
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        for host in ["h1", "h2", "h3"] {
            fs::create_dir_all(world.path(&format!("fake/{host}"))).unwrap();
        }
        let hosts = Self { world };
        hosts.members(&["h1", "h2", "h3"]);
        hosts
    }

    /// What every fulcrum says from now on.
    fn members(&self, members: &[&str]) {
        self.say("status.json", members);
    }

    /// What the fulcrums say that read this file.
    fn say(&self, name: &str, members: &[&str]) {
        let mut status: Value = serde_json::from_str(include_str!("../../crux-api/schema/Status.json")).unwrap();
        status["members"] = json!(members);
        self.world.write(&format!("fake/{name}"), &status.to_string());
    }

    fn command(&self, bloc: &str, more: &[&str]) -> Command {
        let mut command = self.world.command();
        let path = format!("{}:{}", self.world.path("bin").display(), std::env::var("PATH").unwrap());
        command.args(["bloc", "create", bloc, "--ssh", "h1,h2,h3", "--dir", "cx", "--label", "zone=a", "--binary"]);
        command.arg(self.world.path("crux.fake")).args(more).env("PATH", path).env("FAKE", self.world.path("fake"));
        command
    }

    fn run(&self, bloc: &str, more: &[&str]) -> Ran {
        self.world.run(&mut self.command(bloc, more))
    }

    /// As [`Hosts::run`], where it might never end: then it is ended and the test fails.
    fn run_within(&self, bloc: &str, more: &[&str]) -> Ran {
        let said = |name: &str| (File::create(self.world.path(name)).unwrap(), self.world.path(name));
        let ((out, out_path), (err, err_path)) = (said("out"), said("err"));
        let mut running = Running(self.command(bloc, more).stdout(out).stderr(err).spawn().unwrap());
        let status = until("crux ends", || running.0.try_wait().unwrap());
        let text = |path: PathBuf| fs::read_to_string(path).unwrap();
        Ran { code: status.code().unwrap(), out: text(out_path), err: text(err_path) }
    }

    fn at(&self, host: &str, name: &str) -> PathBuf {
        self.world.path(&format!("fake/{host}/{name}"))
    }

    /// Waits until what was started there runs.
    fn run_on(&self, hosts: &[&str]) {
        for host in hosts {
            until("it runs", || self.at(host, "runs").exists().then_some(()));
        }
    }

    /// What ssh was called with since this was asked last.
    fn calls(&self) -> String {
        let log = self.world.path("fake/log");
        let text = fs::read_to_string(&log).unwrap_or_default();
        let _ = fs::remove_file(log);
        text
    }

    fn did(&self, ran: &Ran) -> Vec<Vec<String>> {
        let created: Value = serde_json::from_str(&ran.out).unwrap();
        let words = |host: &Value| {
            host["did"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        created["hosts"].as_array().unwrap().iter().map(words).collect()
    }
}

#[test]
fn hosts_become_a_bloc_and_a_second_run_does_what_was_missing() {
    let hosts = Hosts::new();
    // One is down: nothing is begun anywhere.
    fs::write(hosts.at("h2", "down"), "").unwrap();
    let ran = hosts.run("acme", &[]);
    ran.failed(
        5,
        "E500",
        &["h2: ssh does not get in: ssh: connect to host h2 port 22: Connection refused", "ssh h2 true"],
    );
    assert!(!hosts.world.path("acme-ca").exists() && !hosts.at("h1", "cx").exists());
    fs::remove_file(hosts.at("h2", "down")).unwrap();

    let asked = hosts.run("acme", &["--dry-run", "-o", "json"]);
    asked.done();
    assert_eq!(hosts.did(&asked)[0], ["install crux", "install its certificate", "write its settings", "start it"]);
    assert!(!hosts.world.path("acme-ca").exists() && !hosts.at("h1", "cx").exists());

    // On one the program does not run: the others are whole, and there nothing is in its place.
    fs::write(hosts.at("h3", "unfit"), "").unwrap();
    let ran = hosts.run("acme", &[]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    let error = &ran.err[ran.err.find("crux: E").unwrap()..];
    assert!(error.starts_with("crux: E100 h3: cannot install crux: it does not run here"), "{error}");
    assert!(error.contains("next: mend it on h3, then the same command again"), "{error}");
    hosts.run_on(&["h1", "h2"]);
    assert!(!hosts.at("h3", "cx/bin/crux").exists() && !hosts.at("h3", "cx/identity").exists());

    let calls = hosts.calls();
    assert!(!calls.contains("PRIVATE") && calls.contains("tar -x"), "{calls}");
    let cert = fs::read(hosts.at("h1", "cx/identity/cert.pem")).unwrap();
    fs::remove_file(hosts.at("h3", "unfit")).unwrap();
    let ran = hosts.run("acme", &["-o", "json"]);
    ran.done();
    let nothing: Vec<String> = Vec::new();
    let all = ["install crux", "install its certificate", "write its settings", "start it"].map(str::to_owned);
    assert_eq!(hosts.did(&ran), [nothing.clone(), nothing.clone(), all.to_vec()]);
    let created: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&created["one_flock"], &created["hosts"][2]["addr"]), (&true.into(), &"127.0.0.3:2789".into()));
    assert_eq!(fs::read(hosts.at("h1", "cx/identity/cert.pem")).unwrap(), cert, "it was left alone");

    // What stands there: only its owner may look at it, and each knows the others.
    let mode = |name: &str| fs::metadata(hosts.at("h3", name)).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode("cx/identity"), mode("cx/identity/key.pem"), mode("cx/bin/crux")], [0o700, 0o600, 0o755]);
    let bundle = crux_pki::Bundle::load(&hosts.at("h3", "cx/identity")).unwrap();
    assert_eq!(
        (bundle.identity().to_string(), &bundle.labels()["zone"]),
        ("spiffe://acme/node/h3".into(), &"a".into())
    );
    assert!(bundle.settings().unwrap().contains(r#"seed = ["127.0.0.1:2789", "127.0.0.2:2789"]"#));
    let config = fs::read_to_string(hosts.at("h3", "cx/crux.toml")).unwrap();
    assert!(config.contains("listen = \"[::]:2789\"\nexpect = 3\n"), "{config}");
    let up = fs::read_to_string(hosts.at("h3", "runs")).unwrap();
    let at = |name: &str| hosts.at("h3", name).display().to_string();
    let wanted =
        format!("up --identity {} --state {} --config {}\n", at("cx/identity"), at("cx/state"), at("cx/crux.toml"));
    assert_eq!(up, wanted);
    let left: Vec<_> = fs::read_dir(hosts.at("h3", "cx")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".new")), "{left:?}");
    let operator = crux_pki::Bundle::load(&hosts.world.path("config/crux/profile")).unwrap();
    assert_eq!(operator.identity().to_string(), "spiffe://acme/operator/admin");

    // Once more there is nothing to do, and ssh is told where its configuration is and who asks.
    hosts.calls();
    let again = hosts.run("acme", &["--ssh-config", "my.conf", "--user", "ann"]);
    assert!(again.done().contains("bloc acme is one flock of 3"), "{}", again.out);
    let calls = hosts.calls();
    assert!(!calls.contains("tar -x") && !calls.contains("--identity"), "{calls}");
    assert!(calls.lines().all(|line| line.starts_with("-F my.conf -l ann ") || !line.starts_with('-')), "{calls}");
}

#[test]
fn what_stands_in_the_way_is_named_and_left_alone() {
    let hosts = Hosts::new();
    hosts.members(&["h1", "h2"]);
    let ran = hosts.run("acme", &["--timeout", "10s"]);
    assert_eq!(ran.code, 6, "{}", ran.err);
    assert!(ran.out.contains("not one flock yet") && ran.out.contains("2 members"), "{}", ran.out);
    hosts.run_on(&["h1", "h2", "h3"]);
    fs::remove_file(hosts.at("h2", "runs")).unwrap();
    hosts.members(&["h1", "h2", "h3"]);
    let ran = hosts.run("acme", &["-o", "json"]);
    ran.done();
    assert_eq!(hosts.did(&ran)[1], ["start it"], "what died is started, and nothing else is done");

    let ran = hosts.run("other", &["--ca", "acme-ca"]);
    ran.failed(2, "E200", &["the CA in acme-ca is of bloc acme"]);
    hosts.world.crux(&["ca", "init", "--bloc", "acme", "--out", "second-ca"]).done();
    let ran = hosts.run("acme", &["--ca", "second-ca"]);
    let refused = ["h1: ", "has a certificate already, and it would be refused", "--ca DIR", "signed by none"];
    assert!(!ran.err.contains("out of the way"), "{}", ran.err);
    ran.failed_among_logs(1, "E100", &refused);
    let ran = hosts.run("acme", &["--listen", "4000"]);
    ran.failed_among_logs(1, "E100", &["h1: ", "crux.toml is there and says something else"]);
    let mut plain = hosts.world.command();
    plain.args(["bloc", "create", "acme", "--ssh=-oProxyCommand"]);
    hosts.world.run(&mut plain).failed(2, "E200", &["is no host"]);
    let mut none = hosts.world.command();
    none.args(["bloc", "create", "acme", "--ssh", "h1"]).env("PATH", "/nowhere");
    hosts.world.run(&mut none).failed(1, "E100", &["ssh cannot be run"]);
}

#[test]
fn every_host_that_fails_is_named_with_its_cause() {
    let hosts = Hosts::new();
    for host in ["h1", "h3"] {
        fs::write(hosts.at(host, "unfit"), "").unwrap();
    }
    let ran = hosts.run("acme", &[]);
    for host in ["h1", "h3"] {
        assert!(ran.err.contains(&format!("{host}: cannot install crux: it does not run here")), "{}", ran.err);
    }
    ran.failed_among_logs(1, "E100", &["h1: cannot install crux", "1 other host failed as well"]);
}

#[test]
fn an_ssh_that_stands_still_is_ended_when_time_is_up() {
    let hosts = Hosts::new();
    fs::write(hosts.at("h2", "hangs"), " status -o json").unwrap();
    let ran = hosts.run_within("acme", &["--timeout", "10s"]);
    assert_eq!(ran.code, 6, "{}", ran.err);
    assert!(ran.out.contains("does not answer") && ran.err.contains("h2: its fulcrum does not answer"), "{}", ran.err);
    fs::write(hosts.at("h2", "hangs"), "uname").unwrap();
    let ran = hosts.run_within("acme", &["--timeout", "10s"]);
    ran.failed(5, "E500", &["h2: it did not answer in time", "nothing was changed there", "ssh h2 true"]);
    let calls = hosts.calls();
    for option in ["BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=5", "ServerAliveCountMax=3"] {
        assert!(calls.contains(&format!("-o {option} ")), "{option}: {calls}");
    }
}

#[test]
fn a_connection_that_is_lost_in_a_step_is_not_told_as_if_nothing_was_done() {
    let hosts = Hosts::new();
    fs::write(hosts.at("h2", "lost"), "; mv ").unwrap();
    let ran = hosts.run("acme", &[]);
    assert!(hosts.at("h2", "cx/bin/crux").exists(), "it was done");
    let known =
        ["h2: the connection was lost", "install crux", "Connection to h2 closed by remote host", "is not known"];
    assert!(!ran.err.contains("nothing was changed"), "{}", ran.err);
    ran.failed_among_logs(5, "E500", &known);
    fs::remove_file(hosts.at("h2", "lost")).unwrap();
    let ran = hosts.run("acme", &["-o", "json"]);
    ran.done();
    assert_eq!(hosts.did(&ran)[1], ["install its certificate", "write its settings", "start it"]);
}

#[test]
fn whoever_else_is_in_the_flock_is_no_reason_to_wait() {
    let hosts = Hosts::new();
    // One whose certificate `ca issue` made, a second fulcrum, a visitor: all of one flock.
    hosts.members(&["h1", "h1/1", "h2", "h3", "x1"]);
    let ran = hosts.run("acme", &[]);
    assert!(ran.done().contains("bloc acme is one flock of 5"), "{}", ran.out);
    // Who says something else is not of it, though it knows of all that were named.
    hosts.say("h2/status.json", &["h1", "h2", "h3"]);
    let ran = hosts.run("acme", &["--timeout", "10s"]);
    assert_eq!(ran.code, 6, "{}", ran.err);
    assert!(ran.out.contains("not one flock yet"), "{}", ran.out);
}

#[test]
fn a_second_run_from_another_directory_makes_no_second_ca() {
    let hosts = Hosts::new();
    hosts.run("acme", &[]).done();
    let elsewhere = hosts.world.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    hosts.calls();
    for more in [&[][..], &["--dry-run"]] {
        let ran = hosts.world.run(hosts.command("acme", more).current_dir(&elsewhere));
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0, "nothing is made here: {}", ran.err);
        // All of them are named, not only the first.
        for host in ["h1", "h2", "h3"] {
            assert!(ran.err.contains(&format!("{host}: ")), "{}", ran.err);
        }
        assert!(!ran.err.contains("out of the way"), "that would be another bloc of the same name: {}", ran.err);
        ran.failed_among_logs(1, "E100", &["there is no CA in acme-ca that issued it", "--ca DIR"]);
    }
    let calls = hosts.calls();
    assert!(!calls.contains("; mv "), "nothing is changed there: {calls}");
    let ca = hosts.world.path("acme-ca").display().to_string();
    hosts.world.run(hosts.command("acme", &["--ca", &ca]).current_dir(&elsewhere)).done();
}

/// A port that nobody has on loopback, for UDP and TCP.
fn free_port() -> u16 {
    until("a port is free", || {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = udp.local_addr().unwrap().port();
        TcpListener::bind(("127.0.0.1", port)).ok().map(|_| port)
    })
}

/// The command that the last line of an answer says to try next, without the program.
fn next(ran: &Ran) -> Vec<String> {
    let line = ran.done().lines().find_map(|line| line.strip_prefix("next: crux ")).expect("a next step");
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn whoever_has_the_profile_of_another_bloc_or_none_is_given_an_operator_who_is_answered() {
    let hosts = Hosts::new();
    hosts.world.crux(&["ca", "init", "--bloc", "other", "--out", "other-ca"]).done();
    hosts.world.crux(&["ca", "issue", "--ca", "other-ca", "--operator", "bob"]).done();
    let profile = fs::read(hosts.world.path("config/crux/profile/cert.pem")).unwrap();
    let port = free_port().to_string();
    let ran = hosts.run("acme", &["--listen", &port]);
    let words = next(&ran);
    assert!(ran.err.contains("is of bloc other"), "{}", ran.err);
    assert_eq!(fs::read(hosts.world.path("config/crux/profile/cert.pem")).unwrap(), profile, "it is left alone");
    // A real fulcrum with the certificate that was installed there.
    let addr = format!("127.0.0.1:{port}");
    let ports = ["--listen", &addr, "--api", &addr];
    let fulcrum = Fulcrum::start(&hosts.world, "fake/h1/cx/identity", "state-h1", &ports);
    fulcrum.answers();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let said = until("the API port answers", || {
        let ran = hosts.world.crux(&words);
        (ran.code != 5).then_some(ran)
    });
    assert!(said.out.contains("bloc     acme, as h1 has it"), "{words:?}: {}{}", said.out, said.err);

    // The same one again; and so without a place for a profile, or with somebody else named for all commands.
    let again = hosts.run("acme", &["--listen", &port]);
    assert_eq!(next(&again), words, "{}", again.err);
    let mut nowhere = hosts.command("acme", &["--listen", &port]);
    let ran = hosts.world.run(nowhere.env_remove("HOME").env_remove("XDG_CONFIG_HOME"));
    assert_eq!(next(&ran), words, "{}", ran.err);
    fs::rename(hosts.world.path("config/crux/profile"), hosts.world.path("bob")).unwrap();
    let ran = hosts.world.run(hosts.command("acme", &["--listen", &port]).env("CRUX_AS", hosts.world.path("bob")));
    assert_eq!(next(&ran), words, "{}", ran.err);

    // One that cannot be used any more is not handed out.
    fs::write(hosts.world.path("acme-ca/operator-admin/cert.pem"), profile).unwrap();
    let mut nowhere = hosts.command("acme", &["--listen", &port]);
    let ran = hosts.world.run(nowhere.env_remove("HOME").env_remove("XDG_CONFIG_HOME"));
    ran.failed_among_logs(1, "E102", &["acme-ca/operator-admin", "move it out of the way"]);
    // With a profile that serves, nothing else is needed.
    let ran = hosts.run("acme", &["--listen", &port]);
    assert_eq!(next(&ran)[0], "--at", "{}", ran.err);
    fulcrum.stop();
}
