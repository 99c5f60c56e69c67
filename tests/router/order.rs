//! In which order backends are tried, what stops a request, and what the proof says of it.

use std::time::Duration;

use bizra_omega::domain::constitution::{Constitution, DEFAULT_TOML};
use bizra_omega::domain::digest::domain_separated_digest;
use bizra_omega::domain::envelope::EnvelopeId;
use bizra_omega::domain::inference::request::RawRequest;
use bizra_omega::domain::inference::{BackendError, InferenceError, Stage, Tier};
use bizra_omega::domain::reject::RejectCode;
use bizra_omega::messages::addr::Deadline;
use bizra_omega::messages::inference_router::{InferenceMsg, Recommendation};
use serde_json::json;
use tokio::sync::mpsc;

use crate::house::{Act, HELLO, Scripted, away, busy, furnish, house, outcomes, raw};
use crate::support::SECOND;

#[tokio::test]
async fn the_proof_holds_hashes_attempts_text_and_both_receipts() {
    let local = Scripted::new("local", Tier::Local, &[Act::Fail(&[], away())]);
    let house = house(&[Scripted::new("edge", Tier::Edge, &[HELLO]), local]).await;
    let answer = house.generate(Some("local")).await.unwrap();
    assert_eq!(answer.generated.text, "hello");
    assert_eq!((answer.requested_tier, answer.tier), (Some(Tier::Local), Tier::Edge));
    assert!(answer.is_degraded);
    let tried = [(Tier::Local, "local", "unavailable"), (Tier::Edge, "edge", "ok")];
    assert_eq!(outcomes(&answer), tried);

    let draft = house.drafts.lock().unwrap()[0].clone();
    assert_eq!(draft.id, answer.envelope.id);
    assert_eq!(draft.ttl_s, 3600);
    let payload = &draft.payload;
    let hash = |text: &str| json!(domain_separated_digest(text.as_bytes()).to_hex());
    assert_eq!(payload["prompt_hash"], hash("why?"));
    assert_eq!(payload["system_hash"], hash("be brief"));
    assert_eq!(payload["text"], "hello");
    assert_eq!(payload["model"], "edge-model");
    assert_eq!(payload["model_digest"], "blake3:00");
    assert_eq!((&payload["tier"], &payload["requested_tier"]), (&json!("Edge"), &json!("Local")));
    assert_eq!(payload["degraded"], true);
    assert_eq!(payload["attempts"][0]["outcome"], "unavailable");
    assert_eq!(payload["parameters"]["max_tokens"], 512);
    assert!(!payload.to_string().contains("why?"), "the prompt itself is not in the proof");
    let gates = draft.gates.unwrap();
    assert_eq!(gates["input"]["input_hash"], hash("why?"));
    assert_eq!(gates["system"]["input_hash"], hash("be brief"));
    assert_eq!(gates["output"]["input_hash"], hash("hello"));
    assert_eq!(gates["output"]["profile"], "inference-output");
    let of = |gate: &str| {
        let gates = gates["output"]["gates"].as_array().unwrap();
        gates.iter().find(|verdict| verdict["gate"] == gate).unwrap().clone()
    };
    assert_eq!((&of("harm")["score"], &of("harm")["source"]), (&json!(0.0), &json!("measured")));
    assert_eq!(of("snr")["source"], "unavailable", "one word cannot be measured");
    assert_eq!(of("ihsan")["evidence"]["coverage"], 0.56);
    let fate = &of("fate")["evidence"];
    assert_eq!((&fate["holds"], &fate["missing"]), (&json!(true), &json!([])), "{fate}");
}

#[tokio::test]
async fn two_requests_with_one_id_get_two_envelopes() {
    let house = house(&[Scripted::new("edge", Tier::Edge, &[HELLO, HELLO])]).await;
    let ids: Vec<EnvelopeId> = [
        house.generate(None).await.unwrap().envelope.id,
        house.generate(None).await.unwrap().envelope.id,
    ]
    .into();
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_tier_without_backend_is_recorded_and_degrades() {
    let house = house(&[Scripted::new("edge", Tier::Edge, &[HELLO])]).await;
    let answer = house.generate(Some("pool")).await.unwrap();
    assert!(answer.is_degraded);
    let tried = [(Tier::Pool, "none", "unavailable"), (Tier::Edge, "edge", "ok")];
    assert_eq!(outcomes(&answer), tried);
}

#[tokio::test]
async fn the_pool_is_refused_when_no_lower_tier_can_take_its_place() {
    let edge = Scripted::new("edge", Tier::Edge, &[Act::Fail(&[], away())]);
    for backends in [vec![], vec![edge]] {
        let error = house(&backends).await.generate(Some("pool")).await.unwrap_err();
        let InferenceError::PoolUnavailable(reason) = error else { panic!("{error:?}") };
        assert!(reason.contains("no backend of this node serves this tier"), "{reason}");
    }
}

#[tokio::test]
async fn text_that_was_seen_is_never_begun_anew() {
    let local = Scripted::new("local", Tier::Local, &[Act::Fail(&["half"], away())]);
    let edge = Scripted::new("edge", Tier::Edge, &[HELLO]);
    let house = house(&[edge.clone(), local]).await;
    let (sender, mut pieces) = mpsc::channel(8);
    let error = house.ask(raw(Some("local")), Some(sender), 20 * SECOND).await.unwrap_err();
    assert!(matches!(error, InferenceError::Failed(_)), "{error:?}");
    assert_eq!(pieces.recv().await.as_deref(), Some("half"));
    assert_eq!(pieces.recv().await, None);
    assert_eq!(edge.left(), 1, "no other backend was asked");
    assert!(house.drafts.lock().unwrap().is_empty(), "and nothing was sealed");
}

#[tokio::test]
async fn a_stream_carries_exactly_the_sealed_text() {
    let local = Scripted::new("local", Tier::Local, &[Act::Fail(&[], busy())]);
    let house = house(&[Scripted::new("edge", Tier::Edge, &[HELLO]), local]).await;
    let (sender, mut pieces) = mpsc::channel(8);
    let answer = house.ask(raw(Some("local")), Some(sender), 20 * SECOND).await.unwrap();
    let mut shown = String::new();
    while let Some(piece) = pieces.recv().await {
        shown.push_str(&piece);
    }
    assert_eq!(shown, answer.generated.text);
    assert_eq!(outcomes(&answer)[0].2, "busy");
}

#[tokio::test]
async fn a_backend_that_dies_over_a_streamed_request_is_passed_over() {
    let local = Scripted::new("local", Tier::Local, &[Act::Die]);
    let house = house(&[Scripted::new("edge", Tier::Edge, &[HELLO]), local]).await;
    let (sender, _pieces) = mpsc::channel(8);
    let answer = house.ask(raw(Some("local")), Some(sender), 20 * SECOND).await.unwrap();
    assert_eq!(outcomes(&answer)[0], (Tier::Local, "local", "unavailable"));
}

#[tokio::test]
async fn without_an_answer_there_is_an_error_and_never_a_text() {
    let fail = |error: BackendError| [Act::Fail(&[], error)];
    let failed = BackendError::Failed { backend: "edge".into(), reason: "out of memory".into() };
    let late = BackendError::Timeout { backend: "edge".into(), stage: Stage::Total };
    let too_long = BackendError::TooLong { tokens: 9, max_tokens: 9, context: 9 };
    let cases = [
        (away(), "edge: nobody is there"),
        (busy(), "every backend is busy"),
        (failed, "edge: out of memory"),
        (too_long, "the context holds 9"),
        (late, "no answer in time"),
    ];
    for (error, expected) in cases {
        let house = house(&[Scripted::new("edge", Tier::Edge, &fail(error))]).await;
        let said = house.generate(None).await.unwrap_err().to_string();
        assert!(said.contains(expected), "{expected}: {said}");
        assert!(house.drafts.lock().unwrap().is_empty());
    }
    let said = house(&[]).await.generate(None).await.unwrap_err();
    assert_eq!(said, InferenceError::Unavailable("this node has no backend".into()));
}

#[tokio::test]
async fn a_failure_that_others_would_share_is_not_tried_elsewhere() {
    let failed = BackendError::Failed { backend: "local".into(), reason: "no".into() };
    let local = Scripted::new("local", Tier::Local, &[Act::Fail(&[], failed)]);
    let edge = Scripted::new("edge", Tier::Edge, &[HELLO]);
    let house = house(&[edge.clone(), local]).await;
    assert!(matches!(house.generate(Some("local")).await, Err(InferenceError::Failed(_))));
    assert_eq!(edge.left(), 1);
}

#[tokio::test]
async fn an_answer_that_breaks_off_unseen_is_made_by_another() {
    let broken = || BackendError::BrokenOff { backend: "local".into(), reason: "reset".into() };
    let half: &[&str] = &["ha", "lf"];
    let local = || Scripted::new("local", Tier::Local, &[Act::Fail(half, broken())]);
    let house_of = async || {
        let edge = Scripted::new("edge", Tier::Edge, &[HELLO]);
        (edge.clone(), house(&[edge, local()]).await)
    };
    let (_, house) = house_of().await;
    let answer = house.generate(Some("local")).await.unwrap();
    assert_eq!(outcomes(&answer)[0], (Tier::Local, "local", "failed"));
    assert_eq!(answer.tier, Tier::Edge);

    // Whoever has seen a part of it would get another beginning after that part.
    let (edge, house) = house_of().await;
    let (sender, _pieces) = mpsc::channel(8);
    let error = house.ask(raw(Some("local")), Some(sender), 20 * SECOND).await.unwrap_err();
    assert!(
        matches!(&error, InferenceError::Failed(said) if said.contains("broke off")),
        "{error}"
    );
    assert_eq!(edge.left(), 1);
}

#[tokio::test]
async fn an_answer_that_breaks_off_with_nobody_else_to_ask_has_failed() {
    let broken = BackendError::BrokenOff { backend: "edge".into(), reason: "reset".into() };
    let edge = Scripted::new("edge", Tier::Edge, &[Act::Fail(&["ha"], broken)]);
    let error = house(&[edge]).await.generate(None).await.unwrap_err();
    assert_eq!(error, InferenceError::Failed("edge: reset".into()));
}

#[tokio::test]
async fn the_deadline_ends_a_request_whatever_a_backend_does() {
    let house = house(&[Scripted::new("edge", Tier::Edge, &[Act::Hang])]).await;
    let error = house.ask(raw(None), None, Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error, InferenceError::Timeout);
}

#[tokio::test]
async fn an_unknown_model_is_refused_and_the_known_are_listed() {
    let edge = Scripted::new("edge", Tier::Edge, &[HELLO]);
    let house = house(&[edge, Scripted::new("local", Tier::Local, &[])]).await;
    let raw = RawRequest { model: Some("gpt".into()), ..raw(None) };
    let error = house.ask(raw, None, 20 * SECOND).await.unwrap_err();
    let available = vec!["edge-model".to_owned(), "local-model".to_owned()];
    assert_eq!(error, InferenceError::UnknownModel { model: "gpt".into(), tier: None, available });
}

#[tokio::test]
async fn a_model_of_another_tier_than_the_one_asked_for_is_not_used() {
    let edge = Scripted::new("edge", Tier::Edge, &[HELLO]);
    let local = Scripted::new("local", Tier::Local, &[HELLO]);
    let house = house(&[edge.clone(), local.clone()]).await;
    let asked = RawRequest { model: Some("local-model".into()), ..raw(Some("edge")) };
    let said = house.ask(asked, None, 20 * SECOND).await.unwrap_err().to_string();
    let expected =
        "no model local-model in tier Edge; there is: edge-model (Edge), local-model (Local)";
    assert_eq!(said, expected);
    assert_eq!((edge.left(), local.left()), (1, 1), "nobody was asked");
    let asked = RawRequest { model: Some("local-model".into()), ..raw(Some("local")) };
    assert_eq!(house.ask(asked, None, 20 * SECOND).await.unwrap().tier, Tier::Local);
}

#[tokio::test]
async fn what_the_gates_refuse_reaches_nobody() {
    let strict = DEFAULT_TOML.replace("ihsan = \"advisory\"", "ihsan = \"strict\"");
    let edge = Scripted::new("edge", Tier::Edge, &[HELLO]);
    let strict = Constitution::parse("strict", &strict).unwrap();
    let house = furnish(std::slice::from_ref(&edge), strict).await;
    let error = house.generate(None).await.unwrap_err();
    assert_eq!(error.to_string(), "the ihsan score is missing: nothing but safety is verified");
    assert!(matches!(error, InferenceError::Refused { code: RejectCode::RejectGateIhsan, .. }));
    assert_eq!(edge.left(), 1, "the model was not asked");

    // The same after the model spoke: only the profile for answers is strict.
    let (input, output) = DEFAULT_TOML.split_once("[profiles.inference-output]").unwrap();
    let output = output.replace("snr = \"advisory\"", "snr = \"strict\"");
    let text = format!("{input}[profiles.inference-output]{output}");
    let strict = Constitution::parse("strict", &text).unwrap();
    let house = furnish(std::slice::from_ref(&edge), strict).await;
    assert!(matches!(house.generate(None).await, Err(InferenceError::Refused { .. })));
    assert_eq!(edge.left(), 0, "the model was asked");
    assert!(house.drafts.lock().unwrap().is_empty(), "and its answer not sealed");
}

#[tokio::test]
async fn a_recommendation_knows_what_is_available() {
    let edge = Scripted::new("edge", Tier::Edge, &[HELLO]);
    let house = house(&[edge, Scripted::new("local", Tier::Local, &[])]).await;
    let recommend = |reply| InferenceMsg::Recommend {
        prompt: "Explain the tides.".into(),
        max_tokens: 512,
        is_latency_sensitive: false,
        reply,
    };
    let Recommendation { tier, complexity, reasoning, available } =
        house.router.call(Deadline::after(5 * SECOND), recommend).await.unwrap();
    assert_eq!((tier, complexity), (Tier::Edge, "complex"));
    assert_eq!(available, [Tier::Edge]);
    assert!(reasoning.contains("asks for Local"), "{reasoning}");
}
