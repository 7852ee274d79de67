//! Documents, requests, streams and manifests.

use crate::drive::Target;
use crate::{bloc, slow, target, text, texts};
use bytes::Bytes;
use crux_api::backup::{self, Contents, Packer};
use crux_api::grpc::{
    AddReply, AddRequest, ConfabRequest, ConfabView, EventsRequest, ListReply, ListRequest, WhoReply, WhoRequest,
};
use crux_api::intent::{Intent, parse_bytes, parse_cpu, parse_duration, parse_quota};
use crux_api::json::*;
use crux_api::routes::{DownRequest, ForgetRequest, LabRequest, RestoreRequest, WriteRequest};
use crux_core::facts::authority::authorise;
use crux_core::facts::version::{Author, Stamp, Statement};
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{Read as _, Write as _};
use std::path::Path;

/// The targets of this file.
pub const TARGETS: &[Target] = &[
    slow(target("documents", documents, samples)),
    target("requests", requests, request_seeds),
    target("event_stream", event_stream, streams),
    target("hex", hex, hexes),
    target("error_code", error_code, codes),
    target("duration", duration, durations),
    target("resources", resources, amounts),
    slow(target("manifest", manifest, manifests)),
    target("grpc", grpc, grpcs),
    slow(target("backup", backup, backups)),
];

const SAMPLES: &[&str] = &[
    include_str!("../../crux-api/schema/AuditEntry.json"),
    include_str!("../../crux-api/schema/AuditList.json"),
    include_str!("../../crux-api/schema/Backup.json"),
    include_str!("../../crux-api/schema/BlocFacts.json"),
    include_str!("../../crux-api/schema/BlocStatus.json"),
    include_str!("../../crux-api/schema/Confab.json"),
    include_str!("../../crux-api/schema/Doctor.json"),
    include_str!("../../crux-api/schema/Done.json"),
    include_str!("../../crux-api/schema/Error.json"),
    include_str!("../../crux-api/schema/Event.json"),
    include_str!("../../crux-api/schema/EventList.json"),
    include_str!("../../crux-api/schema/FactList.json"),
    include_str!("../../crux-api/schema/FileList.json"),
    include_str!("../../crux-api/schema/FileStored.json"),
    include_str!("../../crux-api/schema/FlockList.json"),
    include_str!("../../crux-api/schema/HordeList.json"),
    include_str!("../../crux-api/schema/LinkList.json"),
    include_str!("../../crux-api/schema/LogLine.json"),
    include_str!("../../crux-api/schema/LogList.json"),
    include_str!("../../crux-api/schema/NodeList.json"),
    include_str!("../../crux-api/schema/PlanDiff.json"),
    include_str!("../../crux-api/schema/Ps.json"),
    include_str!("../../crux-api/schema/RestoreAnswer.json"),
    include_str!("../../crux-api/schema/Restored.json"),
    include_str!("../../crux-api/schema/RuleChange.json"),
    include_str!("../../crux-api/schema/RuleList.json"),
    include_str!("../../crux-api/schema/ServiceList.json"),
    include_str!("../../crux-api/schema/Status.json"),
    include_str!("../../crux-api/schema/Told.json"),
    include_str!("../../crux-api/schema/Why.json"),
    include_str!("../../crux-api/schema/Written.json"),
];

fn samples() -> Vec<Vec<u8>> {
    texts(SAMPLES)
}

/// A document that is read is written as one that is read. (Not compared: the last bit of a fraction may differ.)
fn document<T: Kind + Serialize + DeserializeOwned>(data: &[u8]) {
    let Ok(document) = serde_json::from_slice::<Doc<T>>(data) else { return };
    let written = serde_json::to_vec(&document).expect("what was read can be written");
    assert!(serde_json::from_slice::<Doc<T>>(&written).is_ok(), "{}: written again it is not read", T::KIND);
}

/// Every document that a fulcrum answers with.
pub fn documents(data: &[u8]) {
    document::<AuditEntry>(data);
    document::<AuditList>(data);
    document::<Backup>(data);
    document::<BlocFacts>(data);
    document::<BlocStatus>(data);
    document::<RestoreAnswer>(data);
    document::<Restored>(data);
    document::<Confab>(data);
    document::<Doctor>(data);
    document::<Done>(data);
    document::<ErrorDoc>(data);
    document::<Event>(data);
    document::<EventList>(data);
    document::<FactList>(data);
    document::<FileList>(data);
    document::<FileStored>(data);
    document::<FlockList>(data);
    document::<HordeList>(data);
    document::<LinkList>(data);
    document::<LogLine>(data);
    document::<LogList>(data);
    document::<NodeList>(data);
    document::<PlanDiff>(data);
    document::<Ps>(data);
    document::<RuleChange>(data);
    document::<RuleList>(data);
    document::<ServiceList>(data);
    document::<Status>(data);
    document::<Told>(data);
    document::<Why>(data);
    document::<Written>(data);
}

fn request_seeds() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"versions":["0a0b0c","ff"]}"#,
        r#"{"services":true}"#,
        r#"{"node":"n1/b"}"#,
        r#"{"op":"split","groups":[["n1"],["n2","n3"]]}"#,
        r#"{"op":"loss","percent":100.0}"#,
        "{}",
    ])
}

/// The bodies of requests.
pub fn requests(data: &[u8]) {
    if let Ok(restore) = serde_json::from_slice::<RestoreRequest>(data) {
        for version in &restore.versions {
            let _ = from_hex(version);
        }
    }
    if let Ok(write) = serde_json::from_slice::<WriteRequest>(data) {
        for version in &write.versions {
            let _ = from_hex(version);
        }
    }
    let _ = serde_json::from_slice::<DownRequest>(data);
    let _ = serde_json::from_slice::<ForgetRequest>(data);
    if let Ok(lab) = serde_json::from_slice::<LabRequest>(data) {
        let written = serde_json::to_vec(&lab).expect("what was read can be written");
        assert!(serde_json::from_slice::<LabRequest>(&written).is_ok());
    }
}

fn streams() -> Vec<Vec<u8>> {
    texts(&["id: 7\ndata: {\"a\":1}\n\n", ": open\n\ndata:x\ndata: y\n\n", "data: \u{e9}\n\nevent: z\n\n\n\n"])
}

/// A stream of events, in whatever pieces it comes.
pub fn event_stream(data: &[u8]) {
    crux_api::client::fuzz_events(data);
}

fn hexes() -> Vec<Vec<u8>> {
    texts(&["00ff", "", "ABCDEF0123", "0g"])
}

/// Hex is read as what it was written from.
pub fn hex(data: &[u8]) {
    assert_eq!(from_hex(&to_hex(data)).as_deref(), Ok(data));
    let Some(text) = text(data) else { return };
    if let Ok(bytes) = from_hex(text) {
        assert_eq!(to_hex(&bytes), text.to_lowercase());
    }
}

fn codes() -> Vec<Vec<u8>> {
    texts(&["E100", "e401", "E600", "E999"])
}

/// The code of an error.
pub fn error_code(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Ok(code) = text.parse::<Code>() {
        assert_eq!(code.as_str(), text.to_ascii_uppercase());
    }
}

fn durations() -> Vec<Vec<u8>> {
    texts(&["500ms", "2s", "1m30s", "2h", "1d", "0", "18446744073709551615d"])
}

/// A duration is bounded.
pub fn duration(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Ok(duration) = parse_duration(text) {
        assert!(duration.as_secs() <= 10 * 365 * 86_400);
    }
}

fn amounts() -> Vec<Vec<u8>> {
    texts(&["8", "0.5", "256M", "1024T", "cpu=8,memory=16G,disk=1T", "cpu=0.001", "none", "18446744073709551616.5"])
}

/// Cores and sizes are bounded, and a quota that names nothing is none.
pub fn resources(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Ok(milli) = parse_cpu(text) {
        assert!((1..=10_000_000).contains(&milli));
    }
    if let Ok(bytes) = parse_bytes(text) {
        assert!((1..=1 << 50).contains(&bytes));
    }
    if let Ok(Some(quota)) = parse_quota(text) {
        assert!(quota.is_bounded() && !quota.is_none());
    }
}

fn manifests() -> Vec<Vec<u8>> {
    texts(&[
        r#"
[horde.web]
want  = 5
where = "zone=a & node under site-a"
sets.big = "ALL & LABEL(size=big)"
quota = { cpu = 8, memory = "16G" }

[horde.ADMIN]
want = 1

[service.api]
horde     = "web"
place     = "pick(api, 3, big)"
after     = ["2 of db.ready"]
run       = ["sh", "--port", "${port.http}"]
env       = { LOG = "info" }
ports     = { http = 0 }
check     = { http = "/healthz", port = "http", every = "2s" }
restart   = { from = "500ms", to = "1m" }
stop      = { signal = "INT", grace = "3s" }
resources = { cpu = 0.5, memory = "256M" }
single    = false
on_split  = "majority"
on_rejoin = "keep-oldest"
"#,
        "[service.once]\nrun = [\"sh\", \"-c\", \"true\"]\ncount = 2\nrestart = \"never\"\n",
        "[service.demo]\nbuiltin = \"demo\"\ncount = 100000\nports = { http = 65535 }\ncheck = { tcp = \"http\" }\n",
        "[service.job]\nrun = \"sleep 1\"\ncheck = { exec = [\"true\"] }\non_split = \"home:zone=a\"\n",
    ])
}

/// What a manifest becomes, every fulcrum takes. No file is read: the directory is none.
pub fn manifest(data: &[u8]) {
    let Some(text) = text(data) else { return };
    // A file that it names by an absolute path would be one of this machine.
    if text.contains("files") {
        return;
    }
    let intent = match Intent::parse("crux.toml", text, Path::new("/nonexistent")) {
        Ok(intent) => intent,
        Err(error) => {
            assert!(error.to_string().starts_with("crux.toml:"), "it does not say where: {error}");
            return;
        }
    };
    for fact in &intent.facts {
        let statement = Statement {
            bloc: bloc(),
            path: fact.path.clone(),
            value: fact.value.clone().map(Bytes::from),
            ancestors: Vec::new(),
            stamp: Stamp::default(),
            author: Author::Operator("ann".parse().expect("an operator's name")),
            nonce: Bytes::new(),
        };
        let judged = authorise(&bloc(), &statement);
        assert!(judged.is_ok(), "{}: the manifest is taken, its fact is not: {judged:?}", fact.path);
    }
    let _ = intent.revisions();
}

fn grpcs() -> Vec<Vec<u8>> {
    let view = ConfabView { members: vec!["n1".into()], admin: vec!["n2".into()], ..ConfabView::default() };
    vec![view.encode_to_vec(), Vec::new()]
}

/// The messages of the gRPC door.
pub fn grpc(data: &[u8]) {
    let _ = ConfabRequest::decode(data);
    let _ = (AddRequest::decode(data), ListRequest::decode(data), WhoRequest::decode(data));
    let _ = (EventsRequest::decode(data), crux_api::grpc::Event::decode(data));
    let _ = (AddReply::decode(data), ListReply::decode(data), WhoReply::decode(data));
    if let Ok(view) = ConfabView::decode(data) {
        assert_eq!(ConfabView::decode(&view.encode_to_vec()[..]), Ok(view));
    }
}

/// An archive with two versions and two files.
fn backups() -> Vec<Vec<u8>> {
    let file = |content: &[u8]| BackupFile {
        sha256: crux_core::hash::sha256(content).to_string(),
        size: Counter(content.len() as u64),
    };
    let files = [&b"one"[..], &[7; 600]];
    let about = Backup {
        format: backup::FORMAT,
        bloc: "acme".into(),
        at: "2026-01-31T12:00:00Z".into(),
        node: "n1".into(),
        digest: "ab".repeat(32),
        versions: 2,
        facts: 2,
        roots: vec!["cd".repeat(32)],
        files: files.map(file).into(),
        missing: Vec::new(),
        stable: true,
        members: 1,
        agree: 1,
        apart: Vec::new(),
    };
    let versions = vec![Bytes::from_static(b"no version"), Bytes::from_static(b"")];
    let contents = Contents { about, trust: "PEM".into(), versions };
    let mut packer = Packer::new(Vec::new(), &contents).expect("an archive");
    for content in files {
        packer.file(&file(content)).expect("a file");
        packer.write_all(content).expect("its content");
    }
    vec![packer.finish().expect("an end")]
}

/// An archive with what a backup holds: what is taken for whole is whole, and packed again it is the same.
pub fn backup(data: &[u8]) {
    let Ok((contents, mut files)) = backup::read(data) else { return };
    let _ = backup::claimed(&contents.versions);
    let mut packer = Packer::new(Vec::new(), &contents).expect("what was read can be packed");
    while let Ok(Some(file)) = files.next_file() {
        packer.file(&file).expect("a file");
        let mut content = Vec::new();
        if files.read_to_end(&mut content).is_err() {
            return;
        }
        assert_eq!(crux_core::hash::sha256(&content).to_string(), file.sha256, "the content is another one");
        packer.write_all(&content).expect("its content");
    }
}
