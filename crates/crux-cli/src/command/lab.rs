//! `crux lab`: faults for a dev cluster.

use crate::Outcome;
use crate::args::{Global, duration};
use crate::fulcrum::DevCluster;
use crate::output::clean;
use clap::Subcommand;
use crux_api::client::Client;
use crux_api::json::{Code, Done, ErrorDoc};
use crux_api::routes::{self, LabRequest};
use std::path::PathBuf;
use std::time::Duration;

/// Faults.
#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Only nodes of one group reach each other: n1,n2/n3,n4,n5. Those that are not named are one more group
    Split {
        /// Groups of nodes, `/` between groups and `,` within; those left out are one more
        groups: String,
    },
    /// Two nodes do not reach each other
    Cut {
        /// One
        a: String,
        /// The other
        b: String,
    },
    /// What one node sends to another is lost
    Oneway {
        /// Who sends in vain
        from: String,
        /// To whom
        to: String,
    },
    /// All faults of the network end
    Heal,
    /// SIGKILL to a fulcrum and its instances, as if the machine died
    Kill {
        /// Which
        node: String,
    },
    /// Start a killed fulcrum again
    Start {
        /// Which
        node: String,
    },
    /// A fulcrum stands still for a while
    Pause {
        /// Which
        node: String,
        /// How long
        #[arg(value_parser = duration)]
        time: Duration,
    },
    /// Every link loses so many of a hundred datagrams
    Loss {
        /// Per cent, 0 to 100
        percent: f64,
    },
}

fn request(command: LabCommand) -> Result<LabRequest, ErrorDoc> {
    let usage = |cause: String| Err(ErrorDoc::new(Code::Usage, cause, "crux lab split n1,n2/n3,n4,n5"));
    Ok(match command {
        LabCommand::Split { groups } => {
            let groups: Vec<Vec<String>> =
                groups.split('/').map(|group| group.split(',').map(|node| node.trim().to_owned()).collect()).collect();
            if groups.iter().flatten().any(String::is_empty) {
                return usage("a group has a node without a name".to_owned());
            }
            let mut all: Vec<&String> = groups.iter().flatten().collect();
            all.sort();
            if let Some(twice) = all.windows(2).find(|pair| pair[0] == pair[1]) {
                return usage(format!("{} is named twice", twice[0]));
            }
            LabRequest::Split { groups }
        }
        LabCommand::Cut { a, b } => LabRequest::Cut { a, b },
        LabCommand::Oneway { from, to } => LabRequest::Oneway { from, to },
        LabCommand::Heal => LabRequest::Heal,
        LabCommand::Kill { node } => LabRequest::Kill { node },
        LabCommand::Start { node } => LabRequest::Start { node },
        LabCommand::Pause { node, time } => {
            LabRequest::Pause { node, ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX) }
        }
        LabCommand::Loss { percent } if (0.0..=100.0).contains(&percent) => LabRequest::Loss { percent },
        LabCommand::Loss { percent } => {
            let cause = format!("{percent} is not a number of per cent from 0 to 100");
            return Err(ErrorDoc::new(Code::Usage, cause, "crux lab loss 10"));
        }
    })
}

pub(crate) async fn run(global: &Global, command: LabCommand) -> Outcome {
    let request = request(command)?;
    let named = global.at.as_deref().filter(|at| at.contains('/')).map(PathBuf::from);
    let dev = DevCluster::find();
    // A node of the cluster may be named as everywhere; the faults are the cluster's affair all the same.
    let lab = match (&dev, named) {
        (Some(dev), Some(socket)) if !dev.nodes.iter().any(|(_, known)| *known == socket) => socket,
        (Some(dev), _) => dev.lab.clone(),
        (None, Some(socket)) => socket,
        (None, None) => {
            let cause = "no dev cluster of this user runs, and faults exist in a dev cluster only";
            return Err(ErrorDoc::new(Code::NotDev, cause, "crux up --dev 5"));
        }
    };
    let done: Done = Client::new(lab).post(routes::LAB, &request).await?;
    super::print(global.output, &done, &|done: &Done, _| clean(&done.text)).map(|()| 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(groups: &str) -> Result<LabRequest, ErrorDoc> {
        request(LabCommand::Split { groups: groups.to_owned() })
    }

    #[test]
    fn groups_are_read_and_checked() {
        let groups = vec![vec!["n1".to_owned(), "n2".to_owned()], vec!["n3".to_owned()]];
        assert_eq!(split("n1,n2/n3"), Ok(LabRequest::Split { groups }));
        assert_eq!(split("n1,/n3").unwrap_err().cause, "a group has a node without a name");
        assert_eq!(split("n1/n2,n1").unwrap_err().cause, "n1 is named twice");
        assert_eq!(request(LabCommand::Loss { percent: 101.0 }).unwrap_err().code, Code::Usage);
    }

    #[test]
    fn help_says_what_becomes_of_those_that_are_not_named() {
        let mut lab = LabCommand::augment_subcommands(clap::Command::new("lab"));
        let split = lab.find_subcommand_mut("split").expect("a subcommand").render_help().to_string();
        assert!(split.contains("those left out are one more"), "{split}");
    }
}
