//! The lines of the design's table of targets (`flocking.md`, "Targets") that can be measured in an invented world, each
//! as it is there: what is measured, the figure, the target. What does not come to its end is a figure too, with what
//! stood instead.

use super::{Crowd, Installed, SEEDS, Starved, facts};
use crate::world::{Quality, Time, Weather};
use crux_core::flock::clique::{Cut, solve_indexed};
use crux_core::flock::view::ViewId;
use crux_core::hash::Random;
use crux_names::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// What every packet costs beside what is in it: IPv4 20, UDP 8, a short QUIC header with an id of 8 bytes and a packet
/// number of 2, its tag 16, the kind and length of one frame 3 bytes.
const PACKET: u64 = 20 + 8 + 1 + 8 + 2 + 16 + 3;
/// A packet that only acknowledges: an answer to a probe and a frame are acknowledged by one of their own, a probe by its
/// answer.
const ACKNOWLEDGEMENT: u64 = 20 + 8 + 1 + 8 + 2 + 16 + 6;
/// The longest that is waited for anything but the slow audit, in invented time.
pub(super) const LIMIT: Duration = Duration::from_secs(120);
pub(super) const SEED: u64 = 1;

/// One measured figure.
#[derive(Clone, Debug)]
pub struct Line {
    /// What was measured.
    pub name: String,
    /// The figure.
    pub value: String,
    /// Its unit.
    pub unit: &'static str,
    /// What it should be.
    pub target: String,
    /// How it was taken, and what stood there if it did not come to its end.
    pub note: String,
}

impl Line {
    pub(super) fn new(
        name: impl Into<String>,
        value: impl Into<String>,
        unit: &'static str,
        target: impl Into<String>,
    ) -> Self {
        let note = format!("seed {SEED}");
        Self { name: name.into(), value: value.into(), unit, target: target.into(), note }
    }

    pub(super) fn note(self, note: impl std::fmt::Display) -> Self {
        Self { note: format!("{}; {note}", self.note), ..self }
    }

    /// A time that was reached, or why it was not.
    pub(super) fn time(name: impl Into<String>, took: &Result<Duration, String>, target: impl Into<String>) -> Self {
        match took {
            Ok(took) => Self::new(name, seconds(*took), "s", target),
            Err(why) => Self::new(name, "not reached", "", target).note(why),
        }
    }
}

/// A measurement of one line.
pub struct Measure {
    /// Its name.
    pub name: &'static str,
    /// It takes long or much memory: ten thousand fulcrums, or days.
    pub long: bool,
    /// Takes it, and tells each line as soon as it stands.
    pub take: fn(&mut dyn FnMut(Line)),
}

/// All of them, in the order of the design's table.
pub const MEASURES: &[Measure] = &[
    Measure { name: "1", long: false, take: |tell| crashes().into_iter().for_each(tell) },
    Measure { name: "2", long: false, take: |tell| [1000, 2000].into_iter().flat_map(cold_start).for_each(tell) },
    Measure { name: "4", long: false, take: |tell| cut_and_heal(1000).into_iter().for_each(tell) },
    Measure {
        name: "6",
        long: false,
        take: |tell| {
            long_cuts(&[(4, 7 * 24 * 3600, "seven days"), (40, 75 * 60, "75 minutes")]).into_iter().for_each(tell)
        },
    },
    Measure { name: "7", long: false, take: |tell| lossy().into_iter().for_each(tell) },
    Measure { name: "8", long: false, take: |tell| flapping(200).into_iter().for_each(tell) },
    Measure { name: "9", long: false, take: |tell| [3, 1000].into_iter().flat_map(broken_pair).for_each(tell) },
    Measure { name: "10", long: false, take: |tell| loss(200, 600).into_iter().for_each(tell) },
    Measure { name: "11", long: false, take: |tell| starved().into_iter().for_each(tell) },
    Measure { name: "12", long: false, take: |tell| [10, 50, 200, 1000].into_iter().flat_map(traffic).for_each(tell) },
    Measure { name: "13", long: false, take: |tell| [3, 10, 100, 1000].into_iter().flat_map(failover).for_each(tell) },
    Measure { name: "15", long: false, take: |tell| solver().into_iter().for_each(tell) },
    Measure {
        name: "facts",
        long: true,
        take: |tell| facts::everywhere(20, 500).into_iter().chain(facts::thousands(10_000)).for_each(tell),
    },
    Measure {
        name: "6 for longer",
        long: true,
        take: |tell| {
            long_cuts(&[(10, 7 * 24 * 3600, "seven days"), (200, 2 * 3600, "two hours")]).into_iter().for_each(tell)
        },
    },
    Measure { name: "8 at 1000", long: true, take: |tell| flapping(1000).into_iter().for_each(tell) },
    Measure {
        name: "10 for longer",
        long: true,
        take: |tell| {
            [(200, 24 * 3600), (1000, 3600)].into_iter().flat_map(|(size, time)| loss(size, time)).for_each(tell)
        },
    },
    Measure { name: "10 for a day", long: true, take: |tell| loss(1000, 24 * 3600).into_iter().for_each(tell) },
    Measure { name: "at 10000", long: true, take: |tell| in_one_world(10_000, tell) },
    Measure { name: "9 at 10000", long: true, take: |tell| broken_pair(10_000).into_iter().for_each(tell) },
];

fn seconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64())
}

pub(super) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// One stable flock, and nothing seen yet.
fn settled(size: usize, weather: Weather) -> Result<Crowd, String> {
    let mut crowd = Crowd::new(size, SEED, weather);
    let all = crowd.all();
    crowd.until(LIMIT, |crowd| crowd.one_flock(&all))?;
    crowd.until(LIMIT, |crowd| crowd.stable(&all))?;
    crowd.forget();
    Ok(crowd)
}

/// Does this with a settled flock; if there is none, that is the figure.
fn with(name: &str, size: usize, weather: Weather, act: impl FnOnce(&mut Crowd) -> Vec<Line>) -> Vec<Line> {
    match settled(size, weather) {
        Ok(mut crowd) => act(&mut crowd),
        Err(why) => vec![Line::new(name, "not reached", "", "").note(format!("no stable flock to begin with: {why}"))],
    }
}

/// The lines that a flock of ten thousand is asked for, one after the other in one world: the cold start alone, with which
/// each begins, takes most of an hour. The broken pair has a world of its own, for it may take as long as all of these.
fn in_one_world(size: usize, tell: &mut dyn FnMut(Line)) {
    let mut crowd = Crowd::new(size, SEED, Weather::default());
    started(&mut crowd).into_iter().for_each(&mut *tell);
    let all = crowd.all();
    for part in [metered, halved] {
        if let Err(why) = crowd.until(LIMIT, |crowd| crowd.one_flock(&all).and_then(|()| crowd.stable(&all))) {
            return tell(Line::new(format!("the rest at N={size}"), "not reached", "", "").note(why));
        }
        crowd.forget();
        part(&mut crowd).into_iter().for_each(&mut *tell);
    }
}

/// The time since `begin` by which all but one of a hundred of these places had the last of their views.
fn p99(installs: &[Installed], begin: Time, counts: impl Fn(usize) -> bool) -> Duration {
    let mut last: BTreeMap<usize, Time> = BTreeMap::new();
    for install in installs.iter().filter(|install| counts(install.place)) {
        last.insert(install.place, install.at);
    }
    let mut times: Vec<Duration> = last.values().map(|at| at.since(begin)).collect();
    times.sort_unstable();
    times.get((times.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or(Duration::ZERO)
}

/// The most views that any of these places installed.
fn most_views(installs: &[Installed], counts: impl Fn(usize) -> bool) -> usize {
    let mut views: BTreeMap<usize, usize> = BTreeMap::new();
    installs.iter().filter(|one| counts(one.place)).for_each(|one| *views.entry(one.place).or_default() += 1);
    views.into_values().max().unwrap_or(0)
}

fn distinct_sizes(installs: &[Installed]) -> usize {
    installs.iter().map(Installed::size).collect::<BTreeSet<_>>().len()
}

/// How many were parted from a flock of those who are well: for each view that somebody who is well had, those who are well
/// and were in it, and in no next one of somebody else who is well and was in it too. Of the two parts the smaller one
/// counts as thrown out, for whoever is thrown out founds a view that lacks everybody else; each counts once for each view.
fn evictions(crowd: &Crowd, healthy: impl Fn(usize) -> bool) -> usize {
    let mut out: BTreeSet<(&ViewId, usize)> = BTreeSet::new();
    for install in crowd.installs.iter().filter(|install| healthy(install.place)) {
        let Some(loss) = &install.loss else { continue };
        let well = |places: &[usize]| places.iter().copied().filter(|place| healthy(*place)).collect::<Vec<_>>();
        let (stayed, gone) = (well(&loss.stayed), well(&loss.gone));
        let parted = if gone.len() <= stayed.len() { gone } else { stayed };
        // Without anybody gone nobody was parted, however few there were.
        if loss.gone.iter().any(|place| healthy(*place)) {
            out.extend(parted.into_iter().map(|place| (&loss.before, place)));
        }
    }
    out.len()
}

fn crashes() -> Vec<Line> {
    let name = "1: ten crashes at N=1000, all survivors on the new view, p99";
    with(name, 1000, Weather::default(), |crowd| {
        let begin = crowd.world.now;
        let dead: Vec<usize> = (0..10).map(|n| 50 + n * 93).collect();
        dead.iter().for_each(|place| crowd.world.crash(*place));
        let rest: Vec<usize> = crowd.all().into_iter().filter(|place| !dead.contains(place)).collect();
        let took = crowd.until(LIMIT, |crowd| crowd.one_flock(&rest));
        let took = took.map(|_| p99(&crowd.installs, begin, |_| true));
        let views = most_views(&crowd.installs, |_| true);
        vec![
            Line::time(name, &took, "≤ 6 s").note("silent deaths at one moment"),
            Line::new("1: views that anybody installed for it", views.to_string(), "", "≤ 2"),
        ]
    })
}

fn cold_start(size: usize) -> Vec<Line> {
    started(&mut Crowd::new(size, SEED, Weather::default()))
}

fn started(crowd: &mut Crowd) -> Vec<Line> {
    let size = crowd.size;
    let (time, sizes) = match size {
        0..=1000 => ("≤ 6 s", "≤ 4"),
        1001..=2000 => ("≤ 10 s", "≤ 4"),
        _ => ("≤ 30 s", "≤ 6"),
    };
    let all = crowd.all();
    let took = crowd.until(LIMIT, |crowd| crowd.one_flock(&all));
    let how = format!("all begin at once, {SEEDS} seeds, addresses known from before");
    vec![
        Line::time(format!("2: cold start to one flock, N={size}"), &took, time).note(how),
        Line::new(
            format!("3: distinct sizes seen during it, N={size}"),
            distinct_sizes(&crowd.installs).to_string(),
            "",
            sizes,
        ),
    ]
}

/// Lines 4, 5 and 14: one world is cut in the middle for two minutes and heals.
fn cut_and_heal(size: usize) -> Vec<Line> {
    with(&format!("4: {0}/{0} cut, both flocks with leader", size / 2), size, Weather::default(), halved)
}

fn halved(crowd: &mut Crowd) -> Vec<Line> {
    let size = crowd.size;
    let half = size / 2;
    let led = format!("4: {half}/{half} cut, both flocks with leader");
    let whole = format!("5: heal 2×{half}, p99");
    let all = crowd.all();
    let (near, far) = all.split_at(half);
    let parts: Vec<u8> = all.iter().map(|place| u8::from(*place >= half)).collect();
    let cut = crowd.world.now;
    crowd.world.divide(&parts);
    let exact = crowd.until(LIMIT, |crowd| crowd.one_flock(near).and_then(|()| crowd.one_flock(far)));
    let stable = crowd.until(LIMIT, |crowd| crowd.stable(&all)).map(|_| crowd.world.now.since(cut));
    let mut lines = vec![
        Line::time(led, &exact, "≤ 8 s"),
        Line::time(format!("4: {half}/{half} cut, both stable"), &stable, "≤ 25 s"),
    ];
    if exact.is_err() {
        return lines;
    }
    crowd.run_for(secs(120).saturating_sub(crowd.world.now.since(cut)));
    crowd.forget();
    crowd.world.join_all();
    let begin = crowd.world.now;
    let (mut double, mut healed) = (Duration::ZERO, Err(String::new()));
    while crowd.world.now.since(begin) < LIMIT {
        if both_stable(crowd, near, far) {
            double = crowd.world.now.since(begin);
        }
        healed = crowd.one_flock(&all).map(|()| p99(&crowd.installs, begin, |_| true));
        if healed.is_ok() {
            break;
        }
        crowd.run_for(Duration::from_millis(20));
    }
    let target = if size > 1000 { "≤ 15 s" } else { "≤ 5 s" };
    let views = most_views(&crowd.installs, |_| true);
    lines.push(Line::time(whole, &healed, target).note("after a cut of two minutes"));
    lines.push(Line::new(format!("5: views that anybody installed for it, 2×{half}"), views.to_string(), "", "≤ 2"));
    lines.push(Line::new(format!("14: double-stable window after the heal, 2×{half}"), seconds(double), "s", "≤ 6 s"));
    lines
}

/// Whether somebody of either side holds its own flock to be complete, while they are two.
fn both_stable(crowd: &Crowd, near: &[usize], far: &[usize]) -> bool {
    let stable = |places: &[usize]| {
        places.iter().find_map(|place| {
            let bird = crowd.world.slots[*place].node.as_ref()?;
            bird.flock.stable(crowd.world.local(*place)).then(|| bird.flock.view().id().clone())
        })
    };
    matches!((stable(near), stable(far)), (Some(a), Some(b)) if a != b)
}

/// Line 6: everything that is remembered is forgotten after an hour; so a larger flock is cut for a little longer, and only
/// a very small one for all of the seven days.
fn long_cuts(cuts: &[(usize, u64, &'static str)]) -> Vec<Line> {
    let one = |(size, time, said): &(usize, u64, &str)| {
        let (size, time) = (*size, *time);
        let name = format!("6: heal 2×{} after a cut of {said}", size / 2);
        let shown = name.clone();
        with(&name, size, Weather::default(), move |crowd| {
            let all = crowd.all();
            let parts: Vec<u8> = all.iter().map(|place| u8::from(*place >= size / 2)).collect();
            crowd.world.divide(&parts);
            crowd.run_for(secs(time));
            crowd.forget();
            crowd.world.join_all();
            let took = crowd.until(LIMIT, |crowd| crowd.one_flock(&all));
            let views = most_views(&crowd.installs, |_| true);
            // The design asks for the sizes of line 5. How long a cut was changes holds, cold addresses and epochs, which are
            // each fulcrum's own; seven days of a thousand would take weeks of a core.
            let note = format!(
                "{views} views at most, target ≤ 2; seven days of the sizes of line 5 would take weeks of a core: small ones for \
                 the time, and those of line 5 for the size"
            );
            vec![Line::time(shown, &took, "≤ 5 s").note(note)]
        })
    };
    cuts.iter().flat_map(one).collect()
}

fn lossy() -> Vec<Line> {
    let name = "7: 1 % of N=1000 at 80 % loss, exactly those out";
    with(name, 1000, Weather::default(), |crowd| {
        let bad: Vec<usize> = (0..10).map(|n| 50 + n * 93).collect();
        for place in &bad {
            crowd.world.set_leaving(*place, Quality { loss: 800, ..Quality::default() });
            crowd.world.set_coming(*place, Quality { loss: 800, ..Quality::default() });
        }
        let rest: Vec<usize> = crowd.all().into_iter().filter(|place| !bad.contains(place)).collect();
        let took = crowd.until(LIMIT, |crowd| crowd.one_flock(&rest));
        let healthy = evictions(crowd, |place| !bad.contains(&place));
        vec![
            Line::time(name, &took, "≤ 12 s").note(
                "loss of datagrams each way; one period in seven of such a member has an answer all the same, and it takes three \
                 in a row without",
            ),
            Line::new("7: healthy members evicted meanwhile", healthy.to_string(), "", "0"),
        ]
    })
}

fn flapping(size: usize) -> Vec<Line> {
    let name = format!("8: 1 % flip-flop of N={size}, 20 s/20 s one way, 15 min: view changes per flapping node");
    let shown = name.clone();
    with(&name, size, Weather::default(), |crowd| {
        let bad: Vec<usize> = (0..size / 100).map(|n| size / 20 + n * (size * 93 / 1000)).collect();
        let others: Vec<usize> = crowd.all().into_iter().filter(|place| !bad.contains(place)).collect();
        for round in 0..45 {
            let loss = if round % 2 == 0 { 1000 } else { 0 };
            bad.iter().for_each(|at| crowd.world.set_coming(*at, Quality { loss, ..Quality::default() }));
            crowd.run_for(secs(20));
        }
        let changes = most_views(&crowd.installs, |place| others.contains(&place));
        let each = changes as f64 / bad.len() as f64;
        let healthy = evictions(crowd, |place| !bad.contains(&place));
        vec![
            Line::new(shown, format!("{each:.1}"), "", "≤ 10")
                .note(format!("{changes} views at most of a member that is well, {} flap", bad.len())),
            Line::new(format!("8: others evicted, N={size}"), healthy.to_string(), "", "0"),
        ]
    })
}

fn broken_pair(size: usize) -> Vec<Line> {
    with(&format!("9: one broken pair at N={size}, one eviction"), size, Weather::default(), parted_pair)
}

fn parted_pair(crowd: &mut Crowd) -> Vec<Line> {
    let size = crowd.size;
    let target = match size {
        0..=10 => "≤ 8 s",
        11..=1000 => "≤ 25 s",
        _ => "≤ 175 s",
    };
    let shown = format!("9: one broken pair at N={size}, one eviction");
    let leader = crowd.leader_of(0).unwrap_or(0);
    let others: Vec<usize> = crowd.all().into_iter().filter(|place| *place != leader).collect();
    let (a, b) = (others[0], others[others.len() / 2]);
    crowd.world.set_path(a, b, false);
    crowd.world.set_path(b, a, false);
    let size_at =
        |crowd: &Crowd, at: usize| crowd.world.slots[at].node.as_ref().map_or(0, |bird| bird.flock.view().roster.len());
    let out = |crowd: &Crowd| {
        let view = size_at(crowd, leader);
        if view + 1 == size { Ok(()) } else { Err(format!("the leader's view has {view} members")) }
    };
    let begin = crowd.world.now;
    let took = crowd.until(secs(400), out);
    // Who is out hears of it: with that the eviction is over.
    let knows = |crowd: &Crowd| {
        let alone = [a, b].into_iter().any(|at| size_at(crowd, at) == 1);
        if alone { Ok(()) } else { Err(String::from("neither of the pair is on its own")) }
    };
    let known = crowd.until(LIMIT, knows).map(|_| crowd.world.now.since(begin));
    crowd.run_for(secs(2));
    crowd.forget();
    crowd.run_for(secs(if size > 1000 { 30 } else { 120 }));
    let after = crowd.installs.len();
    let mut who: Vec<String> = crowd.installs.iter().map(|one| format!("{} of {}", one.place, one.size())).collect();
    who.truncate(4);
    let quiet = Line::new(format!("9: views installed in the time after it, N={size}"), after.to_string(), "", "0");
    let told = format!("the pair is {a} and {b}; installed (who, of how many): {}", who.join(", "));
    vec![
        Line::time(shown, &took, target),
        Line::time(format!("9: until who is out is on its own, N={size}"), &known, ""),
        if after == 0 { quiet } else { quiet.note(told) },
    ]
}

fn loss(size: usize, time: u64) -> Vec<Line> {
    let name = format!("10: false evictions at 2 % loss, N={size}, {} min", time / 60);
    let shown = name.clone();
    with(&name, size, Weather { loss: 20, ..Weather::default() }, |crowd| {
        crowd.run_for(secs(time));
        let evicted = evictions(crowd, |_| true);
        let views = most_views(&crowd.installs, |_| true);
        vec![Line::new(shown, evicted.to_string(), "", "0 in 24 h").note(format!("{views} views installed by anybody"))]
    })
}

/// Line 11.
fn starved() -> Vec<Line> {
    let name = "11: 32 of 100 starved of CPU for five minutes, healthy evicted by healthy";
    with(name, 100, Weather::default(), |crowd| {
        let evicted = Starved { well: |place| !place.is_multiple_of(3) || place >= 96, time: secs(300) }.run(crowd);
        vec![
            Line::new(name, evicted.to_string(), "", "0").note(
                "stand still for 0.2 to 4 s, run for 50 ms, and again; the leader at the beginning is one of them",
            ),
        ]
    })
}

fn traffic(size: usize) -> Vec<Line> {
    let name = format!("12: steady traffic per node each way on the wire, N={size}, mean");
    with(&name, size, Weather::default(), metered)
}

fn metered(crowd: &mut Crowd) -> Vec<Line> {
    let size = crowd.size;
    let target = match size {
        0..=10 => "≤ 3.5 KB/s",
        11..=200 => "≤ 8 KB/s",
        _ => "mean ≤ 15 KB/s",
    };
    let shown = format!("12: steady traffic per node each way on the wire, N={size}, mean");
    let leader = crowd.leader_of(0).unwrap_or(0);
    crowd.run_for(secs(5));
    crowd.world.each(|bird| bird.meter = Some(Default::default()));
    // A whole audit period, so that every pair is visited once.
    let time = if size > 1000 { 16 * size as u64 / 1000 } else { 32 };
    crowd.run_for(secs(time));
    let each = |place: usize| {
        let meter = crowd.world.slots[place].node.as_ref().and_then(|bird| bird.meter.clone()).unwrap_or_default();
        let packets = meter.sent + PACKET * meter.packets + ACKNOWLEDGEMENT * meter.acknowledged;
        packets as f64 / time as f64 / 1000.0
    };
    let all: Vec<f64> = crowd.all().into_iter().map(each).collect();
    let mean = all.iter().sum::<f64>() / size as f64;
    let note = "flocking alone, with full audit; packets of QUIC over IPv4 by the sizes of their parts";
    let mut lines = vec![Line::new(shown, format!("{mean:.2}"), "KB/s", target).note(note)];
    let leads = if size > 200 { "≤ 17 KB/s" } else { target };
    let name = format!("12: what the leader sends, N={size}");
    let mut line = Line::new(name, format!("{:.2}", all[leader]), "KB/s", leads);
    if all[leader] > if size > 200 { 17.0 } else { 8.0 } {
        line = line.note(
            "the leader grants completeness to each member itself once a second, about 0.1 KB with its packet; to pass \
             grants on through members, their withdrawal would have to name the last one, so that none that a member \
             held up is taken for new",
        );
    }
    lines.push(line);
    lines
}

fn failover(size: usize) -> Vec<Line> {
    let name = format!("13: leader failover at N={size}, silent death");
    let shown = name.clone();
    with(&name, size, Weather::default(), |crowd| {
        let leader = crowd.leader_of(0).unwrap_or(0);
        crowd.world.crash(leader);
        let rest: Vec<usize> = crowd.all().into_iter().filter(|place| *place != leader).collect();
        let took = crowd.until(LIMIT, |crowd| crowd.one_flock(&rest));
        vec![Line::time(shown, &took, "≤ 5 s").note("until every survivor has the new view")]
    })
}

/// The best of a few, in milliseconds of the machine's time.
fn timed(mut act: impl FnMut()) -> f64 {
    let once = |_| {
        let begin = Instant::now();
        act();
        begin.elapsed().as_secs_f64() * 1e3
    };
    (0..5).map(once).fold(f64::MAX, f64::min)
}

fn solver() -> Vec<Line> {
    let size = 10_000_u32;
    let mut random = Random::new(SEED);
    let mut any = || u32::try_from(random.below(u64::from(size))).unwrap_or(0);
    let pairs: Vec<(u32, u32)> = (0..10_000).map(|_| (any(), any())).collect();
    let few = timed(|| drop(std::hint::black_box(solve_indexed(size as usize, &pairs))));
    let dense: Vec<(u32, u32)> =
        (0..size).flat_map(|a| (a + 1..size).filter(move |b| a % 2 != b % 2).map(move |b| (a, b))).collect();
    let cut = Cut::of(size as usize, &dense);
    let half = timed(|| drop(std::hint::black_box(cut.solve())));
    vec![
        Line::new("15: clique solve at 10,000, 10,000 pairs at random", format!("{few:.1}"), "ms", "≤ 10 ms")
            .note("machine time, best of five"),
        Line::new("15: clique solve at 10,000, cut in the middle", format!("{half:.1}"), "ms", "≤ 50 ms")
            .note("machine time, best of five; 25 million pairs in a bitmap that is there already"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one line does to the world is over before the next begins: each has the figure that it has alone.
    #[test]
    fn lines_in_one_world_do_not_disturb_each_other() {
        let (mut lines, mut alone) = (Vec::new(), Vec::new());
        in_one_world(20, &mut |line| lines.push(line));
        for act in [cold_start, traffic, cut_and_heal] {
            alone.extend(act(20));
        }
        let names = |lines: &[Line]| lines.iter().map(|line| line.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&lines), names(&alone));
        let reached: Vec<&Line> = lines.iter().filter(|line| line.value == "not reached").collect();
        assert!(reached.is_empty(), "{reached:?}");
        let quiet = broken_pair(20).pop().map(|line| line.value);
        assert_eq!(quiet.as_deref(), Some("0"), "nobody moved after the pair was parted");
    }
}
