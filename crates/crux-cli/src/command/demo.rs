//! The demo service: a small web page that says which instance answers. Started by crux for `builtin = "demo"`.

use crate::Outcome;
use axum::Router;
use axum::response::Html;
use axum::routing::get;
use clap::Args;
use crux_api::json::{Code, ErrorDoc};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Where it listens.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Its port
    #[arg(long, env = "CRUX_PORT_HTTP", default_value_t = 0)]
    port: u16,
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The page: who answers.
fn page() -> String {
    let rows: String = ["INSTANCE", "NODE", "SERVICE", "HORDE"]
        .iter()
        .map(|name| {
            let value = std::env::var(format!("CRUX_{name}")).unwrap_or_else(|_| "not told".to_owned());
            format!("<tr><th>{}<td>{}\n", name.to_lowercase(), escape(&value))
        })
        .collect();
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>crux demo</title>\n\
         <style>body{{font:1.2em sans-serif;margin:3em}}th{{text-align:left;padding-right:2em}}</style>\n\
         <h1>It runs</h1><table>\n{rows}<tr><th>pid<td>{}\n</table>\n",
        std::process::id()
    )
}

pub(crate) async fn run(args: DemoArgs) -> Outcome {
    let failed = |what: &str, e: std::io::Error| {
        ErrorDoc::new(Code::Failed, format!("the demo service cannot {what}: {e}"), "crux why service main/demo")
    };
    let mut stop = signal(SignalKind::terminate()).map_err(|e| failed("listen for signals", e))?;
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let listener = TcpListener::bind(addr).await.map_err(|e| failed(&format!("listen on {addr}"), e))?;
    let addr = listener.local_addr().map_err(|e| failed("say where it listens", e))?;
    crate::output::say(&format!("demo listens on http://{addr}/"))?;
    let router = Router::new().route("/", get(|| async { Html(page()) })).route("/healthz", get(|| async { "ok" }));
    let stopped = async move {
        stop.recv().await;
    };
    tokio::select! {
        // Open connections do not keep it: browsers hold them for minutes.
        () = stopped => Ok(0),
        served = axum::serve(listener, router).into_future() => served.map(|()| 0).map_err(|e| failed("serve", e)),
    }
}
