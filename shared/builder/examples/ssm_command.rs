//! Prints what a builder is given for the build document on standard input, as
//! `{"command": …, "userData": …}`: for benchmarks and tests that run a builder
//! without the state machine.
//!
//! An image of the document may have `layers`, `[{"digest": …, "bytes": …}, …]`,
//! lowest first: they decide what the image waits for, as when Plan has read its
//! manifest.

use std::error::Error;
use std::io;

use frontload_builder::{script, user_data};
use frontload_domain::Build;
use frontload_domain::pull_order::{Layer, set_waits};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let mut document: Value = serde_json::from_reader(io::stdin())?;
    let layers = take_layers(&mut document)?;
    let mut build: Build = serde_json::from_value(document)?;
    set_waits(&mut build.images, &layers);
    let given = json!({
        "command": script::ssm_command(&build),
        "userData": user_data::encoded(),
    });
    serde_json::to_writer(io::stdout(), &given)?;
    Ok(())
}

/// The layers of each image of the document, taken out of it.
fn take_layers(document: &mut Value) -> Result<Vec<Option<Vec<Layer>>>, Box<dyn Error>> {
    let images = document["images"].as_array_mut().ok_or("the build has no images")?;
    let taken = images.iter_mut().map(|image| image.as_object_mut()?.remove("layers"));
    taken
        .map(|layers| layers.as_ref().and_then(Value::as_array).map(|all| read_layers(all)))
        .map(Option::transpose)
        .collect()
}

fn read_layers(layers: &[Value]) -> Result<Vec<Layer>, Box<dyn Error>> {
    let read = |layer: &Value| -> Result<Layer, Box<dyn Error>> {
        let digest = layer["digest"].as_str().ok_or("a layer has no digest")?.parse()?;
        Ok(Layer { digest, bytes: layer["bytes"].as_u64().ok_or("a layer has no bytes")? })
    };
    layers.iter().map(read).collect()
}
