//! What `--wait` waits for after a write, beside services that get ready: hordes that become whole or go, services that go,
//! and fulcrums that are out of work. All of it by what the fulcrum's status says.

use crux_api::intent::HordeIntent;
use crux_api::json::{HordeState, InstanceState, Status};
use crux_api::write::{NewFact, cordon_drains};
use crux_names::HordeName;
use crux_pki::count;

/// Something that a write asks for and that is not so at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// A horde has its home members, all of them here.
    Whole { horde: String, want: u32 },
    /// A horde is no more.
    NoHorde(String),
    /// Nothing of a service runs any more.
    NoService { horde: String, service: String },
    /// A fulcrum gets no new work, and with `drain` has none.
    OutOfWork { fulcrum: String, drain: bool },
    /// A fulcrum may have work.
    InWork(String),
}

/// A fulcrum as documents name it: the default one of a node by the node's name.
fn fulcrum(path: &str) -> Option<String> {
    let id: crux_names::FulcrumId = path.parse().ok()?;
    Some(id.to_string())
}

impl Goal {
    /// What this fact asks for, if that is anything to be waited for.
    pub(super) fn of(fact: &NewFact) -> Option<Self> {
        let value = fact.value.as_deref();
        let (kind, rest) = fact.path.split_once('/')?;
        match (kind, value) {
            ("horde", Some(value)) => {
                let want = HordeIntent::decode(HordeName::parse(rest).ok()?, value).ok()?.want;
                Some(Self::Whole { horde: rest.to_owned(), want })
            }
            ("horde", None) => Some(Self::NoHorde(rest.to_owned())),
            ("place", None) => {
                let (horde, service) = rest.split_once('/')?;
                Some(Self::NoService { horde: horde.to_owned(), service: service.to_owned() })
            }
            ("cordon", Some(value)) => Some(Self::OutOfWork { fulcrum: fulcrum(rest)?, drain: cordon_drains(value) }),
            ("cordon", None) => Some(Self::InWork(fulcrum(rest)?)),
            _ => None,
        }
    }

    /// What is not yet so, and what tells more; `None` if it is.
    pub(super) fn lacks(&self, status: &Status) -> Option<(String, String)> {
        let horde_of = |name: &str| status.hordes.iter().find(|horde| horde.name == name);
        let entry = |name: &str| status.roster.iter().find(|entry| entry.name == name);
        match self {
            Self::Whole { horde, want } => {
                let next = format!("crux why horde {horde}");
                let Some(there) = horde_of(horde) else {
                    return Some((format!("horde {horde} is not known yet"), next));
                };
                // A built-in one takes whoever is there; how many it wants, if that was said, its state goes by.
                let heard = there.want.is_none_or(|wanted| *want == 0 || wanted == *want);
                if heard && there.state == HordeState::Whole {
                    return None;
                }
                let why = if there.why.is_empty() { String::new() } else { format!(": {}", there.why) };
                let (here, wanted) = (there.present.len(), there.want.unwrap_or(*want));
                Some((format!("horde {horde} has {here} of {wanted} home members here{why}"), next))
            }
            Self::NoHorde(horde) => {
                horde_of(horde).map(|_| (format!("horde {horde} still has members"), format!("crux why horde {horde}")))
            }
            Self::NoService { horde, service } => {
                let runs = status.instances.iter().filter(|it| it.horde == *horde && it.service == *service);
                let runs = runs.filter(|it| !over(it.state)).count();
                let next = format!("crux why service {horde}/{service}");
                (runs > 0).then(|| (still_run(runs, &format!("of {horde}/{service}")), next))
            }
            Self::OutOfWork { fulcrum, drain } => {
                let next = format!("crux why node {fulcrum}");
                if entry(fulcrum).is_some_and(|entry| !entry.cordoned || entry.draining != *drain) {
                    return Some((
                        format!("{fulcrum} does not count as {}", if *drain { "draining" } else { "cordoned" }),
                        next,
                    ));
                }
                let runs = status.instances.iter().filter(|it| it.node == *fulcrum && !over(it.state)).count();
                (*drain && runs > 0).then(|| (still_run(runs, &format!("on {fulcrum}")), next))
            }
            Self::InWork(fulcrum) => entry(fulcrum)
                .is_some_and(|entry| entry.cordoned)
                .then(|| (format!("{fulcrum} still counts as cordoned"), format!("crux why node {fulcrum}"))),
        }
    }
}

/// Whether nothing of it runs.
const fn over(state: InstanceState) -> bool {
    matches!(state, InstanceState::Gone | InstanceState::Done)
}

/// So many instances still run, where or of what.
fn still_run(runs: usize, which: &str) -> String {
    let verb = if runs == 1 { "runs" } else { "run" };
    format!("{} {which} still {verb}", count(runs, "instance"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crux_api::json::Doc;
    use crux_names::FulcrumId;

    fn status() -> Status {
        let sample = include_str!("../../../crux-api/schema/Status.json");
        serde_json::from_str::<Doc<Status>>(sample).unwrap().0
    }

    fn horde(want: u32) -> NewFact {
        let mut intent = crux_api::intent::Intent::default();
        let name: HordeName = "web".parse().unwrap();
        HordeIntent { want, ..HordeIntent::built_in(name) }.lower(&mut intent);
        intent.facts.remove(0)
    }

    #[test]
    fn a_horde_is_waited_for_until_it_is_whole_with_as_many_as_it_was_asked_for() {
        let goal = Goal::of(&horde(3)).unwrap();
        let mut status = status();
        status.hordes[0].want = Some(3);
        status.hordes[0].state = HordeState::Thin;
        let (lacks, next) = goal.lacks(&status).unwrap();
        assert!(lacks.starts_with("horde web has ") && next == "crux why horde web", "{lacks} {next}");
        status.hordes[0].state = HordeState::Whole;
        assert_eq!(goal.lacks(&status), None);
        // What was written may not have been heard of here.
        status.hordes[0].want = Some(2);
        assert!(goal.lacks(&status).is_some());
        status.hordes.clear();
        assert!(goal.lacks(&status).unwrap().0.contains("not known yet"));
        let gone = Goal::of(&NewFact { path: "horde/web".into(), value: None }).unwrap();
        assert_eq!(gone.lacks(&status), None);
    }

    #[test]
    fn a_fulcrum_is_drained_when_nothing_runs_there_and_a_service_is_gone_when_nothing_of_it_does() {
        let mut status = status();
        status.instances.truncate(1);
        let instance = status.instances[0].clone();
        let id: FulcrumId = instance.node.parse().unwrap();
        let goal = Goal::of(&NewFact::cordon(&id, "disk", true)).unwrap();
        assert_eq!(goal, Goal::OutOfWork { fulcrum: instance.node.clone(), drain: true });
        status.roster[0].name.clone_from(&instance.node);
        for entry in &mut status.roster {
            (entry.cordoned, entry.draining) = (true, true);
        }
        assert!(
            goal.lacks(&status).unwrap().0.contains("1 instance on ")
                && goal.lacks(&status).unwrap().0.contains("still runs")
        );
        let path = format!("place/{}/{}", instance.horde, instance.service);
        let gone = Goal::of(&NewFact { path, value: None }).unwrap();
        assert!(gone.lacks(&status).is_some());
        status.instances[0].state = InstanceState::Gone;
        assert_eq!((goal.lacks(&status), gone.lacks(&status)), (None, None));
        let back = Goal::of(&NewFact { path: crux_api::write::cordon_path(&id), value: None }).unwrap();
        assert!(back.lacks(&status).is_some_and(|(lacks, _)| lacks.contains("still counts as cordoned")));
    }
}
