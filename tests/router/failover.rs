//! What callers notice of backends that fail, and what those backends notice of the callers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bizra_omega::actors::inference_router::NAME;
use bizra_omega::domain::inference::{BackendError, InferenceError, Stage, Tier};
use bizra_omega::messages::event::{Event, Heard, InferenceEvent, Topic};
use bizra_omega::messages::supervisor::Fault;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::double::{Double, Mode, info, over, plain};
use crate::house::{outcomes, raw};
use crate::support::{SECOND, drill, until};

const QUICK: Mode = Mode::Works(Duration::from_millis(20));

fn gone() -> Mode {
    Mode::Fails(BackendError::Unreachable("connection refused".into()))
}

fn turned_away(retry_after_s: Option<u64>) -> Mode {
    let retry_after = retry_after_s.map(Duration::from_secs);
    Mode::Fails(BackendError::TurnedAway { backend: "a".into(), status: 503, retry_after })
}

#[tokio::test(start_paused = true)]
async fn no_request_fails_when_one_of_two_equal_backends_is_killed_under_load() {
    let [a, b] = ["a", "b"].map(|name| Double::new(name, Tier::Local, 8, QUICK));
    let house = Arc::new(over(&[a.clone(), b.clone()], plain_with_breaker()).await);
    let done = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..16 {
        let (house, done) = (house.clone(), done.clone());
        workers.spawn(async move {
            for _ in 0..25 {
                let answer = house.generate(Some("local")).await.expect("no request fails");
                assert!(!answer.is_degraded);
                done.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    until(|| done.load(Ordering::SeqCst) >= 100).await;
    let (share_of_a, share_of_b) = (a.asked(), b.asked());
    assert!(share_of_a.abs_diff(share_of_b) <= 20, "{share_of_a} and {share_of_b}");
    a.set(gone());
    while let Some(worker) = workers.join_next().await {
        worker.unwrap();
    }
    assert_eq!(done.load(Ordering::SeqCst), 400);
    // Those on their way, and few more until the breaker opened.
    assert!(a.asked() <= share_of_a + 8 + 16, "{} after {share_of_a}", a.asked());
    assert_eq!(info(&house, "a").await.breaker, "open");
    assert_eq!(info(&house, "a").await.last_error.unwrap().class, "unavailable");
}

fn plain_with_breaker() -> bizra_omega::actors::inference_router::Rules {
    let mut rules = plain();
    rules.breaker = Default::default();
    rules
}

#[tokio::test(start_paused = true)]
async fn a_failing_backend_is_left_alone_and_gets_exactly_one_probe() {
    let local = Double::new("local", Tier::Local, 8, gone());
    let edge = Double::new("edge", Tier::Edge, 8, QUICK);
    let house = Arc::new(over(&[edge, local.clone()], plain_with_breaker()).await);
    let mut told = house.events.subscribe(Topic::Inference);
    let ask_many = async |count: usize| {
        let mut asked = JoinSet::new();
        for _ in 0..count {
            let house = house.clone();
            asked.spawn(async move { house.generate(Some("local")).await.unwrap() });
        }
        asked.join_all().await
    };
    for _ in 0..5 {
        assert_eq!(outcomes(&ask_many(1).await[0])[0].2, "unavailable");
    }
    assert_eq!(local.asked(), 5);
    for answer in ask_many(20).await {
        let tried = [(Tier::Local, "local", "open"), (Tier::Edge, "edge", "ok")];
        assert_eq!(outcomes(&answer), tried);
        assert!(answer.is_degraded);
    }
    assert_eq!(local.asked(), 5, "nobody is sent to it");
    // Half a minute later one of many finds out, and it takes its time.
    tokio::time::sleep(30 * SECOND).await;
    // Nobody asked anything, and who scrapes sees it all the same.
    let scraped = house.metrics.encode().unwrap();
    let series = "inference_breaker{backend=\"local\",state=\"half_open\"} 1";
    assert!(scraped.contains(series), "{scraped}");
    local.set(Mode::Hangs);
    let probing = tokio::spawn({
        let house = house.clone();
        async move { house.generate(Some("local")).await }
    });
    until(|| local.asked() == 6).await;
    assert_eq!(info(&house, "local").await.breaker, "half_open");
    ask_many(20).await;
    assert_eq!(local.asked(), 6, "there is one probe");
    local.set(gone());
    probing.await.unwrap().unwrap();
    assert_eq!(info(&house, "local").await.breaker, "open");
    // Now it is left alone for twice as long.
    tokio::time::sleep(59 * SECOND).await;
    local.set(QUICK);
    ask_many(5).await;
    assert_eq!(local.asked(), 6);
    tokio::time::sleep(SECOND).await;
    assert_eq!(ask_many(1).await[0].tier, Tier::Local);
    assert!(ask_many(5).await.iter().all(|answer| answer.tier == Tier::Local));
    assert_eq!(info(&house, "local").await.breaker, "closed");

    let mut changes = Vec::new();
    while changes.len() < 3 {
        let Some(Heard::Told(told)) = told.next().await else { panic!("nothing is missed") };
        match told.event {
            Event::Inference(InferenceEvent::BreakerOpened { backend, seconds }) => {
                changes.push((backend, Some(seconds)));
            }
            Event::Inference(InferenceEvent::BreakerClosed { backend }) => {
                changes.push((backend, None));
            }
            _ => {}
        }
    }
    let local = |seconds| ("local".to_owned(), seconds);
    assert_eq!(changes, [local(Some(30)), local(Some(60)), local(None)]);
}

#[tokio::test(start_paused = true)]
async fn a_backend_is_not_blamed_for_requests_callers_and_the_node() {
    let rejected = BackendError::Rejected { backend: "a".into(), status: 400, reason: "no".into() };
    let late = BackendError::Timeout { backend: "a".into(), stage: Stage::Total };
    for error in [rejected, late, BackendError::Cancelled, BackendError::Unavailable("no".into())] {
        let a = Double::new("a", Tier::Edge, 8, Mode::Fails(error.clone()));
        let house = over(std::slice::from_ref(&a), plain_with_breaker()).await;
        for _ in 0..30 {
            house.generate(None).await.unwrap_err();
        }
        assert_eq!(a.asked(), 30, "{error}");
        assert_eq!(info(&house, "a").await.breaker, "closed", "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_retries_are_a_tenth_of_the_requests() {
    let mut rules = plain();
    rules.retry = Default::default();
    let a = Double::new("a", Tier::Edge, 64, turned_away(None));
    let house = Arc::new(over(std::slice::from_ref(&a), rules).await);
    let mut asked = JoinSet::new();
    for number in 0..500 {
        let house = house.clone();
        asked.spawn(async move {
            tokio::time::sleep(Duration::from_millis(number)).await;
            house.generate(None).await.unwrap_err()
        });
    }
    for error in asked.join_all().await {
        assert!(matches!(error, InferenceError::Busy { .. }), "{error:?}");
    }
    // What was saved up, and a tenth.
    let extra = a.asked() - 500;
    assert!((50..=60).contains(&extra), "{extra}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_passes_is_not_noticed_and_a_server_is_left_alone_as_it_asks() {
    let mut rules = plain();
    rules.retry = Default::default();
    let a = Double::new("a", Tier::Edge, 8, turned_away(Some(3)));
    let house = Arc::new(over(std::slice::from_ref(&a), rules).await);
    let began = Instant::now();
    let asking = tokio::spawn({
        let house = house.clone();
        async move { house.generate(None).await }
    });
    until(|| a.asked() == 1).await;
    a.set(QUICK);
    let answer = asking.await.unwrap().unwrap();
    assert!(began.elapsed() >= 3 * SECOND && began.elapsed() < 4 * SECOND);
    let tried = [(Tier::Edge, "a", "busy"), (Tier::Edge, "a", "ok")];
    assert_eq!(outcomes(&answer), tried);
    // For longer than is worth it, or than the caller waits, it is not asked again.
    for (asks, wait) in [(60, 100 * SECOND), (4, 3 * SECOND)] {
        a.set(turned_away(Some(asks)));
        let before = a.asked();
        let error = house.ask(raw(None), None, wait).await.unwrap_err();
        assert_eq!(error, InferenceError::Busy { wait: Duration::from_secs(asks) });
        assert_eq!(a.asked(), before + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_slow_to_begin_is_asked_again_only_when_nobody_else_is_left() {
    let mut rules = plain();
    rules.retry = Default::default();
    let slow = || BackendError::Timeout { backend: "local".into(), stage: Stage::FirstToken };
    let local = Double::new("local", Tier::Local, 8, Mode::Fails(slow()));
    let edge = Double::new("edge", Tier::Edge, 8, QUICK);
    let house = over(&[edge.clone(), local.clone()], rules).await;
    assert!(house.generate(Some("local")).await.unwrap().is_degraded);
    assert_eq!(local.asked(), 1);
    edge.set(Mode::Fails(slow()));
    assert_eq!(house.generate(Some("local")).await.unwrap_err(), InferenceError::Timeout);
    assert_eq!((local.asked(), edge.asked()), (2, 1 + 3));
}

#[tokio::test(start_paused = true)]
async fn a_slow_beginning_is_hedged_once_and_the_slower_one_is_cancelled() {
    let mut rules = plain();
    rules.hedge_percent = 5;
    let [a, b] = ["a", "b"].map(|name| Double::new(name, Tier::Local, 8, QUICK));
    let house = over(&[a.clone(), b.clone()], rules).await;
    // Some answers are slower, so that none of the others counts as slow.
    let set = |mode: Mode| [&a, &b].map(|double| double.set(mode.clone()));
    for (count, mode) in [(20, QUICK), (6, Mode::Works(Duration::from_millis(40))), (40, QUICK)] {
        set(mode);
        for _ in 0..count {
            house.generate(Some("local")).await.unwrap();
        }
    }
    assert_eq!(a.cancelled() + b.cancelled(), 0, "nobody was slow");
    // What is saved up pays for one; more than one in twenty is not paid for.
    let (slow, quick) = (&a, &b);
    for is_paid in [true, false] {
        slow.set(Mode::Hangs);
        // Until the slow one is asked first.
        let (outcome, took) = loop {
            let (began, before) = (Instant::now(), slow.asked());
            let outcome = house.ask(raw(Some("local")), None, 10 * SECOND).await;
            if slow.asked() > before {
                break (outcome, began.elapsed());
            }
        };
        if is_paid {
            let answer = outcome.unwrap();
            assert!(took < SECOND, "{took:?}");
            let tried = [(slow.name, "cancelled"), (quick.name, "ok")];
            let told: Vec<_> = outcomes(&answer).into_iter().map(|it| (it.1, it.2)).collect();
            assert_eq!(told, tried);
            until(|| slow.cancelled() == 1).await;
        } else {
            assert_eq!(outcome.unwrap_err(), InferenceError::Timeout);
            until(|| a.cancelled() + b.cancelled() == 2).await;
        }
        slow.set(QUICK);
    }
    let metrics = house.metrics.encode().unwrap();
    for line in [
        "inference_hedges_total{backend=\"b\"} 1",
        "inference_hedges_won_total{backend=\"b\"} 1",
        "inference_hedges_refused_total{backend=\"b\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_backends_outlives_the_router() {
    let local = Double::new("local", Tier::Local, 8, gone());
    let edge = Double::new("edge", Tier::Edge, 8, QUICK);
    let house = over(&[edge, local.clone()], plain_with_breaker()).await;
    for _ in 0..5 {
        house.generate(Some("local")).await.unwrap();
    }
    for fault in [Fault::Panic, Fault::Kill] {
        drill(&house.root, NAME, fault).await;
        let answer = house.generate(Some("local")).await.unwrap();
        assert_eq!(outcomes(&answer)[0], (Tier::Local, "local", "open"), "{fault:?}");
    }
    assert_eq!(local.asked(), 5);
    let metrics = house.metrics.encode().unwrap();
    for line in [
        "inference_attempts_total{backend=\"local\",outcome=\"unavailable\"} 5",
        "inference_attempts_total{backend=\"local\",outcome=\"open\"} 2",
        "inference_attempts_total{backend=\"edge\",outcome=\"ok\"} 7",
        "inference_breaker{backend=\"local\",state=\"open\"} 1",
        "inference_breaker{backend=\"edge\",state=\"closed\"} 1",
        "inference_queued{backend=\"edge\"} 0",
        "inference_tokens_total{backend=\"edge\",direction=\"output\"} 7",
        "inference_time_to_first_token_seconds_count{backend=\"edge\"} 7",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}
