//! `crux node`.

use super::down::Life;
use super::write::accepted;
use super::{Ctx, show};
use crate::Outcome;
use crate::fulcrum::DevCluster;
use crate::operator::{Operator, fact_at, in_force};
use crate::output::{Format, clean, names, or_dash, short_hashes};
use crate::target::At;
use clap::Subcommand;
use crux_api::client::{Client, encode};
use crux_api::intent::Intent;
use crux_api::json::{Code, Confab, Done, ErrorDoc, FactList, Instance, Kind, NodeList, Status, from_hex};
use crux_api::routes::{self, ForgetRequest};
use crux_api::write::{
    NewFact, admission_of_row, cordon_path, files_of_manifest, given_labels, label_path, reason_of_cordon, row_path,
};
use crux_names::{FulcrumId, NodeName};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Fulcrums.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Members of the flock, and who is outside
    List,
    /// Stop the services of this fulcrum, leave its horde and the flock for good, and end
    Leave {
        /// Which [default: the one that --at names]; it must be of your dev cluster, or the one of this machine
        node: Option<String>,
        /// Stop the fulcrum that was found, though neither it nor --at was given
        #[arg(long)]
        yes: bool,
    },
    /// Put a node out of the bloc for good: no certificate of its admissions so far is let in any more
    Expel {
        /// Which node
        node: String,
        /// Why; everybody reads it
        #[arg(long)]
        reason: String,
        /// Its admissions up to this one [default: the one that it has now]
        #[arg(long, value_name = "N")]
        admission: Option<u32>,
    },
    /// Keep new work from a fulcrum; what runs there stays
    Cordon {
        /// Which: NODE or NODE/FULCRUM
        node: String,
        /// Why; everybody reads it [default: the reason that stands there]
        #[arg(long)]
        reason: Option<String>,
    },
    /// Move what runs on a fulcrum away, and keep new work from it
    Drain {
        /// Which: NODE or NODE/FULCRUM
        node: String,
        /// Why; everybody reads it [default: the reason that stands there]
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let a fulcrum have work again that was drained or cordoned
    Undrain {
        /// Which: NODE or NODE/FULCRUM
        node: String,
    },
    /// Give a node labels beside those of its certificate, or take them back
    Label {
        /// Which node
        node: String,
        /// `key=value` gives, `key-` takes back what was given; nothing shows them
        labels: Vec<String>,
    },
    /// Forget a fulcrum that will not come back: its addresses, and that it is of its horde
    Forget {
        /// Which: NODE or NODE/FULCRUM
        node: String,
    },
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
            let (at, client) = leaving(ctx, node.as_deref(), yes).await?;
            let life = Life::of(&at, &client).await?;
            let done = client.leave().await?;
            life.done(&ctx.global, done).await
        }
        NodeCommand::Expel { node, reason, admission } => expel(ctx, &node, &reason, admission).await,
        NodeCommand::Cordon { node, reason } => cordon(ctx, &node, Some((reason, false))).await,
        NodeCommand::Drain { node, reason } => cordon(ctx, &node, Some((reason, true))).await,
        NodeCommand::Undrain { node } => cordon(ctx, &node, None).await,
        NodeCommand::Label { node, labels } => label(ctx, &node, &labels).await,
        NodeCommand::Forget { node } => forget(ctx, &fulcrum(&node)?).await,
    }
}

fn bad_name(e: &crux_names::NameError) -> ErrorDoc {
    ErrorDoc::new(Code::Usage, e.to_string(), "crux node list shows the names")
}

fn fulcrum(text: &str) -> Result<FulcrumId, ErrorDoc> {
    text.parse().map_err(|e| bad_name(&e))
}

/// Puts a cordon up, or takes it down. Who gives no reason leaves the one that stands there.
async fn cordon(ctx: &Ctx, node: &str, up: Option<(Option<String>, bool)>) -> Outcome {
    let id = fulcrum(node)?;
    let fact = match up {
        Some((reason, drain)) => {
            if !known(ctx, |name| *name == id).await? {
                return Err(unknown(node));
            }
            let reason = match reason {
                Some(reason) => reason,
                None => {
                    let fact = fact_at(&ctx.client(), &cordon_path(&id)).await?;
                    let value = fact.as_ref().and_then(|fact| fact.heads.first()?.value.as_deref());
                    value.and_then(|value| reason_of_cordon(&from_hex(value).ok()?)).unwrap_or_default()
                }
            };
            NewFact::cordon(&id, &reason, drain)
        }
        None => NewFact { path: cordon_path(&id), value: None },
    };
    ctx.make_so(&Intent { facts: vec![fact], uploads: Vec::new() }).await
}

fn unknown(node: &str) -> ErrorDoc {
    ErrorDoc::new(Code::NotFound, format!("nobody knows {node}; nothing was changed"), "crux node list")
}

/// Whether somebody of whom this holds is a member, is outside, or has said something of itself.
async fn known(ctx: &Ctx, is: impl Fn(&FulcrumId) -> bool) -> Result<bool, ErrorDoc> {
    let client = ctx.client();
    let list: NodeList = client.get(routes::NODES).await?;
    let outside = list.outside.iter().filter_map(|entry| entry.name.as_ref());
    let mut named = list.roster.iter().map(|entry| &entry.name).chain(outside);
    if named.any(|name| name.parse().is_ok_and(|id| is(&id))) {
        return Ok(true);
    }
    let rows: FactList = client.get(&format!("{}?prefix=row/", routes::FACTS)).await?;
    let said = rows.facts.iter().filter(|fact| in_force(Some(fact)));
    Ok(said.filter_map(|fact| fact.path.strip_prefix("row/")?.parse().ok()).any(|id| is(&id)))
}

/// Changes the labels that operators gave a node, or shows them.
async fn label(ctx: &Ctx, node: &str, words: &[String]) -> Outcome {
    let name = NodeName::parse(node).map_err(|e| bad_name(&e))?;
    let usage = |problem: String| ErrorDoc::new(Code::Usage, problem, "crux node label n3 zone=a size-");
    let fact = fact_at(&ctx.client(), &label_path(&name)).await?;
    let value = fact.as_ref().and_then(|fact| fact.heads.first()).and_then(|head| head.value.as_deref());
    let mut labels = match value.map(from_hex) {
        Some(Ok(value)) => given_labels(&value).map_err(|problem| {
            ErrorDoc::new(
                Code::Failed,
                format!("the node's labels cannot be read: {problem}"),
                "crux facts list label/",
            )
        })?,
        _ => BTreeMap::new(),
    };
    if words.is_empty() {
        let text = labels.iter().map(|(key, label)| format!("{key}={label}")).collect::<Vec<_>>().join(" ");
        let text = if text.is_empty() { format!("no operator gave {node} a label") } else { text };
        return ctx.done(&Done { text });
    }
    for word in words {
        match (word.split_once('='), word.strip_suffix('-')) {
            (Some((key, label)), _) if !key.is_empty() && !label.is_empty() => {
                labels.insert(key.to_owned(), label.to_owned());
            }
            (None, Some(key)) if !key.is_empty() => {
                if labels.remove(key).is_none() {
                    return Err(usage(format!("no operator gave {node} the label {key}; nothing was changed")));
                }
            }
            _ => return Err(usage(format!("{word:?} is neither key=value nor key-; nothing was changed"))),
        }
    }
    if !known(ctx, |id| id.node == name).await? {
        return Err(unknown(node));
    }
    let facts = vec![NewFact::labels(&name, labels)];
    ctx.make_so(&Intent { facts, uploads: Vec::new() }).await
}

/// The fulcrum that is to leave: the one that was named, and no other by accident.
async fn leaving(ctx: &Ctx, node: Option<&str>, yes: bool) -> Result<(At, Client), ErrorDoc> {
    let dev = DevCluster::find();
    let of_dev = |name: &str| dev.as_ref()?.nodes.iter().find(|(known, _)| known == name).map(|(_, socket)| socket);
    if let (Some(socket), None) = (node.and_then(of_dev), &ctx.global.at) {
        return Ok((At::Socket(socket.clone()), Client::new(socket)));
    }
    let (at, client) = (ctx.target.at.clone(), ctx.client());
    if node.is_none() && (ctx.global.at.is_some() || yes) {
        return Ok((at, client));
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
        Some(node) if node == me => Ok((at, client)),
        Some(node) => {
            let cause = format!(
                "this is {me}; a fulcrum is told to leave by itself: by its socket, or at its API port, with --at"
            );
            let list: NodeList = client.get(routes::NODES).await?;
            let Some(entry) = list.roster.iter().find(|entry| entry.name == node) else {
                let cause = format!("{node} is no member of the flock of {me}, which was asked");
                return Err(ErrorDoc::new(Code::NotFound, cause, "crux node list"));
            };
            let next = match &entry.api {
                Some(addr) => format!("crux node leave {node} --at {addr}"),
                None => format!("it has no API port: on its own machine, crux node leave {node} --at its socket"),
            };
            Err(ErrorDoc::new(Code::Failed, cause, next))
        }
    }
}

/// What was done, and what the node had: whoever had it may have copied it.
#[derive(Clone, Debug, Serialize)]
struct ExpelledNode {
    node: String,
    /// With all admissions up to this one.
    admission: u32,
    /// Whether as many fulcrums as promised have it on disk.
    converged: bool,
    /// Fulcrums of it in this flock, with their hordes.
    fulcrums: Vec<String>,
    /// Instances that ran on it.
    instances: Vec<String>,
    /// Files that their manifests gave them, each as service, path and SHA-256.
    files: Vec<String>,
}

impl Kind for ExpelledNode {
    const KIND: &'static str = "ExpelledNode";
}

/// So many admissions beyond those that are known may be expelled: more is a slip, which cannot be taken back.
const FAR: u32 = 16;

/// It cannot be taken back: the next admission lets a node of that name in again.
async fn expel(ctx: &Ctx, node: &str, reason: &str, admission: Option<u32>) -> Outcome {
    let client = ctx.client();
    let name = NodeName::parse(node)
        .map_err(|e| ErrorDoc::new(Code::Usage, e.to_string(), "crux node list shows the names"))?;
    let status: Status = client.get(routes::STATUS).await?;
    let of_it = |id: &str| id.parse::<FulcrumId>().is_ok_and(|id| id.node == name);
    if status.confab.node == node {
        let cause =
            format!("{node} is the node that was asked; it would cut itself off before others have heard of it");
        return Err(ErrorDoc::new(Code::Usage, cause, "ask another fulcrum: --at HOST:PORT or --at NODE"));
    }
    let before = status.expelled.iter().find(|expelled| expelled.node == node).map_or(0, |expelled| expelled.admission);
    let seen = status.roster.iter().filter(|entry| of_it(&entry.name)).filter_map(|entry| entry.admission).max();
    // Of one that is not here, what it said of itself.
    let said = match seen {
        Some(_) => None,
        None => {
            let rows: FactList =
                client.get(&format!("{}?prefix={}", routes::FACTS, encode(&format!("row/{name}/")))).await?;
            let heads = rows.facts.iter().flat_map(|fact| &fact.heads).filter_map(|head| head.value.as_deref());
            heads.filter_map(|value| admission_of_row(&from_hex(value).ok()?)).max()
        }
    };
    let Some(up_to) = admission.or(seen).or(said).or((before > 0).then_some(before)) else {
        let cause = format!(
            "nobody here knows the admission of {node}'s certificate: it is not here and has said nothing of itself"
        );
        return Err(ErrorDoc::new(Code::NotFound, cause, "--admission N, as crux ca inspect shows it"));
    };
    let known = seen.or(said).unwrap_or(1).max(before);
    if up_to > known.saturating_add(FAR) {
        let cause = format!(
            "{node} has had {known} admissions as far as is known here, and {up_to} is far beyond: each that is expelled \
             bars it until the next one is issued, one after the other"
        );
        let next =
            format!("crux ca inspect shows the admission of a bundle; --admission {known} bars all that were seen");
        return Err(ErrorDoc::new(Code::Usage, cause, next));
    }
    if up_to <= before {
        // What is asked for is so; it cannot be done twice, nor taken back.
        let by = status.expelled.iter().find(|expelled| expelled.node == node);
        let by = by.map_or_else(String::new, |expelled| format!(", by {}: {}", expelled.by, expelled.reason));
        let text = format!(
            "{node} is expelled already, with its admissions up to {before}{by}; nothing was changed; --admission N is for a \
             later one, which crux ca issue --readmit makes"
        );
        return ctx.done(&Done { text });
    }
    let ran: Vec<&Instance> = status.instances.iter().filter(|instance| of_it(&instance.node)).collect();
    let files = files_of(&client, &ran).await?;
    let fact = NewFact::expulsion(&name, up_to, reason);
    let known = fact_at(&client, &fact.path).await?;
    let operator = Operator::load(&ctx.global, &ctx.target)?;
    let code = accepted(&operator.write(&client, &[(&fact, known.as_ref())]).await?);
    let fulcrums = status.roster.iter().filter(|entry| of_it(&entry.name));
    let expelled = ExpelledNode {
        node: node.to_owned(),
        admission: up_to,
        converged: code == 0,
        fulcrums: fulcrums
            .map(|entry| format!("{} of horde {}", entry.name, or_dash(entry.horde.as_deref())))
            .collect(),
        instances: ran.iter().map(|instance| format!("{} ({})", instance.name, instance.id)).collect(),
        files,
    };
    ctx.print(&expelled, &|done: &ExpelledNode, format| match format {
        Format::Name => clean(&done.node),
        _ => text_of(done),
    })?;
    Ok(code)
}

/// The files of what ran there: whoever ran it has fetched them. Which others it kept, or still keeps of what ran there
/// before, nobody else knows.
async fn files_of(client: &Client, ran: &[&Instance]) -> Result<Vec<String>, ErrorDoc> {
    let revisions: BTreeSet<(&str, &str)> =
        ran.iter().map(|instance| (instance.service.as_str(), instance.revision.as_str())).collect();
    let mut files = BTreeSet::new();
    for (service, revision) in revisions {
        let fact = fact_at(client, &format!("muster/{service}/{revision}")).await?;
        let value = fact.as_ref().and_then(|fact| fact.heads.first()?.value.as_deref());
        let value = value.and_then(|value| from_hex(value).ok()).unwrap_or_default();
        files.extend(
            files_of_manifest(&value).into_iter().map(|(path, sha256)| format!("{service}: {path} ({sha256})")),
        );
    }
    Ok(files.into_iter().collect())
}

fn text_of(done: &ExpelledNode) -> String {
    let mut lines = vec![format!("{} is expelled, with its admissions up to {}", done.node, done.admission)];
    let list = |what: &str, of: &[String]| (!of.is_empty()).then(|| format!("it had {what}: {}", of.join(", ")));
    lines.extend(list("fulcrums", &done.fulcrums));
    lines.extend(list("instances", &done.instances));
    lines.extend(list("files", &done.files).map(|line| short_hashes(&line)));
    if done.fulcrums.is_empty() {
        lines.push("it is not in this flock, so nobody here knows what it holds now".to_owned());
    }
    lines.push("what it knew it knows: replace what it could read; a part that has not heard still has it".to_owned());
    lines.iter().map(|line| clean(line)).collect::<Vec<_>>().join("\n")
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
        return Err(ErrorDoc::new(Code::Failed, cause, format!("crux node leave {id}, then crux node forget {id}")));
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
