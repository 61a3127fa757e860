//! Tests everything that parses with hostile input: with generated input, and with the documents
//! under `tests/hostile`, each of which is refused or accepted as its name says.

mod documents;
mod input;
mod payloads;
mod references;
mod script;

use std::fs;
use std::path::Path;

/// The files of a folder of `tests/hostile`: name, content, and whether it must be accepted.
fn corpus(folder: &str) -> Vec<(String, String, bool)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/hostile").join(folder);
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let accepted = name.starts_with("accepted-");
        assert!(accepted || name.starts_with("refused-"), "{name} says neither");
        (name, String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned(), accepted)
    };
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(read).collect();
    assert!(files.len() >= 2, "{} is empty", folder.display());
    files
}
