//! Whom a fulcrum dials when: the pace of one and of a whole flock, and what becomes of addresses.

use crux_core::flock::discovery::{
    Book, BookChange, DIALS, Discovery, LEFT, PER_NODE, PROBES, Pace, SWEEPERS, UNTRIED,
};
use crux_core::hash::Random;
use crux_names::{Duration, FulcrumId, Time};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

const PACE: Pace = Pace { disc: Duration::from_secs(1), dial: Duration::from_secs(1) };
const START: Time = Time::from_millis(5_000);

fn f(n: usize) -> FulcrumId {
    format!("n{n}").parse().unwrap()
}

fn a(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (n / 250) as u8, (n % 250) as u8 + 1], 7000))
}

fn book(of: impl IntoIterator<Item = usize>) -> Arc<Book> {
    Arc::new(Book::new(of.into_iter().map(|n| (f(n), a(n)))))
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// What a dial comes to, and after how long.
type Fate = (Duration, bool);
const SILENT: Fate = (Duration::from_secs(1), false);
const REFUSED: Fate = (Duration::from_millis(20), true);

/// Some fulcrums of one flock, their dials under way and all dials so far.
struct World {
    now: Time,
    flock: Vec<Discovery>,
    ends: BTreeSet<(Time, usize, SocketAddr, bool)>,
    dials: Vec<(Time, usize, SocketAddr)>,
}

impl World {
    fn of(flock: Vec<Discovery>) -> Self {
        Self { now: START, flock, ends: BTreeSet::new(), dials: Vec::new() }
    }

    fn alone(seeds: &[SocketAddr], book: Arc<Book>) -> Self {
        Self::of(vec![Discovery::new(START, f(0), PACE, seeds, book)])
    }

    fn each(&mut self, mut does: impl FnMut(&mut Discovery, usize)) {
        self.flock.iter_mut().enumerate().for_each(|(at, one)| does(one, at));
    }

    /// Lets time go by.
    fn run(&mut self, time: Duration, fate: impl Fn(SocketAddr) -> Fate) {
        let till = self.now + time;
        let mut out = Vec::new();
        let mut steps = 0;
        loop {
            for (at, one) in self.flock.iter_mut().enumerate() {
                one.poll(self.now, &mut out);
                assert!(one.deadline() > self.now, "it would wake for ever");
                for addr in out.drain(..) {
                    self.dials.push((self.now, at, addr));
                    let (after, refused) = fate(addr);
                    self.ends.insert((self.now + after, at, addr, refused));
                }
            }
            let next = self.flock.iter().map(Discovery::deadline).min().unwrap();
            let next = next.min(self.ends.first().map_or(Time::NEVER, |end| end.0));
            if next > till {
                self.now = till;
                return;
            }
            self.now = next.max(self.now);
            while let Some((at, who, addr, refused)) = self.ends.first().copied()
                && at <= self.now
            {
                self.ends.pop_first();
                self.flock[who].failed(self.now, addr, false, refused, if refused { "go away" } else { "timed out" });
            }
            steps += 1;
            assert!(steps < 1_000_000, "it never rests");
        }
    }

    fn since(&self, from: Time, addr: SocketAddr) -> usize {
        self.dials.iter().filter(|(at, _, to)| *at >= from && *to == addr).count()
    }

    /// No fulcrum dials more than 32 times in any second, nor an address twice within one while nothing came of it.
    fn check_pace(&self, quick: bool) {
        for who in 0..self.flock.len() {
            let mine: Vec<_> = self.dials.iter().filter(|dial| dial.1 == who).collect();
            for many in mine.windows(DIALS + 1) {
                assert!(many[DIALS].0.since(many[0].0) >= ms(1000), "{DIALS} + 1 dials within a second");
            }
            let mut last: BTreeMap<SocketAddr, Time> = BTreeMap::new();
            for (at, _, addr) in mine {
                let before = last.insert(*addr, *at);
                assert!(quick || before.is_none_or(|before| at.since(before) >= ms(1000)), "{addr} too soon");
            }
        }
    }
}

fn outside(one: &Discovery) -> BTreeMap<SocketAddr, (bool, bool, String)> {
    one.outside().map(|out| (out.addr, (out.hot, out.refused, out.why.to_owned()))).collect()
}

/// Sixty-four that began at once on two cores never came to one link: each dialled 32 others a second, and no handshake came to
/// its end in the time that a dial has.
#[test]
fn who_is_late_with_everything_dials_less_until_it_keeps_up() {
    let seeds: Vec<SocketAddr> = (1..64).map(a).collect();
    let mut world = World::alone(&seeds, book([]));
    let second = |world: &mut World| {
        let before = world.dials.len();
        world.run(ms(1000), |_| SILENT);
        world.dials.len() - before
    };
    world.run(ms(5000), |_| SILENT);
    assert!(second(&mut world) >= DIALS - 1, "in time, it dials as fast as it may");
    // Once late is no hurry: it slept.
    world.now = world.now + ms(90_000);
    assert!(second(&mut world) >= DIALS - 1, "after a sleep");
    let mut from = world.dials.len();
    for look in 0..20 {
        if look == 10 {
            from = world.dials.len();
        }
        // Whatever is due waits so long for its turn.
        world.now = world.now + ms(400);
        world.run(Duration::ZERO, |_| SILENT);
    }
    let last = world.dials.len() - from;
    assert!((4..=20).contains(&last), "{last} dials in four seconds");
    let all: Vec<usize> = (0..12).map(|_| second(&mut world)).collect();
    assert!(all[0] <= 12 && all[11] >= DIALS - 1, "in time again: {all:?}");
    world.check_pace(false);
}

#[test]
fn a_seed_is_dialled_at_once_and_for_ever() {
    let mut world = World::alone(&[a(1)], book([]));
    world.run(ms(63), |_| SILENT);
    assert_eq!(world.dials.len(), 1);
    // Nobody answers within the second that a dial takes, so that is the pace.
    world.run(Duration::from_secs(60), |_| SILENT);
    assert!((45..=62).contains(&world.dials.len()), "{}", world.dials.len());
    world.run(Duration::from_secs(7200), |_| SILENT);
    let from = world.now;
    world.run(Duration::from_secs(100), |_| SILENT);
    assert!((70..=100).contains(&world.since(from, a(1))), "{}", world.since(from, a(1)));
    world.check_pace(false);
}

#[test]
fn a_lost_one_is_tried_four_times_a_second_and_after_a_minute_once() {
    let mut world = World::alone(&[], book([]));
    let now = world.now;
    world.each(|one, _| one.found(now, &f(1), a(1)));
    world.run(ms(500), |_| REFUSED);
    assert!(world.dials.is_empty(), "linked addresses are not dialled");
    let now = world.now;
    world.each(|one, _| one.lost(now, &f(1)));
    world.run(Duration::from_secs(60), |_| REFUSED);
    assert!((235..=245).contains(&world.dials.len()), "{}", world.dials.len());
    let from = world.now;
    world.run(Duration::from_secs(60), |_| REFUSED);
    assert!((58..=62).contains(&world.since(from, a(1))), "{}", world.since(from, a(1)));
    // After an hour it is cold, and once in two seconds is often enough for the only one.
    world.run(Duration::from_secs(3600), |_| REFUSED);
    let from = world.now;
    world.run(Duration::from_secs(100), |_| REFUSED);
    assert!((35..=51).contains(&world.since(from, a(1))), "{}", world.since(from, a(1)));
    assert_eq!(outside(&world.flock[0])[&a(1)], (false, true, "go away".into()));
}

/// A copy of an identity, seen from the copy: every link comes up and is closed at once.
#[test]
fn who_is_turned_away_at_once_dials_ever_more_seldom() {
    let quarter = Pace { disc: ms(250), dial: Duration::from_secs(1) };
    let mut world = World::of(vec![Discovery::new(START, f(0), quarter, &[a(1)], book([]))]);
    let links = |world: &mut World, time: Duration| {
        let till = world.now + time;
        let (from, mut dials) = (world.now, Vec::new());
        while world.now < till {
            let (now, one) = (world.now, &mut world.flock[0]);
            one.poll(now, &mut dials);
            if dials.pop().is_some() {
                world.dials.push((now, 0, a(1)));
                one.found(now + ms(5), &f(1), a(1));
                one.lost(now + ms(10), &f(1));
                world.now = now + ms(10);
            } else {
                world.now = one.deadline().min(till).max(now + ms(1));
            }
        }
        world.since(from, a(1))
    };
    let first = links(&mut world, Duration::from_secs(60));
    let then = links(&mut world, Duration::from_secs(60));
    assert!(first <= 85 && (55..=85).contains(&then), "{first} links in a minute, then {then}");
    assert!(world.flock[0].searched(world.now), "its pause keeps no round open");
    // Whoever has to be reached is dialled all the same, and a link that lasts is as good as any.
    let now = world.now;
    world.flock[0].urge(now, &f(1), a(1));
    world.run(ms(50), |_| REFUSED);
    assert!(world.since(now, a(1)) > 0, "a candidate waits for no pause");
    let now = world.now;
    world.flock[0].found(now, &f(1), a(1));
    world.run(Duration::from_secs(60), |_| REFUSED);
    let now = world.now;
    world.flock[0].lost(now, &f(1));
    world.run(ms(250), |_| SILENT);
    assert_eq!(world.since(now, a(1)), 1);
}

#[test]
fn in_a_large_flock_exactly_one_member_dials_each_address_in_each_slot() {
    let n = SWEEPERS as usize + 7;
    let flock = (0..n).map(|rank| Discovery::new(START, f(rank), PACE, &[], book([]))).collect();
    let mut world = World::of(flock);
    world.each(|one, rank| {
        (100..140).for_each(|other| one.found(START, &f(other), a(other)));
        one.place(START, rank as u32, n as u32);
        (100..140).for_each(|other| one.lost(START, &f(other)));
    });
    world.run(Duration::from_secs(59), |_| REFUSED);
    let count = |world: &World, slot: u64| {
        let mut slots: BTreeMap<(SocketAddr, u64), usize> = BTreeMap::new();
        for (at, _, addr) in &world.dials {
            *slots.entry((*addr, at.as_nanos() / slot)).or_default() += 1;
        }
        slots
    };
    let slots = count(&world, 250_000_000);
    assert!(slots.values().all(|dials| *dials == 1), "one dial to each address in each slot");
    assert_eq!(slots.len(), 40 * 59 * 4, "and none left out");
    // Everybody has dialled everybody: no member is blind for an address that it alone could reach.
    let pairs: BTreeSet<_> = world.dials.iter().map(|(_, who, addr)| (*who, *addr)).collect();
    assert_eq!(pairs.len(), 40 * n);

    world.run(Duration::from_secs(3), |_| REFUSED);
    world.dials.clear();
    world.run(Duration::from_secs(60), |_| REFUSED);
    let slots = count(&world, 1_000_000_000);
    assert!(slots.values().all(|dials| *dials == 1), "after a minute once a second");
    assert!((40 * 59..=40 * 61).contains(&slots.len()), "{}", slots.len());
}

#[test]
fn clocks_that_differ_change_the_pace_of_the_flock_by_nothing() {
    let n = 20;
    let flock = (0..n).map(|rank| Discovery::new(START, f(rank), PACE, &[], book([]))).collect();
    let mut world = World::of(flock);
    // Half of the members count their slots from elsewhere, since they heard of it in the middle of one.
    world.each(|one, rank| {
        one.place(START, rank as u32, n as u32);
        one.found(START, &f(100), a(100));
    });
    for rank in 0..n {
        let now = world.now;
        world.flock[rank].lost(now, &f(100));
        world.run(ms(37), |_| REFUSED);
    }
    let from = world.now;
    world.run(Duration::from_secs(50), |_| REFUSED);
    let dials = world.since(from, a(100));
    assert!((190..=210).contains(&dials), "{dials} dials in 50 s");
}

#[test]
fn in_a_small_flock_each_member_tries_all_before_the_round_is_done() {
    let n = 3;
    let flock = (0..n).map(|rank| Discovery::new(START, f(rank), PACE, &[], book([]))).collect();
    let mut world = World::of(flock);
    world.each(|one, _| (100..110).for_each(|other| one.found(START, &f(other), a(other))));
    world.each(|one, _| (100..110).for_each(|other| one.lost(START, &f(other))));
    world.run(Duration::from_secs(10), |_| SILENT);
    let now = world.now;
    world.each(|one, rank| one.place(now, rank as u32, n as u32));
    world.dials.clear();
    assert!(world.flock.iter().all(|one| !one.searched(now)), "a new view, a new round");
    world.run(ms(900), |_| SILENT);
    world.run(ms(1500), |_| SILENT);
    let pairs: BTreeSet<_> = world.dials.iter().map(|(_, who, addr)| (*who, *addr)).collect();
    assert_eq!(pairs.len(), 30, "each tried each");
    let now = world.now;
    assert!(world.flock.iter().all(|one| one.searched(now)));
    // What becomes hot later does not undo a round that is done, but does count as unanswered.
    world.each(|one, _| one.hint(now, Some(&f(200)), a(200)));
    assert!(world.flock[0].searched(now));
    assert_eq!(world.flock[0].hot_unanswered(), 11);
}

#[test]
fn the_round_is_not_done_while_an_address_has_not_answered() {
    let mut world = World::alone(&[a(1), a(2)], book([]));
    assert!(!world.flock[0].searched(START));
    world.run(ms(200), |addr| if addr == a(1) { REFUSED } else { SILENT });
    let now = world.now;
    assert!(!world.flock[0].searched(now), "one of the two is still under way");
    world.flock[0].found(now, &f(2), a(2));
    assert!(world.flock[0].searched(now), "one refused, the other is linked");
    assert_eq!(world.flock[0].hot_unanswered(), 0);
    // At the very start of the clock as well.
    let zero = Discovery::new(Time::ZERO, f(0), PACE, &[a(1)], book([]));
    assert!(!zero.searched(Time::ZERO) && zero.hot_unanswered() == 1);
}

#[test]
fn in_a_large_flock_the_round_takes_two_rounds_and_needs_the_own_share_kept() {
    let mut world = World::alone(&[], book([]));
    world.each(|one, _| {
        one.found(START, &f(1), a(1));
        one.place(START, 3, 100);
        one.lost(START, &f(1));
    });
    world.run(ms(1900), |_| SILENT);
    assert!(!world.flock[0].searched(world.now));
    world.run(ms(200), |_| SILENT);
    assert!(world.flock[0].searched(world.now));
    // With far more than it can dial it does not say so.
    let now = world.now;
    world.each(|one, _| {
        (100..4000).for_each(|other| one.found(now, &f(other), a(other)));
        one.place(now, 3, 17);
        (100..4000).for_each(|other| one.lost(now, &f(other)));
    });
    world.run(ms(4000), |_| SILENT);
    assert!(!world.flock[0].searched(world.now));
    world.check_pace(false);
}

#[test]
fn many_dead_addresses_starve_nobody() {
    let seeds: Vec<SocketAddr> = (1..=20).map(a).collect();
    let mut world = World::alone(&seeds, book(1000..1100));
    let now = world.now;
    (100..600).for_each(|other| world.flock[0].found(now, &f(other), a(other)));
    (100..600).for_each(|other| world.flock[0].lost(now, &f(other)));
    world.run(Duration::from_secs(60), |_| SILENT);
    world.check_pace(false);
    assert!(world.dials.len() >= 31 * 59, "it uses what it may: {}", world.dials.len());
    for other in (1..=20).chain(100..600) {
        assert!(world.since(START, a(other)) > 0, "{other} was not dialled within a minute");
    }
    let cold: Vec<usize> = (1000..1100).map(|other| world.since(START, a(other))).collect();
    assert!(cold.iter().all(|dials| *dials > 0), "nor were the cold ones left out: {cold:?}");
}

#[test]
fn cold_ones_are_walked_over_quickly_once_and_then_slowly() {
    let mut world = World::alone(&[], book(1..=60));
    world.run(ms(2200), |_| SILENT);
    let tried: BTreeSet<_> = world.dials.iter().take(60).map(|dial| dial.2).collect();
    assert_eq!(tried.len(), 60, "each once, as quickly as one may dial");
    assert!(world.dials.len() < 85, "and no quicker: {}", world.dials.len());
    let from = world.now;
    world.run(Duration::from_secs(20), |_| SILENT);
    let slow = world.dials.iter().filter(|dial| dial.0 >= from).count();
    assert!((330..=425).contains(&slow), "{slow} in 20 s");
    let from = world.now;
    world.flock[0].wake_cold(from);
    world.run(ms(2200), |_| SILENT);
    assert!(world.dials.iter().filter(|dial| dial.0 >= from).count() >= 60, "a heal wakes them");
    world.check_pace(false);
}

#[test]
fn a_flock_shares_the_walk_over_the_cold_ones() {
    let n = 10;
    let shared = book((0..n).chain(100..300));
    let flock = (0..n).map(|rank| Discovery::new(START, f(rank), PACE, &[], shared.clone())).collect();
    let mut world = World::of(flock);
    world.each(|one, rank| {
        (0..n).filter(|other| *other != rank).for_each(|other| one.found(START, &f(other), a(other)));
        one.place(START, rank as u32, n as u32);
        one.wake_cold(START);
    });
    world.run(ms(5500), |_| SILENT);
    let tried: BTreeSet<_> = world.dials.iter().map(|dial| dial.2).collect();
    assert_eq!(tried.len(), 200, "one walk at 64 a second");
    assert!(world.dials.len() <= 260, "{} dials for 200 addresses", world.dials.len());
    world.run(Duration::from_secs(10), |_| SILENT);
    let from = world.now;
    world.run(Duration::from_secs(20), |_| SILENT);
    let slow = world.dials.iter().filter(|dial| dial.0 >= from).count();
    assert!((300..=420).contains(&slow), "then 20 a second by all together: {slow} in 20 s");
    assert!(!tried.contains(&a(0)), "never a member");
}

#[test]
fn a_crowd_begins_with_one_seed() {
    let seeds: Vec<SocketAddr> = (1..=5).map(a).collect();
    let mut world = World::alone(&seeds, book(100..200));
    world.run(ms(999), |_| SILENT);
    assert_eq!(world.dials.len(), 1);
    assert!(seeds.contains(&world.dials[0].2));
    // But a candidate of a view is dialled at once.
    world.flock[0].urge(world.now, &f(150), a(150));
    world.run(ms(0), |_| SILENT);
    assert_eq!(world.since(START, a(150)), 1);
    world.run(ms(1500), |_| SILENT);
    assert!(seeds.iter().all(|seed| world.since(START, *seed) > 0) && world.dials.len() > 20);
    let mut world = World::alone(&[], book(100..200));
    world.run(ms(999), |_| SILENT);
    assert_eq!(world.dials.len(), 1, "without a seed with one of the book");
    // Different fulcrums take different ones.
    let first = |n: usize| {
        let mut out = Vec::new();
        Discovery::new(START, f(n), PACE, &seeds, book(100..200)).poll(START + ms(200), &mut out);
        out
    };
    let firsts: BTreeSet<_> = (0..40).map(first).collect();
    assert!(firsts.len() == 5 && firsts.iter().all(|first| first.len() == 1));
}

#[test]
fn whoever_is_in_touch_with_a_crowd_dials_less_but_whom_it_has_to_prove_at_once() {
    let most_in_a_second = |crowd: bool| {
        let mut world = World::alone(&[], book(100..400));
        world.flock[0].crowd(crowd);
        world.run(Duration::from_secs(6), |_| SILENT);
        let dials: Vec<Time> = world.dials.iter().map(|dial| dial.0).collect();
        let within = |from: &Time| dials.iter().filter(|at| **at >= *from && at.since(*from) < ms(1000)).count();
        (dials.iter().map(within).max().unwrap_or(0), world)
    };
    assert!(most_in_a_second(false).0 > 20);
    let (most, mut world) = most_in_a_second(true);
    assert!((4..=8).contains(&most), "{most} dials within a second");
    let from = world.now;
    (500..520).for_each(|n| world.flock[0].urge(from, &f(n), a(n)));
    world.run(ms(1000), |_| SILENT);
    let dialled = (500..520).filter(|n| world.since(from, a(*n)) > 0).count();
    assert_eq!(dialled, 20, "of those that it has to prove");
}

#[test]
fn a_candidate_is_dialled_again_and_again_by_whoever_needs_it() {
    let mut world = World::alone(&[], book([]));
    world.flock[0].place(START, 5, 1000);
    world.flock[0].urge(START, &f(1), a(1));
    world.run(Duration::from_secs(9), |_| SILENT);
    assert!((7..=9).contains(&world.dials.len()), "{}", world.dials.len());
    world.run(Duration::from_secs(60), |_| SILENT);
    assert!(world.dials.len() <= 12, "not for ever: {}", world.dials.len());
    let from = world.now;
    world.flock[0].found(from, &f(1), a(1));
    world.flock[0].urge(from, &f(1), a(2));
    world.run(Duration::from_secs(9), |_| SILENT);
    assert_eq!(world.since(from, a(1)) + world.since(from, a(2)), 0, "a linked one needs no dial");
}

#[test]
fn the_book_follows_a_fulcrum_to_its_new_address() {
    let mut world = World::alone(&[], book([1, 2]));
    let one = &mut world.flock[0];
    assert_eq!(one.address(&f(1)), Some(a(1)));
    one.found(START, &f(1), a(1));
    assert_eq!(one.book_changed(), None, "nothing new");
    one.found(START, &f(1), a(50));
    let put = |n: usize, at: usize| Some(BookChange { put: vec![(f(n), a(at))], removed: vec![] });
    assert_eq!(one.book_changed(), put(1, 50));
    assert_eq!(one.address(&f(1)), Some(a(50)));
    world.run(Duration::from_secs(20), |_| SILENT);
    assert_eq!(world.since(START, a(1)), 1, "the old one is tried once more and dropped");
    assert_eq!(world.since(START, a(50)), 0);
    let (one, now) = (&mut world.flock[0], world.now);
    one.found(now, &f(1), a(1));
    assert_eq!((one.book_changed(), one.beyond_the_book()), (put(1, 1), 0), "and back where the book has it");
    // Somebody else at its address: it stays in the book, and is tried there again when the other is gone for good.
    one.found(now, &f(3), a(1));
    assert_eq!(one.book_changed(), put(3, 1));
    assert_eq!(one.address(&f(1)), Some(a(1)));
    one.hint(now, Some(&f(1)), a(60));
    world.run(ms(500), |_| SILENT);
    assert_eq!(world.since(now, a(1)), 0);
    assert!(world.since(now, a(60)) > 0, "it is not taken for linked");
    let names: BTreeSet<FulcrumId> = world.flock[0].book().map(|(id, _)| id.clone()).collect();
    assert_eq!(names, BTreeSet::from([f(1), f(2), f(3)]));
}

#[test]
fn who_said_goodbye_is_outside_with_that_reason() {
    let mut world = World::alone(&[], book([]));
    world.each(|one, _| {
        one.found(START, &f(1), a(1));
        one.goodbye(&f(1));
        one.lost(START, &f(1));
    });
    world.run(Duration::from_secs(5), |_| SILENT);
    assert_eq!(outside(&world.flock[0])[&a(1)], (true, false, LEFT.into()));
    assert!(world.dials.len() <= 6, "and not hunted for");
    let now = world.now;
    world.flock[0].found(now, &f(1), a(1));
    world.flock[0].lost(now, &f(1));
    world.run(Duration::from_secs(2), |_| SILENT);
    assert_eq!(outside(&world.flock[0])[&a(1)].2, "timed out");
}

#[test]
fn a_forgotten_one_is_not_dialled_unless_it_is_a_seed() {
    let mut world = World::alone(&[a(3)], book([1]));
    let one = &mut world.flock[0];
    [2, 3].into_iter().for_each(|n| one.found(START, &f(n), a(n)));
    [2, 3].into_iter().for_each(|n| one.lost(START, &f(n)));
    one.book_changed();
    (1..=3).for_each(|n| one.forget(START, &f(n)));
    let removed = (1..=3).map(f).collect();
    assert_eq!(one.book_changed(), Some(BookChange { put: vec![], removed }));
    assert_eq!(one.book().count(), 0);
    world.run(Duration::from_secs(10), |_| SILENT);
    assert!(world.dials.iter().all(|dial| dial.2 == a(3)) && world.dials.len() > 5);
}

#[test]
fn fulcrums_of_an_expelled_node_are_forgotten_until_one_is_linked_again() {
    let mut world = World::alone(&[], book([1]));
    let second: FulcrumId = "n1/second".parse().unwrap();
    let one = &mut world.flock[0];
    one.found(START, &second, a(11));
    one.expel(START, &f(1).node);
    assert_eq!(one.book().count(), 0);
    one.hint(START, Some(&f(1)), a(1));
    one.hint(START, Some(&second), a(12));
    world.run(Duration::from_secs(3), |_| SILENT);
    assert!(world.dials.is_empty());
    let one = &mut world.flock[0];
    one.found(world.now, &f(1), a(1));
    one.lost(world.now, &f(1));
    world.run(Duration::from_secs(3), |_| SILENT);
    assert!(!world.dials.is_empty());
}

#[test]
fn several_fulcrums_of_a_node_are_several_and_a_node_cannot_fill_the_book() {
    let mut one = Discovery::new(START, f(0), PACE, &[], book([]));
    for n in 0..200 {
        let id: FulcrumId = format!("n1/f{n}").parse().unwrap();
        one.found(START, &id, a(100 + n));
    }
    one.found(START, &f(2), a(2));
    assert_eq!(one.book().count(), PER_NODE + 1);
}

#[test]
fn two_addresses_of_one_fulcrum_are_one_link() {
    let mut world = World::alone(&[a(1), a(2)], book([]));
    let one = &mut world.flock[0];
    one.found(START, &f(1), a(1));
    one.answered(START, &f(1), a(2));
    assert_eq!(one.hot_unanswered(), 0);
    world.run(Duration::from_secs(5), |_| SILENT);
    assert!(world.dials.is_empty());
    let now = world.now;
    world.flock[0].lost(now, &f(1));
    world.run(Duration::from_secs(1), |_| SILENT);
    assert!(world.since(now, a(1)) > 0 && world.since(now, a(2)) > 0, "lost at both");
}

#[test]
fn its_own_address_is_dialled_once() {
    let mut world = World::alone(&[a(0), a(1)], book([0, 1]));
    let one = &mut world.flock[0];
    one.failed(START, a(0), true, false, "that is this fulcrum itself");
    one.hint(START, None, a(0));
    one.hint(START, Some(&f(0)), a(9));
    one.hint(START, Some(&f(8)), "0.0.0.0:7000".parse().unwrap());
    world.run(Duration::from_secs(3), |_| SILENT);
    assert!(world.dials.iter().all(|dial| dial.2 == a(1)) && !world.dials.is_empty());
}

#[test]
fn a_probed_address_is_tried_once_and_few_are_kept() {
    let mut world = World::alone(&[], book([]));
    let one = &mut world.flock[0];
    let taken = (1..1000).filter(|n| one.probe(START, a(*n))).count();
    assert_eq!((taken, one.probe_room()), (PROBES, 0));
    assert!(one.book().next().is_none());
    world.run(Duration::from_secs(12), |addr| if addr == a(7) { REFUSED } else { SILENT });
    let one = &world.flock[0];
    let tried: BTreeSet<_> = world.dials.iter().map(|dial| dial.2).collect();
    assert_eq!(tried.len(), PROBES);
    assert_eq!(outside(one).into_keys().collect::<Vec<_>>(), [a(7)], "only who refused is worth a word");
    assert!(one.probe_room() >= PROBES - 1);
    world.flock[0].probe(world.now, a(500));
    world.flock[0].found(world.now, &f(500), a(500));
    assert_eq!(world.flock[0].address(&f(500)), Some(a(500)), "in the book once it is certified");
}

#[test]
fn after_an_hour_a_hint_is_dropped_a_member_cold_and_a_seed_hot() {
    let mut world = World::alone(&[a(3)], book([]));
    world.each(|one, _| {
        one.found(START, &f(1), a(1));
        one.lost(START, &f(1));
        one.hint(START, Some(&f(2)), a(2));
    });
    world.run(Duration::from_secs(3590), |_| SILENT);
    assert!((1..=3).all(|n| outside(&world.flock[0])[&a(n)].0), "all hot");
    world.run(Duration::from_secs(30), |_| SILENT);
    let out = outside(&world.flock[0]);
    assert_eq!(out.keys().copied().collect::<Vec<_>>(), [a(1), a(3)]);
    assert!(!out[&a(1)].0 && out[&a(3)].0);
    world.run(Duration::from_secs(26 * 3600), |addr| if addr == a(1) { SILENT } else { REFUSED });
    assert_eq!(world.flock[0].address(&f(1)), Some(a(1)), "never forgotten");
    let from = world.now;
    world.run(Duration::from_secs(5), |_| SILENT);
    assert!(world.since(from, a(1)) > 0, "and still looked for after a day");
}

/// A member goes on and on about addresses where nobody is. The others' words are worth as much as before, and no view waits
/// for long until all that was hot has been tried.
#[test]
fn what_one_node_says_costs_so_many_dials_and_no_more() {
    let mut world = World::alone(&[], book([]));
    let (liar, honest) = (f(1).node, f(2).node);
    world.flock[0].place(START, 0, 4);
    let mut said = 0;
    let mut searched = |world: &mut World| {
        let begin = world.now;
        world.flock[0].place(begin, 0, 4);
        while !world.flock[0].searched(world.now) {
            for n in said..said + 64 {
                world.flock[0].told(world.now, &liar, &f(100 + n), a(100 + n));
            }
            said += 64;
            world.run(ms(100), |_| SILENT);
            assert!(world.now.since(begin) < Duration::from_secs(20), "it is never done with the round");
        }
        world.now.since(begin)
    };
    let took = searched(&mut world);
    assert!(took <= Duration::from_secs(6), "{took:?}");
    // By now nothing is hot that it says, but one more a round.
    let took = searched(&mut world);
    assert!(took <= Duration::from_secs(3), "{took:?}");
    assert!(world.flock[0].known() <= 300, "{} addresses are kept", world.flock[0].known());
    let from = world.now;
    world.flock[0].told(from, &honest, &f(9), a(9));
    world.run(ms(1000), |_| SILENT);
    assert_eq!(world.since(from, a(9)), 1);
    world.check_pace(false);
}

#[test]
fn an_address_where_nobody_was_found_is_cold_and_forgotten_after_an_hour() {
    let mut world = World::alone(&[], book([]));
    world.flock[0].place(START, 0, 4);
    world.flock[0].told(START, &f(1).node, &f(9), a(9));
    world.run(Duration::from_secs(3), |_| SILENT);
    assert!(world.since(START, a(9)) > 0);
    assert!(!outside(&world.flock[0])[&a(9)].0, "it is cold");
    let from = world.now;
    world.run(Duration::from_secs(30), |_| SILENT);
    assert!(world.since(from, a(9)) > 0, "and looked for all the same");
    // Said anew it is tried at once.
    let from = world.now;
    world.flock[0].told(from, &f(1).node, &f(9), a(9));
    world.run(ms(1200), |_| SILENT);
    assert!(world.since(from, a(9)) > 0);
    world.run(Duration::from_secs(3700), |_| SILENT);
    assert_eq!(world.flock[0].known(), 0);
    // Whoever is found there is a fulcrum like any other.
    world.flock[0].told(world.now, &f(1).node, &f(9), a(9));
    world.flock[0].found(world.now, &f(9), a(9));
    world.flock[0].lost(world.now, &f(9));
    world.run(Duration::from_secs(5), |_| SILENT);
    assert!(outside(&world.flock[0])[&a(9)].0);
}

/// The leader of a better flock is dialled before all others, once, and at its own pace.
#[test]
fn who_leads_a_better_flock_is_dialled_before_all_others() {
    let mut world = World::alone(&(100..400).map(a).collect::<Vec<_>>(), book([]));
    world.run(ms(500), |_| SILENT);
    let from = world.now;
    world.flock[0].soon(&f(1), a(1));
    world.run(ms(1100), |_| SILENT);
    assert_eq!(world.since(from, a(1)), 1);
    for n in 0..500 {
        world.flock[0].soon(&f(500 + n), a(500 + n));
        world.run(ms(20), |_| SILENT);
    }
    let dialled = world.dials.iter().filter(|dial| dial.2 >= a(500)).count();
    assert!((20..=81).contains(&dialled), "{dialled} in ten seconds");
    world.check_pace(false);
}

#[test]
fn ten_thousand_linked_ones_cost_nothing() {
    let shared = book(0..10_000);
    let mut one = Discovery::new(START, f(0), PACE, &[], shared);
    (1..10_000).for_each(|n| one.found(START, &f(n), a(n)));
    one.place(START, 0, 10_000);
    let mut out = Vec::new();
    one.poll(START, &mut out);
    assert_eq!((one.deadline(), one.beyond_the_book(), one.hot_unanswered()), (Time::NEVER, 0, 0));
    assert!(out.is_empty() && one.outside().next().is_none() && one.book_changed().is_none());
}

#[test]
fn reasons_of_cold_ones_are_told() {
    let one = Discovery::new(START, f(0), PACE, &[], book([1]));
    assert_eq!(outside(&one)[&a(1)], (false, false, UNTRIED.into()));
}

/// One thing that may happen, told in small numbers.
#[derive(Clone, Debug)]
enum Event {
    Found(usize, usize),
    Lost(usize),
    Answered(usize, usize),
    Told(usize, usize),
    Hint(Option<usize>, usize),
    Probe(usize),
    Urge(usize, usize),
    Goodbye(usize),
    Forget(usize),
    Expel(usize),
    Myself(usize),
    Seed(usize),
    Place(u32, u32),
    Wake,
    Run(u64, bool),
}

fn event() -> impl Strategy<Value = Event> {
    let who = 1..8_usize;
    let at = 1..10_usize;
    prop_oneof![
        4 => (who.clone(), at.clone()).prop_map(|(w, a)| Event::Found(w, a)),
        4 => who.clone().prop_map(Event::Lost),
        1 => (who.clone(), at.clone()).prop_map(|(w, a)| Event::Answered(w, a)),
        2 => (prop::option::of(who.clone()), at.clone()).prop_map(|(w, a)| Event::Hint(w, a)),
        2 => (who.clone(), at.clone()).prop_map(|(w, a)| Event::Told(w, a)),
        1 => at.clone().prop_map(Event::Probe),
        1 => (who.clone(), at.clone()).prop_map(|(w, a)| Event::Urge(w, a)),
        1 => who.clone().prop_map(Event::Goodbye),
        1 => who.clone().prop_map(Event::Forget),
        1 => who.clone().prop_map(Event::Expel),
        1 => at.clone().prop_map(Event::Myself),
        1 => at.clone().prop_map(Event::Seed),
        1 => (0..30_u32, 1..30_u32).prop_map(|(r, n)| Event::Place(r, n)),
        1 => Just(Event::Wake),
        6 => (1..3000_u64, any::<bool>()).prop_map(|(time, refused)| Event::Run(time, refused)),
        1 => (3_000_000..8_000_000_u64, any::<bool>()).prop_map(|(time, refused)| Event::Run(time, refused)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Against a plain model of the book and of who is linked where.
    #[test]
    fn whatever_happens_it_keeps_its_book_and_its_pace(events in prop::collection::vec(event(), 1..60)) {
        let start: BTreeMap<usize, usize> = (1..5).map(|n| (n, n)).collect();
        let mut known = start.clone();
        let mut disk: BTreeMap<FulcrumId, SocketAddr> = start.iter().map(|(n, at)| (f(*n), a(*at))).collect();
        let mut linked: BTreeMap<usize, usize> = BTreeMap::new();
        let mut myself: BTreeSet<usize> = BTreeSet::new();
        let mut aliases: BTreeMap<usize, usize> = BTreeMap::new();
        let mut seeds = BTreeSet::from([9_usize]);
        let mut world = World::alone(&[a(9)], book(start.into_keys()));
        for event in events {
            let now = world.now;
            let from = world.dials.len();
            let one = &mut world.flock[0];
            match event {
                // Only one can be linked at an address, and nobody at this fulcrum's own.
                Event::Found(who, at) => {
                    if !myself.contains(&at) && !linked.iter().any(|(other, there)| *there == at && *other != who) {
                        one.found(now, &f(who), a(at));
                        known.insert(who, at);
                        linked.insert(who, at);
                        aliases.retain(|there, other| *there != at && *other != who);
                    }
                }
                Event::Lost(who) => {
                    if linked.remove(&who).is_some() {
                        one.lost(now, &f(who));
                        aliases.retain(|_, other| *other != who);
                    }
                }
                Event::Answered(who, at) => {
                    if linked.contains_key(&who) && !linked.values().any(|there| *there == at) && !myself.contains(&at) {
                        one.answered(now, &f(who), a(at));
                        aliases.insert(at, who);
                    }
                }
                Event::Hint(who, at) => one.hint(now, who.map(f).as_ref(), a(at)),
                Event::Told(who, at) => one.told(now, &f(1 + at % 3).node, &f(who), a(at)),
                Event::Probe(at) => prop_assert!(one.probe(now, a(at))),
                Event::Urge(who, at) => one.urge(now, &f(who), a(at)),
                Event::Goodbye(who) => one.goodbye(&f(who)),
                Event::Forget(who) | Event::Expel(who) if linked.contains_key(&who) => {}
                Event::Forget(who) => {
                    one.forget(now, &f(who));
                    known.remove(&who);
                }
                Event::Expel(who) => {
                    one.expel(now, &f(who).node);
                    known.remove(&who);
                }
                Event::Myself(at) => {
                    if !linked.values().any(|there| *there == at) {
                        one.failed(now, a(at), true, false, "myself");
                        myself.insert(at);
                    }
                }
                Event::Seed(at) => {
                    one.seed(now, a(at));
                    seeds.insert(at);
                }
                Event::Place(rank, size) => one.place(now, rank % size, size),
                Event::Wake => one.wake_cold(now),
                Event::Run(time, refused) => world.run(ms(time), |_| if refused { REFUSED } else { SILENT }),
            }
            let one = &mut world.flock[0];
            let dialled = &world.dials[from..];
            for (_, _, addr) in dialled {
                prop_assert!(!linked.values().any(|at| a(*at) == *addr), "{addr} is linked");
                prop_assert!(!myself.iter().any(|at| a(*at) == *addr), "{addr} is this fulcrum");
            }
            let book: BTreeMap<FulcrumId, SocketAddr> = one.book().map(|(id, addr)| (id.clone(), addr)).collect();
            prop_assert_eq!(one.book().count(), book.len());
            let expected: BTreeMap<FulcrumId, SocketAddr> = known.iter().map(|(n, at)| (f(*n), a(*at))).collect();
            prop_assert_eq!(&book, &expected);
            if let Some(change) = one.book_changed() {
                disk.extend(change.put);
                disk.retain(|id, _| !change.removed.contains(id));
            }
            prop_assert_eq!(&disk, &expected, "what is on the disk");
            let out = outside(one);
            for at in linked.values() {
                prop_assert!(!out.contains_key(&a(*at)));
            }
        }
        world.check_pace(true);
        // In the end whoever is not linked is looked for, and every seed.
        world.flock[0].place(world.now, 0, 1);
        let from = world.now;
        world.run(Duration::from_secs(30), |_| SILENT);
        let lacking = known.iter().filter(|(who, _)| !linked.contains_key(who)).map(|(_, at)| *at).chain(seeds);
        for at in lacking {
            let taken = linked.values().any(|there| *there == at) || myself.contains(&at) || aliases.contains_key(&at);
            prop_assert!(taken || world.since(from, a(at)) > 0, "{at} is not looked for");
        }
        prop_assert!(world.flock[0].searched(world.now));
    }

    #[test]
    fn the_same_things_in_the_same_order_are_dialled_alike(seed: u64) {
        let run = || {
            let mut random = Random::new(seed);
            let mut world = World::alone(&[a(1)], book(10..30));
            for n in 0..20 {
                let (now, who) = (world.now, 10 + random.below(20) as usize);
                world.flock[0].found(now, &f(who), a(who));
                world.run(ms(random.below(500)), |_| SILENT);
                let now = world.now;
                world.flock[0].lost(now, &f(who));
                world.flock[0].hint(now, None, a(40 + n));
            }
            world.dials
        };
        prop_assert_eq!(run(), run());
    }
}
