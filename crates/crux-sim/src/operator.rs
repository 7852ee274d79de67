//! An operator in the invented world: writes facts as the client does, through some fulcrum's door, and remembers what
//! was acknowledged.

use crate::engines::{Cluster, bloc};
use crate::signature::seal;
use bytes::Bytes;
use crux_core::facts::Facts;
use crux_core::facts::clock::acceptable;
use crux_core::facts::rule::{NONCE, Rule, RuleFact, rule_path};
use crux_core::facts::value::{
    Cordon, Expulsion, HORIZON, Horde, Horizon, Labels, Manifest, Place, cordon_path, expel_path, horde_path,
    label_path, muster_path, place_path,
};
use crux_core::facts::version::{Author, Stamp, Statement};
use crux_core::hash::Random;
use crux_core::io::{Command, Input, Reply, RequestId};
use crux_core::services::instance::ServiceRef;
use crux_names::{Boot, FulcrumId, Hash256, HordeName, NodeName, ServiceName, Wall};
use prost::Message;
use std::collections::BTreeMap;

/// One write and what became of it.
#[derive(Clone, Debug)]
pub struct Written {
    /// Through whose door.
    pub place: usize,
    /// Of which life.
    pub boot: Boot,
    /// Its number there.
    pub request: RequestId,
    /// What was written.
    pub versions: Vec<(String, Hash256)>,
    /// The answer, if one came.
    pub reply: Option<Reply>,
}

impl Written {
    /// Whether it was acknowledged as durable.
    #[must_use]
    pub fn acknowledged(&self) -> bool {
        matches!(self.reply, Some(Reply::Written { .. }))
    }
}

/// One fact to be changed: `None` deletes.
pub type Change = (String, Option<Bytes>);

/// The operator.
#[derive(Clone, Debug)]
pub struct Operator {
    /// Every statement ever signed.
    pub statements: BTreeMap<Hash256, Statement>,
    /// Every write, oldest first.
    pub written: Vec<Written>,
    random: Random,
}

impl Operator {
    /// One that has written nothing.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { statements: BTreeMap::new(), written: Vec::new(), random: Random::new(seed) }
    }

    /// Writes through the door of a place. Of a conflict seen there it names the losers too as often as not, which settles
    /// it; else they stay listed.
    pub fn write(&mut self, world: &mut Cluster, place: usize, changes: &[Change]) {
        let Some(life) = world.slots[place].node.as_ref().filter(|life| !life.machine.disk.dead()) else { return };
        let wall = life.machine.wall(world.now);
        let mut versions = Vec::new();
        let settle = self.random.below(2) == 0;
        for (path, value) in changes {
            let statement = Statement {
                bloc: bloc(),
                path: path.clone(),
                value: value.clone(),
                ancestors: life.engine.facts_room().ancestors(path, settle),
                stamp: stamp(life.engine.facts_room(), path, wall),
                author: Author::Operator("ops".parse().expect("an operator's name")),
                nonce: Bytes::copy_from_slice(&self.random.next().to_be_bytes()),
            };
            let version = seal(&statement);
            self.statements.insert(version.id(), statement);
            versions.push(version);
        }
        let request = self.written.len() as RequestId + 1;
        self.written.push(Written {
            place,
            boot: life.member().boot,
            request,
            versions: versions.iter().map(|version| (version.statement().path.clone(), version.id())).collect(),
            reply: None,
        });
        let command = Command::Write { versions };
        world.poke(place, |life, now, out| life.feed(now, Input::Command { request, command }, out));
    }

    /// Takes in the answers that have come.
    pub fn collect(&mut self, world: &Cluster) {
        for written in self.written.iter_mut().filter(|written| written.reply.is_none()) {
            let Some(life) = &world.slots[written.place].node else { continue };
            if life.member().boot == written.boot {
                let reply = life.replies.iter().find(|(request, _)| *request == written.request);
                written.reply = reply.map(|(_, reply)| reply.clone());
            }
        }
    }

    /// Whether a version is, or was replaced by, one of these: by the ancestors that they name, and those name.
    #[must_use]
    pub fn replaced_by(&self, id: &Hash256, heads: &[Hash256]) -> bool {
        let mut todo = heads.to_vec();
        let mut seen = std::collections::BTreeSet::new();
        while let Some(next) = todo.pop() {
            if next == *id {
                return true;
            }
            if seen.insert(next) {
                todo.extend(self.statements.get(&next).iter().flat_map(|statement| &statement.ancestors));
            }
        }
        false
    }
}

/// A hybrid-clock stamp after everything seen, as a client has to make it: one that lies so far ahead that no door would
/// take it is not followed, for a later write replaces by naming and needs no later stamp.
fn stamp(facts: &Facts, path: &str, wall: Wall) -> Stamp {
    let heads = facts.heads(path);
    let latest = heads.iter().filter_map(|id| facts.by_id(id)).map(|version| version.statement().stamp).max();
    match latest {
        Some(latest) if latest.wall >= wall.0 && acceptable(latest, wall) => {
            Stamp { wall: latest.wall, logical: latest.logical + 1 }
        }
        _ => Stamp { wall: wall.0, logical: 0 },
    }
}

/// A service as an operator describes it.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its horde.
    pub horde: HordeName,
    /// Its name.
    pub service: ServiceName,
    /// Its placement in khan's words.
    pub place: String,
    /// Its split policy.
    pub on_split: String,
    /// At most once.
    pub single: bool,
    /// Makes revisions differ.
    pub variant: u32,
    /// Never started again when it ends.
    pub once: bool,
    /// With a health check.
    pub check: bool,
    /// With a file to be fetched.
    pub file: bool,
    /// With hooks for when its horde is parted and has rejoined.
    pub hooks: bool,
}

impl Wanted {
    /// A service without check, file or policy.
    #[must_use]
    pub fn plain(of: &ServiceRef, place: String) -> Self {
        let (horde, service) = (of.horde.clone(), of.service.clone());
        let (on_split, single, variant, once, check, file) = (String::new(), false, 0, false, false, false);
        Self { horde, service, place, on_split, single, variant, once, check, file, hooks: false }
    }

    /// The facts that say so.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        use crux_core::facts::value::{Check, File, Hooks};
        let check = Check { kind: "tcp".into(), port: "http".into(), ..Check::default() };
        let file = File { path: "bin/app".into(), sha256: vec![7; 32], size: 9, executable: true };
        let manifest = Manifest {
            service: self.service.to_string(),
            run: vec!["bin/app".into()],
            env: BTreeMap::from([("VARIANT".into(), self.variant.to_string())]),
            ports: BTreeMap::from([("http".into(), 0)]),
            check: self.check.then_some(check),
            files: if self.file { vec![file] } else { Vec::new() },
            stop_grace_ms: 2_000,
            once: self.once,
            hooks: self.hooks.then(|| Hooks {
                parted: vec!["bin/parted".into()],
                rejoined: vec!["bin/rejoined".into()],
                timeout_ms: 3_000,
            }),
            ..Manifest::default()
        };
        let bytes: Bytes = manifest.encode_to_vec().into();
        let revision = Manifest::revision(&bytes);
        let place = Place {
            revision: revision.0.to_vec(),
            place: self.place.clone(),
            on_split: self.on_split.clone(),
            single: self.single,
            ..Place::default()
        };
        vec![
            (muster_path(&self.service, &revision), Some(bytes)),
            (place_path(&self.horde, &self.service), Some(place.encode_to_vec().into())),
        ]
    }

    /// The facts that take it away.
    #[must_use]
    pub fn removal(&self) -> Vec<Change> {
        vec![(place_path(&self.horde, &self.service), None)]
    }
}

/// The fact that makes a horde whose members are missed for so long before others stand in for them.
#[must_use]
pub fn horde_with_vacancies(name: &HordeName, want: u32, after_ms: u64) -> Vec<Change> {
    let value = Horde { want, vacancy_after_ms: after_ms, ..Horde::default() };
    vec![(horde_path(name), Some(value.encode_to_vec().into()))]
}

/// The fact that keeps new work from a fulcrum and with `drain` moves away what runs there; `None` takes it back.
#[must_use]
pub fn cordon(fulcrum: &FulcrumId, drain: Option<bool>) -> Vec<Change> {
    let value = drain.map(|drain| Cordon { reason: "service".into(), drain }.encode_to_vec().into());
    vec![(cordon_path(fulcrum), value)]
}

/// The fact that gives a node the label `zone`, over that of its certificate; `None` takes it back.
#[must_use]
pub fn zone(node: &NodeName, zone: Option<&str>) -> Vec<Change> {
    let labels = |zone: &str| Labels { labels: BTreeMap::from([("zone".into(), zone.into())]) };
    vec![(label_path(node), zone.map(|zone| labels(zone).encode_to_vec().into()))]
}

/// One of many rules, or its removal.
#[must_use]
pub fn rule(nonce: u8, removed: bool) -> Vec<Change> {
    let nonce = Bytes::from(vec![nonce; NONCE]);
    let rule = Rule { client: "web/*".into(), endpoint: "data/db".into(), nonce, ..Rule::default() };
    let fact = RuleFact { rule: rule.encode_to_vec().into(), removed };
    vec![(rule_path(&fact.id()), Some(fact.encode_to_vec().into()))]
}

/// The fact before which nothing is in force.
#[must_use]
pub fn horizon(before: Wall) -> Vec<Change> {
    vec![(HORIZON.into(), Some(Horizon { before: before.0 }.encode_to_vec().into()))]
}

/// The fact that puts a node out with all its certificates up to this one.
#[must_use]
pub fn expel(node: &NodeName, up_to: u32) -> Vec<Change> {
    let value = Expulsion { up_to, reason: "stolen".into() }.encode_to_vec();
    vec![(expel_path(node), Some(value.into()))]
}

/// The fact that makes a horde of whom this `where` admits.
#[must_use]
pub fn horde_where(name: &HordeName, want: u32, admits: &str) -> Vec<Change> {
    let value = Horde { want, r#where: admits.into(), ..Horde::default() };
    vec![(horde_path(name), Some(value.encode_to_vec().into()))]
}

/// The fact that makes a horde, or with `None` unmakes it.
#[must_use]
pub fn horde(name: &HordeName, want: Option<u32>) -> Vec<Change> {
    let value = want.map(|want| Horde { want, ..Horde::default() }.encode_to_vec().into());
    vec![(horde_path(name), value)]
}
