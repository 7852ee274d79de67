//! Heartbeat: what is observed on one fulcrum. It asks for each instance's health check in time, and puts together the
//! batch that goes to the horde's healthminder every second.

use super::effect::Effect;
use super::instance::{InstanceId, Phase};
use super::item::Item;
use super::pace::Pace;
use super::verdict::{Beat, Checkup};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use crux_names::{Duration, HordeName, Time};

#[derive(Clone, Debug)]
struct Watch {
    due: Time,
    asked: Option<Time>,
    ended: Option<Time>,
    failed: u32,
    passed: bool,
    detail: String,
}

/// The heartbeat of one fulcrum.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    pace: Pace,
    next: Time,
    watches: BTreeMap<InstanceId, Watch>,
}

impl Heartbeat {
    /// Has observed nothing. The first batch is due at once.
    #[must_use]
    pub fn new(now: Time, pace: Pace) -> Self {
        Self { pace, next: now, watches: BTreeMap::new() }
    }

    fn every(&self, item: &Item) -> Option<Duration> {
        let check = item.manifest()?.check.as_ref()?;
        Some(if check.every_ms == 0 { self.pace.t() } else { Duration::from_millis(check.every_ms) })
    }

    /// Takes the outcome of a health check. One that fails within 2 T of an instance's first start, before any has
    /// passed, says only that it is not up yet, and does not count.
    pub fn checked(&mut self, now: Time, item: &Item, ok: bool, detail: String) {
        let grace = self.pace.t() * 2;
        let begins = item.instance.restarts == 0 && item.running(now).is_some_and(|ran| ran <= grace);
        if let Some(watch) = self.watches.get_mut(&item.instance.id) {
            watch.asked = None;
            watch.passed |= ok;
            if begins && !watch.passed {
                return;
            }
            watch.ended = Some(now);
            watch.failed = if ok { 0 } else { watch.failed.saturating_add(1) };
            watch.detail = detail;
        }
    }

    /// Health checks that are due.
    pub fn step(&mut self, now: Time, items: &BTreeMap<InstanceId, Item>) -> Vec<Effect> {
        // A check belongs to one run of the process: what ended takes its history along.
        self.watches.retain(|id, _| items.get(id).is_some_and(|item| item.instance.phase == Phase::Running));
        let mut effects = Vec::new();
        for (id, item) in items.iter().filter(|(_, item)| item.instance.phase == Phase::Running) {
            let (Some(every), Some(check)) = (self.every(item), item.manifest().and_then(|m| m.check.clone())) else {
                continue;
            };
            let fresh = Watch { due: now, asked: None, ended: None, failed: 0, passed: false, detail: String::new() };
            let watch = self.watches.entry(id.clone()).or_insert(fresh);
            // An answer that never came must not end the checking.
            if now < watch.due || watch.asked.is_some_and(|asked| now < asked + every * 3) {
                continue;
            }
            watch.asked = Some(now);
            watch.due = now + every;
            let ports = item.instance.ports.clone();
            effects.push(Effect::Check { id: id.clone(), check, ports, deadline: every });
        }
        effects
    }

    /// The batches that are due, one for each horde of which something is here. `also` names hordes whose healthminder
    /// must hear that nothing is here any more.
    pub fn beats(
        &mut self,
        now: Time,
        items: &BTreeMap<InstanceId, Item>,
        also: &BTreeSet<HordeName>,
    ) -> BTreeMap<HordeName, Vec<Beat>> {
        let mut batches: BTreeMap<HordeName, Vec<Beat>> = BTreeMap::new();
        if now < self.next {
            return batches;
        }
        self.next = now + self.pace.beat();
        for horde in also {
            batches.entry(horde.clone()).or_default();
        }
        // What a stop or a plan has ended is no longer anybody's to judge.
        for (id, item) in items.iter().filter(|(_, item)| item.fills()) {
            let watch = self.watches.get(id);
            let check = watch.and_then(|watch| {
                let ended = watch.ended?;
                Some(Checkup { age: now.since(ended), failed: watch.failed, detail: watch.detail.clone() })
            });
            batches.entry(item.instance.of.horde.clone()).or_default().push(Beat {
                subject: id.clone(),
                of: item.instance.of.clone(),
                running: item.running(now),
                done: item.ended == Some(true),
                check,
                has_check: item.manifest().is_some_and(|manifest| manifest.check.is_some()),
                check_every: item
                    .manifest()
                    .and_then(|manifest| manifest.check.as_ref())
                    .map_or(Duration::ZERO, |check| Duration::from_millis(check.every_ms)),
            });
        }
        batches
    }

    /// Sends the next batch at once.
    pub fn hurry(&mut self, now: Time) {
        self.next = self.next.min(now);
    }

    /// When something is due by itself.
    #[must_use]
    pub fn deadline(&self, items: &BTreeMap<InstanceId, Item>) -> Time {
        let checks = self.watches.iter().filter_map(|(id, watch)| {
            let every = self.every(items.get(id)?)?;
            Some(watch.asked.map_or(watch.due, |asked| watch.due.max(asked + every * 3)))
        });
        checks.min().unwrap_or(Time::NEVER).min(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::super::instance::{Instance, ServiceRef};
    use super::super::known::Revision;
    use super::*;
    use crate::facts::value::{Check, Manifest};
    use alloc::sync::Arc;
    use prost::Message;

    /// A service with a health check, whose one instance has just begun to run.
    fn setup(now: Time) -> (InstanceId, BTreeMap<InstanceId, Item>) {
        let check = Check { kind: "tcp".into(), port: "http".into(), ..Check::default() };
        let manifest = Manifest { service: "api".into(), check: Some(check), ..Manifest::default() };
        let bytes: bytes::Bytes = manifest.encode_to_vec().into();
        let id: InstanceId = "n1:1:1".parse().unwrap();
        let instance = Instance {
            id: id.clone(),
            of: ServiceRef { horde: HordeName::main(), service: "api".parse().unwrap() },
            slot: 1,
            revision: Manifest::revision(&bytes),
            phase: Phase::Starting,
            pid: None,
            started: None,
            ports: BTreeMap::new(),
            restarts: 0,
            why: String::new(),
            hook: String::new(),
        };
        let mut item = Item::new(instance, false, now);
        item.revision = Some(Arc::new(Revision { bytes, manifest }));
        (id.clone(), BTreeMap::from([(id, item)]))
    }

    /// A review's find: a program that takes a moment to listen was called late at once.
    #[test]
    fn a_check_that_fails_while_an_instance_comes_up_does_not_count_unless_it_passed_or_ran_before() {
        let begin = Time::from_millis(1);
        let fails = |items: &BTreeMap<InstanceId, Item>, id: &InstanceId, passed: bool, after: u64| {
            let mut heartbeat = Heartbeat::new(begin, Pace(1000));
            heartbeat.step(begin, items);
            if passed {
                heartbeat.checked(begin, &items[id], true, "ok".into());
            }
            let now = begin + Duration::from_millis(after);
            heartbeat.checked(now, &items[id], false, "refused".into());
            let batches = heartbeat.beats(now, items, &BTreeSet::new());
            batches[&HordeName::main()][0].check.as_ref().map(|check| check.failed)
        };
        let (id, mut items) = setup(begin);
        if let Some(item) = items.get_mut(&id) {
            item.instance.phase = Phase::Running;
            item.running_since = Some(begin);
        }
        assert_eq!(fails(&items, &id, false, 4_000), None);
        assert_eq!(fails(&items, &id, false, 4_001), Some(1));
        assert_eq!(fails(&items, &id, true, 100), Some(1));
        if let Some(item) = items.get_mut(&id) {
            item.instance.restarts = 1;
        }
        assert_eq!(fails(&items, &id, false, 100), Some(1));
    }

    #[test]
    fn checks_are_asked_every_t_and_their_failures_in_a_row_are_counted() {
        let now = Time::from_millis(1);
        let (id, mut items) = setup(now);
        let mut heartbeat = Heartbeat::new(now, Pace(1000));
        assert!(heartbeat.step(now, &items).is_empty(), "nothing runs yet");
        if let Some(item) = items.get_mut(&id) {
            item.instance.phase = Phase::Running;
            item.running_since = Some(now);
        }
        assert_eq!(heartbeat.step(now, &items).len(), 1);
        assert!(heartbeat.step(now + Duration::from_secs(2), &items).is_empty(), "the answer is awaited");
        heartbeat.checked(now, &items[&id], true, "ok".into());
        for _ in 0..2 {
            heartbeat.checked(now, &items[&id], false, "refused".into());
        }
        let later = now + Duration::from_secs(2);
        assert_eq!(heartbeat.step(later, &items).len(), 1);
        let batches = heartbeat.beats(later, &items, &BTreeSet::new());
        let beat = &batches[&HordeName::main()][0];
        assert_eq!(beat.check.as_ref().map(|check| (check.failed, check.age)), Some((2, Duration::from_secs(2))));
        assert_eq!((beat.running, beat.has_check), (Some(Duration::from_secs(2)), true));
        assert!(heartbeat.beats(later, &items, &BTreeSet::new()).is_empty(), "one batch a second");
        heartbeat.checked(later, &items[&id], true, "ok".into());
        heartbeat.hurry(later);
        let batches = heartbeat.beats(later, &items, &BTreeSet::new());
        assert_eq!(batches[&HordeName::main()][0].check.as_ref().unwrap().failed, 0);
    }
}
