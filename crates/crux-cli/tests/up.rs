//! `crux up` as a service manager and an operator meet it: bad input is one clear error or a warning and a correct start,
//! the service manager is told the truth, and several fulcrums of one node live side by side.

mod help;
use help::World;
use help::cluster::names;
use help::fulcrum::{Fulcrum, until, up, world};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

#[test]
fn a_bundle_that_cannot_be_used_is_one_clear_error() {
    let world = world(&["n1", "n2", "n3"]);
    let fails = |identity: &str, texts: &[&str]| {
        world.run(&mut up(&world, identity, "s", &[])).failed_among_logs(1, "E102", texts);
    };
    fails("nowhere", &["nowhere", "cert.pem", "next: crux ca init --bloc NAME"]);
    world.crux(&["ca", "issue", "--ca", "ca", "--operator", "bob", "--out", "bob", "--no-profile"]).done();
    fails("bob", &["operator/bob", "only a node runs a fulcrum"]);
    std::fs::copy(world.path("n2/key.pem"), world.path("n1/key.pem")).unwrap();
    fails("n1", &["key.pem", "not the key of cert.pem"]);
    world.write("n2/cert.pem", "no certificate\n");
    fails("n2", &["cert.pem"]);
    std::fs::remove_file(world.path("n3/trust.pem")).unwrap();
    fails("n3", &["trust.pem"]);
    world.write("n3/trust.pem", "\u{0}\u{1}rubbish");
    fails("n3", &["n3/trust.pem", "next: crux ca inspect n3"]);
    // Something else where a file should be, and what is cut short.
    let cert = std::fs::read(world.path("n3/cert.pem")).unwrap();
    std::fs::write(world.path("n3/cert.pem"), &cert[..cert.len() / 2]).unwrap();
    fails("n3", &["n3/cert.pem: it is damaged: it ends in the middle of a certificate"]);
    std::fs::write(world.path("n3/cert.pem"), &cert).unwrap();
    let key = std::fs::read(world.path("n3/key.pem")).unwrap();
    std::fs::remove_file(world.path("n3/key.pem")).unwrap();
    std::fs::create_dir(world.path("n3/key.pem")).unwrap();
    std::fs::set_permissions(world.path("n3/key.pem"), PermissionsExt::from_mode(0o700)).unwrap();
    fails("n3", &["cannot read n3/key.pem", "next: crux ca inspect n3"]);
    std::fs::remove_dir(world.path("n3/key.pem")).unwrap();
    std::fs::write(world.path("n3/key.pem"), &key[..key.len() / 2]).unwrap();
    std::fs::set_permissions(world.path("n3/key.pem"), PermissionsExt::from_mode(0o600)).unwrap();
    fails("n3", &["n3/key.pem", "next: crux ca inspect n3"]);
    // Whoever is not root may be kept from reading it; root reads everything.
    if !rustix::process::geteuid().is_root() {
        std::fs::set_permissions(world.path("n3/key.pem"), PermissionsExt::from_mode(0o000)).unwrap();
        fails("n3", &["cannot read n3/key.pem", "ermission"]);
    }
    assert!(!world.path("s").exists(), "nothing was made for a fulcrum that cannot be");
}

/// A bundle that was copied to another machine: whoever is asked tells of it, the two themselves above all, and it is not
/// the original that the others are told to forget.
#[test]
fn a_copy_of_an_identity_is_told_of_by_both_that_have_it_and_by_the_others() {
    let world = world(&["n1", "n2"]);
    let one = Fulcrum::start(&world, "n1", "s1", &[]);
    let mesh = one.answers()["listens"]["mesh"].as_str().unwrap().to_owned();
    let two = Fulcrum::start(&world, "n2", "s2", &["--seed", &mesh]);
    until("two are one", || two.json("status").filter(|status| status["members"] == names(&["n1", "n2"])));
    let other = two.answers()["listens"]["mesh"].as_str().unwrap().to_owned();
    // A boot number is the clock's in seconds: the copy begins in another one, as it nearly always does.
    let boot = u64::from_str_radix(one.answers()["boot"].as_str().unwrap(), 16).unwrap();
    until("another second", || (crux_pki::unix_now() > boot).then_some(()));
    let copy = Fulcrum::start(&world, "n1", "s3", &["--seed", &mesh, "--seed", &other]);
    for fulcrum in [&one, &two, &copy] {
        let clones = until("the alarm", || {
            fulcrum
                .json("status")
                .map(|status| status["clones"].clone())
                .filter(|clones| *clones != Value::Array(vec![]))
        });
        assert_eq!((clones.as_array().unwrap().len(), &clones[0]["name"]), (1, &"n1".into()), "{clones}");
    }
    // The one whose flock knows it is kept.
    assert_eq!(two.answers()["members"], names(&["n1", "n2"]));
    let doctor = world.crux(&["--at", "s1/crux.sock", "doctor"]);
    assert!(doctor.out.contains("two nodes live with this identity"), "{}", doctor.out);
    copy.stop();
    // It stays until somebody says that he has seen it.
    assert_eq!(one.answers()["clones"].as_array().unwrap().len(), 1);
    world.crux(&["--at", "s1/crux.sock", "node", "forget", "n1"]).done();
    assert_eq!(one.answers()["clones"], Value::Array(vec![]));
}

#[test]
fn a_busy_port_is_an_error_and_busy_metrics_a_warning() {
    let world = world(&["n1"]);
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mesh = udp.local_addr().unwrap().to_string();
    let ran = world.run(&mut up(&world, "n1", "s", &["--listen", &mesh]));
    ran.failed_among_logs(1, "E101", &[&format!("UDP {mesh} is in use"), "next: --listen ADDR:PORT"]);
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let busy = tcp.local_addr().unwrap().to_string();
    let ran = world.run(&mut up(&world, "n1", "s", &["--api", &busy]));
    ran.failed_among_logs(1, "E101", &[&format!("TCP {busy} for --api is in use"), "next: --api ADDR:PORT"]);
    let fulcrum = Fulcrum::start(&world, "n1", "s", &["--metrics", &busy]);
    let status = fulcrum.answers();
    assert_eq!(status["listens"]["metrics"], Value::Null);
    fulcrum.says("there are no metrics: TCP");
    fulcrum.stop();
}

#[test]
fn settings_that_cannot_be_are_one_error_before_anything_starts() {
    let world = world(&["n1"]);
    let fails = |more: &[&str], texts: &[&str]| {
        world.run(&mut up(&world, "n1", "s", more)).failed_among_logs(2, "E204", texts);
    };
    fails(&["--probe", "10.0.0.0/8"], &["probe: ", "too large to search"]);
    fails(&["--probe", "nonsense"], &["probe: ", "is no network", "file:PATH"]);
    fails(&["--api", "here"], &["api: ", "neither ADDR:PORT", "nor off"]);
    fails(&["--metrics", "2781"], &["metrics: ", "neither ADDR:PORT"]);
    fails(&["--fulcrum", "Not A Name"], &["fulcrum: "]);
    fails(&["--expect", "0"], &["expect: ", "at least one member"]);
    fails(&["--timers", "0"], &["--timers 0 is not between"]);
    world.write("n1/crux.toml", "sed = [\"n2:2789\"]\n");
    fails(&[], &["n1/crux.toml:1:1: sed: unknown key", "seed"]);
    world.write("n1/crux.toml", "seed = [\"n2:2789\"]\nexpect = \"five\"\n");
    fails(&[], &["n1/crux.toml:2:10: expect: invalid type"]);
}

#[test]
fn what_does_not_resolve_or_cannot_be_read_is_a_warning_and_a_correct_start() {
    let world = world(&["n1"]);
    let more = ["--seed", "no-such-host.invalid:2789", "--probe", "file:missing.list"];
    let fulcrum = Fulcrum::start(&world, "n1", "s", &more);
    assert_eq!(fulcrum.answers()["members"], names(&["n1"]));
    fulcrum.says("seed \"no-such-host.invalid:2789\" does not resolve");
    fulcrum.says("the list missing.list cannot be read");
    fulcrum.stop();
}

#[test]
fn a_state_directory_of_another_node_or_a_damaged_one_is_set_aside_and_one_in_use_is_an_error() {
    let world = world(&["n1", "n2"]);
    let first = Fulcrum::start(&world, "n1", "s", &[]);
    first.answers();
    // An instance whose supervisor lives, by its lock: it has a fulcrum, and nobody is told that it has none.
    world.write("s/instances/web-1/lock", "");
    let supervised = std::fs::File::open(world.path("s/instances/web-1/lock")).unwrap();
    supervised.lock().unwrap();
    let ran = world.run(&mut up(&world, "n1", "s", &[]));
    assert!(!ran.err.contains("without a fulcrum"), "{}", ran.err);
    ran.failed_among_logs(1, "E100", &["in use by process", "--state", "next: crux status --at s/crux.sock"]);
    drop(supervised);
    std::fs::remove_dir_all(world.path("s/instances/web-1")).unwrap();
    first.stop();
    let second = Fulcrum::start(&world, "n2", "s", &[]);
    assert_eq!(second.answers()["node"], "n2");
    second.says("was set aside as");
    second.stop();
    world.write("s/facts.redb", &"damage".repeat(10_000));
    let third = Fulcrum::start(&world, "n2", "s", &[]);
    assert_eq!(third.answers()["store"]["state"], "ok");
    third.says("was set aside as");
    third.stop();
}

/// Changes a store while no fulcrum has it open.
fn alter<V: redb::Value + 'static>(
    store: &std::path::Path,
    table: &str,
    change: impl FnOnce(&mut redb::Table<'_, &str, V>),
) {
    let write = redb::Database::open(store).unwrap().begin_write().unwrap();
    change(&mut write.open_table(redb::TableDefinition::new(table)).unwrap());
    write.commit().unwrap();
}

#[test]
fn a_state_directory_of_another_version_is_set_aside_and_left_as_it_is() {
    let world = world(&["n1"]);
    let first = Fulcrum::start(&world, "n1", "s", &[]);
    first.answers();
    first.stop();
    alter::<&str>(&world.path("s/facts.redb"), "meta", |meta| drop(meta.insert("format", "7").unwrap()));
    let second = Fulcrum::start(&world, "n1", "s", &[]);
    let status = second.answers();
    assert_eq!((&status["members"], &status["store"]["state"]), (&names(&["n1"]), &"ok".into()));
    second.says("its format is `7`, wanted `1`; starting empty");
    second.stop();
    let aside = std::fs::read_dir(world.path("s")).unwrap().flatten().map(|entry| entry.path());
    let aside: Vec<_> = aside.filter(|path| path.to_string_lossy().contains("facts.redb.other-format-")).collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    // The version that made it can still use it.
    alter::<&str>(&aside[0], "meta", |meta| {
        use redb::ReadableTable as _;
        let has = |key| meta.get(key).unwrap().unwrap().value().to_owned();
        assert_eq!((has("format"), has("bloc"), has("fulcrum")), ("7".into(), "acme".into(), "n1".into()));
    });
}

#[test]
fn damaged_rows_of_the_address_book_are_a_warning_and_the_others_still_lead_there() {
    let world = world(&["n1", "n2"]);
    let one = Fulcrum::start(&world, "n1", "s1", &[]);
    let mesh = one.answers()["listens"]["mesh"].as_str().unwrap().to_owned();
    let two = Fulcrum::start(&world, "n2", "s2", &["--seed", &mesh]);
    let both = |fulcrum: &Fulcrum| fulcrum.json("status").filter(|status| status["members"] == names(&["n1", "n2"]));
    until("a flock of two", || both(&one).and(both(&two)));
    two.stop();
    alter::<&[u8]>(&world.path("s2/facts.redb"), "book", |book| {
        book.insert("n1", &b"\xff\xff\xff"[..]).unwrap();
        book.insert("No Name \u{1b}[2J", &[][..]).unwrap();
    });
    let two = Fulcrum::start(&world, "n2", "s2", &[]);
    assert_eq!(two.answers()["store"]["state"], "ok");
    two.says("s2/facts.redb: 2 entries of the address book cannot be read");
    assert!(!two.log().contains('\u{1b}'), "{}", two.log());
    // The other side's book is whole and leads here if the port is the same one; a seed does in any case.
    two.stop();
    let two = Fulcrum::start(&world, "n2", "s2", &["--seed", &mesh]);
    until("a flock of two again", || both(&one).and(both(&two)));
    two.stop();
    let two = Fulcrum::start(&world, "n2", "s2", &[]);
    until("the book was written anew and leads there", || both(&two));
    assert!(!two.log().contains("address book"), "{}", two.log());
    two.stop();
    one.stop();
}

#[test]
fn a_list_leads_two_fulcrums_to_each_other_and_so_does_the_book_afterwards() {
    let world = world(&["n1", "n2"]);
    let one = Fulcrum::start(&world, "n1", "s1", &[]);
    let status = one.answers();
    world.write("peers", "# nobody yet\n");
    let two = Fulcrum::start(&world, "n2", "s2", &["--probe", "file:peers"]);
    assert_eq!(two.answers()["members"], names(&["n2"]));
    // The list is read again when it changes.
    world.write("peers", &format!("{}\n", status["listens"]["mesh"].as_str().unwrap()));
    let both = |fulcrum: &Fulcrum| fulcrum.json("status").filter(|status| status["members"] == names(&["n1", "n2"]));
    until("a flock of two", || both(&one).and(both(&two)));
    two.stop();
    let two = Fulcrum::start(&world, "n2", "s2", &[]);
    until("the address book leads there", || both(&two));
    two.stop();
    one.stop();
}

#[test]
fn a_network_that_is_searched_leads_fulcrums_to_each_other() {
    let world = world(&["n1", "n2", "n3"]);
    let one = Fulcrum::start(&world, "n1", "s1", &[]);
    let mesh = one.answers()["listens"]["mesh"].as_str().unwrap().to_owned();
    let port = mesh.strip_prefix("127.0.0.1:").unwrap();
    let two = Fulcrum::start(&world, "n2", "s2", &["--probe", &format!("127.0.0.1/32:{port}")]);
    let whole = |fulcrum: &Fulcrum, all: &[&str]| fulcrum.json("status").filter(|s| s["members"] == names(all));
    until("a flock of two", || whole(&one, &["n1", "n2"]).and(whole(&two, &["n1", "n2"])));
    // The same from a file, among hosts where nobody is.
    world.write("n3/crux.toml", &format!("probe = [\"127.0.0.0/28:{port}\"]\n"));
    let three = Fulcrum::start(&world, "n3", "s3", &[]);
    let all = ["n1", "n2", "n3"];
    until("a flock of three", || whole(&one, &all).and(whole(&two, &all)).and(whole(&three, &all)));
    // Where nobody answers is no trouble of anybody's.
    assert_eq!(three.answers()["outside"], Value::Array(vec![]));
    [three, two, one].into_iter().for_each(Fulcrum::stop);
}

#[test]
fn several_fulcrums_of_one_node_live_in_one_flock() {
    let world = world(&["n1", "n2"]);
    let plain = Fulcrum::start(&world, "n1", "a", &[]);
    let mesh = plain.answers()["listens"]["mesh"].as_str().unwrap().to_owned();
    let batch = Fulcrum::start(&world, "n1", "b", &["--fulcrum", "batch", "--seed", &mesh]);
    let other = Fulcrum::start(&world, "n2", "c", &["--seed", &mesh]);
    let all = names(&["n1", "n1/batch", "n2"]);
    for fulcrum in [&plain, &batch, &other] {
        until("a flock of three", || fulcrum.json("status").filter(|status| status["members"] == all));
    }
    let status = batch.answers();
    assert_eq!((&status["node"], &status["fulcrum"]), (&"n1".into(), &"batch".into()));
    until("each reaches each", || {
        let links = other.json("links")?;
        let up = links["links"].as_array()?.iter().filter(|line| line["state"] == "up").count();
        (up == 6).then_some(())
    });
    batch.stop();
    until("it left", || plain.json("status").filter(|status| status["members"] == names(&["n1", "n2"])));
    // A process that dies is noticed by its fulcrum, not by its node.
    let mut batch = Fulcrum::start(&world, "n1", "b", &["--fulcrum", "batch", "--seed", &mesh]);
    until("it is back", || other.json("status").filter(|status| status["members"] == all));
    batch.process.kill().unwrap();
    until("it is lost", || other.json("status").filter(|status| status["members"] == names(&["n1", "n2"])));
    assert_eq!(plain.answers()["members"], names(&["n1", "n2"]));
}

/// A service manager of one's own: what it is told.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    fn new(world: &World) -> Self {
        let socket = UnixDatagram::bind(world.path("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        Self { socket, heard: Vec::new() }
    }

    /// Everything that has arrived.
    fn listen(&mut self) -> &[String] {
        let mut bytes = [0; 4096];
        while let Ok(len) = self.socket.recv(&mut bytes) {
            self.heard.push(String::from_utf8(bytes[..len].to_vec()).unwrap());
        }
        &self.heard
    }

    /// Waits for a word that has this in it, and gives its place.
    fn hears(&mut self, text: &str) -> usize {
        until(&format!("{text:?} is told"), || self.listen().iter().position(|word| word.contains(text)))
    }

    fn beats(&mut self) -> usize {
        self.listen().iter().filter(|word| word.contains("WATCHDOG=1")).count()
    }
}

#[test]
fn the_service_manager_is_told_when_it_is_ready_how_it_is_and_only_while_the_core_lives() {
    let world = world(&["n1", "n2"]);
    let mut manager = Manager::new(&world);
    let mut command = up(&world, "n1", "s1", &["--expect", "3"]);
    command.env("NOTIFY_SOCKET", world.path("notify")).env("WATCHDOG_USEC", "400000");
    let one = Fulcrum::with(&world, "s1", command);
    assert_eq!(manager.hears("READY=1"), 0, "{:?}", manager.heard);
    assert!(manager.heard[0].contains("STATUS=flock ") && manager.heard[0].contains("ALONE, 3 expected"));
    let mesh = one.answers()["listens"]["mesh"].as_str().unwrap().to_owned();
    let two = Fulcrum::start(&world, "n2", "s2", &["--seed", &mesh]);
    manager.hears("2 members");
    manager.hears("BELOW the expected 3");
    let beats = manager.beats();
    until("it beats on", || (manager.beats() > beats + 2).then_some(()));

    // A core that stands still says nothing; the manager would restart it.
    let pid = Pid::from_child(&one.process);
    kill_process(pid, Signal::STOP).unwrap();
    manager.listen();
    let beats = manager.beats();
    std::thread::sleep(Duration::from_secs(1)); // waits: five beats long, to judge that none comes
    assert_eq!(manager.beats(), beats, "it beats though it stands still");
    kill_process(pid, Signal::CONT).unwrap();
    until("it beats again", || (manager.beats() > beats).then_some(()));

    one.stop();
    manager.hears("STOPPING=1");
    two.stop();
}
