//! Doors of the fuzz targets to the files and requests of a dev cluster.

use super::faults::{Fault, Network};
use super::{DevFile, DevNode};
use crate::api::Rules;
use crux_api::routes::LabRequest;

pub(crate) fn files() -> Vec<Vec<u8>> {
    let file = DevFile {
        pid: 4711,
        dir: "/tmp/crux".into(),
        lab: "/tmp/crux/lab.sock".into(),
        operator: "/tmp/crux/operator".into(),
        nodes: vec![DevNode {
            name: "n1".to_owned(),
            socket: "/tmp/crux/n1/crux.sock".into(),
            addr: "127.0.0.1:1".to_owned(),
        }],
    };
    let rules = br#"{"to":["127.0.0.1:1"],"from":["[::1]:2"],"all":[],"loss":12.5}"#;
    vec![serde_json::to_vec(&file).unwrap_or_default(), rules.to_vec()]
}

pub(crate) fn file(data: &[u8]) {
    if let Ok(file) = serde_json::from_slice::<DevFile>(data) {
        let written = serde_json::to_vec(&file).expect("what was read can be written");
        assert_eq!(serde_json::from_slice::<DevFile>(&written).ok(), Some(file));
    }
    if let Ok(rules) = serde_json::from_slice::<Rules>(data) {
        let written = serde_json::to_vec(&rules).expect("what was read can be written");
        assert!(serde_json::from_slice::<Rules>(&written).is_ok(), "written again they are not read");
    }
}

pub(crate) fn request(data: &[u8]) {
    const SIZE: usize = 5;
    let Ok(request) = serde_json::from_slice::<LabRequest>(data) else { return };
    match Fault::read(&request, SIZE) {
        Ok(fault) => {
            let mut faults = Network::default();
            faults.apply(&fault, SIZE);
            for place in 0..SIZE {
                let (to, from) = faults.of(place);
                assert!(to.iter().chain(&from).all(|other| *other < SIZE && *other != place), "{fault:?}");
            }
        }
        Err(why) => assert!(!why.to_string().contains(char::is_control), "{why:?}"),
    }
}
