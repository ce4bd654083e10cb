"""Our models' versions and aliases, as MLflow's client lists them."""

from typing import Any

from compass_ops.registry.faults import mlflow_errors
from compass_ops.registry.location import RegistryLocation
from compass_ops.registry.names import HISTORY, PREFIX, language_of, model_name
from compass_ops.registry.rows import ENTRY

# Pages are cut by counting rows: a ticket given back between two of them would hide a row. So all comes on one page,
# which is one snapshot, up to what MLflow allows at most.
_PAGE, _MODELS_PAGE = 200_000, 1000


def list_models(
    client: Any, location: RegistryLocation, language: str | None = None
) -> tuple[list[Any], dict[str, dict[str, str]]]:
    """Return the model versions and aliases of all languages, or of one, each with the history."""
    if language is None:
        ours = f"name LIKE '{PREFIX}%'"
        return list_versions(client, location, ours), _aliases(client, location, ours)
    model = f"name = '{model_name(language)}'"
    history = list_versions(client, location, f"name = '{HISTORY}' and tags.`{ENTRY}{language}` LIKE '%'")
    return [*history, *list_versions(client, location, model)], _aliases(client, location, model)


def list_versions(client: Any, location: RegistryLocation, query: str) -> list[Any]:
    """Return the model versions that a query finds."""
    found: list[Any] = []
    order, token = ["name ASC", "version_number ASC"], None
    while True:
        with mlflow_errors(location, "reading versions"):
            page = client.search_model_versions(query, _PAGE, order, token)
        found.extend(page)
        token = page.token
        if not token:
            return found


def _aliases(client: Any, location: RegistryLocation, query: str) -> dict[str, dict[str, str]]:
    # Not from the versions: search_model_versions leaves their aliases empty.
    aliases: dict[str, dict[str, str]] = {}
    token = None
    while True:
        with mlflow_errors(location, "reading aliases"):
            page = client.search_registered_models(query, _MODELS_PAGE, page_token=token)
        for model in page:
            if (language := language_of(model.name)) is not None:
                aliases[language] = {alias: str(number) for alias, number in model.aliases.items()}
        token = page.token
        if not token:
            return aliases
