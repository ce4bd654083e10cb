"""What commands work with: the project's params, its registry, and the languages that were named."""

from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

from compass_ops.cli.options import language_and_version
from compass_ops.errors import RegistryError

if TYPE_CHECKING:
    from compass_ops.params import Params
    from compass_ops.registry.mirror import LanguageView
    from compass_ops.registry.store import RegistryStore
    from compass_ops.registry_sections import RegistryParams


class Project:
    """The project that the command was called in, read when it is first needed.

    Parameters
    ----------
    uri : str or None
        Of the registry, in place of that of params.yaml.
    """

    def __init__(self, uri: str | None) -> None:
        self.uri = uri

    @cached_property
    def root(self) -> Path:
        """The project's folder."""
        from compass_ops.registry.location import project_root

        return project_root()

    @cached_property
    def params(self) -> "Params":
        """The params file; ``ParamsError`` if there is none."""
        from compass_ops.params import PARAMS_FILE, load_params

        return load_params(self.root / PARAMS_FILE)

    @property
    def policies(self) -> "RegistryParams":
        """What params.yaml says about the registry."""
        return self.params.registry

    @cached_property
    def store(self) -> "RegistryStore":
        """The registry. With a URI given, params.yaml may be missing."""
        from compass_ops.params import PARAMS_FILE
        from compass_ops.registry.location import located
        from compass_ops.registry.store import RegistryStore

        if self.uri is not None and not (self.root / PARAMS_FILE).is_file():
            return RegistryStore(located(self.uri, "compass"))
        return RegistryStore(located(self.uri or self.policies.uri, self.policies.experiment))

    def chosen(
        self,
        named: Iterable[str],
        everything: bool,
        fits: "Callable[[LanguageView], bool] | None",
        *,
        versions: bool = True,
        once: bool = True,
    ) -> list[str]:
        """Return the languages that were named, or with ``everything`` all that fit, as written (``sw`` or ``sw/3``).

        Parameters
        ----------
        fits : callable or None
            None where a command means only what is named.
        versions : bool
            Whether a version may be named with a language.
        once : bool
            Whether each language may be named once only.

        Raises
        ------
        UsageError
            If neither or both were given, or a version where none belongs: it must not be passed over.
        RegistryError
            If a language is named twice, or nothing fits.
        """
        names = list(named)
        if bool(names) == everything:
            raise click.UsageError(f"Name one or more languages{', or give --all' if fits is not None else ''}.")
        if everything and fits is not None:
            names = [language for language, view in self.store.read().items() if fits(view)]
            if not names:
                raise RegistryError("No registered language is in a state for that. `compass status` shows them.")
        if not versions and (wrong := [name for name in names if "/" in name]):
            raise click.UsageError(f"{wrong[0][:80]!r}: this command takes languages, without a version.")
        tags = [language_and_version(name)[0] for name in names]
        if not once:
            return names
        repeated = sorted({tag for tag in tags if tags.count(tag) > 1})
        if repeated:
            raise RegistryError(f"{', '.join(repeated)}: named more than once. Name each language once.")
        return names
