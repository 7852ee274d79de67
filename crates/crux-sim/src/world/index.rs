//! Finding a life by its member: a small table of our own, for the order of the standard library's differs from run to
//! run, and a tree of names would be most of the work of a large world.

use super::trace::Mixer;
use crux_names::Member;
use std::hash::{Hash, Hasher};

const EMPTY: u32 = u32::MAX;

/// Numbers of lives by member. The members themselves stand with the lives.
#[derive(Debug)]
pub(super) struct Index {
    table: Vec<u32>,
    used: usize,
}

impl Index {
    pub(super) fn new() -> Self {
        Self { table: vec![EMPTY; 64], used: 0 }
    }

    fn home(&self, member: &Member) -> usize {
        let mut mixer = Mixer::new(0);
        member.hash(&mut mixer);
        usize::try_from(mixer.finish()).unwrap_or(0) & (self.table.len() - 1)
    }

    /// The number of this life.
    pub(super) fn find<'a>(&self, member: &Member, of: impl Fn(u32) -> &'a Member) -> Option<u32> {
        let mut at = self.home(member);
        loop {
            match self.table[at] {
                EMPTY => return None,
                life if of(life) == member => return Some(life),
                _ => at = (at + 1) & (self.table.len() - 1),
            }
        }
    }

    /// Adds a life, or puts it in the place of an earlier one of the same member.
    pub(super) fn insert<'a>(&mut self, life: u32, of: impl Fn(u32) -> &'a Member + Copy) {
        if self.used * 2 >= self.table.len() {
            let wider = vec![EMPTY; self.table.len() * 2];
            let old = std::mem::replace(&mut self.table, wider);
            self.used = 0;
            old.into_iter().filter(|life| *life != EMPTY).for_each(|life| self.put(life, of));
        }
        self.put(life, of);
    }

    fn put<'a>(&mut self, life: u32, of: impl Fn(u32) -> &'a Member) {
        let member = of(life);
        let mut at = self.home(member);
        while self.table[at] != EMPTY && of(self.table[at]) != member {
            at = (at + 1) & (self.table.len() - 1);
        }
        self.used += usize::from(self.table[at] == EMPTY);
        self.table[at] = life;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crux_names::Boot;

    #[test]
    fn every_life_is_found_and_nobody_else() {
        let member = |n: u64| Member { id: format!("n{}", n / 3).parse().unwrap(), boot: Boot(n % 3) };
        let members: Vec<Member> = (0..1000).map(member).collect();
        let mut index = Index::new();
        for life in 0..1000 {
            index.insert(life, |life| &members[life as usize]);
        }
        for (life, member) in (0..).zip(&members) {
            assert_eq!(index.find(member, |life| &members[life as usize]), Some(life));
        }
        assert_eq!(index.find(&member(1000), |life| &members[life as usize]), None);
    }
}
