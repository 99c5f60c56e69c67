use proptest::prelude::*;
use serde_json::json;

use super::*;

fn problem(text: &str) -> JsonProblem {
    parse(text.as_bytes()).expect_err(text).problem
}

fn canonical_text(text: &str) -> String {
    String::from_utf8(canonical(&parse(text.as_bytes()).expect(text)).expect(text)).expect(text)
}

#[test]
fn what_readers_change_silently_is_refused() {
    use JsonProblem::{LoneSurrogate, NumberRange, RepeatedKey, UnsafeInteger};
    for (text, expected) in [
        (r#"{"a":1,"a":1}"#, RepeatedKey),
        (r#"{"a":1,"\u0061":2}"#, RepeatedKey),
        ("9007199254740992", UnsafeInteger),
        ("-9007199254740992", UnsafeInteger),
        ("18446744073709551615", UnsafeInteger),
        ("123456789012345678901234567890", UnsafeInteger),
        ("1e16", UnsafeInteger),
        ("9007199254740993.0", UnsafeInteger),
        ("1e400", NumberRange),
        ("-1e400", NumberRange),
        ("1e-400", NumberRange),
        ("123.456e-789", NumberRange),
        ("123e-10000000", NumberRange),
        (r#""\ud800""#, LoneSurrogate),
        (r#""\udc00""#, LoneSurrogate),
        (r#""\ud800\ud800""#, LoneSurrogate),
        (r#""\ud800x""#, LoneSurrogate),
    ] {
        assert_eq!(problem(text), expected, "{text}");
    }
}

#[test]
fn what_is_not_json_is_refused_with_its_place() {
    for (text, at) in [
        ("", 0),
        (" ", 1),
        ("[1,]", 3),
        ("{\"a\":1,}", 7),
        ("{a:1}", 1),
        ("[1 2]", 3),
        ("01", 1),
        ("1.", 2),
        (".5", 0),
        ("+1", 0),
        ("1e", 2),
        ("-", 1),
        ("NaN", 0),
        ("Infinity", 0),
        ("tru", 0),
        ("'a'", 0),
        ("\"a", 2),
        ("\"\t\"", 1),
        ("\"\\x\"", 2),
        ("\"\\u12g4\"", 5),
        ("\u{feff}1", 0),
        ("1 1", 2),
        ("[", 1),
        ("/**/1", 0),
    ] {
        let error = parse(text.as_bytes()).expect_err(text);
        assert_eq!(error.at, Some(at), "{text:?}: {error}");
    }
    assert_eq!(
        parse(b"\"\xff\"").expect_err("not UTF-8"),
        JsonError { problem: JsonProblem::Utf8, at: Some(1) }
    );
    assert_eq!(
        parse(b"[1,]").expect_err("a comma too many").to_string(),
        "expected a value at byte 3"
    );
}

#[test]
fn depth_bombs_are_refused_without_using_the_stack() {
    let nested = |open: &str, close: &str, levels: usize| {
        format!("{}{}", open.repeat(levels), close.repeat(levels))
    };
    assert!(parse(nested("[", "]", DEPTH_MAX).as_bytes()).is_ok());
    assert_eq!(problem(&nested("[", "]", DEPTH_MAX + 1)), JsonProblem::Depth(DEPTH_MAX));
    assert_eq!(problem(&"[".repeat(100_000)), JsonProblem::Depth(DEPTH_MAX));
    assert_eq!(problem(&"[{\"\":".repeat(50_000)), JsonProblem::Depth(DEPTH_MAX));
    let mut value = json!(1);
    for _ in 0..=DEPTH_MAX {
        value = json!([value]);
    }
    assert_eq!(
        canonical(&value).map_err(|error| error.problem),
        Err(JsonProblem::Depth(DEPTH_MAX))
    );
}

#[test]
fn values_that_no_reader_checked_are_checked_when_written() {
    for value in [json!(u64::MAX), json!(1_u64 << 53), json!(i64::MIN), json!(1e16), json!(2e20)] {
        let error = canonical(&json!({ "a": [value] })).expect_err("an unsafe integer");
        assert_eq!(error.problem, JsonProblem::UnsafeInteger);
    }
    assert_eq!(canonical(&json!(INTEGER_MAX)).unwrap(), b"9007199254740991");
    assert_eq!(canonical(&json!(-INTEGER_MAX)).unwrap(), b"-9007199254740991");
}

#[test]
fn numbers_are_exact_and_written_as_ecmascript_does() {
    for (text, expected) in [
        ("0.9396554707778659", "0.9396554707778659"),
        ("0.20413183694220038", "0.20413183694220038"),
        ("1.0", "1"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("0e99999", "0"),
        ("1e-6", "0.000001"),
        ("1e-7", "1e-7"),
        ("1E22", "1e+22"),
        ("1e21", "1e+21"),
        ("123e65", "1.23e+67"),
        ("4.50", "4.5"),
        ("5e-324", "5e-324"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("333333333.33333329", "333333333.3333333"),
        ("0.000000000000000000000000001", "1e-27"),
    ] {
        assert_eq!(canonical_text(text), expected, "{text}");
    }
}

#[test]
fn keys_are_ordered_by_utf16_and_text_is_left_as_it_is() {
    assert_eq!(
        canonical_text(r#"{"\ufb33":1,"\ud83d\ude00":2,"a":3,"":4,"\r":5}"#),
        "{\"\":4,\"\\r\":5,\"a\":3,\"\u{1f600}\":2,\"\u{fb33}\":1}"
    );
    assert_eq!(canonical_text("\"A\\u030a \\u2028 \\/\""), "\"A\u{30a} \u{2028} /\"");
    assert_eq!(canonical_text(r#""\u0001\u001F\"\\\b""#), r#""\u0001\u001f\"\\\b""#);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-INTEGER_MAX..=INTEGER_MAX).prop_map(|integer| json!(integer)),
        any::<f64>().prop_filter_map("in range", |float| {
            check_float(float).ok()?;
            Number::from_f64(float).map(Value::Number)
        }),
        ".{0,12}".prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map(".{0,6}", inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Bytes of objects with few and many keys, which may be spelled with escapes and come again.
fn any_object() -> impl Strategy<Value = String> {
    let key = prop_oneof!["[a-d]", Just("\\u0061".to_owned()), "[a-z]{2}", "\\PC{0,3}"];
    let value = prop_oneof![Just("1"), Just("[]"), Just("{\"a\":{}}"), Just("01"), Just("\"\\n\"")];
    let members = prop::collection::vec((key, value), 0..24);
    members.prop_map(|members| {
        let member = |(key, value)| format!("\"{key}\": {value}");
        format!("{{{}}}", members.into_iter().map(member).collect::<Vec<_>>().join(","))
    })
}

fn assert_both_answer_alike(bytes: &[u8]) -> Result<(), TestCaseError> {
    prop_assert_eq!(validate(bytes), parse(bytes).map(drop));
    Ok(())
}

#[test]
fn what_is_only_checked_is_refused_as_what_is_read() {
    let deep = "[".repeat(DEPTH_MAX + 1);
    let many: Vec<_> = (0..20).map(|key| format!("\"{key}\":0")).collect();
    let many = many.join(",");
    for text in [
        "",
        "1 1",
        "{\"a\":1e400}",
        "\"\\ud800\"",
        "9007199254740992",
        "[1,]",
        &deep,
        "{\"a\":1,\"\\u0061\":2}",
        "{\"\\u0061\":1,\"a\":2}",
        "{\"a\":1,\"a\":01}",
        &format!("{{{many},\"19\":1}}"),
        &format!("{{{many},\"0\":1}}"),
        &format!("{{{many},\"\\u0030\":1}}"),
        &format!("{{\"\\u0078\":1,{many},\"x\":1}}"),
    ] {
        let error = validate(text.as_bytes()).expect_err(text);
        assert_eq!(parse(text.as_bytes()), Err(error), "{text}");
    }
    assert_eq!(validate(format!("{{{many}}}").as_bytes()), Ok(()));
    assert_eq!(validate(b"\"\xff\""), parse(b"\"\xff\"").map(drop));
}

proptest! {
    #[test]
    fn the_canonical_bytes_are_those_of_the_canonicalizer(value in any_json()) {
        let expected = serde_json_canonicalizer::to_vec(&value).unwrap();
        prop_assert_eq!(canonical(&value).unwrap(), expected);
    }

    /// Keys with characters on both sides of where UTF-8 and UTF-16 are ordered differently.
    #[test]
    fn keys_are_ordered_as_the_canonicalizer_orders_them(
        keys in prop::collection::hash_set("[\u{0}-\u{22}a\\\\\u{7f}\u{e9}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}]{0,3}", 0..8),
    ) {
        let value = Value::Object(keys.into_iter().map(|key| (key, Value::Null)).collect());
        let expected = serde_json_canonicalizer::to_vec(&value).unwrap();
        prop_assert_eq!(canonical(&value).unwrap(), expected);
    }

    #[test]
    fn a_check_answers_what_the_reader_answers(
        value in any_json(),
        place: prop::sample::Index,
        byte: u8,
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        text in r#"[\[\]{}:, "\\a1290.eE+\-tu]{0,24}"#,
        object in any_object(),
    ) {
        let mut spelled = serde_json::to_vec_pretty(&value).unwrap();
        assert_both_answer_alike(&spelled)?;
        let place = place.index(spelled.len());
        spelled[place] = byte;
        assert_both_answer_alike(&spelled)?;
        assert_both_answer_alike(&bytes)?;
        assert_both_answer_alike(text.as_bytes())?;
        assert_both_answer_alike(object.as_bytes())?;
    }

    #[test]
    fn canonical_bytes_read_back_to_the_same_canonical_bytes(value in any_json()) {
        let bytes = canonical(&value).unwrap();
        prop_assert_eq!(canonical(&parse(&bytes).unwrap()).unwrap(), bytes);
    }

    #[test]
    fn spelling_does_not_change_the_canonical_bytes(value in any_json()) {
        let pretty = serde_json::to_vec_pretty(&value).unwrap();
        prop_assert_eq!(canonical(&parse(&pretty).unwrap()).unwrap(), canonical(&value).unwrap());
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = parse(&bytes);
    }

    /// Text made of JSON's own characters gets further into the reader than random bytes do.
    #[test]
    fn what_is_accepted_is_what_an_ordinary_reader_reads(
        text in r#"[\[\]{}:, "\\a1290.eE+\-tu]{0,24}"#
    ) {
        if let Ok(value) = parse(text.as_bytes()) {
            let other: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(canonical(&value).unwrap(), canonical(&other).unwrap());
        }
    }
}
