//! What fulcrums tell each other about flocking, as decoded and checked values. The bytes are `wire`'s affair.

use super::view::{Roster, Seat, SharedHead, View, ViewId};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use crux_names::{Duration, FulcrumId, Member};

/// Small messages that may be lost. Pings and their answers name the sender's view, so that a missed install is noticed
/// within one probe; what both know is not repeated, for it would be a third of each packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// "Are you there?" Only the answer counts as evidence: a round trip of the two, directly.
    Ping {
        /// Echoed by the answer.
        seq: u64,
        /// The sender's installed view; `None` if the receiver's last answer said that both have the same, and neither has
        /// installed another since.
        view: Option<ViewId>,
        /// Which ping the sender got an answer to, if its last one was answered: so many numbers before this one, or 0 if this
        /// is its first. Then the receiver's answer to that one is proved to have arrived; otherwise this is a miss at the
        /// receiver too, so that both see a loss that goes one way. The number is named because pings overtake each other.
        heard: Option<u64>,
    },
    /// The answer to a ping.
    Ack {
        /// The ping's number.
        seq: u64,
        /// The sender's installed view; `None` if it is the one that the ping named.
        view: Option<ViewId>,
    },
    /// "Do you hear this member?" Asked of a third, to tell a dead node from a dead link.
    PingReq {
        /// The member in question.
        subject: Member,
    },
    /// The third's answer, by its own direct evidence only.
    Witness {
        /// The member in question.
        subject: Member,
        /// How long ago the ping of their last completed round trip left; `None` if not within the last two probe periods.
        heard: Option<Duration>,
    },
}

/// Which proposal a promise or a report belongs to. The order is the order of promises.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProposalId {
    /// The epoch that the view will have.
    pub epoch: u64,
    /// Who proposes, and would lead.
    pub proposer: Member,
}

/// What an observer says of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accusation {
    /// A neighbour in the ring missed its probes, or its answers to them, for so many periods in a row as make it silent; or
    /// it answered none of a burst.
    Silent,
    /// Its fulcrum lives again under a newer boot and the old one did not answer the challenge.
    Replaced,
    /// The pair failed so many direct round trips, for so long, that it counts as broken if somebody else hears the
    /// subject and the subject does not disprove it.
    Broken,
    /// It said that it leaves.
    Left,
    /// The accusation no longer holds.
    Withdrawn,
    /// The pair failed two visits of the audit in a row, or a neighbour missed two periods. No verdict, but the pair is not
    /// verified either.
    Doubted,
}

impl Accusation {
    /// Whether it says what its observer heard at a moment, which may be over when it arrives.
    pub(super) const fn may_be_old(self) -> bool {
        matches!(self, Self::Silent | Self::Broken)
    }
}

/// Who would be in a view, in seniority order, each with the index of its parent view. Shared, not copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates {
    roster: Roster,
    parents: Arc<[u32]>,
}

impl Candidates {
    /// The seats.
    #[must_use]
    pub const fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The index of the parent view of the candidate in this position.
    #[must_use]
    pub fn parent(&self, at: usize) -> u32 {
        self.parents[at]
    }

    /// Each seat with the index of its parent view.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Seat, u32)> {
        self.roster.iter().zip(self.parents.iter().copied())
    }
}

impl From<Vec<(Seat, u32)>> for Candidates {
    fn from(candidates: Vec<(Seat, u32)>) -> Self {
        let parents = candidates.iter().map(|(_, parent)| *parent).collect();
        Self { roster: candidates.into_iter().map(|(seat, _)| seat).collect(), parents }
    }
}

/// A member's answer to a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It promises this proposal and reached every candidate that it had to verify, but these.
    Promised {
        /// Candidates that it had to verify and made no direct round trip with before its deadline.
        unreached: Vec<Member>,
    },
    /// It has a view that is not among the parents. The proposer pulls it and proposes above it.
    Conflict {
        /// The view that it has.
        have: SharedHead,
    },
    /// It stands by a higher promise for this much longer at most.
    Busy {
        /// The promise.
        promised: ProposalId,
        /// Until it ends by itself.
        remaining: Duration,
    },
}

/// The answer to a request to be taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskReply {
    /// The proposal will name the asker's flock.
    Accept,
    /// A change is under way; ask again after this. Unasked from whoever refused: the answers that were missing have come, so
    /// ask again sooner than that.
    Busy(Duration),
    /// This flock has itself asked a higher one; ask that.
    Redirect(SharedHead),
    /// The asker broke off too often of late: not before this has passed with clean round trips.
    Held(Duration),
    /// The union is not a clique.
    Refuse {
        /// Pairs that cannot talk directly, the asker's member second.
        pairs: Vec<(Member, Member)>,
        /// Do not ask again for this long, unless one of the pairs works again or `Busy` comes.
        retry: Duration,
    },
}

/// Messages that must arrive, in order, over the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// First on every link, again whenever the sender's view changes: the view that it has.
    Hello {
        /// Its header.
        head: SharedHead,
        /// The header of the best-ranked flock that the sender knows of, if that is another, and where its leader is. A
        /// hint whom to dial.
        best: Option<(SharedHead, SocketAddr)>,
    },
    /// Addresses of certified fulcrums of this bloc.
    Hints {
        /// Who was last seen where.
        seats: Vec<(FulcrumId, SocketAddr)>,
    },
    /// An observer's evidence about a co-member of this view.
    Alert {
        /// The view of both.
        view: ViewId,
        /// The accused.
        subject: Member,
        /// What the observer says.
        accusation: Accusation,
    },
    /// An accusation arrived: it need not be told to juniors.
    Heard {
        /// The view of both.
        view: ViewId,
        /// The accused.
        subject: Member,
    },
    /// "You are the first of this view that answers me: see whom you reach, and act."
    Summon {
        /// The view of both.
        view: ViewId,
    },
    /// A lower-ranked flock's leader asks to be taken in.
    Ask {
        /// The asking flock.
        view: View,
    },
    /// The answer, about the flock that asked.
    AskReply {
        /// The asking flock's view.
        asked: ViewId,
        /// What becomes of it.
        reply: AskReply,
    },
    /// The same from a leader that cannot reach the other one: whether its members may come without it. It takes one hop,
    /// over somebody who reaches both.
    AskThrough {
        /// The asking flock's view.
        view: View,
        /// The leader that is asked.
        to: FulcrumId,
    },
    /// A leader tells its members why a foreign flock stays apart.
    Apart {
        /// The view of both.
        ours: ViewId,
        /// The foreign flock's.
        theirs: ViewId,
        /// Pairs that cannot talk.
        pairs: Vec<(Member, Member)>,
        /// For how long nobody asks again.
        wait: Duration,
        /// One of the two broke off too often.
        held: bool,
    },
    /// The proposer's candidates. Each verifies those it shares no parent view with.
    Propose {
        /// Which proposal.
        id: ProposalId,
        /// The views that it would replace. A member whose view is not among them refuses.
        parents: Arc<[ViewId]>,
        /// The candidates in seniority order.
        candidates: Candidates,
        /// How long the proposer waits for reports.
        deadline: Duration,
    },
    /// A candidate's answer, straight to the proposer.
    Report {
        /// Which proposal.
        id: ProposalId,
        /// The answer.
        answer: Answer,
    },
    /// The proposal is void; promises to it end.
    Abort {
        /// Which proposal.
        id: ProposalId,
    },
    /// The new view, to its members. Also the answer to a pull.
    Install {
        /// The proposal that it ends, or `None` when it answers a pull.
        id: Option<ProposalId>,
        /// The view.
        view: View,
    },
    /// The member installed it.
    Installed {
        /// The view.
        view: ViewId,
    },
    /// "You have a higher view with me in it: send it."
    Pull {
        /// The view wanted.
        view: ViewId,
    },
    /// "I hold a higher view, and you are not in it."
    Eject {
        /// That view.
        view: View,
    },
    /// The leader's lease that the flock is complete as far as it can be known. It comes from the leader, in a large flock
    /// from whoever stands above the receiver in the tree of this number.
    StableGrant {
        /// For this view.
        view: ViewId,
        /// Counts up from 1 in each view.
        seq: u64,
        /// How long it holds after receipt.
        lease: Duration,
    },
    /// The leader withdraws the lease.
    Unstable {
        /// For this view.
        view: ViewId,
        /// The last grant that is withdrawn: one of these may still be on its way down the tree.
        seq: u64,
    },
    /// The sender stops on purpose.
    Leave,
}
