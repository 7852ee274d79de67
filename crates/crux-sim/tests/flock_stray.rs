//! One stray with a valid certificate that stands beside honest flocks and answers everything but what is asked: whatever
//! rank it claims, the honest ones find each other, are stable, and are not kept busy (promise D4; decision 22).

use crux_core::flock::message::{AskReply, Datagram, Message};
use crux_core::flock::view::{Seat, View, ViewId};
use crux_core::flock::{Flock, Input, Output};
use crux_names::{Duration, Member, Time};
use crux_sim::flocks::{addr, bird, member};
use std::collections::{BTreeSet, VecDeque};

/// What the stray does when it is asked to take somebody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    Silence,
    Accept,
    Busy,
    Held,
    Refuse,
    /// As many made-up pairs as a frame has room for.
    RefuseMuch,
    Redirect,
    /// It has another view ten times a second.
    Restless,
    /// It claims to be small and asks nobody.
    Shy,
}

const LIES: [Lie; 9] = [
    Lie::Silence,
    Lie::Accept,
    Lie::Busy,
    Lie::Held,
    Lie::Refuse,
    Lie::RefuseMuch,
    Lie::Redirect,
    Lie::Restless,
    Lie::Shy,
];

/// Honest fulcrums that hear each other at once, and the stray.
struct Net {
    now: Time,
    flocks: Vec<Flock>,
    links: BTreeSet<(usize, usize)>,
    /// Whether two honest ones reach each other.
    reach: fn(usize, usize) -> bool,
    lie: Lie,
    there: bool,
    epoch: u64,
    asks: usize,
    told: usize,
    queue: VecDeque<(usize, Input)>,
}

impl Net {
    fn new(size: usize, lie: Lie, reach: fn(usize, usize) -> bool) -> Self {
        let now = Time::from_millis(1000);
        let flocks = (0..size).map(|place| bird(now, place, size, 1, 3).flock).collect();
        let (links, queue) = (BTreeSet::new(), VecDeque::new());
        Self { now, flocks, links, reach, lie, there: false, epoch: 9, asks: 0, told: 0, queue }
    }

    fn stray(&self) -> Member {
        member(self.flocks.len(), 1)
    }

    /// What the stray says that it has.
    fn claim(&self) -> View {
        let mine = Seat { member: self.stray(), addr: addr(self.flocks.len()), visitor: false };
        let (size, epoch) = if self.lie == Lie::Shy { (1, 1) } else { (300, self.epoch) };
        let others = (1..size).map(|n| Seat { member: member(100 + n, 1), addr: addr(100 + n), visitor: false });
        let parent = ViewId { epoch, leader: self.stray().id, hash: [7; 16] };
        let roster: Vec<Seat> = std::iter::once(mine).chain(others).collect();
        View::make(&"sim".parse().unwrap(), epoch, roster, "evil-one".into(), 0, &[parent]).unwrap()
    }

    fn arrives(&mut self) {
        self.there = true;
        for place in 0..self.flocks.len() {
            let up = Input::LinkUp { member: self.stray(), addr: addr(self.flocks.len()), dialed: false };
            self.queue.push_back((place, up));
        }
        self.hello();
    }

    fn hello(&mut self) {
        let head = self.claim().head.clone();
        for place in 0..self.flocks.len() {
            let message = Message::Hello { head: head.clone(), best: None };
            self.queue.push_back((place, Input::Message { from: self.stray(), message }));
        }
    }

    /// What is said to the stray, and what it says to that.
    fn hears(&mut self, from: usize, message: &Message) {
        let Message::Ask { view } = message else { return };
        self.asks += 1;
        let pair = |n: usize| (member(100 + n % 299 + 1, 1), view.leader().member.clone());
        let reply = match self.lie {
            Lie::Silence | Lie::Restless | Lie::Shy => return,
            Lie::Accept => AskReply::Accept,
            Lie::Busy => AskReply::Busy(Duration::ZERO),
            Lie::Held => AskReply::Held(Duration::ZERO),
            Lie::Refuse => AskReply::Refuse { pairs: vec![pair(1)], retry: Duration::ZERO },
            Lie::RefuseMuch => AskReply::Refuse { pairs: (0..16_384).map(pair).collect(), retry: Duration::ZERO },
            Lie::Redirect => AskReply::Redirect(self.claim().head),
        };
        let message = Message::AskReply { asked: view.id().clone(), reply };
        self.queue.push_back((from, Input::Message { from: self.stray(), message }));
    }

    fn take(&mut self, place: usize, input: Input) {
        let (stray, size) = (self.stray(), self.flocks.len());
        let mut out = Vec::new();
        self.flocks[place].handle(self.now, input, &mut out);
        let me = member(place, 1);
        let place_of = |other: &Member| (0..size).find(|at| member(*at, 1) == *other);
        for output in out {
            match output {
                Output::Dial(to) => {
                    let Some(other) = (0..size).find(|at| addr(*at) == to && *at != place) else { continue };
                    if (self.reach)(place, other) && self.links.insert((place.min(other), place.max(other))) {
                        let up = |of: usize, dialed| Input::LinkUp { member: member(of, 1), addr: addr(of), dialed };
                        self.queue.push_back((place, up(other, true)));
                        self.queue.push_back((other, up(place, false)));
                    }
                }
                Output::Datagram { to, datagram: Datagram::Ping { seq, .. } } if to == stray && self.there => {
                    let datagram = Datagram::Ack { seq, view: Some(self.claim().id().clone()) };
                    self.queue.push_back((place, Input::Datagram { from: to, datagram }));
                }
                Output::Message { to, message } if to == stray => self.hears(place, &message),
                Output::Datagram { to, datagram } => {
                    let Some(other) = place_of(&to).filter(|other| (self.reach)(place, *other)) else { continue };
                    self.queue.push_back((other, Input::Datagram { from: me.clone(), datagram }));
                }
                Output::Message { to, message } => {
                    if let Message::Apart { pairs, .. } = &message {
                        self.told += 1;
                        assert!(pairs.len() <= 8, "{} pairs are told to a member", pairs.len());
                    }
                    let Some(other) = place_of(&to).filter(|other| (self.reach)(place, *other)) else { continue };
                    self.queue.push_back((other, Input::Message { from: me.clone(), message }));
                }
                _ => {}
            }
        }
    }

    /// Time goes by.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut restless = self.now;
        while self.now < end {
            if self.there && self.lie == Lie::Restless && restless <= self.now {
                restless = self.now + Duration::from_millis(100);
                self.epoch += 1;
                self.hello();
            }
            for place in 0..self.flocks.len() {
                if self.flocks[place].deadline() <= self.now {
                    self.queue.push_back((place, Input::Wake));
                }
            }
            while let Some((place, input)) = self.queue.pop_front() {
                self.take(place, input);
            }
            self.now = self.now + Duration::from_millis(5);
        }
    }

    fn whole(&self) -> bool {
        self.flocks.iter().all(|flock| {
            flock.view().roster.len() == self.flocks.len() && flock.view().id() == self.flocks[0].view().id()
        })
    }

    fn until_whole(&mut self, limit: Duration) -> Option<Duration> {
        let begin = self.now;
        while self.now < begin + limit {
            if self.whole() {
                return Some(self.now.since(begin));
            }
            self.run(Duration::from_millis(50));
        }
        None
    }
}

const fn same_half(a: usize, b: usize) -> bool {
    (a < 2) == (b < 2)
}

const fn everybody(_: usize, _: usize) -> bool {
    true
}

#[test]
fn two_honest_flocks_merge_beside_a_stray_that_claims_to_be_better() {
    for lie in LIES {
        let mut net = Net::new(4, lie, same_half);
        net.run(Duration::from_secs(6));
        assert!(net.flocks.iter().all(|flock| flock.view().roster.len() == 2), "{lie:?}");
        net.reach = everybody;
        net.arrives();
        let took = net.until_whole(Duration::from_secs(12));
        let apart = |flock: &Flock| {
            let siblings = flock.status(net.now).siblings.into_iter();
            (
                flock.view().id().clone(),
                siblings.map(|one| (one.head.id.clone(), one.apart, one.until)).collect::<Vec<_>>(),
            )
        };
        let shapes: Vec<_> = net.flocks.iter().map(apart).collect();
        assert!(took.is_some(), "{lie:?}: they did not become one: {shapes:?}");
    }
}

#[test]
fn beside_a_stray_that_leads_nowhere_a_flock_is_stable_and_quiet() {
    for lie in LIES {
        let mut net = Net::new(3, lie, everybody);
        net.until_whole(Duration::from_secs(5)).unwrap();
        net.arrives();
        let mut stable = 0;
        for _ in 0..600 {
            net.run(Duration::from_millis(500));
            stable += usize::from(net.flocks.iter().all(|flock| flock.stable(net.now)));
        }
        assert!(net.whole(), "{lie:?}");
        assert!(stable > 400, "{lie:?}: stable in {stable} of 600 samples of five minutes");
        assert!(net.asks < 150, "{lie:?}: {} asks in five minutes", net.asks);
        assert!(net.told < 300, "{lie:?}: members were told {} times what keeps it apart", net.told);
        let weight = net.flocks.iter().map(Flock::weight).max().unwrap();
        assert!(weight < 1000, "{lie:?}: {weight} entries are kept");
    }
}

/// The cold start of four, with the stray there before them.
#[test]
fn honest_ones_that_start_beside_a_stray_find_each_other() {
    for lie in LIES {
        let mut net = Net::new(4, lie, everybody);
        net.arrives();
        assert!(net.until_whole(Duration::from_secs(12)).is_some(), "{lie:?}");
    }
}
