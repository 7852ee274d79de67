//! One fulcrum's flocking on its own, in invented time, with others that say what a test puts into their mouths: for rules
//! that only a word at the right moment shows.

use crate::flocks::{addr, bird, member};
use crux_core::flock::message::{Answer, Datagram, Message, ProposalId};
use crux_core::flock::view::{Seat, View, ViewId};
use crux_core::flock::{Apart, Flock, Input, Output};
use crux_names::{Duration, Member, Time};

/// When it begins.
const START: Time = Time::from_millis(1000);

/// One fulcrum, with what it wants of others.
pub struct Alone {
    /// The machine.
    pub flock: Flock,
    /// Its clock.
    pub now: Time,
    /// What it said, and to whom.
    pub said: Vec<(Member, Message)>,
    /// The pings that it sent and that were not answered: to whom, the number, and the view if one is named.
    pub pings: Vec<(Member, u64, Option<ViewId>)>,
    /// Whose links it closed.
    pub closed: Vec<Member>,
    /// Whom it asked about whom.
    pub witnesses: Vec<(Member, Member)>,
    /// How often the others asked.
    asked: u64,
    /// Places that still have their first view, whatever this fulcrum installed.
    pub behind: Vec<usize>,
}

impl Alone {
    /// Of this place, linked with those.
    #[must_use]
    pub fn new(place: usize, linked: &[usize]) -> Self {
        let flock = bird(START, place, 1, 1, 3).flock;
        let (said, pings, closed, witnesses) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut alone = Self { flock, now: START, said, pings, closed, witnesses, asked: 0, behind: Vec::new() };
        for peer in linked {
            alone.input(Input::LinkUp { member: member(*peer, 1), addr: addr(*peer), dialed: false });
        }
        alone
    }

    /// Place 0 as the leader of a flock with these others, each of which was alone before; none has acknowledged it yet.
    ///
    /// # Panics
    /// If it does not come to that.
    #[must_use]
    pub fn leading(others: &[usize]) -> Self {
        let mut one = Self::new(0, others);
        for &other in others {
            one.hear(other, Message::Hello { head: first_view(other).head.clone(), best: None });
            one.hear(other, Message::Ask { view: first_view(other) });
        }
        for _ in 0..80 {
            one.wait(Duration::from_millis(50));
            one.answer(others);
            if let Some(id) = others.first().and_then(|other| one.proposal_to(*other)) {
                for &other in others {
                    let answer = Answer::Promised { unreached: Vec::new() };
                    one.hear(other, Message::Report { id: id.clone(), answer });
                }
            }
            if one.flock.view().roster.len() == others.len() + 1 {
                return one;
            }
        }
        panic!("it does not lead {others:?}: {:?}", one.said);
    }

    /// Something happens to it.
    pub fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        self.flock.handle(self.now, input, &mut out);
        for output in out {
            match output {
                Output::Message { to, message } => self.said.push((to, message)),
                Output::Datagram { to, datagram: Datagram::Ping { seq, view, .. } } => self.pings.push((to, seq, view)),
                Output::Datagram { to, datagram: Datagram::PingReq { subject } } => self.witnesses.push((to, subject)),
                Output::CloseLink { peer, .. } => self.closed.push(peer),
                _ => {}
            }
        }
    }

    /// A frame arrives.
    pub fn hear(&mut self, from: usize, message: Message) {
        self.input(Input::Message { from: member(from, 1), message });
    }

    /// Time goes by.
    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while self.flock.deadline() < end {
            self.now = self.now.max(self.flock.deadline());
            self.input(Input::Wake);
        }
        self.now = end;
    }

    /// These answer what they were asked, and ask in their turn, for of two members one asks; members say that they have its
    /// view, others their own.
    pub fn answer(&mut self, who: &[usize]) {
        let pings = core::mem::take(&mut self.pings);
        self.asked += 1;
        for &from in who {
            let one = member(from, 1);
            let view = if self.flock.view().has(&one) && !self.behind.contains(&from) {
                self.flock.view().id().clone()
            } else {
                first_view(from).id().clone()
            };
            for (_, seq, _) in pings.iter().filter(|(to, ..)| *to == one) {
                let datagram = Datagram::Ack { seq: *seq, view: Some(view.clone()) };
                self.input(Input::Datagram { from: one.clone(), datagram });
            }
            let datagram = Datagram::Ping { seq: self.asked, view: Some(view), heard: Some(1) };
            self.input(Input::Datagram { from: one, datagram });
        }
        self.pings.extend(pings.into_iter().filter(|(to, ..)| !who.iter().any(|one| member(*one, 1) == *to)));
    }

    /// So long these answer, ten times a second.
    pub fn answered_by(&mut self, who: &[usize], time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.wait(Duration::from_millis(100));
            self.answer(who);
        }
    }

    /// It comes into the flock that this place proposes of its first view and this one's, and reports when it has to.
    ///
    /// # Panics
    /// If it does not promise, or not install it.
    pub fn joins(&mut self, proposer: usize, epoch: u64, takes: Duration) -> View {
        let (theirs, mine) = (first_view(proposer), self.flock.view().clone());
        let places = [proposer, 1];
        let (id, message) = propose(proposer, epoch, &[&theirs, &mine], &places);
        self.hear(proposer, message);
        self.wait(takes);
        let report = self.report_to(proposer);
        assert!(takes.is_zero() || matches!(report, Some(Answer::Promised { .. })), "{report:?}");
        let view = joint(epoch, &[&theirs, &mine], &places);
        self.hear(proposer, Message::Install { id: Some(id), view: view.clone() });
        assert_eq!(self.flock.view().id(), view.id());
        view
    }

    /// For how long it stays apart from the only other flock because of a pair.
    #[must_use]
    pub fn apart_for(&self) -> Option<Duration> {
        let siblings = self.flock.status(self.now).siblings;
        siblings.iter().find(|one| matches!(one.apart, Apart::BrokenPair(..))).and_then(|one| one.until)
    }

    /// What it proposed to this place last.
    #[must_use]
    pub fn proposal_to(&self, place: usize) -> Option<ProposalId> {
        self.said.iter().rev().find_map(|(to, message)| match message {
            Message::Propose { id, .. } if *to == member(place, 1) => Some(id.clone()),
            _ => None,
        })
    }

    /// Whether it proposed anything.
    #[must_use]
    pub fn proposes(&self) -> bool {
        self.said.iter().any(|(_, message)| matches!(message, Message::Propose { .. }))
    }

    /// The last report to this place.
    #[must_use]
    pub fn report_to(&self, place: usize) -> Option<&Answer> {
        self.said.iter().rev().find_map(|(to, message)| match message {
            Message::Report { answer, .. } if *to == member(place, 1) => Some(answer),
            _ => None,
        })
    }
}

/// What a lone fulcrum of this place begins with.
#[must_use]
pub fn first_view(place: usize) -> View {
    bird(START, place, 1, 1, 3).flock.view().clone()
}

/// The seat of a place, in its first life.
#[must_use]
pub fn seat(place: usize) -> Seat {
    Seat { member: member(place, 1), addr: addr(place), visitor: false }
}

/// A proposal of these places, each the only one of the parent that stands at the same position.
#[must_use]
pub fn propose(proposer: usize, epoch: u64, parents: &[&View], places: &[usize]) -> (ProposalId, Message) {
    let id = ProposalId { epoch, proposer: member(proposer, 1) };
    let candidates: Vec<(Seat, u32)> = places.iter().zip(0..).map(|(place, parent)| (seat(*place), parent)).collect();
    let parents: Vec<ViewId> = parents.iter().map(|view| view.id().clone()).collect();
    let deadline = Duration::from_secs(3);
    (id.clone(), Message::Propose { id, parents: parents.into(), candidates: candidates.into(), deadline })
}

/// The view that comes of such a proposal.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn joint(epoch: u64, parents: &[&View], places: &[usize]) -> View {
    let parents: Vec<_> = parents.iter().map(|view| view.id().clone()).collect();
    let roster: Vec<Seat> = places.iter().map(|place| seat(*place)).collect();
    View::make(&"sim".parse().expect("a bloc"), epoch, roster, "calm-heron".into(), 0, &parents).expect("a view")
}
