//! `crux explain`, `crux version`, `crux completion`.

use crate::Outcome;
use crate::args::{self, Global};
use crate::output::{self, Format, clean};
use crate::target;
use clap::Args;
use clap_complete::Shell;
use crux_api::json::{API_VERSION, Code, ErrorDoc, Kind, Status};
use crux_api::routes;
use serde::Serialize;

/// An error code.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The code, as in `crux: E500 …`; without one, all are listed
    code: Option<String>,
}

/// A shell.
#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// Which shell
    shell: Shell,
}

#[derive(Clone, Serialize)]
struct Explanation {
    code: Code,
    exit: u8,
    title: &'static str,
    text: &'static str,
}

impl Kind for Explanation {
    const KIND: &'static str = "Explanation";
}

#[derive(Clone, Serialize)]
struct ErrorCodes {
    codes: Vec<Explanation>,
}

impl Kind for ErrorCodes {
    const KIND: &'static str = "ErrorCodes";
}

pub(crate) fn explain(global: &Global, args: &ExplainArgs) -> Outcome {
    let Some(text) = &args.code else {
        super::print(global.output, &ErrorCodes { codes: Code::ALL.iter().map(|code| one(*code)).collect() }, &list)?;
        return Ok(0);
    };
    let code: Code = text.parse().map_err(|()| {
        ErrorDoc::new(Code::NotFound, format!("{text:?} is no error code of crux"), "crux explain lists them")
    })?;
    super::print(global.output, &one(code), &|explanation: &Explanation, _| {
        format!("{}, exit code {}\n{}", explanation.code, explanation.exit, explanation.text)
    })?;
    Ok(0)
}

fn one(code: Code) -> Explanation {
    Explanation { code, exit: code.exit(), title: code.title(), text: code.explain() }
}

fn list(all: &ErrorCodes, format: Format) -> String {
    let codes: Vec<String> = all.codes.iter().map(|one| one.code.to_string()).collect();
    if format == Format::Name {
        return output::names(codes.iter().map(String::as_str));
    }
    let rows = all
        .codes
        .iter()
        .map(|one| [one.code.to_string(), one.exit.to_string(), one.title.trim_end_matches('.').to_owned()]);
    output::table(["CODE", "EXIT", "MEANS"], rows)
}

#[derive(Clone, Serialize)]
struct Versions {
    command: &'static str,
    api: &'static str,
    fulcrum: Option<String>,
}

impl Kind for Versions {
    const KIND: &'static str = "Version";
}

pub(crate) async fn version(global: &Global) -> Outcome {
    // The fulcrum's version is a help, its absence no failure, unless it was asked for by name.
    let asked = async { target::find(global.at.as_deref())?.client(global)?.get::<Status>(routes::STATUS).await }.await;
    let fulcrum = match asked {
        Ok(status) => Some(status.version),
        Err(error) if global.at.is_some() => return Err(error),
        Err(_) => None,
    };
    let versions = Versions { command: env!("CARGO_PKG_VERSION"), api: API_VERSION, fulcrum };
    super::print(global.output, &versions, &|versions: &Versions, format| match format {
        Format::Name => versions.command.to_owned(),
        _ => {
            let fulcrum = versions.fulcrum.as_deref().map_or_else(|| "none answers".to_owned(), clean);
            format!("crux {} (api {})\nfulcrum {fulcrum}", versions.command, versions.api)
        }
    })?;
    Ok(0)
}

pub(crate) fn completion(args: &CompletionArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut args::description(), "crux", &mut script);
    output::say(&String::from_utf8_lossy(&script)).map(|()| 0)
}
