//! The simulator's command line: many seeds, or one with all that happened, or one step by step.

use crux_names::Duration;
use crux_sim::console::Console;
use crux_sim::flock_swarm::{self, FlockSwarm};
use crux_sim::large::{Halves, Line, Lost, MEASURES};
use crux_sim::model::{self, History};
use crux_sim::swarm::{Failure, Options, SOMETIMES, Swarm};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Instant;

const HELP: &str = "\
crux-sim: fulcrums in an invented world, under faults, from a seed

crux-sim --seeds A..B   runs these seeds, B not included (default 0..100)
crux-sim --seed S       runs one seed

  --flock               flocking alone instead of whole fulcrums: faster, more classes of faults, larger worlds
  --nodes N             so many fulcrums instead of 3 to 8 (3 to 40 with --flock) by the seed
  --hard                every class of faults at once, and more of them (not with --flock)
  --trace               print every event and every fault
  --messages            print everything that is told to any fulcrum
  --step                print one thing at a time and ask what next (with --flock and --seed)
  --stop-on-failure     end with the first seed that breaks a rule

crux-sim --model [--histories A..B] [--history N] [--every N]
                        histories of three fulcrums by their numbers, or one in so many of them: every graph of working pairs,
                        every change of it at many moments, every crash, every return, every lost message

crux-sim --halves cut|kill [--nodes N] [--seed S] [--apart SECONDS] [--limit SECONDS]
                        N fulcrums (default 10000) form one flock, lose half of it and get it back: prints the time,
                        the work and the memory of each phase. The half is cut off or killed, for 60 s by
                        default; no phase may take longer than the limit of 300 s. Times are invented ones

crux-sim --figures [--long] [--line NAME]...
                        takes the lines of the design's table of targets that can be taken here, or with --long those that
                        take long, or those named; prints an array of {\"name\", \"value\", \"unit\", \"target\", \"note\"}

Exit code 0 if every rule held, 1 if one was broken, 2 if the arguments make no sense.";

struct Args {
    seeds: std::ops::Range<u64>,
    nodes: Option<usize>,
    flock: bool,
    hard: bool,
    trace: bool,
    messages: bool,
    step: bool,
    stop: bool,
    halves: Option<Lost>,
    apart: u64,
    limit: u64,
    figures: bool,
    long: bool,
    lines: Vec<String>,
    model: bool,
    histories: std::ops::Range<u64>,
    every: usize,
}

impl Args {
    /// The command that runs seeds of this kind: a seed says nothing without it.
    fn command(&self) -> String {
        let mut command = String::from("cargo xtask sim");
        for (flag, set) in [(" --flock", self.flock), (" --hard", self.hard)] {
            command += if set { flag } else { "" };
        }
        self.nodes.map_or(command.clone(), |nodes| format!("{command} --nodes {nodes}"))
    }

    fn reproducible(&self, failure: Failure) -> String {
        Failure { command: self.command(), ..failure }.to_string()
    }
}

fn args() -> Result<Option<Args>, String> {
    let mut args = Args {
        seeds: 0..100,
        nodes: None,
        flock: false,
        hard: false,
        trace: false,
        messages: false,
        step: false,
        stop: false,
        halves: None,
        apart: 60,
        limit: 300,
        figures: false,
        long: false,
        lines: Vec::new(),
        model: false,
        histories: 0..model::ALL,
        every: 1,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is not a number"));
        let range = |text: &str| {
            let (from, to) = text.split_once("..").ok_or(format!("{text:?} is not a range like 0..100"))?;
            Ok::<_, String>(number(from)?..number(to)?)
        };
        match word.as_str() {
            "-h" | "--help" => return Ok(None),
            "--seeds" => args.seeds = range(&value()?)?,
            "--model" => args.model = true,
            "--histories" => args.histories = range(&value()?)?,
            "--history" => {
                let history = number(&value()?)?;
                args.histories = history..history.saturating_add(1);
            }
            "--every" => args.every = usize::try_from(number(&value()?)?).unwrap_or(usize::MAX),
            "--seed" => {
                let seed = number(&value()?)?;
                args.seeds = seed..seed + 1;
            }
            "--nodes" => args.nodes = usize::try_from(number(&value()?)?).ok(),
            "--flock" => args.flock = true,
            "--hard" => args.hard = true,
            "--trace" => args.trace = true,
            "--messages" => args.messages = true,
            "--step" => args.step = true,
            "--stop-on-failure" => args.stop = true,
            "--halves" => {
                args.halves = Some(match value()?.as_str() {
                    "cut" => Lost::Cut,
                    "kill" => Lost::Killed,
                    other => return Err(format!("--halves {other:?}: cut or kill")),
                });
            }
            "--apart" => args.apart = number(&value()?)?,
            "--limit" => args.limit = number(&value()?)?,
            "--figures" => args.figures = true,
            "--long" => args.long = true,
            "--line" => {
                let name = value()?;
                if MEASURES.iter().all(|measure| measure.name != name) {
                    let names: Vec<&str> = MEASURES.iter().map(|measure| measure.name).collect();
                    return Err(format!("--line {name:?}: one of {names:?}"));
                }
                args.lines.push(name);
            }
            other => return Err(format!("{other:?} is unknown; see --help")),
        }
    }
    let most = match (&args.halves, args.flock) {
        (Some(_), _) => 20_000,
        (None, true) => 200,
        (None, false) => 64,
    };
    if let Some(nodes) = args.nodes.filter(|nodes| !(2..=most).contains(nodes)) {
        return Err(format!("--nodes {nodes}: from 2 to {most}"));
    }
    if args.histories.end > model::ALL || args.every == 0 {
        return Err(format!("--model has {} histories, and --every is 1 at least", model::ALL));
    }
    if args.flock && args.hard {
        return Err("--hard is for whole fulcrums: a run with --flock draws its classes of faults itself".into());
    }
    if args.step && (!args.flock || args.seeds.end != args.seeds.start + 1) {
        return Err("--step wants --flock and one --seed".into());
    }
    Ok(Some(args))
}

/// What runs of either kind add up to.
#[derive(Default)]
struct Sums {
    ran: u64,
    failed: BTreeSet<u64>,
    simulated: f64,
    told: u64,
    faults: BTreeMap<&'static str, u64>,
    /// Times until settled in milliseconds, by the kind of ending.
    settled: BTreeMap<&'static str, Vec<u64>>,
}

impl Sums {
    fn add_faults(&mut self, faults: &BTreeMap<&'static str, u64>) {
        faults.iter().for_each(|(name, n)| *self.faults.entry(name).or_default() += n);
    }

    fn print(&mut self, took: f64) {
        crux_sim::say!("seeds: {}, failed: {} {:?}", self.ran, self.failed.len(), self.failed);
        let (a, each) = (self.simulated, self.ran as f64 / took);
        crux_sim::say!("simulated: {a:.0} s in {took:.1} s, {each:.1} seeds a second");
        crux_sim::say!("checked after each of {} steps", self.told);
        for (kind, times) in &mut self.settled {
            times.sort_unstable();
            if let (Some(most), Some(median)) = (times.last(), times.get(times.len() / 2)) {
                let p99 = times[times.len() * 99 / 100];
                crux_sim::say!(
                    "settled ({kind}) {} times, median {median} ms, p99 {p99} ms, most {most} ms",
                    times.len()
                );
            }
        }
        let list: Vec<String> = self.faults.iter().map(|(name, n)| format!("{name} {n}")).collect();
        crux_sim::say!("faults of {} classes: {}", list.len(), list.join(", "));
    }
}

fn main() -> ExitCode {
    let args = match args() {
        Ok(Some(args)) => args,
        Ok(None) => {
            crux_sim::say!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("crux-sim: {why}");
            return ExitCode::from(2);
        }
    };
    if args.figures {
        return figures(&args);
    }
    if let Some(lost) = args.halves {
        return halves(&args, lost);
    }
    if args.model {
        return histories(&args);
    }
    let begin = Instant::now();
    let mut sums = Sums::default();
    let after = if args.flock { flocks(&args, &mut sums) } else { whole(&args, &mut sums) };
    sums.print(begin.elapsed().as_secs_f64());
    after.iter().for_each(|line| crux_sim::say!("{line}"));
    if sums.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A field of this process's status as the kernel tells it, in KiB; nothing where there is no such file.
fn memory(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// A text as JSON has it. There are no control characters in ours.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Takes lines of the table of targets and prints them.
fn figures(args: &Args) -> ExitCode {
    let wanted = MEASURES.iter().filter(|measure| {
        if args.lines.is_empty() {
            measure.long == args.long
        } else {
            args.lines.iter().any(|name| name == measure.name)
        }
    });
    let mut lines: Vec<Line> = Vec::new();
    for measure in wanted {
        let begin = Instant::now();
        (measure.take)(&mut |line| {
            eprintln!("{}: {} {} ({}); {}", line.name, line.value, line.unit, line.target, line.note);
            lines.push(line);
        });
        eprintln!("line {} in {:.1} s", measure.name, begin.elapsed().as_secs_f64());
    }
    let print = |line: &Line| {
        let [name, value, unit, target, note] =
            [&line.name, &line.value, line.unit, &line.target, &line.note].map(quoted);
        format!("{{\"name\":{name},\"value\":{value},\"unit\":{unit},\"target\":{target},\"note\":{note}}}")
    };
    crux_sim::say!("[{}]", lines.iter().map(print).collect::<Vec<_>>().join(",\n "));
    ExitCode::SUCCESS
}

/// Forms one large flock, takes half of it away and gives it back.
fn halves(args: &Args, lost: Lost) -> ExitCode {
    let size = args.nodes.unwrap_or(10_000);
    let (apart, limit) = (Duration::from_secs(args.apart), Duration::from_secs(args.limit));
    let plan = Halves { size, seed: args.seeds.start, lost, apart, limit };
    crux_sim::say!("{size} fulcrums, seed {}", plan.seed);
    let begin = Instant::now();
    let mut last = begin;
    let outcome = plan.run(&mut |phase| {
        let (wall, rss) = (last.elapsed().as_secs_f64(), memory("VmRSS"));
        last = Instant::now();
        let rate = phase.told as f64 / wall.max(1e-9) / 1e6;
        crux_sim::say!(
            "{:<40} {:>8.2} s simulated, {wall:>7.1} s real, {:>11} events ({rate:.2} M/s), {:>7} installs of {} sizes, {:>5} MiB",
            phase.name,
            phase.took.as_secs_f64(),
            phase.told,
            phase.installs,
            phase.sizes,
            rss / 1024,
        );
    });
    let (took, peak) = (begin.elapsed().as_secs_f64(), memory("VmHWM"));
    let each = peak * 1024 / size as u64;
    crux_sim::say!("{took:.1} s in all, {} MiB resident at most: {each} bytes a fulcrum", peak / 1024);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            crux_sim::say!("it did not come to its end: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Tries histories out.
fn histories(args: &Args) -> ExitCode {
    let begin = Instant::now();
    let (mut ran, mut void, mut failed) = (0_u64, 0_u64, Vec::new());
    for number in args.histories.clone().step_by(args.every) {
        let history = History::of(number);
        let came =
            std::panic::catch_unwind(|| history.run()).unwrap_or_else(|_| Err(format!("{history}: it panicked")));
        ran += 1;
        match came {
            Ok(came) => void += u64::from(came.void),
            Err(why) => {
                crux_sim::say!("history {number}: {why}\nreproduce: cargo xtask sim --model --history {number}");
                failed.push(number);
                if args.stop {
                    break;
                }
            }
        }
    }
    let took = begin.elapsed().as_secs_f64();
    crux_sim::say!("histories: {ran}, failed: {} {failed:?}", failed.len());
    crux_sim::say!(
        "of these {void} had no such message to lose; {took:.1} s, {:.1} histories a second",
        ran as f64 / took
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs each seed; a failure or a panic is printed and noted.
fn each<T>(args: &Args, sums: &mut Sums, run: impl Fn(u64) -> Result<T, String>, mut add: impl FnMut(&mut Sums, T)) {
    for seed in args.seeds.clone() {
        sums.ran += 1;
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed))) {
            Ok(Ok(outcome)) => {
                add(sums, outcome);
                continue;
            }
            Ok(Err(failure)) => crux_sim::say!("{failure}"),
            Err(_) => {
                crux_sim::say!("seed {seed}: it panicked\nreproduce: {} --seed {seed} --trace", args.command());
            }
        }
        sums.failed.insert(seed);
        if args.stop {
            break;
        }
    }
}

fn flocks(args: &Args, sums: &mut Sums) -> Vec<String> {
    let run = |seed| {
        let mut swarm = FlockSwarm::new(flock_swarm::Options::of(seed, args.nodes));
        swarm.verbose = args.trace || args.step;
        swarm.world.verbose = args.messages;
        if args.trace || args.step {
            crux_sim::say!("{:?}", swarm.options);
        }
        if args.step {
            let mut console = Console::default();
            swarm.watcher = Some(Box::new(move |world| console.after(world)));
        }
        swarm.run().map_err(|failure| args.reproducible(*failure))
    };
    let (mut double, mut missed, mut installs) = (0, 0, 0);
    each(args, sums, run, |sums, outcome| {
        sums.simulated += outcome.simulated.as_secs_f64();
        sums.told += outcome.told;
        sums.add_faults(&outcome.faults);
        sums.settled.entry(outcome.settled.0).or_default().push(outcome.settled.1);
        let shaped = match outcome.settled.0 {
            "heal" => "the shape, heal",
            "parts" => "the shape, parts",
            _ => "the shape, broken pairs",
        };
        sums.settled.entry(shaped).or_default().push(outcome.shaped);
        double = outcome.double_stable.as_millis().max(double);
        missed = outcome.missed.as_millis().max(missed);
        installs += outcome.installs;
        if args.trace {
            crux_sim::say!(
                "seed {}: settled after {} ms, in shape after {} ms, trace {:016x}",
                outcome.seed,
                outcome.settled.1,
                outcome.shaped,
                outcome.trace
            );
        }
    });
    vec![
        format!("after the faults two flocks that could be one were both stable for {double} ms at most"),
        format!("and a view that another had was lacking for {missed} ms at most; {installs} views installed"),
    ]
}

fn whole(args: &Args, sums: &mut Sums) -> Vec<String> {
    let run = |seed| {
        let options = if args.hard { Options::hard(seed, args.nodes) } else { Options::of(seed, args.nodes) };
        let mut swarm = Swarm::new(options);
        swarm.verbose = args.trace;
        swarm.world.verbose = args.messages;
        if args.trace {
            crux_sim::say!("{:?}", swarm.options);
        }
        swarm.run().map_err(|failure| args.reproducible(*failure))
    };
    let (mut acknowledged, mut marks) = (0, BTreeMap::<&str, u64>::new());
    each(args, sums, run, |sums, outcome| {
        sums.simulated += outcome.simulated.as_secs_f64();
        sums.told += outcome.told;
        sums.add_faults(&outcome.faults);
        let times = outcome.settled.iter().map(|time| u64::try_from(*time).unwrap_or(u64::MAX));
        sums.settled.entry("each side").or_default().extend(times);
        acknowledged += outcome.acknowledged;
        outcome.marks.iter().for_each(|mark| *marks.entry(mark).or_default() += 1);
    });
    let mut lines = vec![
        format!("acknowledged writes checked: {acknowledged}"),
        format!("sometimes points reached, of {} declared:", SOMETIMES.len()),
    ];
    for point in SOMETIMES {
        lines.push(format!("  {:>5}  {point}", marks.get(point).copied().unwrap_or(0)));
    }
    lines
}
