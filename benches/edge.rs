//! The engines of the edge tier on the same files and threads: reading a prompt of 128 tokens, writing
//! 64, loading, and the most memory the process had. Each measurement is a process of its own, by turns,
//! so that a busy machine is as busy for each and the memory is that of one engine.
//!
//! Besides the demo model there are files with the shapes of Qwen2 0.5B and Qwen3 0.6B and random
//! weights, which are written to cargo's target directory once. With the feature `llama-cpp` there are
//! also llama.cpp as the node runs it, and llama.cpp called directly with its own defaults; without it
//! candle only. Without `--bench`, or with `--test`, the demo model is measured once.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use bizra_omega::adapters::edge::demo::DEMO;
use bizra_omega::adapters::edge::generate::Limits;
use bizra_omega::adapters::edge::model::{EdgeModel, ModelSource};
use bizra_omega::config::Engine;
use candle_core::quantized::GgmlDType;
use tiny_gguf::{Tiny, tokens};

#[cfg(feature = "llama-cpp")]
#[path = "edge/direct.rs"]
mod direct;
#[path = "../tests/support/tiny_gguf.rs"]
mod tiny_gguf;

const PROMPT_TOKENS: usize = 128;
const ANSWER_TOKENS: usize = 64;
/// Tokens of both together, and some for the tokens before anything is measured.
const ROOM: usize = 256;
const ROUNDS: usize = 5;

/// The way of a child; what it measures is in its other arguments.
const CHILD: &str = "--measure";

const CANDLE: &str = "candle";
const LLAMA_CPP: &str = "llama-cpp";
const DIRECT: &str = "direct";

/// What is measured, the limit last.
const WAYS: &[&str] =
    if cfg!(feature = "llama-cpp") { &[CANDLE, LLAMA_CPP, DIRECT] } else { &[CANDLE] };

/// A rate as a share of another way's.
struct Goal {
    file: &'static str,
    way: &'static str,
    what: &'static str,
    rate: fn(&Sample) -> f64,
    least: f64,
}

const DEMO_FILE: &str = "demo";
const Q4_0: &str = "0.5B Q4_0";
const Q8_0: &str = "0.5B Q8_0";
const Q4_K: &str = "0.6B Q4_K";

const fn prefill(file: &'static str, way: &'static str, least: f64) -> Goal {
    Goal { file, way, what: "prefill", rate: |sample| sample.prefill, least }
}

const fn decode(file: &'static str, way: &'static str, least: f64) -> Goal {
    Goal { file, way, what: "decode", rate: |sample| sample.decode, least }
}

const GOALS: [Goal; 12] = [
    decode(Q4_K, CANDLE, 0.8),
    decode(Q8_0, CANDLE, 0.8),
    prefill(Q4_K, CANDLE, 0.5),
    prefill(Q8_0, CANDLE, 0.5),
    prefill(DEMO_FILE, LLAMA_CPP, 0.95),
    prefill(Q4_0, LLAMA_CPP, 0.95),
    prefill(Q8_0, LLAMA_CPP, 0.95),
    prefill(Q4_K, LLAMA_CPP, 0.95),
    decode(DEMO_FILE, LLAMA_CPP, 0.95),
    decode(Q4_0, LLAMA_CPP, 0.95),
    decode(Q8_0, LLAMA_CPP, 0.95),
    decode(Q4_K, LLAMA_CPP, 0.95),
];

/// What one process found.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    load_s: f64,
    /// Tokens a second.
    prefill: f64,
    /// Tokens a second.
    decode: f64,
    memory_bytes: f64,
}

impl Sample {
    const FIELDS: [fn(&mut Self) -> &mut f64; 4] =
        [|s| &mut s.load_s, |s| &mut s.prefill, |s| &mut s.decode, |s| &mut s.memory_bytes];

    fn to_line(mut self) -> String {
        Self::FIELDS.map(|field| field(&mut self).to_string()).join(" ")
    }

    fn from_line(line: &str) -> Option<Self> {
        let mut sample = Self::default();
        let mut numbers = line.split_whitespace().map(str::parse);
        for field in Self::FIELDS {
            *field(&mut sample) = numbers.next()?.ok()?;
        }
        Some(sample)
    }

    /// Of each number by itself.
    fn median(samples: &[Self]) -> Self {
        let mut median = Self::default();
        for field in Self::FIELDS {
            let mut numbers: Vec<f64> =
                samples.iter().map(|sample| *field(&mut sample.clone())).collect();
            numbers.sort_unstable_by(f64::total_cmp);
            *field(&mut median) = numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN);
        }
        median
    }
}

/// One file, and what was found on it by way.
struct Row {
    file: &'static str,
    path: PathBuf,
    found: Vec<(&'static str, Vec<Sample>)>,
}

impl Row {
    fn median(&self, way: &str) -> Option<Sample> {
        let found = self.found.iter().find(|(name, _)| *name == way);
        found.map(|(_, samples)| Sample::median(samples))
    }
}

/// The token with the highest logit.
fn best(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(token, _)| token as u32)
}

/// Ordinary tokens, which every vocabulary here has.
fn prompt() -> Vec<u32> {
    (0..PROMPT_TOKENS as u32).map(|number| 32 + number * 7 % 200).collect()
}

/// Reads the prompt and writes the answer with `pass`, which gives the logits after further tokens.
/// Answers tokens a second for both.
fn pass_through(mut pass: impl FnMut(&[u32]) -> Vec<f32>) -> (f64, f64) {
    let prompt = prompt();
    let began = Instant::now();
    let mut token = best(&pass(&prompt));
    let prefill = prompt.len() as f64 / began.elapsed().as_secs_f64();
    let began = Instant::now();
    for _ in 0..ANSWER_TOKENS {
        token = best(&pass(&[token]));
    }
    (prefill, ANSWER_TOKENS as f64 / began.elapsed().as_secs_f64())
}

/// Loads the file at `path` and passes tokens through it twice; the first time pages are touched and
/// threads are started.
fn engine(engine: Engine, path: &Path) -> Result<Sample, String> {
    let began = Instant::now();
    let source = ModelSource::Path(path.to_owned());
    let model = EdgeModel::load(&source, engine).map_err(|error| error.to_string())?;
    let load_s = began.elapsed().as_secs_f64();
    let chunk = Limits::default().prefill_chunk_tokens;
    let mut rates = (0.0, 0.0);
    for _ in 0..2 {
        let mut session = model.session(ROOM).map_err(|error| error.to_string())?;
        rates = pass_through(|tokens| session.pass(tokens, chunk, &|| false).expect("logits"));
    }
    Ok(Sample { load_s, prefill: rates.0, decode: rates.1, memory_bytes: memory_bytes() })
}

/// The most memory that this process had, as the system counts it.
fn memory_bytes() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib * 1024.0)
}

/// What a child does.
fn measure(way: &str, path: &Path) -> Result<Sample, String> {
    match way {
        CANDLE => engine(Engine::Candle, path),
        LLAMA_CPP => engine(Engine::LlamaCpp, path),
        #[cfg(feature = "llama-cpp")]
        DIRECT => direct::measure(path),
        _ => Err(format!("no way {way}")),
    }
}

/// Measures in a process of its own, with so many threads.
fn child(way: &str, path: &Path, threads: usize) -> io::Result<Sample> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([CHILD, way]).arg(path);
    // For both kinds of candle's matrices, and for whatever OpenMP runs.
    for variable in ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS", "OMP_NUM_THREADS"] {
        command.env(variable, threads.to_string());
    }
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    Sample::from_line(&said).ok_or_else(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        io::Error::other(format!("{way} on {}: {said}{errors}", path.display()))
    })
}

/// The files of this run; those that are missing are written.
fn files(is_short: bool) -> io::Result<Vec<(&'static str, PathBuf)>> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("edge");
    fs::create_dir_all(&folder)?;
    let demo = folder.join("demo.gguf");
    if let ModelSource::Embedded { bytes, .. } = DEMO {
        fs::write(&demo, bytes)?;
    }
    let mut files = vec![(DEMO_FILE, demo)];
    if is_short {
        return Ok(files);
    }
    let padding = 151_936 - tokens().len();
    let qwen2 = |format| Tiny {
        format,
        width: 896,
        heads: 14,
        kv_heads: 2,
        head_width: 64,
        feed_forward: 4864,
        blocks: 24,
        padding,
        ..Tiny::new("qwen2")
    };
    // Blocks of 256 numbers, as K formats have them, do not divide a width of 896.
    let qwen3 = Tiny {
        format: GgmlDType::Q4K,
        width: 1024,
        heads: 16,
        kv_heads: 8,
        head_width: 128,
        feed_forward: 3072,
        blocks: 28,
        padding,
        is_tied: true,
        ..Tiny::new("qwen3")
    };
    let written = [
        (Q4_0, "q4_0.gguf", qwen2(GgmlDType::Q4_0)),
        (Q8_0, "q8_0.gguf", qwen2(GgmlDType::Q8_0)),
        (Q4_K, "q4_k.gguf", qwen3),
    ];
    for (name, file, model) in written {
        let path = folder.join(file);
        if !path.exists() {
            // Under its name only when it is whole.
            let part = folder.join("part");
            let mut writer = BufWriter::new(File::create(&part)?);
            model.write(&mut writer);
            writer.into_inner()?.sync_all()?;
            fs::rename(part, &path)?;
        }
        files.push((name, path));
    }
    Ok(files)
}

fn report(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    writeln!(
        out,
        "{:<10} {:<10} {:>14} {:>14} {:>8} {:>12}",
        "file", "way", "prefill tok/s", "decode tok/s", "load s", "memory MiB"
    )?;
    for row in rows {
        for (way, samples) in &row.found {
            let Sample { load_s, prefill, decode, memory_bytes } = Sample::median(samples);
            let mib = memory_bytes / f64::from(1 << 20);
            writeln!(
                out,
                "{:<10} {way:<10} {prefill:>14.1} {decode:>14.1} {load_s:>8.2} {mib:>12.0}",
                row.file
            )?;
        }
    }
    if !WAYS.contains(&DIRECT) {
        return writeln!(out, "\nno llama.cpp in this build; --features llama-cpp measures it too");
    }
    writeln!(out, "\ngoals, of llama.cpp called directly")?;
    for Goal { file, way, what, rate, least } in &GOALS {
        let Some(row) = rows.iter().find(|row| row.file == *file) else { continue };
        let (Some(found), Some(limit)) = (row.median(way), row.median(DIRECT)) else { continue };
        let ratio = rate(&found) / rate(&limit);
        let verdict = if ratio >= *least { "met" } else { "MISSED" };
        writeln!(
            out,
            "{file:<10} {way:<10} {what:<8} {ratio:>6.2}, at least {least:.2}  {verdict}"
        )?;
    }
    Ok(())
}

fn run(is_short: bool) -> io::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let rounds = if is_short { 1 } else { ROUNDS };
    let row = |(file, path)| {
        let found = WAYS.iter().map(|way| (*way, Vec::new())).collect();
        Row { file, path, found }
    };
    let mut rows: Vec<Row> = files(is_short)?.into_iter().map(row).collect();
    for _ in 0..rounds {
        for row in &mut rows {
            for (way, samples) in &mut row.found {
                samples.push(child(way, &row.path, threads)?);
            }
        }
    }
    let mut out = io::stdout();
    writeln!(out, "{threads} threads, medians of {rounds}\n")?;
    report(&mut out, &rows)
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let done = match args.iter().position(|argument| argument == CHILD) {
        Some(at) => {
            let [way, path] = &args[at + 1..] else { return ExitCode::from(2) };
            measure(way, Path::new(path)).and_then(|sample| {
                writeln!(io::stdout(), "{}", sample.to_line()).map_err(|error| error.to_string())
            })
        }
        None => {
            let has = |flag: &str| args.iter().any(|argument| argument == flag);
            run(has("--test") || !has("--bench")).map_err(|error| error.to_string())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            let _ = writeln!(io::stderr(), "{reason}");
            ExitCode::FAILURE
        }
    }
}
