//! Drills a running node: makes actors fail one after another, calls the node all the while, and
//! measures what its callers notice.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::cli::client::{CliError, Client};
use crate::cli::printable;
use crate::cli::report::{Drill, Probe, Report};
use crate::config::Supervisor;
use crate::domain::fault::Fault;

/// Pause between two requests of one probe. Three probes make some hundred requests a second, so
/// that a restart of milliseconds is met by some of them and the machine is not the bottleneck.
const PROBE_PAUSE: Duration = Duration::from_millis(5);
/// Pause between two looks at the tree while an actor recovers: the resolution of the recovery
/// times.
const LOOK_PAUSE: Duration = Duration::from_millis(2);
/// Time for an actor to come back before it counts as lost: longer than any back-off of the
/// default configuration.
const RECOVERY_MAX: Duration = Duration::from_secs(15);
/// Time for a probe's answer: longer is a failure.
const PROBE_WAIT: Duration = Duration::from_secs(10);

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How long.
    pub duration: Duration,
    /// Time between failures.
    pub every: Duration,
    /// Actors to choose from; empty is every one that has no children.
    pub actors: Vec<String>,
    /// Ways to fail to choose from.
    pub kinds: Vec<Fault>,
    /// Makes the choice repeatable.
    pub seed: u64,
}

/// Carries the plan out, or as much of it as there is until Ctrl-C.
///
/// # Errors
/// When the node cannot be drilled: it is not there, does not allow it, or has no such actor.
pub async fn run(
    plan: &Plan,
    client: &Client,
    budget: Supervisor,
    remarks: &mut dyn Write,
) -> Result<Report, CliError> {
    let before = leaves(&client.get(&["actors"]).await?);
    let actors = chosen(plan, &before)?;
    for warning in over_budget(plan, &actors, &budget) {
        writeln!(remarks, "bizra: warning: {}", printable::line(&warning))?;
    }
    let names = printable::line(&actors.join(", "));
    writeln!(remarks, "bizra: seed {}, actors: {names}", plan.seed)?;

    let sealed =
        client.post(&["pci", "envelope", "create"], &json!({ "payload": "drill" })).await?;
    let ended = CancellationToken::new();
    let mut probes = JoinSet::new();
    let sign = json!({ "message": "drill" });
    let verify = json!({ "envelope": sealed["envelope"] });
    for (name, path, body) in [
        ("health", &["health"][..], None),
        ("identity/sign", &["identity", "sign"], Some(sign)),
        ("envelope/verify", &["pci", "envelope", "verify"], Some(verify)),
    ] {
        probes.spawn(probe(name, path, body, client.clone(), ended.clone()));
    }

    let started = Instant::now();
    let outcome = drill(plan, &actors, client).await;
    let elapsed = started.elapsed();
    ended.cancel();
    let mut probes = probes.join_all().await;
    probes.sort_by_key(|probe| probe.name);
    let drills = outcome?;

    // What was measured is worth reporting also when the node did not survive it.
    let count = |tree: &Leaves| tree.values().map(|leaf| leaf.restarts).sum::<u64>();
    let restarts = match client.get(&["actors"]).await {
        Ok(tree) => Some(count(&leaves(&tree)).saturating_sub(count(&before))),
        Err(error) => {
            writeln!(remarks, "bizra: warning: {}", error.to_text())?;
            None
        }
    };
    Ok(Report { seed: plan.seed, elapsed, probes, drills, restarts })
}

/// An actor without children, as the tree has it.
#[derive(Clone, Debug, PartialEq)]
struct Leaf {
    is_running: bool,
    incarnation: u64,
    restarts: u64,
}

type Leaves = BTreeMap<String, Leaf>;

fn leaves(tree: &Value) -> Leaves {
    let mut found = Leaves::new();
    let mut open = vec![&tree["actors"]];
    while let Some(actors) = open.pop() {
        for actor in actors.as_array().into_iter().flatten() {
            let children = &actor["children"];
            if children.as_array().is_some_and(|children| !children.is_empty()) {
                open.push(children);
                continue;
            }
            let leaf = Leaf {
                is_running: actor["state"] == "running",
                incarnation: actor["incarnation"].as_u64().unwrap_or_default(),
                restarts: actor["restarts"].as_u64().unwrap_or_default(),
            };
            found.insert(actor["name"].as_str().unwrap_or_default().to_owned(), leaf);
        }
    }
    found
}

fn chosen(plan: &Plan, leaves: &Leaves) -> Result<Vec<String>, CliError> {
    let known = || leaves.keys().cloned().collect::<Vec<_>>();
    if let Some(name) = plan.actors.iter().find(|name| !leaves.contains_key(*name)) {
        let known = known().join(", ");
        return Err(CliError::Usage(format!("no actor {name} to drill; there are: {known}")));
    }
    let actors = if plan.actors.is_empty() { known() } else { plan.actors.clone() };
    if actors.is_empty() {
        return Err(CliError::Usage("the node has no actors to drill".to_owned()));
    }
    Ok(actors)
}

/// Where the plan exceeds what the node forgives, as far as the configuration read here is that of
/// the node. An actor that exceeds it counts as failed, and a critical one ends the node.
fn over_budget(plan: &Plan, actors: &[String], budget: &Supervisor) -> Vec<String> {
    // The most failures that fit into a window, and into the plan.
    let within = |seconds: u64| {
        let window = Duration::from_secs(seconds).min(plan.duration);
        (window.as_secs_f64() / plan.every.as_secs_f64()).ceil()
    };
    let mut warnings = Vec::new();
    let shared = actors.len() as f64;
    for name in actors {
        let own = budget.actor(name);
        let seconds = own.within_seconds.unwrap_or(budget.within_seconds);
        let max = own.max_restarts.unwrap_or(budget.max_restarts);
        let expected = within(seconds) / shared;
        if expected > f64::from(max) {
            warnings.push(format!(
                "{name} will fail about {expected:.0} times in {seconds} s and is allowed {max}; \
                 raise supervisor.max_restarts or --every"
            ));
        }
    }
    let (all, seconds) = (within(budget.group_within_seconds), budget.group_within_seconds);
    if all > f64::from(budget.group_max_restarts) {
        warnings.push(format!(
            "about {all:.0} failures in {seconds} s, and a group is allowed {}; raise \
             supervisor.group_max_restarts or --every",
            budget.group_max_restarts
        ));
    }
    warnings
}

/// Asks the same again and again until `ended`.
async fn probe(
    name: &'static str,
    path: &'static [&'static str],
    body: Option<Value>,
    client: Client,
    ended: CancellationToken,
) -> Probe {
    let method = if body.is_some() { Method::POST } else { Method::GET };
    let mut probe = Probe::new(name);
    while !ended.is_cancelled() {
        let asked = Instant::now();
        let answer = client.send(method.clone(), path, body.as_ref(), PROBE_WAIT).await;
        let failure = match answer {
            Ok(answer) if answer.status != 200 => {
                Some(answer.body["code"].as_str().unwrap_or("no code").to_owned())
            }
            Ok(answer) if answer.body["valid"] == false => Some("wrong answer".to_owned()),
            Ok(_) => None,
            Err(CliError::Unreachable { .. }) => Some("no connection".to_owned()),
            Err(_) => Some("no JSON".to_owned()),
        };
        probe.count(asked.elapsed(), failure);
        sleep(PROBE_PAUSE).await;
    }
    probe
}

async fn drill(plan: &Plan, actors: &[String], client: &Client) -> Result<Vec<Drill>, CliError> {
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let mut drills = Vec::new();
    let mut recovering: JoinSet<Drill> = JoinSet::new();
    let mut busy: Vec<String> = Vec::new();
    let mut ticks = tokio::time::interval(plan.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = Instant::now() + plan.duration;
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            () = sleep_until(end) => break,
            _ = &mut interrupted => break,
            Some(Ok(done)) = recovering.join_next() => {
                busy.retain(|name| *name != done.actor);
                drills.push(done);
            }
            _ = ticks.tick() => {
                let free: Vec<&String> = actors.iter().filter(|name| !busy.contains(name)).collect();
                let (Some(name), Some(kind)) = (free.choose(&mut rng), plan.kinds.choose(&mut rng))
                else {
                    continue;
                };
                if let Some(incarnation) = strike(client, name, *kind).await? {
                    busy.push((*name).clone());
                    let (client, name, kind) = (client.clone(), (*name).clone(), *kind);
                    recovering.spawn(recovery(client, name, kind, incarnation, Instant::now()));
                }
            }
        }
    }
    drills.extend(recovering.join_all().await);
    Ok(drills)
}

/// Makes one actor fail. Returns the incarnation that was told to, or `None` if there was none.
async fn strike(client: &Client, name: &str, kind: Fault) -> Result<Option<u64>, CliError> {
    let Ok(tree) = client.get(&["actors"]).await else { return Ok(None) };
    let Some(leaf) = leaves(&tree).remove(name).filter(|leaf| leaf.is_running) else {
        return Ok(None);
    };
    match client.post(&["actors", name, "stop"], &json!({ "kind": kind.as_str() })).await {
        Ok(_) => Ok(Some(leaf.incarnation)),
        // Not running any more, or busy: that is no reason to stop.
        Err(CliError::Refused { status: 409 | 503 | 504, .. }) => Ok(None),
        // An actor of the way there may have taken the answer with it.
        Err(CliError::Unreachable { .. }) => Ok(Some(leaf.incarnation)),
        Err(error) => Err(error),
    }
}

/// Waits until another incarnation than `incarnation` serves.
async fn recovery(
    client: Client,
    actor: String,
    kind: Fault,
    incarnation: u64,
    struck: Instant,
) -> Drill {
    let mut recovered = None;
    while recovered.is_none() && struck.elapsed() < RECOVERY_MAX {
        if let Ok(tree) = client.get(&["actors"]).await
            && let Some(leaf) = leaves(&tree).get(&actor)
            && leaf.is_running
            && leaf.incarnation > incarnation
        {
            recovered = Some(struck.elapsed());
        } else {
            sleep(LOOK_PAUSE).await;
        }
    }
    Drill { actor, kind: kind.as_str(), recovered }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(every_ms: u64, actors: &[&str]) -> Plan {
        Plan {
            duration: Duration::from_secs(60),
            every: Duration::from_millis(every_ms),
            actors: actors.iter().map(|name| name.to_string()).collect(),
            kinds: vec![Fault::Panic],
            seed: 1,
        }
    }

    fn tree() -> Value {
        json!({ "actors": [
            { "name": "identity", "state": "running", "incarnation": 2, "restarts": 1,
              "children": [] },
            { "name": "inference", "state": "running", "incarnation": 1, "restarts": 0,
              "children": [{ "name": "edge", "state": "failed", "incarnation": 9, "restarts": 8,
                             "children": [] }] },
        ]})
    }

    #[test]
    fn only_actors_without_children_are_drilled() {
        let leaves = leaves(&tree());
        let edge = Leaf { is_running: false, incarnation: 9, restarts: 8 };
        assert_eq!(leaves.keys().collect::<Vec<_>>(), ["edge", "identity"]);
        assert_eq!(leaves["edge"], edge);
        assert_eq!(chosen(&plan(1, &[]), &leaves).unwrap(), ["edge", "identity"]);
        assert_eq!(chosen(&plan(1, &["edge"]), &leaves).unwrap(), ["edge"]);
        let error = chosen(&plan(1, &["inference"]), &leaves).unwrap_err().to_string();
        assert_eq!(error, "no actor inference to drill; there are: edge, identity");
        assert!(chosen(&plan(1, &[]), &Leaves::new()).is_err());
    }

    #[test]
    fn a_plan_beyond_the_budget_is_warned_of() {
        let actors = ["a".to_owned(), "b".to_owned()];
        // 5 restarts in 10 s each and 20 in 60 s together are allowed.
        let warned = |every_ms| over_budget(&plan(every_ms, &[]), &actors, &Supervisor::default());
        assert_eq!(warned(3000), Vec::<String>::new());
        assert_eq!(warned(2999).len(), 1);
        let warnings = warned(200);
        assert_eq!(warnings.len(), 3);
        assert!(warnings[0].starts_with("a will fail about 25 times in 10 s and is allowed 5;"));
        assert!(warnings[2].starts_with("about 300 failures in 60 s, and a group is allowed 20;"));
    }

    #[test]
    fn a_raised_budget_of_one_actor_is_heard() {
        let mut budget = Supervisor { group_max_restarts: 1000, ..Supervisor::default() };
        let raised = crate::config::ActorOverride { max_restarts: Some(50), ..Default::default() };
        budget.actors.insert("a".to_owned(), raised);
        assert!(over_budget(&plan(200, &[]), &["a".to_owned()], &budget).is_empty());
        assert_eq!(over_budget(&plan(199, &[]), &["a".to_owned()], &budget).len(), 1);
    }
}
