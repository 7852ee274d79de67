//! Boot: how a bloc without any horde comes to have ADMIN, and how a fulcrum changes its home. The design's bootstrap as
//! a table: each line says when it applies and what it writes into the fulcrum's *own* row. Nobody writes another's row.
//!
//! Nothing here sleeps, exits or depends on order: every line is looked at whenever anything has changed, at most one
//! applies at a time, and the next is looked at when the row that it wrote has come back as a fact.

use super::admit::Admits;
use super::known::Known;
use super::pace::Pace;
use super::roles::{HordeRoles, Roles, home_of, stands_in};
use super::vacancy::{self, Absences};
use crate::facts::value::Row;
use crate::resources::Resources;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use crux_names::{ADMIN, FulcrumId, HordeName, Time, Wall};

/// What the table looks at.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    /// This fulcrum.
    pub me: &'a FulcrumId,
    /// The labels of its certificate.
    pub labels: &'a BTreeMap<String, String>,
    /// The admission of its certificate.
    pub admission: u32,
    /// What it has for services, as it was measured at its start.
    pub capacity: Option<Resources>,
    /// Its own row; `None` before it wrote one.
    pub row: Option<&'a Row>,
    /// Whether it leads the flock.
    pub leader: bool,
    /// Whether the flock is stable.
    pub stable: bool,
    /// Whether it has been stable for so long that facts which others hold have arrived.
    pub settled: bool,
    /// Whether the services that a member needs run here and answer.
    pub answers: bool,
    /// Whether those that ADMIN needs do, too.
    pub admin_answers: bool,
    /// Who sits where.
    pub roles: &'a Roles,
    /// What the facts say.
    pub known: &'a Known,
    /// An offer of the ADMIN flag by the present seat of ADMIN.
    pub offered_admin: bool,
    /// A horde that the present seat of ADMIN offers, and in whose place if only to stand in.
    pub offered: Option<(&'a HordeName, Option<&'a FulcrumId>)>,
    /// Whether nothing runs here for the horde at which it stands in.
    pub idle: bool,
    /// What is stamped as the moment at which it came into a horde.
    pub wall: Wall,
    /// Since when home members have been missed, as this fulcrum saw it.
    pub absences: &'a Absences,
    /// The moment.
    pub now: Time,
    /// How fast time counts here.
    pub pace: Pace,
}

impl Situation<'_> {
    fn flag(&self) -> &str {
        self.row.map_or("", |row| row.admin.as_str())
    }

    /// What its row says that it has: what was said before, unless that has changed by a step.
    fn told_capacity(&self) -> Option<Resources> {
        match (self.capacity, self.row.and_then(|row| row.capacity)) {
            (Some(now), Some(told)) if !now.differs(&told) => Some(told),
            (now, _) => now,
        }
    }

    /// Whether its row agrees with its certificate, and with what it has.
    fn is_described(&self) -> bool {
        self.row.is_some_and(|row| {
            let told = row.capacity == self.told_capacity();
            row.labels == *self.labels && row.admitted() == self.admission && told
        })
    }

    fn home(&self) -> (HordeName, bool) {
        self.row.map_or_else(|| (HordeName::main(), false), home_of)
    }

    fn admin_wants_more(&self) -> bool {
        self.roles.carriers.has(self.me) && self.roles.flags_open() > 0
    }

    /// How many more home members the facts want for a horde; negative: fewer. `None` if no fact wants the horde.
    fn missing(&self, horde: &HordeName) -> Option<i64> {
        // A fact of `main` tells of its quota; nobody counts its members.
        if *horde == HordeName::main() {
            return None;
        }
        let want = i64::from(self.known.hordes().get(horde)?.want);
        let have = self.roles.hordes.get(horde).map_or(0, |roles| roles.home().len());
        Some(want - i64::try_from(have).unwrap_or(i64::MAX))
    }

    fn stands_in(&self) -> Option<(HordeName, FulcrumId)> {
        self.row.and_then(stands_in)
    }

    /// The home that is offered to it for good.
    fn offered_home(&self) -> Option<&HordeName> {
        self.offered.filter(|(horde, of)| of.is_none() && **horde != HordeName::main()).map(|(horde, _)| horde)
    }

    fn is_released(&self) -> bool {
        self.offered.is_some_and(|(horde, _)| *horde == HordeName::main())
    }

    /// Whether it may stand in for this member: it is of the horde, is not here, nobody else does, and it has been missed for
    /// long. Who offers counts from another moment, so half of the time by the own count is long enough.
    fn may_stand_in(&self, horde: &HordeName, of: &FulcrumId) -> bool {
        let missed = |fact| {
            let after = vacancy::after(fact, self.pace)?;
            Some(self.now >= self.absences.since(of)? + after / 2)
        };
        let fact = self.known.hordes().get(horde).filter(|fact| vacancy::may_be_filled(horde, fact));
        let allowed = fact.and_then(missed).unwrap_or(false);
        let open = |members: &HordeRoles| {
            members.absent.contains(of) && !members.substitutes.iter().any(|substitute| substitute.of == *of)
        };
        allowed && self.may_take(horde) && self.roles.hordes.get(horde).is_some_and(open)
    }

    /// Whether it is its turn to end standing in at a horde.
    fn is_next_to_go(&self, horde: &HordeName) -> bool {
        let want = self.known.hordes().get(horde).map_or(0, |fact| fact.want);
        let next = self.roles.hordes.get(horde).and_then(|members| vacancy::next_to_go(members, want));
        next == Some(self.me)
    }

    fn may_take(&self, horde: &HordeName) -> bool {
        let admits = self.known.hordes().get(horde).map(|fact| Admits::parse(&fact.r#where));
        let labels = self.known.with_given(&self.me.node, self.labels.clone());
        let cordoned = self.known.cordon(self.me).is_some();
        !cordoned && matches!(admits, Some(Ok(admits)) if admits.admits(self.me, &labels))
    }
}

/// One line of the table.
pub struct Rule {
    /// The rule's id.
    pub id: &'static str,
    /// When it applies.
    pub applies: fn(&Situation<'_>) -> bool,
    /// What it writes.
    pub writes: fn(&Situation<'_>, &mut Row),
    /// The reason, for people.
    pub why: &'static str,
}

/// The table, in the order in which the lines are looked at.
pub const TABLE: &[Rule] = &[
    Rule {
        id: "returned",
        applies: |s| s.row.is_some_and(|row| row.left),
        writes: |_, row| {
            let labels = core::mem::take(&mut row.labels);
            *row = Row { labels, admission: row.admission, ..Row::default() };
        },
        why: "it left on purpose and is back",
    },
    Rule {
        id: "admin-founded",
        applies: |s| s.flag().is_empty() && s.stable && s.roles.founds_admin(s.me, s.leader),
        writes: |_, row| row.admin = format!("+{ADMIN}"),
        why: "nobody carries the ADMIN flag in this stable flock, which it leads or in which it is whom the operator named",
    },
    Rule {
        id: "admin-offered",
        applies: |s| s.flag().is_empty() && s.offered_admin && s.admin_wants_more(),
        writes: |_, row| row.admin = format!("+{ADMIN}"),
        why: "genghis offered it the ADMIN flag",
    },
    Rule {
        id: "admin-answers",
        applies: |s| s.flag() == "+ADMIN" && s.admin_answers,
        writes: |_, row| row.admin = ADMIN.into(),
        why: "its ADMIN services answer",
    },
    Rule {
        id: "admin-surplus",
        applies: |s| s.settled && s.roles.flag_is_surplus(s.me),
        writes: |_, row| row.admin = String::new(),
        why: "enough elder members of the flock, or those whom the operator named, carry the ADMIN flag",
    },
    Rule {
        id: "horde-deleted",
        applies: |s| {
            let home = s.home().0;
            s.settled && home != HordeName::main() && !s.known.hordes().contains_key(&home)
        },
        writes: |_, row| (row.horde, row.since) = (String::new(), 0),
        why: "no operator's fact wants its horde any more",
    },
    Rule {
        id: "substitute-ended",
        applies: |s| {
            let deleted = |horde: &HordeName| !s.known.hordes().contains_key(horde);
            let lets = |horde: &HordeName| s.known.may_stand_in(s.me, horde);
            let ended = |horde: &HordeName| deleted(horde) || !lets(horde) || s.home().0 != HordeName::main();
            s.settled && s.stands_in().is_some_and(|(horde, _)| ended(&horde))
        },
        writes: |_, row| (row.stands_in, row.stands_for) = (String::new(), String::new()),
        why: "no operator's fact lets it stand in there any more",
    },
    Rule {
        id: "substitute-released",
        applies: |s| s.is_released() && s.idle && s.stands_in().is_some_and(|(horde, _)| s.is_next_to_go(&horde)),
        writes: |_, row| (row.stands_in, row.stands_for) = (String::new(), String::new()),
        why: "whom it stood in for is back or counts no more, and what ran here runs elsewhere",
    },
    Rule {
        id: "substitute-stays",
        applies: |s| {
            let here = s.stands_in().map(|(horde, _)| horde);
            let home = s.offered_home().filter(|horde| here.as_ref() == Some(horde));
            home.is_some_and(|horde| s.may_take(horde) && s.missing(horde).is_some_and(|n| n > 0))
        },
        writes: |s, row| {
            row.horde = core::mem::take(&mut row.stands_in);
            row.stands_for = String::new();
            row.since = s.wall.0;
        },
        why: "genghis offered it for good the place in which it stood in",
    },
    Rule {
        id: "horde-released",
        applies: |s| {
            // A substitute is released from where it stands in, never from its home.
            s.is_released() && s.stands_in().is_none() && s.missing(&s.home().0).is_some_and(|n| n < 0)
        },
        writes: |_, row| (row.horde, row.since) = (String::new(), 0),
        why: "its horde has more home members than its operator wants",
    },
    Rule {
        id: "horde-offered",
        applies: |s| {
            let free = s.home() == (HordeName::main(), false) && s.stands_in().is_none();
            let takes = |horde: &HordeName| s.may_take(horde) && s.missing(horde).is_some_and(|n| n > 0);
            free && s.offered_home().is_some_and(takes)
        },
        writes: |s, row| {
            if let Some(horde) = s.offered_home() {
                row.horde = format!("+{horde}");
                row.since = s.wall.0;
            }
        },
        why: "genghis offered it a place that the operators' facts allow",
    },
    Rule {
        id: "substitute-offered",
        applies: |s| {
            let free = s.home() == (HordeName::main(), false) && s.stands_in().is_none() && s.answers;
            free && s.offered.is_some_and(|(horde, of)| of.is_some_and(|of| s.may_stand_in(horde, of)))
        },
        writes: |s, row| {
            if let Some((horde, Some(of))) = s.offered {
                (row.stands_in, row.stands_for) = (format!("{horde}"), format!("{}/{}", of.node, of.fulcrum));
            }
        },
        why: "genghis offered it the place of a member that has been missed for long",
    },
    Rule {
        id: "horde-answers",
        applies: |s| s.home().1 && s.answers,
        writes: |s, row| row.horde = format!("{}", s.home().0),
        why: "its services answer",
    },
    Rule {
        id: "labels",
        applies: |s| s.stable && !s.is_described(),
        writes: |_, _| {},
        why: "the flock has to know its labels, its admission and what it has",
    },
];

/// The row that this fulcrum should write now, with the line that says so. Every row carries the certificate's labels and
/// admission, and what the fulcrum has.
#[must_use]
pub fn next(situation: &Situation<'_>) -> Option<(Row, &'static Rule)> {
    let rule = TABLE.iter().find(|rule| (rule.applies)(situation))?;
    let mut row = situation.row.cloned().unwrap_or_default();
    row.labels = situation.labels.clone();
    row.admission = situation.admission;
    (rule.writes)(situation, &mut row);
    row.capacity = situation.told_capacity();
    (situation.row != Some(&row)).then_some((row, rule))
}

#[cfg(test)]
mod tests {
    use super::super::roles::roles;
    use super::*;
    use crate::facts::value::{Horde, VACANCY_AFTER_MS, horde_path};
    use crate::flock::view::Seat;
    use alloc::vec::Vec;
    use crux_names::{Boot, Member};
    use prost::Message;

    struct World {
        me: FulcrumId,
        labels: BTreeMap<String, String>,
        known: Known,
        roster: Vec<Seat>,
        stable: bool,
        offered_admin: bool,
        offered: Option<HordeName>,
        stands_for: Option<FulcrumId>,
        idle: bool,
        capacity: Option<Resources>,
        /// For how long whoever is missed has been so.
        missed_ms: u64,
    }

    impl World {
        fn new(me: &str, names: &[&str]) -> Self {
            let seat = |name: &&str| Seat {
                member: Member { id: name.parse().unwrap(), boot: Boot(1) },
                addr: "127.0.0.1:1".parse().unwrap(),
                visitor: false,
            };
            Self {
                me: me.parse().unwrap(),
                labels: BTreeMap::from([("zone".into(), "a".into())]),
                known: Known::default(),
                roster: names.iter().map(seat).collect(),
                stable: true,
                offered_admin: false,
                offered: None,
                stands_for: None,
                idle: true,
                capacity: None,
                missed_ms: VACANCY_AFTER_MS,
            }
        }

        fn row(&mut self, who: &str, horde: &str, admin: &str) {
            let row = Row {
                horde: horde.into(),
                admin: admin.into(),
                labels: self.labels.clone(),
                admission: 1,
                ..Row::default()
            };
            self.known.take(&format!("row/{who}/0"), Some(&row.encode_to_vec().into()));
        }

        fn want(&mut self, horde: &str, want: u32, admits: &str) {
            let fact = Horde { want, r#where: admits.into(), ..Horde::default() };
            self.known.take(&horde_path(&horde.parse().unwrap()), Some(&fact.encode_to_vec().into()));
        }

        /// Applies the table until it rests, and tells the rules that applied.
        fn run(&mut self) -> Vec<&'static str> {
            let mut applied = Vec::new();
            loop {
                let roles = roles(&self.roster, &self.known);
                let mut absences = Absences::default();
                absences.look(Time::ZERO, &roles);
                let next = next(&Situation {
                    me: &self.me,
                    labels: &self.labels,
                    admission: 1,
                    capacity: self.capacity,
                    row: self.known.rows().get(&self.me),
                    leader: self.roster[0].member.id == self.me,
                    stable: self.stable,
                    settled: self.stable,
                    answers: true,
                    admin_answers: true,
                    roles: &roles,
                    known: &self.known,
                    offered_admin: self.offered_admin,
                    offered: self.offered.as_ref().map(|horde| (horde, self.stands_for.as_ref())),
                    idle: self.idle,
                    wall: Wall(7),
                    absences: &absences,
                    now: Time::from_millis(self.missed_ms),
                    pace: Pace(1000),
                });
                let Some((row, rule)) = next else { return applied };
                applied.push(rule.id);
                assert!(applied.len() < 10, "the table never rests: {applied:?}");
                self.known.take(&crate::facts::value::row_path(&self.me), Some(&row.encode_to_vec().into()));
            }
        }

        fn mine(&self) -> (&str, &str) {
            let row = &self.known.rows()[&self.me];
            (&row.horde, &row.admin)
        }
    }

    #[test]
    fn the_leader_of_a_stable_flock_founds_admin() {
        let mut world = World::new("n1", &["n1", "n2"]);
        world.stable = false;
        assert!(world.run().is_empty(), "not before the flock is stable");
        world.stable = true;
        assert_eq!(world.run(), ["admin-founded", "admin-answers"]);
        assert_eq!(world.mine(), ("", "ADMIN"));
    }

    #[test]
    fn nobody_founds_admin_where_it_is() {
        let mut world = World::new("n1", &["n1", "n2"]);
        world.row("n2", "", "+ADMIN");
        assert_eq!(world.run(), ["labels"]);
        let mut other = World::new("n2", &["n1", "n2"]);
        assert_eq!(other.run(), ["labels"], "and nobody but the leader does");
    }

    #[test]
    fn admin_grows_by_offers_to_three_and_no_further() {
        let mut world = World::new("n3", &["n1", "n2", "n3", "n4"]);
        world.row("n1", "", "ADMIN");
        world.offered_admin = true;
        assert_eq!(world.run(), ["admin-offered", "admin-answers"]);
        let mut late = World::new("n4", &["n1", "n2", "n3", "n4"]);
        for who in ["n1", "n2", "n3"] {
            late.row(who, "", "ADMIN");
        }
        late.offered_admin = true;
        assert_eq!(late.run(), ["labels"]);
        late.row("n4", "", "ADMIN");
        assert_eq!(late.run(), ["admin-surplus"]);
    }

    #[test]
    fn what_a_fulcrum_has_is_said_again_only_when_it_has_changed_by_a_step() {
        let mut world = World::new("n2", &["n1", "n2"]);
        let of = |cpu_milli, memory| Some(Resources { cpu_milli, memory, disk: 1 << 40 });
        let told = |world: &World| world.known.rows()[&world.me].capacity;
        world.row("n2", "", "");
        world.capacity = of(4_000, 8_000);
        assert_eq!(world.run(), ["labels"]);
        assert_eq!(told(&world), world.capacity);
        world.capacity = of(4_000, 8_500);
        assert!(world.run().is_empty(), "a kernel that keeps more for itself is not worth a signature");
        world.row("n1", "", "ADMIN");
        world.offered_admin = true;
        assert_eq!(world.run(), ["admin-offered", "admin-answers"]);
        assert_eq!(told(&world), of(4_000, 8_000), "nor does it come along with other news");
        world.capacity = of(2_000, 8_500);
        assert_eq!(world.run(), ["labels"]);
        assert_eq!(told(&world), world.capacity);
    }

    #[test]
    fn an_operators_number_and_pin_of_admin_count_and_never_leave_a_part_without_it() {
        let at = |me: &str, want: u32, admits: &str| {
            let mut world = World::new(me, &["n1", "n2", "n3"]);
            for (who, flag) in [("n1", "ADMIN"), ("n2", "ADMIN"), ("n3", "")] {
                world.row(who, "", flag);
            }
            world.want("ADMIN", want, admits);
            world
        };
        assert_eq!(at("n2", 1, "").run(), ["admin-surplus"], "the eldest stays");
        assert!(at("n1", 1, "").run().is_empty());
        assert!(at("n1", 1, "node under n3").run().is_empty(), "n3 has to carry the flag first");
        let mut moved = at("n1", 1, "node under n3");
        moved.row("n3", "", "+ADMIN");
        assert!(moved.run().is_empty(), "and to answer");
        moved.row("n3", "", "ADMIN");
        assert_eq!(moved.run(), ["admin-surplus"]);
        let mut named = at("n3", 1, "node under n3");
        named.offered_admin = true;
        assert_eq!(named.run(), ["admin-offered", "admin-answers"]);
        for who in ["n1", "n2"] {
            assert!(at(who, 1, "node under n9").run().len() <= 1, "n9 is not here: the flag goes by the roster");
        }
        assert!(at("n1", 1, "node under n9").run().is_empty(), "and the eldest keeps it");
        assert!(at("n1", 0, "").run().is_empty(), "nobody can want none");
    }

    #[test]
    fn an_offer_binds_only_if_the_facts_allow_it() {
        let web: HordeName = "web".parse().unwrap();
        let mut world = World::new("n2", &["n1", "n2"]);
        world.offered = Some(web);
        assert_eq!(world.run(), ["labels"], "no fact wants it");
        world.want("web", 1, "zone=b");
        assert!(world.run().is_empty(), "its fact does not admit this fulcrum");
        world.want("web", 1, "zone=a");
        assert_eq!(world.run(), ["horde-offered", "horde-answers"]);
        assert_eq!(world.mine(), ("web", ""));
        let mut full = World::new("n1", &["n1", "n2"]);
        full.want("web", 1, "");
        full.row("n2", "web", "");
        full.row("n1", "", "ADMIN");
        full.offered = Some("web".parse().unwrap());
        assert!(full.run().is_empty(), "the horde is full");
    }

    #[test]
    fn a_free_fulcrum_stands_in_only_where_a_member_is_missed_and_goes_when_it_is_idle() {
        let mut world = World::new("n3", &["n1", "n3"]);
        world.row("n1", "web", "ADMIN");
        world.row("n3", "", "ADMIN");
        world.row("n2", "web", "");
        world.want("web", 2, "");
        world.offered = Some("web".parse().unwrap());
        for of in ["n1", "n7"] {
            world.stands_for = Some(of.parse().unwrap());
            assert!(world.run().is_empty(), "{of} is here, or is not of the horde");
        }
        world.stands_for = Some("n2".parse().unwrap());
        world.missed_ms = VACANCY_AFTER_MS / 2 - 1;
        assert!(world.run().is_empty(), "n2 is hardly missed yet, whoever offers its place");
        world.missed_ms += 1;
        assert_eq!(world.run(), ["substitute-offered"]);
        let row = &world.known.rows()[&world.me];
        assert_eq!((row.horde.as_str(), row.stands_in.as_str(), row.stands_for.as_str()), ("", "web", "n2/0"));
        // Nobody lets it go before its turn, and not before nothing runs here.
        (world.offered, world.stands_for) = (Some(HordeName::main()), None);
        assert!(world.run().is_empty(), "n2 is still missed");
        world.roster.extend(World::new("n2", &["n2"]).roster);
        world.idle = false;
        assert!(world.run().is_empty(), "something runs here");
        world.idle = true;
        assert_eq!(world.run(), ["substitute-released"]);
        assert_eq!(world.mine(), ("", "ADMIN"));
    }

    #[test]
    fn a_substitute_becomes_a_member_where_it_stands_or_goes_with_its_horde() {
        let mut world = World::new("n3", &["n1", "n3"]);
        world.row("n1", "web", "ADMIN");
        let stands = Row {
            stands_in: "web".into(),
            stands_for: "n9/0".into(),
            admin: "ADMIN".into(),
            labels: world.labels.clone(),
            ..Row::default()
        };
        let stand = |world: &mut World| world.known.take("row/n3/0", Some(&stands.encode_to_vec().into()));
        stand(&mut world);
        world.want("web", 2, "");
        world.offered = Some("web".parse().unwrap());
        assert_eq!(world.run(), ["substitute-stays"]);
        assert_eq!(world.mine(), ("web", "ADMIN"));
        assert_eq!(world.known.rows()[&world.me].since, 7);
        stand(&mut world);
        world.offered = None;
        world.want("web", 2, "zone=b");
        assert_eq!(world.run(), ["substitute-ended"], "the operator wants others there");
        stand(&mut world);
        world.known.take("horde/web", None);
        assert_eq!(world.run(), ["substitute-ended"]);
    }

    #[test]
    fn whoever_left_on_purpose_and_is_back_is_free() {
        let mut world = World::new("n2", &["n1", "n2"]);
        let left = Row { horde: "web".into(), left: true, labels: world.labels.clone(), ..Row::default() };
        world.known.take("row/n2/0", Some(&left.encode_to_vec().into()));
        world.want("web", 1, "");
        assert_eq!(world.run(), ["returned"]);
        assert!(!world.known.rows()[&world.me].left);
        assert_eq!(world.mine(), ("", ""));
    }

    #[test]
    fn a_fulcrum_goes_home_to_main_when_its_horde_is_deleted_or_too_large() {
        let mut world = World::new("n2", &["n1", "n2"]);
        world.row("n2", "web", "");
        assert_eq!(world.run(), ["horde-deleted"]);
        assert_eq!(world.mine(), ("", ""));
        world.want("web", 1, "");
        world.row("n1", "web", "");
        world.row("n2", "web", "");
        assert!(world.run().is_empty(), "nobody released it");
        world.offered = Some(HordeName::main());
        assert_eq!(world.run(), ["horde-released"]);
    }
}
