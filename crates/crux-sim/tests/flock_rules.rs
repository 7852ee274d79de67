//! Rules of flocking that only a word at the right moment shows: one fulcrum among others that a test speaks for. Each is
//! here because its mutant (`cargo xtask mutants`) lived without it: other rules hide it in a whole world.

use crux_core::flock::Input;
use crux_core::flock::message::{Accusation, Answer, Datagram, Message};
use crux_names::{Duration, Member};
use crux_sim::alone::{Alone, first_view, joint, propose};
use crux_sim::flocks::{addr, member};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Place 1 as a member of the flock of 0 to 4, which 0 leads.
fn second_of_five() -> Alone {
    let mut one = Alone::new(1, &[0, 2, 3, 4]);
    let views = [0, 1, 2, 3, 4].map(first_view);
    let parents = [&views[0], &one.flock.view().clone(), &views[2], &views[3], &views[4]];
    let places = [0, 1, 2, 3, 4];
    let (id, message) = propose(0, 2, &parents, &places);
    one.hear(0, message);
    one.wait(ms(50));
    one.answer(&[0, 2, 3, 4]);
    one.hear(0, Message::Install { id: Some(id), view: joint(2, &parents, &places) });
    assert_eq!(one.flock.view().roster.len(), 5);
    one
}

fn accuse(one: &mut Alone, observer: usize, subject: usize, accusation: Accusation) {
    let (view, subject) = (one.flock.view().id().clone(), member(subject, 1));
    one.hear(observer, Message::Alert { view, subject, accusation });
}

/// A successor that alone misses its leader takes nobody's place: two others have to miss it too.
#[test]
fn a_successor_needs_others_that_miss_the_leader() {
    let mut one = second_of_five();
    one.answered_by(&[0, 2, 3, 4], Duration::from_secs(5));
    one.said.clear();
    one.answered_by(&[2, 3, 4], Duration::from_secs(8));
    assert!(!one.proposes(), "{:?}", one.said);
    for observer in [2, 3] {
        accuse(&mut one, observer, 0, Accusation::Silent);
    }
    one.answered_by(&[2, 3, 4], Duration::from_secs(2));
    assert!(one.proposes());
}

/// One that says of another that the pair is broken is believed only once somebody else hears the accused.
#[test]
fn a_pair_is_broken_only_if_a_third_hears_the_accused() {
    for heard in [false, true] {
        let mut one = Alone::leading(&[1, 2, 3]);
        one.answered_by(&[1, 2, 3], Duration::from_secs(2));
        one.said.clear();
        // Whether this fulcrum hears it, too.
        let answer = if heard { &[1, 2, 3][..] } else { &[1, 2] };
        one.answered_by(answer, ms(1700));
        for _ in 0..4 {
            accuse(&mut one, 1, 3, Accusation::Broken);
            one.answered_by(answer, ms(500));
        }
        assert_eq!(one.proposes(), heard);
    }
}

/// Only who was asked is a witness.
#[test]
fn a_witness_counts_only_if_it_was_asked() {
    for asked in [false, true] {
        let mut one = Alone::leading(&[1, 2, 3]);
        one.answered_by(&[1, 2, 3], Duration::from_secs(2));
        one.witnesses.clear();
        // This fulcrum comes to say itself that the pair with 3 is broken, and asks the others whether it lives.
        let end = one.now + Duration::from_secs(20);
        while one.witnesses.is_empty() {
            one.answered_by(&[1, 2], ms(100));
            assert!(one.now < end, "nobody is asked about n4");
        }
        one.said.clear();
        let (to, subject) = one.witnesses[0].clone();
        assert_eq!(subject, member(3, 1));
        // Word comes of the accused itself, whom nobody asked, or of the one that was asked.
        let from = if asked { to } else { member(3, 1) };
        one.input(Input::Datagram { from, datagram: Datagram::Witness { subject, heard: Some(ms(1)) } });
        one.answered_by(&[1, 2], ms(1200));
        assert_eq!(one.proposes(), asked);
    }
}

/// An older life of a fulcrum that is linked under a newer one gets no link.
#[test]
fn no_older_boot_returns() {
    let mut one = Alone::new(0, &[]);
    let up = |boot, port| Input::LinkUp { member: member(5, boot), addr: addr(port), dialed: false };
    one.input(up(7, 5));
    assert!(one.closed.is_empty());
    one.input(up(3, 6));
    assert_eq!(one.closed, [member(5, 3)]);
}

/// A copy of an identity that was found to be one gets no second link: the known one need not prove again that it lives.
#[test]
fn of_two_lives_the_known_one_is_kept_without_being_asked_again() {
    let mut one = Alone::new(0, &[]);
    let up = |boot, port| Input::LinkUp { member: member(5, boot), addr: addr(port), dialed: false };
    one.input(up(1, 5));
    one.hear(5, Message::Hello { head: first_view(5).head.clone(), best: None });
    one.answered_by(&[5], ms(400));
    // The copy has the higher boot, so it may be the known one started again: that one is asked, and lives.
    one.input(up(2, 6));
    assert_eq!(one.closed, []);
    one.answered_by(&[5], ms(300));
    assert_eq!(one.closed, [member(5, 2)]);
    one.closed.clear();
    one.input(up(2, 6));
    assert_eq!(one.closed, [member(5, 2)], "at once");
}

/// Stable once every member has acknowledged the view, not before; and no more when a pair of members is in doubt, or a
/// stranger of the bloc answers that is neither merged nor held apart.
#[test]
fn stable_needs_every_acknowledgement_and_every_pair_and_nobody_in_reach() {
    let led = |acknowledged: bool| {
        let mut one = Alone::leading(&[1, 2]);
        let view = one.flock.view().id().clone();
        one.behind = if acknowledged { vec![] } else { vec![2] };
        for other in if acknowledged { &[1, 2][..] } else { &[1] } {
            one.hear(*other, Message::Installed { view: view.clone() });
        }
        one
    };
    let settled = || {
        let mut one = led(true);
        let mut took = Duration::ZERO;
        while !one.flock.stable(one.now) {
            one.answered_by(&[1, 2], ms(100));
            took += ms(100);
            assert!(took < Duration::from_secs(20), "{:?}", one.flock.status(one.now).lacking);
        }
        (one, took)
    };
    let (_, took) = settled();
    let mut one = led(false);
    one.answered_by(&[1, 2], took + ms(500));
    assert!(!one.flock.stable(one.now), "n3 has not acknowledged the view");
    assert_eq!(one.flock.status(one.now).lacking_who, ["n3"]);

    let (mut one, _) = settled();
    accuse(&mut one, 1, 2, Accusation::Doubted);
    one.answered_by(&[1, 2], ms(1000));
    assert!(!one.flock.stable(one.now));
    assert_eq!(one.flock.status(one.now).lacking_who, ["n2 of n3"], "who doubts whom");
    accuse(&mut one, 1, 2, Accusation::Withdrawn);
    one.answered_by(&[1, 2], Duration::from_secs(5));
    assert!(one.flock.stable(one.now));

    let (mut one, _) = settled();
    one.input(Input::LinkUp { member: member(7, 1), addr: addr(7), dialed: true });
    one.hear(7, Message::Hello { head: first_view(7).head.clone(), best: None });
    one.answered_by(&[1, 2, 7], ms(1000));
    assert!(!one.flock.stable(one.now));
}

/// A member whose link was down when the others were told what keeps a flock apart is told when it is back.
#[test]
fn whose_link_comes_late_learns_what_keeps_flocks_apart() {
    let mut one = Alone::leading(&[1, 2]);
    one.input(Input::LinkUp { member: member(7, 1), addr: addr(7), dialed: true });
    one.hear(7, Message::Hello { head: first_view(7).head.clone(), best: None });
    one.answered_by(&[1, 2, 7], Duration::from_secs(6));
    one.said.clear();
    one.hear(7, Message::Ask { view: first_view(7) });
    // The members promise, and the one that asked says nothing more.
    for _ in 0..60 {
        one.answered_by(&[1, 2, 7], ms(100));
        if let Some(id) = one.proposal_to(1) {
            for member in [1, 2] {
                one.hear(
                    member,
                    Message::Report { id: id.clone(), answer: Answer::Promised { unreached: Vec::new() } },
                );
            }
        }
    }
    assert!(one.apart_for().is_some(), "{:?}", one.flock.status(one.now).siblings);
    one.said.clear();
    one.input(Input::LinkDown { member: member(2, 1) });
    one.input(Input::LinkUp { member: member(2, 1), addr: addr(2), dialed: true });
    let told = |(to, message): &(Member, Message)| *to == member(2, 1) && matches!(message, Message::Apart { .. });
    assert!(one.said.iter().any(told), "{:?}", one.said);
}

/// Who looks late whether an answer came has not looked whether one lies there: it does not ask again. Where sixty-four began at
/// once on two cores, every question went out four times, and no host can answer that.
#[test]
fn who_looks_late_does_not_ask_again() {
    let asked = |late: u64| {
        // Those next in line ask their leader; whom it asks itself is further down.
        let others = [1, 2, 3, 4, 5, 6, 7];
        let mut one = Alone::leading(&others);
        one.answered_by(&others, Duration::from_secs(2));
        one.pings.clear();
        // Until the next question to somebody, and then 100 ms for the answer.
        for _ in 0..100 {
            if one.pings.is_empty() {
                one.wait(ms(10));
            }
        }
        let (to, seq, _) = one.pings[0].clone();
        one.now = one.now + ms(100 + late);
        one.input(Input::Wake);
        one.pings.iter().filter(|(who, number, _)| *who == to && *number == seq).count()
    };
    assert_eq!((asked(0), asked(100)), (2, 1));
}

/// Of a few strangers each is asked each period, and again when no answer comes; of a crowd each in its turn, and once. Where
/// sixty-four began at once on two cores, each asked sixty-three twice a second, and then four times each.
#[test]
fn of_a_crowd_of_strangers_each_is_asked_in_its_turn() {
    let asked = |strangers: usize| {
        let all: Vec<usize> = (1..=strangers).collect();
        let mut one = Alone::new(0, &all);
        for &place in &all {
            one.hear(place, Message::Hello { head: first_view(place).head.clone(), best: None });
        }
        let to =
            |one: &Alone| one.pings.iter().filter(|(who, ..)| *who == member(1, 1)).map(|(_, seq, _)| *seq).collect();
        let mut questions = Vec::new();
        for _ in 0..40 {
            one.wait(ms(100));
            let seqs: Vec<u64> = to(&one);
            questions.extend(seqs);
            one.answer(&all);
        }
        // Then nobody answers.
        one.pings.clear();
        one.wait(ms(2_400));
        let silent: Vec<u64> = to(&one);
        let times = silent.iter().map(|seq| silent.iter().filter(|other| *other == seq).count()).max();
        (questions.len(), times.unwrap_or(0))
    };
    let (few, often) = asked(16);
    assert!((7..=9).contains(&few) && often > 1, "{few} questions in four seconds, {often} times each");
    for (strangers, most) in [(32, 5), (63, 3)] {
        let (some, times) = asked(strangers);
        assert!((1..=most).contains(&some) && times == 1, "{strangers}: {some} questions, {times} times each");
    }
}

/// Who stood still for seconds has not looked at what came meanwhile: that nobody was found in that time says nothing. A crowd
/// that began at once on two cores had each found an ADMIN of its own.
#[test]
fn nobody_is_stable_by_the_time_in_which_it_looked_at_nothing() {
    let mut one = Alone::new(0, &[]);
    one.wait(ms(1_500));
    one.now = one.now + ms(3_000);
    one.input(Input::Wake);
    assert!(!one.flock.stable(one.now));
    one.wait(ms(1_000));
    assert!(one.flock.stable(one.now));
    // What it has it keeps.
    one.now = one.now + ms(600);
    one.input(Input::Wake);
    assert!(one.flock.stable(one.now));
}

/// Who doubts a member that has moved may look for it in the wrong place: its leader says where it is.
#[test]
fn who_doubts_a_member_that_has_moved_is_told_where_it_is() {
    let mut one = Alone::leading(&[1, 2, 3]);
    one.answered_by(&[1, 2, 3], ms(1_000));
    let view = one.flock.view().id().clone();
    let mut told = |moved: bool| {
        if moved {
            one.input(Input::LinkDown { member: member(2, 1) });
            one.input(Input::LinkUp { member: member(2, 1), addr: addr(9), dialed: false });
        }
        one.said.clear();
        let message = Message::Alert { view: view.clone(), subject: member(2, 1), accusation: Accusation::Doubted };
        one.hear(1, message);
        let there = [(member(2, 1).id, addr(9))];
        one.said
            .iter()
            .any(|(to, said)| *to == member(1, 1) && matches!(said, Message::Hints { seats } if seats[..] == there))
    };
    assert!(!told(false) && told(true));
}
