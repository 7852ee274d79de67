//! `crux node` and `crux down`.

use super::write::accepted;
use super::{Ctx, show};
use crate::Outcome;
use crate::args::Global;
use crate::fulcrum::DevCluster;
use crate::operator::{Operator, fact_at, in_force};
use crate::output::{Format, names};
use crate::target;
use clap::{Args, Subcommand};
use crux_api::client::Client;
use crux_api::json::{Code, Confab, Done, ErrorDoc, NodeList};
use crux_api::routes::{self, ForgetRequest};
use crux_api::write::{NewFact, row_path};
use crux_names::FulcrumId;
use rustix::process::{Pid, Signal, kill_process};

/// Fulcrums.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Members of the flock, and who is outside
    List,
    /// Stop the services of this fulcrum, leave the flock, and end
    Leave {
        /// Which [default: the one that --at names]; it must be of your dev cluster, or the one of this machine
        node: Option<String>,
        /// Stop the fulcrum that was found, though neither it nor --at was given
        #[arg(long)]
        yes: bool,
    },
    /// Forget a fulcrum that will not come back: its addresses, and that it is of its horde
    Forget {
        /// Which: NODE or NODE/FULCRUM
        node: String,
    },
}

/// Stop a fulcrum.
#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    /// Stop its services first
    #[arg(long)]
    all: bool,
}

pub(crate) async fn run(ctx: &Ctx, command: NodeCommand) -> Outcome {
    match command {
        NodeCommand::List => {
            ctx.show(routes::NODES, |list: &NodeList, format| match format {
                Format::Name => {
                    let mut all: Vec<&str> = list.roster.iter().map(|entry| entry.name.as_str()).collect();
                    all.sort_unstable();
                    names(all)
                }
                _ => show::nodes_text(list, format == Format::Wide),
            })
            .await
        }
        NodeCommand::Leave { node, yes } => {
            let client = leaving(ctx, node.as_deref(), yes).await?;
            let done = client.down(true).await?;
            ctx.done(&done)
        }
        NodeCommand::Forget { node } => {
            let id: FulcrumId = node.parse().map_err(|e: crux_names::NameError| {
                ErrorDoc::new(Code::Usage, e.to_string(), "crux node list shows the names")
            })?;
            forget(ctx, &id).await
        }
    }
}

/// The fulcrum that is to leave: the one that was named, and no other by accident.
async fn leaving(ctx: &Ctx, node: Option<&str>, yes: bool) -> Result<Client, ErrorDoc> {
    let dev = DevCluster::find();
    let of_dev = |name: &str| dev.as_ref()?.nodes.iter().find(|(known, _)| known == name).map(|(_, socket)| socket);
    if let (Some(socket), None) = (node.and_then(of_dev), &ctx.global.at) {
        return Ok(Client::new(socket));
    }
    let client = ctx.client();
    if node.is_none() && (ctx.global.at.is_some() || yes) {
        return Ok(client);
    }
    let here: Confab = client.get(routes::CONFAB).await?;
    let me = match here.fulcrum.as_str() {
        crux_names::DEFAULT_FULCRUM => here.node,
        fulcrum => format!("{}/{fulcrum}", here.node),
    };
    match node {
        None => {
            let cause = format!("this would stop {me} and its services, and neither it nor --at was given");
            Err(ErrorDoc::new(Code::Usage, cause, format!("crux node leave {me}")))
        }
        Some(node) if node == me => Ok(client),
        Some(node) => {
            let cause = format!(
                "this is {me}; a fulcrum is told to leave by itself: by its socket, or at its API port, with --at"
            );
            Err(ErrorDoc::new(Code::Failed, cause, format!("crux node leave {node} --at {node}")))
        }
    }
}

/// What it said of itself counts for as long as it stands: an absent member of its horde. An operator takes it away; the
/// fulcrum writes it again should it come back.
async fn forget(ctx: &Ctx, id: &FulcrumId) -> Outcome {
    let client = ctx.client();
    let list: NodeList = client.get(routes::NODES).await?;
    let name = id.to_string();
    let here = list.roster.iter().any(|entry| entry.name == name);
    if here && !list.clones.iter().any(|twins| twins.name == name) {
        let cause = format!("{id} is a member of this flock, so there is nothing to forget");
        return Err(ErrorDoc::new(Code::Refused, cause, format!("crux node leave {id}, then crux node forget {id}")));
    }
    let fact = NewFact { path: row_path(id), value: None };
    let seen = fact_at(&client, &fact.path).await?;
    let mut code = 0;
    // Of two that lived under one name the one that is left is a member, and what it says of itself stands.
    if !here && in_force(seen.as_ref()) {
        let operator = Operator::load(&ctx.global, &ctx.target)?;
        code = accepted(&operator.write(&client, &[(&fact, seen.as_ref())]).await?);
    }
    let done: Done = client.post(routes::NODE_FORGET, &ForgetRequest { node: name }).await?;
    ctx.done(&done).map(|_| code)
}

pub(crate) async fn down(global: &Global, args: DownArgs) -> Outcome {
    // A dev cluster's fulcrums belong to one process; ending one of them is what `crux lab kill` is for.
    if global.at.is_none() {
        let target = target::find(None)?;
        if let (Some(dev), Some(_)) = (DevCluster::find(), target.dev_operator) {
            let failed = |cause: String| ErrorDoc::new(Code::Failed, cause, "press Ctrl-C where it was started");
            let pid = i32::try_from(dev.pid).ok().and_then(Pid::from_raw);
            let pid = pid.ok_or_else(|| failed(format!("{} is no process id", dev.pid)))?;
            kill_process(pid, Signal::TERM).map_err(|e| failed(format!("cannot signal process {}: {e}", dev.pid)))?;
            let text = format!("the dev cluster goes down (process {})", dev.pid);
            return super::print(global.output, &Done { text }, &|done: &Done, _| done.text.clone()).map(|()| 0);
        }
    }
    let ctx = Ctx::find(global.clone()).await?;
    let done = ctx.client().down(args.all).await?;
    ctx.done(&done)
}
