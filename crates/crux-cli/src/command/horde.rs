//! `crux horde`.

use super::{Ctx, show};
use crate::Outcome;
use crate::args::key_value;
use crate::operator::{fact_at, in_force};
use crate::output::{Format, names};
use clap::{Args, Subcommand};
use crux_api::client::encode;
use crux_api::intent::{
    HordeIntent, Intent, Resources, own_horde_name, parse_quota, settable_horde_name, vacancy_after,
};
use crux_api::json::{Code, ErrorDoc, FactList, HordeList, from_hex};
use crux_api::routes;
use crux_api::write::NewFact;
use crux_names::HordeName;

/// Hordes.
#[derive(Debug, Subcommand)]
pub(crate) enum HordeCommand {
    /// All hordes
    List,
    /// One horde
    Show {
        /// Which
        name: String,
    },
    /// Make a horde
    Create(CreateArgs),
    /// Change a horde; what is not named stays
    Set(SetArgs),
    /// Delete a horde: it drains, and its fulcrums become free
    Delete {
        /// Which
        name: String,
        /// Delete the services that are placed in it too
        #[arg(long)]
        prune: bool,
    },
}

/// A new horde.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Its name
    name: String,
    /// How many home members it should have
    #[arg(long, value_name = "N")]
    want: u32,
    /// Which fulcrums it may take: `zone=a`, `node under site-a`, joined by &
    #[arg(long = "where", value_name = "WORDS", default_value = "")]
    r#where: String,
    /// A named set for its services: `big=LABEL(size=big)`; may be given several times
    #[arg(long, value_name = "NAME=KHAN", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// How long a home member is missed before another stands in for it: 10m, or `never` [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = vacancy_after)]
    vacancy_after: Option<u64>,
    /// How much its services may ask for, all together: `cpu=8,memory=16G,disk=1T`, any of them
    #[arg(long, value_name = "QUOTA", value_parser = quota)]
    quota: Option<Quota>,
}

/// Changes of a horde.
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// Its name; of those that are built in, `main` takes a quota, and ADMIN how many carry its flag
    /// (--want) and which may (--where)
    name: String,
    /// How many home members it should have
    #[arg(long, value_name = "N")]
    want: Option<u32>,
    /// Which fulcrums it may take; an empty text: any
    #[arg(long = "where", value_name = "WORDS")]
    r#where: Option<String>,
    /// A named set; an empty text removes it; may be given several times
    #[arg(long, value_name = "NAME=KHAN", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// How long a home member is missed before another stands in for it: 10m, or `never`
    #[arg(long, value_name = "TIME", value_parser = vacancy_after)]
    vacancy_after: Option<u64>,
    /// How much its services may ask for, all together: `cpu=8,memory=16G,disk=1T`, any of them; `none` takes it away.
    /// It replaces the whole quota
    #[arg(long, value_name = "QUOTA", value_parser = quota)]
    quota: Option<Quota>,
}

/// A quota, or that there is none.
#[derive(Clone, Copy, Debug)]
struct Quota(Option<Resources>);

fn quota(text: &str) -> Result<Quota, String> {
    parse_quota(text).map(Quota)
}

fn usage(problem: String) -> ErrorDoc {
    let next = "crux horde create web --want 3 --where zone=a";
    ErrorDoc::new(Code::Usage, format!("{problem}; nothing was changed"), next)
}

fn usage_of_admin(problem: String) -> ErrorDoc {
    let next = "crux horde set ADMIN --want 3 --where 'node under n1'";
    ErrorDoc::new(Code::Usage, format!("{problem}; nothing was changed"), next)
}

fn missing(name: &str) -> ErrorDoc {
    let cause = format!("horde {name} does not exist");
    ErrorDoc::new(Code::NotFound, cause, format!("crux horde list, or crux horde create {name} --want 3"))
}

/// Paths of the services that are placed in a horde.
async fn placed_in(ctx: &Ctx, horde: &str) -> Result<Vec<String>, ErrorDoc> {
    let prefix = format!("place/{horde}/");
    let list: FactList = ctx.client().get(&format!("{}?prefix={}", routes::FACTS, encode(&prefix))).await?;
    let placed = list.facts.into_iter().filter(|fact| fact.path.starts_with(&prefix) && in_force(Some(fact)));
    Ok(placed.map(|fact| fact.path).collect())
}

async fn write(ctx: &Ctx, horde: HordeIntent) -> Outcome {
    horde.check().map_err(if horde.name == HordeName::admin() { usage_of_admin } else { usage })?;
    let mut intent = Intent::default();
    horde.lower(&mut intent);
    ctx.make_so(&intent).await
}

pub(crate) async fn run(ctx: &Ctx, command: HordeCommand) -> Outcome {
    let text = |list: &HordeList, format| match format {
        Format::Name => names(list.hordes.iter().map(|horde| horde.name.as_str())),
        _ => show::hordes_table(&list.hordes),
    };
    match command {
        HordeCommand::List => ctx.show(routes::HORDES, text).await,
        HordeCommand::Show { name } => {
            let mut list: HordeList = ctx.client().get(routes::HORDES).await?;
            list.hordes.retain(|horde| horde.name == name);
            if list.hordes.is_empty() {
                return Err(missing(&name));
            }
            ctx.print(&list, &text).map(|()| 0)
        }
        HordeCommand::Create(args) => {
            let name = own_horde_name(&args.name).map_err(usage)?;
            let horde = HordeIntent {
                name,
                want: args.want,
                r#where: args.r#where,
                sets: args.set.into_iter().collect(),
                vacancy_after_ms: args.vacancy_after.unwrap_or_default(),
                quota: args.quota.and_then(|Quota(quota)| quota),
            };
            let path = format!("horde/{}", horde.name);
            if in_force(fact_at(&ctx.client(), &path).await?.as_ref()) {
                let cause = format!("horde {} exists already; nothing was changed", horde.name);
                return Err(ErrorDoc::new(
                    Code::Failed,
                    cause,
                    format!("crux horde set {} --want {}", horde.name, horde.want),
                ));
            }
            write(ctx, horde).await
        }
        HordeCommand::Set(args) => {
            let name = settable_horde_name(&args.name).map_err(usage)?;
            let fact = fact_at(&ctx.client(), &format!("horde/{name}")).await?;
            let value = fact.as_ref().and_then(|fact| fact.heads.first()).and_then(|head| head.value.as_deref());
            let horde = match value {
                Some(value) => {
                    from_hex(value).map_err(|e| e.to_string()).and_then(|value| HordeIntent::decode(name, &value))
                }
                None if own_horde_name(name.as_str()).is_err() => Ok(HordeIntent::built_in(name)),
                None => return Err(missing(name.as_str())),
            };
            let mut horde = horde.map_err(|problem| {
                ErrorDoc::new(
                    Code::Failed,
                    format!("the horde's fact cannot be read: {problem}"),
                    "crux facts list horde/",
                )
            })?;
            horde.want = args.want.unwrap_or(horde.want);
            horde.r#where = args.r#where.unwrap_or(horde.r#where);
            horde.vacancy_after_ms = args.vacancy_after.unwrap_or(horde.vacancy_after_ms);
            if let Some(Quota(quota)) = args.quota {
                horde.quota = quota;
            }
            horde.sets.extend(args.set);
            horde.sets.retain(|_, text| !text.trim().is_empty());
            write(ctx, horde).await
        }
        HordeCommand::Delete { name, prune } => {
            let name = own_horde_name(&name).map_err(usage)?;
            let path = format!("horde/{name}");
            if !in_force(fact_at(&ctx.client(), &path).await?.as_ref()) {
                return Err(missing(name.as_str()));
            }
            let placed = placed_in(ctx, name.as_str()).await?;
            if !placed.is_empty() && !prune {
                let services: Vec<&str> = placed.iter().map(|path| path.trim_start_matches("place/")).collect();
                let cause = format!("horde {name} still runs {}; nothing was changed", services.join(", "));
                return Err(ErrorDoc::new(Code::Failed, cause, format!("crux horde delete {name} --prune")));
            }
            let facts = placed.into_iter().chain([path]).map(|path| NewFact { path, value: None }).collect();
            ctx.make_so(&Intent { facts, uploads: Vec::new() }).await
        }
    }
}
