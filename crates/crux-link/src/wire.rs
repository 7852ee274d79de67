//! Hello, welcome, refusal: the few bytes that decide whether a link counts.
//!
//! On the first bidirectional stream: the dialler sends [`Hello`]; the acceptor answers [`Answer`]; the dialler ends its
//! side empty to say *ready*, or sends an [`Answer`] with its own refusal. Each message has a length of two bytes first.

use crux_names::{Boot, FulcrumId, FulcrumName, Member, NodeName};
use prost::Message;
use quinn::{Connection, ConnectionError, ReadExactError, RecvStream, SendStream, VarInt, WriteError};
use thiserror::Error;

/// The version of hello, welcome and framing. Others are refused with a reason.
pub(crate) const PROTOCOL: u32 = 1;
/// Longest message of the welcome.
pub(crate) const MESSAGE_MAX: usize = 4_096;
/// Longest reason that is passed on, in characters.
const REASON_MAX: usize = 400;

/// Why a connection was closed, as QUIC's application code. The words beside it are for people.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Code {
    /// The owner closed the link, or is shutting down.
    Closed = 1,
    /// Refused at the welcome.
    Refused = 2,
    /// There is another link between the two.
    Duplicate = 3,
    /// The other side broke the protocol or a limit.
    Protocol = 4,
    /// Its certificate has ended.
    Expired = 5,
    /// It takes our frames too slowly, or does not go on with its own.
    Slow = 6,
    /// No root that is trusted now vouches for it.
    Untrusted = 7,
    /// The keys are too old and were not replaced.
    Stale = 8,
    /// A later connection carries the link.
    Renewed = 9,
}

impl Code {
    /// What cutting a link for this reason is counted as.
    pub(crate) fn cut(self) -> Option<&'static str> {
        match self {
            Self::Closed | Self::Refused | Self::Duplicate | Self::Renewed => None,
            Self::Protocol => Some("protocol"),
            Self::Expired => Some("expired"),
            Self::Slow => Some("slow"),
            Self::Untrusted => Some("untrusted"),
            Self::Stale => Some("stale_keys"),
        }
    }
}

impl From<Code> for VarInt {
    fn from(code: Code) -> Self {
        Self::from_u32(code as u32)
    }
}

/// Who is speaking. Also the acceptor's welcome.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Hello {
    #[prost(uint32, tag = "1")]
    pub(crate) version: u32,
    #[prost(string, tag = "2")]
    pub(crate) fulcrum: String,
    #[prost(uint64, tag = "3")]
    pub(crate) boot: u64,
    #[prost(uint32, tag = "4")]
    pub(crate) mesh_port: u32,
    #[prost(uint32, tag = "5")]
    pub(crate) api_port: u32,
    /// In a welcome: the acceptor has a link to the dialler that is up.
    #[prost(bool, tag = "6")]
    pub(crate) linked: bool,
    /// In a dialler's hello: what it names the link, or the link that it goes on with.
    #[prost(fixed64, tag = "7")]
    pub(crate) link: u64,
    /// In a dialler's hello: this connection takes over a link that there is.
    #[prost(bool, tag = "8")]
    pub(crate) renews: bool,
    /// Drawn by each process at its start: of two with one identity and one boot number, as when images of a machine start
    /// in the same second, each must know that the other is not itself.
    #[prost(fixed64, tag = "9")]
    pub(crate) life: u64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Answer {
    #[prost(message, optional, tag = "1")]
    pub(crate) welcome: Option<Hello>,
    #[prost(message, optional, tag = "2")]
    pub(crate) refusal: Option<Refuse>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Refuse {
    #[prost(string, tag = "1")]
    pub(crate) reason: String,
    /// The boot that we know; 0 if that is not the reason.
    #[prost(uint64, tag = "2")]
    pub(crate) floor: u64,
    /// It has dialled itself.
    #[prost(bool, tag = "3")]
    pub(crate) myself: bool,
    /// There is no link here that could be renewed.
    #[prost(bool, tag = "4")]
    pub(crate) gone: bool,
    /// Both have one identity. Believed of that identity's own certificate only.
    #[prost(bool, tag = "5")]
    pub(crate) twin: bool,
}

/// A welcome that could not be carried through.
#[derive(Debug, Error)]
pub(crate) enum WireError {
    #[error("the connection ended: {0}")]
    Lost(#[from] ConnectionError),
    #[error("{0}")]
    Broken(String),
}

impl From<WriteError> for WireError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ConnectionLost(lost) => Self::Lost(lost),
            other => Self::Broken(other.to_string()),
        }
    }
}

impl From<ReadExactError> for WireError {
    fn from(error: ReadExactError) -> Self {
        match error {
            ReadExactError::ReadError(quinn::ReadError::ConnectionLost(lost)) => Self::Lost(lost),
            other => Self::Broken(other.to_string()),
        }
    }
}

pub(crate) async fn write(stream: &mut SendStream, message: &impl Message) -> Result<(), WireError> {
    let body = message.encode_to_vec();
    let length = u16::try_from(body.len()).ok().filter(|length| usize::from(*length) <= MESSAGE_MAX);
    let length = length.ok_or_else(|| WireError::Broken("own message too long".to_owned()))?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&body).await?;
    Ok(())
}

/// The next message; `None` at the clean end of the stream.
pub(crate) async fn read<M: Message + Default>(stream: &mut RecvStream) -> Result<Option<M>, WireError> {
    let mut length = [0; 2];
    match stream.read_exact(&mut length).await {
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        other => other?,
    }
    let mut body = vec![0; length_of(length).map_err(WireError::Broken)?];
    stream.read_exact(&mut body).await?;
    message(&body).map(Some).map_err(WireError::Broken)
}

/// The length of a message that begins so; an error in words for a longer one than there may be.
pub(crate) fn length_of(first: [u8; 2]) -> Result<usize, String> {
    let length = usize::from(u16::from_be_bytes(first));
    if length > MESSAGE_MAX { Err(format!("a message of {length} bytes in the welcome")) } else { Ok(length) }
}

/// A message from its bytes.
pub(crate) fn message<M: Message + Default>(body: &[u8]) -> Result<M, String> {
    M::decode(body).map_err(|e| format!("a malformed message in the welcome: {e}"))
}

impl Hello {
    /// The member that says so, being this node by its certificate.
    pub(crate) fn member(&self, node: &NodeName) -> Result<Member, String> {
        if self.version != PROTOCOL {
            let version = self.version;
            return Err(format!("mesh protocol {version} meets {PROTOCOL}; upgrade the older of both crux programs"));
        }
        let fulcrum = FulcrumName::parse(&self.fulcrum).map_err(|e| e.to_string())?;
        if self.mesh_port().is_none() || u16::try_from(self.api_port).is_err() {
            return Err("a hello with impossible ports; upgrade the older of both crux programs".to_owned());
        }
        Ok(Member { id: FulcrumId { node: node.clone(), fulcrum }, boot: Boot(self.boot) })
    }

    /// The port that it listens on.
    pub(crate) fn mesh_port(&self) -> Option<u16> {
        u16::try_from(self.mesh_port).ok().filter(|port| *port != 0)
    }
}

/// Words from a peer, fit for a log: bounded, control characters escaped.
pub(crate) fn foreign(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut clean = String::new();
    for c in text.chars().take(REASON_MAX) {
        if c.is_control() { clean.extend(c.escape_default()) } else { clean.push(c) }
    }
    clean
}

/// The text of a TLS failure, without what rustls puts before our own words.
pub(crate) fn tls_words(text: &str) -> &str {
    text.strip_prefix("unexpected error: ").unwrap_or(text)
}

/// Why a connection ended, in words.
pub(crate) fn words(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) => format!("closed by the peer: {}", foreign(&close.reason)),
        ConnectionError::ConnectionClosed(close) => {
            format!("closed by the peer: {}", tls_words(&foreign(&close.reason)))
        }
        ConnectionError::TransportError(error) => tls_words(&foreign(error.reason.as_bytes())).to_owned(),
        ConnectionError::Reset => "the peer no longer knows the link; it has restarted".to_owned(),
        ConnectionError::TimedOut => "nothing heard for too long".to_owned(),
        ConnectionError::LocallyClosed => "closed here".to_owned(),
        other => other.to_string(),
    }
}

/// Closes with a code and words, cut to what fits into the packet.
pub(crate) fn close(connection: &Connection, code: Code, why: &str) {
    let end = (0..=why.len().min(600)).rev().find(|end| why.is_char_boundary(*end)).unwrap_or(0);
    connection.close(code.into(), &why.as_bytes()[..end]);
}
