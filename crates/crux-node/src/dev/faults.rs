//! What is broken in a dev cluster's network right now, and what follows for each fulcrum.

use crux_api::routes::LabRequest;
use std::collections::BTreeSet;
use std::time::Duration;
use thiserror::Error;

/// One fault, or the end of all, as `crux lab` asks for it. Fulcrums are named by their place, from 0.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Parts that cannot talk to each other; those that are not named are in one more part.
    Split(Vec<Vec<usize>>),
    /// These two cannot talk to each other.
    Cut(usize, usize),
    /// What the first sends to the second is lost; the other way it arrives.
    OneWay(usize, usize),
    /// Every link works again, nothing is lost.
    Heal,
    /// The machine dies: fulcrum and instances.
    Kill(usize),
    /// The machine is started again.
    Start(usize),
    /// The process stands still for a while.
    Pause(usize, Duration),
    /// This share of all packets is lost, in percent.
    Loss(f64),
}

/// Why a request is not a fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum BadFault {
    /// No fulcrum of that name.
    #[error("{name:?} is not in this dev cluster; it has {known}")]
    NoSuch {
        /// The name given.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// Two that must differ do not.
    #[error("{0} cannot be cut from itself; name two fulcrums")]
    Itself(String),
    /// Named in two parts of a split.
    #[error(
        "{0} stands in the split twice; each fulcrum is in one part, or in none and then with the others that are in none"
    )]
    Twice(String),
    /// Not a share.
    #[error("a loss of {0} % is not from 0 to 100")]
    Loss(String),
}

impl Fault {
    /// Reads a request for a cluster of `n1` to `n<size>`.
    ///
    /// # Errors
    /// [`BadFault`] with what is expected.
    pub(crate) fn read(request: &LabRequest, size: usize) -> Result<Self, BadFault> {
        let node = |name: &String| {
            let place = name.strip_prefix('n').and_then(|number| number.parse::<usize>().ok());
            match place {
                Some(place) if (1..=size).contains(&place) => Ok(place - 1),
                _ => Err(BadFault::NoSuch { name: name.into(), known: format!("n1 to n{size}") }),
            }
        };
        let pair = |a: &String, b: &String| match (node(a)?, node(b)?) {
            (a, b) if a == b => Err(BadFault::Itself(format!("n{}", a + 1))),
            pair => Ok(pair),
        };
        match request {
            LabRequest::Split { groups } => {
                let parts: Vec<Vec<usize>> = groups
                    .iter()
                    .map(|part| part.iter().map(node).collect::<Result<Vec<_>, _>>())
                    .collect::<Result<_, _>>()?;
                let mut seen = BTreeSet::new();
                if let Some(twice) = parts.iter().flatten().find(|place| !seen.insert(**place)) {
                    return Err(BadFault::Twice(format!("n{}", twice + 1)));
                }
                let rest: Vec<usize> = (0..size).filter(|place| !seen.contains(place)).collect();
                let parts = parts.into_iter().chain([rest]).filter(|part| !part.is_empty());
                Ok(Self::Split(parts.collect()))
            }
            LabRequest::Cut { a, b } => pair(a, b).map(|(a, b)| Self::Cut(a, b)),
            LabRequest::Oneway { from, to } => pair(from, to).map(|(from, to)| Self::OneWay(from, to)),
            LabRequest::Heal => Ok(Self::Heal),
            LabRequest::Kill { node: name } => node(name).map(Self::Kill),
            LabRequest::Start { node: name } => node(name).map(Self::Start),
            LabRequest::Pause { node: name, ms } => Ok(Self::Pause(node(name)?, Duration::from_millis(*ms))),
            LabRequest::Loss { percent } if (0.0..=100.0).contains(percent) => Ok(Self::Loss(*percent)),
            LabRequest::Loss { percent } => Err(BadFault::Loss(percent.to_string())),
        }
    }
}

/// The state of the cluster's network.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Network {
    /// From whom to whom nothing arrives.
    blocked: BTreeSet<(usize, usize)>,
    /// Share of packets lost, in percent.
    pub(crate) loss: f64,
}

impl Network {
    /// Applies a network fault; the others change nothing here. A split replaces earlier cuts.
    pub(crate) fn apply(&mut self, fault: &Fault, size: usize) {
        match fault {
            Fault::Split(parts) => {
                let part = |place: usize| parts.iter().position(|part| part.contains(&place));
                self.blocked = (0..size)
                    .flat_map(|a| (0..size).map(move |b| (a, b)))
                    .filter(|&(a, b)| part(a) != part(b))
                    .collect();
            }
            Fault::Cut(a, b) => self.blocked.extend([(*a, *b), (*b, *a)]),
            Fault::OneWay(a, b) => {
                self.blocked.insert((*a, *b));
            }
            Fault::Heal => *self = Self::default(),
            Fault::Loss(percent) => self.loss = *percent,
            Fault::Kill(_) | Fault::Start(_) | Fault::Pause(..) => {}
        }
    }

    /// Whom this fulcrum's packets do not reach, and whose packets do not reach it.
    pub(crate) fn of(&self, place: usize) -> (Vec<usize>, Vec<usize>) {
        let to = self.blocked.iter().filter(|pair| pair.0 == place).map(|pair| pair.1).collect();
        let from = self.blocked.iter().filter(|pair| pair.1 == place).map(|pair| pair.0).collect();
        (to, from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(groups: &[&[&str]]) -> LabRequest {
        let group = |group: &&[&str]| group.iter().map(ToString::to_string).collect();
        LabRequest::Split { groups: groups.iter().map(group).collect() }
    }

    #[test]
    fn names_are_those_of_the_cluster() {
        let read = |request| Fault::read(&request, 5);
        assert_eq!(read(split(&[&["n1", "n2"], &["n3"]])), Ok(Fault::Split(vec![vec![0, 1], vec![2], vec![3, 4]])));
        let all = read(split(&[&["n1", "n2"], &["n3", "n4", "n5"]]));
        assert_eq!(all, Ok(Fault::Split(vec![vec![0, 1], vec![2, 3, 4]])), "nobody is left for one more part");
        assert_eq!(read(split(&[&["n1"], &["n1"]])), Err(BadFault::Twice("n1".into())));
        let same = LabRequest::Cut { a: "n1".into(), b: "n1".into() };
        assert_eq!(read(same), Err(BadFault::Itself("n1".into())));
        for name in ["n0", "n6", "x", "n"] {
            let error = read(LabRequest::Kill { node: name.into() }).unwrap_err().to_string();
            assert_eq!(error, format!("{name:?} is not in this dev cluster; it has n1 to n5"));
        }
        assert_eq!(read(LabRequest::Loss { percent: 10.0 }), Ok(Fault::Loss(10.0)));
        assert!(read(LabRequest::Loss { percent: 101.0 }).is_err());
        assert!(read(LabRequest::Loss { percent: f64::NAN }).is_err());
    }

    #[test]
    fn a_split_cuts_between_parts_only_and_heal_ends_everything() {
        let mut network = Network::default();
        network.apply(&Fault::read(&split(&[&["n1", "n2"]]), 5).unwrap(), 5);
        assert_eq!(network.of(0), (vec![2, 3, 4], vec![2, 3, 4]));
        assert_eq!(network.of(4), (vec![0, 1], vec![0, 1]), "those that are not named stay together");
        network.apply(&Fault::Heal, 5);
        network.apply(&Fault::OneWay(0, 1), 5);
        assert_eq!((network.of(0), network.of(1)), ((vec![1], vec![]), (vec![], vec![0])));
        network.apply(&Fault::Heal, 5);
        assert_eq!(network, Network::default());
    }
}
