//! The simulator's command line: many seeds, or one with all that happened.

use crux_sim::swarm::{Options, SOMETIMES, Swarm};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Instant;

const HELP: &str = "\
crux-sim: whole fulcrums in an invented world, under faults, from a seed

crux-sim --seeds A..B   runs these seeds, B not included (default 0..100)
crux-sim --seed S       runs one seed

  --nodes N             so many fulcrums instead of 3 to 8 by the seed
  --hard                every class of faults at once, and more of them
  --trace               print every event and every fault
  --messages            print everything that is told to any fulcrum
  --stop-on-failure     end with the first seed that breaks a rule

Exit code 0 if every rule held, 1 if one was broken, 2 if the arguments make no sense.";

struct Args {
    seeds: std::ops::Range<u64>,
    nodes: Option<usize>,
    hard: bool,
    trace: bool,
    messages: bool,
    stop: bool,
}

fn args() -> Result<Option<Args>, String> {
    let mut args = Args { seeds: 0..100, nodes: None, hard: false, trace: false, messages: false, stop: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is not a number"));
        match word.as_str() {
            "-h" | "--help" => return Ok(None),
            "--seeds" => {
                let text = value()?;
                let (from, to) = text.split_once("..").ok_or(format!("{text:?} is not a range like 0..100"))?;
                args.seeds = number(from)?..number(to)?;
            }
            "--seed" => {
                let seed = number(&value()?)?;
                args.seeds = seed..seed + 1;
            }
            "--nodes" => {
                let nodes = number(&value()?)?;
                if !(2..=64).contains(&nodes) {
                    return Err(format!("--nodes {nodes}: from 2 to 64"));
                }
                args.nodes = usize::try_from(nodes).ok();
            }
            "--hard" => args.hard = true,
            "--trace" => args.trace = true,
            "--messages" => args.messages = true,
            "--stop-on-failure" => args.stop = true,
            other => return Err(format!("{other:?} is unknown; see --help")),
        }
    }
    Ok(Some(args))
}

fn main() -> ExitCode {
    let args = match args() {
        Ok(Some(args)) => args,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("crux-sim: {why}");
            return ExitCode::from(2);
        }
    };
    let begin = Instant::now();
    let (mut ran, mut simulated, mut acknowledged, mut told) = (0_u64, 0.0, 0, 0);
    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    let mut marks: BTreeMap<&str, u64> = BTreeMap::new();
    let mut settled = Vec::new();
    let mut failed = BTreeSet::new();
    for seed in args.seeds.clone() {
        ran += 1;
        let run = std::panic::catch_unwind(|| {
            let mut swarm =
                Swarm::new(if args.hard { Options::hard(seed, args.nodes) } else { Options::of(seed, args.nodes) });
            swarm.verbose = args.trace;
            swarm.world.verbose = args.messages;
            if args.trace {
                println!("{:?}", swarm.options);
            }
            swarm.run()
        });
        match run {
            Ok(Ok(outcome)) => {
                simulated += outcome.simulated.as_secs_f64();
                acknowledged += outcome.acknowledged;
                told += outcome.told;
                settled.extend(outcome.settled);
                outcome.faults.iter().for_each(|(name, n)| *faults.entry(name).or_default() += n);
                outcome.marks.iter().for_each(|mark| *marks.entry(mark).or_default() += 1);
                continue;
            }
            Ok(Err(failure)) => println!("{failure}"),
            Err(_) => println!("seed {seed}: it panicked\nreproduce: cargo xtask sim --seed {seed} --trace"),
        }
        failed.insert(seed);
        if args.stop {
            break;
        }
    }
    let took = begin.elapsed().as_secs_f64();
    println!("seeds: {ran}, failed: {} {failed:?}", failed.len());
    println!("simulated: {simulated:.0} s in {took:.1} s, {:.1} seeds a second", ran as f64 / took);
    println!("checked after each of {told} steps; acknowledged writes checked: {acknowledged}");
    settled.sort_unstable();
    if let (Some(most), Some(median)) = (settled.last(), settled.get(settled.len() / 2)) {
        let p99 = settled[settled.len() * 99 / 100];
        println!("settled {} times after median {median} ms, p99 {p99} ms, most {most} ms", settled.len());
    }
    let list: Vec<String> = faults.iter().map(|(name, n)| format!("{name} {n}")).collect();
    println!("faults: {}", list.join(", "));
    println!("sometimes points reached, of {} declared:", SOMETIMES.len());
    for point in SOMETIMES {
        println!("  {:>5}  {point}", marks.get(point).copied().unwrap_or(0));
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
