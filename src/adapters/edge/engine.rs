//! What an engine is: where it is the same, the same weights give the same numbers.

use std::sync::OnceLock;

use crate::config::Engine;

/// Ends the line of what llama.cpp computed. Lines of before there was a choice end otherwise.
const LLAMA_CPP: &str = " llama.cpp";

/// The engine in one line: version, build and what of the processor it computes with. Builds differ
/// when the engine's sources, any dependency, a compiler, the target or, for llama.cpp, a setting of
/// its build differs.
#[must_use]
pub fn id(engine: Engine) -> &'static str {
    static CANDLE: OnceLock<String> = OnceLock::new();
    static LLAMA: OnceLock<String> = OnceLock::new();
    let (version, arch) = (env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    match engine {
        Engine::Candle => CANDLE.get_or_init(|| {
            let (build, features) = (env!("BIZRA_ENGINE_BUILD"), features().join("+"));
            let with = if features.is_empty() { "" } else { " " };
            format!("bizra-omega {version} {build} {arch}{with}{features}")
        }),
        // Its kernels are chosen when it is built.
        Engine::LlamaCpp => LLAMA.get_or_init(|| {
            let build = env!("BIZRA_LLAMA_CPP_BUILD");
            format!("bizra-omega {version} {build} {arch}{LLAMA_CPP}")
        }),
    }
}

/// Which engine a line of [`id`] is of, whichever build made it.
#[must_use]
pub fn of(id: &str) -> Engine {
    if id.ends_with(LLAMA_CPP) { Engine::LlamaCpp } else { Engine::Candle }
}

/// The extensions that the matrix library chooses its kernels by, when it runs.
#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    let found = [
        ("fma", is_x86_feature_detected!("fma")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avxvnni", is_x86_feature_detected!("avxvnni")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
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
    fn an_engine_is_one_line_that_stays_the_same_and_names_it() {
        for engine in [Engine::Candle, Engine::LlamaCpp] {
            let id = id(engine);
            assert!(id.starts_with("bizra-omega ") && id.contains(std::env::consts::ARCH));
            assert!(id.len() < 128 && id.chars().all(|c| c.is_ascii_graphic() || c == ' '));
            assert_eq!(id, super::id(engine));
            assert_eq!(of(id), engine);
        }
        assert_eq!(of("bizra-omega 0.0.1"), Engine::Candle);
    }
}
