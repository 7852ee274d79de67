//! What the facts say, read once: hordes, rows, placements and the catalogue, in the types that the services decide by.
//!
//! A fact that cannot be read is not in force; [`Known::unread`] says why, for people. It is forwarded all the same: a
//! newer version of crux may understand it.

use super::admit::Admits;
use super::instance::ServiceRef;
pub use super::muster::Revision;
use super::{muster, vacancy};
use crate::facts::rule::{Named, RuleFact};
use crate::facts::value::{Cordon, Expulsion, Horde, Labels, Place, Row};
use crate::khan;
use crate::resources::Resources;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use crux_names::{FulcrumId, Hash256, HordeName, NodeName, RuleId, ServiceName};
use prost::Message;

/// What the facts of this bloc say, in the types of the services.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    hordes: BTreeMap<HordeName, Horde>,
    rows: BTreeMap<FulcrumId, Row>,
    catalogue: BTreeMap<(ServiceName, Hash256), Arc<Revision>>,
    places: BTreeMap<ServiceRef, Place>,
    expelled: BTreeMap<NodeName, Expulsion>,
    cordons: BTreeMap<FulcrumId, Cordon>,
    given: BTreeMap<NodeName, Labels>,
    rules: BTreeMap<RuleId, Named>,
    unread: BTreeMap<String, String>,
}

impl Known {
    /// Takes in the value that a path has now; `None` if it is deleted. Paths of other rooms are passed over.
    /// Answers whether anything that services look at has changed.
    pub fn take(&mut self, path: &str, value: Option<&Bytes>) -> bool {
        let before = self.unread.remove(path);
        match self.read(path, value) {
            None => false,
            Some(Ok(changed)) => changed || before.is_some(),
            Some(Err(why)) => {
                // Not in force: as if it were deleted.
                let removed = matches!(self.read(path, None), Some(Ok(true)));
                let changed = before.as_ref() != Some(&why);
                self.unread.insert(path.to_string(), why);
                changed || removed
            }
        }
    }

    fn read(&mut self, path: &str, value: Option<&Bytes>) -> Option<Result<bool, String>> {
        match path.split('/').collect::<Vec<_>>().as_slice() {
            ["horde", horde] => Some(self.take_horde(horde, value)),
            ["row", node, fulcrum] => Some(self.take_row(&format!("{node}/{fulcrum}"), value)),
            ["muster", service, revision] => Some(self.take_revision(service, revision, value)),
            ["place", horde, service] => Some(self.take_place(horde, service, value)),
            ["expel", node] => Some(self.take_expulsion(node, value)),
            ["cordon", node, fulcrum] => Some(self.take_cordon(&format!("{node}/{fulcrum}"), value)),
            ["label", node] => Some(self.take_labels(node, value)),
            ["rule", id] => Some(self.take_rule(id, value)),
            _ => None,
        }
    }

    fn take_horde(&mut self, horde: &str, value: Option<&Bytes>) -> Result<bool, String> {
        let name = HordeName::parse(horde).map_err(|error| error.to_string())?;
        put(&mut self.hordes, name, decode(value)?)
    }

    fn take_row(&mut self, fulcrum: &str, value: Option<&Bytes>) -> Result<bool, String> {
        let id: FulcrumId = fulcrum.parse().map_err(|error: crux_names::NameError| error.to_string())?;
        // What an expelled node said of itself counts no more: nobody waits for it.
        let row: Option<Row> = decode(value)?;
        let row = row.filter(|row| !self.is_expelled(&id.node, row.admitted()));
        put(&mut self.rows, id, row)
    }

    fn take_expulsion(&mut self, node: &str, value: Option<&Bytes>) -> Result<bool, String> {
        let node = NodeName::parse(node).map_err(|error| error.to_string())?;
        let changed = put(&mut self.expelled, node, decode(value)?)?;
        let expelled = &self.expelled;
        self.rows.retain(|id, row| expelled.get(&id.node).is_none_or(|expulsion| row.admitted() > expulsion.up_to));
        Ok(changed)
    }

    fn take_cordon(&mut self, fulcrum: &str, value: Option<&Bytes>) -> Result<bool, String> {
        let id: FulcrumId = fulcrum.parse().map_err(|error: crux_names::NameError| error.to_string())?;
        put(&mut self.cordons, id, decode(value)?)
    }

    fn take_labels(&mut self, node: &str, value: Option<&Bytes>) -> Result<bool, String> {
        let node = NodeName::parse(node).map_err(|error| error.to_string())?;
        put(&mut self.given, node, decode(value)?)
    }

    /// Nothing that services decide follows from rules so far.
    fn take_rule(&mut self, id: &str, value: Option<&Bytes>) -> Result<bool, String> {
        let id: RuleId = id.parse().map_err(|error: crux_names::NotARuleId| error.to_string())?;
        let rule =
            decode::<RuleFact>(value)?.map(|fact| fact.named()).transpose().map_err(|error| error.to_string())?;
        put(&mut self.rules, id, rule).map(|_| false)
    }

    fn take_place(&mut self, horde: &str, service: &str, value: Option<&Bytes>) -> Result<bool, String> {
        let horde = HordeName::parse(horde).map_err(|error| error.to_string())?;
        let service = ServiceName::parse(service).map_err(|error| error.to_string())?;
        put(&mut self.places, ServiceRef { horde, service }, decode(value)?)
    }

    fn take_revision(&mut self, service: &str, revision: &str, value: Option<&Bytes>) -> Result<bool, String> {
        let service = ServiceName::parse(service).map_err(|error| error.to_string())?;
        let name: Hash256 = revision.parse().map_err(|_| format!("{revision:?} is not a revision"))?;
        let key = (service, name);
        let Some(bytes) = value else { return Ok(self.catalogue.remove(&key).is_some()) };
        let entry = muster::entry(&key.0, &name, bytes)?;
        // A revision's bytes are its name, so a second one under the same key is the same.
        Ok(self.catalogue.insert(key, Arc::new(entry)).is_none())
    }

    /// What it says of hordes, the catalogue and placements alone.
    #[must_use]
    pub fn intent(&self) -> Self {
        let Self { hordes, catalogue, places, .. } = self;
        Self { hordes: hordes.clone(), catalogue: catalogue.clone(), places: places.clone(), ..Self::default() }
    }

    /// The hordes that operators made. `main` and ADMIN need no fact.
    #[must_use]
    pub fn hordes(&self) -> &BTreeMap<HordeName, Horde> {
        &self.hordes
    }

    /// How many home members an operator wants of a horde. Nobody counts those of `main` and ADMIN: everybody is of `main` who
    /// is nowhere else, and ADMIN is a flag.
    #[must_use]
    pub fn want(&self, horde: &HordeName) -> Option<u32> {
        let counts = *horde != HordeName::main() && *horde != HordeName::admin();
        self.hordes.get(horde).filter(|_| counts).map(|fact| fact.want)
    }

    /// Every fulcrum's own row.
    #[must_use]
    pub fn rows(&self) -> &BTreeMap<FulcrumId, Row> {
        &self.rows
    }

    /// The catalogue.
    #[must_use]
    pub fn catalogue(&self) -> &BTreeMap<(ServiceName, Hash256), Arc<Revision>> {
        &self.catalogue
    }

    /// Where and how often services run.
    #[must_use]
    pub fn places(&self) -> &BTreeMap<ServiceRef, Place> {
        &self.places
    }

    /// Nodes that were put out of the bloc.
    #[must_use]
    pub fn expelled(&self) -> &BTreeMap<NodeName, Expulsion> {
        &self.expelled
    }

    /// Whether a node's certificate of this admission is of the bloc no more.
    #[must_use]
    pub fn is_expelled(&self, node: &NodeName, admission: u32) -> bool {
        self.expelled.get(node).is_some_and(|expulsion| admission <= expulsion.up_to)
    }

    /// Who may call whom, and what was removed of that.
    #[must_use]
    pub fn rules(&self) -> &BTreeMap<RuleId, Named> {
        &self.rules
    }

    /// Facts that are not in force because they could not be read, with the reason.
    #[must_use]
    pub fn unread(&self) -> &BTreeMap<String, String> {
        &self.unread
    }

    /// A revision of a service.
    #[must_use]
    pub fn revision(&self, service: &ServiceName, revision: &Hash256) -> Option<&Arc<Revision>> {
        self.catalogue.get(&(service.clone(), *revision))
    }

    /// The revisions of a service.
    pub fn revisions<'a>(&'a self, service: &'a ServiceName) -> impl Iterator<Item = (&'a Hash256, &'a Arc<Revision>)> {
        let from = (service.clone(), Hash256([0; 32]));
        self.catalogue
            .range(from..)
            .take_while(move |((name, _), _)| name == service)
            .map(|((_, hash), entry)| (hash, entry))
    }

    /// What instances of a service ask for, by revision; one that asks for nothing is not in here.
    #[must_use]
    pub fn asks(&self, service: &ServiceName) -> BTreeMap<Hash256, Resources> {
        let ask = |entry: &Revision| entry.manifest.resources.filter(|ask| !ask.is_none());
        self.revisions(service).filter_map(|(revision, entry)| Some((*revision, ask(entry)?))).collect()
    }

    /// The labels of a fulcrum: its certificate's, which it declares in its row, and over them the operators'.
    #[must_use]
    pub fn labels(&self, fulcrum: &FulcrumId) -> BTreeMap<String, String> {
        let own = self.rows.get(fulcrum).map(|row| row.labels.clone()).unwrap_or_default();
        self.with_given(&fulcrum.node, own)
    }

    /// Labels of a node's certificate, and over them the operators'.
    #[must_use]
    pub fn with_given(&self, node: &NodeName, mut own: BTreeMap<String, String>) -> BTreeMap<String, String> {
        if let Some(given) = self.given.get(node) {
            own.extend(given.labels.iter().map(|(key, label)| (key.clone(), label.clone())));
        }
        own
    }

    /// Whether operators' facts let a fulcrum stand in at a horde: its places may be filled, and it takes such fulcrums.
    #[must_use]
    pub fn may_stand_in(&self, who: &FulcrumId, horde: &HordeName) -> bool {
        let Some(fact) = self.hordes.get(horde).filter(|fact| vacancy::may_be_filled(horde, fact)) else {
            return false;
        };
        Admits::parse(&fact.r#where).is_ok_and(|admits| admits.admits(who, &self.labels(who)))
    }

    /// How many instances of a service its placement lets run on a fulcrum at most, as far as that fulcrum can tell alone.
    #[must_use]
    pub fn most(&self, who: &FulcrumId, of: &ServiceRef, place: &Place) -> u32 {
        let Ok(set) = khan::parse_set(&place.place) else { return 0 };
        let texts = self.hordes.get(&of.horde).into_iter().flat_map(|horde| &horde.sets);
        let read = |(name, text): (&String, &String)| Some((name.clone(), khan::parse_set(text).ok()?));
        let (labels, sets) = (self.labels(who), texts.filter_map(read).collect());
        khan::Lone { id: who, labels: &labels, sets: &sets }.most(&of.service, &set)
    }

    /// The cordon of a fulcrum, if an operator put one up.
    #[must_use]
    pub fn cordon(&self, fulcrum: &FulcrumId) -> Option<&Cordon> {
        self.cordons.get(fulcrum)
    }
}

fn decode<V: Message + Default>(value: Option<&Bytes>) -> Result<Option<V>, String> {
    value.map(|bytes| V::decode(bytes.clone()).map_err(|_| String::from("its value does not decode"))).transpose()
}

fn put<K: Ord, V: PartialEq>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> Result<bool, String> {
    Ok(match value {
        Some(value) => {
            let changed = map.get(&key) != Some(&value);
            map.insert(key, value);
            changed
        }
        None => map.remove(&key).is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::value::{Manifest, muster_path};

    fn manifest(service: &str) -> Bytes {
        Manifest { service: service.into(), builtin: "demo".into(), ..Manifest::default() }.encode_to_vec().into()
    }

    #[test]
    fn a_revision_is_in_the_catalogue_only_under_its_own_hash() {
        let (mut known, bytes) = (Known::default(), manifest("api"));
        let api = ServiceName::parse("api").unwrap();
        let good = Manifest::revision(&bytes);
        assert!(known.take(&muster_path(&api, &good), Some(&bytes)));
        assert!(known.revision(&api, &good).is_some());
        assert_eq!(known.revisions(&api).count(), 1);
        let bad = muster_path(&api, &Hash256([7; 32]));
        known.take(&bad, Some(&bytes));
        assert!(known.revision(&api, &Hash256([7; 32])).is_none());
        assert!(known.unread()[&bad].contains("not this revision"));
    }

    #[test]
    fn a_rule_is_known_by_its_names_and_wakes_no_service() {
        use crate::facts::rule::{NONCE, Rule, rule_path};
        let nonce = Bytes::from_static(&[1; NONCE]);
        let rule = Rule { client: "web/*".into(), endpoint: "data/db".into(), nonce, ..Rule::default() };
        let fact = |removed| RuleFact { rule: rule.encode_to_vec().into(), removed };
        let (mut known, id) = (Known::default(), fact(false).id());
        for removed in [false, true] {
            assert!(!known.take(&rule_path(&id), Some(&fact(removed).encode_to_vec().into())));
            let named = &known.rules()[&id];
            assert_eq!((named.client.to_string().as_str(), named.removed), ("web/*", removed));
        }
        known.take(&rule_path(&id), None);
        assert!(known.rules().is_empty() && known.unread().is_empty());
        known.take(&rule_path(&id), Some(&Bytes::from_static(b"\xff")));
        assert!(known.rules().is_empty() && known.unread().len() == 1);
    }

    #[test]
    fn a_deleted_fact_is_out_of_force_and_a_foreign_path_changes_nothing() {
        let mut known = Known::default();
        let value: Bytes = Row { horde: "web".into(), ..Row::default() }.encode_to_vec().into();
        assert!(known.take("row/n1/0", Some(&value)));
        assert!(!known.take("row/n1/0", Some(&value)), "the same again changes nothing");
        assert_eq!(known.rows()[&"n1".parse().unwrap()].horde, "web");
        assert!(known.take("row/n1/0", None));
        assert!(known.rows().is_empty());
        assert!(!known.take("ship/n7", Some(&value)));
    }
}
