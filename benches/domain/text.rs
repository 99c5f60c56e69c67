//! Reading and writing JSON: the payload of 66 bytes, and 64 numbers with fractions.

use std::hint::black_box;

use bizra_omega::domain::json::{canonical, parse, validate};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{ONE, Operation, Way};

pub(super) const PARSE: &str = "JSON parse, 66 bytes";
pub(super) const PARSE_LIMIT: &str = "serde_json";
pub(super) const CANONICAL: &str = "JSON canonical, 66 bytes";
pub(super) const CANONICAL_LIMIT: &str = "serde_json_canonicalizer";

const TEXT: &str = r#"{"action":"infer","prompt":"what is water?","tokens":128,"ok":true}"#;

fn parsing(name: &'static str, text: &'static str) -> Operation {
    let bytes = text.as_bytes();
    let ours = move || parse(black_box(bytes));
    Operation {
        name,
        ways: vec![
            Way::direct(PARSE_LIMIT, move || serde_json::from_slice::<Value>(black_box(bytes))),
            Way::direct(ONE, ours),
            Way::two_threads("domain, two threads", ours),
        ],
    }
}

fn checking() -> Operation {
    let ours = || validate(black_box(TEXT.as_bytes()));
    let limit = || serde_json::from_slice::<IgnoredAny>(black_box(TEXT.as_bytes())).is_ok();
    Operation {
        name: "JSON check without building, 66 bytes",
        ways: vec![
            Way::direct("serde_json, which lets repeated keys pass", limit),
            Way::direct(ONE, ours),
            Way::two_threads("domain, two threads", ours),
        ],
    }
}

fn canonicalizing(name: &'static str, text: &str) -> Operation {
    let value: Value = serde_json::from_str(text).expect("it is JSON");
    let other = value.clone();
    let ours = move || canonical(black_box(&value));
    Operation {
        name,
        ways: vec![
            Way::direct(CANONICAL_LIMIT, move || {
                serde_json_canonicalizer::to_vec(black_box(&other))
            }),
            Way::direct(ONE, ours.clone()),
            Way::two_threads("domain, two threads", ours),
        ],
    }
}

pub(super) fn operations() -> Vec<Operation> {
    let numbers: Vec<_> = (0..64).map(|number| (f64::from(number) * 0.7311).sin()).collect();
    let numbers: &'static str = Value::from(numbers).to_string().leak();
    vec![
        parsing(PARSE, TEXT),
        parsing("JSON parse, 64 numbers", numbers),
        checking(),
        canonicalizing(CANONICAL, TEXT),
        canonicalizing("JSON canonical, 64 numbers", numbers),
    ]
}
