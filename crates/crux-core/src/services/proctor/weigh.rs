//! What a horde's instances ask for, and whether an update that asks for more has room where it happens.
//!
//! An instance is brought to another revision where it runs, if there is room for what that asks for more. If its fulcrum is
//! too full, one at a time is moved: it stays until its successor elsewhere is ready. If nobody has room, or the quota leaves
//! none, it stays as it is, and the plan says so.

use super::super::instance::ServiceRef;
use super::planning::{Stock, Unit};
use super::{Seen, Wanted};
use crate::khan::Ask;
use crate::resources::{NAMES, Resources, shown};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use crux_names::{FulcrumId, Hash256, HordeName};

/// What becomes of an instance whose revision is not the wanted one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Renewal {
    /// It is replaced where it runs, in its turn.
    #[default]
    Here,
    /// There is no room for its successor where it runs, so that comes up elsewhere.
    Elsewhere(String),
    /// It stays as it is for now.
    Waits(String),
}

/// What one instance of a revision asks for.
pub(super) fn ask(wanted: &Wanted, revision: &Hash256) -> Resources {
    wanted.asks.get(revision).copied().unwrap_or_default()
}

/// What one unit uses: one that has ended uses nothing any more.
pub(super) fn uses(wanted: &Wanted, unit: &Unit) -> Resources {
    if unit.ended { Resources::default() } else { ask(wanted, &unit.revision) }
}

/// What every service asks for, and what becomes of instances of other revisions. Nothing moves unless all is `settled`.
pub(super) fn weigh(
    horde: &HordeName,
    seen: &Seen<'_>,
    stocks: &mut BTreeMap<&ServiceRef, Stock>,
    settled: bool,
) -> BTreeMap<ServiceRef, Ask> {
    if seen.wanted.values().all(|wanted| wanted.asks.is_empty()) {
        return BTreeMap::new();
    }
    let mut hosts: BTreeMap<FulcrumId, Resources> = BTreeMap::new();
    let mut all = Resources::default();
    for (of, stock) in stocks.iter() {
        for unit in &stock.units {
            let used = uses(&seen.wanted[*of], unit);
            let host = hosts.entry(unit.on.clone()).or_default();
            (*host, all) = (host.plus(used), all.plus(used));
        }
    }
    let limit = seen.quota.unwrap_or_default().as_limit();
    let mut asks = BTreeMap::new();
    for (of, stock) in stocks.iter_mut() {
        let wanted = &seen.wanted[*of];
        let mut asked = Ask { each: ask(wanted, &wanted.revision), runs: BTreeMap::new() };
        for (rank, unit) in stock.units.iter_mut().enumerate() {
            let used = uses(wanted, unit);
            let mut weight = used;
            if unit.revision != wanted.revision {
                let more = asked.each.less(used);
                let host = hosts.entry(unit.on.clone()).or_default();
                let has = seen.homes.get(&unit.on).and_then(|home| home.capacity);
                let lacks_here = lacks(has.unwrap_or_default(), *host, more);
                let lacks_quota = lacks(limit, all, more);
                unit.renewal = match () {
                    () if !lacks_quota.is_empty() => {
                        Renewal::Waits(format!("quota of horde {horde}: {}", lacks_quota.join(" and ")))
                    }
                    () if !lacks_here.is_empty() => {
                        Renewal::Elsewhere(format!("{} has {}", unit.on, lacks_here.join(" and ")))
                    }
                    () => {
                        (*host, all, weight) = (host.plus(more), all.plus(more), used.or_more(asked.each));
                        Renewal::Here
                    }
                };
            }
            if weight != asked.each {
                asked.runs.insert(rank as u64, weight);
            }
        }
        one_at_a_time(wanted, &mut stock.units, settled);
        if asked != Ask::default() {
            asks.insert((*of).clone(), asked);
        }
    }
    asks
}

/// Of those that have to move one does at a time, when all that are new are ready and none is left to be renewed in place.
fn one_at_a_time(wanted: &Wanted, units: &mut [Unit], settled: bool) {
    let current = |unit: &Unit| unit.revision == wanted.revision;
    let mut may = settled
        && units.iter().all(|unit| match unit.renewal {
            _ if current(unit) => unit.ready,
            Renewal::Here => false,
            _ => true,
        });
    for unit in units.iter_mut().filter(|unit| !current(unit)) {
        if let Renewal::Elsewhere(why) = &unit.renewal
            && !core::mem::take(&mut may)
        {
            unit.renewal = Renewal::Waits(why.clone());
        }
    }
}

/// Of what so much more is not left, with figures.
fn lacks(all: Resources, used: Resources, more: Resources) -> Vec<String> {
    let free = all.less(used);
    let say = |which: usize| {
        let [all, used, more] = [all, used, more].map(|amounts| shown(which, amounts.amounts()[which]));
        format!("{} {all}, {used} in use, and this update needs {more} more", NAMES[which])
    };
    free.lacks(&more).map(say).collect()
}
