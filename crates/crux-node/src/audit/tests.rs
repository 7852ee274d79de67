//! The log on real directories: what it keeps, what it forgets, and what it does when it can keep nothing.

use super::*;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

/// A small file system of its own, unmounted at the end.
struct Small(tempfile::TempDir);

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

fn entry(by: &str, outcome: AuditOutcome) -> AuditEntry {
    AuditEntry {
        cursor: Counter(0),
        at: "2026-11-27T00:00:00Z".into(),
        door: "n1".into(),
        by: by.into(),
        uid: None,
        from: None,
        author: None,
        claimed: false,
        verb: "apply".into(),
        targets: vec!["place/web/api".into()],
        facts: vec!["ab".repeat(32)],
        more: 0,
        outcome,
        code: None,
        reason: None,
        unlisted: 0,
    }
}

fn cursors(audit: &Audit, after: u64) -> Vec<u64> {
    audit.after(after, usize::MAX - 1).entries.iter().map(|entry| entry.cursor.0).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn it_is_for_its_owner_goes_on_counting_and_forgets_what_a_crash_cut() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("state/audit");
    let audit = Audit::open(&dir);
    for _ in 0..3 {
        audit.record(entry("operator/ann", AuditOutcome::Done));
    }
    audit.flushed().await;
    let file = dir.join("00000000000000000001.jsonl");
    assert_eq!((mode(&dir), mode(&file)), (0o700, 0o600));
    let lines = fs::read_to_string(&file).unwrap();
    assert_eq!(
        lines.lines().map(|line| serde_json::from_str::<AuditEntry>(line).unwrap().cursor.0).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    drop(audit);
    // The power went while the fourth was written.
    OpenOptions::new().append(true).open(&file).unwrap().write_all(b"{\"cursor\":\"4\",\"at\":\"20").unwrap();
    let audit = Audit::open(&dir);
    audit.record(entry("operator/bob", AuditOutcome::Failed));
    audit.flushed().await;
    assert_eq!((cursors(&audit, 0), cursors(&audit, 3)), (vec![1, 2, 3, 4], vec![4]));
    assert_eq!(audit.after(3, 10).entries[0].by, "operator/bob");
    assert_eq!(files(&dir).unwrap().len(), 1, "it goes on with the same file");
    assert_eq!(audit.trouble(), (0, None));
    assert_eq!(*audit.follow().borrow(), 4);
}

#[tokio::test]
async fn it_is_bounded_and_the_oldest_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let most = 4 * serde_json::to_vec(&entry("operator/ann", AuditOutcome::Done)).unwrap().len() as u64;
    let audit = Audit::with(dir.path(), most);
    let all = 2000;
    for _ in 0..all {
        audit.record(entry("operator/ann", AuditOutcome::Done));
    }
    audit.flushed().await;
    let known = files(dir.path()).unwrap();
    assert_eq!(known.len(), FILES);
    for path in known.values() {
        assert!(fs::metadata(path).unwrap().len() <= most, "{}", path.display());
    }
    let on_disk: Vec<u64> =
        known.values().flat_map(|path| entries(path, 0, usize::MAX).unwrap()).map(|entry| entry.cursor.0).collect();
    assert!(on_disk.len() >= 2 * FILES && on_disk.last() == Some(&all), "{on_disk:?}");
    assert!(on_disk.windows(2).all(|pair| pair[0] + 1 == pair[1]), "none is missing between: {on_disk:?}");
    // Who follows has more than that in memory.
    assert_eq!(cursors(&audit, 0).len(), KEPT);
    assert_eq!(cursors(&audit, all - 2), [all - 1, all]);
    drop(audit);
    assert_eq!(cursors(&Audit::with(dir.path(), most), 0), on_disk);
}

#[tokio::test]
async fn a_directory_that_takes_nothing_stops_nobody_and_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    fs::write(&path, "in the way").unwrap();
    let audit = Audit::open(&path);
    for _ in 0..5 {
        audit.record(entry("operator/ann", AuditOutcome::Done));
    }
    audit.flushed().await;
    let first = cursors(&audit, 0)[0];
    assert!(first > floor(SystemTime::now() - MINUTE) && first < 1 << 53, "{first}");
    assert_eq!(cursors(&audit, 0), (first..first + 5).collect::<Vec<_>>(), "they are in memory");
    let (lost, why) = audit.trouble();
    assert!(lost == 5 && why.is_some(), "{lost} {why:?}");
    // When it goes again it is written again.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    audit.record(entry("operator/ann", AuditOutcome::Done));
    audit.flushed().await;
    assert_eq!(audit.trouble(), (5, None));
    assert_eq!(files(&path).unwrap().keys().copied().collect::<Vec<_>>(), [first + 5]);
}

/// Found by a reviewer: where the directory could not be read at the start, cursors began at 1 beside files with higher ones;
/// the next file that was begun took the newest of what was there, and who followed saw nothing.
#[tokio::test]
async fn a_life_that_cannot_read_the_earlier_ones_goes_on_beyond_them() {
    let dir = tempfile::tempdir().unwrap();
    let (path, away) = (dir.path().join("audit"), dir.path().join("away"));
    let most = 4 * serde_json::to_vec(&entry("operator/ann", AuditOutcome::Done)).unwrap().len() as u64;
    let audit = Audit::with(&path, most);
    for _ in 0..6 * FILES {
        audit.record(entry("operator/ann", AuditOutcome::Done));
    }
    audit.flushed().await;
    drop(audit);
    let before = files(&path).unwrap();
    assert_eq!(before.len(), FILES);
    let newest = *before.last_key_value().unwrap().0;
    fs::rename(&path, &away).unwrap();
    fs::write(&path, "in the way").unwrap();
    let audit = Audit::with(&path, most);
    fs::remove_file(&path).unwrap();
    fs::rename(&away, &path).unwrap();
    let last = cursors(&audit, 0).last().copied().unwrap();
    audit.record(entry("operator/bob", AuditOutcome::Done));
    audit.flushed().await;
    let after = audit.after(audit.resume(Some(last)), 10).entries;
    assert_eq!(after.iter().map(|entry| entry.by.as_str()).collect::<Vec<_>>(), ["operator/bob"]);
    let known = files(&path).unwrap();
    assert!(known.contains_key(&newest), "the newest of before is there: {known:?}");
    assert!(!known.contains_key(before.first_key_value().unwrap().0), "the oldest went: {known:?}");
    let newest = after[0].cursor.0;
    drop(audit);
    let audit = Audit::with(&path, most);
    audit.record(entry("operator/ann", AuditOutcome::Done));
    assert_eq!(cursors(&audit, newest), [newest + 1], "the next life counts on");
    assert_eq!(audit.resume(Some(newest + 2)), 0, "that was never given out");
}

#[tokio::test]
async fn an_answer_is_a_page_and_pages_have_everything_once() {
    let dir = tempfile::tempdir().unwrap();
    let most = 300 * serde_json::to_vec(&entry("operator/ann", AuditOutcome::Done)).unwrap().len() as u64;
    let audit = Audit::with(dir.path(), most);
    for n in 1..=2 * PAGE as u64 + 7 {
        audit.record(entry("operator/ann", AuditOutcome::Done));
        // The queue to the disk has its bound.
        if n % 500 == 0 {
            audit.flushed().await;
        }
    }
    audit.flushed().await;
    let (mut all, mut cursor, mut sizes) = (Vec::new(), 0, Vec::new());
    loop {
        let page = audit.page(cursor).await.unwrap();
        sizes.push(page.entries.len());
        all.extend(page.entries.iter().map(|entry| entry.cursor.0));
        cursor = all.last().copied().unwrap();
        if !page.more {
            break;
        }
    }
    assert_eq!(sizes, [PAGE, PAGE, 7]);
    assert_eq!(all, (1..=2 * PAGE as u64 + 7).collect::<Vec<_>>());
    assert!(audit.page(cursor).await.unwrap().entries.is_empty());
}

#[tokio::test]
async fn a_full_disk_loses_whole_entries_only_and_goes_on_when_there_is_room() {
    let disk = Small(tempfile::tempdir().unwrap());
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "crux-test"]).arg(disk.0.path()).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: this test mounts a tmpfs, which needs root");
        return;
    }
    let disk = disk.0.path();
    let dir = disk.join("audit");
    let audit = Audit::open(&dir);
    audit.record(entry("operator/ann", AuditOutcome::Done));
    audit.flushed().await;
    let filler = disk.join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write(&[1; 4096]).is_ok() {}
    for _ in 0..100 {
        audit.record(entry("operator/ann", AuditOutcome::Done));
    }
    audit.flushed().await;
    let (lost, why) = audit.trouble();
    assert!(lost > 0 && why.is_some(), "{lost} {why:?}");
    drop(file);
    fs::remove_file(&filler).unwrap();
    audit.record(entry("operator/bob", AuditOutcome::Done));
    audit.flushed().await;
    assert_eq!(audit.trouble(), (lost, None));
    let text: String = files(&dir).unwrap().values().map(|path| fs::read_to_string(path).unwrap()).collect();
    let read: Vec<AuditEntry> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read.len() as u64, 102 - lost, "every line is whole");
    assert_eq!(read.last().unwrap().by, "operator/bob");
}

#[tokio::test]
async fn who_only_makes_noise_does_not_push_out_what_others_did() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(dir.path());
    audit.record(entry("operator/ann", AuditOutcome::Done));
    for n in 0..100 * KEPT {
        let nothing = if n % 2 == 0 { AuditOutcome::Refused } else { AuditOutcome::Failed };
        audit.record(entry("node/n9", nothing));
    }
    audit.record(entry("node/n8", AuditOutcome::Refused));
    let all = audit.after(0, usize::MAX - 1).entries;
    let of = |by: &str| all.iter().filter(|entry| entry.by == by).count();
    assert_eq!((of("operator/ann"), of("node/n9"), of("node/n8")), (1, REFUSALS as usize, 1));
    // The next one that is listed says how many were not.
    let mut shared = lock(&audit.shared);
    let noise = shared.noise.get_mut("node/n9").unwrap();
    noise.since -= MINUTE;
    drop(shared);
    audit.record(entry("node/n9", AuditOutcome::Refused));
    assert_eq!(
        audit.after(0, usize::MAX - 1).entries.last().unwrap().unlisted as usize,
        100 * KEPT - REFUSALS as usize
    );
}
