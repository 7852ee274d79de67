//! Whom the page's port answers. A browser on this machine runs what other sites send it, and lets it ask this port: by
//! the port's own address (then it says so in `Origin` or `Sec-Fetch-Site`), or by a name of the other site that was made
//! to lead here (then that name stands in `Host`). Neither is answered. Who may reach the port by its right name is a
//! program of this machine.

use crate::api::answer::Refusal;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use crux_api::json::Code;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What stands in every answer: nothing of it may be run, framed, guessed at, kept or read by another site.
const STRICT: [(HeaderName, &str); 8] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// Adds the headers.
pub(super) async fn strict(mut response: Response) -> Response {
    for (name, value) in STRICT {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What to answer where there is nothing.
pub(super) async fn nothing_here(request: Request) -> Response {
    let cause = format!("there is no {} {} at the page's port", request.method(), request.uri().path());
    let next =
        "see / for what is here; the rest is at the local socket and at the API port: crux --at SOCKET|HOST:PORT";
    Refusal::new(Code::NotFound, cause, next).into_response()
}

/// Address and port of a `Host`; `None` unless it is an address, or `localhost`, which is one.
fn parse_host(host: &str) -> Option<(IpAddr, u16)> {
    let (addr, rest) = match host.strip_prefix('[') {
        Some(v6) => {
            let (inside, rest) = v6.split_once(']')?;
            (IpAddr::from(inside.parse::<Ipv6Addr>().ok()?), rest)
        }
        None => {
            let (name, rest) = host.split_at(host.find(':').unwrap_or(host.len()));
            let addr = match name.eq_ignore_ascii_case("localhost") {
                true => Ipv4Addr::LOCALHOST,
                false => name.parse().ok()?,
            };
            (addr.into(), rest)
        }
    };
    let digits = match rest {
        // What HTTP means without a number.
        "" => "80",
        rest => rest.strip_prefix(':')?,
    };
    let port = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
    Some((addr, port))
}

/// Whether `HOST:PORT` names this port by an address of this machine that leads nowhere else. Public for the fuzz targets.
pub(crate) fn is_here(host: &str, port: u16) -> bool {
    parse_host(host).is_some_and(|(addr, at)| at == port && addr.to_canonical().is_loopback())
}

/// The one value of a header; an error if it is there more than once, or is no text.
fn one(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, ()> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match (first, values.next()) {
        (None, _) => Ok(None),
        (Some(one), None) => one.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

/// Why a request is not answered.
fn refused(request: &Request, port: u16) -> Option<Refusal> {
    let refuse = |cause: String, next: &str| Some(Refusal::new(Code::Refused, cause, next));
    let headers = request.headers();
    let Ok(Some(host)) = one(headers, header::HOST) else {
        let cause = "the request has no Host, or several";
        return Some(Refusal::new(Code::BadRequest, cause, format!("send one: Host: 127.0.0.1:{port}")));
    };
    // A request in the form for proxies names its host twice.
    let twice = request.uri().authority().is_some_and(|authority| !is_here(authority.as_str(), port));
    if twice || !is_here(host, port) {
        let cause =
            format!("the page's port answers to localhost:{port} and 127.0.0.1:{port} only, and was asked as {host:?}");
        return refuse(cause, "use that name; through a tunnel, with the same port number at both ends");
    }
    let origin = one(headers, header::ORIGIN);
    if !matches!(origin, Ok(None)) && origin != Ok(Some(&format!("http://{host}"))) {
        let from = origin.ok().flatten().unwrap_or("several at once");
        let cause = format!("the page's port does not answer other sites, and this comes from {}", from.escape_debug());
        return refuse(cause, "ask without a browser, or through a program of your own");
    }
    let fetch = |name: &'static str| one(headers, HeaderName::from_static(name)).ok().flatten();
    let site = fetch("sec-fetch-site");
    // Who follows a link to here sees it in a window of its own, which the other site cannot read.
    let visited = fetch("sec-fetch-mode") == Some("navigate") && fetch("sec-fetch-dest") == Some("document");
    if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) && !visited {
        return refuse(
            "the page's port does not answer other sites, and a browser says that one asks".to_owned(),
            "open the address by itself",
        );
    }
    if !hyper::body::Body::is_end_stream(request.body()) {
        let cause = "the page's port takes nothing, and this request has a body";
        return Some(Refusal::new(Code::BadRequest, cause, "send it without one"));
    }
    None
}

/// Lets through what only reads, by the port's own name, from this machine and not from another site.
pub(super) async fn guard(State(port): State<u16>, request: Request, next: Next) -> Response {
    let mut response = match refused(&request, port) {
        Some(refusal) => refusal.into_response(),
        None if matches!(*request.method(), Method::GET | Method::HEAD) => return next.run(request).await,
        None => {
            let cause = format!("the page's port changes nothing: there is no {} here", request.method());
            let next =
                "what changes something is asked at the local socket or at the API port, by crux or a client of it";
            let mut response = Refusal::new(Code::Refused, cause, next).into_response();
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        }
    };
    // Nothing more of this connection is read: a body that nobody wants need not be sent.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    #[test]
    fn only_names_of_this_machine_with_this_port_are_this_port() {
        for good in [
            "localhost:2780",
            "LocalHost:2780",
            "127.0.0.1:2780",
            "127.1.2.3:2780",
            "[::1]:2780",
            "[::ffff:127.0.0.1]:2780",
        ] {
            assert!(is_here(good, 2780), "{good}");
        }
        for bad in [
            "",
            ":2780",
            "localhost",
            "127.0.0.1",
            "localhost:2781",
            "localhost:+2780",
            "localhost:02780x",
            "localhost:2780:2780",
            "localhost:",
            "localhost.:2780",
            "localhost.evil.example:2780",
            "evil.localhost:2780",
            "127.0.0.1.nip.example:2780",
            "a@127.0.0.1:2780",
            "0.0.0.0:2780",
            "10.0.0.1:2780",
            "2130706433:2780",
            "0x7f.1:2780",
            "[::]:2780",
            "[::1:2780",
            "[::1]2780",
            "::1:2780",
            "[fe80::1]:2780",
            "[::1%lo]:2780",
            "127.0.0.1:2780 ",
            "127.0.0.1:2780,evil.example",
        ] {
            assert!(!is_here(bad, 2780), "{bad}");
        }
        assert!(is_here("localhost", 80) && is_here("[::1]", 80));
    }

    fn answer(lines: &[(&str, &str)]) -> Option<Code> {
        let request = lines
            .iter()
            .fold(Request::builder().uri("/v1/confab"), |request, (name, value)| request.header(*name, *value));
        refused(&request.body(Body::empty()).unwrap(), 2780).map(|refusal| refusal.0.code)
    }

    #[test]
    fn other_sites_are_refused_however_they_ask() {
        let here = ("host", "127.0.0.1:2780");
        assert_eq!(answer(&[here]), None);
        assert_eq!(answer(&[]), Some(Code::BadRequest));
        assert_eq!(answer(&[here, ("host", "evil.example")]), Some(Code::BadRequest), "two of them");
        assert_eq!(answer(&[("host", "evil.example:2780")]), Some(Code::Refused), "a name that was made to lead here");
        assert_eq!(answer(&[here, ("origin", "http://127.0.0.1:2780")]), None, "the page itself");
        for origin in [
            "http://evil.example",
            "http://evil.example:2780",
            "null",
            "",
            "https://127.0.0.1:2780",
            "http://127.0.0.1",
            "http://127.0.0.1:2781",
            "http://localhost:2780",
            "http://127.0.0.1:2780/",
            "http://127.0.0.1:2780 http://evil.example",
        ] {
            assert_eq!(answer(&[here, ("origin", origin)]), Some(Code::Refused), "{origin:?}");
        }
        let twice = [here, ("origin", "http://127.0.0.1:2780"), ("origin", "http://evil.example")];
        assert_eq!(answer(&twice), Some(Code::Refused));
        // Of an image or a script of another site the browser says no Origin.
        for site in ["cross-site", "same-site"] {
            assert_eq!(answer(&[here, ("sec-fetch-site", site), ("sec-fetch-mode", "no-cors")]), Some(Code::Refused));
            let frame = [("sec-fetch-site", site), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
            assert_eq!(answer(&[&[here], &frame[..]].concat()), Some(Code::Refused));
            let link = [("sec-fetch-site", site), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
            assert_eq!(answer(&[&[here], &link[..]].concat()), None, "a link that somebody follows");
        }
        for site in ["same-origin", "none"] {
            assert_eq!(answer(&[here, ("sec-fetch-site", site), ("sec-fetch-mode", "cors")]), None);
        }
    }

    #[test]
    fn a_request_as_for_a_proxy_must_name_this_port_both_times() {
        let asked = |uri: &str| {
            let request = Request::builder().uri(uri).header("host", "127.0.0.1:2780").body(Body::empty()).unwrap();
            refused(&request, 2780).is_none()
        };
        assert!(asked("http://127.0.0.1:2780/v1/confab") && !asked("http://evil.example/v1/confab"));
    }
}
