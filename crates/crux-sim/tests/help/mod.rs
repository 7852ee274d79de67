//! What the tests of flocks say again and again.
#![allow(dead_code, missing_docs)]

use crux_names::Duration;
use crux_sim::flocks::{Bird, Flocks};

pub fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Lets so much time pass.
pub fn run(world: &mut Flocks, time: Duration) {
    let end = world.now + time;
    world.run_until(end, &mut |_| {});
}

/// The fulcrum that lives there.
pub fn node(world: &Flocks, place: usize) -> &Bird {
    world.slots[place].node.as_ref().unwrap()
}

/// All but these, as a shape.
pub fn without(size: usize, gone: &[usize]) -> String {
    let names = (0..size).filter(|place| !gone.contains(place)).map(|place| format!("n{}", place + 1));
    names.collect::<Vec<_>>().join(",")
}
