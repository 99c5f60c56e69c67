//! What both servers are asked to do.

use std::io;

use serde_json::{Value, json};

use crate::load::Request;
use crate::server::Node;

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) name: &'static str,
    /// What the node is asked.
    pub(crate) ours: Request,
    /// What the bare server is asked.
    pub(crate) theirs: Request,
    /// The share of the bare server's rate that the node is to reach.
    pub(crate) share_min: Option<f64>,
}

impl Work {
    pub(crate) fn all(node: &Node) -> io::Result<Vec<Self>> {
        let message = json!({ "message": "the same forty-eight bytes, signed and verified" });
        let sign = Request::post("/api/v1/identity/sign", &message).with_token(node.token());
        let signed = node.ask(&sign)?;
        let claim = json!({
            "message": message["message"],
            "signature": signed["signature"],
            "public_key": signed["public_key"],
        });
        let verify = Request::post("/api/v1/identity/verify", &claim);
        if node.ask(&verify)?["valid"] != Value::Bool(true) {
            return Err(io::Error::other("the node does not verify what it signed"));
        }
        let content = json!({
            "content": "the same forty-eight bytes, judged by its gates",
            "snr_score": 0.9,
            "ihsan_score": 0.97,
        });
        Ok(vec![
            Self {
                name: "health",
                ours: Request::get("/api/v1/health"),
                theirs: Request::get("/health"),
                share_min: Some(0.85),
            },
            Self {
                name: "identity/verify",
                ours: verify,
                theirs: Request::post("/verify", &claim),
                share_min: Some(0.80),
            },
            Self {
                name: "identity/sign (audited)",
                ours: sign,
                theirs: Request::post("/sign", &message),
                share_min: None,
            },
            Self {
                name: "pci/gates/check",
                ours: Request::post("/api/v1/pci/gates/check", &content),
                theirs: Request::post("/check", &content),
                share_min: None,
            },
        ])
    }
}
