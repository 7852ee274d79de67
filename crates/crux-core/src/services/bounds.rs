//! How much of others' words is kept. Each word replaces the one before it, but there are many kinds, and of some one for
//! each horde: so what is kept is counted by the node whose word it is, and a node that says more is not heard.
//!
//! What a node says of its own instances is cut short where it is heard ([`cut_short`]): whoever holds the seat says it
//! to everybody again, and no reader takes a frame that is too long.

use super::instance::{Instance, ServiceRef};
use super::message::Message;
use super::plan::MOST;
use super::verdict::{Beat, Verdict};
use super::{Services, access, plan, yurt};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::mem::size_of;
use crux_names::{FulcrumId, HordeName, Member, NodeName};

/// What is kept of one node's words, in bytes, in a flock of few; each member may add to what a seat has to say.
const NODE_MAX: usize = 8 << 20;
/// What each member of the flock adds to it.
const MEMBER_MAX: usize = 4 << 10;
/// How many instances of one horde a fulcrum may tell of: those that run, and as many that are on their way out.
const OWN_MAX: usize = 3 * MOST as usize;
/// How many bytes they may take.
const OWN_BYTES: usize = 256 << 10;
/// Longest text of such an instance, in bytes. Others put their own words around it.
const WORDS_MAX: usize = 512;
/// How many programs a fulcrum may tell of: a few for each horde that it sits at.
const PROGRAMS_MAX: usize = 256;
/// How many bytes of instances a board has at most: with the rest of it they fit into one frame.
const BOARD_BYTES: usize = 900 << 10;
/// How many messages of views that are not installed here yet are kept, of all.
const EARLY_MAX: usize = 256;
/// How many of them of one node.
const EARLY_OF_ONE: usize = 64;
/// How many bytes they may take.
const EARLY_BYTES: usize = 2 << 20;

/// One place for somebody's word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    Plan(HordeName),
    Board(HordeName),
    Verdicts(HordeName),
    Report(HordeName, FulcrumId),
    Beats(HordeName, FulcrumId),
    Who(FulcrumId),
    Waits,
    Register,
}

impl Slot {
    fn horde(&self) -> Option<&HordeName> {
        match self {
            Self::Plan(horde)
            | Self::Board(horde)
            | Self::Verdicts(horde)
            | Self::Report(horde, _)
            | Self::Beats(horde, _) => Some(horde),
            Self::Who(_) | Self::Waits | Self::Register => None,
        }
    }
}

/// Whose words are kept, and how much they weigh.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    slots: BTreeMap<Slot, (NodeName, usize)>,
    /// The sum for each node: a seat hears thousands, and each of them often.
    sums: BTreeMap<NodeName, usize>,
}

impl Kept {
    /// Whether there is room for this word of a node in a flock of so many, in the place of what is there. If so, it counts.
    pub fn take(&mut self, slot: Slot, of: &NodeName, weight: usize, members: usize) -> bool {
        let old = self.slots.get(&slot);
        let own = old.filter(|(node, _)| node == of).map_or(0, |(_, weight)| *weight);
        let sum = self.of(of) - own + weight;
        if sum > NODE_MAX + members * MEMBER_MAX {
            return false;
        }
        if let Some((node, weight)) = self.slots.insert(slot, (of.clone(), weight)).filter(|(node, _)| node != of) {
            *self.sums.entry(node).or_default() -= weight;
        }
        self.sums.insert(of.clone(), sum);
        true
    }

    /// Keeps count of those only who are here, and of hordes that there are.
    pub fn retain(&mut self, here: impl Fn(&NodeName) -> bool, there: impl Fn(&HordeName) -> bool) {
        self.slots.retain(|slot, (node, _)| here(node) && slot.horde().is_none_or(&there));
        self.sums.clear();
        for (node, weight) in self.slots.values() {
            *self.sums.entry(node.clone()).or_default() += weight;
        }
    }

    /// How much is kept of a node's words.
    pub fn of(&self, node: &NodeName) -> usize {
        self.sums.get(node).copied().unwrap_or(0)
    }
}

/// Messages of views that are not installed here yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Early(Vec<(Member, usize, Message)>);

impl Early {
    /// Keeps one, unless there are too many, of all or of its node: it is said again.
    pub fn push(&mut self, from: Member, message: Message) {
        let weight = weight(&message);
        let of_it = || self.0.iter().filter(|(member, ..)| member.id.node == from.id.node);
        let bytes: usize = of_it().map(|(_, weight, _)| weight).sum();
        if self.0.len() < EARLY_MAX && of_it().count() < EARLY_OF_ONE && bytes + weight <= EARLY_BYTES {
            self.0.push((from, weight, message));
        }
    }

    /// All of them, in the order in which they came.
    pub fn drain(&mut self) -> Vec<(Member, Message)> {
        core::mem::take(&mut self.0).into_iter().map(|(from, _, message)| (from, message)).collect()
    }

    /// How much is kept of a node's words.
    pub fn of(&self, node: &NodeName) -> usize {
        self.0.iter().filter(|(member, ..)| member.id.node == *node).map(|(_, weight, _)| weight).sum()
    }
}

impl Services {
    /// Whether there is room for somebody's word, in the place of what stands there.
    pub(super) fn room(&mut self, slot: Slot, from: &Member, weight: usize) -> bool {
        *from == self.config.me || self.kept.take(slot, &from.id.node, weight, self.view.roster.len())
    }

    /// Who is gone, and what is of hordes that are no more, counts no more.
    pub(super) fn count_kept(&mut self) {
        let here: BTreeSet<&NodeName> = self.view.roster.iter().map(|seat| &seat.member.id.node).collect();
        let briefs = &self.briefs;
        self.kept.retain(|node| here.contains(node), |horde| briefs.contains_key(horde));
    }

    /// How many bytes are kept of what a node has said, in about.
    #[must_use]
    pub fn kept_of(&self, node: &NodeName) -> usize {
        self.kept.of(node) + self.early.of(node)
    }
}

/// A message without what nobody honest says: of what a fulcrum says of its own instances only as much as it can have.
pub(super) fn cut_short(mut message: Message) -> Message {
    match &mut message {
        Message::DeanReport { instances, .. } => own(instances),
        Message::Beats { beats, .. } => {
            beats.truncate(OWN_MAX);
            beats.iter_mut().filter_map(|beat| beat.check.as_mut()).for_each(|check| cut(&mut check.detail));
        }
        Message::Who { programs, .. } => {
            programs.truncate(PROGRAMS_MAX);
            programs.iter_mut().for_each(|program| cut(&mut program.waits));
        }
        _ => {}
    }
    message
}

fn own(instances: &mut Vec<Instance>) {
    instances.truncate(OWN_MAX);
    instances.iter_mut().flat_map(|instance| [&mut instance.why, &mut instance.hook]).for_each(cut);
    let mut bytes = 0;
    instances.retain(|instance| {
        bytes += of_instance(instance);
        bytes <= OWN_BYTES
    });
}

/// What a board tells of these fulcrums: who tells of most is left out where it is more than fits.
pub(super) fn board<'a>(reports: impl Iterator<Item = &'a Vec<Instance>>) -> Vec<Instance> {
    let mut all: Vec<(usize, &Vec<Instance>)> =
        reports.map(|instances| (instances.iter().map(of_instance).sum(), instances)).collect();
    let mut total: usize = all.iter().map(|(weight, _)| weight).sum();
    if total > BOARD_BYTES {
        let mut heaviest: Vec<usize> = all.iter().map(|(weight, _)| *weight).collect();
        heaviest.sort_unstable();
        let mut most = usize::MAX;
        while let Some(weight) = heaviest.pop().filter(|_| total > BOARD_BYTES) {
            total -= weight;
            most = weight;
        }
        all.retain(|(weight, _)| *weight < most);
    }
    all.into_iter().flat_map(|(_, instances)| instances).cloned().collect()
}

fn cut(text: &mut String) {
    if text.len() > WORDS_MAX {
        let end = (0..=WORDS_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.shrink_to_fit();
    }
}

fn of_instance(instance: &Instance) -> usize {
    let ports = instance.ports.keys().map(|name| name.len() + size_of::<(String, u16)>());
    size_of::<Instance>() + instance.why.len() + instance.hook.len() + ports.sum::<usize>()
}

/// About how many bytes a message takes in memory.
pub(super) fn weight(message: &Message) -> usize {
    let sum = |all: &mut dyn Iterator<Item = usize>| all.sum::<usize>();
    size_of::<Message>()
        + match message {
            // The proctor keeps one too.
            Message::DeanReport { instances, .. } => 2 * sum(&mut instances.iter().map(of_instance)),
            Message::Board { instances, .. } => sum(&mut instances.iter().map(of_instance)),
            Message::Plan(plan) => {
                // It is kept by whoever shows it, by the dean and by the proctor.
                3 * (sum(&mut plan.entries.iter().map(|one| size_of::<plan::Entry>() + one.why.len()))
                    + sum(&mut plan.shortfalls.iter().map(|one| size_of::<plan::Shortfall>() + one.why.len()))
                    + plan.should.len() * size_of::<(ServiceRef, u32)>())
            }
            Message::Beats { beats, .. } => sum(&mut beats
                .iter()
                .map(|one| 2 * size_of::<Beat>() + one.check.as_ref().map_or(0, |check| check.detail.len()))),
            Message::Verdicts { verdicts, .. } => {
                sum(&mut verdicts.iter().map(|one| size_of::<Verdict>() + one.rule.len() + one.why.len()))
            }
            Message::Waits { waits, .. } => {
                sum(&mut waits.iter().map(|(_, why)| size_of::<(HordeName, String)>() + why.len()))
            }
            Message::Who { programs, .. } => {
                sum(&mut programs.iter().map(|one| 2 * size_of::<yurt::Program>() + one.name.len() + one.waits.len()))
            }
            Message::Added { entries, .. } => sum(&mut entries.iter().flatten().map(access::Entry::cost)),
            Message::Register { entries, .. } => {
                sum(&mut entries.iter().map(|one| size_of::<access::Listed>() + one.entry.cost()))
            }
            Message::Offer { why, .. } => why.len(),
            Message::AskDean { .. } | Message::AskAdded { .. } | Message::Forgotten { .. } => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::super::instance::{InstanceId, Phase};
    use super::super::verdict::Checkup;
    use super::super::yurt::Program;
    use super::*;
    use crate::flock::view::ViewId;
    use crux_names::{Boot, Duration, Hash256, Wall};

    fn instance(counter: u64, words: usize, ports: u16) -> Instance {
        Instance {
            id: InstanceId { fulcrum: "n1".parse().unwrap(), boot: Boot(1), counter },
            of: ServiceRef { horde: HordeName::main(), service: "api".parse().unwrap() },
            slot: 1,
            revision: Hash256([1; 32]),
            phase: Phase::Running,
            pid: Some(1),
            started: None,
            ports: (0..ports).map(|port| (alloc::format!("port-{port}"), port)).collect(),
            restarts: 0,
            why: "\u{e4}".repeat(words / 2),
            hook: String::new(),
        }
    }

    fn report(count: u64, words: usize, ports: u16) -> Vec<Instance> {
        let instances = (0..count).map(|counter| instance(counter, words, ports)).collect();
        match cut_short(Message::DeanReport { horde: HordeName::main(), obeys: None, instances }) {
            Message::DeanReport { instances, .. } => instances,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_a_fulcrum_can_have_is_heard_whole_and_no_more() {
        let honest = report(u64::from(MOST), 200, 3);
        assert_eq!((honest.len(), honest[0].why.len()), (MOST as usize, 200));
        assert_eq!(report(10_000, 20, 0).len(), OWN_MAX);
        assert_eq!(report(1, 4096, 0)[0].why.len(), WORDS_MAX);
        assert_eq!(report(1, 4097 * 2, 0)[0].why.len() % 2, 0, "no letter is cut in two");
        let heavy = report(OWN_MAX as u64, 512, 200);
        assert!(heavy.iter().map(of_instance).sum::<usize>() <= OWN_BYTES && !heavy.is_empty());
        let check = Checkup { age: Duration::ZERO, failed: 1, detail: "x".repeat(4096) };
        let id = instance(1, 0, 0);
        let beat = Beat {
            subject: id.id,
            of: id.of,
            running: None,
            done: false,
            check: Some(check),
            has_check: true,
            check_every: Duration::ZERO,
        };
        let beats = alloc::vec![beat; 5000];
        let Message::Beats { beats, .. } = cut_short(Message::Beats { horde: HordeName::main(), beats }) else {
            panic!()
        };
        assert_eq!((beats.len(), beats[0].check.as_ref().unwrap().detail.len()), (OWN_MAX, WORDS_MAX));
    }

    #[test]
    fn a_board_leaves_out_who_tells_of_most() {
        let few = report(3, 20, 0);
        let many = report(OWN_MAX as u64, 512, 0);
        let all = |crowd: usize| board(core::iter::repeat_n(&many, crowd).chain([&few, &few]));
        assert_eq!(all(2).len(), 2 * many.len() + 6);
        let board = all(20);
        assert_eq!(board.len(), 6, "all of the same weight go alike");
        assert!(board.iter().map(of_instance).sum::<usize>() <= BOARD_BYTES);
    }

    #[test]
    fn one_nodes_words_are_bounded_and_take_no_room_from_others() {
        let (mut kept, one, two): (Kept, NodeName, NodeName) =
            (Kept::default(), "n1".parse().unwrap(), "n2".parse().unwrap());
        let horde = |n: usize| -> HordeName { alloc::format!("h{n}").parse().unwrap() };
        let taken = (0..100).filter(|n| kept.take(Slot::Board(horde(*n)), &one, 1 << 20, 5)).count();
        assert_eq!(taken, 8);
        assert!(kept.of(&one) <= NODE_MAX + 5 * MEMBER_MAX);
        assert!(kept.take(Slot::Board(horde(0)), &one, 1 << 19, 5), "in the place of a longer one");
        assert!(kept.take(Slot::Board(horde(1)), &two, 1 << 20, 5), "somebody else's, in its place");
        assert_eq!((kept.of(&one), kept.of(&two)), ((6 << 20) + (1 << 19), 1 << 20));
        kept.retain(|node| *node == two, |_| true);
        assert_eq!((kept.of(&one), kept.of(&two)), (0, 1 << 20));
        kept.retain(|_| true, |of| *of != horde(1));
        assert_eq!(kept.of(&two), 0);
    }

    #[test]
    fn of_views_to_come_each_node_has_its_share() {
        let view = ViewId { epoch: 9, leader: "n1".parse().unwrap(), hash: [0; 16] };
        let long = |n: usize| Program { name: "x".repeat(n), started: Wall(0), waits: String::new() };
        let who = |n: usize| Message::Who { view: view.clone(), programs: Vec::from([long(n)]) };
        let member = |text: &str| Member { id: text.parse().unwrap(), boot: Boot(1) };
        let mut early = Early::default();
        (0..500).for_each(|_| early.push(member("n1"), who(1)));
        // Another fulcrum of the same node is no other node.
        (0..500).for_each(|_| early.push(member("n1/7"), who(1)));
        (0..500).for_each(|_| early.push(member("n2"), who(1 << 20)));
        early.push(member("n3"), who(1));
        assert!(early.of(&"n2".parse().unwrap()) <= EARLY_BYTES);
        let all = early.drain();
        let of = |text: &str| all.iter().filter(|(from, _)| from.id.node.as_str() == text).count();
        assert_eq!((of("n1"), of("n2"), of("n3")), (EARLY_OF_ONE, 1, 1));
    }
}
