//! The edge backend behind its address.

use bizra_omega::actors::backend::edge::EdgeBackend;
use bizra_omega::adapters::edge::generate::Limits as EngineLimits;
use bizra_omega::domain::inference::request::{Limits, RawRequest};
use bizra_omega::domain::inference::{BackendError, Generated};
use bizra_omega::domain::restart::Strategy;
use bizra_omega::messages::addr::{Addr, Deadline};
use bizra_omega::messages::backend::BackendMsg;
use bizra_omega::supervisor::{ChildSpec, Root};

use crate::house::raw;
use crate::support::{self, SECOND, permanent, settings};

/// A supervised edge backend over the model at `path`, or the model inside the program.
async fn edge(path: Option<&std::path::Path>) -> (Root, Addr<BackendMsg>) {
    let settings = settings(Strategy::OneForOne);
    let backend = EdgeBackend::new(path, 1, EngineLimits::default());
    let make = move || backend.clone();
    let (spec, addr) = ChildSpec::actor("edge", permanent(), SECOND, 8, &settings.metrics, make);
    (support::root(&settings, vec![spec]).await, addr)
}

async fn generate(addr: &Addr<BackendMsg>, raw: RawRequest) -> Result<Generated, BackendError> {
    let request = raw.validate(&Limits::default()).unwrap();
    let deadline = Deadline::after(60 * SECOND);
    addr.call(deadline, |reply| BackendMsg::Generate {
        request: request.clone(),
        tokens: None,
        deadline,
        reply,
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_missing_model_is_told_with_its_path_and_the_fix() {
    let path = std::path::Path::new("/nonexistent/model.gguf");
    let (_root, addr) = edge(Some(path)).await;
    let Err(BackendError::Unavailable(reason)) = generate(&addr, raw(None)).await else {
        panic!("there is no such file")
    };
    assert!(reason.contains("/nonexistent/model.gguf") && reason.contains("--model"), "{reason}");
    let ask = |reply| BackendMsg::Models { reply };
    let models = addr.call(Deadline::after(SECOND), ask).await.unwrap();
    assert!(!models[0].is_available && models[0].note.is_some());
}

#[tokio::test]
async fn a_length_that_was_not_asked_for_shrinks_to_the_models_room() {
    let (_root, addr) = edge(None).await;
    let long = RawRequest { prompt: "the rain in the barn ".repeat(40), ..raw(None) };
    let stop = vec![" ".to_owned(), "e".to_owned(), "a".to_owned(), "\n".to_owned()];
    let bare = RawRequest { stop: stop.clone(), ..long.clone() };
    assert!(generate(&addr, bare).await.is_ok());
    let asked = RawRequest { max_tokens: Some(4096), ..long };
    assert!(matches!(generate(&addr, asked).await, Err(BackendError::TooLong { .. })));
}
