//! Who stays together: the solver against the plain rule that it stands for, against the best that is possible, and
//! against the clock (`cargo test --release -p crux-core --test clique -- --ignored --nocapture`).

use crux_core::flock::clique::{Cut, Merge, WITNESSES, bipartite, partition, solve, solve_indexed};
use crux_core::hash::Random;
use crux_names::{Boot, FulcrumId, Member};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

type Pairs = Vec<(u32, u32)>;

/// The rule in its plainest form: one member at a time.
fn plain(n: usize, broken: &[(u32, u32)]) -> Vec<u32> {
    let mut apart = vec![BTreeSet::new(); n];
    for &(a, b) in broken.iter().filter(|(a, b)| a != b) {
        apart[a as usize].insert(b as usize);
        apart[b as usize].insert(a as usize);
    }
    let mut out = BTreeSet::new();
    loop {
        let degree = |at: usize| apart[at].iter().filter(|other| !out.contains(*other)).count();
        match (0..n).filter(|at| !out.contains(at) && degree(*at) > 0).max_by_key(|&at| (degree(at), at)) {
            Some(at) => out.insert(at),
            None => break,
        };
    }
    for at in out.clone() {
        if apart[at].iter().all(|other| out.contains(other)) {
            out.remove(&at);
        }
    }
    (0..n).filter(|at| !out.contains(at)).map(|at| at as u32).collect()
}

fn set(broken: &[(u32, u32)]) -> BTreeSet<(u32, u32)> {
    broken.iter().filter(|(a, b)| a != b).map(|&(a, b)| (a.min(b), a.max(b))).collect()
}

fn whole(group: &[u32], broken: &BTreeSet<(u32, u32)>) -> bool {
    let group: BTreeSet<u32> = group.iter().copied().collect();
    !broken.iter().any(|(a, b)| group.contains(a) && group.contains(b))
}

/// The size of the largest set without a broken pair, by trying all.
fn largest(n: usize, broken: &BTreeSet<(u32, u32)>) -> usize {
    let fits = |set: u32| !broken.iter().any(|(a, b)| set >> a & 1 == 1 && set >> b & 1 == 1);
    (0..1_u32 << n).filter(|set| fits(*set)).map(|set| set.count_ones() as usize).max().unwrap()
}

fn graph(most: usize) -> impl Strategy<Value = (usize, Pairs)> {
    (1..=most).prop_flat_map(|n| {
        let pair = (0..n as u32, 0..n as u32);
        (Just(n), prop::collection::vec(pair, 0..=n * (n - 1)))
    })
}

/// Groups of twins: pairs between whole groups, and some single ones.
fn cuts(most: u32) -> impl Strategy<Value = (usize, Pairs)> {
    let parts = (1..5_u32, prop::collection::vec((0..5_u32, 0..5_u32), 0..6));
    (2..most, parts).prop_flat_map(|(n, (parts, between))| {
        let mut pairs = Vec::new();
        for a in 0..n {
            for b in 0..n {
                if a % parts != b % parts && between.contains(&(a % parts, b % parts)) {
                    pairs.push((a, b));
                }
            }
        }
        (Just(n as usize), Just(pairs), prop::collection::vec((0..n, 0..n), 0..4)).prop_map(|(n, mut pairs, more)| {
            pairs.extend(more);
            (n, pairs)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn it_is_the_plain_rule((n, broken) in graph(40)) {
        prop_assert_eq!(solve_indexed(n, &broken), plain(n, &broken));
    }

    #[test]
    fn twins_change_nothing((n, broken) in cuts(60)) {
        prop_assert_eq!(solve_indexed(n, &broken), plain(n, &broken));
    }

    #[test]
    fn lists_and_rows_agree((n, broken) in cuts(200)) {
        // So few of so many are held as lists, as rows when they are given so.
        let n = n + 400;
        let words = n.div_ceil(64);
        let mut rows = vec![0_u64; n * words];
        for &(a, b) in &broken {
            rows[a as usize * words + b as usize / 64] |= 1 << (b % 64);
        }
        let few: Pairs = broken.iter().copied().take(n * n / 64 - 1).collect();
        if few.len() == broken.len() {
            prop_assert_eq!(Cut::of_rows(n, rows.clone()).solve(), solve_indexed(n, &few));
            prop_assert_eq!(Cut::of_rows(n, rows).partition(), partition(n, &few));
        }
    }

    #[test]
    fn the_result_is_whole_and_nobody_else_fits((n, broken) in graph(30)) {
        let kept = solve_indexed(n, &broken);
        let broken = set(&broken);
        prop_assert!(whole(&kept, &broken));
        for other in (0..n as u32).filter(|other| !kept.contains(other)) {
            let with: Vec<u32> = kept.iter().copied().chain([other]).collect();
            prop_assert!(!whole(&with, &broken), "{other} fits with {kept:?}");
        }
    }

    #[test]
    fn it_is_never_worse_than_greedy_may_be((n, broken) in graph(10)) {
        let kept = solve_indexed(n, &broken).len();
        let broken = set(&broken);
        let best = largest(n, &broken);
        prop_assert!(kept <= best);
        let degree = |v: u32| broken.iter().filter(|(a, b)| *a == v || *b == v).count();
        // Removing the worst keeps at least the sum of 1 / (degree + 1) (Caro and Wei, Griggs) ...
        let least: f64 = (0..n as u32).map(|v| 1.0 / (degree(v) as f64 + 1.0)).sum();
        prop_assert!(kept as f64 >= least - 1e-9, "{kept} of at least {least}");
        // ... and evicts at most the harmonic number of the worst degree times what must go (Chvátal).
        let worst = (0..n as u32).map(degree).max().unwrap_or(0);
        let harmonic: f64 = (1..=worst).map(|k| 1.0 / k as f64).sum();
        prop_assert!((n - kept) as f64 <= harmonic * (n - best) as f64 + 1e-9);
    }

    #[test]
    fn groups_part_all_and_no_two_fit_together((n, broken) in graph(30)) {
        let groups = partition(n, &broken);
        let mut all: Vec<u32> = groups.iter().flatten().copied().collect();
        all.sort_unstable();
        prop_assert_eq!(all, (0..n as u32).collect::<Vec<_>>());
        prop_assert_eq!(&groups[0], &solve_indexed(n, &broken));
        let broken = set(&broken);
        for (at, group) in groups.iter().enumerate() {
            prop_assert!(whole(group, &broken) && group.is_sorted());
            for other in &groups[at + 1..] {
                prop_assert!(!whole(&[&group[..], other].concat(), &broken), "{group:?} and {other:?} fit");
            }
        }
    }

    #[test]
    fn order_and_repetition_of_pairs_do_not_matter((n, broken) in graph(20), seed: u64) {
        let mut random = Random::new(seed);
        let mut mixed: Pairs = broken.iter().flat_map(|&(a, b)| [(a, b), (b, a)]).collect();
        for at in (1..mixed.len()).rev() {
            mixed.swap(at, random.below(at as u64 + 1) as usize);
        }
        prop_assert_eq!(solve_indexed(n, &mixed), solve_indexed(n, &broken));
        prop_assert_eq!(partition(n, &mixed), partition(n, &broken));
        let half = n / 2;
        let cross = |pairs: &Pairs| -> Pairs {
            pairs.iter().copied().filter(|&(a, b)| (a as usize) < half && (b as usize) < n - half).collect()
        };
        let (ordered, mut shuffled) = (cross(&broken), cross(&broken));
        shuffled.reverse();
        shuffled.extend(ordered.clone());
        prop_assert_eq!(bipartite(half, n - half, &ordered), bipartite(half, n - half, &shuffled));
    }

    #[test]
    fn a_merge_is_what_its_rule_says(a in 1..8_usize, b in 1..8_usize, bits: u64) {
        // By trying every set of both sides that holds a member of every pair.
        let all: Pairs = (0..a as u32).flat_map(|x| (0..b as u32).map(move |y| (x, y))).collect();
        let broken: Pairs = all.into_iter().enumerate().filter(|(at, _)| bits >> (at % 64) & 1 == 1).map(|(_, p)| p).collect();
        let lost: BTreeSet<u32> = broken.iter().map(|(_, y)| *y).collect();
        let covers = |x: u32, y: u32| broken.iter().all(|&(p, q)| x >> p & 1 == 1 || y >> q & 1 == 1);
        let sets = (0..1_u32 << a).filter(|x| x & 1 == 0).flat_map(|x| (0..1_u32 << b).map(move |y| (x, y)));
        let least = sets.filter(|&(x, y)| covers(x, y)).map(|(x, y)| (x.count_ones() + y.count_ones(), x.count_ones())).min();
        let (size, of_a) = least.expect("all of b is a cover");
        let (of_a, of_b) = (of_a as usize, (size - of_a) as usize);
        let few = if a > 2 { (a / 4).max(1) } else { 0 };
        let simple = lost.len() * 2 <= b;
        let saved = of_b * 2 <= b && of_a <= few && lost.len() - of_b > of_a;
        match bipartite(a, b, &broken) {
            Merge::Take { out_a, out_b } if simple => {
                prop_assert!(out_a.is_empty());
                prop_assert_eq!(out_b, lost.into_iter().collect::<Vec<_>>());
            }
            Merge::Take { out_a, out_b } => {
                prop_assert!(saved, "{:?} {:?}", out_a, out_b);
                prop_assert!(!out_a.contains(&0));
                prop_assert_eq!((out_a.len(), out_b.len()), (of_a, of_b));
                prop_assert!(broken.iter().all(|(x, y)| out_a.contains(x) || out_b.contains(y)));
            }
            Merge::Refuse { witnesses } => {
                prop_assert!(!simple && !saved);
                prop_assert!(!witnesses.is_empty() && witnesses.len() <= WITNESSES);
                prop_assert!(witnesses.iter().all(|pair| broken.contains(pair)));
            }
        }
    }
}

fn m(n: u32) -> Member {
    let id: FulcrumId = format!("n{n}").parse().unwrap();
    Member { id, boot: Boot(1) }
}

#[test]
fn nobody_goes_without_a_broken_pair() {
    assert_eq!(solve_indexed(4, &[]), [0, 1, 2, 3]);
    assert_eq!(solve_indexed(0, &[]), []);
    assert_eq!(partition(0, &[]), Vec::<Vec<u32>>::new());
}

#[test]
fn the_junior_of_a_broken_pair_goes() {
    assert_eq!(solve_indexed(3, &[(0, 1)]), [0, 2]);
    assert_eq!(solve_indexed(3, &[(2, 1)]), [0, 1]);
}

#[test]
fn the_leader_goes_only_if_it_is_strictly_worst() {
    assert_eq!(solve_indexed(4, &[(0, 1), (0, 2)]), [1, 2, 3]);
    assert_eq!(solve_indexed(4, &[(0, 1), (1, 2), (0, 3)]), [0, 2]);
}

#[test]
fn in_an_even_cut_the_leaders_side_stays_in_an_uneven_one_the_larger() {
    let cut = |left: u32, n: u32| -> Pairs { (0..left).flat_map(|a| (left..n).map(move |b| (a, b))).collect() };
    assert_eq!(partition(4, &cut(2, 4)), [vec![0, 1], vec![2, 3]]);
    assert_eq!(partition(5, &cut(2, 5)), [vec![2, 3, 4], vec![0, 1]]);
}

#[test]
fn one_sick_member_goes_alone() {
    assert_eq!(partition(5, &[(3, 0), (3, 1), (3, 2), (3, 4)]), [vec![0, 1, 2, 4], vec![3]]);
}

#[test]
fn who_fits_again_comes_back() {
    // 2 has the most broken pairs at first; when 3, 4 and 5 are gone for other reasons it fits with 0 and 1.
    let broken = [(2, 3), (2, 4), (2, 5), (3, 0), (4, 0), (5, 0), (3, 1), (4, 1), (5, 1)];
    assert_eq!(solve_indexed(6, &broken), [0, 1, 2]);
}

#[test]
fn members_by_name_are_the_same() {
    let roster: Vec<Member> = (0..4).map(m).collect();
    let broken = BTreeSet::from([(m(0), m(1)), (m(2), m(0)), (m(9), m(3))]);
    assert_eq!(solve(&roster, &broken), [m(1), m(2), m(3)]);
}

#[test]
fn where_nobody_reaches_anybody_the_rest_is_alone() {
    let broken: Pairs = (0..200).flat_map(|a| (0..a).map(move |b| (a, b))).collect();
    let groups = partition(200, &broken);
    assert_eq!(groups, (0..200).map(|v| vec![v]).collect::<Vec<_>>());
}

#[test]
fn a_rack_is_taken_without_those_that_cannot_talk() {
    assert_eq!(bipartite(6, 4, &[(3, 1), (5, 1)]), Merge::Take { out_a: vec![], out_b: vec![1] });
    assert_eq!(bipartite(6, 4, &[]), Merge::Take { out_a: vec![], out_b: vec![] });
}

#[test]
fn one_sick_member_of_the_winner_does_not_keep_a_whole_flock_out() {
    let sick: Pairs = (0..4).map(|b| (3, b)).collect();
    assert_eq!(bipartite(6, 4, &sick), Merge::Take { out_a: vec![3], out_b: vec![] });
    // But the leader never goes for it, and of two nobody.
    let leader: Pairs = (0..4).map(|b| (0, b)).collect();
    assert_eq!(bipartite(6, 4, &leader), Merge::Refuse { witnesses: leader.clone() });
    assert!(matches!(bipartite(2, 4, &[(1, 0), (1, 1), (1, 2)]), Merge::Refuse { .. }));
}

#[test]
fn a_cut_through_both_is_refused_with_a_few_witnesses() {
    let cut: Pairs = (4..20).flat_map(|a| (0..20).map(move |b| (a, b))).collect();
    let witnesses: Pairs = (0..8).map(|b| (4, b)).collect();
    assert_eq!(bipartite(20, 20, &cut), Merge::Refuse { witnesses });
}

/// Time that this thread had a processor, where the system says so: others may be busy beside it. Else what went by.
fn spent(began: Instant) -> Duration {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = line.split(' ').next().and_then(|nanos| nanos.parse().ok());
    nanos.map_or_else(|| began.elapsed(), Duration::from_nanos)
}

/// Runs it for a third of a second and takes the mean, since the system counts in steps of some milliseconds.
fn time<T>(what: &str, most: Duration, mut run: impl FnMut() -> T) -> T {
    let began = Instant::now();
    let before = spent(began);
    let (mut runs, mut best) = (0, Duration::MAX);
    loop {
        let start = Instant::now();
        let result = run();
        best = best.min(start.elapsed());
        runs += 1;
        if began.elapsed() > Duration::from_millis(333) {
            let mean = (spent(began) - before) / runs;
            let millis = |time: Duration| time.as_secs_f64() * 1e3;
            println!("{what}: mean {:.1} ms, best {:.1} (at most {})", millis(mean), millis(best), most.as_millis());
            assert!(mean.min(best) <= most, "{what} took {mean:?}");
            return result;
        }
    }
}

#[test]
#[ignore = "looks at the clock: on demand, in release"]
fn it_is_quick_enough_for_ten_thousand() {
    const N: usize = 10_000;
    let ms = Duration::from_millis;
    let mut random = Random::new(7);
    let mut below = |bound: usize| random.below(bound as u64) as u32;
    let sizes = |groups: &[Vec<u32>]| groups.iter().map(Vec::len).collect::<Vec<_>>();

    let sick: Pairs = (0..30).map(|k| (77, 1000 + k)).collect();
    assert_eq!(time("one member loses 30: solve", ms(10), || solve_indexed(N, &sick)).len(), N - 1);

    let some: Pairs = (0..10_000).map(|_| (below(N), below(N))).collect();
    let kept = time("10,000 random pairs: solve", ms(10), || solve_indexed(N, &some));
    let groups = time("10,000 random pairs: partition", ms(10), || partition(N, &some));
    println!("    kept {}, groups {:?}", kept.len(), sizes(&groups));

    let many: Pairs = (0..100_000).map(|_| (below(N), below(N))).collect();
    let groups = time("100,000 random pairs: partition", ms(100), || partition(N, &many));
    println!("    groups {:?}", sizes(&groups));

    let third = |v: u32| v % 3;
    let thirds: Pairs = (0..N as u32)
        .flat_map(|a| (a + 1..N as u32).map(move |b| (a, b)))
        .filter(|&(a, b)| third(a) + third(b) == 2 && third(a) != third(b))
        .collect();
    println!("    thirds: {} pairs", thirds.len());
    // As millions of pairs most of the time is their reading; a leader that is told of a dense cut keeps rows.
    let rows = |pairs: &Pairs| {
        let words = N.div_ceil(64);
        let mut rows = vec![0_u64; N * words];
        pairs.iter().for_each(|&(a, b)| rows[a as usize * words + b as usize / 64] |= 1 << (b % 64));
        rows
    };
    let as_rows = rows(&thirds);
    time("thirds, the outer two cut: partition, from rows", ms(50), || Cut::of_rows(N, as_rows.clone()).partition());
    let groups = time("thirds, the outer two cut: partition, from pairs", ms(100), || partition(N, &thirds));
    assert_eq!(sizes(&groups), [6667, 3333]);

    let apart = |a: u32, b: u32| matches!((a + 7 - b) % 7, 2..=5);
    let ring: Pairs = (0..N as u32)
        .flat_map(|a| (a + 1..N as u32).map(move |b| (a, b)))
        .filter(|&(a, b)| apart(a % 7, b % 7))
        .collect();
    println!("    ring of 7: {} pairs", ring.len());
    let groups = time("ring of 7, neighbours only: partition, from pairs", ms(250), || partition(N, &ring));
    println!("    groups {:?}", sizes(&groups));
    let as_rows = rows(&ring);
    time("ring of 7: partition, from rows", ms(50), || Cut::of_rows(N, as_rows.clone()).partition());
    let cut = Cut::of_rows(N, as_rows);
    time("ring of 7: solve alone", ms(50), || cut.solve());

    let half = N / 2;
    let cross: Pairs = (0..10_000).map(|_| (below(half), below(half))).collect();
    time("merge 2 x 5000, 10,000 random pairs", ms(50), || bipartite(half, half, &cross));
    let racks: Pairs = (100..500).flat_map(|a| (0..half as u32).map(move |b| (a, b))).collect();
    let merge = time("merge 2 x 5000, 400 of the winner cut off", ms(100), || bipartite(half, half, &racks));
    assert!(matches!(merge, Merge::Take { out_a, out_b } if out_a.len() == 400 && out_b.is_empty()));
    let outer: Pairs = (0..half as u32).flat_map(|a| (half as u32 / 2..half as u32).map(move |b| (a, b))).collect();
    time("merge 2 x 5000, half of the other cut off", ms(100), || bipartite(half, half, &outer));
    let all: Pairs = (1..half as u32).flat_map(|a| (0..half as u32).map(move |b| (a, b))).collect();
    let merge = time("merge 2 x 5000, all but the leader cut off", ms(250), || bipartite(half, half, &all));
    assert!(matches!(merge, Merge::Refuse { .. }));
}
