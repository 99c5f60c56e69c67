//! Gates answer any content, alike every time, and no run without a verdict passes.
#![no_main]

use std::sync::LazyLock;

use bizra_omega::domain::constitution::{Constitution, DEFAULT_TOML};
use bizra_omega::domain::gate::{ContentType, GateInput, Profile, run};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

static CONSTITUTION: LazyLock<Constitution> =
    LazyLock::new(|| Constitution::parse("built in", DEFAULT_TOML).expect("it is valid"));

fuzz_target!(|content: &[u8]| {
    let content = Bytes::copy_from_slice(content);
    for profile in Profile::ALL {
        for content_type in [ContentType::Text, ContentType::Json] {
            let input = GateInput {
                content: content.clone(),
                content_type,
                snr_claim: None,
                ihsan_claim: None,
            };
            let receipt = run(&CONSTITUTION, profile, input.clone());
            assert!(!receipt.verdicts().is_empty());
            assert_eq!(receipt.passed(), receipt.code().is_none());
            assert_eq!(receipt.to_json(), run(&CONSTITUTION, profile, input).to_json());
        }
    }
});
