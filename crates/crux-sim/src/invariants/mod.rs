//! What must hold, one rule a file, each with its source. Safety rules look at every step; liveness rules look at the
//! end, after the faults have stopped.

mod a1_in_own_view;
mod a2_views_rise;
mod a3_equal_id_equal_content;
mod a4_leader_is_first;
mod a5_clique;
mod a7_stable_means_installed;
mod p1_plans_rise;
mod s1_acknowledged_is_durable;
mod v1_one_process;

use crate::engines::Cluster;
use crate::world::Time;
use crux_core::flock::view::View;
use crux_names::Member;

pub use a1_in_own_view::InOwnView;
pub use a2_views_rise::ViewsRise;
pub use a3_equal_id_equal_content::EqualIdEqualContent;
pub use a4_leader_is_first::LeaderIsFirst;
pub use a5_clique::Clique;
pub use a7_stable_means_installed::StableMeansInstalled;
pub use p1_plans_rise::PlansRise;
pub use s1_acknowledged_is_durable::AcknowledgedIsDurable;
pub use v1_one_process::NothingWrong;

/// What can be seen of one living fulcrum.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// Which life of which fulcrum.
    pub member: &'a Member,
    /// Its installed view.
    pub view: &'a View,
    /// Whether it believes the flock complete.
    pub stable: bool,
    /// When it last completed a direct round trip with each other fulcrum; what it says of itself.
    pub proofs: Vec<(&'a Member, Option<Time>)>,
}

/// A rule that holds at every step.
pub trait Safety {
    /// Its name, as the design has it.
    fn name(&self) -> &'static str;
    /// Looks at everybody alive.
    ///
    /// # Errors
    /// What is wrong, with who and which view.
    fn check(&mut self, now: Time, seen: &[Seen<'_>]) -> Result<(), String>;
}

/// All rules about flocking.
#[must_use]
pub fn flocking() -> Vec<Box<dyn Safety>> {
    vec![
        Box::new(InOwnView),
        Box::new(ViewsRise::default()),
        Box::new(EqualIdEqualContent::default()),
        Box::new(LeaderIsFirst),
        Box::new(Clique::default()),
        Box::new(StableMeansInstalled::default()),
    ]
}

/// A rule about whole engines that holds at every step.
pub trait Whole {
    /// Its name, as the design has it.
    fn name(&self) -> &'static str;
    /// Looks at everybody alive.
    ///
    /// # Errors
    /// What is wrong, with who and where.
    fn check(&mut self, world: &Cluster) -> Result<(), String>;
}

/// All rules about whole engines.
#[must_use]
pub fn whole() -> Vec<Box<dyn Whole>> {
    vec![Box::new(NothingWrong), Box::new(PlansRise::default()), Box::new(AcknowledgedIsDurable::default())]
}
