//! A new bundle that was installed while the fulcrum runs is picked up, and a certificate that nears its end is said.

use crate::papers::Papers;
use crux_link::Links;
use crux_pki::{Bundle, LifeWarning, span, unix_now};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;
use tracing::{error, info, warn};

/// How often the files are looked at. A change is taken at the second look that shows it, for files are replaced one
/// after the other.
const LOOK: Duration = Duration::from_secs(2);
/// How often it is said again that the certificate has ended.
const ENDED: Duration = Duration::from_secs(60);

/// What tells one state of the files from another.
type Stamp = Vec<Option<(SystemTime, u64)>>;

fn stamp(dir: &Path) -> Stamp {
    ["cert.pem", "key.pem", "trust.pem"]
        .iter()
        .map(|name| {
            let found = std::fs::metadata(dir.join(name)).ok()?;
            Some((found.modified().ok()?, found.len()))
        })
        .collect()
}

/// Looks after one bundle directory.
pub(super) struct Watch {
    dir: PathBuf,
    links: Links,
    papers: Papers,
    /// The last state of the files that was dealt with.
    handled: Option<Stamp>,
    seen: Option<Stamp>,
    /// The certificate's end that was spoken of, and the last warning of it.
    said: (u64, Option<LifeWarning>),
    said_ended: Option<Instant>,
}

impl Watch {
    /// Of this directory. A bundle that is taken goes to `papers`, and with them to the TCP ports, and to the links.
    pub(super) fn new(dir: PathBuf, links: Links, papers: Papers) -> Self {
        Self { dir, links, papers, handled: None, seen: None, said: (0, None), said_ended: None }
    }

    /// Runs until it is aborted.
    pub(super) async fn run(mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look().await;
        }
    }

    async fn look(&mut self) {
        let now = Some(stamp(&self.dir));
        if now == self.seen && now != self.handled {
            self.handled = now.clone();
            self.take().await;
        }
        self.seen = now;
        self.say_age(unix_now());
    }

    async fn take(&mut self) {
        let dir = self.dir.clone();
        let loaded = tokio::task::spawn_blocking(move || Bundle::load(&dir)).await;
        let loaded = loaded.map_err(|e| e.to_string()).and_then(|loaded| loaded.map_err(|e| e.to_string()));
        let before = self.papers.now();
        let taken = loaded.and_then(|bundle| {
            let bundle = Arc::new(bundle);
            let changes = changes(&before, &bundle);
            if changes.is_empty() {
                return Ok(changes);
            }
            // These look more closely: what they take, the links take too.
            self.papers.replace((*bundle).clone()).map_err(|e| e.to_string())?;
            if let Err(cause) = self.links.reload(bundle.clone(), self.papers.trust()) {
                // Not one at the ports and another on the links.
                self.papers.replace((*before).clone()).map_err(|e| format!("{cause}; nor the one before: {e}"))?;
                return Err(cause.to_string());
            }
            Ok(changes)
        });
        let was_bad = self.papers.not_taken().is_some();
        self.papers.note(taken.as_ref().err().cloned());
        if was_bad && matches!(&taken, Ok(changes) if changes.is_empty()) {
            info!("the bundle in {} is the one in use again", self.dir.display());
        }
        match taken {
            Ok(changes) if changes.is_empty() => {}
            Ok(changes) => info!("the bundle in {} is in use now: {}", self.dir.display(), changes.join(", ")),
            Err(cause) => warn!(
                "the bundle in {} has changed and is not used: {cause}. The one before stays in use",
                self.dir.display()
            ),
        }
    }

    /// Says once at each mark how much of the certificate's life is over, and again and again when all of it is.
    fn say_age(&mut self, now: u64) {
        let life = self.papers.now().lifetime();
        let end = life.not_after;
        if self.said.0 != end {
            self.said = (end, None);
            self.said_ended = None;
        }
        let warning = life.warning(now);
        match warning {
            Some(LifeWarning::Ended) if self.said_ended.is_none_or(|said| said.elapsed() >= ENDED) => {
                self.said_ended = Some(Instant::now());
                error!(
                    "this node's certificate has ended and its links with it; install a new bundle in {}: it is picked up \
                     without a restart",
                    self.dir.display()
                );
            }
            Some(warning) if warning != LifeWarning::Ended && self.said.1 < Some(warning) => {
                let left = span(life.left(now));
                warn!("{warning}: {left} left; renew it with crux ca renew and install it");
            }
            _ => {}
        }
        self.said.1 = self.said.1.max(warning);
    }
}

/// What an operator should know of the difference.
fn changes(before: &Bundle, after: &Bundle) -> Vec<String> {
    let mut changes = Vec::new();
    if before.chain() != after.chain() {
        changes.push(format!("another certificate, with {} left", span(after.lifetime().left(unix_now()))));
    }
    if before.admission() != after.admission() {
        changes.push(format!("admission {} after {}", after.admission(), before.admission()));
    }
    if before.labels() != after.labels() {
        changes.push("other labels".to_owned());
    }
    let roots = |bundle: &Bundle| bundle.trust().roots().map(|root| root.to_vec()).collect::<BTreeSet<_>>();
    let (old, new) = (roots(before), roots(after));
    let (added, removed) = (new.difference(&old).count(), old.difference(&new).count());
    if added > 0 {
        changes.push(format!("roots added: {added}"));
    }
    if removed > 0 {
        changes.push(format!("roots removed: {removed}; links to those whom only they vouch for are cut"));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crux_link::LinkConfig;
    use crux_names::Boot;
    use crux_pki::{Ca, IssueRequest, Role};
    use std::fs;
    use tokio::sync::mpsc;

    /// As `install` does it: one file after the other.
    fn install(bundle: &Bundle, dir: &Path) {
        let fresh = tempfile::tempdir().unwrap();
        bundle.save(&fresh.path().join("bundle")).unwrap();
        for name in ["trust.pem", "key.pem", "cert.pem"] {
            fs::copy(fresh.path().join("bundle").join(name), dir.join(name)).unwrap();
        }
    }

    #[tokio::test]
    async fn a_new_bundle_is_taken_and_a_bad_one_is_not() {
        let mut ca = Ca::in_memory("acme.example".parse().unwrap()).unwrap();
        let mut issue = |name: &str| ca.issue(IssueRequest::new(Role::Node(name.parse().unwrap()))).unwrap();
        let (first, second, somebody) = (issue("n1"), issue("n1"), issue("n2"));
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("id");
        first.save(&dir).unwrap();
        let (events, _out) = mpsc::channel(16);
        let listen = "127.0.0.1:0".parse().unwrap();
        let links = Links::bind(LinkConfig::new(first.clone(), listen, Boot(1)), events).await.unwrap();
        let papers = Papers::new(first.clone()).unwrap();
        let mut watch = Watch::new(dir.clone(), links.clone(), papers.clone());
        let shown = || links.bundle().chain().to_vec();
        let identity = || papers.now().chain().to_vec();
        for _ in 0..3 {
            watch.look().await;
        }
        assert_eq!(shown(), first.chain());

        install(&second, &dir);
        watch.look().await;
        assert_eq!(shown(), first.chain(), "not at the first look: more may follow");
        watch.look().await;
        assert_eq!((shown(), identity()), (second.chain().to_vec(), second.chain().to_vec()));

        // Another node's, a key that is not its own, and nothing at all: the one before stays.
        install(&somebody, &dir);
        watch.look().await;
        watch.look().await;
        assert_eq!(shown(), second.chain());
        fs::write(dir.join("cert.pem"), "rubbish").unwrap();
        watch.look().await;
        watch.look().await;
        fs::remove_file(dir.join("cert.pem")).unwrap();
        watch.look().await;
        watch.look().await;
        assert_eq!((shown(), identity()), (second.chain().to_vec(), second.chain().to_vec()));
        install(&first, &dir);
        watch.look().await;
        watch.look().await;
        assert_eq!(shown(), first.chain());
    }

    #[tokio::test]
    async fn the_end_is_said_at_each_mark_once() {
        let mut ca = Ca::in_memory("acme.example".parse().unwrap()).unwrap();
        let bundle = ca.issue(IssueRequest::new(Role::Node("n1".parse().unwrap()))).unwrap();
        let (begin, end) = bundle.life();
        let (events, _out) = mpsc::channel(16);
        let listen = "127.0.0.1:0".parse().unwrap();
        let links = Links::bind(LinkConfig::new(bundle.clone(), listen, Boot(1)), events).await.unwrap();
        let mut watch = Watch::new("nowhere".into(), links, Papers::new(bundle).unwrap());
        let mut said = Vec::new();
        for percent in [0, 10, 49, 51, 60, 67, 89, 91, 99] {
            watch.say_age(begin + (end - begin) * percent / 100);
            said.push(watch.said.1);
        }
        use LifeWarning::{Half, NineTenths, TwoThirds};
        let marks = [None, None, None, Some(Half), Some(Half), Some(TwoThirds), Some(TwoThirds), Some(NineTenths)];
        assert_eq!(said, [&marks[..], &[Some(NineTenths)]].concat());
        assert!(watch.said_ended.is_none());
        watch.say_age(end + 1);
        assert!(watch.said_ended.is_some());
    }
}
