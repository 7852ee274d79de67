//! What a set permits one host, as far as the host can tell alone. A placement follows from who is present, what runs and
//! what was lost; a host that is told to run something knows these later or otherwise than whoever decided. What it can
//! tell for certain is whether an operator's words leave room for it at all.

use super::ast::{Number, Set};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use crux_names::{FulcrumId, ServiceName};

/// A host, and what the names stand for.
#[derive(Clone, Copy, Debug)]
pub struct Lone<'a> {
    /// The host.
    pub id: &'a FulcrumId,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// The horde's named sets.
    pub sets: &'a BTreeMap<String, Set>,
}

/// The names that are being read, what those said that were, and whether one of them needs itself.
#[derive(Default)]
struct Walk<'s> {
    within: BTreeSet<&'s str>,
    /// A name may be used many times, and so may those in it: each is read once.
    known: BTreeMap<&'s str, (bool, bool)>,
    round: bool,
}

impl Lone<'_> {
    /// How many instances of a service the picks of this set may put on the host at most: none, if it cannot be in the set of
    /// any of them. A number that is not written out permits any.
    #[must_use]
    pub fn most(&self, service: &ServiceName, set: &Set) -> u32 {
        let mut most: u32 = 0;
        set.picks(&mut |pick| {
            let mut walk = Walk::default();
            // Nobody plans by words that need themselves.
            if pick.service == *service && self.may(&pick.set, &mut walk).0 && !walk.round {
                most = most.saturating_add(match pick.count {
                    Number::Int(count) => count,
                    Number::Size(_) | Number::Sum(..) | Number::Product(..) => u32::MAX,
                });
            }
        });
        most
    }

    /// Whether the host may be in the set, and whether it may be outside: both, where that depends on others.
    fn may<'s>(&'s self, set: &'s Set, walk: &mut Walk<'s>) -> (bool, bool) {
        let is = |holds: bool| (holds, !holds);
        match set {
            Set::All => (true, false),
            Set::Label { key, value: Some(value) } => is(self.labels.get(key) == Some(value)),
            Set::Label { key, value: None } => is(self.labels.contains_key(key)),
            Set::Node(node) => {
                let whole_node = node.fulcrum.as_str() == crux_names::DEFAULT_FULCRUM;
                is(self.id == node || (whole_node && self.id.node == node.node))
            }
            Set::Name { name, .. } => match self.sets.get(name) {
                Some(_) if walk.known.contains_key(name.as_str()) => walk.known[name.as_str()],
                Some(set) if walk.within.insert(name) => {
                    let may = self.may(set, walk);
                    walk.within.remove(name.as_str());
                    walk.known.insert(name, may);
                    may
                }
                known => {
                    walk.round |= known.is_some();
                    (false, true)
                }
            },
            // Where the pick puts its service depends on others; beyond its own set it never does.
            Set::Pick(pick) => (self.may(&pick.set, walk).0, true),
            Set::Not(set) => {
                let (inside, outside) = self.may(set, walk);
                (outside, inside)
            }
            Set::And(sets) => sets.iter().fold((true, false), |(inside, outside), set| {
                let may = self.may(set, walk);
                (inside && may.0, outside || may.1)
            }),
            Set::Or(sets) => sets.iter().fold((false, true), |(inside, outside), set| {
                let may = self.may(set, walk);
                (inside || may.0, outside && may.1)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_set;
    use super::*;
    use alloc::string::ToString;

    /// A name that stands for another one twice, and so on: each dean that was to start something took for ever.
    #[test]
    fn names_that_use_names_twice_are_each_read_once() {
        let deep = (0..64).map(|n| (alloc::format!("s{n}"), alloc::format!("s{} & s{}", n + 1, n + 1)));
        let last = [("s64".to_string(), "ALL".to_string())];
        let sets = deep.chain(last).map(|(name, set)| (name, parse_set(&set).unwrap())).collect();
        let (id, api, labels) = ("n1".parse().unwrap(), "api".parse().unwrap(), BTreeMap::new());
        let host = Lone { id: &id, labels: &labels, sets: &sets };
        assert_eq!(host.most(&api, &parse_set("pick(api, 3, s0)").unwrap()), 3);
    }

    #[test]
    fn a_set_permits_what_it_may_come_to_mean_and_nothing_else() {
        let labels = BTreeMap::from([("zone".to_string(), "a".to_string())]);
        let named = [("big", "LABEL(size=big)"), ("mine", "NODE(n1)"), ("round", "!round"), ("db", "pick(db, 1, ALL)")];
        let sets = named.iter().map(|(name, set)| ((*name).to_string(), parse_set(set).unwrap())).collect();
        let (id, api) = ("n1".parse().unwrap(), "api".parse().unwrap());
        let host = Lone { id: &id, labels: &labels, sets: &sets };
        for (text, most) in [
            ("pick(api, 3, ALL)", 3),
            ("pick(api, 3, LABEL(zone=a))", 3),
            ("pick(api, 3, LABEL(zone=b))", 0),
            ("pick(api, 3, !LABEL(zone=b))", 3),
            ("pick(api, 3, LABEL(zone) & !NODE(n1))", 0),
            ("pick(api, 3, big)", 0),
            ("pick(api, 3, big | mine)", 3),
            ("pick(api, SIZE(ALL), mine)", u32::MAX),
            ("pick(api, 2 * 1, ALL)", u32::MAX),
            ("pick(api, 1, big) | pick(api, 2, mine)", 2),
            ("pick(api, 2, db)", 2),
            ("pick(api, 2, !db)", 2),
            ("pick(api, 2, db & big)", 0),
            ("pick(api, 2, round)", 0),
            ("pick(api, 2, nobody)", 0),
            ("pick(db, 2, ALL)", 0),
        ] {
            assert_eq!(host.most(&api, &parse_set(text).unwrap()), most, "{text}");
        }
    }
}
