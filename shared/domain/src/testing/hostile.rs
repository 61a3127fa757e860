//! Hostile texts, and what may become of them.

use serde_json::Value;

use crate::names::is_plain;

/// Texts that a shell, a log, a terminal, a path or a format would misinterpret. `canary` is a
/// command that a test puts where only a shell would find it.
const NASTY: [&str; 55] = [
    "",
    " ",
    "-",
    "--help",
    "-rf",
    "..",
    "../../etc/passwd",
    "*",
    "~",
    "?",
    "0x10",
    "canary",
    "$(canary)",
    "`canary`",
    "'; canary; '",
    "\"; canary; #",
    "x'$(canary)'",
    "a b",
    "a;canary",
    "a&canary",
    "a|canary",
    "a>canary",
    "${IFS}canary",
    "$((canary))",
    "a[$(canary)]",
    "\\",
    "\\$(canary)",
    "%s%n",
    "#",
    "!",
    "{a,b}",
    "\n",
    "a\nb",
    "a\r\nERROR step failed",
    "\t",
    "\0",
    "a\0b",
    "\u{1b}[2J",
    "\u{7f}",
    "\u{85}",
    "\u{202e}txt.exe",
    "\u{2066}a\u{2069}",
    "\u{2028}",
    "\u{2029}",
    "\u{200b}",
    "\u{feff}",
    "é",
    "𝓪",
    "١",
    "ａ",
    "null",
    "true",
    "{\"a\":1}",
    "[",
    "]]>",
];

/// [`NASTY`], and texts that are too long.
pub fn nasty() -> Vec<String> {
    let long = ["A".repeat(10_000), "a/".repeat(5_000), "\u{202e}".repeat(3_000)];
    NASTY.map(ToOwned::to_owned).into_iter().chain(long).collect()
}

/// Fails when a text is not a safe sentence for a log: empty, longer than 2,000 characters, or with
/// a character that starts a line, moves the cursor or changes the reading direction.
pub fn assert_sentence(text: &str) {
    let start: String = text.chars().take(300).collect();
    assert!(!text.is_empty() && text.chars().count() <= 2_000, "{} of {start:?}", text.len());
    assert!(text.chars().all(is_plain), "{start:?}");
}

/// Fails when an accepted text contains what a shell, a path or a log would misinterpret.
pub fn assert_harmless(text: &str) {
    let is_harmless = |c: char| c.is_ascii_alphanumeric() || "._-/:@+=,~".contains(c);
    assert!(text.chars().all(is_harmless), "{text:?}");
}

/// [`assert_harmless`] for every text and field name of a document.
pub fn assert_harmless_document(document: &Value) {
    match document {
        Value::String(text) => assert_harmless(text),
        Value::Array(list) => list.iter().for_each(assert_harmless_document),
        Value::Object(fields) => {
            for (name, field) in fields {
                assert_harmless(name);
                assert_harmless_document(field);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
