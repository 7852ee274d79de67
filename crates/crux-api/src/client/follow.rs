//! Following a state for as long as a program lives.

use super::{Client, Watch};
use crate::json::{Code, ErrorDoc, Kind};
use serde::de::DeserializeOwned;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long after the first failure it is tried again, and how long at most between two tries.
const FIRST: Duration = Duration::from_millis(100);
const MOST: Duration = Duration::from_secs(5);
/// A fulcrum says something at least every fifteen seconds: a line that is silent for so long is broken.
const SILENCE: Duration = Duration::from_secs(45);

/// A state that is followed: [`next`](Self::next) tells each time that it reads differently. When the line or the fulcrum
/// ends, it is tried again, first after a tenth of a second and then ever more seldom, at least every five seconds.
pub struct Follow<T> {
    client: Client,
    path: String,
    watch: Option<Watch<T>>,
    last: Option<T>,
    /// What was told of the present outage.
    told: Option<Code>,
    pause: Duration,
    /// Not before then.
    again: Option<Instant>,
}

impl<T> std::fmt::Debug for Follow<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follow").field("client", &self.client).field("path", &self.path).finish_non_exhaustive()
    }
}

impl<T: Kind + DeserializeOwned + Clone + PartialEq> Follow<T> {
    pub(super) fn new(client: Client, path: &str) -> Self {
        let joint = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{joint}watch");
        Self { client, path, watch: None, last: None, told: None, pause: FIRST, again: None }
    }

    /// The state as soon as it reads differently than the last one that was told; at the first call, as it is. What came
    /// and went between two calls, or while nobody answered, is not told.
    ///
    /// It may be dropped while it waits, as in `select!`, and called again: nothing is lost by that.
    ///
    /// # Errors
    /// That the fulcrum does not answer is told once, and once more if it comes to be for another reason; it is no end:
    /// the next call tries again, for ever. The first state after it is told even if it is as before.
    pub async fn next(&mut self) -> Result<T, ErrorDoc> {
        loop {
            if let Some(again) = self.again {
                sleep_until(again).await;
                self.again = None;
            }
            let next = match &mut self.watch {
                Some(watch) => watch.next().await,
                None => match self.client.watch(&self.path).await {
                    Ok(watch) => {
                        self.watch = Some(watch.within(SILENCE));
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            let error = match next {
                Ok(Some(state)) => {
                    self.pause = FIRST;
                    if self.told.take().is_none() && self.last.as_ref() == Some(&state) {
                        continue;
                    }
                    self.last = Some(state.clone());
                    return Ok(state);
                }
                Ok(None) => self.client.ended(),
                Err(error) => error,
            };
            self.watch = None;
            self.again = Some(Instant::now() + scattered(self.pause));
            self.pause = (self.pause * 2).min(MOST);
            if self.told != Some(error.code) {
                self.told = Some(error.code);
                return Err(error);
            }
        }
    }
}

/// Between half of it and all of it: of many programs that lost one fulcrum not all come back in the same moment.
fn scattered(pause: Duration) -> Duration {
    let lot = RandomState::new().hash_one(0_u8) % 512;
    pause / 2 + pause * u32::try_from(lot).unwrap_or(0) / 1024
}

#[cfg(test)]
mod tests {
    use super::super::{Connect, Connecting, Connection};
    use super::*;
    use crate::json::{Confab, Doc};
    use crate::routes;
    use std::io;
    use std::sync::{Arc, Mutex};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn confab(leader: &str) -> Confab {
        let Doc(confab) =
            serde_json::from_str::<Doc<Confab>>(include_str!("../../schema/Confab.json")).expect("a sample");
        Confab { leader: leader.to_owned(), ..confab }
    }

    /// What one connection does.
    #[derive(Clone)]
    enum Line {
        /// Nobody is there.
        Nobody,
        /// It is refused, by an error.
        Refused,
        /// These leaders, one after the other, and then the end.
        Leaders(Vec<&'static str>),
        /// This leader, and then not even a sign of life.
        Silent(&'static str),
    }

    /// Connections in a row; then nobody.
    struct Script(Mutex<Vec<Line>>, Arc<Mutex<Vec<Instant>>>);

    impl std::fmt::Debug for Script {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Script")
        }
    }

    impl Connect for Script {
        fn place(&self) -> String {
            "script".to_owned()
        }

        fn connect(&self) -> Connecting<'_> {
            self.1.lock().unwrap().push(Instant::now());
            let mut lines = self.0.lock().unwrap();
            let line = if lines.is_empty() { Line::Nobody } else { lines.remove(0) };
            if matches!(line, Line::Nobody) {
                return Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) });
            }
            let (near, mut far) = tokio::io::duplex(64 * 1024);
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let read = far.read(&mut request).await.unwrap();
                assert!(request[..read].starts_with(b"GET /v1/confab?watch "));
                let event = |leader: &str| {
                    let text = serde_json::to_string(&Doc(confab(leader))).unwrap();
                    format!(": a sign of life\n\ndata: {text}\n\n")
                };
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
                match line {
                    Line::Nobody => {}
                    Line::Refused => {
                        let error = ErrorDoc::new(Code::Refused, "not you", "go");
                        let body = serde_json::to_string(&Doc(error)).unwrap();
                        let text = format!("HTTP/1.1 403 X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                        let _ = far.write_all(text.as_bytes()).await;
                        let _ = far.read(&mut request).await;
                    }
                    Line::Leaders(leaders) => {
                        let text: String = leaders.into_iter().map(event).collect();
                        let _ = far.write_all(format!("{head}{text}").as_bytes()).await;
                    }
                    Line::Silent(leader) => {
                        let _ = far.write_all(format!("{head}{}", event(leader)).as_bytes()).await;
                        let _ = far.read(&mut request).await;
                    }
                }
            });
            Box::pin(async move { Ok(Box::new(near) as Box<dyn Connection>) })
        }
    }

    fn follow(lines: &[Line]) -> (Follow<Confab>, Arc<Mutex<Vec<Instant>>>) {
        let tries = Arc::default();
        let script = Script(Mutex::new(lines.to_vec()), Arc::clone(&tries));
        (Client::over(Arc::new(script)).follow(routes::CONFAB), tries)
    }

    async fn told(follow: &mut Follow<Confab>) -> String {
        match follow.next().await {
            Ok(confab) => confab.leader,
            Err(error) => error.code.to_string(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_after_every_end_and_tells_what_is_new() {
        let lines = [
            Line::Leaders(vec!["n1", "n1", "n2"]),
            Line::Nobody,
            Line::Nobody,
            Line::Leaders(vec!["n2", "n3"]),
            Line::Refused,
            Line::Nobody,
            Line::Silent("n3"),
            Line::Leaders(vec!["n4"]),
        ];
        let (mut follow, _) = follow(&lines);
        let mut all = Vec::new();
        while all.last().is_none_or(|last| last != "n4") {
            all.push(told(&mut follow).await);
        }
        // The same twice is told once, an outage once, and after an outage what is, though it was so before.
        assert_eq!(all, ["n1", "n2", "E500", "n2", "n3", "E500", "E401", "E500", "n3", "E500", "n4"]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_away_for_long_is_tried_ever_more_seldom_and_never_given_up() {
        let (mut follow, tries) = follow(&[]);
        assert_eq!(told(&mut follow).await, "E500");
        let waits = tokio::time::timeout(Duration::from_secs(120), follow.next()).await; // judges: nothing new is told
        assert!(waits.is_err());
        let tries = tries.lock().unwrap().clone();
        let pauses: Vec<Duration> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses[0] >= FIRST / 2 && pauses[0] <= FIRST + Duration::from_millis(5), "{pauses:?}");
        for pause in &pauses[6..] {
            assert!(*pause >= MOST / 2 && *pause <= MOST + Duration::from_millis(5), "{pauses:?}");
        }
        assert!((24..60).contains(&pauses.len()), "{}", pauses.len());
    }
}
