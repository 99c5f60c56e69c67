#!/usr/bin/env python3
"""Build the training corpus: prose paragraphs from freely licensed HTML manuals.

Reads unpacked documentation trees (see README.md for how to get them), keeps
paragraphs that look like English prose, drops duplicates, splits whole pages
into a training and a held-out part and trains the byte-level BPE tokenizer.

Output directory:
  train.txt, heldout.txt   pages separated by a form feed, paragraphs by newline
  tokenizer.json           GPT-2 style byte-level BPE
  train.bin, heldout.bin   token ids, little-endian uint16, each page preceded
                           by the end-of-text token
  manifest.json            sizes and checksums
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

END_OF_TEXT = "<|endoftext|>"
PAGE_SEPARATOR = "\f\n"
# The pre-tokenizer split of GPT-2 ("gpt-2" in GGUF metadata).
GPT2_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# (source, licence, place under its root, subtrees to read, path parts to skip)
SOURCES: list[tuple[str, str, str, list[str], set[str]]] = [
    ("rust", "MIT OR Apache-2.0", "",
     ["book", "cargo", "clippy", "edition-guide", "error_codes", "nomicon", "proc_macro",
      "reference", "rust-by-example", "rustc", "rustdoc", "std", "style-guide", "test",
      "unstable-book"],
     {"es", "ja", "ko", "zh", "print.html", "toc.html"}),
    ("postgresql", "PostgreSQL", "usr/share/doc/postgresql-doc-15/html", ["."], set()),
    ("python", "PSF-2.0", "usr/share/doc/python3.11/html", ["."],
     {"genindex-all.html", "license.html", "copyright.html", "_static", "_sources"}),
    ("sqlite", "public domain", "usr/share/doc/sqlite3", ["."], {"requirements.html"}),
    ("django", "BSD-3-Clause", "usr/share/doc/python-django-doc/html", ["."],
     {"_static", "_sources", "_modules"}),
    ("apache", "Apache-2.0", "usr/share/doc/apache2-doc/manual/en", ["."], {"license.html"}),
]

BLOCK_TAGS = {"p", "li", "dd", "dt", "td", "th", "tr", "div", "section", "blockquote", "ul", "ol",
              "dl", "table", "h1", "h2", "h3", "h4", "h5", "h6", "br", "hr", "details", "summary"}
SKIP_TAGS = {"head", "script", "style", "pre", "nav", "svg", "title", "h1", "h2", "h3", "h4", "h5",
             "h6", "select", "button"}
PLAIN_WORD = re.compile(r"[\"'(]?[A-Za-z][a-z]*(['-][a-z]+)*[\"')]?[.,:;!?]?\)?")
TYPOGRAPHY = str.maketrans({
    "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-",
    "\u2026": "...", "\u00a0": " ", "\u2011": "-", "\u200b": "", "\u00a7": "", "\u00b6": "",
    "\u24d8": "",
})


class ParagraphParser(HTMLParser):
    """Collects the text of block elements; code listings and headings are left out."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.paragraphs: list[str] = []
        self._text: list[str] = []
        self._skip: list[str] = []

    def _flush(self) -> None:
        text = re.sub(r"\s+", " ", "".join(self._text)).strip()
        self._text.clear()
        if text:
            self.paragraphs.append(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in BLOCK_TAGS:
            self._flush()
        if tag in SKIP_TAGS:
            self._skip.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in BLOCK_TAGS:
            self._flush()
        if tag in self._skip:
            # Close everything opened since: some pages leave tags open.
            while self._skip.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if not self._skip:
            self._text.append(data)

    def close(self) -> None:
        super().close()
        self._flush()


def is_prose(text: str) -> bool:
    """True for sentences in plain English; false for tables, code and link lists."""
    if not 60 <= len(text) <= 4000 or not text.isascii():
        return False
    if not (text[0].isupper() and text[-1] in '.:!?)"'):
        return False
    words = text.split()
    plain = sum(1 for word in words if PLAIN_WORD.fullmatch(word))
    return len(words) >= 10 and plain >= 0.8 * len(words)


def duplicate_key(text: str) -> bytes:
    """Paragraphs that differ only in digits, case or punctuation count as equal."""
    letters = re.sub(r"[^a-z]+", " ", text.lower())
    return hashlib.sha256(letters.encode()).digest()[:12]


def is_heldout(name: str, one_in: int) -> bool:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % one_in == 0


def page_paths(root: Path, subtrees: list[str], skip: set[str]) -> list[Path]:
    pages = {p for sub in subtrees for p in (root / sub).rglob("*.html")
             if not skip.intersection(p.relative_to(root).parts) and not p.is_symlink()}
    return sorted(pages, key=lambda p: p.relative_to(root).as_posix())


def read_pages(args: argparse.Namespace) -> tuple[dict[str, list[str]], dict[str, dict]]:
    parts: dict[str, list[str]] = {"train": [], "heldout": []}
    stats: dict[str, dict] = {}
    seen: set[bytes] = set()
    for source, licence, place, subtrees, skip in SOURCES:
        root = args.rust_docs if source == "rust" else args.debian_docs / place
        if not root.is_dir():
            raise SystemExit(f"{source}: {root} is not a directory (see README.md)")
        count = {"licence": licence, "pages": 0, "train_bytes": 0, "heldout_bytes": 0}
        for path in page_paths(root, subtrees, skip):
            parser = ParagraphParser()
            parser.feed(path.read_text(encoding="utf-8", errors="replace"))
            parser.close()
            kept = []
            for paragraph in parser.paragraphs:
                paragraph = re.sub(r" +([,.;:])", r"\1", paragraph.translate(TYPOGRAPHY)).strip()
                paragraph = re.sub(r" {2,}", " ", paragraph)
                if is_prose(paragraph) and (key := duplicate_key(paragraph)) not in seen:
                    seen.add(key)
                    kept.append(paragraph)
            if kept:
                name = f"{source}/{path.relative_to(root).as_posix()}"
                part = "heldout" if is_heldout(name, args.heldout_one_in) else "train"
                text = "\n".join(kept) + "\n"
                parts[part].append(text)
                count["pages"] += 1
                count[f"{part}_bytes"] += len(text.encode())
        print(f"{source}: {count}", flush=True)
        stats[source] = count
    return parts, stats


def train_tokenizer(texts: list[str], vocab_size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(GPT2_SPLIT), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END_OF_TEXT], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description="Build corpus and tokenizer of the demo model.")
    parser.add_argument("--rust-docs", type=Path, required=True,
                        help="share/doc/rust/html of a Rust toolchain with rust-docs")
    parser.add_argument("--debian-docs", type=Path, required=True,
                        help="directory the Debian packages were unpacked into")
    parser.add_argument("--out", type=Path, default=Path("work/data"), help="output directory")
    parser.add_argument("--vocab-size", type=int, default=4096)
    parser.add_argument("--heldout-one-in", type=int, default=40,
                        help="one page in this many is held out")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    parts, stats = read_pages(args)
    tokenizer = train_tokenizer(parts["train"], args.vocab_size)
    tokenizer.save(str(args.out / "tokenizer.json"))
    end_of_text = tokenizer.token_to_id(END_OF_TEXT)

    manifest: dict = {"sources": stats, "vocab_size": tokenizer.get_vocab_size()}
    for part, pages in parts.items():
        text = PAGE_SEPARATOR.join(pages).encode()
        (args.out / f"{part}.txt").write_bytes(text)
        ids: list[int] = []
        for encoding in tokenizer.encode_batch(pages):
            ids += [end_of_text, *encoding.ids]
        np.array(ids, dtype="<u2").tofile(args.out / f"{part}.bin")
        manifest[part] = {"pages": len(pages), "bytes": len(text), "tokens": len(ids),
                          "sha256": hashlib.sha256(text).hexdigest()}
    (args.out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    print(json.dumps(manifest, indent=2))


if __name__ == "__main__":
    main()
