//! `hooks` of a service: what is run for an instance when its horde is parted or has rejoined.

use super::read::{Allowed, ManifestError, Section};
use super::service::check_ports_used;
use crux_core::facts::value::{File, HOOK_TIMEOUT_MAX_MS, Hooks};
use std::collections::BTreeMap;
use std::time::Duration;

const HOOKS: Allowed = Allowed { keys: &["parted", "rejoined", "timeout"], not_yet: &[] };

pub(super) fn read(
    service: &Section<'_>,
    ports: &BTreeMap<String, u32>,
    files: &[File],
) -> Result<Option<Hooks>, ManifestError> {
    let Some(section) = service.section("hooks")? else { return Ok(None) };
    section.allow(&HOOKS)?;
    let command = |key: &str| {
        let Some(words) = section.strings(key, false)? else { return Ok(Vec::new()) };
        if words.first().is_none_or(String::is_empty) {
            return Err(section.wrong(key, "it names no command"));
        }
        if let Some(problem) = words.first().and_then(|program| missing(program, files)) {
            return Err(section.wrong(key, problem));
        }
        for word in &words {
            check_ports_used(word, ports).map_err(|problem| section.wrong(key, problem))?;
        }
        Ok(words)
    };
    let mut hooks = Hooks { parted: command("parted")?, rejoined: command("rejoined")?, timeout_ms: 0 };
    if hooks.parted.is_empty() && hooks.rejoined.is_empty() {
        let problem = "name at least one of parted = [\"COMMAND\"] and rejoined = [\"COMMAND\"]";
        return Err(section.wrong("", problem));
    }
    if let Some(timeout) = section.duration("timeout")? {
        if timeout.is_zero() || timeout > Duration::from_millis(HOOK_TIMEOUT_MAX_MS) {
            return Err(section.wrong("timeout", "expected more than 0 and at most 1h"));
        }
        hooks.timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(HOOK_TIMEOUT_MAX_MS);
    }
    Ok(Some(hooks))
}

/// Why this program cannot be run in an instance's directory, if it is one of the service's own files: a path that does not
/// begin at the root. A bare word is looked for along PATH there, and what begins at the root is each machine's affair.
fn missing(program: &str, files: &[File]) -> Option<String> {
    if !program.contains('/') || program.starts_with('/') || program.contains("${") {
        return None;
    }
    let path = program.trim_start_matches("./");
    match files.iter().find(|file| file.path == path) {
        None => Some(format!(
            "{program:?} is no file of this service: `files` gives it none of that name; what it makes itself is run as \
             [\"sh\", \"-c\", {program:?}]"
        )),
        Some(file) if !file.executable => Some(format!(
            "{program:?} may not be run: chmod +x, or give its interpreter first, as in [\"sh\", {program:?}]"
        )),
        Some(_) => None,
    }
}
