//! Names of lists that lead nowhere now: a list with a slip in it is otherwise searched in silence for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most that are remembered.
const MOST: usize = 256;

/// One name of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// The list that names it.
    pub(crate) list: PathBuf,
    /// Why it leads nowhere, for people.
    pub(crate) why: String,
}

/// By name, with its port.
pub(crate) type Names = BTreeMap<String, Lost>;

/// Those of one life of a fulcrum. Cheap to clone; copies share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nowhere(Arc<Mutex<Names>>);

impl Nowhere {
    /// Notes that a name of this list does not resolve; whether that is news.
    pub(super) fn note(&self, name: &str, list: &Path, why: &str) -> bool {
        let lost = Lost { list: list.to_owned(), why: why.to_owned() };
        let mut names = self.lock();
        if names.get(name) == Some(&lost) || (names.len() >= MOST && !names.contains_key(name)) {
            return false;
        }
        names.insert(name.to_owned(), lost);
        true
    }

    /// It leads somewhere; whether it did not before.
    pub(super) fn found(&self, name: &str) -> bool {
        self.lock().remove(name).is_some()
    }

    /// Only these stand in lists now.
    pub(super) fn keep(&self, named: &BTreeSet<&str>) {
        self.lock().retain(|name, _| named.contains(name.as_str()));
    }

    /// All of them.
    pub(crate) fn now(&self) -> Names {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_news_until_it_is_said_and_again_when_it_changes() {
        let nowhere = Nowhere::default();
        let note = |name: &str, why: &str| nowhere.note(name, Path::new("/l"), why);
        assert!(note("n1:1", "unknown") && !note("n1:1", "unknown") && note("n1:1", "no answer"));
        assert!(nowhere.found("n1:1") && !nowhere.found("n1:1") && note("n1:1", "unknown"));
        assert!(note("n2:1", "unknown"));
        nowhere.keep(&BTreeSet::from(["n2:1"]));
        assert_eq!(nowhere.now().into_keys().collect::<Vec<_>>(), ["n2:1"]);
        (0..2 * MOST).for_each(|n| _ = note(&format!("m{n}:1"), "unknown"));
        assert_eq!(nowhere.now().len(), MOST);
    }
}
