//! Views: an agreed roster with a leader, a name and an id that is its content.
//!
//! A header is opaque bytes, hashed and forwarded exactly as received and never re-encoded, so equal ids mean equal
//! content by construction.

use crate::hash::{Buckets, fulcrum64, sha256};
use crate::lists::{BadList, Listing, apart};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use core::net::SocketAddr;
use core::ops::Deref;
use crux_names::{BlocName, Boot, FulcrumId, Hash256, Member};
use prost::Message;

/// Largest epoch that is believed. Above it a peer is lying or broken.
pub const EPOCH_MAX: u64 = 1 << 62;
/// Most parents that a header may name; the proposer names far fewer.
const NAMED_MAX: usize = 1024;
/// How far one view may step above its highest parent.
pub const EPOCH_STEP: u64 = 1 << 20;
/// Up to here an epoch is believed whatever one's own is: at six changes a minute it is reached in a thousand years.
pub const EPOCH_FREE: u64 = 1 << 32;

/// The highest epoch that a fulcrum whose view has this one follows. There is one measure for all, whether they are asked
/// for a promise, for a place or to install, alone or not: whom others take in must not have come further than they follow.
#[must_use]
pub const fn followed(own: u64) -> u64 {
    let from = if own > EPOCH_FREE { own } else { EPOCH_FREE };
    let most = from.saturating_add(EPOCH_STEP);
    if most < EPOCH_MAX { most } else { EPOCH_MAX }
}

/// The id of a view. The order (epoch, then leader, then hash) is what *higher* means everywhere: for installing,
/// pulling and ejecting alike.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewId {
    /// How many changes lie behind it, at least.
    pub epoch: u64,
    /// First of its roster.
    pub leader: FulcrumId,
    /// First 128 bits of the SHA-256 of the header bytes as received.
    pub hash: [u8; 16],
}

impl fmt::Display for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{:02x}{:02x}", self.epoch, self.leader, self.hash[0], self.hash[1])
    }
}

/// A member and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seat {
    /// Who.
    pub member: Member,
    /// Its mesh address as its peers see it.
    pub addr: SocketAddr,
    /// Whether it only visits: it never leads others.
    pub visitor: bool,
}

/// Seats in seniority order, shared by all that hold the same ones, with an index by fulcrum.
#[derive(Clone)]
pub struct Roster(Arc<Seats>);

struct Seats {
    seats: Vec<Seat>,
    /// Positions by the hash of their fulcrums: a roster is asked for positions several times in each event.
    by_hash: Buckets,
}

impl Roster {
    /// The position of this fulcrum, in whatever boot.
    #[must_use]
    pub fn position(&self, id: &FulcrumId) -> Option<usize> {
        let Seats { seats, by_hash } = &*self.0;
        by_hash.of(fulcrum64(id)).map(|at| at as usize).find(|at| seats[*at].member.id == *id)
    }

    /// The position of this life of a fulcrum.
    #[must_use]
    pub fn index(&self, member: &Member) -> Option<usize> {
        self.position(&member.id).filter(|at| self[*at].member == *member)
    }

    /// Whether some fulcrum stands in it twice.
    #[must_use]
    pub fn repeats(&self) -> bool {
        self.0.seats.iter().enumerate().any(|(at, seat)| self.position(&seat.member.id) != Some(at))
    }
}

impl From<Vec<Seat>> for Roster {
    fn from(seats: Vec<Seat>) -> Self {
        let by_hash = Buckets::new(seats.iter().map(|seat| fulcrum64(&seat.member.id)));
        Self(Arc::new(Seats { seats, by_hash }))
    }
}

impl FromIterator<Seat> for Roster {
    fn from_iter<T: IntoIterator<Item = Seat>>(seats: T) -> Self {
        seats.into_iter().collect::<Vec<_>>().into()
    }
}

impl Deref for Roster {
    type Target = [Seat];

    fn deref(&self) -> &[Seat] {
        &self.0.seats
    }
}

impl<'a> IntoIterator for &'a Roster {
    type Item = &'a Seat;
    type IntoIter = core::slice::Iter<'a, Seat>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for Roster {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.seats == other.0.seats
    }
}

impl Eq for Roster {}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// What a header says. Labels that change often (horde, ADMIN) are not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The bloc whose flock this is.
    pub bloc: BlocName,
    /// See [`ViewId::epoch`].
    pub epoch: u64,
    /// First of the roster.
    pub leader: FulcrumId,
    /// SHA-256 of the encoded roster.
    pub roster: Hash256,
    /// How many members.
    pub size: u32,
    /// The flock's transient name: two words for people.
    pub name: String,
    /// Rank of this flock in merges, frozen at install so that both sides judge the same data.
    pub rank: Rank,
    /// The views that this one replaces: the proposer's own, and of the others the higher ones and those of several
    /// members. A header is told to everybody that is met, so it does not list a thousand singletons.
    pub parents: Vec<ViewId>,
}

/// Merge rank: larger proven size, then longer reign (log2 of the leader's seconds in office), then lower leader id.
/// `Ord` says so: the greater rank leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rank {
    /// Members proven at install; none in a flock that a visitor leads, which never takes anybody in.
    pub size: u32,
    /// log2 bucket of the leader's reign in seconds at install.
    pub reign: u32,
    /// The leader.
    pub leader: FulcrumId,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.size, self.reign).cmp(&(other.size, other.reign)).then_with(|| other.leader.cmp(&self.leader))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A header with its bytes as received and the id that follows from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headed {
    /// The id.
    pub id: ViewId,
    /// What the bytes say.
    pub header: Header,
    /// The bytes as first encoded.
    pub bytes: Bytes,
}

/// A header that many hold: it is passed on by counting, not by copying.
pub type SharedHead = Arc<Headed>;

/// An agreed roster. Order is seniority; the leader is the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The header.
    pub head: SharedHead,
    /// The members in seniority order.
    pub roster: Roster,
}

/// Why a header or a view was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadView {
    /// The bytes are not a header.
    Malformed,
    /// It belongs to another bloc.
    OtherBloc,
    /// The roster does not hash to what the header says, is empty, names a fulcrum twice, does not begin with the leader,
    /// or has a visitor before somebody who is none.
    Roster,
    /// The epoch is out of the believable range.
    Epoch,
    /// It names more parents than a header may.
    TooLong,
}

impl From<BadList> for BadView {
    fn from(why: BadList) -> Self {
        match why {
            BadList::TooLong => Self::TooLong,
            BadList::Malformed => Self::Malformed,
        }
    }
}

impl fmt::Display for BadView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "its bytes are not a view header",
            Self::OtherBloc => "it belongs to another bloc",
            Self::Roster => "its roster does not match its header",
            Self::Epoch => "its epoch is out of range",
            Self::TooLong => "it names too many parents",
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ViewIdWire {
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    #[prost(string, tag = "2")]
    pub leader: String,
    #[prost(bytes = "vec", tag = "3")]
    pub hash: Vec<u8>,
}

impl From<&ViewId> for ViewIdWire {
    fn from(id: &ViewId) -> Self {
        Self { epoch: id.epoch, leader: alloc::format!("{}", id.leader), hash: id.hash.to_vec() }
    }
}

impl TryFrom<ViewIdWire> for ViewId {
    type Error = BadView;

    fn try_from(wire: ViewIdWire) -> Result<Self, BadView> {
        Ok(Self {
            epoch: wire.epoch,
            leader: wire.leader.parse().map_err(|_| BadView::Malformed)?,
            hash: wire.hash.as_slice().try_into().map_err(|_| BadView::Malformed)?,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SeatWire {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(uint64, tag = "2")]
    pub boot: u64,
    #[prost(string, tag = "3")]
    pub addr: String,
    #[prost(bool, tag = "4")]
    pub visitor: bool,
}

impl From<&Seat> for SeatWire {
    fn from(seat: &Seat) -> Self {
        Self {
            id: alloc::format!("{}", seat.member.id),
            boot: seat.member.boot.0,
            addr: alloc::format!("{}", seat.addr),
            visitor: seat.visitor,
        }
    }
}

impl TryFrom<SeatWire> for Seat {
    type Error = BadView;

    fn try_from(wire: SeatWire) -> Result<Self, BadView> {
        Ok(Self {
            member: Member { id: wire.id.parse().map_err(|_| BadView::Malformed)?, boot: Boot(wire.boot) },
            addr: wire.addr.parse().map_err(|_| BadView::Malformed)?,
            visitor: wire.visitor,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
struct RosterWire {
    #[prost(message, repeated, tag = "1")]
    seats: Vec<SeatWire>,
}

#[derive(Clone, PartialEq, Message)]
struct HeaderWire {
    #[prost(string, tag = "1")]
    bloc: String,
    #[prost(uint64, tag = "2")]
    epoch: u64,
    #[prost(string, tag = "3")]
    leader: String,
    #[prost(bytes = "vec", tag = "4")]
    roster: Vec<u8>,
    #[prost(uint32, tag = "5")]
    size: u32,
    #[prost(string, tag = "6")]
    name: String,
    #[prost(uint32, tag = "7")]
    rank_size: u32,
    #[prost(uint32, tag = "8")]
    rank_reign: u32,
    #[prost(message, repeated, tag = "9")]
    parents: Vec<ViewIdWire>,
}

impl Listing for HeaderWire {
    const LISTS: &'static [(u32, usize)] = &[(9, NAMED_MAX)];
}

fn roster_hash(roster: &[Seat]) -> Hash256 {
    sha256(&RosterWire { seats: roster.iter().map(SeatWire::from).collect() }.encode_to_vec())
}

/// Visitors sit at the end and lead nobody but themselves.
fn in_order(roster: &Roster) -> bool {
    roster.is_sorted_by_key(|seat| seat.visitor) && (roster.len() == 1 || !roster[0].visitor)
}

impl Headed {
    /// Reads a header from its bytes, which are kept.
    ///
    /// # Errors
    /// [`BadView::Malformed`], [`BadView::TooLong`] or [`BadView::Epoch`]; nothing else is judged here.
    pub fn decode(bytes: Bytes) -> Result<Self, BadView> {
        let (wire, lists) = apart::<HeaderWire>(bytes.clone())?;
        let leader: FulcrumId = wire.leader.parse().map_err(|_| BadView::Malformed)?;
        if wire.epoch > EPOCH_MAX {
            return Err(BadView::Epoch);
        }
        if wire.name.len() > 64 || !wire.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') {
            return Err(BadView::Malformed);
        }
        let parents = lists.read(9, |parent: ViewIdWire| ViewId::try_from(parent))?;
        let header = Header {
            bloc: BlocName::parse(&wire.bloc).map_err(|_| BadView::Malformed)?,
            epoch: wire.epoch,
            leader: leader.clone(),
            roster: Hash256(wire.roster.as_slice().try_into().map_err(|_| BadView::Malformed)?),
            size: wire.size,
            name: wire.name,
            rank: Rank { size: wire.rank_size, reign: wire.rank_reign, leader: leader.clone() },
            parents,
        };
        let digest = sha256(&bytes).0;
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest[..16]);
        Ok(Self { id: ViewId { epoch: wire.epoch, leader, hash }, header, bytes })
    }
}

impl View {
    /// Makes a new view, as its proposer does.
    ///
    /// # Panics
    /// Never for a roster with a member in it: what was just encoded decodes.
    ///
    /// # Errors
    /// [`BadView::Roster`] for an empty roster, [`BadView::Epoch`] for an epoch that nobody would believe.
    pub fn make(
        bloc: &BlocName,
        epoch: u64,
        roster: impl Into<Roster>,
        name: String,
        reign: u32,
        parents: &[ViewId],
    ) -> Result<Self, BadView> {
        let roster = roster.into();
        let leader = roster.first().ok_or(BadView::Roster)?.member.id.clone();
        let size = u32::try_from(roster.len()).map_err(|_| BadView::Roster)?;
        let wire = HeaderWire {
            bloc: bloc.as_str().into(),
            epoch,
            leader: alloc::format!("{leader}"),
            roster: roster_hash(&roster).0.to_vec(),
            size,
            name,
            rank_size: if roster[0].visitor { 0 } else { size },
            rank_reign: reign,
            parents: parents.iter().map(ViewIdWire::from).collect(),
        };
        let head = Headed::decode(wire.encode_to_vec().into())?;
        Ok(Self { head: Arc::new(head), roster })
    }

    /// Joins a received header with a received roster.
    ///
    /// # Errors
    /// [`BadView`] says which of the two does not fit.
    pub fn join(bloc: &BlocName, head: SharedHead, roster: impl Into<Roster>) -> Result<Self, BadView> {
        let roster = roster.into();
        if head.header.bloc != *bloc {
            return Err(BadView::OtherBloc);
        }
        let fits = roster.first().is_some_and(|seat| seat.member.id == head.header.leader)
            && roster.len() == head.header.size as usize
            && head.header.rank.size == if roster[0].visitor { 0 } else { head.header.size }
            && roster_hash(&roster) == head.header.roster;
        if !fits {
            return Err(BadView::Roster);
        }
        if roster.repeats() || !in_order(&roster) {
            return Err(BadView::Roster);
        }
        let parent = head.header.parents.iter().map(|parent| parent.epoch).max().unwrap_or(0);
        if head.header.epoch > followed(parent) {
            return Err(BadView::Epoch);
        }
        Ok(Self { head, roster })
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> &ViewId {
        &self.head.id
    }

    /// The leader, first of the roster.
    ///
    /// # Panics
    /// Never: [`View::make`] and [`View::join`] refuse an empty roster.
    #[must_use]
    pub fn leader(&self) -> &Seat {
        &self.roster[0]
    }

    /// The seat of this fulcrum, in whatever boot.
    #[must_use]
    pub fn seat(&self, id: &FulcrumId) -> Option<&Seat> {
        self.roster.position(id).map(|at| &self.roster[at])
    }

    /// Whether this life of this fulcrum is a member.
    #[must_use]
    pub fn has(&self, member: &Member) -> bool {
        self.roster.index(member).is_some()
    }
}
