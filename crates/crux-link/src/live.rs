//! A link as everybody but its own task sees it: one life of two members, on one connection after another.

use crate::conn::Conn;
use crate::counters::Tally;
use crate::event::{LinkInfo, PeerInfo};
use crate::link::Queue;
use crate::wire::{self, Code};
use crate::{FRAME_MAX, config::Renewals};
use crux_names::Member;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;

/// The connections of a link: the one that carries it, and the one before as long as something is on its way there.
struct Chain {
    current: Arc<Conn>,
    older: Option<Arc<Conn>>,
}

impl Chain {
    fn may_succeed(&self) -> Result<(), &'static str> {
        match &self.older {
            Some(older) if older.is_up() && !older.frames_are_through() => {
                Err("the change of keys before this one is not through yet")
            }
            _ => Ok(()),
        }
    }
}

/// How the replacing of its keys stands, at the side that dialled.
struct Renewing {
    running: bool,
    failures: u32,
    not_before: Instant,
}

/// A link.
pub(crate) struct Link {
    pub(crate) id: u64,
    /// What the dialler named it; a renewal says it again.
    pub(crate) token: u64,
    pub(crate) member: Member,
    pub(crate) dialed: bool,
    pub(crate) since: Instant,
    pub(crate) queue: Arc<Queue>,
    /// Room for what was received and the owner has not handled yet, in bytes.
    pub(crate) room: Arc<Semaphore>,
    pub(crate) tally: Arc<Tally>,
    /// Why we closed it, if we did.
    why: OnceLock<String>,
    chain: Mutex<Chain>,
    renewing: Mutex<Renewing>,
    next: mpsc::UnboundedSender<Arc<Conn>>,
    done: watch::Receiver<bool>,
}

/// Cheap to clone.
pub(crate) type Live = Arc<Link>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    pub(crate) fn new(
        id: u64,
        token: u64,
        dialed: bool,
        conn: Arc<Conn>,
        tally: Arc<Tally>,
    ) -> (Live, mpsc::UnboundedReceiver<Arc<Conn>>, watch::Sender<bool>) {
        let (next, conns) = mpsc::unbounded_channel();
        let (done, done_seen) = watch::channel(false);
        let now = Instant::now();
        // Its receiver is returned below.
        let _ = next.send(conn.clone());
        let live = Self {
            id,
            token,
            member: conn.info.member.clone(),
            dialed,
            since: now,
            queue: Arc::default(),
            room: Arc::new(Semaphore::new(FRAME_MAX)),
            tally,
            why: OnceLock::new(),
            chain: Mutex::new(Chain { current: conn, older: None }),
            renewing: Mutex::new(Renewing { running: false, failures: 0, not_before: now }),
            next,
            done: done_seen,
        };
        (Arc::new(live), conns, done)
    }

    /// The connection that carries it.
    pub(crate) fn current(&self) -> Arc<Conn> {
        lock(&self.chain).current.clone()
    }

    /// The connection before, while something is on its way there.
    pub(crate) fn older(&self) -> Option<Arc<Conn>> {
        lock(&self.chain).older.clone()
    }

    /// Who is at its other end, by the last certificate shown.
    pub(crate) fn info(&self) -> PeerInfo {
        self.current().info.clone()
    }

    /// Why we closed it, if we did.
    pub(crate) fn why(&self) -> Option<&String> {
        self.why.get()
    }

    /// Closes it for this reason, unless it is closed already.
    pub(crate) fn close(&self, code: Code, why: &str) {
        if self.why.set(why.to_owned()).is_ok()
            && let Some(kind) = code.cut()
        {
            self.tally.cut(kind);
        }
        self.end_connections(code, why);
    }

    /// Ends what is left of it after it has ended by itself.
    pub(crate) fn end_connections(&self, code: Code, why: &str) {
        let chain = lock(&self.chain);
        for conn in chain.older.iter().chain([&chain.current]) {
            wire::close(&conn.quic, code, why);
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.why.get().is_none() && self.current().is_up()
    }

    /// Whether a next connection may take over now.
    ///
    /// # Errors
    /// Why not, for people.
    pub(crate) fn may_succeed(&self) -> Result<(), &'static str> {
        lock(&self.chain).may_succeed()
    }

    /// The next connection takes over: what is sent from now on goes there.
    ///
    /// # Errors
    /// Why not, for people; the connection is then not used.
    pub(crate) fn succeed(&self, conn: Arc<Conn>) -> Result<(), &'static str> {
        let mut chain = lock(&self.chain);
        chain.may_succeed()?;
        if self.why.get().is_some() || !chain.current.is_up() {
            return Err("the link has ended");
        }
        if let Some(older) = chain.older.take() {
            older.retire("its keys were replaced twice; a bulk transfer that was still under way must begin again");
        }
        chain.older = Some(std::mem::replace(&mut chain.current, conn.clone()));
        drop(chain);
        // Without its task the link is ending, and the connection is closed with it.
        let _ = self.next.send(conn);
        Ok(())
    }

    /// Forgets the connection before, which has ended.
    pub(crate) fn forget(&self, conn: &Arc<Conn>) {
        let mut chain = lock(&self.chain);
        if chain.older.as_ref().is_some_and(|older| Arc::ptr_eq(older, conn)) {
            chain.older = None;
        }
    }

    /// Waits until its `Down` was told.
    pub(crate) async fn gone(&self) {
        // The sender goes away only with its task: then nothing more will be told either.
        let _ = self.done.clone().wait_for(|done| *done).await;
    }

    /// Whether to begin a renewal now; if so, it is under way.
    pub(crate) fn begin_renewal(&self, now: Instant) -> bool {
        let mut renewing = lock(&self.renewing);
        let begin = !renewing.running && now >= renewing.not_before;
        renewing.running |= begin;
        begin
    }

    /// A renewal ended; after a failure the next one waits, longer each time. Answers how many have failed in a row.
    pub(crate) fn end_renewal(&self, well: bool, renewals: &Renewals) -> u32 {
        let mut renewing = lock(&self.renewing);
        renewing.running = false;
        renewing.failures = if well { 0 } else { renewing.failures + 1 };
        let pause = renewals.period / 32 * (1 << renewing.failures.min(3));
        renewing.not_before = Instant::now() + if well { Duration::ZERO } else { pause };
        renewing.failures
    }

    pub(crate) fn describe(&self, renewals: &Renewals) -> LinkInfo {
        let conn = self.current();
        let stats = conn.quic.stats();
        LinkInfo {
            peer: conn.info.clone(),
            age: self.since.elapsed(),
            key_age: conn.born.elapsed(),
            key_limit: conn.limit(renewals),
            rtt: conn.quic.rtt(),
            tx_bytes: stats.udp_tx.bytes,
            rx_bytes: stats.udp_rx.bytes,
            dialed: self.dialed,
        }
    }
}
