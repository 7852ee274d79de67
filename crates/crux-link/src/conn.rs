//! One connection: what a link runs on between one key exchange and the next.

use crate::config::Renewals;
use crate::event::PeerInfo;
use crate::identity::Identity;
use crate::wire::Code;
use quinn::{Connection, VarInt};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// So long nothing must have been on a connection before it is given up.
const QUIET: Duration = Duration::from_millis(200);

/// What one side tells the other about a connection, one byte on a stream of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Note {
    /// Dial me anew: my certificate has changed.
    PleaseRenew = 1,
    /// Nothing of mine is on this connection any more; a later one carries the link.
    Done = 2,
}

/// A connection that was welcomed, with what is known of it.
pub(crate) struct Conn {
    pub(crate) quic: Connection,
    pub(crate) info: PeerInfo,
    /// What we showed the peer.
    pub(crate) own: Arc<Identity>,
    /// When its keys were exchanged.
    pub(crate) born: Instant,
    /// When it should be replaced, as a share of the period in thousandths: differs so that links do not renew together.
    pub(crate) renew_at: u64,
    /// How long its keys were to live when they were exchanged. A flock that falls apart does not lose its links for being
    /// smaller: they are renewed soon, and cut by the limit under which they were made.
    renewals: Renewals,
    /// The generation of trust that vouched for the peer last.
    trusted: AtomicU64,
    /// Bulk streams in somebody's hands or on their way.
    bulk: AtomicUsize,
    /// Since when it is idle, as far as was seen.
    idle: Mutex<Option<Instant>>,
    /// The stream of frames is open, so that others come after it.
    pub(crate) framing: AtomicBool,
    /// The peer's frames are all read, to the clean end of their stream.
    pub(crate) heard: AtomicBool,
    /// The stream of the peer's frames has ended, cleanly or not.
    pub(crate) over: watch::Sender<bool>,
    /// The peer has all our frames.
    pub(crate) told: AtomicBool,
    /// We have sent [`Note::PleaseRenew`].
    pub(crate) asked: AtomicBool,
    /// The peer has sent it.
    pub(crate) wanted: AtomicBool,
    /// We have sent [`Note::Done`].
    pub(crate) done: AtomicBool,
    /// The peer has sent it.
    pub(crate) peer_done: AtomicBool,
}

impl Conn {
    pub(crate) fn new(
        quic: Connection,
        info: PeerInfo,
        own: Arc<Identity>,
        trusted: u64,
        renew_at: u64,
        renewals: Renewals,
    ) -> Self {
        Self {
            renewals,
            quic,
            info,
            own,
            born: Instant::now(),
            renew_at,
            trusted: trusted.into(),
            bulk: 0.into(),
            idle: Mutex::default(),
            framing: false.into(),
            heard: false.into(),
            over: watch::Sender::new(false),
            told: false.into(),
            asked: false.into(),
            wanted: false.into(),
            done: false.into(),
            peer_done: false.into(),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.quic.close_reason().is_none()
    }

    /// The age at which its keys may not be used any more, where they are to live so long now.
    pub(crate) fn limit(&self, now: &Renewals) -> Duration {
        self.renewals.limit().max(now.limit())
    }

    /// Whether trust of this generation has looked at the peer.
    pub(crate) fn trusted_by(&self) -> u64 {
        self.trusted.load(Ordering::Relaxed)
    }

    pub(crate) fn trust(&self, generation: u64) {
        self.trusted.fetch_max(generation, Ordering::Relaxed);
    }

    pub(crate) fn begin_bulk(&self) {
        self.bulk.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end_bulk(&self) {
        self.bulk.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether nothing of ours and nothing that we wait for has been on it for a while. (A stream that the peer opened at
    /// the very end may be on its way into our hands.)
    pub(crate) fn is_quiet(&self, now: Instant) -> bool {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.frames_are_through() || self.bulk.load(Ordering::Relaxed) != 0 {
            *idle = None;
            return false;
        }
        now.saturating_duration_since(*idle.get_or_insert(now)) >= QUIET
    }

    /// Whether the frames of both sides have arrived, so that closing it loses none.
    pub(crate) fn frames_are_through(&self) -> bool {
        self.heard.load(Ordering::Relaxed) && self.told.load(Ordering::Relaxed)
    }

    /// The first end of the two certificates, in Unix seconds.
    pub(crate) fn ends(&self) -> u64 {
        self.info.not_after.min(self.own.bundle.life().1)
    }

    /// Tells the peer something, if the stream of frames is open already; else ask again later.
    pub(crate) fn note(self: &Arc<Self>, note: Note) -> bool {
        if !self.framing.load(Ordering::Relaxed) {
            return false;
        }
        let conn = self.clone();
        tokio::spawn(async move {
            // Without the connection the note is of no use.
            let Ok(mut stream) = conn.quic.open_uni().await else { return };
            if stream.write_all(&[note as u8]).await.is_ok() {
                let _ = stream.finish();
            }
        });
        true
    }

    /// The peer said something about this connection.
    pub(crate) fn noted(&self, byte: u8) {
        match byte {
            b if b == Note::PleaseRenew as u8 => self.wanted.store(true, Ordering::Relaxed),
            b if b == Note::Done as u8 => self.peer_done.store(true, Ordering::Relaxed),
            // A later version may say more.
            _ => {}
        }
    }

    /// Closes it because a later one carries the link.
    pub(crate) fn retire(&self, why: &str) {
        self.quic.close(VarInt::from_u32(Code::Renewed as u32), why.as_bytes());
    }
}
