//! Disks that fail under the real binary: promises S7 and S8. A disk without room stops no fulcrum and refuses writes by
//! name until there is room; a store that is damaged is set aside and filled again from a peer.

mod help;
use help::World;
use help::cluster::names;
use help::fulcrum::{Fulcrum, until, world};
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

/// A small file system at a place of a world, unmounted at the end.
struct Small(PathBuf);

impl Small {
    fn new(world: &World, name: &str, options: &str) -> Option<Self> {
        let path = world.path(name);
        std::fs::create_dir(&path).unwrap();
        let mut command = Command::new("mount");
        let mounted = command.args(["-t", "tmpfs", "-o", options, "crux-test"]).arg(&path).output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        if !mounted {
            println!("SKIPPED: this test mounts a tmpfs, which needs root");
        }
        mounted.then_some(Self(path))
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut file = std::fs::File::options().create(true).append(true).open(self.0.join("filler")).unwrap();
        while file.write(&[1; 512]).is_ok_and(|written| written > 0) {}
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

fn members(fulcrum: &Fulcrum, wanted: &[&str]) -> Value {
    until(&format!("members {wanted:?}: {}", fulcrum.log()), || {
        fulcrum.json("status").filter(|status| status["members"] == names(wanted))
    })
}

/// Writes a service through this door that runs nowhere and takes this much room.
fn write(world: &World, at: &str, name: &str, bytes: usize) -> help::Ran {
    let fill = "y".repeat(bytes);
    let text = format!("[service.{name}]\nrun = [\"true\"]\ncount = 0\nenv = {{ FILL = \"{fill}\" }}\n");
    world.write("m.toml", &text);
    world.crux(&["--at", at, "apply", "m.toml"])
}

/// The paths of all placements that stand there.
fn placed(world: &World, at: &str) -> String {
    world.crux(&["--at", at, "facts", "list", "place/", "-o", "name"]).done().to_owned()
}

fn facts(status: &Value) -> (Value, Value) {
    (status["facts"]["count"].clone(), status["facts"]["digest"].clone())
}

#[test]
fn a_disk_that_fills_under_writes_refuses_them_by_name_and_the_fulcrum_goes_on_and_recovers() {
    let world = world(&["n1", "n2", "n3"]);
    let Some(small) = Small::new(&world, "small", "size=1m") else { return };
    let one = Fulcrum::start(&world, "n1", "s1", &[]);
    let mesh = one.answers()["listens"]["mesh"].as_str().unwrap().to_owned();
    // Its log is not on the small disk.
    std::fs::create_dir(world.path("log")).unwrap();
    let two = Fulcrum::start_logged(&world, "n2", "small/s", "log/two", &["--seed", &mesh]);
    assert_eq!(members(&two, &["n1", "n2"])["store"]["state"], "ok", "a start with 1 MiB is a start");
    small.fill();
    // The store has some room of its own; then the disk's answer counts.
    let door = "small/s/crux.sock";
    let mut made = Vec::new();
    let refused = (0..40)
        .find_map(|n| {
            let ran = write(&world, door, &format!("s{n}"), 60_000);
            if ran.code != 0 && ran.code != 6 {
                return Some(ran);
            }
            made.push(format!("place/main/s{n}"));
            None
        })
        .expect("the disk is full");
    refused.failed(1, "E103", &["n2: the local store could not keep it", "No space left", "nothing was changed"]);
    let status = two.answers();
    assert_eq!(status["store"]["state"], "refusing");
    assert!(status["store"]["reason"].as_str().unwrap().contains("No space left"), "{}", status["store"]);

    // Reads go on, with all that was acknowledged.
    let listed = placed(&world, door);
    assert!(made.iter().all(|path| listed.lines().any(|line| line == path)), "{made:?}: {listed}");
    // Membership goes on: somebody comes, somebody goes; others' writes are in force there.
    let three = Fulcrum::start(&world, "n3", "s3", &["--seed", &mesh]);
    members(&two, &["n1", "n2", "n3"]);
    three.stop();
    members(&two, &["n1", "n2"]);
    let ran = write(&world, "s1/crux.sock", "elsewhere", 60_000);
    assert_eq!(ran.code, 6, "n2 cannot say that it has it: {}", ran.err);
    until("n2 obeys what it cannot keep", || {
        (facts(&one.json("status")?) == facts(&two.json("status")?)).then_some(())
    });
    write(&world, door, "never", 60_000).failed(1, "E103", &["No space left"]);

    // Room again: without a restart, and without a write, the store takes writes, and what waited is on disk.
    let pid = two.process.id();
    small.empty();
    until("the store is well by itself", || two.json("status").filter(|status| status["store"]["state"] == "ok"));
    write(&world, door, "later", 1000).done();
    assert_eq!(two.process.id(), pid);
    let before = facts(&two.answers());
    two.stop();
    one.stop();
    // Alone, from its own disk: nothing is lost.
    let two = Fulcrum::start_logged(&world, "n2", "small/s", "log/two-again", &[]);
    until("all is on its disk", || (facts(&two.json("status")?).0 == before.0).then_some(()));
    let listed = placed(&world, door);
    let all = made.iter().map(String::as_str).chain(["place/main/elsewhere", "place/main/later"]);
    assert!(all.clone().all(|path| listed.lines().any(|line| line == path)), "{all:?}: {listed}");
    assert!(!listed.contains("never"), "{listed}");
    two.stop();
}

/// A fulcrum whose disk turns read-only goes on (S7), but none begins on one: it could promise nothing that it says.
#[test]
fn nothing_starts_on_a_disk_that_cannot_be_written_and_what_is_there_stays() {
    let world = world(&["n1"]);
    let Some(small) = Small::new(&world, "small", "size=2m") else { return };
    let fulcrum = Fulcrum::start(&world, "n1", "small/s", &[]);
    fulcrum.answers();
    write(&world, "small/s/crux.sock", "kept", 100).done();
    fulcrum.stop();
    let remount = |how: &str| {
        let done = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&small.0).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    remount("ro");
    let up = || help::fulcrum::up(&world, "n1", "small/s", &[]);
    world.run(&mut up()).failed_among_logs(1, "E100", &["small/s", "Read-only file system", "--state DIR"]);
    remount("rw");
    let fulcrum = Fulcrum::start(&world, "n1", "small/s", &[]);
    fulcrum.answers();
    assert_eq!(placed(&world, "small/s/crux.sock").trim(), "place/main/kept");
    fulcrum.stop();
}

#[test]
fn a_damaged_store_is_set_aside_by_name_and_filled_again_from_a_peer() {
    let world = world(&["n1", "n2"]);
    let one = Fulcrum::start(&world, "n1", "s1", &[]);
    let mesh = one.answers()["listens"]["mesh"].as_str().unwrap().to_owned();
    let two = Fulcrum::start(&world, "n2", "s2", &["--seed", &mesh]);
    members(&two, &["n1", "n2"]);
    for n in 0..8 {
        write(&world, "s2/crux.sock", &format!("s{n}"), 3_000).done();
    }
    two.stop();
    let store = world.path("s2/facts.redb");
    let whole = std::fs::read(&store).unwrap();
    let cut = |len: usize| whole[..len].to_vec();
    let flip = |every: usize, from: usize| {
        let mut bytes = whole.clone();
        bytes.iter_mut().skip(from).step_by(every).for_each(|byte| *byte ^= 0x10);
        bytes
    };
    let harms = [
        ("nothing left", cut(0)),
        ("one byte", cut(1)),
        ("a header", cut(512)),
        ("a page and a half", cut(6000)),
        ("half", cut(whole.len() / 2)),
        ("a page less", cut(whole.len() - 4096)),
        ("a bit of the magic number", flip(usize::MAX, 0)),
        ("a bit of each kilobyte", flip(1024, 4096)),
        ("a bit of each 64 bytes", flip(64, 0)),
    ];
    for (n, (what, bytes)) in harms.iter().enumerate() {
        std::fs::write(&store, bytes).unwrap();
        let two = Fulcrum::start_logged(&world, "n2", "s2", &format!("two-{n}"), &["--seed", &mesh]);
        let status = members(&two, &["n1", "n2"]);
        assert_eq!(status["store"]["state"], "ok", "{what}");
        two.says("s2/facts.redb was set aside as");
        two.says("facts come from peers");
        until(&format!("{what}: filled again"), || {
            let (here, there) = (two.json("status")?, one.json("status")?);
            (facts(&here) == facts(&there) && here["facts"]["count"].as_u64() >= Some(8)).then_some(())
        });
        two.stop();
        let aside = std::fs::read_dir(world.path("s2")).unwrap().flatten().map(|entry| entry.path());
        let aside: Vec<_> = aside.filter(|path| path.to_string_lossy().contains("facts.redb.damaged-")).collect();
        assert_eq!(aside.len(), 1, "{what}: {aside:?}");
        std::fs::remove_file(&aside[0]).unwrap();
    }
    one.stop();
    // What came from the peer is on the disk: alone, everything is there.
    let two = Fulcrum::start_logged(&world, "n2", "s2", "two-alone", &[]);
    two.answers();
    let listed = placed(&world, "s2/crux.sock");
    assert!((0..8).all(|n| listed.contains(&format!("place/main/s{n}"))), "{listed}");
    two.stop();
}

/// Promise S1 where the file itself goes: whoever removes it under a running fulcrum, and then ends that, loses nothing that
/// was acknowledged before or after.
#[test]
fn a_store_that_is_removed_under_a_running_fulcrum_is_written_again_and_a_kill_loses_nothing() {
    let world = world(&["n1"]);
    let fulcrum = Fulcrum::start(&world, "n1", "s1", &[]);
    fulcrum.answers();
    let door = "s1/crux.sock";
    write(&world, door, "before", 2000).done();
    let store = world.path("s1/facts.redb");
    std::fs::remove_file(&store).unwrap();
    write(&world, door, "then", 2000).done();
    fulcrum.says("is not the file that it was");
    let before = until("all of it is on disk again", || {
        let status = fulcrum.json("status")?;
        (status["store"]["state"] == "ok" && store.exists()).then_some(status)
    });
    // One more that is acknowledged comes after all that was to be written again.
    write(&world, door, "last", 2000).done();
    fulcrum.kill();
    let fulcrum = Fulcrum::start_logged(&world, "n1", "s1", "again", &[]);
    fulcrum.answers();
    let listed = placed(&world, door);
    let all = ["place/main/before", "place/main/last", "place/main/then"];
    assert_eq!(listed.lines().collect::<Vec<_>>(), all, "{before}");
    fulcrum.stop();
}
