//! Who waits for a backend, for how long, and who does not.

use std::sync::Arc;
use std::time::Duration;

use bizra_omega::domain::inference::request::RawRequest;
use bizra_omega::domain::inference::{InferenceError, Tier};
use bizra_omega::domain::rate::Client;
use bizra_omega::messages::addr::Deadline;
use bizra_omega::messages::inference_router::InferenceMsg;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::double::{Double, Mode, info, over, plain};
use crate::house::{BACKEND_PLACES, House, model, raw};
use crate::support::{SECOND, until};

const GREEDY: Client = Client::V4(1);
const MODEST: Client = Client::V4(2);

/// A house with one backend that takes four seconds for each of one request at a time, and has
/// shown so if `is_known`.
async fn slow_house(waiting_max: usize, is_known: bool) -> (Arc<House>, Double) {
    let edge = Double::new("edge", Tier::Edge, 1, Mode::Works(4 * SECOND));
    let mut rules = plain();
    rules.waiting_max = waiting_max;
    let house = over(std::slice::from_ref(&edge), rules).await;
    if is_known {
        house.generate(None).await.unwrap();
    }
    (Arc::new(house), edge)
}

/// Asks in a task, and tells how it ended and when.
fn ask(
    tasks: &mut JoinSet<(Client, Result<Duration, InferenceError>, Duration)>,
    house: &Arc<House>,
    client: Client,
    wait: Duration,
) {
    let house = house.clone();
    tasks.spawn(async move {
        let began = Instant::now();
        let outcome = house.ask_as(client, raw(None), None, wait).await;
        (client, outcome.map(|answer| answer.queued), began.elapsed())
    });
}

async fn queued(house: &House, count: usize) {
    let reached = async {
        while info(house, "edge").await.queued != count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(60 * SECOND, reached).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn so_many_are_worked_on_and_the_rest_waits_and_is_told_for_how_long() {
    let (house, edge) = slow_house(8, false).await;
    let mut tasks = JoinSet::new();
    for _ in 0..3 {
        ask(&mut tasks, &house, GREEDY, 100 * SECOND);
    }
    let mut waits: Vec<_> =
        tasks.join_all().await.into_iter().map(|it| it.1.unwrap().as_secs()).collect();
    waits.sort_unstable();
    assert_eq!(waits, [0, 4, 8]);
    assert_eq!((edge.asked(), edge.most()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_greedy_client_does_not_starve_another() {
    let (house, edge) = slow_house(8, true).await;
    let mut tasks = JoinSet::new();
    for _ in 0..40 {
        ask(&mut tasks, &house, GREEDY, 1000 * SECOND);
    }
    queued(&house, 8).await;
    for _ in 0..2 {
        ask(&mut tasks, &house, MODEST, 1000 * SECOND);
    }
    let ended = tasks.join_all().await;
    let of = |client| ended.iter().filter(move |it| it.0 == client);
    let served = |client| of(client).filter(|it| it.1.is_ok()).count();
    assert_eq!(served(MODEST), 2, "there was room for it at the greedy one's cost");
    assert_eq!(served(GREEDY), 1 + 8 - 2);
    // Behind the one that runs: the greedy one's next, its own first, the next, its own second.
    for (_, _, took) in of(MODEST) {
        assert!(*took <= 20 * SECOND, "{took:?}");
    }
    for (_, outcome, _) in of(GREEDY).filter(|it| it.1.is_err()) {
        assert!(matches!(outcome, Err(InferenceError::Busy { .. })), "{outcome:?}");
    }
    assert_eq!(edge.most(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_served_in_time_is_told_so_at_once() {
    let (house, edge) = slow_house(64, true).await;
    let mut tasks = JoinSet::new();
    for _ in 0..3 {
        ask(&mut tasks, &house, GREEDY, 1000 * SECOND);
    }
    queued(&house, 2).await;
    let began = Instant::now();
    let error = house.ask_as(GREEDY, raw(None), None, 15 * SECOND).await.unwrap_err();
    // One runs and two wait: the next would begin after three, and take as long itself.
    assert_eq!(error, InferenceError::Busy { wait: 12 * SECOND });
    assert!(began.elapsed() < SECOND, "it is told at once");
    let metrics = house.metrics.encode().unwrap();
    assert!(metrics.contains("inference_shed_total{backend=\"edge\"} 1"), "{metrics}");
    assert!(house.ask_as(GREEDY, raw(None), None, 17 * SECOND).await.is_ok());
    assert!(tasks.join_all().await.iter().all(|it| it.1.is_ok()));
    assert_eq!(edge.asked(), 1 + 3 + 1);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_queue_or_the_backend_holds_no_place() {
    let (house, edge) = slow_house(8, false).await;
    edge.set(Mode::Hangs);
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        ask(&mut tasks, &house, GREEDY, 1000 * SECOND);
    }
    queued(&house, 3).await;
    let began = Instant::now();
    tasks.shutdown().await;
    until(|| edge.cancelled() == 1).await;
    assert!(began.elapsed() < SECOND, "the backend hears of it within a second");
    queued(&house, 0).await;
    assert_eq!(edge.asked(), 1, "nobody was asked for who had left");
    edge.set(Mode::Works(SECOND));
    assert_eq!(house.generate(None).await.unwrap().queued, Duration::ZERO);
    let info = info(&house, "edge").await;
    assert_eq!((info.running, info.queued, info.breaker), (0, 0, "closed"));
    assert_eq!(info.first_token_p50, Some(SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_backend_with_no_time_to_list_its_models_has_them_nevertheless() {
    let local =
        Double::new("local", Tier::Local, BACKEND_PLACES, Mode::Works(Duration::from_millis(20)));
    let house = Arc::new(over(std::slice::from_ref(&local), plain()).await);
    let named = || RawRequest { model: Some(model("local")), ..raw(None) };
    house.ask(named(), None, SECOND).await.unwrap();
    local.set(Mode::Hangs);
    let mut held = JoinSet::new();
    for _ in 0..BACKEND_PLACES {
        let (house, raw) = (house.clone(), named());
        held.spawn(async move { house.ask(raw, None, 20 * SECOND).await });
    }
    until(|| local.asked() == 1 + BACKEND_PLACES).await;
    // What was listed is too old by then to be taken for what there is, and nobody has time to say.
    tokio::time::sleep(5 * SECOND).await;
    let error = house.ask(named(), None, SECOND).await.unwrap_err();
    assert!(matches!(error, InferenceError::Busy { .. } | InferenceError::Timeout), "{error}");
    let listed = house.router.call(Deadline::after(SECOND), |reply| InferenceMsg::Models { reply });
    let listed = listed.await.unwrap();
    assert_eq!(listed.iter().map(|it| &it.name).collect::<Vec<_>>(), [&model("local")]);
    assert!(listed[0].is_available, "it works, on as much as it can");
}
