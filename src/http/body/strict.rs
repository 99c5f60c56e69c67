//! JSON as a source of requests, stricter and truer than serde's own reading of it: a struct is an
//! object and no array of its fields, and a whole number is an integer however it is written.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, Error as _, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value};

use crate::domain::json::INTEGER_MAX;

/// A value that is read so.
#[derive(Debug)]
pub(super) struct Strict(pub(super) Value);

impl Strict {
    /// `3.0` is the integer 3 (JSON Schema 2020-12, section 6.1.1).
    fn integer(self) -> Value {
        #[expect(clippy::cast_precision_loss, reason = "exact: it is below 2^53")]
        let is_safe = |number: f64| number.fract() == 0.0 && number.abs() <= INTEGER_MAX as f64;
        match self.0.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "it has no fraction, and fits")]
            Some(number) if self.0.is_f64() && is_safe(number) => Value::from(number as i64),
            _ => self.0,
        }
    }
}

macro_rules! integers {
    ($($name:ident)+) => {$(
        fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.integer().$name(visitor)
        }
    )+};
}

impl<'de> Deserializer<'de> for Strict {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.into_iter().map(Strict));
                let value = visitor.visit_seq(&mut items)?;
                items.end()?;
                Ok(value)
            }
            Value::Object(keys) => {
                let keys = keys.into_iter().map(|(key, value)| (key, Strict(value)));
                let mut keys = MapDeserializer::new(keys);
                let value = visitor.visit_map(&mut keys)?;
                keys.end()?;
                Ok(value)
            }
            plain => plain.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(_) => Err(Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    forward_to_deserialize_any! {
        bool f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        identifier ignored_any
    }
}

impl IntoDeserializer<'_, Error> for Strict {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Form {
        size: i64,
        part: Option<Part>,
        #[serde(default)]
        parts: Vec<Part>,
        any: Option<Value>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Part {
        count: Option<u32>,
        share: Option<f64>,
    }

    fn read(value: Value) -> Result<Form, String> {
        Form::deserialize(Strict(value)).map_err(|error| error.to_string())
    }

    #[test]
    fn an_object_is_no_array_of_its_fields() {
        for value in [
            json!([1, null]),
            json!({ "size": 1, "part": [1, 0.5] }),
            json!({ "size": 1, "parts": [{ "count": 1 }, [1, 0.5]] }),
            json!([]),
        ] {
            let refused = read(value.clone()).unwrap_err();
            assert!(refused.starts_with("invalid type: sequence, expected struct"), "{refused}");
        }
    }

    #[test]
    fn a_whole_number_is_an_integer_however_it_is_written() {
        let form = read(json!({ "size": 3.0, "part": { "count": 4.0, "share": 1 } })).unwrap();
        assert_eq!(form.size, 3);
        assert_eq!(form.part, Some(Part { count: Some(4), share: Some(1.0) }));
        assert_eq!(read(json!({ "size": -0.0 })).unwrap().size, 0);
        for size in [json!(1.5), json!(1e300), json!("3"), json!(true), json!(null), json!([3])] {
            assert!(read(json!({ "size": size })).is_err(), "{size}");
        }
        assert!(read(json!({ "size": 1, "part": { "count": -1.0 } })).is_err());
    }

    #[test]
    fn what_may_be_anything_stays_as_it_is() {
        let any = json!({ "a": [1, 1.0, -2, 1e300, "x", null, true, { "b": [] }] });
        let form = read(json!({ "size": 1, "any": any.clone() })).unwrap();
        assert_eq!(form.any.unwrap().to_string(), any.to_string());
    }
}
