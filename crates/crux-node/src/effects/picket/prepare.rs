//! Everything before the process: directory, files, ports, command, environment, and the intent in the journal.

use crate::effects::blobs::Blobs;
use crate::effects::files;
use crate::effects::journal::{Entry, Home, Intent, make_dir};
use crate::effects::picket::{Ports, reopen};
use crate::effects::processes::signal_named;
use crate::effects::sockets;
use crux_core::facts::value::Manifest;
use crux_core::hash::stable64;
use crux_core::io::{StartSpec, Word};
use crux_core::services::instance::InstanceId;
use prost::Message;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::PoisonError;

/// Picked ports lie here: above the well-known ones, below those that kernels give to outgoing connections.
const PICKED: std::ops::Range<u16> = 20_000..32_768;
/// Where programs are looked for unless the manifest says otherwise.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Prepares a start up to and including the journalled intent. Returns the ports. On an error nothing of it stays but,
/// for a look, what was already made of the directory.
pub(super) fn prepare(
    home: &Home,
    spec: &StartSpec,
    blobs: &Blobs,
    taken: &Ports,
    exe: &Path,
) -> Result<BTreeMap<String, u16>, String> {
    let manifest =
        Manifest::decode(spec.manifest.clone()).map_err(|error| format!("its manifest cannot be read: {error}"))?;
    if signal_named(&manifest.stop_signal).is_none() {
        return Err(format!(
            "stop signal `{}` is not known: use TERM, INT, HUP, QUIT, USR1, USR2",
            manifest.stop_signal
        ));
    }
    let io = |what: &'static str| move |error: std::io::Error| format!("cannot {what}: {error}");
    // It is there, unless the disk refused when crux started.
    make_dir(home.0.parent().unwrap_or(&home.0)).map_err(io("make the directory of all instances"))?;
    match std::fs::DirBuilder::new().mode(0o700).create(&home.0) {
        // Only an instance that ended and is started again has a directory already.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && spec.instance.restarts > 0 => {
            reopen(home).map_err(io("begin its journal anew"))?;
        }
        made => made.map_err(io("make its directory"))?,
    }
    make_dir(&home.root()).map_err(io("make its working directory"))?;
    files::lay(blobs, &home.root(), &manifest.files)?;
    let ports = pick_all(&manifest.ports, &spec.instance.id, taken)?;
    let command = match manifest.builtin.as_str() {
        "" => manifest.run.iter().map(|word| substitute(word, &ports)).collect::<Result<_, _>>()?,
        "demo" => vec![exe.to_string_lossy().into_owned(), "demo".into()],
        other => return Err(format!("this crux has no builtin `{other}`")),
    };
    let mut hooks = BTreeMap::new();
    let wanted = manifest.hooks.clone().unwrap_or_default();
    for (word, hook) in [(Word::Parted, wanted.parted), (Word::Rejoined, wanted.rejoined)] {
        let hook: Vec<String> = hook.iter().map(|word| substitute(word, &ports)).collect::<Result<_, _>>()?;
        hooks.insert(word.as_str().to_owned(), hook);
    }
    hooks.retain(|_, hook| !hook.is_empty());
    let intent = Intent {
        id: spec.instance.id.to_string(),
        horde: spec.instance.of.horde.to_string(),
        service: spec.instance.of.service.to_string(),
        slot: spec.instance.slot,
        revision: spec.instance.revision.to_string(),
        restarts: spec.instance.restarts,
        env: environment(&manifest, spec, &ports, home)?,
        ports: ports.clone(),
        command,
        hooks,
    };
    home.append(&Entry::Intent(intent)).map_err(io("write its start down"))?;
    Ok(ports)
}

fn environment(
    manifest: &Manifest,
    spec: &StartSpec,
    ports: &BTreeMap<String, u16>,
    home: &Home,
) -> Result<BTreeMap<String, String>, String> {
    let mut env = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
    for (name, value) in &manifest.env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(format!("`{}` cannot be the name of an environment variable", name.escape_debug()));
        }
        env.insert(name.clone(), substitute(value, ports)?);
    }
    for (name, port) in ports {
        env.insert(format!("CRUX_PORT_{}", name.to_ascii_uppercase().replace(['-', '.'], "_")), port.to_string());
    }
    // By these two the instance's processes are known when nothing else tells them apart.
    env.insert("CRUX_DIR".into(), home.root().to_string_lossy().into_owned());
    env.extend(spec.env.clone());
    env.insert("CRUX_INSTANCE".into(), spec.instance.id.to_string());
    env.insert("CRUX_SOCKET".into(), sockets::named(home));
    Ok(env)
}

/// Puts ports in the place of `${port.NAME}`. Everything else stays as it is.
fn substitute(text: &str, ports: &BTreeMap<String, u16>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${port.") {
        let (before, from) = rest.split_at(at);
        let name = &from["${port.".len()..];
        let end = name.find('}').ok_or_else(|| format!("`{text}`: `${{port.` without its `}}`"))?;
        let port = ports.get(&name[..end]).ok_or_else(|| format!("`{text}`: no port is named `{}`", &name[..end]))?;
        out.push_str(before);
        out.push_str(&port.to_string());
        rest = &name[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn pick_all(wanted: &BTreeMap<String, u32>, id: &InstanceId, taken: &Ports) -> Result<BTreeMap<String, u16>, String> {
    let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
    let mut ports = BTreeMap::new();
    for (name, port) in wanted {
        let port = match u16::try_from(*port) {
            Ok(0) => {
                // Another start for every instance and name: two fulcrums of one machine hardly meet.
                let start = stable64(&[&id.to_string(), name]);
                let span = u64::from(PICKED.end - PICKED.start);
                (0..span)
                    .map(|n| PICKED.start + u16::try_from((start.wrapping_add(n)) % span).unwrap_or(0))
                    .find(|port| !taken.contains_key(port) && TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok())
                    .ok_or_else(|| {
                        format!("no port is free for `{name}` between {} and {}", PICKED.start, PICKED.end - 1)
                    })?
            }
            Ok(fixed) => fixed,
            Err(_) => return Err(format!("port `{name}` is {port}, but ports end at 65535")),
        };
        if wanted[name] == 0 {
            taken.insert(port, id.clone());
        }
        ports.insert(name.clone(), port);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_substituted_and_nothing_else() {
        let ports = BTreeMap::from([("http".to_owned(), 8080_u16)]);
        assert_eq!(substitute("--at=[::]:${port.http}/${HOME}", &ports).unwrap(), "--at=[::]:8080/${HOME}");
        assert!(substitute("${port.grpc}", &ports).unwrap_err().contains("grpc"));
        assert!(substitute("${port.http", &ports).is_err());
    }

    #[test]
    fn picked_ports_are_free_and_given_once() {
        let id: InstanceId = "n1:1:1".parse().unwrap();
        let taken = Ports::default();
        let wanted = BTreeMap::from([("a".to_owned(), 0), ("b".to_owned(), 0), ("c".to_owned(), 443)]);
        let first = pick_all(&wanted, &id, &taken).unwrap();
        let second = pick_all(&wanted, &id, &taken).unwrap();
        let all: std::collections::BTreeSet<u16> = ["a", "b"].iter().flat_map(|n| [first[*n], second[*n]]).collect();
        assert_eq!(all.len(), 4);
        assert!(all.iter().all(|port| PICKED.contains(port)));
        assert_eq!(first["c"], 443);
        assert!(pick_all(&BTreeMap::from([("d".to_owned(), 65_536)]), &id, &taken).is_err());
    }
}
