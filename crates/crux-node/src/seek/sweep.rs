//! Going through networks and lists: once fast, then again and again slowly. A list is read again when its file changes.

use super::nowhere::Nowhere;
use super::source::{Line, Source, lines};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{info, warn};

/// How fast is searched.
#[derive(Clone, Copy)]
struct Pace {
    /// Addresses a second on the first sweep, and after a list has changed.
    first: u32,
    /// Addresses a second on every later one.
    later: u32,
    /// No sweep begins earlier after the one before.
    again: Duration,
}

/// The design's pace for addresses where nobody was seen for long.
const PACE: Pace = Pace { first: 64, later: 20, again: Duration::from_secs(10) };
/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long one name may take to be looked up.
const LOOKUP: Duration = Duration::from_secs(2);
/// Longest file that is read.
const FILE_MAX: u64 = 4 << 20;

/// What a file looked like when it was read.
type Stamp = Option<(SystemTime, u64)>;

/// A file and what stood in it.
struct List {
    path: PathBuf,
    stamp: Stamp,
    lines: Vec<Line>,
    /// Whether it was said that it cannot be read.
    complained: bool,
}

impl List {
    fn new(path: PathBuf) -> Self {
        Self { path, stamp: None, lines: Vec::new(), complained: false }
    }

    /// Reads it if it has changed; whether it had. What it said last stands while it cannot be read.
    fn look(&mut self) -> bool {
        let stamp = stamp(&self.path);
        if stamp.is_some() && stamp == self.stamp {
            return false;
        }
        match read(&self.path) {
            Ok(text) => {
                let (good, bad) = lines(&text);
                for (number, wrong) in bad {
                    warn!("{}:{number}: {wrong}; the line is left out", self.path.display());
                }
                info!("{} has {} to search", self.path.display(), crux_pki::count(good.len(), "line"));
                (self.lines, self.stamp, self.complained) = (good, stamp, false);
                true
            }
            Err(error) => {
                if !self.complained {
                    warn!("the list {} cannot be read: {error}; it is tried again", self.path.display());
                    self.complained = true;
                }
                false
            }
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let metadata = path.metadata().ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(path: &Path) -> std::io::Result<String> {
    let len = path.metadata()?.len();
    if len > FILE_MAX {
        return Err(std::io::Error::other(format!("it has {len} bytes, and {FILE_MAX} are read at most")));
    }
    std::fs::read_to_string(path)
}

/// What to knock at next.
enum Step {
    Addr(SocketAddr),
    /// With the list that names it.
    Name(String, PathBuf),
}

/// Each line of each list.
fn lines_of(lists: &[List]) -> impl Iterator<Item = (&List, &Line)> {
    lists.iter().flat_map(|list| list.lines.iter().map(move |line| (list, line)))
}

/// Everything once, beginning somewhere: fulcrums that search one network do not all knock at the same host at once.
fn steps(nets: &[Source], lists: &[List], start: u64) -> Vec<Step> {
    let line = |(list, line): (&List, &Line)| -> Vec<Step> {
        let name = |host: &String| Step::Name(host.clone(), list.path.clone());
        match line {
            Line::Net(net) => net.addrs().map(Step::Addr).collect(),
            Line::Host(host) => vec![host.parse().map_or_else(|_| name(host), Step::Addr)],
        }
    };
    let of_nets = nets.iter().flat_map(|source| match source {
        Source::Net(net) => net.addrs().map(Step::Addr).collect(),
        Source::File(_) => Vec::new(),
    });
    let mut all: Vec<Step> = lines_of(lists).flat_map(line).chain(of_nets).collect();
    if !all.is_empty() {
        let middle = usize::try_from(start % all.len() as u64).unwrap_or(0);
        all.rotate_left(middle);
    }
    all
}

/// Searches until nobody listens. `start` differs from fulcrum to fulcrum. Names of lists that do not resolve are in `nowhere`.
pub(crate) async fn sweep(sources: Vec<Source>, start: u64, nowhere: Nowhere, found: mpsc::Sender<SocketAddr>) {
    sweep_at(PACE, sources, start, nowhere, found).await;
}

async fn sweep_at(at: Pace, sources: Vec<Source>, start: u64, nowhere: Nowhere, found: mpsc::Sender<SocketAddr>) {
    let (files, nets): (Vec<_>, Vec<_>) = sources.into_iter().partition(|source| matches!(source, Source::File(_)));
    let files = files.into_iter().filter_map(|source| match source {
        Source::File(path) => Some(List::new(path)),
        Source::Net(_) => None,
    });
    let mut lists: Vec<List> = files.collect();
    if lists.is_empty() && nets.is_empty() {
        return;
    }
    let mut pace = at.first;
    loop {
        let began = Instant::now();
        lists.iter_mut().for_each(|list| _ = list.look());
        let named = lines_of(&lists)
            .filter_map(|(_, line)| if let Line::Host(host) = line { Some(host.as_str()) } else { None });
        nowhere.keep(&named.collect());
        let mut looked = Instant::now();
        let mut changed = false;
        for step in steps(&nets, &lists, start) {
            for addr in resolve(step, &nowhere).await {
                if found.send(addr).await.is_err() {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_secs(1) / pace).await;
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                changed = look(&mut lists);
                if changed {
                    break;
                }
            }
        }
        pace = at.later;
        while !changed && began.elapsed() < at.again {
            tokio::time::sleep(LOOK.min(at.again)).await;
            if found.is_closed() {
                return;
            }
            changed = look(&mut lists);
        }
        if changed {
            pace = at.first;
        }
    }
}

/// Whether any list has changed; each is looked at.
fn look(lists: &mut [List]) -> bool {
    let mut changed = false;
    for list in lists {
        changed |= list.look();
    }
    changed
}

async fn resolve(step: Step, nowhere: &Nowhere) -> Vec<SocketAddr> {
    let (name, list) = match step {
        Step::Addr(addr) => return vec![addr],
        Step::Name(name, list) => (name, list),
    };
    let why = match tokio::time::timeout(LOOKUP, tokio::net::lookup_host(&name)).await {
        Ok(Ok(addrs)) => {
            if nowhere.found(&name) {
                info!("{name} in {} resolves now", list.display());
            }
            return addrs.collect();
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", LOOKUP.as_secs()),
    };
    // It may be known on the next sweep.
    if nowhere.note(&name, &list, &why) {
        warn!("{name} in {} does not resolve: {why}; it is looked up again and again", list.display());
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[tokio::test]
    async fn a_network_is_searched_whole_first_fast_and_then_slowly() {
        let (found_in, mut found) = mpsc::channel(1);
        let pace = Pace { first: 1000, later: 100, again: Duration::from_millis(100) };
        let task = tokio::spawn(sweep_at(pace, vec!["10.0.0.0/26".parse().unwrap()], 77, Nowhere::default(), found_in));
        let round = async |found: &mut mpsc::Receiver<SocketAddr>| {
            let began = Instant::now();
            let mut seen = BTreeSet::new();
            while seen.len() < 62 {
                assert!(seen.insert(found.recv().await.unwrap()), "each once");
            }
            (seen, began.elapsed())
        };
        let (first, _) = round(&mut found).await;
        let (second, slow) = round(&mut found).await;
        assert_eq!(first, second);
        assert!(
            first.contains(&"10.0.0.1:2789".parse().unwrap()) && first.contains(&"10.0.0.62:2789".parse().unwrap())
        );
        assert!(slow >= Duration::from_millis(600), "not faster than its pace: {slow:?}");
        drop(found);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_list_is_read_again_when_it_changes_and_a_bad_or_missing_one_stops_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers");
        let source = Source::File(path.clone());
        let (found_in, mut found) = mpsc::channel(1);
        let nowhere = Nowhere::default();
        let task = tokio::spawn(sweep(vec![source], 0, nowhere.clone(), found_in));
        let mut next = async || tokio::time::timeout(Duration::from_secs(60), found.recv()).await.unwrap().unwrap();
        std::fs::write(&path, "10.0.0.1:1\nnot a host\n").unwrap();
        assert_eq!(next().await, "10.0.0.1:1".parse().unwrap());
        std::fs::write(&path, "10.0.0.2:2 # instead\n").unwrap();
        while next().await != "10.0.0.2:2".parse().unwrap() {}
        // While it is away, what it said stands.
        std::fs::remove_file(&path).unwrap();
        assert_eq!(next().await, "10.0.0.2:2".parse().unwrap());
        std::fs::write(&path, "localhost:3\n").unwrap();
        while next().await.port() != 3 {}
        // A name that leads nowhere is said, and stops nobody.
        std::fs::write(&path, "no-such-host.invalid:4\nlocalhost:5\nlocalhost:6\n").unwrap();
        while nowhere.now().is_empty() {
            next().await;
        }
        assert_eq!(nowhere.now().into_keys().collect::<Vec<_>>(), ["no-such-host.invalid:4"]);
        std::fs::write(&path, "localhost:7 # corrected\n").unwrap();
        while next().await.port() != 7 {}
        assert_eq!(nowhere.now().len(), 0);
        drop(found);
        task.await.unwrap();
    }
}
