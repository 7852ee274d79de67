//! Hordes on whole engines, scripted: vacancies on both sides of a long split, drains, cordons, and who leaves for good.

use crux_core::facts::value::Row;
use crux_core::io::{Command, Input, Reply};
use crux_core::picture::HordeState;
use crux_core::services::instance::ServiceRef;
use crux_names::{Duration, FulcrumId, HordeName};
use crux_sim::operator::{Change, Wanted, cordon, horde, horde_where, horde_with_vacancies, zone};
use crux_sim::swarm::{Options, Swarm};
use std::collections::{BTreeMap, BTreeSet};

fn web() -> HordeName {
    "web".parse().unwrap()
}

fn of(horde: &HordeName, service: &str) -> ServiceRef {
    ServiceRef { horde: horde.clone(), service: service.parse().unwrap() }
}

fn ok<T>(result: Result<T, Box<crux_sim::swarm::Failure>>) -> T {
    result.unwrap_or_else(|failure| panic!("{failure}"))
}

fn write(swarm: &mut Swarm, place: usize, changes: &[Change]) {
    let Swarm { operator, world, .. } = swarm;
    operator.write(world, place, changes);
}

fn settle(swarm: &mut Swarm, phase: &str) {
    ok(swarm.run_for(Duration::from_secs(1)));
    ok(swarm.check_sides(phase));
    // What a door refuses makes the rest of a test vain.
    let refused = swarm.operator.written.iter().find(|one| matches!(one.reply, Some(Reply::Refused { .. })));
    assert!(refused.is_none(), "{phase}: {refused:?}");
}

fn running(swarm: &Swarm, places: &[usize], of: &ServiceRef) -> usize {
    let lives = places.iter().filter_map(|at| swarm.world.slots[*at].node.as_ref());
    lives.map(|life| life.machine.running(of)).sum()
}

fn id(place: usize) -> FulcrumId {
    format!("n{}", place + 1).parse().unwrap()
}

/// Everybody's row as one place has it.
fn rows(swarm: &Swarm, place: usize) -> BTreeMap<FulcrumId, Row> {
    swarm.world.slots[place].node.as_ref().unwrap().engine.facts_room().rows().collect()
}

fn members(swarm: &Swarm, place: usize, horde: &HordeName) -> BTreeSet<FulcrumId> {
    let rows = rows(swarm, place);
    rows.iter().filter(|(_, row)| !row.left && row.horde == horde.as_str()).map(|(id, _)| id.clone()).collect()
}

fn standing(swarm: &Swarm, place: usize, horde: &HordeName) -> (HordeState, String) {
    let life = swarm.world.slots[place].node.as_ref().unwrap();
    let status = life.engine.status(swarm.world.now, life.machine.wall(swarm.world.now));
    let line = status.hordes.into_iter().find(|line| line.name == *horde).unwrap();
    (line.state, line.why)
}

fn kinds(swarm: &Swarm, place: usize, subject: &str) -> Vec<&'static str> {
    let life = swarm.world.slots[place].node.as_ref().unwrap();
    let of_it = life.events.iter().filter(|(_, event)| event.subject == subject && event.kind.starts_with("horde-"));
    of_it.map(|(_, event)| event.kind).collect()
}

fn places(ids: &BTreeSet<FulcrumId>) -> Vec<usize> {
    (0..16).filter(|place| ids.contains(&id(*place))).collect()
}

/// Issue 4: a split of an hour with vacancies filled on both sides; no home member loses its place, and nothing that may
/// run once runs twice.
#[test]
fn vacancies_are_filled_on_both_sides_of_a_split_of_an_hour_and_nobody_loses_its_place() {
    for seed in 0..2 {
        let mut swarm = Swarm::new(Options::fine(seed, 8));
        ok(swarm.check_sides("start"));
        // Ten minutes, the default: the seats keep time, whoever holds them.
        write(&mut swarm, 0, &horde(&web(), Some(3)));
        settle(&mut swarm, "a horde");
        let home = members(&swarm, 0, &web());
        assert_eq!(home.len(), 3, "seed {seed}");
        let (api, db) = (of(&web(), "api"), of(&web(), "db"));
        write(&mut swarm, 1, &Wanted::plain(&api, "pick(api, 3, ALL)".into()).changes());
        let single =
            Wanted { single: true, on_split: "majority".into(), ..Wanted::plain(&db, "pick(db, 1, ALL)".into()) };
        write(&mut swarm, 2, &single.changes());
        settle(&mut swarm, "services");
        // Two members and two free ones on one side, one and three on the other.
        let free: Vec<usize> = (0..8).filter(|place| !home.contains(&id(*place))).collect();
        let homes = places(&home);
        let mut left = vec![homes[0], homes[1], free[0], free[1]];
        let mut right = vec![homes[2], free[2], free[3], free[4]];
        left.sort_unstable();
        right.sort_unstable();
        let side: Vec<usize> = (0..8).map(|place| usize::from(right.contains(&place))).collect();
        swarm.split(&side);
        let all: Vec<usize> = (0..8).collect();
        let substitutes = |swarm: &Swarm, place: usize| -> BTreeMap<FulcrumId, String> {
            let stands = rows(swarm, place).into_iter().filter(|(_, row)| !row.stands_in.is_empty());
            stands.map(|(id, row)| (id, row.stands_for)).collect()
        };
        let mut unfilled = 0;
        for second in 0..3600 {
            ok(swarm.run_for(Duration::from_secs(1)));
            assert!(running(&swarm, &all, &db) <= 1, "seed {seed}: two of a single service after {second} s");
            for place in [left[0], right[0]] {
                assert_eq!(members(&swarm, place, &web()), home, "seed {seed}: who counts changed after {second} s");
            }
            if substitutes(&swarm, left[0]).is_empty() && substitutes(&swarm, right[0]).is_empty() {
                unfilled = second;
            }
        }
        assert!((600..640).contains(&unfilled), "seed {seed}: filled after {unfilled} s");
        settle(&mut swarm, "an hour later");
        let absent = |ids: &[usize]| ids.iter().map(|place| format!("{}/0", id(*place).node)).collect::<BTreeSet<_>>();
        let of_whom = |swarm: &Swarm, place| substitutes(swarm, place).into_values().collect::<BTreeSet<_>>();
        assert_eq!(of_whom(&swarm, left[0]), absent(&homes[2..]), "seed {seed}");
        assert_eq!(of_whom(&swarm, right[0]), absent(&homes[..2]), "seed {seed}");
        for (place, here) in [(left[0], &left), (right[0], &right)] {
            assert_eq!(running(&swarm, here, &api), 3, "seed {seed}: each side has its count");
            let (state, why) = standing(&swarm, place, &web());
            assert_eq!(state, HordeState::Parted, "seed {seed}");
            assert!(why.contains("not seen here") && why.contains("stands in"), "{why}");
            let per_host = here.iter().map(|at| running(&swarm, &[*at], &api)).max();
            assert_eq!(per_host, Some(1), "seed {seed}: substitutes carry their share");
        }
        assert_eq!((running(&swarm, &left, &db), running(&swarm, &right, &db)), (1, 0), "seed {seed}");
        assert!(kinds(&swarm, left[0], "web").ends_with(&["horde-parted"]), "{:?}", kinds(&swarm, left[0], "web"));
        swarm.heal();
        for _ in 0..600 {
            ok(swarm.run_for(Duration::from_millis(100)));
            assert!(running(&swarm, &all, &api) >= 3, "seed {seed}: a heal took what ran");
            assert!(running(&swarm, &all, &db) <= 1, "seed {seed}");
            for place in [left[0], right[0]] {
                assert_eq!(members(&swarm, place, &web()), home, "seed {seed}: a home member lost its place");
            }
        }
        assert_eq!(substitutes(&swarm, right[0]), BTreeMap::new(), "seed {seed}: nobody stands in any more");
        settle(&mut swarm, "healed");
        assert_eq!(standing(&swarm, right[0], &web()), (HordeState::Whole, String::new()), "seed {seed}");
        assert!(kinds(&swarm, right[0], "web").ends_with(&["horde-rejoined"]), "{:?}", kinds(&swarm, right[0], "web"));
        assert_eq!(running(&swarm, &homes, &api), 3, "seed {seed}: it runs at home again");
    }
}

/// A machine that dies is replaced after the horde's own time, and takes its place again when it is back.
#[test]
fn a_dead_member_is_stood_in_for_and_takes_its_place_again() {
    for seed in 0..4 {
        let mut swarm = Swarm::new(Options::fine(seed, 5));
        ok(swarm.check_sides("start"));
        write(&mut swarm, 0, &horde_with_vacancies(&web(), 3, 30_000));
        settle(&mut swarm, "a horde");
        let api = of(&web(), "api");
        write(&mut swarm, 1, &Wanted::plain(&api, "pick(api, SIZE(ALL), ALL)".into()).changes());
        settle(&mut swarm, "a service");
        let home = members(&swarm, 0, &web());
        let (dead, other) = (places(&home)[2], places(&home)[0]);
        swarm.end(dead, true);
        ok(swarm.run_for(Duration::from_secs(20)));
        let all: Vec<usize> = (0..5).collect();
        assert_eq!(running(&swarm, &all, &api), 2, "seed {seed}: nobody stands in yet");
        assert!(standing(&swarm, other, &web()).1.contains("another may stand in after"), "seed {seed}");
        ok(swarm.run_for(Duration::from_secs(30)));
        settle(&mut swarm, "stood in for");
        assert_eq!(running(&swarm, &all, &api), 3, "seed {seed}");
        swarm.restart(dead);
        settle(&mut swarm, "back");
        ok(swarm.run_for(Duration::from_secs(10)));
        settle(&mut swarm, "in its place");
        assert_eq!(members(&swarm, other, &web()), home, "seed {seed}");
        assert_eq!(running(&swarm, &places(&home), &api), 3, "seed {seed}");
        assert!(rows(&swarm, other).values().all(|row| row.stands_in.is_empty()), "seed {seed}");
    }
}

/// Of a horde that lacks members everybody can say what it waits for, not only the seat of ADMIN.
#[test]
fn what_a_horde_waits_for_is_known_everywhere() {
    let mut swarm = Swarm::new(Options::fine(5, 4));
    ok(swarm.check_sides("start"));
    write(&mut swarm, 3, &horde(&web(), Some(6)));
    settle(&mut swarm, "too many wanted");
    for place in 0..4 {
        let (state, why) = standing(&swarm, place, &web());
        assert_eq!((state, why.as_str()), (HordeState::Thin, "waits for 2 free nodes"), "n{}", place + 1);
        assert!(kinds(&swarm, place, "web").contains(&"horde-thin"));
    }
    write(&mut swarm, 0, &horde(&web(), Some(4)));
    settle(&mut swarm, "enough");
    for place in 0..4 {
        assert_eq!(standing(&swarm, place, &web()), (HordeState::Whole, String::new()), "n{}", place + 1);
        assert_eq!(kinds(&swarm, place, "web").last(), Some(&"horde-whole"));
    }
}

#[test]
fn a_drain_moves_what_runs_away_and_an_end_of_it_restores() {
    for seed in 0..4 {
        let mut swarm = Swarm::new(Options::fine(seed, 5));
        let api = of(&HordeName::main(), "api");
        ok(swarm.check_sides("start"));
        write(&mut swarm, 1, &Wanted::plain(&api, "pick(api, 5, ALL)".into()).changes());
        settle(&mut swarm, "five");
        let all: Vec<usize> = (0..5).collect();
        // A cordon leaves what runs and keeps the rest away.
        write(&mut swarm, 3, &cordon(&id(2), Some(false)));
        write(&mut swarm, 1, &Wanted::plain(&api, "pick(api, 8, ALL)".into()).changes());
        settle(&mut swarm, "cordoned");
        assert_eq!((running(&swarm, &all, &api), running(&swarm, &[2], &api)), (8, 1), "seed {seed}");
        write(&mut swarm, 4, &cordon(&id(2), Some(true)));
        for _ in 0..200 {
            ok(swarm.run_for(Duration::from_millis(100)));
            assert!(running(&swarm, &all, &api) >= 8, "seed {seed}: a drain took what ran");
        }
        settle(&mut swarm, "drained");
        assert_eq!((running(&swarm, &all, &api), running(&swarm, &[2], &api)), (8, 0), "seed {seed}");
        // A horde does not get it either.
        write(&mut swarm, 0, &horde(&web(), Some(4)));
        settle(&mut swarm, "a horde of all others");
        assert!(!members(&swarm, 0, &web()).contains(&id(2)), "seed {seed}");
        write(&mut swarm, 0, &cordon(&id(2), None));
        settle(&mut swarm, "undrained");
        assert_eq!(running(&swarm, &[2], &api), 8, "seed {seed}: it is all that is left of main");
    }
}

/// The zones of a horde's home members, and whether all their names end so.
fn zones(swarm: &Swarm, horde: &HordeName, site: &str) -> Vec<String> {
    let ids = members(swarm, 0, horde);
    assert!(ids.iter().all(|id| id.node.as_str().ends_with(site)), "{ids:?}");
    let life = swarm.world.slots[0].node.as_ref().unwrap();
    let mut zones: Vec<String> = ids.iter().filter_map(|id| life.engine.muster().labels(id).remove("zone")).collect();
    zones.sort();
    zones
}

/// Issue 4: `where` first, by labels and by the end of a name, then the spread over `zone`; what cannot be given now is
/// given later. Eight nodes: n1 and n2 of zone a, n3 of b and n4 of c, the same again from n5 on; n1, n2, n5 and n6 under
/// site-a, the others under site-b.
#[test]
fn hordes_take_whom_their_where_admits_and_spread_over_zones() {
    for seed in 0..3 {
        let mut swarm = Swarm::new(Options { sites: true, ..Options::fine(seed, 8) });
        ok(swarm.check_sides("start"));
        let make = |swarm: &mut Swarm, name: &str, want: u32, admits: &str| -> HordeName {
            let horde: HordeName = name.parse().unwrap();
            write(swarm, 1, &horde_where(&horde, want, admits));
            swarm.fresh.insert(horde.clone());
            settle(swarm, name);
            horde
        };
        let all = make(&mut swarm, "all", 3, "");
        assert_eq!(zones(&swarm, &all, ""), ["a", "b", "c"], "seed {seed}");
        let east = make(&mut swarm, "east", 2, "node under site-b");
        assert_eq!(zones(&swarm, &east, ".site-b"), ["b", "c"], "seed {seed}");
        // Three of zone a are left, and five are wanted.
        let west = make(&mut swarm, "west", 5, "zone=a & node under site-a");
        assert_eq!(zones(&swarm, &west, ".site-a"), ["a", "a", "a"], "seed {seed}");
        let (state, why) = standing(&swarm, 3, &west);
        assert_eq!(state, HordeState::Thin, "seed {seed}");
        assert_eq!(why, "waits for 2 free nodes with zone=a & node under site-a", "seed {seed}");
        // Nobody is taken from a horde that needs it, and more members spread as the first did.
        make(&mut swarm, "all", 4, "");
        assert_eq!(members(&swarm, 0, &all).len(), 3, "seed {seed}: nobody is free");
        write(&mut swarm, 5, &horde(&east, Some(1)));
        settle(&mut swarm, "one is free");
        assert_eq!((members(&swarm, 0, &all).len(), members(&swarm, 0, &east).len()), (4, 1), "seed {seed}");
        // What an operator says of a node counts for `where` as well as its certificate; a name is what it is.
        write(&mut swarm, 5, &horde(&all, Some(3)));
        settle(&mut swarm, "one is free again");
        let free = (0..8).map(|place| swarm.world.slots[place].member.id.clone());
        let taken: BTreeSet<FulcrumId> =
            [&all, &east, &west].into_iter().flat_map(|horde| members(&swarm, 0, horde)).collect();
        let free: Vec<FulcrumId> = free.filter(|id| !taken.contains(id)).collect();
        assert_eq!(free.len(), 1, "seed {seed}");
        write(&mut swarm, 6, &zone(&free[0].node, Some("a")));
        settle(&mut swarm, "of zone a by a label");
        let fits = free[0].node.as_str().ends_with(".site-a");
        assert_eq!(members(&swarm, 0, &west).contains(&free[0]), fits, "seed {seed}");
        write(&mut swarm, 6, &horde_where(&west, 5, "zone=a"));
        settle(&mut swarm, "of zone a wherever");
        assert!(members(&swarm, 0, &west).contains(&free[0]), "seed {seed}");
    }
}

/// That rule can be broken: members of one zone, while somebody of another is free.
#[test]
fn a_horde_that_is_not_spread_is_noticed() {
    let mut swarm = Swarm::new(Options { sites: true, ..Options::fine(1, 6) });
    ok(swarm.check_sides("start"));
    for (place, name) in [(2, "n3.site-b"), (3, "n4.site-b")] {
        write(&mut swarm, 0, &cordon(&name.parse().unwrap(), Some(false)));
        assert_eq!(swarm.world.slots[place].member.id.to_string(), name);
    }
    write(&mut swarm, 0, &horde(&web(), Some(3)));
    settle(&mut swarm, "b and c are cordoned");
    // Zone a has four of six.
    for place in [2, 3] {
        let id = swarm.world.slots[place].member.id.clone();
        write(&mut swarm, 0, &cordon(&id, None));
    }
    settle(&mut swarm, "no longer");
    swarm.fresh.insert(web());
    let failure = swarm.check_sides("as if it had been made now").expect_err("it is of one zone");
    assert!(failure.why.contains("H7"), "{}", failure.why);
}

/// The inventory's finding 7: whoever left for good kept its horde parted for ever.
#[test]
fn whoever_leaves_for_good_is_of_no_horde_and_is_missed_nowhere() {
    for seed in 0..4 {
        let mut swarm = Swarm::new(Options::fine(seed, 5));
        ok(swarm.check_sides("start"));
        write(&mut swarm, 0, &horde(&web(), Some(3)));
        settle(&mut swarm, "a horde");
        let api = of(&web(), "api");
        let wanted = Wanted { on_split: "stop".into(), ..Wanted::plain(&api, "pick(api, 2, ALL)".into()) };
        write(&mut swarm, 1, &wanted.changes());
        settle(&mut swarm, "a service");
        let home = members(&swarm, 0, &web());
        let gone = places(&home)[1];
        let leave = Input::Command { request: 0, command: Command::Leave };
        swarm.world.poke(gone, |life, now, out| life.feed(now, leave, out));
        // It ends by itself, and begins again some time later, but not while it is looked at.
        let begin = swarm.world.now;
        while swarm.world.slots[gone].node.is_some() {
            ok(swarm.run_for(Duration::from_millis(50)));
            assert!(swarm.world.now.since(begin) < Duration::from_secs(5), "seed {seed}: it does not end");
        }
        ok(swarm.check_sides("left"));
        let others: Vec<usize> = (0..5).filter(|place| *place != gone).collect();
        for place in &others {
            // Another became a member in its stead, and `stop` does not wait for who is no member any more.
            assert_eq!(standing(&swarm, *place, &web()), (HordeState::Whole, String::new()), "seed {seed}");
            assert!(!members(&swarm, *place, &web()).contains(&id(gone)), "seed {seed}");
        }
        assert_eq!(running(&swarm, &others, &api), 2, "seed {seed}");
        swarm.restart(gone);
        settle(&mut swarm, "back");
        let row = &rows(&swarm, others[0])[&id(gone)];
        assert!(!row.left && row.horde.is_empty(), "seed {seed}: back it is free: {row:?}");
        assert_eq!(members(&swarm, others[0], &web()).len(), 3, "seed {seed}");
    }
}
