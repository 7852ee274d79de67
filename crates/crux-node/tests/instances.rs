//! Instances as real processes: promises V1, V2, V3 and V6, and what a start says when it cannot be.
#![allow(missing_docs)]

mod common;

use common::{Rig, lines, of_instance, runs, shell, until};
use crux_core::facts::value::{File, Manifest};
use crux_core::io::{Effect, Report};
use crux_core::services::instance::Phase;
use crux_names::Duration;
use crux_node::effects::{Ending, LogStream, kill_all_instances};
use crux_node::store::Store;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

const GRACE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_stop_leaves_nothing_of_a_tree_that_tried_to_escape() {
    let mut rig = Rig::new().await;
    // Orphans in sessions of their own, one without any environment, one that ignores TERM.
    let script = "
        (setsid setsid sh -c 'echo $$ >> pids; exec sleep 1000' &)
        (setsid env -i /bin/sh -c 'echo $$ >> pids; exec /bin/sleep 1000' &)
        (setsid sh -c 'trap \"\" TERM; echo $$ >> pids; while :; do sleep 1; done' &)
        echo $$ >> pids
        exec sleep 1000";
    let (id, pid) = rig.start(&shell(script)).await;
    let pids: Vec<u32> = lines(rig.root(&id).join("pids"), 4).await.iter().map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.contains(&pid));
    assert!(pids.iter().all(|pid| runs(*pid)));
    let asked = Instant::now();
    rig.stop(&id, GRACE);
    assert_eq!(rig.exited(&id).await, (None, Some(15)));
    assert!(asked.elapsed() < Duration::from_secs(5), "V2: within 5 s");
    assert!(pids.iter().all(|pid| !runs(*pid)), "{pids:?}");
    assert_eq!(of_instance(&id, &rig.root(&id)), [0; 0]);
}

#[tokio::test]
async fn an_end_by_itself_takes_the_rest_of_the_tree_along() {
    let mut rig = Rig::new().await;
    let (id, _) = rig.start(&shell("(setsid sh -c 'echo $$ > pid; exec sleep 1000' &); sleep 0.2; exit 3")).await;
    let pid: u32 = lines(rig.root(&id).join("pid"), 1).await[0].parse().unwrap();
    assert_eq!(rig.exited(&id).await, (Some(3), None));
    assert!(!runs(pid));
}

#[tokio::test]
async fn who_ignores_the_signal_is_killed_after_the_grace() {
    let mut rig = Rig::new().await;
    let (id, _) = rig.start(&shell("trap '' TERM; echo up > up; while :; do sleep 1; done")).await;
    lines(rig.root(&id).join("up"), 1).await;
    let asked = Instant::now();
    rig.stop(&id, Duration::from_millis(400));
    assert_eq!(rig.exited(&id).await, (None, Some(9)));
    assert!(asked.elapsed() >= Duration::from_millis(400));
    assert_eq!(of_instance(&id, &rig.root(&id)), [0; 0]);
}

#[tokio::test]
async fn a_storm_of_forks_ends_with_the_instance() {
    let mut rig = Rig::new().await;
    let script = "trap '' TERM; while :; do setsid sh -c 'trap \"\" TERM; sleep 1000' & sleep 0.005; done";
    let (id, _) = rig.start(&shell(script)).await;
    let root = rig.root(&id);
    until("the storm blows", || (of_instance(&id, &root).len() > 20).then_some(())).await;
    rig.stop(&id, Duration::from_millis(100));
    assert_eq!(rig.exited(&id).await, (None, Some(9)));
    assert_eq!(of_instance(&id, &root), [0; 0]);
}

#[tokio::test]
async fn who_obeys_may_finish_its_work() {
    let mut rig = Rig::new().await;
    let (id, _) =
        rig.start(&shell("trap 'echo bye > bye; exit 0' TERM; echo up > up; while :; do sleep 0.05; done")).await;
    lines(rig.root(&id).join("up"), 1).await;
    rig.stop(&id, Duration::from_secs(60));
    assert_eq!(rig.exited(&id).await, (Some(0), None));
    assert_eq!(lines(rig.root(&id).join("bye"), 1).await, ["bye"]);
    // A stop of what has ended says the same again; of what never was, only that it is not there.
    rig.stop(&id, GRACE);
    assert_eq!(rig.exited(&id).await, (Some(0), None));
    let never = rig.spec(&shell("")).instance.id;
    rig.stop(&never, GRACE);
    assert_eq!(rig.exited(&never).await, (None, None));
}

#[tokio::test]
async fn an_order_given_while_it_starts_is_not_lost() {
    let mut rig = Rig::new().await;
    let spec = rig.spec(&shell("exec sleep 1000"));
    let id = spec.instance.id.clone();
    rig.run(Effect::Start(spec));
    rig.stop(&id, GRACE);
    assert!(matches!(rig.report().await, Report::Started { .. }));
    assert_eq!(rig.exited(&id).await, (None, Some(15)));
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let mut rig = Rig::new().await;
    let run = |word: &str| Manifest { run: vec![word.into()], ..Manifest::default() };
    let why = rig.start_fails(&run("no-such-program-anywhere")).await;
    assert!(why.contains("no directory of PATH"), "{why}");
    let why = rig.start_fails(&run("bin/api")).await;
    assert!(why.contains("no such file in"), "{why}");
    let why = rig.start_fails(&run("/dev/null")).await;
    assert!(why.contains("not executable"), "{why}");
    let why = rig.start_fails(&Manifest::default()).await;
    assert!(why.contains("command is empty"), "{why}");
    let why = rig.start_fails(&Manifest { builtin: "teapot".into(), ..Manifest::default() }).await;
    assert!(why.contains("no builtin `teapot`"), "{why}");
    let why = rig.start_fails(&run("x${port.http}")).await;
    assert!(why.contains("no port is named `http`"), "{why}");

    for (content, told) in [
        (&b"#!/no/such/interpreter\n"[..], "interpreter"),
        (&b"just some text\n"[..], "neither a program"),
        (&b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xfe\xfe"[..], "another machine"),
    ] {
        let file = store(&rig, content, "bin/it", true).await;
        let why = rig.start_fails(&Manifest { files: vec![file], ..run("bin/it") }).await;
        // Where the kernel was taught other kinds of programs, it has the say.
        let taught = std::fs::read_dir("/proc/sys/fs/binfmt_misc").is_ok_and(|list| list.count() > 2);
        assert!(why.contains(told) || taught, "{why}");
    }
    let file = store(&rig, b"#!/bin/sh\n", "bin/it", false).await;
    let why = rig.start_fails(&Manifest { files: vec![file.clone()], ..run("bin/it") }).await;
    assert!(why.contains("not executable") || why.contains("in no directory"), "{why}");
    let why = rig.start_fails(&Manifest { files: vec![File { path: "../x".into(), ..file }], ..run("bin/it") }).await;
    assert!(why.contains("`../x`"), "{why}");
    assert_eq!(of_instance(&"n1:7:1".parse().unwrap(), rig.dir.path()), [0; 0]);
}

async fn store(rig: &Rig, content: &[u8], path: &str, executable: bool) -> File {
    let blobs = rig.effects.as_ref().unwrap().blobs();
    let (hash, size) = blobs.add_stream(content, None, 1 << 20).await.unwrap();
    File { path: path.into(), sha256: hash.0.to_vec(), size, executable }
}

#[tokio::test]
async fn it_finds_its_files_ports_and_environment_and_nothing_of_crux() {
    let mut rig = Rig::new().await;
    // A descriptor that survives an exec, as a careless parent of crux may leave it.
    let secret = rig.dir.path().join("leaked");
    let leak = rustix::io::dup(std::fs::File::create(&secret).unwrap()).unwrap();
    let control = std::process::Command::new("sh").args(["-c", "ls -l /proc/$$/fd"]).output().unwrap();
    assert!(String::from_utf8_lossy(&control.stdout).contains("leaked"), "the leak is one");
    let script = b"#!/bin/sh\necho \"$@\" > args\nenv > env\nls -l /proc/$$/fd > fds\n\
        readlink /proc/$$/cwd > cwd\nps=$(cat /proc/$$/stat); echo \"$ps\" > stat\necho done > done\nexec sleep 1000\n";
    let file = store(&rig, script, "bin/api", true).await;
    let manifest = Manifest {
        run: vec!["bin/api".into(), "--port".into(), "${port.http}".into()],
        files: vec![file],
        env: [("ADDR".to_owned(), ":${port.http}".to_owned())].into(),
        ports: [("http".to_owned(), 0)].into(),
        ..Manifest::default()
    };
    let spec = rig.spec(&manifest);
    let id = spec.instance.id.clone();
    rig.run(Effect::Start(spec));
    let Report::Started { pid, ports, at, .. } = rig.report().await else { panic!("not started") };
    drop(leak);
    let root = rig.root(&id);
    lines(root.join("done"), 1).await;
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let port = ports["http"];
    assert!(at.0 > 0 && port >= 20_000);
    assert_eq!(read("args"), format!("--port {port}\n"));
    // Nothing but its three streams and what the shell opened in the instance's own directory.
    let fds = read("fds");
    let targets: Vec<&str> = fds.lines().filter_map(|line| Some(line.split_once(" -> ")?.1)).collect();
    let own = std::fs::canonicalize(&root).unwrap();
    assert!(targets.len() >= 3, "{fds}");
    for target in targets {
        assert!(
            target == "/dev/null" || target.starts_with("pipe:") || target.starts_with(own.to_str().unwrap()),
            "{fds}"
        );
    }
    let env = read("env");
    let names: BTreeSet<&str> = env.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    let allowed = [
        "ADDR",
        "CRUX_DIR",
        "CRUX_HORDE",
        "CRUX_INSTANCE",
        "CRUX_NODE",
        "CRUX_PORT_HTTP",
        "CRUX_SERVICE",
        "CRUX_SOCKET",
        "PATH",
        // Made by shells.
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
    ];
    assert!(names.iter().all(|name| allowed.contains(name)), "{names:?}");
    assert!(env.contains(&format!("ADDR=:{port}\n")) && env.contains(&format!("CRUX_PORT_HTTP={port}\n")));
    assert_eq!(read("cwd").trim_end(), std::fs::canonicalize(&root).unwrap().to_str().unwrap());
    // Neither session nor process group is this process's.
    let stat = read("stat");
    let fields: Vec<u32> =
        stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().skip(1).take(3).map(|f| f.parse().unwrap()).collect();
    let [supervisor, group, session] = fields[..] else { panic!("{stat}") };
    assert_eq!((group, session), (pid, supervisor));
    for fd in std::fs::read_dir(format!("/proc/{supervisor}/fd")).unwrap() {
        assert!(!std::fs::read_link(fd.unwrap().path()).unwrap().ends_with("leaked"));
    }
    let env = std::fs::read(format!("/proc/{supervisor}/environ")).unwrap();
    assert!(env.is_empty(), "{}", String::from_utf8_lossy(&env));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(root.join("bin/api")).unwrap().permissions().mode() & 0o777, 0o555);
    assert_eq!(std::fs::metadata(rig.home(&id)).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn it_outlives_crux_and_is_taken_back_once() {
    let mut rig = Rig::new().await;
    let (id, pid) = rig.start(&shell("echo $$ >> starts; exec sleep 1000")).await;
    lines(rig.root(&id).join("starts"), 1).await;
    for _ in 0..3 {
        rig.restart().await;
        assert_eq!(rig.adoption.warnings, [""; 0]);
        assert_eq!(rig.adoption.ended, []);
        let [instance] = &rig.adoption.instances[..] else { panic!("{:?}", rig.adoption) };
        assert_eq!((&instance.id, instance.pid, instance.phase), (&id, Some(pid), Phase::Running));
        assert_eq!((instance.slot, instance.restarts), (1, 2));
        assert!(instance.started.is_some());
        assert!(runs(pid));
    }
    assert_eq!(lines(rig.root(&id).join("starts"), 1).await.len(), 1);
    rig.stop(&id, GRACE);
    assert_eq!(rig.exited(&id).await, (None, Some(15)));
    assert!(!runs(pid));
    let home = rig.home(&id);
    rig.run(Effect::Clean { id: id.clone() });
    until("the directory is gone", || (!home.exists()).then_some(())).await;
    assert!(rig.effects.as_ref().unwrap().logs(&id).is_some(), "log files stay for a while");
    rig.restart().await;
    assert!(rig.adoption.instances.is_empty() && rig.adoption.ended.is_empty());
}

#[tokio::test]
async fn an_end_that_nobody_saw_is_known_afterwards() {
    let mut rig = Rig::new().await;
    let (id, pid) = rig.start(&shell("while [ ! -e go ]; do sleep 0.01; done; exit 7")).await;
    rig.effects = None;
    std::fs::write(rig.root(&id).join("go"), "").unwrap();
    until("it ends", || (!runs(pid)).then_some(())).await;
    rig.restart().await;
    let seen: Vec<_> = if rig.adoption.instances.is_empty() {
        rig.adoption.ended.iter().map(|(instance, ending)| (instance.id.clone(), ending.clone())).collect()
    } else {
        // It was still writing its end down.
        let (code, signal) = rig.exited(&id).await;
        vec![(id.clone(), Ending::Exited { code, signal })]
    };
    assert_eq!(seen, [(id, Ending::Exited { code: Some(7), signal: None })]);
}

#[tokio::test]
async fn a_stranger_with_its_number_is_not_touched() {
    let mut rig = Rig::new().await;
    let (id, pid) = rig.start(&shell("exec sleep 1000")).await;
    rig.effects = None;
    assert_eq!(kill_all_instances(rig.dir.path()).unwrap(), 1);
    assert!(!runs(pid));
    // Start times are told in ticks: the decoy's must be another.
    let killed = Instant::now();
    until("the clock ticks on", || (killed.elapsed() > Duration::from_millis(50)).then_some(())).await;
    // The number is given out again: the journal names the decoy's, with the start time of the dead one.
    let mut decoy = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let journal = rig.home(&id).join("journal");
    let text = std::fs::read_to_string(&journal).unwrap();
    let changed = text.replace(&format!("\"pid\":{pid},"), &format!("\"pid\":{},", decoy.id()));
    assert_ne!(text, changed);
    std::fs::write(&journal, changed).unwrap();
    rig.restart().await;
    assert!(rig.adoption.instances.is_empty());
    assert_eq!(rig.adoption.ended.len(), 1);
    assert_eq!(rig.adoption.ended[0].1, Ending::Lost);
    kill_all_instances(rig.dir.path()).unwrap();
    assert!(decoy.try_wait().unwrap().is_none(), "the decoy runs");
    decoy.kill().unwrap();
    decoy.wait().unwrap();
}

#[tokio::test]
async fn without_its_supervisor_it_is_ended_not_doubled() {
    let mut rig = Rig::new().await;
    let (id, pid) = rig.start(&shell("(setsid sleep 1000 &); echo up > up; exec sleep 1000")).await;
    lines(rig.root(&id).join("up"), 1).await;
    let lock = std::fs::read_to_string(rig.home(&id).join("lock")).unwrap();
    let supervisor = lock.split(['{', ':', ',']).find_map(|word| word.parse::<i32>().ok()).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(supervisor).unwrap(), rustix::process::Signal::KILL)
        .unwrap();
    assert_eq!(rig.exited(&id).await, (None, None));
    assert!(!runs(pid));
    assert_eq!(of_instance(&id, &rig.root(&id)), [0; 0]);
}

#[tokio::test]
async fn a_start_that_crux_did_not_survive_is_given_up() {
    let mut rig = Rig::new().await;
    let (id, pid) = rig.start(&shell("exec sleep 1000")).await;
    rig.effects = None;
    kill_all_instances(rig.dir.path()).unwrap();
    until("it is gone", || (!runs(pid)).then_some(())).await;
    // As if crux had died between the intent and the supervisor.
    let journal = rig.home(&id).join("journal");
    let text = std::fs::read_to_string(&journal).unwrap();
    std::fs::write(&journal, format!("{}\n{{\"star", text.lines().next().unwrap())).unwrap();
    rig.restart().await;
    assert!(matches!(&rig.adoption.ended[..], [(_, Ending::Failed { why })] if why.contains("crux ended")));
    // A directory that says nothing stops no start.
    let odd = rig.dir.path().join("instances/7-99");
    std::fs::create_dir(&odd).unwrap();
    std::fs::write(odd.join("journal"), [0xff; 100]).unwrap();
    rig.restart().await;
    assert_eq!(rig.adoption.warnings.len(), 1, "{:?}", rig.adoption.warnings);
    assert!(!odd.exists());
}

#[tokio::test]
async fn what_it_says_is_kept_marked_and_bounded() {
    let mut rig = Rig::new().await;
    let script = "echo first; echo second >&2; while [ ! -e go ]; do sleep 0.01; done;
        yes 0123456789012345678901234567890123456789012345678901234567890123456789 | head -n 120000; printf last";
    let (id, _) = rig.start(&shell(script)).await;
    let logs = rig.effects.as_ref().unwrap().logs(&id).unwrap();
    let mut lines = logs.follow(10);
    let (mut out, mut err) = (None, None);
    for _ in 0..2 {
        let line = tokio::time::timeout(common::LIMIT, lines.recv()).await.unwrap().unwrap();
        let slot = if line.stream == LogStream::Out { &mut out } else { &mut err };
        *slot = Some(line.text);
    }
    assert_eq!((out.as_deref(), err.as_deref()), (Some("first"), Some("second")));
    let (_, mut cursor) = logs.tail(0).unwrap();
    std::fs::write(rig.root(&id).join("go"), "").unwrap();
    assert_eq!(rig.exited(&id).await, (Some(0), None));
    let (last, _) = logs.tail(2).unwrap();
    assert_eq!(last.iter().map(|line| line.text.as_str()).map(str::len).collect::<Vec<_>>(), [70, 4]);
    assert_eq!(last[1].text, "last");
    assert!(logs.more(&mut cursor).unwrap().len() > 10_000);
    assert_eq!(logs.more(&mut cursor).unwrap(), []);
    let files: Vec<u64> =
        std::fs::read_dir(rig.home(&id).join("log")).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).collect();
    assert_eq!(files.len(), 4);
    assert!(files.iter().all(|size| *size <= 1024 * 1024), "{files:?}");
}

#[tokio::test]
async fn a_dead_machine_leaves_nothing_and_writes_nothing() {
    let mut rig = Rig::new().await;
    let (one, first) = rig.start(&shell("(setsid sleep 1000 &); exec sleep 1000")).await;
    let (two, second) = rig.start(&shell("trap '' TERM; while :; do sleep 1; done")).await;
    rig.effects = None;
    assert_eq!(kill_all_instances(rig.dir.path()).unwrap(), 2);
    assert!(!runs(first) && !runs(second));
    for id in [&one, &two] {
        assert_eq!(of_instance(id, &rig.root(id)), [0; 0]);
        assert!(!std::fs::read_to_string(rig.home(id).join("journal")).unwrap().contains("ended"));
    }
    rig.restart().await;
    assert_eq!(rig.adoption.ended.iter().map(|(_, e)| e.clone()).collect::<Vec<_>>(), [Ending::Lost, Ending::Lost]);
}

#[tokio::test]
async fn a_kill_of_crux_frees_its_directory_and_changes_no_process() {
    let mut rig = Rig::new().await;
    rig.effects = None;
    let mut host = std::process::Command::new(env!("CARGO_BIN_EXE_crux-test-supervisor"))
        .arg("host")
        .arg(rig.dir.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(host.stdout.take().unwrap()), &mut line).unwrap();
    let pid: u32 = line.trim().parse().unwrap();
    let open = || Store::open(rig.dir.path(), &"acme.example".parse().unwrap(), &common::me());
    assert!(open().unwrap_err().to_string().contains(&format!("process {}:", host.id())));
    host.kill().unwrap();
    host.wait().unwrap();
    let (store, opened) = open().expect("the lock ended with its holder");
    assert_eq!(opened.warnings, [""; 0]);
    drop(store);
    assert!(runs(pid));
    rig.restart().await;
    assert_eq!(rig.adoption.instances.iter().map(|instance| instance.pid).collect::<Vec<_>>(), [Some(pid)]);
    let id = rig.adoption.instances[0].id.clone();
    rig.stop(&id, GRACE);
    assert_eq!(rig.exited(&id).await, (None, Some(15)));
    assert!(!runs(pid));
}

#[tokio::test]
async fn an_instance_that_ended_is_started_again_under_its_id_and_one_that_runs_is_not() {
    let mut rig = Rig::new().await;
    let spec = rig.spec(&shell("echo run >> runs; exec sleep 1000"));
    let id = spec.instance.id.clone();
    for run in 1..=3 {
        rig.run(Effect::Start(spec.clone()));
        let Report::Started { pid, .. } = rig.report().await else { panic!("it did not start") };
        assert_eq!(lines(rig.root(&id).join("runs"), run).await.len(), run, "its directory stays");
        // Asked again while it runs, it only says so again.
        rig.run(Effect::Start(spec.clone()));
        let again = rig.report().await;
        assert!(matches!(&again, Report::Started { pid: same, .. } if *same == pid), "{again:?}");
        rig.stop(&id, GRACE);
        assert_eq!(rig.exited(&id).await, (None, Some(15)));
        assert!(!runs(pid));
    }
    rig.restart().await;
    assert_eq!(rig.adoption.instances, []);
}

#[tokio::test]
async fn a_restart_follows_no_link_that_the_instance_laid() {
    let mut rig = Rig::new().await;
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("tool");
    std::fs::write(&victim, "not yours").unwrap();
    let files = vec![store(&rig, b"#!/bin/sh\n", "a/bin/tool", true).await, store(&rig, b"x", "plain", false).await];
    // Links in the place of a directory and of a file, and a file in the place of a directory above.
    let script = format!(
        "test -x a/bin/tool && test ! -L a/bin && test ! -L plain && echo good >> log || echo bad >> log
         case $(wc -l < log) in
         1) rm -rf a/bin plain; ln -s '{0}' a/bin; ln -s '{0}/tool' plain;;
         2) rm -rf a plain; ln -s '{0}' a; ln -s '{0}/new' plain;;
         3) rm -rf a; echo > a;;
         esac",
        outside.path().display()
    );
    let spec = rig.spec(&Manifest { files, ..shell(&script) });
    let id = spec.instance.id.clone();
    for round in 1..=4 {
        rig.run(Effect::Start(spec.clone()));
        match rig.report().await {
            Report::Started { .. } => assert_eq!(rig.exited(&id).await, (Some(0), None)),
            other => panic!("round {round}: {other:?}"),
        }
    }
    assert_eq!(lines(rig.root(&id).join("log"), 4).await, ["good"; 4]);
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "not yours");
    let there: Vec<_> = std::fs::read_dir(outside.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(there, ["tool"], "nothing outside is touched");

    // A directory in the place of a file is the instance's own work: it is not thrown away but named.
    let again = rig.root(&id).join("plain");
    std::fs::remove_file(&again).unwrap();
    std::fs::create_dir(&again).unwrap();
    rig.run(Effect::Start(spec));
    let Report::StartFailed { why, .. } = rig.report().await else { panic!("started") };
    assert!(why.contains("`plain`") && why.contains("directory in its place"), "{why}");
}

#[tokio::test]
async fn a_second_start_of_what_runs_is_answered_and_starts_nothing() {
    let mut rig = Rig::new().await;
    let spec = rig.spec(&shell("exec sleep 1000"));
    let id = spec.instance.id.clone();
    rig.run(Effect::Start(spec.clone()));
    rig.run(Effect::Start(spec.clone()));
    let pids: Vec<u32> = [rig.report().await, rig.report().await]
        .into_iter()
        .map(|report| if let Report::Started { pid, .. } = report { pid } else { panic!("{report:?}") })
        .collect();
    assert_eq!(pids[0], pids[1]);
    assert_eq!(of_instance(&id, &rig.root(&id)), [pids[0]]);
    // Also when it was taken back from an earlier life.
    rig.restart().await;
    assert_eq!(rig.adoption.instances.len(), 1);
    rig.run(Effect::Start(spec));
    let report = rig.report().await;
    assert!(matches!(&report, Report::Started { pid, .. } if *pid == pids[0]), "{report:?}");
    rig.stop(&id, GRACE);
    assert_eq!(rig.exited(&id).await, (None, Some(15)));
}

#[tokio::test]
async fn a_supervisor_that_says_nothing_is_given_up() {
    let mut rig = Rig::new().await;
    // In the place of crux: a program that holds its output and never speaks.
    let exe = rig.dir.path().join("mute");
    std::fs::write(&exe, "#!/bin/sh\necho $$ > \"$2/mute\"\nexec /bin/sleep 1000\n").unwrap();
    std::fs::set_permissions(&exe, std::fs::Permissions::from_mode(0o755)).unwrap();
    rig.restart_with(&exe).await;
    let spec = rig.spec(&shell("exec sleep 1000"));
    let id = spec.instance.id.clone();
    rig.run(Effect::Start(spec.clone()));
    rig.run(Effect::Start(spec));
    let mute: u32 = lines(rig.home(&id).join("mute"), 1).await[0].parse().unwrap();
    rig.stop(&id, GRACE);
    for _ in 0..2 {
        let report = rig.report().await;
        assert!(matches!(&report, Report::StartFailed { id: about, .. } if *about == id), "{report:?}");
    }
    assert_eq!(rig.exited(&id).await, (None, None));
    assert!(!runs(mute), "it is killed");
}
