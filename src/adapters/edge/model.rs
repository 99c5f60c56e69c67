//! A language model in this process: loads a GGUF file and says what it is.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::quantized::GgmlDType;

use crate::adapters::edge::catalogue::Stamp;
use crate::adapters::edge::chat_template::{ChatTemplate, Rendered, TemplateError};
use crate::adapters::edge::encoding::VocabularyError;
use crate::adapters::edge::gguf::{Header, HeaderError};
use crate::adapters::edge::layout::check;
use crate::adapters::edge::metadata::{Metadata, MetadataError};
use crate::adapters::edge::session::{Content, PassError, Session, Weights};
use crate::adapters::edge::vocabulary::{Segment, Vocabulary};
use crate::adapters::edge::weights::WeightsError;
use crate::adapters::models::{Hold, hold};
use crate::config::Engine;
use crate::domain::inference::InferenceRequest;
use crate::domain::inference::conversation::{Form, Message};

/// The longest name taken from metadata, in characters.
const NAME_CHARS_MAX: usize = 128;

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSource {
    /// A file.
    Path(PathBuf),
    /// Bytes inside the program.
    Embedded {
        /// What to call it in errors.
        name: &'static str,
        /// The bytes of a GGUF file.
        bytes: &'static [u8],
    },
}

impl ModelSource {
    /// What to call it in errors.
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Embedded { name, .. } => (*name).to_owned(),
        }
    }
}

/// A file's digest, which holds while the file has this state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownDigest {
    /// The state of the file.
    pub stamp: Stamp,
    /// `blake3:` and the hex digest of all its bytes.
    pub digest: String,
}

/// Why a model cannot be loaded: which, what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
#[error("model {model}: {problem}")]
pub struct LoadError {
    /// The path, or the name of an embedded model.
    pub model: String,
    /// What is wrong.
    #[source]
    pub problem: Box<LoadProblem>,
}

/// What is wrong with a model.
#[derive(Debug, thiserror::Error)]
pub enum LoadProblem {
    /// It cannot be read.
    #[error("{0}; give the path of a GGUF file by --model or inference.edge.model")]
    Unreadable(#[from] io::Error),
    /// It is a directory or a device.
    #[error("it is no file; give the path of a GGUF file by --model or inference.edge.model")]
    NotAFile,
    /// Its header is broken.
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// Its metadata is wrong.
    #[error("{0}")]
    Metadata(#[from] MetadataError),
    /// Its vocabulary is unusable.
    #[error("its vocabulary is unusable: {0}")]
    Vocabulary(#[from] VocabularyError),
    /// Its chat template is unusable.
    #[error("{0}")]
    Template(#[from] TemplateError),
    /// Its weights are unusable.
    #[error("{0}")]
    Weights(#[from] WeightsError),
    /// The engine that was asked for is not in this build.
    #[error("this build lacks the engine llama-cpp; build it with --features llama-cpp")]
    NotBuilt,
    /// llama.cpp does not take it.
    #[cfg(feature = "llama-cpp")]
    #[error("llama.cpp: {0}")]
    LlamaCpp(String),
    /// It was written to while it was read.
    #[error("it changed while it was read; load it again")]
    Changed,
}

/// What is known of a loaded model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFacts {
    /// From its metadata, otherwise the file's name without extension.
    pub name: String,
    /// `blake3:` and the hex digest of all its bytes.
    pub digest: String,
    /// The number of its weights.
    pub parameters: u64,
    /// The number format of its weights, for instance `Q4_K_M`.
    pub quantization: String,
    /// The most tokens of prompt and answer together.
    pub context_length: usize,
    /// Its size in bytes.
    pub bytes: u64,
}

/// A loaded model. Cheap to clone; the weights are shared and never change.
#[derive(Clone, Debug)]
pub struct EdgeModel {
    facts: Arc<ModelFacts>,
    weights: Weights,
    vocabulary: Arc<Vocabulary>,
    template: Option<Arc<ChatTemplate>>,
    /// Says in the model store that its file is in use; the last clone lets go.
    _hold: Option<Arc<Hold>>,
}

impl EdgeModel {
    /// Loads a model for `engine`. Reads all its bytes twice, once for the digest; blocks for as long
    /// as that takes.
    ///
    /// # Errors
    /// See [`LoadProblem`].
    pub fn load(source: &ModelSource, engine: Engine) -> Result<Self, LoadError> {
        Self::load_again(source, engine, None).map(|(model, _)| model)
    }

    /// As [`load`](Self::load), without reading a file for a digest that is known. Answers also what
    /// is known of the file from now on.
    ///
    /// # Errors
    /// See [`LoadProblem`].
    pub fn load_again(
        source: &ModelSource,
        engine: Engine,
        known: Option<&KnownDigest>,
    ) -> Result<(Self, Option<KnownDigest>), LoadError> {
        let loaded = match source {
            ModelSource::Path(path) => load_file(path, engine, known),
            ModelSource::Embedded { name, bytes } => {
                let digest = digest_text(blake3::hash(bytes));
                let loaded = load(Content::Memory(bytes), bytes.len() as u64, engine, digest, name);
                loaded.map(|model| (model, None))
            }
        };
        loaded.map_err(|problem| LoadError { model: source.title(), problem: Box::new(problem) })
    }

    /// What is known of it.
    #[must_use]
    pub fn facts(&self) -> &ModelFacts {
        &self.facts
    }

    /// Its vocabulary.
    #[must_use]
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// What computes with it.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.weights.engine()
    }

    /// An empty session with room for `capacity` tokens.
    ///
    /// # Errors
    /// If the engine fails.
    pub fn session(&self, capacity: usize) -> Result<Session<'_>, PassError> {
        self.weights.session(capacity)
    }

    /// The tokens of a request as the model reads it: a conversation in its chat template if it has
    /// one, otherwise its texts with empty lines between; a text to continue as it is.
    ///
    /// # Errors
    /// If the template fails.
    pub fn prompt_tokens(&self, request: &InferenceRequest) -> Result<Vec<u32>, TemplateError> {
        if request.form == Form::Completion {
            return Ok(self.encode(&request.prompt));
        }
        let messages: Vec<Message<'_>> = request.messages().collect();
        let rendered = match &self.template {
            Some(template) => template.render(&messages)?,
            None => Rendered::plain(&messages),
        };
        Ok(self.vocabulary.encode(&rendered.segments()))
    }

    /// The tokens of `text` alone, without template.
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.vocabulary.encode(&[Segment { text, is_trusted: false }])
    }
}

fn load_file(
    path: &Path,
    engine: Engine,
    known: Option<&KnownDigest>,
) -> Result<(EdgeModel, Option<KnownDigest>), LoadProblem> {
    // Asked before opening: opening a pipe would wait for a writer.
    if !path.metadata()?.is_file() {
        return Err(LoadProblem::NotAFile);
    }
    // Without it the model serves as well; the store would only not know that it is loaded.
    let hold = hold(path).ok().map(Arc::new);
    let mut file = File::open(path)?;
    let before = file.metadata()?;
    let stamp = Stamp::of(&before);
    let digest = match known.filter(|known| known.stamp == stamp) {
        Some(known) => known.digest.clone(),
        None => {
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(&mut file)?;
            file.seek(SeekFrom::Start(0))?;
            digest_text(hasher.finalize())
        }
    };
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let stem = stem.unwrap_or_default();
    let model = load(Content::File(&file), before.len(), engine, digest.clone(), &stem)?;
    // The digest names the weights only if nobody wrote in between.
    if Stamp::of(&file.metadata()?) != stamp {
        return Err(LoadProblem::Changed);
    }
    Ok((EdgeModel { _hold: hold, ..model }, Some(KnownDigest { stamp, digest })))
}

fn digest_text(digest: blake3::Hash) -> String {
    format!("blake3:{}", digest.to_hex())
}

fn load(
    content: Content<'_>,
    bytes: u64,
    engine: Engine,
    digest: String,
    fallback_name: &str,
) -> Result<EdgeModel, LoadProblem> {
    let header = Header::read(content.reader(), bytes)?;
    let metadata = Metadata(&header.metadata);
    let vocabulary = Vocabulary::from_metadata(metadata)?;
    let template = match metadata.text("tokenizer.chat_template")? {
        Some(source) => {
            let (bos, eos) = (&vocabulary.bos_text, &vocabulary.eos_text);
            Some(Arc::new(ChatTemplate::new(source, bos, eos)?))
        }
        None => None,
    };
    let shape = check(&header, vocabulary.size())?;
    let facts = ModelFacts {
        name: name(metadata.text("general.name")?, fallback_name),
        digest,
        parameters: header.tensors.values().map(|tensor| tensor.elements()).sum(),
        quantization: quantization(metadata.count("general.file_type")?, &header),
        context_length: shape.context,
        bytes,
    };
    Ok(EdgeModel {
        facts: Arc::new(facts),
        weights: Weights::read(engine, content, &header, shape)?,
        vocabulary: Arc::new(vocabulary),
        template,
        _hold: None,
    })
}

/// The stated name without control characters, which would spoil a log.
pub(super) fn name(stated: Option<&str>, fallback: &str) -> String {
    let clean = |name: &str| -> String {
        name.trim().chars().filter(|letter| !letter.is_control()).take(NAME_CHARS_MAX).collect()
    };
    let stated = stated.map(clean).filter(|name| !name.is_empty());
    stated.unwrap_or_else(|| clean(fallback))
}

/// The mix that the file states (llama.cpp's `llama_ftype`), otherwise the number format that most
/// bytes have.
pub(in crate::adapters) fn quantization(file_type: Option<usize>, header: &Header) -> String {
    let stated = match file_type {
        Some(0) => "F32",
        Some(1) => "F16",
        Some(2) => "Q4_0",
        Some(3) => "Q4_1",
        Some(7) => "Q8_0",
        Some(8) => "Q5_0",
        Some(9) => "Q5_1",
        Some(10) => "Q2_K",
        Some(11) => "Q3_K_S",
        Some(12) => "Q3_K_M",
        Some(13) => "Q3_K_L",
        Some(14) => "Q4_K_S",
        Some(15) => "Q4_K_M",
        Some(16) => "Q5_K_S",
        Some(17) => "Q5_K_M",
        Some(18) => "Q6_K",
        Some(32) => "BF16",
        _ => return format_name(most_common_format(header)).to_owned(),
    };
    stated.to_owned()
}

fn most_common_format(header: &Header) -> GgmlDType {
    let bytes_of = |format| {
        header.tensors.values().filter(|t| t.format == format).map(|t| t.bytes).sum::<u64>()
    };
    let formats = header.tensors.values().map(|tensor| tensor.format);
    formats.max_by_key(|format| bytes_of(*format)).unwrap_or(GgmlDType::F32)
}

fn format_name(format: GgmlDType) -> &'static str {
    match format {
        GgmlDType::F32 => "F32",
        GgmlDType::F16 => "F16",
        GgmlDType::BF16 => "BF16",
        GgmlDType::Q4_0 => "Q4_0",
        GgmlDType::Q4_1 => "Q4_1",
        GgmlDType::Q5_0 => "Q5_0",
        GgmlDType::Q5_1 => "Q5_1",
        GgmlDType::Q8_0 => "Q8_0",
        GgmlDType::Q8_1 => "Q8_1",
        GgmlDType::Q2K => "Q2_K",
        GgmlDType::Q3K => "Q3_K",
        GgmlDType::Q4K => "Q4_K",
        GgmlDType::Q5K => "Q5_K",
        GgmlDType::Q6K => "Q6_K",
        GgmlDType::Q8K => "Q8_K",
    }
}
