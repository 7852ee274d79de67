//! What comes from peers: decoded, and facts checked, before it is an input. A peer that sends what no version sends is
//! named in the log, at most once in ten seconds, and its link is closed with the reason; it never stops the node.

use crate::anew::Anew;
use crate::driver::CHECKED;
use crate::driver::order::{Batch, Fate, Order};
use crate::peers::Peers;
use crate::turned_away::TurnedAway;
use crate::wall;
use bytes::Bytes;
use crux_core::facts::version::Checked;
use crux_core::io::{Event, Input, Peer};
use crux_core::wire::{self, BadFrame, Frame};
use crux_link::{DialFailure, LinkEvent, PeerInfo};
use crux_names::{BlocName, Boot, FulcrumId, Member, NodeName};
use crux_pki::facts::Checker;
use crux_pki::{Bundle, Trust};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// A dial that is refused is told of once in this time.
const REFUSED: Duration = Duration::from_secs(60);
/// At most one complaint about a peer in this time.
const COMPLAIN: Duration = Duration::from_secs(10);

/// Why a peer's link is cut that floods this fulcrum with facts.
const FLOOD: &str = "it sends facts faster than they can be checked, and does not wait for what comes of them";

/// What became of a link event.
pub(super) enum Taken {
    /// The engine has to know.
    Input(Input),
    /// This peer knows a later life of this fulcrum.
    BootTooOld { node: NodeName, known: Boot },
    /// People should know.
    Event(Event),
    /// The link to this peer must end, for this reason; the log has it already.
    Cut { peer: Member, why: String },
    /// Somebody else deals with it, or nobody.
    Nothing,
}

/// Facts of a peer whose signatures were looked at.
pub(crate) struct Looked {
    from: Member,
    good: Vec<Checked>,
    /// Why the others are not taken.
    bad: Vec<String>,
}

/// Decodes, checks, complains.
pub(crate) struct Inbox {
    bloc: BlocName,
    /// Sealed facts on their way to be checked: at most one batch of each peer.
    unchecked: blocking::Sender<(Member, Batch)>,
    order: Order,
    /// Who may make this fulcrum begin anew.
    anew: Anew,
    /// Streams that peers open.
    peers: Peers,
    /// Who was refused.
    turned_away: TurnedAway,
    /// By node: a peer that changes its fulcrum's name is no other peer.
    complaints: BTreeMap<NodeName, (Option<Instant>, u32)>,
    /// When a dial that was refused was last told of, by address.
    refused: BTreeMap<SocketAddr, Instant>,
    /// What is said of links that come and go, by fulcrum.
    links_said: BTreeMap<FulcrumId, Said>,
}

/// What was said of one fulcrum's links of late.
struct Said {
    /// Since when it is counted.
    since: Instant,
    /// Lines since then.
    lines: u32,
    /// Those that were not written.
    silent: u32,
}

/// So many lines about links with one fulcrum are written in [`LINES_IN`]; then one, with how many were not.
const LINES: u32 = 6;
const LINES_IN: Duration = Duration::from_secs(60);

impl Said {
    /// Whether another line is written now, and if so how many were not written since the last one.
    fn another(&mut self, now: Instant) -> Option<u32> {
        if now.saturating_duration_since(self.since) >= LINES_IN {
            // Who was too loud is heard once in that time until it is calm for as long.
            let lines = if self.silent > 0 { LINES - 1 } else { 0 };
            (self.since, self.lines) = (now, lines);
        }
        if self.lines >= LINES {
            self.silent = self.silent.saturating_add(1);
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.silent))
    }
}

impl Inbox {
    /// An inbox, and where facts come out of it once they are checked. Signatures are checked on a thread of their own:
    /// a thousand facts of a peer must not hold up a probe. What a peer says of a later life of this
    /// fulcrum is believed as far as `anew` allows.
    pub(crate) fn new(
        identity: watch::Receiver<Arc<Bundle>>,
        peers: Peers,
        turned_away: TurnedAway,
        anew: Anew,
    ) -> (Self, mpsc::Receiver<Looked>) {
        let bloc = identity.borrow().trust().bloc().clone();
        let (unchecked, jobs) = blocking::channel::<(Member, Batch)>();
        let (checked, out) = mpsc::channel(CHECKED);
        std::thread::Builder::new()
            .name("crux-facts".into())
            .spawn(move || {
                let mut checkers = Checkers::default();
                // Ends with the inbox, or with the driver.
                for (from, sealed) in jobs {
                    // By the roots of this moment: a root may have been added or removed.
                    let bundle = identity.borrow().clone();
                    let (good, bad) = checkers.check(bundle.trust(), sealed);
                    if checked.blocking_send(Looked { from, good, bad }).is_err() {
                        return;
                    }
                }
            })
            .expect("a thread at the start");
        let (order, complaints, refused) = (Order::default(), BTreeMap::new(), BTreeMap::new());
        let links_said = BTreeMap::new();
        (Self { bloc, unchecked, order, anew, peers, turned_away, complaints, refused, links_said }, out)
    }

    /// Takes facts that were checked, and what came after them.
    pub(super) fn looked(&mut self, Looked { from, good, bad }: Looked) -> Vec<Input> {
        for cause in bad {
            self.complain(&from, "a fact", &cause);
        }
        let mut inputs = Vec::new();
        let next = self.order.checked(&from);
        if !good.is_empty() {
            inputs.push(Input::Facts { from: from.clone(), versions: good });
        }
        inputs.extend(next.frames.into_iter().map(|frame| Input::Frame { from: from.clone(), frame }));
        if let Some(facts) = next.facts {
            self.check_later(from, facts);
        }
        inputs
    }

    fn check_later(&self, from: Member, facts: Batch) {
        // Its thread ends before the inbox only when the driver is ending.
        let _ = self.unchecked.send((from, facts));
    }

    /// Takes one link event.
    pub(super) fn link(&mut self, event: LinkEvent) -> Taken {
        match event {
            LinkEvent::Up { peer, dialed } => {
                let (member, addr) = (&peer.member, peer.addr);
                self.say_of_link(member, format_args!("linked with {member} at {addr}"));
                self.turned_away.let_in(peer.addr);
                Taken::Input(Input::LinkUp { peer: introduced(peer), dialed })
            }
            LinkEvent::Renewed { peer } => {
                debug!("the link to {} has new keys", peer.member);
                Taken::Nothing
            }
            LinkEvent::RenewalFailed { peer, why } => {
                let text = format!(
                    "the keys of the link to {peer} could not be replaced: {why}; it is tried again until they are too old, \
                     and the link is cut then"
                );
                Taken::Event(Event { kind: "link", subject: peer.id.to_string(), text })
            }
            LinkEvent::ProcessGone { peer } => {
                debug!("the process of {peer} seems to have ended");
                Taken::Input(Input::ProcessGone { peer })
            }
            LinkEvent::Twin { addr } => Taken::Input(Input::Twin { addr }),
            LinkEvent::Down { peer, why } => {
                self.say_of_link(&peer, format_args!("the link to {peer} ended: {why}"));
                self.order.ended(&peer);
                Taken::Input(Input::LinkDown { peer, why })
            }
            LinkEvent::Datagram { peer, bytes } => match wire::decode_datagram(bytes) {
                Ok(datagram) => Taken::Input(Input::Datagram { from: peer, datagram }),
                Err(cause) => self.bad(peer, cause),
            },
            LinkEvent::Frame { peer, bytes, room: _room } => match Frame::decode(bytes, &self.bloc) {
                Ok(Frame::Facts { sealed }) => match self.order.facts(&peer, sealed) {
                    Fate::Now(sealed) => {
                        self.check_later(peer, sealed);
                        Taken::Nothing
                    }
                    Fate::Later => Taken::Nothing,
                    Fate::Flood => self.flooded(peer),
                },
                Ok(frame) => match self.order.frame(&peer, frame) {
                    Fate::Now(frame) => Taken::Input(Input::Frame { from: peer, frame }),
                    Fate::Later => Taken::Nothing,
                    Fate::Flood => self.flooded(peer),
                },
                Err(cause) => self.bad(peer, cause),
            },
            LinkEvent::DialFailed { addr, why } => match why {
                DialFailure::BootTooOld { node, floor, .. } if self.may_begin_anew(&node) => {
                    Taken::BootTooOld { node, known: floor }
                }
                // There is a link, so nothing failed; but it need not be dialled again.
                DialFailure::Already(peer) => Taken::Input(Input::DialAnswered { addr, peer }),
                why => {
                    let myself = matches!(why, DialFailure::Myself);
                    let refused = matches!(
                        why,
                        DialFailure::Refused { .. } | DialFailure::Rejected { .. } | DialFailure::BootTooOld { .. }
                    );
                    if refused && self.news(addr) {
                        warn!("at {addr} somebody answers, but no link comes of it: {why}");
                    } else {
                        debug!("dialling {addr}: {why}");
                    }
                    Taken::Input(Input::DialFailed { addr, why: why.to_string(), myself, refused })
                }
            },
            LinkEvent::Refused { addr, reason } => {
                warn!("refused at the door: {addr}: {reason}");
                self.turned_away.note(addr, reason, wall());
                Taken::Nothing
            }
            LinkEvent::BootTooOld { node, floor } if self.may_begin_anew(&node) => {
                Taken::BootTooOld { node, known: floor }
            }
            LinkEvent::BootTooOld { node, floor } => {
                warn!("{node} knows boot {floor} of this fulcrum, which has begun anew for such a word not long ago");
                Taken::Nothing
            }
            LinkEvent::Bulk { peer, send, recv } => {
                self.peers.answer(peer, send, recv);
                Taken::Nothing
            }
        }
    }

    /// A word of a peer makes this fulcrum begin anew, but not again and again.
    fn may_begin_anew(&self, node: &NodeName) -> bool {
        self.anew.may(node, Instant::now())
    }

    /// Whether it may begin anew for a reason of its own.
    pub(super) fn may_start_over(&self) -> bool {
        self.anew.may_at_all(Instant::now())
    }

    /// Whether a refused dial to this address was not told of lately: it is dialled again and again.
    fn news(&mut self, addr: SocketAddr) -> bool {
        let now = Instant::now();
        self.refused.retain(|_, said| now.saturating_duration_since(*said) < REFUSED);
        let news = !self.refused.contains_key(&addr);
        if news {
            self.refused.insert(addr, now);
        }
        news
    }

    /// Writes what became of a link, but not each second: that is what a copy of a certificate makes of its links.
    fn say_of_link(&mut self, peer: &Member, line: std::fmt::Arguments) {
        let now = Instant::now();
        let kept = |said: &Said| if said.silent > 0 { LINES_IN * 10 } else { LINES_IN };
        self.links_said.retain(|_, said| now.saturating_duration_since(said.since) < kept(said));
        let said = self.links_said.entry(peer.id.clone()).or_insert(Said { since: now, lines: 0, silent: 0 });
        match said.another(now) {
            Some(0) => info!("{line}"),
            Some(more) => info!("{line} ({more} more such lines about {} are left out)", peer.id),
            None => debug!("{line}"),
        }
    }

    fn bad(&mut self, peer: Member, cause: BadFrame) -> Taken {
        if cause == BadFrame::Unknown {
            debug!("{peer} says something that only a newer version knows");
            return Taken::Nothing;
        }
        // No version says so: it is broken or hostile, and what it says next is worth nothing either.
        self.complain(&peer, "a message", &cause);
        Taken::Cut { peer, why: format!("a message of it was not taken: {cause}") }
    }

    fn flooded(&mut self, peer: Member) -> Taken {
        self.complain(&peer, "the flood of facts", &FLOOD);
        Taken::Cut { peer, why: FLOOD.to_owned() }
    }

    fn complain(&mut self, peer: &Member, what: &str, cause: &dyn Display) {
        let now = Instant::now();
        let (said, silent) = self.complaints.entry(peer.id.node.clone()).or_default();
        if said.is_some_and(|said| now.saturating_duration_since(said) < COMPLAIN) {
            *silent += 1;
            return;
        }
        warn!("{what} from {peer} is not taken: {cause} ({silent} more since the last such line)");
        (*said, *silent) = (Some(now), 0);
    }
}

fn introduced(info: PeerInfo) -> Peer {
    Peer { member: info.member, addr: info.addr, admission: info.admission, labels: info.labels }
}

/// Sealed versions from the store: those whose signatures hold, and why the others do not.
pub(crate) fn check_loaded(trust: &Trust, sealed: Vec<Bytes>) -> (Vec<Checked>, Vec<String>) {
    Checkers::default().check(trust, sealed)
}

/// So many facts are worth a second thread: one takes about as long to start as two signatures to verify.
const WORTH_TWO: usize = 32;

/// Checks signatures, many of them on two threads. Each has its own memory of good chains.
#[derive(Default)]
struct Checkers([Checker; 2]);

impl Checkers {
    /// Those that are good, in the order in which they came, and why the others are not.
    fn check(&mut self, trust: &Trust, mut sealed: Vec<Bytes>) -> (Vec<Checked>, Vec<String>) {
        let Self([first, second]) = self;
        let alone = sealed.len() < WORTH_TWO;
        let rest = if alone { Vec::new() } else { sealed.split_off(sealed.len() / 2) };
        std::thread::scope(|scope| {
            // A system that gives no thread now gives its work back.
            let work = Arc::new(Mutex::new(rest));
            let theirs = work.clone();
            let other = (!alone)
                .then(|| {
                    let named = std::thread::Builder::new().name("crux-facts-2".into());
                    named.spawn_scoped(scope, move || check(second, trust, taken(&theirs))).ok()
                })
                .flatten();
            let (mut good, mut bad) = check(first, trust, sealed);
            let (more, worse) = match other.map(std::thread::ScopedJoinHandle::join) {
                Some(Ok(both)) => both,
                Some(Err(panic)) => std::panic::resume_unwind(panic),
                None => check(first, trust, taken(&work)),
            };
            good.extend(more);
            bad.extend(worse);
            (good, bad)
        })
    }
}

fn taken(work: &Mutex<Batch>) -> Batch {
    std::mem::take(&mut work.lock().unwrap_or_else(PoisonError::into_inner))
}

fn check(checker: &mut Checker, trust: &Trust, sealed: Batch) -> (Vec<Checked>, Vec<String>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for sealed in sealed {
        match checker.check(trust, sealed) {
            Ok(version) => good.push(version),
            Err(cause) => bad.push(cause.to_string()),
        }
    }
    (good, bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crux_link::{LinkConfig, Links, Room};
    use crux_pki::{Ca, IssueRequest, Role};

    /// An inbox of a life that began because of these nodes' words.
    async fn inbox(believed: &[&str]) -> (Inbox, mpsc::Receiver<Looked>) {
        let mut ca = Ca::in_memory("acme.example".parse().unwrap()).unwrap();
        let bundle = ca.issue(IssueRequest::new(Role::Node("n1".parse().unwrap()))).unwrap();
        let identity = watch::Sender::new(Arc::new(bundle.clone()));
        let (events, _) = mpsc::channel(1);
        let links =
            Links::bind(LinkConfig::new(bundle, "127.0.0.1:0".parse().unwrap(), Boot(1)), events).await.unwrap();
        let asker = crate::ask::Asker::new(mpsc::channel(1).0, watch::channel(0).1);
        let peers = Peers::new(links, asker, tokio::runtime::Handle::current());
        let mut anew = Anew::default();
        believed.iter().for_each(|node| anew.follow(node.parse().unwrap(), Instant::now()));
        Inbox::new(identity.subscribe(), peers, TurnedAway::default(), anew)
    }

    #[tokio::test]
    async fn a_peers_word_makes_it_begin_anew_but_not_again_at_once() {
        let node: NodeName = "n2".parse().unwrap();
        let addr = "127.0.0.1:1".parse().unwrap();
        let dialled = || LinkEvent::DialFailed {
            addr,
            why: DialFailure::BootTooOld { by: addr, node: node.clone(), floor: Boot(9) },
        };
        let at_door = || LinkEvent::BootTooOld { node: node.clone(), floor: Boot(9) };
        let (mut fresh, _out) = inbox(&[]).await;
        for event in [dialled(), at_door()] {
            assert!(matches!(fresh.link(event), Taken::BootTooOld { node: who, known: Boot(9) } if who == node));
        }
        let (mut steady, _out) = inbox(&["n3"]).await;
        assert!(matches!(steady.link(dialled()), Taken::Input(Input::DialFailed { refused: true, .. })));
        assert!(matches!(steady.link(at_door()), Taken::Nothing));
    }

    #[test]
    fn what_comes_and_goes_each_second_is_said_now_and_then_with_a_count() {
        let begin = Instant::now();
        let mut said = Said { since: begin, lines: 0, silent: 0 };
        let at = |second| begin + Duration::from_secs(second);
        let heard: Vec<(u64, u32)> = (0..300).filter_map(|second| Some((second, said.another(at(second))?))).collect();
        let first = (0..6).map(|second| (second, 0));
        // Nothing of it is lost: what was left out is counted.
        let later = [(60, 54), (120, 59), (180, 59), (240, 59)];
        assert_eq!(heard, first.chain(later).collect::<Vec<_>>());
        // A minute of calm ends it.
        assert_eq!(said.another(at(400)), Some(59));
        assert_eq!((500..506).filter(|second| said.another(at(*second)) == Some(0)).count(), 6);
    }

    #[tokio::test]
    async fn what_closes_facts_waits_until_they_are_checked_also_bad_ones() {
        let (mut inbox, mut out) = inbox(&[]).await;
        let peer = Member { id: "n2".parse().unwrap(), boot: Boot(1) };
        let digest = Frame::FactsDigest { digest: crux_names::Hash256([7; 32]), count: 1 };
        for frame in [Frame::Facts { sealed: vec![Bytes::from_static(b"no fact")] }, digest.clone()] {
            let event = LinkEvent::Frame { peer: peer.clone(), bytes: frame.encode(), room: Room::default() };
            assert!(matches!(inbox.link(event), Taken::Nothing));
        }
        let looked = tokio::time::timeout(Duration::from_secs(60), out.recv()).await.unwrap().unwrap();
        assert_eq!((looked.good.len(), looked.bad.len()), (0, 1));
        let inputs = inbox.looked(looked);
        assert!(matches!(&inputs[..], [Input::Frame { from, frame }] if *from == peer && *frame == digest));
        let event = LinkEvent::Frame { peer: peer.clone(), bytes: digest.encode(), room: Room::default() };
        assert!(matches!(inbox.link(event), Taken::Input(Input::Frame { .. })), "nothing is before it any more");
    }

    #[tokio::test]
    async fn a_peer_that_sends_what_no_version_sends_is_cut_and_a_newer_one_is_not() {
        let (mut inbox, _out) = inbox(&[]).await;
        let peer = Member { id: "n2".parse().unwrap(), boot: Boot(1) };
        let mut event = |bytes: Vec<u8>| {
            inbox.link(LinkEvent::Frame { peer: peer.clone(), bytes: bytes.into(), room: Room::default() })
        };
        // Facts, as many as a frame has room for.
        let mut many = vec![0x1a, 0xc0, 0x84, 0x3d];
        many.extend([0x0a, 0].repeat(500_000));
        for bytes in [vec![0xff; 8], many] {
            let Taken::Cut { peer: who, why } = event(bytes) else { panic!("it is not cut") };
            assert!(who == peer && why.starts_with("a message of it was not taken: it"), "{why}");
        }
        let newer = vec![0x9a, 0x06, 0x02, 0x01, 0x02];
        assert!(matches!(event(newer), Taken::Nothing));
        // It is in the log once, however often it comes.
        for _ in 0..10 {
            event(vec![0xff; 8]);
        }
        assert_eq!(inbox.complaints[&peer.id.node].1, 11, "said, and kept silent about");
    }

    #[tokio::test]
    async fn a_peer_that_floods_with_facts_is_cut_with_a_reason() {
        let (mut inbox, _out) = inbox(&[]).await;
        let peer = Member { id: "n2".parse().unwrap(), boot: Boot(1) };
        // Rubbish, but much of it: the checker's outcome is not taken here, as if it were slow.
        let flood = Frame::Facts { sealed: vec![Bytes::from(vec![0; 1 << 16]); 8] }.encode();
        let event = || LinkEvent::Frame { peer: peer.clone(), bytes: flood.clone(), room: Room::default() };
        let cut = (0..100).find_map(|_| match inbox.link(event()) {
            Taken::Cut { peer, why } => Some((peer, why)),
            _ => None,
        });
        assert_eq!(cut, Some((peer.clone(), FLOOD.to_owned())));
        // Another peer's facts are not its affair.
        let other = Member { id: "n3".parse().unwrap(), boot: Boot(1) };
        let event = LinkEvent::Frame { peer: other, bytes: flood, room: Room::default() };
        assert!(matches!(inbox.link(event), Taken::Nothing));
    }
}
