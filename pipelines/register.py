"""Stage register: write what `admit` decided and the registry does not hold yet, then the registry as files."""

from pathlib import Path

from compass_ops.params import load_params
from compass_ops.registry.location import registry_location
from compass_ops.registry.reconcile import Evidence, reconcile
from compass_ops.registry.snapshot import write_snapshot
from compass_ops.registry.store import RegistryStore
from pipelines._stage import MEMO, path_option, stage


@stage
@path_option("--decisions")
@path_option("--candidates")
@path_option("--out")
def main(decisions: Path, candidates: Path, out: Path) -> None:
    """Reconcile the registry with the decisions on newly trained adapters."""
    registry = load_params().registry
    store = RegistryStore(registry_location(registry.uri, registry.experiment))
    reconcile(store, Evidence(decisions, candidates), out, manual=registry.promotion == "manual")
    write_snapshot(store, out, MEMO / "versions")


if __name__ == "__main__":
    main()
