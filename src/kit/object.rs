//! JSON objects as structs, and nothing else: serde's derive alone takes an array too, its values by position.
//!
//! For `#[serde(deserialize_with = …)]` on every field that is a struct of our own.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

struct Fields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields))
    }
}

pub fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    from.deserialize_map(Fields(PhantomData))
}

struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        object(from).map(Object)
    }
}

/// An object or null.
pub fn maybe_object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<Object<T>>::deserialize(from)?.map(|object| object.0))
}

/// A list of objects.
pub fn objects<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Vec::<Object<T>>::deserialize(from)?.into_iter().map(|object| object.0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Basket {
        #[serde(deserialize_with = "object")]
        first: Line,
        #[serde(default, deserialize_with = "maybe_object")]
        other: Option<Line>,
        #[serde(deserialize_with = "objects")]
        more: Vec<Line>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Line {
        amount: i32,
    }

    #[test]
    fn an_array_is_never_taken_for_an_object() {
        let read = |text: &str| serde_json::from_str::<Basket>(text);
        let basket = read(r#"{"first":{"amount":1},"other":null,"more":[{"amount":2}]}"#).unwrap();
        assert_eq!((basket.first.amount, basket.other.is_none(), basket.more[0].amount), (1, true, 2));
        for text in [
            r#"{"first":[1],"more":[]}"#,
            r#"{"first":{"amount":1},"other":[1],"more":[]}"#,
            r#"{"first":{"amount":1},"more":[[1]]}"#,
        ] {
            assert!(read(text).err().unwrap().to_string().contains("an object"), "{text}");
        }
        assert!(
            read(r#"{"first":{"amount":1,"vat":2},"more":[]}"#).is_err(),
            "and its unknown fields are still refused"
        );
    }
}
