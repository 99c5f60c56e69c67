//! The calls that `bench.py` makes, without Python: a line of name and nanoseconds for each.

use std::hint::black_box;
use std::io::Write as _;
use std::time::{Duration, Instant};

use bizra_omega::domain::constitution::Constitution;
use bizra_omega::domain::digest::domain_separated_digest;
use bizra_omega::domain::envelope::{Draft, EnvelopeId, Options, verify};
use bizra_omega::domain::gate::{ContentType, GateInput, Surroundings, run};
use bizra_omega::domain::identity::{Claim, KeyUse, NodeKey, verify_claim};
use bizra_omega::domain::json::parse;
use bizra_omega::domain::profile::Profile;
use bizra_omega::domain::score::Score;

const TURNS: usize = 31;
const TURN: Duration = Duration::from_millis(20);
const PAYLOAD: &[u8] = br#"{"action":"transfer","amount":42,"note":"as agreed on Tuesday"}   "#;
const CONTENT: &[u8] = br#"{"action":"transfer","amount":42,"note":"agree"}"#;

fn main() -> std::io::Result<()> {
    let secret: [u8; 32] = std::array::from_fn(|at| u8::try_from(at + 1).unwrap_or(0));
    let key = NodeKey::from_secret(&secret);
    let message = [b'm'; 48];
    let signed = key.sign(KeyUse::Message, &message);
    let claim = Claim {
        message: message.to_vec().into(),
        signature: signed.signature.to_hex(),
        public_key: signed.public_key.to_hex(),
    };
    let constitution = Constitution::default();
    let seal = || {
        let draft = Draft {
            id: EnvelopeId([7; 16]),
            timestamp_ms: 1_700_000_000_000,
            ttl_s: 3600,
            audience: None,
            provenance: Vec::new(),
            constitution: constitution.digest(),
            gates: None,
            payload: parse(PAYLOAD).unwrap_or_default(),
        };
        let unsigned = draft.prepare(key.public_key()).ok()?;
        let signed = key.sign(KeyUse::Envelope, unsigned.signing_bytes());
        Some(unsigned.finish(&signed).ok()?.to_bytes())
    };
    let sealed = seal().unwrap_or_default();
    let at = 1_700_000_000_000;
    let check = |bytes: &[u8]| verify(bytes, at, &Options::default()).is_valid();
    let (snr, ihsan) = (Score::try_from(0.9).ok(), Score::try_from(0.97).ok());
    let judge = || {
        let input = GateInput {
            content: CONTENT.to_vec().into(),
            content_type: ContentType::Json,
            snr_claim: snr,
            ihsan_claim: ihsan,
            facts: None,
        };
        let around = Surroundings::default();
        let began = Instant::now();
        run(&constitution, Profile::Check, input, &around, || began.elapsed()).passed()
    };
    assert!(check(&sealed) && judge(), "what is measured works");
    tell("sign 48 B", || key.sign(KeyUse::Message, &message).signature.to_hex())?;
    tell("verify 48 B", || verify_claim(&claim))?;
    for (size, name) in [(13, "13 B"), (1024, "1 KiB"), (1 << 20, "1 MiB")] {
        let data = vec![0; size];
        tell(&format!("digest {name}"), || domain_separated_digest(&data).to_hex())?;
    }
    tell("envelope create and verify", || check(&seal().unwrap_or_default()))?;
    tell("envelope create", seal)?;
    tell("envelope verify", || check(&sealed))?;
    tell("gate check 48 B", judge)
}

/// Prints the median of the turns.
fn tell<T>(name: &str, call: impl Fn() -> T) -> std::io::Result<()> {
    let mut times: Vec<Duration> = (0..TURNS).map(|_| turn(&call)).collect();
    times.sort_unstable();
    writeln!(std::io::stdout().lock(), "{name} {}", times[TURNS / 2].as_nanos())
}

fn turn<T>(call: impl Fn() -> T) -> Duration {
    let began = Instant::now();
    let mut rounds = 0;
    while began.elapsed() < TURN {
        for _ in 0..16 {
            black_box(call());
        }
        rounds += 16;
    }
    began.elapsed() / rounds
}
