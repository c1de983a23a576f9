"""The flags: their code lies in `flags/` of a checkout, in an installation here."""

import pathlib

__path__ = [str(pathlib.Path(__file__).resolve().parents[2] / "flags")]
