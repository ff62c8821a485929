"""What the words of the app mean, one line each, for the sidebar."""

TERMS = {
    "generator": "A model that makes images. Each has its own fakes in the workspace.",
    "pool": "The real images that a generator's fakes are compared with.",
    "detector": "A classifier that tells generated images from real ones by their features.",
    "embedding": "The encoder's final output for an image: what a detector sees.",
    "head": "An attention head of the encoder, named layer.index.",
    "component": "One dimension of the embedding.",
    "residual": "The difference between the mean fake and the mean real embedding.",
    "in-domain": "Tested on a generator that the detector was trained on.",
    "out of domain (OOD)": "Tested on a generator that the detector has never seen.",
    "D1, D2, D_search": "The two generators that a search for components or heads uses.",
    "D_eval": "All other generators. Only they judge what a search has found.",
    "balanced accuracy": "Mean of the share of real and of fake images that are called rightly.",
    "false alarm": "A real image that is called fake.",
    "95% interval": "Made so that it holds the true value in 95% of repetitions with other images.",
    "p, q": "Probability of a value at least as far from nothing by chance; q is corrected for many"
    " comparisons (false discovery rate).",
    "null": "What the same analysis gives on shuffled labels or random choices.",
    "workspace": "A folder of encoded images, written by jobs and read by the app.",
}
"""Term -> its meaning."""
