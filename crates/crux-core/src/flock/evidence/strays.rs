//! Which strangers are watched: all of them, unless they are a crowd.

use super::Edge;
use crate::flock::contacts::Stray;
use crate::flock::machine::Flock;
use crate::flock::timers::LARGE;
use crux_names::{Duration, Member};

/// Strays are probed more slowly the more there are: this much for each. Where sixty-four begin at once on one host, each has
/// sixty-three, and to ask all of them each period is more than two cores can do. Up to sixteen of them nothing changes.
const STRAY_PACE: Duration = Duration::from_millis(31);
/// But no more slowly than so many times the usual.
const SLOWEST: u32 = 4;
/// Of each foreign flock at least so many are watched.
const OF_EACH: usize = 4;

impl Flock {
    /// How often somebody under watch is asked.
    pub(in crate::flock) fn pace(&self, member: &Member) -> Duration {
        let (period, strays) = (self.period(), self.contacts.strays.len());
        if !self.contacts.strays.contains_key(member) {
            return period;
        }
        // What one cannot keep up with are first of all these.
        let slowness = if strays > LARGE { self.health.slowness() } else { 1 };
        let each = STRAY_PACE * u32::try_from(strays).unwrap_or(u32::MAX);
        each.clamp(period, period * SLOWEST) * slowness
    }

    /// Watches a linked stray, unless it is one of a crowd and of no use: of each foreign flock some are watched, its leader,
    /// and who is one of a pair that keeps two flocks apart.
    pub(in crate::flock) fn consider_stray(&mut self, member: &Member) {
        let Some(stray) = self.contacts.strays.get(member).filter(|stray| stray.mark.linked()) else { return };
        if self.watches(member) {
            return;
        }
        let me = &self.config.me.id;
        let wanted = self.contacts.strays.len() <= LARGE
            || self.refusals.values().any(|refusal| refusal.names(me, &member.id))
            || stray.head.as_ref().is_some_and(|head| {
                let same = |other: &Stray| other.head.as_ref().is_some_and(|theirs| theirs.id == head.id);
                let of_it = self.contacts.strays.iter().filter(|(_, other)| same(other));
                head.header.leader == member.id || of_it.filter(|(one, _)| self.watches(one)).nth(OF_EACH - 1).is_none()
            });
        if wanted {
            self.watch_stray(member);
        }
    }

    /// A stray is gone: another takes its place under watch.
    pub(in crate::flock) fn replace_stray(&mut self) {
        let idle = self.contacts.strays.iter().find(|(one, stray)| stray.mark.linked() && !self.watches(one));
        if let Some((one, _)) = idle {
            let one = one.clone();
            self.watch_stray(&one);
        }
    }

    /// Watches a stray, so that it is known whether the two could share a flock.
    pub(in crate::flock) fn watch_stray(&mut self, member: &Member) {
        let now = self.now;
        let probe = self.probes.entry(member.clone()).or_default();
        match &mut probe.edge {
            Some(edge) => edge.next = now,
            None => probe.edge = Some(Edge::new(now, true, now)),
        }
        self.reschedule(member);
    }
}
