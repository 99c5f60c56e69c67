//! Who must not use whom.

/// Where the Python module is.
pub(crate) const BINDINGS: &str = "bindings/python/src";

/// What the files under `at` must not mention.
pub(crate) struct Layer {
    /// A folder or a file of `src/` or [`BINDINGS`], without its extension; a folder holds also the
    /// file beside it.
    pub(crate) at: &'static str,
    pub(crate) banned: &'static [&'static str],
}

/// Who must not use whom. A name is banned where code mentions it as a path (`ractor::...`).
pub(crate) const LAYERS: &[Layer] = &[
    Layer {
        at: "domain",
        banned: &[
            "crate::actor",
            "crate::actors",
            "crate::adapters",
            "crate::cli",
            "crate::config",
            "crate::http",
            "crate::messages",
            "crate::metrics",
            "crate::node",
            "crate::supervisor",
            "axum",
            "getrandom",
            "libp2p",
            "prometheus_client",
            "ractor",
            "rand",
            "reqwest",
            "tokio",
            "tracing",
            "usearch",
            "std::fs",
            "std::net::Tcp",
            "std::process",
            "Instant::now",
            "SystemTime::now",
            "Timestamp::now",
            "Zoned::now",
        ],
    },
    Layer {
        at: "config",
        banned: &[
            "crate::actor",
            "crate::actors",
            "crate::adapters",
            "crate::cli",
            "crate::http",
            "crate::messages",
            "crate::metrics",
            "crate::node",
            "crate::supervisor",
            "axum",
            "clap",
            "ractor",
            "tokio",
            "tracing",
            "std::env",
        ],
    },
    Layer {
        at: "messages",
        banned: &[
            "crate::actor",
            "crate::actors",
            "crate::adapters",
            "crate::cli",
            "crate::config",
            "crate::http",
            "crate::node",
            "crate::supervisor",
            "axum",
            "hyper",
            "libp2p",
        ],
    },
    Layer {
        at: "adapters",
        banned: &[
            "crate::actor",
            "crate::actors",
            "crate::cli",
            "crate::http",
            "crate::messages",
            "crate::node",
            "crate::supervisor",
            "axum",
            "ractor",
        ],
    },
    Layer {
        at: "http",
        banned: &[
            "crate::actor",
            "crate::actors",
            "crate::cli",
            "crate::node",
            "crate::supervisor",
            "libp2p",
            "ractor",
        ],
    },
    Layer {
        at: "actors",
        banned: &["crate::cli", "crate::node", "crate::supervisor", "axum", "clap", "ractor"],
    },
    Layer {
        at: "metrics",
        banned: &[
            "crate::actor",
            "crate::actors",
            "crate::adapters",
            "crate::cli",
            "crate::config",
            "crate::domain",
            "crate::http",
            "crate::node",
            "crate::supervisor",
        ],
    },
    Layer {
        at: "actor",
        banned: &[
            "crate::actors",
            "crate::adapters",
            "crate::cli",
            "crate::config",
            "crate::http",
            "crate::node",
            "crate::supervisor",
        ],
    },
    Layer {
        at: "supervisor",
        banned: &[
            "crate::actors",
            "crate::adapters",
            "crate::cli",
            "crate::http",
            "crate::node",
            "axum",
        ],
    },
    Layer { at: "node", banned: &["crate::cli", "clap", "ractor"] },
    Layer {
        at: "cli",
        banned: &[
            "crate::actor",
            "crate::actors",
            "crate::http",
            "crate::messages",
            "crate::metrics",
            "crate::node",
            "crate::supervisor",
            "axum",
            "ractor",
            "candle_core",
        ],
    },
    Layer {
        at: BINDINGS,
        banned: &[
            "bizra_omega::actor",
            "bizra_omega::actors",
            "bizra_omega::adapters",
            "bizra_omega::cli",
            "bizra_omega::http",
            "bizra_omega::metrics",
            "bizra_omega::supervisor",
            "axum",
            "hyper",
            "ractor",
        ],
    },
];

/// What no source may say, and why.
pub(crate) const WORDS: &[(&str, &str)] = &[
    ("ractor::registry", "there is one registry per process, and tests run several nodes"),
    ("call_t!", "calls go through Addr, which is bounded"),
    ("unbounded_channel", "every queue has a limit"),
];
