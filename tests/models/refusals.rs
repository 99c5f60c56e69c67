//! Pulls that come to nothing, and say why.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bizra_omega::adapters::models::download::pull;
use bizra_omega::adapters::models::hub::Hub;
use bizra_omega::adapters::models::{ModelStore, ModelStoreError};

use crate::hub::{Double, MODEL, Place, Reply, entry, waits};

fn status(status: u16) -> Reply {
    Reply::Head(status, Vec::new())
}

fn to(place: &str) -> Reply {
    Reply::Head(302, vec![("location", place.to_owned())])
}

#[tokio::test]
async fn what_asking_again_would_not_change_is_said_at_once() {
    let cases: Vec<(Reply, &str)> = vec![
        (status(401), "refuses the token (HTTP 401)"),
        (status(403), "accept the model's licence"),
        (status(404), "does not have the file"),
        (status(400), "HTTP 400"),
        (status(302), "HTTP 302"),
        (Reply::Head(429, vec![("retry-after", "3600".into())]), "come back in 3600 s"),
        (Reply::Packed("gzip"), "sent it as gzip"),
        (Reply::Range("bytes 0-9/10"), "a part that was not asked for"),
        (Reply::TooMuch, "more than the"),
        (Reply::Corrupt(1_000_000), "it was thrown away"),
        (to("http://192.0.2.1/file"), "sent the request on to http://192.0.2.1, which"),
        (to("ftp://127.0.0.1/file"), "ftp://127.0.0.1"),
        (to("file:///etc/passwd"), "file://"),
        (to("http://[broken"), "no address"),
    ];
    for (reply, expected) in cases {
        let shown = format!("{reply:?}");
        let (place, double) = (Place::new(), Double::serve(MODEL, [reply]));
        let error = place.pull(&double).await.expect_err(&shown).to_string();
        assert!(error.contains(expected), "{shown}: {error}");
        assert!(!error.contains("hf_token"), "{shown}");
        assert_eq!(double.requests().len(), 1, "{shown}");
        // Nothing is installed, and nothing wrong is kept.
        let kept = place.files();
        let is_empty = |file: &String| {
            let path = place.dir.path().join("models").join(file);
            std::fs::metadata(path).unwrap().len() == 0
        };
        assert!(kept.iter().all(is_empty), "{shown}: {kept:?}");
    }
}

#[tokio::test]
async fn a_file_of_another_size_is_refused_before_any_of_it_comes() {
    let (place, double) = (Place::new(), Double::serve(&MODEL[1..], []));
    let error = place.pull(&double).await.unwrap_err();
    assert!(matches!(error, ModelStoreError::Refused(_)), "{error}");
}

#[tokio::test]
async fn a_token_that_is_missing_is_asked_for() {
    let (place, double) = (Place::new(), Double::serve(MODEL, [status(401)]));
    let hub = Hub::new(&double.url(), "", false, waits()).unwrap();
    let pulled = pull(&place.store, &hub, &entry(MODEL), 1, Arc::new(|_| {})).await;
    assert!(pulled.unwrap_err().to_string().contains("set HF_TOKEN"));
    assert_eq!(double.requests()[0].header("authorization"), None);
}

#[tokio::test]
async fn a_hub_that_always_fails_is_given_up() {
    let always = |reply: Reply| (0..50).map(move |_| reply.clone());
    for (reply, reason) in [(status(503), "HTTP 503"), (Reply::Cut(10), "")] {
        let (place, double) = (Place::new(), Double::serve(MODEL, always(reply)));
        let error = place.pull(&double).await.unwrap_err().to_string();
        assert!(error.contains("given up after 6 tries") && error.contains(reason), "{error}");
        assert_eq!(double.requests().len(), 6);
    }
    // Nobody is there.
    let (place, double) = (Place::new(), Double::serve(MODEL, []));
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = Double { address: gone.local_addr().unwrap(), ..double };
    drop(gone);
    let error = place.pull(&nowhere).await.unwrap_err().to_string();
    assert!(error.contains("given up after 6 tries"), "{error}");
}

#[tokio::test]
async fn a_circle_of_redirects_is_left() {
    let (place, double) = (Place::new(), Double::serve(MODEL, (0..50).map(|_| to("/round"))));
    let error = place.pull(&double).await.unwrap_err().to_string();
    assert!(error.contains("more than 5 times"), "{error}");
    assert_eq!(double.requests().len(), 6);
}

#[tokio::test]
async fn without_room_nothing_is_fetched_and_what_fills_up_stops() {
    let (place, double) = (Place::new(), Double::serve(MODEL, []));
    let size = MODEL.len() as u64;
    // One byte too few beside the floor.
    let store = ModelStore::new(place.dir.path(), 1000).with_free_bytes(move |_| Some(size + 999));
    let hub = Hub::new(&double.url(), "", false, waits()).unwrap();
    let pulled = pull(&store, &hub, &entry(MODEL), 1, Arc::new(|_| {})).await;
    assert!(matches!(pulled.unwrap_err(), ModelStoreError::NoRoom(_)));
    assert!(double.requests().is_empty());

    // Another program fills the disk meanwhile.
    let looks = AtomicU64::new(0);
    let free = move |_: &std::path::Path| {
        Some(if looks.fetch_add(1, Ordering::Relaxed) == 0 { size + 1000 } else { 999 })
    };
    let store = ModelStore::new(place.dir.path(), 1000).with_free_bytes(free);
    let pulled = pull(&store, &hub, &entry(MODEL), 1, Arc::new(|_| {})).await;
    assert!(matches!(pulled.unwrap_err(), ModelStoreError::NoRoom(_)));
    assert_eq!(double.requests().len(), 1);
    // What came is kept for when there is room.
    place.pull(&double).await.unwrap();
    assert!(double.requests()[1].header("range").is_some());
}

#[tokio::test]
async fn offline_nothing_is_asked_and_what_is_here_is_found() {
    let (place, double) = (Place::new(), Double::serve(MODEL, []));
    let hub = Hub::new(&double.url(), "", true, waits()).unwrap();
    let tell = || Arc::new(|_| {});
    let error = pull(&place.store, &hub, &entry(MODEL), 1, tell()).await.unwrap_err().to_string();
    assert!(error.contains("offline") && error.contains("bizra models import"), "{error}");
    assert!(double.requests().is_empty());
    place.pull(&double).await.unwrap();
    pull(&place.store, &hub, &entry(MODEL), 1, tell()).await.unwrap();
    assert_eq!(double.requests().len(), 1);
}

#[tokio::test]
async fn what_is_no_model_is_refused_although_its_digest_is_right() {
    let mut other = MODEL.to_vec();
    let at = other.windows(5).position(|five| five == b"llama").unwrap();
    other[at..at + 5].copy_from_slice(b"bloom");
    for (bytes, reason) in [
        (b"<html>not found</html>".to_vec(), "does not begin with GGUF"),
        (MODEL[..MODEL.len() / 2].to_vec(), "download it again"),
        (other, "its architecture is \"bloom\""),
    ] {
        let (place, double) = (Place::new(), Double::serve(&bytes, []));
        let error = place.pull_with(&double, &entry(&bytes), waits()).await.unwrap_err();
        assert!(matches!(&error, ModelStoreError::NotAModel { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        assert!(place.files().is_empty(), "{:?}", place.files());
    }
}

#[tokio::test]
async fn a_pull_that_nobody_waits_for_ends() {
    let (place, double) = (Place::new(), Double::serve(MODEL, [Reply::Hang(1_500_000)]));
    let pulling = place.pull(&double);
    tokio::time::timeout(Duration::from_millis(500), pulling).await.unwrap_err();
    // Its lock is free at once, or as soon as its thread has seen that nobody waits.
    place.pull(&double).await.unwrap();
    assert_eq!(double.requests().len(), 2);
}
