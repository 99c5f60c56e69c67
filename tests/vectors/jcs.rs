//! The canonical form (RFC 8785) against the official samples and the sequence of numbers that
//! checks how doubles are written.

use bizra_omega::domain::json::{JsonProblem, canonical, parse};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn vectors() -> Value {
    serde_json::from_str(include_str!("jcs.json")).unwrap()
}

#[test]
fn the_official_samples_come_out_byte_for_byte() {
    let vectors = vectors();
    let samples = vectors["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 6);
    for sample in samples {
        let value = parse(sample["input_utf8"].as_str().unwrap().as_bytes()).unwrap();
        let bytes = canonical(&value).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert_eq!(text, sample["output_utf8"].as_str().unwrap(), "{}", sample["name"]);
        assert_eq!(canonical(&parse(&bytes).unwrap()).unwrap(), bytes, "{}", sample["name"]);
    }
}

/// The doubles of the published sequence: chosen ones, then two thousand in a row, then random ones
/// from a chain of SHA-256.
struct Numbers {
    chosen: Vec<u64>,
    at: usize,
    block: [u8; 32],
    left: Vec<u64>,
}

impl Numbers {
    fn new() -> Self {
        let chosen = vectors()["numbers"].as_array().unwrap().clone();
        let read = |hex: &Value| u64::from_str_radix(hex.as_str().unwrap(), 16).unwrap();
        let chosen = chosen.iter().map(read).collect();
        Self { chosen, at: 0, block: [0; 32], left: Vec::new() }
    }
}

impl Iterator for Numbers {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        let at = self.at;
        self.at += 1;
        if let Some(bits) = self.chosen.get(at) {
            return Some(f64::from_bits(*bits));
        }
        let row = at - self.chosen.len();
        if row < 2000 {
            return Some(f64::from_bits(0x0010_0000_0000_0000 + row as u64));
        }
        loop {
            if self.left.is_empty() {
                self.block = Sha256::digest(self.block).into();
                let words = self.block.chunks(8).rev();
                self.left =
                    words.map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
            }
            let float = f64::from_bits(self.left.pop().unwrap());
            if float != 0.0 && float.is_finite() {
                return Some(float);
            }
        }
    }
}

#[test]
fn a_hundred_thousand_numbers_are_written_as_ecmascript_does() {
    let published = vectors()["number_lines_sha256"].clone();
    let mut hash = Sha256::new();
    let (mut lines, mut signable) = (0, 0);
    for float in Numbers::new().take(100_000) {
        let value = Value::from(float);
        let plain = serde_json_canonicalizer::to_string(&value).unwrap();
        match canonical(&value) {
            Ok(bytes) => {
                assert_eq!(bytes, plain.as_bytes());
                let read = parse(&bytes).unwrap().as_f64().unwrap();
                // Zero has lost its sign, which is what the standard says.
                assert!(read == float, "{plain} is read as {read:e}");
                signable += 1;
            }
            Err(error) => {
                // Whole numbers that other readers take for integers beyond 2^53.
                assert_eq!(error.problem, JsonProblem::UnsafeInteger, "{plain}");
                assert!((9_007_199_254_740_992.0..1e21).contains(&float.abs()), "{plain}");
            }
        }
        hash.update(format!("{:x},{plain}\n", float.to_bits()));
        lines += 1;
        if let Some(expected) = published.get(lines.to_string()) {
            let so_far: [u8; 32] = hash.clone().finalize().into();
            assert_eq!(base16ct::lower::encode_string(&so_far), expected.as_str().unwrap());
        }
    }
    assert_eq!((lines, signable > 98_000), (100_000, true), "{signable}");
}
