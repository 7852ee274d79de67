//! One flocking machine among others that refuse, complain or fall silent, honestly or not: it goes on, and does no more
//! for them than it must. Found by a review that read the machine as an enemy would.

use crux_core::flock::Input;
use crux_core::flock::message::{Accusation, Answer, AskReply, Message, ProposalId};
use crux_core::flock::view::{Seat, View, ViewId};
use crux_names::{Duration, Member};
use crux_sim::alone::{Alone, first_view, seat};
use crux_sim::flocks::{flocks, member};
use crux_sim::world::Weather;

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Place 0 takes these seats and place 1 into one flock, each alone before.
fn together(one: &mut Alone, seats: &[Seat]) -> View {
    let mine = one.flock.view().clone();
    let firsts: Vec<View> = (0..seats.len()).map(|at| first_view(100 + at)).collect();
    let parents: Vec<ViewId> = seats
        .iter()
        .zip(&firsts)
        .map(|(seat, first)| if seat.member == member(1, 1) { mine.id().clone() } else { first.id().clone() })
        .collect();
    install(one, seats.to_vec(), (0..100).take(seats.len()).collect(), parents)
}

/// Place 0 proposes and installs this.
fn install(one: &mut Alone, seats: Vec<Seat>, of: Vec<u32>, parents: Vec<ViewId>) -> View {
    let epoch = parents.iter().map(|parent| parent.epoch).max().unwrap_or(0) + 1;
    let id = ProposalId { epoch, proposer: seats[0].member.clone() };
    let candidates: Vec<(Seat, u32)> = seats.iter().cloned().zip(of).collect();
    let propose = Message::Propose {
        id: id.clone(),
        parents: parents.clone().into(),
        candidates: candidates.into(),
        deadline: seconds(3),
    };
    one.hear(0, propose);
    let view = View::make(&"sim".parse().unwrap(), epoch, seats, "calm-heron".into(), 0, &parents).unwrap();
    one.hear(0, Message::Install { id: Some(id), view: view.clone() });
    assert_eq!(one.flock.view().id(), view.id());
    view
}

/// Those who asked beside one that refuses are in the next proposal; that one is told to ask again.
#[test]
fn one_asker_that_refuses_costs_the_others_nothing() {
    for conflict in [true, false] {
        let mut one = Alone::new(0, &[1, 2]);
        for other in [1, 2] {
            one.hear(other, Message::Hello { head: first_view(other).head.clone(), best: None });
            one.hear(other, Message::Ask { view: first_view(other) });
        }
        while one.proposal_to(1).is_none() {
            one.answered_by(&[1, 2], millis(50));
        }
        let id = one.proposal_to(1).unwrap();
        one.said.clear();
        let answer = if conflict {
            Answer::Conflict { have: first_view(2).head.clone() }
        } else {
            Answer::Busy { promised: id.clone(), remaining: seconds(3) }
        };
        one.hear(2, Message::Report { id: id.clone(), answer });
        let busy = |(to, message): &(Member, Message)| {
            *to == member(2, 1) && matches!(message, Message::AskReply { reply: AskReply::Busy(_), .. })
        };
        assert!(one.said.iter().any(busy), "{:?}", one.said);
        one.answered_by(&[1, 2], seconds(1));
        let again = one.proposal_to(1);
        assert!(again.as_ref().is_some_and(|again| *again != id), "{again:?}");
        assert_eq!(one.proposal_to(2), None);
    }
}

/// A member that promises nothing, whatever is proposed, keeps the others from being rid of a dead one for half a minute.
#[test]
fn a_member_that_refuses_everything_is_done_without() {
    let mut one = Alone::leading(&[1, 2, 3]);
    one.answered_by(&[1, 2, 3], seconds(5));
    let view = one.flock.view().id().clone();
    let (mut answered, begin) = (None, one.now);
    while one.flock.view().id() == &view && one.now < begin + seconds(60) {
        one.answered_by(&[1, 2], millis(100));
        for observer in [1, 2] {
            let accusation = Accusation::Silent;
            one.hear(observer, Message::Alert { view: view.clone(), subject: member(3, 1), accusation });
        }
        let id = one.proposal_to(2);
        if id != answered
            && let Some(id) = &id
        {
            one.hear(
                1,
                Message::Report {
                    id: id.clone(),
                    answer: Answer::Busy { promised: id.clone(), remaining: millis(500) },
                },
            );
            one.hear(2, Message::Report { id: id.clone(), answer: Answer::Promised { unreached: Vec::new() } });
        }
        answered = id;
    }
    let roster: Vec<Member> = one.flock.view().roster.iter().map(|seat| seat.member.clone()).collect();
    assert_eq!(roster, [member(0, 1), member(2, 1)]);
    let took = one.now.since(begin);
    assert!(took >= seconds(30), "an honest difference lasts seconds, and is waited for: {took:?}");
}

/// A process dies once. Who breaks the connection that tells of it twice a second, and answers too late for the burst that
/// follows, makes nobody believe of itself that it is sick.
#[test]
fn a_death_that_is_told_again_and_again_makes_nobody_sick() {
    let mut one = Alone::leading(&[1, 2]);
    one.answered_by(&[1, 2], seconds(5));
    for _ in 0..75 {
        one.input(Input::ProcessGone(member(1, 1)));
        one.answered_by(&[2], millis(350));
        one.answer(&[1, 2]);
        one.wait(millis(50));
        assert!(!one.flock.status(one.now).sick, "at {}", one.now);
    }
}

/// One says of another, who lives, again and again that it is silent. When a third dies that does not make it wait: what
/// stands for so long without being true is nothing that is about to be decided.
#[test]
fn a_standing_false_word_delays_no_removal() {
    let mut one = Alone::leading(&[1, 2, 3, 4]);
    one.answered_by(&[1, 2, 3, 4], seconds(5));
    let view = one.flock.view().id().clone();
    let silent = |one: &mut Alone, observer: usize, subject: usize| {
        let (subject, accusation) = (member(subject, 1), Accusation::Silent);
        one.hear(observer, Message::Alert { view: view.clone(), subject, accusation });
    };
    for _ in 0..30 {
        silent(&mut one, 1, 2);
        one.answered_by(&[1, 2, 3, 4], millis(100));
    }
    assert_eq!(*one.flock.view().id(), view);
    let begin = one.now;
    one.input(Input::ProcessGone(member(3, 1)));
    let mut answered = None;
    while *one.flock.view().id() == view && one.now < begin + seconds(5) {
        one.wait(millis(20));
        one.answer(&[1, 2, 4]);
        if one.now >= begin + millis(300) {
            [1, 2, 4].iter().for_each(|observer| silent(&mut one, *observer, 3));
        }
        let id = one.proposal_to(2);
        if id != answered
            && let Some(id) = &id
        {
            for from in [1, 2, 4] {
                let answer = Answer::Promised { unreached: Vec::new() };
                one.hear(from, Message::Report { id: id.clone(), answer });
            }
        }
        answered = id;
    }
    assert_eq!(one.flock.view().roster.len(), 4);
    let took = one.now.since(begin);
    assert!(took <= millis(700), "{took:?}");
}

/// However many others a relay asks for, it makes a leader tell its members once in some seconds, and keep one view.
#[test]
fn a_relay_carries_one_ask_at_a_time() {
    let mut one = Alone::leading(&[1, 2]);
    one.answered_by(&[1, 2], seconds(5));
    one.said.clear();
    let before = one.flock.weight();
    for asker in 10..200 {
        one.hear(1, Message::AskThrough { view: first_view(asker), to: member(0, 1).id });
        one.wait(millis(10));
        one.answer(&[1, 2]);
    }
    let told = one.said.iter().filter(|(_, message)| matches!(message, Message::Apart { .. })).count();
    assert_eq!(told, 2, "each member once");
    assert!(one.flock.weight() <= before + 8, "{} beside {before}", one.flock.weight());
}

/// Three fulcrums of one node say that they do not reach the leader. That of another node, whose name comes later, is asked
/// about all the same.
#[test]
fn nobodys_fulcrums_keep_the_leader_from_being_asked_about_others() {
    let mut one = Alone::new(1, &[0]);
    let of = |node: usize, fulcrum: &str| {
        let id = format!("n{node}/{fulcrum}").parse().unwrap();
        Seat { member: Member { id, ..member(node, 1) }, ..seat(node) }
    };
    let liars = ["a", "b", "c", "d"].map(|fulcrum| of(3, fulcrum));
    let seats = [vec![seat(0), seat(1)], liars.to_vec(), vec![seat(4)]].concat();
    let view = together(&mut one, &seats);
    one.witnesses.clear();
    let honest = member(4, 1);
    for _ in 0..30 {
        for from in liars.iter().map(|seat| seat.member.clone()).chain([honest.clone()]) {
            let message =
                Message::Alert { view: view.id().clone(), subject: member(0, 1), accusation: Accusation::Doubted };
            one.input(Input::Message { from, message });
        }
        one.answered_by(&[0], millis(100));
    }
    assert!(one.witnesses.contains(&(member(0, 1), honest)), "{:?}", one.witnesses);
}

/// Somebody was reported as silent, and a view with it is installed: it is reported again at once, and not when the next
/// mark of its silence comes.
#[test]
fn silence_is_not_forgotten_by_a_view() {
    let mut one = Alone::new(1, &[0, 2, 3]);
    let view = together(&mut one, &[seat(0), seat(1), seat(2), seat(3)]);
    one.answered_by(&[0, 2, 3], seconds(4));
    one.said.clear();
    let accused = |one: &Alone| {
        one.said.iter().any(|(_, message)| {
            matches!(message, Message::Alert { subject, accusation: Accusation::Silent, .. } if *subject == member(3, 1))
        })
    };
    let begin = one.now;
    while !accused(&one) {
        one.answered_by(&[0, 2], millis(50));
        assert!(one.now < begin + seconds(5), "it is never accused");
    }
    one.said.clear();
    let parents = vec![view.id().clone(), first_view(105).id().clone()];
    install(&mut one, vec![seat(0), seat(1), seat(2), seat(3), seat(5)], vec![0, 0, 0, 0, 1], parents);
    one.answered_by(&[0, 2], millis(100));
    assert!(accused(&one), "{:?}", one.said);
}

/// Whoever reads a view that was made after somebody had named a huge epoch takes it: what makes it and what reads it have
/// one measure.
#[test]
fn a_view_after_a_huge_epoch_is_read_by_everybody() {
    let mut world = flocks(4, 1, Weather::default());
    let end = world.now + seconds(8);
    world.run_until(end, &mut |_| {});
    let flock = |world: &crux_sim::flocks::Flocks, at: usize| world.slots[at].node.as_ref().unwrap().flock.clone();
    let leader = (0..4).find(|at| flock(&world, *at).leads()).unwrap();
    let view = flock(&world, leader).view().clone();
    let (hostile, dead) = ((leader + 1) % 4, (leader + 2) % 4);
    let huge = ProposalId { epoch: 1 << 30, proposer: member(hostile, 1) };
    let (from, mut named) = (member(hostile, 1), false);
    world.crash(dead);
    while flock(&world, leader).view().roster.len() > 3 {
        world.step(end + seconds(20));
        let proposed = world.news.drain(..).any(|step| {
            let to_it = |out: &crux_sim::world::Out<_, Message>| {
                matches!(out, crux_sim::world::Out::Frame(to, Message::Propose { .. }) if *to == from)
            };
            step.place == leader && step.out.iter().any(to_it)
        });
        if proposed && !named {
            named = true;
            let id = ProposalId { epoch: view.id().epoch + 1, proposer: member(leader, 1) };
            let answer = Answer::Busy { promised: huge.clone(), remaining: millis(500) };
            let (from, message) = (from.clone(), Message::Report { id, answer });
            world.poke(leader, |bird, now, out| bird.input(now, Input::Message { from, message }, out));
        }
        assert!(world.now < end + seconds(20), "the dead one stays");
    }
    let after = flock(&world, leader).view().clone();
    assert!(named && after.id().epoch > 1 << 30, "{:?}", after.id());
    let read = View::join(&"sim".parse().unwrap(), after.head.clone(), after.roster.clone());
    assert_eq!(read.unwrap(), after);
}
