//! Names the code that computes text, so that a proof can say by which it was computed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What decides over the numbers: the engine, what it is made from, and how tokens become text.
const SOURCES: [&str; 3] = ["src/adapters/edge", "src/domain/text_stream.rs", "Cargo.lock"];

fn main() {
    let mut hash = Hash::new();
    let mut open: Vec<PathBuf> = SOURCES.iter().map(PathBuf::from).collect();
    let mut files = Vec::new();
    for source in &open {
        println!("cargo::rerun-if-changed={}", source.display());
    }
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            open.extend(entries.map(|entry| entry.path()));
        } else {
            files.push(path);
        }
    }
    files.sort();
    for file in &files {
        hash.add(file.to_string_lossy().as_bytes());
        hash.add(&fs::read(Path::new(file)).unwrap_or_default());
    }
    for name in ["TARGET", "CARGO_CFG_TARGET_FEATURE"] {
        hash.add(env::var(name).unwrap_or_default().as_bytes());
    }
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output();
    hash.add(&version.map(|output| output.stdout).unwrap_or_default());
    println!("cargo::rustc-env=BIZRA_ENGINE_BUILD={:016x}", hash.0);
    add_llama_cpp(&mut hash);
    println!("cargo::rustc-env=BIZRA_LLAMA_CPP_BUILD={:016x}", hash.0);
}

/// What decides over llama.cpp's numbers besides: the flags, and the compiler of its build.
fn add_llama_cpp(hash: &mut Hash) {
    if env::var_os("CARGO_FEATURE_LLAMA_CPP").is_none() {
        return;
    }
    let is_setting = |name: &str| ["CMAKE_", "GGML_", "LLAMA_"].iter().any(|p| name.starts_with(p));
    let names = ["CARGO_ENCODED_RUSTFLAGS", "CFLAGS", "CXXFLAGS", "CC", "CXX"];
    // In the order of their names, whatever order the system has.
    let settings: BTreeMap<String, String> = env::vars().collect();
    for (name, value) in &settings {
        if is_setting(name) || names.contains(&name.as_str()) {
            hash.add(name.as_bytes());
            hash.add(value.as_bytes());
            println!("cargo::rerun-if-env-changed={name}");
        }
    }
    let compiler = settings.get("CXX").map_or("c++", String::as_str);
    let version = Command::new(compiler).arg("--version").output();
    hash.add(&version.map(|output| output.stdout).unwrap_or_default());
}

/// FNV-1a. It tells builds apart; nothing rests on it that somebody would forge.
struct Hash(u64);

impl Hash {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds a part and its length, so that parts cannot run into each other.
    fn add(&mut self, part: &[u8]) {
        for byte in part.iter().chain(&(part.len() as u64).to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
