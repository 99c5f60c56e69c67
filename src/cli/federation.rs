//! `bizra federation`: what a node knows of others, what was proposed, and whether a decision holds,
//! which needs no node.

use serde_json::{Value, json};

use crate::cli::bizra::FederationCommand;
use crate::cli::client::{CliError, Target};
use crate::cli::commands::{Say, read_json};
use crate::cli::show;
use crate::domain::consensus::Certificate;
use crate::domain::federation::Record;

/// Carries out the command and returns the exit code.
pub(super) async fn run(
    command: FederationCommand,
    target: &Target,
    say: &mut Say<'_>,
) -> Result<u8, CliError> {
    match command {
        FederationCommand::Status => {
            let status = target.client()?.get(&["federation", "status"]).await?;
            say.answer(&status, show::fields)
        }
        FederationCommand::Peers => {
            let peers = target.client()?.get(&["federation", "peers"]).await?;
            say.answer(&peers, show_peers)
        }
        FederationCommand::Propose { file } => {
            let proposal = read_json(&file)?;
            let proposed = target.client()?.post(&["federation", "propose"], &proposal).await?;
            say.answer(&proposed, show::fields)
        }
        FederationCommand::Proposals { limit, after } => {
            let mut query = vec![("limit", limit.to_string())];
            query.extend(after.map(|after| ("after", after)));
            let page = target.client()?.get_with(&["federation", "proposals"], &query).await?;
            say.answer(&page, show_proposals)
        }
        FederationCommand::Proposal { id, verify: false } => {
            let record = target.client()?.get(&["federation", "proposals", &id]).await?;
            say.answer(&record, show::fields)
        }
        FederationCommand::Proposal { id, verify: true } => {
            let record = target.client()?.get(&["federation", "proposals", &id]).await?;
            let mut verdict = verdict(&record);
            // A node could answer with another proposal that holds.
            if record["proposal_id"] != id {
                verdict["valid"] = json!(false);
                verdict["reason"] = json!("the node answered with another proposal");
            }
            say.verdict(&verdict, "valid", show::fields)
        }
        FederationCommand::Verify { file } => {
            say.verdict(&verdict(&read_json(&file)?), "valid", show::fields)
        }
    }
}

/// Whether a record, or a certificate by itself, holds, by nothing but what it says. Who the
/// validators are, and whether to trust them, is for the reader.
fn verdict(value: &Value) -> Value {
    let checked = if value.get("certificate").is_some() {
        Record::from_json(value)
            .and_then(|record| record.verify().cloned())
            .map_err(|error| error.to_string())
    } else {
        let read = Certificate::from_json(value);
        let verify = |read: Certificate| read.verify().map(|()| read);
        read.and_then(verify).map_err(|error| error.to_string())
    };
    match checked {
        Ok(certificate) => {
            let mut shown = certificate.to_json();
            if let Some(members) = shown.as_object_mut() {
                members.remove("votes");
                members.insert("votes_received".into(), certificate.votes().len().into());
                members.insert("valid".into(), true.into());
                members.insert("reason".into(), Value::Null);
            }
            shown
        }
        Err(reason) => json!({ "valid": false, "reason": reason }),
    }
}

fn show_peers(answer: &Value) -> String {
    let header = ["NODE ID", "ADDRESS", "STATE", "RTT MS", "AGENT"];
    let keys = ["node_id", "address", "state", "rtt_ms", "agent_version"];
    show::rows(&answer["peers"], &header, &keys)
}

fn show_proposals(answer: &Value) -> String {
    let header = ["PROPOSED", "STATUS", "HEIGHT", "PATTERN", "ID"];
    let keys = ["proposed_at", "status", "height", "pattern_id", "proposal_id"];
    show::rows(&answer["proposals"], &header, &keys) + &show::more(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::federation::tests::committed;

    #[test]
    fn a_record_and_its_certificate_are_checked_without_a_node() {
        let record = committed(1).to_json();
        let shown = verdict(&record);
        assert_eq!((&shown["valid"], &shown["height"]), (&json!(true), &json!(1)), "{shown}");
        assert_eq!(shown["proposal"], record["proposal_id"]);
        assert_eq!(verdict(&record["certificate"])["valid"], true);
        let mut changed = record.clone();
        changed["certificate"]["height"] = json!(2);
        let shown = verdict(&changed);
        assert_eq!(shown["valid"], false);
        assert!(shown["reason"].is_string(), "{shown}");
        for other in [json!(null), json!({}), json!([1]), json!({ "certificate": null })] {
            assert_eq!(verdict(&other)["valid"], false, "{other}");
        }
    }

    #[test]
    fn lists_are_shown_in_lines() {
        let page = json!({ "proposals": [committed(1).head_json()], "next": "prop_1" });
        let text = show_proposals(&page);
        assert!(
            text.contains("committed") && text.ends_with("for more: --after prop_1\n"),
            "{text}"
        );
        assert_eq!(show_peers(&json!({ "peers": [] })).lines().count(), 1);
    }
}
