//! An operator's program: many facts written by one process that keeps its key, and questions asked so often that a
//! command for each would be what is measured.

use crate::Lab;
use crux_api::client::{Client, encode};
use crux_api::json::{ErrorDoc, Fact, FactList, Kind, Written};
use crux_api::routes::{self, WriteRequest};
use crux_api::write::{NewFact, WriteKind, Writer};
use crux_names::{NodeName, OperatorName, Wall};
use crux_pki::{Bundle, Role, Signer};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// So many facts go in one request.
const BATCH: usize = 500;

/// An operator and the doors of all fulcrums.
#[derive(Debug)]
pub struct Loader {
    bundle: Bundle,
    operator: OperatorName,
    signer: Signer,
    doors: Vec<Client>,
    nonces: AtomicU64,
}

/// A label of a node that is not there: a fact that concerns nobody.
///
/// # Panics
/// If it is no name of a node.
#[must_use]
pub fn label(node: &str, value: usize) -> NewFact {
    let node: NodeName = node.parse().expect("a node's name");
    NewFact::labels(&node, [("a".to_owned(), format!("v{value}"))].into())
}

impl Lab {
    /// The lab's operator, as a program of its own would be.
    ///
    /// # Panics
    /// If its bundle cannot be read.
    #[must_use]
    pub fn loader(&self) -> Loader {
        let bundle = Bundle::load(Path::new(&self.path("ops"))).expect("the operator's bundle");
        let Role::Operator(operator) = &bundle.identity().role else { panic!("{} is no operator", bundle.identity()) };
        Loader {
            operator: operator.clone(),
            signer: bundle.signer().clone(),
            doors: (0..self.machines()).map(|at| Client::new(self.socket(at))).collect(),
            nonces: AtomicU64::new(0),
            bundle,
        }
    }
}

impl Loader {
    /// The door of a machine's fulcrum.
    #[must_use]
    pub fn door(&self, at: usize) -> &Client {
        &self.doors[at]
    }

    /// A fact, signed to replace what was seen.
    ///
    /// # Panics
    /// If it is too long.
    #[must_use]
    pub fn seal(&self, fact: &NewFact, seen: Option<&Fact>) -> String {
        let writer = Writer {
            bloc: self.bundle.identity().bloc.clone(),
            operator: self.operator.clone(),
            chain: self.bundle.chain().iter().map(|der| der.to_vec().into()).collect(),
            sign: &|context, bytes| self.signer.sign(context, bytes),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.nonces.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        let sealed = writer.seal(fact, seen, WriteKind::Edit, Wall(u64::try_from(now).unwrap_or(u64::MAX)), nonce);
        sealed.unwrap_or_else(|why| panic!("{why}"))
    }

    /// Has signed facts accepted.
    ///
    /// # Errors
    /// What the fulcrum says.
    pub async fn write(&self, at: usize, versions: Vec<String>) -> Result<Written, ErrorDoc> {
        self.doors[at].post(routes::FACTS, &WriteRequest { versions }).await
    }

    /// Writes many new facts at one door, a batch after the other.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn load(&self, at: usize, facts: &[NewFact]) -> Result<(), ErrorDoc> {
        for batch in facts.chunks(BATCH) {
            self.write(at, batch.iter().map(|fact| self.seal(fact, None)).collect()).await?;
        }
        Ok(())
    }

    /// The facts under a prefix that a fulcrum holds, if it answers.
    pub async fn facts(&self, at: usize, prefix: &str) -> Option<FactList> {
        self.get(at, &format!("{}?prefix={}", routes::FACTS, encode(prefix))).await
    }

    /// The digest of all that a fulcrum holds, if it answers.
    pub async fn digest(&self, at: usize) -> Option<String> {
        // No path begins so.
        Some(self.facts(at, "-").await?.digest)
    }

    /// Whether these fulcrums hold the same.
    pub async fn equal(&self, machines: &[usize]) -> bool {
        let mut first = None;
        for at in machines {
            match (&first, self.digest(*at).await) {
                (_, None) => return false,
                (None, digest) => first = digest,
                (Some(first), Some(digest)) if *first != digest => return false,
                _ => {}
            }
        }
        true
    }

    /// A document, if the fulcrum answers.
    pub async fn get<T: Kind + serde::de::DeserializeOwned>(&self, at: usize, path: &str) -> Option<T> {
        self.doors[at].get(path).await.ok()
    }
}
