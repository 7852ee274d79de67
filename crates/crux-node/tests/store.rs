//! The store: promises S1, S7 and S8 as far as one process can show them.
#![allow(missing_docs)]

use bytes::Bytes;
use crux_core::io::BookEntry;
use crux_names::{BlocName, Boot, Duration, FulcrumId, Hash256, Wall};
use crux_node::store::{Store, StoreError, StoreStatus};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;

fn bloc() -> BlocName {
    "acme.example".parse().unwrap()
}

fn me() -> FulcrumId {
    "n1".parse().unwrap()
}

fn open(dir: &Path) -> (Store, Vec<String>) {
    let (store, opened) = Store::open(dir, &bloc(), &me()).unwrap();
    (store, opened.warnings)
}

fn fact(n: u8, size: usize) -> (Hash256, Bytes) {
    (Hash256([n; 32]), vec![n; size].into())
}

fn persist(store: &Store, versions: Vec<(Hash256, Bytes)>, drop: Vec<Hash256>) -> Result<(), String> {
    let (done, result) = mpsc::channel();
    store.persist(5, versions, drop, move |token, result| done.send((token, result)).unwrap());
    let (token, result) = result.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(token, 5);
    result
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("deep/state");
    let (store, warnings) = open(&state);
    assert_eq!(warnings, [""; 0]);
    persist(&store, vec![fact(1, 10), fact(2, 20), fact(3, 100_000)], vec![]).unwrap();
    persist(&store, vec![fact(4, 1)], vec![fact(2, 0).0]).unwrap();
    let book = vec![BookEntry { fulcrum: "n2/b".parse().unwrap(), addr: "[::1]:2789".parse().unwrap(), seen: Wall(9) }];
    store.save_book(book.clone());
    assert_eq!(store.next_boot(100, Boot(0)), Boot(100));
    drop(store);
    let (store, warnings) = open(&state);
    assert_eq!(warnings, [""; 0]);
    assert_eq!(store.load().unwrap(), [fact(1, 10).1, fact(3, 100_000).1, fact(4, 1).1]);
    assert_eq!(store.load_book().unwrap(), book);
    assert_eq!(store.next_boot(50, Boot(0)), Boot(101), "the clock went back");
    assert_eq!(store.next_boot(50, Boot(7000)), Boot(7000), "others remember a later life");
    assert_eq!(store.next_boot(50, Boot(0)), Boot(7001));
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(state.clone()), mode(state.join("facts.redb"))), (0o700, 0o600));
}

#[test]
fn what_waits_shares_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let (done, results) = mpsc::channel();
    let (hold, held) = mpsc::channel::<()>();
    // The first answer keeps the thread busy until the rest has queued up.
    store.persist(0, vec![fact(0, 10)], vec![], move |_, _| held.recv().unwrap());
    for n in 1..=200 {
        let done = done.clone();
        store.persist(n, vec![fact(n as u8, 10)], vec![], move |token, result| done.send((token, result)).unwrap());
    }
    let before = store.commits();
    hold.send(()).unwrap();
    for n in 1..=200 {
        assert_eq!(results.recv_timeout(Duration::from_secs(60)).unwrap(), (n, Ok(())));
    }
    assert!(store.commits() - before <= 2, "{}", store.commits() - before);
    // Puts and drops of one commit keep their order.
    let (hold, held) = mpsc::channel::<()>();
    store.persist(0, vec![], vec![], move |_, _| held.recv().unwrap());
    store.persist(1, vec![], vec![fact(9, 0).0], |_, _| {});
    store.persist(2, vec![fact(9, 77)], vec![], |_, _| {});
    hold.send(()).unwrap();
    assert!(store.load().unwrap().contains(&fact(9, 77).1));
}

#[test]
fn two_processes_cannot_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    match Store::open(dir.path(), &bloc(), &me()) {
        Err(error @ StoreError::InUse { .. }) => {
            assert!(error.to_string().contains(&format!("process {}:", std::process::id())), "{error}");
        }
        other => panic!("{other:?}"),
    }
    drop(store);
    open(dir.path());
}

/// A closed store's file with one fact in it, changed by `harm`, opened again.
fn harmed(harm: impl FnOnce(&Path)) -> (tempfile::TempDir, Store, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    persist(&store, (0..100).map(|n| fact(n, 5000)).collect(), vec![]).unwrap();
    drop(store);
    harm(&dir.path().join("facts.redb"));
    let (store, warnings) = open(dir.path());
    // Whatever it was, the store works.
    persist(&store, vec![fact(200, 10)], vec![]).unwrap();
    assert!(store.load().unwrap().contains(&fact(200, 10).1));
    (dir, store, warnings)
}

type Harm = fn(&Path);

/// How often a store said that it began anew.
fn told(store: &Store) -> mpsc::Receiver<()> {
    let (tell, told) = mpsc::channel();
    store.on_anew(move || tell.send(()).unwrap());
    told
}

/// The design's fault "directory removed or replaced", as far as the file goes. Nothing that is acknowledged goes to a file
/// that nobody finds again, and whoever counts what is durable is told that the rest is not.
#[test]
fn a_file_that_goes_while_it_is_used_is_begun_anew_and_whoever_counts_on_it_is_told() {
    let harms: [(&str, Harm, &str); 4] = [
        ("removed", |path| std::fs::remove_file(path).unwrap(), ""),
        ("renamed", |path| std::fs::rename(path, path.with_extension("gone")).unwrap(), ""),
        (
            "replaced by nothing",
            |path| {
                std::fs::remove_file(path).unwrap();
                std::fs::File::create(path).unwrap();
            },
            "damaged",
        ),
        (
            "replaced by another's",
            |path| {
                std::fs::remove_file(path).unwrap();
                let other = tempfile::tempdir().unwrap();
                drop(Store::open(other.path(), &bloc(), &"n9".parse().unwrap()).unwrap());
                std::fs::copy(other.path().join("facts.redb"), path).unwrap();
            },
            "foreign",
        ),
    ];
    for (what, harm, word) in harms {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = open(dir.path());
        let anew = told(&store);
        persist(&store, vec![fact(1, 10)], vec![]).unwrap();
        assert_eq!(store.next_boot(7000, Boot(0)), Boot(7000));
        assert!(anew.try_recv().is_err(), "{what}");
        harm(&dir.path().join("facts.redb"));
        persist(&store, vec![fact(2, 10)], vec![]).unwrap();
        anew.try_recv().unwrap();
        assert_eq!(store.status(), StoreStatus::Ok);
        persist(&store, vec![fact(3, 10)], vec![]).unwrap();
        assert!(anew.try_recv().is_err(), "{what}: once");
        drop(store);
        assert_eq!(aside(dir.path(), word), usize::from(!word.is_empty()), "{what}");
        let (store, warnings) = open(dir.path());
        assert_eq!(warnings, [""; 0], "{what}");
        assert_eq!(store.load().unwrap(), [fact(2, 10).1, fact(3, 10).1], "{what}");
        assert_eq!(store.next_boot(50, Boot(0)), Boot(7001), "{what}: the number of this life is there");
    }
}

#[test]
fn a_file_that_goes_is_missed_without_a_write_and_a_directory_that_goes_refuses_them() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let (store, _) = open(&state);
    let anew = told(&store);
    persist(&store, vec![fact(1, 10)], vec![]).unwrap();
    std::fs::remove_file(state.join("facts.redb")).unwrap();
    anew.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(state.join("facts.redb").exists());
    std::fs::remove_dir_all(&state).unwrap();
    let why = persist(&store, vec![fact(2, 10)], vec![]).unwrap_err();
    assert!(why.contains("No such file"), "{why}");
    assert!(matches!(store.status(), StoreStatus::Refusing { .. }));
    std::fs::create_dir(&state).unwrap();
    // No write is needed for that either.
    anew.recv_timeout(Duration::from_secs(60)).unwrap();
    persist(&store, vec![fact(3, 10)], vec![]).unwrap();
    assert_eq!(store.load().unwrap(), [fact(3, 10).1]);
}

/// Another file system lies over the directory, and is taken away again: each time it is another file.
#[test]
fn a_directory_that_something_is_mounted_over_is_another_file_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let anew = told(&store);
    persist(&store, vec![fact(1, 10)], vec![]).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "crux-test"]).arg(dir.path()).output();
    if !mount.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: this test mounts a tmpfs, which needs root");
        return;
    }
    persist(&store, vec![fact(2, 10)], vec![]).unwrap();
    anew.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(store.load().unwrap(), [fact(2, 10).1]);
    assert!(Command::new("umount").arg("-l").arg(dir.path()).status().unwrap().success());
    persist(&store, vec![fact(3, 10)], vec![]).unwrap();
    anew.recv_timeout(Duration::from_secs(60)).unwrap();
    let found = store.load().unwrap();
    assert!(found.contains(&fact(1, 10).1) && found.contains(&fact(3, 10).1), "{found:?}");
}

fn aside(dir: &Path, word: &str) -> usize {
    if word.is_empty() {
        return 0;
    }
    let start = format!("facts.redb.{word}-");
    std::fs::read_dir(dir)
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with(&start))
        .count()
}

#[test]
fn a_damaged_file_is_set_aside_and_stops_no_start() {
    let harms: [(&str, Harm); 6] = [
        ("empty", |path| drop(std::fs::File::create(path).unwrap())),
        ("noise", |path| std::fs::write(path, [0xa5; 40_000]).unwrap()),
        ("cut to a page", |path| std::fs::File::options().write(true).open(path).unwrap().set_len(4096).unwrap()),
        ("cut in half", |path| {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        }),
        ("header overwritten", |path| {
            std::fs::File::options().write(true).open(path).unwrap().write_all(&[0; 512]).unwrap();
        }),
        ("a bit of every page", |path| {
            let mut bytes = Vec::new();
            std::fs::File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
            bytes.iter_mut().skip(5000).step_by(1000).for_each(|byte| *byte ^= 1);
            std::fs::write(path, bytes).unwrap();
        }),
    ];
    for (what, harm) in harms {
        let (dir, store, warnings) = harmed(harm);
        assert_eq!(warnings.len(), 1, "{what}: {warnings:?}");
        assert!(warnings[0].contains("set aside as"), "{what}: {warnings:?}");
        assert_eq!(aside(dir.path(), "damaged"), 1, "{what}");
        assert_eq!(store.load().unwrap().len(), 1, "{what}");
        assert_eq!(store.status(), StoreStatus::Ok);
    }
    // A missing one is only empty.
    let (_dir, store, warnings) = harmed(|path| std::fs::remove_file(path).unwrap());
    assert_eq!((warnings.len(), store.load().unwrap().len()), (0, 1));
}

#[test]
fn a_foreign_file_is_set_aside() {
    for (bloc, fulcrum) in [("other.example", "n1"), ("acme.example", "n2"), ("acme.example", "n1/b")] {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path(), &bloc.parse().unwrap(), &fulcrum.parse().unwrap()).unwrap();
        persist(&store, vec![fact(1, 10)], vec![]).unwrap();
        drop(store);
        let (store, warnings) = open(dir.path());
        assert!(warnings[0].contains(if bloc == "other.example" { bloc } else { fulcrum }), "{warnings:?}");
        assert!(store.load().unwrap().is_empty());
        assert_eq!(aside(dir.path(), "foreign"), 1);
    }
}

/// A small file system of its own, unmounted at the end.
struct Small(tempfile::TempDir);

impl Small {
    fn new(bytes: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={bytes}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "crux-test"]).arg(dir.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(dir))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

#[test]
fn a_full_disk_refuses_writes_loses_nothing_and_recovers() {
    let Some(small) = Small::new("8m") else {
        println!("SKIPPED: this test mounts a tmpfs, which needs root");
        return;
    };
    let dir = small.0.path().join("state");
    let (store, warnings) = open(&dir);
    assert_eq!(warnings, [""; 0]);
    persist(&store, vec![fact(1, 1000)], vec![]).unwrap();
    let filler = small.0.path().join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while file.write(&[1; 4096]).is_ok() {}
    drop(file);
    // The database has some room of its own; then the disk's answer counts.
    let mut kept = vec![1];
    let reason = (2..=255)
        .find_map(|n| match persist(&store, vec![fact(n, 100_000)], vec![]) {
            Ok(()) => {
                kept.push(n);
                None
            }
            Err(reason) => Some(reason),
        })
        .expect("the disk is full");
    assert!(reason.contains("No space"), "{reason}");
    assert_eq!(store.status(), StoreStatus::Refusing { reason: reason.clone() });
    let found = |store: &Store| store.load().unwrap().iter().map(|fact| fact[0]).collect::<Vec<_>>();
    assert_eq!(found(&store), kept, "reads go on");
    assert!(persist(&store, vec![fact(255, 100_000)], vec![]).is_err());
    drop(store);
    // Also a start on the full disk has what was acknowledged.
    let (store, _) = open(&dir);
    assert_eq!(found(&store), kept);
    std::fs::remove_file(&filler).unwrap();
    persist(&store, vec![fact(254, 100_000)], vec![]).unwrap();
    assert_eq!(store.status(), StoreStatus::Ok);
    kept.push(254);
    assert_eq!(found(&store), kept);
    drop(store);
    let (store, warnings) = open(&dir);
    assert_eq!((found(&store), warnings.len()), (kept, 0));
}

/// A file system of its own in a file, so that it can be what a failing disk's becomes.
struct Image(tempfile::TempDir);

impl Image {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        std::fs::create_dir(dir.path().join("on")).unwrap();
        let made = Command::new("mkfs.ext4").arg("-q").arg(&image).output().is_ok_and(|output| output.status.success());
        let this = Self(dir);
        (made && this.mount()).then_some(this)
    }

    fn mount(&self) -> bool {
        let options = "loop,errors=remount-ro";
        let mut command = Command::new("mount");
        command.args(["-o", options]).arg(self.0.path().join("image")).arg(self.0.path().join("on"));
        command.output().is_ok_and(|output| output.status.success())
    }

    fn unmount(&self) -> bool {
        Command::new("umount").arg(self.0.path().join("on")).output().is_ok_and(|output| output.status.success())
    }

    /// What the kernel does when it finds an error in the file system: takes no more writes, whoever has a file open.
    fn fails(&self) -> bool {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        let on = self.0.path().join("on");
        let device = mounts.lines().find(|line| line.split(' ').nth(1) == on.to_str());
        let Some(device) = device.and_then(|line| line.split(' ').next()?.strip_prefix("/dev/")) else { return false };
        std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "1").is_ok()
            && std::fs::write(on.join("probe"), "x").is_err()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        self.unmount();
    }
}

/// Promise S7: the file system was made read-only under the running store.
#[test]
fn a_disk_that_becomes_read_only_refuses_writes_goes_on_reading_and_keeps_what_was_acknowledged() {
    let Some(image) = Image::new() else {
        println!("SKIPPED: this test mounts an ext4 image, which needs root, mkfs.ext4 and a loop device");
        return;
    };
    let dir = image.0.path().join("on/state");
    let (store, warnings) = open(&dir);
    assert_eq!(warnings, [""; 0]);
    persist(&store, vec![fact(1, 1000), fact(2, 90_000)], vec![]).unwrap();
    if !image.fails() {
        println!("SKIPPED: this kernel has no way to make a file system fail");
        return;
    }
    let found = |store: &Store| store.load().unwrap().iter().map(|fact| fact[0]).collect::<Vec<_>>();
    for _ in 0..3 {
        let reason = persist(&store, vec![fact(3, 1000)], vec![]).unwrap_err();
        assert!(reason.contains("Read-only file system"), "{reason}");
        assert_eq!(store.status(), StoreStatus::Refusing { reason });
        assert_eq!(found(&store), [1, 2], "reads go on");
    }
    assert!(store.next_boot(70, Boot(0)) >= Boot(70), "a life needs no disk for its number");
    drop(store);
    // A start there is one clear error: no socket could be made either.
    let error = Store::open(&dir, &bloc(), &me()).unwrap_err().to_string();
    assert!(error.contains("state") && error.contains("Read-only file system"), "{error}");
    // The disk is repaired, and everything is there.
    assert!(image.unmount());
    let checked = Command::new("fsck.ext4").args(["-y", "-f"]).arg(image.0.path().join("image")).output().unwrap();
    assert!(checked.status.code().is_some_and(|code| code < 4), "{checked:?}");
    assert!(image.mount());
    let (store, warnings) = open(&dir);
    assert_eq!((found(&store), warnings), (vec![1, 2], vec![]));
    persist(&store, vec![fact(3, 1000)], vec![]).unwrap();
    assert_eq!(found(&store), [1, 2, 3]);
}

/// A file as a fulcrum of format 1 leaves it, kept for as long as programs may meet one.
///
/// When the format changes: raise `FORMAT` in `src/store/disk.rs`, let this file be read or set aside by name and change
/// this test to say which, and add the new format's file beside it, made by
/// `CRUX_REGENERATE=1 cargo nextest run --workspace -E 'test(a_file_of_format_1_is_read)'` before this test is changed.
/// Regenerating the file of a format that was released is wrong: old fulcrums have what it has today.
#[test]
fn a_file_of_format_1_is_read() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/facts-1.redb");
    let facts = [fact(1, 10), fact(2, 3000), fact(200, 1)];
    let book = [
        BookEntry { fulcrum: "n2".parse().unwrap(), addr: "10.0.0.2:2789".parse().unwrap(), seen: Wall(17) },
        BookEntry { fulcrum: "n3/b".parse().unwrap(), addr: "[2001:db8::1]:9".parse().unwrap(), seen: Wall(0) },
    ];
    if std::env::var_os("CRUX_REGENERATE").is_some() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = open(dir.path());
        persist(&store, facts.to_vec(), vec![]).unwrap();
        store.save_book(book.to_vec());
        assert_eq!(store.next_boot(1000, Boot(0)), Boot(1000));
        drop(store);
        std::fs::create_dir_all(fixture.parent().unwrap()).unwrap();
        std::fs::copy(dir.path().join("facts.redb"), &fixture).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(&fixture, dir.path().join("facts.redb")).unwrap();
    let (store, warnings) = open(dir.path());
    assert_eq!(warnings, [""; 0], "a file of format 1 is not taken as one: read what this test's comment says");
    let facts: Vec<Bytes> = facts.into_iter().map(|(_, sealed)| sealed).collect();
    assert_eq!(store.load().unwrap(), facts, "the facts of format 1");
    assert_eq!(store.load_book().unwrap(), book, "the address book of format 1");
    assert_eq!(store.next_boot(5, Boot(0)), Boot(1001), "the boot number of format 1");
    // It is also one that is written to.
    persist(&store, vec![fact(7, 5000)], vec![fact(2, 0).0]).unwrap();
    drop(store);
    let (store, warnings) = open(dir.path());
    assert_eq!((store.load().unwrap().len(), warnings.len()), (3, 0));
}
