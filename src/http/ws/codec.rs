//! Frames as values: JSON in text, or MessagePack in binary.

use std::fmt;
use std::io::Cursor;

use bytes::Bytes;
use rmp_serde::Deserializer;
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use tokio_tungstenite::tungstenite::Message;

use crate::domain::json::{self, DEPTH_MAX, INTEGER_MAX};
use crate::http::error::ApiError;

/// A signed value may lie in an envelope, that in a request, that in the parameters of a call, and
/// those in a frame.
const FRAME_DEPTH_MAX: usize = DEPTH_MAX + 4;

/// How a socket writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Json,
    MsgPack,
}

impl Codec {
    /// Every subprotocol, the preferred one first.
    pub(super) const ALL: [(Self, &'static str); 2] =
        [(Self::MsgPack, "bizra.msgpack"), (Self::Json, "bizra.json")];

    /// Reads a data frame.
    ///
    /// # Errors
    /// When it is of the other kind, or does not hold exactly one value that I-JSON has too.
    pub(super) fn read(self, message: &Message) -> Result<Value, ApiError> {
        match (self, message) {
            (Self::Json, Message::Text(text)) => {
                let value = json::parse_nested(text.as_bytes(), FRAME_DEPTH_MAX);
                value.map_err(|error| ApiError::invalid("INVALID_JSON", error.to_string()))
            }
            (Self::MsgPack, Message::Binary(bytes)) => {
                unpack(bytes).map_err(|error| ApiError::invalid("INVALID_MSGPACK", error))
            }
            (Self::Json, _) => Err(wrong_kind("text frames; ask for bizra.msgpack to send binary")),
            (Self::MsgPack, _) => Err(wrong_kind("binary frames")),
        }
    }

    /// Writes a frame.
    pub(super) fn write(self, value: &Value) -> Message {
        match self {
            Self::Json => Message::text(value.to_string()),
            // A JSON value has nothing that MessagePack cannot hold.
            Self::MsgPack => Message::binary(rmp_serde::to_vec(value).unwrap_or_default()),
        }
    }
}

fn wrong_kind(wanted: &str) -> ApiError {
    ApiError::invalid("WRONG_FRAME_KIND", format!("this socket takes {wanted}"))
}

fn unpack(bytes: &Bytes) -> Result<Value, String> {
    let mut reader = Deserializer::new(Cursor::new(bytes.as_ref()));
    // Its count includes the innermost value.
    reader.set_max_depth(FRAME_DEPTH_MAX + 1);
    let Strict(value) = Strict::deserialize(&mut reader).map_err(|error| error.to_string())?;
    if usize::try_from(reader.position()) == Ok(bytes.len()) {
        Ok(value)
    } else {
        Err("more bytes after the value".into())
    }
}

/// A value of MessagePack that is one of I-JSON too.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        StrictSeed.deserialize(deserializer).map(Self)
    }
}

#[derive(Clone, Copy)]
struct StrictSeed;

impl<'de> DeserializeSeed<'de> for StrictSeed {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictSeed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what JSON has too")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        if value.unsigned_abs() > INTEGER_MAX.unsigned_abs() {
            return Err(E::custom("integer outside +-(2^53 - 1); write it as a string"));
        }
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        self.visit_i64(i64::try_from(value).unwrap_or(i64::MAX))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value);
        number.map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        // A declared length is not believed: a frame of five bytes can claim four billion items.
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let value = members.next_value_seed(self)?;
            if map.insert(key, value).is_some() {
                return Err(de::Error::custom("repeated key"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn unpacked(bytes: &[u8]) -> Result<Value, String> {
        unpack(&Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn what_json_does_not_have_is_refused() {
        let deep = [vec![0x91; 100], vec![0xc0]].concat();
        for bytes in [
            &b""[..],
            b"\xc1",                                 // never used
            b"\xc4\x01a",                            // binary
            b"\xd4\x01\x00",                         // an extension
            b"\xcb\x7f\xf8\0\0\0\0\0\0",             // NaN
            b"\xcb\x7f\xf0\0\0\0\0\0\0",             // infinity
            b"\xcf\x00\x20\0\0\0\0\0\0",             // 2^53
            b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", // 2^64 - 1
            b"\x82\xa1a\x01\xa1a\x02",               // a repeated key
            b"\x81\x01\x01",                         // a key that is no text
            b"\xa1\xff",                             // a string that is no UTF-8
            b"\xc0\xc0",                             // two values
            b"\xdd\xff\xff\xff\xff",                 // four billion items, of which none
            b"\xdf\xff\xff\xff\xff",                 // as many members
            b"\xdb\xff\xff\xff\xffa",                // as many bytes of text
            &deep,
        ] {
            assert!(unpacked(bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn each_kind_of_socket_takes_its_kind_of_frame() {
        let (text, binary) = (Message::text("{}"), Message::binary(vec![0x80]));
        assert_eq!(Codec::Json.read(&text).unwrap(), json!({}));
        assert_eq!(Codec::MsgPack.read(&binary).unwrap(), json!({}));
        for (codec, message) in [(Codec::Json, binary), (Codec::MsgPack, text)] {
            assert_eq!(codec.read(&message).unwrap_err().code(), "WRONG_FRAME_KIND");
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-INTEGER_MAX..=INTEGER_MAX).prop_map(Value::from),
            (-1e9..1e9).prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map(".{0,6}", inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in any_value()) {
            for (codec, _) in Codec::ALL {
                prop_assert_eq!(&codec.read(&codec.write(&value)).unwrap(), &value);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = unpacked(&bytes);
        }
    }
}
