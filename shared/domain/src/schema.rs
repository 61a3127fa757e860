//! Writes what users read about the cache document from its types: the JSON Schema
//! `docs/cache.schema.json` and the table of fields in `docs/configuration.md`. The tests fail when
//! one of them differs from the types; `make docs` writes both.

use std::path::{Path, PathBuf};
use std::{env, fs};

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::Cache;
use crate::cache::Document;

const BEGIN: &str = "<!-- fields: `make docs` writes the table from the types -->\n";
const END: &str = "<!-- end of fields -->\n";

fn docs(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file)
}

/// The schema of the document as it is read, every type in its place.
fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    sorted(settings.into_generator().into_root_schema_for::<Document>().to_value())
}

/// The same schema with sorted keys, each description on one line, and without what tells a user
/// nothing: Rust's number types (`format`) and defaults that are null. The keys are sorted because
/// another crate of the workspace may let `serde_json` keep the order of insertion.
fn sorted(schema: Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            fields.retain(|(name, value)| match name.as_str() {
                "format" => !value.is_string(),
                "default" => !value.is_null(),
                _ => true,
            });
            fields.sort_by(|(one, _), (other, _)| one.cmp(other));
            for (name, value) in &mut fields {
                if let ("description", Value::String(text)) = (name.as_str(), value) {
                    *text = text.replace('\n', " ");
                }
            }
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(entries) => entries.into_iter().map(sorted).collect(),
        other => other,
    }
}

/// A field of the document, as a row of the table shows it.
struct Field {
    path: String,
    schema: Value,
    is_required: bool,
}

/// The fields of `object` and of what they contain: required ones first, otherwise by name.
fn fields_of(object: &Value, parent: &str) -> Vec<Field> {
    let none = Map::new();
    let properties = object["properties"].as_object().unwrap_or(&none);
    let is_required = |name: &str| {
        object["required"].as_array().is_some_and(|names| names.contains(&json!(name)))
    };
    let mut names: Vec<_> = properties.keys().collect();
    names.sort_by_key(|name| (!is_required(name), *name));
    let mut fields = Vec::new();
    for name in names {
        let schema = properties[name].clone();
        let end = if schema["type"] == "array" { "[]" } else { "" };
        let path = format!("{parent}{name}{end}");
        let one = if end.is_empty() { schema.clone() } else { schema["items"].clone() };
        fields.push(Field { path: path.clone(), schema, is_required: is_required(name) });
        for form in forms(&one) {
            fields.extend(fields_of(form, &format!("{path}.")));
        }
    }
    fields
}

/// The forms that a value may have: those of `anyOf`, or the only one.
fn forms(schema: &Value) -> Vec<&Value> {
    match schema["anyOf"].as_array() {
        Some(forms) => forms.iter().filter(|form| form["type"] != "null").collect(),
        None => vec![schema],
    }
}

/// The values that a schema lists, as JSON.
fn listed(schema: &Value) -> Vec<String> {
    let values = |key: &str| schema[key].as_array().cloned().unwrap_or_default();
    let single = schema.get("const").cloned();
    let all = values("enum").into_iter().filter(|value| !value.is_null()).chain(single);
    let all = all.map(|value| format!("`{value}`"));
    all.chain(values("oneOf").iter().flat_map(listed)).collect()
}

/// The type of one value in words.
fn kind(schema: &Value) -> String {
    if schema.get("anyOf").is_some() {
        return forms(schema).into_iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    let listed = listed(schema);
    if !listed.is_empty() {
        return listed.join(", ");
    }
    let name = match &schema["type"] {
        Value::Array(names) => names.iter().find(|name| *name != "null").unwrap_or(&Value::Null),
        name => name,
    };
    match (name.as_str().unwrap(), schema.get("minimum"), schema.get("maximum")) {
        ("integer", Some(least), Some(most)) => format!("integer, {least} to {most}"),
        (name, ..) => name.to_owned(),
    }
}

/// The type of a field in words; of a list, that of an entry.
fn type_of(schema: &Value) -> String {
    if schema["type"] != "array" {
        return kind(schema);
    }
    let entry = kind(&schema["items"]);
    match (schema.get("minItems"), schema.get("maxItems")) {
        (Some(least), Some(most)) => format!("{entry}; {least} to {most} entries"),
        (None, Some(most)) => format!("{entry}; at most {most} entries"),
        _ => entry,
    }
}

fn default_of(field: &Field) -> String {
    match field.schema.get("default") {
        _ if field.is_required => "required".to_owned(),
        // The rows below have the defaults of the object's own fields.
        None | Some(Value::Object(_)) => String::new(),
        Some(value) => format!("`{value}`"),
    }
}

fn table() -> String {
    let mut table = "| field | type | default | meaning |\n|---|---|---|---|\n".to_owned();
    for field in fields_of(&schema(), "") {
        let meaning = field.schema["description"].as_str().unwrap_or_default();
        let cells = [format!("`{}`", field.path), type_of(&field.schema), default_of(&field)];
        let row = format!("| {} | {} |\n", cells.join(" | "), meaning.replace('|', "\\|"));
        table.push_str(&row.replace("|  |", "| |"));
    }
    table
}

/// Compares the file with `wanted`, or writes it if `UPDATE_DOCS` is set.
fn hold(file: &str, wanted: &str) {
    let path = docs(file);
    if env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        fs::write(&path, wanted).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(wanted.lines()).find(|(one, other)| one != other);
    assert!(
        written == wanted,
        "docs/{file} is not what the types of the cache document say: `make docs` writes it anew.\n\
         First line that differs, as written and as wanted:\n{differs:#?}"
    );
}

#[test]
fn the_schema_is_that_of_the_types() {
    hold("cache.schema.json", &format!("{:#}\n", schema()));
}

#[test]
fn the_table_of_fields_is_that_of_the_types() {
    let page = fs::read_to_string(docs("configuration.md")).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has the first marker");
    let (_, after) = rest.split_once(END).expect("the page has the second marker");
    hold("configuration.md", &format!("{before}{BEGIN}\n{}\n{END}{after}", table()));
}

#[test]
fn every_field_has_a_meaning() {
    let fields = fields_of(&schema(), "");
    assert!(fields.len() > 45, "{}", fields.len());
    for Field { path, schema, .. } in fields {
        let meaning = schema["description"].as_str().unwrap_or_default();
        assert!(meaning.ends_with('.') && !meaning.contains("[`"), "{path}: {meaning:?}");
    }
}

/// A document with `value` at `path`, and what the parser says of it.
fn problem_of(path: &str, value: i64) -> String {
    let host = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    let mut document = json!({
        "images": [{"repository": format!("{host}/team/app"), "tags": "*"}],
        "architectures": ["x86_64"],
        "variant": "aws-k8s-1.35"
    });
    if path.starts_with("osUpdates.") {
        document["osUpdates"] = json!({"days": ["monday"], "startHour": 1, "hours": 1});
    }
    let pointer = format!("/{}", path.replace("[]", "/0").replace('.', "/"));
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let mut at = &mut document;
    for part in parent.split('/').skip(1) {
        at = match part.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => &mut at[part],
        };
    }
    at[name] = json!(value);
    let parsed = Cache::parse("default".parse().unwrap(), &document.to_string());
    parsed.err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn the_schemas_limits_of_numbers_are_the_parsers() {
    let mut numbers = 0;
    for Field { path, schema, .. } in fields_of(&schema(), "") {
        for form in forms(&schema) {
            let limit = |name: &str| form.get(name).and_then(Value::as_i64);
            let (Some(least), Some(most)) = (limit("minimum"), limit("maximum")) else { continue };
            numbers += 1;
            let step = limit("multipleOf").unwrap_or(1);
            let start = path.replace("[]", "[0]");
            for outside in [least - step, most + step] {
                let problem = problem_of(&path, outside);
                assert!(problem.starts_with(&format!("{start}: ")), "{path} {outside}: {problem}");
            }
            let range = format!("to {most}");
            for inside in [least, most] {
                let problem = problem_of(&path, inside);
                let is_beyond = problem.contains("out of range") && problem.starts_with(&start);
                assert!(!is_beyond && !problem.contains("is none"), "{path} {inside}: {problem}");
            }
            assert!(problem_of(&path, most + step).contains(&range), "{path}: {range}");
        }
    }
    assert_eq!(numbers, 16);
}
