//! The HTTP API described for generators of clients: OpenAPI 3.1, checked in as `openapi.json` beside this crate's
//! manifest and served at [`OPENAPI`](crate::routes::OPENAPI).
//!
//! It is made by a test from the table of routes and from the types of the documents, so a route or a field that it does
//! not tell of fails that test. `CRUX_REGENERATE=1 cargo test -p crux-api` writes it anew.

use crate::rights::Route;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// The description of everything, as text.
pub const DOCUMENT: &str = include_str!("../../openapi.json");

/// Which server of the description is the page's port: the second.
const PAGE: usize = 1;

/// The description of what is asked at the page's port: its routes, and of the schemas those that they need.
#[must_use]
pub fn of_the_page() -> &'static str {
    static PART: LazyLock<String> = LazyLock::new(part_of_the_page);
    &PART
}

fn part_of_the_page() -> String {
    let mut all: Value = serde_json::from_str(DOCUMENT).unwrap_or_default();
    let here: Vec<_> = Route::PAGE.iter().map(|route| (route.path(), route.method().to_ascii_lowercase())).collect();
    if let Some(paths) = all["paths"].as_object_mut() {
        for (path, methods) in paths.iter_mut() {
            if let Some(methods) = methods.as_object_mut() {
                methods.retain(|method, _| here.iter().any(|(at, by)| at == path && by == method));
            }
        }
        paths.retain(|_, methods| methods.as_object().is_some_and(|methods| !methods.is_empty()));
    }
    let mut needed = BTreeSet::new();
    let mut new = named(&all["paths"]);
    while let Some(name) = new.pop_first() {
        new.extend(named(&all["components"]["schemas"][&name]).into_iter().filter(|name| !needed.contains(name)));
        needed.insert(name);
    }
    if let Some(schemas) = all["components"]["schemas"].as_object_mut() {
        schemas.retain(|name, _| needed.contains(name));
    }
    // Nobody shows a certificate there.
    if let Some(components) = all["components"].as_object_mut() {
        components.remove("securitySchemes");
    }
    all["security"] = Value::Array(Vec::new());
    all["servers"] = Value::Array(vec![all["servers"][PAGE].clone()]);
    format!("{all:#}\n")
}

/// The schemas that a part of the description names.
fn named(part: &Value) -> BTreeSet<String> {
    match part {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str);
            let own = own.and_then(|path| path.strip_prefix("#/components/schemas/")).map(str::to_owned);
            fields.values().flat_map(named).chain(own).collect()
        }
        Value::Array(items) => items.iter().flat_map(named).collect(),
        _ => BTreeSet::new(),
    }
}

#[cfg(test)]
mod made;
