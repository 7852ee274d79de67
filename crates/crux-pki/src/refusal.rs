//! Why a certificate is refused: one reason each, with a stable code, a cause and the next step.

use crate::identity::RoleKind;
use crate::words::span;
use crux_names::NameError;
use std::fmt;
use std::time::Duration;
use x509_cert::der::DateTime;

/// A moment in Unix seconds as RFC 3339.
fn moment(unix: u64) -> String {
    DateTime::from_unix_duration(Duration::from_secs(unix)).map_or_else(|_| format!("{unix} s"), |at| at.to_string())
}

/// What in a URI could be read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UriTrick {
    /// A NUL, a line end or another control character.
    Control,
    /// A character beyond ASCII, which may look like another one.
    NotAscii,
    /// A blank.
    Space,
    /// Percent-encoding.
    Percent,
    /// A query.
    Query,
    /// A fragment.
    Fragment,
    /// User information.
    UserInfo,
    /// A port.
    Port,
    /// An upper-case letter.
    UpperCase,
    /// `.` or `..` as a segment.
    DotSegment,
    /// An empty segment: two slashes in a row, or one at the end.
    EmptySegment,
}

impl UriTrick {
    /// Stable, for tools.
    const fn code(self) -> &'static str {
        match self {
            Self::Control => "uri-control",
            Self::NotAscii => "uri-not-ascii",
            Self::Space => "uri-space",
            Self::Percent => "uri-percent",
            Self::Query => "uri-query",
            Self::Fragment => "uri-fragment",
            Self::UserInfo => "uri-userinfo",
            Self::Port => "uri-port",
            Self::UpperCase => "uri-upper-case",
            Self::DotSegment => "uri-dot-segment",
            Self::EmptySegment => "uri-empty-segment",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Control => "a control character",
            Self::NotAscii => "a character that is not ASCII and may look like another",
            Self::Space => "a blank",
            Self::Percent => "percent-encoding",
            Self::Query => "a query",
            Self::Fragment => "a fragment",
            Self::UserInfo => "user information before an @",
            Self::Port => "a port",
            Self::UpperCase => "an upper-case letter",
            Self::DotSegment => "a segment . or ..",
            Self::EmptySegment => "an empty segment or a slash at its end",
        }
    }
}

/// Why a certificate, or a chain of them, was not admitted. Texts that came from a peer are escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// No certificate was shown.
    NoCertificate,
    /// The bytes are no X.509 certificate.
    Unreadable(String),
    /// A certificate is larger than any of ours could be: most would be alternative names.
    TooLarge {
        /// Its bytes.
        bytes: usize,
    },
    /// More certificates in a chain than a leaf and six intermediates.
    LongChain {
        /// How many.
        certificates: usize,
    },
    /// The certificate speaks for another bloc.
    OtherBloc {
        /// The bloc that the certificate names.
        theirs: String,
        /// The bloc that we are.
        ours: String,
    },
    /// An operator put this node out of the bloc, with all admissions up to this one.
    Expelled {
        /// Which.
        node: String,
        /// The last admission that is refused.
        up_to: u32,
    },
    /// No root that we trust signed it.
    Untrusted,
    /// A signature in the chain does not verify, or the chain breaks another rule of X.509.
    BadChain(String),
    /// A signature in the chain is of a kind that is not accepted.
    SignatureAlgorithm,
    /// A certificate in the chain has an extension that is critical and not known.
    CriticalExtension,
    /// A CA in the chain constrains names, and the leaf's URI is not permitted, or cannot be judged.
    NameConstraint,
    /// A CA in the chain permits fewer intermediates than there are.
    PathLength,
    /// A leaf stands in the place of an intermediate.
    LeafAsCa,
    /// Its life is over.
    Expired {
        /// `notAfter`, in Unix seconds.
        at: u64,
        /// Seconds since then.
        ago: u64,
    },
    /// The root or an intermediate above it has ended.
    IssuerExpired,
    /// An intermediate above it is not valid yet.
    IssuerNotYetValid,
    /// Its life has not begun.
    NotYetValid {
        /// `notBefore`, in Unix seconds.
        from: u64,
        /// Seconds until then.
        ahead: u64,
    },
    /// The local clock cannot be right: before this release was built, or more than a day before the certificate.
    ClockWrong {
        /// What the clock should be after, in words.
        than: &'static str,
        /// By how many seconds it is before that.
        behind: u64,
    },
    /// No SPIFFE URI in it.
    NoUri,
    /// More than one URI in it.
    ManyUris(usize),
    /// Its URI could be read in two ways.
    Trick {
        /// The URI as it stands in the certificate.
        uri: String,
        /// What is wrong with it.
        trick: UriTrick,
    },
    /// Its URI is not `spiffe://<bloc>/<role>/<name>` with a role that we know.
    MalformedUri {
        /// The URI as it stands in the certificate.
        uri: String,
    },
    /// A name in its URI breaks our rules.
    BadName(NameError),
    /// It is a CA's certificate, which may never speak for anybody.
    CaAsLeaf,
    /// Its key usage allows too little or too much.
    KeyUsage(&'static str),
    /// Its extended key usage lacks one side.
    ExtendedKeyUsage,
    /// It lives longer than a verifier accepts for its role.
    TooLong {
        /// The role in it.
        role: RoleKind,
        /// Its life in whole days, rounded up.
        days: u64,
        /// The cap for the role.
        max: u32,
    },
    /// Its life ends before it begins.
    NoLife,
    /// Its key is neither Ed25519 nor P-256.
    KeyAlgorithm(String),
    /// Our own extension in it cannot be read.
    Extension(&'static str),
    /// The role in it may not do this.
    WrongRole {
        /// The role and name in it.
        found: String,
        /// The roles that are admitted, in words.
        wanted: String,
    },
}

const ISSUE_AGAIN: &str = "issue it again with `crux ca issue`";
const ONE_URI: &str = "it needs exactly one, spiffe://<bloc>/<role>/<name>";

impl Refusal {
    /// A stable short name of the reason, for tools: `other-bloc`, `expired`, `uri-percent`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no-certificate",
            Self::Unreadable(_) => "unreadable",
            Self::TooLarge { .. } => "too-large",
            Self::LongChain { .. } => "long-chain",
            Self::OtherBloc { .. } => "other-bloc",
            Self::Expelled { .. } => "expelled",
            Self::Untrusted => "other-root",
            Self::BadChain(_) => "bad-chain",
            Self::SignatureAlgorithm => "signature-algorithm",
            Self::CriticalExtension => "critical-extension",
            Self::NameConstraint => "name-constraint",
            Self::PathLength => "path-length",
            Self::LeafAsCa => "leaf-as-ca",
            Self::Expired { .. } => "expired",
            Self::IssuerExpired => "issuer-expired",
            Self::IssuerNotYetValid => "issuer-not-yet-valid",
            Self::NotYetValid { .. } => "not-yet-valid",
            Self::ClockWrong { .. } => "clock-wrong",
            Self::NoUri => "no-uri",
            Self::ManyUris(_) => "many-uris",
            Self::Trick { trick, .. } => trick.code(),
            Self::MalformedUri { .. } => "malformed-uri",
            Self::BadName(_) => "bad-name",
            Self::CaAsLeaf => "ca-as-leaf",
            Self::KeyUsage(_) => "key-usage",
            Self::ExtendedKeyUsage => "extended-key-usage",
            Self::TooLong { .. } => "too-long",
            Self::NoLife => "no-life",
            Self::KeyAlgorithm(_) => "key-algorithm",
            Self::Extension(_) => "admission-extension",
            Self::WrongRole { .. } => "wrong-role",
        }
    }

    /// Whether waiting helps: the certificate is right and only the clock is not there yet.
    #[must_use]
    pub const fn passes_by_itself(&self) -> bool {
        matches!(self, Self::ClockWrong { .. } | Self::NotYetValid { .. } | Self::IssuerNotYetValid)
    }

    /// What is wrong, in words, without the next step.
    #[must_use]
    pub fn cause(&self) -> String {
        match self {
            Self::NoCertificate => "no certificate was shown".to_owned(),
            Self::Unreadable(cause) => format!("the certificate cannot be read ({cause})"),
            Self::TooLarge { bytes } => {
                format!("a certificate of {bytes} bytes, more than the {} that are read", crate::CERTIFICATE_MAX)
            }
            Self::LongChain { certificates } => {
                format!("a chain of {certificates} certificates, more than a leaf and 6 intermediates")
            }
            Self::OtherBloc { theirs, ours } => format!("certificate of bloc {theirs}, but this is bloc {ours}"),
            Self::Expelled { node, up_to } => {
                format!("node {node} was expelled, with its admissions up to {up_to}")
            }
            Self::Untrusted => "certificate signed by none of the trusted roots".to_owned(),
            Self::BadChain(cause) => format!("a signature in the certificate chain is wrong ({cause})"),
            Self::SignatureAlgorithm => {
                "a certificate in the chain is signed with an algorithm that is not accepted".to_owned()
            }
            Self::CriticalExtension => {
                "a certificate in the chain has a critical extension that is not known".to_owned()
            }
            Self::NameConstraint => {
                "a CA above the certificate constrains names and does not permit its URI".to_owned()
            }
            Self::PathLength => "a CA above the certificate permits fewer intermediates than there are".to_owned(),
            Self::LeafAsCa => "a certificate in the chain is no CA's, so it vouches for nobody".to_owned(),
            Self::Expired { at, ago } => format!("certificate expired {} ago, at {}", span(*ago), moment(*at)),
            Self::IssuerExpired => "the CA certificate that signed it has expired".to_owned(),
            Self::IssuerNotYetValid => "a CA certificate above it is not valid yet".to_owned(),
            Self::NotYetValid { from, ahead } => {
                format!("certificate not valid for another {}, until {}", span(*ahead), moment(*from))
            }
            Self::ClockWrong { than, behind } => format!("clock wrong: it stands {} before {than}", span(*behind)),
            Self::NoUri => "certificate without a SPIFFE URI".to_owned(),
            Self::ManyUris(number) => format!("certificate with {number} URIs"),
            Self::Trick { uri, trick } => format!("the certificate's URI {uri:?} has {}", trick.words()),
            Self::MalformedUri { uri } => {
                format!(
                    "{uri:?} is not spiffe://<bloc>/node|operator|beacon/<name> or spiffe://<bloc>/horde/<horde>/<service>"
                )
            }
            Self::BadName(name) => format!("bad name in the certificate: {name}"),
            Self::CaAsLeaf => "a CA certificate may not be used by a node or an operator".to_owned(),
            Self::KeyUsage(cause) => format!("wrong key usage: {cause}"),
            Self::ExtendedKeyUsage => "wrong extended key usage: both serverAuth and clientAuth are needed".to_owned(),
            Self::TooLong { role, days, max } => {
                format!("certificate with a life of {days} days, but {} may have {max}", role.with_article())
            }
            Self::NoLife => "certificate that ends before it begins".to_owned(),
            Self::KeyAlgorithm(found) => format!("key algorithm {found} is neither Ed25519 nor P-256"),
            Self::Extension(cause) => format!("its admission extension is malformed ({cause})"),
            Self::WrongRole { found, wanted } => {
                format!("this is the certificate of {found}, but only {wanted} is admitted here")
            }
        }
    }

    /// What to do about it, in words.
    #[must_use]
    pub fn next_step(&self) -> String {
        match self {
            Self::NoCertificate => "start the other side with a bundle from `crux ca issue`".into(),
            Self::Unreadable(_) | Self::NoLife | Self::Extension(_) | Self::CriticalExtension => ISSUE_AGAIN.into(),
            Self::TooLarge { .. } => "issue it with one URI and few other names".into(),
            Self::LongChain { .. } | Self::PathLength => {
                "issue it by a CA that is nearer to a root in trust.pem".into()
            }
            Self::OtherBloc { ours, .. } => format!("use a bundle issued by the CA of {ours}"),
            Self::Expelled { node, .. } => {
                format!("`crux ca issue --node {node} --readmit` lets it in again, if that is wanted")
            }
            Self::Untrusted => "issue it with this bloc's CA, or add its root to trust.pem".into(),
            Self::BadChain(_) => "the file is damaged or forged: issue it again".into(),
            Self::SignatureAlgorithm => "sign it with Ed25519, ECDSA or RSA of 2048 bits and more with SHA-256".into(),
            Self::NameConstraint => "use a CA without name constraints for URIs".into(),
            Self::LeafAsCa => "put the intermediate CAs' certificates after the leaf in cert.pem".into(),
            Self::Expired { .. } => "renew it with `crux ca renew` and install the new bundle".into(),
            Self::IssuerExpired => "add the new root to trust.pem and issue again".into(),
            Self::NotYetValid { .. } | Self::IssuerNotYetValid => "compare both machines' clocks".into(),
            Self::ClockWrong { .. } => "set this machine's clock".into(),
            Self::NoUri | Self::ManyUris(_) => ONE_URI.into(),
            Self::Trick { .. } | Self::MalformedUri { .. } => "issue the certificate with `crux ca issue`".into(),
            Self::BadName(_) => "issue the certificate for a name of lower-case letters, digits and '-'".into(),
            Self::CaAsLeaf => "use a bundle from `crux ca issue`".into(),
            Self::KeyUsage(_) => "a leaf needs critical digitalSignature, without certificate or CRL signing".into(),
            Self::ExtendedKeyUsage => "issue it with both or with none".into(),
            Self::TooLong { max, .. } => format!("issue it with `--days {max}` or less"),
            Self::KeyAlgorithm(_) => "issue the certificate for an Ed25519 or a P-256 key".into(),
            Self::WrongRole { .. } => "use a bundle of that role, from `crux ca issue`".into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.cause(), self.next_step())
    }
}

impl std::error::Error for Refusal {}
