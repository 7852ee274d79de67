//! Picket: the life of the instances on one fulcrum. It decides *when* something is started, stopped or started again;
//! the node does it, and journals each start before it happens.
//!
//! ```text
//! pending ──files here, pause over──> starting ──started──> running ──told to stop──> stopping ──exited──> gone
//!    ^                                   │                     │
//!    └────────── pause ──────────────────┴──── ended by itself ┘        (once: gone, and `done` if it ended well)
//! ```

use super::effect::{Effect, Ended, StartSpec};
use super::instance::{Instance, InstanceId, Phase, ServiceRef};
use super::item::Item;
use super::known::Known;
use super::pace::{Pace, seconds};
use crate::facts::value::File;
use crate::hash::Random;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use crux_names::{Duration, Hash256, Member, Time, Wall};

/// First pause before a restart, where the manifest says nothing.
const RESTART_FROM: Duration = Duration::from_millis(500);
/// Longest pause before a restart, where the manifest says nothing.
const RESTART_TO: Duration = Duration::from_secs(60);
/// Grace before KILL, where the manifest says nothing.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// How many instances of one fulcrum are started at a time; the others wait their turn.
pub const STARTS: usize = 8;

/// What a picket wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Do something to the world.
    Effect(Effect),
    /// An instance's phase changed, or it was started again.
    Changed(Instance),
    /// A process could not be made; its files are to be verified again before the next try.
    Doubt(Vec<Hash256>),
    /// It is gone and off the books.
    Forgotten(Instance),
}

/// The instances of one fulcrum.
#[derive(Clone, Debug)]
pub struct Picket {
    me: Member,
    pace: Pace,
    random: Random,
    counter: u64,
    items: BTreeMap<InstanceId, Item>,
}

impl Picket {
    /// A picket without instances.
    #[must_use]
    pub fn new(me: Member, pace: Pace, seed: u64) -> Self {
        Self { me, pace, random: Random::new(seed ^ 0x7069_636b_6574), counter: 0, items: BTreeMap::new() }
    }

    /// Its instances, those that are gone but not forgotten among them.
    #[must_use]
    pub fn items(&self) -> &BTreeMap<InstanceId, Item> {
        &self.items
    }

    /// Whether nothing runs here or is about to.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.items.values().all(|item| item.instance.phase == Phase::Gone)
    }

    /// Wants an instance. It starts at the next step at which its manifest and files are here.
    pub fn start(&mut self, now: Time, of: ServiceRef, slot: u32, revision: Hash256, why: &str) -> InstanceId {
        self.counter += 1;
        let id = InstanceId { fulcrum: self.me.id.clone(), boot: self.me.boot, counter: self.counter };
        let instance = Instance {
            id: id.clone(),
            of,
            slot,
            revision,
            phase: Phase::Pending,
            pid: None,
            started: None,
            ports: BTreeMap::new(),
            restarts: 0,
            why: why.to_string(),
            hook: String::new(),
        };
        self.items.insert(id.clone(), Item::new(instance, false, now));
        id
    }

    /// Gives an instance another place in the plan.
    pub fn place(&mut self, id: &InstanceId, slot: u32) {
        if let Some(item) = self.items.get_mut(id) {
            item.instance.slot = slot;
        }
    }

    /// Stops an instance; does nothing if it stops already.
    pub fn stop(&mut self, now: Time, id: &InstanceId, why: &str, out: &mut Vec<Output>) {
        let Some(item) = self.items.get_mut(id) else { return };
        if item.stop {
            return;
        }
        item.stop = true;
        match item.instance.phase {
            Phase::Pending => {
                item.gone_at = Some(now);
                out.push(say(item, Phase::Gone, format!("stopped before it started: {why}")));
                out.push(Output::Effect(Effect::Clean { id: id.clone() }));
            }
            // It is told as soon as there is a process to tell.
            Phase::Starting => out.push(say(item, Phase::Stopping, why.to_string())),
            Phase::Running | Phase::Stopping => {
                out.push(say(item, Phase::Stopping, why.to_string()));
                out.push(stop_effect(item));
            }
            Phase::Gone => {
                if item.gone_at.is_none() {
                    item.gone_at = Some(now);
                    out.push(Output::Effect(Effect::Clean { id: id.clone() }));
                }
            }
        }
    }

    /// Takes over what earlier lives left running, and what ended: of that, what runs once keeps its place, and the rest
    /// is put away as soon as its manifest says so.
    pub fn adopt(&mut self, now: Time, wall: Wall, instances: Vec<Instance>, ended: Vec<Ended>, out: &mut Vec<Output>) {
        // A life that has an earlier one's number, for its disk was restored or forgot, must not give ids out again.
        let given = instances.iter().chain(ended.iter().map(|ended| &ended.instance)).map(|instance| &instance.id);
        let given = given.filter(|id| id.fulcrum == self.me.id && id.boot == self.me.boot).map(|id| id.counter);
        self.counter = self.counter.max(given.max().unwrap_or(0));
        for Ended { instance, code, signal } in ended {
            if self.items.contains_key(&instance.id) {
                continue;
            }
            let mut item = Item::new(Instance { pid: None, ports: BTreeMap::new(), ..instance }, true, now);
            item.ended = Some(code == Some(0));
            out.push(say(&mut item, Phase::Gone, format!("{}, before crux began again", how(code, signal))));
            self.items.insert(item.instance.id.clone(), item);
        }
        for instance in instances {
            if instance.pid.is_none() || self.items.contains_key(&instance.id) {
                continue;
            }
            let ran = instance.started.map_or(0, |started| wall.0.saturating_sub(started.0));
            let stopping = instance.phase == Phase::Stopping;
            let mut item = Item::new(instance, true, now);
            item.running_since = Some(now);
            item.ran_before = Duration::from_micros(ran);
            let id = item.instance.id.clone();
            out.push(say(&mut item, Phase::Running, String::from("re-adopted after a restart of crux")));
            self.items.insert(id.clone(), item);
            if stopping {
                self.stop(now, &id, "an earlier life of this fulcrum was stopping it", out);
            }
        }
    }

    /// Takes the outcome of a start.
    pub fn started(
        &mut self,
        now: Time,
        id: &InstanceId,
        pid: u32,
        at: Wall,
        ports: BTreeMap<String, u16>,
        out: &mut Vec<Output>,
    ) {
        let Some(item) = self.items.get_mut(id) else { return };
        item.instance.pid = Some(pid);
        item.instance.started = Some(at);
        item.instance.ports = ports;
        item.running_since = Some(now);
        item.ran_before = Duration::ZERO;
        if item.stop {
            out.push(stop_effect(item));
        } else {
            out.push(say(item, Phase::Running, String::new()));
        }
    }

    /// Takes the word that a start came to nothing.
    pub fn start_failed(&mut self, now: Time, id: &InstanceId, why: &str, out: &mut Vec<Output>) {
        let Some(item) = self.items.get_mut(id) else { return };
        let files = item.manifest().map(|manifest| manifest.files.iter().filter_map(File::hash));
        out.push(Output::Doubt(files.map(Iterator::collect).unwrap_or_default()));
        self.ended(now, id, why, false, out);
    }

    /// Takes the word that a process ended.
    pub fn exited(
        &mut self,
        now: Time,
        id: &InstanceId,
        code: Option<i32>,
        signal: Option<i32>,
        out: &mut Vec<Output>,
    ) {
        self.ended(now, id, &how(code, signal), code == Some(0), out);
    }

    fn ended(&mut self, now: Time, id: &InstanceId, how: &str, well: bool, out: &mut Vec<Output>) {
        let Some(item) = self.items.get_mut(id) else { return };
        let before = core::mem::take(&mut item.ran_before);
        let ran = item.running_since.take().map(|since| now.since(since) + before);
        item.instance.pid = None;
        item.instance.ports.clear();
        if item.stop {
            item.gone_at = Some(now);
            let why = format!("{how} ({})", item.instance.why);
            out.push(say(item, Phase::Gone, why));
            out.push(Output::Effect(Effect::Clean { id: id.clone() }));
            return;
        }
        if item.manifest().is_some_and(|manifest| manifest.once) && ran.is_some() {
            item.ended = Some(well);
            let word = if well { "done" } else { "it runs once and is not started again" };
            out.push(say(item, Phase::Gone, format!("{how}: {word}")));
            return;
        }
        let (from, to) = item.manifest().map_or((RESTART_FROM, RESTART_TO), |manifest| {
            let from = millis(manifest.restart_from_ms, RESTART_FROM);
            (from, millis(manifest.restart_to_ms, RESTART_TO).max(from))
        });
        let settled = ran.is_some_and(|ran| ran >= from * 10);
        item.pause = if settled || item.pause.is_zero() { from } else { (item.pause * 2).min(to) };
        // Up to a quarter less, so that what fell together does not rise together.
        let quarter = u64::try_from(item.pause.as_micros() / 4).unwrap_or(u64::MAX);
        let pause = item.pause - Duration::from_micros(self.random.below(quarter + 1));
        item.start_at = now + pause;
        item.instance.restarts += 1;
        let why = format!("{how}; next start in {}", seconds(pause));
        out.push(say(item, Phase::Pending, why));
    }

    /// Files that instances here need before they can start, each with its size.
    #[must_use]
    pub fn needs(&self) -> BTreeMap<Hash256, u64> {
        let pending = self.items.values().filter(|item| item.instance.phase == Phase::Pending);
        let files = pending.filter_map(Item::manifest).flat_map(|manifest| &manifest.files);
        files.filter_map(|file| file.hash().map(|hash| (hash, file.size))).collect()
    }

    /// Starts what can start, looks for manifests that have come, forgets what is long gone.
    pub fn step(
        &mut self,
        now: Time,
        known: &Known,
        missing: impl Fn(&Hash256) -> Option<String>,
        out: &mut Vec<Output>,
    ) {
        let keep = self.pace.ms(5_000);
        let mut starts = self.items.values().filter(|item| item.instance.phase == Phase::Starting).count();
        for item in self.items.values_mut() {
            if item.revision.is_none() {
                item.revision = known.revision(&item.instance.of.service, &item.instance.revision).cloned();
            }
            if item.instance.phase == Phase::Pending && now >= item.start_at {
                try_start(&self.me, item, &missing, starts < STARTS, out);
                starts += usize::from(item.instance.phase == Phase::Starting);
            }
            // What is started again when it ends is not there any more if it ended before this life.
            let again = item.manifest().is_some_and(|manifest| !manifest.once);
            if item.ended.is_some() && item.adopted && again && item.gone_at.is_none() {
                item.stop = true;
                item.gone_at = Some(now);
                out.push(Output::Effect(Effect::Clean { id: item.instance.id.clone() }));
            }
        }
        let forget: Vec<InstanceId> = self
            .items
            .iter()
            .filter(|(_, item)| item.gone_at.is_some_and(|at| now >= at + keep))
            .map(|(id, _)| id.clone())
            .collect();
        for id in forget {
            out.extend(self.items.remove(&id).map(|item| Output::Forgotten(item.instance)));
        }
    }

    /// When [`Picket::step`] has something to do by itself.
    #[must_use]
    pub fn deadline(&self, now: Time) -> Time {
        let keep = self.pace.ms(5_000);
        let next = |item: &Item| match item.instance.phase {
            // What waits for a manifest or a file is woken by their coming.
            Phase::Pending if item.start_at > now => item.start_at,
            _ => item.gone_at.map_or(Time::NEVER, |at| at + keep),
        };
        self.items.values().map(next).min().unwrap_or(Time::NEVER)
    }
}

fn how(code: Option<i32>, signal: Option<i32>) -> String {
    match (code, signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => String::from("it ended"),
    }
}

fn say(item: &mut Item, phase: Phase, why: String) -> Output {
    item.instance.phase = phase;
    item.instance.why = why;
    Output::Changed(item.instance.clone())
}

fn try_start(
    me: &Member,
    item: &mut Item,
    missing: &impl Fn(&Hash256) -> Option<String>,
    turn: bool,
    out: &mut Vec<Output>,
) {
    let Some(revision) = item.revision.clone() else {
        let why = format!("the manifest of revision {} has not arrived yet", item.instance.revision.short());
        return wait(item, why, out);
    };
    let files: Vec<Hash256> = revision.manifest.files.iter().filter_map(File::hash).collect();
    let lacking: Vec<String> = files.iter().filter_map(missing).collect();
    if let Some(first) = lacking.first() {
        let why = format!("waits for {} of {} files: {first}", lacking.len(), files.len());
        return wait(item, why, out);
    }
    if !turn {
        // Its turn comes when one of those starts has succeeded or failed, which wakes the picket.
        return wait(item, format!("waits for {STARTS} starts under way"), out);
    }
    let why = if item.instance.restarts == 0 {
        String::from("its process is being made")
    } else {
        format!("start {} after it ended by itself", item.instance.restarts)
    };
    out.push(say(item, Phase::Starting, why));
    let instance = item.instance.clone();
    let env = BTreeMap::from([
        (String::from("CRUX_NODE"), me.id.node.to_string()),
        (String::from("CRUX_HORDE"), instance.of.horde.to_string()),
        (String::from("CRUX_SERVICE"), instance.of.service.to_string()),
        (String::from("CRUX_INSTANCE"), instance.id.to_string()),
    ]);
    out.push(Output::Effect(Effect::Start(StartSpec { instance, manifest: revision.bytes.clone(), env })));
}

fn wait(item: &mut Item, why: String, out: &mut Vec<Output>) {
    if item.instance.why != why {
        out.push(say(item, Phase::Pending, why));
    }
}

fn stop_effect(item: &Item) -> Output {
    let manifest = item.manifest();
    let signal = manifest.map(|manifest| manifest.stop_signal.as_str()).filter(|signal| !signal.is_empty());
    Output::Effect(Effect::Stop {
        id: item.instance.id.clone(),
        signal: signal.unwrap_or("TERM").to_string(),
        grace: manifest.map_or(STOP_GRACE, |manifest| millis(manifest.stop_grace_ms, STOP_GRACE)),
    })
}

fn millis(value: u64, default: Duration) -> Duration {
    if value == 0 { default } else { Duration::from_millis(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::value::{Manifest, muster_path};
    use crux_names::Boot;
    use prost::Message;

    fn setup(change: impl Fn(&mut Manifest)) -> (Picket, Known, Hash256, ServiceRef) {
        let mut manifest = Manifest { service: "api".into(), run: Vec::from(["x".into()]), ..Manifest::default() };
        change(&mut manifest);
        let bytes: bytes::Bytes = manifest.encode_to_vec().into();
        let (mut known, revision) = (Known::default(), Manifest::revision(&bytes));
        let of = ServiceRef { horde: "web".parse().unwrap(), service: "api".parse().unwrap() };
        known.take(&muster_path(&of.service, &revision), Some(&bytes));
        let me = Member { id: "n1".parse().unwrap(), boot: Boot(1) };
        (Picket::new(me, Pace(1000), 7), known, revision, of)
    }

    fn phase(picket: &Picket, id: &InstanceId) -> Phase {
        picket.items()[id].instance.phase
    }

    fn none(_: &Hash256) -> Option<String> {
        None
    }

    #[test]
    fn an_instance_starts_runs_is_told_to_stop_and_goes() {
        let (mut picket, known, revision, of) = setup(|manifest| manifest.stop_signal = "INT".into());
        let (now, mut out) = (Time::from_millis(1), Vec::new());
        let id = picket.start(now, of, 2, revision, "plan 1");
        picket.step(now, &known, none, &mut out);
        assert!(matches!(&out[1], Output::Effect(Effect::Start(spec)) if spec.env["CRUX_INSTANCE"] == "n1:1:1"));
        picket.started(now, &id, 42, Wall(5), BTreeMap::new(), &mut out);
        assert_eq!(phase(&picket, &id), Phase::Running);
        out.clear();
        picket.stop(now, &id, "not in plan 2", &mut out);
        picket.stop(now, &id, "not in plan 2", &mut out);
        let stops =
            out.iter().filter(|out| matches!(out, Output::Effect(Effect::Stop { signal, .. }) if signal == "INT"));
        assert_eq!(stops.count(), 1);
        picket.exited(now, &id, None, Some(2), &mut out);
        assert_eq!(phase(&picket, &id), Phase::Gone);
        assert!(picket.idle() && out.contains(&Output::Effect(Effect::Clean { id: id.clone() })));
        let later = picket.deadline(now);
        picket.step(later, &known, none, &mut out);
        assert!(picket.items().is_empty() && matches!(out.last(), Some(Output::Forgotten(_))));
    }

    /// The operators' trial: a service of thousands brought its nodes down by starting all of them at once.
    #[test]
    fn at_most_eight_start_at_a_time_and_the_others_say_what_they_wait_for() {
        let (mut picket, known, revision, of) = setup(|_| {});
        let (now, mut out) = (Time::from_millis(1), Vec::new());
        let ids: Vec<_> = (1..=20).map(|slot| picket.start(now, of.clone(), slot, revision, "")).collect();
        let count =
            |picket: &Picket, phase| picket.items().values().filter(|item| item.instance.phase == phase).count();
        picket.step(now, &known, none, &mut out);
        assert_eq!((count(&picket, Phase::Starting), count(&picket, Phase::Pending)), (8, 12));
        assert_eq!(picket.items()[&ids[8]].instance.why, "waits for 8 starts under way");
        picket.started(now, &ids[0], 1, Wall(1), BTreeMap::new(), &mut out);
        picket.start_failed(now, &ids[1], "no space", &mut out);
        picket.step(now, &known, none, &mut out);
        assert_eq!((count(&picket, Phase::Starting), count(&picket, Phase::Pending)), (8, 11));
    }

    #[test]
    fn an_instance_waits_for_its_files_and_says_for_which() {
        let file = File { path: "a".into(), sha256: [3; 32].to_vec(), size: 9, executable: false };
        let (mut picket, known, revision, of) = setup(|manifest| manifest.files = Vec::from([file.clone()]));
        let (now, mut out) = (Time::from_millis(1), Vec::new());
        let id = picket.start(now, of, 1, revision, "");
        let missing = |hash: &Hash256| (*hash == Hash256([3; 32])).then(|| String::from("nobody has it"));
        picket.step(now, &known, missing, &mut out);
        assert_eq!(picket.items()[&id].instance.why, "waits for 1 of 1 files: nobody has it");
        assert_eq!(picket.needs(), BTreeMap::from([(Hash256([3; 32]), 9)]));
        picket.step(now, &known, none, &mut out);
        assert_eq!(phase(&picket, &id), Phase::Starting);
    }

    #[test]
    fn what_ends_by_itself_is_started_again_after_growing_pauses_that_a_long_run_resets() {
        let (mut picket, known, revision, of) = setup(|manifest| {
            manifest.restart_from_ms = 100;
            manifest.restart_to_ms = 1_000;
        });
        let (mut now, mut out) = (Time::from_millis(1), Vec::new());
        let id = picket.start(now, of, 1, revision, "");
        let mut pauses = Vec::new();
        for ran in [1, 1, 1, 1, 1, 1, 1_000] {
            picket.step(now, &known, none, &mut out);
            picket.started(now, &id, 1, Wall(0), BTreeMap::new(), &mut out);
            now = now + Duration::from_millis(ran);
            picket.exited(now, &id, Some(3), None, &mut out);
            assert!(picket.items()[&id].instance.why.starts_with("exit code 3; next start in"));
            let next = picket.deadline(now);
            pauses.push(next.since(now).as_millis());
            out.clear();
            picket.step(next - Duration::from_millis(1), &known, none, &mut out);
            assert!(out.is_empty(), "not before the pause is over");
            now = next;
        }
        for (pause, longest) in pauses.iter().zip([100, 200, 400, 800, 1_000, 1_000, 100]) {
            assert!(*pause <= longest && *pause >= longest * 3 / 4, "{pauses:?}");
        }
        assert_eq!(picket.items()[&id].instance.restarts, 7);
    }

    #[test]
    fn what_runs_once_is_not_started_again_and_still_fills_its_place() {
        let (mut picket, known, revision, of) = setup(|manifest| manifest.once = true);
        let (now, mut out) = (Time::from_millis(1), Vec::new());
        let id = picket.start(now, of, 1, revision, "");
        picket.step(now, &known, none, &mut out);
        picket.started(now, &id, 1, Wall(0), BTreeMap::new(), &mut out);
        picket.exited(now, &id, Some(0), None, &mut out);
        let item = &picket.items()[&id];
        assert_eq!((item.instance.phase, item.ended, item.fills()), (Phase::Gone, Some(true), true));
        picket.step(now + Duration::from_secs(60), &known, none, &mut out);
        assert!(picket.items().contains_key(&id));
        picket.stop(now, &id, "not in the plan", &mut out);
        assert!(!picket.items()[&id].fills());
    }

    #[test]
    fn a_stop_during_a_start_reaches_the_process_and_a_failed_start_is_tried_again() {
        let (mut picket, known, revision, of) = setup(|_| {});
        let (now, mut out) = (Time::from_millis(1), Vec::new());
        let id = picket.start(now, of.clone(), 1, revision, "");
        picket.step(now, &known, none, &mut out);
        out.clear();
        picket.stop(now, &id, "x", &mut out);
        assert!(!out.iter().any(|out| matches!(out, Output::Effect(_))));
        picket.started(now, &id, 9, Wall(0), BTreeMap::new(), &mut out);
        assert!(matches!(out.last(), Some(Output::Effect(Effect::Stop { .. }))));
        let other = picket.start(now, of, 2, revision, "");
        picket.step(now, &known, none, &mut out);
        picket.start_failed(now, &other, "no such file", &mut out);
        assert_eq!(phase(&picket, &other), Phase::Pending);
        assert!(picket.items()[&other].instance.why.starts_with("no such file; next start"));
    }

    #[test]
    fn what_an_earlier_life_left_running_is_adopted_with_its_age() {
        let (mut picket, known, revision, of) = setup(|_| {});
        let id: InstanceId = "n1:0:5".parse().unwrap();
        let instance = Instance {
            id: id.clone(),
            of,
            slot: 1,
            revision,
            phase: Phase::Running,
            pid: Some(77),
            started: Some(Wall(10_000_000)),
            ports: BTreeMap::new(),
            restarts: 0,
            why: String::new(),
            hook: String::new(),
        };
        // This life's clock has just begun, and the process is older than it.
        let (now, mut out) = (Time::from_millis(20), Vec::new());
        picket.adopt(now, Wall(40_000_000), Vec::from([instance]), Vec::new(), &mut out);
        picket.step(now, &known, none, &mut out);
        assert_eq!(picket.items()[&id].running(now), Some(Duration::from_secs(30)));
        let later = now + Duration::from_secs(5);
        assert_eq!(picket.items()[&id].running(later), Some(Duration::from_secs(35)));
        assert!(picket.items()[&id].adopted && picket.items()[&id].manifest().is_some());
    }

    fn ended(id: &str, of: &ServiceRef, revision: Hash256, code: Option<i32>) -> Ended {
        let instance = Instance {
            id: id.parse().unwrap(),
            of: of.clone(),
            slot: 3,
            revision,
            phase: Phase::Gone,
            pid: None,
            started: Some(Wall(1)),
            ports: BTreeMap::new(),
            restarts: 0,
            why: String::new(),
            hook: String::new(),
        };
        Ended { instance, code, signal: code.is_none().then_some(9) }
    }

    /// A review's find: a job that was done ran again after every restart of crux.
    #[test]
    fn a_job_that_ended_before_this_life_keeps_its_place_and_what_is_started_again_is_put_away() {
        for once in [true, false] {
            let (mut picket, known, revision, of) = setup(|manifest| manifest.once = once);
            let (now, mut out) = (Time::from_millis(1), Vec::new());
            let left = [("n1:0:1", Some(0)), ("n1:0:2", Some(3)), ("n1:0:3", None)];
            let all = left.iter().map(|(id, code)| ended(id, &of, revision, *code)).collect();
            picket.adopt(now, Wall(5), Vec::new(), all, &mut out);
            picket.step(now, &known, none, &mut out);
            let clean = out.iter().filter(|out| matches!(out, Output::Effect(Effect::Clean { .. }))).count();
            let states: Vec<_> = picket.items().values().map(|item| (item.ended, item.fills())).collect();
            if once {
                assert_eq!(states, [(Some(true), true), (Some(false), true), (Some(false), true)]);
                assert_eq!((clean, picket.idle()), (0, true));
            } else {
                assert!(states.iter().all(|(_, fills)| !fills));
                assert_eq!(clean, 3, "put away, not kept for ever");
                picket.step(now + Duration::from_secs(6), &known, none, &mut out);
                assert!(picket.items().is_empty());
            }
        }
    }

    /// A review's find: a life whose boot number was that of an earlier one gave ids out a second time.
    #[test]
    fn an_id_that_an_earlier_life_of_the_same_number_gave_out_is_not_given_out_again() {
        let (mut picket, _, revision, of) = setup(|_| {});
        let (now, mut out) = (Time::from_millis(1), Vec::new());
        let gone = ended("n1:1:7", &of, revision, Some(0));
        let runs = Instance { id: "n1:1:4".parse().unwrap(), pid: Some(7), ..gone.instance.clone() };
        picket.adopt(now, Wall(5), Vec::from([runs]), Vec::from([gone]), &mut out);
        assert_eq!(picket.start(now, of, 1, revision, "").to_string(), "n1:1:8");
    }
}
