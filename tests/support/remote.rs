//! A supervised backend of a model server, and what it is asked.
#![allow(dead_code, reason = "each test file uses its part")]

use bizra_omega::actors::backend::remote::{RemoteBackend, Settings};
use bizra_omega::adapters::model_server::{Kind, ModelServer};
use bizra_omega::adapters::upstream::{Access, Waits};
use bizra_omega::domain::inference::request::{Limits, RawRequest};
use bizra_omega::domain::inference::{BackendError, Generated, ModelInfo, Tier};
use bizra_omega::domain::restart::Strategy;
use bizra_omega::messages::addr::Addr;
use bizra_omega::messages::backend::BackendMsg;
use bizra_omega::supervisor::{ChildSpec, Root};
use tokio::sync::mpsc;

use crate::support::{self, SECOND, permanent, settings, soon};

/// A backend with two places for the server at `url`.
pub(crate) async fn remote(
    (kind, name): (Kind, &str),
    url: &str,
    model: Option<&str>,
    waits: Waits,
    access: &Access,
) -> (Root, Addr<BackendMsg>) {
    let (section, tier) = match kind {
        Kind::Ollama => ("inference.ollama", Tier::Local),
        Kind::OpenAi => ("inference.openai[0]", Tier::Pool),
    };
    let server = ModelServer::new(kind, url, waits, access).unwrap();
    let backend = RemoteBackend::new(
        server,
        Settings {
            name: name.to_owned(),
            tier,
            model: model.map(str::to_owned),
            parallel: 2,
            probe_pause: SECOND,
            section: section.to_owned(),
        },
    );
    let settings = settings(Strategy::OneForOne);
    let make = move || backend.clone();
    let (spec, addr) = ChildSpec::actor(name, permanent(), SECOND, 64, &settings.metrics, make);
    (support::root(&settings, vec![spec]).await, addr)
}

pub(crate) fn raw() -> RawRequest {
    RawRequest { prompt: "why?".into(), ..RawRequest::default() }
}

pub(crate) async fn ask(
    addr: &Addr<BackendMsg>,
    raw: RawRequest,
    tokens: Option<mpsc::Sender<String>>,
) -> Result<Generated, BackendError> {
    let deadline = soon();
    let (request, tokens) = (raw.validate(&Limits::default()).unwrap(), &tokens);
    addr.call(deadline, |reply| BackendMsg::Generate {
        request: request.clone(),
        tokens: tokens.clone(),
        deadline,
        reply,
    })
    .await
    .unwrap()
}

pub(crate) async fn models(addr: &Addr<BackendMsg>) -> Vec<ModelInfo> {
    addr.call(soon(), |reply| BackendMsg::Models { reply }).await.unwrap()
}
