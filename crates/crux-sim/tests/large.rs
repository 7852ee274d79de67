//! Many fulcrums form one flock, lose half of it and get it back: the ten thousand of the design in the size of a test, so
//! that what makes the large one fail fails here too. `cargo xtask sim --halves cut --nodes 10000` runs the large one.

use crux_names::Duration;
use crux_sim::large::{Halves, Lost, Phase};

fn run(size: usize, lost: Lost) -> Vec<Phase> {
    let (apart, limit) = (Duration::from_secs(45), Duration::from_secs(60));
    let mut phases = Vec::new();
    let plan = Halves { size, seed: 1, lost, apart, limit };
    plan.run(&mut |phase: &Phase| phases.push(phase.clone())).unwrap_or_else(|why| panic!("{size} {lost:?}: {why}"));
    phases
}

#[test]
fn a_hundred_and_fifty_lose_half_to_a_cut_and_get_it_back() {
    let phases = run(150, Lost::Cut);
    assert!(phases[0].took <= Duration::from_secs(6), "{phases:?}");
    // More than 64 are lost at once, so that nothing is kept of each of them.
    assert!(phases[2].took <= Duration::from_secs(8), "{phases:?}");
}

#[test]
fn a_hundred_and_fifty_lose_half_to_death_and_get_it_back() {
    let phases = run(150, Lost::Killed);
    assert!(phases[2].took <= Duration::from_secs(8), "{phases:?}");
}
