//! Liveness connections: one idle TCP connection, TLS 1.3 with both node certificates, to each peer that the heart wants
//! watched. Nothing is ever sent on it. When a process dies while its host lives, the kernel ends its connections at once,
//! and that end is a hint: the heart asks the peer itself before it believes anything.
//!
//! A connection that ends with TLS's own goodbye was ended on purpose and hints at nothing; a process that dies cannot say
//! it. Of two that watch each other the lower member dials; where the lower one does not (it does not watch), the higher
//! one does after a moment.
//!
//! | file | subject |
//! |---|---|
//! | `hold` | one connection from its handshake to its end |
//! | `dial` | keeping one to a watched peer |

mod dial;
mod hold;

use crate::papers::Papers;
use crux_names::{Member, NodeName};
use crux_pki::{Admitted, Refusal, RoleKind, live_client_config};
use hold::Ended;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsConnector;
use tracing::debug;

/// The protocol's name at the API port.
pub(crate) const ALPN: &[u8] = b"crux-live/1";
/// How many hints may wait: they are for haste, and one that is late is worth nothing.
pub(crate) const HINTS: usize = 64;
/// Most connections that one node may keep here: it may run several fulcrums. One more ends the oldest.
const PER_NODE: usize = 8;
/// Most connections that nodes may keep here, all together.
const ACCEPTED_MAX: usize = 512;
/// Most dials at once: a handshake is a millisecond or two of a core, and a flock that forms needs it more.
const DIALS: usize = 4;
/// How long ending all of them on purpose may take.
const GOODBYE: Duration = Duration::from_millis(300);

/// Finds a peer's API port; `None` while there is no link to it or it has none.
pub(crate) type Find = Arc<dyn Fn(&Member) -> Option<SocketAddr> + Send + Sync>;

/// Ends a connection on purpose when it is dropped.
type Leash = watch::Sender<()>;

#[derive(Default)]
struct State {
    /// Whom the heart wants watched, each with the leash of the task that sees to it.
    watched: BTreeMap<Member, Leash>,
    /// Connections that nodes keep here, oldest first.
    accepted: BTreeMap<NodeName, Vec<(u64, Leash)>>,
    next: u64,
    /// Nothing is begun any more.
    ended: bool,
}

struct Inner {
    me: Member,
    papers: Papers,
    tls: TlsConnector,
    find: Find,
    hints: mpsc::Sender<Member>,
    dials: Semaphore,
    /// Where the connections that this side opens run.
    runtime: Handle,
    state: Mutex<State>,
    /// Becomes changed whenever a node's connections do.
    changed: watch::Sender<()>,
    /// Held by every task: all have ended when its receivers are gone.
    tasks: watch::Sender<()>,
}

/// The liveness connections of one life of a fulcrum. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Live {
    inner: Arc<Inner>,
}

impl Live {
    /// None yet. Hints go to `hints`.
    pub(crate) fn new(me: Member, papers: &Papers, find: Find, hints: mpsc::Sender<Member>, runtime: Handle) -> Self {
        let tls = live_client_config(papers.live(), &[RoleKind::Node], &[ALPN]);
        let (papers, tls) = (papers.clone(), TlsConnector::from(Arc::new(tls)));
        let (changed, tasks) = (watch::Sender::new(()), watch::Sender::new(()));
        let state = Mutex::default();
        let dials = Semaphore::new(DIALS);
        Self { inner: Arc::new(Inner { me, papers, tls, find, hints, dials, runtime, state, changed, tasks }) }
    }

    /// Watches these peers and no others.
    pub(crate) fn watch(&self, peers: Vec<Member>) {
        let mut state = self.inner.lock();
        if state.ended {
            return;
        }
        // Letting go of a leash ends the connection on purpose.
        state.watched.retain(|member, _| peers.contains(member));
        for peer in peers.into_iter().filter(|peer| *peer != self.inner.me) {
            if state.watched.contains_key(&peer) {
                continue;
            }
            let (leash, pulled) = watch::channel(());
            state.watched.insert(peer.clone(), leash);
            let (inner, running) = (self.inner.clone(), self.inner.tasks.subscribe());
            self.inner.runtime.spawn(async move {
                dial::keep(&inner, &peer, pulled).await;
                drop(running);
            });
        }
    }

    /// Keeps a node's connection until it ends.
    ///
    /// # Errors
    /// If the certificate is no node's, or there is no room.
    pub(crate) async fn accept<S>(
        &self,
        mut stream: tokio_rustls::server::TlsStream<S>,
        admitted: &Admitted,
    ) -> Result<(), Refusal>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let node = match admitted.node() {
            Ok(node) => node.clone(),
            Err(refusal) => {
                // Said, so that it is no hint at the other end.
                let _ = stream.shutdown().await;
                return Err(refusal);
            }
        };
        let Some((number, pulled)) = self.inner.take_in(&node) else {
            let _ = stream.shutdown().await;
            return Ok(());
        };
        let running = self.inner.tasks.subscribe();
        let ended = hold::hold(&mut stream, pulled, self.inner.papers.refuses(admitted)).await;
        self.inner.let_go(&node, number);
        if ended == Ended::Broke {
            // The connection says which node; which of its fulcrums that was the heart finds out by asking.
            self.inner.hint(|member| member.id.node == node);
        }
        drop(running);
        Ok(())
    }

    /// How many connections of others are kept here.
    #[cfg(test)]
    pub(crate) fn accepted(&self) -> usize {
        self.inner.lock().accepted.values().map(Vec::len).sum()
    }

    /// Ends all connections on purpose.
    pub(crate) async fn end(&self) {
        {
            let mut state = self.inner.lock();
            state.ended = true;
            state.watched.clear();
            state.accepted.clear();
        }
        let _ = tokio::time::timeout(GOODBYE, self.inner.tasks.closed()).await;
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for one more connection of this node; `None` if there is none.
    fn take_in(&self, node: &NodeName) -> Option<(u64, watch::Receiver<()>)> {
        let mut state = self.lock();
        if state.ended || state.accepted.values().map(Vec::len).sum::<usize>() >= ACCEPTED_MAX {
            return None;
        }
        let number = state.next;
        state.next += 1;
        let (leash, pulled) = watch::channel(());
        let of_node = state.accepted.entry(node.clone()).or_default();
        if of_node.len() >= PER_NODE {
            of_node.remove(0);
        }
        of_node.push((number, leash));
        drop(state);
        self.changed.send_replace(());
        Some((number, pulled))
    }

    fn let_go(&self, node: &NodeName, number: u64) {
        let mut state = self.lock();
        if let Some(of_node) = state.accepted.get_mut(node) {
            of_node.retain(|(other, _)| *other != number);
            if of_node.is_empty() {
                state.accepted.remove(node);
            }
        }
        drop(state);
        self.changed.send_replace(());
    }

    fn has_accepted(&self, node: &NodeName) -> bool {
        self.lock().accepted.contains_key(node)
    }

    /// Tells the heart that these watched peers may be gone.
    fn hint(&self, which: impl Fn(&Member) -> bool) {
        let peers: Vec<Member> = self.lock().watched.keys().filter(|member| which(member)).cloned().collect();
        for peer in peers {
            debug!("the idle connection to {peer} broke: its process may be gone");
            // Where so many wait already, one more would come too late to hasten anything.
            let _ = self.hints.try_send(peer);
        }
    }
}

#[cfg(test)]
mod tests;
