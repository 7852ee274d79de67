//! The picture: what one fulcrum can say about its bloc, as plain values. Every line says whose word it is: what *should*
//! be (a plan), what was *reported* (by the fulcrum where it runs) or what is *believed* (by the healthminder's rules).
//!
//! Nothing here decides. The API turns these values into the documents of the operator's contract.

use crate::facts::value::Cordon;
use crate::flock::view::ViewId;
use crate::flock::{Outside, Sibling};
use crate::resources::Resources;
use crate::services::access::Entry;
use crate::services::instance::{InstanceId, ServiceRef};
use crate::services::plan::PlanId;
use crate::services::roles::Substitute;
pub use crate::services::standing::Standing as HordeState;
use crate::services::verdict::{Health, Verdict};
pub use crate::services::yurt::State as ProgramState;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use crux_names::{BlocName, Duration, FulcrumId, Hash256, HordeName, Member, NodeName, ServiceName, Wall};

/// What a program asks for names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confab {
    /// The bloc.
    pub bloc: BlocName,
    /// This life of this fulcrum.
    pub me: Member,
    /// The flock's transient name.
    pub flock: String,
    /// The view's epoch.
    pub epoch: u64,
    /// The view.
    pub view: ViewId,
    /// Its leader.
    pub leader: FulcrumId,
    /// Whether the flock is complete as far as that can be known.
    pub stable: bool,
    /// Its members, sorted by name.
    pub members: Vec<FulcrumId>,
    /// This fulcrum's home horde; `None` for a visitor, which is of none.
    pub horde: Option<HordeName>,
    /// Present fulcrums with the ADMIN flag, in roster order: the first is ADMIN's seat.
    pub admin: Vec<FulcrumId>,
    /// Where the steward heartbeats; `None` while none does.
    pub steward: Option<FulcrumId>,
    /// Where the yurt heartbeats; `None` while none does.
    pub yurt: Option<FulcrumId>,
    /// This fulcrum's wall clock when these words began to hold.
    pub at: Wall,
}

/// Everything that `crux status` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The names.
    pub confab: Confab,
    /// How long the view has been installed.
    pub age: Duration,
    /// The members in seniority order.
    pub roster: Vec<RosterLine>,
    /// Foreign flocks of the bloc.
    pub siblings: Vec<Sibling>,
    /// Certified fulcrums that are in no flock seen from here, and addresses that refuse.
    pub outside: Vec<OutsideLine>,
    /// Every horde, by name.
    pub hordes: Vec<HordeLine>,
    /// Every service that is placed, planned or runs, by name.
    pub services: Vec<ServiceLine>,
    /// Every instance that somebody reports or believes in, by id.
    pub instances: Vec<InstanceLine>,
    /// The facts held here.
    pub facts: FactsLine,
    /// How many members this fulcrum's flock is expected to have, where that was configured.
    pub expect: Option<u32>,
    /// Fulcrums of which two live at once, with their addresses.
    pub clones: Vec<(FulcrumId, [SocketAddr; 2])>,
    /// Why this fulcrum does not call its flock stable: what a leader still waits for, or what a member sees.
    pub lacking: Option<String>,
    /// Whether this fulcrum itself is at fault of late: it comes late or accuses wrongly, and so accuses more slowly.
    pub sick: bool,
    /// Programs that heartbeat in ADMIN, as the yurt has them.
    pub programs: Vec<ProgramLine>,
    /// What was added to the register of services and lives.
    pub access: Vec<AccessLine>,
    /// Nodes that were put out of the bloc.
    pub expelled: Vec<ExpelledLine>,
    /// This fulcrum's wall clock when the picture was taken.
    pub at: Wall,
}

impl Status {
    /// How many members there are of those that are expected: visitors are not.
    #[must_use]
    pub fn full_members(&self) -> usize {
        self.roster.iter().filter(|line| !line.visitor).count()
    }
}

/// A node that was put out of the bloc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpelledLine {
    /// Which.
    pub node: NodeName,
    /// With all admissions up to this one.
    pub up_to: u32,
    /// Why, for people.
    pub reason: String,
    /// Who signed it.
    pub by: String,
    /// When, by the signer's clock.
    pub at: Wall,
}

/// How a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// It answers.
    Member,
    /// It misses probes or stands accused.
    Suspect,
}

/// One member of the flock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterLine {
    /// Who.
    pub member: Member,
    /// Where it is reached from here; for this fulcrum itself, where it listens.
    pub addr: SocketAddr,
    /// Since when it has been in this fulcrum's flock without a break, by this fulcrum's wall clock.
    pub since: Wall,
    /// Its home horde; `None` for a visitor, which is of none.
    pub horde: Option<HordeName>,
    /// Whether it is on its way into that horde (`+name`): its services do not answer yet.
    pub joining: bool,
    /// Whether it carries the ADMIN flag.
    pub admin: bool,
    /// Whether it is a visitor: it follows the flock and never leads it.
    pub visitor: bool,
    /// Its labels: its certificate's, and over them the operators'.
    pub labels: BTreeMap<String, String>,
    /// What it has for services; `None`: it has not said so.
    pub capacity: Option<Resources>,
    /// What those ask for that plans have on it.
    pub used: Resources,
    /// The horde at which it stands in, and for whom.
    pub stands_in: Option<(HordeName, FulcrumId)>,
    /// Whether an operator keeps new work from it, and whether what runs there moves away.
    pub cordon: Option<Cordon>,
    /// How it is.
    pub state: MemberState,
    /// The admission of its certificate, where there was a link to it.
    pub admission: Option<u32>,
    /// How long ago it completed a direct round trip with this fulcrum; `None` for this fulcrum or before the first.
    pub heard: Option<Duration>,
}

/// Somebody who is not in this flock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsideLine {
    /// Who and why.
    pub who: Outside,
    /// When it was last in touch with this fulcrum; `None`: never.
    pub last_seen: Option<Wall>,
}

/// One horde.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HordeLine {
    /// Its name.
    pub name: HordeName,
    /// How many home members its operator wants; `None` for `main` and ADMIN without a fact.
    pub want: Option<u32>,
    /// Which fulcrums it may take, in the operator's words.
    pub admits: String,
    /// How much its services may ask for, if that is limited.
    pub quota: Option<Resources>,
    /// How much they ask for, by its plan.
    pub used: Resources,
    /// Home members, sorted by name.
    pub home: Vec<FulcrumId>,
    /// Those of them in this flock, in roster order: the first is the seat.
    pub present: Vec<FulcrumId>,
    /// Those that are not.
    pub absent: Vec<FulcrumId>,
    /// Fulcrums that stand in for absent ones, or did until now.
    pub substitutes: Vec<Substitute>,
    /// Where its proctor and its healthminder sit.
    pub seat: Option<FulcrumId>,
    /// How it is.
    pub state: HordeState,
    /// What it waits for, if anything.
    pub why: String,
}

/// Whose word a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimKind {
    /// A plan says that it should be so.
    Should,
    /// The fulcrum where it runs reported it.
    Reported,
    /// The healthminder believes it by its rules.
    Believed,
}

/// Whose word a line is, and from when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What kind of word.
    pub kind: ClaimKind,
    /// Whose: the proctor's, the reporter's or the healthminder's fulcrum.
    pub by: FulcrumId,
    /// When it arrived here, by this fulcrum's wall clock.
    pub at: Wall,
}

/// One service of one horde.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceLine {
    /// Which.
    pub of: ServiceRef,
    /// The revision that its operator wants; `None` if it is no longer placed.
    pub revision: Option<Hash256>,
    /// The placement in khan's words; empty if it is no longer placed.
    pub place: String,
    /// The plan that says how many should be; `None` before the first plan that reached this fulcrum.
    pub plan: Option<PlanId>,
    /// How many instances should be on this side now; `None` before the first plan.
    pub should: Option<u32>,
    /// Believed ready.
    pub ready: u32,
    /// Believed late.
    pub late: u32,
    /// Believed dead.
    pub dead: u32,
    /// Known, but their node is not in this flock.
    pub gone: u32,
    /// Running or about to, and nothing is known of their health yet.
    pub unknown: u32,
    /// Ended well and not meant to run on.
    pub done: u32,
    /// Planned instances beyond what should be, which wait for their turn to be removed.
    pub surplus: u32,
    /// Why it is not as it should be; empty when it is.
    pub why: String,
    /// Whose word `should` is; `None` before the first plan.
    pub claim: Option<Claim>,
}

/// Where an instance is in its life, as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InstanceState {
    /// Wanted; something has to happen first.
    Pending,
    /// Its process is being made, or runs and is not judged yet.
    Starting,
    /// Ready.
    Ready,
    /// Late.
    Late,
    /// Dead.
    Dead,
    /// Told to stop.
    Stopping,
    /// Ended, or its node is not in this flock.
    Gone,
    /// Ended well and not meant to run on.
    Done,
}

impl InstanceState {
    /// The word that tools see.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Late => "late",
            Self::Dead => "dead",
            Self::Stopping => "stopping",
            Self::Gone => "gone",
            Self::Done => "done",
        }
    }
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceLine {
    /// Its id.
    pub id: InstanceId,
    /// What it is an instance of.
    pub of: ServiceRef,
    /// Its place: the 2 of `web/api.2`.
    pub slot: u32,
    /// Where it runs.
    pub node: FulcrumId,
    /// Its process.
    pub pid: Option<u32>,
    /// When its process started, by its node's wall clock.
    pub started: Option<Wall>,
    /// Where it is in its life.
    pub state: InstanceState,
    /// Which revision it runs.
    pub revision: Option<Hash256>,
    /// Its ports.
    pub ports: BTreeMap<String, u16>,
    /// How often it was started again after it ended by itself.
    pub restarts: u32,
    /// Whether the newest plan known here has it.
    pub planned: bool,
    /// The healthminder's word, if there is one.
    pub verdict: Option<Verdict>,
    /// Why it is where it is.
    pub why: String,
    /// How its last hook is, in a sentence; empty if it had none.
    pub hook: String,
    /// Whose word the state is.
    pub claim: Claim,
}

/// The facts held here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FactsLine {
    /// Facts with a value or a tombstone.
    pub count: u32,
    /// Hash over all versions: equal digests mean equal facts.
    pub digest: Hash256,
    /// Facts of which concurrent versions exist.
    pub conflicts: u32,
    /// Facts from before the horizon that came back and wait for an operator's word.
    pub quarantined: u32,
}

/// A program that heartbeats in ADMIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramLine {
    /// Its name: `genghis`, `proctor/web`.
    pub name: String,
    /// Where.
    pub node: FulcrumId,
    /// Since when it runs there, by that fulcrum's wall clock.
    pub started: Wall,
    /// How long ago it was last heard here.
    pub heard: Duration,
    /// Whether it answers, and if not, why.
    pub state: (ProgramState, String),
}

/// An entry of the access service's register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLine {
    /// What was added.
    pub entry: Entry,
    /// What is believed of the instance that added it; `None` of an operator's entry.
    pub health: Option<Health>,
    /// Whose word it is: the fulcrum's at whose door it was added, and when ADMIN's seat last told it here.
    pub claim: Claim,
}

/// What `why` is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A fulcrum.
    Node(FulcrumId),
    /// Whoever is at an address.
    Address(SocketAddr),
    /// A service: why it is as it is.
    Service(ServiceRef),
    /// What a service still waits for.
    Pending(ServiceRef),
    /// An instance by its id.
    Instance(InstanceId),
    /// An instance by its display name.
    Slot(ServiceRef, u32),
    /// A horde.
    Horde(HordeName),
    /// Why this flock is what it is, and why others are apart.
    Flock,
}

impl Subject {
    /// Reads the words after `crux why`: `node n7`, `node 10.0.0.7:2789`, `service web/api`, `web/api.2`, `pending web/api`, `horde web`,
    /// `flock`, or an instance's id.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        if let (Some(kind @ ("node" | "horde" | "service" | "pending" | "instance")), None) =
            (words.next(), words.next())
        {
            return Err(alloc::format!("a name is missing: `{kind} NAME`"));
        }
        let mut words = text.split_whitespace();
        let subject = match (words.next(), words.next(), words.next()) {
            (Some("flock"), None, _) => Some(Self::Flock),
            (Some("node"), Some(name), None) => {
                name.parse().ok().map(Self::Node).or_else(|| name.parse().ok().map(Self::Address))
            }
            (Some("horde"), Some(name), None) => name.parse().ok().map(Self::Horde),
            (Some("service"), Some(name), None) => service(name).map(Self::Service),
            (Some("pending"), Some(name), None) => service(name).map(Self::Pending),
            (Some("instance"), Some(name), None) | (Some(name), None, _) => instance(name),
            _ => None,
        };
        subject.ok_or_else(|| {
            let lower = text.to_ascii_lowercase();
            if lower != text && Self::parse(&lower).is_ok() {
                return alloc::format!("names have no capital letters; did you mean {lower:?}?");
            }
            alloc::format!(
                "{text:?} is nothing to ask about: try `node NAME`, `node ADDR:PORT`, `service HORDE/NAME`, `HORDE/NAME.SLOT`, an \
                 instance's id, `pending HORDE/NAME`, `horde NAME` or `flock`"
            )
        })
    }
}

fn service(text: &str) -> Option<ServiceRef> {
    let (horde, service) = text.split_once('/').unwrap_or((crux_names::MAIN, text));
    Some(ServiceRef { horde: HordeName::parse(horde).ok()?, service: ServiceName::parse(service).ok()? })
}

fn instance(text: &str) -> Option<Subject> {
    if let Ok(id) = text.parse() {
        return Some(Subject::Instance(id));
    }
    match text.rsplit_once('.') {
        Some((name, slot)) => Some(Subject::Slot(service(name)?, slot.parse().ok()?)),
        None => service(text).map(Subject::Service),
    }
}

/// One reason, as the deciding rule had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What it is about: `web/api.2`.
    pub subject: String,
    /// How that is, in a word: `late`, `member`, `parted`.
    pub state: String,
    /// For how long, where that is known.
    pub since: Option<Duration>,
    /// The rule's id: `beat-age`.
    pub rule: String,
    /// What the rule was given, name by name.
    pub inputs: Vec<(String, String)>,
    /// The reason in a sentence.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_after_why_are_read() {
        let api = service("web/api").unwrap();
        assert_eq!(Subject::parse("service web/api"), Ok(Subject::Service(api.clone())));
        assert_eq!(Subject::parse("web/api"), Ok(Subject::Service(api.clone())));
        assert_eq!(Subject::parse("web/api.2"), Ok(Subject::Slot(api.clone(), 2)));
        assert_eq!(Subject::parse("pending  web/api"), Ok(Subject::Pending(api)));
        assert_eq!(Subject::parse("node n1.site-a"), Ok(Subject::Node("n1.site-a".parse().unwrap())));
        assert_eq!(Subject::parse("n1:1f:7"), Ok(Subject::Instance("n1:1f:7".parse().unwrap())));
        assert_eq!(Subject::parse("node 10.0.0.7:2789"), Ok(Subject::Address("10.0.0.7:2789".parse().unwrap())));
        assert_eq!(Subject::parse("flock"), Ok(Subject::Flock));
        assert!(Subject::parse("node n_7").unwrap_err().contains("horde NAME"));
        assert!(Subject::parse("node N7").unwrap_err().contains("no capital letters; did you mean \"node n7\"?"));
        for kind in ["node", "horde", "service", "pending", "instance"] {
            assert!(Subject::parse(kind).unwrap_err().contains("a name is missing"), "{kind}");
        }
        assert!(Subject::parse("").is_err());
    }
}
