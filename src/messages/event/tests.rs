use super::*;

fn events() -> Events {
    Events::new(Counter::default())
}

fn made(id: u64) -> Event {
    Event::Envelope(EnvelopeEvent::Made { id: id.to_string() })
}

#[test]
fn every_topic_has_its_name_and_its_place() {
    for (at, (topic, name)) in Topic::ALL.into_iter().enumerate() {
        assert_eq!((topic as usize, topic.as_str()), (at, name));
        assert_eq!(Topic::from_name(name), Some(topic));
    }
    assert_eq!(Topic::from_name("Actors"), None);
}

#[test]
fn a_topic_without_a_publisher_cannot_be_followed() {
    let events = events();
    assert!(events.follow(Topic::Patterns).is_none());
    events.announce([Topic::Patterns]);
    assert!(events.follow(Topic::Patterns).is_some());
    assert_eq!(events.announced().collect::<Vec<_>>(), [Topic::Patterns]);
}

#[tokio::test]
async fn events_are_counted_by_topic_also_while_nobody_listens() {
    let events = events();
    events.publish(made(1));
    let mut followed = events.subscribe(Topic::Envelopes);
    let mut others = events.subscribe(Topic::Actors);
    events.publish_of(7, made(2));
    let told = Told { seq: 2, at_ms: 7, event: made(2) };
    assert_eq!(followed.next().await, Some(Heard::Told(told)));
    drop(events);
    assert_eq!(others.next().await, None);
}

#[tokio::test]
async fn a_slow_reader_holds_nobody_up_and_hears_what_it_missed() {
    let missed = Counter::default();
    let events = Events::new(missed.clone());
    let mut slow = events.subscribe(Topic::Envelopes);
    let behind = BEHIND_MAX as u64;
    // Never waits, whoever reads: there is no await in it.
    (0..behind + 10).for_each(|id| events.publish(made(id)));
    assert_eq!(slow.next().await, Some(Heard::Missed(10)));
    assert_eq!(missed.get(), 10);
    for seq in 11..=behind + 10 {
        let Some(Heard::Told(told)) = slow.next().await else { panic!("{seq}") };
        assert_eq!((told.seq, told.event), (seq, made(seq - 1)));
    }
    drop(events);
    assert_eq!(slow.next().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_in_the_order_of_their_numbers_from_whatever_thread() {
    let events = events();
    let mut reader = events.subscribe(Topic::Envelopes);
    let publishers = (0..4).map(|_| {
        let events = events.clone();
        tokio::spawn(async move { (0..200).for_each(|id| events.publish(made(id))) })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await.unwrap();
    }
    for seq in 1..=800 {
        let Some(Heard::Told(told)) = reader.next().await else { panic!("{seq}") };
        assert_eq!(told.seq, seq);
    }
}

#[test]
fn what_subscribers_read_is_flat() {
    let event = InferenceEvent::Refused { request_id: "r".into(), code: "RejectGateIhsan" };
    let json = serde_json::to_value(Event::Inference(event)).unwrap();
    let expected = serde_json::json!({
        "what": "refused", "request_id": "r", "code": "RejectGateIhsan",
    });
    assert_eq!(json, expected);
    let (actor, change, reason) = ("one".into(), Change::Failed, Some("why".into()));
    let event = Event::Actor(ActorEvent { actor, change, incarnation: 2, reason });
    let expected = serde_json::json!({
        "name": "one", "what": "failed", "incarnation": 2, "reason": "why",
    });
    assert_eq!(serde_json::to_value(event).unwrap(), expected);
}
