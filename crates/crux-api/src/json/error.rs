//! Errors as documents, with codes that `crux explain` knows and exit codes that scripts know.

use super::Kind;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What went wrong: a code, one line of cause, and what to try next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ErrorDoc {
    /// Which kind of error.
    pub code: Code,
    /// What happened and where, in one line.
    pub cause: String,
    /// What to try next; a command where there is one.
    pub next: String,
}

impl Kind for ErrorDoc {
    const KIND: &'static str = "Error";
}

macro_rules! codes {
    ($(#[doc = $title:literal] $name:ident = $text:literal, $exit:literal, $status:literal, $explain:literal;)*) => {
        /// The kinds of errors. Their texts are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $title] $name,)*
        }

        impl Code {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its stable text: `E201`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The exit code of a command that ends with it.
            #[must_use]
            pub const fn exit(self) -> u8 {
                match self { $(Self::$name => $exit,)* }
            }

            /// The HTTP status of an answer that carries it.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// What it means in one sentence.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title.trim_ascii(),)* }
            }

            /// What it means and what usually helps: the text of `crux explain`.
            #[must_use]
            pub const fn explain(self) -> &'static str {
                match self { $(Self::$name => $explain,)* }
            }
        }
    };
}

codes! {
    /// Something failed that no other code names.
    Failed = "E100", 1, 500,
        "Something failed on this machine: a file could not be read or written, or an answer made no sense. The line of cause names the place.";
    /// A port that is needed is taken.
    PortBusy = "E101", 1, 500,
        "Another program listens on an address that crux needs. `ss -lntup` shows which one. Give another address with --listen or --api; port 0 picks a free one.";
    /// The bundle cannot be used.
    BadBundle = "E102", 1, 500,
        "A bundle is a directory with cert.pem, key.pem and trust.pem. It is missing, incomplete, ended, or its key does not belong to its certificate. `crux ca inspect DIR` shows what it holds; `crux ca issue` makes a new one.";
    /// The store refuses writes.
    StoreRefusing = "E103", 1, 507,
        "The fulcrum could not make a write durable: its disk is full, read-only or failing. Nothing acknowledged is lost, membership and reads go on, and writes work again when the disk does. `crux status` shows the store's reason.";
    /// A backup cannot be used.
    BadBackup = "E104", 1, 500,
        "The backup cannot be opened or is not one of this bloc: the passphrase or the key is another one, a bit of it was changed, its end is missing, a later version wrote it, or it is of another bloc. The cause says which. Nothing was changed.";
    /// The command line is wrong.
    Usage = "E200", 2, 400,
        "The command, a flag or an argument is not known, missing, or of the wrong form. `crux help COMMAND` shows the form.";
    /// The manifest is wrong.
    BadManifest = "E201", 2, 400,
        "The manifest breaks its form: a key that is not known, a value of the wrong form, or two keys that exclude each other. The cause names file, line and key. Nothing was changed.";
    /// This version does not do that yet.
    NotYet = "E202", 2, 400,
        "The command, the flag or the key belongs to crux's form, but this version does not do what it asks for yet, and would rather refuse than ignore it. Leave it away.";
    /// A khan expression is wrong.
    BadKhan = "E203", 2, 400,
        "A placement, set or start condition is not khan: `pick(api, 3, ALL)`, `LABEL(zone=a) & !NODE(n1)`, `2 of db.ready`. The cause names line, column and what was expected. Nothing was changed.";
    /// The configuration is wrong.
    BadConfig = "E204", 2, 400,
        "A key in crux.toml, in crux.d, in the bundle or in the environment is not known or has a value of the wrong form. Keys are the flags' names.";
    /// The request's form is wrong.
    BadRequest = "E205", 2, 400,
        "The fulcrum could not read the request. Command and fulcrum may be of different versions: compare `crux version` on both sides.";
    /// What was asked for is not there.
    NotFound = "E300", 3, 404,
        "What the command names does not exist here: a node, horde, service, instance, file or fact. The list commands show what there is.";
    /// A write without an operator's key.
    NoKey = "E400", 4, 403,
        "What operators want is signed with an operator's key, by the command itself; the socket alone permits reading. `crux ca issue --operator NAME` makes a key and writes the profile; --as BUNDLE names one for this command.";
    /// The fulcrum refused the writer.
    Refused = "E401", 4, 403,
        "The signature, the certificate or the role does not permit this: the certificate has ended, is of another bloc, its role may not do this, or its scopes do not include it. `crux ca inspect` shows what it permits.";
    /// Faults exist in a dev cluster only.
    NotDev = "E402", 4, 403,
        "`crux lab` makes faults in a dev cluster. This fulcrum was not started by `crux up --dev` and cannot make any.";
    /// Nobody answers.
    Unreachable = "E500", 5, 503,
        "No fulcrum answers on the socket: none runs there, it is starting, or the socket belongs to another user. `crux up` starts one; --at names another.";
    /// It is not clear which fulcrum is meant.
    Ambiguous = "E501", 2, 400,
        "A dev cluster of this user and the machine's own fulcrum both exist. Name one with --at or CRUX_AT, so that no command goes to the wrong one.";
    /// Accepted, but not everywhere yet.
    NotConverged = "E600", 6, 202,
        "The change is accepted and will not be lost, but what was waited for has not happened in time: fewer copies than promised, or a --wait that timed out. `crux status` and `crux why` say what is missing.";
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Code {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|code| code.as_str().eq_ignore_ascii_case(text)).ok_or(())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A newer fulcrum may know more codes; its cause and next step still help.
        let text = String::deserialize(deserializer)?;
        Ok(text.parse().unwrap_or(Self::Failed))
    }
}

impl ErrorDoc {
    /// An error with its cause and the next step.
    pub fn new(code: Code, cause: impl Into<String>, next: impl Into<String>) -> Self {
        Self { code, cause: cause.into(), next: next.into() }
    }
}

impl std::fmt::Display for ErrorDoc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.cause)
    }
}

impl std::error::Error for ErrorDoc {}
