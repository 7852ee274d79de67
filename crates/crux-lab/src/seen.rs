//! When things happened, by the stamps of the fulcrums' own events.

use crate::Lab;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch.
#[must_use]
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Seconds since the Unix epoch of a moment as documents have it: RFC 3339 in UTC.
#[must_use]
pub fn moment(text: &str) -> Option<f64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':').map(|part| part.parse::<f64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    // Days since the epoch of a date of the Gregorian calendar, by years that begin in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + day - 719_469;
    Some(days as f64 * 86_400.0 + hour * 3_600.0 + minute * 60.0 + second)
}

impl Lab {
    /// The events of a machine's fulcrum.
    #[must_use]
    pub fn events(&self, at: usize) -> Vec<Value> {
        self.json(at, &["events"])["events"].as_array().cloned().unwrap_or_default()
    }

    /// When the last event of this kind happened at a machine, in seconds since the Unix epoch.
    #[must_use]
    pub fn last_event(&self, at: usize, kind: &str) -> Option<f64> {
        let events = self.events(at);
        events.iter().rev().find(|event| event["event"] == kind).and_then(|event| moment(event["at"].as_str()?))
    }

    /// So many seconds after `begin` the last of these machines came to the view that it has now.
    ///
    /// # Panics
    /// If one of them has no view from an event.
    #[must_use]
    pub fn agreed_after(&self, machines: &[usize], begin: f64) -> f64 {
        let when = |at: &usize| self.last_event(*at, "flock-formed").unwrap_or_else(|| panic!("n{}: no view", at + 1));
        machines.iter().map(when).fold(f64::MIN, f64::max) - begin
    }

    /// How many views a machine came to after a moment.
    #[must_use]
    pub fn views_since(&self, at: usize, begin: f64) -> usize {
        let after = |event: &&Value| event["at"].as_str().and_then(moment).is_some_and(|at| at > begin);
        self.events(at).iter().filter(|event| event["event"] == "flock-formed").filter(after).count()
    }

    /// Who of a broken pair is out, once the two are in two flocks and all others are with one of them.
    #[must_use]
    pub fn out_of(&self, pair: [usize; 2]) -> Option<usize> {
        let without = |one: usize| (0..self.machines()).filter(|at| *at != one).collect::<Vec<usize>>();
        let alone = |at: usize| self.json(at, &["confab"])["members"].as_array().map_or(0, Vec::len) == 1;
        pair.into_iter().find(|one| self.one_flock(&without(*one), false) && alone(*one))
    }

    /// Follows a command with `-w` at a machine.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn follow(&self, at: usize, args: &[&str]) -> Follow {
        let mut command = Command::new(&self.binary);
        command.args(["--at", &self.socket(at), "-o", "json", "-w"]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("crux starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
        let into = seen.clone();
        // It ends with the command's output.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let document = serde_json::from_str(&line).unwrap_or(Value::Null);
                into.lock().unwrap_or_else(PoisonError::into_inner).push(document);
            }
        });
        Follow { child, seen }
    }
}

/// A command that prints a document whenever something changes; it ends when this is dropped.
#[derive(Debug)]
pub struct Follow {
    child: Child,
    seen: Arc<Mutex<Vec<Value>>>,
}

impl Follow {
    /// The documents so far; one that was none is `null`.
    #[must_use]
    pub fn seen(&self) -> Vec<Value> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_seconds() {
        assert_eq!(moment("1970-01-01T00:00:00Z"), Some(0.0));
        assert_eq!(moment("2026-01-31T12:00:00.500000Z"), Some(1_769_860_800.5));
        assert_eq!(moment("2024-02-29T00:00:01Z"), Some(1_709_164_801.0));
        assert_eq!(moment("yesterday"), None);
    }
}
