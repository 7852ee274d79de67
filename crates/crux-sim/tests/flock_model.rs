//! Flocking, tried out at three fulcrums: every graph of working pairs, then every other graph at many moments, with every
//! crash or none; then everything heals. All of these under one order of messages, and under others, with returns and with
//! lost messages as many as a minute allows, spread evenly over all of them; `cargo xtask sim --model` runs the rest. Four and
//! five fulcrums besides, drawn.

use crux_core::hash::Random;
use crux_sim::model::{self, ALL, BACK, DATAGRAMS, FRAMES, History, PLAIN, Ran, SCHEDULES, moment};

fn run(history: &History) -> Ran {
    history.run().unwrap_or_else(|why| panic!("{why}"))
}

/// One in so many of these.
fn some(numbers: std::ops::Range<u64>, every: usize) -> impl Iterator<Item = Ran> {
    numbers.step_by(every).map(|number| {
        let history = History::of(number);
        history.run().unwrap_or_else(|why| panic!("history {number}: {why}"))
    })
}

fn all_histories_from(first: u64) {
    let each = PLAIN / SCHEDULES / 8;
    for ran in some(first * each..(first + 1) * each, 1) {
        // Else not every message is lost in some history.
        let sent = (u64::from(ran.frames), u64::from(ran.datagrams));
        assert!(sent.0 <= FRAMES && sent.1 <= DATAGRAMS, "{sent:?} were sent, {FRAMES} and {DATAGRAMS} may be");
    }
}

/// One in so many: none of them shares a factor with how many moments, graphs or crashes there are, so that all come up.
const EVERY: [usize; 3] = [13, 233, 557];

#[test]
fn other_orders_of_messages() {
    assert!(some(PLAIN / SCHEDULES..PLAIN, EVERY[0]).count() > 1_000);
}

#[test]
fn whoever_crashed_is_back_at_any_moment() {
    assert!(some(PLAIN..PLAIN + BACK, EVERY[1]).count() > 1_000);
}

#[test]
fn any_message_is_lost() {
    let lost = some(PLAIN + BACK..ALL, EVERY[2]).filter(|ran| !ran.void).count();
    assert!(lost > 500, "only {lost} messages were lost");
}

/// Four fulcrums: every pair of graphs once, at a moment and with a crash that follow from the pair.
#[test]
fn four_nodes_every_pair_of_graphs() {
    for first in 0..64 {
        for second in 0..64 {
            let at = (first * 64 + second) as u64;
            let crash = Some((at % 7) as usize).filter(|place| *place < 4);
            run(&drawn(4, first, second, crash, moment(at % 16, 16), at));
        }
    }
}

/// Five fulcrums: graphs, moment and crash drawn from the seed.
#[test]
fn five_nodes_many_graphs() {
    for seed in 0..1500 {
        let mut random = Random::new(seed);
        let (first, second) = (random.below(1024) as usize, random.below(1024) as usize);
        let crash = Some(random.below(9) as usize).filter(|place| *place < 5);
        run(&drawn(5, first, second, crash, moment(random.below(40), 40), seed));
    }
}

fn drawn(
    size: usize,
    first: usize,
    second: usize,
    crash: Option<usize>,
    moment: crux_names::Duration,
    seed: u64,
) -> History {
    History { size, first, second, moment, crash, back: None, lost: None, schedule: 0, seed }
}

macro_rules! from_graph {
    ($($name:ident: $graph:literal),*) => { $(
        #[test]
        fn $name() {
            assert_eq!(model::pairs(model::SIZE), [(0, 1), (0, 2), (1, 2)]);
            all_histories_from($graph);
        }
    )* };
}

from_graph! {
    no_pair_works_at_first: 0b000,
    only_the_first_pair_works_at_first: 0b001,
    only_the_second_pair_works_at_first: 0b010,
    only_the_first_meets_both_at_first: 0b011,
    only_the_third_pair_works_at_first: 0b100,
    only_the_second_meets_both_at_first: 0b101,
    only_the_third_meets_both_at_first: 0b110,
    all_pairs_work_at_first: 0b111
}
