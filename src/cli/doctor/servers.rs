//! Whether the model servers that are configured answer, and what with.

use futures_util::future::join_all;

use super::Finding;
use crate::adapters::model_server::Kind;
use crate::adapters::model_server::configured::{Configured, SetupError};
use crate::config::{Inference, ServerTier};

/// A model server, and what was seen of it.
#[derive(Debug)]
pub(super) struct Server {
    configured: Configured,
    sight: Sight,
}

#[derive(Debug)]
enum Sight {
    /// It answers, and has so many models.
    Answers(usize),
    /// It does not, for this reason.
    Absent(String),
    /// A node does not start with what the configuration says of it.
    Wrong(SetupError),
}

/// Asks every server what it has, all of them at once, as a node does.
pub(super) async fn ask(config: &Inference) -> Vec<Server> {
    let look = async |configured: Configured| {
        let sight = match configured.client() {
            Err(error) => Sight::Wrong(error),
            Ok(client) => match client.models(&[]).await {
                Ok(models) => Sight::Answers(models.len()),
                Err(error) => Sight::Absent(error.to_string()),
            },
        };
        Server { configured, sight }
    };
    join_all(Configured::all(config).into_iter().map(look)).await
}

/// Whether models of this site answer beside those in the process of a node.
pub(super) fn serve_locally(servers: &[Server]) -> bool {
    servers.iter().any(|server| server.is_local() && matches!(server.sight, Sight::Answers(1..)))
}

impl Server {
    fn is_local(&self) -> bool {
        self.configured.config.tier == ServerTier::Local
    }

    pub(super) fn finding(&self) -> Finding {
        let check = if self.is_local() { "tier local" } else { "tier pool" };
        let Configured { kind, name, section, config } = &self.configured;
        // Nobody has to configure the first.
        let is_first = config.name.is_empty();
        let who = if is_first { kind.title() } else { name };
        let url = &config.url;
        match &self.sight {
            Sight::Answers(0) => {
                let remedy = match kind {
                    Kind::Ollama => "get one, for example: ollama pull qwen2.5:1.5b",
                    Kind::OpenAi => "have it load one",
                };
                Finding::warn(
                    check,
                    format!("{who} answers at {url} and has no model"),
                    remedy.to_owned(),
                )
            }
            Sight::Answers(models) => {
                let noun = if *models == 1 { "model" } else { "models" };
                Finding::ok(check, format!("{who} answers at {url} with {models} {noun}"))
            }
            Sight::Absent(reason) => {
                let text = format!("{who} at {url} serves nothing: it {reason}");
                let remedy = match is_first {
                    true => "start one, or name another in OLLAMA_HOST, if you want it".to_owned(),
                    false => format!("start it, or take it out of {section}"),
                };
                Finding::warn(check, text, remedy)
            }
            Sight::Wrong(error) => Finding::fail(
                check,
                error.to_string(),
                "set it right; a node does not start with it".to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;
    use crate::cli::doctor::State;
    use crate::config::ModelServer;

    /// Answers one request with `body`, or accepts none.
    fn server(body: Option<&'static str>) -> (String, Option<JoinHandle<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = body.map(|body| {
            std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 4096];
                let read = stream.read(&mut request).unwrap();
                let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length";
                let answer = format!("{head}: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).unwrap();
                String::from_utf8_lossy(&request[..read]).into_owned()
            })
        });
        (url, served)
    }

    #[tokio::test]
    async fn a_model_server_that_is_none_is_told_from_one_that_is_absent() {
        for (body, expected) in [
            (Some("{\"models\":[]}"), "Ollama answers at URL and has no model"),
            (Some("{}"), "Ollama at URL serves nothing: it sent what cannot be read"),
            (None, "Ollama at URL serves nothing: it cannot be reached"),
        ] {
            let (url, served) = server(body);
            let mut config = Inference::default();
            config.ollama.url.clone_from(&url);
            let servers = ask(&config).await;
            let finding = servers[0].finding();
            assert!(finding.text.starts_with(&expected.replace("URL", &url)), "{finding:?}");
            assert_eq!(finding.state, State::Warn);
            assert!(!serve_locally(&servers));
            if let Some(served) = served {
                served.join().unwrap();
            }
        }
    }

    #[tokio::test]
    async fn every_server_is_asked_with_its_key_and_in_its_tier() {
        let (url, served) = server(Some("{\"data\":[{\"id\":\"a\"}]}"));
        let (absent, _) = server(None);
        let other = |name: &str, url: &str| ModelServer {
            name: name.into(),
            url: url.into(),
            ..ModelServer::default()
        };
        let mut config = Inference::default();
        config.ollama.url.clone_from(&absent);
        config.openai = vec![
            ModelServer { api_key: crate::config::ApiKey::new("sesame"), ..other("one", &url) },
            ModelServer { tier: ServerTier::Pool, ..other("two", &absent) },
            ModelServer { api_key_file: Some("/absent.key".into()), ..other("three", &url) },
        ];
        let servers = ask(&config).await;
        let told: Vec<_> = servers.iter().map(|server| server.finding()).collect();
        assert!(served.unwrap().join().unwrap().contains("Bearer sesame"));
        assert!(serve_locally(&servers));
        let states: Vec<_> = told.iter().map(|it| (it.check, it.state)).collect();
        let [local, pool] = ["tier local", "tier pool"];
        let expected =
            [(local, State::Warn), (local, State::Ok), (pool, State::Warn), (local, State::Fail)];
        assert_eq!(states, expected);
        assert_eq!(told[1].text, format!("openai-one answers at {url} with 1 model"));
        assert!(told[2].remedy.as_ref().unwrap().contains("inference.openai[1]"));
        assert!(told[3].text.starts_with("inference.openai[2].api_key_file: "), "{:?}", told[3]);
    }
}
