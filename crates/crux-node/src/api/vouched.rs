//! Which facts stand on a root that is going or gone. A fact is believed while a trusted root vouches for who signed it; it
//! is read again at every start and by every newcomer. So before a root goes, what operators want is signed once more under
//! the one that stays: `crux facts reseal`.

use super::Door;
use super::doctor::{fine, found};
use bytes::Bytes;
use crux_api::json::{Finding, FindingState};
use crux_core::facts::version::{Author, Checked};
use crux_names::Hash256;
use crux_pki::{Bundle, Trust, fingerprint};
use std::collections::BTreeSet;

/// What is wrong with the roots of facts, if anything.
pub(super) async fn standing(door: &Door) -> Vec<Finding> {
    let sealed = door.asker.look(|engine, _| {
        let facts = engine.facts_room();
        let heads = facts.paths().flat_map(|path| facts.heads(path)).filter_map(|id| facts.by_id(&id));
        // A row is its own fulcrum's to sign, not an operator's.
        let (rows, intent): (Vec<_>, Vec<_>) =
            heads.partition(|version| matches!(version.statement().author, Author::Fulcrum(_)));
        let sealed = |of: Vec<&Checked>| of.into_iter().map(|version| version.sealed().clone()).collect::<Vec<_>>();
        let named = |row: &&Checked| (row.statement().author.to_string(), row.sealed().clone());
        (sealed(intent), rows.iter().map(named).collect::<Vec<_>>())
    });
    let Ok((sealed, rows)) = sealed.await else { return Vec::new() };
    let bundle = door.papers.now();
    let me = door.me.id.to_string();
    // Signatures of thousands take seconds.
    let counted = tokio::task::spawn_blocking(move || {
        let own = own_root(&bundle);
        let believed =
            |trust: &Trust| sealed.iter().filter(|one| crux_pki::facts::check(trust, (*one).clone()).is_ok()).count();
        let lost = sealed.len() - believed(bundle.trust());
        let elsewhere = own.as_ref().map_or(0, |(_, trust)| sealed.len() - believed(trust)).saturating_sub(lost);
        let stands = |trust: &Trust, row: &Bytes| crux_pki::facts::check(trust, row.clone()).is_ok();
        let old = own.as_ref().map(|(_, trust)| rows.iter().filter(|(_, row)| !stands(trust, row)));
        let old: BTreeSet<String> = old.into_iter().flatten().map(|(who, _)| who.clone()).collect();
        (sealed.len(), lost, elsewhere, own.map(|(root, _)| root), old)
    });
    let Ok((all, lost, elsewhere, own, rows)) = counted.await else { return Vec::new() };
    let mut findings = Vec::new();
    if lost > 0 {
        let text = format!(
            "{lost} of {all} facts were signed under a root that is trusted no more: they are lost where this fulcrum starts again"
        );
        let next = "crux facts reseal, with an operator of a root that stays, before anything restarts";
        findings.push(found("facts", FindingState::Wrong, &me, text, next));
    }
    if let Some(own) = own.as_ref().filter(|_| elsewhere > 0) {
        let text = format!(
            "{elsewhere} of {all} facts were signed under another root than {}, which this node's certificate is of",
            own.short()
        );
        let next = "before that root goes: crux facts reseal, with an operator of the one that stays";
        findings.push(found("facts", FindingState::Warning, &me, text, next));
    }
    if let Some(own) = own.as_ref().filter(|_| !rows.is_empty()) {
        let names = rows.into_iter().collect::<Vec<_>>().join(", ");
        let text = format!("the rows of {names} do not stand on {}, which this node's certificate is of", own.short());
        let next = "install a certificate of the root that stays at each of them: it signs its row again by itself; \
                    crux node forget NODE for those that are no more";
        findings.push(found("facts", FindingState::Warning, &me, text, next));
    }
    if findings.is_empty() {
        findings.push(fine("facts", &me, format!("{all}, and the root of this node's certificate vouches for each")));
    }
    findings
}

/// The root that vouches for this node's certificate, and a trust in it alone.
fn own_root(bundle: &Bundle) -> Option<(Hash256, Trust)> {
    let root = bundle.root()?;
    let hash = fingerprint(&root);
    Some((hash, Trust::new(bundle.trust().bloc().clone(), [root]).ok()?))
}
