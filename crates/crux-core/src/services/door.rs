//! What the door of a fulcrum asks of operators' writes beyond the table of authors and forms: whether they make sense with
//! the facts at hand. `crux` asks the same before it sends anything; other clients hear it here.
//!
//! Only a write at the door is judged so. What comes from others is judged by the table alone, for it was written with the
//! facts at *their* hands, and members that judged it by what they happen to know would never agree. So a split can still
//! leave a placement in a horde that was deleted on the other side: the plan then says why nothing of it runs.
//!
//! A write is judged as a whole, by what would be in force after it. What it leaves as it was is not judged: it may stand
//! there for reasons of its own, and signing it again must not fail.

use super::instance::ServiceRef;
use super::known::Known;
use super::proctor;
use crate::facts::value::{horde_path, muster_path, place_path};
use crate::facts::version::Statement;
use crate::khan;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use crux_names::{Hash256, HordeName, MAIN, ServiceName};

/// How many home members a horde may want.
pub const WANT_MAX: u32 = 100_000;

/// Judges a write. What the table of forms refuses is passed over here, since that is said first.
///
/// # Errors
/// What does not make sense and the next step, for people; nothing of it is to be taken.
pub fn judge(known: &Known, write: &[&Statement]) -> Result<(), String> {
    let is_intent = |path: &str| ["horde/", "place/", "muster/"].iter().any(|prefix| path.starts_with(prefix));
    if !write.iter().any(|statement| is_intent(&statement.path)) {
        return Ok(());
    }
    let mut after = known.intent();
    let mut changed = Vec::new();
    for statement in write.iter().filter(|statement| is_intent(&statement.path)) {
        // A later one of the same path stands.
        if after.take(&statement.path, statement.value.as_ref()) {
            changed.push(statement.path.as_str());
        }
        if let Some(why) = after.unread().get(&statement.path) {
            return Err(format!("{}: {why}", statement.path.escape_debug()));
        }
    }
    // Of what stood already only what this write takes the ground from.
    let mut hordes: BTreeSet<HordeName> = BTreeSet::new();
    for path in &changed {
        match path.split('/').collect::<Vec<_>>().as_slice() {
            ["horde", name] => {
                let Ok(horde) = HordeName::parse(name) else { continue };
                judge_horde(&after, &horde)?;
                hordes.insert(horde);
            }
            ["place", horde, service] => {
                if let (Ok(horde), Ok(service)) = (HordeName::parse(horde), ServiceName::parse(service)) {
                    judge_place(&after, &ServiceRef { horde, service })?;
                }
            }
            ["muster", service, revision] => {
                if let (Ok(service), Ok(revision)) = (ServiceName::parse(service), revision.parse()) {
                    judge_revision(&after, &service, &revision)?;
                }
            }
            _ => {}
        }
    }
    for (horde, services) in hordes.iter().map(|horde| (horde, placed(&after, horde))) {
        if after.hordes().contains_key(horde) {
            for of in services.iter().filter(|of| understands(known, of).is_ok()) {
                understands(&after, of).map_err(|why| {
                    format!(
                        "{}: {} would not be understood any more: {why}",
                        horde_path(horde),
                        place_path(horde, &of.service)
                    )
                })?;
            }
        } else if known.hordes().contains_key(horde) && !services.is_empty() && !built_in(horde) {
            let names: Vec<String> = services.iter().map(ToString::to_string).collect();
            return Err(format!(
                "{}: horde {horde} still runs {}; delete their placements too, as crux horde delete {horde} --prune does",
                horde_path(horde),
                names.join(", ")
            ));
        }
    }
    Ok(())
}

/// There without a fact, and with none.
fn built_in(horde: &HordeName) -> bool {
    horde.as_str() == MAIN || *horde == HordeName::admin()
}

fn placed(known: &Known, horde: &HordeName) -> Vec<ServiceRef> {
    known.places().keys().filter(|of| of.horde == *horde).cloned().collect()
}

fn judge_horde(after: &Known, horde: &HordeName) -> Result<(), String> {
    let Some(fact) = after.hordes().get(horde) else { return Ok(()) };
    let path = horde_path(horde);
    if fact.want > WANT_MAX {
        return Err(format!("{path}: want is {}, and a horde may want {WANT_MAX}; correct the number", fact.want));
    }
    khan::parse_where(&fact.r#where).map_err(|why| format!("{path}: where {:?}: {why}", fact.r#where))?;
    proctor::sets_make_sense(&fact.sets).map_err(|why| format!("{path}: {why}"))
}

fn judge_place(after: &Known, of: &ServiceRef) -> Result<(), String> {
    let Some(place) = after.places().get(of) else { return Ok(()) };
    let (path, horde) = (place_path(&of.horde, &of.service), &of.horde);
    if !built_in(horde) && !after.hordes().contains_key(horde) {
        return Err(format!(
            "{path} needs horde {horde}, which does not exist; make it first, as crux horde create {horde} --want 3 does"
        ));
    }
    let revision = <[u8; 32]>::try_from(place.revision.as_slice()).map(Hash256).unwrap_or_default();
    if after.revision(&of.service, &revision).is_none() {
        return Err(format!(
            "{path} places revision {}, of which the catalogue has no manifest; write {} with it or before it",
            revision.short(),
            muster_path(&of.service, &revision)
        ));
    }
    understands(after, of).map_err(|why| format!("{path}: {why}"))
}

fn judge_revision(after: &Known, service: &ServiceName, revision: &Hash256) -> Result<(), String> {
    if after.revision(service, revision).is_some() {
        return Ok(());
    }
    let used = after.places().iter().find(|(of, place)| of.service == *service && place.revision == revision.0);
    match used {
        None => Ok(()),
        Some((of, _)) => Err(format!(
            "{} is the manifest that {of} runs; place another revision, or delete its placement, first",
            muster_path(service, revision)
        )),
    }
}

fn understands(known: &Known, of: &ServiceRef) -> Result<(), String> {
    let Some(place) = known.places().get(of) else { return Ok(()) };
    let sets = known.hordes().get(&of.horde).map(|fact| fact.sets.clone()).unwrap_or_default();
    proctor::makes_sense(of, place, &sets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::value::{Horde, Manifest, Place};
    use crate::facts::version::{Author, Stamp};
    use bytes::Bytes;
    use prost::Message;

    fn says(path: &str, value: Option<Vec<u8>>) -> Statement {
        Statement {
            bloc: "sim".parse().unwrap(),
            path: path.into(),
            value: value.map(Bytes::from),
            ancestors: Vec::new(),
            stamp: Stamp::default(),
            author: Author::Operator("ops".parse().unwrap()),
            nonce: Bytes::new(),
        }
    }

    fn horde(want: u32, admits: &str, sets: &[(&str, &str)]) -> Statement {
        let sets = sets.iter().map(|(name, set)| ((*name).into(), (*set).into())).collect();
        says("horde/web", Some(Horde { want, r#where: admits.into(), sets, ..Horde::default() }.encode_to_vec()))
    }

    fn manifest() -> (Statement, Hash256) {
        let value = Manifest { service: "api".into(), builtin: "demo".into(), ..Manifest::default() }.encode_to_vec();
        let revision = Manifest::revision(&value);
        (says(&muster_path(&"api".parse().unwrap(), &revision), Some(value)), revision)
    }

    fn place(horde: &str, place: &str) -> Statement {
        let value = Place { revision: manifest().1.0.into(), place: place.into(), ..Place::default() };
        says(&format!("place/{horde}/api"), Some(value.encode_to_vec()))
    }

    fn take(known: &mut Known, statements: &[&Statement]) {
        statements.iter().for_each(|one| _ = known.take(&one.path, one.value.as_ref()));
    }

    fn refusal(known: &Known, write: &[&Statement]) -> String {
        judge(known, write).expect_err("it makes no sense")
    }

    #[test]
    fn a_placement_needs_its_horde_its_manifest_and_sense() {
        let (manifest, _) = manifest();
        let mut known = Known::default();
        let here = |khan: &str| place("main", khan);
        let good = here("pick(api, 3, ALL)");
        assert!(refusal(&known, &[&good]).contains("the catalogue has no manifest"));
        assert_eq!(judge(&known, &[&good, &manifest]), Ok(()), "in whichever order");
        take(&mut known, &[&manifest]);
        assert_eq!(judge(&known, &[&good]), Ok(()));
        for (khan, says) in [
            ("pick(api, 3, ALL", "place: line 1"),
            ("pick(db, 3, ALL)", "it picks db"),
            ("ALL", "it has no pick(api"),
            ("pick(api, 3, big)", "no set \"big\""),
        ] {
            let text = refusal(&known, &[&here(khan)]);
            assert!(text.starts_with("place/main/api: ") && text.contains(says), "{text}");
        }
        let there = place("web", "pick(api, 3, big)");
        let text = refusal(&known, &[&there]);
        assert!(
            text.contains("needs horde web, which does not exist") && text.contains("crux horde create web"),
            "{text}"
        );
        let web = horde(3, "zone=a", &[("big", "LABEL(size=big)")]);
        assert_eq!(judge(&known, &[&there, &web]), Ok(()));
        // What stands already, though a split left it without sense, may be signed again and taken away.
        take(&mut known, &[&there]);
        assert_eq!(judge(&known, &[&there]), Ok(()));
        assert_eq!(judge(&known, &[&says("place/web/api", None)]), Ok(()));
    }

    #[test]
    fn a_horde_needs_words_that_are_understood_and_keeps_what_stands_on_it() {
        let mut known = Known::default();
        for (want, admits, sets, says) in [
            (WANT_MAX + 1, "", &[][..], "a horde may want 100000"),
            (1, "zone=", &[], "where \"zone=\""),
            (1, "zone=a & zone=b", &[], "a label has one value"),
            (1, "node under a & node under b", &[], "neither lies under the other"),
            (1, "", &[("a", "LABEL(")], "set a: "),
            (1, "", &[("a", "b"), ("b", "a")], "sets need each other"),
            (1, "", &[("a", "nobody")], "set a: "),
        ] {
            let text = refusal(&known, &[&horde(want, admits, sets)]);
            assert!(text.starts_with("horde/web: ") && text.contains(says), "{text}");
        }
        // What is in force from before that was refused is read, and may be signed again and corrected.
        let (old, mut late) = (horde(1, "zone=a & zone=b", &[]), Known::default());
        take(&mut late, &[&old]);
        assert_eq!((late.hordes().len(), late.unread().len()), (1, 0));
        assert_eq!(judge(&late, &[&old]), Ok(()));
        assert_eq!(judge(&late, &[&horde(1, "zone=a", &[])]), Ok(()));
        // What is built in may have a fact, and lose it, whatever stands on it.
        let mut there = Known::default();
        take(&mut there, &[&manifest().0, &place("main", "pick(api, 3, ALL)")]);
        let fact = says("horde/main", Some(Horde::default().encode_to_vec()));
        assert_eq!(judge(&there, &[&fact]), Ok(()));
        take(&mut there, &[&fact]);
        assert_eq!(judge(&there, &[&says("horde/main", None)]), Ok(()));
        let (web, there) = (horde(3, "", &[("big", "ALL")]), place("web", "pick(api, 3, big)"));
        take(&mut known, &[&web, &manifest().0, &there]);
        assert!(refusal(&known, &[&horde(3, "", &[])]).contains("place/web/api would not be understood any more"));
        let (gone, done) = (says("horde/web", None), says("place/web/api", None));
        assert!(refusal(&known, &[&gone]).contains("still runs web/api"));
        assert_eq!(judge(&known, &[&gone, &done]), Ok(()));
        let used = says(&manifest().0.path, None);
        assert!(refusal(&known, &[&used]).contains("the manifest that web/api runs"));
        assert_eq!(judge(&known, &[&used, &done]), Ok(()));
        assert_eq!(
            judge(&known, &[&horde(0, "zone=b & node under x", &[("big", "!ALL")])]),
            Ok(()),
            "none is a number, too"
        );
    }
}
