//! Flocking: who is here. Every fulcrum starts as its own flock; flocks of one bloc search for each other and combine;
//! when members can no longer all talk to each other directly, they regroup. Source: the design's `flocking.md`.
//!
//! Frozen for the rooms that build on it: [`view`] (headers, ids, their order), [`message`] (what members tell each
//! other) and this file ([`Config`], [`Input`], [`Output`], [`Status`]).

mod afresh;
mod alerts;
mod apart;
mod blame;
pub mod clique;
mod clones;
mod contacts;
pub mod discovery;
mod dispute;
mod evidence;
mod health;
mod hold;
mod install;
mod lease;
mod machine;
pub mod message;
mod name;
mod promise;
mod propose;
mod ring;
mod rollcall;
mod seek;
mod timers;
mod vain;
mod verdict;
pub mod view;

pub use machine::Flock;

use self::message::{Datagram, Message};
use self::view::View;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use crux_names::{BlocName, Duration, FulcrumId, Member, NodeName};

/// What a fulcrum's flocking is told at its start and never changes.
#[derive(Clone, Debug)]
pub struct Config {
    /// The bloc, from the certificate.
    pub bloc: BlocName,
    /// This life of this fulcrum.
    pub me: Member,
    /// Where its mesh port listens. Peers see the true address; this one stands in the view of a lone fulcrum.
    pub addr: SocketAddr,
    /// Source of jitter and of flock names.
    pub seed: u64,
    /// Scales every timer, in thousandths: 1000 is the default, a dev cluster runs at 250. Needs no agreement.
    pub timers: u32,
    /// With a roster of this many and nobody unanswered, the flock is complete at once.
    pub expect: Option<u32>,
    /// Addresses that are tried for ever: configured seeds.
    pub seeds: Vec<SocketAddr>,
    /// Addresses where the bloc's fulcrums were last seen.
    pub book: Arc<discovery::Book>,
    /// It never leads others, and alone it is a flock that others absorb.
    pub visitor: bool,
}

/// What can happen to a fulcrum's flocking.
#[derive(Clone, Debug)]
pub enum Input {
    /// The deadline has come.
    Wake,
    /// A link passed its welcome.
    LinkUp {
        /// Who.
        member: Member,
        /// Its mesh address.
        addr: SocketAddr,
        /// This side dialled: the handshake went there and back since it did.
        dialed: bool,
    },
    /// A link ended.
    LinkDown {
        /// Who.
        member: Member,
    },
    /// The idle connection to this peer ended: its process may have died. A hint for haste, never evidence.
    ProcessGone(Member),
    /// Somebody at this address shows this fulcrum's own identity.
    Twin(SocketAddr),
    /// A dial came to nothing.
    DialFailed {
        /// Where to.
        addr: SocketAddr,
        /// It is this fulcrum's own address.
        myself: bool,
        /// Somebody answered and refused.
        refused: bool,
        /// Why, for people.
        why: String,
    },
    /// A dial led to a member that is linked already.
    DialAnswered {
        /// Where to.
        addr: SocketAddr,
        /// Who is there.
        member: Member,
    },
    /// A datagram came.
    Datagram {
        /// From whom.
        from: Member,
        /// What.
        datagram: Datagram,
    },
    /// A message came.
    Message {
        /// From whom.
        from: Member,
        /// What.
        message: Message,
    },
    /// This fulcrum stops on purpose: tell the others.
    Leave,
    /// Forget a fulcrum's address.
    Forget(FulcrumId),
    /// An operator put a node out of the bloc: these lives of it are out at once, and nobody looks for it any more.
    Expel {
        /// Which.
        node: NodeName,
        /// Its lives whose certificates are among those that are expelled.
        lives: Vec<Member>,
    },
    /// Try an address for ever, like a configured seed.
    Seed(SocketAddr),
    /// Somebody may be at this address of a probed network, or announced itself there.
    Probed(SocketAddr),
}

/// What a peer did that no honest one does, or hardly ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// It wanted this fulcrum to follow to an epoch, or to be taken in with one, that nobody follows to.
    Epoch {
        /// Which.
        epoch: u64,
    },
    /// It leads a flock, as it says, that would have to take this one in or to come into it, and nothing ever comes of that.
    LeadsNowhere {
        /// For how long it is left alone now.
        wait: Duration,
    },
}

/// What flocking wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Dial this address.
    Dial(SocketAddr),
    /// Keep an idle connection to each of these, whose end says at once that a process died, and to no others.
    Watch(Vec<Member>),
    /// Close the link to this peer.
    CloseLink {
        /// Whom.
        peer: Member,
        /// Why, told to the peer.
        why: String,
    },
    /// Send a datagram.
    Datagram {
        /// To whom.
        to: Member,
        /// What.
        datagram: Datagram,
    },
    /// Send a message.
    Message {
        /// To whom.
        to: Member,
        /// What.
        message: Message,
    },
    /// A new view is installed. Everything that depends on who is here follows from this.
    Installed {
        /// The view.
        view: View,
        /// Members of the old view that are not in it.
        lost: Vec<Member>,
        /// Members that were not in the old view.
        joined: Vec<Member>,
    },
    /// The lease of completeness began or ended.
    Stable(bool),
    /// The address book changed; persist it.
    Book(Vec<(FulcrumId, SocketAddr)>),
    /// This fulcrum broke off too often: it is readmitted only after so long a time of clean round trips.
    Held {
        /// Who.
        fulcrum: FulcrumId,
        /// For how long at least.
        wait: Duration,
    },
    /// This leader has been at fault itself for long and hands over to the next one.
    HandsOver,
    /// A peer lies, or is broken: people should know.
    Alarm {
        /// Who.
        fulcrum: FulcrumId,
        /// What it did.
        why: Alarm,
    },
    /// Nobody in reach follows to this fulcrum's epoch, and so no flock will ever take it in: it begins anew, with another
    /// boot. Said again as long as that is so.
    StartsOver,
    /// Two live nodes carry one identity: an alarm that stays.
    Clone {
        /// Which fulcrum.
        fulcrum: FulcrumId,
        /// Where the two are.
        addrs: [SocketAddr; 2],
    },
}

/// Why a foreign flock of the bloc is apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Apart {
    /// A change that takes it in is under way or about to begin.
    Merging,
    /// A pair of members cannot talk directly.
    BrokenPair(Member, Member),
    /// One of the two broke off too often of late.
    FlapHold,
    /// One of the two is in another change.
    Busy,
}

/// A foreign flock of this bloc as seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sibling {
    /// Its header.
    pub head: view::SharedHead,
    /// Why it is apart.
    pub apart: Apart,
    /// For how much longer at least, where that is known.
    pub until: Option<Duration>,
}

/// A certified fulcrum of the bloc that is in no flock seen from here, or an address that refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// Who, if it was ever in touch.
    pub fulcrum: Option<FulcrumId>,
    /// Where.
    pub addr: SocketAddr,
    /// Somebody answers there and refuses.
    pub refused: bool,
    /// The last reason, for people.
    pub why: String,
}

/// One member as seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Who and where.
    pub seat: view::Seat,
    /// Where it is reached from here: its link's address if it ever had a link, else its seat's. A fulcrum that listens on
    /// every address knows no better one of itself.
    pub addr: SocketAddr,
    /// Whether it misses probes or stands accused.
    pub suspect: bool,
    /// How long ago it completed a direct round trip; `None` for this fulcrum itself or before the first.
    pub heard: Option<Duration>,
}

/// What is known of the flock here and now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The installed view.
    pub view: View,
    /// How long ago it was installed.
    pub age: Duration,
    /// Whether an unexpired grant for it is held and nobody in it is suspect.
    pub stable: bool,
    /// Why this fulcrum does not call its flock stable: what a leader still waits for, or what a member sees.
    pub lacking: Option<&'static str>,
    /// Whom that is about: a member, or a pair of them as `n2 of n5`, which n2 says.
    pub lacking_who: Vec<String>,
    /// The members in roster order.
    pub members: Vec<MemberStatus>,
    /// Foreign flocks.
    pub siblings: Vec<Sibling>,
    /// Who is outside.
    pub outside: Vec<Outside>,
    /// How many members are expected, where that was configured.
    pub expect: Option<u32>,
    /// Fulcrums of which two live at once.
    pub clones: Vec<(FulcrumId, [SocketAddr; 2])>,
    /// Whether this fulcrum itself is at fault of late: it comes late or accuses wrongly, and so accuses more slowly.
    pub sick: bool,
}
