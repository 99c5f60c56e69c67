//! See `bizra_omega_fuzz::envelope`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| bizra_omega_fuzz::envelope(bytes));
