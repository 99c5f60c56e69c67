//! Batches, the log and its pages, parents that others made, full windows, old envelopes.

use bizra_omega::domain::envelope::Page;
use bizra_omega::domain::identity::NodeKey;
use bizra_omega::messages::envelope::{BATCH_BYTES_MAX, BATCH_MAX};

use super::*;

impl Desk {
    async fn verify_many(&self, items: Vec<Bytes>) -> Vec<Report> {
        self.say(|reply| EnvelopeMsg::VerifyMany { items: items.clone(), reply }).await
    }

    async fn log(&self, page: Page) -> Vec<Head> {
        self.say(|reply| EnvelopeMsg::Log { page, reply }).await.unwrap()
    }
}

/// An envelope of another node.
fn foreign(key: &NodeKey, draft: Draft) -> Value {
    let unsigned = draft.prepare(key.public_key()).unwrap();
    let signed = key.sign(KeyUse::Envelope, unsigned.signing_bytes());
    Value::clone(&unsigned.finish(&signed).unwrap().json)
}

fn detail(report: &Report) -> String {
    report.checks.last().unwrap().detail.clone().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_envelopes_is_answered_as_its_items_one_by_one() {
    let desk = desk().await;
    let parent = desk.create(&draft(1, json!("parent"))).await.unwrap();
    let known = Parent { id: parent.id, content_hash: Head::of(&parent).unwrap().content_hash };
    let lie = Parent { content_hash: [0; 32], ..known.clone() };
    let mut items = Vec::new();
    for number in 0..120_u8 {
        let provenance = match number % 3 {
            0 => Vec::new(),
            1 => vec![known.clone()],
            _ => vec![known.clone(), lie.clone()],
        };
        let payload = json!("x".repeat(usize::from(number) * 300));
        let draft = Draft { provenance, ..draft(number, payload) };
        let mut json = foreign(&NodeKey::from_secret(&[9; 32]), draft);
        match number % 7 {
            1 => json["ttl"] = json!(61),
            2 => json["payload"] = json!(1),
            3 => json["public_key"] = json!("00".repeat(32)),
            4 => json["timestamp"] = json!("2036-01-01T00:00:00.123Z"),
            5 => json["signature"] = json!(number),
            _ => (),
        }
        items.push(Bytes::from(json.to_string()));
    }
    items.extend([Bytes::new(), Bytes::from_static(b"\xff{"), Bytes::from_static(b"[[[[")]);
    let batch = desk.verify_many(items.clone()).await;
    assert_eq!(batch.len(), items.len());
    let valid = batch.iter().filter(|report| report.is_valid()).count();
    assert!((10..100).contains(&valid), "{valid}");
    for (item, in_batch) in items.into_iter().zip(batch) {
        let single = desk.say(|reply| EnvelopeMsg::Verify { bytes: item.clone(), reply }).await;
        assert_eq!(in_batch, single);
    }
    assert_eq!(desk.verify_many(Vec::new()).await, []);
}

#[tokio::test]
async fn a_batch_of_envelopes_over_a_limit_is_refused_as_a_whole() {
    let desk = desk().await;
    let large = Bytes::from(vec![b' '; BATCH_BYTES_MAX / 4]);
    for items in [vec![Bytes::new(); BATCH_MAX + 1], vec![large; 5]] {
        let reports = desk.verify_many(items.clone()).await;
        assert_eq!(reports.len(), items.len());
        assert!(reports.iter().all(|it| it.code == Some(RejectCode::RejectQuota)), "{reports:?}");
    }
    let most = desk.verify_many(vec![Bytes::new(); BATCH_MAX]).await;
    assert!(most.iter().all(|it| it.code == Some(RejectCode::RejectSchema)));
}

#[tokio::test]
async fn what_others_made_is_a_known_parent_once_it_was_consumed() {
    static CLOCK: AtomicI64 = AtomicI64::new(NOW_MS);
    let desk = desk_with(|| CLOCK.load(Ordering::SeqCst), ReplayLimits::default()).await;
    let parent = foreign(&NodeKey::from_secret(&[9; 32]), draft(1, json!("parent")));
    let hash = from_hex(parent["content_hash"].as_str().unwrap()).unwrap();
    let known = Parent { id: EnvelopeId([1; 16]), content_hash: hash };
    let child = Draft { provenance: vec![known.clone()], ttl_s: 3600, ..draft(2, json!("child")) };
    let child = desk.create(&child).await.unwrap();
    assert_eq!(detail(&desk.verify(&child.json).await), "unresolved: 1 of 1 parents");
    assert!(desk.consume(&parent).await.is_valid());
    assert_eq!(detail(&desk.verify(&child.json).await), "resolved: 1 of 1 parents");
    drill(&desk.root, "envelope", Fault::Kill).await;
    assert_eq!(detail(&desk.verify(&child.json).await), "resolved: 1 of 1 parents");
    // An id of others is theirs to choose: other content under it is unknown, and no lie.
    let other = Parent { content_hash: [0; 32], ..known };
    let other = Draft { provenance: vec![other], ..draft(3, json!("child")) };
    let other = desk.create(&other).await.unwrap();
    let report = desk.verify(&other.json).await;
    assert_eq!((report.is_valid(), detail(&report)), (true, "unresolved: 1 of 1 parents".into()));
    // Known no longer than its nonce is kept.
    CLOCK.store(NOW_MS + 100_000, Ordering::SeqCst);
    let late = Draft { timestamp_ms: NOW_MS + 100_000, ..draft(4, json!(1)) };
    let late = foreign(&NodeKey::from_secret(&[9; 32]), late);
    assert!(desk.consume(&late).await.is_valid());
    assert_eq!(detail(&desk.verify(&child.json).await), "unresolved: 1 of 1 parents");
}

#[tokio::test]
async fn a_window_that_is_full_refuses_every_sender_also_after_a_restart() {
    let limits = ReplayLimits { nonces_max: 3, per_sender_max: 2 };
    let desk = desk_with(noon, limits).await;
    let of =
        |sender: u8, id: u8| foreign(&NodeKey::from_secret(&[sender; 32]), draft(id, json!(1)));
    assert!(desk.consume(&of(1, 1)).await.is_valid());
    assert!(desk.consume(&of(1, 2)).await.is_valid());
    // One sender cannot take the places of others.
    assert_eq!(desk.consume(&of(1, 3)).await.code, Some(RejectCode::RejectQuota));
    assert!(desk.consume(&of(2, 1)).await.is_valid());
    for fault in [Fault::Kill, Fault::Panic] {
        assert_eq!(desk.consume(&of(3, 1)).await.code, Some(RejectCode::RejectQuota));
        // What is remembered stays remembered.
        assert_eq!(desk.consume(&of(1, 1)).await.code, Some(RejectCode::RejectReplay));
        assert_eq!(desk.consume(&of(2, 1)).await.code, Some(RejectCode::RejectReplay));
        drill(&desk.root, "envelope", fault).await;
    }
}

#[tokio::test]
async fn the_log_says_what_was_made_when_and_under_which_constitution() {
    let desk = desk().await;
    let mut made = Vec::new();
    for id in 1..=5 {
        let timestamp_ms = NOW_MS - 1000 * i64::from(id % 3);
        let draft = Draft { timestamp_ms, ..draft(id, json!(id)) };
        made.push(Head::of(&desk.create(&draft).await.unwrap()).unwrap());
        // Asked again, it is not logged again.
        desk.create(&draft).await.unwrap();
    }
    made.sort_by_key(|head| std::cmp::Reverse((head.at_ms, head.id)));
    drill(&desk.root, "envelope", Fault::Kill).await;
    let page = Page { limit: usize::MAX, since_ms: i64::MIN, after: None };
    assert_eq!(desk.log(page).await, made);
    assert_eq!(desk.log(Page { limit: 2, after: Some(made[1].id), ..page }).await, made[2..4]);
    assert_eq!(desk.log(Page { since_ms: NOW_MS, ..page }).await, made[..1]);
    let constitution = domain_separated_digest(b"constitution");
    assert!(made.iter().all(|head| head.constitution == *constitution.as_bytes()));
    // What was only consumed was not made here.
    let other = foreign(&NodeKey::from_secret(&[9; 32]), draft(9, json!(1)));
    assert!(desk.consume(&other).await.is_valid());
    assert_eq!(desk.log(page).await, made);
}

#[tokio::test]
async fn an_old_envelope_is_consumed_once() {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/pci.json")).unwrap();
    let old = &vectors["old_envelopes"][0];
    assert_eq!(old["case"], "simple object");
    let bytes = Bytes::from(old["envelope_utf8"].as_str().unwrap().to_owned());
    let desk = desk_with(|| 4_070_908_800_000, ReplayLimits::default()).await;
    let consume = || desk.say(|reply| EnvelopeMsg::Consume { bytes: bytes.clone(), reply });
    let report = consume().await;
    assert!(report.is_valid(), "{report:?}");
    assert_eq!(consume().await.code, Some(RejectCode::RejectReplay));
    drill(&desk.root, "envelope", Fault::Kill).await;
    assert_eq!(consume().await.code, Some(RejectCode::RejectReplay));
    // Its parents are named by id only, and are counted as unresolved.
    let with_parents = &vectors["old_envelopes"][7]["envelope_utf8"];
    let with_parents = Bytes::from(with_parents.as_str().unwrap().to_owned());
    let report = desk.say(|reply| EnvelopeMsg::Verify { bytes: with_parents.clone(), reply }).await;
    assert_eq!((report.is_valid(), detail(&report)), (true, "unresolved: 2 of 2 parents".into()));
}
