//! What must be true of one side of a network that has been quiet long enough: one flock, equal facts, one ADMIN, and of
//! every service exactly as many processes as its policy wants there. An oracle of its own: it reads facts and processes,
//! not plans.

use crate::engines::{Cluster, Life, admission};
use crate::liveness::{Scene, all_stable, cliques, one_flock};
use crux_core::engine::Engine;
use crux_core::facts::value::{Horde, Place};
use crux_core::io::Word;
use crux_core::picture::{ProgramLine, ProgramState};
use crux_core::services::access::{By, Entry};
use crux_core::services::instance::ServiceRef;
use crux_core::services::known::Known;
use crux_core::services::roles::{HordeRoles, Roles, Substitute, home_of, roles};
use crux_names::{FulcrumId, Hash256, HordeName, NodeName, Wall};
use std::collections::{BTreeMap, BTreeSet};

/// The living, grouped by who can talk to whom; `None` where the network is not a union of cliques.
#[must_use]
pub fn sides(world: &Cluster) -> Option<Vec<Vec<usize>>> {
    // A cut in one direction is no side of its own: nothing can be demanded where one hears and the other does not.
    let living: Vec<usize> = (0..world.slots.len()).filter(|at| world.slots[*at].node.is_some()).collect();
    let one_way = living.iter().any(|a| living.iter().any(|b| world.works(*a, *b) != world.works(*b, *a)));
    if one_way { None } else { cliques(&Scene::of(world, |_| true)) }
}

/// Those of a side that are of the bloc: whom nobody of the bloc there knows to be expelled. What expelled nodes say of others
/// does not count.
#[must_use]
pub fn insiders(world: &Cluster, side: &[usize]) -> Vec<usize> {
    let knows = |at: usize, whom: usize| {
        let member = &world.slots[whom].member;
        let life = world.slots[at].node.as_ref();
        life.is_some_and(|life| life.engine.muster().is_expelled(&member.id.node, admission(member)))
    };
    // Whom nobody accuses is in, whom one that is in accuses is out, and whom only those accuse that are out is in.
    let (mut inside, mut open): (Vec<usize>, Vec<usize>) = (Vec::new(), side.to_vec());
    loop {
        let accused = |whom: &usize, by: &[usize]| by.iter().any(|at| knows(*at, *whom));
        let candidates = open.clone();
        let found: Vec<usize> = open.extract_if(.., |whom| !accused(whom, &candidates)).collect();
        inside.extend(&found);
        open.retain(|whom| !accused(whom, &inside));
        if found.is_empty() {
            break;
        }
    }
    inside.sort_unstable();
    inside
}

fn lives<'a>(world: &'a Cluster, side: &[usize]) -> Vec<&'a Life> {
    side.iter().filter_map(|at| world.slots[*at].node.as_ref()).collect()
}

/// Whether one side is as it must be.
///
/// # Errors
/// What is not, with the rule's id.
pub fn settled(world: &Cluster, side: &[usize]) -> Result<(), String> {
    settled_as(world, side, None, &BTreeSet::new())
}

/// The same, where what one node says of itself may differ: who lies may say one thing here and another there. And of the
/// hordes that were made when everybody was here, since when nobody was lost, how they spread is judged too.
///
/// # Errors
/// What is not, with the rule's id.
pub fn settled_as(
    world: &Cluster,
    side: &[usize],
    liar: Option<&NodeName>,
    fresh: &BTreeSet<HordeName>,
) -> Result<(), String> {
    let side = insiders(world, side);
    let lives = lives(world, &side);
    if lives.is_empty() {
        return Ok(());
    }
    let scene = Scene::of(world, |place| side.contains(&place));
    one_flock(&scene)?;
    all_stable(&scene)?;
    equal_facts(&lives, liar)?;
    let first = lives[0];
    let facts = first.engine.facts_room();
    let mut known = Known::default();
    facts.paths().for_each(|path| _ = known.take(path, facts.value(path)));
    let roles = roles(&first.engine.flock_room().view().roster, &known);
    one_admin(&roles, &lives)?;
    hordes(&first.engine, &roles, &known, fresh)?;
    substitutes(&first.engine, &roles)?;
    register(&lives)?;
    programs(world, &lives)?;
    services(&lives, &roles, &known)?;
    told(&lives, &roles, &known)
}

/// Every process was told last how its horde is, and so was its hook, which has ended. Source: the design's
/// `control-plane.md`, "Splits and rejoins of services".
fn told(lives: &[&Life], roles: &Roles, known: &Known) -> Result<(), String> {
    let sorted = |ids: &[FulcrumId]| {
        let mut ids = ids.to_vec();
        ids.sort();
        ids
    };
    for process in lives.iter().flat_map(|life| life.machine.processes.values()) {
        let instance = &process.instance;
        let Some(horde) = roles.hordes.get(&instance.of.horde) else { continue };
        let (present, absent) = (sorted(&horde.present), sorted(&horde.absent));
        let last = process.told.last();
        let right = match last {
            None => absent.is_empty(),
            Some(telling) if absent.is_empty() => telling.word == Word::Rejoined && telling.absent.is_empty(),
            Some(telling) => telling.word == Word::Parted && telling.present == present && telling.absent == absent,
        };
        if !right {
            return Err(format!("T1: {} was told {last:?}, and {present:?} are here, not {absent:?}", instance.id));
        }
        let revision = known.revision(&instance.of.service, &instance.revision);
        let (Some(telling), true) = (last, revision.is_some_and(|entry| entry.manifest.hooks.is_some())) else {
            continue;
        };
        match process.hooks.last() {
            Some((with, Some(_))) if with.says(telling) => {}
            hook => return Err(format!("T2: {} was told {telling:?}, and its hook {hook:?}", instance.id)),
        }
    }
    Ok(())
}

/// What the trials add at every door.
#[must_use]
pub fn entry() -> Entry {
    Entry {
        of: ServiceRef { horde: HordeName::main(), service: "db".parse().expect("a service's name") },
        name: String::new(),
        addrs: vec!["10.0.0.7:5432".into()],
        labels: BTreeMap::new(),
        by: By::Operator("ops".parse().expect("an operator's name")),
        since: Wall(0),
    }
}

/// Everybody lists what was added at the doors of this side, and nothing else.
fn register(lives: &[&Life]) -> Result<(), String> {
    let all: BTreeSet<FulcrumId> = lives.iter().map(|life| life.member().id.clone()).collect();
    for life in lives {
        let listed = life.engine.access_lines();
        let at: BTreeSet<FulcrumId> = listed.iter().map(|line| line.claim.by.clone()).collect();
        if at != all || listed.len() != all.len() {
            return Err(format!("A1: {} lists what was added at {at:?}, should be {all:?}", life.member()));
        }
    }
    Ok(())
}

/// Whatever heartbeats in ADMIN answers, and everybody knows that.
fn programs(world: &Cluster, lives: &[&Life]) -> Result<(), String> {
    for life in lives {
        let lines = life.engine.program_lines(world.now);
        for name in ["access", "genghis", "muster", "yurt"] {
            if lines.iter().filter(|line| line.name == name).count() != 1 {
                return Err(format!("A2: {} does not know of exactly one {name}", life.member()));
            }
        }
        // A catalogue that lacks something is the operators' affair.
        let waits = |line: &&ProgramLine| line.state.0 != ProgramState::Answers && line.name != "muster";
        if let Some(line) = lines.iter().find(waits) {
            return Err(format!("A2: {} at {} does not answer: {}", line.name, line.node, line.state.1));
        }
    }
    Ok(())
}

fn equal_facts(lives: &[&Life], liar: Option<&NodeName>) -> Result<(), String> {
    for life in lives {
        let equal = match liar {
            None => life.engine.facts_room().digest() == lives[0].engine.facts_room().digest(),
            Some(liar) => facts_but(life, liar) == facts_but(lives[0], liar),
        };
        if !equal {
            return Err(format!("S2: {} and {} have different facts", lives[0].member(), life.member()));
        }
        if !life.engine.facts_room().durable() {
            return Err(format!("S1: not all that is in force is on the disk of {}", life.member()));
        }
    }
    Ok(())
}

/// Which versions of which facts stand, but for the rows of one node.
#[must_use]
pub fn facts_but(life: &Life, node: &NodeName) -> Vec<(String, Vec<Hash256>)> {
    let (facts, rows) = (life.engine.facts_room(), format!("row/{node}/"));
    facts.paths().filter(|path| !path.starts_with(&rows)).map(|path| (path.clone(), facts.heads(path))).collect()
}

fn one_admin(roles: &Roles, lives: &[&Life]) -> Result<(), String> {
    let (flagged, wanted) = (roles.admin().len(), lives.len().min(3));
    if flagged != wanted || roles.flagged() != wanted {
        return Err(format!("S6: {flagged} of {} carry the ADMIN flag, should be {wanted}", lives.len()));
    }
    for life in lives {
        if life.engine.services_room().roles() != roles {
            return Err(format!("S6: {} does not see the roles that its rows and view say", life.member()));
        }
    }
    Ok(())
}

fn hordes(engine: &Engine, roles: &Roles, known: &Known, fresh: &BTreeSet<HordeName>) -> Result<(), String> {
    let wanted: BTreeMap<HordeName, Horde> = engine.facts_room().hordes().collect();
    for seat in &engine.flock_room().view().roster {
        let id = &seat.member.id;
        let Some((home, joining)) = known.rows().get(id).map(home_of) else { continue };
        if joining {
            return Err(format!("H1: {id} is still on its way into {home}"));
        }
        if home != HordeName::main() && !wanted.contains_key(&home) {
            return Err(format!("H2: {id} is of {home}, which nobody wants"));
        }
    }
    for (name, fact) in wanted {
        let (none, want) = (HordeRoles::default(), fact.want as usize);
        let horde = roles.hordes.get(&name).unwrap_or(&none);
        let home = horde.home();
        // Whoever works elsewhere is asked again when it is free, and whoever is cordoned is not asked.
        let mut free = workers(engine, roles, &HordeName::main());
        free.retain(|id| known.cordon(id).is_none() && admits(&fact.r#where, id, &known.labels(id)));
        if home.len() > want && !horde.present.is_empty() {
            return Err(format!("H4: {name} wants {want} and has {}", home.len()));
        }
        if home.len() < want && !free.is_empty() {
            return Err(format!("H3: {name} wants {want} and has {}, though {} are free", home.len(), free.len()));
        }
        if fresh.contains(&name) {
            spread(&name, &fact, &home, &free, known)?;
        }
    }
    Ok(())
}

/// Of those that `where` admits a horde takes them evenly over the zones: nobody is taken where two more are already than in
/// the zone of one who is free. Source: the design's `control-plane.md`, "Hordes".
fn spread(name: &HordeName, fact: &Horde, home: &[FulcrumId], free: &[FulcrumId], known: &Known) -> Result<(), String> {
    let zone = |id: &FulcrumId| known.labels(id).remove("zone");
    let mut zones: BTreeMap<Option<String>, usize> = BTreeMap::new();
    for id in home {
        if !admits(&fact.r#where, id, &known.labels(id)) {
            return Err(format!("H6: {id} is of {name}, which takes only {:?}", fact.r#where));
        }
        *zones.entry(zone(id)).or_default() += 1;
    }
    let most = zones.values().max().copied().unwrap_or(0);
    match free.iter().find(|id| zones.get(&zone(id)).copied().unwrap_or(0) + 1 < most) {
        Some(id) => Err(format!("H7: {name} has {zones:?} of its members in these zones, and {id} is free")),
        None => Ok(()),
    }
}

/// Whether a `where` of the simulator admits a fulcrum with these labels: terms joined by `&`, each `node under SITE` or
/// `KEY=VALUE`.
fn admits(text: &str, id: &FulcrumId, labels: &BTreeMap<String, String>) -> bool {
    let holds = |term: &str| match (term.strip_prefix("node under "), term.split_once('=')) {
        (Some(site), _) => id.node.as_str().ends_with(&format!(".{site}")),
        (_, Some((key, value))) => labels.get(key).is_some_and(|label| label == value),
        _ => false,
    };
    text.split('&').map(str::trim).filter(|term| !term.is_empty()).all(holds)
}

/// Nobody stands in for a member that is here, and nobody for one for whom somebody else does.
fn substitutes(engine: &Engine, roles: &Roles) -> Result<(), String> {
    for (name, horde) in &roles.hordes {
        let mut filled = BTreeSet::new();
        for substitute in &horde.substitutes {
            let Substitute { id, of } = substitute;
            if !horde.absent.contains(of) || !filled.insert(of) {
                return Err(format!("H5: {id} stands in for {of} at {name}, which needs nobody"));
            }
            if !engine.muster().hordes().contains_key(name) {
                return Err(format!("H5: {id} stands in at {name}, which nobody wants"));
            }
        }
    }
    Ok(())
}

/// Who is to work for a horde here: its present members but those that stand in elsewhere, and those that stand in here;
/// but nobody who is drained.
fn workers(engine: &Engine, roles: &Roles, horde: &HordeName) -> Vec<FulcrumId> {
    let Some(horde) = roles.hordes.get(horde) else { return Vec::new() };
    let home = horde.present.iter().filter(|id| !horde.lent.contains(*id));
    let all = home.chain(horde.substitutes.iter().map(|substitute| &substitute.id));
    all.filter(|id| engine.muster().cordon(id).is_none_or(|cordon| !cordon.drain)).cloned().collect()
}

/// The fulcrums of a side among which a placement of the simulator chooses, and how many it wants there.
fn means(place: &Place, workers: &[FulcrumId], known: &Known) -> (BTreeSet<FulcrumId>, usize) {
    // pick(NAME, NUMBER, SET) with NUMBER a number or SIZE(ALL), and SET ALL or LABEL(zone=x).
    let inner = place.place.trim_start_matches("pick(").trim_end_matches(')');
    let mut words = inner.splitn(3, ',').map(str::trim).skip(1);
    let (number, set) = (words.next().unwrap_or("0"), words.next().unwrap_or("ALL"));
    let zone = set.strip_prefix("LABEL(zone=").map(|rest| rest.trim_end_matches(')').to_owned());
    let fits = |id: &FulcrumId| match &zone {
        Some(zone) => known.labels(id).get("zone") == Some(zone),
        None => true,
    };
    let hosts: BTreeSet<FulcrumId> = workers.iter().filter(|id| fits(id)).cloned().collect();
    // Whoever is cordoned is in no SIZE.
    let all = workers.iter().filter(|id| known.cordon(id).is_none()).count();
    let count = if number.starts_with("SIZE") { all } else { number.parse().unwrap_or(0) };
    let count = if hosts.is_empty() { 0 } else { count };
    (hosts, count)
}

/// How many instances a placement of the simulator wants in all, if a fulcrum with these labels is in its set; a number that
/// depends on how many there are is any.
#[must_use]
pub fn fits(place: &Place, labels: &BTreeMap<String, String>) -> Option<usize> {
    let inner = place.place.trim_start_matches("pick(").trim_end_matches(')');
    let mut words = inner.splitn(3, ',').map(str::trim).skip(1);
    let (number, set) = (words.next().unwrap_or("0"), words.next().unwrap_or("ALL"));
    let zone = set.strip_prefix("LABEL(zone=").map(|rest| rest.trim_end_matches(')'));
    let is = zone.is_none_or(|zone| labels.get("zone").is_some_and(|label| label == zone));
    is.then(|| number.parse().unwrap_or(usize::MAX))
}

/// Whether the policy lets this side run the service.
fn allowed(place: &Place, of: &ServiceRef, roles: &Roles) -> bool {
    let Some(horde) = roles.hordes.get(&of.horde) else { return false };
    let home = horde.home();
    match place.on_split.as_str() {
        "" | "each-side" => true,
        "majority" => {
            let here = horde.present.len();
            here * 2 > home.len()
                || (here * 2 == home.len() && home.first().is_some_and(|one| horde.present.contains(one)))
        }
        "stop" => horde.absent.is_empty(),
        other => {
            let node = other.trim_start_matches("home:");
            horde.present.iter().any(|id| id.node.as_str() == node)
        }
    }
}

/// Every service that is placed, with its placement.
#[must_use]
pub fn placed(life: &Life) -> BTreeMap<ServiceRef, Place> {
    let places = life.engine.facts_room().all_places();
    places.map(|(horde, service, place)| (ServiceRef { horde, service }, place)).collect()
}

fn services(lives: &[&Life], roles: &Roles, known: &Known) -> Result<(), String> {
    let placed = placed(lives[0]);
    let engine = &lives[0].engine;
    for life in lives {
        for process in life.machine.processes.values() {
            if !placed.contains_key(&process.instance.of) {
                return Err(format!("V5: {} runs, and {} is nowhere placed", process.instance.id, process.instance.of));
            }
        }
    }
    for (of, place) in &placed {
        let revision = Hash256(place.revision.as_slice().try_into().unwrap_or([0; 32]));
        if known.revision(&of.service, &revision).is_none() {
            // It stands behind the horizon: nothing more starts until an operator writes it again.
            continue;
        }
        let (hosts, count) = means(place, &workers(engine, roles, &of.horde), known);
        let open = hosts.iter().filter(|id| engine.muster().cordon(id).is_none()).count();
        let should = if allowed(place, of, roles) { count } else { 0 };
        let mut running = 0;
        for life in lives {
            let here: Vec<_> = life.machine.processes.values().filter(|process| process.instance.of == *of).collect();
            running += here.len();
            let wrong = here.iter().find(|process| revision != process.instance.revision);
            if let Some(process) = wrong {
                return Err(format!("V5: {} runs another revision of {of} than is wanted", process.instance.id));
            }
            if !here.is_empty() && !hosts.contains(&life.machine.id) {
                return Err(format!("V5: {of} runs on {}, which is not in its set", life.machine.id));
            }
            if should > 0 && here.len() > should.div_ceil(open.max(1)) {
                return Err(format!("V5: {} of {of} run on {}, more than its share", here.len(), life.machine.id));
            }
        }
        // Where all of its set are cordoned nothing more starts, and what runs there stays.
        if running > should || (running < should && open > 0) {
            return Err(format!("V5: {running} of {of} run, should be {should} ({}, {})", place.place, place.on_split));
        }
    }
    Ok(())
}
