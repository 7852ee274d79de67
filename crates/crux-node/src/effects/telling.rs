//! What an instance is told of its horde: the document that its directory keeps and its hooks read, what is kept of its
//! last hook, and the words that whoever follows its socket hears.

use super::journal::Home;
use crate::api::moment;
use crux_api::json::{Counter, Doc, Told};
use crux_core::io::{HookEnd, Kept, Telling, Word};
use crux_core::services::instance::{InstanceId, ServiceRef};
use crux_names::Wall;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use tokio::sync::watch;

/// The last word to an instance, in its directory.
const TOLD: &str = "told.json";
/// Its last hook.
const HOOK: &str = "hook.json";
/// Largest such file: a horde of ten thousand with the longest names.
const FILE_MAX: u64 = 8 << 20;
/// How many words are kept for whoever follows: what counts is the last one.
const KEPT: usize = 64;

/// How a hook ended, as its supervisor says it and keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum HookEnding {
    Well,
    Failed { why: String },
    TimedOut,
}

impl From<HookEnding> for HookEnd {
    fn from(ending: HookEnding) -> Self {
        match ending {
            HookEnding::Well => Self::Well,
            HookEnding::Failed { why } => Self::Failed { why },
            HookEnding::TimedOut => Self::TimedOut,
        }
    }
}

/// The last hook of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HookRecord {
    /// The number of the word with which it was run.
    pub(super) number: u64,
    /// That word: `parted` or `rejoined`.
    pub(super) event: String,
    /// `None`: it runs.
    pub(super) end: Option<HookEnding>,
}

/// A word by its name.
pub(super) fn word_named(name: &str) -> Option<Word> {
    [Word::Parted, Word::Rejoined].into_iter().find(|word| word.as_str() == name)
}

fn document(id: &InstanceId, of: &ServiceRef, telling: &Telling) -> Told {
    Told {
        number: Counter(telling.number),
        event: telling.word.as_str().to_owned(),
        instance: id.to_string(),
        service: of.service.to_string(),
        horde: of.horde.to_string(),
        present: telling.present.iter().map(ToString::to_string).collect(),
        absent: telling.absent.iter().map(ToString::to_string).collect(),
        at: moment(telling.at),
    }
}

/// What such a document says; `None` if no fulcrum of any version said that.
pub(super) fn telling(told: &Told) -> Option<Telling> {
    let ids = |names: &[String]| names.iter().map(|name| name.parse().ok()).collect::<Option<Vec<_>>>();
    let at = told.at.parse::<jiff::Timestamp>().ok()?.as_microsecond();
    Some(Telling {
        number: told.number.0,
        word: word_named(&told.event)?,
        present: ids(&told.present)?,
        absent: ids(&told.absent)?,
        at: Wall(u64::try_from(at).ok()?),
    })
}

/// Replaces a file of an instance's directory: whoever reads it finds the old or the new one.
fn replace(home: &Home, name: &str, line: &[u8]) -> io::Result<()> {
    let fresh = home.0.join(format!("{name}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(line)?;
    std::fs::rename(fresh, home.0.join(name))
}

fn bounded(file: &mut File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_MAX { Err(ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}

/// Keeps the last word to an instance in its directory. Blocks.
pub(super) fn keep(home: &Home, id: &InstanceId, of: &ServiceRef, telling: &Telling) -> io::Result<()> {
    let mut line = serde_json::to_vec(&Doc(document(id, of, telling)))?;
    line.push(b'\n');
    replace(home, TOLD, &line)
}

/// The last word to an instance, and the file that says it, from its beginning.
pub(super) fn kept(home: &Home) -> io::Result<(Told, File)> {
    let mut file = File::open(home.0.join(TOLD))?;
    let text = bounded(&mut file)?;
    file.rewind()?;
    let Doc(told) = serde_json::from_slice(&text)?;
    Ok((told, file))
}

/// Keeps how the last hook is. Blocks.
pub(super) fn keep_hook(home: &Home, record: &HookRecord) -> io::Result<()> {
    replace(home, HOOK, &serde_json::to_vec(record)?)
}

fn kept_hook(home: &Home) -> Option<HookRecord> {
    serde_json::from_slice(&bounded(&mut File::open(home.0.join(HOOK)).ok()?).ok()?).ok()
}

/// What an instance that still runs had been told, and how its last hook is. Blocks.
pub(super) fn remembered(home: &Home, id: &InstanceId) -> Option<Kept> {
    let (told, _) = kept(home).ok()?;
    let telling = telling(&told).filter(|_| told.instance == id.to_string())?;
    let hook = kept_hook(home).and_then(|record| {
        let word = word_named(&record.event)?;
        Some((record.number, word, record.end.map(HookEnd::from)))
    });
    // A hook of a later word than the last one is of no word that is known.
    let hook = hook.filter(|(number, ..)| *number <= telling.number);
    Some(Kept { id: id.clone(), telling, hook })
}

/// The next run of an instance was told nothing.
pub(super) fn forget(home: &Home) -> io::Result<()> {
    for name in [TOLD, HOOK] {
        match std::fs::remove_file(home.0.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The last words to an instance: one writer, any number of readers. Whoever reads notices when the instance has ended.
#[derive(Clone)]
pub(super) struct Words(Arc<watch::Sender<VecDeque<Telling>>>);

impl Words {
    pub(super) fn new(last: Option<Telling>) -> Self {
        Self(Arc::new(watch::Sender::new(last.into_iter().collect())))
    }

    pub(super) fn say(&self, telling: Telling) {
        self.0.send_modify(|words| {
            if words.len() == KEPT {
                words.pop_front();
            }
            words.push_back(telling);
        });
    }

    pub(super) fn follow(&self) -> watch::Receiver<VecDeque<Telling>> {
        self.0.subscribe()
    }
}

/// Door of the fuzz target: what is read is written so that it reads the same.
pub(super) fn fuzz(text: &[u8]) {
    if let Ok(Doc(told)) = serde_json::from_slice::<Doc<Told>>(text)
        && let Some(read) = telling(&told)
    {
        let (Ok(id), Ok(horde), Ok(service)) = ("n1:1:1".parse(), "web".parse(), "api".parse()) else { return };
        let again = document(&id, &ServiceRef { horde, service }, &read);
        assert_eq!(telling(&again), Some(read), "written again it says something else");
    }
    if let Ok(record) = serde_json::from_slice::<HookRecord>(text) {
        let again = serde_json::to_vec(&record).unwrap_or_default();
        assert_eq!(serde_json::from_slice::<HookRecord>(&again).ok(), Some(record));
    }
}
