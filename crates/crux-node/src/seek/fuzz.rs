//! Doors of the fuzz targets to announcements, networks and lists.

use super::announcement::{self, SALT};
use super::source::{self, Line, Source};
use crux_names::BlocName;

pub(crate) fn announcement(bloc: &BlocName, port: u16, salt: u8) -> Vec<u8> {
    announcement::make(bloc, port, [salt; SALT]).to_vec()
}

pub(crate) fn heard(bloc: &BlocName, data: &[u8]) {
    let Some(port) = announcement::read(bloc, data) else { return };
    let salt: &[u8; SALT] = data[16..].first_chunk().expect("an announcement has its salt");
    let said = announcement::make(bloc, port, *salt);
    // Six bytes between port and salt are kept for later.
    assert!(said[..10] == data[..10] && said[16..] == data[16..], "another thing was heard than said");
}

pub(crate) fn source(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<Source>() {
        Ok(Source::Net(net)) => assert!((1..=65_536).contains(&net.addrs().take(70_000).count()), "{text:?}"),
        Ok(Source::File(path)) => assert!(!path.as_os_str().is_empty()),
        Err(why) => assert!(!why.contains(char::is_control), "{why:?}"),
    }
}

pub(crate) fn list(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (good, bad) = source::lines(text);
    assert!(good.len() + bad.len() <= text.lines().count());
    for line in good {
        match line {
            Line::Net(net) => assert!(net.addrs().next().is_some(), "a network without hosts"),
            Line::Host(host) => assert!(host.rsplit_once(':').is_some_and(|(_, port)| port != "0"), "{host:?}"),
        }
    }
    assert!(bad.iter().all(|(_, why)| !why.contains(char::is_control)), "{bad:?}");
}
