//! Whole fulcrums, one of which lies though its certificate is valid (promise D4): by the seed the leader, the seat of ADMIN,
//! the proctor of a horde, an ordinary member or a substitute. The rules are in `hostile/rules`, one a file.

use bytes::Bytes;
use crux_core::facts::version::{Author, Checked, Sealed, Stamp, Statement};
use crux_core::io::{Effect, Input, Reply, StartSpec};
use crux_core::services::instance::{Instance, InstanceId, Phase, ServiceRef};
use crux_names::{Duration, Hash256, HordeName, Time};
use crux_sim::engines::{Life, bloc};
use crux_sim::hostile::Lie;
use crux_sim::hostile::siege::{Outcome, Siege, Who};
use std::collections::{BTreeMap, BTreeSet};

fn seed(seed: u64) -> Outcome {
    let siege = Siege::begin(seed, &Lie::ALL).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    siege.run().unwrap_or_else(|failure| panic!("seed {seed}: {failure}"))
}

fn seeds(range: std::ops::Range<u64>) {
    let (mut told, mut who, mut acknowledged) = (BTreeMap::new(), BTreeSet::new(), 0);
    for at in range {
        let outcome = seed(at);
        who.insert(outcome.who);
        acknowledged += outcome.acknowledged;
        for (lie, times) in outcome.told {
            *told.entry(lie).or_insert(0) += times;
        }
    }
    assert_eq!(who.len(), Who::ALL.len());
    assert!(acknowledged > 20, "the operator could do nothing: {acknowledged}");
    for lie in Lie::ALL {
        assert!(told.get(&lie).is_some_and(|times| *times > 20), "{lie:?} was hardly told: {told:?}");
    }
}

/// Which rule notices what is done to an honest fulcrum, where nobody lies.
fn noticed(act: impl FnOnce(&mut Life, Time, &mut Vec<crux_sim::world::Out<Bytes, Bytes>>)) -> String {
    let mut siege = Siege::begin(3, &[]).unwrap_or_else(|failure| panic!("{failure}"));
    siege.swarm.run_for(Duration::from_secs(1)).unwrap_or_else(|failure| panic!("{failure}"));
    let at = siege.honest()[0];
    siege.swarm.world.poke(at, act);
    siege.swarm.run_for(Duration::from_secs(3)).expect_err("somebody notices").rule
}

/// A rule that cannot fail says nothing: each is shown what it forbids, as a heart without its checks would do it.
#[test]
fn the_rules_notice_what_they_forbid() {
    let rule = noticed(|life, now, _| {
        let fulcrum = life.machine.id.clone();
        let of = ServiceRef { horde: HordeName::main(), service: "ghost".parse().unwrap() };
        let instance = Instance {
            id: InstanceId { fulcrum, boot: life.member().boot, counter: 99 },
            of,
            slot: 1,
            revision: Hash256([9; 32]),
            phase: Phase::Starting,
            pid: None,
            started: None,
            ports: BTreeMap::new(),
            restarts: 0,
            why: String::new(),
            hook: String::new(),
        };
        life.machine.obey(now, Effect::Start(StartSpec { instance, manifest: Bytes::new(), env: BTreeMap::new() }));
    });
    assert!(rule.starts_with("D4 nothing starts"), "{rule}");
    let rule = noticed(|life, now, out| {
        // As if no signature were checked.
        let statement = Statement {
            bloc: bloc(),
            path: "horde/web".into(),
            value: Some(Bytes::from_static(b"\x08\x09")),
            ancestors: Vec::new(),
            stamp: Stamp { wall: u64::MAX / 2, logical: 0 },
            author: Author::Operator("ops".parse().unwrap()),
            nonce: Bytes::new(),
        };
        let sealed = Sealed { statement: statement.encode(), ..Sealed::default() };
        let versions = vec![Checked::vouched(prost::Message::encode_to_vec(&sealed).into()).unwrap()];
        let from = life.member().clone();
        life.feed(now, Input::Facts { from, versions }, out);
    });
    assert!(rule.starts_with("D4 only what its author signed"), "{rule}");
    let rule = noticed(|life, _, _| {
        let ids = vec![Hash256([9; 32])];
        life.replies.push((1, Reply::Written { ids, others: 0, converged: true }));
    });
    assert!(rule.starts_with("S1 acknowledged"), "{rule}");
    let rule = noticed(|life, _, _| life.machine.wrong.push("a frame cannot be read".into()));
    assert!(rule.starts_with("D6"), "{rule}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(seed(2).trace, seed(2).trace);
}

#[test]
fn seeds_0_to_10() {
    seeds(0..10);
}

#[test]
fn seeds_10_to_20() {
    seeds(10..20);
}

#[test]
fn seeds_20_to_30() {
    seeds(20..30);
}

#[test]
fn seeds_30_to_40() {
    seeds(30..40);
}
