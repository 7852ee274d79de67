//! One file per verb or noun.

pub(crate) mod audit;
pub(crate) mod bloc;
pub(crate) mod ca;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod facts;
pub(crate) mod files;
mod goals;
pub(crate) mod horde;
pub(crate) mod lab;
pub(crate) mod logs;
pub(crate) mod manifest;
pub(crate) mod network;
pub(crate) mod node;
mod prune;
pub(crate) mod rules;
pub(crate) mod run;
pub(crate) mod show;
pub(crate) mod up;
pub(crate) mod wait;
pub(crate) mod why;
mod write;

use crate::Outcome;
use crate::args::{Cli, Command, Global};
use crate::output::{self, Format};
use crate::target::{self, Target};
use crux_api::client::Client;
use crux_api::json::{Code, Done, ErrorDoc, Kind, Status};
use crux_api::routes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::time::sleep;

/// How often a document is asked for that the fulcrum does not tell of by itself.
const POLL: Duration = Duration::from_secs(1);

/// Runs a command.
pub(crate) fn run(cli: Cli) -> Outcome {
    if cli.global.watch && !cli.command.follows() {
        let cause = "this command answers once and has nothing to follow (-w)";
        let next = "crux status -w, or crux events -w for what happens; crux help names what a command does";
        return Err(ErrorDoc::new(Code::Usage, cause, next));
    }
    match cli.command {
        // These run on the main thread, with a runtime of their own or none.
        Command::Up(args) => up::run(args),
        Command::Demo(args) => block_on(demo::run(args))?,
        Command::Supervise { dir } => {
            let cause = format!("supervise {} takes no other flags and stands first", dir.display());
            Err(ErrorDoc::new(Code::Usage, cause, "crux help"))
        }
        Command::Ca(command) => ca::run(&cli.global, command),
        // It asks no fulcrum: there is none yet.
        Command::Bloc(bloc::BlocCommand::Create(args)) => bloc::create::run(&cli.global, &args),
        Command::Completion(args) => explain::completion(&args),
        Command::Explain(args) => explain::explain(&cli.global, &args),
        command if cli.global.watch => block_on(until_interrupted(ask(cli.global, command)))?,
        command => block_on(ask(cli.global, command))?,
    }
}

/// What follows ends when its reader has seen enough: Ctrl-C is no failure, and no line is cut.
async fn until_interrupted(following: impl Future<Output = Outcome>) -> Outcome {
    tokio::select! {
        outcome = following => outcome,
        // Where signals cannot be caught, Ctrl-C ends the process as ever.
        Ok(()) = tokio::signal::ctrl_c() => Ok(0),
    }
}

/// Runs one future on a runtime of its own.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> Result<T, ErrorDoc> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|e| ErrorDoc::new(Code::Failed, format!("the system gives no event loop: {e}"), "check ulimit -n"))?;
    Ok(runtime.block_on(future))
}

/// Commands that ask a fulcrum.
async fn ask(global: Global, command: Command) -> Outcome {
    match command {
        Command::Version => explain::version(&global).await,
        Command::Lab(command) => lab::run(&global, command).await,
        Command::Down(args) => down::run(&global, args).await,
        command => {
            let ctx = Ctx::find(global).await?;
            let outcome = match command {
                Command::Confab => show::confab(&ctx).await,
                Command::Status => show::status(&ctx).await,
                Command::Ps => show::ps(&ctx).await,
                Command::Services => show::services(&ctx).await,
                Command::Wait(args) => wait::run(&ctx, args).await,
                Command::Node(command) => node::run(&ctx, command).await,
                Command::Horde(command) => horde::run(&ctx, command).await,
                Command::Run(args) => run::run(&ctx, args).await,
                Command::Apply(args) => manifest::apply(&ctx, args).await,
                Command::Plan(args) => manifest::plan(&ctx, args).await,
                Command::Logs(args) => logs::run(&ctx, args).await,
                Command::Files(command) => files::run(&ctx, command).await,
                Command::Events(args) => events::run(&ctx, args).await,
                Command::Audit(args) => audit::run(&ctx, args).await,
                Command::Why(args) => why::run(&ctx, args).await,
                Command::Links => network::links(&ctx).await,
                Command::Flocks => network::flocks(&ctx).await,
                Command::Doctor => doctor::run(&ctx).await,
                Command::Bloc(command) => bloc::run(&ctx, command).await,
                Command::Allow(args) => rules::allow(&ctx, args).await,
                Command::Rules(args) => rules::run(&ctx, args).await,
                Command::Facts(command) => facts::run(&ctx, command).await,
                other => {
                    let cause = format!("{other:?} does not ask a fulcrum");
                    Err(ErrorDoc::new(Code::Failed, cause, "report this: it is a fault of crux"))
                }
            };
            outcome.map_err(|error| ctx.target.explain(error))
        }
    }
}

/// What every asking command has at hand.
pub(crate) struct Ctx {
    pub(crate) global: Global,
    pub(crate) target: Target,
    client: Client,
}

impl Ctx {
    /// The fulcrum that is meant.
    async fn find(global: Global) -> Result<Self, ErrorDoc> {
        let target = match target::find(global.at.as_deref()) {
            Err(error) if error.code == Code::NotFound => {
                target::find_node(global.at.as_deref().unwrap_or_default()).await.unwrap_or(Err(error))?
            }
            found => found?,
        };
        let client = target.client(&global)?;
        Ok(Self { global, target, client })
    }

    fn client(&self) -> Client {
        self.client.clone()
    }

    /// A client of the fulcrum that is meant by now: it may have started since this command did.
    fn client_now(&self) -> Client {
        let found = target::find(self.global.at.as_deref()).and_then(|target| target.client(&self.global));
        found.unwrap_or_else(|_| self.client())
    }

    fn format(&self) -> Format {
        self.global.output.unwrap_or(Format::Table)
    }

    /// Gets a document, or with `-w` follows it, and prints it each time.
    async fn show<T>(&self, path: &str, text: impl Fn(&T, Format) -> String) -> Outcome
    where
        T: Kind + Serialize + DeserializeOwned + Clone,
    {
        let client = self.client();
        if !self.global.watch {
            let body: T = client.get(path).await?;
            return self.print(&body, &text).map(|()| 0);
        }
        let mut watch = client.watch::<T>(&with(path, "watch")).await?;
        while let Some(body) = watch.next().await? {
            self.again(&body, &text)?;
        }
        ended()
    }

    /// The same for a document that the fulcrum answers only when it is asked: with `-w` it is asked whenever its status
    /// has changed, and printed if it is another one. Without, the outcome is `end`'s.
    async fn show_anew<T>(&self, path: &str, text: impl Fn(&T, Format) -> String, end: impl FnOnce(&T) -> u8) -> Outcome
    where
        T: Kind + Serialize + DeserializeOwned + Clone + PartialEq,
    {
        let client = self.client();
        let mut body: T = client.get(path).await?;
        if !self.global.watch {
            self.print(&body, &text)?;
            return Ok(end(&body));
        }
        self.again(&body, &text)?;
        let mut changes = client.watch::<Status>(&with(routes::STATUS, "watch")).await?;
        while changes.next().await?.is_some() {
            let now: T = client.get(path).await?;
            if now != body {
                body = now;
                self.again(&body, &text)?;
            }
        }
        ended()
    }

    /// The same for a document that no status tells of: with `-w` it is asked for each second.
    async fn show_polled<T>(&self, path: &str, text: impl Fn(&T, Format) -> String) -> Outcome
    where
        T: Kind + Serialize + DeserializeOwned + Clone + PartialEq,
    {
        let client = self.client();
        let mut body: T = client.get(path).await?;
        if !self.global.watch {
            return self.print(&body, &text).map(|()| 0);
        }
        loop {
            self.again(&body, &text)?;
            let last = body.clone();
            while body == last {
                sleep(POLL).await;
                body = client.get(path).await?;
            }
        }
    }

    /// Prints one of many states of a document.
    fn again<T: Kind + Serialize + Clone>(
        &self,
        body: &T,
        text: &impl Fn(&T, Format) -> String,
    ) -> Result<(), ErrorDoc> {
        match self.format() {
            Format::Json => output::say(&output::json(body, true)),
            Format::Name => output::say(&text(body, Format::Name)),
            format => output::say(&format!("{}\n{}", output::now(), text(body, format))),
        }
    }

    /// Gets a list and prints a line for each of its entries, or with `-w` for each that comes.
    async fn list<L, T>(&self, path: &str, entries: impl Fn(&L) -> &[T], line: impl Fn(&T, Format) -> String) -> Outcome
    where
        L: Kind + Serialize + DeserializeOwned + Clone,
        T: Kind + Serialize + DeserializeOwned + Clone,
    {
        if self.global.watch {
            return self.follow(&with(path, "watch"), line).await;
        }
        let list: L = self.client().get(path).await?;
        let lines =
            |list: &L, format| entries(list).iter().map(|entry| line(entry, format)).collect::<Vec<_>>().join("\n");
        self.print(&list, &lines).map(|()| 0)
    }

    /// Prints a line for each entry that comes, until the fulcrum ends the stream.
    async fn follow<T>(&self, path: &str, line: impl Fn(&T, Format) -> String) -> Outcome
    where
        T: Kind + Serialize + DeserializeOwned + Clone,
    {
        let mut watch = self.client().watch::<T>(path).await?;
        while let Some(entry) = watch.next().await? {
            match self.format() {
                Format::Json => output::say(&output::json(&entry, true))?,
                format => output::say(&line(&entry, format))?,
            }
        }
        ended()
    }

    /// Prints one document.
    fn print<T: Kind + Serialize + Clone>(
        &self,
        body: &T,
        text: &impl Fn(&T, Format) -> String,
    ) -> Result<(), ErrorDoc> {
        print(self.global.output, body, text)
    }

    /// Prints that something was done.
    fn done(&self, done: &Done) -> Outcome {
        self.print(done, &|done: &Done, _| output::clean(&done.text)).map(|()| 0)
    }
}

/// A path with one more word in its query.
fn with(path: &str, word: &str) -> String {
    let joint = if path.contains('?') { '&' } else { '?' };
    format!("{path}{joint}{word}")
}

/// Prints one document in the format that was asked for.
fn print<T: Kind + Serialize + Clone>(
    format: Option<Format>,
    body: &T,
    text: &impl Fn(&T, Format) -> String,
) -> Result<(), ErrorDoc> {
    match format.unwrap_or(Format::Table) {
        Format::Json => output::say(&output::json(body, false)),
        format => {
            let text = text(body, format);
            if text.is_empty() { Ok(()) } else { output::say(&text) }
        }
    }
}

/// The fulcrum ended a stream, so it is going down.
fn ended() -> Outcome {
    Err(ErrorDoc::new(Code::Unreachable, "the fulcrum ended the stream", "crux status tells whether it still runs"))
}
