//! Why a certificate is refused: one reason each, in words that name the cause and the next step.

use crate::identity::RoleKind;
use crux_names::NameError;
use thiserror::Error;

/// Days and hours for people; the larger unit that fits.
fn span(secs: u64) -> String {
    match secs {
        0..120 => format!("{secs} s"),
        120..7_200 => format!("{} min", secs / 60),
        7_200..172_800 => format!("{} h", secs / 3_600),
        _ => format!("{} days", secs / 86_400),
    }
}

/// Why a certificate, or a chain of them, was not admitted. Texts that came from a peer are escaped.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No certificate was shown.
    #[error("no certificate was shown; start the other side with a bundle from `crux ca issue`")]
    NoCertificate,
    /// The bytes are no X.509 certificate.
    #[error("the certificate cannot be read ({0}); issue it again with `crux ca issue`")]
    Unreadable(String),
    /// The certificate speaks for another bloc.
    #[error("certificate of bloc {theirs}, but this is bloc {ours}; use a bundle issued by the CA of {ours}")]
    OtherBloc {
        /// The bloc that the certificate names.
        theirs: String,
        /// The bloc that we are.
        ours: String,
    },
    /// No root that we trust signed it.
    #[error(
        "certificate signed by none of the trusted roots; issue it with this bloc's CA, or add its root to trust.pem"
    )]
    Untrusted,
    /// A signature in the chain does not verify.
    #[error("a signature in the certificate chain is wrong ({0}); the file is damaged or forged: issue it again")]
    BadChain(String),
    /// Its life is over.
    #[error("certificate expired {} ago; renew it with `crux ca issue` and install the new bundle", span(*ago))]
    Expired {
        /// Seconds since `notAfter`.
        ago: u64,
    },
    /// The root or an intermediate above it has ended.
    #[error("the CA certificate that signed it has expired; add the new root to trust.pem and issue again")]
    IssuerExpired,
    /// Its life has not begun.
    #[error("certificate not valid for another {}; compare both machines' clocks", span(*ahead))]
    NotYetValid {
        /// Seconds until `notBefore`.
        ahead: u64,
    },
    /// The local clock cannot be right: before this release was built, or more than a day before the certificate.
    #[error("clock wrong: it stands {} before {than}; set this machine's clock", span(*behind))]
    ClockWrong {
        /// What the clock should be after, in words.
        than: &'static str,
        /// By how many seconds it is before that.
        behind: u64,
    },
    /// No SPIFFE URI in it.
    #[error("certificate without a SPIFFE URI; it needs exactly one, spiffe://<bloc>/<role>/<name>")]
    NoUri,
    /// More than one URI in it.
    #[error("certificate with {0} URIs; it needs exactly one, spiffe://<bloc>/<role>/<name>")]
    ManyUris(usize),
    /// Its URI is not `spiffe://<bloc>/<role>/<name>` with a role that we know.
    #[error("{uri:?} is not spiffe://<bloc>/node|operator|beacon/<name>; issue the certificate with `crux ca issue`")]
    MalformedUri {
        /// The URI as it stands in the certificate.
        uri: String,
    },
    /// A name in its URI breaks our rules.
    #[error("bad name in the certificate: {0}")]
    BadName(NameError),
    /// It is a CA's certificate, which may never speak for anybody.
    #[error("a CA certificate may not be used by a node or an operator; use a bundle from `crux ca issue`")]
    CaAsLeaf,
    /// Its key usage allows too little or too much.
    #[error("wrong key usage: {0}; a leaf needs critical digitalSignature, without certificate or CRL signing")]
    KeyUsage(&'static str),
    /// Its extended key usage lacks one side.
    #[error("wrong extended key usage: both serverAuth and clientAuth are needed; issue it with both or with none")]
    ExtendedKeyUsage,
    /// It lives longer than a verifier accepts for its role.
    #[error(
        "certificate with a life of {days} days, but a {role} may have {max}; issue it with `--days {max}` or less"
    )]
    TooLong {
        /// The role in it.
        role: RoleKind,
        /// Its life in whole days, rounded up.
        days: u64,
        /// The cap for the role.
        max: u32,
    },
    /// Its key is not Ed25519.
    #[error("key algorithm {0} is not Ed25519; issue the certificate for an Ed25519 key")]
    KeyAlgorithm(String),
    /// Our own extension in it cannot be read.
    #[error("its admission extension is malformed ({0}); issue it again with `crux ca issue`")]
    Extension(&'static str),
    /// The role in it may not do this.
    #[error("this is the certificate of {found}, but only {wanted} is admitted here")]
    WrongRole {
        /// The role and name in it.
        found: String,
        /// The roles that are admitted, in words.
        wanted: String,
    },
}
