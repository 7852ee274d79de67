//! Whom this fulcrum is in touch with: a few bytes for each member of the view and each candidate of a running proposal,
//! and a little more for each stray, that is everybody else to whom there is a link.
//!
//! Marks lie beside the rosters that they belong to, and rosters are shared, so that a flock of ten thousand costs each
//! member eight bytes for each other.

use super::view::{Roster, SharedHead};
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use crux_names::{Boot, FulcrumId, Member, Time};

/// What is kept of one other, in eight bytes: when the ping of the last completed round trip left, in nanoseconds, and
/// below it a bit that says whether there is a link which passed its welcome.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark(u64);

impl Mark {
    /// When the ping of the last completed round trip left: the pair worked after this moment.
    pub const fn proof(self) -> Option<Time> {
        match self.0 >> 1 {
            0 => None,
            nanos => Some(Time::from_nanos(nanos)),
        }
    }

    /// Whether there is a link that passed its welcome.
    pub const fn linked(self) -> bool {
        self.0 & 1 == 1
    }

    fn prove(&mut self, sent: Time) {
        // Three hundred years fit.
        self.0 = self.0.max(sent.as_nanos() << 1) & !1 | self.0 & 1;
    }

    const fn link(&mut self, linked: bool) {
        self.0 = self.0 & !1 | linked as u64;
    }
}

/// Somebody who is linked and is neither a member nor only known as a candidate.
#[derive(Clone, Debug)]
pub struct Stray {
    pub mark: Mark,
    pub addr: SocketAddr,
    /// The view that it last said to have.
    pub head: Option<SharedHead>,
    /// It says that it belongs to another bloc.
    pub alien: bool,
}

/// Everybody that matters here.
#[derive(Clone, Debug)]
pub struct Contacts {
    roster: Roster,
    marks: Vec<Mark>,
    /// The candidates of the running proposal. Members and strays have no use of their marks here.
    ballot: Option<(Roster, Vec<Mark>)>,
    pub strays: BTreeMap<Member, Stray>,
    /// Where linked members and candidates were seen, unless that is where their seats say.
    addrs: BTreeMap<Member, SocketAddr>,
}

enum Place {
    Member(usize),
    Stray,
    Candidate(usize),
}

impl Contacts {
    pub fn new(roster: Roster) -> Self {
        let marks = vec![Mark::default(); roster.len()];
        Self { roster, marks, ballot: None, strays: BTreeMap::new(), addrs: BTreeMap::new() }
    }

    fn place(&self, member: &Member) -> Option<Place> {
        if let Some(at) = self.roster.index(member) {
            return Some(Place::Member(at));
        }
        if self.strays.contains_key(member) {
            return Some(Place::Stray);
        }
        self.ballot.as_ref().and_then(|(roster, _)| roster.index(member)).map(Place::Candidate)
    }

    pub fn mark(&self, member: &Member) -> Option<Mark> {
        match self.place(member)? {
            Place::Member(at) => self.marks.get(at).copied(),
            Place::Stray => self.strays.get(member).map(|stray| stray.mark),
            Place::Candidate(at) => self.ballot.as_ref().and_then(|(_, marks)| marks.get(at)).copied(),
        }
    }

    fn mark_mut(&mut self, member: &Member) -> Option<&mut Mark> {
        match self.place(member)? {
            Place::Member(at) => self.marks.get_mut(at),
            Place::Stray => self.strays.get_mut(member).map(|stray| &mut stray.mark),
            Place::Candidate(at) => self.ballot.as_mut().and_then(|(_, marks)| marks.get_mut(at)),
        }
    }

    /// Whether there is a link to this life.
    pub fn linked(&self, member: &Member) -> bool {
        self.mark(member).is_some_and(Mark::linked)
    }

    /// When the ping of the last completed round trip with it left.
    pub fn proof(&self, member: &Member) -> Option<Time> {
        self.mark(member).and_then(Mark::proof)
    }

    /// A round trip with it was completed whose ping left then.
    pub fn prove(&mut self, member: &Member, sent: Time) {
        if let Some(mark) = self.mark_mut(member) {
            mark.prove(sent);
        }
    }

    /// Where it is reached: where its link was seen, else where its seat says.
    pub fn addr(&self, member: &Member) -> Option<SocketAddr> {
        if let Some(stray) = self.strays.get(member) {
            return Some(stray.addr);
        }
        if let Some(addr) = self.addrs.get(member) {
            return Some(*addr);
        }
        if let Some(at) = self.roster.index(member) {
            return Some(self.roster[at].addr);
        }
        let (roster, _) = self.ballot.as_ref()?;
        roster.index(member).map(|at| roster[at].addr)
    }

    /// A link to it came up.
    pub fn up(&mut self, member: &Member, addr: SocketAddr) {
        let seat = match self.place(member) {
            Some(Place::Member(at)) => Some(self.roster[at].addr),
            Some(Place::Candidate(at)) => self.ballot.as_ref().map(|(roster, _)| roster[at].addr),
            Some(Place::Stray) | None => None,
        };
        let Some(seat) = seat else {
            let stray = Stray { mark: Mark::default(), addr, head: None, alien: false };
            let stray = self.strays.entry(member.clone()).or_insert(stray);
            stray.addr = addr;
            stray.mark.link(true);
            return;
        };
        if seat == addr {
            self.addrs.remove(member);
        } else {
            self.addrs.insert(member.clone(), addr);
        }
        if let Some(mark) = self.mark_mut(member) {
            mark.link(true);
        }
    }

    /// Its link ended. Where that was is still worth knowing.
    pub fn down(&mut self, member: &Member) {
        let place = self.place(member);
        if let Some(mark) = self.mark_mut(member) {
            mark.link(false);
            if matches!(place, Some(Place::Candidate(_))) {
                // Of a stranger nothing is known any more.
                *mark = Mark::default();
            }
        }
        self.strays.remove(member);
    }

    /// Other lives of this fulcrum that are known here, sorted.
    pub fn other_lives(&self, member: &Member) -> Vec<Member> {
        let mut lives = Vec::new();
        if !self.strays.is_empty() {
            let first = Member { id: member.id.clone(), boot: Boot(0) };
            let strays = self.strays.range(first..).map(|(stray, _)| stray);
            lives.extend(strays.take_while(|stray| stray.id == member.id).filter(|stray| *stray != member).cloned());
        }
        let seated = |roster: &Roster| roster.position(&member.id).filter(|at| roster[*at].member.boot != member.boot);
        lives.extend(seated(&self.roster).map(|at| self.roster[at].member.clone()));
        if let Some((roster, marks)) = &self.ballot {
            let linked = seated(roster).filter(|at| marks[*at].linked());
            lives.extend(linked.map(|at| roster[at].member.clone()));
        }
        lives.sort();
        lives.dedup();
        lives
    }

    /// Everybody linked.
    pub fn all_linked(&self) -> impl Iterator<Item = &Member> {
        let members =
            self.roster.iter().zip(&self.marks).filter(|(_, mark)| mark.linked()).map(|(seat, _)| &seat.member);
        let candidates = self.ballot.iter().flat_map(|(roster, marks)| {
            roster.iter().zip(marks).filter(|(_, mark)| mark.linked()).map(|(seat, _)| &seat.member)
        });
        members.chain(candidates).chain(self.strays.keys())
    }

    /// The life of this fulcrum to which there is a link.
    pub fn linked_life(&self, id: &FulcrumId) -> Option<Member> {
        let at = self.roster.position(id).filter(|at| self.marks[*at].linked());
        if let Some(at) = at {
            return Some(self.roster[at].member.clone());
        }
        let low = Member { id: id.clone(), boot: Boot(0) };
        if let Some((stray, _)) = self.strays.range(low..).next().filter(|(stray, _)| stray.id == *id) {
            return Some(stray.clone());
        }
        let (roster, marks) = self.ballot.as_ref()?;
        let at = roster.position(id).filter(|at| marks[*at].linked())?;
        Some(roster[at].member.clone())
    }

    /// A proposal began: its candidates are dealt with by their positions.
    pub fn begin(&mut self, candidates: Roster) {
        self.end();
        let marks = vec![Mark::default(); candidates.len()];
        self.ballot = Some((candidates, marks));
    }

    /// The proposal is over: whoever was linked for it is a stray now.
    pub fn end(&mut self) {
        let Some((roster, marks)) = self.ballot.take() else { return };
        for (seat, mark) in roster.iter().zip(marks) {
            if mark.linked() && self.roster.index(&seat.member).is_none() && !self.strays.contains_key(&seat.member) {
                let addr = self.addrs.remove(&seat.member).unwrap_or(seat.addr);
                self.strays.insert(seat.member.clone(), Stray { mark, addr, head: None, alien: false });
            }
        }
    }

    /// Another view is installed. Whoever is linked and no member of it is a stray now.
    pub fn install(&mut self, roster: Roster) {
        let mut marks = vec![Mark::default(); roster.len()];
        for (seat, mark) in roster.iter().zip(&mut marks) {
            if let Some(known) = self.mark(&seat.member) {
                *mark = known;
            }
            if let Some(stray) = self.strays.remove(&seat.member)
                && stray.addr != seat.addr
            {
                self.addrs.insert(seat.member.clone(), stray.addr);
            }
        }
        let old = core::mem::replace(&mut self.roster, roster);
        let old_marks = core::mem::replace(&mut self.marks, marks);
        for (seat, mark) in old.iter().zip(old_marks) {
            if self.roster.index(&seat.member).is_none() {
                let addr = self.addrs.remove(&seat.member).unwrap_or(seat.addr);
                if mark.linked() {
                    self.strays.insert(seat.member.clone(), Stray { mark, addr, head: None, alien: false });
                }
            }
        }
        self.end();
        let roster = &self.roster;
        self.addrs.retain(|member, _| roster.index(member).is_some());
    }
}
