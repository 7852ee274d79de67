//! Muster: the catalogue of what can run. A revision of a service is named by the hash of its manifest's bytes, so two
//! parts of a bloc cannot make different things of the same name.

use crate::facts::value::Manifest;
use alloc::format;
use alloc::string::String;
use bytes::Bytes;
use crux_names::{Hash256, ServiceName};
use prost::Message;

/// One entry of the catalogue.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// The manifest's bytes as in the fact: their hash is the revision.
    pub bytes: Bytes,
    /// What they say.
    pub manifest: Manifest,
}

/// Reads an entry, which must be what its path says.
///
/// # Errors
/// A sentence that says why the bytes are not this revision of this service.
pub fn entry(service: &ServiceName, revision: &Hash256, bytes: &Bytes) -> Result<Revision, String> {
    let actual = Manifest::revision(bytes);
    if actual != *revision {
        return Err(format!("its bytes hash to {actual}, so it is not this revision"));
    }
    let manifest = Manifest::decode(bytes.clone()).map_err(|_| String::from("its bytes are not a manifest"))?;
    if manifest.service != service.as_str() {
        return Err(format!("it is a manifest of {:?}", manifest.service));
    }
    Ok(Revision { bytes: bytes.clone(), manifest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_of_the_service_and_the_revision_that_its_path_names() {
        let bytes: Bytes = Manifest { service: "api".into(), ..Manifest::default() }.encode_to_vec().into();
        let (api, web) = (ServiceName::parse("api").unwrap(), ServiceName::parse("web").unwrap());
        let revision = Manifest::revision(&bytes);
        assert_eq!(entry(&api, &revision, &bytes).unwrap().bytes, bytes);
        assert!(entry(&web, &revision, &bytes).unwrap_err().contains("\"api\""));
        assert!(entry(&api, &Hash256([0; 32]), &bytes).unwrap_err().contains("not this revision"));
    }
}
