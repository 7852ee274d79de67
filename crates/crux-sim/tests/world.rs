//! The world itself: its faults do what they say, and nothing else.

use crux_core::hash::Random;
use crux_names::{Duration, Member, Time};
use crux_sim::flocks::{addr, member};
use crux_sim::world::{DIAL, Fate, IDLE, In, Node, Out, Quality, Weather, World};

/// Remembers all that it is told, and dials whom it is told to dial.
#[derive(Debug, Default)]
struct Ear {
    heard: Vec<(Time, In<u64, u64>)>,
    wake: Option<Time>,
}

impl Node for Ear {
    type Datagram = u64;
    type Frame = u64;

    fn handle(&mut self, now: Time, input: In<u64, u64>, _: &mut Vec<Out<u64, u64>>) {
        if matches!(input, In::Wake) {
            self.wake = None;
        }
        self.heard.push((now, input));
    }

    fn deadline(&self) -> Time {
        self.wake.unwrap_or(Time::NEVER)
    }

    fn digest_datagram(datagram: &u64) -> u64 {
        *datagram
    }

    fn digest_frame(frame: &u64) -> u64 {
        *frame
    }
}

fn world(size: usize) -> World<Ear> {
    let mut world = World::new(1, Weather::default());
    for place in 0..size {
        world.add(member(place, 1), addr(place), Ear::default());
    }
    world
}

fn run(world: &mut World<Ear>, time: Duration) {
    let end = world.now + time;
    world.run_until(end, &mut |_| {});
}

fn wish(world: &mut World<Ear>, at: usize, out: Out<u64, u64>) {
    world.poke(at, |_, _, outs| outs.push(out));
}

/// All linked with all.
fn linked(size: usize) -> World<Ear> {
    let mut world = world(size);
    for a in 0..size {
        (a + 1..size).for_each(|b| wish(&mut world, a, Out::Dial(addr(b))));
    }
    run(&mut world, Duration::from_millis(100));
    world
}

fn heard(world: &World<Ear>, at: usize) -> Vec<String> {
    let node = world.slots[at].node.as_ref().unwrap();
    node.heard.iter().map(|(_, input)| format!("{input:?}")).filter(|text| !text.starts_with("LinkUp")).collect()
}

fn frames(world: &World<Ear>, at: usize) -> Vec<u64> {
    let node = world.slots[at].node.as_ref().unwrap();
    let frame = |(_, input): &(Time, In<u64, u64>)| if let In::Frame(_, number) = input { Some(*number) } else { None };
    node.heard.iter().filter_map(frame).collect()
}

#[test]
fn a_link_comes_up_on_both_sides_and_a_dial_to_nobody_fails() {
    let mut world = linked(3);
    for at in 0..3 {
        let ups =
            world.slots[at].node.as_ref().unwrap().heard.iter().filter(|(_, i)| matches!(i, In::LinkUp(..))).count();
        assert_eq!(ups, 2);
    }
    wish(&mut world, 0, Out::Dial(addr(9)));
    wish(&mut world, 0, Out::Dial(addr(0)));
    run(&mut world, DIAL + Duration::from_millis(100));
    assert_eq!(heard(&world, 0), [format!("DialFailed({}, true)", addr(0)), format!("DialFailed({}, false)", addr(9))]);
}

#[test]
fn a_process_that_dies_is_told_of_and_a_host_that_dies_is_not() {
    let mut world = linked(4);
    wish(&mut world, 0, Out::Watch(vec![member(3, 1)]));
    // Who is watched is told of its watcher too: the connection is one.
    wish(&mut world, 3, Out::Watch(vec![member(1, 1)]));
    world.kill(3);
    run(&mut world, Duration::from_millis(50));
    let gone = format!("ProcessGone({:?})", member(3, 1));
    assert_eq!((heard(&world, 0), heard(&world, 1), heard(&world, 2)), (vec![gone.clone()], vec![gone], vec![]));
    let mut world = linked(2);
    wish(&mut world, 0, Out::Watch(vec![member(1, 1)]));
    world.crash(1);
    run(&mut world, Duration::from_millis(50));
    assert!(heard(&world, 0).is_empty());
    // In the end silence tells.
    run(&mut world, IDLE);
    assert_eq!(heard(&world, 0), [format!("LinkDown({:?})", member(1, 1))]);
}

#[test]
fn whoever_watches_a_process_that_is_gone_already_is_told_at_once() {
    let mut world = linked(3);
    world.kill(1);
    world.crash(2);
    wish(&mut world, 0, Out::Watch(vec![member(1, 1), member(2, 1)]));
    run(&mut world, Duration::from_millis(50));
    assert_eq!(heard(&world, 0), [format!("ProcessGone({:?})", member(1, 1))]);
}

#[test]
fn frames_arrive_in_order_and_once_whatever_the_path_does() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let mut world = linked(2);
        world.weather.loss = 300;
        let mut sent = Vec::new();
        for number in 0..200 {
            match random.below(12) {
                0 => world.set_path(0, 1, random.below(2) == 0),
                1 => world.divide(&[0, u8::from(random.below(2) == 0)]),
                2 => world.set_between(0, 1, Quality { stalled: random.below(2) == 0, ..Quality::default() }),
                3 => world.pause(1, Duration::from_millis(random.below(50))),
                _ => {
                    wish(&mut world, 0, Out::Frame(member(1, 1), number));
                    sent.push(number);
                }
            }
            run(&mut world, Duration::from_micros(random.below(20_000)));
        }
        world.join_all();
        world.fine_paths();
        run(&mut world, Duration::from_secs(30));
        assert_eq!(frames(&world, 1), sent, "seed {seed}");
    }
}

#[test]
fn datagrams_are_lost_doubled_and_late_on_the_path_that_is_bad() {
    let mut world = linked(3);
    let bad = Quality { loss: 500, duplicates: 500, reordered: 300, ..Quality::default() };
    world.set_between(0, 1, bad);
    for number in 0..400 {
        wish(&mut world, 0, Out::Datagram(member(1, 1), number));
        wish(&mut world, 1, Out::Datagram(member(0, 1), number));
        wish(&mut world, 0, Out::Datagram(member(2, 1), number));
        run(&mut world, Duration::from_millis(1));
    }
    run(&mut world, Duration::from_secs(1));
    let numbers = |at: usize, from: usize| -> Vec<u64> {
        let node = world.slots[at].node.as_ref().unwrap();
        let one = |(_, input): &(Time, In<u64, u64>)| match input {
            In::Datagram(who, number) if *who == member(from, 1) => Some(*number),
            _ => None,
        };
        node.heard.iter().filter_map(one).collect()
    };
    let bad = numbers(1, 0);
    let distinct: std::collections::BTreeSet<u64> = bad.iter().copied().collect();
    assert!((200..400).contains(&distinct.len()), "{} of 400 arrive in some copy", distinct.len());
    assert!(bad.len() > distinct.len() + 50 && !bad.is_sorted());
    assert_eq!((numbers(0, 1).len(), numbers(2, 0).len()), (400, 400));
}

#[test]
fn a_one_way_cut_lets_nothing_through_that_way_and_ends_the_link_for_who_hears_nothing() {
    let mut world = linked(2);
    world.set_path(0, 1, false);
    wish(&mut world, 0, Out::Datagram(member(1, 1), 1));
    wish(&mut world, 1, Out::Datagram(member(0, 1), 2));
    run(&mut world, Duration::from_secs(1));
    assert_eq!((heard(&world, 1), heard(&world, 0).len()), (vec![], 1));
    run(&mut world, IDLE);
    assert_eq!(heard(&world, 1), [format!("LinkDown({:?})", member(0, 1))]);
    run(&mut world, IDLE);
    assert_eq!(heard(&world, 0)[1..], [format!("LinkDown({:?})", member(1, 1))]);
}

#[test]
fn a_division_that_lasts_ends_links_and_a_short_one_does_not() {
    for (time, downs) in [(IDLE - Duration::from_secs(1), 0), (IDLE + Duration::from_secs(1), 2)] {
        let mut world = linked(4);
        world.divide(&[0, 0, 1, 1]);
        run(&mut world, time);
        world.join_all();
        run(&mut world, IDLE * 2);
        for at in 0..4 {
            assert_eq!(heard(&world, at).len(), downs, "{time:?}");
        }
    }
}

#[test]
fn who_moved_is_not_reached_at_its_old_address_and_is_at_its_new_one() {
    let mut world = linked(2);
    world.relocate(1, addr(7));
    wish(&mut world, 0, Out::Datagram(member(1, 1), 1));
    wish(&mut world, 1, Out::Frame(member(0, 1), 1));
    wish(&mut world, 0, Out::Dial(addr(1)));
    run(&mut world, DIAL * 2);
    assert_eq!(heard(&world, 0), [format!("DialFailed({}, false)", addr(1))]);
    assert!(heard(&world, 1).is_empty());
    wish(&mut world, 1, Out::Dial(addr(0)));
    run(&mut world, Duration::from_secs(1));
    // The side that still held the old link is told of its end first, as by the link layer.
    let told = [format!("LinkDown({:?})", member(1, 1)), format!("LinkUp({:?}, {}, false)", member(1, 1), addr(7))];
    let all: Vec<_> =
        world.slots[0].node.as_ref().unwrap().heard.iter().map(|(_, input)| format!("{input:?}")).collect();
    assert_eq!(all[all.len() - 2..], told);
    wish(&mut world, 0, Out::Datagram(member(1, 1), 5));
    run(&mut world, IDLE * 2);
    assert!(heard(&world, 1).contains(&format!("Datagram({:?}, 5)", member(0, 1))));
    assert_eq!(heard(&world, 0).iter().filter(|text| text.starts_with("LinkDown")).count(), 1, "the new link stays");
}

#[test]
fn clocks_run_at_their_own_rate() {
    let mut world = world(2);
    world.set_rate(0, 100_000);
    world.set_rate(1, -100_000);
    for at in 0..2 {
        world.poke(at, |node, _, _| node.wake = Some(Time::from_millis(101_000)));
    }
    run(&mut world, Duration::from_secs(200));
    let woke = |at: usize| world.slots[at].node.as_ref().unwrap().heard[0].0;
    assert_eq!((woke(0).as_nanos() / 1000, woke(1).as_nanos() / 1000), (101_000_000, 101_000_000));
    assert_eq!((world.local(0), world.local(1)), (Time::from_millis(221_000), Time::from_millis(181_000)));
}

#[test]
fn a_path_flaps_until_its_time_is_over() {
    let mut world = world(2);
    let until = world.now + Duration::from_secs(10);
    world.flap(0, 1, Duration::from_millis(300), Duration::from_millis(700), until);
    let (mut up, mut changes, mut last) = (0, 0, false);
    for _ in 0..1000 {
        run(&mut world, Duration::from_millis(10));
        let works = world.works(0, 1);
        up += u32::from(works);
        changes += u32::from(works != last);
        last = works;
    }
    assert!((650..750).contains(&up) && (18..=21).contains(&changes), "{up} of 1000 up, {changes} changes");
    run(&mut world, Duration::from_secs(60));
    assert!(world.works(0, 1));
}

/// How many events a second the world itself does, at a thousand places: ten links and ten datagrams a second each. Run it
/// by name, optimised.
#[test]
#[ignore = "a measurement"]
fn events_a_second() {
    struct Talker {
        me: usize,
        peers: Vec<Member>,
        next: Time,
        dialled: bool,
    }
    impl Node for Talker {
        type Datagram = u64;
        type Frame = u64;
        fn handle(&mut self, now: Time, input: In<u64, u64>, out: &mut Vec<Out<u64, u64>>) {
            if let In::LinkUp(peer, ..) = input {
                self.peers.push(peer);
            }
            if now < self.next {
                return;
            }
            self.next = now + Duration::from_millis(100);
            if !self.dialled {
                self.dialled = true;
                out.extend((1..6).map(|step| Out::Dial(addr((self.me + step * 37) % 1000))));
            }
            out.extend(self.peers.iter().map(|peer| Out::Datagram(peer.clone(), 7)));
        }
        fn deadline(&self) -> Time {
            self.next
        }
        fn digest_datagram(_: &u64) -> u64 {
            0
        }
        fn digest_frame(_: &u64) -> u64 {
            0
        }
    }
    let mut world = World::new(1, Weather::default());
    for me in 0..1000 {
        world.add(member(me, 1), addr(me), Talker { me, peers: Vec::new(), next: Time::ZERO, dialled: false });
    }
    let begin = std::time::Instant::now();
    let end = world.now + Duration::from_secs(10);
    world.run_until(end, &mut |_| {});
    let took = begin.elapsed().as_secs_f64();
    println!("{} things told in {took:.2} s: {:.0} a second", world.told, world.told as f64 / took);
}

/// The model loses one message in each of its histories, and says of no history that it did if it did not.
#[test]
fn one_message_is_lost_or_late_or_ends_its_link_and_all_others_arrive() {
    let told = |fate| {
        let mut world = linked(2);
        world.doom(fate, 1);
        for number in 0..4 {
            wish(&mut world, 0, Out::Frame(member(1, 1), number));
            wish(&mut world, 0, Out::Datagram(member(1, 1), number));
        }
        run(&mut world, Duration::from_millis(500));
        let soon = frames(&world, 1);
        run(&mut world, Duration::from_secs(1));
        assert!(!world.is_doomed());
        let datagrams = heard(&world, 1).iter().filter(|text| text.starts_with("Datagram")).count();
        let down = [0, 1].map(|at| heard(&world, at).iter().filter(|text| text.starts_with("LinkDown")).count());
        (soon, frames(&world, 1), datagrams, down)
    };
    let all = vec![0, 1, 2, 3];
    assert_eq!(told(Fate::Lost), (all.clone(), all.clone(), 3, [0, 0]));
    assert_eq!(told(Fate::Late), (vec![0], all, 4, [0, 0]));
    let (soon, later, _, down) = told(Fate::LinkEnds);
    assert_eq!((soon, later, down), (vec![0], vec![0], [1, 1]));
    let mut world = linked(2);
    world.doom(Fate::Late, 1);
    wish(&mut world, 0, Out::Frame(member(1, 1), 0));
    // What is sent over a broken path is lost anyway.
    world.set_path(1, 0, false);
    wish(&mut world, 1, Out::Frame(member(0, 1), 1));
    run(&mut world, Duration::from_secs(1));
    assert!(world.is_doomed() && world.sent.frames == 1);
}
