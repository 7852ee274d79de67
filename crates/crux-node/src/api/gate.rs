//! Who asks, and whether they may: judged before a request's body is read, for every route alike, by the table of
//! [`crux_api::rights`]. Who comes through a door that does not say who it lets in is refused. Whatever is more than a
//! read, and whatever is refused, is in the audit log.

use super::answer::Refusal;
use super::show::moment;
use crate::audit::Audit;
use crate::papers::Papers;
use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Extensions, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::serve::IncomingStream;
use crux_api::json::{AuditEntry, AuditOutcome, Code, Counter, ErrorDoc};
use crux_api::rights::{INSTANCE, Right, right_of};
use crux_core::facts;
use crux_core::facts::scope::{Need, Verb};
use crux_core::facts::version::{Author, Statement};
use crux_core::services::instance::{InstanceId, ServiceRef};
use crux_names::{FulcrumId, OperatorName};
use crux_pki::{Admitted, Role, RoleKind, unix_now};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;

/// How long a body other than a file's may take; every such body is bounded in bytes by its route.
const BODY: Duration = Duration::from_secs(30);

/// Who asks over the port, by certificate.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    admitted: Arc<Admitted>,
    papers: Papers,
    from: SocketAddr,
}

impl Caller {
    /// Whose certificate this is, and from where it came.
    pub(crate) fn of(admitted: Admitted, papers: Papers, from: SocketAddr) -> Self {
        Self { admitted: Arc::new(admitted), papers, from }
    }

    /// Role and name: `operator/ann`.
    pub(crate) fn name(&self) -> String {
        self.admitted.identity().role.to_string()
    }

    /// The operator, if it is one.
    pub(crate) fn operator(&self) -> Option<&OperatorName> {
        match &self.admitted.identity().role {
            Role::Operator(name) => Some(name),
            _ => None,
        }
    }

    /// Why it may not do this, unless it may. For what only the body of a request tells.
    pub(crate) fn lacks(&self, need: &Need) -> Option<String> {
        let scopes = self.admitted.scopes();
        let name = self.name();
        (!scopes.permit(need))
            .then(|| format!("the certificate of {name} is limited to {scopes}, and this needs {need}"))
    }

    /// When its certificate ends, if it is an operator.
    pub(crate) fn operators_end(&self) -> Option<u64> {
        (self.admitted.identity().role.kind() == RoleKind::Operator).then(|| self.admitted.not_after())
    }

    /// Why it may not ask for this, unless it may.
    fn refused(&self, right: Right) -> Option<Refusal> {
        let name = self.name();
        // A request may come between the end of the certificate and the end of the connection.
        if unix_now() > self.admitted.not_after() {
            let cause = format!("the certificate of {name} has ended");
            return Some(Refusal::new(Code::Refused, cause, "crux ca issue --ca DIR --operator NAME"));
        }
        if self.operators_end().is_none() {
            let cause = format!(
                "this is the certificate of {name}; the API port answers operators, and nodes only keep idle connections here"
            );
            let next = "use an operator's bundle: --as BUNDLE, or crux ca issue --operator";
            return Some(Refusal::new(Code::Refused, cause, next));
        }
        if right.held_by(self.admitted.scopes()) {
            return None;
        }
        let cause = self.lacks(right.needs().first()?)?;
        let next = "crux ca inspect BUNDLE shows its scopes; --as BUNDLE names another operator";
        Some(Refusal::new(Code::Refused, cause, next))
    }

    /// Waits until it is not admitted any more.
    pub(crate) async fn refuses(&self) -> crux_pki::Refusal {
        self.papers.refuses(&self.admitted).await
    }
}

/// Who asks over the local socket: whoever may open it. It could as well stop the process and read its files, so it needs
/// no certificate for that; what operators want is signed all the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Local {
    /// Its user, where the system says so.
    uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Local {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: stream.io().peer_cred().ok().map(|peer| peer.uid()) }
    }
}

/// Who asks on an instance's own socket. That is whoever can open it: the instance, and with it every process of the user
/// as whom crux and all its instances run. The system tells these users apart and not their processes, so an instance that
/// means harm can ask at the socket of another one; what may be asked for there is no more than such a process could have
/// by other means, for it can stop and trace the others.
#[derive(Clone, Debug)]
pub(crate) struct OfInstance {
    /// The instance.
    pub(crate) id: InstanceId,
    /// Of which service it is.
    pub(crate) of: ServiceRef,
    /// Held while an entry of it is added and remembered: one at a time.
    pub(crate) adding: Arc<tokio::sync::Mutex<()>>,
}

/// Who asks.
#[derive(Clone)]
enum Who {
    Port(Caller),
    Socket(Local),
    Instance(OfInstance),
}

impl Who {
    fn of(extensions: &Extensions) -> Option<Self> {
        // Which socket it is says who asks, as far as anything does: see `OfInstance`.
        let instance = extensions.get::<OfInstance>().cloned().map(Self::Instance);
        let port = instance.or_else(|| extensions.get::<Caller>().cloned().map(Self::Port));
        port.or_else(|| extensions.get::<ConnectInfo<Local>>().map(|ConnectInfo(local)| Self::Socket(*local)))
    }

    /// Why it may not ask for what is at this path and needs this right, unless it may.
    fn refused(&self, right: Right, path: &str) -> Option<Refusal> {
        match self {
            Self::Port(caller) => caller.refused(right),
            Self::Socket(_) => matches!(right, Right::Named(_)).then(|| {
                let cause = "the local socket does not say which operator asks, and this is done in an operator's name";
                Refusal::new(
                    Code::Refused,
                    cause,
                    "ask the API port with an operator's bundle, or an instance's own socket",
                )
            }),
            Self::Instance(OfInstance { id, .. }) => (!INSTANCE.contains(&path)).then(|| {
                let cause = format!("this is the socket of instance {id}, which may not ask for {path}");
                Refusal::new(
                    Code::Refused,
                    cause,
                    "ask for the confab, the access service and the events here, and crux.sock for the rest",
                )
            }),
        }
    }
}

/// What is asked, as it is written down.
struct Asked {
    who: Who,
    verb: &'static str,
    path: String,
}

impl Asked {
    fn of(who: Who, right: Option<Right>, request: &Request) -> Self {
        let verb = match right {
            Some(Right::Verb(verb) | Right::AnyHorde(verb) | Right::Named(verb)) => verb.as_str(),
            Some(Right::Files) => Verb::Apply.as_str(),
            Some(Right::Signed) => "write",
            Some(Right::Read) | None => "read",
        };
        Self { who, verb, path: request.uri().path().to_owned() }
    }
}

/// Most targets that one entry of the audit log lists.
const TARGETS: usize = 16;
/// Longest text of a caller's own in an entry, in characters.
const TEXT_MAX: usize = 1024;

/// What only the handler knows of a request, for the audit log. It goes out with the response, as far as the gate.
#[derive(Clone, Debug, Default)]
pub(super) struct Noted {
    authors: BTreeSet<String>,
    /// All of what they are said to have signed was found good.
    proven: bool,
    verbs: BTreeSet<String>,
    targets: Vec<String>,
    facts: Vec<String>,
    more: u32,
    /// A heartbeat: it goes on with what is written down already.
    beat: bool,
}

impl Noted {
    /// Nothing that is written down, as long as it succeeds.
    pub(super) fn beat(&mut self) {
        self.beat = true;
    }

    /// Something that it is done to.
    pub(super) fn target(&mut self, target: impl Into<String>) {
        if self.targets.len() == TARGETS {
            self.more += 1;
        } else {
            self.targets.push(target.into());
        }
    }

    /// A fact that somebody wants written.
    pub(super) fn statement(&mut self, statement: &Statement) {
        let path = facts::path::Path::parse(&statement.path);
        let verb = path.ok().map(|path| Need::of(&path, statement.value.as_deref()).verb);
        self.verbs.extend(verb.map(|verb| verb.as_str().to_owned()));
        self.authors.insert(match &statement.author {
            Author::Operator(name) => format!("operator/{name}"),
            Author::Fulcrum(id) => format!("node/{id}"),
        });
        self.target(statement.path.clone());
    }

    /// Every signature is good: the authors are who they are said to be.
    pub(super) fn proven(&mut self) {
        self.proven = true;
    }

    /// The facts that are written now.
    pub(super) fn written(&mut self, ids: &[String]) {
        self.facts = ids.iter().take(TARGETS).cloned().collect();
    }

    /// Sends it out with a response.
    pub(super) fn on(self, mut response: Response) -> Response {
        response.extensions_mut().insert(self);
        response
    }
}

/// A text of somebody else's, so that it can be looked at: short, and nothing in it moves a cursor.
fn shown(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(TEXT_MAX) {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// The audit log of this door.
#[derive(Clone)]
struct Book {
    audit: Audit,
    door: Arc<str>,
}

impl Book {
    fn write(&self, asked: &Asked, noted: Noted, outcome: AuditOutcome, error: Option<&ErrorDoc>) {
        let (by, uid, from) = match &asked.who {
            Who::Port(caller) => (caller.name(), None, Some(caller.from.to_string())),
            Who::Socket(local) => ("socket".to_owned(), local.uid, None),
            Who::Instance(instance) => (format!("instance/{}", instance.id), None, None),
        };
        let Noted { authors, proven, verbs, mut targets, facts, more, beat: _ } = noted;
        if targets.is_empty() {
            targets.push(asked.path.clone());
        }
        self.audit.record(AuditEntry {
            cursor: Counter(0),
            at: moment(crate::wall()),
            door: self.door.to_string(),
            by,
            uid,
            from,
            claimed: !authors.is_empty() && !proven,
            // In one request facts of several may come: all of them are named.
            author: (!authors.is_empty()).then(|| authors.into_iter().collect::<Vec<_>>().join(", ")),
            verb: if verbs.is_empty() {
                asked.verb.to_owned()
            } else {
                verbs.into_iter().collect::<Vec<_>>().join(",")
            },
            targets: targets.iter().map(|target| shown(target)).collect(),
            facts,
            more,
            outcome,
            code: error.map(|error| error.code.as_str().to_owned()),
            reason: error.map(|error| shown(&error.cause)),
            unlisted: 0,
        });
    }

    /// Writes down what became of a request, by its response.
    fn answered(&self, asked: &Asked, mut response: Response) -> Response {
        let noted = response.extensions_mut().remove::<Noted>().unwrap_or_default();
        let said = response.extensions_mut().remove::<ErrorDoc>();
        let grpc = response.headers().get("grpc-status").and_then(|status| status.to_str().ok());
        let error = said.or_else(|| {
            let status = tonic::Status::from_header_map(response.headers())?;
            let code = match status.code() {
                tonic::Code::Ok => return None,
                tonic::Code::PermissionDenied => Code::Refused,
                _ => Code::Failed,
            };
            Some(ErrorDoc::new(code, status.message(), ""))
        });
        let outcome = match (response.status(), &error) {
            // Both by tonic's numbers: permission denied, and anything else that is not well.
            _ if grpc == Some("7") => AuditOutcome::Refused,
            _ if grpc.is_some_and(|status| status != "0") => AuditOutcome::Failed,
            (StatusCode::ACCEPTED, _) => AuditOutcome::Accepted,
            (status, _) if status.is_success() => AuditOutcome::Done,
            (_, Some(error)) if error.code.exit() == NOT_PERMITTED => AuditOutcome::Refused,
            _ => AuditOutcome::Failed,
        };
        if !(noted.beat && outcome == AuditOutcome::Done) {
            self.write(asked, noted, outcome, error.as_ref());
        }
        response
    }
}

/// The exit code of commands that are not permitted. Source: the design's `operator.md`.
const NOT_PERMITTED: u8 = 4;

/// The router behind the gate, and what goes through it in the audit log of this fulcrum.
pub(crate) fn guarded(router: Router, audit: &Audit, me: &FulcrumId) -> Router {
    let book = Book { audit: audit.clone(), door: me.to_string().into() };
    router.layer(from_fn_with_state(book, gate))
}

fn is_grpc(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/grpc"))
}

/// The refusal in the words of the protocol that asked.
fn said(refusal: Refusal, grpc: bool) -> Response {
    let text = || format!("{}; {}", refusal.0, refusal.0.next);
    match refusal.0.code {
        _ if !grpc => refusal.into_response(),
        Code::NotFound => tonic::Status::unimplemented(text()).into_http(),
        _ => tonic::Status::permission_denied(text()).into_http(),
    }
}

/// Why there is nothing to be asked so.
fn no_such_route(request: &Request) -> Refusal {
    let cause = format!("there is no {} {} here", request.method(), request.uri().path());
    Refusal::new(Code::NotFound, cause, "compare `crux version` on both sides")
}

async fn gate(State(book): State<Book>, request: Request, next: Next) -> Response {
    let grpc = is_grpc(&request);
    let Some(who) = Who::of(request.extensions()) else {
        let cause = "this door does not say who asks";
        return said(Refusal::new(Code::Refused, cause, "report this: it is a fault of crux"), grpc);
    };
    let right = right_of(request.method().as_str(), request.uri().path());
    let asked = Asked::of(who, right, &request);
    // Who may ask for nothing is not told what there is.
    if let Some(refusal) = asked.who.refused(right.unwrap_or(Right::Read), &asked.path) {
        book.write(&asked, Noted::default(), AuditOutcome::Refused, Some(&refusal.0));
        return said(refusal, grpc);
    }
    match right {
        None => said(no_such_route(&request), grpc),
        Some(Right::Read) => match whole(request, grpc).await {
            Ok(request) => next.run(request).await,
            Err(refusal) => said(refusal, grpc),
        },
        Some(right) => {
            // A task of its own: who hangs up does not leave something half done, nor done and not written down.
            let done = tokio::spawn(async move {
                let request = match whole(request, grpc).await {
                    Ok(request) => request,
                    Err(refusal) => return book.answered(&asked, said(refusal, grpc)),
                };
                if right == Right::Verb(Verb::Down) {
                    book.write(&asked, Noted::default(), AuditOutcome::Begun, None);
                }
                book.answered(&asked, next.run(request).await)
            });
            done.await.unwrap_or_else(|ended| match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Refusal::going_down().into_response(),
            })
        }
    }
}

/// The request with all of its body, which must come in time. A file is a stream and may take its time, as may a gRPC
/// call; the rest is a few kilobytes.
async fn whole(request: Request, grpc: bool) -> Result<Request, Refusal> {
    if grpc || request.method() == Method::PUT || hyper::body::Body::is_end_stream(request.body()) {
        return Ok(request);
    }
    let (head, body) = request.into_parts();
    match tokio::time::timeout(BODY, axum::body::to_bytes(body, super::BODY_MAX)).await {
        Ok(Ok(bytes)) => Ok(Request::from_parts(head, Body::from(bytes))),
        Ok(Err(error)) => {
            let next = "send a shorter request, and all of it";
            Err(Refusal::new(Code::BadRequest, format!("the request's body: {error}"), next))
        }
        Err(_) => {
            let cause = format!("the request's body did not arrive within {} s", BODY.as_secs());
            Err(Refusal::new(Code::BadRequest, cause, "send it faster"))
        }
    }
}
