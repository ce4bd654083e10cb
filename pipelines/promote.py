"""Stage promote: write what `gate` decided and the registry does not hold yet."""

from pathlib import Path

from compass_ops.params import load_params
from compass_ops.registry.location import registry_location
from compass_ops.registry.reconcile import Evidence, reconcile
from compass_ops.registry.reports import attach_reports
from compass_ops.registry.store import RegistryStore
from pipelines._stage import path_option, stage


@stage
@path_option("--decisions")
@path_option("--candidates")
@path_option("--drift")
@path_option("--out")
def main(decisions: Path, candidates: Path, drift: Path, out: Path) -> None:
    """Reconcile the registry with the decisions on updated adapters; log drift reports with the versions they judge."""
    registry = load_params().registry
    store = RegistryStore(registry_location(registry.uri, registry.experiment))
    reconcile(store, Evidence(decisions, candidates, drift), out, manual=registry.promotion == "manual")
    attach_reports(store, drift)


if __name__ == "__main__":
    main()
