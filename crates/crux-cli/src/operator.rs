//! Who signs, and writing facts: the operator's key never leaves this process.

use crate::args::Global;
use crate::target::{At, Target};
use bytes::Bytes;
use crux_api::client::{Client, encode};
use crux_api::intent::{Diff, diff};
use crux_api::json::{Code, Confab, ErrorDoc, Fact, FactList, PlanDiff, Written, from_hex};
use crux_api::routes::{self, WriteRequest};
use crux_api::write::{NewFact, WriteKind, Writer, removes_rule};
use crux_names::Wall;
use crux_pki::{Bundle, Refusal, Role, unix_now};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where an operator's bundle is found without being named.
pub(crate) fn profile() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")))?;
    Some(config.join("crux").join("profile"))
}

/// An operator whose key is at hand.
#[derive(Debug)]
pub(crate) struct Operator {
    bundle: Bundle,
}

impl Operator {
    /// The operator of this command: `--as`, the dev cluster's own, or the profile.
    pub(crate) fn load(global: &Global, target: &Target) -> Result<Self, ErrorDoc> {
        let profile = profile();
        let (path, from) = match (&global.r#as, &target.dev_operator, &profile) {
            (Some(path), _, _) => (path, "--as"),
            (None, Some(path), _) => (path, "the dev cluster's operator"),
            (None, None, Some(path)) if path.exists() => (path, "the profile"),
            _ => {
                let place = profile.map_or_else(String::new, |path| format!(" (no profile in {})", path.display()));
                let cause = match &target.at {
                    At::Socket(_) => {
                        format!("this changes what operators want, and there is no operator's key to sign it{place}")
                    }
                    At::Port(addr) => format!("{addr} answers operators only, and there is no operator's key{place}"),
                };
                let next = "crux ca issue --ca DIR --operator NAME, or the same command with --as BUNDLE";
                return Err(ErrorDoc::new(Code::NoKey, cause, next));
            }
        };
        Self::open(path, from)
    }

    /// Its certificate and key.
    pub(crate) fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    fn open(path: &Path, from: &str) -> Result<Self, ErrorDoc> {
        let bundle = Bundle::load(path).map_err(|e| {
            ErrorDoc::new(
                Code::NoKey,
                format!("{from}: {e}"),
                "crux ca issue --ca DIR --operator NAME --out BUNDLE, then --as BUNDLE",
            )
        })?;
        if !matches!(bundle.identity().role, Role::Operator(_)) {
            let cause = format!("{from} ({}) is {}, which is no operator", path.display(), bundle.identity());
            return Err(ErrorDoc::new(Code::Refused, cause, "crux ca issue --ca DIR --operator NAME"));
        }
        bundle.check(unix_now()).map_err(|refusal| {
            let (path, name) = (path.display(), &bundle.identity().role);
            // What is over comes back by another certificate; all else the bundle itself tells.
            let (why, next) = match (&refusal, name) {
                (Refusal::Expired { .. }, Role::Operator(name)) => (
                    refusal.cause(),
                    format!("crux ca issue --ca DIR --operator {name} --out BUNDLE, then --as BUNDLE"),
                ),
                _ => (refusal.to_string(), format!("crux ca inspect {path}")),
            };
            ErrorDoc::new(Code::Refused, format!("{from} ({path}) would be refused: {why}"), next)
        })?;
        Ok(Self { bundle })
    }

    /// Signs these facts as successors of what was seen, and has them accepted. Losers of conflicts stay listed.
    pub(crate) async fn write(
        &self,
        client: &Client,
        writes: &[(&NewFact, Option<&Fact>)],
    ) -> Result<Written, ErrorDoc> {
        self.sign_and_send(client, writes, WriteKind::Edit).await
    }

    /// Writes one fact in place of all its versions: a conflict is over.
    pub(crate) async fn settle(&self, client: &Client, fact: &NewFact, seen: &Fact) -> Result<Written, ErrorDoc> {
        self.sign_and_send(client, &[(fact, Some(seen))], WriteKind::Settle).await
    }

    /// The same, as a write of this kind.
    pub(crate) async fn write_as(
        &self,
        client: &Client,
        writes: &[(&NewFact, Option<&Fact>)],
        kind: WriteKind,
    ) -> Result<Written, ErrorDoc> {
        self.sign_and_send(client, writes, kind).await
    }

    async fn sign_and_send(
        &self,
        client: &Client,
        writes: &[(&NewFact, Option<&Fact>)],
        kind: WriteKind,
    ) -> Result<Written, ErrorDoc> {
        let confab: Confab = client.get(routes::CONFAB).await?;
        let identity = self.bundle.identity();
        let Role::Operator(operator) = &identity.role else {
            return Err(ErrorDoc::new(Code::Refused, format!("{identity} is no operator"), "--as BUNDLE"));
        };
        if confab.bloc != identity.bloc.as_str() {
            let cause =
                format!("{operator} is an operator of bloc {}, this fulcrum is of bloc {}", identity.bloc, confab.bloc);
            return Err(ErrorDoc::new(Code::Refused, cause, "--as BUNDLE of that bloc, or --at another fulcrum"));
        }
        let signer = self.bundle.signer();
        let writer = Writer {
            bloc: identity.bloc.clone(),
            operator: operator.clone(),
            chain: self.bundle.chain().iter().map(|der| Bytes::copy_from_slice(der)).collect(),
            sign: &|context, bytes| signer.sign(context, bytes),
        };
        let now = now();
        let mut versions = Vec::new();
        for (fact, seen) in writes {
            let sealed = writer.seal(fact, *seen, kind, now, nonce()?);
            versions
                .push(sealed.map_err(|e| ErrorDoc::new(Code::Failed, e.to_string(), "make it smaller and try again"))?);
        }
        client.post(routes::FACTS, &WriteRequest { versions }).await
    }
}

/// Now, as stamps have it.
pub(crate) fn now() -> Wall {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    Wall(u64::try_from(now).unwrap_or(u64::MAX))
}

/// What nobody else draws.
pub(crate) fn nonce() -> Result<[u8; 16], ErrorDoc> {
    let mut nonce = [0; 16];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut nonce));
    read.map_err(|e| {
        ErrorDoc::new(Code::Failed, format!("the system gives no randomness: {e}"), "check /dev/urandom")
    })?;
    Ok(nonce)
}

/// The facts at exactly these paths.
pub(crate) async fn seen(client: &Client, facts: &[NewFact]) -> Result<Vec<Fact>, ErrorDoc> {
    let mut there = Vec::new();
    for fact in facts {
        there.extend(fact_at(client, &fact.path).await?);
    }
    Ok(there)
}

/// The fact at this path, deleted or not.
pub(crate) async fn fact_at(client: &Client, path: &str) -> Result<Option<Fact>, ErrorDoc> {
    let list: FactList = client.get(&format!("{}?prefix={}", routes::FACTS, encode(path))).await?;
    Ok(list.facts.into_iter().find(|fact| fact.path == path))
}

/// Whether a fact says something now. A removed rule does not, though it is no deletion.
pub(crate) fn in_force(fact: Option<&Fact>) -> bool {
    let value = |fact: &Fact| fact.heads.first()?.value.clone();
    let removed = |fact: &Fact, value: &str| from_hex(value).is_ok_and(|value| removes_rule(&fact.path, &value));
    fact.is_some_and(|fact| value(fact).is_some_and(|value| !removed(fact, &value)))
}

/// That every horde which something is placed in exists, or is made by the same write.
pub(crate) async fn check_hordes(client: &Client, facts: &[NewFact]) -> Result<(), ErrorDoc> {
    for fact in facts {
        let mut parts = fact.path.split('/');
        let (Some("place"), Some(horde)) = (parts.next(), parts.next()) else { continue };
        let path = format!("horde/{horde}");
        let made = facts.iter().any(|fact| fact.path == path && fact.value.is_some());
        if fact.value.is_none() || horde == crux_names::MAIN || made || in_force(fact_at(client, &path).await?.as_ref())
        {
            continue;
        }
        let cause = format!("{} needs horde {horde}, which does not exist; nothing was changed", fact.path);
        return Err(ErrorDoc::new(Code::NotFound, cause, format!("crux horde create {horde} --want 3")));
    }
    Ok(())
}

/// What writing these facts would change.
pub(crate) async fn compare(client: &Client, facts: &[NewFact]) -> Result<(Vec<Fact>, PlanDiff), ErrorDoc> {
    let there = seen(client, facts).await?;
    let Diff { plan, .. } = diff(facts, &there);
    Ok((there, plan))
}
