//! See `bizra_omega_fuzz::gates`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| bizra_omega_fuzz::gates(content));
