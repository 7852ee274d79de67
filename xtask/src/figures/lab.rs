//! Figures of running fulcrums, taken by the lab's own program.

use super::Row;
use crate::sh;
use serde_json::Value;

/// Runs `figures --json` of crux-lab for one part, if there is such a binary.
pub fn rows(part: &str, rounds: Option<u32>) -> sh::Result<Vec<Row>> {
    let metadata = sh::capture(&mut sh::cargo(["metadata", "--no-deps", "--format-version", "1", "--offline"]))?;
    let metadata = serde_json::from_str(&metadata).map_err(|e| format!("`cargo metadata` printed bad JSON: {e}"))?;
    if !has_binary(&metadata) {
        return Err("crux-lab has no binary `figures` yet".into());
    }
    // The whole workspace, so that the fulcrums it starts are release builds of this very tree.
    sh::run(&mut sh::cargo(["build", "--release", "--workspace", "--bins", "--locked"]))?;
    let bin = sh::target_dir()?.join("release");
    let mut command = sh::program(bin.join("figures"));
    command.args(["--json", "--only", part]);
    if let Some(rounds) = rounds {
        command.args(["--rounds", &rounds.to_string()]);
    }
    command.env("CRUX_BIN", bin.join("crux")).stderr(std::process::Stdio::inherit());
    parse(&sh::capture(&mut command)?)
}

fn has_binary(metadata: &Value) -> bool {
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    list(&metadata["packages"])
        .iter()
        .filter(|p| p["name"] == "crux-lab")
        .flat_map(|p| list(&p["targets"]))
        .any(|target| target["name"] == "figures" && list(&target["kind"]).iter().any(|kind| kind == "bin"))
}

/// Reads an array of figures as the lab and the simulator print it.
pub fn parse(text: &str) -> sh::Result<Vec<Row>> {
    let bad = |why: &str| format!("the figures are not what they should be: {why}");
    let json: Value = serde_json::from_str(text).map_err(|e| bad(&e.to_string()))?;
    let items = json.as_array().ok_or_else(|| bad("not an array"))?;
    let field = |item: &Value, key: &str| match &item[key] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    items
        .iter()
        .map(|item| {
            let row = Row::new(field(item, "name"), field(item, "value"), &field(item, "unit"), field(item, "note"));
            if row.name.is_empty() || row.value.is_empty() {
                return Err(bad(&format!("a figure without name or value: {item}")));
            }
            let own = field(item, "load");
            let load = if own.is_empty() { row.load.clone() } else { own };
            Ok(Row { load, ..row }.target(&field(item, "target")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_labs_rows_are_taken_over_as_they_are() {
        let text = r#"[{"name":"ready","value":2.9,"unit":"s","target":"<= 3","note":"n","load":1.5},
                       {"name":"rss","value":"21","unit":"MB","target":null}]"#;
        let rows = parse(text).expect("is well formed");
        let shown: Vec<String> =
            rows.iter().map(|r| format!("{} {} {} {:?} {}", r.name, r.value, r.unit, r.target, r.note)).collect();
        assert_eq!(shown, ["ready 2.9 s \"<= 3\" n", "rss 21 MB \"\" "]);
        assert_eq!(rows[0].load, "1.5");
    }

    #[test]
    fn a_figure_without_a_value_is_an_error() {
        for bad in ["{}", "[{\"name\":\"x\"}]", "[{\"value\":1}]", "no"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_binary_is_found_by_kind() {
        let with = |kind: &str| serde_json::json!({"packages": [{"name": "crux-lab", "targets": [{"name": "figures", "kind": [kind]}]}]});
        assert!(has_binary(&with("bin")) && !has_binary(&with("test")));
    }
}
