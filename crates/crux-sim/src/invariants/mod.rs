//! What must hold at every step, one rule a file, each with its source. What must come to hold after the faults have
//! stopped is in [`crate::liveness`].

mod a10_bounded;
mod a11_asks_form_no_cycle;
mod a1_in_own_view;
mod a2_views_rise;
mod a3_equal_id_equal_content;
mod a4_leader_is_first;
mod a5_clique;
mod a6_only_the_proposer_installs;
mod a7_stable_means_installed;
mod a8_no_hearsay;
mod a9_one_bloc;
mod evidence_is_direct;
mod p1_plans_rise;
mod s1_acknowledged_is_durable;
mod s2_equal_in_five_seconds;
mod v1_one_process;

use crate::engines::Cluster;
use crate::machine::Machine;
use crate::world::{In, Node, Out, Time, World};
use crux_core::flock::Flock;
use crux_core::flock::message::{Datagram, Message};
use crux_names::Member;
use std::collections::BTreeMap;

pub use a1_in_own_view::InOwnView;
pub use a2_views_rise::ViewsRise;
pub use a3_equal_id_equal_content::EqualIdEqualContent;
pub use a4_leader_is_first::LeaderIsFirst;
pub use a5_clique::Clique;
pub use a6_only_the_proposer_installs::OnlyTheProposerInstalls;
pub use a7_stable_means_installed::StableMeansInstalled;
pub use a8_no_hearsay::NoHearsay;
pub use a9_one_bloc::OneBloc;
pub use a10_bounded::Bounded;
pub use a11_asks_form_no_cycle::AsksFormNoCycle;
pub use evidence_is_direct::EvidenceIsDirect;
pub use p1_plans_rise::PlansRise;
pub use s1_acknowledged_is_durable::AcknowledgedIsDurable;
pub use s2_equal_in_five_seconds::EqualInFiveSeconds;
pub use v1_one_process::NothingWrong;

/// A node of the world that flocks.
pub trait Flocking: Node {
    /// Its flocking machine.
    fn flock(&self) -> &Flock;
    /// What a frame says of flocking, if it does.
    fn message(frame: &Self::Frame) -> Option<Message>;
    /// What a datagram says.
    fn datagram(datagram: &Self::Datagram) -> Option<Datagram>;
}

/// Everybody, as the rules may look at them. Times are the world's.
pub trait Everybody {
    /// Now.
    fn now(&self) -> Time;
    /// The flocking of this life, if it lives.
    fn flock(&self, member: &Member) -> Option<&Flock>;
    /// Where this life lives, or lived.
    fn place(&self, member: &Member) -> Option<usize>;
    /// All that live.
    fn living(&self) -> Vec<&Member>;
    /// When `of` last completed a direct round trip with `with`, by its own word.
    fn proof(&self, of: &Member, with: &Member) -> Option<Time>;
    /// Whether `of` believes its flock complete.
    fn stable(&self, of: &Member) -> bool;
    /// How many lives there ever were.
    fn lives(&self) -> usize;
}

impl<N: Flocking> Everybody for World<N> {
    fn now(&self) -> Time {
        self.now
    }

    fn flock(&self, member: &Member) -> Option<&Flock> {
        self.living(member).map(Flocking::flock)
    }

    fn place(&self, member: &Member) -> Option<usize> {
        self.place_of(member)
    }

    fn living(&self) -> Vec<&Member> {
        self.slots.iter().filter(|slot| slot.node.is_some()).map(|slot| &slot.member).collect()
    }

    fn proof(&self, of: &Member, with: &Member) -> Option<Time> {
        let proof = self.living(of)?.flock().proof(with)?;
        Some(self.world_time(self.place_of(of)?, proof))
    }

    fn stable(&self, of: &Member) -> bool {
        let place = self.place_of(of);
        self.living(of).zip(place).is_some_and(|(node, place)| node.flock().stable(self.local(place)))
    }

    fn lives(&self) -> usize {
        self.lives()
    }
}

/// What can be seen of one living fulcrum after something happened to it.
pub struct Seen<'a> {
    /// Which life of which fulcrum.
    pub member: &'a Member,
    /// Its flocking.
    pub flock: &'a Flock,
    /// From whom it heard something just now.
    pub heard: Option<&'a Member>,
    /// The message that it was told, where messages are observed.
    pub told: Option<&'a Message>,
    /// What it said, where messages are observed.
    pub said: &'a [(Member, Message)],
    /// The datagram that it was sent, where messages are observed.
    pub datagram: Option<&'a Datagram>,
    /// Whether a link that it had dialled came up.
    pub linked: bool,
    /// The datagrams that it sent, where messages are observed.
    pub sent: &'a [(Member, Datagram)],
    /// Whom it dialled, where messages are observed.
    pub dialled: &'a [Member],
    /// Whether messages are observed.
    pub observed: bool,
}

/// A rule that holds at every step.
pub trait Safety {
    /// Its name, as the design has it.
    fn name(&self) -> &'static str;
    /// Looks at one fulcrum to which something happened.
    ///
    /// # Errors
    /// What is wrong, with who and which view.
    fn check(&mut self, seen: &Seen<'_>, all: &dyn Everybody) -> Result<(), String>;
}

/// All rules about flocking, with what they remember of the world that they look at.
pub struct Rules {
    rules: Vec<Box<dyn Safety>>,
    /// How much news of the world they have seen.
    looked: u64,
}

/// All rules about flocking.
#[must_use]
pub fn flocking() -> Rules {
    Rules { rules: all(), looked: 0 }
}

fn all() -> Vec<Box<dyn Safety>> {
    vec![
        Box::new(InOwnView),
        Box::new(ViewsRise::default()),
        Box::new(EqualIdEqualContent::default()),
        Box::new(LeaderIsFirst),
        Box::new(EvidenceIsDirect::default()),
        Box::new(Clique::default()),
        Box::new(OnlyTheProposerInstalls::default()),
        Box::new(StableMeansInstalled::default()),
        Box::new(NoHearsay::default()),
        Box::new(OneBloc),
        Box::new(Bounded::default()),
        Box::new(AsksFormNoCycle::default()),
    ]
}

impl Rules {
    /// Looks at everybody to whom something happened in the last step. Whoever let the world run without its rules begins
    /// anew with everybody as it is: what happened meanwhile cannot be judged.
    ///
    /// # Errors
    /// The rule that was broken, and by what.
    pub fn look<N: Flocking>(&mut self, world: &World<N>) -> Result<(), (&'static str, String)> {
        let missed = world.happened - world.news.len() as u64 != self.looked;
        self.looked = world.happened;
        if missed {
            self.rules = all();
            for slot in &world.slots {
                if let Some(node) = &slot.node {
                    let seen = Seen {
                        member: &slot.member,
                        flock: node.flock(),
                        heard: None,
                        told: None,
                        said: &[],
                        datagram: None,
                        linked: false,
                        sent: &[],
                        dialled: &[],
                        observed: world.observing,
                    };
                    self.check(&seen, world)?;
                }
            }
            return Ok(());
        }
        for step in &world.news {
            let slot = &world.slots[step.place];
            let Some(node) = &slot.node else { continue };
            let told = match &step.input {
                Some(In::Frame(_, frame)) => N::message(frame),
                _ => None,
            };
            let said = step.out.iter().filter_map(|out| match out {
                Out::Frame(to, frame) => N::message(frame).map(|message| (to.clone(), message)),
                _ => None,
            });
            let said: Vec<(Member, Message)> = said.collect();
            let datagram = match &step.input {
                Some(In::Datagram(_, datagram)) => N::datagram(datagram),
                _ => None,
            };
            let sent = step.out.iter().filter_map(|out| match out {
                Out::Datagram(to, datagram) => N::datagram(datagram).map(|datagram| (to.clone(), datagram)),
                _ => None,
            });
            let sent: Vec<(Member, Datagram)> = sent.collect();
            let dialled = step.out.iter().filter_map(|out| match out {
                Out::Dial(addr) => world.slots.iter().find(|slot| slot.addr == *addr).map(|slot| slot.member.clone()),
                _ => None,
            });
            let dialled: Vec<Member> = dialled.collect();
            let seen = Seen {
                member: &slot.member,
                flock: node.flock(),
                heard: step.heard.as_ref(),
                told: told.as_ref(),
                said: &said,
                datagram: datagram.as_ref(),
                linked: matches!(step.input, Some(In::LinkUp(.., true))),
                sent: &sent,
                dialled: &dialled,
                observed: world.observing,
            };
            self.check(&seen, world)?;
        }
        Ok(())
    }

    fn check(&mut self, seen: &Seen<'_>, all: &dyn Everybody) -> Result<(), (&'static str, String)> {
        for rule in &mut self.rules {
            rule.check(seen, all).map_err(|why| (rule.name(), why))?;
        }
        Ok(())
    }
}

/// A rule about whole engines that holds at every step.
pub trait Whole {
    /// Its name, as the design has it.
    fn name(&self) -> &'static str;
    /// Looks at everybody alive, and at the machines on which nobody lives.
    ///
    /// # Errors
    /// What is wrong, with who and where.
    fn check(&mut self, world: &Cluster, idle: &Idle) -> Result<(), String>;
    /// A *sometimes* point that it reached.
    fn mark(&self) -> Option<&'static str> {
        None
    }
}

/// Machines without a living crux, by place: their disks are there all the same.
pub type Idle = BTreeMap<usize, Machine>;

/// All rules about whole engines.
#[must_use]
pub fn whole() -> Vec<Box<dyn Whole>> {
    vec![
        Box::new(NothingWrong),
        Box::new(PlansRise::default()),
        Box::new(AcknowledgedIsDurable::default()),
        Box::new(EqualInFiveSeconds::default()),
    ]
}
