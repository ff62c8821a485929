"""What a name tells: a generator's family, a collection of photographs, or a video."""

from __future__ import annotations

import re

FAMILY_OF: tuple[tuple[str, str], ...] = (
    # Autoregressive and token models first: their names contain other families' words.
    (r"dall[- _.]?e?[- _.]?(mini|mega)|craiyon|^dall[- _.]?e$|^dalle?[- _.]?1", "autoregressive"),
    (
        (
            r"gpt[- _.]?(4o|image)|chatgpt|^parti([-"
            r" _.]|$)|cogview|rudall|taming|llamagen|janus|emu3|^muse([- _.]|$)|^var([- _.]|$)"
        ),
        "autoregressive",
    ),
    # Diffusion, latent or in pixels.
    (
        (
            r"diff|^sd([- _.\d]|$)|sdxl|sdv\d|(^|[- _.])sd[- _.]?\d|^ldm|(^|_)adm|(^|_)glide?([-"
            r" _.\d]|$)|ddpm|ddim|pndm|^edm"
        ),
        "diffusion",
    ),
    (
        (
            r"midjourney|^mj|dall[- _.]?e?[- _.]?[23]|imagen(?!et)|vq[-"
            r" _.]?dm|vqdm|wukong|kandinsky|pixart|flux|firefly"
        ),
        "diffusion",
    ),
    (
        (
            r"deepfloyd|^if([- _.]|$)|playground|wuerstchen|wurstchen|^[ds]it([-"
            r" _.]|$)|^guided|ideogram|dreamlike|lcm|seedream|qwen[- _.]?image|hunyuan|recraft"
            r"|kolors|auraflow|hidream|^sana([- _.\d]|$)|^lumina|cascade"
        ),
        "diffusion",
    ),
    # Adversarial: whatever is called something-GAN, and those of CNNDetection that are not.
    (r"gan(?![a-z])|gansformer|pix2pix|spade|whichfaceisreal|^gan", "gan"),
)
"""Pattern, searched in the lower-case name, and family; the first that matches decides."""


def family_of(generator: str) -> str:
    """``gan``, ``diffusion`` or ``autoregressive`` where the name tells, otherwise ``other``
    (deepfake, CRN, IMLE, ...).

    Example:
        >>> [family_of(name) for name in ("stylegan2-ffhq", "sd_v_1_4", "dalle-mini", "san")]
        ['gan', 'diffusion', 'autoregressive', 'other']
    """
    name = generator.strip().lower()
    return next((family for pattern, family in FAMILY_OF if re.search(pattern, name)), "other")


OTHERS = re.compile(
    r"crn|imle|san|seeingdark|sitd|deepfakes?|face[- _]?swap|face2face|neuraltextures|faceshifter"
    r"|\w*swap(per)?|blendface|e4[es]|infinite[- _]?id|instant[- _]?id|photomaker|ip[- _]?adapter"
    r"|blip|nano[- _]?banana|gemini([- _.].*)?|grok([- _.].*)?|aurora|leonardo([- _.].*)?|craiyon"
    r"|commercial|communityai|socialrf|styleswim|wfir|reve|omnigen\d*|bagel|infinity|luma|photon"
)
"""Names of generators whose family is not one of the others, or is not known."""


def is_generator(name: str) -> bool:
    """Whether a name is known as that of a generator.

    Example:
        >>> [is_generator(name) for name in ("stylegan2-ffhq", "san", "jackets")]
        [True, True, False]
    """
    plain = name.strip().lower()
    return family_of(plain) != "other" or OTHERS.fullmatch(plain) is not None


COLLECTIONS = frozenset(
    re.split(
        r"\s+",
        "ade20k afhq celeba celebahq cifar10 cifar100 coco datacomp docci ffhq flickr flickr30k"
        " imagenet imagenet1k imagenet21k laion laion400m laion5b lsun metfaces mscoco openimages"
        " pexels places places365 raise redcaps unsplash wikiart",
    )
)
"""Collections of photographs (and paintings) that data sets take their real images from, and that
generators are trained on."""


def is_collection(name: str) -> bool:
    """Whether a name is that of a collection of real images.

    Example:
        >>> [is_collection(name) for name in ("MS-COCO", "celeba_hq", "stylegan2-ffhq")]
        [True, True, False]
    """
    return re.sub(r"[^a-z0-9]", "", name.lower()) in COLLECTIONS


VIDEO = re.compile(r"\d{3}_\d{3}|id\d+(_id\d+)?_\d{4}")
"""Names of folders of a video's frames: FaceForensics++ (target and source), Celeb-DF."""


def scene_of(video: str) -> str:
    """The video that a fake one was made from, which shows nearly the same pictures.

    Example:
        >>> [scene_of(name) for name in ("000_003", "id0_id1_0000", "clip7")]
        ['000', 'id0_0000', 'clip7']
    """
    name = video.lower()
    if VIDEO.fullmatch(name) is None:
        return video
    return re.sub(r"^(\d{3})_\d{3}$|^(id\d+)_id\d+(_\d{4})$", r"\1\2\3", name)
