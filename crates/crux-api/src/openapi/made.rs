//! How the description is made, and that it is true of the samples that are checked in.

use super::{DOCUMENT, of_the_page};
use crate::json::*;
use crate::rights::{Right, Route};
use crate::routes::*;
use crux_core::facts::scope::Verb;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema, json_schema};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::path::Path;

impl JsonSchema for Counter {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Counter".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]{1,20}$" })
    }
}

impl JsonSchema for Code {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Code".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^E[0-9]{3}$" })
    }
}

/// What is said and what is heard differ in what may be left out.
struct Makers {
    said: SchemaGenerator,
    heard: SchemaGenerator,
    documents: Map<String, Value>,
}

fn referring(settings: SchemaSettings) -> SchemaGenerator {
    settings.with(|settings| settings.definitions_path = "/components/schemas".into()).into_generator()
}

/// The body of an answer that is one document.
struct Answer {
    once: Value,
    /// One of these under `data:` of each event, if it can be followed.
    each: Option<Value>,
}

impl Makers {
    fn new() -> Self {
        let said = referring(SchemaSettings::draft2020_12().for_serialize());
        let heard = referring(SchemaSettings::draft2020_12().for_deserialize());
        Self { said, heard, documents: Map::new() }
    }

    /// A document: its version and kind beside the fields of its body.
    fn document<T: Kind + JsonSchema>(&mut self) -> Value {
        let body = self.said.subschema_for::<T>();
        let name = format!("{}Document", T::KIND);
        let schema = json!({
            "allOf": [body],
            "type": "object",
            "properties": { "apiVersion": { "const": API_VERSION }, "kind": { "const": T::KIND } },
            "required": ["apiVersion", "kind"],
        });
        self.documents.insert(name.clone(), schema);
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    fn once<T: Kind + JsonSchema>(&mut self) -> Answer {
        Answer { once: self.document::<T>(), each: None }
    }

    /// Followed, it is said anew whenever it changes.
    fn state<T: Kind + JsonSchema>(&mut self) -> Answer {
        let document = self.document::<T>();
        Answer { once: document.clone(), each: Some(document) }
    }

    /// A list, and followed each of its entries.
    fn list<L: Kind + JsonSchema, T: Kind + JsonSchema>(&mut self) -> Answer {
        Answer { once: self.document::<L>(), each: Some(self.document::<T>()) }
    }

    fn query<T: JsonSchema>(&mut self) -> Vec<Value> {
        let schema = self.heard.root_schema_for::<T>();
        let required: Vec<&Value> = schema.get("required").and_then(Value::as_array).into_iter().flatten().collect();
        let fields = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        let parameter = |(name, field): (&String, &Value)| {
            let mut field = field.clone();
            let text = field.as_object_mut().and_then(|field| field.remove("description"));
            let flag = matches!(name.as_str(), "watch" | "follow" | "conflicts" | "quarantined" | "all");
            if flag {
                field = json!({ "type": "string" });
            }
            json!({
                "name": name, "in": "query", "description": text, "required": required.contains(&&json!(name)),
                "allowEmptyValue": flag, "schema": field,
            })
        };
        fields.map(parameter).collect()
    }

    fn body<T: JsonSchema>(&mut self) -> Value {
        let schema = self.heard.subschema_for::<T>();
        json!({ "required": true, "content": { "application/json": { "schema": schema } } })
    }
}

/// Query, body and answer of a route.
fn told(route: Route, make: &mut Makers) -> (Vec<Value>, Option<Value>, Value) {
    let bytes = || json!({ "application/octet-stream": { "schema": { "type": "string", "format": "binary" } } });
    let (query, body, answer) = match route {
        Route::Confab => (make.query::<WatchQuery>(), None, make.state::<Confab>()),
        Route::Status => (make.query::<WatchQuery>(), None, make.state::<Status>()),
        Route::Ps => (make.query::<WatchQuery>(), None, make.state::<Ps>()),
        Route::Nodes => (make.query::<WatchQuery>(), None, make.state::<NodeList>()),
        Route::Hordes => (make.query::<WatchQuery>(), None, make.state::<HordeList>()),
        Route::Rules => (make.query::<RulesQuery>(), None, make.state::<RuleList>()),
        Route::Services => (make.query::<WatchQuery>(), None, make.state::<ServiceList>()),
        Route::Links => (make.query::<WatchQuery>(), None, make.state::<LinkList>()),
        Route::Flocks => (make.query::<WatchQuery>(), None, make.state::<FlockList>()),
        Route::Doctor => (Vec::new(), None, make.once::<Doctor>()),
        Route::Events => (make.query::<EventsQuery>(), None, make.list::<EventList, Event>()),
        Route::Why => (make.query::<WhyQuery>(), None, make.once::<Why>()),
        Route::Facts => (make.query::<FactsQuery>(), None, make.once::<FactList>()),
        Route::Write => (Vec::new(), Some(make.body::<WriteRequest>()), make.once::<Written>()),
        Route::Files => (Vec::new(), None, make.once::<FileList>()),
        Route::StoreFile => {
            let body = json!({ "required": true, "content": bytes() });
            (Vec::new(), Some(body), make.once::<FileStored>())
        }
        Route::FetchFile => {
            let hash = json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" });
            let name = json!({ "name": "sha256", "in": "path", "required": true, "schema": hash });
            return (vec![name], None, bytes());
        }
        Route::Logs => (make.query::<LogQuery>(), None, make.list::<LogList, LogLine>()),
        Route::Audit => (make.query::<EventsQuery>(), None, make.list::<AuditList, AuditEntry>()),
        Route::Down => (Vec::new(), Some(make.body::<DownRequest>()), make.once::<Done>()),
        Route::Forget => (Vec::new(), Some(make.body::<ForgetRequest>()), make.once::<Done>()),
        // A dev cluster's own affair: its parent tells its fulcrums whom they do not reach.
        Route::Lab => {
            let any =
                json!({ "required": true, "content": { "application/json": { "schema": { "type": "object" } } } });
            (Vec::new(), Some(any), make.once::<Done>())
        }
        Route::Bloc => (Vec::new(), None, make.once::<BlocStatus>()),
        // What the stream is made of says `crux_api::backup`: the first frame is this document, the rest are versions.
        Route::BlocFacts => {
            let head = make.document::<BlocFacts>();
            let mut content = bytes();
            content["application/octet-stream"]["x-first"] = head;
            return (Vec::new(), None, content);
        }
        Route::BlocRestore => (Vec::new(), Some(make.body::<RestoreRequest>()), make.once::<RestoreAnswer>()),
        Route::OpenApi => return (Vec::new(), None, json!({ "application/json": { "schema": { "type": "object" } } })),
    };
    let mut content = json!({ "application/json": { "schema": answer.once } });
    if let Some(each) = answer.each {
        content[EVENT_STREAM] = json!({
            "schema": { "type": "string", "description": "server-sent events; under data: of each, one x-event" },
            "x-event": each,
        });
    }
    (query, body, content)
}

fn right(right: Right) -> String {
    match right {
        Right::Read => "read".into(),
        Right::Verb(verb) => format!("verb {}", Verb::as_str(verb)),
        Right::AnyHorde(verb) => format!("verb {} in any horde", Verb::as_str(verb)),
        Right::Named(verb) => format!("verb {} in the horde that is named", Verb::as_str(verb)),
        Right::Files => format!("verb {} in any horde, or {}", Verb::Apply.as_str(), Verb::Restore.as_str()),
        Right::Signed => "the signature of who wants it".into(),
    }
}

fn description() -> Value {
    let mut make = Makers::new();
    let mut paths = Map::new();
    let error = make.document::<ErrorDoc>();
    for route in Route::ALL.iter().copied() {
        let (parameters, body, content) = told(route, &mut make);
        let doors: &[&str] = if Route::PAGE.contains(&route) { &["socket", "api", "page"] } else { &["socket", "api"] };
        let mut operation = json!({
            "operationId": format!("{route:?}"),
            "summary": route.about(),
            "x-right": right(route.right()),
            "x-doors": doors,
            "responses": {
                "200": { "description": "as asked", "content": content },
                "default": {
                    "description": "an error with its cause and the next step; nothing is half done",
                    "content": { "application/json": { "schema": error } },
                },
            },
        });
        if route == Route::Write {
            operation["responses"]["202"] =
                json!({ "description": "accepted; fewer copies than promised by now", "content": content });
        }
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        if let Some(body) = body {
            operation["requestBody"] = body;
        }
        let path = paths.entry(route.path()).or_insert_with(|| json!({}));
        path[route.method().to_ascii_lowercase()] = operation;
    }
    let mut schemas = make.documents;
    schemas.extend(make.said.take_definitions(true));
    schemas.extend(make.heard.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "crux",
            "version": API_VERSION,
            "description": "Fields may be added; what stands here changes only with a decision record. 64-bit counters are strings, \
                            what is not known is null, moments are RFC 3339 in UTC.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [
            {
                "url": "https://{node}:2789",
                "description": "the API port, TLS 1.3 with an operator's certificate; the same without TLS on the local socket",
                "variables": { "node": { "default": "n1.example" } },
            },
            { "url": "http://127.0.0.1:2780", "description": "the page's port: confab and status, for programs of the same machine" },
        ],
        "security": [{ "operator": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "operator": { "type": "mutualTLS", "description": "an operator's certificate of the bloc" } },
        },
    })
}

#[test]
fn the_description_tells_of_every_route_and_of_every_field() {
    let fresh = description();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    if std::env::var_os("CRUX_REGENERATE").is_some() {
        std::fs::write(&path, format!("{fresh:#}\n")).unwrap();
    }
    let stands = std::fs::read_to_string(&path).unwrap_or_default();
    let stands: Value = serde_json::from_str(&stands).unwrap_or_default();
    assert!(stands == fresh, "openapi.json is not what the code says: CRUX_REGENERATE=1 cargo test -p crux-api");
    let told: Value = serde_json::from_str(DOCUMENT).unwrap();
    for route in Route::ALL {
        let told = &told["paths"][route.path()][route.method().to_ascii_lowercase()];
        assert_eq!(told["operationId"], format!("{route:?}"));
    }
    // What it names is there.
    for name in super::named(&told) {
        assert!(told["components"]["schemas"][&name].is_object(), "{name}");
    }
}

/// The errors of a value by a schema, for as much of JSON Schema as the description uses; a field that no schema tells of
/// is one too.
struct Judge<'a> {
    schemas: &'a Value,
}

impl Judge<'_> {
    /// Whether it fits; the fields of objects that were told of are added to `known`, by their paths.
    fn fits(&self, schema: &Value, value: &Value, at: &str, known: &mut Vec<String>) -> Result<(), String> {
        if let Some(name) = schema["$ref"].as_str() {
            return self.fits(&self.schemas[name.rsplit('/').next().unwrap()], value, at, known);
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.fits(part, value, at, known)?;
        }
        for any in ["anyOf", "oneOf"] {
            if let Some(any) = schema[any].as_array() {
                let tried: Vec<_> = any.iter().map(|one| self.fits(one, value, at, known)).collect();
                if tried.iter().all(Result::is_err) {
                    return Err(format!("{at}: none of {tried:?}"));
                }
            }
        }
        let constant = &schema["const"];
        if !constant.is_null() && constant != value {
            return Err(format!("{at}: {value} is not {constant}"));
        }
        if schema["enum"].as_array().is_some_and(|values| !values.contains(value)) {
            return Err(format!("{at}: {value} is none of {}", schema["enum"]));
        }
        let is = |kind: &str| match kind {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("{at}: {other} is no type"),
        };
        let kinds: Vec<&str> = match &schema["type"] {
            Value::String(kind) => vec![kind],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !kinds.is_empty() && !kinds.iter().any(|kind| is(kind)) {
            return Err(format!("{at}: {value} is no {kinds:?}"));
        }
        for (number, item) in value.as_array().into_iter().flatten().enumerate() {
            let schema = schema["prefixItems"].get(number).unwrap_or(&schema["items"]);
            self.fits(schema, item, &format!("{at}/{number}"), known)?;
        }
        // Where any value may stand, whatever it has is told of.
        let any = |word: &&str| schema.get(word).is_none();
        if ["type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const", "properties"].iter().all(any) {
            known.extend(fields(value, at));
        }
        if let Some(fields) = value.as_object() {
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !fields.contains_key(name) {
                    return Err(format!("{at}: {name} is missing"));
                }
            }
            for (name, value) in fields {
                let at = format!("{at}/{name}");
                let schema = match &schema["properties"][name] {
                    Value::Null => &schema["additionalProperties"],
                    schema => schema,
                };
                if !schema.is_null() {
                    known.push(at.clone());
                    self.fits(schema, value, &at, known)?;
                }
            }
        }
        Ok(())
    }
}

fn fields(value: &Value, at: &str) -> Vec<String> {
    let under = |(name, value): (String, &Value)| {
        let at = format!("{at}/{name}");
        let mut all = fields(value, &at);
        all.push(at);
        all
    };
    match value {
        Value::Object(all) => all.iter().flat_map(|(name, value)| under((name.clone(), value))).collect(),
        Value::Array(items) => {
            items.iter().enumerate().flat_map(|(number, item)| fields(item, &format!("{at}/{number}"))).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn every_sample_of_a_document_is_as_the_description_says() {
    let told: Value = serde_json::from_str(DOCUMENT).unwrap();
    let schemas = &told["components"]["schemas"];
    let judge = Judge { schemas };
    let mut seen = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("schema")).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.file_stem().unwrap().to_str().unwrap().to_owned();
        // What `crux plan`, `crux bloc backup`, `crux bloc restore` and `crux allow` print, and what hooks read; no route
        // answers with it.
        if ["PlanDiff", "Backup", "Restored", "RuleChange", "Told"].contains(&kind.as_str()) {
            continue;
        }
        let sample: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let schema = &schemas[format!("{kind}Document")];
        assert!(schema.is_object(), "no route tells of {kind}");
        let mut known = Vec::new();
        judge.fits(schema, &sample, "", &mut known).unwrap_or_else(|error| panic!("{kind}: {error}"));
        for field in fields(&sample, "") {
            assert!(known.contains(&field), "{kind}: nothing tells of {field}");
        }
        // And it is not true of just anything.
        let mut other = sample.clone();
        other["kind"] = "Other".into();
        assert!(judge.fits(schema, &other, "", &mut known).is_err(), "{kind}");
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn the_page_s_description_tells_of_what_is_there_and_of_nothing_else() {
    let told: Value = serde_json::from_str(of_the_page()).unwrap();
    let paths: Vec<&String> = told["paths"].as_object().unwrap().keys().collect();
    let mut here: Vec<&str> = Route::PAGE.iter().map(|route| route.path()).collect();
    here.sort_unstable();
    assert_eq!(paths, here);
    let schemas = told["components"]["schemas"].as_object().unwrap();
    assert!(schemas.contains_key("StatusDocument") && schemas.contains_key("ErrorDocument"));
    assert!(!schemas.contains_key("FactList") && !schemas.contains_key("WriteRequest"));
    for name in super::named(&told) {
        assert!(schemas.contains_key(&name), "{name}");
    }
    assert_eq!(told["servers"].as_array().unwrap().len(), 1);
    assert!(told["servers"][0]["url"].as_str().unwrap().starts_with("http://127.0.0.1"));
}
