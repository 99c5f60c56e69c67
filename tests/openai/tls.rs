//! The OpenAI backend over TLS, and how it is not led astray.

use std::path::Path;
use std::sync::Arc;

use bizra_omega::adapters::upstream::{Access, Waits};
use bizra_omega::domain::inference::BackendError;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::double::{Double, Script, access, backend, done, finish, piece};
use crate::remote::{ask, raw};

/// The double behind a certificate for `localhost` and `127.0.0.1`; answers its port.
async fn serve(double: &Double, host: &str) -> u16 {
    let chain = CertificateDer::pem_slice_iter(include_bytes!("../http/tls/node.pem"));
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../http/tls/node.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((host, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let app = double.app();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(app.clone()));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(socket).await else { return };
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    port
}

fn trusting(file: &str) -> Access {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/tls").join(file);
    Access { ca_file: Some(path), ..access() }
}

#[tokio::test]
async fn a_certificate_is_believed_that_the_given_authority_vouches_for() {
    let double = Double::new(&["m"]);
    double.script(Script::Stream(vec![piece("over TLS"), finish("stop"), done()]));
    let url = format!("https://localhost:{}/v1", serve(&double, "127.0.0.1").await);
    let (_root, addr) = backend(&url, Waits::default(), &trusting("ca.pem")).await;
    assert_eq!(ask(&addr, raw(), None).await.unwrap().text, "over TLS");
}

#[tokio::test]
async fn a_certificate_of_another_name_or_another_authority_is_not_believed() {
    let double = Double::new(&["m"]);
    for (host, access) in [("127.0.0.2", trusting("ca.pem")), ("127.0.0.1", access())] {
        let port = serve(&double, host).await;
        let url = format!("https://{host}:{port}");
        let (_root, addr) = backend(&url, Waits::default(), &access).await;
        let Err(BackendError::Unavailable(reason)) = ask(&addr, raw(), None).await else {
            panic!("{host} was believed")
        };
        assert!(reason.contains("certificate"), "{reason}");
    }
    assert!(double.asked.lock().unwrap().is_empty());
}
