//! Hex has one spelling: what is read is written alike, and nothing else is read.
#![no_main]

use bizra_omega::domain::bytes::{from_hex, to_hex};
use bizra_omega::domain::digest::Digest;
use bizra_omega::domain::envelope::EnvelopeId;
use bizra_omega::domain::id::NodeId;
use bizra_omega::domain::identity::Signature;
use libfuzzer_sys::fuzz_target;

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn check<const N: usize>(text: &str) {
    match from_hex::<N>(text) {
        Ok(bytes) => assert_eq!(to_hex(&bytes), text),
        Err(_) => assert!(!is_hex(text, 2 * N)),
    }
}

fuzz_target!(|text: &str| {
    check::<0>(text);
    check::<1>(text);
    check::<16>(text);
    check::<32>(text);
    check::<64>(text);
    assert_eq!(NodeId::from_hex(text).is_ok(), is_hex(text, 32));
    assert_eq!(Digest::from_hex(text).is_ok(), is_hex(text, 64));
    assert_eq!(Signature::from_hex(text).is_ok(), is_hex(text, 128));
    if let Some(id) = EnvelopeId::from_text(text) {
        assert_eq!(id.to_string(), text);
    }
});
