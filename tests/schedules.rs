//! Real supervisors over random trees, failures and moments, in paused time: the same seed gives the
//! same schedule. And the one promise that must hold under any: nothing passes ungated.

#[path = "support/random.rs"]
mod random;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bizra_omega::actors::gate_chain::{self, GateChain};
use bizra_omega::adapters::store::Store;
use bizra_omega::domain::constitution::Constitution;
use bizra_omega::domain::gate::GateInput;
use bizra_omega::domain::profile::Profile;
use bizra_omega::domain::restart::{Backoff, Outcome, Strategy};
use bizra_omega::domain::score::Score;
use bizra_omega::messages::addr::{Addr, CallError, Deadline};
use bizra_omega::messages::gate_chain::GateChainMsg;
use bizra_omega::messages::supervisor::{ActorState, Fault, SupervisorMsg};
use bizra_omega::supervisor::{ChildSpec, group};
use random::Random;
use support::*;

const SCHEDULES: u64 = 250;

/// Fails a random tree at random moments while its actors are asked and written to.
async fn schedule(seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let strategies = [Strategy::OneForOne, Strategy::RestForOne, Strategy::OneForAll];
    let mut settings = settings(strategies[random.below(3) as usize]);
    settings.rules.backoff.longest = Duration::from_millis(50);
    let journal = Journal::default();
    let names = ["a", "b", "c", "d"];
    let count = 2 + random.below(3) as usize;
    let (mut specs, addrs): (Vec<_>, Vec<_>) = names[..count]
        .iter()
        .map(|name| {
            let start_pause = Duration::from_millis(random.below(3) * 5);
            let fragile = Fragile { start_pause, ..Fragile::new(name, &journal) };
            child(&settings, permanent(), 64, fragile)
        })
        .unzip();
    let mut drilled: Vec<_> = names[..count].to_vec();
    if random.below(2) == 0 {
        let below = specs.split_off(count / 2);
        specs.push(group("below", permanent(), 5 * SECOND, settings.clone(), below));
        drilled.push("below");
    }
    let root = root(&settings, specs).await;

    let callers: Vec<_> = addrs
        .iter()
        .enumerate()
        .map(|(at, addr)| {
            let addr = addr.clone();
            tokio::spawn(async move {
                let mut written = Vec::new();
                for step in 0..20 {
                    let number = (at * 1000 + step) as u64;
                    assert_eq!(echo(&addr, number).await.unwrap().0, number);
                    match write(&addr, number).await {
                        Ok(_) => written.push(number),
                        Err(CallError::Down { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                    tokio::time::sleep(Duration::from_millis(7)).await;
                }
                written
            })
        })
        .collect();
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(random.below(40))).await;
        let name = drilled[random.below(drilled.len() as u64) as usize];
        let fault = Fault::ALL[random.below(5) as usize];
        let ask = |reply| SupervisorMsg::Drill { name: name.to_owned(), fault, reply };
        // Refused between two incarnations.
        let _ = root.addr().call(Deadline::after(5 * SECOND), ask).await.unwrap();
    }
    for caller in callers {
        for number in caller.await.unwrap() {
            assert_eq!(journal.count(&number.to_string()), 1, "{number}");
        }
    }
    for name in &drilled {
        until_state(&root, name, ActorState::Running).await;
    }
    for addr in &addrs {
        echo(addr, 1).await.unwrap();
        until(|| addr.waiting() == 0).await;
    }
    // One of each and no more is alive at the end, and ends in its turn.
    let stops = |journal: &Journal| {
        let lines = journal.read();
        lines.into_iter().filter(|line| line.starts_with("stop")).collect::<Vec<_>>()
    };
    let before = stops(&journal).len();
    assert_eq!(root.shutdown(60 * SECOND).await.outcome, Outcome::Shutdown);
    let mut expected: Vec<_> = names[..count].iter().map(|name| format!("stop {name}")).collect();
    expected.reverse();
    assert_eq!(stops(&journal)[before..], expected);
}

#[test]
fn random_schedules_keep_every_promise() {
    for seed in 1..=SCHEDULES {
        let run = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_all().start_paused(true).build().unwrap().block_on(schedule(seed));
        };
        assert!(std::panic::catch_unwind(run).is_ok(), "schedule of seed {seed}");
    }
}

fn judged(content: &'static [u8], score: f64) -> GateInput {
    let score = Score::try_from(score).ok();
    GateInput { snr_claim: score, ihsan_claim: score, ..GateInput::text(content) }
}

async fn passes(addr: &Addr<GateChainMsg>, input: GateInput) -> Result<bool, CallError> {
    let ask =
        |reply| GateChainMsg::Check { profile: Profile::Check, inputs: vec![input.clone()], reply };
    let receipts = addr.call(Deadline::after(10 * SECOND), ask).await?;
    assert_eq!(receipts.len(), 1);
    Ok(receipts[0].passed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_passes_ungated_in_ten_thousand_kills_of_the_gates() {
    const KILLS: u64 = 10_000;
    let mut settings = settings(Strategy::OneForOne);
    let zero = Duration::ZERO;
    settings.rules.allowance = allow(u32::MAX, 1);
    settings.rules.backoff = Backoff { first: zero, longest: zero, stable: zero };
    let mut rules = permanent();
    rules.allowance = allow(u32::MAX, 1);
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path(), 0).unwrap());
    let judge = GateChain::new(Constitution::default(), None, store, &settings.metrics).unwrap();
    let make = move || judge.clone();
    let (spec, addr) =
        ChildSpec::actor(gate_chain::NAME, rules, SECOND, 2048, &settings.metrics, make);
    let root = root(&settings, vec![spec]).await;

    let is_over = Arc::new(AtomicBool::new(false));
    let asked = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (addr, is_over, asked) = (addr.clone(), is_over.clone(), asked.clone());
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    // An idempotent question: it may be late, but it has the right answer.
                    let bad = passes(&addr, judged(b"refuse this", 0.1)).await;
                    assert_eq!(bad, Ok(false), "passed ungated, or was not answered");
                    asked[0].fetch_add(1, Ordering::Relaxed);
                    let good = passes(&addr, judged(b"text", 0.97)).await;
                    assert_eq!(good, Ok(true));
                    asked[1].fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    while info(&root, gate_chain::NAME).await.restarts < KILLS {
        let ask = |reply| SupervisorMsg::Drill {
            name: gate_chain::NAME.to_owned(),
            fault: Fault::Kill,
            reply,
        };
        // Refused between two incarnations.
        let _ = root.addr().call(Deadline::after(10 * SECOND), ask).await.unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    let asked = [&asked[0], &asked[1]].map(|count| count.load(Ordering::Relaxed));
    assert!(asked.iter().all(|count| *count > KILLS / 10), "{asked:?}");
}
