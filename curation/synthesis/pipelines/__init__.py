"""The generator "diffusers": an inpainting pipeline with the user's own weights.

Read in this order: ``weights`` (which folder, what is in it, the hash of it), ``families`` (which
pipelines are accepted and how each is called), ``loading``, ``references`` (pictures of what hurt
and of the object), ``generator``.
"""

from curation.synthesis.pipelines.generator import Diffusers, release

__all__ = ["Diffusers", "release"]
