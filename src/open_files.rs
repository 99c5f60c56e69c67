//! The number of files, connections among them, that this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files beside connections: the store, the log, models, and what the runtime needs.
const OTHERS: u64 = 64;

/// Raises the limit as far as this process may, which shells leave at a number from the time of
/// `select`. Returns why `connections_max` connections do not fit below it, if they do not.
pub fn allow(connections_max: usize) -> Option<String> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // If this fails the limit stays as it is, and is told below.
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        let _ = setrlimit(Resource::Nofile, raised);
    }
    let files_max = getrlimit(Resource::Nofile).current?;
    let needed = u64::try_from(connections_max).unwrap_or(u64::MAX).saturating_add(OTHERS);
    (needed > files_max).then(|| {
        format!(
            "http.connections_max is {connections_max}, and this process may have {files_max} files \
             open; raise the limit (ulimit -n, LimitNOFILE=) or lower the number"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_no_limit_allows_are_told() {
        assert_eq!(allow(1), None);
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        if let Some(files_max) = limit.current {
            let told = allow(usize::try_from(files_max).unwrap()).unwrap();
            assert!(told.contains(&format!("may have {files_max} files open")), "{told}");
        }
    }
}
