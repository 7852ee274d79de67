//! Who is linked, who is being welcomed, who is being dialled: all shared state, behind one lock that is never held
//! across an await.
//!
//! Of two links dialled towards each other at once exactly one comes to count, and none is ever torn down for it: the
//! dialler decides before it says *ready*. The higher member waits while a link dialled by the lower one is being
//! welcomed; the lower goes on; and nobody goes on where a link is up already. (The welcome carries whether it is, because
//! the two connections may overtake each other.)

use crate::config::Renewals;
use crate::conn::Conn;
use crate::counters::Tally;
use crate::event::LinkInfo;
use crate::live::{Link, Live};
use crate::wire::Refuse;
use crux_names::{Boot, FulcrumId, Member};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Most links of one fulcrum.
const LINKS_MAX: usize = 4_096;
/// Most links with fulcrums of one node: their names and boots are only claimed.
const LINKS_PER_NODE: usize = 64;
/// Most dials under way at once: each is a handshake's state for a second, and whoever decides whom to dial may have been
/// lied to.
const DIALS_MAX: usize = 512;
/// Most fulcrums whose highest boot is remembered.
const FLOORS_MAX: usize = 65_536;
/// How often the same refusal is told again.
const REFUSAL_EVERY: Duration = Duration::from_secs(10);
/// Refusals remembered for that.
const REFUSALS_MAX: usize = 1_024;
/// A link that we close before this is over says nothing of its fulcrum: it may have been a clone's, which is challenged
/// and closed within a second.
const CREDIBLE: Duration = Duration::from_secs(3);
/// A link that is older than this, and that the other side says it does not have, is dead: the other side lost it.
const SETTLED: Duration = Duration::from_secs(2);

/// A link that now counts, and the one it takes the place of.
pub(crate) struct Admission {
    pub(crate) live: Live,
    pub(crate) old: Option<Live>,
    /// Its connections: one now, others with each renewal.
    pub(crate) conns: mpsc::UnboundedReceiver<Arc<Conn>>,
    pub(crate) done: watch::Sender<bool>,
    /// Links to earlier lives of the same fulcrum, of which this one says that they are over.
    pub(crate) earlier: Vec<Member>,
}

/// What becomes of a wish to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialing {
    Begins,
    /// It is under way already.
    Under,
    /// Too many are.
    NoRoom,
}

/// What a dialler does after a welcome.
pub(crate) enum Verdict {
    Go(Box<Admission>),
    /// A link that the peer dialled is being welcomed: wait for what comes of it.
    Wait,
    /// There is a link already.
    Already,
}

#[derive(Default)]
struct State {
    live: BTreeMap<Member, Live>,
    welcoming: BTreeMap<Member, usize>,
    dialing: BTreeSet<SocketAddr>,
    floors: BTreeMap<FulcrumId, Boot>,
    refusals: BTreeMap<(IpAddr, String), Instant>,
    next_id: u64,
}

pub(crate) struct Registry {
    me: Member,
    state: Mutex<State>,
    changed: watch::Sender<()>,
    tally: Arc<Tally>,
}

/// Why a boot is too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TooOld {
    /// This higher one is linked here: two live with one identity. If the older one began again above it, it would take the
    /// other's place, which would do the same in its turn, and so on.
    Lives(Boot),
    /// This higher one is known, and gone: whoever begins again above it is let in.
    Known(Boot),
}

impl TooOld {
    /// What the one with the older boot is told.
    pub(crate) fn refusal(self, member: &Member) -> Refuse {
        let (reason, floor) = match self {
            Self::Lives(boot) => (
                format!("another node lives under this identity: {member} is an old boot, and {boot} is linked here"),
                0,
            ),
            Self::Known(boot) => (format!("{member} is an old boot; {boot} is known here"), boot.0),
        };
        Refuse { reason, floor, myself: false, gone: false, twin: false }
    }
}

impl State {
    fn admit(&mut self, token: u64, conn: Arc<Conn>, dialed: bool, tally: &Arc<Tally>) -> Admission {
        let id = self.next_id;
        self.next_id += 1;
        let (live, conns, done) = Link::new(id, token, dialed, conn, tally.clone());
        let earlier = self.live.keys().filter(|other| other.id == live.member.id && other.boot < live.member.boot);
        let earlier = earlier.cloned().collect();
        let old = self.live.insert(live.member.clone(), live.clone());
        Admission { live, old, conns, done, earlier }
    }

    fn raise_floor(&mut self, member: &Member) {
        if self.floors.len() < FLOORS_MAX || self.floors.contains_key(&member.id) {
            let floor = self.floors.entry(member.id.clone()).or_default();
            *floor = member.boot.max(*floor);
        }
    }

    fn is_up(&self, member: &Member) -> bool {
        self.live.get(member).is_some_and(|live| live.is_up())
    }
}

impl Registry {
    pub(crate) fn new(me: Member, tally: Arc<Tally>) -> Self {
        Self { me, state: Mutex::default(), changed: watch::Sender::new(()), tally }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who wait for a verdict that it may be another one now. Take this before asking.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        let mut changes = self.changed.subscribe();
        changes.mark_unchanged();
        changes
    }

    /// Whether a dial to this address is to begin now: none is under way, and there is room.
    pub(crate) fn start_dial(&self, addr: SocketAddr) -> Dialing {
        let mut state = self.lock();
        if state.dialing.contains(&addr) {
            return Dialing::Under;
        }
        if state.dialing.len() >= DIALS_MAX {
            return Dialing::NoRoom;
        }
        state.dialing.insert(addr);
        Dialing::Begins
    }

    pub(crate) fn end_dial(&self, addr: SocketAddr) {
        self.lock().dialing.remove(&addr);
    }

    /// Why a member's boot is too old, if it is: a higher one is linked here now and has been for a while, was linked here
    /// until it went by itself, or is known from elsewhere. A higher boot that has only just linked refuses nobody: it may
    /// be a clone, and whoever owns the links finds out which of the two is.
    pub(crate) fn too_old(&self, member: &Member) -> Option<TooOld> {
        let state = self.lock();
        let linked = state.live.values().filter(|live| live.member.id == member.id && live.is_up());
        let linked = linked.filter(|live| live.since.elapsed() > CREDIBLE).map(|live| live.member.boot).max();
        if let Some(boot) = linked.filter(|boot| *boot > member.boot) {
            return Some(TooOld::Lives(boot));
        }
        state.floors.get(&member.id).copied().filter(|floor| *floor > member.boot).map(TooOld::Known)
    }

    pub(crate) fn raise_floor(&self, member: &Member) {
        self.lock().raise_floor(member);
    }

    /// Why there is no room for another link to this member, if there is none.
    pub(crate) fn no_room(&self, member: &Member) -> Option<&'static str> {
        let state = self.lock();
        if state.live.contains_key(member) {
            None
        } else if state.live.len() >= LINKS_MAX {
            Some("this fulcrum has its 4096 links")
        } else if state.live.keys().filter(|other| other.id.node == member.id.node).count() >= LINKS_PER_NODE {
            Some("64 fulcrums and boots of one node are linked; stop some of them")
        } else {
            None
        }
    }

    /// The dialler's decision after the peer's welcome, which says whether it has a link to us that is up.
    pub(crate) fn decide(&self, token: u64, conn: &Arc<Conn>, linked: bool) -> Verdict {
        let member = &conn.info.member;
        let mut state = self.lock();
        if let Some(live) = state.live.get(member)
            && live.is_up()
            && (linked || live.since.elapsed() < SETTLED)
        {
            return Verdict::Already;
        }
        let welcoming = state.welcoming.contains_key(member);
        if welcoming && !state.is_up(member) && (self.me > *member || linked) {
            return Verdict::Wait;
        }
        let admission = state.admit(token, conn.clone(), true, &self.tally);
        drop(state);
        self.changed.send_replace(());
        Verdict::Go(Box::new(admission))
    }

    /// The acceptor starts to welcome this member. The guard says whether a link to it is up.
    pub(crate) fn welcome(self: &Arc<Self>, member: &Member) -> Welcoming {
        let mut state = self.lock();
        *state.welcoming.entry(member.clone()).or_default() += 1;
        Welcoming { registry: self.clone(), member: member.clone(), linked: state.is_up(member) }
    }

    /// The acceptor heard *ready*: the peer has no other link that it counts.
    pub(crate) fn accept(&self, token: u64, conn: Arc<Conn>) -> Admission {
        let admission = self.lock().admit(token, conn, false, &self.tally);
        self.changed.send_replace(());
        admission
    }

    /// The link that a dialler wants to go on with on a new connection.
    pub(crate) fn to_renew(&self, member: &Member, token: u64) -> Option<Live> {
        let state = self.lock();
        state.live.get(member).filter(|live| live.token == token && !live.dialed && live.is_up()).cloned()
    }

    /// Forgets a link whose `Down` was told.
    pub(crate) fn remove(&self, live: &Live) {
        let mut state = self.lock();
        if live.why().is_none() || live.since.elapsed() > CREDIBLE {
            state.raise_floor(&live.member);
        }
        if state.live.get(&live.member).is_some_and(|current| current.id == live.id) {
            state.live.remove(&live.member);
        }
        drop(state);
        self.changed.send_replace(());
    }

    pub(crate) fn get(&self, member: &Member) -> Option<Live> {
        self.lock().live.get(member).filter(|live| live.is_up()).cloned()
    }

    /// Who is linked at this address.
    pub(crate) fn linked_at(&self, addr: SocketAddr) -> Option<Member> {
        let at = |live: &Live| {
            let remote = live.current().quic.remote_address();
            live.is_up() && (remote.ip().to_canonical(), remote.port()) == (addr.ip(), addr.port())
        };
        self.lock().live.values().find(|live| at(live)).map(|live| live.member.clone())
    }

    pub(crate) fn all(&self) -> Vec<Live> {
        self.lock().live.values().cloned().collect()
    }

    pub(crate) fn infos(&self, renewals: &Renewals) -> Vec<LinkInfo> {
        self.all().iter().filter(|live| live.is_up()).map(|live| live.describe(renewals)).collect()
    }

    /// Whether this refusal should be told, or was told just now, perhaps with other numbers.
    pub(crate) fn tell_refusal(&self, ip: IpAddr, reason: &str) -> bool {
        let reason = without_spans(reason);
        let mut state = self.lock();
        let now = Instant::now();
        if state.refusals.len() >= REFUSALS_MAX {
            state.refusals.retain(|_, told| now - *told < REFUSAL_EVERY);
        }
        if state.refusals.len() >= REFUSALS_MAX {
            return false;
        }
        let told = state.refusals.insert((ip, reason.clone()), now);
        match told {
            Some(at) if now - at < REFUSAL_EVERY => {
                state.refusals.insert((ip, reason), at);
                false
            }
            _ => true,
        }
    }
}

/// A reason without what changes from second to second in it: "expired 5 s ago" and "expired 2 min ago" are one. It comes
/// as words, from here or from the other side by way of TLS.
fn without_spans(reason: &str) -> String {
    let number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let unit = |word: &str| matches!(word.trim_end_matches([',', ';']), "s" | "min" | "h" | "days");
    let (mut words, mut kept) = (reason.split(' ').peekable(), Vec::new());
    while let Some(word) = words.next() {
        if !(number(word) && words.next_if(|next| unit(next)).is_some()) {
            kept.push(word);
        }
    }
    kept.join(" ")
}

/// A member that was sent a welcome and has not said *ready* yet.
pub(crate) struct Welcoming {
    registry: Arc<Registry>,
    member: Member,
    /// A link to it was up when the welcome was made.
    pub(crate) linked: bool,
}

impl Drop for Welcoming {
    fn drop(&mut self) {
        let mut state = self.registry.lock();
        if let Some(count) = state.welcoming.get_mut(&self.member) {
            *count -= 1;
            if *count == 0 {
                state.welcoming.remove(&self.member);
            }
        }
        drop(state);
        self.registry.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: &str, boot: u64) -> Member {
        Member { id: node.parse().unwrap(), boot: Boot(boot) }
    }

    #[test]
    fn the_same_refusal_is_told_once() {
        let registry = Registry::new(member("n1", 1), Arc::default());
        let ip: IpAddr = "10.0.0.1".parse().unwrap();
        assert!(registry.tell_refusal(ip, "a"));
        assert!(!registry.tell_refusal(ip, "a"));
        assert!(registry.tell_refusal(ip, "b"));
        assert!(registry.tell_refusal("10.0.0.2".parse().unwrap(), "a"));
    }

    #[test]
    fn a_refusal_whose_words_change_every_second_is_told_once() {
        use crux_pki::Refusal;
        let registry = Registry::new(member("n1", 1), Arc::default());
        let ip: IpAddr = "10.0.0.1".parse().unwrap();
        let told = |refusal: Refusal| registry.tell_refusal(ip, &refusal.to_string());
        let clock = |behind| Refusal::ClockWrong { than: "the certificate begins", behind };
        assert!(told(Refusal::Expired { at: 1_800_000_000, ago: 5 }));
        for ago in [6, 119, 120, 10_000, 1_000_000] {
            assert!(!told(Refusal::Expired { at: 1_800_000_000, ago }), "{ago}");
        }
        let early = |ahead| Refusal::NotYetValid { from: 1_900_000_000, ahead };
        assert!(told(early(9)) && !told(early(8)));
        assert!(told(clock(100_000)) && !told(clock(99_999)));
        // Other numbers are no spans of time.
        let many = |days| Refusal::TooLong { role: crux_pki::RoleKind::Node, days, max: 400 };
        assert!(told(Refusal::ManyUris(2)) && told(Refusal::ManyUris(3)));
        assert!(told(many(500)) && !told(many(500)));
        assert!(registry.tell_refusal(ip, "n2 is an old boot; 5 is known here"));
        assert!(registry.tell_refusal(ip, "n3 is an old boot; 5 is known here"));
    }

    #[test]
    fn only_so_many_dials_are_under_way() {
        let registry = Registry::new(member("n1", 1), Arc::default());
        let addr = |port| SocketAddr::from(([10, 0, 0, 1], port));
        for port in 0..DIALS_MAX as u16 {
            assert_eq!(registry.start_dial(addr(port)), Dialing::Begins);
        }
        assert_eq!(registry.start_dial(addr(7)), Dialing::Under);
        assert_eq!(registry.start_dial(addr(60_000)), Dialing::NoRoom);
        registry.end_dial(addr(7));
        assert_eq!(registry.start_dial(addr(60_000)), Dialing::Begins);
    }

    #[test]
    fn boots_never_go_back() {
        let registry = Registry::new(member("n1", 5), Arc::default());
        registry.raise_floor(&member("n2", 7));
        registry.raise_floor(&member("n2", 6));
        assert_eq!(registry.too_old(&member("n2", 6)), Some(TooOld::Known(Boot(7))));
        assert_eq!(registry.too_old(&member("n2", 7)), None);
        assert_eq!(registry.too_old(&member("n3", 0)), None);
    }
}
