"""Gallery: the images that a detector is most certain of, right and wrong, and one of them opened."""

from functools import partial

import pandas as pd
import streamlit as st

import ui
from aigi_core import figures
from aigi_core.explain.neighbours import neighbours
from aigi_core.transfer import ORDERS, VERDICTS, arrange, gallery, verdict_shares
from aigi_core.workspace import Workspace
from ui import results

EACH, PAGE = 8, 32
nearest = ui.cached(neighbours)


@ui.cached
def images_of(workspace: Workspace, setting: results.Setting, row: int, tests: tuple[str, ...]) -> pd.DataFrame:
    detector = results.detectors(workspace, setting)[row]
    return gallery(workspace, results.scores(workspace, setting)[row], tests, threshold=detector.threshold)


def tiles(images: pd.DataFrame, evidence: dict[int, str]) -> list[ui.Tile]:
    return [
        ui.Tile(
            i["row"],
            [
                i["generator"],
                f"score {i['score']:+.2f}",
                *filter(None, [evidence.get(i["row"])]),
                f"{i['width']} × {i['height']} {i['format']}",
            ],
            "right" if i["right"] else "wrong",
            key=i["path"],
        )
        for i in images.to_dict("records")
    ]


with ui.page(__file__) as page:
    with page.controls():
        setting, rows, row = results.choose_detector(page)
    with page.controls("Images"):
        tests = page.generators("tests", "Tested on", page.domains.generators[-1:])
        verdict = page.select("verdict", "Group", ["all four", *VERDICTS], kind="segmented")
    images = images_of(page.workspace, setting, row, tuple(tests))
    with page.controls("Order"):
        order = page.select("order", "Order", list(ORDERS))
        formats = page.multiselect("format", "File formats", sorted(images["format"].unique()))
    shares = verdict_shares(images).to_dict("records")
    by_verdict = {s["verdict"]: s for s in shares}
    missed, alarms = by_verdict["fake as real"], by_verdict["real as fake"]
    surest = images[~images["right"]].head(1).to_dict("records")
    page.answer(
        f"Trained on {ui.name(rows[row])}, the detector takes **{missed['images']} of {missed['of']} fakes** for real "
        f"and **{alarms['images']} of {alarms['of']} real images** for fakes."
        + "".join(f" Its surest mistake: {ui.name(m['path'])}, {m['verdict']}." for m in surest)
    )
    page.stats(
        [
            ui.Stat(s["verdict"].capitalize(), f"{s['share']:.3f}", f"{s['images']} of {s['of']} images",
                    (s["low"], s["high"]), "Share within the true class, at the detector's own threshold.")
            for s in shares
        ]
    )  # fmt: skip
    page.protocol(
        detector="Logistic regression, C chosen on validation, refitted on train plus validation.",
        images="Test split: the fakes of the chosen generators and the real images of their pools, once each.",
        certainty="Distance of the score (log-odds of fake) to the detector's own threshold.",
        intervals="95 %, Wilson, images taken as independent.",
    )

    shown = arrange(images, order, formats=formats)
    columns = [*st.columns(2, gap="large"), *st.columns(2, gap="large")] if verdict == "all four" else [st.container()]
    for group, column in zip(VERDICTS if verdict == "all four" else (verdict,), columns, strict=True):
        of_group = shown[shown["verdict"] == group]
        with (
            column,
            page.section(
                group.capitalize(), f"{len(of_group)} images, {order.lower()} first; a click opens one below."
            ),
        ):
            if verdict == "all four":
                part = of_group.head(EACH)
            else:
                at = page.slider("page", f"Page of {PAGE}", 1, max(1, -(-len(of_group) // PAGE)), 1)
                part = of_group.iloc[PAGE * (int(at) - 1) : PAGE * int(at)]
            evidence = results.strongest_heads(page.workspace, setting, row, tuple(part["row"].tolist()))
            page.images(
                tiles(part, evidence),
                opens="image",
                name=group,
                width=84,
                empty="No image of this test set is in this group.",
            )
    with page.section("All of them as a table"):
        page.table("images", shown.drop(columns="row"), formats={"bytes_per_pixel": "%.2f", "jpeg_quality": "%.0f"})

    with page.section("One image"):
        with page.controls("Image"):
            path = page.select("image", "Image", images["path"].tolist())
        chosen = images[images["path"] == path].to_dict("records")[0]
        left, right = st.columns([1, 2], gap="large")
        with left:
            lines = [chosen["generator"], f"{chosen['verdict']}, score {chosen['score']:+.2f}"]
            page.images([ui.Tile(int(chosen["row"]), lines, "right" if chosen["right"] else "wrong")], width=300)
            st.caption(
                f"{chosen['width']} × {chosen['height']} px, {chosen['format']}, {chosen['bytes']:,} bytes; pool "
                f"{ui.name(chosen['pool'])}. A click on the image opens its source."
            )
        with right:
            terms = results.explained(page.workspace, setting, row, int(chosen["row"])).table()
            st.markdown(
                "**Why:** what each attention head adds to the score. The bars add up to it. A click opens a head."
            )
            page.figure("evidence", partial(figures.evidence_bars, terms), table=terms, clicks=("head",))
            strongest = terms[terms["layer"] >= 0].iloc[0]
            page.link(
                "heads", "Open the strongest head", head=f"{strongest['layer']}.{strongest['head']}", train=rows[row]
            )
            page.link(
                "inspect", "Inspect it: all detectors, where in the image, would it survive?", image=str(chosen["path"])
            )
    with page.section("Its nearest images", "By cosine of embeddings, over all splits; a click opens the source."):
        near = nearest(page.workspace, int(chosen["row"]))
        page.images(
            [
                ui.Tile(n["row"], [n["generator"], f"cosine {n['cosine']:.3f}", n["split"]])
                for n in near.to_dict("records")
            ],
            width=120,
        )
