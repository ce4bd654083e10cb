"""The exception tree. Every error a user can cause is one of these, with one sentence that says what to do.

::

    CompassError                 exit code 1
    ├── ParamsError              params.yaml or a profile: every fault in one report
    ├── SourceError              a data source that cannot be read
    ├── DataFault                one language's data: that language stops, the others go on
    ├── ModelError               base model, embedder or adapter: missing, damaged, or another than expected
    │   └── NoVectorError        texts that the embedder has no finite vector for
    ├── StorageError             a file that cannot be read or written
    └── RegistryError            the MLflow registry
        ├── ConflictError        somebody else got there first; exit code 3
        ├── BusyError            others write at the same moment; nothing was done and trying again is safe
        └── GoneError            a version's files are not there; a copy may bring them back
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class CompassError(Exception):
    """An error with a remedy; ends a command with exit code 1."""


class ParamsError(CompassError):
    """Faults of a params file, one line each."""


class SourceError(CompassError):
    """A data source that cannot be read."""


class DataFault(CompassError):
    """A fault of one language's data.

    Parameters
    ----------
    language : str
        BCP-47 tag of the language that is left out.
    reason : str
        One sentence for the receipt.
    """

    def __init__(self, language: str, reason: str) -> None:
        super().__init__(f"{language}: {reason}")
        self.language = language
        self.reason = reason

    def __reduce__(self) -> tuple[type["DataFault"], tuple[str, str]]:
        """Pickle what it was made of: workers hand errors over."""
        return type(self), (self.language, self.reason)


class ModelError(CompassError):
    """A model that is missing, damaged or not the one expected."""


class NoVectorError(ModelError):
    """The embedder has no vector, or none that is finite, for some texts.

    Parameters
    ----------
    message : str
    vectors : float32 (n, d)
        Of all texts; a row of those without a vector is not a number.
    """

    def __init__(self, message: str, vectors: "NDArray[np.float32]") -> None:
        super().__init__(message)
        self.vectors = vectors

    def __reduce__(self) -> tuple[type["NoVectorError"], tuple[str, "NDArray[np.float32]"]]:
        """Pickle what it was made of: workers hand errors over."""
        return type(self), (str(self), self.vectors)


class StorageError(CompassError):
    """A file that cannot be read or written."""


class RegistryError(CompassError):
    """The registry refused or could not be reached."""


class ConflictError(RegistryError):
    """The registry no longer holds what the caller expected."""


class BusyError(RegistryError):
    """The registry could not take a write or a read at this moment; nothing was done."""


class GoneError(RegistryError):
    """A version's files are not where they should be, which could be looked at."""
