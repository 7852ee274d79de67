//! How hordes stand: whole, parted or thin, and the words that are said when that changes.

use super::effect::Event;
use super::roles::{HordeRoles, Roles};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use crux_names::{FulcrumId, HordeName};

/// How a horde is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All home members are here, as many as wanted.
    Whole,
    /// Home members are in other flocks, or not seen here.
    Parted,
    /// Fewer home members than wanted.
    Thin,
}

impl HordeRoles {
    /// How this horde is, of which an operator wants so many home members, if any said so.
    #[must_use]
    pub fn standing(&self, want: Option<u32>) -> Standing {
        if !self.absent.is_empty() {
            Standing::Parted
        } else if self.present.len() + self.joining.len() < want.unwrap_or(0) as usize {
            Standing::Thin
        } else {
            Standing::Whole
        }
    }
}

/// What was said last of each horde.
#[derive(Clone, Debug, Default)]
pub struct Said(BTreeMap<HordeName, (Standing, Vec<FulcrumId>)>);

impl Said {
    /// What is to be said now. Only a flock that is stable knows who is missing; ADMIN is a flag, and nobody waits for who
    /// carried it.
    pub fn news(&mut self, roles: &Roles, want: impl Fn(&HordeName) -> Option<u32>) -> Vec<Event> {
        let mut events = Vec::new();
        self.0.retain(|horde, _| roles.hordes.contains_key(horde) || want(horde).is_some());
        for (horde, members) in roles.hordes.iter().filter(|(horde, _)| **horde != HordeName::admin()) {
            let is = members.standing(want(horde));
            let absent = members.absent.clone();
            let before = self.0.insert(horde.clone(), (is, absent.clone()));
            let was = before.as_ref().map(|(standing, _)| *standing);
            if before.as_ref() == Some(&(is, absent)) || (was.is_none() && is == Standing::Whole) {
                continue;
            }
            let mut say = |kind, does: &str| {
                let wanted = want(horde).map(|want| format!(" ({want} wanted)")).unwrap_or_default();
                let (present, absent) = (names(&members.present), names(&members.absent));
                let text = format!("horde {horde} {does}{wanted}; present: {present}; absent: {absent}");
                events.push(Event { kind, subject: format!("{horde}"), text });
            };
            if was == Some(Standing::Parted) && is != Standing::Parted {
                say("horde-rejoined", "has all its home members here again");
            }
            match is {
                Standing::Parted => say("horde-parted", "misses home members"),
                Standing::Thin => say("horde-thin", "has too few home members"),
                Standing::Whole if was == Some(Standing::Thin) => say("horde-whole", "has all home members"),
                Standing::Whole => {}
            }
        }
        events
    }
}

fn names(ids: &[FulcrumId]) -> String {
    let mut names: Vec<String> = ids.iter().map(ToString::to_string).collect();
    names.sort();
    if names.is_empty() { String::from("nobody") } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_once_with_who_is_here_and_who_is_not() {
        let web: HordeName = "web".parse().unwrap();
        let mut said = Said::default();
        let mut after = |present: &str, absent: &str, want: Option<u32>| -> Vec<String> {
            let ids = |names: &str| names.split_whitespace().map(|name| name.parse().unwrap()).collect();
            let horde = HordeRoles { present: ids(present), absent: ids(absent), ..HordeRoles::default() };
            let mut roles = Roles::default();
            roles.hordes.insert(web.clone(), horde);
            let events = said.news(&roles, |_| want);
            events.into_iter().map(|event| format!("{}: {}", event.kind, event.text)).collect()
        };
        assert_eq!(
            after("n2 n1", "", Some(3)),
            ["horde-thin: horde web has too few home members (3 wanted); present: n1, n2; absent: nobody"]
        );
        assert!(after("n1 n2", "", Some(3)).is_empty(), "once");
        assert_eq!(
            after("n1 n2 n3", "", Some(3)),
            ["horde-whole: horde web has all home members (3 wanted); present: n1, n2, n3; absent: nobody"]
        );
        assert_eq!(
            after("n1 n2", "n3", Some(3)),
            ["horde-parted: horde web misses home members (3 wanted); present: n1, n2; absent: n3"]
        );
        assert_eq!(after("n1", "n2 n3", Some(3)).len(), 1, "one more is missed");
        assert_eq!(
            after("n1 n2 n3", "", Some(3)),
            [
                "horde-rejoined: horde web has all its home members here again (3 wanted); present: n1, n2, n3; absent: nobody"
            ]
        );
        // One was missed and then forgotten.
        after("n1 n2", "n3", Some(3));
        let kinds: Vec<_> =
            after("n1 n2", "", Some(3)).iter().map(|text| text.split(':').next().unwrap().to_string()).collect();
        assert_eq!(kinds, ["horde-rejoined", "horde-thin"]);
    }

    #[test]
    fn that_a_horde_is_whole_from_the_beginning_is_no_news() {
        let mut roles = Roles::default();
        roles.hordes.insert(HordeName::main(), HordeRoles::default());
        assert!(Said::default().news(&roles, |_| None).is_empty());
    }
}
