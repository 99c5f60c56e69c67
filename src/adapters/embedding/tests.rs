//! Folders that hold a model and folders that do not, with a network of a few numbers. What the real one
//! gives is in `tests/embedding.rs`.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

const WIDTH: usize = 4;
const FEED_FORWARD: usize = 6;
const POSITIONS: usize = 300;

/// The words that the tokenizer knows.
const WORDS: [&str; 8] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "actor", "node", "##s", "."];

fn config() -> Value {
    json!({
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": WIDTH,
        "intermediate_size": FEED_FORWARD,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": POSITIONS,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "type_vocab_size": 2,
        "vocab_size": WORDS.len(),
    })
}

fn tokenizer_json() -> Value {
    let vocab: HashMap<&str, usize> = WORDS.iter().enumerate().map(|(id, it)| (*it, id)).collect();
    let special = |id: usize| json!({ "id": WORDS[id], "ids": [id], "tokens": [WORDS[id]] });
    json!({
        "version": "1.0",
        // As published models have them; both are replaced.
        "truncation": { "max_length": 5, "strategy": "LongestFirst", "stride": 0 },
        "padding": {
            "strategy": { "Fixed": 5 }, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]",
        },
        "added_tokens": [],
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true,
        },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                { "SpecialToken": { "id": "[CLS]", "type_id": 0 } },
                { "Sequence": { "id": "A", "type_id": 0 } },
                { "SpecialToken": { "id": "[SEP]", "type_id": 0 } },
            ],
            "pair": [
                { "Sequence": { "id": "A", "type_id": 0 } },
                { "Sequence": { "id": "B", "type_id": 1 } },
            ],
            "special_tokens": { "[CLS]": special(2), "[SEP]": special(3) },
        },
        "decoder": null,
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab,
        },
    })
}

/// Numbers that differ from place to place.
fn tensor(shape: &[usize], seed: usize) -> Tensor {
    let count: usize = shape.iter().product();
    let number = |at: usize| (((at * 37 + seed * 101) % 97) as f32 - 48.0) / 97.0;
    let numbers: Vec<f32> = (0..count).map(number).collect();
    Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
}

fn weights() -> HashMap<String, Tensor> {
    let mut weights = HashMap::new();
    let mut add = |name: &str, shape: &[usize]| {
        let seed = weights.len() + 1;
        weights.insert(name.to_owned(), tensor(shape, seed));
    };
    add("embeddings.word_embeddings.weight", &[WORDS.len(), WIDTH]);
    add("embeddings.position_embeddings.weight", &[POSITIONS, WIDTH]);
    add("embeddings.token_type_embeddings.weight", &[2, WIDTH]);
    for norm in ["embeddings", "encoder.layer.0.attention.output", "encoder.layer.0.output"] {
        add(&format!("{norm}.LayerNorm.weight"), &[WIDTH]);
        add(&format!("{norm}.LayerNorm.bias"), &[WIDTH]);
    }
    for (name, rows, columns) in [
        ("attention.self.query", WIDTH, WIDTH),
        ("attention.self.key", WIDTH, WIDTH),
        ("attention.self.value", WIDTH, WIDTH),
        ("attention.output.dense", WIDTH, WIDTH),
        ("intermediate.dense", FEED_FORWARD, WIDTH),
        ("output.dense", WIDTH, FEED_FORWARD),
    ] {
        add(&format!("encoder.layer.0.{name}.weight"), &[rows, columns]);
        add(&format!("encoder.layer.0.{name}.bias"), &[rows]);
    }
    weights
}

/// A folder with a model in it.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&folder, "config.json", &config());
    write(&folder, "tokenizer.json", &tokenizer_json());
    write_weights(&folder, &weights());
    folder
}

fn write(folder: &TempDir, name: &str, value: &Value) {
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, value.to_string()).unwrap();
}

fn write_weights(folder: &TempDir, weights: &HashMap<String, Tensor>) {
    candle_core::safetensors::save(weights, folder.path().join("model.safetensors")).unwrap();
}

fn refused(folder: &TempDir) -> String {
    ModelEmbedder::load(folder.path()).unwrap_err().to_string()
}

#[test]
fn a_folder_gives_an_embedder_that_is_named_by_what_is_in_it() {
    let folder = folder();
    let embedder = ModelEmbedder::load(folder.path()).unwrap();
    let id = embedder.id().clone();
    assert_eq!((id.version, id.dimension), (1, WIDTH));
    assert_eq!(id.name.split('@').nth(1).unwrap().len(), 12);
    assert_eq!(ModelEmbedder::load(folder.path()).unwrap().id(), &id, "the same again");
    let mut others = weights();
    others.insert("embeddings.LayerNorm.bias".into(), tensor(&[WIDTH], 77));
    write_weights(&folder, &others);
    assert_ne!(ModelEmbedder::load(folder.path()).unwrap().id().name, id.name);
    assert!(!format!("{embedder:?}").contains("actor"), "a model is not printed");
}

#[test]
fn a_vector_has_the_length_1_and_follows_the_text() {
    let embedder = ModelEmbedder::load(folder().path()).unwrap();
    let embed = |text: &str| embedder.embed(text).unwrap();
    for text in ["actor", "nodes.", "\u{6f22}\u{1f600}", "a\u{0}b", "[CLS] actor [SEP]"] {
        let vector = embed(text);
        let length: f32 = vector.iter().map(|it| it * it).sum();
        assert!(vector.len() == WIDTH && (length - 1.0).abs() < 1e-5, "{text}: {vector:?}");
        assert_eq!(vector, embed(text));
    }
    assert_eq!(embed("ACTOR"), embed("actor"));
    assert_ne!(embed("actor node"), embed("node actor"), "the order matters");
    assert_ne!(embed("actor"), embed("actor node actor node actor"), "no cut at five pieces");
    assert_eq!(embedder.embed(" \n"), Err(EmbedError::Empty));
    let long = embedder.embed(&"x".repeat(40_000));
    assert_eq!(long, Err(EmbedError::TooLong { bytes: 40_000 }));
}

#[test]
fn what_comes_after_the_pieces_that_are_looked_at_is_not_seen() {
    let embedder = ModelEmbedder::load(folder().path()).unwrap();
    let text = |count: usize, last: &str| format!("{}{last}", "actor ".repeat(count));
    let seen = PIECES_MAX - 2;
    let cut = embedder.embed(&text(seen, "node node")).unwrap();
    assert_eq!(cut, embedder.embed(&text(seen, ".")).unwrap());
    assert_ne!(cut, embedder.embed(&text(seen - 1, "node node")).unwrap());
}

#[test]
fn a_file_that_is_missing_or_damaged_is_named() {
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let folder = folder();
        let path = folder.path().join(name);
        let whole = std::fs::read(&path).unwrap();
        for part in [0, 1, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..part]).unwrap();
            let error = refused(&folder);
            assert!(error.contains(name) && error.contains("published"), "{part}: {error}");
        }
        std::fs::remove_file(&path).unwrap();
        let error = refused(&folder);
        assert!(error.contains(&format!("{name}: No such file")), "{error}");
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
    }
    let nowhere = ModelEmbedder::load(Path::new("/nowhere")).unwrap_err();
    assert!(nowhere.to_string().starts_with("/nowhere: config.json: "), "{nowhere}");
}

#[test]
fn another_kind_of_model_is_refused_with_what_is_wrong() {
    let with = |key: &str, value: Value| {
        let mut config = config();
        config[key] = value;
        config
    };
    for (key, value, said) in [
        ("model_type", json!("roberta"), "model_type is \"roberta\""),
        ("hidden_act", json!("relu"), "only \"gelu\""),
        ("position_embedding_type", json!("relative_key"), "only \"absolute\""),
        ("hidden_size", json!(0), "hidden_size is 0"),
        ("hidden_size", json!(1_u64 << 40), "hidden_size is"),
        ("hidden_size", json!("4"), "config.json"),
        ("num_attention_heads", json!(3), "no multiple"),
        ("layer_norm_eps", json!(-1.0), "layer_norm_eps"),
        ("max_position_embeddings", json!(2), "no room"),
        ("num_hidden_layers", json!(2), "model.safetensors"),
        ("vocab_size", json!(7), "8 pieces, the model 7"),
        ("hidden_size", json!(8), "model.safetensors"),
    ] {
        let folder = folder();
        write(&folder, "config.json", &with(key, value.clone()));
        let error = refused(&folder);
        assert!(error.contains(said), "{key} {value}: {error}");
    }
    let folder = folder();
    for (mean, cls, is_known) in [(true, false, true), (false, true, false), (true, true, false)] {
        let pooling = json!({
            "word_embedding_dimension": WIDTH,
            "pooling_mode_mean_tokens": mean,
            "pooling_mode_cls_token": cls,
        });
        write(&folder, "1_Pooling/config.json", &pooling);
        assert_eq!(ModelEmbedder::load(folder.path()).is_ok(), is_known, "{pooling}");
    }
}

#[test]
fn weights_that_are_no_numbers_are_found_at_the_start() {
    let folder = folder();
    let mut weights = weights();
    let none = Tensor::new(&[f32::NAN, 0.0, 0.0, 0.0], &Device::Cpu).unwrap();
    weights.insert("embeddings.LayerNorm.weight".into(), none);
    write_weights(&folder, &weights);
    let error = refused(&folder);
    assert!(error.contains("a first text"), "{error}");
    weights.remove("encoder.layer.0.output.dense.bias");
    write_weights(&folder, &weights);
    assert!(refused(&folder).contains("output.dense.bias"));
}
