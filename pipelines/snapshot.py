"""Stage snapshot: the registry as files, for the stages that must not read the registry itself."""

from pathlib import Path

from compass_ops.params import load_params
from compass_ops.registry.location import registry_location
from compass_ops.registry.snapshot import write_snapshot
from compass_ops.registry.store import RegistryStore
from pipelines._stage import MEMO, path_option, stage


@stage
@path_option("--out")
def main(out: Path) -> None:
    """Read the registry."""
    registry = load_params().registry
    store = RegistryStore(registry_location(registry.uri, registry.experiment))
    write_snapshot(store, out, MEMO / "versions")


if __name__ == "__main__":
    main()
