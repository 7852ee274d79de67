//! Views: an agreed roster with a leader, a name and an id that is its content.
//!
//! A header is opaque bytes, hashed and forwarded exactly as received and never re-encoded, so equal ids mean equal
//! content by construction.

use crate::hash::sha256;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use core::net::SocketAddr;
use crux_names::{BlocName, Boot, FulcrumId, Hash256, Member};
use prost::Message;

/// Largest epoch that is believed. Above it a peer is lying or broken.
pub const EPOCH_MAX: u64 = 1 << 62;
/// How far one view may step above its highest parent.
pub const EPOCH_STEP: u64 = 1 << 20;

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
    /// The views that this one replaces.
    pub parents: Vec<ViewId>,
}

/// Merge rank: larger proven size, then longer reign (log2 of the leader's seconds in office), then lower leader id.
/// `Ord` says so: the greater rank leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rank {
    /// Members proven at install.
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

/// An agreed roster. Order is seniority; the leader is the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The header.
    pub head: Headed,
    /// The members in seniority order.
    pub roster: Vec<Seat>,
}

/// Why a header or a view was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadView {
    /// The bytes are not a header.
    Malformed,
    /// It belongs to another bloc.
    OtherBloc,
    /// The roster does not hash to what the header says, is empty, names a fulcrum twice, or does not begin with the
    /// leader.
    Roster,
    /// The epoch is out of the believable range.
    Epoch,
}

impl fmt::Display for BadView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "its bytes are not a view header",
            Self::OtherBloc => "it belongs to another bloc",
            Self::Roster => "its roster does not match its header",
            Self::Epoch => "its epoch is out of range",
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
}

impl From<&Seat> for SeatWire {
    fn from(seat: &Seat) -> Self {
        Self {
            id: alloc::format!("{}", seat.member.id),
            boot: seat.member.boot.0,
            addr: alloc::format!("{}", seat.addr),
        }
    }
}

impl TryFrom<SeatWire> for Seat {
    type Error = BadView;

    fn try_from(wire: SeatWire) -> Result<Self, BadView> {
        Ok(Self {
            member: Member { id: wire.id.parse().map_err(|_| BadView::Malformed)?, boot: Boot(wire.boot) },
            addr: wire.addr.parse().map_err(|_| BadView::Malformed)?,
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

fn roster_hash(roster: &[Seat]) -> Hash256 {
    sha256(&RosterWire { seats: roster.iter().map(SeatWire::from).collect() }.encode_to_vec())
}

impl Headed {
    /// Reads a header from its bytes, which are kept.
    ///
    /// # Errors
    /// [`BadView::Malformed`] or [`BadView::Epoch`]; nothing else is judged here.
    pub fn decode(bytes: Bytes) -> Result<Self, BadView> {
        let wire = HeaderWire::decode(bytes.clone()).map_err(|_| BadView::Malformed)?;
        let leader: FulcrumId = wire.leader.parse().map_err(|_| BadView::Malformed)?;
        if wire.epoch > EPOCH_MAX {
            return Err(BadView::Epoch);
        }
        if wire.name.len() > 64 || !wire.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') {
            return Err(BadView::Malformed);
        }
        let parents: Vec<ViewId> = wire.parents.into_iter().map(ViewId::try_from).collect::<Result<_, _>>()?;
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
        roster: Vec<Seat>,
        name: String,
        reign: u32,
        parents: &[ViewId],
    ) -> Result<Self, BadView> {
        let leader = roster.first().ok_or(BadView::Roster)?.member.id.clone();
        let size = u32::try_from(roster.len()).map_err(|_| BadView::Roster)?;
        let wire = HeaderWire {
            bloc: bloc.as_str().into(),
            epoch,
            leader: alloc::format!("{leader}"),
            roster: roster_hash(&roster).0.to_vec(),
            size,
            name,
            rank_size: size,
            rank_reign: reign,
            parents: parents.iter().map(ViewIdWire::from).collect(),
        };
        let head = Headed::decode(wire.encode_to_vec().into())?;
        Ok(Self { head, roster })
    }

    /// Joins a received header with a received roster.
    ///
    /// # Errors
    /// [`BadView`] says which of the two does not fit.
    pub fn join(bloc: &BlocName, head: Headed, roster: Vec<Seat>) -> Result<Self, BadView> {
        if head.header.bloc != *bloc {
            return Err(BadView::OtherBloc);
        }
        let fits = roster.first().is_some_and(|seat| seat.member.id == head.header.leader)
            && roster.len() == head.header.size as usize
            && head.header.rank.size == head.header.size
            && roster_hash(&roster) == head.header.roster;
        if !fits {
            return Err(BadView::Roster);
        }
        let mut ids: Vec<&FulcrumId> = roster.iter().map(|seat| &seat.member.id).collect();
        ids.sort();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(BadView::Roster);
        }
        let parent = head.header.parents.iter().map(|parent| parent.epoch).max().unwrap_or(0);
        if head.header.epoch > parent.saturating_add(EPOCH_STEP) {
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
        self.roster.iter().find(|seat| seat.member.id == *id)
    }

    /// Whether this life of this fulcrum is a member.
    #[must_use]
    pub fn has(&self, member: &Member) -> bool {
        self.roster.iter().any(|seat| seat.member == *member)
    }
}
