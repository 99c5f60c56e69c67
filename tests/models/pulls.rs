//! Pulls that come to a model, whatever happens on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bizra_omega::adapters::models::download::pull;
use bizra_omega::adapters::models::hub::{Hub, Waits};
use bizra_omega::adapters::models::{ModelStoreError, installed};
use bizra_omega::domain::model_store::{Presence, Stage};

use crate::hub::{Double, ETAG, MODEL, Place, Reply, entry, name, parsed, sha256, waits};

const SECOND: Duration = Duration::from_secs(1);

fn status(status: u16) -> Reply {
    Reply::Head(status, Vec::new())
}

#[tokio::test]
async fn a_pulled_model_is_whole_named_and_described() {
    let (place, double) = (Place::new(), Double::serve(MODEL, []));
    let pulled = place.pull(&double).await.unwrap();
    assert_eq!(std::fs::read(&pulled.path).unwrap(), MODEL);
    assert_eq!((pulled.name.as_str(), pulled.bytes), ("demo", MODEL.len() as u64));
    assert_eq!(pulled.sha256, sha256(MODEL).to_hex());
    assert_eq!(pulled.architecture, "llama");
    assert!(pulled.parameters > 2_000_000 && pulled.context >= 128);
    assert_eq!(installed(place.dir.path()).unwrap(), [pulled]);
    let listed = place.store.list(&parsed(MODEL)).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (listed[0].presence, listed[0].licence.as_deref()),
        (Presence::Installed, Some("MIT"))
    );
    assert_eq!(
        place.files(),
        ["blobs/sha256/".to_owned() + &sha256(MODEL).to_hex(), "index.json".into()]
    );

    let requests = double.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].path, "/bizra/demo/resolve/main/demo.gguf");
    assert_eq!(requests[0].header("accept-encoding"), Some("identity"));
    assert_eq!(requests[0].header("authorization"), Some("Bearer hf_token"));
    // What is here is not fetched again.
    place.pull(&double).await.unwrap();
    assert_eq!(double.requests().len(), 1);
}

#[tokio::test]
async fn a_pull_goes_on_after_whatever_breaks() {
    let scripts: Vec<(&str, Vec<Reply>)> = vec![
        ("cut off", vec![Reply::Cut(1_500_000)]),
        ("cut off again and again", (1..5).map(|n| Reply::Cut(n * 100_000)).collect()),
        ("cut off at once", vec![Reply::Cut(0), Reply::Cut(0)]),
        ("no length", vec![Reply::NoLength]),
        ("cut off, then no length", vec![Reply::Cut(70_000), Reply::NoLength]),
        ("errors", vec![status(500), status(502), status(503), status(504)]),
        ("too many requests", vec![Reply::Head(429, vec![("retry-after", "0".into())])]),
        ("the whole file where a part was asked for", vec![Reply::Cut(70_000), Reply::Whole]),
        ("a wrong part", vec![Reply::Cut(70_000), Reply::Range("bytes 5-9/10000000000")]),
        ("a part from the begin", vec![Reply::Cut(70_000), Reply::Range("bytes 0-99/*")]),
        ("a part that is none", vec![Reply::Cut(70_000), Reply::Range("pages 1-2")]),
        ("no such part", vec![Reply::Cut(70_000), status(416)]),
    ];
    for (case, script) in scripts {
        let is_other_size = case == "a wrong part";
        let (place, double) = (Place::new(), Double::serve(MODEL, script));
        let pulled = place.pull(&double).await;
        if is_other_size {
            assert!(pulled.unwrap_err().to_string().contains("10000000000 bytes"), "{case}");
            continue;
        }
        assert_eq!(std::fs::read(pulled.unwrap().path).unwrap(), MODEL, "{case}");
        assert_eq!(place.files().len(), 2, "{case}: {:?}", place.files());
    }
}

#[tokio::test]
async fn a_silent_hub_and_a_trickling_one_are_asked_again() {
    let quick = Waits { idle: SECOND / 5, pace: SECOND / 5, pace_bytes: 4096, ..waits() };
    for (reply, reason) in [
        (Reply::Hang(70_000), "nothing came for"),
        (Reply::Trickle(SECOND / 100), "it comes too slowly"),
    ] {
        let (place, double) = (Place::new(), Double::serve(MODEL, [reply]));
        let hub = Hub::new(&double.url(), "", false, quick).unwrap();
        let was_told = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&was_told);
        let tell = Arc::new(move |progress: bizra_omega::domain::model_store::Progress| {
            if progress.stage == Stage::Pausing && progress.reason.unwrap().contains(reason) {
                told.store(true, Ordering::Relaxed);
            }
        });
        pull(&place.store, &hub, &entry(MODEL), 1, tell).await.unwrap();
        assert!(was_told.load(Ordering::Relaxed), "{reason}");
        assert_eq!(double.requests().len(), 2, "{reason}");
    }
}

#[tokio::test]
async fn what_came_is_asked_for_no_more_and_only_of_the_same_version() {
    let (place, double) = (Place::new(), Double::serve(MODEL, [Reply::Cut(1_234_567)]));
    place.pull(&double).await.unwrap();
    let requests = double.requests();
    assert_eq!(requests[0].header("range"), None);
    assert_eq!(requests[1].header("range"), Some("bytes=1234567-"));
    assert_eq!(requests[1].header("if-range"), Some(ETAG));
}

#[tokio::test]
async fn a_later_pull_goes_on_where_one_was_given_up() {
    let (place, double) = (Place::new(), Double::serve(MODEL, [Reply::Hang(1_234_567)]));
    let waits = Waits { total: SECOND / 2, ..waits() };
    // The whole time is over while the hub is silent: what came so far is kept up to a megabyte.
    let error = place.pull_with(&double, &entry(MODEL), waits).await.unwrap_err();
    assert!(error.to_string().contains("goes on from there"), "{error}");
    let listed = place.store.list(&parsed(MODEL)).unwrap();
    assert_eq!(listed[0].presence, Presence::Partial);
    assert!(listed[0].bytes_here >= 1 << 20, "{}", listed[0].bytes_here);
    place.pull(&double).await.unwrap();
    let asked = format!("bytes={}-", listed[0].bytes_here);
    assert_eq!(double.requests()[1].header("range"), Some(asked.as_str()));
}

#[tokio::test]
async fn a_file_that_was_put_together_wrongly_is_fetched_once_more() {
    // The first megabyte is of another version, which only the digest finds.
    let mut other = MODEL.to_vec();
    other[1000] ^= 1;
    let (place, bad) = (Place::new(), Double::serve(&other, [Reply::Hang(2_000_000)]));
    let short = Waits { total: SECOND / 2, ..waits() };
    place.pull_with(&bad, &entry(MODEL), short).await.unwrap_err();
    let good = Double::serve(MODEL, []);
    place.pull(&good).await.unwrap();
    let ranges: Vec<bool> =
        good.requests().iter().map(|request| request.header("range").is_some()).collect();
    assert_eq!(ranges, [true, false]);
}

#[tokio::test]
async fn a_damaged_model_is_pulled_again() {
    let (place, double) = (Place::new(), Double::serve(MODEL, []));
    let path = place.pull(&double).await.unwrap().path;
    for damage in [b"short".to_vec(), vec![0; MODEL.len()]] {
        std::fs::write(&path, damage).unwrap();
        place.pull(&double).await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), MODEL);
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(place.store.list(&parsed(MODEL)).unwrap()[0].presence, Presence::Missing);
    assert!(installed(place.dir.path()).unwrap().is_empty());
    place.pull(&double).await.unwrap();
    assert_eq!(double.requests().len(), 4);
}

#[tokio::test]
async fn of_two_pulls_of_one_model_one_fetches_and_both_have_it() {
    let (place, double) = (Place::new(), Double::serve(MODEL, []));
    let pulls = (0..4).map(|_| place.pull(&double));
    for pulled in futures_util::future::join_all(pulls).await {
        assert_eq!(pulled.unwrap().sha256, sha256(MODEL).to_hex());
    }
    assert_eq!(double.requests().len(), 1);
    assert_eq!(place.files().len(), 2, "{:?}", place.files());
}

#[tokio::test]
async fn what_is_on_its_way_is_not_removed_and_what_a_pull_left_is() {
    let (place, double) = (Place::new(), Double::serve(MODEL, [Reply::Hang(3_000_000)]));
    let known = parsed(MODEL);
    let removing = async |is_expected: &dyn Fn(&Result<u64, ModelStoreError>) -> bool| {
        loop {
            let removed = place.store.remove(&name("demo"), &known, false);
            let removed = removed.map(|removed| removed.bytes_freed);
            if is_expected(&removed) {
                return;
            }
            tokio::time::sleep(SECOND / 100).await;
        }
    };
    tokio::select! {
        pulled = place.pull(&double) => panic!("{pulled:?}"),
        () = removing(&|removed| matches!(removed, Err(ModelStoreError::Coming(_)))) => {}
    }
    // Nobody pulls any more, but its last megabyte may still be written.
    let left = removing(&|removed| !matches!(removed, Err(ModelStoreError::Coming(_))));
    tokio::time::timeout(60 * SECOND, left).await.unwrap();
    assert!(place.files().iter().all(|file| !file.starts_with("partial")), "{:?}", place.files());
}

#[tokio::test]
async fn a_hub_may_send_the_request_on_and_the_token_stays_with_it() {
    let far = Double::serve(MODEL, [Reply::Cut(70_000)]);
    let on = |to: String| Reply::Head(302, vec![("location", to)]);
    // To itself, then to another host, from where it is not followed back with the token.
    let script = [on("/elsewhere?x=1".into()), on(format!("{}/cdn/file?sig=2", far.url()))];
    let twice = script.iter().chain(&script).cloned();
    let (place, double) = (Place::new(), Double::serve(MODEL, twice));
    place.pull(&double).await.unwrap();
    let near = double.requests();
    assert_eq!(near.len(), 4);
    assert!(near.iter().all(|request| request.header("authorization") == Some("Bearer hf_token")));
    assert_eq!(near[1].path, "/elsewhere?x=1");
    let far = far.requests();
    assert_eq!(far.len(), 2);
    assert!(far.iter().all(|request| request.header("authorization").is_none()));
    assert_eq!(far[1].header("range"), Some("bytes=70000-"));
}
