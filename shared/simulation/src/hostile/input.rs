//! Hostile input for property tests: a valid document with a part dropped, retyped, nested, renamed
//! or replaced by a nasty text, and text that may not be a document at all.
//!
//! The cases are the same in each run. `PROPTEST_RNG_SEED` selects others, `PROPTEST_CASES` sets
//! their number.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};

use frontload_domain::testing::nasty;

/// Runs `cases` cases, or `PROPTEST_CASES` if that is set. The seeds of failed cases are kept under
/// `proptest-regressions` and tried first.
pub fn config(cases: u32) -> ProptestConfig {
    let asked = ProptestConfig::default();
    let rng_seed = match asked.rng_seed {
        RngSeed::Random => RngSeed::Fixed(20_261_121),
        fixed @ RngSeed::Fixed(_) => fixed,
    };
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { asked.cases } else { cases };
    ProptestConfig { cases, rng_seed, ..asked }
}

/// A text that is nasty or contains a nasty text.
pub fn nasty_text() -> impl Strategy<Value = String> {
    prop_oneof![select(nasty()), (".{0,12}", select(nasty())).prop_map(|(a, b)| a + &b)]
}

fn odd_values() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(1),
        json!(3.0),
        json!(1.5),
        json!(255),
        json!(16_385),
        json!(65_535),
        json!(65_536),
        json!(u32::MAX),
        json!(1_u64 << 32),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e308),
        json!(-1e-300),
        json!([]),
        json!({}),
        json!([[]]),
        json!([null]),
        json!("1"),
    ]
}

/// A change to one place of a document.
#[derive(Clone, Debug)]
enum Change {
    Drop,
    Replace(Value),
    /// Inserts this text into the existing text.
    Insert(Index, String),
    Rename(String),
    Add(String, Value),
    /// Repeats a list's last entry; adds an object to itself under this name.
    Double(String),
    /// Nests the value this many times: in lists if true, otherwise in objects.
    Nest(u8, bool),
    /// Replaces the value by that of another place.
    Copy(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let odd = || select(odd_values());
    prop_oneof![
        3 => Just(Change::Drop),
        4 => odd().prop_map(Change::Replace),
        4 => nasty_text().prop_map(|text| Change::Replace(json!(text))),
        4 => (any::<Index>(), select(nasty())).prop_map(|(at, text)| Change::Insert(at, text)),
        2 => nasty_text().prop_map(Change::Rename),
        2 => (nasty_text(), odd()).prop_map(|(name, value)| Change::Add(name, value)),
        1 => nasty_text().prop_map(Change::Double),
        1 => (1..110_u8, any::<bool>()).prop_map(|(depth, list)| Change::Nest(depth, list)),
        2 => any::<Index>().prop_map(Change::Copy),
    ]
}

/// Collects the JSON pointers of a document's places.
fn places(value: &Value, here: &str, found: &mut Vec<String>) {
    found.push(here.to_owned());
    match value {
        Value::Array(list) => {
            for (index, entry) in list.iter().enumerate() {
                places(entry, &format!("{here}/{index}"), found);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                places(field, &format!("{here}/{name}"), found);
            }
        }
        _ => {}
    }
}

fn insert(text: &str, at: Index, nasty: &str) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let at = at.index(characters.len() + 1);
    characters.splice(at..at, nasty.chars());
    characters.into_iter().collect()
}

fn nest(value: Value, depth: u8, list: bool) -> Value {
    (0..depth).fold(value, |inner, _| if list { json!([inner]) } else { json!({"a": inner}) })
}

/// Removes the field or entry at `place` and returns it.
fn take(document: &mut Value, place: &str) -> Option<Value> {
    let (parent, name) = place.rsplit_once('/')?;
    match document.pointer_mut(parent)? {
        Value::Array(list) => Some(list.remove(name.parse().ok()?)),
        Value::Object(fields) => fields.remove(&name.replace("~1", "/").replace("~0", "~")),
        _ => None,
    }
}

fn apply(document: &mut Value, place: Index, change: Change) {
    let mut all = Vec::new();
    places(document, "", &mut all);
    let place = all[place.index(all.len())].clone();
    let parent = place.rsplit_once('/').map_or("", |(parent, _)| parent);
    let found = document.pointer(&place).cloned().unwrap();
    let new = match change {
        Change::Drop => return drop(take(document, &place)),
        Change::Rename(name) => {
            if let (Some(value), Some(Value::Object(fields))) =
                (take(document, &place), document.pointer_mut(parent))
            {
                fields.insert(name, value);
            }
            return;
        }
        Change::Replace(value) => value,
        Change::Insert(at, nasty) => match &found {
            Value::String(text) => json!(insert(text, at, &nasty)),
            other => json!(format!("{other}{nasty}")),
        },
        Change::Add(name, value) => with(found, name, value),
        Change::Double(name) => with(found.clone(), name, found),
        Change::Nest(depth, list) => nest(found, depth, list),
        Change::Copy(other) => document.pointer(&all[other.index(all.len())]).cloned().unwrap(),
    };
    *document.pointer_mut(&place).unwrap() = new;
}

/// Adds a field or entry.
fn with(mut found: Value, name: String, value: Value) -> Value {
    match &mut found {
        Value::Array(list) => list.push(list.last().cloned().unwrap_or(value)),
        Value::Object(fields) => drop(fields.insert(name, value)),
        _ => {}
    }
    found
}

/// `good` with at most three changes, sometimes with none.
pub fn changed(good: Value) -> impl Strategy<Value = Value> {
    vec((any::<Index>(), change()), 0..4).prop_map(move |changes| {
        let mut document = good.clone();
        for (place, change) in changes {
            apply(&mut document, place, change);
        }
        document
    })
}

/// `good` with a part cut out and filled with deep nesting or with numbers that no type can
/// represent; or any bytes.
pub fn torn(good: String) -> impl Strategy<Value = String> {
    let fillings = vec![
        String::new(),
        "0".to_owned(),
        "\\n".to_owned(),
        "[".repeat(20_000),
        "{\"a\":".repeat(20_000),
        "1e999".to_owned(),
        "-".to_owned(),
        "\\u0000".to_owned(),
        "\\ud800".to_owned(),
        "\"".to_owned(),
        ",".to_owned(),
        "9".repeat(400),
        "\u{feff}".to_owned(),
        "//".to_owned(),
        "\0".to_owned(),
    ];
    let length = prop_oneof![0..3_usize, any::<Index>().prop_map(|to| to.index(2_000))];
    let torn =
        (any::<Index>(), length, select(fillings)).prop_map(move |(from, length, filling)| {
            let from = from.index(good.len() + 1);
            let to = good.len().min(from + length);
            let (head, tail) = (&good.as_bytes()[..from], &good.as_bytes()[to..]);
            String::from_utf8_lossy(&[head, filling.as_bytes(), tail].concat()).into_owned()
        });
    let bytes = vec(any::<u8>(), 0..300);
    prop_oneof![3 => torn, 1 => bytes.prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())]
}
