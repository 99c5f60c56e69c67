//! What the strict reader accepts, an ordinary reader reads alike, and its canonical form is
//! accepted and is its own canonical form.
#![no_main]

use bizra_omega::domain::json::{canonical, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = parse(bytes) else { return };
    let written = canonical(&value).expect("what is read can be written");
    let read = parse(&written).expect("what is written can be read");
    assert_eq!(canonical(&read).expect("and written again"), written);
    let other: serde_json::Value = serde_json::from_slice(bytes).expect("JSON to other readers");
    assert_eq!(canonical(&other).expect("the same value"), written);
});
