//! What comes from peers: decoded, and facts checked, before it is an input. A peer that sends what is malformed is
//! named in the log, at most once in ten seconds, and never stops the node.

use crate::driver::CHECKED;
use crate::peers::Peers;
use bytes::Bytes;
use crux_core::facts::version::Checked;
use crux_core::io::{Input, Peer};
use crux_core::wire::{self, BadFrame, Frame};
use crux_link::{DialFailure, LinkEvent, PeerInfo};
use crux_names::{BlocName, Boot, FulcrumId, Member};
use crux_pki::Trust;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// At most one complaint about a peer in this time.
const COMPLAIN: Duration = Duration::from_secs(10);

/// What became of a link event.
pub(super) enum Taken {
    /// The engine has to know.
    Input(Input),
    /// A peer knows a later life of this fulcrum.
    BootTooOld(Boot),
    /// Somebody else deals with it, or nobody.
    Nothing,
}

/// Decodes, checks, complains.
pub(crate) struct Inbox {
    bloc: BlocName,
    /// Sealed facts on their way to be checked.
    unchecked: blocking::SyncSender<(Member, Vec<Bytes>)>,
    /// Streams that peers open.
    peers: Peers,
    complaints: BTreeMap<FulcrumId, (Option<Instant>, u32)>,
}

impl Inbox {
    /// An inbox, and where facts come out of it once they are checked. Signatures are checked on a thread of their own:
    /// a thousand facts of a peer must not hold up a probe.
    pub(crate) fn new(trust: Arc<Trust>, peers: Peers) -> (Self, mpsc::Receiver<(Member, Vec<Checked>)>) {
        let bloc = trust.bloc().clone();
        let (unchecked, jobs) = blocking::sync_channel::<(Member, Vec<Bytes>)>(CHECKED);
        let (checked, out) = mpsc::channel(CHECKED);
        std::thread::Builder::new()
            .name("crux-facts".into())
            .spawn(move || {
                // Ends with the inbox, or with the driver.
                for (from, sealed) in jobs {
                    let (good, bad) = check(&trust, sealed);
                    for cause in bad {
                        warn!("a fact from {from} is not taken: {cause}");
                    }
                    if !good.is_empty() && checked.blocking_send((from, good)).is_err() {
                        return;
                    }
                }
            })
            .expect("a thread at the start");
        (Self { bloc, unchecked, peers, complaints: BTreeMap::new() }, out)
    }

    /// Takes one link event.
    pub(super) fn link(&mut self, event: LinkEvent) -> Taken {
        match event {
            LinkEvent::Up { peer, dialed } => {
                info!("linked with {} at {}", peer.member, peer.addr);
                Taken::Input(Input::LinkUp { peer: introduced(peer), dialed })
            }
            LinkEvent::Down { peer, why } => {
                info!("the link to {peer} ended: {why}");
                Taken::Input(Input::LinkDown { peer, why })
            }
            LinkEvent::Datagram { peer, bytes } => match wire::decode_datagram(bytes) {
                Ok(datagram) => Taken::Input(Input::Datagram { from: peer, datagram }),
                Err(cause) => self.bad(&peer, cause),
            },
            LinkEvent::Frame { peer, bytes } => match Frame::decode(bytes, &self.bloc) {
                Ok(Frame::Facts { sealed }) => {
                    if self.unchecked.try_send((peer, sealed)).is_err() {
                        // The digests will differ, so they come again.
                        debug!("too many facts wait to be checked; these are taken later");
                    }
                    Taken::Nothing
                }
                Ok(frame) => Taken::Input(Input::Frame { from: peer, frame }),
                Err(cause) => self.bad(&peer, cause),
            },
            LinkEvent::DialFailed { addr, why } => match why {
                DialFailure::BootTooOld { floor, .. } => Taken::BootTooOld(floor),
                // There is a link, so nothing failed that the flock should know of.
                DialFailure::Already(_) => Taken::Nothing,
                why => {
                    let myself = matches!(why, DialFailure::Myself);
                    let refused = matches!(why, DialFailure::Refused { .. } | DialFailure::Rejected { .. });
                    debug!("dialling {addr}: {why}");
                    Taken::Input(Input::DialFailed { addr, why: why.to_string(), myself, refused })
                }
            },
            LinkEvent::Refused { addr, reason } => {
                warn!("refused at the door: {addr}: {reason}");
                Taken::Nothing
            }
            LinkEvent::BootTooOld { floor } => Taken::BootTooOld(floor),
            LinkEvent::Bulk { peer, send, recv } => {
                self.peers.answer(peer, send, recv);
                Taken::Nothing
            }
        }
    }

    fn bad(&mut self, peer: &Member, cause: BadFrame) -> Taken {
        if cause == BadFrame::Unknown {
            debug!("{peer} says something that only a newer version knows");
        } else {
            self.complain(peer, &cause);
        }
        Taken::Nothing
    }

    fn complain(&mut self, peer: &Member, cause: &dyn Display) {
        let now = Instant::now();
        let (said, silent) = self.complaints.entry(peer.id.clone()).or_default();
        if said.is_some_and(|said| now.saturating_duration_since(said) < COMPLAIN) {
            *silent += 1;
            return;
        }
        warn!("a message from {peer} is not taken: {cause} ({silent} more since the last such line)");
        (*said, *silent) = (Some(now), 0);
    }
}

fn introduced(info: PeerInfo) -> Peer {
    Peer { member: info.member, addr: info.addr, admission: info.admission, labels: info.labels }
}

/// Sealed versions from the store: those whose signatures hold, and why the others do not.
pub(crate) fn check_loaded(trust: &Trust, sealed: Vec<Bytes>) -> (Vec<Checked>, Vec<String>) {
    check(trust, sealed)
}

fn check(trust: &Trust, sealed: Vec<Bytes>) -> (Vec<Checked>, Vec<String>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for sealed in sealed {
        match crux_pki::facts::check(trust, sealed) {
            Ok(version) => good.push(version),
            Err(cause) => bad.push(cause.to_string()),
        }
    }
    (good, bad)
}
