//! What the tests of instances share: a fulcrum's effects on a directory of their own, and conditions to wait for.
#![allow(dead_code, missing_docs)]

use crux_core::facts::value::Manifest;
use crux_core::io::{Effect, Report, StartSpec};
use crux_core::services::instance::{Instance, InstanceId, Phase, ServiceRef};
use crux_names::{Boot, Duration, FulcrumId};
use crux_node::effects::{Adoption, Effects, EffectsConfig, Opener, kill_all_instances};
use prost::Message;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

/// Generous: the machine may be busy.
pub const LIMIT: Duration = Duration::from_secs(60);

pub fn me() -> FulcrumId {
    "n1".parse().unwrap()
}

pub fn nobody() -> Opener {
    Arc::new(|_| Box::pin(async { Err(io::ErrorKind::NotConnected.into()) }))
}

pub struct Rig {
    pub dir: tempfile::TempDir,
    pub effects: Option<Effects>,
    pub reports: mpsc::Receiver<Report>,
    pub adoption: Adoption,
    counter: u64,
}

impl Rig {
    pub async fn new() -> Self {
        // Longer than the path of a socket may be.
        let dir = tempfile::Builder::new().prefix(&"long-".repeat(25)).tempdir().unwrap();
        let (effects, reports, adoption) = life(dir.path(), env!("CARGO_BIN_EXE_crux-test-supervisor").as_ref()).await;
        Self { dir, effects: Some(effects), reports, adoption, counter: 0 }
    }

    /// crux ends and comes back.
    pub async fn restart(&mut self) {
        self.restart_with(env!("CARGO_BIN_EXE_crux-test-supervisor").as_ref()).await;
    }

    /// The same, with another program in the place of crux.
    pub async fn restart_with(&mut self, exe: &Path) {
        self.effects = None;
        let (effects, reports, adoption) = life(self.dir.path(), exe).await;
        (self.effects, self.reports, self.adoption) = (Some(effects), reports, adoption);
    }

    pub fn run(&self, effect: Effect) {
        self.effects.as_ref().unwrap().run(effect);
    }

    pub fn spec(&mut self, manifest: &Manifest) -> StartSpec {
        self.counter += 1;
        let id = InstanceId { fulcrum: me(), boot: Boot(7), counter: self.counter };
        let bytes = manifest.encode_to_vec();
        let instance = Instance {
            id,
            of: ServiceRef { horde: "main".parse().unwrap(), service: "web".parse().unwrap() },
            slot: 1,
            revision: Manifest::revision(&bytes),
            phase: Phase::Pending,
            pid: None,
            started: None,
            ports: BTreeMap::new(),
            restarts: 2,
            why: String::new(),
            hook: String::new(),
        };
        let env = BTreeMap::from([
            ("CRUX_NODE".to_owned(), "n1".to_owned()),
            ("CRUX_HORDE".to_owned(), "main".to_owned()),
            ("CRUX_SERVICE".to_owned(), "web".to_owned()),
            ("CRUX_INSTANCE".to_owned(), instance.id.to_string()),
        ]);
        StartSpec { instance, manifest: bytes.into(), env }
    }

    pub async fn report(&mut self) -> Report {
        tokio::time::timeout(LIMIT, self.reports.recv()).await.expect("a report comes").expect("reports are open")
    }

    /// Starts it and waits until it runs.
    pub async fn start(&mut self, manifest: &Manifest) -> (InstanceId, u32) {
        let spec = self.spec(manifest);
        let wanted = spec.instance.id.clone();
        self.run(Effect::Start(spec));
        match self.report().await {
            Report::Started { id, pid, .. } => {
                assert_eq!(id, wanted);
                (id, pid)
            }
            other => panic!("not started: {other:?}"),
        }
    }

    pub async fn start_fails(&mut self, manifest: &Manifest) -> String {
        let spec = self.spec(manifest);
        let wanted = spec.instance.id.clone();
        self.run(Effect::Start(spec));
        match self.report().await {
            Report::StartFailed { id, why } => {
                assert_eq!(id, wanted);
                why
            }
            other => panic!("not refused: {other:?}"),
        }
    }

    pub fn stop(&self, id: &InstanceId, grace: Duration) {
        self.run(Effect::Stop { id: id.clone(), signal: "TERM".into(), grace });
    }

    pub async fn exited(&mut self, wanted: &InstanceId) -> (Option<i32>, Option<i32>) {
        match self.report().await {
            Report::Exited { id, code, signal } => {
                assert_eq!(&id, wanted);
                (code, signal)
            }
            other => panic!("no end: {other:?}"),
        }
    }

    pub fn home(&self, id: &InstanceId) -> PathBuf {
        self.dir.path().join("instances").join(format!("{}-{}", id.boot, id.counter))
    }

    pub fn root(&self, id: &InstanceId) -> PathBuf {
        self.home(id).join("root")
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.effects = None;
        kill_all_instances(self.dir.path()).unwrap();
    }
}

async fn life(state: &Path, exe: &Path) -> (Effects, mpsc::Receiver<Report>, Adoption) {
    let (sender, reports) = mpsc::channel(64);
    let config = EffectsConfig {
        state: state.to_owned(),
        exe: exe.to_owned(),
        fulcrum: me(),
        reports: sender,
        open: nobody(),
        runtime: tokio::runtime::Handle::current(),
    };
    let (effects, adoption) = Effects::start(config).await.unwrap();
    (effects, reports, adoption)
}

pub fn shell(script: &str) -> Manifest {
    Manifest { service: "web".into(), run: vec!["/bin/sh".into(), "-c".into(), script.into()], ..Manifest::default() }
}

/// Waits until the condition holds.
pub async fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "in vain: {what}");
        // waits: for the condition, looked at again and again
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for a file with whole lines.
pub async fn lines(path: PathBuf, at_least: usize) -> Vec<String> {
    until(&format!("{} has {at_least} lines", path.display()), || {
        let text = std::fs::read_to_string(&path).ok()?;
        (text.ends_with('\n') && text.lines().count() >= at_least).then(|| text.lines().map(str::to_owned).collect())
    })
    .await
}

/// Whether a process of this number runs, and is no zombie.
pub fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X'])))
}

/// Processes that have this instance of this directory in their environment.
pub fn of_instance(id: &InstanceId, root: &Path) -> Vec<u32> {
    let root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    let marks = [format!("CRUX_INSTANCE={id}"), format!("CRUX_DIR={}", root.display())];
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let env = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            marks.iter().all(|mark| env.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes()))
        })
        .filter(|pid| runs(*pid))
        .collect()
}
