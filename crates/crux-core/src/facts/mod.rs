//! Facts: what operators want, everywhere. Every fulcrum holds all facts of its bloc, so any part of a split bloc can go
//! on managing what it has. Source: the design's `control-plane.md`.
//!
//! Like all of the heart this is a pure step: [`Facts::handle`] takes an [`Input`] and answers with [`Output`]s;
//! signatures were checked before ([`Checked`]), authority is judged here ([`authority`]).
//!
//! **When a version counts.** What a *peer* sends is in force here at once, since somebody has it on disk and a fulcrum
//! that obeys it early does no harm; but it is said to be held ([`Message::Held`]) only when it is on this disk too. What
//! an *operator* writes here is in force, and sent on, only when it is on this disk: until then nobody else has it, and a
//! disk that fails must refuse the write with nothing changed. The same holds for this fulcrum's own row.
//!
//! Frozen for the rooms that build on it: [`version`] (what is signed, how it is hashed) and [`value`] (what the
//! values say). Inside: `record` (one fact and the laws of merging), `store` (all of them), `disk` (what is durable),
//! `write` (a write until it is acknowledged), `row` (this fulcrum's own), `outbox` (what is sent unasked), `compare` and
//! [`ranges`] (finding out what a peer lacks), [`quarantine`] (what comes back from too long ago), `read` (asking),
//! `restore` (what a backup held), [`scope`] (what operators' certificates may be limited to), [`rule`] (who may call
//! whom, and that a removal wins).

pub mod authority;
pub mod clock;
mod compare;
mod disk;
mod outbox;
pub mod path;
pub mod quarantine;
pub mod ranges;
mod read;
mod record;
mod restore;
mod row;
pub mod rule;
pub mod scope;
mod store;
pub mod value;
pub mod version;
mod write;

pub(crate) use compare::IDS_MAX;
pub use read::Conflict;
pub use restore::Fate;
pub use row::{Certificate, ROWS_BYTES};

use self::clock::Clock;
use self::ranges::RangeSet;
use self::value::Row;
use self::version::{Checked, Stamp};
use crate::hash::Random;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::mem;
use crux_names::{BlocName, Duration, FulcrumId, Hash256, Member, Time, Wall};

/// Above this many versions in force or listed, operators' writes are refused. Facts are thousands, not a database.
pub const STORE_MAX: usize = 15_000;
/// Most versions of one write.
pub const WRITE_MAX: usize = 1024;
/// Largest frame of facts in bytes. One version may be larger than its share and then travels alone.
pub const CHUNK: usize = 256 * 1024;
/// Most bytes of versions that a peer is sent in one step, and that are under way to it unasked. One version may be larger
/// than its share and then goes alone. A link that has more to send than its queue holds ends.
pub const BURST: usize = CHUNK;

/// What a fulcrum's facts are told at their start.
#[derive(Clone, Debug)]
pub struct Config {
    /// The bloc.
    pub bloc: BlocName,
    /// This fulcrum, whose row it alone writes.
    pub me: FulcrumId,
    /// Source of the choice whom to compare with.
    pub seed: u64,
    /// Scales the pause between comparisons, in thousandths: 1000 is the default.
    pub timers: u32,
    /// What it signs its row with.
    pub certificate: Certificate,
}

/// What fulcrums tell each other about facts. One to one with the frames of `wire`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Sealed versions. Only ever sent: what comes in is checked first and is [`Input::Versions`].
    Versions(Vec<Bytes>),
    /// "I have these on disk."
    Held(Vec<Hash256>),
    /// "My facts hash to this."
    Digest {
        /// The digest.
        digest: Hash256,
        /// How many versions are behind it.
        count: u32,
    },
    /// "My versions hash to these, by range; tell me yours of those that differ."
    Ranges(Vec<u64>),
    /// "My versions are these; tell me what I lack and ask for what you lack."
    Ids {
        /// The ranges that this list speaks of.
        of: RangeSet,
        /// Sorted.
        ids: Vec<Hash256>,
    },
    /// "Send me these." The answer ends with a digest.
    Want(Vec<Hash256>),
}

/// What can happen to a fulcrum's facts.
#[derive(Clone, Debug)]
pub enum Input {
    /// The deadline has come. Spurious ones do no harm.
    Wake,
    /// A link to a fulcrum of the bloc, of this flock or not.
    Linked(Member),
    /// It ended.
    Unlinked(Member),
    /// A new view.
    View {
        /// Its members, this one included or not.
        members: Vec<Member>,
    },
    /// Versions from a peer.
    Versions {
        /// From whom.
        from: Member,
        /// Those whose signatures hold.
        versions: Vec<Checked>,
    },
    /// Versions from the local store: already durable.
    Loaded {
        /// Those whose signatures hold.
        versions: Vec<Checked>,
    },
    /// A message from a peer.
    Message {
        /// From whom.
        from: Member,
        /// What.
        message: Message,
    },
    /// An operator's write at this door: all or none.
    Write {
        /// Echoed by the answer.
        request: u64,
        /// Countersigned here.
        versions: Vec<Checked>,
    },
    /// What a backup held, to be brought back at this door: all or none.
    Restore {
        /// Echoed by the answer.
        request: u64,
        /// Those whose signatures hold.
        versions: Vec<Checked>,
    },
    /// What this fulcrum says of itself from now on. Signed and written if it is not what stands there. Labels and
    /// admission are those of the certificate, whatever the row says.
    Row(Row),
    /// This fulcrum shows another certificate from now on: its row is signed again with it.
    Certificate(Certificate),
    /// The node signed a row.
    Signed(Checked),
    /// The outcome of [`Output::Persist`].
    Persisted {
        /// Its token.
        token: u64,
        /// The store's reason if not.
        result: Result<(), String>,
    },
    /// The store began anew in another file: nothing that was on disk counts as there.
    StoreAnew,
}

/// What facts want done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a message to a peer.
    Send {
        /// To whom.
        to: Member,
        /// What.
        message: Message,
    },
    /// Make these durable and forget those, in one transaction, in the order of the tokens.
    Persist {
        /// Echoed by the report.
        token: u64,
        /// What to keep.
        versions: Vec<Checked>,
        /// Ids of what need not be kept any longer.
        drop: Vec<Hash256>,
    },
    /// Sign this fulcrum's row.
    Sign {
        /// The fact's path.
        path: String,
        /// Its value.
        value: Bytes,
        /// What it replaces.
        ancestors: Vec<Hash256>,
        /// The earliest stamp that counts, should the clock stand before it.
        not_before: Wall,
    },
    /// A write is durable here and on this many others.
    Written {
        /// Which write.
        request: u64,
        /// The versions' ids.
        ids: Vec<Hash256>,
        /// Others that have it on disk.
        others: u32,
        /// Whether that is as many as promised, min(2, n - 1).
        converged: bool,
    },
    /// A write was refused; nothing changed.
    Refused {
        /// Which write.
        request: u64,
        /// Why and what to do next, for people.
        why: String,
    },
    /// A version came that this fulcrum does not take in.
    Ignored {
        /// From whom.
        from: Member,
        /// Its path.
        path: String,
        /// Why.
        why: authority::Refusal,
    },
    /// A version from before the horizon came; it is kept and not in force.
    Quarantined {
        /// Its path.
        path: String,
    },
    /// The horizon has moved: so many versions are behind it here.
    Behind {
        /// How many.
        count: usize,
    },
    /// The facts under these paths changed.
    Changed {
        /// The paths, sorted.
        paths: Vec<String>,
    },
    /// Two versions of which neither knew the other stand under this path now. A deletion, else the later one, is in
    /// force, the other listed.
    Conflicted {
        /// The path.
        path: String,
    },
}

/// A fulcrum's facts.
#[derive(Clone, Debug)]
pub struct Facts {
    config: Config,
    store: store::Store,
    quarantine: quarantine::Quarantine,
    clock: Clock,
    disk: disk::Disk,
    writes: write::Writes,
    row: row::OwnRow,
    compare: compare::Compare,
    outbox: outbox::Outbox,
    /// The other members of the view.
    others: Vec<Member>,
    /// What changed during this step.
    changed: BTreeSet<String>,
}

impl Facts {
    /// Facts of a fulcrum that knows none yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            store: store::Store::new(),
            quarantine: quarantine::Quarantine::default(),
            clock: Clock::default(),
            disk: disk::Disk::default(),
            writes: write::Writes::default(),
            row: row::OwnRow::default(),
            compare: compare::Compare::new(Random::new(config.seed), config.timers),
            outbox: outbox::Outbox::default(),
            others: Vec::new(),
            changed: BTreeSet::new(),
            config,
        }
    }

    /// Takes one step. `now` decides, `wall` only judges and makes stamps.
    pub fn handle(&mut self, now: Time, wall: Wall, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Wake => {}
            Input::Linked(peer) => self.linked(now, peer, out),
            Input::Unlinked(peer) => self.unlinked(&peer),
            Input::View { members } => self.view(members, out),
            Input::Versions { from, versions } => self.received(now, wall, from, versions, out),
            Input::Loaded { versions } => self.loaded(wall, versions),
            Input::Message { from, message } => match message {
                Message::Versions(_) => {}
                Message::Held(ids) => {
                    self.held(&from, &ids);
                    self.arrived(now, &from, &ids, out);
                }
                Message::Digest { digest, .. } => self.compared(now, from, digest, out),
                Message::Ranges(theirs) => self.ranged(now, from, &theirs, out),
                Message::Ids { of, ids } => self.listed(now, from, of, &ids, out),
                Message::Want(ids) => self.wanted(from, &ids, out),
            },
            Input::Write { request, versions } => self.write(now, wall, request, versions, out),
            Input::Restore { request, versions } => self.restore(request, versions, out),
            Input::Row(row) => self.set_row(row),
            Input::Certificate(certificate) => self.set_certificate(certificate),
            Input::Signed(version) => self.signed(version, out),
            Input::Persisted { token, result } => self.persisted(now, wall, token, result, out),
            Input::StoreAnew => self.store_anew(now),
        }
        self.count_quarantine();
        self.retry_disk(now, out);
        self.settle_writes(now, out);
        self.look_at_row();
        self.tend_row(now, out);
        if !self.changed.is_empty() {
            self.store.settle();
        }
        self.tick(now, out);
        self.tend_outbox(now, out);
        if !self.changed.is_empty() {
            out.push(Output::Changed { paths: mem::take(&mut self.changed).into_iter().collect() });
        }
    }

    /// When it wants to be woken.
    #[must_use]
    pub fn deadline(&self) -> Time {
        let sends = self.compare.deadline().min(self.outbox.deadline());
        sends.min(self.writes.deadline()).min(self.disk.deadline()).min(self.row_deadline())
    }

    /// A stamp for a write that is signed now, later than all that this fulcrum has seen.
    pub const fn stamp(&mut self, wall: Wall) -> Stamp {
        self.clock.stamp(wall)
    }

    fn view(&mut self, mut members: Vec<Member>, out: &mut Vec<Output>) {
        members.retain(|member| member.id != self.config.me);
        members.sort();
        self.others = members;
        let (others, compare) = (&self.others, &self.compare);
        self.outbox.retain(|peer| others.binary_search(peer).is_ok() || compare.is_linked(peer));
        self.contact_members(out);
    }

    fn loaded(&mut self, wall: Wall, versions: Vec<Checked>) {
        for version in versions {
            let id = version.id();
            // What the table refuses may be a newer program's: it stays on disk, unread.
            if authority::authorise(&self.config.bloc, version.statement()).is_ok() {
                // Conflicts that stood before the start are no news.
                let path = version.statement().path.clone();
                self.merge(wall, version, &mut Vec::new());
                if !self.keeps(&id) {
                    self.disk.forget(&path, id);
                }
            }
        }
    }

    /// Merges a version that the table allows. True if it is kept and was not before.
    fn merge(&mut self, wall: Wall, version: Checked, out: &mut Vec<Output>) -> bool {
        let path = version.statement().path.clone();
        self.clock.observe(version.statement().stamp, wall);
        if self.quarantine.is_behind(&version) {
            return self.set_aside(version, out);
        }
        let losers = |facts: &Self| facts.store.record(&path).map_or(0, |record| record.losers().count());
        let before = losers(self);
        let outcome = self.store.merge(version);
        self.quarantine.touch(&path);
        for id in outcome.dropped {
            self.disk.forget(&path, id);
        }
        if losers(self) > before {
            out.push(Output::Conflicted { path: path.clone() });
        }
        if outcome.heads_changed {
            let horizon = path == value::HORIZON;
            self.changed.insert(path);
            if horizon {
                self.look_at_horizon(out);
            }
        }
        outcome.kept
    }

    /// Sends versions in frames of at most [`CHUNK`] bytes.
    fn send_versions<'a>(to: &Member, versions: impl Iterator<Item = &'a Checked>, out: &mut Vec<Output>) {
        let mut chunk = Vec::new();
        let mut size = 0;
        let mut flush = |chunk: &mut Vec<Bytes>| {
            if !chunk.is_empty() {
                out.push(Output::Send { to: to.clone(), message: Message::Versions(mem::take(chunk)) });
            }
        };
        for version in versions {
            let sealed = version.sealed();
            if size + sealed.len() > CHUNK {
                flush(&mut chunk);
                size = 0;
            }
            size += sealed.len();
            chunk.push(sealed);
        }
        flush(&mut chunk);
    }
}

/// How long a failed disk, and a peer that says nothing, are left alone.
const RETRY: Duration = Duration::from_secs(1);
