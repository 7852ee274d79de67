//! What people read: how long something is, and what a refusal is about that came as words of another fulcrum.

/// So many seconds for people, in the largest unit of which there are two or more.
#[must_use]
pub fn span(secs: u64) -> String {
    match secs {
        0..120 => format!("{secs} s"),
        120..7_200 => format!("{} min", secs / 60),
        7_200..172_800 => format!("{} h", secs / 3_600),
        _ => format!("{} days", secs / 86_400),
    }
}

/// The same for so many milliseconds, which are told below two seconds.
#[must_use]
pub fn span_ms(ms: u64) -> String {
    if ms < 2_000 { format!("{ms} ms") } else { span(ms / 1_000) }
}

/// So many of something: `1 member`, `2 members`.
#[must_use]
pub fn count(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// What a refusal is about, as far as that decides what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// A certificate, or its issuer's, has ended.
    Ended,
    /// A certificate is not valid yet, or a clock cannot be right.
    Clock,
    /// The verifier trusts no root above the certificate.
    Root,
    /// It is another bloc's.
    OtherBloc,
    /// Its node was put out of the bloc.
    Expelled,
}

/// How the causes of [`crate::Refusal`] are told apart in words, which is all that comes over a connection.
const MARKS: [(&str, Trouble); 8] = [
    (" was expelled, with its admissions up to ", Trouble::Expelled),
    ("certificate of bloc ", Trouble::OtherBloc),
    ("certificate signed by none of the trusted roots", Trouble::Root),
    ("certificate expired ", Trouble::Ended),
    ("the CA certificate that signed it has expired", Trouble::Ended),
    ("certificate not valid for another ", Trouble::Clock),
    ("a CA certificate above it is not valid yet", Trouble::Clock),
    ("clock wrong: ", Trouble::Clock),
];

impl Trouble {
    /// What these words are about; nothing if that is not of these kinds.
    #[must_use]
    pub fn of(words: &str) -> Option<Self> {
        MARKS.into_iter().find_map(|(mark, trouble)| words.contains(mark).then_some(trouble))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Refusal;

    #[test]
    fn a_time_is_told_in_the_unit_that_says_something() {
        for (secs, text) in [(0, "0 s"), (88, "88 s"), (119, "119 s"), (120, "2 min"), (7_199, "119 min")] {
            assert_eq!(span(secs), text);
        }
        for (secs, text) in [(7_200, "2 h"), (86_400, "24 h"), (172_799, "47 h"), (172_800, "2 days")] {
            assert_eq!(span(secs), text);
        }
        assert_eq!(
            [span_ms(3), span_ms(1_999), span_ms(2_000), span_ms(43_200_008)],
            ["3 ms", "1999 ms", "2 s", "12 h"]
        );
        assert_eq!([count(0, "port"), count(1, "port"), count(2, "port")], ["0 ports", "1 port", "2 ports"]);
    }

    #[test]
    fn a_refusal_is_known_by_its_words() {
        let of = |refusal: Refusal| Trouble::of(&format!("refused by 10.0.0.1:2789: {refusal}"));
        assert_eq!(of(Refusal::Expelled { node: "n7".into(), up_to: 1 }), Some(Trouble::Expelled));
        assert_eq!(of(Refusal::OtherBloc { theirs: "a".into(), ours: "b".into() }), Some(Trouble::OtherBloc));
        assert_eq!(of(Refusal::Untrusted), Some(Trouble::Root));
        assert_eq!(of(Refusal::Expired { at: 5, ago: 3 }), Some(Trouble::Ended));
        assert_eq!(of(Refusal::IssuerExpired), Some(Trouble::Ended));
        assert_eq!(of(Refusal::NotYetValid { from: 9, ahead: 3 }), Some(Trouble::Clock));
        assert_eq!(of(Refusal::IssuerNotYetValid), Some(Trouble::Clock));
        assert_eq!(of(Refusal::ClockWrong { than: "this release was built", behind: 9 }), Some(Trouble::Clock));
        for other in [Refusal::NoCertificate, Refusal::CaAsLeaf, Refusal::NoLife, Refusal::ExtendedKeyUsage] {
            assert_eq!(of(other), None);
        }
    }
}
