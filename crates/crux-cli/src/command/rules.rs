//! `crux allow` and `crux rules`: who may call whom.

use super::Ctx;
use super::facts::bytes;
use super::write::accepted;
use crate::Outcome;
use crate::operator::{Operator, fact_at, nonce, now};
use crate::output::{Format, age, clean, names, short_id, table};
use clap::{Args, Subcommand};
use crux_api::client::Client;
use crux_api::json::{
    Code, Confab, ErrorDoc, Fact, HordeList, NOT_ENFORCED, Rule, RuleChange, RuleChanged, RuleList, RuleState,
    ServiceList,
};
use crux_api::routes;
use crux_api::write::{NewFact, RULES};
use crux_names::{ADMIN, BadRuleName, ClientName, EndpointName, HordeName, MAIN, ServiceName};

/// So many digits of an id are given at least, so that a slip removes nothing.
const ID_MIN: usize = 4;

/// A rule to be made.
#[derive(Debug, Args)]
pub(crate) struct AllowArgs {
    /// Who may call: HORDE/SERVICE, HORDE/*, or in another bloc BLOC//HORDE/SERVICE or BLOC//HORDE/*
    client: String,
    /// What may be called: HORDE/SERVICE
    endpoint: String,
    /// What the rule is for; everybody reads it
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
}

/// Rules, in force unless more is said.
#[derive(Debug, Args)]
pub(crate) struct RulesArgs {
    #[command(subcommand)]
    command: Option<RulesCommand>,
    /// Removed ones too
    #[arg(long)]
    all: bool,
}

/// What is done with rules.
#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// Rules in force
    List {
        /// Removed ones too
        #[arg(long)]
        all: bool,
    },
    /// Remove a rule by its id, or all of a client and an endpoint
    Rm {
        /// The id or its beginning, as `crux rules` shows it; or CLIENT and ENDPOINT as they were allowed
        #[arg(required = true, num_args = 1..=2, value_names = ["ID|CLIENT", "ENDPOINT"])]
        which: Vec<String>,
    },
}

impl RulesArgs {
    /// Whether rules are listed, and none removed.
    pub(crate) fn lists(&self) -> bool {
        !matches!(self.command, Some(RulesCommand::Rm { .. }))
    }
}

pub(crate) async fn run(ctx: &Ctx, args: RulesArgs) -> Outcome {
    match args.command {
        None => list(ctx, args.all).await,
        Some(RulesCommand::List { all }) => list(ctx, all || args.all).await,
        Some(RulesCommand::Rm { .. }) if args.all => {
            Err(usage("--all shows removed rules, and `rm` removes only what is named".to_owned()))
        }
        Some(RulesCommand::Rm { which }) => match &which[..] {
            [id] => remove_one(ctx, id).await,
            [client, endpoint] => remove_named(ctx, client, endpoint).await,
            _ => Err(usage("a rule is named by its id, or by client and endpoint".to_owned())),
        },
    }
}

fn usage(problem: String) -> ErrorDoc {
    let next = "crux allow web/api data/db, crux rules rm ID, crux rules rm web/api data/db";
    ErrorDoc::new(Code::Usage, format!("{problem}; nothing was changed"), next)
}

async fn list(ctx: &Ctx, all: bool) -> Outcome {
    let path = if all { format!("{}?all", routes::RULES) } else { routes::RULES.to_owned() };
    ctx.show(&path, |list: &RuleList, format| match format {
        Format::Name => names(list.rules.iter().map(|rule| rule.id.as_str())),
        _ => with_limit(list_text(list, format == Format::Wide, all), list.enforced),
    })
    .await
}

fn list_text(list: &RuleList, wide: bool, all: bool) -> String {
    if list.rules.is_empty() {
        return "no rules: nobody is allowed to call anybody".to_owned();
    }
    let id = |rule: &Rule| if wide { rule.id.clone() } else { short_id(&rule.id) };
    let ended = |rule: &Rule| match (&rule.removed_at, &rule.removed_by) {
        (Some(at), by) => format!("{} ago by {}", age(Some(at)), by.as_deref().unwrap_or("?")),
        _ => String::new(),
    };
    let row = |rule: &Rule| {
        let (by, note) = (rule.by.clone().unwrap_or_default(), rule.note.clone().unwrap_or_default());
        [id(rule), rule.client.clone(), rule.endpoint.clone(), age(Some(&rule.since)), by, ended(rule), note]
    };
    let rows = list.rules.iter().map(row);
    match all {
        true => table(["RULE", "CLIENT", "ENDPOINT", "AGE", "BY", "REMOVED", "NOTE"], rows),
        false => table(
            ["RULE", "CLIENT", "ENDPOINT", "AGE", "BY", "NOTE"],
            rows.map(|[id, client, endpoint, age, by, _, note]| [id, client, endpoint, age, by, note]),
        ),
    }
}

fn with_limit(text: String, enforced: bool) -> String {
    if enforced { text } else { format!("{text}\n{NOT_ENFORCED}") }
}

/// A client and an endpoint of this bloc's rules.
async fn read_names(client: &Client, caller: &str, called: &str) -> Result<(ClientName, EndpointName), ErrorDoc> {
    let wrong = |which: &str, bad: &BadRuleName| usage(format!("{which}: {bad}"));
    let caller: ClientName = caller.parse().map_err(|bad: BadRuleName| wrong("client", &bad))?;
    let called: EndpointName = called.parse().map_err(|bad: BadRuleName| wrong("endpoint", &bad))?;
    if let Some(bloc) = &caller.bloc {
        let here: Confab = client.get(routes::CONFAB).await?;
        if here.bloc == bloc.as_str() {
            let own = ClientName { bloc: None, ..caller.clone() };
            return Err(usage(format!("client: {caller} is of this bloc, so it is named {own}")));
        }
    }
    Ok((caller, called))
}

fn is_of(rule: &Rule, client: &ClientName, endpoint: &EndpointName) -> bool {
    rule.client == client.to_string() && rule.endpoint == endpoint.to_string()
}

fn stands(rule: &Rule) -> bool {
    rule.state == RuleState::InForce
}

async fn all_rules(client: &Client) -> Result<RuleList, ErrorDoc> {
    client.get(&format!("{}?all", routes::RULES)).await
}

pub(crate) async fn allow(ctx: &Ctx, args: AllowArgs) -> Outcome {
    let client = ctx.client();
    let (caller, called) = read_names(&client, &args.client, &args.endpoint).await?;
    let list: RuleList = client.get(routes::RULES).await?;
    let mut hints = unknown_yet(&client, &caller, &called).await?;
    let (equal, others): (Vec<Rule>, Vec<Rule>) =
        list.rules.into_iter().partition(|rule| is_of(rule, &caller, &called));
    if let Some(first) = equal.first() {
        if !args.note.is_empty() && equal.iter().all(|rule| rule.note.as_deref() != Some(args.note.as_str())) {
            let note = first.note.as_deref().unwrap_or("none");
            hints.push(format!("a rule never changes, so its note stays ({note}); for another, remove it first"));
        }
        let change = RuleChanged::Unchanged;
        let done = RuleChange { change, rules: equal, converged: true, enforced: list.enforced, hints };
        return say(ctx, &done).map(|()| 0);
    }
    hints.extend(
        allowed_by(&others, &caller, &called)
            .map(|rule| format!("{} may call {called} already, by rule {}", rule.client, rule.id)),
    );
    let (id, fact) = NewFact::rule(&caller, &called, &args.note, now(), nonce()?).map_err(usage)?;
    let operator = Operator::load(&ctx.global, &ctx.target)?;
    let code = accepted(&operator.write(&client, &[(&fact, None)]).await?);
    tell(ctx, RuleChanged::Added, &[id.to_string()], code, hints).await
}

/// Other rules by which this client may call this endpoint.
fn allowed_by<'a>(
    rules: &'a [Rule],
    client: &'a ClientName,
    endpoint: &EndpointName,
) -> impl Iterator<Item = &'a Rule> {
    let endpoint = endpoint.to_string();
    let covers = move |rule: &Rule| rule.client.parse().is_ok_and(|other: ClientName| other.covers(client));
    rules.iter().filter(move |rule| stands(rule) && rule.endpoint == endpoint && covers(rule))
}

async fn remove_one(ctx: &Ctx, begin: &str) -> Outcome {
    if begin.contains('/') {
        return Err(usage(format!("{begin:?} is no id; the client and the endpoint are both needed")));
    }
    // Crockford's digits are one in both cases.
    let upper = begin.to_ascii_uppercase();
    if upper.len() < ID_MIN {
        return Err(usage(format!("{begin:?} is too short: at least {ID_MIN} digits of the id are needed")));
    }
    let client = ctx.client();
    let list = all_rules(&client).await?;
    let found: Vec<&Rule> = list.rules.iter().filter(|rule| rule.id.starts_with(&upper)).collect();
    let standing: Vec<&Rule> = found.iter().copied().filter(|rule| stands(rule)).collect();
    match (&standing[..], found.first()) {
        ([one], _) => remove(ctx, &client, std::slice::from_ref(&one.id)).await,
        ([], Some(gone)) => Err(missing(format!("rule {} {}", gone.id, ended(gone)))),
        ([], None) => Err(missing(format!("there is no rule whose id begins with {begin:?}"))),
        (many, _) => {
            let ids = many.iter().map(|rule| rule.id.as_str()).collect::<Vec<_>>().join(", ");
            Err(usage(format!("the ids of several rules begin with {begin:?}: {ids}")))
        }
    }
}

async fn remove_named(ctx: &Ctx, caller: &str, called: &str) -> Outcome {
    let client = ctx.client();
    let (caller, called) = read_names(&client, caller, called).await?;
    let list = all_rules(&client).await?;
    let of_them: Vec<&Rule> = list.rules.iter().filter(|rule| is_of(rule, &caller, &called)).collect();
    let ids: Vec<String> = of_them.iter().filter(|rule| stands(rule)).map(|rule| rule.id.clone()).collect();
    if ids.is_empty() {
        let last = of_them.iter().max_by_key(|rule| rule.removed_at.clone());
        let last = last.map(|rule| format!("; the last such rule, {}, {}", rule.id, ended(rule))).unwrap_or_default();
        let wider = allowed_by(&list.rules, &caller, &called);
        let wider: String = wider.map(|rule| format!("; {} may, by rule {}", rule.client, rule.id)).collect();
        return Err(missing(format!("no rule lets exactly {caller} call {called}{last}{wider}")));
    }
    remove(ctx, &client, &ids).await
}

fn ended(rule: &Rule) -> String {
    let by = rule.removed_by.as_deref().unwrap_or("?");
    format!("was removed {} ago by {by}", age(rule.removed_at.as_deref()))
}

fn missing(problem: String) -> ErrorDoc {
    ErrorDoc::new(Code::NotFound, format!("{problem}; nothing was changed"), "crux rules, or crux rules --all")
}

/// All of them or none.
async fn remove(ctx: &Ctx, client: &Client, ids: &[String]) -> Outcome {
    let mut writes: Vec<(NewFact, Fact)> = Vec::new();
    for id in ids {
        let path = format!("{RULES}{id}");
        let gone = || missing(format!("there is no rule {id} any more"));
        let fact = fact_at(client, &path).await?.ok_or_else(gone)?;
        let value = bytes(&path, fact.heads.first().ok_or_else(gone)?)?.ok_or_else(gone)?;
        let removal = NewFact::rule_removal(&path, &value).map_err(|problem| {
            ErrorDoc::new(Code::Failed, format!("rule {id} cannot be read: {problem}"), "crux facts list rule/")
        })?;
        writes.push((removal, fact));
    }
    let operator = Operator::load(&ctx.global, &ctx.target)?;
    let writes: Vec<(&NewFact, Option<&Fact>)> = writes.iter().map(|(new, old)| (new, Some(old))).collect();
    let code = accepted(&operator.write(client, &writes).await?);
    tell(ctx, RuleChanged::Removed, ids, code, Vec::new()).await
}

/// Says what became of these rules, as the fulcrum has them now.
async fn tell(ctx: &Ctx, change: RuleChanged, ids: &[String], code: u8, mut hints: Vec<String>) -> Outcome {
    let list = all_rules(&ctx.client()).await?;
    let (rules, others): (Vec<Rule>, Vec<Rule>) = list.rules.into_iter().partition(|rule| ids.contains(&rule.id));
    if change == RuleChanged::Removed
        && let Some((Ok(caller), Ok(called))) =
            rules.first().map(|rule| (rule.client.parse::<ClientName>(), rule.endpoint.parse::<EndpointName>()))
    {
        let still = |rule: &Rule| format!("{} may still call {called}, by rule {}", rule.client, rule.id);
        hints.extend(allowed_by(&others, &caller, &called).map(still));
    }
    say(ctx, &RuleChange { change, rules, converged: code == 0, enforced: list.enforced, hints }).map(|()| code)
}

fn say(ctx: &Ctx, done: &RuleChange) -> Result<(), ErrorDoc> {
    ctx.print(done, &|done: &RuleChange, format| match format {
        Format::Name => names(done.rules.iter().map(|rule| rule.id.as_str())),
        _ => {
            let line = |rule: &Rule| {
                let Rule { id, client, endpoint, .. } = rule;
                match done.change {
                    RuleChanged::Added => format!("{client} may call {endpoint}: rule {id}"),
                    RuleChanged::Unchanged => format!("{client} may call {endpoint} already: rule {id}"),
                    RuleChanged::Removed => format!("rule {id} is removed, by which {client} may call {endpoint}"),
                }
            };
            let hints = done.hints.iter().map(|hint| format!("hint: {hint}"));
            let lines: Vec<String> = done.rules.iter().map(line).chain(hints).map(|line| clean(&line)).collect();
            with_limit(lines.join("\n"), done.enforced)
        }
    })
}

/// What of a rule is not there yet: it may come later, or a name is misspelt.
async fn unknown_yet(client: &Client, caller: &ClientName, called: &EndpointName) -> Result<Vec<String>, ErrorDoc> {
    let hordes: HordeList = client.get(routes::HORDES).await?;
    let services: ServiceList = client.get(routes::SERVICES).await?;
    let horde = |name: &HordeName| {
        let built_in = [ADMIN, MAIN].contains(&name.as_str());
        built_in || hordes.hordes.iter().any(|horde| horde.name == name.as_str())
    };
    let service = |horde: &HordeName, name: &ServiceName| {
        let is = |(a, b): (&String, &String)| a == horde.as_str() && b == name.as_str();
        services.services.iter().any(|service| is((&service.horde, &service.service)))
            || services.access.iter().any(|entry| is((&entry.horde, &entry.service)))
    };
    let lacks = |of: &HordeName, name: Option<&ServiceName>| match name {
        _ if !horde(of) => Some(format!("there is no horde {of} yet; the rule stands for when there is")),
        Some(name) if !service(of, name) => {
            Some(format!("no service {of}/{name} is placed or registered yet; the rule stands for when there is one"))
        }
        _ => None,
    };
    let mut hints = Vec::new();
    match &caller.bloc {
        Some(bloc) => hints.push(format!("{bloc} is another bloc, and blocs are not connected by this version")),
        None => hints.extend(lacks(&caller.horde, caller.service.as_ref())),
    }
    let of_called = lacks(&called.horde, Some(&called.service));
    hints.extend(of_called.filter(|hint| !hints.contains(hint)));
    Ok(hints)
}
