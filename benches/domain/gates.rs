//! A chain of three gates over 48 bytes of JSON and given scores.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bizra_omega::domain::constitution::Constitution;
use bizra_omega::domain::gate::{ContentType, GateInput, Surroundings, run};
use bizra_omega::domain::json::validate;
use bizra_omega::domain::profile::Profile;
use bizra_omega::domain::score::Score;
use bizra_omega::messages::addr::{Addr, Deadline};
use bizra_omega::messages::gate_chain::GateChainMsg;
use bytes::Bytes;
use tokio::runtime::Runtime;

use super::{BATCH, BATCHES, ONE, Operation, Way};

pub(super) const CHAIN: &str = "gate chain";

const CONTENT: &[u8; 48] = br#"{"text":"a claim about water","lang":"en","n":1}"#;

fn input(content_type: ContentType) -> GateInput {
    GateInput {
        content_type,
        snr_claim: Score::try_from(0.9).ok(),
        ihsan_claim: Score::try_from(0.97).ok(),
        ..GateInput::text(Bytes::from_static(CONTENT))
    }
}

async fn check(gate_chain: Addr<GateChainMsg>, inputs: Arc<Vec<GateInput>>) {
    let ask = |reply| {
        let inputs = inputs.to_vec();
        GateChainMsg::Check { profile: Profile::Check, inputs, reply }
    };
    let receipts = gate_chain.call(Deadline::after(Duration::from_secs(30)), ask).await;
    assert!(receipts.is_ok_and(|receipts| receipts.iter().all(|receipt| receipt.passed())));
}

pub(super) fn operation(runtime: &'static Runtime, gate_chain: &Addr<GateChainMsg>) -> Operation {
    let constitution = Arc::new(Constitution::default());
    let rules = Arc::clone(&constitution);
    let (ihsan, snr) = (rules.ihsan_threshold(), rules.snr_threshold());
    let given = input(ContentType::Json);
    let limit = move || {
        let given = black_box(&given);
        validate(&given.content).is_ok()
            && given.ihsan_claim.is_some_and(|score| score >= ihsan)
            && given.snr_claim.is_some_and(|score| score >= snr)
    };
    let given = input(ContentType::Json);
    let around = Surroundings::default();
    let judge = move |given: &GateInput| {
        run(&constitution, Profile::Check, black_box(given).clone(), &around, || Duration::ZERO)
    };
    let text = input(ContentType::Text);
    let (plain, as_json) = (judge.clone(), judge);
    let plain = move || plain(&text);
    let ours = move || as_json(&given);
    let actor = |name, (callers, items): (u64, usize)| {
        let (gate_chain, inputs) =
            (gate_chain.clone(), Arc::new(vec![input(ContentType::Json); items]));
        let call = move || check(gate_chain.clone(), Arc::clone(&inputs));
        Way::called(name, runtime, (callers, items as u64), call)
    };
    Operation {
        name: CHAIN,
        ways: vec![
            Way::direct("a JSON check and two comparisons", limit),
            Way::direct(ONE, ours.clone()),
            Way::direct("domain, over text", plain),
            actor("actor, one by one", (1, 1)),
            actor(BATCHES, (1, BATCH)),
            Way::two_threads("domain, two threads", ours),
            actor("actor, batches of 64, two callers", (2, BATCH)),
        ],
    }
}
