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
use crux_api::json::{Code, Done, ErrorDoc, NodeList};
use crux_api::routes::{self, DownRequest, ForgetRequest};
use crux_api::write::{NewFact, row_path};
use crux_names::FulcrumId;
use rustix::process::{Pid, Signal, kill_process};

/// Fulcrums.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Members of the flock, and who is outside
    List,
    /// Stop the services of this fulcrum, leave the flock, and end
    Leave,
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
                Format::Name => names(list.roster.iter().map(|entry| entry.name.as_str())),
                _ => show::nodes_text(list, format == Format::Wide),
            })
            .await
        }
        NodeCommand::Leave => {
            let done: Done = ctx.client().post(routes::DOWN, &DownRequest { services: true }).await?;
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

/// What it said of itself counts for as long as it stands: an absent member of its horde. An operator takes it away; the
/// fulcrum writes it again should it come back.
async fn forget(ctx: &Ctx, id: &FulcrumId) -> Outcome {
    let client = ctx.client();
    let list: NodeList = client.get(routes::NODES).await?;
    if list.roster.iter().any(|entry| entry.name == id.to_string()) {
        let cause = format!("{id} is a member of this flock, so there is nothing to forget");
        return Err(ErrorDoc::new(
            Code::Refused,
            cause,
            format!("crux down --at that machine, then crux node forget {id}"),
        ));
    }
    let fact = NewFact { path: row_path(id), value: None };
    let seen = fact_at(&client, &fact.path).await?;
    let mut code = 0;
    if in_force(seen.as_ref()) {
        let operator = Operator::load(&ctx.global, &ctx.target)?;
        code = accepted(&operator.write(&client, &[(&fact, seen.as_ref())]).await?);
    }
    let done: Done = client.post(routes::NODE_FORGET, &ForgetRequest { node: id.to_string() }).await?;
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
    let ctx = Ctx { target: target::find(global.at.as_deref())?, global: global.clone() };
    let done: Done = ctx.client().post(routes::DOWN, &DownRequest { services: args.all }).await?;
    ctx.done(&done)
}
