//! What this engine is: where it is the same, the same weights give the same numbers.

use std::sync::OnceLock;

/// The engine in one line: version, build and what of the processor it computes with. Builds differ
/// when the engine's sources, any dependency, the compiler or the target differs.
#[must_use]
pub fn id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        let (version, build) = (env!("CARGO_PKG_VERSION"), env!("BIZRA_ENGINE_BUILD"));
        let (arch, features) = (std::env::consts::ARCH, features().join("+"));
        let with = if features.is_empty() { "" } else { " " };
        format!("bizra-omega {version} {build} {arch}{with}{features}")
    })
}

/// The extensions that the matrix library chooses its kernels by, when it runs.
#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    let found = [
        ("fma", is_x86_feature_detected!("fma")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
    ];
    found.into_iter().filter_map(|(name, is)| is.then_some(name)).collect()
}

/// Elsewhere it has one set.
#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_is_one_line_and_stays_the_same() {
        assert!(id().starts_with("bizra-omega ") && id().contains(std::env::consts::ARCH));
        assert!(id().len() < 128 && id().chars().all(|c| c.is_ascii_graphic() || c == ' '));
        assert_eq!(id(), id());
    }
}
