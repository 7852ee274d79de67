//! What goes in and out of the engine's one door.
//!
//! Signatures are checked by the node before an input is made (the type [`Checked`] says so); the heart authorises.
//! Effects come back only as [`Input::Report`], operators come in only through [`Input::Command`], bytes only through
//! `wire`, the clock only as the `now` of each call, randomness only from the seed in the configuration.

pub use crate::facts::Certificate;
use crate::facts::version::Checked;
use crate::flock::message::Datagram;
use crate::services::access;
pub use crate::services::effect::{Effect, Ended, Event, StartSpec};
pub use crate::services::hooks::{HookEnd, Kept, Telling, Word};
use crate::services::instance::{Instance, InstanceId};
use crate::wire::Frame;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::net::SocketAddr;
use crux_names::{Duration, FulcrumId, Hash256, Member, NodeName, Wall};

/// A peer as its certificate and its welcome introduced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Which life of which fulcrum.
    pub member: Member,
    /// Its mesh address: where it was seen, with the port that it advertised.
    pub addr: SocketAddr,
    /// Its certificate's admission number.
    pub admission: u32,
    /// Its certificate's labels.
    pub labels: BTreeMap<String, String>,
}

/// Names one command until its reply.
pub type RequestId = u64;

/// Everything that can happen to an engine.
#[derive(Clone, Debug)]
pub enum Input {
    /// The deadline that the engine gave has come. Spurious ones do no harm.
    Wake,
    /// A link passed its welcome.
    LinkUp {
        /// Who is at its other end.
        peer: Peer,
        /// Whether this side dialled.
        dialed: bool,
    },
    /// A link ended.
    LinkDown {
        /// Who was at its other end.
        peer: Member,
        /// Why, for people.
        why: String,
    },
    /// The idle connection of [`Output::Watch`] to this peer ended, or its host answered that nobody is there: its process
    /// may have died. A hint for haste, never evidence.
    ProcessGone {
        /// Whose.
        peer: Member,
    },
    /// Somebody at this address shows this very fulcrum's identity, under another boot: one of the two is a copy.
    Twin {
        /// Where the other one is.
        addr: SocketAddr,
    },
    /// A dial came to nothing.
    DialFailed {
        /// Where to.
        addr: SocketAddr,
        /// Why, for people.
        why: String,
        /// The address is this fulcrum's own.
        myself: bool,
        /// Somebody answered and refused.
        refused: bool,
    },
    /// A fulcrum of the bloc may be at this address: an operator's list or network to search names it, or somebody there
    /// announced itself. Unlike a seed it may be forgotten.
    Probed {
        /// Where.
        addr: SocketAddr,
    },
    /// A dial led to a peer to which there is a link already, which stays.
    DialAnswered {
        /// Where to.
        addr: SocketAddr,
        /// Who is there.
        peer: Member,
    },
    /// A datagram from a linked peer.
    Datagram {
        /// From whom.
        from: Member,
        /// What it said.
        datagram: Datagram,
    },
    /// A frame from a linked peer, of any kind but pushed facts.
    Frame {
        /// From whom.
        from: Member,
        /// What it said.
        frame: Frame,
    },
    /// Facts from a linked peer, checked.
    Facts {
        /// From whom.
        from: Member,
        /// Those whose signatures hold.
        versions: Vec<Checked>,
    },
    /// Facts from the local store at start: already durable.
    Loaded {
        /// Those whose signatures hold.
        versions: Vec<Checked>,
    },
    /// An operator, or this fulcrum's own door, wants something.
    Command {
        /// Echoed by the reply.
        request: RequestId,
        /// What.
        command: Command,
    },
    /// Another certificate of this fulcrum was installed, and is shown from now on.
    Certificate(Certificate),
    /// The outcome of an effect.
    Report(Report),
}

/// What the admin door asks of the engine.
#[derive(Clone, Debug)]
pub enum Command {
    /// Write these facts, all or none. Their author's certificate was judged at the door.
    Write {
        /// Operator-signed and countersigned here.
        versions: Vec<Checked>,
    },
    /// Bring back what a backup held, all or none.
    Restore {
        /// Those whose signatures hold.
        versions: Vec<Checked>,
    },
    /// Leave the flock and stop; with `services`, stop what runs here first.
    Down {
        /// Whether instances stop too.
        services: bool,
    },
    /// Stop what runs here, be of no horde any more, leave the flock and stop.
    Leave,
    /// Forget a fulcrum's addresses.
    Forget {
        /// Whose.
        fulcrum: FulcrumId,
    },
    /// Add an entry to the register of services. Who adds it was judged at the door.
    Add {
        /// Which.
        entry: access::Entry,
        /// How long it lives unless it is added again, if it is an operator's.
        life: Duration,
        /// Whether it is what was added under an earlier life: it takes the place of nothing that was added since.
        again: bool,
    },
    /// Try this address as if it had been a seed.
    Seed {
        /// Where.
        addr: SocketAddr,
    },
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The facts are durable here and on this many others; with `converged` false, fewer than promised had it in time.
    Written {
        /// The versions' ids.
        ids: Vec<Hash256>,
        /// Others that have it on disk.
        others: u32,
        /// Whether that is as many as promised.
        converged: bool,
    },
    /// The entry lives.
    Added {
        /// Whether it did before.
        renewed: bool,
    },
    /// Done.
    Done,
    /// Not done, nothing changed.
    Refused {
        /// Why and what to do next, for people.
        why: String,
    },
}

/// The outcome of an effect.
#[derive(Clone, Debug)]
pub enum Report {
    /// Facts are on disk, or could not be written.
    Persisted {
        /// The token of [`Output::Persist`].
        token: u64,
        /// The store's reason if not.
        result: Result<(), String>,
    },
    /// The store's file was removed or replaced, or was found damaged, and it began anew in another one. Told before the
    /// outcome of whatever is written there.
    StoreAnew,
    /// The node signed a row of its own.
    Signed {
        /// The version, checked like any other.
        version: Checked,
    },
    /// What the pickets of earlier lives left, once, after start.
    Adopted {
        /// What runs and this life re-adopted, each with its manifest's revision.
        instances: Vec<Instance>,
        /// What ended and was not cleaned, as far as it is known how.
        ended: Vec<Ended>,
        /// What those that run had been told of their hordes.
        told: Vec<Kept>,
    },
    /// A process runs.
    Started {
        /// Which instance.
        id: InstanceId,
        /// Its process id.
        pid: u32,
        /// When it started.
        at: Wall,
        /// The ports that it was given.
        ports: BTreeMap<String, u16>,
    },
    /// A process could not be made.
    StartFailed {
        /// Which instance.
        id: InstanceId,
        /// Why, for people.
        why: String,
    },
    /// A process ended, by itself or because it was told to, and nothing of its tree is left.
    Exited {
        /// Which instance.
        id: InstanceId,
        /// Its exit code, unless a signal ended it.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
    },
    /// A health check ended.
    CheckDone {
        /// Which instance.
        id: InstanceId,
        /// Whether it passed.
        ok: bool,
        /// What it said, for people.
        detail: String,
    },
    /// A file was fetched and verified, or nobody had it.
    Fetched {
        /// Its SHA-256.
        hash: Hash256,
        /// Why not, for people.
        result: Result<(), String>,
    },
    /// A hook of an instance ended.
    Hooked {
        /// Of which instance.
        id: InstanceId,
        /// The number of the word with which it was run.
        number: u64,
        /// How.
        end: HookEnd,
    },
    /// This fulcrum's own door was asked something.
    Knocked {
        /// Why it does not answer, for people.
        result: Result<(), String>,
    },
}

/// Where the bloc's fulcrums were last seen; persisted, never forgets a certified node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookEntry {
    /// Who.
    pub fulcrum: FulcrumId,
    /// Where.
    pub addr: SocketAddr,
    /// When last in touch, by this node's wall clock.
    pub seen: Wall,
}

/// Everything an engine can want.
#[derive(Clone, Debug)]
pub enum Output {
    /// Dial this address.
    Dial(SocketAddr),
    /// Keep an idle connection to each of these peers' API ports, whose end tells at once that a process died while its
    /// host lives, and to no others. Replaces the set said before.
    Watch(Vec<Member>),
    /// Close the link to this peer.
    CloseLink {
        /// Whom.
        peer: Member,
        /// Why, told to the peer.
        why: String,
    },
    /// Send a datagram over the link; it may be lost.
    Datagram {
        /// To whom.
        to: Member,
        /// What.
        datagram: Datagram,
    },
    /// Send a frame over the link, in order.
    Frame {
        /// To whom.
        to: Member,
        /// What.
        frame: Frame,
    },
    /// Make these facts durable. Answered by `Persisted`.
    Persist {
        /// Echoed by the report.
        token: u64,
        /// Sealed bytes with the path and id that they are stored under.
        versions: Vec<Checked>,
        /// Versions that need not be kept any longer.
        drop: Vec<Hash256>,
    },
    /// Persist the address book.
    Book(Vec<BookEntry>),
    /// These nodes are expelled, each with all admissions up to the number: no link with them, and none of theirs stays.
    /// Replaces what was said before.
    Expelled(BTreeMap<NodeName, u32>),
    /// Sign a row of this fulcrum's own. Answered by `Signed`.
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
    /// Do something to the world.
    Effect(Effect),
    /// Answer a command.
    Reply {
        /// Which.
        request: RequestId,
        /// The answer.
        reply: Reply,
    },
    /// Something happened.
    Event(Event),
    /// What watchers see has changed: confab or status.
    Changed,
    /// No flock will ever take this life in: begin anew with another boot. Said again as long as that is so.
    StartsOver,
    /// The fulcrum has left its flock and its instances are as wanted: the process may end.
    Finished,
}
