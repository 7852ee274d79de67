//! The simulator: the heart of crux in an invented world, thousands of seeds of it, with the rules that must hold as
//! library code. It knows the heart and nothing else: no runtime, no socket, no clock.
//!
//! [`world`] is time, links and faults; [`flocks`] is flocking alone in it; [`engines`] are whole fulcrums in it, each on a
//! [`machine`] with a [`disk`]; [`flock_swarm`] and [`swarm`] are runs of either from one seed; [`invariants`] are the rules that hold at
//! every step and [`liveness`] those that come to hold when the faults stop, one a file; [`settled`] is what else must be
//! true of whole fulcrums when it is quiet; [`hostile`] is whole fulcrums one of which lies; [`large`] is flocking of up to ten thousand; [`model`] tries out every history of three; [`alone`] is
//! one fulcrum among words of a test; [`console`] steps through a run.

/// Prints a line. Whoever reads no more of it, as `head` does, ends the program quietly.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {
        if ::std::io::Write::write_fmt(&mut ::std::io::stdout(), format_args!("{}\n", format_args!($($text)*))).is_err() {
            ::std::process::exit(0);
        }
    };
}

pub mod alone;
pub mod console;
pub mod disk;
pub mod engines;
pub mod flock_swarm;
pub mod flocks;
pub mod hostile;
pub mod invariants;
pub mod large;
pub mod liveness;
pub mod machine;
pub mod model;
pub mod operator;
pub mod settled;
pub mod signature;
pub mod swarm;
pub mod world;
