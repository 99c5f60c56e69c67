//! Supervision: every way a child can end has one defined outcome.

mod support;

use std::time::Duration;

use bizra_omega::domain::restart::{ChildRules, Outcome, Restart, Strategy};
use bizra_omega::messages::addr::{CallError, Deadline};
use bizra_omega::messages::event::{Change, Event, Heard, Topic};
use bizra_omega::messages::supervisor::{ActorState, DrillError, Fault, SupervisorMsg};
use bizra_omega::supervisor::{Root, group};
use support::*;

/// Three children `a`, `b`, `c` under one strategy.
async fn three(
    strategy: Strategy,
) -> (Root, Vec<bizra_omega::messages::addr::Addr<FragileMsg>>, Journal) {
    let settings = settings(strategy);
    let journal = Journal::default();
    let (specs, addrs): (Vec<_>, Vec<_>) = ["a", "b", "c"]
        .into_iter()
        .map(|name| child(&settings, permanent(), 64, Fragile::new(name, &journal)))
        .unzip();
    (root(&settings, specs).await, addrs, journal)
}

fn starts(journal: &Journal) -> Vec<String> {
    journal.read().into_iter().filter(|line| line.contains('t')).collect()
}

#[tokio::test(start_paused = true)]
async fn children_start_in_order_and_stop_in_reverse() {
    let (root, _, journal) = three(Strategy::OneForOne).await;
    let exit = root.shutdown(10 * SECOND).await;
    assert_eq!(exit.outcome, Outcome::Shutdown);
    assert_eq!(journal.read(), ["start a", "start b", "start c", "stop c", "stop b", "stop a"]);
}

#[tokio::test(start_paused = true)]
async fn each_strategy_restarts_its_siblings_and_no_others() {
    for (strategy, expected) in [
        (Strategy::OneForOne, vec!["start b"]),
        (Strategy::RestForOne, vec!["stop c", "start b", "start c"]),
        (Strategy::OneForAll, vec!["stop c", "stop a", "start a", "start b", "start c"]),
    ] {
        let (root, addrs, journal) = three(strategy).await;
        let before = journal.read().len();
        drill(&root, "b", Fault::Panic).await;
        until(|| journal.read().len() >= before + expected.len()).await;
        for addr in &addrs {
            echo(addr, 1).await.unwrap();
        }
        assert_eq!(journal.read()[before..], expected, "{strategy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn siblings_that_fail_together_are_restarted_once() {
    let (root, addrs, journal) = three(Strategy::OneForAll).await;
    let fault = Fault::Panic;
    tokio::join!(drill(&root, "a", fault), drill(&root, "b", fault), drill(&root, "c", fault));
    until(|| starts(&journal).len() >= 6).await;
    for addr in &addrs {
        echo(addr, 1).await.unwrap();
    }
    let started = starts(&journal).iter().filter(|line| line.starts_with("start")).count();
    assert_eq!(started, 6, "{:?}", starts(&journal));
}

#[tokio::test(start_paused = true)]
async fn every_cell_of_restart_and_exit_is_as_specified() {
    let faults = [Fault::Panic, Fault::Error, Fault::Stop, Fault::Kill, Fault::Freeze];
    for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary, Restart::FailStop] {
        for fault in faults {
            let settings = settings(Strategy::OneForOne);
            let journal = Journal::default();
            let rules = ChildRules { restart, ..permanent() };
            let (spec, addr) = child(&settings, rules, 64, Fragile::new("fragile", &journal));
            let root = root(&settings, vec![spec]).await;
            drill(&root, "fragile", fault).await;
            let is_normal = fault == Fault::Stop;
            let expected = match restart {
                Restart::Permanent => ActorState::Running,
                Restart::Transient if !is_normal => ActorState::Running,
                Restart::FailStop if !is_normal => ActorState::Fenced,
                _ => ActorState::Stopped,
            };
            let outcome = format!("{restart:?} after {fault:?}");
            if expected == ActorState::Running {
                until(|| journal.count("start fragile") == 2).await;
                assert_eq!(echo(&addr, 1).await.unwrap().1, 2, "{outcome}");
                let failure = info(&root, "fragile").await.last_failure.unwrap();
                let class = if fault == Fault::Freeze { "frozen" } else { fault.as_str() };
                assert_eq!(failure.class, class, "{outcome}");
            } else {
                until_state(&root, "fragile", expected).await;
                let down = CallError::Down { actor: "fragile".into() };
                assert_eq!(echo(&addr, 1).await, Err(down), "{outcome}");
                assert_eq!(journal.count("start fragile"), 1, "{outcome}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_frozen_actor_is_replaced_and_a_busy_one_is_not() {
    let (root, addr, journal) = alone().await;
    let sleep = |pause, is_long| move |reply| FragileMsg::Sleep { pause, is_long, reply };
    let wait = Deadline::after(60 * SECOND);
    addr.call(wait, sleep(10 * SECOND, true)).await.unwrap();
    assert_eq!(info(&root, "fragile").await.restarts, 0, "announced long work is not frozen");
    let stuck = addr.call(wait, sleep(3600 * SECOND, false)).await;
    assert_eq!(stuck, Err(CallError::Down { actor: "fragile".into() }), "given up after three");
    assert_eq!(journal.count("start fragile"), 4);
    assert_eq!(info(&root, "fragile").await.last_failure.unwrap().class, "frozen");
    assert_eq!(echo(&addr, 1).await.unwrap().1, 4);
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_fails_a_child_that_is_then_tried_slowly() {
    let settings = settings(Strategy::OneForOne);
    let journal = Journal::default();
    let rules = ChildRules { allowance: allow(3, 10), ..permanent() };
    let (spec, addr) = child(&settings, rules, 64, Fragile::new("fragile", &journal));
    let root = root(&settings, vec![spec]).await;
    for incarnation in 1..=4 {
        until_state(&root, "fragile", ActorState::Running).await;
        assert_eq!(info(&root, "fragile").await.incarnation, incarnation);
        drill(&root, "fragile", Fault::Error).await;
        until(|| {
            journal.starts.load(std::sync::atomic::Ordering::SeqCst) > incarnation
                || incarnation == 4
        })
        .await;
    }
    until_state(&root, "fragile", ActorState::Failed).await;
    let began = tokio::time::Instant::now();
    assert_eq!(echo(&addr, 1).await, Err(CallError::Down { actor: "fragile".into() }));
    assert_eq!(began.elapsed(), Duration::ZERO, "callers of a failed actor are told at once");
    until_state(&root, "fragile", ActorState::Running).await;
    assert!(began.elapsed() >= 29 * SECOND, "tried after {:?}", began.elapsed());
    assert_eq!(echo(&addr, 1).await.unwrap().1, 5);
}

#[tokio::test(start_paused = true)]
async fn the_root_ends_in_order_when_a_critical_child_spends_its_budget() {
    let settings = settings(Strategy::OneForOne);
    let journal = Journal::default();
    let critical =
        ChildRules { restart: Restart::Permanent, is_critical: true, allowance: allow(1, 10) };
    let (first, _first) = child(&settings, permanent(), 64, Fragile::new("first", &journal));
    let (spec, _addr) = child(&settings, critical, 64, Fragile::new("fragile", &journal));
    let (last, _last) = child(&settings, permanent(), 64, Fragile::new("last", &journal));
    let root = root(&settings, vec![first, spec, last]).await;
    drill(&root, "fragile", Fault::Panic).await;
    until(|| journal.count("start fragile") == 2).await;
    until_state(&root, "fragile", ActorState::Running).await;
    drill(&root, "fragile", Fault::Panic).await;
    let exit = root.ended().await;
    assert_eq!(exit.outcome, Outcome::ChildBudget { child: 1 });
    assert!(exit.reason.contains("actor fragile ended: drill: panic"), "{}", exit.reason);
    let lines = journal.read();
    assert_eq!(lines[lines.len() - 2..], ["stop last", "stop first"]);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_does_not_come_up_is_tried_again() {
    let settings = settings(Strategy::OneForOne);
    let journal = Journal::default();
    let fragile = Fragile { failing_starts: 3, ..Fragile::new("fragile", &journal) };
    let (spec, addr) = child(&settings, permanent(), 64, fragile);
    let (after, _after) = child(&settings, permanent(), 64, Fragile::new("after", &journal));
    let root = root(&settings, vec![spec, after]).await;
    assert_eq!(journal.read(), ["start fragile", "start after"], "the order is kept");
    assert_eq!(echo(&addr, 1).await.unwrap().1, 4);
    assert_eq!(info(&root, "fragile").await.last_failure.unwrap().text, "not yet");
}

#[tokio::test(start_paused = true)]
async fn a_child_that_takes_too_long_to_start_is_given_up_and_fails() {
    let settings = settings(Strategy::OneForOne);
    let journal = Journal::default();
    let rules = ChildRules { allowance: allow(2, 60), ..permanent() };
    let slow = Fragile { start_pause: 5 * SECOND, ..Fragile::new("slow", &journal) };
    let (spec, addr) = child(&settings, rules, 64, slow);
    let (after, after_addr) = child(&settings, permanent(), 64, Fragile::new("after", &journal));
    let root = root(&settings, vec![spec, after]).await;
    assert_eq!(info(&root, "slow").await.state, ActorState::Failed);
    assert_eq!(echo(&addr, 1).await, Err(CallError::Down { actor: "slow".into() }));
    echo(&after_addr, 1).await.unwrap();
}

#[tokio::test]
async fn a_child_that_dies_before_it_is_taken_in_is_not_lost() {
    let settings = settings(Strategy::OneForOne);
    let journal = Journal::default();
    let fragile = Fragile { failing_starts: 1, ..Fragile::new("fragile", &journal) };
    let (spec, addr) = child(&settings, permanent(), 64, fragile);
    // Said before anybody serves the address: the first message of the first incarnation.
    let ask = |reply| FragileMsg::WriteAndDie { number: 1, reply };
    let waiting = tokio::spawn({
        let addr = addr.clone();
        async move { addr.call(Deadline::after(5 * SECOND), ask).await }
    });
    until(|| addr.waiting() == 1).await;
    let _root = root(&settings, vec![spec]).await;
    assert_eq!(waiting.await.unwrap(), Err(CallError::Down { actor: "fragile".into() }));
    assert_eq!(echo(&addr, 1).await.unwrap().0, 1);
}

#[tokio::test(start_paused = true)]
async fn shutdown_finishes_what_was_accepted() {
    let (root, addr, journal) = alone().await;
    let later = |reply| FragileMsg::WriteLater { number: 1, pause: SECOND / 2, reply };
    let accepted = tokio::spawn({
        let addr = addr.clone();
        async move { addr.call(Deadline::after(9 * SECOND), later).await }
    });
    until(|| addr.waiting() == 1).await;
    tokio::task::yield_now().await;
    for number in 2..10 {
        addr.cast(FragileMsg::Cast { number }).unwrap();
    }
    assert_eq!(root.shutdown(10 * SECOND).await.outcome, Outcome::Shutdown);
    assert_eq!(accepted.await.unwrap(), Ok(()));
    for number in 1..10 {
        assert_eq!(journal.count(&number.to_string()), 1, "{number}");
    }
    assert_eq!(echo(&addr, 1).await, Err(CallError::Down { actor: "fragile".into() }));
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_does_not_stop_is_killed_after_its_grace() {
    let settings = settings(Strategy::OneForOne);
    let journal = Journal::default();
    let stubborn = Fragile { stop_pause: 3600 * SECOND, ..Fragile::new("stubborn", &journal) };
    let (first, _first) = child(&settings, permanent(), 64, Fragile::new("first", &journal));
    let (spec, _addr) = child(&settings, permanent(), 64, stubborn);
    let root = root(&settings, vec![first, spec]).await;
    let began = tokio::time::Instant::now();
    root.shutdown(10 * SECOND).await;
    assert!(began.elapsed() < 3 * SECOND, "{:?}", began.elapsed());
    assert_eq!(journal.read(), ["start first", "start stubborn", "stop first"]);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_dies_while_the_node_goes_down_stays_down() {
    let (root, addr, journal) = alone().await;
    let die = |reply| FragileMsg::WriteAndDie { number: 1, reply };
    let slow = |reply| FragileMsg::Sleep { pause: SECOND / 2, is_long: true, reply };
    let callers = tokio::spawn(async move {
        let wait = Deadline::after(9 * SECOND);
        tokio::join!(addr.call(wait, slow), addr.call(wait, die))
    });
    until(|| journal.count("sleep") == 1).await;
    assert_eq!(root.shutdown(10 * SECOND).await.outcome, Outcome::Shutdown);
    let (slept, died) = callers.await.unwrap();
    assert_eq!(slept, Ok(()));
    assert!(died.is_err());
    assert_eq!(journal.count("start fragile"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_group_is_a_child_like_any_other() {
    let settings = settings(Strategy::OneForOne);
    let journal = Journal::default();
    let (a, a_addr) = child(&settings, permanent(), 64, Fragile::new("a", &journal));
    let (b, b_addr) = child(&settings, permanent(), 64, Fragile::new("b", &journal));
    let (c, c_addr) = child(&settings, permanent(), 64, Fragile::new("c", &journal));
    let below = group("below", permanent(), 5 * SECOND, settings.clone(), vec![a, b]);
    let root = root(&settings, vec![below, c]).await;
    assert_eq!(journal.read(), ["start a", "start b", "start c"], "a group is up before the next");
    for fault in [Fault::Panic, Fault::Kill, Fault::Error, Fault::Stop, Fault::Freeze] {
        let before = info(&root, "b").await.incarnation;
        drill(&root, "below", fault).await;
        until(|| journal.count("start b") as u64 > before).await;
        until_state(&root, "below", ActorState::Running).await;
        for addr in [&a_addr, &b_addr, &c_addr] {
            assert_eq!(echo(addr, 3).await.unwrap().0, 3, "{fault:?}");
        }
    }
    let before = info(&root, "a").await.incarnation;
    drill(&root, "a", Fault::Kill).await;
    until(|| journal.count("start a") as u64 > before).await;
    assert_eq!(info(&root, "c").await.restarts, 0);
    assert_eq!(root.shutdown(10 * SECOND).await.outcome, Outcome::Shutdown);
    let lines = journal.read();
    assert_eq!(lines[lines.len() - 3..], ["stop c", "stop b", "stop a"]);
}

#[tokio::test(start_paused = true)]
async fn a_group_whose_budget_is_spent_fails_upwards() {
    let root_settings = settings(Strategy::OneForOne);
    let mut below_settings = root_settings.clone();
    below_settings.rules.allowance = allow(1, 60);
    let journal = Journal::default();
    let (a, a_addr) = child(&root_settings, permanent(), 64, Fragile::new("a", &journal));
    let below = group("below", permanent(), 5 * SECOND, below_settings, vec![a]);
    let root = root(&root_settings, vec![below]).await;
    for incarnation in 1..=2 {
        until_state(&root, "a", ActorState::Running).await;
        assert_eq!(info(&root, "a").await.incarnation, incarnation);
        drill(&root, "a", Fault::Error).await;
        until(|| journal.count("start a") as u64 > incarnation).await;
    }
    until_state(&root, "below", ActorState::Running).await;
    assert_eq!(info(&root, "below").await.incarnation, 2);
    assert_eq!(echo(&a_addr, 1).await.unwrap().0, 1);
}

#[tokio::test(start_paused = true)]
async fn two_trees_in_one_process_do_not_know_each_other() {
    let (one, one_addr, _) = alone().await;
    let (two, two_addr, _) = alone().await;
    drill(&one, "fragile", Fault::Kill).await;
    until_state(&one, "fragile", ActorState::Running).await;
    until(|| one_addr.waiting() == 0).await;
    assert_eq!(echo(&two_addr, 1).await.unwrap().1, 1);
    assert_eq!(info(&two, "fragile").await.restarts, 0);
    one.shutdown(SECOND).await;
    assert_eq!(echo(&two_addr, 1).await.unwrap().1, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_computes_without_end_is_told_of_and_left_behind() {
    let settings = settings(Strategy::OneForOne);
    let journal = Journal::default();
    let (spec, addr) = child(&settings, permanent(), 64, Fragile::new("fragile", &journal));
    let _root = root(&settings, vec![spec]).await;
    let spin = |reply| FragileMsg::Spin { time: 3 * SECOND, reply };
    let spinning = tokio::spawn({
        let addr = addr.clone();
        async move { addr.call(Deadline::after(20 * SECOND), spin).await }
    });
    let is_stuck =
        || settings.metrics.encode().unwrap().contains("actor_stuck{actor=\"fragile\"} 1");
    until(is_stuck).await;
    // The other thread still serves, and the supervisor has put a fresh actor in its place.
    assert!(echo(&addr, 1).await.unwrap().1 >= 2);
    let _ = spinning.await.unwrap();
    until(|| !is_stuck()).await;
}

#[tokio::test(start_paused = true)]
async fn callers_are_told_at_once_when_the_root_supervisor_dies() {
    for fault in [Fault::Panic, Fault::Error, Fault::Stop, Fault::Kill] {
        let settings = settings(Strategy::OneForOne);
        let journal = Journal::default();
        let (a, a_addr) = child(&settings, permanent(), 64, Fragile::new("a", &journal));
        let (b, b_addr) = child(&settings, permanent(), 64, Fragile::new("b", &journal));
        let below = group("below", permanent(), 5 * SECOND, settings.clone(), vec![a]);
        let root = root(&settings, vec![below, b]).await;
        let sleep = |reply| FragileMsg::Sleep { pause: SECOND, is_long: true, reply };
        let held = tokio::spawn({
            let addr = a_addr.clone();
            async move { addr.call(Deadline::after(3600 * SECOND), sleep).await }
        });
        until(|| journal.count("sleep") == 1).await;
        drill(&root, "supervisor", fault).await;
        assert_eq!(root.ended().await.reason, "the root supervisor died", "{fault:?}");
        let down = |name: &str| CallError::Down { actor: name.into() };
        assert_eq!(held.await.unwrap(), Err(down("a")), "{fault:?}");
        let began = tokio::time::Instant::now();
        assert_eq!(echo(&a_addr, 1).await, Err(down("a")), "{fault:?}");
        assert_eq!(echo(&b_addr, 1).await, Err(down("b")), "{fault:?}");
        assert!(began.elapsed() < SECOND, "told after {:?}", began.elapsed());
        assert_eq!(journal.count("start a") + journal.count("start b"), 2, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_root_supervisor_cannot_be_frozen() {
    let (root, addr, _) = alone().await;
    let freeze =
        |reply| SupervisorMsg::Drill { name: "supervisor".to_owned(), fault: Fault::Freeze, reply };
    let refused = root.addr().call(Deadline::after(SECOND), freeze).await.unwrap();
    assert_eq!(refused, Err(DrillError::Unnoticed));
    assert_eq!(echo(&addr, 1).await.unwrap().0, 1);
}

#[tokio::test(start_paused = true)]
async fn a_fenced_actor_stays_down_when_its_supervisor_is_replaced() {
    for falls_with_it in [false, true] {
        let settings = settings(Strategy::OneForOne);
        let journal = Journal::default();
        let fail_stop = ChildRules { restart: Restart::FailStop, ..permanent() };
        let (a, a_addr) = child(&settings, fail_stop, 64, Fragile::new("a", &journal));
        let (b, b_addr) = child(&settings, permanent(), 64, Fragile::new("b", &journal));
        let below = group("below", permanent(), 5 * SECOND, settings.clone(), vec![a, b]);
        let root = root(&settings, vec![below]).await;
        if !falls_with_it {
            drill(&root, "a", Fault::Error).await;
            until_state(&root, "a", ActorState::Fenced).await;
        }
        // Killed with its supervisor in the middle of its work, it has failed as well.
        drill(&root, "below", Fault::Panic).await;
        until(|| journal.count("start b") == 2).await;
        assert_eq!(echo(&b_addr, 1).await.unwrap().0, 1);
        until_state(&root, "a", ActorState::Fenced).await;
        assert_eq!(journal.count("start a"), 1, "{falls_with_it}");
        let began = tokio::time::Instant::now();
        assert_eq!(echo(&a_addr, 1).await, Err(CallError::Down { actor: "a".into() }));
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_that_was_replaced_is_not_held_to_be_stuck_for_the_work_it_handed_on() {
    let settings = settings(Strategy::OneForOne);
    let journal = Journal::default();
    let (spec, addr) = child(&settings, permanent(), 64, Fragile::new("fragile", &journal));
    let root = root(&settings, vec![spec]).await;
    let later = |reply| FragileMsg::WriteLater { number: 5, pause: 4 * SECOND, reply };
    let handed_on = tokio::spawn({
        let addr = addr.clone();
        async move { addr.call(Deadline::after(20 * SECOND), later).await }
    });
    until(|| addr.waiting() == 1).await;
    echo(&addr, 1).await.unwrap();
    drill(&root, "fragile", Fault::Freeze).await;
    until(|| journal.count("start fragile") == 2).await;
    let is_stuck =
        || settings.metrics.encode().unwrap().contains("actor_stuck{actor=\"fragile\"} 1");
    while journal.count("5") == 0 {
        assert!(!is_stuck());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(handed_on.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn every_change_is_told_with_what_a_reader_needs() {
    let settings = settings(Strategy::OneForOne);
    let journal = Journal::default();
    let mut events = settings.events.subscribe(Topic::Actors);
    let _slow = settings.events.subscribe(Topic::Actors);
    let (spec, _addr) = child(&settings, permanent(), 64, Fragile::new("fragile", &journal));
    let root = root(&settings, vec![spec]).await;
    drill(&root, "fragile", Fault::Error).await;
    until(|| journal.count("start fragile") == 2).await;
    until_state(&root, "fragile", ActorState::Running).await;
    root.shutdown(10 * SECOND).await;
    let reason = Some("drill: error");
    let expected = [
        (Change::Started, 1, None),
        (Change::Failed, 1, reason),
        (Change::Restarted, 2, None),
        (Change::Stopped, 2, None),
    ];
    for (at, expected) in expected.into_iter().enumerate() {
        let Some(Heard::Told(told)) = events.next().await else { panic!("{expected:?}") };
        assert!(told.at_ms > 1_700_000_000_000, "{told:?}");
        let Event::Actor(event) = told.event else { panic!("{told:?}") };
        assert_eq!((event.change, event.incarnation, event.reason.as_deref()), expected);
        assert_eq!((told.seq, event.actor.as_str()), (at as u64 + 1, "fragile"));
    }
    let metrics = settings.metrics.encode().unwrap();
    assert!(metrics.contains("actor_generation{actor=\"fragile\"} 2\n"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn callers_wait_for_a_group_that_is_restarted_with_its_sibling() {
    let settings = settings(Strategy::OneForAll);
    let journal = Journal::default();
    let (a, a_addr) = child(&settings, permanent(), 64, Fragile::new("a", &journal));
    let slow = Fragile { start_pause: SECOND / 2, ..Fragile::new("b", &journal) };
    let (b, _b_addr) = child(&settings, permanent(), 64, slow);
    let below = group("below", permanent(), 5 * SECOND, settings.clone(), vec![a]);
    let root = root(&settings, vec![b, below]).await;
    drill(&root, "b", Fault::Kill).await;
    // The group has stopped and waits for its turn behind the slow start of its sibling.
    until(|| journal.count("stop a") == 1).await;
    tokio::time::sleep(SECOND / 10).await;
    assert_eq!(journal.count("start a"), 1);
    assert_eq!(echo(&a_addr, 1).await.unwrap().0, 1);
    assert_eq!(journal.count("start a"), 2);
}
