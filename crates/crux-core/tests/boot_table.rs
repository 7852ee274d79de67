//! The bootstrap's table, drawn: what a fulcrum of each kind writes into its row in each situation, until it rests. The
//! picture is `boot/table.txt`; whoever changes the table changes it too, with
//! `CRUX_REGENERATE=1 cargo test -p crux-core --test boot_table`, and reads what became of it.

use crux_core::facts::value::{Horde, Row, VACANCY_AFTER_MS};
use crux_core::flock::view::Seat;
use crux_core::services::boot::{Situation, TABLE, next};
use crux_core::services::known::Known;
use crux_core::services::pace::Pace;
use crux_core::services::roles::roles;
use crux_core::services::vacancy::Absences;
use crux_names::{Boot, FulcrumId, HordeName, Member, Time, Wall};
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// A situation of the fulcrum `n5`, in words and as a change of the plainest one: it is in a stable flock with n1 to n3,
/// which carry the ADMIN flag, its services answer, and the horde `web` wants as many as it has: n1 and n9, which is away.
struct Scene {
    words: &'static str,
    change: fn(&mut World),
}

struct World {
    roster: Vec<&'static str>,
    known: Known,
    leader: bool,
    stable: bool,
    settled: bool,
    answers: bool,
    admin_answers: bool,
    idle: bool,
    offered_admin: bool,
    offered: Option<(HordeName, Option<FulcrumId>)>,
}

fn id(name: &str) -> FulcrumId {
    name.parse().unwrap()
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            roster: vec!["n1", "n2", "n3", "n5"],
            known: Known::default(),
            leader: false,
            stable: true,
            settled: true,
            answers: true,
            admin_answers: true,
            idle: true,
            offered_admin: false,
            offered: None,
        };
        for (who, horde, admin) in [("n1", "web", "ADMIN"), ("n2", "", "ADMIN"), ("n3", "", "ADMIN"), ("n9", "web", "")]
        {
            world.row(who, &Row { horde: horde.into(), admin: admin.into(), ..Row::default() });
        }
        world.want(2);
        world
    }

    fn row(&mut self, who: &str, row: &Row) {
        self.known.take(&format!("row/{who}/0"), Some(&row.encode_to_vec().into()));
    }

    fn want(&mut self, want: u32) {
        let horde = Horde { want, ..Horde::default() };
        self.known.take("horde/web", Some(&horde.encode_to_vec().into()));
    }

    fn want_admin(&mut self, want: u32, admits: &str) {
        let fact = Horde { want, r#where: admits.into(), ..Horde::default() };
        self.known.take("horde/ADMIN", Some(&fact.encode_to_vec().into()));
    }

    fn nobody_is_admin(&mut self) {
        for (who, horde) in [("n1", "web"), ("n2", ""), ("n3", "")] {
            self.row(who, &Row { horde: horde.into(), ..Row::default() });
        }
    }

    fn offer(&mut self, horde: &str, of: Option<&str>) {
        self.offered = Some((horde.parse().unwrap(), of.map(id)));
    }

    /// What it writes next.
    fn next(&self) -> Option<(Row, &'static str)> {
        let (me, labels) = (id("n5"), BTreeMap::new());
        let seat = |name: &&str| Seat {
            member: Member { id: id(name), boot: Boot(1) },
            addr: "127.0.0.1:1".parse().unwrap(),
            visitor: false,
        };
        let roster: Vec<Seat> = self.roster.iter().map(seat).collect();
        let roles = roles(&roster, &self.known);
        let mut absences = Absences::default();
        absences.look(Time::ZERO, &roles);
        let next = next(&Situation {
            me: &me,
            labels: &labels,
            admission: 1,
            capacity: None,
            row: self.known.rows().get(&me),
            leader: self.leader,
            stable: self.stable,
            settled: self.settled,
            answers: self.answers,
            admin_answers: self.admin_answers,
            roles: &roles,
            known: &self.known,
            offered_admin: self.offered_admin,
            offered: self.offered.as_ref().map(|(horde, of)| (horde, of.as_ref())),
            idle: self.idle,
            wall: Wall(7),
            absences: &absences,
            now: Time::from_millis(VACANCY_AFTER_MS),
            pace: Pace(1000),
        });
        next.map(|(row, rule)| (row, rule.id))
    }
}

const SCENES: &[Scene] = &[
    Scene { words: "a stable flock with its ADMIN", change: |_| {} },
    Scene { words: "a flock that is not stable", change: |w| (w.stable, w.settled) = (false, false) },
    Scene {
        words: "it leads a stable flock without ADMIN",
        change: |w| {
            w.nobody_is_admin();
            w.leader = true;
        },
    },
    Scene { words: "another leads a stable flock without ADMIN", change: World::nobody_is_admin },
    Scene {
        words: "ADMIN has two and offers the flag",
        change: |w| {
            w.row("n3", &Row::default());
            w.offered_admin = true;
        },
    },
    Scene { words: "ADMIN has three and offers the flag", change: |w| w.offered_admin = true },
    Scene {
        words: "the operator wants four of ADMIN, which has three and offers the flag",
        change: |w| {
            w.want_admin(4, "");
            w.offered_admin = true;
        },
    },
    Scene {
        words: "the operator pins ADMIN to n5, and the others lead and carry the flag",
        change: |w| {
            w.want_admin(1, "node under n5");
            w.offered_admin = true;
        },
    },
    Scene {
        words: "nobody carries the flag, another leads, and the operator pins ADMIN to n5",
        change: |w| {
            w.nobody_is_admin();
            w.want_admin(1, "node under n5");
        },
    },
    Scene {
        words: "the operator pins ADMIN to n3, which carries the flag",
        change: |w| {
            w.want_admin(1, "node under n3");
            w.offered_admin = true;
        },
    },
    Scene {
        words: "the operator pins ADMIN to n2, which is here and does not carry the flag yet",
        change: |w| {
            w.row("n2", &Row::default());
            w.want_admin(1, "node under n2");
            w.offered_admin = true;
        },
    },
    Scene {
        words: "it leads a flock without ADMIN, and the operator pins ADMIN to n7, which is not here",
        change: |w| {
            w.nobody_is_admin();
            w.leader = true;
            w.want_admin(1, "node under n7");
        },
    },
    Scene {
        words: "its services do not answer yet",
        change: |w| {
            w.row("n3", &Row::default());
            (w.offered_admin, w.answers, w.admin_answers) = (true, false, false);
        },
    },
    Scene {
        words: "its services answer, those of ADMIN do not yet",
        change: |w| {
            w.row("n3", &Row::default());
            (w.offered_admin, w.admin_answers) = (true, false);
        },
    },
    Scene {
        words: "web wants one more and offers a home",
        change: |w| {
            w.want(3);
            w.offer("web", None);
        },
    },
    Scene { words: "web is full and offers a home all the same", change: |w| w.offer("web", None) },
    Scene {
        words: "web wants fewer and releases",
        change: |w| {
            w.want(1);
            w.offer("main", None);
        },
    },
    Scene { words: "web is as it should be and releases all the same", change: |w| w.offer("main", None) },
    Scene {
        words: "web is wanted no more",
        change: |w| {
            w.known.take("horde/web", None);
        },
    },
    Scene { words: "the place of n9, which is away, is offered", change: |w| w.offer("web", Some("n9")) },
    Scene { words: "the place of n1, which is here, is offered", change: |w| w.offer("web", Some("n1")) },
    Scene {
        words: "the place of n9 is offered, but it is cordoned",
        change: |w| {
            w.known.take("cordon/n5/0", Some(&Vec::new().into()));
            w.offer("web", Some("n9"));
        },
    },
    Scene {
        words: "n9 is back and it is released",
        change: |w| {
            w.roster.push("n9");
            w.offer("main", None);
        },
    },
    Scene {
        words: "n9 is back and it is released, but something runs here",
        change: |w| {
            w.roster.push("n9");
            w.offer("main", None);
            w.idle = false;
        },
    },
    Scene {
        words: "n9 was forgotten and a home is offered",
        change: |w| {
            w.known.take("row/n9/0", None);
            w.offer("web", None);
        },
    },
];

fn rows() -> Vec<Option<Row>> {
    let row =
        |horde: &str, admin: &str| Row { horde: horde.into(), admin: admin.into(), admission: 1, ..Row::default() };
    let stands = Row { stands_in: "web".into(), stands_for: "n9/0".into(), ..row("", "") };
    let mut rows = vec![None];
    for admin in ["", "+ADMIN", "ADMIN"] {
        rows.extend(["", "+web", "web"].map(|horde| Some(row(horde, admin))));
    }
    rows.extend([Some(stands), Some(Row { left: true, ..row("web", "ADMIN") })]);
    rows
}

fn shown(row: Option<&Row>) -> String {
    let Some(row) = row else { return "(no row)".into() };
    if row.left {
        return "(left)".into();
    }
    let home = if row.horde.is_empty() { "main" } else { &row.horde };
    let stands = if row.stands_in.is_empty() { "" } else { " for n9" };
    let at = if row.stands_in.is_empty() { String::new() } else { format!(" at {}", row.stands_in) };
    let flag = if row.admin.is_empty() { String::new() } else { format!(" {}", row.admin) };
    format!("[{home}{at}{stands}{flag}]")
}

fn drawn() -> (String, BTreeSet<&'static str>) {
    let mut text = String::from("The table, in the order in which its lines are looked at.\n\n");
    let width = TABLE.iter().map(|rule| rule.id.len()).max().unwrap_or(0);
    for rule in TABLE {
        writeln!(text, "  {:width$}  {}", rule.id, rule.why).unwrap();
    }
    text += "\nWhat n5 writes, from each row that it may have, until it rests. What is not named rests as it is.\n";
    let mut applied = BTreeSet::new();
    for scene in SCENES {
        write!(text, "\n{}\n", scene.words).unwrap();
        let mut rests = true;
        for start in rows() {
            let mut world = World::new();
            (scene.change)(&mut world);
            if let Some(row) = &start {
                world.row("n5", row);
            }
            let mut line = format!("  {:14}", shown(start.as_ref()));
            let mut steps = 0;
            while let Some((row, rule)) = world.next() {
                applied.insert(rule);
                steps += 1;
                assert!(steps < 8, "{}: it never rests: {line}", scene.words);
                write!(line, " --{rule}--> {}", shown(Some(&row))).unwrap();
                world.row("n5", &row);
            }
            if steps > 0 {
                rests = false;
                writeln!(text, "{line}").unwrap();
            }
        }
        if rests {
            text += "  nothing\n";
        }
    }
    (text, applied)
}

#[test]
fn the_table_is_as_it_is_drawn() {
    let (drawn, applied) = drawn();
    let unused: Vec<&str> = TABLE.iter().map(|rule| rule.id).filter(|id| !applied.contains(id)).collect();
    assert!(unused.is_empty(), "no scene shows {unused:?}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/boot/table.txt");
    if std::env::var_os("CRUX_REGENERATE").is_some() {
        std::fs::write(path, &drawn).unwrap();
        return;
    }
    let fixed = std::fs::read_to_string(path).unwrap_or_default();
    for (number, (now, then)) in drawn.lines().zip(fixed.lines()).enumerate() {
        assert_eq!(
            now,
            then,
            "line {}; if it is meant so: CRUX_REGENERATE=1 cargo test -p crux-core --test boot_table",
            number + 1
        );
    }
    assert_eq!(drawn.lines().count(), fixed.lines().count());
}
