//! Facts at scale: how fast a write is everywhere, and what ten thousand facts cost.
//!
//! To try it out: `CRUX_FACTS_SCALE` divides all numbers, `CRUX_FACTS_ONLY` names one of [`TAKES`].

use super::{LIMIT, resident_mb, row, tell};
use crux_api::json::{Confab, Counter, Fact, Head, Written};
use crux_api::routes;
use crux_lab::{Lab, Loader, label, until};
use serde_json::Value;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Writes of which it is asked when all have them.
const WRITES: usize = 200;
/// Facts that are there when somebody joins.
const MANY: usize = 10_000;
/// Writes in a second, and for how long.
const RATE: usize = 1_000;
const SUSTAINED: Duration = Duration::from_secs(30);
/// So many requests are open at most.
const OPEN: usize = 200;
/// So many facts are edited in turn meanwhile.
const EDITED: usize = 2_000;
/// Between two looks at a fulcrum.
const LOOK: Duration = Duration::from_millis(2);

/// A number, or its share.
fn scaled(count: usize) -> usize {
    let by = std::env::var("CRUX_FACTS_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    (count / by).max(1)
}

pub(super) fn facts(binary: &Path, rounds: Option<usize>, rows: &mut Vec<Value>) {
    let runtime = Runtime::new().expect("a runtime");
    let of = Of { binary: binary.to_path_buf(), runtime, rounds: rounds.unwrap_or(3) };
    let only = std::env::var("CRUX_FACTS_ONLY").ok();
    for (_, take) in TAKES.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)) {
        take(&of, rows);
    }
}

type Take = (&'static str, fn(&Of, &mut Vec<Value>));
/// What is measured, one after the other.
const TAKES: &[Take] = &[
    ("admin", Of::admin),
    ("everywhere", Of::everywhere),
    ("joining", Of::joining),
    ("merging", Of::merging),
    ("sustained", Of::sustained),
];

struct Of {
    binary: PathBuf,
    runtime: Runtime,
    rounds: usize,
}

impl Of {
    /// Machines of which these are one stable flock with an ADMIN horde.
    fn cluster(&self, machines: usize, up: usize) -> (Lab, Arc<Loader>) {
        let mut lab = Lab::new(self.binary.clone(), machines);
        let all: Vec<usize> = (0..up).collect();
        all.iter().for_each(|at| lab.up(*at));
        lab.await_flock(&all, true, LIMIT);
        let loader = Arc::new(lab.loader());
        let flagged = up.min(3);
        until(LIMIT, || self.admins(&loader, &all).is_some_and(|count| count == flagged)).expect("an ADMIN horde");
        (lab, loader)
    }

    /// How many carry the flag and answer, if all of these say the same.
    fn admins(&self, loader: &Loader, machines: &[usize]) -> Option<usize> {
        self.runtime.block_on(async {
            let mut first: Option<Vec<String>> = None;
            for at in machines {
                let admin = loader.get::<Confab>(*at, routes::CONFAB).await?.admin;
                if first.get_or_insert_with(|| admin.clone()) != &admin {
                    return None;
                }
            }
            first.map(|admin| admin.len())
        })
    }

    /// Waits until these hold the same; whether they came to it.
    fn same(&self, loader: &Loader, machines: &[usize]) -> bool {
        until(LIMIT, || self.runtime.block_on(loader.equal(machines))).is_ok()
    }

    fn load(&self, loader: &Loader, at: usize, prefix: &str, count: usize) {
        let facts: Vec<_> = (0..count).map(|n| label(&format!("{prefix}{n}"), n)).collect();
        let loaded = self.runtime.block_on(loader.load(at, &facts));
        loaded.unwrap_or_else(|why| panic!("n{} takes no facts: {why:?}", at + 1));
    }

    fn admin(&self, rows: &mut Vec<Value>) {
        let all: Vec<usize> = (0..5).collect();
        let whole = |_| {
            let mut lab = Lab::new(self.binary.clone(), all.len());
            let loader = lab.loader();
            let begin = Instant::now();
            lab.up_all();
            until(LIMIT, || self.admins(&loader, &all) == Some(3)).ok().map(|_| begin.elapsed().as_secs_f64())
        };
        let times = (0..self.rounds).filter_map(whole).collect();
        let note = "from the start of the processes until each of them says that three carry the flag and answer";
        row(rows, "5 from cold to ADMIN whole", times, "≤ 8 s", note);
    }

    fn everywhere(&self, rows: &mut Vec<Value>) {
        let (_lab, loader) = self.cluster(5, 5);
        let mut times: Vec<f64> = (0..scaled(WRITES)).map(|n| self.runtime.block_on(on_all(&loader, n))).collect();
        times.sort_by(f64::total_cmp);
        let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)] * 1e3;
        let note = format!(
            "{} writes one after the other, from the request until each of the five was seen to have it; most {:.0}",
            times.len(),
            at(100)
        );
        for (share, target) in [(50, ""), (99, "≤ 300 ms")] {
            let name = format!("a write on one of 5 is on all, p{share}");
            tell(rows, &name, &format!("{:.0}", at(share)), "ms", target, &note);
        }
    }

    fn joining(&self, rows: &mut Vec<Value>) {
        let many = scaled(MANY);
        let (mut times, mut largest) = (Vec::new(), 0.0_f64);
        for _ in 0..self.rounds {
            let (mut lab, loader) = self.cluster(4, 3);
            let begin = Instant::now();
            self.load(&loader, 0, "x", many);
            assert!(self.same(&loader, &[0, 1, 2]), "the three do not hold the same: {}", lab.said(&[0, 1, 2]));
            eprintln!("{many} facts in {:.1} s", begin.elapsed().as_secs_f64());
            let begin = Instant::now();
            lab.up(3);
            if self.same(&loader, &[3, 0]) {
                times.push(begin.elapsed().as_secs_f64());
            }
            let held = self.runtime.block_on(loader.facts(3, "label/")).map_or(0, |list| list.facts.len());
            assert_eq!(held, many, "the joiner lacks some");
            let each: Vec<f64> = (0..4).filter_map(|at| lab.pid(at)).map(resident_mb).collect();
            eprintln!("resident: {each:.1?} MB");
            largest = (0..4).filter_map(|at| lab.pid(at)).map(resident_mb).fold(largest, f64::max);
        }
        let note = "from the start of its process until its digest is the others', which are three";
        row(rows, &format!("a joining fulcrum has {many} facts"), times, "≤ 3 s", note);
        let name = format!("{many} facts: resident");
        tell(rows, &name, &format!("{largest:.1}"), "MB", "≤ 60 MB", "most of four fulcrums, one of them just joined");
    }

    fn merging(&self, rows: &mut Vec<Value>) {
        let each = scaled(MANY / 2);
        let (a, b, all) = ([0, 1, 2], [3, 4], [0, 1, 2, 3, 4]);
        let mut times = Vec::new();
        for _ in 0..self.rounds {
            let (lab, loader) = self.cluster(5, 5);
            lab.network().set_between(&a, &b, false);
            for side in [&a[..], &b] {
                lab.await_flock(side, true, LIMIT);
            }
            self.load(&loader, 0, "a", each);
            self.load(&loader, 3, "b", each);
            assert!(self.same(&loader, &a) && self.same(&loader, &b), "a side is not of one mind: {}", lab.said(&all));
            let begin = Instant::now();
            lab.network().heal();
            if self.same(&loader, &all) {
                times.push(begin.elapsed().as_secs_f64());
            }
            let held = self.runtime.block_on(loader.facts(4, "label/")).map_or(0, |list| list.facts.len());
            assert_eq!(held, 2 * each, "some are lost");
        }
        let note =
            "five processes, cut three to two; from the heal until all digests are equal, finding each other included";
        row(rows, &format!("merge of two parts with {each} facts each"), times, "≤ 3 s", note);
    }

    fn sustained(&self, rows: &mut Vec<Value>) {
        let (_lab, loader) = self.cluster(3, 3);
        let asked = scaled(RATE);
        let begin = Instant::now();
        let Sustained { taken, rate, waiting } = self.runtime.block_on(sustain(&loader, asked as u32));
        let more = begin.elapsed().saturating_sub(SUSTAINED).as_secs_f64();
        let begin = Instant::now();
        let after = if self.same(&loader, &[0, 1, 2]) { begin.elapsed().as_secs_f64() } else { f64::NAN };
        let refused = taken.iter().filter(|taken| taken.acknowledged.is_none()).count();
        let p99 = |of: &[Taken]| {
            let mut times: Vec<f64> = of.iter().filter_map(|taken| Some(taken.acknowledged?.as_secs_f64())).collect();
            times.sort_by(f64::total_cmp);
            times.get((times.len() * 99 / 100).min(times.len().saturating_sub(1))).map_or(f64::NAN, |time| time * 1e3)
        };
        let fifth = taken.len() / 5;
        let (first, last) = (p99(&taken[..fifth]), p99(&taken[taken.len() - fifth..]));
        let note = format!(
            "one fact a request, {asked} due in each second for {} s, at the doors of all three in turn; {refused} refused",
            SUSTAINED.as_secs()
        );
        // What is under way at the end is no lag.
        let target = format!("≥ {} /s", asked * 99 / 100);
        tell(rows, "3: writes acknowledged in a second", &format!("{rate:.0}"), "/s", &target, &note);
        let note =
            format!("time from when it was due, p99: {first:.0} ms in the first fifth, {last:.0} ms in the last");
        tell(rows, "3: due and not acknowledged at the end", &waiting.to_string(), "", &format!("≤ {OPEN}"), &note);
        let note = format!(
            "from the last answer, which came {more:.2} s after the last write was due, until all hold the same"
        );
        tell(rows, "3: equal after the last answer", &format!("{after:.2}"), "s", "≤ 1 s", &note);
    }
}

/// Writes a fact at one of five doors and says in how many seconds all five had it.
async fn on_all(loader: &Arc<Loader>, n: usize) -> f64 {
    let fact = label(&format!("w{n}"), n);
    let (path, sealed) = (fact.path.clone(), loader.seal(&fact, None));
    let begin = Instant::now();
    let mut seen: JoinSet<()> = JoinSet::new();
    for at in 0..5 {
        let (loader, path) = (loader.clone(), path.clone());
        seen.spawn(async move {
            while loader.facts(at, &path).await.is_none_or(|list| list.facts.is_empty()) {
                // waits: only the pause between two looks
                tokio::time::sleep(LOOK).await;
            }
        });
    }
    loader.write(n % 5, vec![sealed]).await.expect("the write is taken");
    let all = tokio::time::timeout(LIMIT, seen.join_all()).await;
    all.map_or(f64::NAN, |_| begin.elapsed().as_secs_f64())
}

/// One write.
struct Taken {
    /// When it was to be sent.
    due: Duration,
    /// How long after that it was acknowledged, if it was.
    acknowledged: Option<Duration>,
}

/// What came of a request.
struct Answer {
    index: usize,
    name: usize,
    /// What is there now; nothing if it was refused.
    fact: Option<Fact>,
}

struct Sustained {
    /// In the order in which they were due.
    taken: Vec<Taken>,
    /// Acknowledged in a second.
    rate: f64,
    /// Due and not acknowledged when the time was over.
    waiting: usize,
}

/// Writes so many facts in each second. So many requests are open at most, as of any program that means well: if that is
/// too few, more and more of what is due is not even sent.
async fn sustain(loader: &Arc<Loader>, rate: u32) -> Sustained {
    // Each is edited again when its last edit has been answered.
    let mut free: VecDeque<(usize, Option<Fact>)> = (0..scaled(EDITED)).map(|n| (n, None)).collect();
    let mut under_way: JoinSet<Answer> = JoinSet::new();
    let mut taken: Vec<Taken> = Vec::new();
    let begin = Instant::now();
    let due = || (begin.elapsed().min(SUSTAINED).as_secs_f64() * f64::from(rate)) as usize;
    let answered = |taken: &mut Vec<Taken>, free: &mut VecDeque<_>, answer: Answer| {
        if answer.fact.is_some() {
            taken[answer.index].acknowledged = Some(begin.elapsed().saturating_sub(taken[answer.index].due));
        }
        free.push_back((answer.name, answer.fact));
    };
    let mut clock = tokio::time::interval(Duration::from_millis(5));
    while begin.elapsed() < SUSTAINED {
        clock.tick().await;
        while let Some(done) = under_way.try_join_next() {
            answered(&mut taken, &mut free, done.expect("a request's task"));
        }
        while taken.len() < due() && under_way.len() < OPEN {
            let Some((name, seen)) = free.pop_front() else { break };
            let (loader, index) = (loader.clone(), taken.len());
            taken.push(Taken { due: Duration::from_secs_f64(index as f64 / f64::from(rate)), acknowledged: None });
            under_way.spawn(async move {
                let fact = label(&format!("e{name}"), index);
                let sealed = loader.seal(&fact, seen.as_ref());
                let written = loader.write(index % 3, vec![sealed]).await;
                let fact = written.ok().and_then(|written| next(&fact.path, seen, written));
                Answer { index, name, fact }
            });
        }
    }
    let acknowledged = taken.iter().filter(|taken| taken.acknowledged.is_some()).count();
    let rate = acknowledged as f64 / begin.elapsed().as_secs_f64();
    let waiting = due() - acknowledged;
    while let Some(done) = under_way.join_next().await {
        answered(&mut taken, &mut free, done.expect("a request's task"));
    }
    Sustained { taken, rate, waiting }
}

/// What a writer knows of its fact after a write: enough to replace it.
fn next(path: &str, seen: Option<Fact>, written: Written) -> Option<Fact> {
    let before = seen.and_then(|fact| fact.heads.into_iter().next());
    let ancestors = before.map(|head| std::iter::once(head.id).chain(head.ancestors).take(31).collect());
    let head = Head {
        id: written.ids.into_iter().next()?,
        value: None,
        readable: None,
        ancestors: ancestors.unwrap_or_default(),
        wall: Counter(0),
        logical: 0,
        author: String::new(),
    };
    Some(Fact { path: path.to_owned(), heads: vec![head] })
}
