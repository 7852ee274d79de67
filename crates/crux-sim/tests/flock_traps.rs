//! The traps that a model of the rules of flocking fell into before the rules were complete, and the cases that the design
//! asks to be worked through. Those of three fulcrums in every order are in `flock_model.rs`.

use crux_core::flock::Input;
use crux_core::flock::message::{Answer, AskReply, Datagram, Message, ProposalId};
use crux_core::flock::view::{EPOCH_FREE, EPOCH_STEP, Seat};
use crux_names::{Duration, Member, Time};
use crux_sim::alone::{Alone, first_view, joint, propose, seat};
use crux_sim::flocks::{Flocks, addr, check, flocks, member, shape, until_shape};
use crux_sim::invariants::flocking;
use crux_sim::world::Weather;

fn both_ways(world: &mut Flocks, a: &[usize], b: &[usize], works: bool) {
    for &x in a {
        for &y in b {
            world.set_path(x, y, works);
            world.set_path(y, x, works);
        }
    }
}

/// Trap 1, and "an install that arrives after a newer promise".
#[test]
fn a_promise_that_dies_blocks_nothing_for_ever() {
    let mut one = Alone::new(1, &[0, 2]);
    let (zero, mine, two) = (first_view(0), one.flock.view().clone(), first_view(2));
    let (older, message) = propose(0, 2, &[&zero, &mine], &[0, 1]);
    one.hear(0, message);
    let (_, message) = propose(2, 3, &[&two, &mine], &[2, 1]);
    one.hear(2, message);
    // The older one's install comes late: a higher promise stands.
    one.hear(0, Message::Install { id: Some(older), view: joint(2, &[&zero, &mine], &[0, 1]) });
    assert_eq!(one.flock.view().id(), mine.id());
    // The newer proposer is never heard of again. The promise ends by itself and only raises the next epoch.
    one.wait(Duration::from_secs(5));
    one.input(Input::LinkUp { member: member(0, 1), addr: addr(0), dialed: false });
    one.joins(0, 4, Duration::from_secs(2));
}

/// The same where the older promise has ended by itself: its install is still welcome, but for the newer promise.
#[test]
fn an_install_whose_promise_has_ended_does_not_undo_a_newer_promise() {
    let mut one = Alone::new(1, &[0, 2]);
    let (zero, mine, two) = (first_view(0), one.flock.view().clone(), first_view(2));
    let (older, message) = propose(0, 2, &[&zero, &mine], &[0, 1]);
    one.hear(0, message);
    one.wait(Duration::from_secs(10));
    for peer in [0, 2] {
        one.input(Input::LinkUp { member: member(peer, 1), addr: addr(peer), dialed: false });
    }
    let (newer, message) = propose(2, 3, &[&two, &mine], &[2, 1]);
    one.hear(2, message);
    one.hear(0, Message::Install { id: Some(older), view: joint(2, &[&zero, &mine], &[0, 1]) });
    assert_eq!(one.flock.view().id(), mine.id());
    let view = joint(3, &[&two, &mine], &[2, 1]);
    one.hear(2, Message::Install { id: Some(newer), view: view.clone() });
    assert_eq!(one.flock.view().id(), view.id());
}

/// Epochs rise by steps that anybody would follow: a leader that lies cannot bring its members near the end of them.
#[test]
fn a_proposal_far_above_the_own_epoch_gets_no_promise() {
    for (epoch, heard) in [(EPOCH_FREE + EPOCH_STEP, true), (EPOCH_FREE + EPOCH_STEP + 1, false)] {
        let mut one = Alone::new(1, &[0]);
        let view = one.joins(0, 2, Duration::from_secs(2));
        one.said.clear();
        let id = ProposalId { epoch, proposer: member(0, 1) };
        let candidates: Vec<(Seat, u32)> = [0, 1].map(|place| (seat(place), 0)).into();
        let parents = vec![view.id().clone()].into();
        one.hear(0, Message::Propose { id, parents, candidates: candidates.into(), deadline: Duration::from_secs(3) });
        assert_eq!(one.report_to(0).is_some(), heard, "epoch {epoch}");
    }
}

/// Whoever has to ask another flock's leader may have met only a member of it, and that under another leader.
#[test]
fn strangers_learn_where_the_leader_of_a_new_view_is() {
    let mut one = Alone::new(1, &[0, 2]);
    one.said.clear();
    one.joins(0, 2, Duration::ZERO);
    let leader = (member(0, 1).id, addr(0));
    let told = |message: &Message| matches!(message, Message::Hints { seats } if seats.contains(&leader));
    assert!(one.said.iter().any(|(to, message)| *to == member(2, 1) && told(message)), "{:?}", one.said);
}

/// A word about a flock of the past, whose leader has been in another one since, keeps nobody from asking whom it can ask:
/// it comes before what the leader says itself, and after it.
#[test]
fn nobody_waits_for_a_flock_that_is_over() {
    for late in [false, true] {
        let mut one = Alone::new(3, &[0, 1, 2]);
        let past = joint(2, &[&first_view(1), &first_view(4)], &[1, 4, 5, 6, 7]);
        let present = joint(3, &[&first_view(0), &first_view(1)], &[0, 1]);
        let told = Message::Hello { head: first_view(2).head.clone(), best: Some((past.head.clone(), addr(1))) };
        if !late {
            one.hear(2, told.clone());
        }
        for place in [0, 1] {
            one.hear(place, Message::Hello { head: present.head.clone(), best: None });
        }
        if late {
            one.hear(2, told);
        }
        let begin = one.now;
        let asked =
            |one: &Alone| one.said.iter().any(|(to, said)| *to == member(0, 1) && matches!(said, Message::Ask { .. }));
        while !asked(&one) {
            one.answered_by(&[0, 1, 2], Duration::from_millis(100));
            assert!(one.now < begin + Duration::from_secs(1), "late: {late}");
        }
    }
}

/// Two halves of a large flock that meet again are linked each with each before they are one: to watch all of them would
/// cost as much as the flock itself, and tell nothing.
#[test]
fn of_a_crowd_of_strangers_some_are_watched() {
    let watched = |strangers: usize| {
        let places: Vec<usize> = (10..10 + strangers).collect();
        let mut one = Alone::new(1, &places);
        one.wait(Duration::from_secs(3));
        one.pings.iter().map(|(to, ..)| to).collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!(watched(40), 40);
    let some = watched(240);
    assert!((40..=80).contains(&some), "{some} of 240 are watched");
}

/// What was asked from one view and is answered when another is installed, in the same moment even, agrees with neither.
#[test]
fn an_answer_without_a_view_agrees_only_with_a_question_of_the_present_one() {
    let mut one = Alone::new(1, &[0]);
    let mine = one.flock.view().clone();
    let asked = one.pings.last().cloned().unwrap();
    assert_eq!(asked.2.as_ref(), Some(mine.id()), "nobody has agreed yet");
    let view = one.joins(0, 2, Duration::ZERO);
    let answer = |one: &mut Alone, seq: u64| {
        let datagram = Datagram::Ack { seq, view: None };
        one.input(Input::Datagram { from: member(0, 1), datagram });
    };
    for (_, seq, _) in one.pings.clone().into_iter().filter(|(.., named)| named.as_ref() == Some(mine.id())) {
        answer(&mut one, seq);
    }
    let ask = |one: &mut Alone| {
        one.pings.clear();
        while one.pings.is_empty() {
            one.wait(Duration::from_millis(10));
        }
        one.pings[0].clone()
    };
    let (_, seq, named) = ask(&mut one);
    assert_eq!(named.as_ref(), Some(view.id()), "the other may still have the old one");
    // An answer to that one does agree.
    answer(&mut one, seq);
    assert_eq!(ask(&mut one).2, None);
}

/// A stranger's report comes after its proposal has ended, though its probes are answered: the two flocks may try again
/// soon. That holds once for each refusal, and for a report of that proposal only.
#[test]
fn a_late_answer_ends_a_refusal_early() {
    let mut one = Alone::new(0, &[1]);
    let theirs = first_view(1);
    one.hear(1, Message::Hello { head: theirs.head.clone(), best: None });
    // A pair that began to work a moment ago is no reason for a refusal.
    one.answered_by(&[1], Duration::from_secs(6));
    one.hear(1, Message::Ask { view: theirs.clone() });
    let mut proposed = None;
    for _ in 0..80 {
        one.answered_by(&[1], Duration::from_millis(100));
        proposed = proposed.or_else(|| one.proposal_to(1));
    }
    let id = proposed.expect("it proposes");
    assert!(
        one.apart_for().is_some_and(|wait| wait > Duration::from_secs(4)),
        "{:?}",
        one.flock.status(one.now).siblings
    );
    let promised = |id: &ProposalId, unreached: Vec<Member>| {
        let answer = Answer::Promised { unreached };
        Message::Report { id: id.clone(), answer }
    };
    let other = ProposalId { epoch: id.epoch + 1, ..id.clone() };
    for word in [promised(&other, vec![]), promised(&id, vec![member(0, 1)])] {
        one.said.clear();
        one.hear(1, word);
        assert!(one.said.is_empty() && one.apart_for() > Some(Duration::from_secs(4)), "{:?}", one.said);
    }
    one.hear(1, promised(&id, vec![]));
    assert!(one.apart_for() <= Some(Duration::from_secs(1)), "{:?}", one.apart_for());
    let told = |message: &Message| matches!(message, Message::AskReply { reply: AskReply::Busy(_), .. });
    assert!(one.said.iter().any(|(to, message)| *to == member(1, 1) && told(message)), "{:?}", one.said);
    one.said.clear();
    one.hear(1, promised(&id, vec![]));
    assert!(one.said.is_empty(), "{:?}", one.said);
}

/// The other side of it: who was refused asks again soon when it is told so, and only once.
#[test]
fn who_was_refused_asks_again_soon_when_its_answer_has_come() {
    let mut one = Alone::new(1, &[0]);
    let (theirs, mine) = (first_view(0), one.flock.view().id().clone());
    let reply = |reply| Message::AskReply { asked: mine.clone(), reply };
    one.hear(0, Message::Hello { head: theirs.head.clone(), best: None });
    // A pair that began to work a moment ago is no reason for a refusal.
    for round in 0..2 {
        one.said.clear();
        let asked = |one: &Alone| one.said.iter().any(|(_, message)| matches!(message, Message::Ask { .. }));
        while !asked(&one) {
            one.answered_by(&[0], Duration::from_millis(100));
            assert!(one.now < Time::from_millis(60_000), "it asks nobody");
        }
        if round == 0 {
            one.hear(0, reply(AskReply::Busy(Duration::from_secs(60))));
        }
    }
    let pairs = vec![(member(0, 1), member(1, 1))];
    one.hear(0, reply(AskReply::Refuse { pairs, retry: Duration::from_secs(300) }));
    assert!(one.apart_for() > Some(Duration::from_secs(200)));
    one.hear(0, reply(AskReply::Busy(Duration::ZERO)));
    let soon = one.apart_for();
    assert!(soon <= Some(Duration::from_secs(1)) && soon > Some(Duration::ZERO), "{soon:?}");
    one.hear(0, reply(AskReply::Busy(Duration::ZERO)));
    assert_eq!(one.apart_for(), soon);
}

/// An old probe that was overtaken is answered last; a probe that tells of another answer proves nothing of that one.
#[test]
fn an_old_probe_that_comes_late_is_not_taken_for_the_one_that_was_answered() {
    // Of three it asks one, and is asked by the other, whose words count.
    let proved = [0, 1].map(|peer| {
        let mut one = Alone::new(2, &[0, 1]);
        let parents = [&first_view(0), &first_view(1), &one.flock.view().clone()];
        let (id, message) = propose(0, 2, &parents, &[0, 1, 2]);
        one.hear(0, message);
        let view = joint(2, &parents, &[0, 1, 2]);
        one.hear(0, Message::Install { id: Some(id), view: view.clone() });
        assert_eq!(one.flock.view().id(), view.id());
        let ask = |one: &mut Alone, seq, heard| {
            let datagram = Datagram::Ping { seq, view: Some(view.id().clone()), heard };
            one.input(Input::Datagram { from: member(peer, 1), datagram });
            one.flock.proof(&member(peer, 1))
        };
        assert_eq!(ask(&mut one, 1, Some(0)), None);
        one.wait(Duration::from_millis(100));
        // 3 was answered there, and is not the one that was answered here last.
        assert_eq!(ask(&mut one, 4, Some(1)), None);
        one.wait(Duration::from_millis(100));
        // Nor is 5, though 4 was answered here in time: which of its answers arrived is not said.
        assert_eq!(ask(&mut one, 6, Some(1)), None);
        let sixth = one.now;
        one.wait(Duration::from_millis(100));
        ask(&mut one, 7, Some(1)) == Some(sixth)
    });
    assert!(proved[0] != proved[1], "{proved:?}");
}

/// Promises only rise: an older proposal that comes after a newer one gets no promise, and its install is not taken.
#[test]
fn an_older_proposal_finds_the_promise_of_a_newer_one() {
    let mut one = Alone::new(1, &[0, 2]);
    let (zero, mine, two) = (first_view(0), one.flock.view().clone(), first_view(2));
    let (newer, message) = propose(2, 3, &[&two, &mine], &[2, 1]);
    one.hear(2, message);
    let (older, message) = propose(0, 2, &[&zero, &mine], &[0, 1]);
    one.hear(0, message);
    assert!(matches!(one.report_to(0), Some(Answer::Busy { promised, .. }) if *promised == newer));
    one.hear(0, Message::Install { id: Some(older), view: joint(2, &[&zero, &mine], &[0, 1]) });
    assert_eq!(one.flock.view().id(), mine.id());
    let view = joint(3, &[&two, &mine], &[2, 1]);
    one.hear(2, Message::Install { id: Some(newer), view: view.clone() });
    assert_eq!(one.flock.view().id(), view.id());
}

/// Trap 5: 2 asked both 0 and 1, and {1, 2} is installed; 0 still has the old header.
#[test]
fn a_stale_ask_snatches_nobody_from_a_healthy_flock() {
    let mut two = Alone::new(2, &[0, 1]);
    let (zero, one, mine) = (first_view(0), first_view(1), two.flock.view().clone());
    let (id, message) = propose(1, 2, &[&one, &mine], &[1, 2]);
    two.hear(1, message);
    two.hear(1, Message::Install { id: Some(id), view: joint(2, &[&one, &mine], &[1, 2]) });
    let installed = two.flock.view().id().clone();
    assert_eq!(installed.epoch, 2);
    let (late, message) = propose(0, 3, &[&zero, &mine], &[0, 2]);
    two.hear(0, message);
    assert!(matches!(two.report_to(0), Some(Answer::Conflict { have }) if have.id == installed));
    two.hear(0, Message::Install { id: Some(late), view: joint(3, &[&zero, &mine], &[0, 2]) });
    assert_eq!(*two.flock.view().id(), installed);
}

/// Trap 2: the leader removes a member while its successor removes the leader, at the same epoch.
#[test]
fn a_leader_and_its_successor_that_remove_each_other_end_as_one_flock() {
    for seed in 0..20 {
        let mut world = flocks(3, seed, Weather::default());
        let mut rules = flocking();
        let end = world.now + Duration::from_secs(8);
        world.run_until(end, &mut |world| check(world, &mut rules));
        // 0 loses 2; a little later 1 loses 0, so that both are about to remove somebody when they part.
        both_ways(&mut world, &[0], &[2], false);
        let end = world.now + Duration::from_millis(40 * seed);
        world.run_until(end, &mut |world| check(world, &mut rules));
        both_ways(&mut world, &[0], &[1], false);
        until_shape(&mut world, "n1 / n2,n3", Duration::from_secs(12))
            .unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        both_ways(&mut world, &[0], &[1, 2], true);
        until_shape(&mut world, "n1,n2,n3", Duration::from_secs(10)).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
}

/// Trap 3: all alone, then all pairs heal but one.
#[test]
fn a_bridge_node_joins_one_of_two_and_waits_for_nobody() {
    for seed in 0..20 {
        let mut world = flocks(3, seed, Weather::default());
        both_ways(&mut world, &[0], &[1, 2], false);
        both_ways(&mut world, &[1], &[2], false);
        let end = world.now + Duration::from_secs(3);
        world.run_until(end, &mut |_| {});
        both_ways(&mut world, &[2], &[0, 1], true);
        let end = world.now + Duration::from_secs(12);
        world.run_until(end, &mut |_| {});
        assert!(["n1 / n2,n3", "n1,n3 / n2"].contains(&shape(&world).as_str()), "seed {seed}: {}", shape(&world));
    }
}

/// Trap 4, and "a heal during a proposal": the network changes at every step of a change.
#[test]
fn a_heal_at_any_moment_of_a_split_ends_as_one_flock() {
    for step in 0..80_u64 {
        let mut world = flocks(5, step, Weather::default());
        let mut rules = flocking();
        let end = world.now + Duration::from_secs(8);
        world.run_until(end, &mut |world| check(world, &mut rules));
        both_ways(&mut world, &[0, 1], &[2, 3, 4], false);
        let end = world.now + Duration::from_millis(1900 + step * 15);
        world.run_until(end, &mut |world| check(world, &mut rules));
        both_ways(&mut world, &[0, 1], &[2, 3, 4], true);
        let end = world.now + Duration::from_secs(1);
        world.run_until(end, &mut |world| check(world, &mut rules));
        until_shape(&mut world, "n1,n2,n3,n4,n5", Duration::from_secs(12))
            .unwrap_or_else(|why| panic!("{step}: {why}"));
    }
}

/// Trap 6: in an even cut the leader hears accusations from the far side first.
#[test]
fn a_leader_does_not_evict_itself_across_an_even_cut() {
    for stagger in 0..20_u64 {
        let mut world = flocks(4, stagger, Weather::default());
        let end = world.now + Duration::from_secs(8);
        world.run_until(end, &mut |_| {});
        // The junior of this side is cut off first, so the far side accuses it while the leader still hears them.
        both_ways(&mut world, &[1], &[2, 3], false);
        let end = world.now + Duration::from_millis(stagger * 120);
        world.run_until(end, &mut |_| {});
        both_ways(&mut world, &[0], &[2, 3], false);
        until_shape(&mut world, "n1,n2 / n3,n4", Duration::from_secs(20))
            .unwrap_or_else(|why| panic!("{stagger}: {why}"));
    }
}
