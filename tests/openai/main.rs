//! The OpenAI backend against a double of such a server that misbehaves on command.

mod double;
#[path = "../support/remote.rs"]
mod remote;
#[path = "../support/mod.rs"]
mod support;
mod tls;

use std::time::Duration;

use axum::body::Bytes;
use bizra_omega::adapters::model_server::{Kind, ModelServer};
use bizra_omega::adapters::upstream::{Access, ServerError, Waits};
use bizra_omega::domain::inference::request::RawRequest;
use bizra_omega::domain::inference::{BackendError, FinishReason, Tier};
use bizra_omega::messages::supervisor::Fault;
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};

use double::{
    Chunk, Double, NAME, Script, access, backend, done, endless, finish, line, piece, reset, start,
    usage,
};
use remote::{ask, models, raw};
use support::{SECOND, drill, until};

#[tokio::test]
async fn an_answer_is_streamed_with_the_servers_own_numbers() {
    let double = Double::new(&["m"]);
    // A character is split between two chunks, and line ends are those of another system.
    let smile = "na\u{ef}ve \u{1f600}";
    let bytes = Bytes::from(
        String::from_utf8(piece(smile).unwrap().to_vec()).unwrap().replace('\n', "\r\n"),
    );
    let cut = bytes.len() - 9;
    double.script(Script::Stream(vec![
        line(": ping\n\n"),
        Ok(bytes.slice(..cut)),
        Ok(bytes.slice(cut..)),
        piece(" end"),
        finish("length"),
        usage(),
        done(),
    ]));
    let (_root, addr) = start(&double).await;

    let (sender, mut pieces) = mpsc::channel(8);
    let generated = ask(&addr, raw(), Some(sender)).await.unwrap();
    assert_eq!(generated.text, format!("{smile} end"));
    assert_eq!(generated.model, "m");
    assert_eq!((generated.prompt_tokens, generated.completion_tokens), (11, 5));
    assert!(!generated.is_estimated);
    assert_eq!(generated.finish_reason, FinishReason::Length);
    assert!(generated.time_to_first_token <= generated.duration);
    let mut shown = String::new();
    while let Some(piece) = pieces.recv().await {
        shown.push_str(&piece);
    }
    assert_eq!(shown, generated.text);
}

#[tokio::test]
async fn the_request_reaches_the_server_whole_and_with_the_key() {
    let double = Double::new(&["m"]);
    double.script(Script::Stream(vec![piece("a"), finish("stop"), done()]));
    let (_root, addr) = start(&double).await;
    let raw = RawRequest {
        system: Some("be brief".into()),
        max_tokens: Some(7),
        temperature: Some(0.5),
        top_p: Some(0.25),
        seed: Some((1 << 53) - 1),
        stop: vec!["\n".into()],
        model: Some("m".into()),
        ..raw()
    };
    ask(&addr, raw, None).await.unwrap();
    let expected = json!({
        "model": "m", "max_tokens": 7, "temperature": 0.5, "top_p": 0.25,
        "seed": 9_007_199_254_740_991_u64, "stop": ["\n"],
        "stream": true, "stream_options": { "include_usage": true },
        "messages": [
            { "role": "system", "content": "be brief" },
            { "role": "user", "content": "why?" },
        ],
    });
    assert_eq!(double.asked(0), expected);
    assert_eq!(double.asked.lock().unwrap()[0].1["authorization"], "Bearer sk-right");
}

#[tokio::test]
async fn models_are_what_the_server_reports_and_are_looked_for_again() {
    let double = Double::new(&["b", "a"]);
    let (_root, addr) = start(&double).await;
    let seen = models(&addr).await;
    let names: Vec<_> = seen.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(names, ["b", "a"]);
    assert_eq!((seen[0].tier, seen[0].backend.as_str()), (Tier::Pool, NAME));
    assert_eq!((seen[0].context_length, seen[0].parameters), (Some(4096), None));
    assert!(seen[0].is_available && !seen[0].is_loaded && seen[0].last_seen_ms > 0);

    double.offer(&["c"]);
    let found = async {
        while models(&addr).await[0].name != "c" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(30 * SECOND, found).await.unwrap();
    let error = ask(&addr, RawRequest { model: Some("a".into()), ..raw() }, None).await;
    let available = vec!["c".to_owned()];
    assert_eq!(error, Err(BackendError::UnknownModel { model: "a".into(), available }));
}

#[tokio::test]
async fn a_wrong_key_is_said_and_not_shown() {
    let double = Double::new(&["m"]);
    let access = Access { api_key: Some("sk-wrong".into()), ..Access::default() };
    let (_root, addr) = backend(&double.serve().await, Waits::default(), &access).await;
    let Err(BackendError::Unavailable(reason)) = ask(&addr, raw(), None).await else {
        panic!("the key is wrong")
    };
    assert!(reason.contains("Incorrect API key") && !reason.contains("sk-wrong"), "{reason}");
}

#[tokio::test]
async fn without_a_server_the_answer_is_where_it_was_looked_for_and_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (_root, addr) = backend(&url, Waits::default(), &access()).await;
    assert_eq!(models(&addr).await, []);
    let Err(BackendError::Unavailable(reason)) = ask(&addr, raw(), None).await else {
        panic!("nobody is there")
    };
    assert!(reason.contains(&url) && reason.contains("inference.openai[0].url"), "{reason}");
}

#[tokio::test]
async fn refusals_of_the_server_are_told_apart_and_redirects_are_not_followed() {
    let cases = [
        (503, &[("retry-after", "7")][..], "", "turned away 503 Some(7s)"),
        (429, &[], "{\"error\":{\"message\":\"rate limit\"}}", "turned away 429 None"),
        (404, &[], "{\"error\":{\"message\":\"The model does not exist\"}}", "unknown"),
        (404, &[], "{\"detail\":\"Not Found\"}", "rejected 404: Not Found"),
        (500, &[], "{\"error\":{\"message\":\"out of\\nmemory\"}}", "failed: out of memory"),
        (400, &[], "<html>", "rejected 400: status 400"),
        (307, &[("location", "http://127.0.0.1:9/")], "", "failed: status 307"),
        (502, &[], "", "turned away 502 None"),
    ];
    let double = Double::new(&["m"]);
    let (_root, addr) = start(&double).await;
    for (status, headers, body, expected) in cases {
        double.script(Script::Answer(status, headers, body.into()));
        let said = match ask(&addr, raw(), None).await {
            Err(BackendError::TurnedAway { status, retry_after, .. }) => {
                format!("turned away {status} {retry_after:?}")
            }
            Err(BackendError::UnknownModel { .. }) => "unknown".to_owned(),
            Err(BackendError::Rejected { status, reason, .. }) => {
                format!("rejected {status}: {reason}")
            }
            Err(BackendError::Failed { reason, .. }) => {
                reason.replace("the server answered", "failed")
            }
            other => panic!("{status}: {other:?}"),
        };
        assert_eq!(said, expected, "{status}");
    }
}

#[tokio::test]
async fn a_broken_stream_never_gives_a_text() {
    let double = Double::new(&["m"]);
    let (_root, addr) = start(&double).await;
    let huge: &'static str = Box::leak(format!("data: {}", "x".repeat(300_000)).into_boxed_str());
    let cases: [(Vec<Chunk>, &str); 7] = [
        (vec![piece("half"), done()], "without saying why"),
        (vec![piece("half"), line("data: {\"error\":\"out of memory\"}\n\n")], "out of memory"),
        (vec![piece("half"), line("event: error\ndata: out of memory\n\n")], "out of memory"),
        (vec![piece("half")], "without its last event"),
        (vec![piece("half"), line("data: gibberish\n\n")], "no part of an answer"),
        (vec![piece("half"), line("data: {\"choices\":[{\"del")], "no part of an answer"),
        (vec![piece("half"), line(huge)], "an event with more than"),
    ];
    for (chunks, expected) in cases {
        double.script(Script::Stream(chunks));
        let Err(BackendError::Failed { reason, .. } | BackendError::BrokenOff { reason, .. }) =
            ask(&addr, raw(), None).await
        else {
            panic!("{expected}")
        };
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
    for chunks in [vec![reset()], vec![line(": ping\n\n"), reset()], vec![]] {
        double.script(Script::Stream(chunks));
        let error = ask(&addr, raw(), None).await;
        assert!(matches!(error, Err(BackendError::Unreachable(_))), "another may be tried");
    }
    let upstream = endless(&double).await;
    let (sender, mut pieces) = mpsc::channel(4);
    let task = tokio::spawn(async move { ask(&addr, raw(), Some(sender)).await });
    assert_eq!(pieces.recv().await.as_deref(), Some("half"));
    upstream.send(reset()).await.unwrap();
    let error = task.await.unwrap();
    assert!(matches!(error, Err(BackendError::BrokenOff { .. })), "the text has begun");
}

#[tokio::test]
async fn an_answer_that_said_why_it_ended_is_whole_without_its_last_event() {
    let double = Double::new(&["m"]);
    let (_root, addr) = start(&double).await;
    for (chunks, is_estimated) in [
        (vec![piece("whole"), finish("stop")], true),
        (vec![piece("whole"), finish("stop"), usage()], false),
        (vec![piece("whole"), finish("stop"), done()], true),
    ] {
        double.script(Script::Stream(chunks));
        let generated = ask(&addr, raw(), None).await.unwrap();
        assert_eq!(generated.text, "whole");
        assert_eq!(generated.finish_reason, FinishReason::Stop);
        assert_eq!(generated.is_estimated, is_estimated);
        assert!(generated.prompt_tokens > 0 && generated.completion_tokens > 0);
    }
    let upstream = endless(&double).await;
    let (sender, mut pieces) = mpsc::channel(4);
    let task = tokio::spawn(async move { ask(&addr, raw(), Some(sender)).await });
    assert_eq!(pieces.recv().await.as_deref(), Some("half"));
    upstream.send(finish("stop")).await.unwrap();
    upstream.send(piece(" or whole")).await.unwrap();
    assert_eq!(pieces.recv().await.as_deref(), Some(" or whole"), "so the end was read before");
    upstream.send(reset()).await.unwrap();
    assert_eq!(task.await.unwrap().unwrap().text, "half or whole");
}

#[tokio::test]
async fn a_server_that_cannot_stream_answers_whole() {
    let whole = json!({
        "choices": [{ "message": { "content": "hello" }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 11, "completion_tokens": 5 },
    });
    let json = &[("content-type", "application/json")][..];
    let refuse = |reason: &str| Script::Answer(400, json, json!({ "error": reason }).to_string());

    // One that answers whole whatever it is asked.
    let double = Double::new(&["m"]);
    double.script(Script::Answer(200, json, whole.to_string()));
    let (_root, addr) = start(&double).await;
    let (sender, mut pieces) = mpsc::channel(8);
    let generated = ask(&addr, raw(), Some(sender)).await.unwrap();
    assert_eq!((generated.text.as_str(), generated.completion_tokens), ("hello", 5));
    assert_eq!(pieces.recv().await.as_deref(), Some("hello"));
    assert_eq!(pieces.recv().await, None);

    // One that refuses first the count and then the stream; both are remembered.
    double.script(refuse("unknown field stream_options"));
    double.script(refuse("stream is not supported"));
    double.script(Script::Answer(200, json, whole.to_string()));
    assert_eq!(ask(&addr, raw(), None).await.unwrap().text, "hello");
    double.script(Script::Answer(200, json, whole.to_string()));
    assert_eq!(ask(&addr, raw(), None).await.unwrap().text, "hello");
    let streams: Vec<_> = (1..5).map(|index| double.asked(index)["stream"].clone()).collect();
    assert_eq!(streams, [true, true, false, false]);
    assert!(double.asked(2).get("stream_options").is_none());

    double.script(Script::Answer(200, json, "{\"choices\":[]}".into()));
    assert!(matches!(ask(&addr, raw(), None).await, Err(BackendError::Failed { .. })));
}

#[tokio::test]
async fn another_refusal_is_not_asked_again() {
    let double = Double::new(&["m"]);
    let (_root, addr) = start(&double).await;
    double.script(Script::Answer(400, &[], json!({ "error": "upstream failed" }).to_string()));
    assert!(matches!(ask(&addr, raw(), None).await, Err(BackendError::Rejected { .. })));
    assert_eq!(double.asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up_even_if_it_sends_comments() {
    let double = Double::new(&["m"]);
    let waits = Waits {
        first_token: Duration::from_millis(200),
        between_tokens: Duration::from_millis(200),
        ..Waits::default()
    };
    let (_root, addr) = backend(&double.serve().await, waits, &access()).await;
    double.script(Script::Hang);
    assert!(matches!(ask(&addr, raw(), None).await, Err(BackendError::Timeout { .. })));
    for first in [piece("half"), line(": ping\n\n")] {
        let (sender, chunks) = mpsc::channel(4);
        sender.send(first).await.unwrap();
        double.script(Script::Live(chunks));
        let pings = tokio::spawn(async move {
            while sender.send(line(": ping\n\n")).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(matches!(ask(&addr, raw(), None).await, Err(BackendError::Timeout { .. })));
        tokio::time::timeout(SECOND, pings).await.expect("the connection is closed").unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_does_not_stand_is_given_up() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // As many as the system keeps for somebody who accepts none; those that follow are not answered.
    let mut kept = Vec::new();
    let connect = || tokio::time::timeout(SECOND / 2, TcpStream::connect(address));
    while let Ok(connected) = connect().await {
        kept.push(connected.unwrap());
        assert!(kept.len() < 64, "its queue is never full");
    }
    let waits =
        Waits { connect: Duration::from_millis(100), probe: 60 * SECOND, ..Waits::default() };
    let url = format!("http://{address}/v1");
    let server = ModelServer::new(Kind::OpenAi, &url, waits, &Access::default()).unwrap();
    let asked = tokio::time::timeout(30 * SECOND, server.models(&[])).await;
    let refused = asked.expect("it is given up long before the probe is");
    assert!(matches!(refused, Err(ServerError::Unreachable(_))), "{refused:?}");
}

#[tokio::test]
async fn when_the_caller_leaves_the_server_is_let_go() {
    let double = Double::new(&["m"]);
    let (_root, addr) = start(&double).await;

    let upstream = endless(&double).await;
    let (sender, mut pieces) = mpsc::channel(4);
    let task = tokio::spawn({
        let addr = addr.clone();
        async move { ask(&addr, raw(), Some(sender)).await }
    });
    assert_eq!(pieces.recv().await.as_deref(), Some("half"));
    task.abort();
    tokio::time::timeout(SECOND, upstream.closed()).await.expect("the connection is closed");

    let upstream = endless(&double).await;
    let (sender, mut pieces) = mpsc::channel(4);
    let (ended, end) = oneshot::channel();
    tokio::spawn(async move {
        let _ = ended.send(ask(&addr, raw(), Some(sender)).await);
    });
    assert_eq!(pieces.recv().await.as_deref(), Some("half"));
    drop(pieces);
    tokio::time::timeout(SECOND, upstream.closed()).await.expect("the connection is closed");
    assert_eq!(end.await.unwrap(), Err(BackendError::Cancelled));
}

#[tokio::test]
async fn a_slow_reader_slows_the_server_down() {
    let double = Double::new(&["m"]);
    let (_root, addr) = start(&double).await;
    let (upstream, chunks) = mpsc::channel(1);
    double.script(Script::Live(chunks));
    let (sender, mut pieces) = mpsc::channel(1);
    let task = tokio::spawn(async move { ask(&addr, raw(), Some(sender)).await });
    // More than all buffers between them hold, a KiB at a time.
    let text = "x".repeat(200);
    let wrote = tokio::spawn(async move {
        let mut count = 0;
        while tokio::time::timeout(SECOND, upstream.send(piece(&text)))
            .await
            .is_ok_and(|r| r.is_ok())
        {
            count += 1;
            assert!(count < 200_000, "nothing held the server back");
        }
    });
    wrote.await.unwrap();
    assert_eq!(pieces.recv().await.map(|piece| piece.len()), Some(200));
    drop(pieces);
    assert_eq!(task.await.unwrap(), Err(BackendError::Cancelled));
}

#[tokio::test]
async fn no_more_requests_run_than_the_server_is_given() {
    let double = Double::new(&["m"]);
    let (_root, addr) = start(&double).await;
    let upstreams = [endless(&double).await, endless(&double).await];
    double.script(Script::Stream(vec![piece("third"), finish("stop"), done()]));
    let tasks: Vec<_> = (0..2)
        .map(|_| {
            let addr = addr.clone();
            tokio::spawn(async move { ask(&addr, raw(), None).await })
        })
        .collect();
    until(|| double.asked.lock().unwrap().len() == 2).await;
    let third = tokio::spawn({
        let addr = addr.clone();
        async move { ask(&addr, raw(), None).await }
    });
    // The question after it in the mailbox is answered, so it has come and waits.
    assert_eq!(models(&addr).await.len(), 1);
    assert_eq!(double.asked.lock().unwrap().len(), 2);
    upstreams[0].send(finish("stop")).await.unwrap();
    upstreams[0].send(done()).await.unwrap();
    assert_eq!(third.await.unwrap().unwrap().text, "third");
    upstreams[1].send(finish("stop")).await.unwrap();
    upstreams[1].send(done()).await.unwrap();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().text, "half");
    }
}

#[tokio::test]
async fn answers_go_on_when_the_actor_is_replaced() {
    let double = Double::new(&["m"]);
    let (root, addr) = start(&double).await;
    let upstream = endless(&double).await;
    let task = tokio::spawn(async move { ask(&addr, raw(), None).await });
    until(|| !double.asked.lock().unwrap().is_empty()).await;
    drill(&root, NAME, Fault::Panic).await;
    upstream.send(piece(" whole")).await.unwrap();
    upstream.send(finish("stop")).await.unwrap();
    upstream.send(done()).await.unwrap();
    assert_eq!(task.await.unwrap().unwrap().text, "half whole");
}
