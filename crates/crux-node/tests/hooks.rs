//! Hooks as real processes: what one finds, that a timeout ends its whole tree and nothing of the instance, that the
//! instance's end is its end, and what is known of it after crux was away.
#![allow(missing_docs)]

mod common;

use common::{Rig, lines, runs, shell, until};
use crux_core::facts::value::{Hooks, Manifest};
use crux_core::io::{Effect, HookEnd, Kept, Report, Telling, Word};
use crux_core::services::instance::InstanceId;
use crux_names::{Duration, Wall};
use crux_node::effects::LogStream;
use std::collections::BTreeMap;
use std::time::Instant;

const LONG: Duration = Duration::from_secs(60);
const AT: Wall = Wall(1_769_860_800_123_456);

fn telling(number: u64, word: Word, absent: &[&str]) -> Telling {
    let ids = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
    Telling { number, word, present: ids(&["n1", "n2/b"]), absent: ids(absent), at: AT }
}

/// An instance that runs this, with these hooks in the shell.
fn with_hooks(script: &str, parted: &str, rejoined: &str) -> Manifest {
    let words = |script: &str| {
        let words = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        if script.is_empty() { Vec::new() } else { words }
    };
    let hooks = Hooks { parted: words(parted), rejoined: words(rejoined), timeout_ms: 0 };
    Manifest { hooks: Some(hooks), ..shell(script) }
}

fn tell(rig: &Rig, id: &InstanceId, telling: &Telling, timeout: Duration) {
    let (number, word) = (telling.number, telling.word);
    rig.run(Effect::Tell { id: id.clone(), telling: telling.clone() });
    rig.run(Effect::Hook { id: id.clone(), number, word, timeout });
}

async fn hooked(rig: &mut Rig, wanted: &InstanceId) -> (u64, HookEnd) {
    match rig.report().await {
        Report::Hooked { id, number, end } => {
            assert_eq!(&id, wanted);
            (number, end)
        }
        other => panic!("no end of a hook: {other:?}"),
    }
}

fn environment(text: &str) -> BTreeMap<String, String> {
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.lines()
        .filter_map(pair)
        .filter(|(name, _)| !["_", "PWD", "OLDPWD", "SHLVL"].contains(&name.as_str()))
        .collect()
}

#[tokio::test]
async fn a_hook_finds_what_its_instance_has_and_the_word_and_nothing_of_crux() {
    let mut rig = Rig::new().await;
    // A descriptor that survives an exec, as a careless parent of crux may leave it.
    let secret = rig.dir.path().join("leaked");
    let _leak = rustix::io::dup(std::fs::File::create(secret).unwrap()).unwrap();
    let look = "env > $1-env; ls -l /proc/self/fd > $1-fds; cat /proc/$$/stat > $1-stat; readlink /proc/$$/cwd > $1-cwd
        cat /proc/$$/cgroup > $1-cgroup; umask > $1-umask; id > $1-id; echo whole > $1-done";
    let file = |look: &str, who: &str| look.replace("$1", who);
    let script = format!(
        "{}; printf half; echo > up; while [ ! -e go ]; do sleep 0.01; done; echo ' and half'; exec sleep 1000",
        file(look, "own")
    );
    let hook = format!("cat > stdin; echo \"port $0\"; echo no >&2; {}; printf 'no end of line'", file(look, "hook"));
    let mut manifest = with_hooks(&script, &hook, "");
    manifest.ports = [("http".to_owned(), 0)].into();
    manifest.env = [("LOG".to_owned(), "info".to_owned())].into();
    manifest.hooks.as_mut().unwrap().parted.push("${port.http}".into());
    let (id, pid) = rig.start(&manifest).await;
    let root = rig.root(&id);
    lines(root.join("up"), 1).await;
    tell(&rig, &id, &telling(3, Word::Parted, &["n3", "n4"]), LONG);
    assert_eq!(hooked(&mut rig, &id).await, (3, HookEnd::Well));

    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let (own, mut hooks) = (environment(&read("own-env")), environment(&read("hook-env")));
    let added: Vec<Option<String>> =
        ["CRUX_EVENT", "CRUX_NUMBER", "CRUX_PRESENT", "CRUX_ABSENT"].map(|name| hooks.remove(name)).to_vec();
    assert_eq!(added, ["parted", "3", "n1,n2/b", "n3,n4"].map(|word| Some(word.to_owned())));
    assert_eq!(hooks, own, "the rest is the instance's");
    assert_eq!((own["LOG"].as_str(), own["CRUX_INSTANCE"].as_str()), ("info", "n1:7:1"));
    let told: serde_json::Value = serde_json::from_str(&read("stdin")).expect("one document");
    let expected = serde_json::json!({
        "apiVersion": "crux/v1", "kind": "Told", "number": "3", "event": "parted", "instance": "n1:7:1", "service": "web",
        "horde": "main", "present": ["n1", "n2/b"], "absent": ["n3", "n4"], "at": "2026-01-31T12:00:00.123456Z",
    });
    assert_eq!(told, expected);
    assert!(read("stdin").ends_with("}\n"), "a line, for `read`");

    for same in ["cwd", "cgroup", "umask", "id"] {
        assert_eq!(read(&format!("hook-{same}")), read(&format!("own-{same}")), "{same}");
    }
    let fds = read("hook-fds");
    // What `ls` looks at itself is not counted, and its output goes to the file.
    let open: Vec<&str> = fds.lines().filter(|line| line.contains("->") && !line.contains("-> /proc/")).collect();
    assert!(open.len() == 3 && open[0].ends_with("told.json") && open[1].ends_with("hook-fds"), "{fds}");
    assert!(open[2].contains("pipe:"), "{fds}");
    let stat = |name: &str| -> Vec<String> { read(name).split_whitespace().map(str::to_owned).collect() };
    let (own, hook) = (stat("own-stat"), stat("hook-stat"));
    assert_eq!(own[5], hook[5], "the same session");
    assert_eq!(hook[4], hook[0], "and a process group of its own");

    // Its output is in the instance's log, whole lines of each.
    std::fs::write(root.join("go"), "").unwrap();
    let logs = rig.effects.as_ref().unwrap().logs(&id).unwrap();
    let said = until("the log has all", || {
        let (lines, _) = logs.tail(10).unwrap();
        lines.iter().any(|line| line.text.starts_with("half")).then_some(lines)
    })
    .await;
    let said: Vec<(bool, &str)> = said.iter().map(|line| (line.stream == LogStream::Err, line.text.as_str())).collect();
    let port = format!("port {}", environment(&read("own-env"))["CRUX_PORT_HTTP"]);
    for line in [(false, port.as_str()), (true, "no"), (false, "no end of line"), (false, "half and half")] {
        assert!(said.contains(&line), "{line:?} in {said:?}");
    }
    assert!(runs(pid));
}

#[tokio::test]
async fn a_hook_that_takes_too_long_is_killed_with_its_tree_and_nothing_of_the_instance_is() {
    let mut rig = Rig::new().await;
    let forks = "(setsid setsid sh -c 'echo $$ >> PIDS; exec sleep 1000' &)
        (setsid env -i /bin/sh -c 'echo $$ >> PIDS; exec /bin/sleep 1000' &)
        (setsid sh -c 'trap \"\" TERM; echo $$ >> PIDS; while :; do sleep 1; done' &)
        echo $$ >> PIDS";
    let own = format!("{}; exec sleep 1000", forks.replace("PIDS", "own"));
    let hook = format!("trap '' TERM; {}; while :; do sleep 1; done", forks.replace("PIDS", "hook"));
    let (id, pid) = rig.start(&with_hooks(&own, &hook, &hook)).await;
    let pids = |name: &'static str, root: std::path::PathBuf| async move {
        let pids = lines(root.join(name), 4).await;
        pids.iter().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>()
    };
    let owns = pids("own", rig.root(&id)).await;
    let asked = Instant::now();
    tell(&rig, &id, &telling(1, Word::Parted, &["n3"]), Duration::from_secs(4));
    let hooks = pids("hook", rig.root(&id)).await;
    assert_eq!(hooked(&mut rig, &id).await, (1, HookEnd::TimedOut));
    assert!(asked.elapsed() >= Duration::from_secs(4));
    assert!(hooks.iter().all(|pid| !runs(*pid)), "nothing of the hook is left: {hooks:?}");
    assert!(runs(pid) && owns.iter().all(|pid| runs(*pid)), "all of the instance is there: {owns:?}");
    // The next one runs.
    tell(&rig, &id, &telling(2, Word::Rejoined, &[]), Duration::from_millis(100));
    assert_eq!(hooked(&mut rig, &id).await, (2, HookEnd::TimedOut));
    assert!(runs(pid));
}

#[tokio::test]
async fn what_a_hook_does_wrong_is_said_and_does_no_harm() {
    let mut rig = Rig::new().await;
    let failed = |why: &str| HookEnd::Failed { why: why.into() };
    let mut number = 0;
    for (script, expected) in [
        ("exit 3", failed("exit code 3")),
        ("kill -9 $$", failed("ended by signal 9")),
        // What a good one leaves behind goes with it.
        ("(setsid sh -c 'echo $$ > left; exec sleep 1000' &); while [ ! -s left ]; do sleep 0.01; done", HookEnd::Well),
        // It may as well kill who holds it: it does not stay.
        ("echo $$ > left; kill -9 $PPID; exec sleep 1000", failed("its runner was killed")),
    ] {
        number += 1;
        let (id, pid) = rig.start(&with_hooks("exec sleep 1000", script, "")).await;
        tell(&rig, &id, &telling(number, Word::Parted, &["n3"]), LONG);
        assert_eq!(hooked(&mut rig, &id).await, (number, expected), "{script}");
        if script.contains("left") {
            let left: u32 = lines(rig.root(&id).join("left"), 1).await[0].parse().unwrap();
            assert!(!runs(left), "{script}");
        }
        assert!(runs(pid), "{script}");
    }
    let command = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    for (parted, word, why) in [
        (command(&["bin/nowhere"]), Word::Parted, "cannot run `bin/nowhere`: no such file in"),
        (command(&["no-such-program-anywhere"]), Word::Parted, "in no directory of PATH"),
        (command(&["/dev/null"]), Word::Parted, "not executable"),
        (command(&["true"]), Word::Rejoined, "the instance has no such hook"),
    ] {
        let hooks = Hooks { parted, ..Hooks::default() };
        let (id, pid) = rig.start(&Manifest { hooks: Some(hooks), ..shell("exec sleep 1000") }).await;
        tell(&rig, &id, &telling(1, word, &["n3"]), LONG);
        match hooked(&mut rig, &id).await {
            (1, HookEnd::Failed { why: said }) => assert!(said.contains(why), "{said}"),
            other => panic!("{other:?}"),
        }
        assert!(runs(pid));
    }
}

#[tokio::test]
async fn an_instance_that_is_stopped_or_ends_takes_its_hook_along() {
    let mut rig = Rig::new().await;
    let hook = "trap '' TERM; echo $$ > hook; while :; do sleep 1; done";
    for stopped in [true, false] {
        let (id, pid) = rig.start(&with_hooks("while [ ! -e go ]; do sleep 0.01; done; exit 4", hook, "")).await;
        tell(&rig, &id, &telling(1, Word::Parted, &["n3"]), LONG);
        let hook: u32 = lines(rig.root(&id).join("hook"), 1).await[0].parse().unwrap();
        let asked = Instant::now();
        if stopped {
            rig.stop(&id, LONG);
            assert_eq!(rig.exited(&id).await, (None, Some(15)));
        } else {
            std::fs::write(rig.root(&id).join("go"), "").unwrap();
            assert_eq!(rig.exited(&id).await, (Some(4), None));
        }
        assert!(asked.elapsed() < Duration::from_secs(5), "V2: within 5 s");
        assert!(!runs(hook) && !runs(pid));
    }
}

#[tokio::test]
async fn a_hook_outlives_crux_runs_once_and_is_known_afterwards() {
    let mut rig = Rig::new().await;
    let hook = "echo run >> runs; while [ ! -e go ]; do sleep 0.01; done";
    let (id, _) = rig.start(&with_hooks("exec sleep 1000", hook, "")).await;
    let told = telling(5, Word::Parted, &["n3"]);
    tell(&rig, &id, &told, LONG);
    lines(rig.root(&id).join("runs"), 1).await;
    rig.restart().await;
    let kept = |hook| vec![Kept { id: id.clone(), telling: told.clone(), hook }];
    assert_eq!(rig.adoption.told, kept(Some((5, Word::Parted, None))));
    // Asked for again, as after an answer that was lost.
    rig.run(Effect::Hook { id: id.clone(), number: 5, word: Word::Parted, timeout: LONG });
    std::fs::write(rig.root(&id).join("go"), "").unwrap();
    assert_eq!(hooked(&mut rig, &id).await, (5, HookEnd::Well));
    rig.run(Effect::Hook { id: id.clone(), number: 5, word: Word::Parted, timeout: LONG });
    assert_eq!(hooked(&mut rig, &id).await, (5, HookEnd::Well));
    assert_eq!(lines(rig.root(&id).join("runs"), 1).await.len(), 1, "once");

    // One that ends while nobody looks.
    std::fs::remove_file(rig.root(&id).join("go")).unwrap();
    let told = telling(6, Word::Parted, &["n3", "n4"]);
    tell(&rig, &id, &told, LONG);
    lines(rig.root(&id).join("runs"), 2).await;
    rig.effects = None;
    std::fs::write(rig.root(&id).join("go"), "").unwrap();
    let record = rig.home(&id).join("hook.json");
    until("its end is written down", || std::fs::read_to_string(&record).ok().filter(|text| text.contains("well")))
        .await;
    rig.restart().await;
    assert_eq!(
        rig.adoption.told,
        [Kept { id: id.clone(), telling: told, hook: Some((6, Word::Parted, Some(HookEnd::Well))) }]
    );
    // It is said once more: nobody can know whether the last life heard it.
    assert_eq!(hooked(&mut rig, &id).await, (6, HookEnd::Well));
}

#[tokio::test]
async fn whoever_follows_hears_each_word_and_the_next_run_was_told_nothing() {
    let mut rig = Rig::new().await;
    let mut spec = rig.spec(&shell("while [ ! -e go ]; do sleep 0.01; done; rm go"));
    let id = spec.instance.id.clone();
    rig.run(Effect::Start(spec.clone()));
    assert!(matches!(rig.report().await, Report::Started { .. }));
    let words = |rig: &Rig| rig.effects.as_ref().unwrap().words(&id);
    let mut follows = words(&rig).unwrap();
    let numbers = |told: &std::collections::VecDeque<Telling>| told.iter().map(|word| word.number).collect::<Vec<_>>();
    for number in 1..=100 {
        rig.run(Effect::Tell { id: id.clone(), telling: telling(number, Word::Parted, &["n3"]) });
    }
    let last = follows.wait_for(|told| told.back().is_some_and(|last| last.number == 100)).await.unwrap();
    assert_eq!(numbers(&last), (37..=100).collect::<Vec<_>>(), "the last ones, bounded");
    drop(last);
    rig.restart().await;
    assert_eq!(numbers(&words(&rig).unwrap().borrow()), [100], "the last one, after crux was away");
    let mut follows = words(&rig).unwrap();
    std::fs::write(rig.root(&id).join("go"), "").unwrap();
    assert_eq!(rig.exited(&id).await, (Some(0), None));
    assert!(words(&rig).is_none(), "it has ended");
    rig.run(Effect::Tell { id: id.clone(), telling: telling(101, Word::Parted, &["n3"]) });
    spec.instance.restarts += 1;
    rig.run(Effect::Start(spec));
    assert!(matches!(rig.report().await, Report::Started { .. }));
    assert!(follows.changed().await.is_err(), "whoever followed the last run notices");
    assert!(words(&rig).unwrap().borrow().is_empty() && !rig.home(&id).join("told.json").exists());
}
