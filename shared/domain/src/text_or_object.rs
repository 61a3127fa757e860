//! Reads a value that is written as a string or as an object.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer, MapAccess, Visitor};

/// A string or an object. Errors of serde's untagged enums contain neither the path of the wrong
/// field nor the problem.
pub(super) enum TextOrObject<T, O> {
    /// It was a string.
    Text(T),
    /// It was an object.
    Object(O),
}

impl<'de, T: Deserialize<'de>, O: Deserialize<'de>> Deserialize<'de> for TextOrObject<T, O> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either(PhantomData))
    }
}

struct Either<T, O>(PhantomData<(T, O)>);

impl<'de, T: Deserialize<'de>, O: Deserialize<'de>> Visitor<'de> for Either<T, O> {
    type Value = TextOrObject<T, O>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an object")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        T::deserialize(text.into_deserializer()).map(TextOrObject::Text)
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Self::Value, M::Error> {
        O::deserialize(MapAccessDeserializer::new(map)).map(TextOrObject::Object)
    }
}

#[cfg(test)]
impl<T: schemars::JsonSchema, O: schemars::JsonSchema> schemars::JsonSchema for TextOrObject<T, O> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("{}Or{}", T::schema_name(), O::schema_name()).into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let (text, object) = (generator.subschema_for::<T>(), generator.subschema_for::<O>());
        schemars::json_schema!({"anyOf": [text, object]})
    }
}
