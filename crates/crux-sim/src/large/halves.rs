//! Forming one flock, losing half of it and getting it back.

use super::{Crowd, Installed};
use crate::world::Weather;
use crux_names::Duration;

/// How half of the flock is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The network is cut in the middle, and heals.
    Cut,
    /// Half of the processes die at once, and begin again.
    Killed,
}

/// What a run of this kind is like.
#[derive(Clone, Copy, Debug)]
pub struct Halves {
    /// How many fulcrums.
    pub size: usize,
    /// Decides everything.
    pub seed: u64,
    /// How half is lost.
    pub lost: Lost,
    /// For how long half is away, at least: longer than a link without a sign of life is held.
    pub apart: Duration,
    /// No phase may take longer than this in invented time.
    pub limit: Duration,
}

/// A phase that is over.
#[derive(Clone, Debug)]
pub struct Phase {
    /// What was waited for.
    pub name: &'static str,
    /// How long it took, in invented time.
    pub took: Duration,
    /// Things told to anybody during it.
    pub told: u64,
    /// Views installed during it.
    pub installs: usize,
    /// Distinct sizes of those views.
    pub sizes: usize,
}

impl Halves {
    /// Runs it; `over` is told of each phase when it is over.
    ///
    /// # Errors
    /// The phase that did not come to its end, and what stood instead.
    pub fn run(&self, over: &mut impl FnMut(&Phase)) -> Result<(), String> {
        let mut crowd = Crowd::new(self.size, self.seed, Weather::default());
        let (all, middle) = (crowd.all(), self.size / 2);
        let (near, far) = all.split_at(middle);
        let mut phase = |crowd: &mut Crowd, name: &'static str, goal: &dyn Fn(&Crowd) -> Result<(), String>| {
            let told = crowd.world.told;
            crowd.forget();
            let took = crowd.until(self.limit, goal).map_err(|why| format!("{name}: {why}"))?;
            let mut sizes: Vec<usize> = crowd.installs.iter().map(Installed::size).collect();
            let installs = sizes.len();
            sizes.sort_unstable();
            sizes.dedup();
            over(&Phase { name, took, told: crowd.world.told - told, installs, sizes: sizes.len() });
            Ok::<(), String>(())
        };
        phase(&mut crowd, "one flock from a cold start", &|crowd| crowd.one_flock(&all))?;
        phase(&mut crowd, "it is stable", &|crowd| crowd.stable(&all))?;
        let lost_at = crowd.world.now;
        match self.lost {
            Lost::Cut => {
                let parts: Vec<u8> = (0..self.size).map(|place| u8::from(place >= middle)).collect();
                crowd.world.divide(&parts);
                let both = |crowd: &Crowd| crowd.one_flock(near).and_then(|()| crowd.one_flock(far));
                phase(&mut crowd, "cut in halves: each side is one flock", &both)?;
                phase(&mut crowd, "both are stable", &|crowd| crowd.stable(&all))?;
            }
            Lost::Killed => {
                far.iter().for_each(|place| crowd.world.kill(*place));
                phase(&mut crowd, "half killed: the rest is one flock", &|crowd| crowd.one_flock(near))?;
                phase(&mut crowd, "it is stable", &|crowd| crowd.stable(near))?;
            }
        }
        let back = lost_at + self.apart;
        phase(&mut crowd, "they stay away", &|crowd| {
            if crowd.world.now >= back { Ok(()) } else { Err("not yet".into()) }
        })?;
        match self.lost {
            Lost::Cut => crowd.world.join_all(),
            Lost::Killed => far.iter().for_each(|place| crowd.restart(*place)),
        }
        phase(&mut crowd, "they are back: one flock", &|crowd| crowd.one_flock(&all))?;
        phase(&mut crowd, "it is stable again", &|crowd| crowd.stable(&all))
    }
}
