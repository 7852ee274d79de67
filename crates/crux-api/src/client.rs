//! The client of a fulcrum: HTTP/1.1 with JSON, one connection per request, over its local socket or whatever else
//! [`Connect`] opens.
//!
//! Every failure is an [`ErrorDoc`]: the fulcrum's own, or one that says that nobody answered.

use crate::backup::{frame_head, read_frame};
use crate::json::{BlocFacts, Code, Doc, Done, ErrorDoc, FileStored, Kind};
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
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

/// The longest JSON answer that is taken: a status of a thousand nodes is below a tenth of it.
const ANSWER_MAX: usize = 64 * 1024 * 1024;
/// The longest single document of a stream.
const EVENT_MAX: usize = 16 * 1024 * 1024;
/// How much of a file goes into one frame.
const CHUNK: usize = 64 * 1024;

/// A connection to a fulcrum.
pub trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

/// A connection that is being opened.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Connection>>> + Send + 'a>>;

/// A way to a fulcrum: its local socket, or its API port with mutual TLS.
pub trait Connect: Send + Sync + std::fmt::Debug {
    /// Where it leads, for people.
    fn place(&self) -> String;

    /// Opens one connection. An error of the kind [`io::ErrorKind::InvalidData`] says that somebody answers there and one
    /// of the two refuses the other.
    fn connect(&self) -> Connecting<'_>;
}

#[derive(Debug)]
struct Socket(PathBuf);

impl Connect for Socket {
    fn place(&self) -> String {
        self.0.display().to_string()
    }

    fn connect(&self) -> Connecting<'_> {
        Box::pin(async {
            let stream: Box<dyn Connection> = Box::new(UnixStream::connect(&self.0).await?);
            Ok(stream)
        })
    }
}

/// How long a fulcrum may take to begin its answer where nothing else is said. A doctor that asks everybody needs seconds.
const PATIENCE: Duration = Duration::from_secs(30);

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
        let response = self.ask(Method::PUT, routes::FILES, Some("application/octet-stream"), body).await?;
        self.document(response).await
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

    /// Follows a stream of documents.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn watch<T: Kind + DeserializeOwned>(&self, path: &str) -> Result<Watch<T>, ErrorDoc> {
        let response = self.send(Method::GET, path, None, empty()).await?;
        let body = self.good(response).await?.into_body();
        Ok(Watch { client: self.clone(), body, events: Events::default(), of: PhantomData })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: BoxBody<Bytes, io::Error>,
    ) -> Result<Response<Incoming>, ErrorDoc> {
        let patience = self.patience.unwrap_or(PATIENCE);
        let asked = tokio::time::timeout(patience, self.ask(method, path, content_type, body)).await;
        asked.unwrap_or_else(|_| Err(self.mute(patience)))
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: BoxBody<Bytes, io::Error>,
    ) -> Result<Response<Incoming>, ErrorDoc> {
        let stream = self.way.connect().await.map_err(|e| self.unreachable(&e))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.broken(&e))?;
        // Ends with the answer's last byte or with the sender, whichever is later; its error reaches the body.
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", "crux");
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
        let next = if self.local {
            "start a fulcrum with `crux up` or `crux up --dev 3`, or name another socket with --at"
        } else {
            "check the address, and that a fulcrum listens there: --at HOST:PORT is its API port"
        };
        ErrorDoc::new(Code::Unreachable, format!("no fulcrum answers on {}: {e}", self.way.place()), next)
    }

    /// Somebody is there and says nothing.
    fn mute(&self, patience: Duration) -> ErrorDoc {
        let cause = format!("{} lets this command in, but nothing is said within {patience:?}", self.way.place());
        let next = "see whether that process is stopped or overloaded (ps, top); --timeout gives it more time";
        ErrorDoc::new(Code::Unreachable, cause, next)
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

/// A stream of documents.
pub struct Watch<T> {
    client: Client,
    body: Incoming,
    events: Events,
    of: PhantomData<fn() -> T>,
}

/// What has come of a stream of server-sent events and was not taken yet.
#[derive(Default)]
struct Events {
    buffer: Vec<u8>,
    scanned: usize,
}

impl<T: Kind + DeserializeOwned> Watch<T> {
    /// The next document; `None` when the fulcrum ended the stream.
    ///
    /// # Errors
    /// [`Code::Unreachable`] if the connection broke off, the fulcrum's error if it sent one, [`Code::Failed`] for an
    /// answer that makes no sense.
    pub async fn next(&mut self) -> Result<Option<T>, ErrorDoc> {
        loop {
            if let Some(data) = self.events.next().map_err(|e| self.client.nonsense(&e.to_string()))? {
                return match serde_json::from_str::<Doc<T>>(&data) {
                    Ok(doc) => Ok(Some(doc.0)),
                    Err(e) => Err(serde_json::from_str::<Doc<ErrorDoc>>(&data)
                        .map_or_else(|_| self.client.nonsense(&e.to_string()), |doc| doc.0)),
                };
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(e)) => return Err(self.client.broken(&e)),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.events.buffer.extend_from_slice(data);
                    }
                    if self.events.buffer.len() > EVENT_MAX {
                        return Err(self.client.nonsense("one event is longer than 16 MiB"));
                    }
                }
            }
        }
    }
}

impl Events {
    /// The data of the next complete event in the buffer; events without data (comments that keep the line open) are
    /// dropped.
    fn next(&mut self) -> Result<Option<String>, std::str::Utf8Error> {
        while let Some(end) = self.buffer[self.scanned..].windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = self.buffer.drain(..self.scanned + end + 2).collect();
            self.scanned = 0;
            if let Some(data) = sse_data(std::str::from_utf8(&event)?) {
                return Ok(Some(data));
            }
        }
        self.scanned = self.buffer.len().saturating_sub(1);
        Ok(None)
    }
}

/// For the fuzz targets: a stream in two pieces, cut at any place, says what it says in one.
///
/// # Panics
/// If it does not.
#[doc(hidden)]
pub fn fuzz_events(stream: &[u8]) {
    let said = |pieces: &[&[u8]]| {
        let (mut events, mut all) = (Events::default(), Vec::new());
        for piece in pieces {
            events.buffer.extend_from_slice(piece);
            loop {
                match events.next() {
                    Ok(Some(data)) => all.push(data),
                    Ok(None) => break,
                    Err(_) => return None,
                }
            }
        }
        Some(all)
    };
    let whole = said(&[stream]);
    let cut = stream.first().map_or(0, |first| usize::from(*first) % stream.len());
    assert_eq!(said(&[&stream[..cut], &stream[cut..]]), whole, "cut at {cut} it says something else");
}

/// The `data:` lines of one server-sent event.
fn sse_data(event: &str) -> Option<String> {
    let lines = event.lines().filter_map(|line| line.strip_prefix("data:"));
    let data: Vec<&str> = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    (!data.is_empty()).then(|| data.join("\n"))
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

    #[test]
    fn data_lines_of_an_event_are_joined_and_comments_dropped() {
        assert_eq!(sse_data("id: 3\ndata: {\"a\":\ndata: 1}\n\n").as_deref(), Some("{\"a\":\n1}"));
        assert_eq!(sse_data(": keep-alive\n\n"), None);
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

    #[tokio::test]
    async fn who_lets_one_in_and_says_nothing_is_not_waited_for_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("stopped.sock");
        let _held = tokio::net::UnixListener::bind(&socket).unwrap();
        let client = Client::new(&socket).patient(Duration::from_millis(50));
        let error = client.get::<crate::json::Confab>(routes::CONFAB).await.unwrap_err();
        assert_eq!(error.code, Code::Unreachable);
        assert!(error.cause.contains("nothing is said within 50ms"), "{}", error.cause);
    }
}
