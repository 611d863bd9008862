"""Settings of the notebooks' kernels under nbval, which inherit this environment."""

import os

# A progress bar, or the note that the embedded images are used, would differ from the stored outputs.
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("PYTHONWARNINGS", "ignore:the official MNIST files are not at hand")
