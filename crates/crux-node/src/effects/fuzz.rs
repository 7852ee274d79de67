//! Doors of the fuzz targets to what effects read: journals, logs, supervisors' words, answers of peers and of services.

use super::journal::{Ending, Entry, Intent, Record, Started};
use super::processes::ProcessId;
use super::supervise::{Said, Told};
use super::telling::HookEnding;
use super::{LogLine, checks, fetch};
use serde::Serialize;

fn process() -> ProcessId {
    ProcessId { pid: 4711, start: 99, boot: "0b1c".to_owned() }
}

fn entries() -> Vec<Entry> {
    let intent = Intent {
        id: "n1:697df3c0:1".to_owned(),
        horde: "web".to_owned(),
        service: "api".to_owned(),
        slot: 2,
        revision: "ab".repeat(32),
        restarts: 1,
        ports: [("http".to_owned(), 8080)].into(),
        command: vec!["sh".to_owned()],
        hooks: [("parted".to_owned(), vec!["bin/parted".to_owned()])].into(),
        env: [("LOG".to_owned(), "info".to_owned())].into(),
    };
    vec![
        Entry::Intent(intent),
        Entry::Started(Started { process: process(), at: 7 }),
        Entry::Ended(Ending::Exited { code: Some(3), signal: None }),
    ]
}

fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

pub(crate) fn journals() -> Vec<Vec<u8>> {
    let lines: Vec<Vec<u8>> = entries().iter().map(line).collect();
    vec![lines.concat(), lines[..2].concat(), lines[0].clone()]
}

pub(crate) fn journal(data: &[u8]) {
    let record = Record::of(data);
    let parts = [
        record.intent.clone().map(Entry::Intent),
        record.started.clone().map(Entry::Started),
        record.ended.clone().map(Entry::Ended),
    ];
    let written: Vec<Vec<u8>> = parts.iter().flatten().map(line).collect();
    assert_eq!(Record::of(&written.concat()), record, "written again it says something else");
    if let Some(instance) = record.instance() {
        let named = record.intent.and_then(|intent| intent.id.parse().ok());
        assert_eq!(named, Some(instance.id), "it is another instance");
    }
}

pub(crate) fn added_entries() -> Vec<Vec<u8>> {
    let text = r#"[{"name":"","addrs":["10.0.0.7:80"],"labels":{"zone":"a"}},{"name":"b","addrs":[],"labels":{}}]"#;
    vec![text.into(), text[..60].into(), b"[]".to_vec()]
}

pub(crate) fn added(data: &[u8]) {
    super::sockets::fuzz(data);
}

pub(crate) fn tellings() -> Vec<Vec<u8>> {
    let told = include_str!("../../../crux-api/schema/Told.json");
    let hook = r#"{"number":3,"event":"parted","end":{"failed":{"why":"exit code 3"}}}"#;
    vec![told.into(), hook.into(), br#"{"number":3,"event":"rejoined","end":null}"#.to_vec()]
}

pub(crate) fn telling(data: &[u8]) {
    super::telling::fuzz(data);
}

pub(crate) fn instance_log(data: &[u8]) {
    for line in data.split(|byte| *byte == b'\n').filter_map(LogLine::parse) {
        assert!(line.text.len() <= 3 * data.len(), "more text than was written");
    }
}

pub(crate) fn supervisor_words() -> Vec<Vec<u8>> {
    let started = Started { process: process(), at: 7 };
    let hooked = Said::Hooked { number: 3, end: HookEnding::Failed { why: "exit code 3".to_owned() } };
    let said = [Said::Hello { id: "n1:1:1".to_owned(), started }, Said::Ended(Ending::Lost), hooked];
    let hook = Told::Hook { number: 3, event: "parted".to_owned(), timeout_ms: 30_000 };
    let told = [Told::Stop { signal: "TERM".to_owned(), grace_ms: u64::MAX }, Told::Collected, hook];
    said.iter().map(line).chain(told.iter().map(line)).chain([line(&process())]).collect()
}

pub(crate) fn supervisor(data: &[u8]) {
    if let Ok(said) = serde_json::from_slice::<Said>(data) {
        assert_eq!(serde_json::from_slice::<Said>(&line(&said)).ok(), Some(said));
    }
    if let Ok(told) = serde_json::from_slice::<Told>(data) {
        assert_eq!(serde_json::from_slice::<Told>(&line(&told)).ok(), Some(told));
    }
    if let Ok(process) = serde_json::from_slice::<ProcessId>(data) {
        let _ = super::processes::raw(process.pid);
    }
}

pub(crate) fn file_question(data: &[u8]) {
    let Some(asked) = data.first_chunk() else { return };
    let (hash, offset) = fetch::question(*asked);
    assert_eq!([hash.0.as_slice(), &offset.to_be_bytes()].concat(), asked);
}

pub(crate) fn file_answer(data: &[u8]) {
    let Some(header) = data.first_chunk() else { return };
    for size in [0, 10, u64::MAX] {
        if fetch::answered(*header, size).is_ok() {
            assert_eq!(*header, fetch::header(0, size), "another answer was taken for \"it follows\"");
        }
    }
}

pub(crate) fn health_answer(data: &[u8]) {
    if checks::status(data).is_some() {
        assert!(data.windows(7).any(|bytes| bytes == b"HTTP/1."));
    }
}
