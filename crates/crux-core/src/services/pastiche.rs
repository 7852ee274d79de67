//! Pastiche: which files are needed here and not yet here. The node fetches each from a peer, verifies it by its
//! SHA-256 and says how it went; this decides what to ask for, from whom first, and when to try again.

use super::effect::Effect;
use super::instance::UNFETCHED;
use super::pace::{Pace, seconds};
use crate::hash::{Random, stable64};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use crux_names::{Duration, Hash256, Member, Time};

#[derive(Clone, Debug)]
struct Wanted {
    here: bool,
    asked: bool,
    next: Time,
    pause: Duration,
    why: String,
}

/// The files that one fulcrum's instances need.
#[derive(Clone, Debug)]
pub struct Pastiche {
    me: Member,
    pace: Pace,
    random: Random,
    files: BTreeMap<Hash256, Wanted>,
}

impl Pastiche {
    /// Knows of no file.
    #[must_use]
    pub fn new(me: Member, pace: Pace, seed: u64) -> Self {
        Self { me, pace, random: Random::new(seed ^ 0x7061_7374), files: BTreeMap::new() }
    }

    /// Why a needed file is not here yet; `None`: it is.
    #[must_use]
    pub fn missing(&self, hash: &Hash256) -> Option<String> {
        match self.files.get(hash) {
            Some(file) if file.here => None,
            Some(file) => Some(format!("{} {}", hash.short(), file.why)),
            None => Some(format!("{} is about to be fetched", hash.short())),
        }
    }

    /// A file that was here may be damaged or gone: ask again.
    pub fn doubt(&mut self, hash: &Hash256) {
        self.files.remove(hash);
    }

    /// Others are here now: what failed is tried again at once.
    pub fn peers_changed(&mut self, now: Time) {
        for file in self.files.values_mut().filter(|file| !file.asked) {
            file.next = now;
        }
    }

    /// Takes the outcome of a fetch.
    pub fn fetched(&mut self, now: Time, hash: &Hash256, result: Result<(), String>) {
        let Some(file) = self.files.get_mut(hash) else { return };
        file.asked = false;
        match result {
            Ok(()) => file.here = true,
            Err(why) => {
                let (from, to) = (self.pace.ms(500), self.pace.ms(10_000));
                file.pause = if file.pause.is_zero() { from } else { (file.pause * 2).min(to) };
                let quarter = u64::try_from(file.pause.as_micros() / 4).unwrap_or(u64::MAX);
                let pause = file.pause - Duration::from_micros(self.random.below(quarter + 1));
                file.next = now + pause;
                file.why = format!("{UNFETCHED} ({why}); next try within {}", seconds(file.pause));
            }
        }
    }

    /// Asks for what is needed and not here. Forgets what is no longer needed.
    pub fn step(&mut self, now: Time, needs: &BTreeMap<Hash256, u64>, members: &[Member]) -> Vec<Effect> {
        self.files.retain(|hash, file| file.asked || needs.contains_key(hash));
        let mut effects = Vec::new();
        for (hash, size) in needs {
            let file = self.files.entry(*hash).or_insert_with(|| Wanted {
                here: false,
                asked: false,
                next: now,
                pause: Duration::ZERO,
                why: String::from("is being fetched"),
            });
            if file.here || file.asked || now < file.next {
                continue;
            }
            file.asked = true;
            let mut from: Vec<Member> = members.iter().filter(|member| **member != self.me).cloned().collect();
            if !from.is_empty() {
                // Each fulcrum begins with another peer, so that a new file does not weigh on one of them.
                let start = stable64(&[&hash.to_string(), &self.me.id.to_string()]) % from.len() as u64;
                from.rotate_left(usize::try_from(start).unwrap_or(0));
            }
            effects.push(Effect::Fetch { hash: *hash, size: *size, from });
        }
        effects
    }

    /// When [`Pastiche::step`] has something to do by itself.
    #[must_use]
    pub fn deadline(&self) -> Time {
        let waiting = self.files.values().filter(|file| !file.here && !file.asked);
        waiting.map(|file| file.next).min().unwrap_or(Time::NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crux_names::Boot;

    fn member(name: &str) -> Member {
        Member { id: name.parse().unwrap(), boot: Boot(1) }
    }

    #[test]
    fn a_missing_file_is_asked_for_once_from_everybody_else_and_again_after_a_pause() {
        let mut pastiche = Pastiche::new(member("n1"), Pace(1000), 1);
        let (now, hash) = (Time::from_millis(1), Hash256([1; 32]));
        let needs = BTreeMap::from([(hash, 10)]);
        let members = [member("n1"), member("n2"), member("n3")];
        let effects = pastiche.step(now, &needs, &members);
        let [Effect::Fetch { from, size: 10, .. }] = effects.as_slice() else { panic!("{effects:?}") };
        assert_eq!(from.len(), 2);
        assert!(!from.contains(&members[0]));
        assert!(pastiche.step(now, &needs, &members).is_empty(), "the answer is awaited");
        pastiche.fetched(now, &hash, Err("nobody has it".into()));
        assert!(pastiche.missing(&hash).unwrap().contains("nobody has it"));
        assert!(pastiche.step(now, &needs, &members).is_empty(), "not before the pause is over");
        let next = pastiche.deadline();
        assert!(next > now && next <= now + Duration::from_millis(500));
        assert_eq!(pastiche.step(next, &needs, &members).len(), 1);
        pastiche.fetched(next, &hash, Ok(()));
        assert_eq!(pastiche.missing(&hash), None);
        pastiche.doubt(&hash);
        assert_eq!(pastiche.step(next, &needs, &members).len(), 1);
    }

    #[test]
    fn new_peers_are_asked_at_once() {
        let mut pastiche = Pastiche::new(member("n1"), Pace(1000), 1);
        let (now, needs) = (Time::from_millis(1), BTreeMap::from([(Hash256([1; 32]), 10)]));
        pastiche.step(now, &needs, &[member("n1")]);
        pastiche.fetched(now, &Hash256([1; 32]), Err("nobody to ask".into()));
        pastiche.peers_changed(now);
        assert_eq!(pastiche.step(now, &needs, &[member("n2")]).len(), 1);
    }
}
