//! See `bizra_omega_fuzz::constitution`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| bizra_omega_fuzz::constitution(text));
