//! Which right each route needs: the one table by which the API port judges whoever asks, and by which a fulcrum builds
//! its router. A route is a line of [`Route`], so there is none without a right; a path that is not here does not exist.
//!
//! | right | who has it |
//! |---|---|
//! | [`Right::Read`] | every operator; whoever may open the local socket |
//! | [`Right::Verb`] | operators whose scopes name that verb, and those without scopes; whoever may open the local socket |
//! | [`Right::AnyHorde`] | operators with that verb in any horde, and those without scopes; the local socket |
//! | [`Right::Files`] | operators who may apply in any horde or restore, and those without scopes; the local socket |
//! | [`Right::Named`] | operators as for [`Right::AnyHorde`], in the horde that they name; the local socket says nobody's name and has it not |
//! | [`Right::Signed`] | whoever brings facts whose *author* may write them: each is judged by its own signature |
//!
//! An instance has a socket of its own, at which it may ask for [`INSTANCE`] and for nothing else. What it adds there is its
//! own service's.
//!
//! Nodes, beacons, workloads and strangers have none: the API port tells nodes so, and does not let in the others.

use crate::routes;
use crux_core::facts::scope::{Need, Reach, Scopes, Verb};

/// What somebody needs to ask for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To be an operator.
    Read,
    /// A verb that concerns a node or the bloc.
    Verb(Verb),
    /// A verb in any horde.
    AnyHorde(Verb),
    /// A verb in the horde that the request names, by certificate.
    Named(Verb),
    /// To apply in any horde, or to restore: both bring the files that services need.
    Files,
    /// Whatever the facts need, of those who signed them.
    Signed,
}

impl Right {
    /// Of what scopes must permit one, if anything beyond being an operator; first what people are told of.
    #[must_use]
    pub fn needs(self) -> Vec<Need> {
        let somewhere = |verb| Need { verb, reach: Reach::AnyHorde };
        match self {
            Self::Read | Self::Signed => Vec::new(),
            Self::Verb(verb) => vec![Need::bloc(verb)],
            Self::AnyHorde(verb) | Self::Named(verb) => vec![somewhere(verb)],
            Self::Files => vec![somewhere(Verb::Apply), Need::bloc(Verb::Restore)],
        }
    }

    /// Whether an operator with these scopes has it.
    #[must_use]
    pub fn held_by(self, scopes: &Scopes) -> bool {
        let needs = self.needs();
        needs.is_empty() || needs.iter().any(|need| scopes.permit(need))
    }
}

macro_rules! table {
    ($(#[doc = $doc:literal] $name:ident: $method:literal $path:expr, $right:expr;)*) => {
        /// Everything that can be asked over HTTP with JSON.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Route {
            $(#[doc = $doc] $name,)*
        }

        impl Route {
            /// Each of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// `GET`, `POST` or `PUT`.
            #[must_use]
            pub const fn method(self) -> &'static str {
                match self {
                    $(Self::$name => $method,)*
                }
            }

            /// What it is for, in a line.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self {
                    $(Self::$name => ($doc).trim_ascii(),)*
                }
            }

            /// Its path; what stands in braces is one segment of the caller's choice.
            #[must_use]
            pub const fn path(self) -> &'static str {
                match self {
                    $(Self::$name => $path,)*
                }
            }

            /// What it needs.
            #[must_use]
            pub const fn right(self) -> Right {
                match self {
                    $(Self::$name => $right,)*
                }
            }
        }
    };
}

table! {
    /// What a program asks for names.
    Confab: "GET" routes::CONFAB, Right::Read;
    /// Everything that this fulcrum knows.
    Status: "GET" routes::STATUS, Right::Read;
    /// Services and instances.
    Ps: "GET" routes::PS, Right::Read;
    /// Fulcrums.
    Nodes: "GET" routes::NODES, Right::Read;
    /// Hordes.
    Hordes: "GET" routes::HORDES, Right::Read;
    /// Who may call whom.
    Rules: "GET" routes::RULES, Right::Read;
    /// What the access service and the yurt know.
    Services: "GET" routes::SERVICES, Right::Read;
    /// Who reaches whom.
    Links: "GET" routes::LINKS, Right::Read;
    /// Flocks of the bloc.
    Flocks: "GET" routes::FLOCKS, Right::Read;
    /// What is wrong.
    Doctor: "GET" routes::DOCTOR, Right::Read;
    /// What happened.
    Events: "GET" routes::EVENTS, Right::Read;
    /// Why something is as it is.
    Why: "GET" routes::WHY, Right::Read;
    /// Facts, as they are stored.
    Facts: "GET" routes::FACTS, Right::Read;
    /// Write facts.
    Write: "POST" routes::FACTS, Right::Signed;
    /// The bloc at a glance.
    Bloc: "GET" routes::BLOC, Right::Read;
    /// All facts, as they are held.
    BlocFacts: "GET" routes::BLOC_FACTS, Right::Read;
    /// Bring back what a backup held: each version has its author's signature, and whoever brings them back may do that.
    BlocRestore: "POST" routes::BLOC_RESTORE, Right::Verb(Verb::Restore);
    /// Files by content.
    Files: "GET" routes::FILES, Right::Read;
    /// Store a file.
    StoreFile: "PUT" routes::FILES, Right::Files;
    /// Fetch a file.
    FetchFile: "GET" routes::FILE, Right::Read;
    /// What instances wrote.
    Logs: "GET" routes::LOGS, Right::Read;
    /// What operators did here.
    Audit: "GET" routes::AUDIT, Right::Read;
    /// Stop this fulcrum.
    Down: "POST" routes::DOWN, Right::Verb(Verb::Down);
    /// Forget a fulcrum's addresses.
    Forget: "POST" routes::NODE_FORGET, Right::Verb(Verb::Forget);
    /// Faults, in a dev cluster.
    Lab: "POST" routes::LAB, Right::Verb(Verb::Lab);
    /// What can be asked here, described.
    OpenApi: "GET" routes::OPENAPI, Right::Read;
}

/// The methods of gRPC, by their paths. They are asked by `POST`.
pub const GRPC: &[(&str, Right)] = &[
    ("/crux.v1.Access/Add", Right::Named(Verb::Access)),
    ("/crux.v1.Access/List", Right::Read),
    ("/crux.v1.Confab/Get", Right::Read),
    ("/crux.v1.Confab/Watch", Right::Read),
    ("/crux.v1.Events/Watch", Right::Read),
    ("/grpc.health.v1.Health/Check", Right::Read),
    ("/grpc.health.v1.Health/Watch", Right::Read),
    ("/crux.v1.Yurt/Who", Right::Read),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Right::Read),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Right::Read),
];

/// The methods that an instance may ask for on its own socket.
pub const INSTANCE: &[&str] = &[
    "/crux.v1.Access/Add",
    "/crux.v1.Access/List",
    "/crux.v1.Confab/Get",
    "/crux.v1.Confab/Watch",
    "/crux.v1.Events/Watch",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
];

impl Route {
    /// What whoever can reach the page's port may ask there, without a certificate: reads that show neither logs nor facts.
    pub const PAGE: &'static [Self] = &[Self::Confab, Self::Status, Self::OpenApi];

    /// The route of a request. `HEAD` is `GET` without a body.
    #[must_use]
    pub fn find(method: &str, path: &str) -> Option<Self> {
        let method = if method == "HEAD" { "GET" } else { method };
        Self::ALL.iter().copied().find(|route| route.method() == method && is_at(route.path(), path))
    }
}

/// Whether a path is one of this pattern.
fn is_at(pattern: &str, path: &str) -> bool {
    match pattern.split_once('{') {
        Some((before, _)) => path.strip_prefix(before).is_some_and(|rest| !rest.is_empty() && !rest.contains('/')),
        None => path == pattern,
    }
}

/// What a request needs, over JSON or gRPC; `None` if there is no such thing to ask.
#[must_use]
pub fn right_of(method: &str, path: &str) -> Option<Right> {
    let grpc = || GRPC.iter().find(|(known, _)| method == "POST" && *known == path).map(|(_, right)| *right);
    Route::find(method, path).map(Route::right).or_else(grpc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_found_and_nothing_else_is() {
        for route in Route::ALL {
            let path = route.path().replace("{sha256}", "00ff");
            assert_eq!(Route::find(route.method(), &path), Some(*route));
            assert_eq!(right_of(route.method(), &path), Some(route.right()));
            assert_eq!(right_of("DELETE", &path), None);
        }
        assert_eq!(Route::find("HEAD", routes::STATUS), Some(Route::Status));
        for (path, right) in GRPC {
            assert_eq!(right_of("POST", path), Some(*right));
            assert_eq!(right_of("GET", path), None);
        }
        assert!(INSTANCE.iter().all(|path| right_of("POST", path).is_some()));
        for path in ["", "/", "/v1/files/", "/v1/files/a/b", "/v1/status/", "/v1//status", "/v1/%73tatus", "/v2/status"]
        {
            assert_eq!(right_of("GET", path), None, "{path}");
        }
    }

    #[test]
    fn the_page_s_port_gives_names_and_status_and_nothing_else() {
        let paths: Vec<&str> = Route::PAGE.iter().map(|route| route.path()).collect();
        assert_eq!(paths, [routes::CONFAB, routes::STATUS, routes::OPENAPI]);
        assert!(Route::PAGE.iter().all(|route| route.method() == "GET" && route.right() == Right::Read));
    }

    #[test]
    fn whatever_is_not_a_read_needs_a_verb_or_a_signature() {
        for route in Route::ALL {
            assert_eq!(route.right() == Right::Read, route.method() == "GET", "{route:?}");
        }
        let scopes =
            |text: &str| crux_core::facts::scope::Scope::parse_all(text).unwrap().into_iter().collect::<Scopes>();
        assert!(Right::Read.held_by(&scopes("expel")) && Right::Signed.held_by(&scopes("expel")));
        assert!(
            Route::StoreFile.right().held_by(&scopes("@web"))
                && Route::StoreFile.right().held_by(&scopes("restore"))
                && !Route::StoreFile.right().held_by(&scopes("horde@web"))
        );
        assert!(Route::Down.right().held_by(&scopes("down")) && !Route::Down.right().held_by(&scopes("@web")));
        assert!(Route::ALL.iter().all(|route| route.right().held_by(&Scopes::default())));
    }
}
