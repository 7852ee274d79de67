//! What the words of one member about another can do: a lone liar throws out nobody with them but itself, and what is true is
//! believed as soon as before (promise D4).

mod help;

use crux_core::flock::Input;
use crux_core::flock::message::{Accusation, Answer, Datagram, Message};
use crux_names::{Duration, Member};
use crux_sim::alone::{Alone, first_view};
use crux_sim::flocks::{Flocks, addr, flocks, member, shape, until_shape};
use crux_sim::world::Weather;
use help::{ms, node, run, seconds};

/// A settled world, with the places of its members by seniority.
fn settled(size: usize) -> (Flocks, Vec<usize>) {
    let mut world = flocks(size, 1, Weather::default());
    run(&mut world, seconds(if size > 100 { 20 } else { 8 }));
    let roster = node(&world, 0).flock.view().roster.clone();
    assert_eq!(roster.len(), size);
    let places = roster.iter().map(|seat| world.place_of(&seat.member).unwrap()).collect();
    (world, places)
}

/// What one says of another at the leader's, and the first two after it.
fn accuse(world: &mut Flocks, order: &[usize], liar: usize, subject: usize, accusation: Accusation) {
    for &place in order.iter().take(3).filter(|place| **place != liar) {
        let view = node(world, place).flock.view().id().clone();
        let (from, message) = (member(liar, 1), Message::Alert { view, subject: member(subject, 1), accusation });
        world.poke(place, |bird, now, out| bird.input(now, Input::Message { from, message }, out));
    }
}

/// Who of these is out of the leader's view.
fn out(world: &Flocks, leader: usize, places: &[usize]) -> Vec<usize> {
    let view = node(world, leader).flock.view();
    places.iter().copied().filter(|place| !view.has(&member(*place, 1))).collect()
}

/// The first after the leader says of one after the other that it cannot talk to it, each time until it would be believed.
#[test]
fn one_false_word_at_a_time_throws_out_nobody() {
    for size in [3, 5, 11, 16, 64] {
        let (mut world, order) = settled(size);
        let (leader, liar) = (order[0], order[1]);
        let honest: Vec<usize> = order.iter().copied().filter(|place| *place != liar).collect();
        for victim in honest[1..].iter().rev().take(6) {
            for _ in 0..11 {
                accuse(&mut world, &order, liar, *victim, Accusation::Broken);
                // Nor does it help to ask the victim the same at the same time, so that it forgets who else asked.
                for _ in 0..10 {
                    let datagram = Datagram::PingReq { subject: member(liar, 1) };
                    let from = member(liar, 1);
                    world.poke(*victim, |bird, now, out| bird.input(now, Input::Datagram { from, datagram }, out));
                    run(&mut world, ms(20));
                }
                assert_eq!(out(&world, leader, &honest), [], "{size}: n{} says so of n{}", liar + 1, victim + 1);
            }
            accuse(&mut world, &order, liar, *victim, Accusation::Withdrawn);
            run(&mut world, ms(300));
        }
    }
}

/// Whoever stands by it is thrown out, and the flock is at rest.
#[test]
fn who_stands_by_a_false_word_is_thrown_out_itself() {
    for size in [3, 5, 16] {
        let (mut world, order) = settled(size);
        let (leader, liar, victim) = (order[0], order[1], order[size - 1]);
        let honest: Vec<usize> = order.iter().copied().filter(|place| *place != liar).collect();
        let mut steps = 0;
        while out(&world, leader, &[liar]).is_empty() {
            accuse(&mut world, &order, liar, victim, Accusation::Broken);
            run(&mut world, ms(200));
            assert_eq!(out(&world, leader, &honest), []);
            steps += 1;
            assert!(steps < 50, "{size}: it stands accused for ten seconds");
        }
    }
}

/// A leader of whom it is said knows by itself.
#[test]
fn two_false_words_about_a_leader_do_not_make_it_go() {
    let (mut world, order) = settled(5);
    for _ in 0..14 {
        for liar in [order[1], order[2]] {
            accuse(&mut world, &order, liar, order[0], Accusation::Broken);
        }
        run(&mut world, ms(200));
        assert_eq!(out(&world, order[0], &order), []);
    }
}

/// In a flock in which not everybody observes everybody: it says of two more every two seconds that they are silent, so that
/// no roll is called, and repeats what it said of the others.
#[test]
fn one_that_calls_others_silent_kills_nobody() {
    for size in [14, 20, 40] {
        for liar in [1, 3] {
            let (mut world, order) = settled(size);
            let (leader, liar) = (order[0], order[liar]);
            let honest: Vec<usize> = order.iter().copied().filter(|place| *place != liar).collect();
            for step in 0..(size + 2) * 2 {
                for victim in honest[1..].iter().take(2 * (step / 4 + 1)) {
                    accuse(&mut world, &order, liar, *victim, Accusation::Silent);
                }
                run(&mut world, ms(510));
                assert_eq!(out(&world, leader, &honest), [], "{size}, step {step}");
            }
        }
    }
}

/// Where the path is cut in one direction or in both, whoever says it and whoever hears it: the accused disproves nothing.
#[test]
fn a_pair_that_is_broken_is_settled_in_time() {
    for (size, pairs) in [(3, vec![(1, 2), (0, 2)]), (5, vec![(1, 2), (3, 4), (0, 3)]), (11, vec![(4, 7)])] {
        for (a, b) in pairs {
            for ways in [[true, true], [true, false], [false, true]] {
                let (mut world, order) = settled(size);
                let (a, b) = (order[a], order[b]);
                for (from, to) in [(a, b), (b, a)].into_iter().zip(ways).filter(|(_, cut)| *cut).map(|(way, _)| way) {
                    world.set_path(from, to, false);
                }
                let mut names: Vec<usize> = order.iter().copied().filter(|place| *place != b).collect();
                names.sort_unstable();
                let names: Vec<String> = names.into_iter().map(|place| format!("n{}", place + 1)).collect();
                let mut wanted = [names.join(","), format!("n{}", b + 1)];
                wanted.sort();
                let took = until_shape(&mut world, &wanted.join(" / "), seconds(15))
                    .unwrap_or_else(|why| panic!("{size}, n{}-n{}, {ways:?}: {why}", a + 1, b + 1));
                assert!(took <= seconds(8), "{size}, n{}-n{}, {ways:?}: {took:?}", a + 1, b + 1);
                run(&mut world, seconds(30));
                assert_eq!(shape(&world), wanted.join(" / "));
            }
        }
    }
}

/// Of a flock of five, the leader with four that say what this test has them say.
fn leading() -> Alone {
    let mut one = Alone::leading(&[1, 2, 3, 4]);
    one.answered_by(&[1, 2, 3, 4], seconds(2));
    one.said.clear();
    one.witnesses.clear();
    one
}

fn say(one: &mut Alone, observer: usize, subject: usize, accusation: Accusation) {
    let (view, subject) = (one.flock.view().id().clone(), member(subject, 1));
    one.hear(observer, Message::Alert { view, subject, accusation });
}

/// Who of the four is not among the candidates of its running proposal.
fn left_out(one: &Alone) -> Option<Vec<usize>> {
    let proposal = one.said.iter().rev().find_map(|(_, message)| match message {
        Message::Propose { candidates, .. } => Some(candidates.roster().clone()),
        _ => None,
    })?;
    Some((1..5).filter(|place| proposal.index(&member(*place, 1)).is_none()).collect())
}

/// What 1 says of 3 for so long, and what 3 answers when it is asked; who is left out in the end.
fn dispute(answer: Option<Duration>, lasts: Duration) -> Option<Vec<usize>> {
    disputed(&mut leading(), answer, lasts)
}

fn disputed(one: &mut Alone, answer: Option<Duration>, lasts: Duration) -> Option<Vec<usize>> {
    let end = one.now + lasts;
    while one.now < end && left_out(one).is_none() {
        say(one, 1, 3, Accusation::Broken);
        one.answered_by(&[1, 2, 3, 4], ms(100));
        let asked = (member(3, 1), member(1, 1));
        if std::mem::take(&mut one.witnesses).contains(&asked)
            && let Some(age) = answer
        {
            let datagram = Datagram::Witness { subject: member(1, 1), heard: Some(age) };
            one.input(Input::Datagram { from: member(3, 1), datagram });
        }
    }
    left_out(one)
}

#[test]
fn the_accused_is_asked_and_may_disprove_it() {
    // No answer, or one of a round trip that began before the accusation: the junior goes after the second that a verdict waits.
    assert_eq!(dispute(None, ms(1_300)), Some(vec![3]));
    assert_eq!(dispute(Some(seconds(9)), ms(1_300)), Some(vec![3]));
    // A round trip since: it is the accuser's word alone, and who stands by that goes itself.
    assert_eq!(dispute(Some(ms(1)), ms(2_900)), None);
    assert_eq!(dispute(Some(ms(1)), seconds(6)), Some(vec![1]));
}

/// An accuser that learns that it was wrong and takes its word back may be wrong again much later: that is nothing to stand by.
#[test]
fn a_word_that_was_taken_back_is_no_part_of_the_next() {
    let mut one = leading();
    for _ in 0..4 {
        assert_eq!(disputed(&mut one, Some(ms(1)), ms(700)), None);
        say(&mut one, 1, 3, Accusation::Withdrawn);
        one.answered_by(&[1, 2, 3, 4], seconds(5));
    }
    assert_eq!(disputed(&mut one, Some(ms(1)), ms(2_500)), None);
    // Nor where the next comes at once.
    say(&mut one, 1, 3, Accusation::Withdrawn);
    assert_eq!(disputed(&mut one, Some(ms(1)), ms(900)), None);
}

/// Who was asked while another question ran, and answers that one only, is present all the same.
#[test]
fn who_answers_anything_while_the_roll_is_called_is_present() {
    let others: Vec<usize> = (1..20).collect();
    let mut one = Alone::leading(&others);
    one.answered_by(&others, seconds(3));
    one.pings.clear();
    // Three of those that nobody hears are accused by all the others: a roll-call.
    let (gone, there) = others.split_at(3);
    for subject in gone {
        for observer in there {
            say(&mut one, *observer, *subject, Accusation::Silent);
        }
    }
    let asked: Vec<Member> = one.pings.iter().map(|(to, ..)| to.clone()).collect();
    assert!(there.iter().all(|place| asked.contains(&member(*place, 1))), "the roll is called");
    // What was asked is lost; each is asked anew for another reason and answers that.
    one.pings.clear();
    for place in there {
        one.input(Input::ProcessGone(member(*place, 1)));
    }
    for _ in 0..24 {
        let pings = std::mem::take(&mut one.pings);
        for (to, seq, _) in pings {
            if there.iter().any(|place| member(*place, 1) == to) {
                let datagram = Datagram::Ack { seq, view: Some(one.flock.view().id().clone()) };
                one.input(Input::Datagram { from: to, datagram });
            }
        }
        one.wait(ms(50));
        let status = one.flock.status(one.now);
        let suspects = status.members.iter().filter(|one| one.suspect).map(|one| &one.seat.member);
        let wrong: Vec<&Member> = suspects.filter(|one| there.iter().any(|place| member(*place, 1) == **one)).collect();
        assert!(wrong.is_empty(), "{wrong:?} answered");
    }
}

/// A proposer that is strictly the worst by what it was told while its proposal ran does not install itself beside those that
/// it cannot reach.
#[test]
fn a_proposer_that_has_to_go_itself_steps_aside() {
    let mut one = leading();
    one.input(Input::LinkUp { member: member(7, 1), addr: addr(7), dialed: true });
    one.hear(7, Message::Hello { head: first_view(7).head.clone(), best: None });
    one.answered_by(&[1, 2, 3, 4, 7], ms(500));
    one.hear(7, Message::Ask { view: first_view(7) });
    let mut waited = 0;
    let id = loop {
        one.answered_by(&[1, 2, 3, 4, 7], ms(50));
        if let Some(id) = one.proposal_to(1) {
            break id;
        }
        waited += 1;
        assert!(waited < 60, "it proposes nothing");
    };
    // All but the last have reported when the path between the proposer and two of them breaks.
    for place in 1..5 {
        one.hear(place, Message::Report { id: id.clone(), answer: Answer::Promised { unreached: Vec::new() } });
    }
    for _ in 0..14 {
        for observer in [1, 2] {
            say(&mut one, observer, 0, Accusation::Broken);
        }
        one.answered_by(&[3, 4, 7], ms(100));
    }
    assert_eq!(one.flock.view().roster.len(), 5, "it still waits for n8");
    one.hear(7, Message::Report { id, answer: Answer::Promised { unreached: Vec::new() } });
    let view = one.flock.view();
    assert_eq!(view.roster.len(), 1, "{:?}", view.roster);
}

/// On a path that is slower than the first of a probe's repetitions nothing is lost: a silent death is seen as soon as
/// elsewhere.
#[test]
fn a_slow_path_is_no_lossy_one() {
    for delay in [60, 90, 140, 190] {
        let weather = Weather { delay_from: ms(delay), delay_to: ms(delay + 5), ..Weather::default() };
        let mut world = flocks(3, 3, weather);
        run(&mut world, seconds(60));
        assert_eq!(shape(&world), "n1,n2,n3");
        world.crash(2);
        let took = until_shape(&mut world, "n1,n2", seconds(10)).unwrap();
        // Four periods and what a proposal takes on such a path.
        assert!(took <= ms(3_000 + delay * 2), "{delay} ms each way: {took:?}");
    }
}
