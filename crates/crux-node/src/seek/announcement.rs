//! What a fulcrum says on the local link: 64 bytes, its mesh port and a salted hash of its bloc's name. Who knows the name
//! can tell that somebody of the bloc is here; nobody is believed for it.

use crux_names::BlocName;
use sha2::{Digest as _, Sha256};

/// Its length in bytes.
pub(super) const LEN: usize = 64;
/// What it begins with: the form and its version.
const MAGIC: &[u8; 8] = b"crux-an\x01";
/// Bytes of salt: with every announcement another one, so that two of one bloc do not look alike to others.
pub(super) const SALT: usize = 16;

/// Magic, port, six zeros, salt, hash.
const PORT_AT: usize = MAGIC.len();
const SALT_AT: usize = 16;
const HASH_AT: usize = SALT_AT + SALT;

fn hash(bloc: &BlocName, salt: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"crux announcement");
    hasher.update(salt);
    hasher.update(bloc.as_str().as_bytes());
    hasher.finalize().into()
}

/// What a fulcrum of this bloc with this mesh port says.
pub(super) fn make(bloc: &BlocName, port: u16, salt: [u8; SALT]) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    bytes[..PORT_AT].copy_from_slice(MAGIC);
    bytes[PORT_AT..PORT_AT + 2].copy_from_slice(&port.to_be_bytes());
    bytes[SALT_AT..HASH_AT].copy_from_slice(&salt);
    bytes[HASH_AT..].copy_from_slice(&hash(bloc, &salt));
    bytes
}

/// The mesh port of who said this, if it is of this bloc.
pub(super) fn read(bloc: &BlocName, bytes: &[u8]) -> Option<u16> {
    let bytes: &[u8; LEN] = bytes.try_into().ok()?;
    let port = u16::from_be_bytes([bytes[PORT_AT], bytes[PORT_AT + 1]]);
    let good = bytes[..PORT_AT] == *MAGIC && port != 0 && bytes[HASH_AT..] == hash(bloc, &bytes[SALT_AT..HASH_AT]);
    good.then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_bloc_itself_understands_it_and_any_changed_byte_makes_it_nothing() {
        let (acme, other): (BlocName, BlocName) = ("acme".parse().unwrap(), "other".parse().unwrap());
        let said = make(&acme, 4000, [7; SALT]);
        assert_eq!(read(&acme, &said), Some(4000));
        assert_eq!(read(&other, &said), None);
        assert_ne!(make(&acme, 4000, [8; SALT])[HASH_AT..], said[HASH_AT..]);
        for at in (0..PORT_AT).chain(SALT_AT..LEN) {
            let mut changed = said;
            changed[at] ^= 1;
            assert_eq!(read(&acme, &changed), None, "byte {at}");
        }
        assert_eq!(read(&acme, &said[..LEN - 1]), None);
        assert_eq!(read(&acme, &make(&acme, 0, [7; SALT])), None);
        assert_eq!(read(&acme, &[]), None);
    }
}
