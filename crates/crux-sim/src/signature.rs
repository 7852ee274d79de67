//! Signatures of the invented world. Nobody has keys there, but nobody may speak in another's name either: a signature is a
//! hash of whose it is and of what is signed, and whoever lies (`hostile`) makes it only in its own name.

use bytes::Bytes;
use crux_core::facts::version::{Author, Checked, Sealed, Statement};
use crux_core::hash::sha256;
use prost::Message;

/// In whose name somebody signs: the fulcrums of a node share its certificate.
fn name(author: &Author) -> String {
    match author {
        Author::Operator(name) => format!("operator/{name}"),
        Author::Fulcrum(id) => format!("node/{}", id.node),
    }
}

fn signature(signer: &Author, statement: &[u8]) -> Bytes {
    let all = [name(signer).as_bytes(), b"\0", statement].concat();
    Bytes::copy_from_slice(&sha256(&all).0)
}

/// A statement under somebody's signature, whoever it says wrote it.
#[must_use]
pub fn signed_by(signer: &Author, statement: &Statement) -> Bytes {
    let bytes = statement.encode();
    let author_signature = signature(signer, &bytes);
    Sealed { statement: bytes, author_signature, ..Sealed::default() }.encode_to_vec().into()
}

/// A statement as its author signed it.
///
/// # Panics
/// Never: what was encoded decodes.
#[must_use]
pub fn seal(statement: &Statement) -> Checked {
    Checked::vouched(signed_by(&statement.author, statement)).expect("an honest statement")
}

/// What crux's node does before its heart sees a version: only what its author signed goes in.
#[must_use]
pub fn check(sealed: Bytes) -> Option<Checked> {
    let parts = Sealed::decode(sealed.clone()).ok()?;
    let version = Checked::vouched(sealed).ok()?;
    (parts.author_signature == signature(&version.statement().author, &parts.statement)).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::bloc;

    #[test]
    fn only_the_authors_own_signature_is_believed() {
        let (ops, node) = (Author::Operator("ops".parse().unwrap()), Author::Fulcrum("n1".parse().unwrap()));
        let statement = Statement {
            bloc: bloc(),
            path: "horde/web".into(),
            value: None,
            ancestors: Vec::new(),
            stamp: crux_core::facts::version::Stamp::default(),
            author: ops.clone(),
            nonce: Bytes::new(),
        };
        assert!(check(signed_by(&ops, &statement)).is_some());
        assert!(check(signed_by(&node, &statement)).is_none());
        let unsigned = Sealed { statement: statement.encode(), ..Sealed::default() };
        assert!(check(unsigned.encode_to_vec().into()).is_none());
        // Two fulcrums of one node have one key.
        let row = Statement { author: Author::Fulcrum("n1/7".parse().unwrap()), ..statement };
        assert!(check(signed_by(&node, &row)).is_some());
    }
}
