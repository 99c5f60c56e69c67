//! The model inside the program.

use crate::adapters::edge::model::ModelSource;

/// What the demo model is called.
pub const DEMO_NAME: &str = "bizra-demo";

/// What an operator should know of the demo model.
pub const DEMO_NOTE: &str = "a demo model of a few megabytes: it shows that the path works and \
    knows nothing; give a real GGUF file by --model or inference.edge.model";

/// A tiny model, so that a node can answer with nothing installed. The model card beside the file
/// says how it was made.
pub const DEMO: ModelSource = ModelSource::Embedded {
    name: DEMO_NAME,
    bytes: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/bizra-demo.gguf")),
};
