//! Addresses: bounded, with deadlines, valid over restarts, and honest about what was lost.

mod support;

use std::time::Duration;

use bizra_omega::domain::restart::Strategy;
use bizra_omega::messages::addr::{CallError, Deadline};
use bizra_omega::messages::supervisor::{ActorState, Fault};
use support::*;

fn down() -> CallError {
    CallError::Down { actor: "fragile".into() }
}

fn sleep(pause: Duration) -> impl Fn(bizra_omega::messages::addr::Reply<()>) -> FragileMsg {
    move |reply| FragileMsg::Sleep { pause, is_long: true, reply }
}

#[tokio::test]
async fn an_address_survives_every_way_to_die() {
    let (root, addr, _) = alone().await;
    let mut before = echo(&addr, 0).await.unwrap().1;
    for fault in [Fault::Panic, Fault::Error, Fault::Stop, Fault::Kill] {
        drill(&root, "fragile", fault).await;
        until(|| addr.waiting() == 0).await;
        let journal = echo(&addr, 7).await.unwrap();
        assert_eq!(journal.0, 7);
        // The fault may still be on its way when the first echo is answered.
        let mut now = journal.1;
        while now == before {
            now = echo(&addr, 7).await.unwrap().1;
        }
        assert_eq!(now, before + 1, "{fault:?}");
        before = now;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_at_its_deadline() {
    let (_root, addr, _) = alone().await;
    let began = tokio::time::Instant::now();
    let late = addr.call(Deadline::after(SECOND), sleep(3600 * SECOND)).await;
    assert_eq!(late, Err(CallError::Late { actor: "fragile".into() }));
    assert_eq!(began.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_full_address_is_busy_at_once() {
    let (_root, addr, _) = alone().await;
    let sleeping: Vec<_> = (0..64)
        .map(|_| {
            let addr = addr.clone();
            tokio::spawn(async move { addr.call(Deadline::after(9 * SECOND), sleep(SECOND)).await })
        })
        .collect();
    until(|| addr.waiting() == 64).await;
    let busy = CallError::Busy { actor: "fragile".into(), waiting_max: 64 };
    assert_eq!(echo(&addr, 1).await, Err(busy.clone()));
    assert_eq!(addr.cast(FragileMsg::Cast { number: 1 }), Err(busy));
    for sleeping in sleeping {
        let _ = sleeping.await.unwrap();
    }
    assert_eq!(echo(&addr, 2).await.unwrap().0, 2);
    assert_eq!(addr.waiting(), 0);
}

#[tokio::test]
async fn a_flood_is_refused_and_leaves_nothing_behind() {
    let (_root, addr, journal) = alone().await;
    let sleeper = addr.clone();
    let asleep = tokio::spawn(async move {
        sleeper.call(Deadline::after(9 * SECOND), sleep(Duration::from_millis(300))).await
    });
    until(|| journal.count("sleep") == 1).await;
    let accepted = (0..1_000_000)
        .filter(|number| addr.cast(FragileMsg::Cast { number: *number }).is_ok())
        .count();
    assert!(accepted <= 64, "accepted {accepted} of a bound of 64");
    asleep.await.unwrap().unwrap();
    assert_eq!(echo(&addr, 1).await.unwrap().0, 1);
    until(|| addr.waiting() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn work_that_nobody_waits_for_is_left_out() {
    let (_root, addr, journal) = alone().await;
    let sleeper = addr.clone();
    let asleep =
        tokio::spawn(async move { sleeper.call(Deadline::after(9 * SECOND), sleep(SECOND)).await });
    until(|| journal.count("sleep") == 1).await;
    let wait = Deadline::after(Duration::from_millis(10));
    let left = addr.call(wait, |reply| FragileMsg::Write { number: 5, reply }).await;
    assert!(matches!(left, Err(CallError::Late { .. })));
    asleep.await.unwrap().unwrap();
    assert_eq!(echo(&addr, 1).await.unwrap().0, 1);
    assert_eq!(journal.count("5"), 0);
}

#[tokio::test]
async fn an_idempotent_call_outlives_the_actor_that_held_it() {
    let (root, addr, journal) = alone().await;
    let sleeper = addr.clone();
    let asleep = tokio::spawn(async move {
        sleeper.call(Deadline::after(9 * SECOND), sleep(Duration::from_millis(50))).await
    });
    until(|| journal.count("sleep") == 1).await;
    drill(&root, "fragile", Fault::Kill).await;
    assert_eq!(asleep.await.unwrap(), Ok(()));
    assert_eq!(journal.count("sleep"), 2, "it was begun by both incarnations");
}

#[tokio::test]
async fn what_must_not_happen_twice_is_down_once_begun() {
    let (_root, addr, journal) = alone().await;
    let ask = |reply| FragileMsg::WriteAndDie { number: 9, reply };
    assert_eq!(addr.call(Deadline::after(5 * SECOND), ask).await, Err(down()));
    assert_eq!(journal.count("9"), 1);
    assert_eq!(write(&addr, 10).await, Ok(10));
}

#[tokio::test]
async fn what_must_not_happen_twice_happens_once_if_it_had_not_begun() {
    let (root, addr, journal) = alone().await;
    let sleeper = addr.clone();
    let asleep = tokio::spawn(async move {
        sleeper.call(Deadline::after(9 * SECOND), sleep(Duration::from_millis(20))).await
    });
    until(|| journal.count("sleep") == 1).await;
    let writers: Vec<_> = (0..20)
        .map(|number| {
            let addr = addr.clone();
            tokio::spawn(async move { write(&addr, number).await })
        })
        .collect();
    until(|| addr.waiting() == 21).await;
    drill(&root, "fragile", Fault::Kill).await;
    for (number, writer) in writers.into_iter().enumerate() {
        assert_eq!(writer.await.unwrap(), Ok(number as u64));
        assert_eq!(journal.count(&number.to_string()), 1);
    }
    asleep.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_message_that_ends_three_incarnations_is_given_up() {
    let (_root, addr, journal) = alone().await;
    let poison = addr.call(Deadline::after(9 * SECOND), |reply| FragileMsg::Poison { reply }).await;
    assert_eq!(poison, Err(down()));
    assert_eq!(echo(&addr, 1).await.unwrap().0, 1);
    assert_eq!(journal.count("start fragile"), 4);
}

#[tokio::test]
async fn nothing_is_lost_or_done_twice_while_the_actor_is_killed_all_the_time() {
    let (root, addr, journal) = alone().await;
    let writers: Vec<_> = (0..8_u64)
        .map(|writer| {
            let addr = addr.clone();
            tokio::spawn(async move {
                let mut answered = Vec::new();
                for number in (writer * 1000)..(writer * 1000 + 250) {
                    match write(&addr, number).await {
                        Ok(_) => answered.push(number),
                        Err(CallError::Down { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                    assert_eq!(echo(&addr, number).await.unwrap().0, number);
                }
                answered
            })
        })
        .collect();
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let chaos = tokio::spawn({
        let done = done.clone();
        async move {
            let faults = [Fault::Kill, Fault::Panic, Fault::Error, Fault::Stop];
            for fault in faults.into_iter().cycle().take(800) {
                if done.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                let ask = |reply| bizra_omega::messages::supervisor::SupervisorMsg::Drill {
                    name: "fragile".to_owned(),
                    fault,
                    reply,
                };
                // It may be between two incarnations.
                let _ = root.addr().call(Deadline::after(SECOND), ask).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            root
        }
    });
    for writer in writers {
        for number in writer.await.unwrap() {
            assert_eq!(journal.count(&number.to_string()), 1, "{number}");
        }
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    let root = chaos.await.unwrap();
    assert!(info(&root, "fragile").await.restarts > 0);
    let lines = journal.read();
    let mut numbers: Vec<_> = lines.iter().filter_map(|line| line.parse::<u64>().ok()).collect();
    let written = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), written, "a number was written twice");
}

#[tokio::test]
async fn the_callers_span_goes_with_the_message() {
    use tracing::Instrument;
    // With one subscriber alone, whether a span is wanted is asked of whichever thread comes to it
    // first, and that may be another test's.
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());
    let _enabled = tracing::subscriber::set_default(tracing_subscriber::registry());
    let (_root, addr, _) = alone().await;
    let request = tracing::info_span!("request");
    let ask = addr.call(Deadline::after(SECOND), |reply| FragileMsg::Spans { reply });
    let spans = ask.instrument(request).await.unwrap();
    assert_eq!(spans, ["request/message", "request/message"]);
}

#[tokio::test]
async fn a_message_is_not_blamed_for_kills_from_outside() {
    let (root, addr, journal) = alone().await;
    let sleeper = addr.clone();
    let asleep = tokio::spawn(async move {
        sleeper.call(Deadline::after(20 * SECOND), sleep(Duration::from_millis(300))).await
    });
    for kills in 1..=5 {
        until(|| journal.count("sleep") == kills).await;
        until_state(&root, "fragile", ActorState::Running).await;
        drill(&root, "fragile", Fault::Kill).await;
    }
    assert_eq!(asleep.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn who_was_let_in_is_not_refused_because_the_actor_died() {
    let settings = settings(Strategy::OneForOne);
    let journal = Journal::default();
    let slow = Fragile { start_pause: SECOND / 5, ..Fragile::new("fragile", &journal) };
    let (spec, addr) = child(&settings, permanent(), 4, slow);
    let root = root(&settings, vec![spec]).await;
    let sleep_long = sleep(Duration::from_millis(50));
    let mut let_in = tokio::task::JoinSet::new();
    let sleeper = addr.clone();
    let_in.spawn(async move { sleeper.call(Deadline::after(9 * SECOND), sleep_long).await });
    until(|| journal.count("sleep") == 1).await;
    for number in 0..3 {
        let addr = addr.clone();
        let_in.spawn(async move { write(&addr, number).await.map(|_| ()) });
    }
    until(|| addr.waiting() == 4).await;
    drill(&root, "fragile", Fault::Kill).await;
    until_state(&root, "fragile", ActorState::Restarting).await;
    // They wait for the next incarnation, and nobody gets in before them.
    let busy = CallError::Busy { actor: "fragile".into(), waiting_max: 4 };
    for _ in 0..20 {
        assert_eq!(addr.waiting(), 4);
        assert_eq!(echo(&addr, 1).await, Err(busy.clone()));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    while let Some(answer) = let_in.join_next().await {
        assert_eq!(answer.unwrap(), Ok(()));
    }
    until(|| addr.waiting() == 0).await;
    assert_eq!(journal.count("start fragile"), 2);
}

#[tokio::test]
async fn what_is_lost_unanswered_is_counted() {
    let settings = settings(Strategy::OneForOne);
    let journal = Journal::default();
    let (spec, addr) = child(&settings, permanent(), 64, Fragile::new("fragile", &journal));
    let root = root(&settings, vec![spec]).await;
    let sleeper = addr.clone();
    let asleep = tokio::spawn(async move {
        sleeper.call(Deadline::after(9 * SECOND), sleep(Duration::from_millis(50))).await
    });
    until(|| journal.count("sleep") == 1).await;
    (0..7).for_each(|number| addr.cast(FragileMsg::Cast { number }).unwrap());
    drill(&root, "fragile", Fault::Kill).await;
    asleep.await.unwrap().unwrap();
    until(|| addr.waiting() == 0).await;
    addr.cast(FragileMsg::Cast { number: 8 }).unwrap();
    until(|| journal.count("8") == 1).await;
    let metrics = settings.metrics.encode().unwrap();
    assert!(metrics.contains("actor_dead_letters_total{actor=\"fragile\"} 7\n"), "{metrics}");
    assert!(metrics.contains("actor_wait_seconds_count{actor=\"fragile\"}"), "{metrics}");
}
