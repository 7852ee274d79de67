//! The service that a dev cluster starts with: `main/demo`, three instances of crux's own web page, signed by the
//! cluster's operator like any other.

use crux_api::client::Client;
use crux_api::json::{Code, ErrorDoc, FactList, Written};
use crux_api::routes::{FACTS, WriteRequest};
use crux_api::write::{NewFact, WriteKind, Writer};
use crux_core::facts::value::{Check, Manifest, Place, muster_path, place_path};
use crux_names::{HordeName, ServiceName};
use crux_pki::{Bundle, Role};
use prost::Message as _;

/// How many instances, at most one a fulcrum.
pub(super) const COUNT: u32 = 3;

/// Writes its two facts through this fulcrum.
pub(super) async fn apply(client: &Client, operator: &Bundle, size: usize) -> Result<(), ErrorDoc> {
    let failed = |cause: String| ErrorDoc::new(Code::Failed, cause, "report this: it is a fault of crux");
    let Role::Operator(name) = &operator.identity().role else {
        return Err(failed(format!("{} is no operator", operator.identity())));
    };
    let service = ServiceName::parse("demo").map_err(|error| failed(error.to_string()))?;
    let manifest = Manifest {
        service: service.to_string(),
        builtin: "demo".into(),
        ports: [("http".to_owned(), 0)].into(),
        check: Some(Check {
            kind: "http".into(),
            port: "http".into(),
            path: "/".into(),
            command: Vec::new(),
            every_ms: 500,
        }),
        stop_grace_ms: 2_000,
        ..Manifest::default()
    }
    .encode_to_vec();
    let revision = Manifest::revision(&manifest);
    let count = COUNT.min(u32::try_from(size).unwrap_or(COUNT));
    let place = Place {
        revision: revision.0.to_vec(),
        place: format!("pick({service}, {count}, ALL)"),
        on_split: "each-side".into(),
        ..Place::default()
    }
    .encode_to_vec();
    let seen: FactList = client.get(FACTS).await?;
    let writer = Writer {
        bloc: operator.identity().bloc.clone(),
        operator: name.clone(),
        chain: operator.chain().iter().map(|der| bytes::Bytes::copy_from_slice(der)).collect(),
        sign: &|context, bytes| operator.signer().sign(context, bytes),
    };
    let mut versions = Vec::new();
    for (path, value) in
        [(muster_path(&service, &revision), manifest), (place_path(&HordeName::main(), &service), place)]
    {
        let seen = seen.facts.iter().find(|fact| fact.path == path);
        let now = crate::wall();
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&now.0.to_be_bytes());
        let fact = NewFact { path, value: Some(value) };
        versions
            .push(writer.seal(&fact, seen, WriteKind::Edit, now, nonce).map_err(|error| failed(error.to_string()))?);
    }
    let _: Written = client.post(FACTS, &WriteRequest { versions }).await?;
    Ok(())
}
