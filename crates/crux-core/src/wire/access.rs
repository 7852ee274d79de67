//! The register of services on the wire: what a fulcrum says to ADMIN's seat, and what the seat says to everybody.

use super::BadFrame;
use super::parts::{list, text};
use super::services::{InstanceIdWire, ServiceRefWire, instance_id, service, view_id};
use crate::flock::view::{ViewId, ViewIdWire};
use crate::lists::{Listing, apart, packed};
use crate::services::access::{ADDRS_MAX, ALL_ENTRIES, ALL_PIECES, By, DOOR_ENTRIES, Entry, LABELS_MAX, Listed};
use crate::services::message::Message as ServiceMessage;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bytes::Bytes;
use crux_names::Wall;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct EntryWire {
    #[prost(message, optional, tag = "1")]
    of: Option<ServiceRefWire>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(bytes = "bytes", repeated, tag = "3")]
    addrs: Vec<Bytes>,
    #[prost(message, repeated, tag = "4")]
    labels: Vec<LabelWire>,
    /// Empty: an instance.
    #[prost(string, tag = "5")]
    operator: String,
    #[prost(message, optional, tag = "6")]
    instance: Option<InstanceIdWire>,
    #[prost(uint64, tag = "7")]
    since: u64,
    /// At whose door, in the seat's word only.
    #[prost(string, tag = "8")]
    at: String,
}

impl Listing for EntryWire {
    const LISTS: &'static [(u32, usize)] = &[(3, ADDRS_MAX), (4, LABELS_MAX)];
}

#[derive(Clone, PartialEq, Message)]
struct LabelWire {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct AddedWire {
    #[prost(message, optional, tag = "1")]
    view: Option<ViewIdWire>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    entries: Vec<Bytes>,
    #[prost(uint64, tag = "3")]
    version: u64,
    #[prost(uint64, tag = "4")]
    holds: u64,
    /// Whether the entries are in it.
    #[prost(bool, tag = "5")]
    whole: bool,
}

impl Listing for AddedWire {
    const LISTS: &'static [(u32, usize)] = &[(2, DOOR_ENTRIES)];
}

#[derive(Clone, PartialEq, Message)]
struct RegisterWire {
    #[prost(message, optional, tag = "1")]
    view: Option<ViewIdWire>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    entries: Vec<Bytes>,
    #[prost(uint64, tag = "3")]
    version: u64,
}

impl Listing for RegisterWire {
    const LISTS: &'static [(u32, usize)] = &[(2, ALL_ENTRIES)];
}

fn wire(entry: &Entry, at: String) -> Bytes {
    let label = |(key, value): (&String, &String)| LabelWire { key: key.clone(), value: value.clone() };
    let (operator, instance) = match &entry.by {
        By::Operator(name) => (name.as_str().into(), None),
        By::Instance(id) => (String::new(), Some(id.into())),
    };
    packed(&EntryWire {
        of: Some((&entry.of).into()),
        name: entry.name.clone(),
        addrs: entry.addrs.iter().map(|addr| Bytes::copy_from_slice(addr.as_bytes())).collect(),
        labels: entry.labels.iter().map(label).collect(),
        operator,
        instance,
        since: entry.since.0,
        at,
    })
}

/// An entry within its bounds, and at whose door. `pieces` counts what it becomes beyond its bytes.
fn read(message: Bytes, pieces: &mut usize) -> Result<(Entry, String), BadFrame> {
    let (wire, lists) = apart::<EntryWire>(message)?;
    let addr = |bytes: Bytes| -> Result<String, BadFrame> {
        let text = core::str::from_utf8(&bytes).map_err(|_| BadFrame::Malformed)?;
        Ok(text.into())
    };
    let label = |label: LabelWire| Ok::<_, BadFrame>((label.key, label.value));
    let labels: Vec<(String, String)> = list(&lists, 4, label)?;
    let entry = Entry {
        of: service(wire.of)?,
        name: text(wire.name)?,
        addrs: lists.bytes(3, addr)?,
        labels: labels.into_iter().collect::<BTreeMap<_, _>>(),
        by: match wire.operator.as_str() {
            "" => By::Instance(instance_id(wire.instance)?),
            name => By::Operator(name.parse()?),
        },
        since: Wall(wire.since),
    };
    entry.check().map_err(|_| BadFrame::Malformed)?;
    *pieces += entry.pieces();
    if *pieces > ALL_PIECES { Err(BadFrame::TooLong) } else { Ok((entry, wire.at)) }
}

pub(super) fn added(view: &ViewId, version: u64, holds: u64, entries: Option<&[Entry]>) -> Bytes {
    let whole = entries.is_some();
    let entries = entries.unwrap_or_default().iter().map(|entry| wire(entry, String::new())).collect();
    packed(&AddedWire { view: Some(view.into()), entries, version, holds, whole })
}

pub(super) fn read_added(message: Bytes) -> Result<ServiceMessage, BadFrame> {
    let (added, lists) = apart::<AddedWire>(message)?;
    let mut pieces = 0;
    let entries = lists.bytes(2, |entry| read(entry, &mut pieces).map(|(entry, _)| entry))?;
    let AddedWire { version, holds, whole, .. } = added;
    Ok(ServiceMessage::Added { view: view_id(added.view)?, version, holds, entries: whole.then_some(entries) })
}

pub(super) fn register(view: &ViewId, version: u64, entries: &[Listed]) -> Bytes {
    let entries = entries.iter().map(|listed| wire(&listed.entry, listed.at.to_string())).collect();
    packed(&RegisterWire { view: Some(view.into()), entries, version })
}

pub(super) fn read_register(message: Bytes) -> Result<ServiceMessage, BadFrame> {
    let (register, lists) = apart::<RegisterWire>(message)?;
    let mut pieces = 0;
    let listed = |entry| {
        let (entry, at) = read(entry, &mut pieces)?;
        Ok::<_, BadFrame>(Listed { at: at.parse()?, entry })
    };
    let entries = lists.bytes(2, listed)?;
    Ok(ServiceMessage::Register { view: view_id(register.view)?, version: register.version, entries })
}
