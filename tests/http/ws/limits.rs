//! Every limit of a socket, attacked.

use std::time::Duration;

use axum::http::Method;
use bizra_omega::http::limits::{Limits, SocketLimits};
use futures_util::SinkExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::door::LOCAL;
use crate::support::SECOND;
use crate::ws::{PATIENCE, Socket, host, host_of, host_with};

fn limits() -> SocketLimits {
    SocketLimits::default()
}

#[tokio::test]
async fn a_message_larger_than_one_may_be_closes_its_socket_with_1009() {
    let host = host_with(SocketLimits { message_bytes_max: 4096, ..limits() }).await;
    let ping = |bytes: usize| {
        let pad = "x".repeat(bytes - json!({ "type": "ping", "pad": "" }).to_string().len());
        Message::text(json!({ "type": "ping", "pad": pad }).to_string())
    };
    let mut socket = host.welcomed().await;
    socket.send(ping(4096)).await;
    assert_eq!(socket.hear().await["type"], "pong");
    socket.send(ping(4097)).await;
    socket.assert_closed(1009).await;

    // Far larger, of which most is still on its way.
    let mut socket = host.welcomed().await;
    let _ = socket.stream.send(ping(1 << 20)).await;
    socket.assert_closed(1009).await;

    // In pieces, each of which is small.
    let mut socket = host.welcomed().await;
    let piece = |data, text: &str| {
        Message::Frame(Frame::message(text.to_owned(), OpCode::Data(data), false))
    };
    let _ = socket.stream.send(piece(Data::Text, "{")).await;
    for _ in 0..5 {
        let _ = socket.stream.send(piece(Data::Continue, &" ".repeat(1000))).await;
    }
    socket.assert_closed(1009).await;
    host.until_metric("ws_closed_total{reason=\"too_large\"}", 3).await;
    host.until_metric("ws_clients", 0).await;
}

#[tokio::test]
async fn a_length_that_is_only_claimed_takes_no_memory() {
    let host = host().await;
    let mut socket = host.welcomed().await;
    // A text frame of 2^62 bytes, of which none comes.
    let head = [&[0x81, 0xff][..], &(1_u64 << 62).to_be_bytes(), &[0; 4]].concat();
    socket.stream.get_mut().write_all(&head).await.unwrap();
    socket.assert_closed(1009).await;
}

#[tokio::test]
async fn what_is_not_the_protocol_closes_its_socket() {
    let host = host().await;
    for (bytes, code) in [
        (&b"\x81\x02{}"[..], 1002),      // not masked
        (b"\xc1\x80\0\0\0\0", 1002),     // reserved bits
        (b"\x83\x80\0\0\0\0", 1002),     // an unknown kind
        (b"\x80\x80\0\0\0\0", 1002),     // the rest of nothing
        (b"\x09\x80\0\0\0\0", 1002),     // a ping in pieces
        (b"\x81\x81\0\0\0\0\xff", 1007), // text that is no text
        (b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", 1002),
    ] {
        let mut socket = host.welcomed().await;
        socket.stream.get_mut().write_all(bytes).await.unwrap();
        socket.assert_closed(code).await;
    }
    host.until_metric("ws_closed_total{reason=\"protocol\"}", 7).await;
}

#[tokio::test]
async fn sockets_are_counted_in_all_and_for_each_client() {
    for (sockets_max, per_client_max, status) in [(2, 9, 503), (9, 2, 429)] {
        let host = host_with(SocketLimits { sockets_max, per_client_max, ..limits() }).await;
        let mut first = host.welcomed().await;
        let _second = host.welcomed().await;
        match Socket::try_open(host.address, &[]).await {
            Err(Error::Http(response)) => {
                assert_eq!(response.status().as_u16(), status);
                assert_eq!(response.headers()["retry-after"], "1");
                let body = String::from_utf8(response.body().clone().unwrap()).unwrap();
                assert!(body.contains("TOO_MANY_SOCKETS"), "{body}");
            }
            other => panic!("{:?}", other.map(|(_, response)| response)),
        }
        first.assert_open().await;
        first.send(Message::Close(None)).await;
        host.until_metric("ws_clients", 1).await;
        host.welcomed().await;
    }
}

#[tokio::test]
async fn sockets_are_among_the_connections_that_may_be_open() {
    let host = host_of(Limits { connections_max: 2, ..Limits::default() }).await;
    let mut sockets = vec![host.welcomed().await, host.welcomed().await];
    // Accepted by the kernel, and not by the node until there is a place.
    let waiting = tokio::spawn(Socket::try_open(host.address, &[]));
    for socket in &mut sockets {
        socket.assert_open().await;
    }
    assert!(!waiting.is_finished());
    drop(sockets.pop());
    let (mut third, _) = timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(third.hear().await["type"], "welcome");
}

#[tokio::test]
async fn a_socket_follows_so_many_topics() {
    let host = host_with(SocketLimits { subscriptions_max: 2, ..limits() }).await;
    let mut socket = host.welcomed().await;
    for topic in ["actors", "envelopes", "actors", "envelopes"] {
        socket.subscribe(topic).await;
    }
    let third = json!({ "type": "subscribe", "topic": "inference" });
    assert_eq!(socket.refused(third.clone()).await, "TOO_MANY_SUBSCRIPTIONS");
    socket.ask(json!({ "type": "unsubscribe", "topic": "actors" })).await;
    socket.subscribe("inference").await;
    // Asked for twice, it comes once.
    host.publish("a");
    assert_eq!(socket.hear().await["type"], "event");
    socket.assert_open().await;
}

#[tokio::test]
async fn works_in_flight_are_counted_for_each_socket() {
    let sockets = SocketLimits { calls_max: 3, generations_max: 2, ..limits() };
    let host = host_with(sockets).await;
    let mut socket = host.welcomed().await;
    let params = json!({ "prompt": "hang" });
    for id in 0..10 {
        let call = json!({
            "type": "call", "id": id, "method": "inference.generate", "params": params,
        });
        socket.say(call).await;
    }
    for id in 3..10 {
        let refused = socket.hear().await;
        assert_eq!((&refused["id"], &refused["code"]), (&json!(id), &json!("TOO_MANY_CALLS")));
        assert_eq!(refused["status"], 429);
    }
    for id in 10..14 {
        socket.say(json!({ "type": "generate", "id": id, "prompt": "hang" })).await;
    }
    let (mut tokens, mut refusals) = (0, 0);
    for _ in 0..4 {
        match socket.hear().await {
            frame if frame["type"] == "token" => tokens += 1,
            frame => {
                assert_eq!(frame["code"], "TOO_MANY_GENERATIONS");
                refusals += 1;
            }
        }
    }
    assert_eq!((tokens, refusals), (2, 2));
    // Another socket has its own, and cancelling makes room.
    assert!(host.welcomed().await.call("GET /livez", json!(null)).await.is_ok());
    assert_eq!(socket.ask(json!({ "type": "cancel", "id": 0 })).await["type"], "cancelled");
    assert!(socket.call("GET /livez", json!(null)).await.is_ok());
}

#[tokio::test]
async fn a_flood_of_calls_is_answered_one_by_one_and_others_are_served() {
    let host = host().await;
    let mut socket = host.welcomed().await;
    let mut other = host.welcomed().await;
    for id in 0..2000 {
        let call = json!({ "type": "call", "id": id, "method": "GET /livez" });
        socket.stream.feed(Message::text(call.to_string())).await.unwrap();
        if id % 500 == 0 {
            socket.stream.flush().await.unwrap();
            other.assert_open().await;
        }
    }
    socket.stream.flush().await.unwrap();
    for _ in 0..2000 {
        let answer = socket.hear().await;
        let is_told = answer["type"] == "result" || answer["code"] == "TOO_MANY_CALLS";
        assert!(is_told, "{answer}");
    }
    socket.assert_open().await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_closed_and_holds_up_nobody() {
    let send_timeout = Duration::from_millis(300);
    let sockets = SocketLimits { send_timeout, queue_frames_max: 8, ..limits() };
    let host = host_with(sockets).await;
    let mut socket = host.socket().await;
    socket.say(json!({ "type": "subscribe", "topic": "envelopes" })).await;
    // It asks and asks, and takes no answer: what it is told fills every buffer on the way.
    let asking = tokio::spawn(async move {
        let frame = json!({ "type": "ping", "id": "\u{1f600}".repeat(128) }).to_string();
        while socket.stream.send(Message::text(frame.clone())).await.is_ok() {}
        socket
    });
    // Publishing waits for nobody meanwhile.
    for id in 0..5000 {
        host.publish(id);
    }
    host.until_metric("ws_closed_total{reason=\"slow_reader\"}", 1).await;
    host.until_metric("ws_clients", 0).await;
    host.until_metric("http_connections", 0).await;
    host.until_metric("http_requests_in_flight", 0).await;
    drop(asking.await);
    host.welcomed().await.assert_open().await;
}

#[tokio::test]
async fn with_a_queue_of_one_frame_every_answer_comes() {
    // No ping wakes the socket meanwhile.
    let (ping_every, silent_timeout) = (100 * PATIENCE, 200 * PATIENCE);
    let sockets = SocketLimits { queue_frames_max: 1, ping_every, silent_timeout, ..limits() };
    let host = host_with(sockets).await;
    let mut socket = host.welcomed().await;
    for round in 0..20 {
        for id in 0..8 {
            socket.say(json!({ "type": "call", "id": id, "method": "metrics" })).await;
        }
        socket.say(json!({ "type": "generate", "id": "g", "prompt": "count" })).await;
        let mut last = 0;
        while last < 9 {
            let frame = socket.hear().await;
            assert_ne!(frame["type"], "error", "{round}: {frame}");
            last += u32::from(frame["type"] != "token");
        }
    }
}

#[tokio::test]
async fn a_silent_peer_is_pinged_and_then_closed() {
    let ping_every = Duration::from_millis(200);
    let sockets = SocketLimits { ping_every, silent_timeout: 10 * ping_every, ..limits() };
    let host = host_with(sockets).await;

    // One that answers pings outlives the time of a silent one.
    let mut well = host.welcomed().await;
    for _ in 0..12 {
        assert!(matches!(well.next().await, Some(Ok(Message::Ping(_)))));
    }
    drop(well);

    let mut silent = host.welcomed().await;
    // Read past the protocol, which would answer.
    let mut said = Vec::new();
    let read = silent.stream.get_mut().read_to_end(&mut said);
    let _ = timeout(PATIENCE, read).await.expect("it is closed");
    let close = said.windows(2).rposition(|pair| pair[0] == 0x88).expect("a close frame");
    assert_eq!(said[close + 2..close + 4], 1008_u16.to_be_bytes());
    assert!(said.starts_with(b"\x89\x00"), "it was pinged first: {said:?}");
    host.until_metric("ws_closed_total{reason=\"silent\"}", 1).await;
}

#[tokio::test]
async fn a_draining_server_closes_idle_sockets_and_lets_works_end() {
    let stop_grace = Duration::from_millis(300);
    let mut host = host_of(Limits { stop_grace, ..Limits::default() }).await;
    let mut idle = host.welcomed().await;
    let mut busy = host.welcomed().await;
    busy.say(json!({ "type": "generate", "id": 1, "prompt": "hang" })).await;
    assert_eq!(busy.hear().await["type"], "token");
    let (cut, ()) = tokio::join!(host.server.drain(&mut host.accepting), async {
        idle.assert_closed(1001).await;
        // The other may end what it has, and begin nothing more.
        let more = json!({ "type": "call", "method": "GET /livez" });
        assert_eq!(busy.refused(more).await, "SHUTTING_DOWN");
        // It does not end within the grace, and is told.
        let given_up = busy.hear().await;
        assert_eq!((&given_up["id"], &given_up["code"]), (&json!(1), &json!("SHUTTING_DOWN")));
        busy.assert_closed(1001).await;
        timeout(SECOND, host.stopped.notified()).await.expect("the work stops");
    });
    assert_eq!(cut, 0);
    assert_eq!(host.metric("ws_closed_total{reason=\"shutdown\"}"), 2);
    let request = host.door.request(Method::GET, "/readyz").body(axum::body::Body::empty());
    assert_eq!(host.door.send(request.unwrap(), LOCAL).await.status, 503);
}

#[tokio::test]
async fn after_a_thousand_bad_frames_it_still_answers() {
    let host = host().await;
    let mut socket = host.welcomed().await;
    let deep = "[".repeat(5000);
    let texts = [
        "",
        "{",
        "null",
        "[]",
        "\"ping\"",
        "{}",
        "{\"type\":null}",
        "{\"type\":\"\"}",
        "{\"type\":\"ping\",\"type\":\"ping\"}",
        "{\"type\":\"ping\",\"id\":{}}",
        "{\"type\":\"ping\",\"id\":9007199254740993}",
        "{\"type\":\"subscribe\",\"topic\":[]}",
        "{\"type\":\"subscribe\",\"topic\":\"\u{1f600}\"}",
        "{\"type\":\"call\"}",
        "{\"type\":\"call\",\"method\":\"GET \\u0000\"}",
        "{\"type\":\"call\",\"method\":\"actors.stop\",\"params\":{\"name\":\"../..\"}}",
        "{\"type\":\"call\",\"method\":\"identity.sign\",\"params\":[]}",
        "{\"type\":\"call\",\"method\":\"inference.tier\",\"params\":{\"prompt\":7}}",
        "{\"type\":\"generate\",\"prompt\":\"\"}",
        "{\"type\":\"generate\",\"prompt\":\"a\",\"max_tokens\":-1}",
        "{\"type\":\"cancel\",\"id\":1}",
        "\u{feff}{}",
        "NaN",
        deep.as_str(),
    ];
    for round in 0..1000 {
        let message = match round % 25 {
            24 => Message::binary(vec![u8::try_from(round % 251).unwrap(); 100]),
            at => Message::text(texts[at]),
        };
        socket.send(message).await;
        let answer = socket.hear().await;
        assert_eq!(answer["type"], "error", "{answer}");
        assert!(answer["code"].is_string() && answer["message"].is_string(), "{answer}");
    }
    socket.assert_open().await;
    assert_eq!(host.metric("http_requests_in_flight"), 0);
}
