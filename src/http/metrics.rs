//! `GET /metrics`, in the format the scraper asks for.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::HeaderMap;
use hyper::header::{ACCEPT, CONTENT_TYPE};

use crate::http::actors::walk;
use crate::http::app::{App, Until};
use crate::http::error::ApiError;
use crate::http::router;
use crate::messages::supervisor::{ActorState, SupervisorMsg};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A scrape tells what is known rather than wait for an actor.
const TREE_WAIT: Duration = Duration::from_millis(500);

/// Shows the metrics.
///
/// OpenMetrics for whoever names it in `Accept`, otherwise the Prometheus text format 0.0.4.
#[utoipa::path(
    get,
    path = router::METRICS,
    responses((status = 200, content(
        (String = "text/plain"),
        (String = "application/openmetrics-text"),
    ))),
)]
pub(super) async fn metrics(
    State(app): State<App>,
    Until(deadline): Until,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let tree = app
        .roster
        .supervisor
        .call(deadline.at_most(TREE_WAIT), |reply| SupervisorMsg::Tree { reply })
        .await;
    walk(&tree.unwrap_or_default(), &mut |actor| {
        let (name, is_up) = (actor.name.as_str(), actor.state == ActorState::Running);
        app.metrics.set_waiting(name, actor.waiting, actor.waiting_max);
        app.metrics.set_standing(name, is_up, actor.is_critical);
    });
    // Thousands of lines, and some figures are asked of the system.
    let metrics = app.metrics.clone();
    let text = tokio::task::spawn_blocking(move || metrics.encode()).await;
    let text = text.map_err(|error| ApiError::internal(error.to_string()))?;
    let text = text.map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(if wants_open_metrics(&headers) {
        ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response()
    } else {
        ([(CONTENT_TYPE, PROMETHEUS)], to_prometheus(&text)).into_response()
    })
}

/// Scrapers that know OpenMetrics name it; whoever does not is given what all can read.
fn wants_open_metrics(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| {
            let essence = range.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("application/openmetrics-text")
        })
}

/// The same metrics in the text format 0.0.4: counters and infos are declared under the name of
/// their samples, and neither units nor the end are marked.
fn to_prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help: Option<&str> = None;
    for line in open_metrics.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            // Written with the type, which decides over the name.
            help = Some(described);
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').unwrap_or((typed, "untyped"));
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            let kind = match kind {
                "unknown" => "untyped",
                "info" | "stateset" => "gauge",
                other => other,
            };
            if let Some((_, words)) = help.take().and_then(|help| help.split_once(' ')) {
                text.extend(["# HELP ", name, suffix, " ", words, "\n"]);
            }
            text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with("# UNIT ") && line != "# EOF" {
            text.extend([line, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn open_metrics_is_for_those_who_name_it() {
        let wants = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            wants_open_metrics(&headers)
        };
        assert!(wants("application/openmetrics-text;version=1.0.0;q=0.75,text/plain;q=0.5"));
        assert!(wants("text/plain, Application/OpenMetrics-Text"));
        assert!(!wants("text/plain"));
        assert!(!wants("*/*"));
        assert!(!wants_open_metrics(&HeaderMap::new()));
    }

    #[test]
    fn the_older_format_declares_counters_by_their_samples() {
        let open = "# HELP http_requests Requests answered, by kind.\n\
                    # TYPE http_requests counter\n\
                    http_requests_total{status=\"200\"} 3\n\
                    # HELP handle_seconds Time.\n\
                    # TYPE handle_seconds histogram\n\
                    # UNIT handle_seconds seconds\n\
                    handle_seconds_sum 1.5\n\
                    # HELP build Which.\n\
                    # TYPE build info\n\
                    build_info{version=\"1\"} 1\n\
                    # EOF\n";
        assert_eq!(
            to_prometheus(open),
            "# HELP http_requests_total Requests answered, by kind.\n\
             # TYPE http_requests_total counter\n\
             http_requests_total{status=\"200\"} 3\n\
             # HELP handle_seconds Time.\n\
             # TYPE handle_seconds histogram\n\
             handle_seconds_sum 1.5\n\
             # HELP build_info Which.\n\
             # TYPE build_info gauge\n\
             build_info{version=\"1\"} 1\n"
        );
    }
}
