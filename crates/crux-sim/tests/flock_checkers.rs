//! That a rule can fire: what an honest machine does not do, put before the rule that is there for it.

use crux_core::flock::Flock;
use crux_core::flock::message::{Accusation, Answer, Datagram, Message};
use crux_core::flock::view::View;
use crux_names::{Duration, Member, Time};
use crux_sim::alone::{Alone, first_view};
use crux_sim::flocks::{addr, member};
use crux_sim::invariants::{Clique, Everybody, Safety, Seen};

/// The world as the rule sees it: somebody's last round trips were made just now, but with those that it cannot reach.
struct World {
    now: Time,
    apart: Vec<Member>,
}

impl Everybody for World {
    fn now(&self) -> Time {
        self.now
    }

    fn flock(&self, _: &Member) -> Option<&Flock> {
        None
    }

    fn place(&self, _: &Member) -> Option<usize> {
        None
    }

    fn living(&self) -> Vec<&Member> {
        Vec::new()
    }

    fn proof(&self, of: &Member, with: &Member) -> Option<Time> {
        (!self.apart.contains(of) && !self.apart.contains(with)).then_some(self.now)
    }

    fn stable(&self, _: &Member) -> bool {
        false
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
    let mut all = World { now: Time::from_millis(60_000), apart: Vec::new() };
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
