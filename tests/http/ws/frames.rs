//! Every type of frame, and its answer.

use bizra_omega::http::limits::{Limits, SocketLimits};
use bizra_omega::messages::event::{EnvelopeEvent, Event};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::support::SECOND;
use crate::ws::{Socket, host, host_of, host_with};

#[tokio::test]
async fn it_begins_with_a_welcome() {
    let host = host().await;
    let welcome = host.socket().await.hear().await;
    assert_eq!(welcome["type"], "welcome");
    assert_eq!(welcome["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(welcome["node_id"].as_str().unwrap().len(), 32);
    let topics = json!(["actors", "inference", "envelopes", "federation", "consensus"]);
    assert_eq!(welcome["topics"], topics);
}

#[tokio::test]
async fn ping_and_status_are_answered_with_the_id_they_have() {
    let host = host().await;
    let mut socket = host.welcomed().await;
    let pong = socket.ask(json!({ "type": "ping" })).await;
    assert!(pong["timestamp"].as_u64().unwrap() > 1_600_000_000_000, "{pong}");
    assert!(pong.get("id").is_none());
    for id in [json!("a"), json!(7), json!(-1), json!("\u{6f22}")] {
        let pong = socket.ask(json!({ "type": "ping", "id": id })).await;
        assert_eq!((&pong["type"], &pong["id"]), (&json!("pong"), &id));
    }
    let status = socket.ask(json!({ "type": "status", "id": 1 })).await;
    for key in ["uptime_secs", "uptime_seconds", "requests"] {
        assert!(status[key].is_number(), "{status}");
    }
}

#[tokio::test]
async fn an_unknown_type_is_an_error_and_the_socket_stays_open() {
    let host = host().await;
    let mut socket = host.welcomed().await;
    for kind in ["", "Ping", "welcome", "\u{6f22}"] {
        let frame = json!({ "type": kind, "id": 1 });
        let answer = socket.ask(frame).await;
        assert_eq!(answer["code"], "UNKNOWN_TYPE");
        assert_eq!((&answer["type"], &answer["id"]), (&json!("error"), &json!(1)));
    }
    socket.assert_open().await;
}

#[tokio::test]
async fn events_come_to_who_asked_with_their_number_and_time() {
    let host = host().await;
    let mut socket = host.welcomed().await;
    host.publish("before");
    socket.subscribe("envelopes").await;
    host.publish("a");
    host.events.publish(Event::Envelope(EnvelopeEvent::Refused { code: "RejectReplay" }));
    let first = socket.hear().await;
    assert_eq!((&first["type"], &first["topic"]), (&json!("event"), &json!("envelopes")));
    assert_eq!((&first["seq"], &first["data"]), (&json!(2), &json!({ "what": "made", "id": "a" })));
    assert!(first["at"].as_u64().unwrap() > 1_600_000_000_000);
    let second = socket.hear().await;
    assert_eq!(second["seq"], 3);
    assert_eq!(second["data"], json!({ "what": "refused", "code": "RejectReplay" }));

    let answer = socket.ask(json!({ "type": "unsubscribe", "topic": "envelopes", "id": 1 })).await;
    assert_eq!(answer, json!({ "type": "unsubscribed", "topic": "envelopes", "id": 1 }));
    host.publish("not told");
    socket.assert_open().await;
}

#[tokio::test]
async fn a_topic_without_a_publisher_is_refused() {
    let host = host().await;
    let mut socket = host.welcomed().await;
    for (topic, code) in
        [("patterns", "TOPIC_UNAVAILABLE"), ("weather", "UNKNOWN_TOPIC"), ("", "UNKNOWN_TOPIC")]
    {
        assert_eq!(socket.refused(json!({ "type": "subscribe", "topic": topic })).await, code);
    }
    let unknown = json!({ "type": "unsubscribe", "topic": "weather" });
    assert_eq!(socket.refused(unknown).await, "UNKNOWN_TOPIC");
}

#[tokio::test]
async fn a_slow_subscriber_loses_the_oldest_and_is_told_how_many() {
    let host = host().await;
    let mut socket = host.welcomed().await;
    socket.subscribe("envelopes").await;
    socket.subscribe("actors").await;
    // All at once: the socket's task has no turn meanwhile.
    for id in 0..1500 {
        host.publish(id);
    }
    let lagged = socket.hear().await;
    let expected = json!({ "type": "lagged", "topic": "envelopes", "missed": 1500 - 1024 });
    assert_eq!(lagged, expected);
    for seq in 477..=1500 {
        let event = socket.hear().await;
        assert_eq!(
            (&event["seq"], &event["data"]["id"]),
            (&json!(seq), &json!((seq - 1).to_string()))
        );
    }
    assert_eq!(host.metric("events_missed_total"), 476);
    socket.assert_open().await;
}

#[tokio::test]
async fn a_call_is_answered_as_over_http() {
    let host = host().await;
    let mut socket = host.welcomed().await;
    let generate = json!({ "prompt": "count" });
    for method in ["inference.generate", "POST /inference/generate"] {
        let answer = socket.call(method, generate.clone()).await.unwrap();
        assert_eq!(answer["completion_tokens"], 3);
        assert_eq!(answer["envelope"], crate::stream::envelope());
    }
    let text = socket.call("metrics", Value::Null).await.unwrap();
    assert!(text.as_str().unwrap().contains("ws_clients 1"), "{text}");

    let frame = json!({
        "type": "call", "id": 9, "method": "inference.generate", "params": { "prompt": 1 },
    });
    let answer = socket.ask(frame).await;
    let expected = json!({
        "type": "error", "id": 9, "code": "INVALID_FIELD", "status": 422, "details": "$.prompt",
        "message": answer["message"], "request_id": answer["request_id"],
    });
    assert_eq!(answer, expected);
    let frame = json!({
        "type": "call", "method": "inference.generate", "params": { "prompt": "fail" },
    });
    let answer = socket.ask(frame).await;
    assert_eq!(
        (&answer["code"], &answer["status"]),
        (&json!("INFERENCE_UNAVAILABLE"), &json!(503))
    );
    assert_eq!(answer["retry_after"], 1);
}

#[tokio::test]
async fn what_openais_clients_call_is_called_too_and_refused_in_the_shape_of_sockets() {
    let host = host().await;
    let mut socket = host.welcomed().await;
    let method = "POST /v1/chat/completions";
    let asking = json!({ "messages": [{ "role": "user", "content": "count" }] });
    let answer = socket.call(method, asking).await.unwrap();
    assert_eq!(answer["object"], "chat.completion");
    let frame = json!({ "type": "call", "method": method, "params": { "messages": [] } });
    let refused = socket.ask(frame).await;
    assert_eq!((&refused["code"], &refused["status"]), (&json!("INVALID_FIELD"), &json!(400)));
    assert_eq!((&refused["details"], refused["message"].is_string()), (&json!("$.messages"), true));
    let messages = json!([{ "role": "user", "content": "count" }]);
    let params = json!({ "messages": messages, "stream": true });
    let streamed = socket.ask(json!({ "type": "call", "method": method, "params": params })).await;
    assert_eq!(streamed["code"], "STREAM_OVER_CALL");
}

#[tokio::test]
async fn what_is_no_method_is_an_error() {
    let host = host().await;
    let mut socket = host.welcomed().await;
    for (method, code) in [
        ("", "UNKNOWN_METHOD"),
        ("inference", "UNKNOWN_METHOD"),
        ("PATCH /status", "UNKNOWN_METHOD"),
        ("DELETE /status", "METHOD_NOT_ALLOWED"),
        ("GET /nothing", "NOT_FOUND"),
        ("GET /ws", "NOT_FOUND"),
        ("GET /../livez", "NOT_FOUND"),
        ("POST /status", "METHOD_NOT_ALLOWED"),
    ] {
        assert_eq!(socket.call(method, Value::Null).await.unwrap_err(), code, "{method}");
    }
    let stream = json!({ "prompt": "count", "stream": true });
    let refused = socket.call("inference.generate", stream).await;
    assert_eq!(refused.unwrap_err(), "STREAM_OVER_CALL");
    assert!(socket.call("GET /livez", Value::Null).await.is_ok());
}

#[tokio::test]
async fn generated_text_comes_in_pieces_and_the_proof_comes_last() {
    let host = host().await;
    let mut socket = host.welcomed().await;
    socket.say(json!({ "type": "generate", "id": "g", "prompt": "count" })).await;
    let mut text = String::new();
    let done = loop {
        let frame = socket.hear().await;
        assert_eq!(frame["id"], "g");
        match frame["type"].as_str() {
            Some("token") => text += frame["text"].as_str().unwrap(),
            _ => break frame,
        }
    };
    assert_eq!(done["type"], "done");
    assert_eq!((&done["text"], &done["envelope"]), (&json!(text), &crate::stream::envelope()));
    assert_eq!(text, "one \u{6f22}\n\ndata: three");

    for (prompt, code, tokens) in [
        (json!("fail"), "INFERENCE_UNAVAILABLE", 0),
        (json!("fail later"), "INFERENCE_FAILED", 1),
        (json!(""), "EMPTY_PROMPT", 0),
        (json!(null), "INVALID_FIELD", 0),
    ] {
        socket.say(json!({ "type": "generate", "id": 2, "prompt": prompt })).await;
        for _ in 0..tokens {
            assert_eq!(socket.hear().await["type"], "token");
        }
        let failed = socket.hear().await;
        assert_eq!((&failed["type"], &failed["id"]), (&json!("error"), &json!(2)));
        assert_eq!(failed["code"], code);
        assert!(!failed.to_string().contains("segment 7"), "{failed}");
    }
    // The id is free again once the work has ended.
    socket.assert_open().await;
}

#[tokio::test]
async fn cancel_stops_the_work_and_nothing_more_is_heard_of_it() {
    let host = host().await;
    let mut socket = host.welcomed().await;
    socket.say(json!({ "type": "generate", "id": 5, "prompt": "hang" })).await;
    assert_eq!(socket.hear().await["type"], "token");
    let again = json!({ "type": "generate", "id": 5, "prompt": "count" });
    assert_eq!(socket.refused(again).await, "DUPLICATE_ID");
    let answer = socket.ask(json!({ "type": "cancel", "id": 5 })).await;
    assert_eq!(answer, json!({ "type": "cancelled", "id": 5 }));
    timeout(SECOND, host.stopped.notified()).await.expect("the work stops within a second");
    assert_eq!(socket.refused(json!({ "type": "cancel", "id": 5 })).await, "UNKNOWN_ID");
    assert_eq!(socket.refused(json!({ "type": "cancel" })).await, "INVALID_FRAME");

    let params = json!({ "prompt": "hang" });
    let call = json!({ "type": "call", "id": 5, "method": "inference.generate", "params": params });
    socket.say(call).await;
    let answer = socket.ask(json!({ "type": "cancel", "id": 5 })).await;
    assert_eq!(answer["type"], "cancelled");
    socket.assert_open().await;
}

#[tokio::test]
async fn closing_the_socket_in_any_way_stops_its_works_within_a_second() {
    let host = host().await;
    for way in ["close frame", "end of the connection"] {
        let mut socket = host.welcomed().await;
        socket.say(json!({ "type": "generate", "prompt": "hang" })).await;
        assert_eq!(socket.hear().await["type"], "token");
        if way == "close frame" {
            socket.send(Message::Close(None)).await;
        }
        drop(socket);
        timeout(SECOND, host.stopped.notified()).await.expect(way);
    }
    host.until_metric("ws_clients", 0).await;
    host.until_metric("http_connections", 0).await;
    assert_eq!(host.metric("ws_closed_total{reason=\"client\"}"), 1);
    assert_eq!(host.metric("ws_closed_total{reason=\"lost\"}"), 1);
}

#[tokio::test]
async fn message_pack_says_the_same_in_binary_frames() {
    let host = host().await;
    let fields = [("sec-websocket-protocol", "bizra.json, bizra.msgpack")];
    let (mut socket, response) = Socket::try_open(host.address, &fields).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "bizra.msgpack");
    assert!(socket.is_packed);
    assert_eq!(socket.hear().await["type"], "welcome");
    socket.assert_open().await;
    socket.subscribe("envelopes").await;
    host.publish("\u{6f22}");
    assert_eq!(socket.hear().await["data"]["id"], "\u{6f22}");
    let answer = socket.call("inference.generate", json!({ "prompt": "count" })).await.unwrap();
    assert_eq!(answer["tokens_per_second"], 1500.0);
    socket.say(json!({ "type": "generate", "prompt": "count" })).await;
    assert_eq!(socket.hear().await["text"], "one ");

    let mut socket = Socket::open(host.address, &fields).await;
    socket.hear().await;
    for (message, code) in [
        (Message::text("{\"type\":\"ping\"}"), "WRONG_FRAME_KIND"),
        (Message::binary(vec![0xc1]), "INVALID_MSGPACK"),
        (Message::binary(vec![]), "INVALID_MSGPACK"),
        (Message::binary(vec![0xdd, 0xff, 0xff, 0xff, 0xff]), "INVALID_MSGPACK"),
        (Message::binary(vec![0x90]), "INVALID_FRAME"),
    ] {
        socket.send(message).await;
        assert_eq!(socket.hear().await["code"], code);
    }
    socket.assert_open().await;
}

#[tokio::test]
async fn a_generation_ends_at_its_deadline() {
    let generate_timeout = std::time::Duration::from_millis(200);
    let host = host_of(Limits { generate_timeout, ..Limits::default() }).await;
    let mut socket = host.welcomed().await;
    socket.say(json!({ "type": "generate", "prompt": "hang" })).await;
    assert_eq!(socket.hear().await["type"], "token");
    assert_eq!(socket.hear().await["code"], "TIMEOUT");
    timeout(SECOND, host.stopped.notified()).await.expect("the work stops");
    socket.assert_open().await;
}

#[tokio::test]
async fn fragments_make_one_frame() {
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let host = host_with(SocketLimits::default()).await;
    let mut socket = host.welcomed().await;
    let frame = |text: &'static str, data, is_last| {
        Message::Frame(Frame::message(text.as_bytes(), OpCode::Data(data), is_last))
    };
    socket.send(frame("{\"type\":", Data::Text, false)).await;
    socket.send(Message::Ping(vec![1].into())).await;
    socket.send(frame("\"ping\"}", Data::Continue, true)).await;
    assert_eq!(socket.hear().await["type"], "pong");
}

#[tokio::test]
async fn who_may_do_what_is_asked_at_each_call() {
    let host = host().await;
    let mut without = host.welcomed().await;
    let mut with = Socket::with_token(host.address, &host.door.token).await;
    with.hear().await;
    let bearer = format!("bizra.bearer.{}, bizra.json", host.door.token);
    let fields = [("sec-websocket-protocol", bearer.as_str())];
    let (mut page, response) = Socket::try_open(host.address, &fields).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "bizra.json");
    page.hear().await;
    for method in ["identity.sign", "POST /identity/sign"] {
        let params = json!({ "message": "a" });
        let refused = without.call(method, params.clone()).await;
        assert_eq!(refused.unwrap_err(), "UNAUTHORIZED");
        let signed = with.call(method, params.clone()).await.unwrap();
        assert_eq!(signed["signature"].as_str().unwrap().len(), 128);
        assert_eq!(page.call(method, params).await.unwrap(), signed);
    }
}
