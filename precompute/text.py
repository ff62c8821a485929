"""Text banks of a workspace: ``python -m precompute text``.

A bank is embedded in parts, each a file named by the digest of what it holds, so a run that was
interrupted goes on where it stopped and a bank that is up to date is left alone.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from aigi_core.clip.consent import add_weights_options
from aigi_core.clip.encoder import Encoder
from aigi_core.clip.phrases import OWN_PHRASES, read_phrases
from aigi_core.clip.text import all_tokens, check_template, count_cut, embed, whole_words
from aigi_core.clip.workspace_encoder import encoder_from
from aigi_core.errors import AigiError
from aigi_core.statements import counted
from aigi_core.terminal import progress_options
from aigi_core.workspace import (
    Workspace,
    describe_file,
    digest_of,
    exclusive,
    read_manifest,
    sha256_of,
    write_manifest,
)
from precompute.options import add_shared

VOCABULARY, PHRASES, TOKENS = "vocabulary", "phrases", "tokens"
RESERVED = {
    VOCABULARY: "the tokenizer's words",
    PHRASES: "the project's own phrases",
    TOKENS: "CLIP's tokens",
}
"""Banks that the project makes: a list whose file has such a name would replace one unnoticed."""
PART = 4096
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, eq=False)
class Source:
    """What a bank is made of: its texts (columns text, category) and where they come from, in
    words.
    """

    name: str
    table: pd.DataFrame
    source: str
    template: str

    @property
    def sha256(self) -> str:
        """Digest of the texts and categories, in their order."""
        rows = "\n".join(
            "\t".join(row) for row in zip(self.table["text"], self.table["category"], strict=True)
        )
        return sha256(rows.encode()).hexdigest()


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``text``."""
    add = add_shared(parser, "workspace", "words", "device")
    add(
        "--phrases",
        type=Path,
        metavar="FILE",
        help="one phrase a line; lines '# name' start a category (default: the tokenizer's whole"
        " words, bank 'vocabulary', and the project's own phrases, bank 'phrases')",
    )
    add("--name", metavar="NAME", help="name of the bank made from --phrases (default: the file's)")
    add(
        "--tokens",
        action="store_true",
        help="the bank 'tokens' instead: every token of CLIP's vocabulary, sub-words included, as"
        " the paper's protocol searches them (40,553 texts: some minutes)",
    )
    add(
        "--template",
        default="{}",
        help="what each text is put into, such as 'a photo of a {}' (default: {})",
    )
    add_weights_options(parser)


def run(args: argparse.Namespace) -> int:
    """Embed the banks asked for and publish each; prints one line a bank."""
    if args.name and not args.phrases:
        raise AigiError("--name names the bank made from --phrases: give both, or neither.")
    if args.tokens and args.phrases:
        raise AigiError("--tokens makes a bank of its own: leave --phrases out.")
    if args.words and (args.tokens or args.phrases):
        raise AigiError("--words cuts the bank of the tokenizer's words: leave it out here.")
    check_template(args.template)
    workspace = Workspace.open(args.workspace)
    workspace.need("texts")
    given = (
        _given(args.phrases, args.name, args.template) if args.phrases else None
    )  # refused before weights load
    encoder = encoder_from(workspace, args)
    if args.tokens:
        given = Source(TOKENS, all_tokens(), "every token of CLIP's vocabulary", args.template)
    for source in [given] if given else own_sources(encoder, args.template, args.words):
        print(add_bank(args.workspace, encoder, source))
    return 0


def own_sources(encoder: Encoder, template: str = "{}", words: int | None = None) -> list[Source]:
    """The two banks that every workspace gets: the tokenizer's whole words and the project's
    phrases.
    """
    kept = f"the {words:,} most frequent words" if words else "whole words"
    table = whole_words(encoder.tokenizer, words)
    return [
        Source(VOCABULARY, table, f"{kept} of the tokenizer's vocabulary", template),
        Source(PHRASES, read_phrases(OWN_PHRASES), OWN_PHRASES.name, template),
    ]


def check_name(name: str) -> None:
    """Raise AigiError for what cannot name a bank."""
    if not NAME.fullmatch(name):
        raise AigiError(
            f"{name!r} cannot name a bank: use lower-case letters, digits, - and _, such as"
            " 'camera'."
        )


def add_bank(path: Path, encoder: Encoder, source: Source, progress: bool = True) -> str:
    """Embed one bank and publish it in the workspace at ``path``; returns a sentence on what was
    done.

    Raises:
        AigiError: a bad name or template, or an empty bank.
        WorkspaceError: somebody else is writing the workspace.
    """
    check_name(source.name)
    check_template(source.template)
    if source.table.empty:
        raise AigiError(f"The bank {source.name!r} would be empty: {source.source} holds no text.")
    texts = source.table["text"].tolist()
    key = digest_of([source.sha256, source.template, encoder.weights_sha256])
    files = [f"text/{source.name}.npy", f"text/{source.name}.parquet"]
    with exclusive(path, f"text bank {source.name}"):
        manifest = read_manifest(path)
        banks: dict[str, Any] = manifest.setdefault("text", {})
        if banks.get(source.name, {}).get("key") == key and _intact(path, manifest, files):
            return f"The bank {source.name!r} is up to date: {counted(len(texts), 'text')}."
        (path / "text").mkdir(exist_ok=True)
        parts = _embed_parts(path / "text", encoder, texts, source, key, progress)
        if (
            banks.pop(source.name, None) is not None
        ):  # a reader sees the old bank, none, or the new one
            manifest["files"] = {
                name: entry for name, entry in manifest["files"].items() if name not in files
            }
            write_manifest(path, manifest)
        _merge(parts, path / files[0], len(texts), encoder.embedding_width)
        temporary = path / "text" / f".{source.name}.parquet.tmp"
        source.table.to_parquet(temporary, index=False)
        temporary.replace(path / files[1])
        cut = count_cut(encoder.tokenizer, [source.template.replace("{}", text) for text in texts])
        banks[source.name] = {
            "texts": len(texts),
            "source": source.source,
            "source_sha256": source.sha256,
            "template": source.template,
            "cut": cut,
            "key": key,
        }
        manifest["files"] |= {name: describe_file(path, name) for name in files}
        write_manifest(path, manifest)
        for part in parts:
            part.unlink()
    longer = f", {cut:,} of them longer than the text tower's context and cut there" if cut else ""
    return f"Wrote the bank {source.name!r}: {counted(len(texts), 'text')}{longer}."


def _given(file: Path, name: str | None, template: str) -> Source:
    chosen = name or re.sub(r"[^a-z0-9_-]+", "-", file.stem.lower()).strip("-_")
    if chosen in RESERVED and (chosen, name) != (PHRASES, PHRASES):
        wanted = f", or --name {PHRASES} to put yours in their place" if chosen == PHRASES else ""
        raise AigiError(
            f"The name {chosen!r} belongs to {RESERVED[chosen]}: give --name with another one, such"
            f" as --name own{wanted}."
        )
    check_name(chosen)
    return Source(chosen, read_phrases(file), file.name, template)


def _intact(path: Path, manifest: dict[str, Any], files: list[str]) -> bool:
    listed = manifest["files"]
    return all(
        name in listed
        and (path / name).is_file()
        and sha256_of(path / name) == listed[name]["sha256"]
        for name in files
    )


def _embed_parts(
    folder: Path, encoder: Encoder, texts: list[str], source: Source, key: str, progress: bool
) -> list[Path]:
    starts = range(0, len(texts), PART)
    parts = [folder / f".{source.name}.{key}.{start // PART:05d}.npy" for start in starts]
    for stale in set(folder.glob(f".{source.name}.*")) - set(parts):
        stale.unlink()
    bar = tqdm(
        total=len(texts),
        desc=f"bank {source.name}",
        unit="text",
        disable=not progress,
        **progress_options(),
    )
    with bar:
        for start, part in zip(starts, parts, strict=True):
            batch = texts[start : start + PART]
            if not _complete(part, (len(batch), encoder.embedding_width)):
                temporary = part.with_suffix(".tmp")
                with temporary.open("wb") as stream:
                    np.save(stream, embed(encoder, batch, source.template))
                temporary.replace(part)
            bar.update(len(batch))
    return parts


def _complete(part: Path, shape: tuple[int, int]) -> bool:
    try:
        return tuple(np.load(part, mmap_mode="r", allow_pickle=False).shape) == shape
    except (OSError, ValueError):
        return False


def _merge(parts: list[Path], file: Path, texts: int, width: int) -> None:
    temporary = file.with_name(f".{file.stem}.merged.tmp")
    merged = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=(texts, width))
    for i, part in enumerate(parts):
        block = np.load(part, mmap_mode="r", allow_pickle=False)
        merged[i * PART : i * PART + len(block)] = block
    merged.flush()
    del merged
    temporary.replace(file)
