//! What a liar can say of facts and services: each kind made anew from what it knows, at random. What it says is in its own
//! name on the link, for nobody can be anybody else there; what it claims within is not.

use crate::engines::bloc;
use crate::signature::signed_by;
use bytes::Bytes;
use crux_core::engine::Engine;
use crux_core::facts::ranges::{RANGES, RangeSet};
use crux_core::facts::value::{
    Cordon, Expulsion, Horde, Horizon, Labels, Place, Row, cordon_path, expel_path, horde_path, label_path, place_path,
    row_path,
};
use crux_core::facts::version::{Author, Sealed, Stamp, Statement};
use crux_core::flock::view::ViewId;
use crux_core::hash::{Random, sha256};
use crux_core::resources::Resources;
use crux_core::services::access::{By, Entry as Added, Listed};
use crux_core::services::instance::{Instance, InstanceId, Phase, ServiceRef};
use crux_core::services::message::Message;
use crux_core::services::plan::{Entry, Plan, PlanId, Shortfall};
use crux_core::services::verdict::{Beat, Checkup, Health, Verdict};
use crux_core::services::yurt::Program;
use crux_core::wire::{FRAME_MAX, Frame};
use crux_names::{Boot, Duration, FulcrumId, Hash256, HordeName, ServiceName, Wall};
use prost::Message as _;
use std::collections::{BTreeMap, VecDeque};

/// One kind of lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lie {
    /// A plan for any horde, of anything, anywhere, under any number.
    Plan,
    /// A place in any horde.
    Offer,
    /// What runs, and which plan is obeyed.
    Report,
    /// How it is.
    Beats,
    /// How anything is.
    Verdicts,
    /// What runs anywhere.
    Board,
    /// What hordes wait for.
    Waits,
    /// Programs that it runs.
    Who,
    /// What was added at its door.
    Added,
    /// The whole register.
    Register,
    /// A question that it has no business to ask.
    Ask,
    /// That an instance is gone.
    Forgotten,
    /// A row of its own, true to its key and to nothing else.
    Row,
    /// A fact in an operator's or another node's name.
    Forged,
    /// "My facts hash to this."
    Digest,
    /// "I have these on disk."
    Held,
    /// "My versions are these."
    Ids,
    /// "Send me these."
    Want,
    /// What it said before, damaged or once more.
    Damaged,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::Plan,
        Self::Offer,
        Self::Report,
        Self::Beats,
        Self::Verdicts,
        Self::Board,
        Self::Waits,
        Self::Who,
        Self::Added,
        Self::Register,
        Self::Ask,
        Self::Forgotten,
        Self::Row,
        Self::Forged,
        Self::Digest,
        Self::Held,
        Self::Ids,
        Self::Want,
        Self::Damaged,
    ];
}

/// One lie of a kind, as a frame.
pub(super) fn tell(lie: Lie, wall: Wall, engine: &Engine, random: &mut Random, said: &VecDeque<Bytes>) -> Bytes {
    let facts = engine.facts_room();
    let mut hordes: Vec<HordeName> = facts.hordes().map(|(horde, _)| horde).collect();
    hordes.extend([HordeName::main(), HordeName::admin()]);
    hordes.extend("nobodys".parse());
    let catalogue = facts.muster().map(|(service, revision, _)| (service, revision)).collect();
    let boards = engine.services_room().boards().values().flat_map(|heard| &heard.word);
    let running = boards.map(|one| one.id.clone()).collect();
    let mut liar = Liar { wall, engine, random, hordes, catalogue, running };
    match lie {
        Lie::Damaged => liar.damaged(said),
        Lie::Row => liar.row(),
        Lie::Forged => liar.forged(),
        Lie::Digest => Frame::FactsDigest { digest: liar.hash(), count: liar.number(20_000) }.encode(),
        Lie::Held => Frame::FactsHeld { ids: liar.ids() }.encode(),
        Lie::Ids => liar.list(),
        Lie::Want => Frame::FactsWant { ids: liar.ids() }.encode(),
        _ => {
            let frame = Frame::Service(liar.message(lie)).encode();
            // What is too long ends its link before anybody reads it; now and then that is the point.
            if frame.len() > FRAME_MAX && liar.one_in(50) { frame.slice(..FRAME_MAX) } else { frame }
        }
    }
}

struct Liar<'a> {
    wall: Wall,
    engine: &'a Engine,
    random: &'a mut Random,
    /// Hordes that there are, and one that there is not.
    hordes: Vec<HordeName>,
    /// Every revision of everything.
    catalogue: Vec<(ServiceName, Hash256)>,
    /// What runs, as it was told.
    running: Vec<InstanceId>,
}

impl Liar<'_> {
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound.max(1) as u64)).unwrap_or(0)
    }

    fn number(&mut self, bound: u64) -> u32 {
        u32::try_from(self.random.below(bound)).unwrap_or(u32::MAX)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.random.below(n) == 0
    }

    fn some<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        if all.is_empty() { None } else { Some(all[self.below(all.len())].clone()) }
    }

    fn hash(&mut self) -> Hash256 {
        sha256(&self.random.next().to_be_bytes())
    }

    fn me(&self) -> FulcrumId {
        self.engine.flock_room().me().id.clone()
    }

    /// Whom it speaks of: mostly somebody else.
    fn whom(&mut self) -> FulcrumId {
        let roster = &self.engine.flock_room().view().roster;
        let all: Vec<FulcrumId> = roster.iter().map(|seat| seat.member.id.clone()).collect();
        self.some(&all).unwrap_or_else(|| self.me())
    }

    fn horde(&mut self) -> HordeName {
        let which = self.below(self.hordes.len());
        self.hordes[which].clone()
    }

    fn view(&mut self) -> ViewId {
        let mut view = self.engine.flock_room().view().id().clone();
        match self.random.below(8) {
            0 => view.epoch += 1 + self.random.below(3),
            1 => view.hash = self.hash().0[..16].try_into().unwrap_or_default(),
            _ => {}
        }
        view
    }

    /// Something of the catalogue, with any of its revisions, in any horde; or nothing that there is.
    fn service(&mut self) -> (ServiceRef, Hash256) {
        let horde = self.horde();
        let which = self.below(self.catalogue.len());
        match self.catalogue.get(which).cloned().filter(|_| !self.one_in(6)) {
            Some((service, revision)) => (ServiceRef { horde, service }, revision),
            None => {
                let service = "ghost".parse().expect("a service's name");
                (ServiceRef { horde, service }, self.hash())
            }
        }
    }

    fn instance_id(&mut self) -> InstanceId {
        let which = self.below(self.running.len());
        match self.running.get(which).cloned().filter(|_| !self.one_in(2)) {
            Some(id) => id,
            None => {
                let fulcrum = if self.one_in(2) { self.me() } else { self.whom() };
                InstanceId { fulcrum, boot: Boot(1 + self.random.below(3)), counter: self.random.below(1 << 40) }
            }
        }
    }

    /// Words for people, now and then as many as fit.
    fn words(&mut self) -> String {
        if self.one_in(4) { "x\u{1b}[31m".repeat(680) } else { "so it is".into() }
    }

    fn many(&mut self, most: usize) -> usize {
        if self.one_in(12) { most } else { self.below(12) }
    }

    fn generation(&mut self, horde: &HordeName) -> u64 {
        let known = self.engine.services_room().plans().get(horde).map_or(0, |heard| heard.word.id.generation);
        match self.random.below(6) {
            0 => u64::MAX,
            1 => (1 << 32) - self.random.below(3),
            2 => self.random.below(5),
            _ => known.saturating_add(1 + self.random.below(3)),
        }
    }

    fn message(&mut self, lie: Lie) -> Message {
        let horde = self.horde();
        let view = self.view();
        match lie {
            Lie::Plan => Message::Plan(self.plan(horde, view)),
            Lie::Offer => {
                let stands_for = if self.one_in(2) { Some(self.whom()) } else { None };
                Message::Offer { horde, stands_for, why: self.words() }
            }
            Lie::Report => {
                let generation = self.generation(&horde);
                let count = self.many(4000);
                let instances = (0..count).map(|_| self.instance(&horde)).collect();
                Message::DeanReport { horde, obeys: Some(PlanId { view, generation }), instances }
            }
            Lie::Board => {
                let count = self.many(4000);
                let instances = (0..count).map(|_| self.instance(&horde)).collect();
                Message::Board { horde, view, instances }
            }
            Lie::Beats => {
                let count = self.many(5000);
                Message::Beats { beats: (0..count).map(|_| self.beat(&horde)).collect(), horde }
            }
            Lie::Verdicts => {
                let count = self.many(4000);
                Message::Verdicts { verdicts: (0..count).map(|_| self.verdict(&horde)).collect(), horde, view }
            }
            Lie::Waits => {
                let count = self.many(200);
                Message::Waits { view, waits: (0..count).map(|_| (self.horde(), self.words())).collect() }
            }
            Lie::Who => {
                let count = self.many(16_000);
                let name = |index: usize| {
                    ["genghis", "yurt", "access"].get(index).map_or(format!("p{index}"), |n| (*n).into())
                };
                let programs =
                    (0..count).map(|index| Program { name: name(index), started: self.wall, waits: String::new() });
                Message::Who { view, programs: programs.collect() }
            }
            Lie::Added => {
                let count = self.many(300);
                let entries = (0..count).map(|_| self.added()).collect();
                Message::Added { view, version: self.random.next(), holds: self.random.next(), entries: Some(entries) }
            }
            Lie::Register => {
                let count = self.many(2000);
                let entries = (0..count).map(|_| Listed { at: self.whom(), entry: self.added() }).collect();
                Message::Register { view, version: self.random.next(), entries }
            }
            Lie::Ask if self.one_in(2) => Message::AskAdded { view },
            Lie::Ask => Message::AskDean { view, horde },
            _ => Message::Forgotten { instance: self.instance_id() },
        }
    }

    fn plan(&mut self, horde: HordeName, view: ViewId) -> Plan {
        let generation = self.generation(&horde);
        let count = self.many(400);
        let entries = (0..count).map(|slot| self.entry(&horde, slot)).collect();
        let (of, _) = self.service();
        let by = if self.one_in(8) { self.whom() } else { self.me() };
        let shortfalls = vec![Shortfall { of: of.clone(), missing: u32::MAX, why: self.words() }];
        Plan { id: PlanId { view, generation }, horde, by, entries, shortfalls, should: vec![(of, 3)] }
    }

    fn entry(&mut self, horde: &HordeName, slot: usize) -> Entry {
        let (mut of, revision) = self.service();
        if !self.one_in(4) {
            of.horde = horde.clone();
        }
        let instance = if self.one_in(4) { Some(self.instance_id()) } else { None };
        Entry { of, slot: u32::try_from(slot).unwrap_or(0), revision, on: self.whom(), instance, why: self.words() }
    }

    fn instance(&mut self, horde: &HordeName) -> Instance {
        let (mut of, revision) = self.service();
        if !self.one_in(4) {
            of.horde = horde.clone();
        }
        let phases = [Phase::Pending, Phase::Starting, Phase::Running, Phase::Stopping, Phase::Gone];
        let ports = if self.one_in(8) { (0..200).map(|n| (format!("port{n}"), n)).collect() } else { BTreeMap::new() };
        Instance {
            id: self.instance_id(),
            of,
            slot: self.number(9),
            revision,
            phase: phases[self.below(5)],
            pid: Some(7),
            started: Some(Wall(self.random.below(1 << 50))),
            ports,
            restarts: self.number(1 << 32),
            why: self.words(),
            hook: self.words(),
        }
    }

    fn beat(&mut self, horde: &HordeName) -> Beat {
        let (of, _) = self.service();
        let detail = self.words();
        Beat {
            subject: self.instance_id(),
            of: ServiceRef { horde: horde.clone(), ..of },
            running: if self.one_in(2) { Some(Duration::from_nanos(self.random.next())) } else { None },
            done: self.one_in(4),
            check: Some(Checkup {
                age: Duration::from_nanos(self.random.next()),
                failed: self.number(1 << 32),
                detail,
            }),
            has_check: self.one_in(2),
            check_every: Duration::from_nanos(self.random.next()),
        }
    }

    fn verdict(&mut self, horde: &HordeName) -> Verdict {
        let (of, _) = self.service();
        let healths = [Health::Unknown, Health::Ready, Health::Late, Health::Dead, Health::Gone, Health::Done];
        Verdict {
            subject: self.instance_id(),
            of: ServiceRef { horde: horde.clone(), ..of },
            health: healths[self.below(6)],
            for_: Duration::from_nanos(self.random.next()),
            rule: "beat-age".into(),
            why: self.words(),
        }
    }

    fn added(&mut self) -> Added {
        let (of, _) = self.service();
        let by = match self.one_in(2) {
            true => By::Operator("ops".parse().expect("an operator's name")),
            false => By::Instance(self.instance_id()),
        };
        let name = format!("e{}", self.number(1000));
        Added { of, name, addrs: vec!["10.6.6.6:1".into()], labels: BTreeMap::new(), by, since: self.wall }
    }

    /// Ids that there are, and some that there are not.
    fn ids(&mut self) -> Vec<Hash256> {
        let mut ids: Vec<Hash256> =
            self.engine.facts_room().kept().map(crux_core::facts::version::Checked::id).collect();
        let more = self.many(2000);
        ids.extend((0..more).map(|_| self.hash()));
        ids
    }

    fn list(&mut self) -> Bytes {
        if self.one_in(3) {
            let hashes = (0..RANGES).map(|_| self.random.next()).collect();
            return Frame::FactsRanges { hashes }.encode();
        }
        let mut ids = self.ids();
        if self.one_in(3) {
            ids.truncate(1);
        }
        ids.sort();
        ids.dedup();
        Frame::FactsIds { of: RangeSet::ALL, ids }.encode()
    }

    fn statement(&mut self, path: String, value: Option<Vec<u8>>, author: Author) -> Statement {
        let facts = self.engine.facts_room();
        let ancestors = if self.random.below(2) == 0 { facts.ancestors(&path, true) } else { Vec::new() };
        // Years ahead, or just now.
        let wall = if self.one_in(3) { self.wall.0 + 315_000_000_000_000 } else { self.wall.0 };
        Statement {
            bloc: bloc(),
            path,
            value: value.map(Bytes::from),
            ancestors,
            stamp: Stamp { wall, logical: 0 },
            author,
            nonce: Bytes::copy_from_slice(&self.random.next().to_be_bytes()),
        }
    }

    /// What its key permits: any row of any fulcrum of its node, with the labels of its certificate.
    fn row(&mut self) -> Bytes {
        let mut id = self.me();
        let labels = self.engine.facts_room().row(&id).map(|row| row.labels).unwrap_or_default();
        if self.one_in(3) {
            id.fulcrum = format!("{}", 1 + self.random.below(9)).parse().expect("a fulcrum's name");
        }
        let horde = self.horde();
        let stands = self.one_in(4) && horde != HordeName::admin();
        let row = Row {
            horde: if horde == HordeName::admin() { String::new() } else { horde.to_string() },
            admin: ["", "+ADMIN", "ADMIN"][self.below(3)].into(),
            labels,
            admission: 1,
            left: self.one_in(10),
            stands_in: if stands { self.horde_but_admin() } else { String::new() },
            stands_for: if stands { self.whom().to_string() } else { String::new() },
            since: self.random.below(3),
            capacity: self.one_in(2).then(|| Resources { cpu_milli: self.random.below(1 << 20), memory: 0, disk: 0 }),
        };
        let author = Author::Fulcrum(id.clone());
        let statement = self.statement(row_path(&id), Some(row.encode_to_vec()), author.clone());
        Frame::Facts { sealed: vec![signed_by(&author, &statement)] }.encode()
    }

    fn horde_but_admin(&mut self) -> String {
        let horde = self.horde();
        if horde == HordeName::admin() { HordeName::main().to_string() } else { horde.to_string() }
    }

    /// What its key does not permit, in whoever's name, under its own signature or none.
    fn forged(&mut self) -> Bytes {
        let whom = self.whom();
        let (of, revision) = self.service();
        let place =
            Place { revision: revision.0.to_vec(), place: format!("pick({}, 9, ALL)", of.service), ..Place::default() };
        let horde = Horde { want: self.number(9), ..Horde::default() };
        let (path, value) = match self.random.below(8) {
            0 => (horde_path(&of.horde), Some(horde.encode_to_vec())),
            1 => (place_path(&of.horde, &of.service), Some(place.encode_to_vec())),
            2 => (place_path(&of.horde, &of.service), None),
            3 => (expel_path(&whom.node), Some(Expulsion { up_to: 9, reason: "mine".into() }.encode_to_vec())),
            4 => (cordon_path(&whom), Some(Cordon { reason: "mine".into(), drain: true }.encode_to_vec())),
            5 => (
                label_path(&self.me().node),
                Some(Labels { labels: BTreeMap::from([("zone".into(), "a".into())]) }.encode_to_vec()),
            ),
            6 => (crux_core::facts::value::HORIZON.into(), Some(Horizon { before: 1 }.encode_to_vec())),
            _ => (row_path(&whom), Some(Row { horde: "nobodys".into(), ..Row::default() }.encode_to_vec())),
        };
        let ops = Author::Operator("ops".parse().expect("an operator's name"));
        let own = Author::Fulcrum(self.me());
        let author = match self.random.below(3) {
            0 => own.clone(),
            1 if path.starts_with("row/") => Author::Fulcrum(whom),
            _ => ops,
        };
        let statement = self.statement(path, value, author);
        // What it signs as itself, of what it may not write, is its own and the table refuses it.
        let sealed = match self.one_in(3) {
            true => Sealed { statement: statement.encode(), ..Sealed::default() }.encode_to_vec().into(),
            false => signed_by(&own, &statement),
        };
        Frame::Facts { sealed: vec![sealed] }.encode()
    }

    fn damaged(&mut self, said: &VecDeque<Bytes>) -> Bytes {
        let all: Vec<Bytes> = said.iter().cloned().collect();
        let Some(frame) = self.some(&all) else { return Bytes::new() };
        // What flocking says is not its subject here: that is only said again as it is heard by nobody.
        if matches!(Frame::decode(frame.clone(), &bloc()), Ok(Frame::Flock(_))) {
            return Frame::FactsDigest { digest: self.hash(), count: 0 }.encode();
        }
        if self.one_in(2) {
            return frame;
        }
        let mut bytes = frame.to_vec();
        for _ in 0..1 + self.below(3) {
            if bytes.is_empty() {
                break;
            }
            let at = self.below(bytes.len());
            match self.random.below(3) {
                0 => bytes[at] ^= 1 << self.random.below(8),
                1 => bytes.truncate(at),
                _ => bytes.insert(at, u8::try_from(self.random.below(256)).unwrap_or(0)),
            }
        }
        // A frame that damage turned into one of flocking would be its lie of another kind.
        match Frame::decode(bytes.clone().into(), &bloc()) {
            Ok(Frame::Flock(_)) => frame,
            _ => bytes.into(),
        }
    }
}
