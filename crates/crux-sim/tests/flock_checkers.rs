//! That a rule can fire: what an honest machine does not do, put before the rule that is there for it.

use crux_core::flock::Flock;
use crux_core::flock::message::{Accusation, Answer, Datagram, Message};
use crux_core::flock::view::View;
use crux_names::{Duration, Member, Time};
use crux_sim::alone::{Alone, first_view, joint, propose};
use crux_sim::flocks::{Flocks, addr, bird, config, flocks, member, until_shape};
use crux_sim::invariants::{
    Bounded, Clique, Everybody, EvidenceIsDirect, InOwnView, NoHearsay, OneBloc, OnlyTheProposerInstalls, Safety, Seen,
    StableMeansInstalled, ViewsRise,
};
use crux_sim::liveness::{
    DoubleStable, Scene, all_stable, as_good_as_fresh, exactly_the_cliques, no_broken_pair_together, one_flock,
    partition,
};
use crux_sim::world::Weather;

/// The world as the rule sees it: somebody's last round trips were made just now, but with those that it cannot reach.
#[derive(Default)]
struct World {
    now: Time,
    apart: Vec<Member>,
    living: Vec<Flock>,
    stable: bool,
}

impl World {
    /// A minute after its beginning.
    fn of(living: Vec<Flock>) -> Self {
        Self { now: Time::from_millis(60_000), living, ..Self::default() }
    }
}

impl Everybody for World {
    fn now(&self) -> Time {
        self.now
    }

    fn flock(&self, member: &Member) -> Option<&Flock> {
        self.living.iter().find(|flock| flock.me() == member)
    }

    fn place(&self, _: &Member) -> Option<usize> {
        None
    }

    fn living(&self) -> Vec<&Member> {
        self.living.iter().map(Flock::me).collect()
    }

    fn proof(&self, of: &Member, with: &Member) -> Option<Time> {
        (!self.apart.contains(of) && !self.apart.contains(with)).then_some(self.now)
    }

    fn stable(&self, _: &Member) -> bool {
        self.stable
    }

    fn lives(&self) -> usize {
        5
    }
}

fn seen<'a>(
    flock: &'a Flock,
    heard: Option<&'a Member>,
    told: Option<&'a Message>,
    datagram: Option<&'a Datagram>,
) -> Seen<'a> {
    let (said, sent, dialled) = (&[], &[], &[]);
    Seen { member: flock.me(), flock, heard, told, said, datagram, linked: false, sent, dialled, observed: true }
}

/// A leader of three, before and after it takes in a fourth.
fn before_and_after() -> (Flock, Flock) {
    let mut one = Alone::leading(&[1, 2]);
    one.answered_by(&[1, 2], Duration::from_secs(2));
    let before = one.flock.clone();
    one.input(crux_core::flock::Input::LinkUp { member: member(7, 1), addr: addr(7), dialed: true });
    one.hear(7, Message::Hello { head: first_view(7).head.clone(), best: None });
    one.answered_by(&[1, 2, 7], Duration::from_millis(500));
    one.said.clear();
    one.hear(7, Message::Ask { view: first_view(7) });
    for _ in 0..60 {
        one.answered_by(&[1, 2, 7], Duration::from_millis(50));
        if let Some(id) = one.proposal_to(1) {
            for place in [1, 2, 7] {
                one.hear(place, Message::Report { id: id.clone(), answer: Answer::Promised { unreached: Vec::new() } });
            }
            break;
        }
    }
    assert_eq!(one.flock.view().roster.len(), 4);
    (before, one.flock)
}

/// What A5 says of the install where this was said of n2 and n3 for so long before, last so long ago, and this was answered.
fn judged(accusations: &[Accusation], lasts: u64, ago: u64, witness: Option<u64>) -> Result<(), String> {
    let (before, after) = before_and_after();
    let view: &View = before.view();
    let mut all = World::of(Vec::new());
    let mut rule = Clique::default();
    rule.check(&seen(&before, None, None, None), &all)?;
    let (observer, subject) = (member(1, 1), member(2, 1));
    for accusation in accusations {
        for _ in 0..=lasts / 100 {
            let (view, subject) = (view.id().clone(), subject.clone());
            let told = Message::Alert { view, subject, accusation: *accusation };
            rule.check(&seen(&before, Some(&observer), Some(&told), None), &all)?;
            all.now = all.now + Duration::from_millis(100);
        }
    }
    if let Some(age) = witness {
        let heard = Some(Duration::from_millis(age));
        let datagram = Datagram::Witness { subject: observer.clone(), heard };
        rule.check(&seen(&before, Some(&subject), None, Some(&datagram)), &all)?;
    }
    all.now = all.now + Duration::from_millis(ago);
    rule.check(&seen(&after, Some(&member(7, 1)), None, None), &all)
}

#[test]
fn a5_fires_where_a_pair_under_a_verdict_is_installed() {
    let broken = [Accusation::Broken];
    let why = judged(&broken, 1_500, 100, None).unwrap_err();
    assert!(why.contains("cannot talk"), "{why}");
    // A round trip that is older than the accusation disproves nothing.
    judged(&broken, 1_500, 100, Some(9_000)).unwrap_err();
    // Too young to be a verdict, forgotten, doubted only, withdrawn, disproved.
    judged(&broken, 500, 100, None).unwrap();
    judged(&broken, 1_500, 5_000, None).unwrap();
    judged(&[Accusation::Doubted], 1_500, 100, None).unwrap();
    judged(&[Accusation::Broken, Accusation::Withdrawn], 1_500, 100, None).unwrap();
    judged(&broken, 1_500, 100, Some(10)).unwrap();
}

/// A follower of n1, before and after the two became a flock.
fn follower() -> (Flock, Flock) {
    let mut one = Alone::new(1, &[0]);
    let before = one.flock.clone();
    one.answered_by(&[0], Duration::from_secs(1));
    one.joins(0, 2, Duration::from_millis(200));
    (before, one.flock)
}

fn plain(flock: &Flock) -> Seen<'_> {
    seen(flock, None, None, None)
}

#[test]
fn a1_fires_where_somebody_is_not_in_its_own_view() {
    let (_, after) = follower();
    let stranger = member(8, 1);
    InOwnView.check(&plain(&after), &World::default()).unwrap();
    let why = InOwnView.check(&Seen { member: &stranger, ..plain(&after) }, &World::default()).unwrap_err();
    assert!(why.contains("without itself"), "{why}");
}

#[test]
fn a2_fires_where_somebody_goes_back_to_an_older_view() {
    let (before, after) = follower();
    let mut rule = ViewsRise::default();
    for flock in [&before, &after, &after] {
        rule.check(&plain(flock), &World::default()).unwrap();
    }
    let why = rule.check(&plain(&before), &World::default()).unwrap_err();
    assert!(why.contains("back to"), "{why}");
}

#[test]
fn a6_fires_at_a_view_that_nobody_made_and_at_one_that_was_not_promised() {
    let (before, after) = follower();
    let begun = |all: &World| {
        let mut rule = OnlyTheProposerInstalls::default();
        // The first look forgives; the second one is at somebody who has a view of its own by then.
        rule.check(&plain(&before), &World::default()).unwrap();
        rule.check(&plain(&before), all).unwrap();
        rule
    };
    let why = begun(&World::default()).check(&plain(&after), &World::default()).unwrap_err();
    assert!(why.contains("never made"), "{why}");
    // Its leader has installed it.
    let views = [first_view(0), before.view().clone()];
    let view = joint(2, &[&views[0], &views[1]], &[0, 1]);
    assert_eq!(view.id(), after.view().id());
    let leads = {
        let mut one = Alone::new(0, &[1]);
        one.hear(1, Message::Hello { head: first_view(1).head.clone(), best: None });
        one.hear(1, Message::Ask { view: first_view(1) });
        for _ in 0..60 {
            one.answered_by(&[1], Duration::from_millis(50));
            if let Some(id) = one.proposal_to(1) {
                one.hear(1, Message::Report { id, answer: Answer::Promised { unreached: Vec::new() } });
                break;
            }
        }
        one.flock
    };
    // The same, as its own leader made it and told of it.
    let mut one = Alone::new(1, &[0]);
    one.answered_by(&[0], Duration::from_secs(1));
    let (id, message) = propose(0, leads.view().id().epoch, &[&views[0], &views[1]], &[0, 1]);
    one.hear(0, message);
    one.wait(Duration::from_millis(200));
    one.hear(0, Message::Install { id: Some(id), view: leads.view().clone() });
    assert_eq!(one.flock.view().id(), leads.view().id());
    let mut rule = begun(&World::default());
    rule.check(&plain(&bird(Time::from_millis(1000), 0, 1, 1, 3).flock), &World::default()).unwrap();
    rule.check(&plain(&leads), &World::default()).unwrap();
    let why = rule.check(&plain(&one.flock), &World::default()).unwrap_err();
    assert!(why.contains("had promised nothing"), "{why}");
}

#[test]
fn a7_fires_where_a_view_is_stable_that_a_living_member_never_had() {
    let (before, after) = before_and_after();
    let fourth = bird(Time::from_millis(1000), 7, 1, 1, 3).flock;
    for (stable, fires) in [(false, false), (true, true)] {
        let all = World { stable, ..World::of(vec![before.clone(), fourth.clone()]) };
        let mut rule = StableMeansInstalled::default();
        let said = rule.check(&plain(&after), &all);
        assert_eq!(said.is_err(), fires, "{said:?}");
    }
}

#[test]
fn a8_fires_where_somebody_is_removed_whom_everybody_hears() {
    let (three, four) = before_and_after();
    // As if the fourth had that view, and the leader then went on without it.
    let fourth = {
        let mut one = Alone::new(7, &[0, 1, 2]);
        one.answered_by(&[0, 1, 2], Duration::from_secs(1));
        let parents = [&three.view().clone(), &first_view(7)];
        let id = crux_core::flock::message::ProposalId { epoch: four.view().id().epoch, proposer: member(0, 1) };
        let roster: Vec<(crux_core::flock::view::Seat, u32)> =
            four.view().roster.iter().map(|seat| (seat.clone(), u32::from(seat.member == member(7, 1)))).collect();
        let parents: Vec<_> = parents.iter().map(|view| view.id().clone()).collect();
        let deadline = Duration::from_secs(3);
        let propose = Message::Propose { id: id.clone(), parents: parents.into(), candidates: roster.into(), deadline };
        one.hear(0, propose);
        one.wait(Duration::from_millis(200));
        one.hear(0, Message::Install { id: Some(id), view: four.view().clone() });
        one.flock
    };
    assert_eq!(fourth.view().id(), four.view().id(), "it is in the view of four");
    let judge = |apart: Vec<Member>| {
        let mut all = World { apart, ..World::of(vec![three.clone(), fourth.clone()]) };
        let mut rule = NoHearsay::default();
        rule.check(&plain(&fourth), &all).unwrap();
        for other in [1, 2, 7] {
            rule.check(&seen(&four, Some(&member(other, 1)), None, None), &all).unwrap();
        }
        all.now = all.now + Duration::from_millis(10);
        rule.check(&plain(&three), &all)
    };
    let why = judge(Vec::new()).unwrap_err();
    assert!(why.contains("everybody that remains hears it"), "{why}");
}

#[test]
fn a9_fires_where_a_member_is_of_another_bloc() {
    let (_, after) = follower();
    let with = |bloc: &str| {
        let config = crux_core::flock::Config { bloc: bloc.parse().unwrap(), ..config(0, 1, 1, 3) };
        World::of(vec![Flock::new(Time::from_millis(1000), config)])
    };
    OneBloc.check(&plain(&after), &with("sim")).unwrap();
    let why = OneBloc.check(&plain(&after), &with("other")).unwrap_err();
    assert!(why.contains("another bloc"), "{why}");
}

#[test]
fn a10_fires_where_an_older_boot_returns() {
    let (_, after) = follower();
    let newer = {
        let mut one = Alone::new(1, &[]);
        let up = |boot| crux_core::flock::Input::LinkUp { member: member(0, boot), addr: addr(0), dialed: false };
        one.input(up(2));
        one.answered_by(&[], Duration::from_millis(100));
        let bird = bird(Time::from_millis(1000), 0, 1, 2, 3);
        let theirs = bird.flock.view().clone();
        let id = crux_core::flock::message::ProposalId { epoch: 2, proposer: member(0, 2) };
        let mut roster = joint(2, &[&first_view(0), one.flock.view()], &[0, 1]).roster.to_vec();
        roster[0].member = member(0, 2);
        let parents = vec![theirs.id().clone(), one.flock.view().id().clone()];
        let candidates: Vec<_> = roster.iter().cloned().zip(0..).collect();
        let deadline = Duration::from_secs(3);
        let message = Message::Propose {
            id: id.clone(),
            parents: parents.clone().into(),
            candidates: candidates.into(),
            deadline,
        };
        let from = member(0, 2);
        one.input(crux_core::flock::Input::Message { from: from.clone(), message });
        one.wait(Duration::from_millis(2_000));
        let view = View::make(&"sim".parse().unwrap(), 2, roster, "calm-heron".into(), 0, &parents).unwrap();
        let install = Message::Install { id: Some(id), view };
        one.input(crux_core::flock::Input::Message { from, message: install });
        one.flock
    };
    assert!(newer.view().has(&member(0, 2)), "{:?}", newer.view());
    let mut rule = Bounded::default();
    rule.check(&plain(&newer), &World::of(Vec::new())).unwrap();
    let why = rule.check(&plain(&after), &World::of(Vec::new())).unwrap_err();
    assert!(why.contains("after its boot"), "{why}");
}

#[test]
fn a_round_trip_that_nobody_asked_for_is_no_evidence() {
    let (before, _) = before_and_after();
    let mut all = World::of(Vec::new());
    let mut rule = EvidenceIsDirect::default();
    rule.check(&plain(&before), &all).unwrap();
    all.now = all.now + Duration::from_secs(1);
    let (other, ack) = (member(1, 1), Datagram::Ack { seq: 77, view: None });
    let why = rule.check(&seen(&before, Some(&other), None, Some(&ack)), &all).unwrap_err();
    assert!(why.contains("claims a round trip"), "{why}");
}

fn settled(size: usize) -> Flocks {
    let mut world = flocks(size, 1, Weather::default());
    let all: Vec<String> = (1..=size).map(|n| format!("n{n}")).collect();
    until_shape(&mut world, &all.join(","), Duration::from_secs(12)).unwrap();
    let end = world.now + Duration::from_secs(6);
    world.run_until(end, &mut |_| {});
    world
}

#[test]
fn what_must_come_to_hold_is_missed_where_it_does_not() {
    // Of three that have just begun nobody knows anybody.
    let young = flocks(3, 1, Weather::default());
    let scene = Scene::of(&young, |_| true);
    assert!(one_flock(&scene).unwrap_err().starts_with("E1"));
    assert!(exactly_the_cliques(&scene).unwrap_err().starts_with("E2"));
    assert!(partition(&scene).unwrap_err().contains("could be one flock"));
    assert!(all_stable(&scene).unwrap_err().starts_with("E6"));

    // A pair that has just broken is still together, and a flock of three of which two are a clique is none.
    let mut world = settled(3);
    let scene = Scene::of(&world, |_| true);
    one_flock(&scene).unwrap();
    partition(&scene).unwrap();
    all_stable(&scene).unwrap();
    no_broken_pair_together(&scene).unwrap();
    exactly_the_cliques(&scene).unwrap();
    drop(scene);
    world.set_path(0, 2, false);
    world.set_path(2, 0, false);
    let scene = Scene::of(&world, |_| true);
    assert!(no_broken_pair_together(&scene).unwrap_err().starts_with("E4"));
    assert!(partition(&scene).unwrap_err().contains("is no clique"));
    drop(scene);

    // Who has just died is still in everybody's view, and a while later it is missed.
    let mut world = settled(3);
    as_good_as_fresh(&world, |_| true).unwrap();
    world.crash(2);
    assert!(partition(&Scene::of(&world, |_| true)).unwrap_err().contains("still has"));
    let end = world.now + Duration::from_millis(1_900);
    world.run_until(end, &mut |_| {});
    assert!(as_good_as_fresh(&world, |_| true).unwrap_err().contains("suspects"));
}

#[test]
fn e6_fires_where_two_flocks_in_reach_are_both_stable() {
    let mut world = settled(4);
    world.divide(&[0, 0, 1, 1]);
    until_shape(&mut world, "n1,n2 / n3,n4", Duration::from_secs(12)).unwrap();
    let end = world.now + Duration::from_secs(8);
    world.run_until(end, &mut |_| {});
    let mut rule = DoubleStable::default();
    rule.look(&Scene::of(&world, |_| true), Duration::ZERO).unwrap();
    world.join_all();
    rule.look(&Scene::of(&world, |_| true), Duration::ZERO).unwrap();
    let end = world.now + Duration::from_millis(20);
    world.run_until(end, &mut |_| {});
    let why = rule.look(&Scene::of(&world, |_| true), Duration::ZERO).unwrap_err();
    assert!(why.contains("both stable"), "{why}");
}
