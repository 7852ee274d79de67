//! A bundle whose certificate begins in the future, by the clock of this machine: more often than not the clock is wrong,
//! and is set a moment later by NTP. To end would make a service manager start crux again and again.

use super::UpError;
use super::stops::Stops;
use crate::notify::Notifier;
use crux_api::waiting::Waiting;
use crux_pki::{Bundle, PkiError, Refusal, Role, unix_now};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// How often the clock and the bundle are looked at again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often it is said again what is waited for.
const SAY: Duration = Duration::from_secs(60);

/// The bundle there, as soon as it is good by this machine's clock; nothing if somebody wants the process to end first.
/// Meanwhile whoever asks at a socket in one of `dirs` is told what is waited for.
///
/// # Errors
/// If it cannot be read, or waiting does not help.
pub(super) async fn good(path: &Path, dirs: &[PathBuf], stops: &mut Stops) -> Result<Option<Bundle>, UpError> {
    let unusable = |source| UpError::Identity { path: path.to_owned(), source };
    let notifier = Notifier::from_env();
    let mut said: Option<Instant> = None;
    let mut told: Vec<Waiting> = Vec::new();
    loop {
        let bundle = Bundle::load(path).map_err(unusable)?;
        let refusal = match bundle.check(unix_now()) {
            // That it is no node's is told before its clock is waited for.
            _ if !matches!(bundle.identity().role, Role::Node(_)) => return Ok(Some(bundle)),
            Ok(()) => {
                if said.is_some() {
                    info!("the clock is right now, as far as the certificate tells: going on");
                }
                return Ok(Some(bundle));
            }
            Err(refusal) if refusal.passes_by_itself() => refusal,
            Err(refusal) => return Err(unusable(PkiError::Refused { path: path.join("cert.pem"), refusal })),
        };
        if said.is_none_or(|said| said.elapsed() >= SAY) {
            let words = words(&refusal);
            match told.is_empty() {
                true => told.extend(dirs.iter().filter_map(|dir| Waiting::say(dir, &words))),
                false => told.iter_mut().for_each(|waiting| waiting.again(&words)),
            }
            warn!("{words}; waiting, and going on without a restart when that has passed");
            notifier.waiting(&words, SAY * 2);
            said = Some(Instant::now());
        }
        tokio::select! {
            () = stops.asked() => return Ok(None),
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

fn words(refusal: &Refusal) -> String {
    match refusal {
        Refusal::ClockWrong { .. } => refusal.to_string(),
        other => format!("clock wrong, or a certificate made ahead of time: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_passes_by_itself_is_called_a_wrong_clock_first() {
        let one = [
            Refusal::ClockWrong { than: "the certificate begins", behind: 100_000 },
            Refusal::NotYetValid { from: 1_800_000_000, ahead: 60 },
            Refusal::IssuerNotYetValid,
        ];
        for refusal in one {
            assert!(refusal.passes_by_itself());
            assert!(words(&refusal).starts_with("clock wrong") && words(&refusal).contains("clock"), "{refusal}");
        }
    }
}
