//! The constitution parser answers any text; what it accepts has a digest that does not change.
#![no_main]

use bizra_omega::domain::constitution::Constitution;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(constitution) = Constitution::parse("fuzz", text) else { return };
    let again = Constitution::parse("again", text).expect("accepted before");
    assert_eq!(constitution.digest(), again.digest());
});
