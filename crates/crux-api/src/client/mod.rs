//! The client of a fulcrum, for commands and for programs: HTTP/1.1 with JSON, one connection per request.
//!
//! A program asks who is here, and is told when that changes:
//!
//! ```no_run
//! # async fn program() -> Result<(), crux_api::json::ErrorDoc> {
//! use crux_api::client::Client;
//!
//! let client = Client::at_page("127.0.0.1:2780");
//! let now = client.confab().await?;
//! println!("{} of bloc {}; {} leads {}", now.node, now.bloc, now.leader, now.flock);
//!
//! let mut views = client.follow_confab();
//! loop {
//!     match views.next().await {
//!         Ok(now) => println!("{} leads {}", now.leader, now.members.join(", ")),
//!         // Said once; the next call goes on trying.
//!         Err(lost) => eprintln!("{lost}"),
//!     }
//! }
//! # }
//! ```
//!
//! | a fulcrum is reached by | for whom | what it answers |
//! |---|---|---|
//! | [`Client::at_page`] | any program of the same machine | confab and status |
//! | [`Client::new`], its local socket | the user that started it, and root | everything |
//! | `Client::at_port`, with the feature `tls` | operators, by their bundle | everything |
//! | [`Client::over`] | whatever [`Connect`] opens | |
//!
//! Every failure is an [`ErrorDoc`]: the fulcrum's own, or one that says that nobody answered.

mod follow;
mod stream;
#[cfg(feature = "tls")]
pub mod tls;
mod way;

pub use follow::Follow;
pub use stream::Watch;
#[doc(hidden)]
pub use stream::fuzz_events;
pub use way::{Connect, Connecting, Connection};

use crate::backup::{frame_head, read_frame};
use crate::json::{BlocFacts, Code, Confab, Doc, Done, ErrorDoc, FileStored, Kind, Status};
use crate::routes;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use way::{Page, Socket};

/// The longest JSON answer that is taken: a status of a thousand nodes is below a tenth of it.
const ANSWER_MAX: usize = 64 * 1024 * 1024;
/// The longest single document of a stream.
const EVENT_MAX: usize = 16 * 1024 * 1024;
/// How much of a file goes into one frame.
const CHUNK: usize = 64 * 1024;

/// How long a fulcrum may take to begin its answer where nothing else is said. A doctor that asks everybody needs seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many bytes a fulcrum reads and hashes, or fetches, in a second at least: a slow disk on a slow machine.
const CHECKED_A_SECOND: u64 = 8 << 20;

/// Asks one fulcrum.
#[derive(Clone, Debug)]
pub struct Client {
    way: Arc<dyn Connect>,
    local: bool,
    /// How long each answer may take to begin, if that was said.
    patience: Option<Duration>,
}

impl Client {
    /// A client of the fulcrum behind this socket. Nothing is opened yet.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { way: Arc::new(Socket(socket.into())), local: true, patience: None }
    }

    /// A client of the fulcrum whose page's port this is: `127.0.0.1:2780`, or `http://127.0.0.1:2780`. No certificate is
    /// needed there, and only [`confab`](Self::confab) and [`status`](Self::status) are answered, once or followed.
    /// Nothing is opened yet.
    #[must_use]
    pub fn at_page(addr: &str) -> Self {
        let addr = addr.strip_prefix("http://").unwrap_or(addr).trim_end_matches('/');
        Self { way: Arc::new(Page(addr.to_owned())), local: false, patience: None }
    }

    /// A client of the fulcrum that this leads to. Nothing is opened yet.
    #[must_use]
    pub fn over(way: Arc<dyn Connect>) -> Self {
        Self { way, local: false, patience: None }
    }

    /// The same, with so much time for each answer to begin.
    #[must_use]
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }

    /// Who is here, as the fulcrum has it now: bloc, flock, leader, members, and who holds which role.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn confab(&self) -> Result<Confab, ErrorDoc> {
        self.get(routes::CONFAB).await
    }

    /// Follows who is here, through every end of the line and of the fulcrum.
    #[must_use]
    pub fn follow_confab(&self) -> Follow<Confab> {
        self.follow(routes::CONFAB)
    }

    /// Everything that the fulcrum knows.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn status(&self) -> Result<Status, ErrorDoc> {
        self.get(routes::STATUS).await
    }

    /// Follows a state: a path of [`routes`] that takes `watch` and answers with one document of how things are. (What
    /// *happens* has cursors: see [`Client::watch`].)
    #[must_use]
    pub fn follow<T: Kind + DeserializeOwned + Clone + PartialEq>(&self, path: &str) -> Follow<T> {
        Follow::new(self.clone(), path)
    }

    /// Reads a document.
    ///
    /// # Errors
    /// The fulcrum's error, [`Code::Unreachable`], or [`Code::Failed`] for an answer that makes no sense.
    pub async fn get<T: Kind + DeserializeOwned>(&self, path: &str) -> Result<T, ErrorDoc> {
        let response = self.send(Method::GET, path, None, empty()).await?;
        self.document(response).await
    }

    /// Sends a request that changes something.
    ///
    /// # Errors
    /// As [`Client::get`]; when the fulcrum answers with an error, nothing was changed.
    pub async fn post<B: Serialize + Sync, T: Kind + DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ErrorDoc> {
        let json = serde_json::to_vec(body).map_err(|e| self.nonsense(&e.to_string()))?;
        let body = Full::new(Bytes::from(json)).map_err(|never| match never {}).boxed();
        let response = self.send(Method::POST, path, Some("application/json"), body).await?;
        self.document(response).await
    }

    /// Tells the fulcrum to leave its flock and end; with `services`, to stop what runs there first. It answers when that is
    /// done, so this waits for as long as it may take.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn down(&self, services: bool) -> Result<Done, ErrorDoc> {
        let patience = self.patience.unwrap_or(PATIENCE + routes::LEAVING);
        self.clone().patient(patience).post(routes::DOWN, &routes::DownRequest { services, leave: false }).await
    }

    /// Tells the fulcrum to stop what runs there, to be of no horde any more, to leave its flock and end.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn leave(&self) -> Result<Done, ErrorDoc> {
        let patience = self.patience.unwrap_or(PATIENCE + routes::LEAVING);
        let request = routes::DownRequest { services: true, leave: true };
        self.clone().patient(patience).post(routes::DOWN, &request).await
    }

    /// Stores a file in the fulcrum's store, read piece by piece.
    ///
    /// # Errors
    /// As [`Client::get`], and [`Code::Failed`] if the file cannot be read. The caller compares the hash.
    pub async fn put_file(&self, file: &Path) -> Result<FileStored, ErrorDoc> {
        let unreadable = |e: io::Error| {
            let next = "check the path and that you may read it";
            ErrorDoc::new(Code::Failed, format!("cannot read {}: {e}", file.display()), next)
        };
        let open = File::open(file).map_err(unreadable)?;
        let left = open.metadata().map_err(unreadable)?.len();
        self.put_from(Arc::new(Mutex::new(open)), left).await
    }

    /// Stores a file of which so many bytes are read from here.
    ///
    /// # Errors
    /// As [`Client::put_file`].
    pub async fn put_from(&self, content: Arc<Mutex<dyn Read + Send>>, size: u64) -> Result<FileStored, ErrorDoc> {
        let body = FileBody { content, left: size }.boxed();
        // Its answer begins when all of it has been read, however long that takes.
        let stream = self.way.connect().await.map_err(|e| self.unreachable(&e))?;
        let response = self.ask(stream, Method::PUT, routes::FILES, Some("application/octet-stream"), body).await?;
        self.document(response).await
    }

    /// Has the fulcrum look whether a file of this name and size is there and whole, and fetch it from others if not. Its
    /// size there, as far as the fulcrum says it.
    ///
    /// # Errors
    /// As [`Client::get`]; [`Code::NotFound`] if neither it nor another one has it.
    pub async fn check_file(&self, sha256: &str, size: u64) -> Result<Option<u64>, ErrorDoc> {
        let path = format!("{}/{sha256}", routes::FILES);
        // All of it is read before the answer begins.
        let patience = self.patience.unwrap_or_else(|| PATIENCE + Duration::from_secs(size / CHECKED_A_SECOND));
        let response = self.clone().patient(patience).send(Method::HEAD, &path, None, empty()).await?;
        let response = self.good(response).await?;
        let length = response.headers().get("content-length").and_then(|length| length.to_str().ok());
        Ok(length.and_then(|length| length.parse().ok()))
    }

    /// Reads a file by its content's name, in hex. The caller compares the hash.
    ///
    /// # Errors
    /// As [`Client::get`], and [`Code::Failed`] if `to` cannot be written.
    pub async fn fetch_file(&self, sha256: &str, to: &mut (impl Write + Send)) -> Result<u64, ErrorDoc> {
        let path = format!("{}/{sha256}", routes::FILES);
        let response = self.send(Method::GET, &path, None, empty()).await?;
        let mut body = self.good(response).await?.into_body();
        let mut size = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| self.broken(&e))?;
            if let Some(data) = frame.data_ref() {
                size += data.len() as u64;
                to.write_all(data).map_err(|e| {
                    ErrorDoc::new(Code::Failed, format!("cannot write what was fetched: {e}"), "check the disk")
                })?;
            }
        }
        Ok(size)
    }

    /// All facts as the fulcrum holds them: what it says of them, and each sealed version.
    ///
    /// # Errors
    /// As [`Client::get`], and if not all of it comes.
    pub async fn bloc_facts(&self) -> Result<(BlocFacts, Vec<Bytes>), ErrorDoc> {
        let response = self.send(Method::GET, routes::BLOC_FACTS, None, empty()).await?;
        let mut body = self.good(response).await?.into_body();
        let (mut buffer, mut parts) = (Vec::new(), Vec::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| self.broken(&e))?;
            buffer.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            let mut taken = 0;
            while let Some(part) = first_part(&buffer[taken..]).map_err(|e| self.nonsense(&e.to_string()))? {
                taken += frame_head(&part).len() + part.len();
                parts.push(part);
            }
            buffer.drain(..taken);
        }
        let cut = || self.nonsense("not all of the facts came");
        let versions = parts.split_off(parts.len().min(1));
        let about = serde_json::from_slice::<Doc<BlocFacts>>(parts.first().ok_or_else(cut)?);
        let about = about.map_err(|e| self.nonsense(&e.to_string()))?.0;
        if !buffer.is_empty() || versions.len() != about.versions as usize { Err(cut()) } else { Ok((about, versions)) }
    }

    /// Follows a stream of documents until it ends; [`Client::follow`] goes on after that.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn watch<T: Kind + DeserializeOwned>(&self, path: &str) -> Result<Watch<T>, ErrorDoc> {
        let response = self.send(Method::GET, path, None, empty()).await?;
        let body = self.good(response).await?.into_body();
        Ok(Watch::new(self.clone(), body))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: BoxBody<Bytes, io::Error>,
    ) -> Result<Response<Incoming>, ErrorDoc> {
        let patience = self.patience.unwrap_or(PATIENCE);
        // Of one time for both: whoever is let in late has less of it left to be answered.
        let until = tokio::time::Instant::now() + patience;
        let connected = tokio::time::timeout_at(until, self.way.connect()).await;
        let stream = connected.map_err(|_| self.deaf(patience))?.map_err(|e| self.unreachable(&e))?;
        let asked = tokio::time::timeout_at(until, self.ask(stream, method, path, content_type, body)).await;
        asked.unwrap_or_else(|_| Err(self.mute(patience)))
    }

    async fn ask(
        &self,
        stream: Box<dyn Connection>,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: BoxBody<Bytes, io::Error>,
    ) -> Result<Response<Incoming>, ErrorDoc> {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.broken(&e))?;
        // Ends with the answer's last byte or with the sender, whichever is later; its error reaches the body.
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", self.way.host());
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let request = request.body(body).map_err(|e| self.nonsense(&e.to_string()))?;
        sender.send_request(request).await.map_err(|e| self.broken(&e))
    }

    async fn document<T: Kind + DeserializeOwned>(&self, response: Response<Incoming>) -> Result<T, ErrorDoc> {
        let body = self.good(response).await?.into_body();
        let bytes = self.collect(body).await?;
        serde_json::from_slice::<Doc<T>>(&bytes).map(|doc| doc.0).map_err(|e| self.nonsense(&e.to_string()))
    }

    /// The response if it is no error.
    async fn good(&self, response: Response<Incoming>) -> Result<Response<Incoming>, ErrorDoc> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = self.collect(response.into_body()).await?;
        Err(serde_json::from_slice::<Doc<ErrorDoc>>(&bytes).map_or_else(|_| self.bare(status), |doc| doc.0))
    }

    async fn collect(&self, body: Incoming) -> Result<Bytes, ErrorDoc> {
        let limited = http_body_util::Limited::new(body, ANSWER_MAX);
        limited.collect().await.map(http_body_util::Collected::to_bytes).map_err(|e| self.broken(&*e))
    }

    fn unreachable(&self, e: &io::Error) -> ErrorDoc {
        if e.kind() == io::ErrorKind::InvalidData {
            return self.refused(&e.to_string());
        }
        if self.local && e.kind() == io::ErrorKind::PermissionDenied {
            let cause = format!("{} may not be opened by this user: {e}", self.way.place());
            let next = "run as the user that started crux, or name another socket with --at";
            return ErrorDoc::new(Code::Refused, cause, next);
        }
        if let Some(what) = self.way.waits() {
            let cause =
                format!("the fulcrum of {} runs and waits, so it does not answer yet: {what}", self.way.place());
            let next = "compare this machine's clock (timedatectl) with the certificate's (crux ca inspect BUNDLE); it goes on by \
                        itself, without a restart";
            return ErrorDoc::new(Code::Unreachable, cause, next);
        }
        ErrorDoc::new(Code::Unreachable, format!("no fulcrum answers on {}: {e}", self.way.place()), self.way.next())
    }

    /// Nobody is there, or nothing gets through.
    fn deaf(&self, patience: Duration) -> ErrorDoc {
        let cause = format!("{} did not let this command in within {patience:?}", self.way.place());
        ErrorDoc::new(Code::Unreachable, cause, self.way.next())
    }

    /// Somebody is there and says nothing.
    fn mute(&self, patience: Duration) -> ErrorDoc {
        let cause = format!("{} lets this command in, but nothing is said within {patience:?}", self.way.place());
        let next = "see whether that process is stopped or overloaded (ps, top); --timeout gives it more time";
        ErrorDoc::new(Code::Unreachable, cause, next)
    }

    /// A line on which even the signs of life have ended.
    fn silent(&self, silence: Duration) -> ErrorDoc {
        let cause = format!("{} has said nothing for {} s", self.way.place(), silence.as_secs());
        ErrorDoc::new(Code::Unreachable, cause, "see whether that machine and its network are well")
    }

    /// The fulcrum ended a stream.
    fn ended(&self) -> ErrorDoc {
        let cause = format!("{} ended the stream: its fulcrum goes down", self.way.place());
        ErrorDoc::new(Code::Unreachable, cause, "crux status tells whether it still runs")
    }

    /// One of the two does not take the other's certificate.
    fn refused(&self, why: &str) -> ErrorDoc {
        let cause = format!("{} and this command do not trust each other: {why}", self.way.place());
        let next = "name an operator's bundle of that bloc with --as, and look at it with `crux ca inspect BUNDLE`";
        ErrorDoc::new(Code::Refused, cause, next)
    }

    fn broken(&self, e: &(dyn std::error::Error + 'static)) -> ErrorDoc {
        // The other side judges our certificate when our half of the handshake is over: its word is an alert.
        let mut cause = Some(e);
        while let Some(error) = cause {
            if error.to_string().contains("fatal alert") {
                return self.refused(&error.to_string());
            }
            cause = error.source();
        }
        let cause = format!("the connection to {} broke off: {e}", self.way.place());
        ErrorDoc::new(Code::Unreachable, cause, "see with `crux status` whether the fulcrum runs, then try again")
    }

    fn nonsense(&self, what: &str) -> ErrorDoc {
        let cause = format!("{} answered with something that crux does not understand: {what}", self.way.place());
        ErrorDoc::new(Code::Failed, cause, "compare `crux version` of the command and of the fulcrum")
    }

    /// An error of a server that sent no document with it.
    fn bare(&self, status: StatusCode) -> ErrorDoc {
        let code = match status {
            StatusCode::NOT_FOUND => Code::NotFound,
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Code::Refused,
            StatusCode::SERVICE_UNAVAILABLE => Code::Unreachable,
            status if status.is_client_error() => Code::BadRequest,
            _ => Code::Failed,
        };
        let cause = format!("{} answered {status} without saying why", self.way.place());
        ErrorDoc::new(code, cause, "compare `crux version` of the command and of the fulcrum")
    }
}

/// The first part of a stream of facts, once all of it has come.
fn first_part(buffer: &[u8]) -> io::Result<Option<Bytes>> {
    let mut rest = buffer;
    match read_frame(&mut rest, EVENT_MAX) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        part => part,
    }
}

fn empty() -> BoxBody<Bytes, io::Error> {
    Full::new(Bytes::new()).map_err(|never| match never {}).boxed()
}

/// Text as a part of a query, percent-encoded.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// A file as a request's body. It is read while it is sent, on this thread: the command has nothing else to do.
struct FileBody {
    content: Arc<Mutex<dyn Read + Send>>,
    left: u64,
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut chunk = vec![0; CHUNK.min(usize::try_from(self.left).unwrap_or(CHUNK))];
        let read = self.content.lock().unwrap_or_else(PoisonError::into_inner).read(&mut chunk);
        Poll::Ready(Some(match read {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was sent")),
            Ok(read) => {
                chunk.truncate(read);
                self.left -= read as u64;
                Ok(Frame::data(chunk.into()))
            }
            Err(e) => Err(e),
        }))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded() {
        assert_eq!(encode("node n1/b&x=ä"), "node%20n1%2Fb%26x%3D%C3%A4");
    }

    #[test]
    fn a_socket_that_may_not_be_opened_is_not_taken_for_one_without_a_fulcrum() {
        let client = Client::new("/run/crux/crux.sock");
        let exit = |kind: io::ErrorKind| client.unreachable(&kind.into()).code.exit();
        assert_eq!((exit(io::ErrorKind::PermissionDenied), exit(io::ErrorKind::NotFound)), (4, 5));
    }

    /// Answers each request after so long.
    #[derive(Debug)]
    struct Slow(Duration);

    impl Connect for Slow {
        fn place(&self) -> String {
            "slow".to_owned()
        }

        fn connect(&self) -> Connecting<'_> {
            let (near, mut far) = tokio::io::duplex(4096);
            let after = self.0;
            tokio::spawn(async move {
                use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
                let mut request = [0; 4096];
                let _ = far.read(&mut request).await;
                tokio::time::sleep(after).await; // waits: it is the slowness, in paused time
                let body = serde_json::to_string(&Doc(Done { text: "gone".to_owned() })).unwrap();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                let _ = far.write_all(answer.as_bytes()).await;
                let _ = far.read(&mut request).await;
            });
            Box::pin(async move { Ok(Box::new(near) as Box<dyn Connection>) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn leaving_is_waited_for_as_long_as_it_may_take() {
        let client = Client::over(Arc::new(Slow(routes::LEAVING)));
        assert_eq!(client.down(true).await.unwrap().text, "gone");
        // Whoever said how long it waits waits no longer, and nothing else takes so long.
        let limited = client.clone().patient(Duration::from_secs(5));
        assert_eq!(limited.down(true).await.unwrap_err().code, Code::Unreachable);
        assert_eq!(client.get::<Done>(routes::CONFAB).await.unwrap_err().code, Code::Unreachable);
    }

    /// Nobody answers there, as where packets vanish.
    #[derive(Debug)]
    struct Nowhere;

    impl Connect for Nowhere {
        fn place(&self) -> String {
            "nowhere".to_owned()
        }

        fn connect(&self) -> Connecting<'_> {
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whom_nobody_lets_in_is_not_told_that_somebody_does() {
        let client = Client::over(Arc::new(Nowhere)).patient(Duration::from_secs(2));
        let error = client.get::<Confab>(routes::CONFAB).await.unwrap_err();
        assert_eq!(error.code, Code::Unreachable);
        assert!(error.cause.contains("nowhere did not let this command in within 2s"), "{}", error.cause);
    }

    #[tokio::test]
    async fn who_lets_one_in_and_says_nothing_is_not_waited_for_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("stopped.sock");
        let _held = tokio::net::UnixListener::bind(&socket).unwrap();
        let client = Client::new(&socket).patient(Duration::from_millis(50));
        let error = client.get::<Confab>(routes::CONFAB).await.unwrap_err();
        assert_eq!(error.code, Code::Unreachable);
        assert!(error.cause.contains("nothing is said within 50ms"), "{}", error.cause);
    }
}
