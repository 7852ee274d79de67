//! What does not come up: instances that keep failing, and the fulcrums that are avoided for their sake.
//!
//! An instance *fails* once it was started again [`TRIES`] times without having been ready for [`STEADY`] in between, or
//! once it has waited too long after a failed start or fetch. It then no longer fills its place while another fulcrum
//! can have it, and its fulcrum is avoided for this service and revision for [`AVOID`], twice as long each time that it
//! fails there again, at most [`AVOID_MOST`]. A new holder of the seat begins without this memory and learns it anew.

use super::super::instance::UNFETCHED;
use super::super::instance::{Instance, InstanceId, Phase, ServiceRef};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use crux_names::{Duration, FulcrumId, Hash256, Time};

/// Starts in vain, or ends in a row, after which an instance is given up where it is.
pub const TRIES: u32 = 3;
/// How long an instance must be ready for what was before to be forgotten.
pub const STEADY: Duration = Duration::from_secs(10);
/// How long one that could not be started yet may wait for its next try.
pub const START_PATIENCE: Duration = Duration::from_secs(10);
/// How long one whose files could not be fetched may wait for them.
pub const FETCH_PATIENCE: Duration = Duration::from_secs(30);
/// How long a fulcrum is avoided at first.
pub const AVOID: Duration = Duration::from_secs(60);
/// How long it is avoided at most.
pub const AVOID_MOST: Duration = Duration::from_secs(600);

#[derive(Clone, Debug, Default)]
struct Watch {
    /// Restarts that are forgiven.
    forgiven: u32,
    /// Since when it has been ready, and how often it had been started again then.
    ready: Option<(Time, u32)>,
    /// Since when it has waited after a failure without ever having run.
    waits: Option<Time>,
    failing: bool,
}

#[derive(Clone, Debug)]
struct Avoided {
    until: Time,
    pause: Duration,
    why: String,
}

/// A proctor's memory of failures.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble {
    watches: BTreeMap<InstanceId, Watch>,
    avoided: BTreeMap<(ServiceRef, Hash256), BTreeMap<FulcrumId, Avoided>>,
    now: Time,
}

impl Trouble {
    /// Looks at every instance that deans tell of, with whether it is ready and of the revision that is wanted: nobody is
    /// avoided for the sake of another one. `scaled` makes a time one of this fulcrum.
    pub fn look<'a>(
        &mut self,
        now: Time,
        scaled: impl Fn(Duration) -> Duration,
        instances: impl Iterator<Item = (&'a Instance, bool, bool)>,
    ) {
        self.now = now;
        let mut seen = BTreeSet::new();
        for (instance, ready, current) in instances {
            seen.insert(instance.id.clone());
            if matches!(instance.phase, Phase::Stopping | Phase::Gone) {
                continue;
            }
            let watch = self.watches.entry(instance.id.clone()).or_default();
            watch.look(now, &scaled, instance, ready);
            if watch.failing && current {
                let of = (instance.of.clone(), instance.revision);
                let there = self.avoided.entry(of).or_default();
                let known = there.get(&instance.id.fulcrum);
                if known.is_none_or(|known| now >= known.until) {
                    let most = scaled(AVOID_MOST);
                    let pause = known.map_or(scaled(AVOID), |known| (known.pause * 2).min(most));
                    // Without what changes with every try, so that the same trouble has the same words.
                    let why = instance.why.split("; next ").next().unwrap_or_default();
                    let why = if why.is_empty() { "it does not come up" } else { why };
                    let why = why.to_string();
                    there.insert(instance.id.fulcrum.clone(), Avoided { until: now + pause, pause, why });
                }
            }
        }
        self.watches.retain(|id, _| seen.contains(id));
        // The length of the last pause is remembered for as long again as the longest one.
        let keep = scaled(AVOID_MOST);
        self.avoided.retain(|_, there| {
            there.retain(|_, avoided| now < avoided.until + keep);
            !there.is_empty()
        });
    }

    /// Whether an instance keeps failing.
    pub fn fails(&self, id: &InstanceId) -> bool {
        self.watches.get(id).is_some_and(|watch| watch.failing)
    }

    /// Where a revision is not tried for now, and why.
    pub fn avoided(&self, of: &ServiceRef, revision: Hash256) -> BTreeMap<&FulcrumId, String> {
        let there = self.avoided.get(&(of.clone(), revision)).into_iter().flatten();
        let active = there.filter(|(_, avoided)| self.now < avoided.until);
        let say =
            |(id, avoided): (&'_ FulcrumId, &Avoided)| format!("not on {id}, where it keeps failing: {}", avoided.why);
        active.map(|(id, avoided)| (id, say((id, avoided)))).collect()
    }

    /// When something here changes by time alone.
    pub fn deadline(&self, scaled: impl Fn(Duration) -> Duration) -> Time {
        let until = self.avoided.values().flat_map(BTreeMap::values).map(|avoided| avoided.until);
        let starts = self.watches.values().filter(|watch| !watch.failing).filter_map(|watch| watch.waits);
        let patience = [scaled(START_PATIENCE), scaled(FETCH_PATIENCE)];
        let waits = starts.flat_map(|since| patience.map(|patience| since + patience));
        until.chain(waits).filter(|at| *at > self.now).min().unwrap_or(Time::NEVER)
    }
}

impl Watch {
    fn look(&mut self, now: Time, scaled: &impl Fn(Duration) -> Duration, instance: &Instance, ready: bool) {
        self.ready = match self.ready {
            _ if !ready || instance.phase != Phase::Running => None,
            Some((since, restarts)) if restarts == instance.restarts => Some((since, restarts)),
            _ => Some((now, instance.restarts)),
        };
        if self.ready.is_some_and(|(since, _)| now >= since + scaled(STEADY)) {
            self.forgiven = instance.restarts;
            self.failing = false;
        }
        let unfetched = instance.why.contains(UNFETCHED);
        let tried = instance.restarts > self.forgiven;
        if instance.phase == Phase::Running {
            self.waits = None;
        } else if instance.phase == Phase::Pending && instance.started.is_none() && (tried || unfetched) {
            let since = *self.waits.get_or_insert(now);
            let patience = scaled(if tried { START_PATIENCE } else { FETCH_PATIENCE });
            self.failing |= now >= since + patience;
        }
        self.failing |= instance.restarts.saturating_sub(self.forgiven) >= TRIES && instance.phase != Phase::Running;
    }
}
