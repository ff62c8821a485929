"""Overview: what the workspace holds, what stands out, where to go next."""

import ui
from aigi_core.overview import describe, examples

contents = ui.cached(describe)

with ui.page(__file__) as page:
    table, domains, encoder = contents(page.workspace), page.domains, page.workspace.encoder
    real = table["family"] == "real"
    images = table[["train", "val", "test"]].sum(axis=1)
    families = list(dict.fromkeys(domains.families))
    page.answer(
        f"{ui.name(page.workspace.name)} holds **{len(domains.generators)} generators** of {len(families)} families "
        f"and photographs of {int(real.sum())} pools, as seen by the image encoder {ui.name(encoder['model'])}."
    )
    page.stats(
        [
            ui.Stat("Fakes", f"{images[~real].sum():,}", n=f"{len(domains.generators)} generators"),
            ui.Stat("Real images", f"{images[real].sum():,}", n=f"{int(real.sum())} pools",
                    help="A generator is trained and tested against the real images of its own pool."),
            ui.Stat("Embedding", f"{encoder['embedding_width']}", n="components of the joint text-image space"),
            ui.Stat("Attention heads", f"{encoder['layers'] * encoder['heads']}",
                    n=f"{encoder['layers']} layers × {encoder['heads']}"),
        ]
    )  # fmt: skip
    page.protocol(
        encoder=f"{encoder['library']} {encoder['model']} ({encoder['pretrained']}), weights SHA-256 {encoder['weights_sha256'][:16]}…",
        splits="By group (same prompt, same scene), the same real images for every generator of a pool.",
    )

    with page.section(
        "Images", "How many images each source has. A shared group of real images serves all generators of its pool."
    ):
        page.table("sources", table, formats={"jpeg_quality": "%.0f"})

    with page.section("Examples", "Two of each generator, chosen by hash, not by looks; a click opens the source."):
        tiles = [
            ui.Tile(int(row), [name, domains.family_of[name]])
            for name in domains.generators
            for row in examples(page.workspace, name)
        ]
        page.images(tiles + [ui.Tile(int(row), ["real", "photograph"]) for row in examples(page.workspace, None, 6)])
