//! Healthminder: what *is*, by published rules. One per horde, at its seat. There is one default rule:
//!
//! | input | healthy | late | dead |
//! |---|---|---|---|
//! | heartbeat, every T | age ≤ 2 T | ≤ 4 T | > 4 T |
//! | health check, every T | the last one passed | 1 or 2 failed in a row | 3 failed in a row |
//! | its last answer | age ≤ 2 T | ≤ 4 T | > 4 T |
//! | process | runs | does not run, ≤ 4 T | does not run, > 4 T |
//! | node | in the view | | not in the view: its instances are *gone*, not dead |
//!
//! T is 2 s; for health checks it is what the manifest says. A check that fails within 4 s of an instance's first start,
//! before any passed, does not count: it is *unknown* until then, and the age of an answer that never came counts from
//! there. An instance is `ready` when every input that it has is healthy, and without a check after it ran 1 s. The
//! worst input decides, and the verdict names it. A new healthminder carries the old verdicts until 4 T. Not here yet:
//! rules of operators, flap damping, peers' reports.

use super::instance::{InstanceId, ServiceRef};
use super::pace::{Pace, seconds};
use super::verdict::{Beat, Health, Verdict};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use crux_names::{Duration, FulcrumId, HordeName, Time};

#[derive(Clone, Debug)]
struct Patient {
    of: ServiceRef,
    /// The last beat and when it came; `None`: only known from the healthminder before this one.
    beat: Option<(Time, Beat)>,
    /// Since when its process does not run, by the beats.
    idle: Option<Time>,
    health: Health,
    since: Time,
    rule: &'static str,
    why: String,
    /// When this healthminder first knew of it.
    known: Time,
}

/// The healthminder of one horde at one fulcrum.
#[derive(Clone, Debug)]
pub struct Healthminder {
    horde: HordeName,
    pace: Pace,
    patients: BTreeMap<InstanceId, Patient>,
}

impl Healthminder {
    /// Takes over with the verdicts that were last heard of.
    #[must_use]
    pub fn new(now: Time, horde: HordeName, pace: Pace, carried: &[Verdict]) -> Self {
        let patient = |verdict: &Verdict| Patient {
            of: verdict.of.clone(),
            beat: None,
            idle: None,
            health: verdict.health,
            since: now - verdict.for_,
            rule: "carried",
            why: format!("the verdict of the healthminder before: {}", verdict.why),
            known: now,
        };
        let patients = carried.iter().map(|verdict| (verdict.subject.clone(), patient(verdict))).collect();
        Self { horde, pace, patients }
    }

    /// The horde.
    #[must_use]
    pub fn horde(&self) -> &HordeName {
        &self.horde
    }

    /// Takes a fulcrum's batch: everything of this horde that it has. What it had and no longer names is off the books.
    pub fn hear(&mut self, now: Time, from: &FulcrumId, beats: Vec<Beat>) {
        let named: BTreeSet<&InstanceId> = beats.iter().map(|beat| &beat.subject).collect();
        self.patients.retain(|id, _| id.fulcrum != *from || named.contains(id));
        for beat in beats.into_iter().filter(|beat| beat.subject.fulcrum == *from && beat.of.horde == self.horde) {
            let patient = self.patients.entry(beat.subject.clone()).or_insert_with(|| Patient {
                of: beat.of.clone(),
                beat: None,
                idle: None,
                health: Health::Unknown,
                since: now,
                rule: "not-yet",
                why: String::from("nothing was heard yet"),
                known: now,
            });
            patient.idle = if beat.running.is_some() || beat.done { None } else { patient.idle.or(Some(now)) };
            patient.beat = Some((now, beat));
        }
    }

    /// Applies the rules. Answers with the verdicts that changed: what it was, and what it is.
    pub fn judge(&mut self, now: Time, present: impl Fn(&FulcrumId) -> bool) -> Vec<(Health, Verdict)> {
        let mut changed = Vec::new();
        let forget = self.pace.ms(60_000);
        self.patients.retain(|_, patient| patient.health != Health::Gone || now < patient.since + forget);
        for (id, patient) in &mut self.patients {
            let (health, rule, why) = judge(now, self.pace, patient, present(&id.fulcrum), &id.fulcrum);
            let before = patient.health;
            if health != before {
                patient.since = now;
            }
            (patient.health, patient.rule, patient.why) = (health, rule, why);
            if health != before {
                changed.push((before, verdict(now, id, patient)));
            }
        }
        changed
    }

    /// All verdicts.
    #[must_use]
    pub fn verdicts(&self, now: Time) -> Vec<Verdict> {
        self.patients.iter().map(|(id, patient)| verdict(now, id, patient)).collect()
    }

    /// When time alone may change a verdict.
    #[must_use]
    pub fn deadline(&self, now: Time) -> Time {
        let t = self.pace.t();
        let just = Duration::from_millis(1);
        let moments = self.patients.values().flat_map(|patient| {
            let heard = patient.beat.as_ref().map_or(patient.known, |(at, _)| *at);
            [heard + t * 2 + just, heard + t * 4 + just, patient.idle.map_or(Time::NEVER, |at| at + t * 4 + just)]
        });
        moments.filter(|at| *at > now).min().unwrap_or(Time::NEVER)
    }
}

fn verdict(now: Time, id: &InstanceId, patient: &Patient) -> Verdict {
    Verdict {
        subject: id.clone(),
        of: patient.of.clone(),
        health: patient.health,
        for_: now.since(patient.since),
        rule: patient.rule.into(),
        why: patient.why.clone(),
    }
}

/// How bad a state is: the worst input decides.
fn rank(health: Health) -> u8 {
    match health {
        Health::Done | Health::Ready => 0,
        Health::Unknown => 1,
        Health::Late => 2,
        Health::Dead => 3,
        Health::Gone => 4,
    }
}

fn judge(now: Time, pace: Pace, patient: &Patient, present: bool, node: &FulcrumId) -> (Health, &'static str, String) {
    if !present {
        return (Health::Gone, "node-gone", format!("{node} is not a member of this flock"));
    }
    let t = pace.t();
    let Some((heard, beat)) = &patient.beat else {
        if now.since(patient.known) <= t * 4 {
            // Gone was said of a node that is here again: nothing is known until it is heard.
            let health = if patient.health == Health::Gone { Health::Unknown } else { patient.health };
            return (health, patient.rule, patient.why.clone());
        }
        let why = format!("no beat since this healthminder took over {} ago", seconds(now.since(patient.known)));
        return (Health::Dead, "beat-age", why);
    };
    if beat.done {
        return (Health::Done, "done", String::from("it ended well and is not meant to run on"));
    }
    let age = now.since(*heard);
    let beats = if age > t * 4 {
        (Health::Dead, "beat-age", format!("last beat {} ago, dead after {}", seconds(age), seconds(t * 4)))
    } else if age > t * 2 {
        (Health::Late, "beat-age", format!("last beat {} ago, late after {}", seconds(age), seconds(t * 2)))
    } else {
        (Health::Ready, "beat-age", format!("last beat {} ago", seconds(age)))
    };
    [process(now, pace, patient, beat), checks(now, pace, *heard, beat)].into_iter().flatten().fold(
        beats,
        |worst, next| {
            // Of equals the later speaks: that a check passed says more than that beats come.
            if rank(next.0) >= rank(worst.0) { next } else { worst }
        },
    )
}

fn process(now: Time, pace: Pace, patient: &Patient, beat: &Beat) -> Option<(Health, &'static str, String)> {
    let least = pace.ms(1_000);
    match beat.running {
        Some(ran) if beat.has_check || ran >= least => {
            (!beat.has_check).then(|| (Health::Ready, "running-1s", format!("its process has run {}", seconds(ran))))
        }
        Some(ran) => {
            let why = format!("its process has run {}, ready after {}", seconds(ran), seconds(least));
            Some((Health::Unknown, "running-1s", why))
        }
        None => {
            let idle = patient.idle.map_or(Duration::ZERO, |since| now.since(since));
            let was_up = !matches!(patient.health, Health::Unknown);
            let limit = pace.t() * 4;
            Some(if !was_up && patient.rule != "not-running" {
                (Health::Unknown, "not-yet", String::from("its process has not started yet"))
            } else if idle > limit {
                let why = format!("its process has not run for {}, dead after {}", seconds(idle), seconds(limit));
                (Health::Dead, "not-running", why)
            } else {
                (Health::Late, "not-running", format!("its process has not run for {}", seconds(idle)))
            })
        }
    }
}

fn checks(now: Time, pace: Pace, heard: Time, beat: &Beat) -> Option<(Health, &'static str, String)> {
    let ran = beat.running.filter(|_| beat.has_check)?;
    let every = if beat.check_every.is_zero() { pace.t() } else { beat.check_every };
    let since = now.since(heard);
    let silent = |age: Duration, what: &str| {
        let (late, dead) = (every * 2, every * 4);
        let (health, limit, word) = match () {
            () if age > dead => (Health::Dead, dead, "dead"),
            () if age > late => (Health::Late, late, "late"),
            () => return None,
        };
        Some((health, "check-age", format!("{what} {} ago, {word} after {}", seconds(age), seconds(limit))))
    };
    let Some(check) = &beat.check else {
        let grace = pace.t() * 2;
        let age = (ran + since).saturating_sub(grace);
        let none =
            || (Health::Unknown, "not-yet", String::from("no health check has passed yet, and none counts as failed"));
        return silent(age, "no health check has ended since it should have been up,").or_else(|| Some(none()));
    };
    let age = check.age + since;
    let answer = match check.failed {
        0 => {
            let why = format!("health check passed {} ago: {}", seconds(age), check.detail);
            (Health::Ready, "check-passed", why)
        }
        failed @ 1..=2 => {
            let why = format!("{failed} health checks in a row failed, dead after 3: {}", check.detail);
            (Health::Late, "check-failed", why)
        }
        failed => (Health::Dead, "check-failed", format!("{failed} health checks in a row failed: {}", check.detail)),
    };
    Some(match silent(age, "the last health check ended") {
        Some(silent) if rank(silent.0) > rank(answer.0) => silent,
        _ => answer,
    })
}

#[cfg(test)]
mod tests {
    use super::super::verdict::Checkup;
    use super::*;

    fn of() -> ServiceRef {
        ServiceRef { horde: HordeName::main(), service: "api".parse().unwrap() }
    }

    fn id() -> InstanceId {
        "n1:1:1".parse().unwrap()
    }

    fn beat(running: Option<u64>) -> Beat {
        Beat {
            subject: id(),
            of: of(),
            running: running.map(Duration::from_millis),
            done: false,
            check: None,
            has_check: false,
            check_every: Duration::ZERO,
        }
    }

    fn minder() -> Healthminder {
        Healthminder::new(Time::ZERO, HordeName::main(), Pace(1000), &[])
    }

    fn state(minder: &mut Healthminder, millis: u64, present: bool) -> (Health, String) {
        let now = Time::from_millis(millis);
        minder.judge(now, |_| present);
        let verdict = minder.verdicts(now).remove(0);
        (verdict.health, verdict.rule)
    }

    #[test]
    fn the_age_of_the_last_beat_makes_ready_late_and_dead_exactly_at_the_published_limits() {
        let mut minder = minder();
        minder.hear(Time::from_millis(1_000), &"n1".parse().unwrap(), Vec::from([beat(Some(5_000))]));
        for (at, health) in
            [(5_000, Health::Ready), (5_001, Health::Late), (9_000, Health::Late), (9_001, Health::Dead)]
        {
            assert_eq!(state(&mut minder, at, true).0, health, "at {at} ms");
        }
        assert_eq!(minder.deadline(Time::from_millis(1_000)), Time::from_millis(5_001));
        assert_eq!(state(&mut minder, 9_002, false), (Health::Gone, "node-gone".into()));
    }

    #[test]
    fn without_a_check_it_is_ready_after_it_ran_one_second() {
        let mut minder = minder();
        let node = "n1".parse().unwrap();
        minder.hear(Time::from_millis(1), &node, Vec::from([beat(None)]));
        assert_eq!(state(&mut minder, 1, true), (Health::Unknown, "not-yet".into()));
        minder.hear(Time::from_millis(2), &node, Vec::from([beat(Some(999))]));
        assert_eq!(state(&mut minder, 2, true), (Health::Unknown, "running-1s".into()));
        minder.hear(Time::from_millis(3), &node, Vec::from([beat(Some(1_000))]));
        assert_eq!(state(&mut minder, 3, true), (Health::Ready, "running-1s".into()));
    }

    #[test]
    fn failed_checks_in_a_row_make_late_and_then_dead_and_the_verdict_names_them() {
        let mut minder = minder();
        let node: FulcrumId = "n1".parse().unwrap();
        for (failed, health, rule) in [
            (0, Health::Ready, "check-passed"),
            (1, Health::Late, "check-failed"),
            (2, Health::Late, "check-failed"),
            (3, Health::Dead, "check-failed"),
        ] {
            let check = Some(Checkup { age: Duration::ZERO, failed, detail: "503".into() });
            let beat = Beat { check, has_check: true, ..beat(Some(10)) };
            minder.hear(Time::from_millis(1), &node, Vec::from([beat]));
            assert_eq!(state(&mut minder, 1, true), (health, rule.into()));
            assert!(minder.verdicts(Time::from_millis(1))[0].why.contains("503"));
        }
    }

    /// A review's find: an instance whose checks no longer came back stayed ready for as long as its process lived.
    #[test]
    fn a_check_that_answers_no_more_makes_late_and_dead_by_its_age() {
        let node: FulcrumId = "n1".parse().unwrap();
        let checked = |every: u64, check: Option<u64>, ran: u64, ago: u64| {
            let mut minder = minder();
            let check = check.map(|age| Checkup { age: Duration::from_millis(age), failed: 0, detail: "ok".into() });
            let check_every = Duration::from_millis(every);
            let beat = Beat { check, has_check: true, check_every, ..beat(Some(ran)) };
            minder.hear(Time::from_millis(1_000), &node, Vec::from([beat]));
            state(&mut minder, 1_000 + ago, true)
        };
        let passed = |age: u64, ago: u64| checked(0, Some(age), 60_000, ago);
        assert_eq!(passed(3_000, 1_000), (Health::Ready, "check-passed".into()));
        assert_eq!(passed(3_000, 1_001), (Health::Late, "check-age".into()), "it grows between the beats");
        assert_eq!(passed(8_000, 0).0, Health::Late);
        assert_eq!(passed(8_001, 0), (Health::Dead, "check-age".into()));
        let slow = |age: u64| checked(10_000, Some(age), 60_000, 0).0;
        assert_eq!((slow(20_000), slow(20_001), slow(40_001)), (Health::Ready, Health::Late, Health::Dead));
        // The first one never ends.
        let none = |ran: u64| checked(0, None, ran, 0).0;
        assert_eq!((none(8_000), none(8_001), none(12_001)), (Health::Unknown, Health::Late, Health::Dead));
    }

    #[test]
    fn a_process_that_stopped_running_is_late_until_four_t_and_then_dead() {
        let mut minder = minder();
        let node: FulcrumId = "n1".parse().unwrap();
        minder.hear(Time::from_millis(0), &node, Vec::from([beat(Some(5_000))]));
        assert_eq!(state(&mut minder, 0, true).0, Health::Ready);
        for second in 1..=9 {
            minder.hear(Time::from_millis(second * 1_000), &node, Vec::from([beat(None)]));
            assert_eq!(state(&mut minder, second * 1_000, true), (Health::Late, "not-running".into()), "at {second} s");
        }
        minder.hear(Time::from_millis(9_500), &node, Vec::from([beat(None)]));
        assert_eq!(state(&mut minder, 9_500, true), (Health::Dead, "not-running".into()));
    }

    #[test]
    fn a_new_healthminder_carries_the_old_verdicts_until_four_t() {
        let old = Verdict {
            subject: id(),
            of: of(),
            health: Health::Ready,
            for_: Duration::from_secs(7),
            rule: "running-1s".into(),
            why: "its process has run 7 s".into(),
        };
        let mut minder = Healthminder::new(Time::ZERO, HordeName::main(), Pace(1000), &[old]);
        assert_eq!(state(&mut minder, 8_000, true), (Health::Ready, "carried".into()));
        assert_eq!(state(&mut minder, 8_001, true), (Health::Dead, "beat-age".into()));
    }

    #[test]
    fn what_a_fulcrum_no_longer_names_is_off_the_books_and_nobody_speaks_for_another() {
        let mut minder = minder();
        minder.hear(Time::ZERO, &"n1".parse().unwrap(), Vec::from([beat(Some(1))]));
        minder.hear(Time::ZERO, &"n2".parse().unwrap(), Vec::new());
        assert_eq!(minder.verdicts(Time::ZERO).len(), 1);
        minder.hear(Time::ZERO, &"n2".parse().unwrap(), Vec::from([beat(Some(1))]));
        minder.hear(Time::ZERO, &"n1".parse().unwrap(), Vec::new());
        assert!(minder.verdicts(Time::ZERO).is_empty());
    }
}
